"""Tests of the training step that a CUDA graph captures. On a CPU it makes the same operations, without a graph."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from helpers import checkpoint, equal
from runner.config.compose import compose_config
from runner.config.schema import Config
from runner.errors import ConfigError, Diverged, RunnerError
from runner.machine.distributed import World
from runner.machine.signals import Stop
from runner.tracking.tracker import NullTracker
from runner.training.checks.check import check
from runner.training.cuda_graph import WholeStep, check_capturable
from runner.training.finite import Watch
from runner.training.loop import fit, replay_epoch
from runner.training.saving.checkpoint import Checkpoints
from runner.training.saving.resume import assemble
from runner.training.setup.build import build
from runner.training.trainer import Trainer

SETTINGS = ["device=cpu", "device.threads=1", "trainer.batch_size=100", "trainer.epochs=2", "trainer.log_every=5"]
MATRIX = [
    ["model=mlp", "optim.momentum=0", "metrics=[]"],
    ["model=mlp", "model.norm=batch", "trainer.ema=0.9", "trainer.clip_norm=0.1"],
    ["dataset.augment.crop=1", "dataset.augment.flip=true", "dataset.augment.erase=0.5"],
    ["dataset.augment.flip=alternating", "dataset.repeat=2"],
    ["model=mlp", "model.dropout=0.3", "trainer.precision=bf16"],
    ["model=mlp", "trainer.precision=fp16", "optim=adamw", "trainer.clip_norm=1"],
    ["optim=adamw", "scheduler=warmup_cosine", "trainer.log_every=7"],
    ["optim=rmsprop", "scheduler=plateau", "scheduler.patience=0"],
    ["dataset=parabola", "model=mlp", "loss=mse", "task=regression", "trainer.batch_size=30", "trainer.epochs=1"],
    ["trainer.batch_size=4096", "trainer.epochs=3"],
    ["loss.reduction=sum", "optim.lr=1e-4", "loss.ignore_index=3"],
    ["trainer.batch_size=7", "trainer.epochs=1"],
]


class Scalars(NullTracker):
    """Keep all scalars and rows of metrics.csv."""

    def __init__(self) -> None:
        self.found: list[Any] = []

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        self.found.append((step, dict(values)))

    def epoch(self, row: Mapping[str, float], state: Any) -> None:
        self.found.append({key: value for key, value in row.items() if key != "seconds"})


@pytest.fixture
def trainer_of(tmp_path: Path) -> Callable[..., Trainer]:
    """Return a function that returns a run on the CPU, with the step of a graph or with the usual loop."""

    def make(*overrides: str, graph: bool = True, saved: Any = None) -> Trainer:
        chosen = [*SETTINGS, *overrides, f"trainer.cuda_graph={str(graph).lower()}"]
        parts, state = assemble(compose_config(chosen), World(), saved)
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        trainer = Trainer(parts, state, Scalars(), Checkpoints(folder, 1), Stop())
        if graph:
            trainer.watch = Watch(parts.device)
            trainer.watch.skip_updates_of(parts.optimizer)
        return trainer

    return make


def trained(trainer: Trainer) -> Trainer:
    """Train a run to its end."""
    fit(trainer)
    return trainer


def last(trainer: Trainer) -> dict[str, Any]:
    """Return the last checkpoint of a run, without its config and times."""
    saved, _ = trainer.checkpoints.load_newest("cpu")
    ignored = ("config", "seconds", "epoch_seconds", "data_seconds")
    return {key: value for key, value in (saved or {}).items() if key not in ignored}


@pytest.mark.parametrize("overrides", MATRIX, ids=str)
def test_step_of_the_graph_has_the_same_bits_as_the_loop(
    trainer_of: Callable[..., Trainer], overrides: list[str]
) -> None:
    plain, graph = trained(trainer_of(*overrides, graph=False)), trained(trainer_of(*overrides))
    assert plain.tracker.found == graph.tracker.found  # type: ignore[attr-defined]
    for key, value in last(plain).items():
        assert equal(last(graph)[key], value), key


@pytest.mark.slow  # imports torchmetrics
def test_metrics_that_are_not_sums_are_the_same(trainer_of: Callable[..., Trainer]) -> None:
    plain, graph = (trained(trainer_of("metrics=[accuracy,f1,auroc]", graph=graph)) for graph in (False, True))
    assert plain.tracker.found == graph.tracker.found  # type: ignore[attr-defined]


@pytest.mark.parametrize("steps", [1, 13, 17])
def test_resumed_run_is_equal(trainer_of: Callable[..., Trainer], steps: int) -> None:
    overrides = ["model=mlp", "model.dropout=0.3", "model.norm=batch", "trainer.ema=0.9", "dataset.augment.flip=true"]
    whole = trained(trainer_of(*overrides))
    first = trainer_of(*overrides)
    first.tracker.progress = lambda step: setattr(first.stop, "received", 15 if step == steps else None)  # type: ignore
    fit(first)
    assert first.state.step == steps
    saved, _ = first.checkpoints.load_newest("cpu")
    resumed = trained(trainer_of(*overrides, saved=saved))
    assert equal(last(resumed), last(whole))


def test_large_outputs_are_recorded_at_once(
    trainer_of: Callable[..., Trainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runner.training.measuring.shard_metrics.MOST_NUMBERS", 1000)
    plain, graph = trained(trainer_of(graph=False)), trained(trainer_of())
    assert equal(last(graph)["shards"], last(plain)["shards"])
    assert plain.tracker.found == graph.tracker.found  # type: ignore[attr-defined]


def test_non_finite_loss_stops_at_the_log_with_the_step(trainer_of: Callable[..., Trainer]) -> None:
    trainer = trainer_of("trainer.log_every=6")
    task: Any = trainer.parts.task
    original = task.loss
    task.loss = lambda *args: original(*args) * (float("nan") if trainer.state.step == 3 else 1)
    with pytest.raises(Diverged, match="step 4: the loss is nan"):
        fit(trainer)
    assert trainer.state.step == 6


class Graph:
    """A stand-in for torch.cuda.CUDAGraph whose replay computes the step."""

    step: WholeStep
    replays = 0

    def replay(self) -> None:
        Graph.replays += 1
        ema = self.step.parts.ema
        updates = 0 if ema is None else ema.updates
        self.step.compute()
        if ema is not None:
            ema.updates = updates  # a real graph repeats no Python


@pytest.fixture
def captures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the capture by plain steps on the CPU, which change as much as a real capture and its warm-up do."""

    @contextmanager
    def nothing(*arguments: Any) -> Iterator[None]:
        yield

    class Stream:
        def __init__(self, *arguments: Any) -> None: ...

        def wait_stream(self, other: Any) -> None: ...

    for name, value in {"CUDAGraph": Graph, "graph": nothing, "stream": nothing, "Stream": Stream}.items():
        monkeypatch.setattr(torch.cuda, name, value)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda *arguments: Stream())
    monkeypatch.setattr(Graph, "replays", 0)


@pytest.mark.parametrize("overrides", [MATRIX[1], MATRIX[2], MATRIX[4], MATRIX[5]], ids=str)
def test_capture_restores_all_that_it_changes(
    trainer_of: Callable[..., Trainer], captures: None, overrides: list[str]
) -> None:
    graph = trainer_of(*overrides)
    step = WholeStep(graph)
    step.captures, Graph.step = True, step
    replay_epoch(graph, step)
    assert Graph.replays == step.full_steps - 1
    again = trainer_of(*overrides)
    replay_epoch(again, WholeStep(again))
    assert equal(graph.parts.state_dict(), again.parts.state_dict())
    assert equal(graph.state.shard_states(), again.state.shard_states())
    assert graph.tracker.found == again.tracker.found  # type: ignore[attr-defined]


def captured(trainer: Trainer) -> WholeStep:
    """Make the first two steps, the second of which is captured."""
    step = WholeStep(trainer)
    step.captures, Graph.step = True, step
    for _ in range(2):
        step()
        trainer.state.position += 1
    return step


def test_no_checkpoint_is_being_saved_during_the_capture(trainer_of: Callable[..., Trainer], captures: None) -> None:
    trainer = trainer_of("trainer.checkpoint.every_steps=1")
    save, saved = trainer.checkpoints.save, trainer.saver
    trainer.checkpoints.save = lambda *args, **kwargs: time.sleep(0.2) or save(*args, **kwargs)  # type: ignore
    step = WholeStep(trainer)
    step.captures, Graph.step = True, step
    pending: list[bool] = []
    warm_up = step.warm_up
    step.warm_up = lambda: pending.append(saved._pending is not None) or warm_up()  # type: ignore
    replay_epoch(trainer, step)
    trainer.saver.close()
    assert pending == [False]


def test_capture_error_is_reported(trainer_of: Callable[..., Trainer], captures: None) -> None:
    trainer = trainer_of()

    def read(module: nn.Module, inputs: Any) -> None:
        if trainer.state.position == 1:
            raise RuntimeError("operation not permitted when stream is capturing")

    trainer.parts.model.register_forward_pre_hook(read)
    with pytest.raises(RunnerError, match="model=lenet with optim=sgd cannot be captured: operation not permitted"):
        captured(trainer)


def test_replaced_buffer_raises(trainer_of: Callable[..., Trainer], captures: None) -> None:
    trainer = trainer_of()
    trainer.parts.model.register_buffer("batches", torch.zeros(()), persistent=False)

    def count(module: Any, inputs: Any) -> None:
        module.batches = module.batches + 1

    trainer.parts.model.register_forward_pre_hook(count)
    with pytest.raises(RunnerError, match="cannot be captured: a buffer is replaced instead of updated in place"):
        captured(trainer)


def test_optimizer_that_counts_in_python_raises(trainer_of: Callable[..., Trainer], captures: None) -> None:
    trainer = trainer_of()
    trainer.parts.optimizer.state[trainer.parameters[0]]["count"] = 3
    with pytest.raises(RunnerError, match="cannot be captured: the optimizer has a state that is not a tensor"):
        captured(trainer)


def test_scheduler_that_changes_the_momentum_raises(trainer_of: Callable[..., Trainer]) -> None:
    with pytest.raises(RunnerError, match=r"scheduler=one_cycle changes momentum of the optimizer"):
        fit(trainer_of("scheduler=one_cycle"))


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("dataset.in_memory=false", "needs the data in memory"),
        ("dataset.augment.mixup=0.2", "cannot be combined with dataset.augment.mixup"),
    ],
)
def test_data_that_the_graph_cannot_read_raises(tiny: Callable[..., Config], override: str, reason: str) -> None:
    with pytest.raises(RunnerError, match=f"trainer.cuda_graph: found true, which {reason}"):
        check_capturable(build(tiny(override)))


def test_cuda_graph_without_gpu_raises(tiny: Callable[..., Config]) -> None:
    with pytest.raises(
        ConfigError, match=r"trainer.cuda_graph: found true, which needs an NVIDIA GPU; the device is cpu"
    ):
        check(tiny("trainer.cuda_graph=true", "device=cpu"))


def test_evaluation_without_gpu_is_allowed(tiny: Callable[..., Config]) -> None:
    check(tiny("trainer.cuda_graph=true", "device=cpu"), trains=False)


@pytest.mark.parametrize(
    ("override", "reason"),
    [("trainer.accumulate=2", r"trainer.accumulate=2"), ("trainer.compile=true", r"trainer.compile=true")],
)
def test_incompatible_settings_raise(
    tiny: Callable[..., Config], monkeypatch: pytest.MonkeyPatch, override: str, reason: str
) -> None:
    monkeypatch.setattr("runner.training.checks.check.resolve", lambda name: torch.device("cuda"))
    with pytest.raises(ConfigError, match=f"trainer.cuda_graph: found true, which cannot be combined with {reason}"):
        check(tiny("trainer.cuda_graph=true", override))


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_training_on_gpu_matches_eager_mode(runner: Callable[..., Path], precision: str) -> None:
    shared = ["device=cuda", f"trainer.precision={precision}", "model.norm=batch", "trainer.epochs=3"]
    plain, recorded = (checkpoint(runner(*shared, f"trainer.cuda_graph={graph}")) for graph in ("false", "true"))
    for name, tensor in plain["model"].items():
        torch.testing.assert_close(recorded["model"][name], tensor, rtol=1e-2, atol=1e-3)
