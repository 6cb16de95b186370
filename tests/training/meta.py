"""Training steps on torch's meta device: what a step would launch on a GPU, and whether it would wait for it.

A meta tensor has no values, so that everything that reads one raises: `item`, `tolist`, `bool` of a tensor, `cpu`. The
training loop takes the same path as on a GPU, with torch's fused optimizers and, for fp16, its gradient scaler.
"""

import contextlib
import dataclasses
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from runner.config.compose import compose_config
from runner.data.sources import InMemory
from runner.machine.distributed import ALONE, World
from runner.machine.signals import Stop
from runner.tracking.tracker import NullTracker
from runner.training.cuda_graph import WholeStep
from runner.training.ema import MovingAverage
from runner.training.engine import Engine
from runner.training.loop import train_epoch
from runner.training.parts import PRECISIONS, Parts
from runner.training.saving.checkpoint import Checkpoints
from runner.training.saving.resume import starting_state
from runner.training.setup import build as building
from runner.training.setup.optimizer import build_optimizer, build_scheduler
from runner.training.trainer import Step, Trainer

META = torch.device("meta")
# Operators that launch no kernel: they only make another view of memory, or memory without contents.
# fmt: off
FREE = {
    "view", "_unsafe_view", "t", "transpose", "permute", "expand", "select", "slice", "unsqueeze", "squeeze",
    "alias", "detach", "as_strided", "split", "unbind", "split_with_sizes", "empty", "empty_like",
    "empty_strided", "lift_fresh", "view_as_real",
}
# fmt: on
IN_16_BITS = {torch.conv2d, torch.nn.functional.conv2d, torch.nn.functional.linear, torch.matmul}
IN_32_BITS = {torch.nn.functional.cross_entropy, torch.nn.functional.mse_loss, torch.nn.functional.nll_loss}


class Launches(TorchDispatchMode):
    """Count the operators on the meta device that would launch a kernel; a fused operator over a list counts once."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        name = func._schema.name.split("::")[1]
        leaves = torch.utils._pytree.tree_leaves((args, kwargs, out))
        if name not in FREE and any(isinstance(leaf, Tensor) and leaf.device == META for leaf in leaves):
            self.counts[name] += 1
        return out


class Autocast(TorchFunctionMode):
    """Cast as torch.autocast does, which does not know the meta device, in the layers that the tests use."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        dtype = self.dtype if func in IN_16_BITS else torch.float32 if func in IN_32_BITS else None

        def cast(leaf: Any) -> Any:
            is_float = isinstance(leaf, Tensor) and leaf.is_floating_point()
            return leaf.to(dtype) if is_float and dtype is not None else leaf

        args, kwargs = torch.utils._pytree.tree_map(cast, (args, kwargs or {}))
        return func(*args, **kwargs)


class MetaParts(Parts):
    """Parts whose autocast works on the meta device."""

    def autocast(self, cache_enabled: bool = True) -> AbstractContextManager[object]:
        precision = self.config.trainer.precision
        return contextlib.nullcontext() if precision == "fp32" else Autocast(PRECISIONS[precision])


class TwoRanks(World):
    """Rank 0 of two, whose messages come back as they are.

    Each message is on the CPU. The gradient exchange of DistributedDataParallel, which needs a GPU, is left out.
    """

    def start_all_reduce(self, numbers: Sequence[float]) -> Callable[[], list[float]]:
        return lambda: list(numbers)

    def all_gather_rows(self, rows: Sequence[Sequence[float]]) -> list[list[float]]:
        return [list(row) for row in rows]


@contextlib.contextmanager
def fused_optimizers() -> Iterator[None]:
    """Let torch's fused optimizers accept parameters on the meta device."""
    kernels = torch.library.Library("aten", "IMPL", "Meta")
    for name in ("_fused_sgd_", "_fused_sgd_.tensor_lr", "_fused_adamw_.tensor_lr"):
        kernels.impl(name, lambda *args, **kwargs: None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            sys.modules["torch.optim.optimizer"], "_get_fused_kernels_supported_devices", lambda: ["cuda", "meta"]
        )
        yield
    kernels._destroy()


def on_meta(*overrides: str) -> Parts:
    """Return the parts of a run, with everything that a GPU would hold on the meta device."""
    config = compose_config([*overrides, "device=cpu", "logger=none"])
    parts = building.build(config)
    with META:
        model = building.build_model(config, parts.spec)
        loss = building.build_loss(config, parts.task, torch.ones(parts.spec.out_features))
    optimizer = build_optimizer(config, model)
    source = object.__new__(InMemory)
    held: Any = parts.train.source
    source.inputs, source.targets = held.inputs.to(META), held.targets.to(META)
    source.device, source.size = META, len(held)
    parts.task.loss_fn = loss
    changed: dict[str, Any] = {
        "device": META,
        "model": model,
        "engine": Engine(model),
        "loss": loss,
        "optimizer": optimizer,
        "ema": None if config.trainer.ema is None else MovingAverage(model, config.trainer.ema),
        "scheduler": build_scheduler(config, optimizer, len(parts.train)),
        "scaler": torch.amp.GradScaler("meta", enabled=config.trainer.precision == "fp16"),
        "train": dataclasses.replace(parts.train, source=source),
    }
    return MetaParts(**{field.name: getattr(parts, field.name) for field in dataclasses.fields(parts)} | changed)


def launches(steps: int, *overrides: str, world: World = ALONE) -> Counter[str]:
    """Train for some steps of an epoch that has more; return the number of launches by operator.

    Args:
        steps: number of steps.
        overrides: config of the run.
        world: the processes of the run.

    Raises:
        RuntimeError: a step reads a value from the device, which would wait for it.
    """
    with fused_optimizers(), Launches() as found:
        trainer = trainer_on_meta(steps, *overrides, world=world)
        found.counts.clear()
        train_epoch(trainer)
    return found.counts


def launches_of_graph(steps: int, *overrides: str) -> Counter[str]:
    """Make the steps that a CUDA graph would capture, and return the number of launches by operator."""
    with fused_optimizers(), Launches() as found:
        make_step = WholeStep(trainer_on_meta(steps, "trainer.log_every=1000", *overrides))
        make_step()  # moves the samples of the epoch to the device
        found.counts.clear()
        for _ in range(steps):
            make_step()
    return found.counts


def waits(steps: int, *overrides: str, world: World = ALONE) -> Counter[str]:
    """Train as `launches` does, with zero for each value that is read; return how often each method reads some."""
    found: Counter[str] = Counter()

    def read(name: str, value: Any) -> Any:
        original = getattr(Tensor, name)

        def method(tensor: Tensor) -> Any:
            if tensor.device != META:
                return original(tensor)
            found[name] += 1
            return value(tensor)

        return method

    trainer = trainer_on_meta(steps, *overrides, world=world)
    with fused_optimizers(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(Tensor, "item", read("item", lambda tensor: 0.0))
        patch.setattr(Tensor, "tolist", read("tolist", lambda tensor: torch.zeros(tensor.shape).tolist()))
        train_epoch(trainer)
    return found


@dataclasses.dataclass
class Few(Trainer):
    """A run that pauses after some steps, within an epoch."""

    most: int = 0

    def steps(self) -> Iterator[Step]:
        assert self.most < self.parts.steps_per_epoch
        return islice(super().steps(), self.most)


def trainer_on_meta(steps: int, *overrides: str, world: World = ALONE) -> Trainer:
    """Return a run whose device is the meta device, and which pauses after some steps."""
    parts = on_meta(*overrides)
    parts.world = parts.train.world = world
    parts.engine.gradient_scale = world.size
    return Few(parts, starting_state(parts), NullTracker(), Checkpoints(Path("nowhere"), 1), Stop(), most=steps)


def launches_per_step(*overrides: str) -> Counter[str]:
    """Return the number of launches in ten steps without a log, without those of the first steps."""
    settings = ("trainer.log_every=100000", "trainer.batch_size=64", *overrides)
    more = launches(14, *settings)
    more.subtract(launches(4, *settings))
    return more
