"""The functions that run in processes forked from the server: `check_all` checks all jobs, `work` runs one."""

import faulthandler
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from runner.config.schema import parse
from runner.errors import ConfigError, DataError, RunnerError
from runner.plugins import load_plugins
from runner.runs.folder import locked
from runner.runs.run import Order, run
from runner.sweep.halving import should_stop_in
from runner.tracking.console import console
from runner.tracking.results import Results
from runner.training.build import fetch_data
from runner.training.check import check


def check_all(values: dict[int, dict[str, Any]], send: Connection) -> None:
    """Check configs, and download their datasets if they are missing.

    Args:
        values: configs as plain values, by number.
        send: connection to the driver, for the problems by the same numbers, and the GPUs of this machine.
    """
    problems: dict[int, Sequence[str]] = {}
    for number, each in values.items():
        try:
            config = parse(each)
            check(config)
            if not config.dry_run:
                fetch_data(config)
        except ConfigError as error:
            problems[number] = error.problems
        except DataError as error:
            problems[number] = [str(error)]
    send.send((problems, gpus() if any(each["device"]["name"] in ("auto", "cuda") for each in values.values()) else []))


def gpus() -> list[str]:
    """Return the GPUs of this machine, as CUDA_VISIBLE_DEVICES names them."""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return visible.split(",")[:count] if visible else [str(index) for index in range(count)]


def work(values: dict[str, Any], folder: Path, overrides: list[str], swept: dict[str, Any], gpu: str | None) -> None:
    """Train a run, or continue the one in its folder; exit with its exit code.

    See `server.start_job` for the arguments.
    """
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500")  # if memory runs out, Linux kills a job, not the driver
    log = os.open(folder / "run.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    console.quiet = True  # logging writes the same lines to run.log
    faulthandler.enable()
    config = parse(values)
    load_plugins(config.plugins)
    resume = (folder / "config.yaml").exists()
    typed = [] if (folder / "overrides.yaml").exists() else overrides
    try:
        sys.exit(run(Order(config, typed, resume, swept, should_stop_in(config, folder)), lambda: folder))
    except RunnerError as error:  # raised before the run began
        print(f"error: {error}", file=sys.stderr)
        with locked(folder):
            results = Results.open(folder, config.name, config.seed, overrides)
            record = {"type": type(error).__name__, "message": str(error)}
            results.end("failed", error=record, resumed=results.values["resumed"] + resume)
        sys.exit(error.exit_code)
