import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from runner.machine.seeds import derive, generator, make_deterministic, restore_rng_state, rng_state, seed_everything

CPU = torch.device("cpu")


def draw() -> tuple[float, float, float, float, float]:
    """Draw from every global generator, also normal values of Python and NumPy, which cache a second one."""
    return random.random(), random.gauss(), np.random.rand(), np.random.normal(), float(torch.randn(1))


def test_derived_seeds_never_change() -> None:
    assert derive(0, "weights") == 4283426181684004966
    assert derive(1, "order", 2) == 5971170691884857887


def test_seeds_differ_by_purpose() -> None:
    seeds = [
        derive(seed, purpose, epoch) for seed in range(10) for purpose in ("order", "split") for epoch in range(50)
    ]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_generator_is_independent_of_earlier_draws() -> None:
    first = torch.rand(3, generator=generator(1, "order", 2))
    torch.rand(10)
    assert torch.equal(torch.rand(3, generator=generator(1, "order", 2)), first)
    assert not torch.equal(torch.rand(3, generator=generator(1, "order", 3)), first)


def test_seed_everything_seeds_python_numpy_and_torch() -> None:
    seed_everything(derive(3, "training"))
    first = draw()
    assert all(one != other for one, other in zip(first, draw(), strict=True))
    seed_everything(derive(3, "training"))
    assert draw() == first


def test_restored_state_repeats_the_draws() -> None:
    seed_everything(0)
    draw()
    state = rng_state(CPU)
    first = [draw() for _ in range(3)]
    restore_rng_state(state, CPU)
    assert [draw() for _ in range(3)] == first


def test_state_can_be_saved_and_loaded_with_weights_only(tmp_path: Path) -> None:
    draw()
    torch.save(rng_state(CPU), tmp_path / "rng.pt")
    first = draw()
    restore_rng_state(torch.load(tmp_path / "rng.pt", weights_only=True), CPU)
    assert draw() == first


@pytest.mark.parametrize("kind", ["cuda", "mps"])
def test_accelerator_state_is_restored(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    held = [torch.tensor([1, 2, 3], dtype=torch.uint8)]
    module = getattr(torch, kind)
    monkeypatch.setattr(module, "get_rng_state", lambda *device: held[-1])
    monkeypatch.setattr(module, "set_rng_state", lambda state, *device: held.append(state))
    state = rng_state(torch.device(kind))
    held.append(torch.zeros(3, dtype=torch.uint8))
    restore_rng_state(state, torch.device(kind))
    assert held[-1].tolist() == [1, 2, 3]


def test_cpu_state_can_be_restored_on_an_accelerator() -> None:
    restore_rng_state(rng_state(CPU), torch.device("cuda"))


@pytest.fixture
def _restored_torch_settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.usefixtures("_restored_torch_settings")
def test_make_deterministic_on_accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    make_deterministic(torch.device("cuda"))
    assert torch.are_deterministic_algorithms_enabled()
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"


@pytest.mark.parametrize("compiles", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_inductor_is_imported_only_to_compile_deterministically(compiles: bool) -> None:
    code = f"""
import sys, torch
from runner.machine.seeds import make_deterministic
make_deterministic(torch.device("cuda"), {compiles})
assert torch.are_deterministic_algorithms_enabled() and not torch.is_deterministic_algorithms_warn_only_enabled()
assert ("torch._inductor.config" in sys.modules) is {compiles}
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.usefixtures("_restored_torch_settings")
def test_make_deterministic_changes_nothing_on_cpu() -> None:
    make_deterministic(CPU)
    assert not torch.are_deterministic_algorithms_enabled()
