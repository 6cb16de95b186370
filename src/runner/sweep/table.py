"""What came of a sweep's jobs: sweep.csv, sweep.json and sweep.md, true after every job."""

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

from runner.files import write_atomically
from runner.results import DONE, ENDED, read_results
from runner.sweep.jobs import Job, Sweep

REPEATS = ("seed", "dataset.seed", "dataset.fold")  # jobs that differ only in these are repeats of one another


class Table:
    """A row for each job, and for repeats of the same one their mean and deviation.

    Args:
        sweep: whose folders are read.
    """

    def __init__(self, sweep: Sweep) -> None:
        self.sweep = sweep
        self._ended: dict[str, dict[str, Any]] = {}  # results that will not change while this sweep runs

    @property
    def metric(self) -> str:
        """The metric that decides which job is best."""
        return self.sweep.jobs[0].config.trainer.checkpoint.metric

    @property
    def smaller_is_better(self) -> bool:
        return self.sweep.jobs[0].config.trainer.checkpoint.mode == "min"

    def results(self, job: Job) -> dict[str, Any]:
        """A job's results.json; nothing when it has not started."""
        if job.folder in self._ended:
            return self._ended[job.folder]
        results = read_results(self.sweep.path(job))
        if results.get("status") in ENDED:
            self._ended[job.folder] = results
        return results

    def forget(self, job: Job) -> None:
        """The job runs again."""
        self._ended.pop(job.folder, None)

    def status(self, job: Job) -> str:
        return str(self.results(job).get("status", "waiting"))

    def metrics(self, job: Job) -> dict[str, float]:
        """The best value of the metric, and the metrics of the test split."""
        results = self.results(job)
        best = results.get("best") or {}
        found = {f"best {best['metric']}": best["value"]} if best else {}
        return found | {f"test/{name}": value for name, value in results.get("test", {}).items() if value is not None}

    def row(self, job: Job) -> dict[str, Any]:
        results = self.results(job)
        error = results.get("error")
        return {
            "job": job.folder,
            "status": self.status(job),
            **job.swept,
            "epoch": results.get("epoch", 0),
            **self.metrics(job),
            "seconds": results.get("seconds", {}).get("total"),
            "error": f"{error['type']}: {error['message']}" if error else None,
            "overrides": " ".join(job.overrides),
        }

    def groups(self) -> list[dict[str, Any]]:
        """Repeats of the same job together: what they share, how many are done, mean and standard deviation."""
        repeats: dict[str, list[Job]] = {}
        for job in self.sweep.jobs:
            shared = {key: value for key, value in job.swept.items() if key not in REPEATS}
            repeats.setdefault(json.dumps(shared, sort_keys=True), []).append(job)
        groups = []
        for jobs in repeats.values():
            shared = {key: value for key, value in jobs[0].swept.items() if key not in REPEATS}
            found = [self.metrics(job) for job in jobs if self.status(job) in DONE]
            names = list(dict.fromkeys(name for metrics in found for name in metrics))
            values = {name: [metrics[name] for metrics in found if name in metrics] for name in names}
            groups.append(
                {
                    "swept": shared,
                    "n": len(found),
                    "mean": {name: fmean(each) for name, each in values.items()},
                    "std": {name: stdev(each) if len(each) > 1 else None for name, each in values.items()},
                    "jobs": [job.folder for job in jobs],
                }
            )
        return groups

    @property
    def has_repeats(self) -> bool:
        return any(len(group["jobs"]) > 1 for group in self.groups())

    def best(self) -> Job | None:
        """The best completed job; where there are repeats, of those that are best on average."""
        name, sign = f"best {self.metric}", 1 if self.smaller_is_better else -1

        def rank(metrics: Mapping[str, float]) -> float:
            return sign * metrics[name] if name in metrics else math.inf

        group = min(self.groups(), key=lambda group: rank(group["mean"]))
        done = [job for job in self.sweep.jobs if job.folder in group["jobs"] and self.status(job) in DONE]
        return min(done, key=lambda job: rank(self.metrics(job)), default=None)

    def counts(self) -> dict[str, int]:
        """How many jobs have each status."""
        found = [self.status(job) for job in self.sweep.jobs]
        return {status: found.count(status) for status in dict.fromkeys(sorted(found))}

    def save(self) -> None:
        """Rewrites the three files, each at once."""
        folder, rows = self.sweep.folder, [self.row(job) for job in self.sweep.jobs]
        write_atomically(folder / "sweep.csv", as_csv(rows))
        write_atomically(folder / "sweep.json", json.dumps(self.as_json(), indent=2) + "\n")
        write_atomically(folder / "sweep.md", self.as_markdown(rows))

    def as_json(self) -> dict[str, Any]:
        best = self.best()
        return {
            "schema": 1,
            "metric": self.metric,
            "mode": "min" if self.smaller_is_better else "max",
            "swept": self.sweep.swept,
            "jobs": [self._job_as_json(job) for job in self.sweep.jobs],
            "groups": self.groups(),
            "best": best and {"job": best.folder, **self.metrics(best), "command": best.command},
        }

    def _job_as_json(self, job: Job) -> dict[str, Any]:
        results = self.results(job)
        kept = ("error", "epoch", "step", "train", "val", "test", "best", "fit", "parameters", "seconds")
        return {
            "job": job.folder,
            "status": self.status(job),
            "overrides": job.overrides,
            "swept": job.swept,
            **{key: results.get(key) for key in kept},
            "command": job.command,
        }

    def as_markdown(self, rows: Sequence[Mapping[str, Any]]) -> str:
        best = self.best()
        parts = [f"# {self.sweep.folder.name}", ", ".join(f"{n} {status}" for status, n in self.counts().items())]
        if best is not None:
            parts.append(f"Best by {self.metric}: **{best.folder}**, repeated by\n\n    {best.command}")
        parts.append(markdown_table([without(row, "overrides") for row in rows]))
        if self.has_repeats:
            parts.append("Jobs that differ only in seed or fold, as mean ± standard deviation:")
            parts.append(markdown_table([spread(group) for group in self.groups()]))
        return "\n\n".join(parts) + "\n"


def spread(group: Mapping[str, Any]) -> dict[str, Any]:
    """A group as a row of text: mean ± standard deviation."""
    row = {**group["swept"], "n": group["n"]}
    for name, mean in group["mean"].items():
        std = group["std"][name]
        row[name] = show(mean) if std is None else f"{show(mean)} ± {show(std)}"
    return row


def without(row: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key not in keys}


def columns(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """All keys, in the order of their first appearance; what comes last in a row comes last here too."""
    names: list[str] = []
    for row in rows:
        place = 0
        for key in row:
            if key in names:
                place = names.index(key) + 1
            else:
                names.insert(place, key)
                place += 1
    return names


def show(value: Any) -> str:
    """A cell, for a person."""
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns(rows), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def markdown_table(rows: Sequence[Mapping[str, Any]]) -> str:
    names = columns(rows)
    cells = [[show(row.get(name)).replace("|", "\\|").replace("\n", " ") for name in names] for row in rows]
    lines = [names, ["---"] * len(names), *cells]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def text_table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Lines with aligned columns."""
    names = columns(rows)
    lines = [names, *([show(row.get(name)) for name in names] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(names))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
