import json
import logging
import shutil
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import pytest
import torch
import yaml
from torch import Tensor, nn

from helpers import checkpoint, equal, metrics_table, results
from runner import cli
from runner.config.compose import compose_config
from runner.config.schema import Config, flatten
from runner.errors import ConfigError
from runner.training.checks.check import check
from runner.training.setup.build import build
from runner.training.setup.initial import freeze

Tiny = Callable[..., Config]
Run = Callable[..., Path]
NORM = "model.norm=batch"  # the layers are 1 (linear), 2 (batch norm) and 4 (linear)
FROZEN = [NORM, "model.hidden=[16,16]", "init.freeze=['1.*','2.*','4.bias','5.weight']"]  # 5 is a batch norm, too


def weights(config: Config) -> dict[str, Tensor]:
    return dict(build(config).model.state_dict())


def trained(folder: Path) -> dict[str, Tensor]:
    model: dict[str, Tensor] = checkpoint(folder, "best.pt")["model"]
    return model


def problems_of(config: Config) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        check(config)
    return list(caught.value.problems)


def files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != ".lock"}


@pytest.fixture
def first(runner: Run) -> Path:
    """Return a run of the tiny model with batch normalization."""
    return runner(NORM, "trainer.epochs=1")


def test_model_starts_from_the_weights_of_a_run(first: Path, tiny: Tiny) -> None:
    assert not equal(weights(tiny(NORM)), trained(first))
    assert equal(weights(tiny(NORM, f"init.from={first}")), trained(first))


def test_training_starts_from_the_weights_of_a_run(first: Path, runner: Run) -> None:
    folder = runner(NORM, f"init.from={first}", "optim.lr=0", "trainer.epochs=1")
    fixed = {name: tensor for name, tensor in trained(first).items() if name[2:] in ("weight", "bias")}
    assert len(fixed) == 6
    assert equal({name: trained(folder)[name] for name in fixed}, fixed)


def test_moving_average_starts_from_the_loaded_weights(first: Path, tiny: Tiny) -> None:
    ema = build(tiny(NORM, "trainer.ema=0.9", f"init.from={first}")).ema
    assert ema is not None
    assert equal(dict(ema.module.state_dict()), trained(first))


def test_weights_are_converted_to_the_type_of_the_model(workdir: Path, tiny: Tiny) -> None:
    state = {name: tensor.half() for name, tensor in weights(tiny("seed=7")).items()}
    torch.save(state, "half.pt")
    assert equal(weights(tiny("init.from=half.pt")), {name: tensor.float() for name, tensor in state.items()})


def test_classifier_of_another_size_is_left_out(workdir: Path, tiny: Tiny, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "runner")
    state = weights(tiny("seed=7")) | {
        "3.weight": torch.ones(7, 16),
        "3.bias": torch.ones(7),
        "aux.bias": torch.ones(1),
    }
    torch.save(state, "other.pt")
    check(tiny("init.from=other.pt"))
    initial, found = weights(tiny()), weights(tiny("init.from=other.pt"))
    assert equal({**initial, "1.weight": state["1.weight"], "1.bias": state["1.bias"]}, found)
    assert [record.getMessage().strip() for record in caplog.records] == [
        f"init     2 of 4 tensors of the model are from {workdir / 'other.pt'}",
        "2 left out because of their shape: 3.weight (7, 16) instead of (10, 16), 3.bias (7,) instead of (10,)",
        "1 left out because the model does not have them: aux.bias",
        "2 of the model keep their initial values: 3.weight, 3.bias",
    ]


def test_only_matching_tensors_are_taken(first: Path, tiny: Tiny, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "runner")
    initial, theirs = weights(tiny(NORM)), trained(first)
    found = weights(tiny(NORM, f"init.from={first}", "init.match=[1.*,2.run*]"))
    taken = ["1.weight", "1.bias", "2.running_mean", "2.running_var"]
    assert equal(initial | {name: theirs[name] for name in taken}, found)
    unmatched = "5 left out because init.match does not match them: 2.weight, 2.bias, 2.num_batches_tracked and 2 more"
    assert unmatched in caplog.text


def test_matching_tensor_of_another_shape_is_an_error(workdir: Path, tiny: Tiny) -> None:
    torch.save({"1.weight": torch.ones(2, 3), "1.bias": torch.ones(16), "3.bias": torch.ones(7)}, "a.pt")
    assert problems_of(tiny("init.from=a.pt", "init.match=['*']")) == [
        f"init.match: matches tensors of another shape in {workdir / 'a.pt'}: "
        "1.weight (2, 3) instead of (16, 64), 3.bias (7,) instead of (10,)"
    ]
    check(tiny("init.from=a.pt", "init.match=[1.b*]"))


def test_file_without_a_fitting_parameter_is_an_error(workdir: Path, tiny: Tiny) -> None:
    counter = {"2.num_batches_tracked": torch.tensor(3)}  # fits any model with a layer 2 of this kind
    torch.save({f"{number}.scale": torch.ones(number) for number in range(1, 7)} | counter, "a.pt")
    assert problems_of(tiny(NORM, "init.from=a.pt")) == [
        f"init.from: no parameter in {workdir / 'a.pt'} fits the model by name and shape: it has 1.scale (1,), "
        "2.scale (2,), 3.scale (3,), 4.scale (4,), 5.scale (5,) and 2 more; model=mlp has 1.weight (16, 64), "
        "1.bias (16,), 2.weight (16,), 2.bias (16,), 2.running_mean (16,) and 4 more"
    ]


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        (["init.match=[2.*]"], "init.match: found ['2.*'], which needs init.from; allowed without it: []"),
        (["init.from=b.pt", "init.match=[1.*]"], "/b.pt does not exist; allowed: a run folder, "),
        (["init.from=a.pt", "init.match=[3.*,2.*]"], "init.match[1]: '2.*' matches no tensor that /"),
        (["init.from=a.pt", "init.match=[1.weigth]"], "allowed: 1.weight, 1.bias, 3.weight, 3.bias. Did you mean 1.we"),
        (["init.freeze=[1.*,2.*]"], "init.freeze[1]: '2.*' matches no parameter of the model; allowed: 1.weight, 1.b"),
        (["init.freeze=[11.*]"], "1.bias, 3.weight, 3.bias. Did you mean 1.*?"),
        (["init.freeze=[1.*,'?.weight','*.bias']"], "init.freeze: ['1.*', '?.weight', '*.bias'] freezes all 4 paramet"),
        (
            ["init.freeze=[1.*]", "optim.groups=[{match: 1.weight}]"],
            "'1.weight' matches none of the parameters 3.weight",
        ),
        (["init.from=torchvision:DEFAULT"], "model=mlp is not from torchvision; allowed: model=torchvision, or a run"),
    ],
)
def test_mistake_is_reported_by_key(workdir: Path, tiny: Tiny, overrides: list[str], problem: str) -> None:
    torch.save(weights(tiny()), "a.pt")
    (found,) = problems_of(tiny(*overrides))
    assert problem in found


def test_problems_are_reported_together_before_anything_is_created(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (workdir / "a.pt").write_text("weights")
    assert cli.main(["init.from=a.pt", "init.freeze=[x]", "optim.lr=-1"]) == 2
    captured = capsys.readouterr()
    assert captured.err.splitlines()[0].startswith(f"error: init.from: {workdir / 'a.pt'}: refused: damaged")
    assert [line.split(":")[0].strip() for line in captured.err.splitlines()[1:]] == ["init.freeze[0]", "optim.lr"]
    assert captured.out == ""
    assert [path.name for path in workdir.iterdir()] == ["a.pt"]


def test_problem_of_one_job_is_reported_before_a_sweep_starts(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(weights(compose_config()), "a.pt")
    assert cli.main(["-m", "init.from=a.pt,b.pt"]) == 2
    assert "b.pt does not exist" in capsys.readouterr().err
    assert [path.name for path in workdir.iterdir()] == ["a.pt"]


def test_frozen_parameters_and_statistics_stay_equal_bit_for_bit(runner: Run, tiny: Tiny) -> None:
    before = weights(tiny(*FROZEN))
    contents = checkpoint(runner(*FROZEN, "trainer.ema=0.5", "optim.weight_decay=0.1"), "last.pt")
    same = [name for name in before if name.startswith(("1.", "2.")) or name in ("4.bias", "5.weight")]
    assert len(same) == 9
    for after in (contents["model"], contents["ema"]["module"]):
        assert [name for name in before if equal(after[name], before[name])] == same  # layer 5 has a trained bias


def test_only_trained_parameters_are_in_the_optimizer(tiny: Tiny) -> None:
    parts = build(tiny(*FROZEN))
    listed = {id(parameter) for group in parts.optimizer.param_groups for parameter in group["params"]}
    names = [name for name, parameter in parts.model.named_parameters() if id(parameter) in listed]
    assert names == ["4.weight", "5.bias", "7.weight", "7.bias"]


def frozen(model: nn.Sequential, *patterns: str) -> nn.Sequential:
    freeze(compose_config([f"init.freeze={json.dumps(list(patterns))}"]), model)
    return model


def test_statistics_are_kept_only_if_all_parameters_of_the_layer_are_frozen() -> None:
    plain = [nn.BatchNorm1d(2, affine=False) for _ in range(2)]
    layers = [nn.Linear(2, 2), nn.BatchNorm1d(2), nn.BatchNorm1d(2), *plain, nn.Dropout()]
    model = frozen(nn.Sequential(*layers), "[013].*", "2.weight").train()
    assert [layer.training for layer in layers] == [True, False, True, False, True, True]
    model.eval()
    assert not any(layer.training for layer in layers)


def test_copy_of_a_frozen_layer_stays_in_evaluation_mode() -> None:
    model = frozen(nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 2)), "0.*")
    other = deepcopy(model).train()
    other(torch.rand(4, 2))
    assert equal(dict(other.state_dict()), dict(model.state_dict()))
    assert other[0].train() is other[0]


def test_shared_parameter_is_frozen_by_each_of_its_names() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2))
    model[1].weight = model[0].weight
    frozen(model, "1.weight")
    assert [name for name, parameter in model.named_parameters() if not parameter.requires_grad] == ["0.weight"]


def test_resumed_frozen_run_equals_an_undisturbed_one(first: Path, runner: Run) -> None:
    overrides = [NORM, f"init.from={first}", "init.freeze=[1.*,2.*]"]
    whole = runner(*overrides, "trainer.epochs=3")
    part = runner(*overrides, "trainer.epochs=1")
    shutil.rmtree(first)
    assert cli.main(["resume", str(part), "trainer.epochs=3"]) == 0
    assert equal(checkpoint(part), checkpoint(whole))
    assert metrics_table(part) == metrics_table(whole)
    for name in ("1.weight", "2.running_mean"):
        assert equal(trained(part)[name], trained(whole)[name])


def test_run_without_a_checkpoint_starts_from_the_weights_again(
    first: Path, runner: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    killed = runner(NORM, f"init.from={first.relative_to(Path.cwd())}")
    expected = checkpoint(killed)
    shutil.rmtree(killed / "checkpoints")
    (killed / "checkpoints").mkdir()
    values = json.loads((killed / "results.json").read_text()) | {"status": "running"}
    (killed / "results.json").write_text(json.dumps(values))
    monkeypatch.chdir(killed)  # the path is relative to the directory in which the run was started
    away = first.rename(first.with_name("away"))
    before = files(killed)
    assert cli.main(["resume", str(killed)]) == 2
    assert f"init.from: {first} does not exist" in capsys.readouterr().err
    assert files(killed) == before
    away.rename(first)
    assert cli.main(["resume", str(killed)]) == 0
    assert equal(checkpoint(killed), expected)


def test_trained_run_does_not_need_the_weights_it_started_from(
    first: Path, runner: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(runner(NORM, f"init.from={first}", "init.match=[1.*]"), "copy"))
    shutil.rmtree(first)
    capsys.readouterr()
    assert cli.main(["evaluate", str(folder)]) == 0
    assert json.loads(capsys.readouterr().out)["metrics"] == results(folder)["test"]


def test_keys_are_named_as_they_are_typed(first: Path, runner: Run, capsys: pytest.CaptureFixture[str]) -> None:
    folder = runner(NORM, f"init.from={first.relative_to(Path.cwd())}", "init.freeze=[1.*]")
    values = {"from": str(first), "match": [], "freeze": ["1.*"]}
    assert yaml.safe_load((folder / "config.yaml").read_text())["init"] == values
    saved = torch.load(folder / "checkpoints" / "last.pt", weights_only=True)["config"]
    assert saved["init"] == values
    assert flatten(saved)["init.from"] == str(first)
    assert cli.main(["resume", str(folder), "init.from=null", "init.freeze=[]"]) == 2
    text = capsys.readouterr().err
    assert f"init.from: found None, the run in this folder has '{first}'; start a new run to change it" in text
    assert "init.freeze: found [], the run in this folder has ['1.*']" in text


def test_path_is_made_absolute(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(workdir / "home"))
    for typed, path in (("a.pt", workdir / "a.pt"), ("'~/a.pt'", workdir / "home" / "a.pt")):
        config = compose_config([f"init.from={typed}"])
        assert config.init.source == str(path)
        assert config.model_dump()["init"] == {"from": str(path), "match": [], "freeze": []}
    assert compose_config(["init.from=torchvision:DEFAULT"]).init.source == "torchvision:DEFAULT"


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("init.freeze=1.weight", "init.freeze: found '1.weight'; Input should be a valid array: a list is written in"),
        ("+init.form=a.pt", "init.form: no such key; allowed: freeze, from, match. Did you mean from?"),
        ("init.from=''", "init.from: found ''; String should have at least 1 character"),
    ],
)
def test_invalid_value_is_reported_by_key(override: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compose_config([override])
    assert str(caught.value).startswith(problem)
