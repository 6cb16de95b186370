"""TensorBoard event files, written in the training process.

`torch.utils.tensorboard.SummaryWriter` writes from a thread. A checkpoint could not record how much has been written,
and a full disk would end the thread with a traceback.
"""

import itertools
import logging
import operator
import os
import socket
import struct
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import HistogramProto, Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.compat.proto.types_pb2 import DataType
from tensorboard.plugins.hparams.api_pb2 import DataType as HParamType
from tensorboard.plugins.hparams.api_pb2 import Experiment, HParamInfo, MetricInfo, MetricName, Status
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo, SessionStartInfo
from tensorboard.plugins.text.plugin_data_pb2 import TextPluginData

from runner.tracking.record_file import write_record

log = logging.getLogger("runner")
_numbers = itertools.count()  # makes the names of files of one process distinct


class EventFile:
    """A new event file. If it cannot be written, warn once and drop all further events.

    Args:
        folder: folder of the file; it is created.
    """

    def __init__(self, folder: Path) -> None:
        name = f"events.out.tfevents.{time.time():010.0f}.{socket.gethostname()}.{os.getpid()}.{next(_numbers)}"
        self.path = folder / name
        self._file: Any = None  # None if it could not be opened or written
        with self._warning_once():
            folder.mkdir(exist_ok=True)
            self._file = self.path.open("ab")
            self._write(Event(wall_time=time.time(), file_version="brain.Event:2"))

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Add scalars by tag."""
        found = [Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]
        self._add(Summary(value=found), step)

    def text(self, tag: str, text: str) -> None:
        """Add text, shown unformatted in a fixed-width font."""
        fixed = "".join(f"    {line}\n" for line in text.splitlines())
        shape = TensorShapeProto(dim=[TensorShapeProto.Dim(size=1)])
        tensor = TensorProto(dtype=DataType.DT_STRING, string_val=[fixed.encode()], tensor_shape=shape)
        plugin = SummaryMetadata.PluginData(plugin_name="text", content=TextPluginData(version=0).SerializeToString())
        metadata = SummaryMetadata(plugin_data=plugin)
        self._add(Summary(value=[Summary.Value(tag=f"{tag}/text_summary", metadata=metadata, tensor=tensor)]))

    def picture(self, tag: str, png: bytes, step: int) -> None:
        """Add an image, given as the contents of a PNG file."""
        width, height = struct.unpack(">II", png[16:24])  # fields of the IHDR chunk
        image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=png)
        self._add(Summary(value=[Summary.Value(tag=tag, image=image)]), step)

    def histogram(self, tag: str, counts: Sequence[float], edges: Sequence[float], step: int) -> None:
        """Add a histogram.

        Args:
            tag: name of the histogram.
            counts: number of values in each bin.
            edges: edges of the bins, one more than `counts`.
            step: step to show it at.
        """
        limits, total = edges[1:], sum(counts)
        middles = [(low + high) / 2 for low, high in itertools.pairwise(edges)]
        mean = sum(map(operator.mul, counts, middles))
        squares = sum(count * middle**2 for count, middle in zip(counts, middles, strict=True))
        histogram = HistogramProto(
            min=edges[0], max=edges[-1], num=total, sum=mean, sum_squares=squares, bucket_limit=limits, bucket=counts
        )
        self._add(Summary(value=[Summary.Value(tag=tag, histo=histogram)]), step)

    def hparams(self, values: Mapping[str, Any], metrics: list[str]) -> None:
        """Add the row of the HPARAMS tab to this run. (`SummaryWriter.add_hparams` would create another run for it.)

        Args:
            values: hyperparameters by name.
            metrics: tags of the scalars to show beside them.
        """
        start = SessionStartInfo()
        infos = []
        for key, value in values.items():
            if isinstance(value, int | float):
                start.hparams[key].number_value = value
            else:
                start.hparams[key].string_value = str(value)
            kind = "DATA_TYPE_FLOAT64" if isinstance(value, int | float) else "DATA_TYPE_STRING"
            infos.append(HParamInfo(name=key, type=HParamType.Value(kind)))
        experiment = Experiment(
            hparam_infos=infos, metric_infos=[MetricInfo(name=MetricName(tag=metric)) for metric in metrics]
        )
        end = SessionEndInfo(status=Status.Value("STATUS_SUCCESS"))
        for tag, content in (
            ("experiment", HParamsPluginData(experiment=experiment, version=0)),
            ("session_start_info", HParamsPluginData(session_start_info=start, version=0)),
            ("session_end_info", HParamsPluginData(session_end_info=end, version=0)),
        ):
            plugin = SummaryMetadata.PluginData(plugin_name="hparams", content=content.SerializeToString())
            metadata = SummaryMetadata(plugin_data=plugin)
            self._add(Summary(value=[Summary.Value(tag=f"_hparams_/{tag}", metadata=metadata)]))

    def flush(self) -> None:
        """Pass buffered events to the operating system."""
        with self._warning_once():
            if self._file:
                self._file.flush()

    def close(self) -> None:
        with self._warning_once():
            if self._file:
                self._file.close()

    def _add(self, summary: Any, step: int = 0) -> None:
        self._write(Event(wall_time=time.time(), step=step, summary=summary))

    def _write(self, event: Any) -> None:
        with self._warning_once():
            if self._file:
                write_record(self._file, event.SerializeToString())

    @contextmanager
    def _warning_once(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            file, self._file = self._file, None
            with suppress(OSError, AttributeError):  # AttributeError: the file could not be opened
                file.close()
            log.warning("%s: cannot be written: %s; training continues without TensorBoard", self.path, error)
