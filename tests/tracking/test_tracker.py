import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.util import tensor_util

from runner.config.schema import Config
from runner.tracking.results import Results
from runner.tracking.tracker import Tracker, epoch_line
from runner.training.setup.build import build


def test_epoch_line_shows_metrics_learning_rate_and_seconds() -> None:
    row = {"epoch": 12, "step": 99, "train/loss": 0.12344, "train/accuracy": 0.9712, "val/loss": 0.2, "lr": 0.01}
    assert epoch_line({**row, "seconds": 0.12}) == ("epoch  12  loss 0.1234 (val 0.2)  accuracy 0.9712  lr 0.01  0.1 s")


def test_epoch_line_of_the_default_run_fits_80_columns() -> None:
    row = {"epoch": 15, "train/loss": 2.6871e-05, "train/accuracy": 0.99881, "val/loss": 2.6871e-05}
    line = epoch_line({**row, "val/accuracy": 0.99881, "lr": 0.01, "seconds": 0.12}, with_lr=False)
    assert len(line) <= 80
    assert "lr" not in line


def test_epoch_line_omits_missing_validation_metrics() -> None:
    row = {"epoch": 1, "train/loss": math.nan, "lr": 1e-5, "seconds": 61.0}
    assert epoch_line(row) == "epoch   1  loss nan  lr 1e-05  61.0 s"


def test_histograms_count_every_weight(runner: Callable[..., Path]) -> None:
    run = runner("model.hidden=[4]", "trainer.epochs=1")
    weights = torch.load(run / "checkpoints" / "best.pt", weights_only=True)["model"]
    (path,) = run.glob("events.*")
    values = [value for event in EventFileLoader(str(path)).Load() for value in event.summary.value]
    histograms = [value for value in values if value.metadata.plugin_data.plugin_name == "histograms"]
    for name, tensor in weights.items():
        first, last = (tensor_util.make_ndarray(each.tensor) for each in histograms if each.tag == f"weights/{name}")
        assert last[:, 2].sum() == first[:, 2].sum() == tensor.numel()
        assert float(last[0, 0]) == pytest.approx(float(tensor.min()), abs=1e-6)
        assert float(last[-1, 1]) == pytest.approx(float(tensor.max()), abs=1e-6)


def test_empty_parameter_has_no_histogram(workdir: Path, tiny: Callable[..., Config]) -> None:
    parts = build(tiny())
    parts.model.register_parameter("empty", torch.nn.Parameter(torch.empty(0, 3)))
    tracker = Tracker(workdir, parts, Results.open(workdir, "name", 0, []))
    tracker.weights(0)
    tracker.close()
    (path,) = workdir.glob("events.*")
    tags = [value.tag for event in EventFileLoader(str(path)).Load() for value in event.summary.value]
    assert len(tags) == 4
    assert "weights/empty" not in tags
