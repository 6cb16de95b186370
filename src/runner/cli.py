"""The command line: choose the command; without one, train.

`--help`, `--cfg` and errors in a config need neither torch nor pydantic. Therefore functions import what depends on
them.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, redirect_stdout, suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from runner.commands import COMMANDS, resume
from runner.config.arguments import Typed, check_arguments, split, take_json
from runner.config.calling import call_hydra
from runner.config.compose import typed
from runner.config.composition import COMPOSITION_ERRORS
from runner.config.explain import in_words
from runner.config.problems import find_problems
from runner.errors import ConfigError, RunnerError, SweepStopped
from runner.machine.ranks import is_leader, local_rank
from runner.machine.startup import speed_up
from runner.tracking.events import event, events

if TYPE_CHECKING:
    from runner.sweep.jobs import Sweep

JSON = ("resume", "diff", "verify")  # the commands that can report events instead of text, besides training
WITH_EVENTS = (None, *(COMMANDS[name] for name in JSON))


def main(arguments: list[str] | None = None) -> int:
    """Run a command; return its exit code: 0 completed, 1 failed, 2 bad config or usage, 3 diverged."""
    arguments, as_json = take_json(sys.argv[1:] if arguments is None else arguments)
    try:
        context = output(as_json)
    except ConfigError as error:  # torchrun's variables are wrong
        return complain(error, error.exit_code)
    with context:
        return run_command(arguments, as_json)


def run_command(arguments: list[str], as_json: bool) -> int:
    """Run a command and report its errors; return its exit code."""
    command = COMMANDS.get(arguments[0]) if arguments else None
    try:
        if as_json and command not in WITH_EVENTS:
            raise ConfigError(f"--json: {arguments[0]} has no events; allowed: training, {', '.join(JSON)}")
        if not is_leader() and command not in (None, resume):
            return 0
        return command(arguments[1:]) if command else train(arguments)
    except SweepStopped as stopped:
        return stopped.exit_code
    except RunnerError as error:
        with suppress(ConfigError):  # local_rank raises it if torchrun's variables are wrong
            if isinstance(error, ConfigError) and local_rank() > 0:
                return error.exit_code  # every rank finds the same problems: only the first of each machine prints them
        return complain(error, error.exit_code)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader of standard output, such as `head`, has ended
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:  # a full disk, or an unreadable file
        return complain(error, 1)
    except SystemExit as exited:  # argparse has printed what is wrong
        if exited.code:
            events.write(event("error", type="SystemExit", message="bad usage", exit_code=exited.code))
        raise
    except Exception as error:
        events.write(event("error", type=type(error).__name__, message=str(error), exit_code=1))
        raise


def complain(error: Exception, exit_code: int) -> int:
    """Print an error, also as an event; return the exit code."""
    print("error:", str(error).replace("\n", "\n       "), file=sys.stderr)
    events.write(event("error", type=type(error).__name__, message=str(error), exit_code=exit_code))
    return exit_code


def output(as_json: bool) -> AbstractContextManager[None]:
    """Return a context with the output of a command: text, events as JSON, or nothing on ranks other than 0."""
    if not is_leader():
        return silent()
    return events.on_stdout() if as_json else nullcontext()


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


def all_problems(refused: ConfigError, asked: Typed) -> ConfigError:
    """Return an error with all problems of the config, because a single check stops at the first kind of problem."""
    from runner.training.checks.check import check

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
    if config.sweep.race.max_seeds is not None:
        raise ConfigError("sweep.race.max_seeds: compares the jobs of a sweep, which needs -m")

    speed_up()
    from runner.runs.dry_run import show
    from runner.runs.folder import make_run_folder
    from runner.runs.request import Request
    from runner.runs.run import run
    from runner.training.checks.check import check
    from runner.training.setup.fetch import fetch

    check(config)
    if config.dry_run:
        return show(config)
    fetch(config)
    return run(Request(config, overrides), lambda: make_run_folder(Path(config.output_dir).absolute(), config.name))
