"""Whole training steps as a CUDA graph: captured once, then replayed with a single launch."""

import time
from typing import Any

import torch
from torch import Tensor

from runner.data.sources import InMemory
from runner.dataset.tree import Tree, map_tensors
from runner.errors import RunnerError
from runner.machine.seeds import restore_rng_state, rng_state
from runner.training.finite import Watch
from runner.training.measuring.slots import Slots
from runner.training.parts import Parts
from runner.training.rates import Rates
from runner.training.step import check_on_device, clip, gradients, weighted_loss, zero_gradient_if_weightless
from runner.training.trainer import Trainer

WARM_UP = 3  # steps before the capture, as in PyTorch's documentation of CUDA graphs


class WholeStep:
    """A training step on static memory, from the choice of the samples to the sums of the metrics.

    It computes what `train_epoch` computes, for batches of the full size. The first step of a process is made without a
    graph, so that the optimizer has its state; the second one is captured, on a CUDA device. On a CPU, no step is
    captured, and the results have the same bits as those of `train_epoch`.

    Args:
        trainer: run that is being trained, in a single process and without accumulation.
    """

    def __init__(self, trainer: Trainer) -> None:
        self.trainer, self.parts, device = trainer, trainer.parts, trainer.parts.device
        self.watch = trainer.watch or Watch(device)
        self.full_steps = self.parts.train.samples // self.parts.train.size
        self.epoch: int | None = None  # whose samples are in `order`
        self.order = torch.zeros(self.parts.train.samples, dtype=torch.long, device=device)
        self.drawn: Tensor | None = None  # what the augmentation does with them
        self.position = torch.zeros((), dtype=torch.long, device=device)
        self.within = torch.arange(self.parts.train.size, device=device)
        self.rates = Rates(self.parts.optimizer, device)
        self.total_loss = torch.zeros((), device=device)
        self.slots = Slots(trainer.state.recent.shard, device)
        self.captures, self.is_warm = device.type == "cuda", False
        self.graph: torch.cuda.CUDAGraph | None = None
        self.batch: Any = None  # loss, weight, outputs and targets of the last step
        self.norm: Tensor | None = None
        self.grads: list[Tensor] = []

    @property
    def has_next(self) -> bool:
        """Whether the next step of the epoch has a full batch."""
        return self.trainer.state.position < self.full_steps

    def __call__(self) -> Tensor | None:
        """Make a step, and return the gradient norm before clipping; None if neither logging nor clipping needs it."""
        trainer, parts = self.trainer, self.parts
        self.load_epoch()
        self.follow_scheduler()
        trainer.start_all_reduce()
        if self.captures and self.is_warm and self.graph is None:
            self.capture()
        if self.graph is None:
            self.compute()
            self.is_warm = True
        else:
            self.graph.replay()
            if parts.ema is not None:
                parts.ema.updates += 1
        trainer.losses = [self.total_loss]
        self.record()
        if self.norm is None and trainer.log_is_due:  # without clipping, `compute` does not compute the norm
            return torch.nn.utils.get_total_norm(self.grads)
        return self.norm

    def compute(self) -> None:
        """Compute a step with operations on the device only, so that it can be captured; see `train_epoch`."""
        trainer, parts = self.trainer, self.parts
        at = self.position * len(self.within) + self.within
        drawn = None if self.drawn is None else self.drawn.index_select(0, at)
        inputs, targets = parts.train.samples_at(self.order.index_select(0, at), drawn)
        with parts.autocast(cache_enabled=False):
            outputs = parts.task.forward(parts.model, inputs)
            loss = parts.task.loss(parts.loss, outputs, targets, inputs)
        weight = parts.weight(targets)
        summed, objective = weighted_loss(loss, parts.reduction, weight, None)
        zero_gradient_if_weightless(outputs, weight)
        parts.scaler.scale(objective).backward()
        trainer.losses = [objective.detach()]
        parts.scaler.unscale_(parts.optimizer)
        check_on_device(trainer, self.watch)
        self.norm = clip(trainer) if parts.config.trainer.clip_norm is not None else None
        with self.rates.on_device():
            parts.scaler.step(parts.optimizer)
            parts.scaler.update()
        if parts.ema is not None:
            parts.ema.update(parts.model)
        self.grads = gradients(trainer)
        parts.optimizer.zero_grad()
        self.total_loss += objective.detach()
        self.position += 1
        outputs = map_tensors(Tensor.detach, outputs)
        self.batch = summed, weight, outputs, targets, self.slots.put(summed, weight, outputs, targets)

    def record(self) -> None:
        """Add the batch of the step to the metrics."""
        summed, weight, outputs, targets, is_stored = self.batch
        state = self.trainer.state
        if is_stored:
            self.slots.advance()
            if state.sums.shard.others:
                state.sums.shard.update_others(outputs, clone_tensors(targets))
        else:
            state.record(summed.clone(), clone_tensors(weight), clone_tensors(outputs), clone_tensors(targets))

    def load_epoch(self) -> None:
        """Move the order of the samples and their augmentation to the device, once an epoch."""
        state = self.trainer.state
        if self.epoch == state.epoch:
            return
        begun = time.perf_counter()
        order, drawn = (self.to_device(each) for each in self.parts.train.plan(state.epoch))
        self.order.copy_(order)
        if drawn is not None:
            self.drawn = torch.empty_like(drawn) if self.drawn is None else self.drawn
            self.drawn.copy_(drawn)
        self.position.fill_(state.position)
        self.epoch = state.epoch
        state.data_seconds += time.perf_counter() - begun

    def to_device(self, values: Tensor | None) -> Any:
        """Return values on the device; the copy does not wait for it."""
        if values is not None and self.parts.device.type == "cuda":
            values = values.pin_memory()
        return None if values is None else values.to(self.parts.device, non_blocking=True)

    def follow_scheduler(self) -> None:
        """Set the learning rates on the device to those of the parameter groups.

        Raises:
            RunnerError: another hyperparameter has changed, which the graph cannot follow.
        """
        if changed := self.rates.update():
            raise RunnerError(
                f"trainer.cuda_graph: scheduler={self.parts.config.scheduler.name} changes {', '.join(changed)} of the "
                "optimizer, but a graph follows only the learning rate; set trainer.cuda_graph=false"
            )

    def capture(self) -> None:
        """Capture a step, then undo what the warm-up and the capture have changed.

        Raises:
            RunnerError: the step cannot be captured, for example because the model reads a value from the device.
            CheckpointError: the checkpoint of the step before could not be saved.
        """
        self.trainer.saver.wait()  # a capture fails if another thread uses the device meanwhile
        device, ema, graph = self.parts.device, self.parts.ema, torch.cuda.CUDAGraph()
        updates, random = 0 if ema is None else ema.updates, rng_state(device)
        try:
            tensors = self.tensors()
            before = [tensor.detach().clone() for tensor in tensors]
            self.warm_up()
            self.position.zero_()
            with torch.cuda.graph(graph):
                self.compute()
            if any(now is not then for now, then in zip(self.tensors(), tensors, strict=True)):
                raise RuntimeError("a buffer is replaced instead of updated in place")
        except (RuntimeError, AssertionError, ValueError) as error:
            raise RunnerError(
                f"trainer.cuda_graph: model={self.parts.config.model.name} with optim={self.parts.config.optim.name} "
                f"cannot be captured: {error}; set trainer.cuda_graph=false"
            ) from error
        with torch.no_grad():
            for tensor, value in zip(tensors, before, strict=True):
                tensor.copy_(value)
        restore_rng_state(random, device)
        if ema is not None:
            ema.updates = updates
        self.graph = graph

    def warm_up(self) -> None:
        """Make some steps on another stream, in which libraries allocate what they need."""
        stream = torch.cuda.Stream(self.parts.device)
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                self.position.zero_()
                self.compute()
        torch.cuda.current_stream().wait_stream(stream)

    def tensors(self) -> list[Tensor]:
        """Return all tensors that a step changes.

        Raises:
            RuntimeError: the optimizer keeps its step count in Python, which a replay does not increment.
        """
        parts = self.parts
        states = [value for state in parts.optimizer.state.values() for value in state.values() if value is not None]
        if not all(isinstance(value, Tensor) for value in states):
            raise RuntimeError("the optimizer has a state that is not a tensor")
        modules = [parts.model, *([] if parts.ema is None else [parts.ema.module])]
        weights = [tensor for module in modules for tensor in (*module.parameters(), *module.buffers())]
        scale = [parts.scaler._scale, parts.scaler._growth_tracker] if parts.scaler.is_enabled() else []
        own = [self.watch.found, self.watch.bad_steps, self.position, self.total_loss, self.slots.next]
        return [*weights, *states, *(each for each in scale if each is not None), *own, *self.slots.buffers]


def check_capturable(parts: Parts) -> None:
    """Check that the steps of a run can be captured.

    Raises:
        RunnerError: the data is not in memory, or batches are mixed with random numbers from the CPU.
    """
    reason = None
    if not isinstance(parts.train.source, InMemory):
        reason = "needs the data in memory as tensors of one size: dataset.in_memory=true, without a collate function"
    elif parts.train.mix is not None:
        reason = "cannot be combined with dataset.augment.mixup or dataset.augment.cutmix"
    if reason:
        raise RunnerError(f"trainer.cuda_graph: found true, which {reason}; allowed: false")


def clone_tensors(tree: Tree | int) -> Any:
    """Copy tensors that the next replay would overwrite."""
    return tree if isinstance(tree, int) else map_tensors(Tensor.clone, tree)
