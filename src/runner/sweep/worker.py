"""What runs in a job's process."""

import ctypes
import faulthandler
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
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

PR_SET_PDEATHSIG = 1  # of prctl(2)


def check_all(values: dict[int, dict[str, Any]], send: Connection) -> None:
    """Check configs and fetch their data; send the problems by the configs' numbers, and the names of the GPUs."""
    die_with_the_driver()
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
    """The GPUs of this machine, as CUDA_VISIBLE_DEVICES names them."""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return visible.split(",")[:count] if visible else [str(index) for index in range(count)]


def work(values: dict[str, Any], folder: Path, overrides: list[str], swept: dict[str, Any], gpu: str | None) -> None:
    """Trains a run, or continues it where its folder holds one; ends the process with the run's exit code."""
    die_with_the_driver()
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500")  # when memory runs out, a job goes before the driver
    log = os.open(folder / "run.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    console.quiet = True  # its lines are in run.log already
    faulthandler.enable()
    config = parse(values)
    load_plugins(config.plugins)
    resume = (folder / "config.yaml").exists()
    typed = [] if (folder / "overrides.yaml").exists() else overrides
    try:
        sys.exit(run(Order(config, typed, resume, swept, should_stop_in(config, folder)), lambda: folder))
    except RunnerError as error:  # the run could not even begin
        print(f"error: {error}", file=sys.stderr)
        with locked(folder):
            results = Results.open(folder, config.name, config.seed, overrides)
            told = {"type": type(error).__name__, "message": str(error)}
            results.end("failed", error=told, resumed=results.values["resumed"] + resume)
        sys.exit(error.exit_code)


def die_with_the_driver() -> None:
    """Makes this process, and all that it starts, end at once when the driver is gone, however that died."""
    os.setsid()
    driver = multiprocessing.parent_process()
    assert driver is not None
    with suppress(OSError, AttributeError):  # Linux: when the server goes, which no thread of ours has to notice
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        os.close(forkserver._forkserver._forkserver_alive_fd)  # type: ignore[attr-defined]  # it lives as long as this

    def watch() -> None:
        wait([driver.sentinel])
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()
