"""Tests of all models: the values in conf/ build a model on the meta device."""

import pytest
import torch
from omegaconf import OmegaConf

from runner.config.composition import CONF
from runner.registry import MODELS

IMAGES = torch.empty(2, 1, 32, 32, device="meta")
SHAPES = {  # shape of the outputs, inputs, and number of outputs, where they are not those of a classifier of images
    "single_conv": ((2, 900), IMAGES, 900),
    "unet": ((2, 10, 32, 32), IMAGES, 10),
    "autoencoder": ((2, 1, 32, 32), IMAGES, 10),
    "gpt": ((2, 16, 10), torch.zeros(2, 16, dtype=torch.long, device="meta"), 10),
}
NAMES = sorted(path.stem for path in (CONF / "model").glob("*.yaml"))


@pytest.mark.parametrize("name", NAMES)
def test_config_values_build_on_the_meta_device(name: str) -> None:
    values = OmegaConf.to_container(OmegaConf.load(CONF / "model" / f"{name}.yaml"))
    assert isinstance(values, dict)
    assert values.pop("name") == name
    arguments = {str(key): value for key, value in values.items()}
    MODELS.check(name, arguments)
    assert arguments.keys() == MODELS.parameters(name).keys()
    shape, inputs, outputs = SHAPES.get(name, ((2, 10), IMAGES, 10))
    with torch.device("meta"), torch.inference_mode():
        supplied = {"in_shape": tuple(inputs.shape[1:]), "out_features": outputs, "vocab_size": outputs}
        assert MODELS.build(name, arguments, **supplied)(inputs).shape == shape
