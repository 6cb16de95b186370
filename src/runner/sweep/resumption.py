"""Resume a search: finish the trials that have begun, and continue until all have run."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from runner.config.calling import call_hydra
from runner.config.composition import COMPOSITION_ERRORS
from runner.config.explain import in_words
from runner.config.schema import Config
from runner.errors import ConfigError
from runner.sweep import driver
from runner.sweep.jobs import Job, Sweep
from runner.sweep.report.table import Table
from runner.sweep.search import TRIALS, check_same_search, check_same_trial
from runner.tracking.console import console

REPORT = "optimization_results.yaml"  # written by Hydra's sweeper at the end of a search


@dataclass(eq=False)
class Resumption:
    """A search that is resumed, which Hydra's sweeper and launcher get in place of a task.

    Args:
        sweep: the sweep with the trials that have begun.
        retry_failed: whether to run failed trials again.
        jobs: how many jobs run at a time; None: as many as when the search was started.
        is_checked: whether the config files are known to give the same search.
    """

    sweep: Sweep
    retry_failed: bool
    jobs: int | None
    is_checked: bool = False

    def __call__(self, cfg: Any) -> None:
        """Do nothing: the launcher runs the jobs in processes of their own."""

    def check(self, settings: dict[str, Any], compose: Callable[[Sequence[str]], Config]) -> None:
        """Check once that the search is still the same, and save a new number of trials.

        Args:
            settings: the config of the sweeper.
            compose: function that composes the config of a job.

        Raises:
            ConfigError: with one line for each difference.
        """
        if self.is_checked:
            return
        assert self.sweep.search is not None
        first = self.sweep.jobs[0]
        check_same_search(self.sweep.search, settings, first.config, compose(first.overrides))
        self.sweep.save()
        self.is_checked = True

    def repeat(
        self, proposed: Sequence[Sequence[str]], first: int, compose: Callable[[Sequence[str]], Config]
    ) -> list[Job]:
        """Finish those of the proposed trials that have begun, and return their jobs.

        Args:
            proposed: overrides of the trials in a batch.
            first: number of the first one, from 0.
            compose: function that composes the config of a job.

        Raises:
            ConfigError: the sampler proposes other trials than before.
            SweepStopped: for the same reasons as in `driver.run`.
        """
        begun = self.sweep.jobs[first : first + len(proposed)]
        for number, (job, overrides) in enumerate(zip(begun, proposed, strict=False), start=first + 1):
            check_same_trial(number, job.overrides, overrides, len(self.sweep.jobs))
        known = {module for job in self.sweep.jobs for module in job.config.plugins}
        for overrides in proposed[len(begun) :]:
            if other := set(compose(overrides).plugins) - known:  # their files have not been checked
                raise ConfigError(f"plugins: found {', '.join(sorted(other))}; a resume cannot add modules to a search")
        table = Table(self.sweep)
        left = [job for job in begun if table.is_left(job, self.retry_failed)]
        if left:
            driver.run_left(self.sweep, left, self.jobs)
        return begun


def continue_search(resumption: Resumption, trials: int | None) -> int:
    """Finish the trials of a search that have begun, and continue it; return the exit code.

    Args:
        resumption: the search.
        trials: new number of trials; the number of those that have begun only finishes them. None: as before.

    Raises:
        ConfigError: the search cannot be repeated; nothing was changed.
        SweepStopped: for the same reasons as in `driver.run`.
    """
    sweep, search, begun = resumption.sweep, resumption.sweep.search, len(resumption.sweep.jobs)
    assert search is not None
    if search.obstacle is not None or trials == begun:
        if trials not in (None, begun):
            raise ConfigError(f"{TRIALS}: found {trials}; allowed: {begun} ({search.obstacle})")
        code = driver.resume(sweep.folder, resumption.retry_failed, resumption.jobs)
        if begun < search.trials:
            reason = search.obstacle or f"{TRIALS}={begun}"
            console.print(f"search   ends after {begun} of {search.trials} trials: {reason}")
        return code
    if trials is not None:
        search.extend(trials, begun)
    asked = search.arguments(sweep.folder)
    if resumption.jobs is not None:
        asked.overrides.append(f"sweep.jobs={resumption.jobs}")
    table = Table(sweep)
    is_left = any(table.is_left(job, resumption.retry_failed) for job in sweep.jobs)
    is_trained = not is_left and begun >= search.trials
    if not is_trained:
        console.print(f"search   continues after {begun} of {search.trials} trials")
    if not is_trained or not (sweep.folder / REPORT).exists():
        try:
            call_hydra(resumption, asked)
        except COMPOSITION_ERRORS as error:
            raise ConfigError(f"{sweep.folder}: {in_words(error)}") from error
    # A kill after the last trial can leave the table without a verdict, and no further trial will rewrite it.
    if is_trained:
        return driver.resume(sweep.folder, resumption.retry_failed, resumption.jobs)
    return driver.finish(sweep)


def report_start(sweep: Sweep) -> None:
    """Print the number of trials of a search, and the seed with which their values can be proposed again."""
    search = sweep.search
    if search is None:
        return
    seed = (search.settings.get("sampler") or {}).get("seed")
    again = "" if seed is None else f"; to repeat it: hydra.sweeper.sampler.seed={seed}"
    console.print(f"search   {search.trials} trials{again}")


def report_stop(sweep: Sweep) -> None:
    """Print what a resume does with a search that has been stopped."""
    search = sweep.search
    if search is None:
        return
    if search.obstacle is None:
        console.print(f"search   stopped: a resume finishes the trials and continues until {search.trials} have run")
    else:
        console.print(f"search   stopped: a resume finishes the trials and proposes no new ones: {search.obstacle}")
