"""Connect sweeps to Hydra, which finds these classes by their place in `hydra_plugins`.

Hydra imports this file for every command, even for `--help`. Therefore functions import what needs torch or pydantic.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, flag_override

from runner.config.calling import settings_of
from runner.config.compose import Composer
from runner.errors import ConfigError, SweepStopped

if TYPE_CHECKING:
    from runner.cli import Task
    from runner.sweep.jobs import Job, Sweep
    from runner.sweep.resumption import Resumption


class LocalLauncher(Launcher):
    """Run the jobs on this machine, each in a process of its own. Works with every sweeper."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        from runner.sweep.execution import server

        server.start()  # it imports torch while the jobs are composed
        self.config, self.composer = config, Composer(hydra_context.config_loader, config)
        self.task = cast("Task | Resumption", task_function)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run a batch of jobs; each returns its best metric. Trials of a search that is resumed are not run again."""
        from runner.sweep import driver
        from runner.sweep.resumption import Resumption, report_stop

        jobs: list[Job] = []
        try:
            if isinstance(self.task, Resumption):
                self.task.check(settings_of(self.config), self.composer.compose)
                point_to(self.config, self.task.sweep)
                jobs += self.task.repeat(job_overrides, initial_job_idx, self.composer.compose)
            if len(jobs) < len(job_overrides):
                jobs += self.run(job_overrides[len(jobs) :])
        except SweepStopped:
            if self.task.sweep is not None:
                report_stop(self.task.sweep)
            raise
        assert self.task.sweep is not None
        returns = []
        for job, value in zip(jobs, driver.tell(self.task.sweep, jobs, initial_job_idx), strict=True):
            done = JobReturn(overrides=job.overrides, task_name=job.folder, status=JobStatus.COMPLETED)
            done.return_value = value
            returns.append(done)
        return returns

    def run(self, job_overrides: Sequence[Sequence[str]]) -> "list[Job]":
        """Freeze and run new jobs, and return them."""
        from runner.sweep import driver
        from runner.sweep.plan import plan
        from runner.sweep.resumption import report_start

        sweep, jobs, machine = plan(self.composer, job_overrides, self.task.sweep, here=True)
        if self.task.sweep is None:
            report_start(sweep)
        self.task.sweep = sweep
        point_to(self.config, sweep)
        driver.run(sweep, jobs, machine)
        return jobs


class RunnerSweeper(BasicSweeper):
    """Run every combination of the listed values, or pairs of them (`sweep.zip`), or sets in a file (`sweep.file`)."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)
        self.task_function = task_function

    def sweep(self, arguments: list[str]) -> Any:
        from runner.sweep.jobs import expand_jobs
        from runner.sweep.race.jobs import with_seeds

        assert self.hydra_context is not None
        assert self.config is not None
        assert self.launcher is not None
        composer = Composer(self.hydra_context.config_loader, self.config)
        choices = composer.choices([*self._parse_config(), *arguments])
        try:
            settings = composer.compose([each[0] for each in choices.values()]).sweep
        except ConfigError:
            settings = None  # the plan reports the problems of all jobs
        jobs = expand_jobs(choices, settings)
        if settings is not None and settings.race.max_seeds is not None:
            jobs = with_seeds(jobs, composer)
        if isinstance(self.launcher, LocalLauncher):
            return self.launcher.launch(jobs, initial_job_idx=0)
        return self.launch_elsewhere(composer, jobs)

    def launch_elsewhere(self, composer: Composer, jobs: Sequence[Sequence[str]]) -> Any:
        """Run the jobs with another launcher, whose processes find their job in sweep.yaml by its number."""
        from runner.sweep import driver
        from runner.sweep.plan import plan

        assert self.hydra_context is not None
        assert self.config is not None
        sweep, _, _ = plan(composer, jobs, None, here=False)
        point_to(self.config, sweep)
        launcher = Plugins.instance().instantiate_launcher(
            hydra_context=self.hydra_context, task_function=self.task_function, config=self.config
        )  # a new one, which writes its own files into the sweep's folder
        returns = driver.run_elsewhere(sweep, lambda: launcher.launch(jobs, initial_job_idx=0))
        cast("Task", self.task_function).sweep = sweep  # not before: the launcher pickles the task
        return returns


def point_to(config: DictConfig, sweep: "Sweep") -> None:
    """Set the sweep's folder in the config, for sweepers, launchers, and jobs that are composed again elsewhere."""
    if config.hydra.sweep.dir == str(sweep.folder):
        return  # a batch of a search before has done it
    with flag_override(config.hydra, ["struct", "readonly"], False):  # Hydra 1.4 passes a read-only config
        config.hydra.sweep.dir = str(sweep.folder)
        config.hydra.sweep.subdir = "."
        config.hydra.overrides.hydra += [f"hydra.sweep.dir='{sweep.folder}'", "hydra.sweep.subdir=."]
