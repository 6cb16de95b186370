"""What came of a sweep's jobs: sweep.csv, sweep.json and sweep.md, true after every job."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from runner.machine.files import one_at_a_time, write_atomically
from runner.runs.tables import Group, Outcome, as_csv, group_repeats, markdown_table, without
from runner.sweep.jobs import FILE, Job, Sweep
from runner.tracking.results import DONE, ENDED, as_json, read_results
from runner.tracking.results import FILE as RESULTS


class Table:
    """A row for each job, and for repeats of the same one their mean and deviation.

    Args:
        sweep: whose folders are read.
    """

    def __init__(self, sweep: Sweep) -> None:
        self.sweep = sweep
        self._read: dict[str, tuple[tuple[int, int], dict[str, Any]]] = {}  # results, by which file they are from

    @property
    def metric(self) -> str:
        """The metric that decides which job is best."""
        return self.sweep.jobs[0].config.trainer.checkpoint.metric

    @property
    def smaller_is_better(self) -> bool:
        return self.sweep.jobs[0].config.trainer.checkpoint.mode == "min"

    def results(self, job: Job) -> dict[str, Any]:
        """A job's results.json; nothing when it has not started."""
        folder = self.sweep.path(job)
        try:
            stat = (folder / RESULTS).stat()
        except OSError:
            return {}
        file = stat.st_ino, stat.st_mtime_ns  # it is never changed, but replaced
        if job.folder not in self._read or self._read[job.folder][0] != file:
            self._read[job.folder] = file, read_results(folder)
        return self._read[job.folder][1]

    def status(self, job: Job) -> str:
        return str(self.results(job).get("status", "waiting"))

    def metrics(self, job: Job) -> dict[str, float]:
        """The best value of the metric, and the metrics of the test split."""
        results = self.results(job)
        best = results.get("best") or {}
        found = {f"best {best['metric']}": best["value"]} if best.get("value") is not None else {}
        return found | {f"test/{name}": value for name, value in results.get("test", {}).items() if value is not None}

    def command(self, job: Job) -> str:
        """The command that repeats a job's run; with what it was resumed with since, by itself."""
        return job.command(self.results(job).get("overrides", job.overrides))

    def row(self, job: Job) -> dict[str, Any]:
        results = self.results(job)
        error = results.get("error")
        return {
            "job": job.folder,
            "status": self.status(job),
            **{key: "null" if value is None else value for key, value in job.swept.items()},
            "epoch": results.get("epoch", 0),
            **self.metrics(job),
            "seconds": results.get("seconds", {}).get("total"),
            "error": f"{error['type']}: {error['message']}" if error else None,
            "overrides": " ".join(job.overrides),
        }

    def groups(self) -> list[Group]:
        """Jobs that differ only in seed or fold, together."""
        done = [self.status(job) in DONE for job in self.sweep.jobs]
        return group_repeats(
            Outcome(job.folder, job.swept, self.metrics(job) if is_done else {})
            for job, is_done in zip(self.sweep.jobs, done, strict=True)
        )

    @property
    def has_repeats(self) -> bool:
        """Whether there are means to show."""
        return any(len(group.names) > 1 and group.n > 0 for group in self.groups())

    def best(self) -> Job | None:
        """The best completed job; where there are repeats, of those that are best on average."""
        name, sign = f"best {self.metric}", 1 if self.smaller_is_better else -1

        def rank(metrics: Mapping[str, float]) -> float:
            return sign * metrics[name] if name in metrics else math.inf

        # Where some repeats of a group failed, the mean is over the lucky ones.
        group = min(self.groups(), key=lambda group: (group.n < len(group.names), rank(group.mean)))
        done = [job for job in self.sweep.jobs if job.folder in group.names and self.status(job) in DONE]
        return min(done, key=lambda job: rank(self.metrics(job)), default=None)

    def is_left(self, job: Job, retry_failed: bool = False) -> bool:
        """Whether a resume runs the job. One that was killed from outside was interrupted, whatever killed it."""
        results = self.results(job)
        killed = (results.get("error") or {}).get("type") == "Killed"
        failed = results.get("status") in ("failed", "diverged")
        return results.get("status") not in ENDED or (failed and (killed or retry_failed))

    def counts(self) -> dict[str, int]:
        """How many jobs have each status."""
        found = [self.status(job) for job in self.sweep.jobs]
        return {status: found.count(status) for status in dict.fromkeys(sorted(found))}

    def save(self) -> None:
        """Rewrites the three files, each at once. Where each job has a process that does, none writes what is older."""
        folder = self.sweep.folder
        with one_at_a_time(folder / FILE):
            rows = [self.row(job) for job in self.sweep.jobs]
            write_atomically(folder / "sweep.csv", as_csv(rows))
            write_atomically(folder / "sweep.json", as_json(self.as_json()))
            write_atomically(folder / "sweep.md", self.as_markdown(rows))

    def as_json(self) -> dict[str, Any]:
        best = self.best()
        return {
            "schema": 1,
            "metric": self.metric,
            "mode": "min" if self.smaller_is_better else "max",
            "swept": self.sweep.swept,
            "jobs": [self._job_as_json(job) for job in self.sweep.jobs],
            "groups": [asdict(group) for group in self.groups()],
            "best": best and {"job": best.folder, **self.metrics(best), "command": self.command(best)},
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
            "command": self.command(job),
        }

    def as_markdown(self, rows: Sequence[Mapping[str, Any]]) -> str:
        best = self.best()
        parts = [f"# {self.sweep.folder.name}", ", ".join(f"{n} {status}" for status, n in self.counts().items())]
        if best is not None:
            parts.append(f"Best by {self.metric}: **{best.title}**, repeated by\n\n    {self.command(best)}")
        parts.append(markdown_table([without(row, "overrides") for row in rows]))
        if self.has_repeats:
            parts.append("Jobs that differ only in seed or fold, as mean ± standard deviation:")
            parts.append(markdown_table([group.row() for group in self.groups()]))
        return "\n\n".join(parts) + "\n"
