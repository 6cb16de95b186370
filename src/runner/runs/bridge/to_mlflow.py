"""Upload runs to MLflow, to the server or database in MLFLOW_TRACKING_URI; MLflow's default is ./mlflow.db."""

import os
import re
from collections.abc import Iterator, Sequence
from typing import Any

from runner.runs.bridge.record import Record, as_text

VERSION = "runner.finished"  # tag that is set last: without it, an upload was cut short
LONGEST = 5000  # characters of a parameter or a tag
BATCH = {"metrics": 1000, "params": 100}  # largest numbers in one request
ENDS = {"completed": "FINISHED", "stopped early": "FINISHED", "failed": "FAILED", "diverged": "FAILED"}


class MlflowProject:
    """An experiment of MLflow; it is created if it does not exist.

    Args:
        name: name of the experiment.

    Raises:
        ImportError: MLflow is not installed.
    """

    def __init__(self, name: str) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # otherwise it reports the use of its functions
        from mlflow import MlflowClient

        self.client = MlflowClient()
        self.location = f"experiment {name} in {self.client.tracking_uri}"
        found = self.client.get_experiment_by_name(name)
        self.experiment = self.client.create_experiment(name) if found is None else found.experiment_id

    def uploaded_version(self, record: Record) -> str | None:
        """Return the version of a run that has been uploaded completely; None if it has not."""
        return next((run.data.tags[VERSION] for run in self._runs(record) if VERSION in run.data.tags), None)

    def remove(self, record: Record) -> None:
        """Remove all that has been uploaded of a run."""
        for run in self._runs(record):
            self.client.delete_run(run.info.run_id)

    def add(self, record: Record) -> None:
        """Upload a run."""
        from mlflow.entities import Metric, Param

        tags = {key: as_text(value, LONGEST) for key, value in record.tags.items()}
        start = self.client.create_run(
            self.experiment, start_time=milliseconds(record.began), tags=tags, run_name=record.name
        )
        run = start.info.run_id
        metrics = [
            Metric(sanitize(name), value, milliseconds(point.time), point.step)
            for point in record.history()
            for name, value in point.metrics.items()
        ]
        params = [Param(sanitize(key), as_text(value, LONGEST)) for key, value in record.run.config.items()]
        for kind, entries in (("params", params), ("metrics", metrics)):
            for part in parts(entries, BATCH[kind]):
                self.client.log_batch(run, **{kind: part})
        for path in record.files():
            self.client.log_artifact(run, str(path))
        for path in record.plots():
            self.client.log_artifact(run, str(path), "plots")
        self.client.set_terminated(run, ENDS.get(record.run.status, "KILLED"), milliseconds(record.ended))
        self.client.set_tag(run, VERSION, record.version)

    def _runs(self, record: Record) -> Sequence[Any]:
        return self.client.search_runs([self.experiment], f"tags.`runner.key` = '{record.key}'")


def sanitize(name: str) -> str:
    """Return a name with the characters that MLflow allows."""
    return re.sub(r"[^\w\-. :/]", "_", name)


def milliseconds(time: float) -> int:
    return int(1000 * time)


def parts(entries: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    """Yield the entries in parts of at most this size."""
    for start in range(0, len(entries), size):
        yield entries[start : start + size]
