"""The README is true: its commands run, its files and targets are there."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from helpers import finish, idx, start

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text()
TYPED = [line.strip().removeprefix("$ ") for line in TEXT.splitlines() if line.startswith("    ")]
COMMANDS = list(dict.fromkeys(line for line in TYPED if line.startswith("python -m runner")))
SHORT = ["trainer.max_steps=3"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished run and sweep, and with the files that the commands name."""
    folder = tmp_path_factory.mktemp("readme")
    finish(start("trainer.epochs=2", cwd=folder))
    finish(start("-m", "trainer.max_steps=3", "seed=0,1", cwd=folder))
    for name in ("a.png", "b.jpg"):
        Image.new("RGB", (40, 30), "white").save(folder / name)
    (folder / "jobs.yaml").write_text("- {optim.lr: 0.1, model: mlp}\n- [seed=3]\n")
    mnist = folder / "data" / "MNIST" / "raw"
    mnist.mkdir(parents=True)
    for part in ("train", "t10k"):
        (mnist / f"{part}-images-idx3-ubyte").write_bytes(idx(torch.zeros(50, 28, 28, dtype=torch.uint8)))
        (mnist / f"{part}-labels-idx1-ubyte").write_bytes(idx((torch.arange(50) % 10).to(torch.uint8)))
    blocks = re.findall(r"((?:^    .*\n|^\n)+)", TEXT, re.MULTILINE)
    (own,) = [block for block in blocks if "@MODELS.register" in block]
    (folder / "my_models.py").write_text("\n".join(line[4:] for line in own.splitlines()))
    (folder / "my_conf" / "model").mkdir(parents=True)
    (folder / "my_conf" / "model" / "tiny.yaml").write_text("name: tiny\nwidth: 32\n")
    return folder


def test_there_are_commands() -> None:
    assert len(COMMANDS) > 25


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_readme_runs(folder: Path, command: str) -> None:
    run = next(path.parent for path in sorted(folder.glob("outputs/*/*/results.json")))
    sweep = next(path.parent for path in sorted(folder.glob("outputs/*/*/sweep.yaml")))
    places = {"FOLDER": str(run), "RUN": str(run), "SWEEP": str(sweep), "outputs": str(run.parent)}
    words = [places.get(word, word) for word in shlex.split(command, comments=True)[3:]]
    word = words[0] if words else ""
    trains = word not in ("resume", "evaluate", "predict", "compare", "export", "components", "--help", "--cfg")
    output = finish(start(*words, *(SHORT if trains else []), cwd=folder), code=2 if "lenett" in command else 0)
    assert "Traceback" not in output


def test_its_make_targets_are_there() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:^    |`)make ([a-z-]+)", TEXT, re.MULTILINE)) <= targets


def test_its_files_are_there() -> None:
    named = set(re.findall(r"\b((?:src|tests|conf|docs)/[\w/.-]+\.(?:py|yaml|png))", TEXT)) - {"conf/GROUP/NAME.yaml"}
    assert [name for name in named if not (ROOT / name).exists() and "NAME" not in name and "/N.yaml" not in name] == []


@pytest.mark.slow
def test_shell_completion_answers(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "runner", "-sc", "query=bash"],
        cwd=folder,
        env={"COMP_LINE": "runner optim=ad", "COMP_POINT": "15", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )
    assert "optim=adam" in done.stdout
