"""Race groups of jobs: run all of them with more and more seeds, and drop those that are significantly worse.

The results are the whole state. The jobs that run next, and the groups that are dropped, follow from them whenever they
are read, and do not depend on the order in which jobs end. Therefore a job starts only when the look before it has been
decided, even if that leaves cores idle for the time of a job.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from runner.config.frozen import freeze
from runner.errors import RunnerError
from runner.machine.files import write_atomically
from runner.runs.folder import fill_run_folder, locked
from runner.runs.tables import REPEATS, without
from runner.sweep.jobs import Job, Sweep
from runner.sweep.race.rule import Exit, Score, Standing, replay
from runner.tracking.console import console
from runner.tracking.events import event
from runner.tracking.results import DONE, DROPPED, Results

UNEQUAL_NOISE = " (up to 6% in simulations with unequal noise)"  # measured with alpha=0.05


@dataclass(frozen=True)
class Group:
    """Jobs that differ only in the seed.

    Args:
        values: swept keys, without the seed, with the values of the group.
        jobs: jobs in the order of their seeds.
    """

    values: Mapping[str, Any]
    jobs: list[Job]

    @property
    def title(self) -> str:
        """The overrides that the jobs share, as typed."""
        return self.jobs[0].typed(self.values)


def groups_of(jobs: Sequence[Job]) -> list[Group]:
    """Return the groups of the jobs of a race, in the order in which they were listed."""
    found: dict[str, Group] = {}
    for job in jobs:
        values = without(job.swept, *REPEATS)
        found.setdefault(json.dumps(values, sort_keys=True), Group(values, [])).jobs.append(job)
    return list(found.values())


class Race:
    """The race between the groups of a sweep.

    Args:
        sweep: sweep with `sweep.race.max_seeds`.
        results: returns the results.json of a job.
    """

    def __init__(self, sweep: Sweep, results: Callable[[Job], Mapping[str, Any]]) -> None:
        self.sweep, self.results = sweep, results

    @cached_property
    def groups(self) -> list[Group]:
        """The groups, in the order in which they were listed."""
        return groups_of(self.sweep.jobs)

    def standing(self, again: Set[str] = frozenset()) -> Standing:
        """Return the state of the race according to the results.

        Args:
            again: folders of jobs whose results do not count, because they are to run again.
        """
        scores = [
            ["waiting" if job.folder in again else self.score(job) for job in group.jobs] for group in self.groups
        ]
        return replay(scores, self.sweep.settings.race.alpha)

    def score(self, job: Job) -> Score:
        """Return the score of a job, more is better."""
        results = self.results(job)
        if results.get("status") in DONE:
            value = (results.get("best") or {}).get("value")
            sign = -1.0 if job.config.trainer.checkpoint.mode == "min" else 1.0
            return math.nan if value is None else sign * value
        ended: dict[Any, Score] = {"diverged": math.nan, "failed": "failed"}
        return ended.get(results.get("status"), "waiting")

    def rounds(self, jobs: Sequence[Job]) -> Iterator[list[Job]]:
        """Yield the jobs that each look needs; when they have ended, report and record the groups that it drops.

        Args:
            jobs: jobs that this process may run, among them failed ones to run again.
        """
        again = {job.folder for job in jobs}  # jobs whose earlier results do not count, until they have run again
        tried, reported = set[str](), 0  # jobs that were yielded, and the number of exits that were reported
        while True:
            standing = self.standing(again)
            for each in standing.exits[reported:]:
                self.report(each)
            reported = len(standing.exits)
            self.record(standing, again)
            needed = [job for job in self.needed(standing) if job.folder not in tried]
            if not needed:  # the race is over, or jobs could not be started
                return
            yield needed
            tried |= {job.folder for job in needed}
            again -= tried

    def report(self, left: Exit) -> None:
        """Report that a group has left the race."""
        facts = {"values": self.groups[left.group].values, "seeds": left.seeds, "why": left.why}
        numbers = {"difference": left.difference, "least": left.lower_bound}
        text = f"race     {self.describe(left)}"
        console.print(text, event=event("group dropped", **facts, **numbers), style="cyan")

    def needed(self, standing: Standing | None = None) -> list[Job]:
        """Return the jobs that the next look needs, ordered by seed.

        Args:
            standing: state of the race; None: according to the results.
        """
        standing = self.standing() if standing is None else standing
        return [self.groups[group].jobs[seed] for group, seed in standing.waiting]

    def record(self, standing: Standing, again: Set[str]) -> None:
        """Record the jobs that are not needed, and those among them that were to run again, as dropped.

        A group needs the seeds until it left the race. The others need all of them, or if the race is over, those until
        the last look.
        """
        last = len(self.groups[0].jobs) if standing.waiting else standing.seeds
        needed = dict.fromkeys(standing.live, last) | {each.group: each.seeds for each in standing.exits}
        for number, group in enumerate(self.groups):
            for job in group.jobs[needed[number] :]:
                is_open = self.score(job) == "waiting" or job.folder in again
                if is_open and self.results(job).get("status") != DROPPED:
                    self.drop(job)

    def drop(self, job: Job) -> None:
        """Record in the run folder of a job that it is dropped. If that fails, a resume does it."""
        with suppress(OSError, RunnerError):
            folder = fill_run_folder(self.sweep.path(job))
            with locked(folder):
                write_atomically(folder / "config.yaml", freeze(job.config))
                Results.open(folder, job.config.name, job.config.seed, job.overrides).end(DROPPED, error=None)

    def describe(self, left: Exit) -> str:
        """Return in words why a group has left the race."""
        title = self.groups[left.group].title
        if left.why == "worse":
            behind = f"behind by {left.difference:.2g} (lower bound {left.lower_bound:.2g})"
            return f"{title} dropped after {left.seeds} seeds: {behind}"
        return f"{title} {left.why} in {left.count} of {left.seeds} runs: dropped, not compared"

    def sentence(self) -> str:
        """Return the verdict of the race in words."""
        standing = self.standing()
        done = sum(self.score(job) != "waiting" for job in self.sweep.jobs)
        runs = f"{done} of {len(self.sweep.jobs)} runs"
        if standing.waiting and standing.leader is None:
            return f"no look at the groups yet; {runs}"
        if standing.leader is None:
            return f"no group is left: runs of all of them diverged or failed; {runs}"
        rivals, after = len(standing.live) - 1, f"after {standing.seeds} seeds"
        others = f"{rivals} not separated {after}" if rivals else f"all others dropped {after}"
        start = f"{self.groups[standing.leader].title} leads; {others}; {runs}"
        if standing.waiting:
            return f"{start}; the race is not over"
        alpha = self.sweep.settings.race.alpha
        simulated = UNEQUAL_NOISE if alpha == 0.05 else ""
        promise = f"The race drops the true best with probability at most {100 * alpha:g}%{simulated}"
        if any(each.why != "worse" for each in standing.exits):
            promise += "; this does not cover groups that left because runs diverged or failed"
        return f"{start}. {promise}."
