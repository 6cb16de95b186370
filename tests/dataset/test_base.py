from dataclasses import FrozenInstanceError

import pytest

from runner.dataset.base import Spec


def test_spec_is_immutable() -> None:
    with pytest.raises(FrozenInstanceError):
        Spec("classification", (1,), 2).out_features = 3  # type: ignore[misc]
