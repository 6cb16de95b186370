from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from runner.config.compose import compose_config
from runner.errors import ConfigError
from runner.training.checks.check import check
from runner.training.checks.nondeterministic import check_deterministic, nondeterministic
from runner.training.setup.build_data import build_dataset

CUDA = torch.device("cuda:0")
POOLED = "model.layers=[{conv2d: {out_channels: 4, kernel_size: 3}}, {adaptive_avg_pool2d: %s}, flatten, {linear: out}]"


def check_on_gpu(*overrides: str, device: torch.device = CUDA) -> None:
    config = compose_config(["dataset.size=8", "model=sequential", *overrides])
    check_deterministic(config, build_dataset(config), device)


def refused(*overrides: str, device: torch.device = CUDA) -> bool:
    try:
        check_on_gpu(*overrides, device=device)
    except ConfigError:
        return True
    return False


def test_pooling_without_a_deterministic_gradient_is_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        check_on_gpu(POOLED % 2)
    assert str(caught.value) == (
        "device.deterministic: found true, but model=sequential uses adaptive_avg_pool2d, which has no deterministic "
        "gradient on an NVIDIA GPU; allowed with it: false"
    )


@pytest.mark.parametrize(
    "overrides",
    [[POOLED % 1], [POOLED % 2, "device.deterministic=false"], [POOLED % 2, "trainer.compile=true"]],
    ids=["mean", "not deterministic", "compiled"],
)
def test_model_that_pytorch_can_train_is_accepted(overrides: list[str]) -> None:
    assert not refused(*overrides)


def test_gradient_on_the_cpu_is_always_deterministic() -> None:
    assert not refused(POOLED % 2, device=torch.device("cpu"))


def test_operator_before_the_first_trainable_parameter_is_accepted() -> None:
    assert not refused(POOLED % 2, "init.freeze=['0.*']")


@pytest.mark.parametrize(("arch", "expected"), [("vgg11", True), ("alexnet", True), ("resnet18", False)])
def test_torchvision_models(arch: str, expected: bool) -> None:
    model = ("model=torchvision", f"model.arch={arch}", "dataset.size=64")
    assert refused(*model) is expected


@pytest.mark.parametrize(
    ("function", "sides", "expected"),
    [
        (lambda x: F.adaptive_max_pool2d(x, 3), 2, {"adaptive_max_pool2d"}),
        (lambda x: F.avg_pool3d(x, 2), 3, {"avg_pool3d"}),
        (lambda x: F.pad(x, (1, 1, 1, 1), "reflect"), 2, {"reflection padding"}),
        (lambda x: F.interpolate(x, size=4, mode="bicubic"), 2, {"bicubic interpolation"}),
        (lambda x: F.interpolate(x, size=4, mode="bilinear"), 2, set()),
        (lambda x: F.max_pool2d(x, 2), 2, set()),
    ],
)
def test_operators_are_found_by_the_names_of_their_gradients(
    function: Callable[[Tensor], Tensor], sides: int, expected: set[str]
) -> None:
    inputs = torch.zeros(2, 3, *[8] * sides, device="meta", requires_grad=True)
    assert nondeterministic(function(inputs)) == expected


def test_check_refuses_training_but_not_evaluation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runner.training.checks.check.resolve", lambda name: CUDA)
    config = compose_config(["dataset.size=8", "model=sequential", POOLED % 2])
    check(config, trains=False)
    with pytest.raises(ConfigError, match=r"device\.deterministic: found true"):
        check(config)
