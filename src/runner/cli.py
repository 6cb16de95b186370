"""The command line: choose the command; without one, train.

`--help`, `--cfg` and errors in a config need neither torch nor pydantic. Therefore functions import what depends on
them.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout, suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from runner.commands import COMMANDS, resume, show
from runner.config.arguments import Typed, check_arguments, split
from runner.config.compose import typed
from runner.config.composition import COMPOSITION_ERRORS, CONF, VERSION_BASE, check_hydra
from runner.config.explain import in_words
from runner.config.own_files import searching
from runner.config.problems import find_problems
from runner.errors import ConfigError, RunnerError, SweepStopped
from runner.machine.ranks import is_leader, local_rank
from runner.machine.startup import speed_up

if TYPE_CHECKING:
    from runner.sweep.jobs import Sweep


def main(arguments: list[str] | None = None) -> int:
    """Run a command; return its exit code: 0 completed, 1 failed, 2 bad config or usage, 3 diverged."""
    arguments = sys.argv[1:] if arguments is None else arguments
    command = COMMANDS.get(arguments[0]) if arguments else None
    try:
        if not is_leader() and command not in (None, resume):
            return 0
        with nullcontext() if is_leader() else silent():
            return command(arguments[1:]) if command else train(arguments)
    except SweepStopped as stopped:
        return stopped.exit_code
    except RunnerError as error:
        with suppress(ConfigError):  # local_rank raises it if torchrun's variables are wrong
            if isinstance(error, ConfigError) and local_rank() > 0:
                return error.exit_code  # every rank finds the same problems: only the first of each machine prints them
        print("error:", str(error).replace("\n", "\n       "), file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader of standard output, such as `head`, has ended
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:  # a full disk, or an unreadable file
        print("error:", error, file=sys.stderr)
        return 1


@contextmanager
def silent() -> Iterator[None]:
    """Discard standard output, because under torchrun only rank 0 prints. Errors are still printed."""
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
        yield


@dataclass(eq=False)
class Task:
    """Train one run: the function that Hydra calls with the composed config.

    Hydra also passes it to the sweeper and the launcher; those of runner set `sweep`. Other launchers pickle it.

    Args:
        exit_code: the exit code of the run.
        error: the error that ended the run. It is not raised, because Hydra would print a message of its own.
        sweep: the sweep that has been started.
    """

    exit_code: int = 0
    error: RunnerError | None = None
    sweep: "Sweep | None" = None

    def __call__(self, cfg: DictConfig) -> float | None:
        from runner.sweep.jobs import is_sweep

        hydra_config = HydraConfig.get()
        folder = Path(hydra_config.sweep.dir)  # "." outside a sweep
        if folder.is_absolute() and is_sweep(folder):  # another launcher has started this process for one job
            from runner.sweep.driver import run_one

            return run_one(folder, hydra_config.job.num)
        overrides: Any = OmegaConf.to_container(hydra_config.overrides.task)  # unlike list(), keeps each ${...}
        try:
            self.exit_code = max(self.exit_code, train_config(cfg, overrides))
        except RunnerError as error:
            self.error = self.error or error
        return None


def train(arguments: list[str]) -> int:
    """Run `python -m runner [overrides]`: compose a config, check it, and train; with -m, run a sweep."""
    check_arguments(arguments)
    asked = split(arguments)
    if "--version" in asked.flags:
        return show_version()
    task = Task()
    try:
        call_hydra(task, asked)
    except COMPOSITION_ERRORS as error:
        lines = find_problems(asked.overrides, asked.config_dir, typed, asked.config_name)
        raise ConfigError(*(lines or [in_words(error)])) from error
    if isinstance(task.error, ConfigError):
        raise all_problems(task.error, asked)
    if task.error is not None:
        raise task.error
    if task.sweep is not None:
        from runner.sweep.driver import finish

        return finish(task.sweep)
    return task.exit_code


def call_hydra(task: Task, asked: Typed) -> None:
    """Let Hydra compose the config and call the task or run the sweep, or answer --help and similar flags."""
    hydra_help = "--hydra-help" in asked.flags
    if not hydra_help and not {"--shell-completion", "-sc"} & {*asked.flags}:
        check_hydra(asked)
    arguments = asked.flags if hydra_help else [*asked.flags, *asked.overrides]  # --hydra-help composes nothing
    with searching(asked.config_dir), hydra_called_with(arguments):
        hydra.main(config_path=str(CONF), config_name="config", **VERSION_BASE)(task)()


@contextmanager
def hydra_called_with(arguments: list[str]) -> Iterator[None]:
    """Pass arguments to Hydra, and let it raise errors rather than print them and exit.

    Hydra takes both from global state: `sys.argv` and an environment variable. They are restored on exit.
    """
    argv, full_error = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    sys.argv = ["runner", *arguments]
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        yield
    finally:
        sys.argv = argv
        if full_error is None:
            del os.environ["HYDRA_FULL_ERROR"]
        else:
            os.environ["HYDRA_FULL_ERROR"] = full_error


def all_problems(refused: ConfigError, asked: Typed) -> ConfigError:
    """Return an error with all problems of the config, because a single check stops at the first kind of problem."""
    from runner.training.check import check

    problems = find_problems(asked.overrides, asked.config_dir, lambda cfg: check(typed(cfg)), asked.config_name)
    return ConfigError(*(problems or refused.problems))


def show_version() -> int:
    """Run `python -m runner --version`: print the versions that a bug report needs, without importing torch."""
    for package in ("runner", "torch", "hydra-core"):
        try:
            print(f"{package} {version(package)}")
        except PackageNotFoundError:
            print(f"{package} (not installed as a package)")
    return 0


def train_config(cfg: DictConfig, overrides: list[str]) -> int:
    """Check a config and train a run in a new folder; return its exit code."""
    config = typed(cfg)
    if config.sweep.zip or config.sweep.file is not None:
        raise ConfigError(f"sweep.{'zip' if config.sweep.zip else 'file'}: lists the jobs of a sweep, which needs -m")

    speed_up()
    from runner.runs.folder import make_run_folder
    from runner.runs.run import Order, run
    from runner.training.build import fetch_data
    from runner.training.check import check

    check(config)
    if config.dry_run:
        return show(config)
    fetch_data(config)
    return run(Order(config, overrides), lambda: make_run_folder(Path(config.output_dir).absolute(), config.name))
