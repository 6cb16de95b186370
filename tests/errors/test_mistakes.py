"""Tests of common mistakes: each is reported in one message with a correction, and nothing is created."""

from pathlib import Path

import pytest

from runner import cli

MISTAKES = {
    "a torchvision network as a model": ("model=resnet18", "model=torchvision model.arch=resnet18"),
    "capitals in a model": ("model=LeNet", "Did you mean lenet?"),
    "capitals in a dataset": ("dataset=MNIST", "Did you mean mnist?"),
    "capitals in an optimizer": ("optim=Adam", "Did you mean adam?"),
    "words in another order": ("experiment=digits_mlp", "Did you mean mlp_digits?"),
    "words run together": ("loss=crossentropy", "Did you mean cross_entropy?"),
    "another name for the learning rate": ("optim.learning_rate=0.1", "did you mean optim.lr?"),
    "another name for a group": ("optimizer=adam", "Did you mean optim?"),
    "another name for a device": ("device=gpu", "Did you mean cuda?"),
    "another name for a precision": ("trainer.precision=float16", "'fp16'"),
    "a key without its group": ("lr=0.1", "did you mean optim.lr?"),
    "a trainer key without its group": ("epochs=5", "did you mean trainer.epochs?"),
    "two dashes before a key": ("--optim.lr=0.1", "did you mean optim.lr=0.1, without dashes?"),
    "one dash before a key": ("-optim.lr=0.1", "did you mean optim.lr=0.1, without dashes?"),
    "an unknown flag": ("--epochs 5", "--epochs: no such flag; values are set as key=value"),
    "a space for the equals sign": ("optim.lr 0.1", "did you mean optim.lr=0.1?"),
    "a colon for the equals sign": ("optim.lr:0.1", "neither a command nor key=value"),
    "an unknown command": ("train", "train: not a command"),
    "a mistyped command": (
        "compere outputs",
        "commands: resume, evaluate, predict, compare, diff, verify, export, components",
    ),
    "a sweep without -m": ("optim.lr=0.1,0.01", "which needs -m"),
    "a list without brackets": ("model.hidden=120,84", "a list is written in brackets: model.hidden=[...]"),
    "a word instead of a number": ("trainer.epochs=ten", "trainer.epochs: found 'ten'"),
    "no epochs at all": ("trainer.epochs=0", "greater than or equal to 1"),
    "a negative learning rate": ("optim.lr=-1", "optim.lr: found -1"),
    "a parameter of another model": ("+model.dropout=0.5", "model.dropout: no such key; allowed: channels"),
    "a classifier's loss for numbers": ("dataset=parabola", "cross_entropy needs class targets"),
    "a missing GPU": ("device.name=cuda:9", "which this machine does not have"),
    "a missing file": ("dataset=csv", "there is no such file"),
    "missing weights": ("init.from=weights.pt", "weights.pt does not exist; allowed: a run folder, a .pt"),
    "a layer that does not exist": ("init.freeze=[conv3.*]", "matches no parameter of the model; allowed: conv1.w"),
    "a transform that does not exist": (
        "dataset.transforms=[Flip]",
        "dataset.transforms[0]: found 'Flip'; allowed: Aug",
    ),
    "one transform without brackets": (
        "dataset.transforms=RandomInvert",
        "brackets: dataset.transforms=[RandomInvert]",
    ),
    "a missing plugin": ("plugins=[my_models]", "No module named 'my_models'; searched: this folder"),
    "a metric without its split": ("trainer.checkpoint.metric=accuracy", "Did you mean val/accuracy?"),
    "a folder that is not a run": ("resume nowhere", "not a run folder"),
    "spaces around the equals sign": ("optim.lr = 0.1", "write it without spaces: optim.lr=0.1"),
    "a colon and a space instead of the equals sign": ("optim.lr: 0.1", "did you mean optim.lr=0.1?"),
    "two dashes and a space": ("--optim.lr 0.1", "did you mean optim.lr=0.1?"),
    "no key": ("=3", "has no key; expected key=value"),
    "a key in the wrong group": ("trainer.lr=0.1", "did you mean optim.lr?"),
    "a trainer key in the dataset group": ("dataset.batch_size=3", "did you mean trainer.batch_size?"),
    "a torchvision network in capitals": ("model=ResNet18", "model=torchvision model.arch=resnet18."),
    "one plugin without brackets": ("plugins=my_models", "a list is written in brackets: plugins=[my_models]"),
    "one width without brackets": ("model=mlp model.hidden=64", "in brackets: model.hidden=[64]"),
    "a list with spaces": ("model=mlp model.hidden=[64, 32]", 'quote it: "model.hidden=[64, 32]"'),
    "a word that starts a run elsewhere": ("train model=mlp", "train: not a command: a run is started without one"),
    "help as a word": ("help", "help: not a command; use: python -m runner --help"),
    "an umlaut": ("dataset.root=daten/größe", "quote the value: \"dataset.root='daten/größe'\""),
    "a tilde": ("dataset.root=~/pics", "quote the value: \"dataset.root='~/pics'\""),
    "parentheses": ("output_dir=out(1)", "quote the value: \"output_dir='out(1)'\""),
    "values of a sweep with a space": ("optim.lr=0.1 0.01", "with commas: -m optim.lr=0.1,0.01"),
    "a name with a space": ("name=my run", 'Quote a value with spaces: "name=my run"'),
    "a deleted group": ("~logger", "use logger=none"),
    "another deleted group": ("~scheduler", "use scheduler=constant"),
    "a required group deleted": ("~model", "a group cannot be deleted; choose one of: autoencoder, cnn,"),
    "a number in quotes": ("seed='1'", "it is a string here; write it without quotes"),
    "a nested interpolation": (
        "optim.lr=${oc.decode:${oc.env:MYLR}}",
        "quote the value: 'optim.lr=\"${oc.decode:${oc.env:MYLR}}\"'",
    ),
    "a missing folder of config files": ("--config-dir myconf", "--config-dir: no such folder: myconf"),
    "Hydra's folder of a run": ("hydra.run.dir=D", "output_dir=FOLDER"),
    "Hydra's folder of a sweep": ("-m hydra.sweep.dir=D seed=1,2", "output_dir=FOLDER"),
    "a missing config": ("--config-name nowhere", "Cannot find primary config 'nowhere'"),
    "several at once": ("model=lenett optim.lrr=1", "Did you mean lenet?"),
}


@pytest.mark.parametrize(("typed", "advice"), MISTAKES.values(), ids=MISTAKES.keys())
def test_mistake_is_reported_with_a_correction(
    workdir: Path, capsys: pytest.CaptureFixture[str], typed: str, advice: str
) -> None:
    assert cli.main(typed.split()) == 2
    captured = capsys.readouterr()
    assert advice in captured.err
    assert captured.err.startswith("error: ")
    assert "Traceback" not in captured.err
    assert captured.out == ""
    assert list(workdir.iterdir()) == []


def test_hint_for_a_number_from_the_environment_works(
    workdir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MYLR", "0.02")
    assert cli.main(["optim.lr=${oc.env:MYLR}"]) == 2
    assert """'optim.lr="${oc.decode:${oc.env:NAME}}"'""" in capsys.readouterr().err
    assert cli.main(['optim.lr="${oc.decode:${oc.env:MYLR}}"', "dry_run=true"]) == 0


GLOBAL = "# @package _global_\n"
FILES = {  # config file of the user: (contents, arguments, expected message)
    "model/a.yaml": ("name: tiny\n width: 32\n", "model=a", "mine/model/a.yaml, line 2, column 7: mapping values"),
    "model/b.yaml": (
        "name: tiny\n\twidth: 32\n",
        "model=b",
        "b.yaml, line 2, column 1: found a tab character that violates indentation: indent with spaces",
    ),
    "model/c.yaml": ("name: a\nname: b\n", "model=c", "mine/model/c.yaml, line 2, column 1: found duplicate key name"),
    "model/d.yaml": ("", "model=d", "mine/model/d.yaml: needs a line `name: ...`, such as `name: d`; found nothing"),
    "model/e.yaml": ("name:tiny", "model=e", "mine/model/e.yaml: needs a line `name: ...`"),
    "model/f.yaml": ("name = tiny", "model=f", "mine/model/f.yaml: needs a line `name: ...`"),
    "model/g.yaml": ("model:\n  name: g\n", "model=g", "mine/model/g.yaml: needs a line `name: ...`"),
    "model/h.yaml": ("- name: h\n", "model=h", "mine/model/h.yaml: found a list; write keys and values"),
    "model/i.yaml": (
        "name: i\n",
        "model=i",
        'plugins=[MODULE] is missing, with the module that has @MODELS.register("i")',
    ),
    "dataset/a.yaml": (
        "points: 3\n",
        "dataset=a",
        "dataset/a.yaml: needs a line `name: ...`, such as `name: a`; found points",
    ),
    "model/j.yml": ("name: j\n", "model=j", "mine/model/j.yml exists: rename it to j.yaml"),
    "model/k.yaml": ("name: tiny\n", "model=k plugins=[nowhere]", "No module named 'nowhere'"),
    "model/l.yaml": (
        f"{'a: &a [b, b]'}\nc: [*nope]\n",
        "model=l",
        "mine/model/l.yaml, line 2, column 5: found undefined",
    ),
    "experiment/a.yaml": (f"{GLOBAL}seed: 1\nseed: 2\n", "experiment=a", "line 3, column 1: found duplicate key seed"),
    "experiment/b.yaml": ("defaults:\n- override /model: mlp", "experiment=b", "must be `# @package _global_`"),
    "experiment/c.yaml": (f"{GLOBAL}defaults:\n- override model: mlp", "experiment=c", "`- override /model: ...`"),
    "experiment/d.yaml": (f"{GLOBAL}defaults:\n- /model: mlp", "experiment=d", "`- override /model: mlp`"),
    "experiment/e.yaml": (f"{GLOBAL}defaults:\n- override /optimizer: adam", "experiment=e", "Did you mean optim?"),
    "experiment/f.yaml": (f"{GLOBAL}defaults:\n- override /model: mpl", "experiment=f", "Did you mean mlp?"),
    "experiment/g.yaml": (
        f"{GLOBAL}hydra: {{callbacks: {{x: {{_target_: thing.Thing}}}}}}",
        "experiment=g dry_run=true",
        "hydra.callbacks: refused: a config cannot name code",
    ),
    "experiment/h.yaml": (
        f"{GLOBAL}hydra: {{job_logging: {{root: {{level: INFO}}, handlers: {{x: {{(): thing.Thing}}}}}}}}",
        "experiment=h",
        "hydra.job_logging: refused",
    ),
    "experiment/i.yaml": (f"{GLOBAL}hydra: {{run: {{dir: D}}}}", "experiment=i", "hydra.run.dir: found 'D'; refused"),
    "experiment/j.yaml": (
        f"{GLOBAL}hydra: {{sweeper: {{params: {{seed: {{_target_: thing.Thing}}}}}}}}",
        "experiment=j",
        "hydra.sweeper.params.seed._target_: found 'thing.Thing'; a config cannot name code",
    ),
}
EVERYWHERE = ("model/a.yaml", "experiment/g.yaml")  # also tested with other commands


@pytest.mark.parametrize(
    ("file", "flags"),
    [
        *((file, []) for file in FILES),
        *((file, flags) for file in EVERYWHERE for flags in (["--cfg", "job"], ["--help"], ["-m", "seed=1,2"])),
    ],
)
def test_mistake_in_a_user_config_file_is_reported_with_its_location(
    workdir: Path, capsys: pytest.CaptureFixture[str], file: str, flags: list[str]
) -> None:
    text, typed, advice = FILES[file]
    path = workdir / "mine" / file
    path.parent.mkdir(parents=True)
    path.write_text(text)
    (workdir / "thing.py").write_text("raise SystemExit('it ran')")
    assert cli.main([*flags, "--config-dir", "mine", *typed.split()]) == 2
    captured = capsys.readouterr()
    assert advice in captured.err
    assert captured.err.startswith("error: ")
    assert "Traceback" not in captured.err
    assert "Did you mean line?" not in captured.err
    assert captured.out == ""
    assert sorted(path.name for path in workdir.iterdir()) == ["mine", "thing.py"]


def test_user_config_file_replaces_the_one_of_the_same_name(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (workdir / "mine" / "optim").mkdir(parents=True)
    (workdir / "mine" / "optim" / "sgd.yaml").write_text("name: sgd\nlr: 0.5\n")
    (workdir / "mine" / "config.yaml").write_text("seed: 7\n")  # cannot be replaced
    assert cli.main(["--config-dir", "mine", "--cfg", "job"]) == 0
    shown = capsys.readouterr().out
    assert "lr: 0.5" in shown
    assert "momentum" not in shown
    assert "seed: 0" in shown


def test_forgotten_config_dir_is_suggested(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (workdir / "my_conf" / "model").mkdir(parents=True)
    (workdir / "my_conf" / "model" / "tiny.yaml").write_text("name: tiny\n")
    assert cli.main(["model=tiny"]) == 2
    assert "my_conf/model/tiny.yaml exists: add --config-dir my_conf" in capsys.readouterr().err


def test_failed_plugin_import_is_the_only_problem_reported(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (workdir / "mine" / "model").mkdir(parents=True)
    (workdir / "mine" / "model" / "tiny.yaml").write_text("name: tiny\n")
    assert cli.main(["model=tiny", "plugins=[nowhere]", "--config-dir", "mine"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: plugins: importing 'nowhere' failed: ModuleNotFoundError")


def test_version_prints_the_versions_of_runner_torch_and_hydra(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["--version"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["runner", "torch", "hydra-core"]


def test_hydra_help_ignores_overrides(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        cli.main(["--hydra-help", "model=mlp"])
    assert leaving.value.code == 0
    assert capsys.readouterr().out.startswith("Hydra")
