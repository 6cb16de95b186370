"""Whether less or more of a metric is better."""

import importlib
from pathlib import Path

import pytest

from runner.config.compose import compose_config
from runner.config.frozen import freeze, thaw
from runner.config.metric_mode import usual_mode
from runner.metric.torchmetrics import candidates, snake


@pytest.mark.parametrize(
    ("metric", "mode"),
    [
        ("test/loss", "min"),
        ("test/accuracy", "max"),
        ("val/perplexity", "min"),
        ("val/F1Score", "max"),
        ("val/nll", "min"),
        ("val/WER", "min"),
        ("val/power", "max"),
        ("val/tweedie_deviance", "min"),
    ],
)
def test_usual_mode_follows_from_the_name_of_the_metric(metric: str, mode: str) -> None:
    assert usual_mode(metric) == mode


@pytest.mark.slow
def test_usual_mode_of_each_metric_of_torchmetrics_is_its_own() -> None:
    unfit = {"WordInfoLost", "WordInfoPreserved", "TranslationEditRate"}  # of texts
    unfit |= {"RetrievalFallOut", "BinaryFairness", "BinaryGroupStatRates"}  # need queries or groups
    unfit |= {"SpectralAngleMapper", "TotalVariation"}  # of pictures
    modes = {}
    for name, path in candidates().items():
        package, _, kind = path.rpartition(".")
        larger_is_better = getattr(getattr(importlib.import_module(package), kind), "higher_is_better", None)
        if isinstance(larger_is_better, bool) and name not in unfit:
            modes[name] = "max" if larger_is_better else "min"
    assert len(modes) > 80
    assert {name: usual_mode(snake(name)) for name in modes} == modes
    assert {name: usual_mode(name) for name in modes} == modes


def test_config_states_the_mode_of_each_metric() -> None:
    assert compose_config().trainer.checkpoint.mode == "min"
    trainer = compose_config(
        ["trainer.checkpoint.metric=val/accuracy", "trainer.early_stopping.metric=val/mae"]
    ).trainer
    assert (trainer.checkpoint.mode, trainer.early_stopping.mode) == ("max", "min")
    chosen = compose_config(["trainer.checkpoint.metric=val/accuracy", "trainer.checkpoint.mode=min"])
    assert chosen.trainer.checkpoint.mode == "min"


def test_another_metric_of_a_resumed_run_has_its_own_mode(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(freeze(compose_config()))
    other = "trainer.checkpoint.metric=val/accuracy"
    assert thaw(path, [other]).trainer.checkpoint.mode == "max"
    assert thaw(path, ["trainer.checkpoint.mode=min", other]).trainer.checkpoint.mode == "min"
    path.write_text(freeze(compose_config(["trainer.checkpoint.mode=max"])))
    assert thaw(path).trainer.checkpoint.mode == "max"
