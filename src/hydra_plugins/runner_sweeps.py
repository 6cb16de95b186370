"""Hydra's way to sweeps: it finds these classes by their place in `hydra_plugins`; the work is in `runner.sweep`.

Hydra imports this file for every command, `--help` too; so it imports `runner.sweep` where a sweep begins.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, flag_override

from runner.config.compose import Composer
from runner.errors import ConfigError
from runner.tracking.console import console

if TYPE_CHECKING:
    from runner.sweep.jobs import Sweep


class LocalLauncher(Launcher):
    """Runs the jobs on this machine, each in a process of its own. Works under every sweeper."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        from runner.sweep import server

        server.start()  # it imports torch while the jobs are composed
        self.config, self.composer = config, Composer(hydra_context.config_loader, config)
        self.searches = not config.hydra.sweeper._target_.endswith(RunnerSweeper.__name__)
        self.sweep: Sweep | None = None

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Runs the jobs of a batch; what each returns is its best metric."""
        from runner.sweep import driver
        from runner.sweep.plan import plan

        self.sweep, jobs, machine = plan(self.composer, job_overrides, self.sweep, here=True)
        point_to(self.config, self.sweep)
        try:
            driver.run(self.sweep, jobs, machine)
        except SystemExit:
            if self.searches:
                console.print("search   ends here: a resume finishes the trials that have begun, and proposes no more")
            raise
        returns = []
        for job in jobs:
            done = JobReturn(overrides=job.overrides, task_name=job.folder, status=JobStatus.COMPLETED)
            done.return_value = driver.best_of(self.sweep, job)
            returns.append(done)
        return returns


class RunnerSweeper(BasicSweeper):
    """Every combination of the listed values; or pairs of them (`sweep.zip`), or the sets in a file (`sweep.file`)."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)
        self.task_function = task_function

    def sweep(self, arguments: list[str]) -> Any:
        from runner.sweep import driver
        from runner.sweep.jobs import list_jobs
        from runner.sweep.plan import plan

        assert self.hydra_context is not None
        assert self.config is not None
        assert self.launcher is not None
        composer = Composer(self.hydra_context.config_loader, self.config)
        choices = composer.choices([*self._parse_config(), *arguments])
        try:
            how = composer.compose([each[0] for each in choices.values()]).sweep
        except ConfigError:
            how = None  # the plan tells what is wrong, of every job
        jobs = list_jobs(choices, how)
        if isinstance(self.launcher, LocalLauncher):
            return self.launcher.launch(jobs, initial_job_idx=0)

        # Any other launcher starts processes elsewhere, which find their job in the shared folder by its number.
        sweep, _, _ = plan(composer, jobs, None, here=False)
        point_to(self.config, sweep)
        launcher = Plugins.instance().instantiate_launcher(
            hydra_context=self.hydra_context, task_function=self.task_function, config=self.config
        )  # anew, now that its own files have a place
        return driver.run_elsewhere(sweep, lambda: launcher.launch(jobs, initial_job_idx=0))


def point_to(config: DictConfig, sweep: "Sweep") -> None:
    """Lets sweepers and launchers, and the jobs that they compose anew, know the sweep's folder."""
    with flag_override(config.hydra, ["struct", "readonly"], False):  # Hydra 1.4 hands it over as read-only
        config.hydra.sweep.dir = str(sweep.folder)
        config.hydra.sweep.subdir = "."
        config.hydra.overrides.hydra += [f"hydra.sweep.dir='{sweep.folder}'", "hydra.sweep.subdir=."]
