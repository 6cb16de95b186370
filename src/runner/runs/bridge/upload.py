"""Upload finished runs to another experiment tracker; nothing else depends on this module."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from runner.errors import RunnerError, install
from runner.runs.bridge.record import Record, Target
from runner.runs.bridge.to_mlflow import MlflowProject
from runner.runs.bridge.to_trackio import TrackioProject
from runner.runs.found import Run

PROJECT = "runner"
TARGETS: dict[str, Callable[[str], Target]] = {"trackio": TrackioProject, "mlflow": MlflowProject}


@dataclass
class Uploaded:
    """The number of runs by what happened to them.

    Args:
        location: where the target keeps its data.
        new: uploaded for the first time.
        renewed: uploaded again, because they have ended again since.
        known: already there.
        left_out: neither uploaded nor there: still running, or damaged.
    """

    location: str
    new: int = 0
    renewed: int = 0
    known: int = 0
    left_out: int = 0

    def __str__(self) -> str:
        parts = [f"{self.new} uploaded", f"{self.renewed} updated", f"{self.known} already there"]
        counts = [part for part in parts if not part.startswith("0 ")] or ["0 uploaded"]
        left = [f"{self.left_out} left out, because they are running or damaged"] if self.left_out else []
        return ", ".join([*counts, *left]) + f": {self.location}"


def upload(runs: Iterable[Run], kind: str, project: str) -> Uploaded:
    """Upload the runs that have ended, each once.

    Args:
        runs: runs in any state.
        kind: name of the target.
        project: name of the project or experiment.

    Raises:
        RunnerError: the target is not installed, or refuses the runs.
    """
    try:
        target = TARGETS[kind](project)
        found = Uploaded(target.location)
        for run in runs:
            if not run.config or not run.results.get("finished"):
                found.left_out += 1
                continue
            record = Record.of(run)
            version = target.uploaded_version(record)
            if version == record.version:
                found.known += 1
                continue
            target.remove(record)
            target.add(record)
            found.renewed += version is not None
            found.new += version is None
    except ImportError as error:
        missing = f"package {error.name or kind} is not installed"
        raise RunnerError(f"--to {kind}: {missing}; {install(kind)}") from error
    except Exception as error:  # each target has errors of its own
        raise RunnerError(f"--to {kind}: {type(error).__name__}: {error}") from error
    return found
