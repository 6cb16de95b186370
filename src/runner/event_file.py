"""TensorBoard's event files, written by the training itself.

torch's SummaryWriter hands its events to a thread: whether they have reached the disk is not known when a checkpoint is
saved, a failing disk kills the thread with a traceback, and a scalar costs three times as much. The formats are
TensorBoard's own, from its own package.
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
from tensorboard.compat.proto.graph_pb2 import GraphDef
from tensorboard.compat.proto.summary_pb2 import HistogramProto, Summary
from tensorboard.summary.writer.record_writer import RecordWriter
from torch.utils.tensorboard import summary as summaries

log = logging.getLogger("runner")
_numbers = itertools.count()


class EventFile:
    """One event file in `folder`. When it cannot be written it warns once, and the training goes on without it."""

    def __init__(self, folder: Path) -> None:
        name = f"events.out.tfevents.{time.time():010.0f}.{socket.gethostname()}.{os.getpid()}.{next(_numbers)}"
        self.path = folder / name
        self._file: Any = None  # None too once writing has failed
        with self._forgiving():
            folder.mkdir(exist_ok=True)
            self._file = self.path.open("ab")
            self._write(Event(wall_time=time.time(), file_version="brain.Event:2"))

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """A point on each of some curves."""
        found = [Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]
        self._add(Summary(value=found), step)

    def text(self, tag: str, text: str) -> None:
        """Text as it is, in fixed width."""
        self._add(summaries.text(tag, "".join(f"    {line}\n" for line in text.splitlines())))

    def picture(self, tag: str, png: bytes, step: int) -> None:
        """A PNG file as it is."""
        width, height = struct.unpack(">II", png[16:24])  # they follow the signature and the name of the first chunk
        image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=png)
        self._add(Summary(value=[Summary.Value(tag=tag, image=image)]), step)

    def graph(self, graph: GraphDef) -> None:
        """The model for the GRAPHS tab."""
        self._write(Event(wall_time=time.time(), graph_def=graph.SerializeToString()))

    def histogram(self, tag: str, counts: Sequence[float], edges: Sequence[float], step: int) -> None:
        """How values spread: counts between edges, of which there is one more."""
        limits, total = edges[1:], sum(counts)
        middles = [(low + high) / 2 for low, high in itertools.pairwise(edges)]
        mean = sum(map(operator.mul, counts, middles))
        squares = sum(count * middle**2 for count, middle in zip(counts, middles, strict=True))
        histogram = HistogramProto(
            min=edges[0], max=edges[-1], num=total, sum=mean, sum_squares=squares, bucket_limit=limits, bucket=counts
        )
        self._add(Summary(value=[Summary.Value(tag=tag, histo=histogram)]), step)

    def hparams(self, values: Mapping[str, Any], metrics: list[str]) -> None:
        """The row of this run in the HPARAMS tab, in the run itself (`add_hparams` would make a second run)."""
        plain = {key: value if isinstance(value, bool | int | float) else str(value) for key, value in values.items()}
        for summary in summaries.hparams(plain, dict.fromkeys(metrics, 0.0)):
            self._add(summary)

    def flush(self) -> None:
        """Hands everything to the system."""
        with self._forgiving():
            if self._file:
                self._file.flush()

    def close(self) -> None:
        with self._forgiving():
            if self._file:
                self._file.close()

    def _add(self, summary: Any, step: int = 0) -> None:
        self._write(Event(wall_time=time.time(), step=step, summary=summary))

    def _write(self, event: Any) -> None:
        with self._forgiving():
            if self._file:
                RecordWriter(self._file).write(event.SerializeToString())

    @contextmanager
    def _forgiving(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            file, self._file = self._file, None
            with suppress(OSError, AttributeError):  # where it could not even be opened
                file.close()
            log.warning("%s: cannot be written: %s; the training goes on without TensorBoard", self.path, error)
