from collections.abc import Callable
from pathlib import Path

import pytest
from torch.optim.lr_scheduler import ReduceLROnPlateau

from helpers import metrics_table
from runner import cli
from runner.config.schema import Config
from runner.machine.distributed import ALONE
from runner.training.saving.checkpoint import load_checkpoint
from runner.training.saving.resume import assemble


def rates(folder: Path) -> list[float]:
    return [float(row.split(",")[-1]) for row in metrics_table(folder)[1:]]


@pytest.mark.parametrize("scheduler", ["cosine", "warmup_cosine", "step", "exponential", "constant"])
def test_extended_run_continues_at_the_rates_of_the_longer_schedule(
    runner: Callable[..., Path], scheduler: str
) -> None:
    values = [f"scheduler={scheduler}", "scheduler.interval=epoch"]
    longer = runner(*values, "trainer.epochs=5")
    extended = runner(*values, "trainer.epochs=2")
    assert cli.main(["resume", str(extended), "trainer.epochs=5"]) == 0
    assert rates(extended)[2:] == pytest.approx(rates(longer)[2:], rel=1e-9)


@pytest.mark.parametrize("optim", ["sgd", "adam"])
def test_extended_run_continues_with_the_momentum_of_the_longer_cycle(
    runner: Callable[..., Path], tiny: Callable[..., Config], optim: str
) -> None:
    values = ["scheduler=one_cycle", f"optim={optim}"]
    saved = load_checkpoint(runner(*values, "trainer.epochs=1") / "checkpoints" / "last.pt")
    fresh, _ = assemble(tiny(*values, "trainer.epochs=9"), ALONE, None)
    for _ in range(saved["step"]):
        fresh.optimizer.step()
        fresh.scheduler.step()
    resumed, _ = assemble(tiny(*values, "trainer.epochs=9"), ALONE, saved)
    key = "momentum" if optim == "sgd" else "betas"
    for name in ("lr", key):
        assert resumed.optimizer.param_groups[0][name] == fresh.optimizer.param_groups[0][name]
        assert resumed.optimizer.param_groups[0][name] != saved["optimizer"]["param_groups"][0][name]


def test_plateau_drops_its_history_if_the_metric_changes(
    runner: Callable[..., Path], tiny: Callable[..., Config]
) -> None:
    values = ["scheduler=plateau", "scheduler.patience=2", "trainer.epochs=4"]
    saved = load_checkpoint(runner(*values) / "checkpoints" / "last.pt")
    saved["scheduler"]["num_bad_epochs"] = 2
    metric = "trainer.checkpoint.metric=val/accuracy"
    for chosen, mode, best, bad in (
        ([], "min", saved["scheduler"]["best"], 2),
        ([metric], "max", float("-inf"), 0),
        ([metric, "trainer.checkpoint.mode=min"], "min", float("inf"), 0),
    ):
        parts, _ = assemble(tiny(*values, *chosen), ALONE, saved)
        assert isinstance(parts.scheduler, ReduceLROnPlateau)
        assert (parts.scheduler.mode, parts.scheduler.best, parts.scheduler.num_bad_epochs) == (mode, best, bad)


def test_learning_rate_is_kept_while_the_new_metric_improves(runner: Callable[..., Path]) -> None:
    folder = runner("scheduler=plateau", "scheduler.patience=0", "optim.lr=0.01")
    metric = ["trainer.checkpoint.metric=train/accuracy", "trainer.checkpoint.mode=max"]
    assert cli.main(["resume", str(folder), "trainer.epochs=6", *metric]) == 0
    table = [row.split(",") for row in metrics_table(folder)]
    accuracy = [float(row[table[0].index("train/accuracy")]) for row in table[3:]]
    assert accuracy == sorted(accuracy)
    assert set(rates(folder)) == {0.01}
