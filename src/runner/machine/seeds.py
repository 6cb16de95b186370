"""Random numbers that depend on the seed, their purpose and the epoch, never on earlier draws."""

import hashlib
import os
import random
from typing import Any

import numpy as np
import torch
from torch import Generator


def derive(seed: int, *purpose: str | int) -> int:
    """Return an independent 63-bit seed for one purpose, such as `derive(seed, "order", epoch)`."""
    text = "/".join(map(str, (seed, *purpose)))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def generator(seed: int, *purpose: str | int) -> Generator:
    """Return a CPU generator for one purpose; its draws are the same whatever the device of the run."""
    return Generator().manual_seed(derive(seed, *purpose))


def seed_everything(seed: int) -> None:
    """Seed the global generators of Python, NumPy and torch (all devices)."""
    seed_cpu(seed)
    torch.manual_seed(seed)


def seed_cpu(seed: int) -> None:
    """Seed the global generators of Python, NumPy and torch on the CPU."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.default_generator.manual_seed(seed)


def make_deterministic(device: torch.device, compiles: bool = False) -> None:
    """Use deterministic algorithms on an accelerator; those on the CPU are deterministic anyway.

    Args:
        device: device of the run.
        compiles: whether torch.compile is used, whose code must be deterministic, too.
    """
    if device.type != "cpu":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS is first used
        if compiles:
            torch.use_deterministic_algorithms(True)  # imports torch._inductor, which takes a second
        else:
            torch.set_deterministic_debug_mode("error")
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def rng_state(device: torch.device) -> dict[str, Any]:
    """Return the state of all global generators in use, as plain types and tensors."""
    _, keys, position, has_gauss, gauss = np.random.get_state()
    state: dict[str, Any] = {
        "python": random.getstate(),
        "numpy": (torch.from_numpy(np.asarray(keys, dtype=np.int64)), int(position), int(has_gauss), float(gauss)),
        "torch": torch.get_rng_state(),
    }
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    elif device.type == "mps":
        state["mps"] = torch.mps.get_rng_state()
    return state


def restore_rng_state(state: dict[str, Any], device: torch.device) -> None:
    """Restore the global generators to a state returned by `rng_state`."""
    random.setstate(state["python"])
    keys, position, has_gauss, gauss = state["numpy"]
    np.random.set_state(("MT19937", keys.numpy().astype(np.uint32), position, has_gauss, gauss))
    torch.set_rng_state(state["torch"].cpu())
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"].cpu(), device)
    elif device.type == "mps" and "mps" in state:
        torch.mps.set_rng_state(state["mps"].cpu())
