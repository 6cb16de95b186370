"""The results of a sweep: sweep.csv, sweep.json and sweep.md, rewritten while jobs end."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from typing import Any

from runner.config.schema import flatten
from runner.machine.files import one_at_a_time, write_atomically
from runner.runs.tables import Group, Outcome, as_csv, group_repeats, markdown_table, without
from runner.runs.verdict import sentences
from runner.runs.verdict.groups import Verdict
from runner.runs.verdict.judge import verdicts
from runner.runs.verdict.scores import Entry
from runner.sweep.jobs import FILE, Job, Sweep
from runner.sweep.race.race import Race
from runner.sweep.race.verdict import race_verdict
from runner.tracking.results import DONE, ENDED, as_json, read_results
from runner.tracking.results import FILE as RESULTS


class Table:
    """The results of a sweep: a row for each job, and the mean and standard deviation over repeats.

    Args:
        sweep: sweep whose run folders are read.
    """

    def __init__(self, sweep: Sweep) -> None:
        self.sweep = sweep
        # By job folder: inode and modification time of results.json, and its contents.
        self._read: dict[str, tuple[tuple[int, int], dict[str, Any]]] = {}

    @cached_property
    def race(self) -> Race | None:
        """The race between the groups of the sweep; None if it is not a race."""
        return None if self.sweep.settings.race.max_seeds is None else Race(self.sweep, self.results)

    @property
    def metric(self) -> str:
        """The metric that decides which job is best."""
        return self.sweep.jobs[0].config.trainer.checkpoint.metric

    @property
    def smaller_is_better(self) -> bool:
        """Whether the metric is minimized."""
        return self.sweep.jobs[0].config.trainer.checkpoint.mode == "min"

    def results(self, job: Job) -> dict[str, Any]:
        """Return a job's results.json; an empty dict if the job has not started."""
        folder = self.sweep.path(job)
        try:
            stat = (folder / RESULTS).stat()
        except OSError:
            return {}
        file = stat.st_ino, stat.st_mtime_ns  # each change writes a new file
        if job.folder not in self._read or self._read[job.folder][0] != file:
            self._read[job.folder] = file, read_results(folder)
        return self._read[job.folder][1]

    def status(self, job: Job) -> str:
        """Return the status of a job; "waiting" if it has not started."""
        return str(self.results(job).get("status", "waiting"))

    def metrics(self, job: Job) -> dict[str, float]:
        """Return the best value of the metric, and the metrics on the test split, as far as they are known."""
        results = self.results(job)
        best = results.get("best") or {}
        found = {f"best {best['metric']}": best["value"]} if best.get("value") is not None else {}
        return found | {f"test/{name}": value for name, value in results.get("test", {}).items() if value is not None}

    def command(self, job: Job) -> str:
        """Return the command that repeats a job's run, with the overrides of later resumes."""
        return job.command(self.results(job).get("overrides", job.overrides))

    def row(self, job: Job) -> dict[str, Any]:
        """Return the row of a job in sweep.csv."""
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
        """Return groups of jobs that differ only in seed or fold."""
        done = [self.status(job) in DONE for job in self.sweep.jobs]
        return group_repeats(
            Outcome(job.folder, job.swept, self.metrics(job) if is_done else {})
            for job, is_done in zip(self.sweep.jobs, done, strict=True)
        )

    @property
    def has_repeats(self) -> bool:
        """Whether any job has repeats."""
        return any(len(group.names) > 1 and group.n > 0 for group in self.groups())

    def verdicts(self) -> list[Verdict]:
        """Return the verdict for each dataset, that of the most jobs first."""
        if self.race is not None:
            return [race_verdict(self.race, self.entry)]
        return verdicts(self.entry(job) for job in self.sweep.jobs)

    def entry(self, job: Job) -> Entry:
        """Return a job as a run to be compared."""
        config = flatten(job.config.model_dump(include={"seed", "dataset", "trainer"}))
        return Entry(job.folder, job.swept, config, self.status(job), self.results(job))

    def best(self) -> Job | None:
        """Return the best completed job; with repeats, the best of the group with the best mean."""
        name, sign = f"best {self.metric}", 1 if self.smaller_is_better else -1

        def rank(metrics: Mapping[str, float]) -> float:
            return sign * metrics[name] if name in metrics else math.inf

        # The mean of a group in which some repeats failed is biased: such groups come last.
        group = min(self.groups(), key=lambda group: (group.n < len(group.names), rank(group.mean)))
        done = [job for job in self.sweep.jobs if job.folder in group.names and self.status(job) in DONE]
        return min(done, key=lambda job: rank(self.metrics(job)), default=None)

    def is_left(self, job: Job, retry_failed: bool = False) -> bool:
        """Return whether a resume runs the job. A job that was killed counts as interrupted, not as failed.

        Args:
            job: job to resume.
            retry_failed: whether the resume also runs failed jobs.
        """
        results = self.results(job)
        killed = (results.get("error") or {}).get("type") == "Killed"
        failed = results.get("status") in ("failed", "diverged")
        return results.get("status") not in ENDED or (failed and (killed or retry_failed))

    def counts(self) -> dict[str, int]:
        """Return the number of jobs with each status."""
        found = [self.status(job) for job in self.sweep.jobs]
        return {status: found.count(status) for status in dict.fromkeys(sorted(found))}

    def save(self, ended: bool = False) -> None:
        """Rewrite the three files. A lock prevents another process from replacing them with older results.

        Args:
            ended: whether the sweep has ended; only then the files contain a verdict, which takes half a second.
        """
        folder = self.sweep.folder
        with one_at_a_time(folder / FILE):
            found = self.verdicts() if ended else []
            rows = self.rows(found)
            write_atomically(folder / "sweep.csv", as_csv(rows))
            write_atomically(folder / "sweep.json", as_json(self.as_json(found)))
            write_atomically(folder / "sweep.md", self.as_markdown(rows, found))

    def rows(self, found: Sequence[Verdict]) -> list[dict[str, Any]]:
        """Return the rows of all jobs; with repeats, each has the verdict about its group.

        Args:
            found: verdicts of the sweep; empty while it runs.
        """
        words = {name: group.verdict for verdict in found for group in verdict.groups for name in group.runs}
        words = words if self.has_repeats else {}
        return [self.row(job) | ({"verdict": words[job.folder]} if words else {}) for job in self.sweep.jobs]

    def as_json(self, found: Sequence[Verdict]) -> dict[str, Any]:
        """Return the contents of sweep.json.

        Args:
            found: verdicts of the sweep; empty while it runs.
        """
        best = self.best()
        return {
            "schema": 1,
            "metric": self.metric,
            "mode": "min" if self.smaller_is_better else "max",
            "swept": self.sweep.swept,
            "jobs": [self._job_as_json(job) for job in self.sweep.jobs],
            "groups": [asdict(group) for group in self.groups()],
            **sentences.all_as_json(found),
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

    def as_markdown(self, rows: Sequence[Mapping[str, Any]], found: Sequence[Verdict]) -> str:
        """Return the contents of sweep.md.

        Args:
            rows: rows of the jobs.
            found: verdicts of the sweep; empty while it runs.
        """
        best = self.best()
        parts = [f"# {self.sweep.folder.name}", ", ".join(f"{n} {status}" for status, n in self.counts().items())]
        if best is not None:
            parts.append(f"Best by {self.metric}: **{best.title}**, repeated by\n\n    {self.command(best)}")
        parts += sentences.as_markdown(found)
        parts.append(markdown_table([without(row, "overrides") for row in rows]))
        if self.has_repeats:
            parts.append("Jobs that differ only in seed or fold, as mean ± standard deviation:")
            parts.append(markdown_table([group.row() for group in self.groups()]))
        return "\n\n".join(parts) + "\n"
