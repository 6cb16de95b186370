"""The commands: which one is meant, and its few steps."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout, suppress
from dataclasses import dataclass, field
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
from runner.errors import ConfigError, RunnerError
from runner.machine.ranks import is_leader, local_rank
from runner.speed.imports import uncollected

if TYPE_CHECKING:  # as in config.py
    pass


def main(arguments: list[str] | None = None) -> int:
    """Runs a command; returns its exit code (0 completed, 1 failed, 2 bad config or usage, 3 diverged)."""
    arguments = sys.argv[1:] if arguments is None else arguments
    command = COMMANDS.get(arguments[0]) if arguments else None
    try:
        if not is_leader() and command not in (None, resume):
            return 0
        with nullcontext() if is_leader() else silence():
            return command(arguments[1:]) if command else train(arguments)
    except RunnerError as error:
        with suppress(ConfigError):  # the error may be of the ranks themselves
            if isinstance(error, ConfigError) and local_rank() > 0:
                return error.exit_code  # all processes found it, and the first one of each machine tells
        print("error:", str(error).replace("\n", "\n       "), file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader of our output has left, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:  # a full disk, or a file that cannot be read
        print("error:", error, file=sys.stderr)
        return 1


@contextmanager
def silence() -> Iterator[None]:
    """Of the processes that torchrun started the first one alone speaks; what goes wrong they all say."""
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
        yield


@dataclass
class Outcome:
    """How the run that Hydra starts went.

    Args:
        exit_codes: of the run; none for --help and the like, or for a sweep.
        errors: instead of raising them: Hydra would print a line of its own about them.
    """

    exit_codes: list[int] = field(default_factory=list)
    errors: list[RunnerError] = field(default_factory=list)


def train(arguments: list[str]) -> int:
    """`python -m runner [overrides]`: compose a config, check it, and train; with -m, each job of a sweep."""
    check_arguments(arguments)
    asked = split(arguments)
    if "--version" in asked.flags:
        return show_version()
    outcome = Outcome()
    try:
        call_hydra(asked, outcome)
    except COMPOSITION_ERRORS as error:
        lines = find_problems(asked.overrides, asked.config_dir, typed, asked.config_name)
        raise ConfigError(*(lines or [in_words(error)])) from error
    for failure in outcome.errors:
        raise all_problems(failure, asked) if isinstance(failure, ConfigError) else failure
    if "runner.sweep.driver" in sys.modules:
        from runner.sweep.driver import finish

        outcome.exit_codes.append(finish())
    return max(outcome.exit_codes, default=0)


def call_hydra(asked: Typed, outcome: Outcome) -> None:
    """Let Hydra compose the config and call the run, or the sweep, or answer --help and the like."""

    @hydra.main(config_path=str(CONF), config_name="config", **VERSION_BASE)
    def train_one(cfg: DictConfig) -> float | None:
        from runner.sweep.jobs import is_sweep

        hydra_config = HydraConfig.get()
        sweep = Path(hydra_config.sweep.dir)  # "." for a run by itself
        if sweep.is_absolute() and is_sweep(sweep):  # where another launcher finds its job
            from runner.sweep.driver import run_one

            return run_one(sweep, hydra_config.job.num)
        overrides: Any = OmegaConf.to_container(hydra_config.overrides.task)  # list() would resolve a ${...} in them
        try:
            outcome.exit_codes.append(train_config(cfg, overrides))
        except RunnerError as error:
            outcome.errors.append(error)
        return None

    os.environ["HYDRA_FULL_ERROR"] = "1"  # lets errors through to here, where they become one message
    helps = "--hydra-help" in asked.flags  # which composes nothing
    sys.argv = ["runner", *asked.flags, *([] if helps else asked.overrides)]
    if not helps and not {"--shell-completion", "-sc"} & {*asked.flags}:
        check_hydra(asked)
    with searching(asked.config_dir):
        train_one()


def all_problems(refused: ConfigError, asked: Typed) -> ConfigError:
    """Return the error with all problems of the config: a check stops at the first kind."""
    from runner.training.check import check

    problems = find_problems(asked.overrides, asked.config_dir, lambda cfg: check(typed(cfg)), asked.config_name)
    return ConfigError(*(problems or refused.problems))


def show_version() -> int:
    """`python -m runner --version`: the versions that a report of a fault needs, without importing torch."""
    for package in ("runner", "torch", "hydra-core"):
        try:
            print(f"{package} {version(package)}")
        except PackageNotFoundError:
            print(f"{package} (not installed as a package)")
    return 0


def train_config(cfg: DictConfig, overrides: list[str]) -> int:
    """One run: check, folder, training, results."""
    config = typed(cfg)
    if config.sweep.zip or config.sweep.file is not None:
        raise ConfigError(f"sweep.{'zip' if config.sweep.zip else 'file'}: lists the jobs of a sweep, which needs -m")

    with uncollected():  # torch starts here, after all that needs none of it
        from runner.runs.folder import make_run_folder
        from runner.runs.run import Order, run
        from runner.training.build import fetch_data
        from runner.training.check import check

    check(config)
    if config.dry_run:
        return show(config)
    fetch_data(config)
    return run(Order(config, overrides), lambda: make_run_folder(Path(config.output_dir).absolute(), config.name))
