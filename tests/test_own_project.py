"""A user's project outside this repository, used from the command line only."""

import json
import random
import shutil
import signal
import time
from pathlib import Path

import pytest

from helpers import checkpoint, equal, finish, metrics_table, results, scalars, start
from own_project import CHOICES, write_project


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return the folder of the project, with a trained teacher in `teacher`."""
    write_project(tmp_path)
    finish(start(*CHOICES, "trainer.epochs=3", "output_dir=first", cwd=tmp_path))
    (folder,) = tmp_path.glob("first/*/*")
    folder.rename(tmp_path / "teacher")
    return tmp_path


@pytest.mark.slow
def test_own_parts_train_with_an_own_metric_that_selects_the_best(project: Path) -> None:
    found = results(project / "teacher")
    assert found["best"]["metric"] == "val/confident"
    assert 0 < found["val"]["confident"] <= found["val"]["accuracy"] <= 1
    assert found["test"].keys() == {"loss", "accuracy", "confident"}
    assert "val/confident" in metrics_table(project / "teacher")[0]
    assert {"train/confident", "val/confident", "test/confident"} <= {tag for tag, _, _ in scalars(project / "teacher")}


@pytest.mark.slow
@pytest.mark.parametrize("way", [[], ["dataset.in_memory=false", "dataset.workers=1"]], ids=["in memory", "streamed"])
def test_distillation_killed_at_any_instant_continues_bit_for_bit(project: Path, way: list[str]) -> None:
    command = [*CHOICES, *way, "task=distillation", "task.teacher=teacher", "trainer.epochs=4"]
    command += ["trainer.checkpoint.every_steps=3", "trainer.accumulate=2", "trainer.batch_size=16"]
    finish(start(*command, "output_dir=whole", cwd=project))
    (whole,) = project.glob("whole/*/*")
    rng = random.Random(0)
    for number in range(3):
        output = f"killed{number}"
        run = start(*command, f"output_dir={output}", cwd=project)
        deadline = time.monotonic() + 60
        while not list(project.glob(f"{output}/*/*/checkpoints/last.pt")) and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(rng.random() * 0.3)
        run.send_signal(signal.SIGKILL)
        run.communicate()
        (killed,) = project.glob(f"{output}/*/*")
        finish(start("resume", str(killed), cwd=project))
        assert equal(checkpoint(killed), checkpoint(whole))
        assert metrics_table(killed) == metrics_table(whole)
        shutil.rmtree(project / output)


@pytest.mark.slow
def test_sweep_over_the_own_task_is_ranked_by_the_own_metric(project: Path) -> None:
    command = [*CHOICES, "task=distillation", "task.teacher=teacher", "trainer.epochs=2"]
    finish(start("-m", *command, "task.share=0,0.5", "seed=0,1", "output_dir=swept", cwd=project))
    (sweep,) = project.glob("swept/*/*")
    assert len(list(sweep.glob("*/results.json"))) == 4
    table = json.loads(finish(start("compare", str(sweep), "--format", "json", cwd=project)))
    assert "val/confident" in json.dumps(table)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("metrics=[accuracy,r2]", "metrics[1]: 'r2' does not fit the task"),
        ("metrics=[acuracy]", "metrics[0]: found 'acuracy'"),
        ("task=multilabel", "task=multilabel does not fit dataset=words"),
        ("trainer.checkpoint.metric=val/f1", "trainer.checkpoint.metric: found 'val/f1'"),
    ],
)
def test_parts_that_do_not_fit_are_refused_before_anything_is_created(
    tmp_path: Path, override: str, message: str
) -> None:
    write_project(tmp_path)
    assert message in finish(start(*CHOICES, override, "output_dir=none", cwd=tmp_path), code=2)
    assert not (tmp_path / "none").exists()
