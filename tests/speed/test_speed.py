import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import TINY
from helpers import checkpoint, equal
from runner.config.composition import CONF

SOURCE = Path(__file__).parents[2] / "src"

STATE = """
import gc, signal, sys, torch
from torch.autograd import profiler

def state():
    handlers = {number: signal.getsignal(number) for number in signal.valid_signals()}
    gc_state = gc.isenabled(), gc.get_threshold(), gc.get_freeze_count()
    return profiler.record_function, sys.modules.get("torch._dynamo"), handlers, gc_state

before = state()
"""
IMPORT_ALL = """
import importlib, pkgutil, runner
for found in pkgutil.walk_packages(runner.__path__, "runner."):
    # The preload file prepares the fork server, and torchvision imports torch._dynamo.
    if found.name not in ("runner.sweep.execution.preload", "runner.vision"):
        importlib.import_module(found.name)
assert state() == before
"""
ENABLE = """
from runner.machine.startup import speed_up
speed_up()
label, dynamo, handlers, gc_state = state()
assert label is not before[0]
assert dynamo is not before[1]
assert (handlers, gc_state) == before[2:]
speed_up()
assert state() == (label, dynamo, handlers, gc_state)
"""
ENABLE_FIRST = """
import gc, sys
from runner.machine.startup import speed_up
assert "torch" not in sys.modules
speed_up()
assert "torch" in sys.modules
assert "torch._dynamo.eval_frame" not in sys.modules
assert gc.isenabled()
assert gc.get_freeze_count() > 100_000
"""


def python(*arguments: str, cwd: Path, **environment: str) -> str:
    environment = os.environ | {"OMP_NUM_THREADS": "1"} | environment
    done = subprocess.run([sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("code", [STATE + IMPORT_ALL, STATE + ENABLE, ENABLE_FIRST], ids=["import", "again", "first"])
def test_only_speed_up_changes_the_process(tmp_path: Path, code: str) -> None:
    python("-c", code, cwd=tmp_path)


@pytest.fixture
def without_speed(tmp_path: Path) -> Path:
    """Return a copy of the source without `runner.speed`."""
    copy = tmp_path / "source" / "src"
    for package in ("runner", "hydra_plugins"):
        shutil.copytree(SOURCE / package, copy / package, ignore=shutil.ignore_patterns("speed", "__pycache__"))
    shutil.copytree(CONF, copy.parent / "conf")
    return copy


def weights(root: Path) -> list[dict[str, object]]:
    """Return the models of all runs below a folder."""
    return [checkpoint(path.parents[1])["model"] for path in sorted(root.glob("outputs/*/*/**/last.pt"))]


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [["trainer.epochs=1"], ["-m", "trainer.epochs=1", "seed=0,1"]])
def test_training_is_equal_without_runner_speed(tmp_path: Path, without_speed: Path, arguments: list[str]) -> None:
    for name, source in (("with", SOURCE), ("without", without_speed)):
        (tmp_path / name).mkdir()
        command = ["-m", "runner", *TINY, "device.threads=1", *arguments]
        python(*command, cwd=tmp_path / name, PYTHONPATH=str(source))
    expected, found = weights(tmp_path / "with"), weights(tmp_path / "without")
    assert len(found) == len(expected) == (2 if "-m" in arguments else 1)
    assert equal(found, expected)
    code = "import runner, importlib.util; print(runner.__file__, importlib.util.find_spec('runner.speed'))"
    assert python("-c", code, cwd=tmp_path, PYTHONPATH=str(without_speed)).split() == [
        str(without_speed / "runner" / "__init__.py"),
        "None",
    ]
