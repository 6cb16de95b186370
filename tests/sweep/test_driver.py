import csv
import hashlib
import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import TINY
from helpers import finish, metrics_table, results, start
from runner import cli
from runner.config.compose import compose_config
from runner.sweep.execution.machine import cores
from runner.sweep.jobs import Sweep
from runner.sweep.plan import wrong_directions


def statuses(folder: Path) -> dict[str, str]:
    """Return the status of each job according to sweep.csv."""
    with (folder / "sweep.csv").open(newline="") as file:
        return {row["job"]: row["status"] for row in csv.DictReader(file)}


def said(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    return captured.out + captured.err


def digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file below a folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_sweep_ends_with_a_table(sweep: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    folder = sweep("optim.lr=0.1,0.01")
    assert folder.name.endswith("_sweep_mlp_digits")
    assert statuses(folder) == {"optim.lr=0.1": "completed", "optim.lr=0.01": "completed"}
    assert {path.name for path in folder.iterdir() if path.is_file()} == {
        *("sweep.yaml", "sweep.csv", "sweep.json", "sweep.md", "sweep.png")
    }
    text = said(capsys)
    best = json.loads((folder / "sweep.json").read_text())["best"]
    assert best["job"] == "optim.lr=0.1"
    assert f"repeat   {best['command']}" in text
    assert "2 completed in" in text


def test_command_of_the_best_job_repeats_it(sweep: Callable[..., Path], workdir: Path) -> None:
    folder = sweep("optim.lr=0.1,0.01")
    command = shlex.split(json.loads((folder / "sweep.json").read_text())["best"]["command"])
    assert command[:3] == ["python", "-m", "runner"]
    assert cli.main([*command[3:], "name=again"]) == 0
    (again,) = workdir.glob("outputs/*/*_again")
    assert metrics_table(again) == metrics_table(folder / "optim.lr=0.1")


def test_job_is_frozen_with_its_share_of_the_threads(sweep: Callable[..., Path]) -> None:
    folder = sweep("optim.lr=0.1,0.01", "sweep.jobs=1")
    assert {job.config.device.threads for job in Sweep.open(folder).jobs} == {cores()}
    assert f"device.threads={cores()}" in json.loads((folder / "sweep.json").read_text())["jobs"][0]["command"]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["seed=0,1", "sweep.jobs=1,2"], "sweep.jobs: found 1 and 2; it holds for the whole sweep"),
        (["output_dir=a,b"], "output_dir: found a and b; it holds for the whole sweep"),
        (["dry_run=true,false"], "dry_run: found True and False; it holds for the whole sweep"),
        (["seed=range(0)"], "seed=range(0): has no values"),
        (["optim.lr=0.1,nan"], "optim.lr: found nan"),
    ],
)
def test_values_that_cannot_be_swept_are_rejected(
    workdir: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], problem: str
) -> None:
    assert cli.main(["-m", *TINY, *arguments]) == 2
    assert problem in capsys.readouterr().err
    assert list(workdir.iterdir()) == []


@pytest.mark.parametrize("override", ["sweep.zip=true", "sweep.file=jobs.yaml"])
def test_job_list_without_multirun_flag_is_rejected(
    workdir: Path, capsys: pytest.CaptureFixture[str], override: str
) -> None:
    assert cli.main([*TINY, override]) == 2
    key = override.partition("=")[0]
    assert f"{key}: lists the jobs of a sweep, which needs -m" in capsys.readouterr().err
    assert list(workdir.iterdir()) == []


def test_jobs_are_named_by_the_swept_keys_only(sweep: Callable[..., Path]) -> None:
    folder = sweep("seed=range(2)", "trainer.max_steps=1")
    assert set(statuses(folder)) == {"seed=0", "seed=1"}
    assert json.loads((folder / "sweep.json").read_text())["swept"] == ["seed"]


@pytest.mark.parametrize(
    ("arguments", "problems"),
    [
        (
            ["optim.lr=0.1,-1,-2"],
            ["found -1: Invalid learning rate: -1  [in 1 of 3 jobs: optim.lr=-1]", "[in 1 of 3 jobs: optim.lr=-2]"],
        ),
        (["optim.lr=0.1,abc", "model.kernel_size=99"], ["optim.lr: found 'abc'", "kernel_size"]),
        (["trainer.epochs=1,0.5", "seed=1,-1"], ["found 0.5", "seed: found -1"]),
        (
            ["model=mlp,lenett", "optim.lr=0.1,-1"],
            ["Did you mean lenet?  [in 2 of 4 jobs", "found -1: Invalid learning rate"],
        ),
        (["optim.lrr=0.1,0.2"], ["optim.lrr: no such key"]),
        (["optim.lr=interval(0,1)"], ["not a list of values; to search a range: hydra/sweeper=optuna"]),
        (["sweep.zip=true", "optim.lr=0.1,0.2", "seed=1,2,3"], ["sweep.zip: pairs"]),
        (["sweep.file=none.yaml"], ["sweep.file: none.yaml cannot be read"]),
        (["loss=mse,nosuch,cross_entropy"], ["loss: found 'nosuch'"]),
        (["optim.lr=0.1,0.2", "dataset=digits,parabola"], ["cross_entropy needs class targets", "in 2 of 4 jobs"]),
        (
            ["model=a,b,c,d,e,f,g", "optim.lr=1,2"],
            [f"model: found '{name}'" for name in "abcdefg"] + ["in 2 of 14 jobs: model=g,optim.lr=1"],
        ),
        (["sweep.jobs=0"], ["sweep.jobs: found 0"]),
    ],
)
def test_one_invalid_job_prevents_the_whole_sweep(
    workdir: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], problems: list[str]
) -> None:
    assert cli.main(["-m", *arguments]) == 2
    error = said(capsys)
    for problem in problems:
        assert problem in error
    assert list(workdir.iterdir()) == []


def test_dry_run_lists_the_jobs(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["-m", *TINY, "optim.lr=0.1,0.01", "seed=1,2", "dry_run=true"]) == 0
    text = said(capsys)
    assert text.count("optim.lr=0.1 ") == text.count("optim.lr=0.01 ") == 2
    assert "4 jobs, all checked; nothing was created" in text
    assert list(workdir.iterdir()) == []


@pytest.mark.parametrize("name", ["../../evil", "a/b", ".."])
def test_sweep_folder_stays_below_output_dir(workdir: Path, name: str) -> None:
    assert cli.main(["-m", *TINY, f"name={name}", "trainer.max_steps=1"]) == 0
    assert {path.name for path in workdir.iterdir()} == {"outputs"}
    assert len(list(workdir.glob("outputs/*/*_sweep_*/sweep.md"))) == 1


@pytest.mark.slow
def test_jobs_can_be_zipped_or_listed_in_a_file(sweep: Callable[..., Path], workdir: Path) -> None:
    zipped = sweep("optim.lr=0.1,0.2", "seed=1,2", "sweep.zip=true", "trainer.max_steps=1")
    assert set(statuses(zipped)) == {"optim.lr=0.1,seed=1", "optim.lr=0.2,seed=2"}
    (workdir / "jobs.yaml").write_text("- {optim: adam, optim.lr: 1e-3}\n- [trainer.max_steps=2]\n")
    listed = sweep("sweep.file=jobs.yaml", "trainer.max_steps=1")
    assert set(statuses(listed)) == {"optim=adam,optim.lr=1e-3", "trainer.max_steps=2"}
    assert results(listed / "trainer.max_steps=2")["step"] == 2
    assert results(listed / "optim=adam,optim.lr=1e-3")["step"] == 1


def test_hparams_contain_the_swept_keys_and_add_no_run(sweep: Callable[..., Path]) -> None:
    from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    folder = sweep("optim.lr=0.1,0.01")
    multiplexer = EventMultiplexer().AddRunsFromDirectory(str(folder))
    multiplexer.Reload()
    assert set(multiplexer.Runs()) == {"optim.lr=0.1", "optim.lr=0.01"}
    for run in multiplexer.Runs():
        content = multiplexer.SummaryMetadata(run, "_hparams_/session_start_info").plugin_data.content
        hparams = HParamsPluginData.FromString(content).session_start_info.hparams
        assert {key: value.number_value for key, value in hparams.items()} == {"optim.lr": float(run.split("=")[1])}


def test_resuming_a_completed_sweep_changes_nothing(
    sweep: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = sweep("optim.lr=0.1,0.01")
    before = digests(folder)
    assert cli.main(["resume", str(folder)]) == 0
    assert "nothing is left to do" in said(capsys)
    assert digests(folder) == before


@pytest.mark.slow
def test_resuming_leaves_completed_jobs_untouched(sweep: Callable[..., Path], deadly: list[str]) -> None:
    folder = sweep(*deadly, "model.death=none,once,kill", code=1)
    assert statuses(folder) == {
        "model.death=none": "completed",
        "model.death=once": "failed",
        "model.death=kill": "failed",
    }
    completed = digests(folder / "model.death=none")
    failed = digests(folder / "model.death=once")
    killed = results(folder / "model.death=kill")["started"]

    assert cli.main(["resume", str(folder)]) == 1  # the killed job continues; the failed one does not
    assert digests(folder / "model.death=once") == failed
    assert results(folder / "model.death=kill")["resumed"] == 1
    assert results(folder / "model.death=kill")["started"] == killed

    assert cli.main(["resume", str(folder), "--retry-failed", "sweep.jobs=1"]) == 1
    assert statuses(folder)["model.death=once"] == "completed"
    assert digests(folder / "model.death=none") == completed


@pytest.mark.parametrize("override", ["optim.lr=3", "sweep.jobs=0", "sweep.jobs=x", "trainer.epochs=9"])
def test_resuming_a_sweep_rejects_overrides(
    sweep: Callable[..., Path], capsys: pytest.CaptureFixture[str], override: str
) -> None:
    folder = sweep("trainer.max_steps=1")
    before = digests(folder)
    assert cli.main(["resume", str(folder), override]) == 2
    assert f"{override}: a sweep is resumed as it was frozen" in said(capsys)
    assert digests(folder) == before


def test_retry_failed_is_rejected_for_a_single_run(
    runner: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["resume", str(runner()), "--retry-failed"]) == 2
    assert "is not a sweep folder" in said(capsys)


def test_sweep_in_use_is_not_resumed(sweep: Callable[..., Path], deadly: list[str], workdir: Path) -> None:
    folder = sweep(*deadly, "model.death=kill", code=1)
    code = f"import pathlib, runner.runs.folder as f, time\nwith f.locked(pathlib.Path({str(folder)!r})):\n"
    code += "    print('held', flush=True)\n    time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        before = digests(folder)
        assert cli.main(["resume", str(folder)]) == 2
        assert digests(folder) == before
        holder.kill()


@pytest.mark.slow
def test_search_runs_its_trials_with_the_launcher(workdir: Path) -> None:
    search = ["hydra/sweeper=optuna", "hydra.sweeper.n_trials=4", "hydra.sweeper.n_jobs=2"]
    finish(start("-m", *TINY, *search, "optim.lr=tag(log,interval(0.001,1))", cwd=workdir))
    (folder,) = workdir.glob("outputs/*/*")
    jobs = Sweep.open(folder).jobs
    assert len(jobs) == 4
    assert all(job.folder.startswith("optim.lr=0.") for job in jobs)
    found = (folder / "optimization_results.yaml").read_text()
    best = json.loads((folder / "sweep.json").read_text())["best"]
    assert f"best_value: {best['best val/loss']}" in found


@pytest.mark.slow
def test_search_continues_after_failed_trials(workdir: Path, deadly: list[str]) -> None:
    search = ["hydra/sweeper=optuna", "hydra.sweeper.n_trials=2", "hydra/sweeper/sampler=grid"]
    finish(start("-m", *deadly, *search, "model.death=choice(raise,none)", "trainer.epochs=2", cwd=workdir), code=1)
    (folder,) = workdir.glob("outputs/*/*")
    assert sorted(statuses(folder).values()) == ["completed", "failed"]
    assert "model.death: none" in (folder / "optimization_results.yaml").read_text()


def test_jobs_that_fall_behind_are_stopped_early(sweep: Callable[..., Path]) -> None:
    folder = sweep(
        *("optim.lr=0.1,1e-9", "trainer.epochs=4", "trainer.batch_size=64", "sweep.jobs=1"),
        *("sweep.asha.min_epochs=2", "sweep.asha.reduction=2"),
    )
    assert statuses(folder) == {"optim.lr=0.1": "completed", "optim.lr=1e-09": "stopped early"}
    stopped = results(folder / "optim.lr=1e-09")
    assert (stopped["epoch"], stopped["error"]) == (2, None)
    assert stopped["test"]["accuracy"] > 0


def test_driver_never_imports_torch(workdir: Path) -> None:
    code = (
        "import sys\nfrom runner.cli import main\n"
        f"code = main(['-m', *{TINY!r}, 'seed=0,1', 'trainer.max_steps=1'])\n"
        "sys.exit(code or 10 * ('torch' in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def test_job_with_an_infinite_metric_does_not_affect_others(sweep: Callable[..., Path]) -> None:
    folder = sweep("optim.lr=1e25,0.1", "trainer.max_steps=1", "optim.momentum=0")
    assert statuses(folder)["optim.lr=0.1"] == "completed"
    assert json.loads((folder / "sweep.json").read_text())["best"]["job"] == "optim.lr=0.1"


def test_job_that_cannot_be_resumed_is_reported(sweep: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    folder = sweep("seed=0,1")
    job = folder / "seed=0"
    (job / "results.json").write_text((job / "results.json").read_text().replace("completed", "interrupted"))
    for path in (job / "checkpoints").iterdir():
        path.write_bytes(b"rubbish")
    assert cli.main(["resume", str(folder)]) == 1
    assert "failed     1/2 seed=0: CheckpointError: all checkpoints are damaged" in said(capsys)
    assert statuses(folder)["seed=0"] == "failed"


@pytest.mark.slow
def test_job_folder_that_cannot_be_created_affects_only_its_job(
    sweep: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = sweep("seed=0,1,2", "trainer.max_steps=1")
    for name in ("seed=0", "seed=1"):
        shutil.rmtree(folder / name)
    (folder / "seed=0").write_text("a file")
    assert cli.main(["resume", str(folder)]) == 1
    assert "seed=0: it cannot be started" in said(capsys)
    assert list(statuses(folder).values()) == ["waiting", "completed", "completed"]


def test_job_that_cannot_be_started_ends_a_sweep_that_stops_on_errors(sweep: Callable[..., Path]) -> None:
    folder = sweep("seed=0,1", "trainer.max_steps=1", "sweep.jobs=1", "sweep.on_error=stop")
    for name in ("seed=0", "seed=1"):
        shutil.rmtree(folder / name)
    (folder / "seed=0").write_text("a file")
    assert cli.main(["resume", str(folder)]) == 1
    assert list(statuses(folder).values()) == ["waiting", "waiting"]


def test_printed_commands_are_quoted_for_a_shell(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["-m", *TINY, "trainer.max_steps=1", "optim.lr=1e-3", "output_dir='my runs'"]) == 0
    (folder,) = workdir.glob("my runs/*/*")
    assert f"tensorboard --logdir '{folder.relative_to(workdir)}'" in capsys.readouterr().out
    assert cli.main([*TINY, "trainer.max_steps=1", "output_dir='my runs'"]) == 0
    assert f"python -m runner compare '{folder.parent.relative_to(workdir)}'" in capsys.readouterr().out


def test_resume_without_remaining_jobs_updates_the_table(sweep: Callable[..., Path]) -> None:
    folder = sweep("seed=0,1", "trainer.max_steps=1")
    before = (folder / "sweep.csv").read_text()
    (folder / "sweep.csv").write_text(before.replace("completed", "running"))
    assert cli.main(["resume", str(folder)]) == 0
    assert (folder / "sweep.csv").read_text() == before


@pytest.mark.slow
def test_job_that_lost_its_results_file_does_not_start_over(sweep: Callable[..., Path]) -> None:
    folder = sweep("seed=0,1")
    table = metrics_table(folder / "seed=0")
    (folder / "seed=0" / "results.json").unlink()
    assert cli.main(["resume", str(folder)]) == 0
    assert metrics_table(folder / "seed=0") == table


def test_run_started_inside_a_sweep_folder_is_an_ordinary_run(
    sweep: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = sweep("trainer.max_steps=1")
    monkeypatch.chdir(folder)
    assert cli.main([*TINY, "device.threads=1", "trainer.max_steps=1"]) == 0
    assert len(list(folder.glob("outputs/*/*/results.json"))) == 1


@pytest.mark.slow
def test_job_that_was_stopped_early_can_be_trained_further(sweep: Callable[..., Path]) -> None:
    folder = sweep(
        *("optim.lr=0.1,1e-09", "trainer.epochs=4", "trainer.batch_size=64", "sweep.jobs=1"),
        *("sweep.asha.min_epochs=2", "sweep.asha.reduction=2"),
    )
    job = folder / "optim.lr=1e-09"
    before = digests(job)
    assert cli.main(["resume", str(job)]) == 0  # nothing to do
    assert digests(job) == before
    assert cli.main(["resume", str(job), "trainer.epochs=6"]) == 0
    assert (results(job)["status"], results(job)["epoch"]) == ("completed", 6)


@pytest.mark.slow
def test_job_that_has_trained_all_epochs_is_not_stopped_early(sweep: Callable[..., Path]) -> None:
    folder = sweep("optim.lr=0.1,1e-09", "sweep.asha.min_epochs=2", "sweep.jobs=1", "trainer.batch_size=64")
    assert set(statuses(folder).values()) == {"completed"}


def test_double_plus_override_applies_to_every_job(sweep: Callable[..., Path]) -> None:
    folder = sweep("seed=1,2", "++trainer.max_steps=1")
    assert {job.config.trainer.max_steps for job in Sweep.open(folder).jobs} == {1}


def test_console_shows_jobs_by_their_overrides(sweep: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    folder = sweep("model.hidden=[3],[4]", "name=x${hydra:job.num}", "trainer.max_steps=1")
    lines = capsys.readouterr().out.splitlines()
    assert max(len(line) for line in lines if not line.startswith("repeat")) <= 120
    assert sum(line.startswith("started") and line.endswith(" model.hidden=[3]") for line in lines) == 1
    assert any(line.startswith(("best     model.hidden=[3]: ", "best     model.hidden=[4]: ")) for line in lines)
    assert f"table    {folder.relative_to(Path.cwd())}/sweep.md" in lines
    assert [job.config.name for job in Sweep.open(folder).jobs] == ["x0", "x1"]


def test_number_is_accepted_as_a_name(workdir: Path) -> None:
    assert compose_config(["name=3"]).name == "3"


def test_search_in_the_wrong_direction_is_rejected() -> None:
    configs = {
        0: compose_config(),
        1: compose_config(["trainer.checkpoint.metric=val/accuracy", "trainer.checkpoint.mode=max"]),
    }
    problems = wrong_directions(configs, {"direction": "minimize"})
    assert list(problems) == [1]
    assert "hydra.sweeper.direction: found minimize, but trainer.checkpoint.mode=max" in problems[1][0]
    assert list(wrong_directions(configs, {"direction": "maximize"})) == [0]
    assert wrong_directions(configs, {}) == {}


def test_direction_of_a_search_may_be_a_list_of_one() -> None:
    configs = {0: compose_config()}
    assert wrong_directions(configs, {"direction": ["minimize"]}) == {}
    assert (
        "found maximize, but trainer.checkpoint.mode=min"
        in wrong_directions(configs, {"direction": ["maximize"]})[0][0]
    )


def test_search_for_several_objectives_is_rejected() -> None:
    problems = wrong_directions({0: compose_config()}, {"direction": ["minimize", "maximize"]})
    assert problems[0] == [
        "hydra.sweeper.direction: found 2 directions, but a search has a single objective, "
        "trainer.checkpoint.metric=val/loss; allowed: minimize"
    ]


@pytest.mark.slow  # needs the extra optuna
def test_search_is_checked_before_anything_starts(workdir: Path) -> None:
    best = ["trainer.checkpoint.metric=val/accuracy", "trainer.checkpoint.mode=max"]
    search = ["hydra/sweeper=optuna", "hydra.sweeper.n_trials=2", "optim.lr=interval(0.001,1)"]
    assert "set hydra.sweeper.direction=maximize" in finish(start("-m", *TINY, *best, *search, cwd=workdir), code=2)
    assert list(workdir.iterdir()) == []


def test_command_that_repeats_a_job_names_its_config_files(workdir: Path, sweep: Callable[..., Path]) -> None:
    (workdir / "own").mkdir()
    (workdir / "own" / "mine.yaml").write_text("defaults: [config, _self_]\nseed: 7\n")
    folder = sweep("--config-dir", "own", "--config-name", "mine", "optim.lr=0.1,0.2", "trainer.epochs=1")
    job = Sweep.open(folder).jobs[0]
    assert job.config.seed == 7
    assert f"--config-dir {workdir / 'own'} --config-name mine " in job.command(job.overrides)
