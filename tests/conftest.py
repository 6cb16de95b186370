"""Fixtures that run the program, and an option that makes skipped tests fail in CI."""

import os
import shutil
import sys
import traceback
import warnings
from collections.abc import Callable, Generator, Iterator
from datetime import timedelta
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch.distributed import FileStore  # type: ignore[attr-defined]  # public, but not explicitly re-exported

from runner import cli
from runner.config.compose import compose_config
from runner.config.schema import Config
from runner.machine.distributed import World
from runner.machine.rendezvous import Member
from runner.registry import ALL_REGISTRIES
from runner.runs import final_test

TINY = ["model=mlp", "model.hidden=[16]", "dataset.size=8", "trainer.epochs=2", "trainer.batch_size=256"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--forbid-skips", action="store_true", help="fail skipped tests, except those that need a GPU")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip the tests marked `gpu` where there is no GPU, before their fixtures are set up."""
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("needs a GPU")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.skipped and item.config.getoption("--forbid-skips") and "needs a GPU" not in str(report.longrepr):
        report.outcome = "failed"
    return report


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Change to an empty directory, and unload the plugins that a test writes there afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", list(sys.argv))
    monkeypatch.setattr(sys, "path", list(sys.path))
    for registry in ALL_REGISTRIES.values():
        registry.names()  # load the built-in components, so that only those of plugins are removed
        monkeypatch.setattr(registry, "_entries", dict(registry._entries))
    yield tmp_path
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None)).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture
def tiny() -> Callable[..., Config]:
    """Return a function that composes the config of a tiny run, which takes about a second."""

    def make(*overrides: str) -> Config:
        return compose_config([*TINY, "device.threads=1", *overrides])

    return make


@pytest.fixture
def runner(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Return a function that trains a tiny run without plots, checks its exit code and returns its folder."""
    monkeypatch.setattr(final_test, "draw", lambda *arguments: None)

    def go(*overrides: str, code: int = 0) -> Path:
        before = set(workdir.glob("outputs/*/*"))
        assert cli.main([*TINY, "device.threads=1", *overrides]) == code
        (folder,) = set(workdir.glob("outputs/*/*")) - before
        return folder

    return go


@pytest.fixture
def on_ranks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., list[Any]]]:
    """Return a function that calls another one with a World in a new process for each rank.

    It returns the results by rank. The processes are forked, which takes a fraction of the time of starting them.
    """
    started: list[BaseProcess] = []

    def call(function: Callable[[World], Any], size: int = 2) -> list[Any]:
        folder = tmp_path_factory.mktemp("ranks")
        processes = [
            get_context("fork").Process(target=one_rank, args=(function, rank, size, folder)) for rank in range(size)
        ]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of a fork with several threads
            for process in processes:
                process.start()
        started.extend(processes)
        for process in processes:
            process.join(60)
        output = "".join((folder / f"output-{rank}").read_text() for rank in range(size))
        assert [process.exitcode for process in processes] == [0] * size, output
        assert output == ""  # such as a warning of PyTorch
        return [torch.load(folder / f"result-{rank}", weights_only=False) for rank in range(size)]

    yield call
    for process in started:
        process.kill()


def one_rank(function: Callable[[World], Any], rank: int, size: int, folder: Path) -> None:
    """Call a function on one rank, and write its result and the output of the process to files."""
    with (folder / f"output-{rank}").open("w", buffering=1) as output:
        for descriptor in (1, 2):
            os.dup2(output.fileno(), descriptor)
        sys.stdout = sys.stderr = output
        os.environ["GLOO_SOCKET_IFNAME"] = "lo0" if sys.platform == "darwin" else "lo"
        store, code = FileStore(str(folder / "store"), size), 0
        try:
            dist.init_process_group("gloo", store=store, rank=rank, world_size=size, timeout=timedelta(seconds=30))
            members = [Member(str(each), "here", each, None) for each in range(size)]
            torch.save(function(World(rank, size, members=members, store=store, timeout=30)), folder / f"result-{rank}")
            dist.barrier()  # before one of them leaves
        except BaseException:
            traceback.print_exc()
            code = 1
        os._exit(code)  # without the clean-up of pytest


@pytest.fixture
def sweep(workdir: Path) -> Callable[..., Path]:
    """Return a function that runs a sweep of tiny jobs, checks its exit code and returns its folder."""

    def go(*arguments: str, code: int = 0) -> Path:
        before = set(workdir.glob("outputs/*/*"))
        base = [text for text in TINY if not (text.startswith("model") and "model=deadly" in arguments)]
        assert cli.main(["-m", *base, *arguments]) == code
        (folder,) = set(workdir.glob("outputs/*/*")) - before
        return folder

    return go


@pytest.fixture
def deadly(workdir: Path) -> list[str]:
    """Return the arguments that select the model in sweep/deadly.py, which can die in several ways."""
    shutil.copy(Path(__file__).parent / "sweep" / "deadly.py", workdir)
    group = workdir / "conf" / "model"
    group.mkdir(parents=True)
    (group / "deadly.yaml").write_text(f"name: deadly\ndeath: none\nmarker: {workdir / 'marker'}\n")
    return ["--config-dir", "conf", "plugins=[deadly]", "model=deadly", "trainer.batch_size=64"]
