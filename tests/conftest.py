"""Fixtures that run the program, and an option that makes skipped tests fail in CI."""

import shutil
import sys
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from runner import cli
from runner.config.compose import compose_config
from runner.config.schema import Config
from runner.registry import REGISTRIES
from runner.runs import final_test

TINY = ["model=mlp", "model.hidden=[16]", "dataset.size=8", "trainer.epochs=2", "trainer.batch_size=256"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--forbid-skips", action="store_true", help="fail skipped tests, except those that need a GPU")


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
    for registry in REGISTRIES.values():
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
def twins(monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """Simulate a second process that sends the same tensors; return the tensors passed to `all_reduce`."""
    sent: list[torch.Tensor] = []

    def all_reduce(message: torch.Tensor) -> None:
        sent.append(message.clone())
        message.mul_(2)

    def gather_object(value: object, values: list[object]) -> None:
        values[:] = [value, value]

    monkeypatch.setattr(dist, "all_reduce", all_reduce)
    monkeypatch.setattr(dist, "gather_object", gather_object)
    for name in ("broadcast", "broadcast_object_list"):
        monkeypatch.setattr(dist, name, lambda *arguments: None)
    return sent


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
