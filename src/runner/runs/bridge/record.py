"""What is uploaded of a run: config, metrics, status and files."""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from runner.runs.found import Run
from runner.tracking.metrics_csv import number, read_rows

FILES = ("config.yaml", "overrides.yaml", "environment.json", "model.txt", "results.json", "metrics.csv")


@dataclass(frozen=True)
class Point:
    """Metrics at a step.

    Args:
        step: number of optimizer updates.
        time: seconds since the epoch.
        metrics: finite values by name.
    """

    step: int
    time: float
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Record:
    """A run that has ended.

    Args:
        key: identifies the run, also after its folder has been moved.
        name: name of the run.
        group: sweep that the run is a job of; None: it is none.
        run: config and results of the run.
    """

    key: str
    name: str
    group: str | None
    run: Run

    @classmethod
    def of(cls, run: Run) -> "Record":
        """Return the record of a run."""
        folder = run.folder
        group = folder.parent.name if (folder.parent / "sweep.yaml").is_file() else None
        name = f"{group}/{folder.name}" if group else folder.name
        key = hashlib.sha256(f"{name} {run.results.get('started')}".encode()).hexdigest()[:16]
        return cls(key, name, group, run)

    @property
    def version(self) -> str:
        """The time at which the run ended: a run that has been resumed since its upload is uploaded again."""
        return str(self.run.results.get("finished"))

    @property
    def tags(self) -> dict[str, str]:
        """What identifies the run and describes its end."""
        results = self.run.results
        error = results.get("error") or {}
        return {
            "runner.key": self.key,
            "runner.folder": str(self.run.folder),
            "runner.status": self.run.status,
            "runner.fit": str(results.get("fit")),
            "runner.overrides": " ".join(map(str, results.get("overrides") or [])),
            **({"runner.sweep": self.group} if self.group else {}),
            **({"runner.error": f"{error['type']}: {error['message']}"} if error else {}),
        }

    @property
    def began(self) -> float:
        """When the run was started, in seconds since the epoch."""
        return seconds(self.run.results.get("started"))

    @property
    def ended(self) -> float:
        """When the run ended, in seconds since the epoch."""
        return seconds(self.run.results.get("finished"))

    def history(self) -> list[Point]:
        """Return the rows of metrics.csv, and the final results: the best metric and those of the test split."""
        points, time = [], self.began
        for row in read_rows(self.run.folder):
            values = {name: number(text) for name, text in row.items()}
            time += values.get("seconds") or 0.0
            metrics = {name: value for name, value in values.items() if value is not None and name != "step"}
            if values.get("step") is not None:
                points.append(Point(int(row["step"]), time, metrics))
        results = self.run.results
        found = {"epoch": results.get("epoch") or 0, **self.run.metrics}
        final = {name: value for name, value in found.items() if math.isfinite(value)}
        return [*points, Point(results.get("step") or 0, self.ended, final)]

    def files(self) -> list[Path]:
        """Return the small files of the run folder."""
        return [path for name in FILES if (path := self.run.folder / name).is_file()]

    def plots(self) -> list[Path]:
        """Return the images of the run folder."""
        return sorted((self.run.folder / "plots").glob("*.png"))


class Target(Protocol):
    """A project of another experiment tracker."""

    location: str  # where it keeps its data

    def uploaded_version(self, record: Record) -> str | None:
        """Return the version of a run that has been uploaded completely; None if it has not."""

    def remove(self, record: Record) -> None:
        """Remove all that has been uploaded of a run."""

    def add(self, record: Record) -> None:
        """Upload a run."""


def seconds(time: Any) -> float:
    """Return a time of results.json in seconds since the epoch; 0 if it is missing or damaged."""
    try:
        return datetime.fromisoformat(str(time)).timestamp()
    except ValueError:
        return 0.0


def as_text(value: Any, longest: int) -> str:
    """Return a config value as text of limited length."""
    text = "null" if value is None else str(value)
    return text if len(text) <= longest else text[: longest - 1] + "…"
