import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from runner.config.compose import compose_config
from runner.config.schema import Config
from runner.errors import ConfigError
from runner.training.checks.check import check


def problems_of(config: Config) -> str:
    with pytest.raises(ConfigError) as caught:
        check(config)
    return str(caught.value)


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        (["optim.lr=-0.1"], "optim.lr: found -0.1: Invalid learning rate: -0.1"),
        (["optim.momentum=fast"], "optim.momentum: found 'fast'; Input should be a valid number"),
        (["optim.lr=nan"], "optim.lr: found nan; Input should be a finite number"),
        (["model=lenet", "model.hidden=[8,8]"], "model=lenet: kernel_size 5 needs images of at least 16x16, found 8x8"),
        (["model.name=mpl"], "Did you mean mlp?"),
        (["model.hidden=[0]"], "model=mlp: hidden must be at least 1 for each layer, found [0]"),
        (["loss.weight=[1,2]"], "loss.weight: found [1, 2]: weight has 2 values for 10 classes"),
        (["loss.weight=heavy"], "loss.weight: found 'heavy'"),
        (["dataset.size=0"], "dataset.size: found 0: size must be at least 1, found 0"),
        (["dataset.fold=1"], "dataset.fold: set both or none: found dataset.folds=None, dataset.fold=1"),
        (["dataset.folds=3", "dataset.fold=3"], "dataset.fold: found 3; allowed with dataset.folds=3: 0 to 2"),
        (["device.name=cuda:7"], "device.name: found 'cuda:7', which this machine does not have; available: "),
        (["trainer.checkpoint.metric=val/acc"], "trainer.checkpoint.metric: found 'val/acc'; allowed: "),
        (["trainer.checkpoint.metric=val/mae"], "To measure it, list it: metrics=[accuracy,mae]"),
        (["optim.groups=[{match: '*.x'}]"], "optim.groups[0].match: '*.x' matches none of the parameters"),
        (["optim.groups=[{lr: 1}]"], "optim.groups[0].match: needs a pattern for parameter names"),
        (["optim.groups=[{match: '*', lrr: 1}]"], "optim.groups[0].lrr: no such key"),
        (["plugins=[no_such_module]"], "plugins: importing 'no_such_module' failed: ModuleNotFoundError: No module"),
    ],
)
def test_invalid_config_is_reported_by_key(tiny: Callable[..., Config], overrides: list[str], problem: str) -> None:
    assert problem in problems_of(tiny(*overrides))


def test_all_problems_of_all_parts_are_reported_together(tiny: Callable[..., Config]) -> None:
    text = problems_of(tiny("optim.lr=-1", "model.hidden=[0]", "trainer.early_stopping.metric=val/mae"))
    assert [line.split(":")[0] for line in text.splitlines()] == [
        "model=mlp",
        "optim.lr",
        "trainer.early_stopping.metric",
    ]


def test_error_of_a_plugin_in_the_current_folder_is_reported(workdir: Path, tiny: Callable[..., Config]) -> None:
    (workdir / "broken_plugin.py").write_text("import numpyy")
    assert "No module named 'numpyy'" in problems_of(tiny("plugins=[broken_plugin]"))


@pytest.mark.parametrize("typed", ["my_plugn", "my_plugin.py"])
def test_plugin_that_was_probably_meant_is_named(workdir: Path, tiny: Callable[..., Config], typed: str) -> None:
    (workdir / "my_plugin.py").write_text("")
    assert problems_of(tiny(f"plugins=[{typed}]")).endswith("Did you mean plugins=[my_plugin]?")


def test_class_loss_is_rejected_for_a_regression_dataset(workdir: Path, tiny: Callable[..., Config]) -> None:
    (workdir / "regression_plugin.py").write_text(
        "from runner.dataset import Spec\n"
        "from runner.registry import DATASETS\n"
        "@DATASETS.register('numbers')\n"
        "class Numbers:\n"
        "    def __init__(self, size: int, keep: list[int] | None) -> None:\n"
        "        self.spec = Spec(task='regression', in_shape=(3,), out_features=1)\n"
    )
    shared = ["dataset.name=numbers", "plugins=[regression_plugin]"]
    assert "loss=cross_entropy needs class targets, but dataset=numbers is for" in problems_of(tiny(*shared))
    assert check(tiny(*shared, "loss=mse")).in_shape == (3,)


OWN_PROJECT = """import torch
from torch import nn
from torch.nn.functional import cross_entropy
from runner.dataset import Pool, Samples, Spec
from runner.registry import DATASETS, MODELS, TASKS
from runner.task import Classification
@DATASETS.register("pairs")
class Pairs:
    def __init__(self, size: int | None, keep: list[int] | None) -> None:
        self.spec = Spec("classification", in_shape=(3,), out_features=2, supplies={"words": 5})
    def load(self) -> Pool:
        inputs = {"left": torch.zeros(4, 3), "right": torch.zeros(4, 3)}
        return Pool(Samples(inputs, torch.zeros(4, dtype=torch.long)))
@MODELS.register("two")
class Two(nn.Module):
    def __init__(self, words: int) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 2)
    def forward(self, left, right):
        return self.linear(left + right)
@TASKS.register("own")
class Own(Classification):
    def loss(self, loss_fn, outputs, targets, inputs):
        return cross_entropy(outputs, targets)
"""


@pytest.mark.parametrize(
    ("right", "wrong", "problems"),
    [
        ("        super().__init__()\n        self", "        self", ["model=two: cannot assign module before"]),
        (
            "torch.zeros(4, dtype",
            "torch.zeros(-4, dtype",
            ["two samples of the dataset cannot be tried instead: RuntimeError: ", "(pair_project.py:13 in load)"],
        ),
        (
            "words: int)",
            "vocabulary: int)",
            ["missing, needed by two; add it to model/two.yaml, or name a value that", "words"],
        ),
        ('"words": 5', '"words": 5 / 0', ["dataset=pairs: division by zero (pair_project.py:10 in __init__)"]),
        ("return cross_entropy(outputs, targets)", "return 0.5", ["the loss is of type float; expected a tensor"]),
        (
            "(outputs, targets)\n",
            "(outputs, targets, reduction='none')\n",
            ["the loss has shape (2,); expected one number: is `.mean()` missing?"],
        ),
    ],
)
def test_error_in_a_project_is_reported_as_it_is(
    workdir: Path, tiny: Callable[..., Config], right: str, wrong: str, problems: list[str]
) -> None:
    (workdir / "pair_project.py").write_text(OWN_PROJECT.replace(right, wrong))
    absent = ["~model.hidden", "~model.activation", "~model.norm", "~model.dropout"]
    text = problems_of(tiny("plugins=[pair_project]", "dataset.name=pairs", "task.name=own", "model.name=two", *absent))
    assert all(problem in text for problem in problems), text
    assert "\n" not in text


def test_nll_requires_log_probabilities(tiny: Callable[..., Config]) -> None:
    assert "loss=nll takes log-probabilities, which model=mlp does not return" in problems_of(tiny("loss=nll"))
    layers = "model.layers=[flatten,{linear:out},log_softmax]"
    check(compose_config(["loss=nll", "model=sequential", layers]))
    check(compose_config(["loss=nll", "model=mnist_cnn"]))


def test_wrong_output_shape_is_rejected(workdir: Path, tiny: Callable[..., Config]) -> None:
    (workdir / "odd_plugin.py").write_text(
        "from torch import nn\n"
        "from runner.registry import MODELS\n"
        "@MODELS.register('odd')\n"
        "def odd() -> nn.Module:\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(64, 7))\n"
    )
    config = tiny(
        "plugins=[odd_plugin]", "model.name=odd", "~model.hidden", "~model.activation", "~model.norm", "~model.dropout"
    )
    assert (
        "model=odd does not fit dataset=digits: for two samples it returns outputs of shape (2, 7), expected (2, 10)"
        in problems_of(config)
    )


@pytest.mark.slow
@pytest.mark.parametrize("model", ["mlp", "lenet", "cnn", "lstm"])
def test_checking_a_small_model_does_not_import_sympy(model: str) -> None:
    code = f"""
import sys
from runner.machine.startup import speed_up
from runner.training.checks.check import check
from runner.config.compose import compose_config
speed_up()
check(compose_config(["model={model}"]))
print("sympy" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"


def test_model_that_fails_with_zero_weights_is_checked_on_the_meta_device(
    workdir: Path, tiny: Callable[..., Config]
) -> None:
    (workdir / "picky_plugin.py").write_text(
        "import torch\n"
        "from torch import nn\n"
        "from runner.registry import MODELS\n"
        "class Picky(nn.Linear):\n"
        "    def forward(self, inputs):\n"
        "        if not inputs.is_meta and not self.weight.any():\n"
        "            raise RuntimeError('all zero')\n"
        "        return super().forward(inputs.flatten(1))\n"
        "@MODELS.register('picky')\n"
        "def picky() -> nn.Module:\n"
        "    return Picky(64, 10)\n"
    )
    parts = ["model.name=picky", "~model.hidden", "~model.activation", "~model.norm", "~model.dropout"]
    check(tiny("plugins=[picky_plugin]", *parts))


MODEL = """import torch
from torch import nn
from runner.registry import MODELS
@MODELS.register("tiny")
class Tiny(nn.Module):
    def __init__(self, out_features):
        super().__init__()
        self.linear = nn.Linear(64, out_features)
    def forward(self, inputs):
        return self.linear(inputs.flatten(1))
"""


@pytest.mark.parametrize(
    ("right", "wrong", "problem"),
    [
        (
            "nn.Linear(64",
            "nn.Linear(in_shape[0]",
            "model=tiny: name 'in_shape' is not defined (wrong_model.py:8 in __init__)",
        ),
        ("return self", "self", "forward returned None: is a `return` missing?"),
        (
            "return self.linear(inputs.flatten(1))",
            "return (inputs, inputs)",
            "forward returned tuple; expected a tensor",
        ),
        ("inputs.flatten(1)", "inputs.flatten(1)[:, 1:]", "(wrong_model.py:10 in forward)"),
        (
            "out_features",
            "num_classes",
            "model.num_classes: missing, needed by tiny; the number of outputs or classes is "
            "supplied to a parameter named out_features",
        ),
        ("out_features", "out_features, depth=2", "model.depth: missing, needed by tiny; add it to model/tiny.yaml"),
        (
            "out_features",
            "out_features, input_size",
            "the shape of one input is supplied to a parameter named in_shape",
        ),
    ],
)
def test_error_in_a_user_model_is_reported_with_its_line(
    workdir: Path, tiny: Callable[..., Config], right: str, wrong: str, problem: str
) -> None:
    (workdir / "wrong_model.py").write_text(MODEL.replace(right, wrong))
    parts = ["model.name=tiny", "~model.hidden", "~model.activation", "~model.norm", "~model.dropout"]
    assert problem in problems_of(tiny("plugins=[wrong_model]", *parts))
