"""Tests of the documents: their commands run, and the links, files and make targets that they name exist."""

import json
import os
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
DOCUMENTS = [*(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")), *ROOT.glob("docs/*.md")]
TEXTS = {str(path.relative_to(ROOT)): path.read_text() for path in DOCUMENTS}
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCKS = [block for text in TEXTS.values() for block in FENCE.findall(text)]
SUBCOMMANDS = (
    "resume",
    "evaluate",
    "predict",
    "compare",
    "diff",
    "verify",
    "export",
    "components",
    "--help",
    "--cfg",
    "--version",
)

# Commands that are not run here, by their beginning, and the reason.
NOT_RUN = {
    'eval "$(runner -sc install=bash)"': "changes the shell; test_shell_completion_answers asks for completions",
    "source .venv/bin/activate": "changes the shell",
    "tensorboard ": "a server; tests/browser opens its pages",
    "python -m runner compare outputs --format html --output page.html --follow": "see tests/runs/test_page.py",
    "pip install ": "changes the environment",
    "pre-commit ": "changes the clone",
    "apt install ": "changes the system",
    "make ": "its targets are checked below, and .ci/run calls them",
    "torchrun --nnodes=2 ": "needs two machines",
    "torchrun --max-restarts": "an option; tests/faults/test_elastic.py restarts runs",
    "srun ": "needs SLURM",
    "python -m runner model=torchvision model.arch=resnet18 init.from=": "downloads weights",
    "project": "a shell function; tests/test_own_project.py runs the project of docs/own-project.md",
    "#!/bin/bash": "the first line of a script",
    "python -m runner -m hydra/launcher=": "tests/faults/test_sweeps.py runs sweeps over other launchers",
    "python -m runner -m hydra/sweeper=optuna ": "tests/sweep/test_driver.py runs searches",
    "python -m runner resume SWEEP hydra.sweeper.": "needs a search; tests/faults/test_search.py extends one",
}
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}  # without GPUs, processes share the CPU
SHORTER = {"trainer.epochs=30": "trainer.epochs=3"}  # values that are smaller in the tests


def typed() -> list[str]:
    """Return every command in a code block or between backticks, without its comment."""
    lines = [line for language, text in BLOCKS if language == "bash" for line in text.splitlines()]
    lines += re.findall(r"^\$ (.*)$", "".join(text for language, text in BLOCKS if language == "console"), re.MULTILINE)
    prose = "\n".join(FENCE.sub("", text) for text in TEXTS.values())
    lines += re.findall(r"`((?:python -m runner|torchrun|make|tensorboard|pip install|apt|eval|source) [^`]+)`", prose)
    commands = (re.sub(r"\s+# .*$", "", line).strip() for line in lines if not line.startswith("#SBATCH"))
    return list(dict.fromkeys(filter(None, commands)))


COMMANDS = typed()
RUN = [command for command in COMMANDS if not command.startswith(tuple(NOT_RUN))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a finished run and sweep, and with the files that the documents name."""
    folder = tmp_path_factory.mktemp("documents")
    finish(start("trainer.epochs=2", cwd=folder))
    finish(start("-m", "trainer.max_steps=3", "seed=0,1", cwd=folder))
    for name in ("a.png", "b.jpg"):
        Image.new("RGB", (40, 30), "white").save(folder / name)
    write_examples(folder)
    write_data(folder / "data")
    return folder


def write_examples(folder: Path) -> None:
    """Write the examples whose first line names a file in a comment; examples of the same file are appended."""
    for language, text in BLOCKS:
        first, _, rest = text.partition("\n")
        if language in ("python", "yaml") and (name := re.fullmatch(r"# ([\w./]+)", first)):
            path = folder / name[1]
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a") as file:
                file.write(f"{rest}\n")


def write_data(root: Path) -> None:
    """Write a small version of every dataset that is read from files."""
    for name in ("cats", "dogs"):
        (root / "pictures" / name).mkdir(parents=True)
        for number in range(10):
            Image.new("RGB", (70, 80), (25 * number, 100, 50)).save(root / "pictures" / name / f"{number}.png")
    rows = "".join(f"{number},{number % 7},red,{3 * number}\n" for number in range(40))
    (root / "houses.csv").write_text(f"area,rooms,color,price\n{rows}")
    rows = "".join(f"{number},{number % 7},{('a', 'b')[number % 2]}\n" for number in range(40))
    (root / "flowers.csv").write_text(f"length,width,species\n{rows}")
    mnist = root / "MNIST" / "raw"
    mnist.mkdir(parents=True)
    for part in ("train", "t10k"):
        (mnist / f"{part}-images-idx3-ubyte").write_bytes(idx(torch.zeros(50, 28, 28, dtype=torch.uint8)))
        (mnist / f"{part}-labels-idx1-ubyte").write_bytes(idx((torch.arange(50) % 10).to(torch.uint8)))
    batches = root / "cifar-10-batches-bin"
    batches.mkdir()
    for name in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"):
        (batches / f"{name}.bin").write_bytes(b"".join(bytes([label]) + bytes(3072) for label in range(10)) * 2)


def test_commands_are_found() -> None:
    assert len(RUN) > 50


@pytest.mark.slow
@pytest.mark.parametrize("command", RUN)
def test_command_runs(folder: Path, command: str) -> None:
    run = next(path.parent for path in sorted(folder.glob("outputs/*/*/results.json")))
    sweep = next(path.parent for path in sorted(folder.glob("outputs/*/*/sweep.yaml")))
    places = {"FOLDER": str(run), "RUN": str(run), "SWEEP": str(sweep), "outputs": str(run.parent), **SHORTER}
    words = [places.get(word, word.replace("=RUN", f"={run}")) for word in shlex.split(command, comments=True)]
    _, _, rest = command.partition("-m runner")
    if not rest.strip().startswith(SUBCOMMANDS):
        words.append("trainer.max_steps=3")
    program = [sys.executable] if words[0] == "python" else [sys.executable, "-m", "torch.distributed.run"]
    with subprocess.Popen(
        [*program, *words[1:]],
        cwd=folder,
        env=os.environ | ENVIRONMENT | {"TRACKIO_DIR": str(folder / "trackio")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            output = finish(process, code=2 if "lenett" in command else 0)
        finally:
            process.kill()  # if it hangs
    assert "Traceback" not in output


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_run_or_excluded_with_a_reason(command: str) -> None:
    listed = command.startswith(tuple(NOT_RUN))
    assert listed or re.match(r"python -m runner\b|torchrun --standalone \S+( --max-restarts=\d)? -m runner\b", command)


def test_every_exclusion_matches_a_command() -> None:
    assert [begin for begin in NOT_RUN if not any(command.startswith(begin) for command in COMMANDS)] == []


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {command.split()[1] for command in COMMANDS if command.startswith("make ")}
    assert named <= targets


def test_make_run_does_not_install_the_dev_extra(tmp_path: Path) -> None:
    command = ["make", "-n", "run", f"VENV={tmp_path}"]
    steps = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "-e .\n" in steps
    assert "[dev" not in steps


def test_outputs_folder_is_tracked_and_its_contents_are_ignored() -> None:
    assert (ROOT / "outputs" / ".gitignore").read_text().split() == ["*", "!.gitignore"]


@pytest.mark.slow
def test_first_sweep_of_the_readme_reaches_90_percent(tmp_path: Path) -> None:
    (command, *_) = re.findall(r"^python -m runner (-m .*)$", TEXTS["README.md"], re.MULTILINE)
    finish(start(*shlex.split(command), cwd=tmp_path))
    (table,) = tmp_path.glob("outputs/*/*/sweep.json")
    accuracies = [job["test"]["accuracy"] for job in json.loads(table.read_text())["jobs"]]
    assert len(accuracies) >= 3
    assert min(accuracies) > 0.9


def test_named_files_exist() -> None:
    named = {
        name
        for text in TEXTS.values()
        for name in re.findall(r"(?<![\w/])(?:src|tests|conf|docs)/[\w/.-]+\.(?:py|yaml|png|md)", text)
        if "NAME" not in name and "/N." not in name and "_N." not in name
    }
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def test_layout_lists_every_module() -> None:
    source = ROOT / "src" / "runner"
    layout = TEXTS["CONTRIBUTING.md"].partition("## Layout")[2].partition("###")[0]
    table = "".join(line for line in layout.splitlines() if line.startswith("|"))
    listed = set(re.findall(r"`(\w+\.py|\w+/)`", table.replace("`src/runner/`", "")))
    modules = {path.name for path in source.glob("*.py")} - {"__init__.py"}
    assert listed == modules | {f"{path.parent.name}/" for path in source.glob("*/__init__.py")}


@pytest.mark.parametrize("name", TEXTS)
def test_link_targets_exist(name: str) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", TEXTS[name])):
        if target.startswith(("https://", "http://")):
            continue
        path, _, anchor = target.partition("#")
        document = ((ROOT / name).parent / path).resolve() if path else ROOT / name
        assert document.exists(), target
        if anchor:
            assert anchor in anchors(document.read_text()), target


def anchors(text: str) -> set[str]:
    """Return the anchors that GitHub gives to the headings of a document."""
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_guide_is_linked_from_the_readme() -> None:
    assert [path.name for path in ROOT.glob("docs/*.md") if f"(docs/{path.name})" not in TEXTS["README.md"]] == []


def test_readme_has_at_most_180_lines() -> None:
    assert len(TEXTS["README.md"].splitlines()) <= 180


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
