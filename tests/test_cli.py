"""Tests of the command line: commands, exit codes, output, and files left behind."""

import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import TINY
from helpers import finish, metrics_table, results, start, wait_until
from runner import cli
from runner.registry import ALL_REGISTRIES

ROOT = Path(__file__).parents[1]


def said(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().err


@pytest.mark.parametrize(
    "override",
    [
        "trainer.epochs=0.5",
        "optim.lr=-1",
        "optim.lrr=1",
        "model=lenett",
        "name=${nowhere}",
        "+optim._target_=os.system",
        "device=cuda:9",
        "loss.weight=[1]",
    ],
)
def test_bad_config_exits_with_2_and_creates_nothing(
    workdir: Path, capsys: pytest.CaptureFixture[str], override: str
) -> None:
    assert cli.main([override]) == 2
    error = said(capsys)
    assert error.startswith("error: ")
    assert "Traceback" not in error
    assert list(workdir.iterdir()) == []


def test_all_errors_are_reported_in_one_message(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["trainer.epochs=0.5", "optim.lr=-1", "model.kernel_size=99", "trainer.batch_size=0"]) == 2
    keys = re.findall(r"^(?:error:| {6}) (\S+):", said(capsys), re.MULTILINE)
    assert sorted(keys) == ["model.kernel_size", "optim.lr", "trainer.batch_size", "trainer.epochs"]


def test_unknown_flag_exits_with_2(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--nope"]) == 2
    assert "--nope: no such flag" in said(capsys)


def test_pickle_is_rejected(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--experimental-rerun=config.pickle"]) == 2
    assert "refused: it would read a pickle" in said(capsys)


def test_dry_run_shows_config_and_model_and_creates_nothing(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["dry_run=true", "optim.lr=0.123"]) == 0
    shown = capsys.readouterr().out
    assert "lr: 0.123" in shown
    assert re.search(r"conv2 +Conv2d +\(B, 16, 10, 10\) +2,416", shown)
    assert "nothing was created" in shown
    assert list(workdir.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["resume", "nowhere"], "not a run folder"),
        (
            ["components", "moddel"],
            "found 'moddel'; allowed: dataset, loss, metric, model, optim, scheduler, task.",
        ),
        (["components", "model", "lenett"], "Did you mean lenet?"),
    ],
)
def test_invalid_command_argument_exits_with_2(
    workdir: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], problem: str
) -> None:
    assert cli.main(arguments) == 2
    assert problem in said(capsys)


@pytest.mark.slow
def test_sweep_creates_one_folder_per_job(workdir: Path) -> None:
    assert cli.main(["-m", *TINY, "device.threads=1", "optim.lr=0.1,0.01"]) == 0
    (sweep,) = workdir.glob("outputs/*/*_sweep_mlp_digits")
    jobs = [folder for folder in sweep.iterdir() if folder.is_dir()]
    assert len(jobs) == 2
    assert {results(job)["status"] for job in jobs} == {"completed"}
    assert len({tuple(metrics_table(job)) for job in jobs}) == 2


WITHOUT_TORCH = [
    (["--help"], 0, "resume FOLDER"),
    (["--cfg", "job"], 0, "kernel_size: 5"),
    (["components", "--help"], 0, "[group] [name]"),
    (["model=lenett"], 2, "Did you mean lenet?"),
    (["optim.lrr=0.1"], 2, "Did you mean lr?"),
]


@pytest.mark.parametrize(("arguments", "code", "shown"), WITHOUT_TORCH)
def test_help_config_and_composition_errors_do_not_import_torch(
    workdir: Path, arguments: list[str], code: int, shown: str
) -> None:
    program = "import sys; sys.modules['torch'] = None; from runner.cli import main; sys.exit(main(sys.argv[1:]))"
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True)
    assert shown in done.stdout + done.stderr
    assert done.returncode == code


@pytest.mark.parametrize("arguments", [["--help"], ["--cfg", "job"]])
def test_help_and_config_do_not_import_pydantic(workdir: Path, arguments: list[str]) -> None:
    program = "import sys; sys.modules['pydantic'] = None; from runner.cli import main; sys.exit(main(sys.argv[1:]))"
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_shell_completion_does_not_import_torch(workdir: Path) -> None:
    program = "import sys; sys.modules['torch'] = None; from runner.cli import main; sys.exit(main(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", program, "-sc", "query=bash"],
        env={"COMP_LINE": "runner model=le", "COMP_POINT": "15"},
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == ["model=lenet"], done.stderr


@pytest.mark.slow
def test_simultaneous_runs_get_separate_folders(workdir: Path) -> None:
    for process in [start(*TINY, "trainer.epochs=1", cwd=workdir) for _ in range(6)]:
        finish(process)
    folders = list(workdir.glob("outputs/*/*"))
    assert len(folders) == 6
    assert {results(folder)["status"] for folder in folders} == {"completed"}


@pytest.mark.slow
def test_second_process_in_a_run_folder_is_rejected_until_the_first_dies(workdir: Path) -> None:
    first = start(*TINY, "trainer.epochs=100000", "trainer.checkpoint.every_epochs=10", "logger=none", cwd=workdir)
    try:
        folder = wait_for_checkpoint(workdir)
        assert "in use by another process" in finish(start("resume", str(folder), cwd=workdir), code=2)
    finally:
        first.kill()
        first.communicate()
    assert results(folder)["status"] == "running"
    again = start("resume", str(folder), cwd=workdir)
    wait_until(lambda: results(folder)["resumed"] == 1)
    again.send_signal(signal.SIGTERM)
    assert "interrupted" in finish(again, code=143)
    assert results(folder)["status"] == "interrupted"


def wait_for_checkpoint(workdir: Path) -> Path:
    wait_until(lambda: any(workdir.glob("outputs/*/*/checkpoints/last.pt")))
    return next(workdir.glob("outputs/*/*/checkpoints/last.pt")).parents[1]


def test_components_lists_all_components_and_the_parameters_of_one(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["components"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in ("lenet", "cross_entropy", "sgd", "cosine", "digits"))
    assert cli.main(["components", "model", "lenet"]) == 0
    assert re.search(r"model\.kernel_size +int +5", capsys.readouterr().out)


def test_help_of_components_names_all_groups(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["components", "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert f"one of: {', '.join(ALL_REGISTRIES)} " in shown


@pytest.mark.slow
def test_default_run_reaches_97_percent(workdir: Path) -> None:
    finish(start(cwd=workdir))
    (folder,) = workdir.glob("outputs/*/*_lenet_digits")
    assert results(folder)["test"]["accuracy"] >= 0.97


@pytest.mark.slow
def test_wheel_contains_conf(workdir: Path) -> None:
    copy = workdir / "source"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".*", "outputs", "tests"))
    subprocess.run([sys.executable, "-m", "build", "--wheel", "-o", workdir / "dist", copy], check=True)
    (wheel,) = (workdir / "dist").glob("*.whl")
    install = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--target",
        str(workdir / "installed"),
        str(wheel),
    ]
    subprocess.run(install, check=True)
    empty = workdir / "empty"
    empty.mkdir()
    finish(start(*TINY, cwd=empty, PYTHONPATH=str(workdir / "installed")))
    (folder,) = empty.glob("outputs/*/*")
    assert results(folder)["status"] == "completed"


def test_value_reaches_the_optimizer(runner: Callable[..., Path]) -> None:
    assert "lr: 0.0625" in (runner("optim.lr=0.0625") / "config.yaml").read_text()


def test_interpolation_in_override_works_in_run_and_resume(runner: Callable[..., Path]) -> None:
    folder = runner("optim.weight_decay=${optim.lr}", "trainer.epochs=1")
    assert "weight_decay: 0.01" in (folder / "config.yaml").read_text()
    assert results(folder)["overrides"][-2] == "optim.weight_decay=${optim.lr}"
    assert cli.main(["resume", str(folder), "trainer.epochs=2", "trainer.log_every=${trainer.epochs}"]) == 0
    assert results(folder)["overrides"][-1] == "trainer.log_every=${trainer.epochs}"
    assert "log_every: 2" in (folder / "config.yaml").read_text()


def test_interpolation_in_override_works_in_sweep(sweep: Callable[..., Path]) -> None:
    folder = sweep("optim.weight_decay=${optim.lr}", "optim.lr=0.5,0.25", "trainer.epochs=1")
    decays = [re.search(r"weight_decay: (\S+)", path.read_text()) for path in folder.glob("*/config.yaml")]
    assert sorted(decay[1] for decay in decays if decay) == ["0.25", "0.5"]
    assert cli.main(["resume", str(folder)]) == 0


@pytest.mark.slow
def test_closed_pipe_does_not_stop_training(workdir: Path) -> None:
    process = start(*TINY, "trainer.epochs=20", cwd=workdir)
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(timeout=120) == 0
    (folder,) = workdir.glob("outputs/*/*")
    assert results(folder)["status"] == "completed"


def test_flags_are_accepted_at_any_position(workdir: Path) -> None:
    (workdir / "mine" / "model").mkdir(parents=True)
    (workdir / "mine" / "model" / "small.yaml").write_text(
        "name: mlp\nhidden: [4]\nactivation: relu\nnorm: none\ndropout: 0.0\n"
    )
    arguments = ["model=small", "--config-dir", "mine", "dataset.size=8", "trainer.epochs=1", "device.threads=1"]
    assert cli.main(arguments) == 0
    (folder,) = workdir.glob("outputs/*/*")
    assert results(folder)["parameters"] == 64 * 4 + 4 + 40 + 10


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["scheduler=multistep", "scheduler.milestones=[5,2]"], "scheduler"),
        (["dataset=image_folder", "dataset.root=/nowhere"], "there is no such folder"),
        (["optim=adam", "optim.amsgrad=true", "optim.lr=-1"], "optim.lr: found -1: Invalid learning rate"),
        (
            ["model=mlp", "model.hidden=[-5]"],
            "error: model=mlp: hidden must be at least 1 for each layer, found [-5]\n",
        ),
        (["model=null"], "model"),
        (["lr=0.1"], "lr: no such key; did you mean optim.lr?"),
        (["optim.groups=[{match: '*', lr: -1}]"], "optim.groups[0]: Invalid learning rate: -1"),
        (["scheduler=step", "scheduler.step_size=0"], "scheduler=step: "),
        (["device.threads=99999999999"], "device.threads: found 99999999999"),
    ],
)
def test_mistakes_give_one_message_without_traceback(
    workdir: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], problem: str
) -> None:
    assert cli.main(arguments) == 2
    error = said(capsys)
    assert problem in error
    assert "Traceback" not in error
    assert list(workdir.iterdir()) == []


def test_sweep_under_torchrun_is_rejected(
    workdir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "localhost"}.items():
        monkeypatch.setenv(name, value)
    assert cli.main(["-m", *TINY, "seed=0,1"]) == 2
    assert "torchrun: its processes train one run together" in said(capsys)
    assert list(workdir.iterdir()) == []


def test_only_rank_0_prints(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name, value in {"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1", "MASTER_ADDR": "localhost"}.items():
        monkeypatch.setenv(name, value)
    assert cli.main(["components", "loss"]) == 0
    assert cli.main(["optim.lrr=1"]) == 2
    assert capsys.readouterr() == ("", "")


def test_evaluate_prints_null_for_nan(
    runner: Callable[..., Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = runner()
    monkeypatch.setattr("runner.runs.predict.evaluate", lambda *arguments: {"loss": float("nan"), "accuracy": 0.5})
    capsys.readouterr()
    assert cli.main(["evaluate", str(folder)]) == 0
    assert json.loads(capsys.readouterr().out)["metrics"] == {"loss": None, "accuracy": 0.5}
