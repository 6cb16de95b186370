"""Tests of all models: the values in conf/ build a model on the meta device."""

import pytest
import torch
from omegaconf import OmegaConf

from runner.config.composition import CONF
from runner.registry import MODELS

NAMES = sorted(path.stem for path in (CONF / "model").glob("*.yaml"))


@pytest.mark.parametrize("name", NAMES)
def test_config_values_build_on_the_meta_device(name: str) -> None:
    values = OmegaConf.to_container(OmegaConf.load(CONF / "model" / f"{name}.yaml"))
    assert isinstance(values, dict)
    assert values.pop("name") == name
    arguments = {str(key): value for key, value in values.items()}
    MODELS.check(name, arguments)
    assert arguments.keys() == MODELS.parameters(name).keys()
    outputs = 900 if name == "single_conv" else 10
    with torch.device("meta"), torch.inference_mode():
        model = MODELS.build(name, arguments, in_shape=(1, 32, 32), out_features=outputs)
        assert model(torch.empty(2, 1, 32, 32)).shape == (2, outputs)
