"""Tests of test-time augmentation (`trainer.tta`)."""

from collections.abc import Callable

import pytest
import torch

from runner.config.compose import compose_config
from runner.config.schema import Config
from runner.errors import ConfigError
from runner.training.checks.check import check
from runner.training.evaluate import predict
from runner.training.setup.build import build


def test_outputs_are_averaged_over_mirrored_images(tiny: Callable[..., Config]) -> None:
    parts = build(tiny("trainer.tta=flip"))
    inputs, _ = next(parts.test.epoch())
    with torch.no_grad():
        expected = (parts.model.eval()(inputs) + parts.model(inputs.flip(-1))) / 2
    outputs, *_ = next(predict(parts, parts.test))
    assert torch.equal(outputs, expected)
    assert not torch.equal(outputs, parts.model(inputs))


def test_masks_are_mirrored_back() -> None:
    parts = build(
        compose_config(["trainer.tta=flip", "dataset=shapes", "dataset.images=40", "model=unet", "device=cpu"])
    )
    parts.model.eval()
    inputs, _ = next(parts.test.epoch())
    with torch.no_grad():
        outputs = parts.predict(inputs)
        assert torch.allclose(parts.predict(inputs.flip(-1)), outputs.flip(-1), atol=1e-5)


def test_other_inputs_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"trainer.tta: found 'flip', which is for images"):
        check(compose_config(["trainer.tta=flip", "experiment=line"]))
