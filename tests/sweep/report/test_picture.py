import json
import os
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure
from PIL import Image

from runner.config.compose import compose_config
from runner.errors import RunnerError
from runner.machine.files import write_atomically
from runner.runs.folder import fill_run_folder
from runner.runs.tables import Group
from runner.sweep.jobs import Job, Sweep
from runner.sweep.report import picture
from runner.sweep.report.table import Table

NAME = "best val/loss"


def group(mean: float, std: float | None = None, **keys: Any) -> Group:
    return Group(keys, names=[], n=1, mean={NAME: mean}, std={NAME: std})


def axes() -> Any:
    return Figure().subplots()


def test_learning_rates_get_a_logarithmic_axis() -> None:
    drawn = axes()
    picture.against(drawn, [group(0.3, lr=0.1), group(0.1, lr=0.01), group(0.2, lr=0.001)], "lr", NAME)
    assert drawn.get_xscale() == "log"
    (line,) = [line for line in drawn.lines if len(line.get_xdata()) == 3 and line.get_marker() == "o"]
    assert list(line.get_xdata()) == [0.001, 0.01, 0.1]
    assert list(line.get_ydata()) == [0.2, 0.1, 0.3]


def test_numbers_close_together_get_a_linear_axis() -> None:
    drawn = axes()
    picture.against(drawn, [group(0.3, width=16), group(0.1, width=32)], "width", NAME)
    assert drawn.get_xscale() == "linear"


def test_axis_labels_the_values_that_were_run() -> None:
    drawn = axes()
    picture.against(drawn, [group(0.3, lr=0.03), group(0.1, lr=0.01), group(0.2, lr=0.003)], "lr", NAME)
    assert [label.get_text() for label in drawn.get_xticklabels()] == ["0.003", "0.01", "0.03"]
    assert not [label for label in drawn.get_xticklabels(minor=True) if label.get_text()]


def test_values_that_would_crowd_a_linear_axis_are_evenly_spaced() -> None:
    drawn = axes()
    picture.against(drawn, [group(0.3, decay=decay) for decay in (0.0, 0.0001, 0.001, 0.01)], "decay", NAME)
    assert [label.get_text() for label in drawn.get_xticklabels()] == ["0", "0.0001", "0.001", "0.01"]
    assert list(drawn.get_xticks()) == [0, 1, 2, 3]


def test_many_values_get_an_axis_with_round_numbers() -> None:
    drawn = axes()
    picture.against(drawn, [group(0.3, width=width**2) for width in range(1, 30)], "width", NAME)
    assert list(drawn.get_xticks()) != [width**2 for width in range(1, 30)]


def test_axis_says_that_repeats_are_averaged() -> None:
    single, repeated = axes(), axes()
    picture.against(single, [group(0.3, width=1)], "width", NAME)
    picture.against(repeated, [group(0.3, 0.1, width=1)], "width", NAME)
    assert single.get_ylabel() == NAME
    assert repeated.get_ylabel() == f"{NAME}, mean ± standard deviation"


def test_heat_map_of_values_that_span_decades_has_logarithmic_colors() -> None:
    drawn = axes()
    picture.heat_map(drawn, [group(0.01, lr=1, width=1), group(2.0, lr=2, width=1)], "lr", "width", NAME)
    image = drawn.images[0]
    assert image.norm(0.1) > 0.4
    scale = drawn.figure.axes[1]
    assert [label.get_text() for label in scale.get_yticklabels()] == [
        "0.01",
        "0.02",
        "0.05",
        "0.1",
        "0.2",
        "0.5",
        "1",
        "2",
    ]


def test_names_are_placed_side_by_side() -> None:
    drawn = axes()
    picture.against(drawn, [group(0.3, model="mlp"), group(0.1, model="lenet")], "model", NAME)
    assert [label.get_text() for label in drawn.get_xticklabels()] == ["mlp", "lenet"]


def test_null_is_plotted_as_a_value() -> None:
    drawn = axes()
    picture.against(drawn, [group(0.3, clip=None), group(0.1, clip=0.5)], "clip", NAME)
    assert [label.get_text() for label in drawn.get_xticklabels()] == ["null", "0.5"]


def test_two_keys_give_a_heat_map() -> None:
    drawn = axes()
    groups = [group(10 * lr + seed, lr=lr, width=seed) for lr in (0.2, 0.1) for seed in (1, 2)]
    picture.heat_map(drawn, groups[:3], "lr", "width", NAME)
    (image,) = drawn.images
    assert image.get_array().tolist() == [[2.0, 3.0], [None, 4.0]]
    assert [text.get_text() for text in drawn.texts] == ["2", "3", "4"]


@pytest.mark.parametrize(
    "swept",
    [
        [{"optim.lr": 0.1}, {"optim.lr": 0.01}],
        [{"optim.lr": 0.1, "model": "mlp"}, {"optim.lr": 0.01, "model": "lenet"}],
        [{"a": 1, "b": 2, "c": [3]}, {"a": 2, "b": None, "c": [4]}],
        [{}],
        [{"seed": 1}, {"seed": 2}],
        [{"name": "a$x_{$"}, {"name": "b$y$"}],
    ],
    ids=["one", "two", "three", "none", "seeds", "formulas"],
)
@pytest.mark.parametrize("ended", [True, False])
def test_any_sweep_can_be_drawn(tmp_path: Path, swept: list[dict[str, Any]], ended: bool) -> None:
    jobs = [Job(f"job{number}", [], [], each, compose_config()) for number, each in enumerate(swept)]
    sweep = Sweep(tmp_path, jobs)
    sweep.save()
    table = Table(sweep)
    for job in jobs if ended else []:
        results = {"status": "completed", "best": {"metric": "val/loss", "value": 0.5}}
        write_atomically(fill_run_folder(sweep.path(job)) / "results.json", json.dumps(results))
    picture.draw(table, tmp_path / "sweep.png")
    with Image.open(tmp_path / "sweep.png") as image:
        assert image.width >= 400


class Drawing:
    """Stand-in for the drawing process, which takes two seconds of the simulated clock."""

    def __init__(self, clock: list[float], exitcode: int = 0) -> None:
        self.clock, self.exitcode, self.done = clock, exitcode, clock[0] + 2

    def is_alive(self) -> bool:
        return self.clock[0] < self.done

    def join(self, timeout: float | None = None) -> None:
        self.clock[0] = max(self.clock[0], self.done)


def test_drawing_takes_at_most_a_tenth_of_the_time_and_only_finish_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, begun = [1000.0], []

    def start(table: Table, target: Path) -> Any:
        begun.append(clock[0])
        target.touch()
        os.utime(target, (clock[0] + 2, clock[0] + 2))
        return Drawing(clock)

    monkeypatch.setattr("time.time", lambda: clock[0])
    kept = picture.Picture(Table(Sweep(tmp_path, [])), start)
    for second in range(30):
        kept.save()
        assert clock[0] == 1000 + second
        clock[0] += 1
    assert begun == [1003, 1023]
    kept.finish()
    assert begun[2:] == [1030]
    assert clock[0] == 1032


def test_failed_drawing_is_reported(tmp_path: Path) -> None:
    failing: Any = Drawing([0.0], exitcode=1)
    kept = picture.Picture(Table(Sweep(tmp_path, [])), lambda table, target: failing)
    with pytest.raises(RunnerError, match=r"sweep\.png: the drawing process failed: exited with code 1"):
        kept.finish()
