"""Mistakes that new users make: each gets one message that says how to mend it, and nothing is created."""

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
    "a flag that is none": ("--epochs 5", "--epochs: no such flag; values are set as key=value"),
    "a space for the equals sign": ("optim.lr 0.1", "did you mean optim.lr=0.1?"),
    "a colon for the equals sign": ("optim.lr:0.1", "no key=value"),
    "a command that is none": ("train", "train: is no command"),
    "a mistyped command": ("compere outputs", "commands: resume, evaluate, predict, compare, export, components"),
    "a sweep without -m": ("optim.lr=0.1,0.01", "which needs -m"),
    "a list without brackets": ("model.hidden=120,84", "a list is written in brackets: model.hidden=[...]"),
    "a word for a number": ("trainer.epochs=ten", "trainer.epochs: found 'ten'"),
    "no epochs at all": ("trainer.epochs=0", "greater than or equal to 1"),
    "a negative learning rate": ("optim.lr=-1", "optim.lr: found -1"),
    "a part of another model": ("+model.dropout=0.5", "model.dropout: no such key; allowed: channels"),
    "a classifier's loss for numbers": ("dataset=parabola", "cross_entropy compares classes"),
    "a GPU that is not there": ("device.name=cuda:9", "which this machine does not have"),
    "a file that is not there": ("dataset=csv", "there is no such file"),
    "a plugin that is not there": ("plugins=[my_models]", "No module named 'my_models'; searched: this folder"),
    "a metric without its split": ("trainer.checkpoint.metric=accuracy", "Did you mean val/accuracy?"),
    "a folder that is no run": ("resume nowhere", "not a run folder"),
    "several at once": ("model=lenett optim.lrr=1", "Did you mean lenet?"),
}


@pytest.mark.parametrize(("typed", "advice"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_is_told_with_what_would_mend_it(
    workdir: Path, capsys: pytest.CaptureFixture[str], typed: str, advice: str
) -> None:
    assert cli.main(typed.split()) == 2
    captured = capsys.readouterr()
    assert advice in captured.err
    assert captured.err.startswith("error: ")
    assert "Traceback" not in captured.err
    assert captured.out == ""
    assert list(workdir.iterdir()) == []
