"""The functions that run in processes forked from the server: `check_all` checks all jobs, `work` runs one."""

import faulthandler
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from runner.config.parse import parse
from runner.config.schema import Config
from runner.errors import ConfigError, DataError, RunnerError
from runner.machine.ranks import is_leader, rank
from runner.plugins import load_plugins
from runner.runs.folder import locked
from runner.runs.request import Request
from runner.runs.run import run
from runner.sweep.execution.processes import variables
from runner.sweep.halving import make_should_stop
from runner.tracking.console import console
from runner.tracking.results import Results
from runner.training.checks.check import check
from runner.training.setup.fetch import fetch


def check_all(values: dict[int, dict[str, Any]], tasks: int, send: Connection) -> None:
    """Check configs, and download their datasets if they are missing.

    Args:
        values: configs as plain values, by number.
        tasks: number of tasks in which another launcher runs each job; its processes, if there are several.
        send: connection to the driver, for the problems by the same numbers, and the GPUs of this machine.
    """
    problems: dict[int, Sequence[str]] = {}
    for number, each in values.items():
        try:
            config = parse(each)
            with world_of(max(tasks, config.sweep.processes)):
                check(config)
            if not config.dry_run:
                fetch(config)
        except ConfigError as error:
            problems[number] = error.problems
        except DataError as error:
            problems[number] = [str(error)]
    send.send((problems, gpus() if any(each["device"]["name"] in ("auto", "cuda") for each in values.values()) else []))


@contextmanager
def world_of(size: int) -> Iterator[None]:
    """Let this process look like a rank of a run with this world size, alone on its machine."""
    before = dict(os.environ)
    os.environ.update(variables(0, size, 0, 1), MASTER_ADDR="127.0.0.1")
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def gpus() -> list[str]:
    """Return the GPUs of this machine, as CUDA_VISIBLE_DEVICES names them."""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return visible.split(",")[:count] if visible else [str(index) for index in range(count)]


def work(
    values: dict[str, Any], folder: Path, overrides: list[str], swept: dict[str, Any], environment: dict[str, str]
) -> None:
    """Train a run, or continue the one in its folder, alone or as one of its ranks; exit with its exit code.

    A process of the fork server ends with `os._exit`, so after a failure it does not wait for the other ranks.

    See `server.start_job` for the arguments.
    """
    set_environment(environment)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500")  # if memory runs out, Linux kills a job, not the driver
    log = os.open(folder / "run.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log if is_leader() else os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(log, 2)
    console.quiet = True  # logging writes the same lines to run.log
    faulthandler.enable()
    config = parse(values)
    load_plugins(config.plugins)
    resume = (folder / "config.yaml").exists()
    typed = [] if (folder / "overrides.yaml").exists() else overrides
    should_stop = make_should_stop(config, folder, waits=True)
    try:
        sys.exit(run(Request(config, typed, resume, swept, should_stop), lambda: folder))
    except RunnerError as error:  # raised before the run began
        if is_leader():
            print(f"error: {error}", file=sys.stderr)
            record_failure(error, config, folder, overrides, resume)
        elif not isinstance(error, ConfigError):  # every rank finds the same problems of a config
            print(f"error: rank {rank()}: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


def set_environment(environment: dict[str, str]) -> None:
    """Add environment variables, and forget those of a torchrun that has started the driver."""
    for name in [name for name in os.environ if name.startswith(("TORCHELASTIC_", "RUNNER_STORE"))]:
        del os.environ[name]
    os.environ.update(environment)


def record_failure(error: RunnerError, config: Config, folder: Path, overrides: list[str], resumed: bool) -> None:
    """Record in results.json why a run could not begin."""
    with locked(folder):
        results = Results.open(folder, config.name, config.seed, overrides)
        record = {"type": type(error).__name__, "message": str(error)}
        results.end("failed", error=record, resumed=results.values["resumed"] + resumed)
