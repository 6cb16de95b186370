"""Upload runs to a local project of Trackio, in the folder TRACKIO_DIR."""

import io
import os
from contextlib import redirect_stdout
from typing import Any

from runner.runs.bridge.record import Record

UNFINISHED = " (incomplete)"  # ends the name of a run until all has been uploaded
VERSION = "runner.finished"
REMOTE = ("TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL")  # variables with which Trackio would send the runs elsewhere


class TrackioProject:
    """A local project of Trackio; it is created with its first run.

    Args:
        name: name of the project.

    Raises:
        ImportError: Trackio is not installed.
        ValueError: Trackio allows no such name, or is set up to send runs elsewhere.
    """

    def __init__(self, name: str) -> None:
        for variable in REMOTE:
            if os.environ.get(variable):
                raise ValueError(f"{variable} is set; unset it to upload to a local project, then use `trackio sync`")
        import trackio
        from trackio.utils import TRACKIO_DIR

        self.trackio, self.name = trackio, name
        self.location = f"project {name} in {TRACKIO_DIR}"

    def uploaded_version(self, record: Record) -> str | None:
        """Return the version of a run that has been uploaded completely; None if it has not."""
        found = [run for run in self._runs(record) if not run.name.endswith(UNFINISHED)]
        return str(found[0].config[VERSION]) if found else None

    def remove(self, record: Record) -> None:
        """Remove all that has been uploaded of a run."""
        for run in self._runs(record):
            run.delete()

    def add(self, record: Record) -> None:
        """Upload a run."""
        config = {**record.run.config, **record.tags, VERSION: record.version}
        quiet = {"embed": False, "auto_log_gpu": False, "auto_log_cpu": False}
        name = record.name + UNFINISHED
        with redirect_stdout(io.StringIO()):  # it prints several lines for each run
            run = self.trackio.init(self.name, name=name, group=record.group, config=config, **quiet)
            points = record.history()
            for point in points:
                run.log(dict(point.metrics), step=point.step)
            plots = {f"plots/{path.stem}": self.trackio.Image(str(path)) for path in record.plots()}
            if plots:
                run.log(plots, step=points[-1].step)
            self.trackio.finish()
            for each in self._runs(record):
                each.rename(record.name)

    def _runs(self, record: Record) -> list[Any]:
        try:
            found = list(self.trackio.Api().runs(self.name))
        except ValueError:  # the project does not exist yet
            return []
        return [run for run in found if (run.config or {}).get("runner.key") == record.key]
