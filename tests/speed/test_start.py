import subprocess
import sys

GLOBALS = """
import sys, torch
from torch.autograd import profiler
def found():
    return sys.modules.get("torch._dynamo"), profiler.record_function
before = found()
"""
IMPORTS = """
from runner.registry import REGISTRIES
for registry in REGISTRIES.values():
    registry.names()
assert found() == before
"""
BUILD = """
from torch import nn
from runner.training.optimizer import build_optimizer
from runner.config.compose import compose_config
assert found() == before
build_optimizer(compose_config([]), nn.Linear(1, 1))
dynamo, label = found()
assert "torch._dynamo.eval_frame" not in sys.modules
assert dynamo is not before[0]
assert label is not before[1]
"""


def run(code: str) -> None:
    done = subprocess.run([sys.executable, "-c", GLOBALS + code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_importing_the_components_changes_nothing_in_torch() -> None:
    run(IMPORTS)


def test_the_first_optimizer_is_made_without_what_slows_it_down() -> None:
    run(BUILD)
