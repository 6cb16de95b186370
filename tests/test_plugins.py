"""Tests of a user's own components, which live outside this repository."""

import json
from pathlib import Path

import pytest
import yaml

from helpers import finish, results, start
from runner import cli
from runner.config.compose import compose_config
from runner.config.composition import CONF
from runner.config.frozen import freeze
from runner.plugins import check_origins

PARTS = '''
import torch
from torch import nn
from runner.dataset import Pool, Samples, Spec
from runner.registry import DATASETS, LOSSES, MODELS, OPTIMIZERS

@MODELS.register("mine")
class Mine(nn.Module):
    """A linear layer."""
    def __init__(self, in_shape: tuple[int, ...], out_features: int, bias: bool = True) -> None:
        super().__init__()
        self.linear = nn.Linear(in_shape[0], out_features, bias=bias)
    def forward(self, inputs):
        return self.linear(inputs)

@DATASETS.register("mine")
class Sums:
    """Rows of numbers and their sums."""
    def __init__(self, rows: int = 200) -> None:
        self.rows = rows
        self.spec = Spec("regression", in_shape=(3,), out_features=1)
    def load(self) -> Pool:
        inputs = torch.rand(self.rows, 3, generator=torch.Generator().manual_seed(0))
        return Pool(Samples(inputs, inputs.sum(1, keepdim=True)))

@LOSSES.register("mine", targets="values")
class Quartic(nn.Module):
    """Mean fourth power of the error."""
    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale
    def forward(self, outputs, targets):
        return self.scale * (outputs - targets).pow(4).mean()

@OPTIMIZERS.register("mine")
class Sign(torch.optim.Optimizer):
    """Step by the sign of the gradient."""
    def __init__(self, params, lr: float = 0.01) -> None:
        super().__init__(params, {"lr": lr})
    def step(self, closure=None):
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.data -= group["lr"] * parameter.grad.sign()
'''
VALUES = {
    "model": "name: mine\nbias: true\n",
    "dataset": "name: mine\nrows: 200\n",
    "loss": "name: mine\nscale: 2.0\n",
    "optim": "name: mine\nlr: 0.01\ngroups: []\n",
}
CHOICES = [*(f"{group}=mine" for group in VALUES), "trainer.epochs=20", "device.threads=1"]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a folder with a user's module and config files."""
    (tmp_path / "my_parts.py").write_text(PARTS)
    for group, text in VALUES.items():
        (tmp_path / "conf" / group).mkdir(parents=True)
        (tmp_path / "conf" / group / "mine.yaml").write_text(text)
    return tmp_path


@pytest.mark.slow
def test_plugin_components_train_resume_and_predict(project: Path) -> None:
    finish(start(*CHOICES, "plugins=[my_parts]", "--config-dir=conf", cwd=project))
    (folder,) = project.glob("outputs/*/*_mine_mine")
    assert results(folder)["test"]["r2"] > 0.5
    finish(start("resume", str(folder), "trainer.epochs=25", cwd=project))
    assert results(folder)["epoch"] == 25
    notice, text = finish(start("evaluate", str(folder), cwd=project)).split("\n", 1)
    assert notice == f"plugins  my_parts: {project / 'my_parts.py'}"
    found = json.loads(text)
    assert found["metrics"] == results(folder)["test"]
    (project / "conf" / "dataset" / "other.yaml").write_text("name: mine\nrows: 50\n")
    other = ["evaluate", str(folder), "--config-dir=conf", "dataset=other"]
    _, text = finish(start(*other, cwd=project)).split("\n", 1)
    assert json.loads(text)["samples"] == 10  # of 50
    (project / "rows.csv").write_text("0.1,0.2,0.3\n")
    _, header, row = finish(start("predict", str(folder), "rows.csv", cwd=project)).splitlines()
    assert header == "input,output0"
    assert abs(float(row.split(",")[1]) - 0.6) < 0.3


SHARED = """
seed: 3
val_share: 0.2
test_share: null
folds: 5
fold: 1
in_memory: false
workers: 1
repeat: 2
augment: null
"""


@pytest.mark.parametrize("text", ["", SHARED, "augment: {flip: true}\n"], ids=["none", "all", "some"])
def test_plugin_dataset_inherits_shared_keys_and_may_override_them(
    project: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    with (project / "conf/dataset/mine.yaml").open("a") as file:
        file.write(text)
    assert cli.main(["dataset=mine", "--config-dir", str(project / "conf"), "--cfg", "job"]) == 0
    found = yaml.safe_load(capsys.readouterr().out)["dataset"]
    expected = {"name": "mine", "rows": 200, **yaml.safe_load((CONF / "dataset_defaults.yaml").read_text())}
    for key, value in (yaml.safe_load(text) or {}).items():
        expected[key] = expected[key] | value if isinstance(value, dict) else value
    assert found == expected


@pytest.mark.slow
def test_value_of_the_wrong_type_is_rejected(project: Path) -> None:
    wrong = start(*CHOICES, "plugins=[my_parts]", "loss.scale=big", "--config-dir=conf", cwd=project)
    assert "loss.scale: found 'big'; Input should be a valid number" in finish(wrong, code=2)
    assert list(project.glob("outputs")) == []


@pytest.mark.slow
def test_import_error_in_a_plugin_is_reported(project: Path) -> None:
    (project / "my_parts.py").write_text("from torch import does_not_exist")
    text = finish(start(*CHOICES, "plugins=[my_parts]", "--config-dir=conf", cwd=project), code=2)
    assert "plugins: importing 'my_parts' failed: ImportError: cannot import name 'does_not_exist'" in text


@pytest.mark.slow
def test_installed_package_registers_components(project: Path) -> None:
    installed = project / "site"
    (installed / "parts-1.0.dist-info").mkdir(parents=True)
    (project / "my_parts.py").rename(installed / "installed_parts.py")
    (installed / "parts-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: parts\nVersion: 1.0\n")
    (installed / "parts-1.0.dist-info" / "entry_points.txt").write_text("[runner.plugins]\nparts = installed_parts\n")
    finish(start(*CHOICES, "--config-dir=conf", cwd=project, PYTHONPATH=str(installed)))
    (folder,) = project.glob("outputs/*/*_mine_mine")
    assert results(folder)["status"] == "completed"
    assert "mine" in finish(start("components", "model", cwd=project, PYTHONPATH=str(installed)))


@pytest.mark.slow
def test_duplicate_name_in_a_plugin_is_reported_in_one_line(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (workdir / "taken.py").write_text(PARTS.replace('MODELS.register("mine")', 'MODELS.register("lenet")'))
    problem = "model 'lenet' is registered twice: by runner.model.lenet.LeNet and by taken.Mine"
    (line,) = finish(start("plugins=[taken]", cwd=workdir), code=2).splitlines()
    assert problem in line
    assert [path.name for path in workdir.iterdir() if path.suffix != ".py" and path.name != "__pycache__"] == []


@pytest.mark.parametrize("content", ["my_parts.py", "my_parts/__init__.py", "my_parts/sub.py"])
def test_plugin_in_a_run_folder_is_not_executed(
    workdir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], content: str
) -> None:
    (workdir / content).parent.mkdir(exist_ok=True)
    (workdir / content).write_text("raise SystemExit('it ran')")
    (workdir / "config.yaml").write_text(freeze(compose_config(["plugins=[my_parts.sub]"])))
    for command in (["evaluate", "."], ["resume", "."], ["predict", ".", "a.png"], ["export", ".", "--format=onnx"]):
        assert cli.main(command) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: plugins: my_parts.sub: found ")
        assert "code in a run folder is not executed" in error


def test_file_of_a_plugin_that_a_run_folder_names_is_printed(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (workdir / "named_parts.py").write_text("")
    (workdir / "run").mkdir()
    check_origins(["named_parts", "not_there"], workdir / "run")
    assert capsys.readouterr().err == f"plugins  named_parts: {workdir / 'named_parts.py'}\n"
