from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from helpers import checkpoint, equal, metrics_table, results
from runner.config.schema import Config
from runner.machine.distributed import World
from runner.machine.signals import Stop
from runner.task import Classification
from runner.tracking.results import Results, judge_fit
from runner.tracking.tracker import NullTracker, Tracker
from runner.training.evaluate import evaluate, predict
from runner.training.loop import train_epoch
from runner.training.parts import Parts
from runner.training.saving.checkpoint import Checkpoints
from runner.training.saving.resume import assemble
from runner.training.setup.build import build
from runner.training.state import Best, TrainState
from runner.training.step import Closure, backward, gradients, weighted_loss
from runner.training.trainer import Step, Trainer


def trainer_of(parts: Parts, tracker: Tracker | None = None) -> Trainer:
    best, early = Best("val/loss", "min"), Best("val/loss", "min")
    state = TrainState.start(parts.metric_set, parts.device, best, early, parts.world)
    return Trainer(parts, state, tracker or NullTracker(), Checkpoints(Path("nowhere"), keep_last=1), Stop())


def weights(folder: Path) -> dict[str, torch.Tensor]:
    model: dict[str, torch.Tensor] = checkpoint(folder)["model"]
    return model


def test_loop_matches_a_plain_pytorch_loop(runner: Callable[..., Path], tiny: Callable[..., Config]) -> None:
    trained = runner("trainer.epochs=1", "optim.nesterov=true", "trainer.clip_norm=0.5")
    parts = build(tiny("optim.nesterov=true"))
    optimizer = torch.optim.SGD(parts.model.parameters(), lr=0.01, momentum=0.9, nesterov=True)
    for inputs, targets in parts.train.epoch(0):
        optimizer.zero_grad()
        nn.functional.cross_entropy(parts.model(inputs), targets).backward()
        nn.utils.clip_grad_norm_(parts.model.parameters(), 0.5)
        optimizer.step()
    assert equal(weights(trained), dict(parts.model.state_dict()))


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_accumulated_batches_equal_one_large_batch(runner: Callable[..., Path], reduction: str) -> None:
    loss = [f"loss.reduction={reduction}", "optim.lr=0.001"]
    large = runner(*loss, "trainer.batch_size=256")  # the last step of an epoch has 15 samples
    small = runner(*loss, "trainer.batch_size=64", "trainer.accumulate=4")
    for name, tensor in weights(large).items():
        torch.testing.assert_close(weights(small)[name], tensor, rtol=1e-4, atol=1e-6)
    assert results(small)["step"] == results(large)["step"] == 12


def test_epoch_mean_weights_all_samples_equally(runner: Callable[..., Path]) -> None:
    frozen = ["optim.lr=0", "trainer.epochs=1"]
    unequal, whole = runner(*frozen, "trainer.batch_size=500"), runner(*frozen, "trainer.batch_size=1295")
    for name in ("loss", "accuracy"):
        assert results(unequal)["train"][name] == pytest.approx(results(whole)["train"][name], rel=1e-6)


@pytest.mark.parametrize(
    ("reduction", "loss", "summed", "objective"),
    [
        ("mean", torch.tensor(2.0), 8.0, 1.0),
        ("sum", torch.tensor(2.0), 2.0, 2.0),
        ("none", torch.tensor([1.0, 2.0, 3.0, 2.0]), 8.0, 1.0),
        ("none", torch.tensor([[1.0, 3.0], [2.0, 2.0], [1.0, 3.0], [2.0, 2.0]]), 8.0, 1.0),
    ],
)
def test_batch_loss_is_scaled_by_its_share_of_the_step(
    reduction: str, loss: torch.Tensor, summed: float, objective: float
) -> None:
    assert [value.item() for value in weighted_loss(loss, reduction, weight=4, total=8)] == [summed, objective]


def test_last_step_of_an_epoch_may_have_fewer_samples(tiny: Callable[..., Config]) -> None:
    parts = build(tiny("trainer.batch_size=100", "trainer.accumulate=3"))
    trainer = trainer_of(parts)
    sizes = []
    while not trainer.epoch_is_over:
        sizes.append(trainer.samples_in_step)
        trainer.state.position += 1
    assert sizes == [300, 300, 300, 300, 95]


def test_max_steps_ends_a_run_within_an_epoch(runner: Callable[..., Path]) -> None:
    values = results(runner("trainer.max_steps=8"))
    assert (values["status"], values["step"], values["epoch"]) == ("completed", 8, 1)
    assert values["val"] != {}


def test_early_stopping_ends_a_run_that_no_longer_improves(runner: Callable[..., Path]) -> None:
    stopped = runner("optim.lr=0", "trainer.epochs=9", "trainer.early_stopping.patience=3")
    values = results(stopped)
    assert (values["status"], values["epoch"]) == ("completed", 4)  # no validation improves on the first
    assert values["best"]["epoch"] == 1
    assert len(metrics_table(stopped)) == 1 + 4


def test_validation_runs_every_n_epochs_or_steps(runner: Callable[..., Path]) -> None:
    def validations(folder: Path) -> list[int]:
        from helpers import scalars

        return [step for tag, step, _ in scalars(folder) if tag == "val/loss"]

    assert validations(runner("trainer.epochs=5", "trainer.validate_every=2")) == [12, 24, 30]
    assert validations(runner("trainer.epochs=2", "trainer.validate_every='4 steps'")) == [4, 8, 12]


def test_checkpoints_are_saved_every_n_steps(runner: Callable[..., Path]) -> None:
    keep = [
        "trainer.checkpoint.every_steps=4",
        "trainer.checkpoint.every_epochs=null",
        "trainer.checkpoint.keep_last=9",
    ]
    never_best = ["trainer.checkpoint.metric=val/loss", "trainer.checkpoint.mode=max"]
    folder = runner(*keep, *never_best, "optim.lr=0.01", "trainer.epochs=3")
    steps = sorted(int(path.stem[5:]) for path in (folder / "checkpoints").glob("step-*.pt"))
    assert steps == [4, 6, 8, 12, 16, 18]  # 6: the first validation is the best one so far; 18: the end


def test_best_checkpoint_is_tested(runner: Callable[..., Path], tiny: Callable[..., Config]) -> None:
    folder = runner("trainer.checkpoint.metric=val/loss", "trainer.checkpoint.mode=max", "trainer.epochs=3")
    values = results(folder)
    best, last = checkpoint(folder, "best.pt"), checkpoint(folder, "last.pt")
    assert (values["best"]["step"], best["step"], last["step"]) == (6, 6, 18)
    parts = build(tiny())
    parts.load_weights(best)
    assert evaluate(parts, parts.test) == values["test"]


def test_averaged_weights_are_evaluated(runner: Callable[..., Path], tiny: Callable[..., Config]) -> None:
    folder = runner("trainer.ema=0.5", "trainer.epochs=1", "trainer.max_steps=1")
    plain = runner("trainer.epochs=1", "trainer.max_steps=1")
    saved = checkpoint(folder)
    assert equal(saved["model"], checkpoint(plain)["model"])
    before = dict(build(tiny()).model.named_parameters())
    for name, after in saved["model"].items():
        # the first update copies the weights, as in torch's AveragedModel
        torch.testing.assert_close(saved["ema"]["module"][name], after)
        assert not torch.equal(before[name], after)
    assert "learned" not in (folder / "run.log").read_text()  # logged for small models only
    two = checkpoint(runner("trainer.ema=0.5", "trainer.max_steps=2"))
    for name, after in two["model"].items():
        torch.testing.assert_close(two["ema"]["module"][name], 0.5 * saved["model"][name] + 0.5 * after)
    parts = build(tiny("trainer.ema=0.5"))
    assert parts.ema is not None
    assert parts.eval_model is parts.ema.module


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_mixed_precision_computes_in_half_precision_and_keeps_float32_weights(
    runner: Callable[..., Path], tiny: Callable[..., Config], precision: str
) -> None:
    parts = build(tiny(f"trainer.precision={precision}"))
    with parts.autocast():
        assert parts.model(next(parts.train.epoch())[0]).dtype == getattr(
            torch, {"bf16": "bfloat16", "fp16": "float16"}[precision]
        )
    folder = runner(f"trainer.precision={precision}", "trainer.epochs=10", "optim.lr=0.1")
    assert results(folder)["test"]["accuracy"] > 0.8
    assert {tensor.dtype for tensor in weights(folder).values()} == {torch.float32}


def test_scheduler_steps_per_step_or_per_epoch_over_the_length_of_the_run(runner: Callable[..., Path]) -> None:
    def rates(folder: Path) -> list[float]:
        return [float(row.split(",")[-1]) for row in metrics_table(folder)[1:]]

    by_epoch = rates(runner("scheduler=cosine", "scheduler.interval=epoch", "trainer.epochs=4", "optim.lr=1"))
    assert by_epoch == pytest.approx([1, 0.8535534, 0.5, 0.1464466])
    by_step = rates(runner("scheduler=cosine", "trainer.epochs=2", "optim.lr=1"))
    half, last = 5 / 12, 11 / 12  # the last steps of the two epochs come after 5 and 11 of 12 steps
    cosine: Any = lambda done: (1 + torch.cos(torch.tensor(torch.pi * done)).item()) / 2  # noqa: E731
    assert by_step == pytest.approx([cosine(half), cosine(last)], abs=1e-6)


def test_evaluation_changes_neither_weights_nor_random_state(tiny: Callable[..., Config]) -> None:
    parts = build(tiny("model.dropout=0.5", "model.norm=batch"))
    before = {name: tensor.clone() for name, tensor in parts.model.state_dict().items()}
    torch.manual_seed(0)
    first = evaluate(parts, parts.val)
    drawn = torch.rand(1)
    assert evaluate(parts, parts.val) == first
    torch.manual_seed(0)
    assert drawn == torch.rand(1)
    assert equal(before, dict(parts.model.state_dict()))


def test_predictions_keep_the_order_of_the_split(tiny: Callable[..., Config]) -> None:
    parts = build(tiny("trainer.eval_batch_size=100"))
    batches = list(predict(parts, parts.test))
    assert [len(targets) for _, targets, _, _ in batches] == [100, 100, 100, 59]
    assert torch.equal(torch.cat([targets for _, targets, _, _ in batches]), parts.test.source.targets)  # type: ignore[attr-defined]


@pytest.mark.parametrize("worst", ["loss", "gradient"])
def test_non_finite_loss_or_gradient_stops_before_the_update(
    workdir: Path, runner: Callable[..., Path], worst: str
) -> None:
    # From the third step on, either the loss is infinite, or it is finite and its gradient is NaN.
    (workdir / "poison_plugin.py").write_text(
        "import torch\n"
        "from runner.registry import LOSSES\n"
        "class Poison(torch.nn.CrossEntropyLoss):\n"
        "    calls = 0\n"
        "    def forward(self, outputs, targets):\n"
        "        value = super().forward(outputs, targets)\n"
        "        Poison.calls += outputs.requires_grad and outputs.device.type != 'meta'\n"
        "        if Poison.calls < 3: return value\n"
        f"        return value / 0 if '{worst}' == 'loss' else value + (outputs * 0).sum().sqrt()\n"
        "@LOSSES.register('poison')\n"
        "def poison(): return Poison()\n"
    )
    (workdir / "mine" / "loss").mkdir(parents=True)
    (workdir / "mine" / "loss" / "poison.yaml").write_text("name: poison\n")
    every = "trainer.checkpoint.every_steps=1"
    folder = runner("plugins=[poison_plugin]", "loss=poison", every, "--config-dir=mine", code=3)
    message = results(folder)["error"]["message"]
    assert message.startswith(f"step 3: the {worst}")
    assert checkpoint(folder)["step"] == 2
    assert all(bool(torch.isfinite(tensor).all()) for tensor in weights(folder).values())


def test_fit_depends_on_training_and_validation_metrics() -> None:
    assert judge_fit("accuracy", {"accuracy": 0.5}, {"accuracy": 0.5}) == "underfitting"
    assert judge_fit("accuracy", {"accuracy": 0.99}, {"accuracy": 0.8}) == "overfitting"
    assert judge_fit("r2", {"r2": 0.99}, {"r2": 0.95}) == "good fit"
    assert judge_fit("r2", {}, {}) == "unknown"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # raised by torch.compile itself
def test_compiled_model_trains_to_the_same_weights(runner: Callable[..., Path]) -> None:
    compiled, plain = runner("trainer.compile=true"), runner()
    for name, tensor in weights(plain).items():
        torch.testing.assert_close(weights(compiled)[name], tensor, rtol=1e-3, atol=1e-5)


def test_lbfgs_matches_a_plain_pytorch_loop_with_a_closure(
    runner: Callable[..., Path], tiny: Callable[..., Config]
) -> None:
    values = ["optim=lbfgs", "optim.lr=0.5", "optim.max_iter=4", "trainer.epochs=1", "trainer.clip_norm=0.5"]
    trained = runner(*values)
    parts = build(tiny(*values))
    optimizer = torch.optim.LBFGS(parts.model.parameters(), lr=0.5, max_iter=4)
    first = []
    for inputs, targets in parts.train.epoch(0):
        losses: list[float] = []

        def closure(
            inputs: torch.Tensor = inputs, targets: torch.Tensor = targets, seen: list[float] = losses
        ) -> float:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(parts.model(inputs), targets)
            loss.backward()
            nn.utils.clip_grad_norm_(parts.model.parameters(), 0.5)
            seen.append(loss.item())
            return loss.item()

        optimizer.step(closure)
        assert len(losses) == 4
        first.append(losses[0] * len(targets))
    assert equal(weights(trained), dict(parts.model.state_dict()))
    # The loss is counted once per step, before the update, however often the optimizer calls the closure.
    assert results(trained)["train"]["loss"] == pytest.approx(sum(first) / parts.train.samples, rel=1e-6)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_accumulated_batches_equal_one_large_batch_with_a_closure(runner: Callable[..., Path], reduction: str) -> None:
    lbfgs = ["optim=lbfgs", "optim.lr=0.1", "optim.max_iter=3", f"loss.reduction={reduction}", "trainer.epochs=1"]
    large = runner(*lbfgs, "trainer.batch_size=256")
    small = runner(*lbfgs, "trainer.batch_size=64", "trainer.accumulate=4")
    for name, tensor in weights(large).items():
        torch.testing.assert_close(weights(small)[name], tensor, rtol=1e-3, atol=1e-4)
    assert results(small)["step"] == results(large)["step"] == 6
    assert results(small)["train"]["loss"] == pytest.approx(results(large)["train"]["loss"], rel=1e-4)


@pytest.mark.parametrize("shards", [1, 4])
def test_distributed_closure_returns_the_global_loss_and_gradient(
    on_ranks: Callable[..., list[Any]], tiny: Callable[..., Config], shards: int
) -> None:
    def evaluate_closure(world: World) -> tuple[float, list[torch.Tensor | None]]:
        parts, _ = assemble(tiny("optim=lbfgs", f"trainer.shards={shards}"), world, None)
        trainer = trainer_of(parts)
        loss = Closure(trainer, next(trainer.steps()))()
        return loss, [parameter.grad for parameter in parts.model.parameters()]

    alone = build(tiny("optim=lbfgs"))
    inputs, targets = next(alone.train.epoch(0))
    expected = alone.loss(alone.model(inputs), targets)
    expected.backward()
    for loss, grads in on_ranks(evaluate_closure):
        assert loss == pytest.approx(expected.item(), rel=1e-6)
        for parameter, grad in zip(alone.model.parameters(), grads, strict=True):
            torch.testing.assert_close(grad, parameter.grad)


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("shards", [1, 4])
def test_weight_of_a_step_is_summed_over_its_micro_batches_and_shards(
    on_ranks: Callable[..., list[Any]], tiny: Callable[..., Config], accumulate: int, shards: int
) -> None:
    config = tiny("loss.weight=balanced", f"trainer.accumulate={accumulate}", "trainer.batch_size=64")
    config = config.model_copy(update={"trainer": config.trainer.model_copy(update={"shards": shards})})

    def weigh(world: World) -> tuple[int, float, float]:
        trainer = trainer_of(assemble(config, world, None)[0])
        micro_batches = next(trainer.steps()).batches
        weights = [float(trainer.parts.weight(targets)) for _, targets in micro_batches]
        assert trainer.step_weight is not None
        return len(weights), sum(weights), float(trainer.step_weight)

    (first_count, first, total), (second_count, second, other_total) = on_ranks(weigh)
    assert first_count == second_count == accumulate * max(1, shards // 2)
    assert total == other_total == pytest.approx(first + second, rel=1e-6)
    assert first != second
    assert total != 64 * accumulate


def test_ignored_targets_in_a_later_micro_batch_are_not_counted(tiny: Callable[..., Config]) -> None:
    trainer = trainer_of(build(tiny("loss.ignore_index=0", "trainer.accumulate=2", "trainer.batch_size=2")))
    trainer.parts.train.source.targets.copy_(torch.arange(1295) % 5)  # type: ignore[attr-defined]
    for micro_batches in trainer.steps():
        targets = torch.cat([targets for _, targets in micro_batches])
        assert trainer.step_weight == (targets != 0).sum()


class Masked(Classification):
    """A task that takes the mean over the targets that are not 0."""

    def loss(self, loss_fn: nn.Module, outputs: Any, targets: Any, inputs: Any) -> torch.Tensor:
        mask = targets != 0
        return (loss_fn(outputs, targets) * mask).sum() / mask.sum()

    def weight(self, targets: Any) -> torch.Tensor:
        return (targets != 0).sum()


@pytest.mark.parametrize(
    ("overrides", "task"),
    [
        (["loss.weight=[0,1,1,1,1,1,1,1,1,1]"], None),
        (["loss.ignore_index=0"], None),
        (["loss.reduction=none"], Masked()),
    ],
    ids=["class weight 0", "ignore_index", "task with a mask"],
)
def test_micro_batch_without_weight_has_no_gradient(
    tiny: Callable[..., Config], overrides: list[str], task: Classification | None
) -> None:
    parts = build(tiny("trainer.accumulate=3", "trainer.batch_size=1", *overrides))
    if task is not None:
        task.spec, task.loss_fn = parts.task.spec, parts.loss
        parts.task = task
    parts.train.source.targets.copy_(torch.arange(1295) % 2)  # type: ignore[attr-defined]
    trainer = trainer_of(parts)
    step = next(step for step in map(listed, trainer.steps()) if {int(targets) for _, targets in step} == {0, 1})
    for inputs, targets in step:
        outputs = parts.model(inputs)
        backward(trainer, parts.task.loss(parts.loss, outputs, targets, inputs), outputs, targets)
    accumulated = gradients(trainer)
    parts.optimizer.zero_grad()
    inputs, targets = (torch.cat(each) for each in zip(*step, strict=True))
    parts.task.loss(parts.loss, parts.model(inputs), targets, inputs).backward()
    torch.testing.assert_close(accumulated, gradients(trainer))


def listed(step: Step) -> list[Any]:
    """Return the micro-batches of a step, after its weight was computed."""
    return list(step)


def test_closure_evaluates_the_micro_batches_of_its_rank(
    on_ranks: Callable[..., list[Any]], tiny: Callable[..., Config]
) -> None:
    def train(world: World) -> set[tuple[int, int]]:
        parts, _ = assemble(tiny("optim=lbfgs"), world, None)
        seen = set()

        def step(closure: Closure) -> None:
            samples = sum(len(targets) for _, targets in closure.step)
            seen.add((samples, closure.trainer.samples_in_step))

        parts.optimizer.step = step  # type: ignore[assignment]
        train_epoch(trainer_of(parts))
        return seen

    assert on_ranks(train) == [{(128, 256), (8, 15)}, {(128, 256), (7, 15)}]


def test_first_closure_evaluation_needs_no_extra_forward_pass(tiny: Callable[..., Config]) -> None:
    parts = build(tiny("optim=lbfgs", "optim.max_iter=4", "trainer.batch_size=1295"))
    calls = []
    parts.model.register_forward_hook(lambda module, inputs, outputs: calls.append(outputs))
    train_epoch(trainer_of(parts))
    assert len(calls) == 4


def test_plateau_lowers_the_learning_rate_after_validations_without_improvement(runner: Callable[..., Path]) -> None:
    def rates(folder: Path) -> list[float]:
        return [float(row.split(",")[-1]) for row in metrics_table(folder)[1:]]

    plateau = ["scheduler=plateau", "scheduler.patience=1", "scheduler.factor=0.5", "trainer.epochs=6"]
    worse = [*plateau, "optim.lr=1e-6", "trainer.checkpoint.metric=val/loss", "trainer.checkpoint.mode=max"]
    # The loss falls, which counts as worse with mode=max: no validation improves on the first, and every second one
    # after it halves the learning rate.
    assert rates(runner(*worse)) == pytest.approx([1e-6, 1e-6, 1e-6, 5e-7, 5e-7, 2.5e-7], rel=1e-6)
    # Of three validations, the third comes too late to matter.
    assert rates(runner(*worse, "trainer.validate_every=2")) == pytest.approx([1e-6] * 6)
    better = [*plateau, "scheduler.threshold=0", "trainer.checkpoint.metric=val/loss", "trainer.checkpoint.mode=min"]
    assert rates(runner(*better)) == pytest.approx([0.01] * 6)


@pytest.mark.gpu
def test_training_steps_do_not_synchronize_with_the_gpu(tiny: Callable[..., Config], tmp_path: Path) -> None:
    parts = build(tiny("device.name=cuda", "trainer.batch_size=64", "trainer.log_every=1000", "trainer.epochs=1"))
    tracker = Tracker(tmp_path, parts, Results.open(tmp_path, "gpu", 0, []))
    tracker.progress = lambda step: torch.cuda.set_sync_debug_mode("error")  # type: ignore[method-assign]
    trainer = trainer_of(parts, tracker)
    try:
        train_epoch(trainer)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert trainer.state.step == parts.steps_per_epoch


def test_summed_loss_is_detached_from_the_graph() -> None:
    summed, objective = weighted_loss(torch.ones(1, requires_grad=True).sum(), "sum", weight=4, total=8)
    assert not summed.requires_grad
    assert objective.requires_grad
