import io

import pytest
from rich.console import Console

from runner.tracking import progress_bar
from runner.tracking.progress_bar import ProgressBar


def test_progress_bar_shows_step_and_latest_training_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Console(file=io.StringIO(), force_terminal=True, width=100)
    monkeypatch.setattr(progress_bar, "console", screen)
    bar = ProgressBar(total_steps=40, samples=32)
    bar.show({"train/loss": 0.51239, "train/accuracy": 0.75, "lr": 0.01})
    bar.show({"val/loss": 9.0})
    bar._shown -= 1
    bar.advance(7)
    (task,) = bar.progress.tasks
    bar.close()
    assert (task.completed, task.total) == (7, 40)
    assert task.fields["latest"] == "loss 0.5124  accuracy 0.75"


@pytest.mark.parametrize("width", [60, 80, 120])
def test_nothing_is_cut_off_on_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    screen = Console(file=io.StringIO(), force_terminal=True, width=width)
    monkeypatch.setattr(progress_bar, "console", screen)
    bar = ProgressBar(total_steps=61_500, samples=32)
    bar.show({"train/loss": 0.51239, "train/accuracy": 0.97123})
    bar.progress.update(bar.task, completed=10_000, speed="123,456 samples/s")
    bar.progress.refresh()
    bar.close()
    text = screen.file.getvalue()  # type: ignore[attr-defined]
    assert "/61500" in text
    assert "loss 0.5124" in text
    assert "123,456 samples/s" in text
    assert "…" not in text
