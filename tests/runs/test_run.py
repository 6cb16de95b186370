import io
import json
import os
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from conftest import TINY
from helpers import checkpoint, equal, metrics_table, results, scalars
from runner import cli
from runner.config.schema import Config
from runner.machine.distributed import World
from runner.runs import final_test, messages
from runner.runs import run as run_module
from runner.runs.folder import make_run_folder
from runner.runs.request import Request
from runner.task import Classification, Task
from runner.tracking import results as results_module
from runner.tracking.results import Results
from runner.tracking.tracker import Tracker
from runner.training.evaluate import predict
from runner.training.saving import checkpoint as checkpoint_module
from runner.training.saving import resume

# One epoch of the tiny run is 6 steps: 1,295 samples in batches of 256.
EVERYTHING = [
    "model.dropout=0.2",
    "model.norm=batch",
    "scheduler=cosine",
    "trainer.ema=0.9",
    "trainer.clip_norm=1",
    "trainer.epochs=3",
    "trainer.log_every=4",
]
VARIANTS = {
    "everything": EVERYTHING,
    "adam by epochs": ["optim=adam", "scheduler=cosine", "scheduler.interval=epoch", "trainer.epochs=3"],
    "accumulated": [*EVERYTHING, "trainer.batch_size=64", "trainer.accumulate=4"],
    "bf16": [*EVERYTHING, "trainer.precision=bf16"],
    "fp16": ["trainer.precision=fp16", "trainer.epochs=3"],
    "steps": ["trainer.epochs=null", "trainer.max_steps=20", "trainer.validate_every='5 steps'"],
    "streamed": [*EVERYTHING, "dataset.in_memory=false"],
    "augmented": [*EVERYTHING, "dataset.augment.shift=1", "dataset.augment.flip=true", "dataset.augment.erase=0.5"],
    "early stopping": [
        "trainer.epochs=3",
        "trainer.early_stopping.patience=5",
        "optim.lr=0.5",
        "trainer.validate_every='2 steps'",
    ],
}


@pytest.fixture
def interrupt(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, signal.Signals], None]:
    """Return a function that sends a signal to this process when training reaches a step."""

    def at(step: int, number: signal.Signals = signal.SIGTERM) -> None:
        progress = Tracker.progress

        def and_signal(self: Tracker, now: int) -> None:
            progress(self, now)
            if now == step:
                os.kill(os.getpid(), number)

        monkeypatch.setattr(Tracker, "progress", and_signal)

    return at


def test_signal_interrupts_the_run_even_if_a_library_raises_its_own_error(
    workdir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def build_with_failing_cleanup(*arguments: Any, **named: Any) -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            raise AttributeError("half built")

    monkeypatch.setattr(resume, "build", build_with_failing_cleanup)
    assert cli.main([*TINY]) == 143
    (folder,) = workdir.glob("outputs/*/*")
    assert (results(folder)["status"], results(folder)["error"]) == ("interrupted", None)
    assert "SIGTERM: stopped before the first step." in capsys.readouterr().out


def test_signal_while_a_failure_is_reported_interrupts_the_run(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(*arguments: Any, **named: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(resume, "build", no_memory)
    monkeypatch.setattr(run_module, "report", lambda *arguments: os.kill(os.getpid(), signal.SIGTERM))
    assert cli.main([*TINY]) == 143
    (folder,) = workdir.glob("outputs/*/*")
    assert results(folder)["status"] == "interrupted"


def test_rank_0_can_be_stopped_alone_during_the_final_test(
    on_ranks: Callable[..., list[Any]], tiny: Callable[..., Config], workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def predict_after_signal(*arguments: Any) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        return predict(*arguments)

    def train(world: World) -> int:
        monkeypatch.setattr(run_module, "join", lambda *arguments: world)
        monkeypatch.setattr(run_module, "leave_group", lambda world: None)
        monkeypatch.setattr(run_module, "end_process", lambda code: code)
        monkeypatch.setattr(final_test, "predict", predict_after_signal)
        sys.stdout = io.StringIO()
        return run_module.run(Request(tiny()), lambda: make_run_folder(workdir, "stopped"))

    assert on_ranks(train) == [143, 0]
    (folder,) = workdir.glob("*/*_stopped")
    assert results(folder)["status"] == "interrupted"
    assert results(folder)["epoch"] == 2


def test_resume_warns_about_changed_data(
    runner: Callable[..., Path], workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [f"{number},{number % 7},{number % 2}" for number in range(60)]
    (workdir / "table.csv").write_text("\n".join(["a,b,kind", *rows]))
    table = ["dataset=csv", "dataset.path=table.csv", "dataset.target=kind", "dataset.task=classification"]
    cli.main(["model=mlp", *table, "trainer.epochs=2"])
    (folder,) = workdir.glob("outputs/*/*")
    assert cli.main(["resume", str(folder), "trainer.epochs=3"]) == 0
    assert "the training data has changed" not in capsys.readouterr().out
    (workdir / "table.csv").write_text("\n".join(["a,b,kind", *rows[::-1]]))
    assert cli.main(["resume", str(folder), "trainer.epochs=4"]) == 0
    assert "warning: the training data has changed since the checkpoint" in capsys.readouterr().out


def test_outcome_is_recorded_in_a_single_final_write(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = []
    update = Results.update

    def and_record(self: Results, **changes: Any) -> None:
        update(self, **changes)
        written.append((self.values["status"], self.values["finished"] is not None))

    monkeypatch.setattr(Results, "update", and_record)
    for arguments, status in ([], "completed"), (["optim.lr=1e30"], "diverged"):
        cli.main([*TINY, *arguments])
        assert written[-1] == (status, True)
        assert set(written[:-1]) == {("running", False)}
        written.clear()


def test_run_folder_contains_all_files(workdir: Path) -> None:
    assert cli.main([*TINY, "name=first/run", "optim.lr=0.1"]) == 0
    (folder,) = workdir.glob("outputs/*/*")
    assert folder.name.endswith("_first_run")
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    events = {path for path in found if path.startswith("events.out.tfevents.")}
    assert len(events) == 1
    assert found - events == {
        "config.yaml",
        "overrides.yaml",
        "environment.json",
        "run.log",
        "metrics.csv",
        "model.txt",
        "results.json",
        "checkpoints/best.pt",
        "checkpoints/last.pt",
        "checkpoints/step-000000006.pt",
        "checkpoints/step-000000012.pt",
        "plots/curves.png",
        "plots/confusion.png",
        "plots/mistakes.png",
    }


def test_completed_run_records_its_results(runner: Callable[..., Path]) -> None:
    values = results(runner("optim.lr=0.1", "seed=0"))
    assert set(values) == {
        *("schema", "name", "status", "error", "overrides", "seed", "epoch", "step", "train", "val", "test", "best"),
        *("fit", "parameters", "seconds", "samples_per_second", "started", "finished", "resumed", "changed"),
    }
    assert (values["status"], values["error"], values["seed"], values["resumed"]) == ("completed", None, 0, 0)
    assert (values["epoch"], values["step"], values["parameters"]) == (2, 12, 64 * 16 + 16 + 160 + 10)
    assert "optim.lr=0.1" in values["overrides"]
    for part in ("train", "val", "test"):
        assert set(values[part]) == {"loss", "accuracy"}
    assert values["best"]["value"] == values["val"]["loss"]
    assert values["best"]["checkpoint"] == "checkpoints/best.pt"


def test_metrics_csv_has_one_row_per_epoch(runner: Callable[..., Path]) -> None:
    folder = runner()
    header, *rows = metrics_table(folder)
    assert header == "epoch,step,train/loss,train/accuracy,val/loss,val/accuracy,lr"
    assert [row.split(",")[:2] for row in rows] == [["1", "6"], ["2", "12"]]
    assert float(rows[-1].split(",")[2]) == results(folder)["train"]["loss"]


def test_tensorboard_shows_curves_texts_and_hyperparameters_of_the_run(runner: Callable[..., Path]) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer

    folder = runner("trainer.log_every=4")
    steps: dict[str, list[int]] = {}
    for tag, step, _ in scalars(folder):
        steps.setdefault(tag, []).append(step)
    assert steps == {
        **{tag: [4, 8, 12] for tag in ("train/loss", "train/accuracy", "train/grad_norm", "lr")},
        **{tag: [6, 12] for tag in ("val/loss", "val/accuracy")},
        **{tag: [12] for tag in ("test/loss", "test/accuracy")},
    }
    board = EventAccumulator(str(folder)).Reload()
    assert {"model/text_summary", "config/text_summary"} <= set(board.Tags()["tensors"])
    assert "_hparams_/session_start_info" in board.summary_metadata
    assert list(EventMultiplexer().AddRunsFromDirectory(str(folder.parent)).Runs()) == [folder.name]


def test_logged_loss_is_the_mean_since_the_last_log(runner: Callable[..., Path]) -> None:
    each = [
        value
        for tag, _, value in scalars(runner("trainer.log_every=1", "trainer.batch_size=259"))
        if tag == "train/loss"
    ]
    by_four = [
        value
        for tag, _, value in scalars(runner("trainer.log_every=4", "trainer.batch_size=259"))
        if tag == "train/loss"
    ]
    assert len(each) == 10  # an epoch of 1,295 samples has 5 full batches
    assert by_four == pytest.approx([sum(each[:4]) / 4, sum(each[4:8]) / 4], rel=1e-6)


def test_equal_seeds_give_bitwise_equal_checkpoints(runner: Callable[..., Path]) -> None:
    one, same, other = (checkpoint(runner(*EVERYTHING, f"seed={seed}")) for seed in (1, 1, 2))
    assert equal(one, same)
    assert not equal(one["model"], other["model"])


def test_streamed_and_in_memory_runs_are_equal_bit_for_bit(runner: Callable[..., Path]) -> None:
    in_memory = runner(*EVERYTHING)
    for workers in (0, 2):
        streamed = runner(*EVERYTHING, "dataset.in_memory=false", f"dataset.workers={workers}")
        assert equal(checkpoint(streamed), checkpoint(in_memory))
        assert metrics_table(streamed) == metrics_table(in_memory)


TRANSFORMED = [*EVERYTHING, "dataset.transforms=[{name: RandomResizedCrop, size: 8, scale: [0.5, 1.0]}, RandomInvert]"]


def test_transformed_run_stopped_in_its_second_epoch_resumes_bit_for_bit_with_other_workers(
    runner: Callable[..., Path], interrupt: Callable[..., None]
) -> None:
    undisturbed = runner(*TRANSFORMED)
    interrupt(9)
    stopped = runner(*TRANSFORMED, code=143)
    assert cli.main(["resume", str(stopped), "dataset.in_memory=false", "dataset.workers=2"]) == 0
    assert equal(checkpoint(stopped), checkpoint(undisturbed))
    assert metrics_table(stopped) == metrics_table(undisturbed)


@pytest.mark.parametrize("step", [1, 6, 15, 18, *(pytest.param(step, marks=pytest.mark.slow) for step in (9, 16))])
@pytest.mark.parametrize("variant", VARIANTS)
def test_stopped_run_resumes_bit_for_bit(
    runner: Callable[..., Path], interrupt: Callable[..., None], variant: str, step: int
) -> None:
    undisturbed = runner(*VARIANTS[variant])
    interrupt(step)
    stopped = runner(*VARIANTS[variant], code=143)
    assert results(stopped)["status"] == "interrupted"
    assert checkpoint(stopped)["step"] == step
    assert cli.main(["resume", str(stopped)]) == 0
    for name in ("last.pt", "best.pt"):
        assert equal(checkpoint(stopped, name), checkpoint(undisturbed, name))
    assert metrics_table(stopped) == metrics_table(undisturbed)
    assert scalars(stopped) == scalars(undisturbed)
    after, before = results(stopped), results(undisturbed)
    assert after["resumed"] == 1
    assert {key: after[key] for key in ("status", "best", "test", "train", "val")} == {
        key: before[key] for key in ("status", "best", "test", "train", "val")
    }


def test_run_stopped_during_validation_resumes_bit_for_bit(
    runner: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from runner.training import evaluate as train

    def noisy(self: Task, loss_fn: nn.Module, outputs: Tensor, targets: Tensor, inputs: Tensor) -> Tensor:
        return loss_fn(outputs + torch.randn_like(outputs), targets)

    monkeypatch.setattr(Classification, "loss", noisy)
    variant = ["trainer.validate_every='4 steps'", "dataset.folds=2", "dataset.fold=0", "trainer.eval_batch_size=16"]
    undisturbed = runner(*variant)
    predict, calls = train.predict, []

    def and_signal(*args: object) -> object:
        for batch in predict(*args):  # type: ignore[arg-type]
            calls.append(batch)
            if len(calls) == 8:  # in the second validation
                os.kill(os.getpid(), signal.SIGTERM)
            yield batch

    with monkeypatch.context() as patch:
        patch.setattr(train, "predict", and_signal)
        stopped = runner(*variant, code=143)
    assert checkpoint(stopped)["next"] == "validate"
    assert cli.main(["resume", str(stopped)]) == 0
    one, other = checkpoint(stopped), checkpoint(undisturbed)
    assert [key for key in one if not equal(one[key], other[key])] == []
    assert scalars(stopped) == scalars(undisturbed)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGUSR1, 143)])
def test_signals_save_and_exit_with_their_code(
    runner: Callable[..., Path], interrupt: Callable[..., None], number: signal.Signals, code: int
) -> None:
    interrupt(3, number)
    folder = runner(code=code)
    assert results(folder)["status"] == "interrupted"
    assert checkpoint(folder)["step"] == 3
    assert f"resume {folder.relative_to(Path.cwd())}" in (folder / "run.log").read_text()


def test_resuming_a_completed_run_changes_nothing(
    runner: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = runner()
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert cli.main(["resume", str(folder)]) == 0
    assert "completed already" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_extended_run_equals_a_longer_one(runner: Callable[..., Path]) -> None:
    longer = runner("trainer.epochs=4")
    extended = runner("trainer.epochs=2")
    assert cli.main(["resume", str(extended), "trainer.epochs=4"]) == 0
    assert equal(checkpoint(extended), checkpoint(longer))
    assert "trainer.epochs=4" in results(extended)["overrides"]


@pytest.mark.parametrize(
    "override", ["model.hidden=[8]", "dataset.size=4", "optim.lr=1", "seed=5", "trainer.batch_size=8"]
)
def test_resume_rejects_a_different_run(
    runner: Callable[..., Path], capsys: pytest.CaptureFixture[str], override: str
) -> None:
    folder = runner()
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert cli.main(["resume", str(folder), override]) == 2
    assert re.search(rf"{override.partition('=')[0]}: found .*, the run in this folder has ", capsys.readouterr().err)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_run_that_crashed_before_its_first_checkpoint_starts_over(
    runner: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = runner()

    def die(self: Tracker, step: int) -> None:
        raise MemoryError("killed here")

    with monkeypatch.context() as patch:
        patch.setattr(Tracker, "progress", die)
        folder = runner(code=1)
    assert cli.main(["resume", str(folder)]) == 0
    assert equal(checkpoint(folder), checkpoint(undisturbed))
    assert scalars(folder) == scalars(undisturbed)


def test_run_that_crashed_within_its_first_save_tests_its_best_checkpoint(runner: Callable[..., Path]) -> None:
    arguments = ["trainer.batch_size=16", "optim.lr=0.3", "trainer.epochs=3", "seed=1"]
    whole = runner(*arguments)
    assert results(whole)["best"]["epoch"] == 1
    crashed = runner(*arguments, "trainer.epochs=1")
    for name in ("best.pt", "last.pt"):  # the crash came after the file of the step
        (crashed / "checkpoints" / name).unlink()
    assert cli.main(["resume", str(crashed), "trainer.epochs=3"]) == 0
    assert results(crashed)["test"] == results(whole)["test"]
    assert equal(checkpoint(crashed, "best.pt")["model"], checkpoint(whole, "best.pt")["model"])


@pytest.mark.parametrize("moment", ["in a step", "in a save"])
def test_nothing_is_recorded_twice_after_a_crash(
    runner: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    undisturbed = runner("trainer.log_every=1")

    def die(*arguments: object) -> None:
        raise MemoryError("killed here")

    with monkeypatch.context() as patch:
        if moment == "in a step":  # after logging it
            progress = Tracker.progress
            patch.setattr(Tracker, "progress", lambda self, step: die() if step == 9 else progress(self, step))
        else:  # after the epoch's row
            save = checkpoint_module.save_checkpoint
            saves = iter([True, False])
            patch.setattr(checkpoint_module, "save_checkpoint", lambda *it: save(*it) if next(saves) else die())
        folder = runner("trainer.log_every=1", code=1)
    assert len(scalars(folder)) > len([point for point in scalars(undisturbed) if point[1] <= 6])
    assert cli.main(["resume", str(folder)]) == 0
    assert scalars(folder) == scalars(undisturbed)
    assert metrics_table(folder) == metrics_table(undisturbed)
    assert equal(checkpoint(folder), checkpoint(undisturbed))


def test_diverging_run_stops_before_the_update(runner: Callable[..., Path]) -> None:
    folder = runner("optim.lr=1e30", "loss=mse", "trainer.checkpoint.every_steps=1", code=3)
    values = results(folder)
    assert values["status"] == "diverged"
    assert values["error"]["type"] == "Diverged"
    assert "last.pt" in values["error"]["message"]
    good = checkpoint(folder)
    assert all(bool(torch.isfinite(tensor).all()) for tensor in good["model"].values())
    assert f"step {good['step'] + 1}:" in values["error"]["message"]
    log = (folder / "run.log").read_text()
    assert "Traceback" in log
    assert f"restart  add init.from={folder.relative_to(Path.cwd())}/checkpoints/last.pt and a lower optim.lr" in log


def test_failed_run_logs_its_traceback(
    workdir: Path, runner: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    (workdir / "failing_plugin.py").write_text(
        "import torch\n"
        "from runner.registry import LOSSES\n"
        "class Failing(torch.nn.CrossEntropyLoss):\n"
        "    def forward(self, outputs, targets):\n"
        "        if outputs.device.type != 'meta' and len(outputs) < 256:\n"
        "            raise ZeroDivisionError('no such batch')\n"
        "        return super().forward(outputs, targets)\n"
        "@LOSSES.register('failing')\n"
        "def failing(): return Failing()\n"
    )
    (workdir / "mine" / "loss").mkdir(parents=True)
    (workdir / "mine" / "loss" / "failing.yaml").write_text("name: failing\n")
    folder = runner("plugins=[failing_plugin]", "loss=failing", "--config-dir=mine", code=1)
    values = results(folder)
    assert (values["status"], values["error"]) == (
        "failed",
        {"type": "ZeroDivisionError", "message": "no such batch"},
    )
    assert values["finished"] is not None
    assert "failing_plugin.py" in (folder / "run.log").read_text()
    where, log = "(failing_plugin.py:6 in forward)", folder.relative_to(workdir) / "run.log"
    assert f"ZeroDivisionError: no such batch {where}\n       the traceback is in {log}\n" in capsys.readouterr().out


def test_environment_is_recorded(runner: Callable[..., Path]) -> None:
    environment = json.loads((runner() / "environment.json").read_text())
    assert environment["packages"]["torch"] == torch.__version__
    assert {"device", "host", "git", "command"} <= environment.keys()


@pytest.mark.parametrize("scheduler", ["cosine", "one_cycle", "warmup_cosine"])
def test_schedule_of_an_extended_run_has_the_new_length(runner: Callable[..., Path], scheduler: str) -> None:
    values = [f"scheduler={scheduler}"] + (["scheduler.max_lr=0.1"] if scheduler == "one_cycle" else [])
    folder = runner(*values, "trainer.epochs=1")
    assert cli.main(["resume", str(folder), "trainer.epochs=3"]) == 0
    rates = [float(row.split(",")[-1]) for row in metrics_table(folder)[1:]]
    assert len(rates) == 3
    assert rates[2] < rates[1]  # the cosine reaches its minimum at the new end


def test_best_checkpoint_of_an_early_stop_within_an_epoch_is_tested(runner: Callable[..., Path]) -> None:
    # Every validation improves, but by less than min_delta: early stopping ends the run at its best validation.
    stopping = ["trainer.early_stopping.patience=4", "trainer.early_stopping.min_delta=10"]
    folder = runner("trainer.epochs=10", "trainer.validate_every='5 steps'", *stopping)
    assert results(folder)["best"]["step"] == 25
    assert checkpoint(folder, "best.pt")["step"] == 25


@pytest.mark.parametrize("unit", ["epochs", "steps"])
def test_signal_right_after_validation_resumes_bit_for_bit(
    runner: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, unit: str
) -> None:
    variant = ["trainer.epochs=3", f"trainer.validate_every='{'1 epochs' if unit == 'epochs' else '4 steps'}'"]
    undisturbed = runner(*variant)
    tracked, looks = Tracker.scalars, []

    def and_signal(self: Tracker, values: dict[str, float], step: int) -> None:
        tracked(self, values, step)
        looks.append(step) if "val/loss" in values else None
        if len(looks) == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(Tracker, "scalars", and_signal)
        stopped = runner(*variant, code=143)
    assert cli.main(["resume", str(stopped)]) == 0
    for name in ("last.pt", "best.pt"):
        assert equal(checkpoint(stopped, name), checkpoint(undisturbed, name))
    assert scalars(stopped) == scalars(undisturbed)
    assert results(stopped)["best"] == results(undisturbed)["best"]


def test_changed_checkpoint_metric_resets_the_best_value(runner: Callable[..., Path]) -> None:
    folder = runner("trainer.epochs=1")
    metric = ["trainer.checkpoint.metric=val/accuracy", "trainer.checkpoint.mode=max"]
    assert cli.main(["resume", str(folder), "trainer.epochs=3", *metric]) == 0
    best = results(folder)["best"]
    assert best["metric"] == "val/accuracy"
    assert 0 <= best["value"] <= 1
    assert checkpoint(folder, "best.pt")["step"] == best["step"] > 6


def test_resume_with_fewer_epochs_is_rejected(runner: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    folder = runner()
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert cli.main(["resume", str(folder), "trainer.epochs=1"]) == 2
    assert "trainer.epochs: found 1, but the run has already trained 2" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("damage", ["a: [", "- 1", "\x00\x01"])
def test_damaged_config_is_reported(
    runner: Callable[..., Path], capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    folder = runner()
    (folder / "config.yaml").write_text(damage)
    assert cli.main(["resume", str(folder)]) == 2
    assert f"{folder / 'config.yaml'}: " in capsys.readouterr().err


def test_dry_run_of_resume_changes_nothing(runner: Callable[..., Path]) -> None:
    folder = runner()
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert cli.main(["resume", str(folder), "trainer.epochs=9", "dry_run=true"]) == 0
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_component_that_exits_fails_the_run(workdir: Path, runner: Callable[..., Path]) -> None:
    (workdir / "exiting_plugin.py").write_text(
        "import sys, torch\n"
        "from runner.registry import OPTIMIZERS\n"
        "@OPTIMIZERS.register('exiting')\n"
        "class Exiting(torch.optim.SGD):\n"
        "    def step(self, closure=None): sys.exit('enough')\n"
    )
    folder = runner("plugins=[exiting_plugin]", "optim.name=exiting", code=1)
    assert results(folder)["error"] == {"type": "SystemExit", "message": "enough"}


def test_unwritable_results_warn_once(runner: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, data: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(results_module, "write_atomically", refuse)
    folder = runner()
    assert (folder / "run.log").read_text().count("results.json: cannot be written") == 1
    assert checkpoint(folder)["epoch"] == 2


def test_metrics_csv_of_a_run_extended_within_an_epoch_equals_a_longer_one(
    runner: Callable[..., Path],
) -> None:
    longer = runner("trainer.epochs=4", "trainer.validate_every=3")
    extended = runner("trainer.epochs=4", "trainer.validate_every=3", "trainer.max_steps=8")
    assert [row.split(",")[:2] for row in metrics_table(extended)[1:]] == [["1", "6"], ["2", "8"]]
    assert cli.main(["resume", str(extended), "trainer.max_steps=null"]) == 0
    assert metrics_table(extended) == metrics_table(longer)


def test_row_without_validation_has_no_validation_metrics(runner: Callable[..., Path]) -> None:
    def measured(folder: Path) -> list[bool]:
        head, *rows = [row.split(",") for row in metrics_table(folder)]
        return [row[head.index("val/loss")] != "" for row in rows]

    assert measured(runner("trainer.epochs=5", "trainer.validate_every=3")) == [False, False, True, False, True]
    assert measured(runner("trainer.epochs=4", "trainer.validate_every='8 steps'")) == [False, True, True, True]


def test_model_that_caches_a_tensor_trains_and_resumes(workdir: Path, runner: Callable[..., Path]) -> None:
    (workdir / "masked_plugin.py").write_text(
        "import torch\n"
        "from torch import nn\n"
        "from runner.registry import MODELS\n"
        "class Masked(nn.Linear):\n"
        "    scale, mask = None, torch.ones(0, 1)\n"
        "    def forward(self, inputs):\n"
        "        if self.scale is None: self.scale = torch.ones(10)  # in the first call\n"
        "        if len(self.mask) < len(inputs): self.mask = torch.ones(len(inputs), 1)  # in the largest batch\n"
        "        return super().forward(inputs.flatten(1)) * self.scale * self.mask[: len(inputs)]\n"
        "@MODELS.register('masked')\n"
        "def masked() -> nn.Module: return Masked(64, 10)\n"
    )
    (workdir / "mine" / "model").mkdir(parents=True)
    (workdir / "mine" / "model" / "masked.yaml").write_text("name: masked\n")
    base = [text for text in TINY if not text.startswith("model")]
    masked = [
        *base,
        "--config-dir=mine",
        "plugins=[masked_plugin]",
        "model=masked",
        "trainer.epochs=2",
        "trainer.batch_size=64",
    ]
    assert cli.main(masked) == 0  # training continues after a validation with larger batches
    (folder,) = workdir.glob("outputs/*/*")
    assert cli.main(["resume", str(folder), "trainer.epochs=3"]) == 0
    assert results(folder)["epoch"] == 3


@pytest.mark.parametrize(("load", "hint"), [(0.9, False), (1.2, False), (1.5, True)])
def test_overloaded_machine_is_detected(monkeypatch: pytest.MonkeyPatch, load: float, hint: bool) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    monkeypatch.setattr(os, "getloadavg", lambda: (4 * load, 0.0, 0.0))
    assert messages.is_overloaded() is hint


@pytest.mark.parametrize("threads", [1, 2])
def test_run_with_several_threads_gets_a_hint_before_it_trains_on_an_overloaded_machine(
    runner: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], threads: int
) -> None:
    monkeypatch.setattr(messages, "is_overloaded", lambda: True)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    runner()
    before, _, after = capsys.readouterr().out.partition("epoch   1")
    hint = "hint     other programs use all cores: device.threads=1"
    assert (hint in before) is (threads > 1)
    assert hint not in after
