from collections.abc import Callable

import pytest
from torch import nn

from runner.config.schema import Config
from runner.errors import CheckpointError
from runner.training.setup.build import build


@pytest.mark.parametrize("averaged", [False, True])
def test_checkpoint_that_does_not_fit_the_model_is_rejected(tiny: Callable[..., Config], averaged: bool) -> None:
    parts = build(tiny("model=mlp", f"trainer.ema={0.5 if averaged else 'null'}"))
    saved = parts.state_dict()
    parts.model = nn.Linear(3, 2)  # as if the code of the model had been changed
    with pytest.raises(CheckpointError, match=r"does not fit model=mlp; has its code changed\?(.|\n)*weight"):
        parts.load_state_dict(saved)
