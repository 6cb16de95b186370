import pytest
import torch

from runner.training.evaluate import in_full_precision


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        (torch.bfloat16, torch.float32),
        (torch.float16, torch.float32),
        (torch.float64, torch.float64),
        (torch.int64, torch.int64),
    ],
)
def test_only_16_bit_outputs_are_converted(dtype: torch.dtype, expected: torch.dtype) -> None:
    assert in_full_precision(torch.zeros(2, dtype=dtype)).dtype == expected
