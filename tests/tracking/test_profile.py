import json
from collections.abc import Callable
from pathlib import Path

import pytest

from helpers import checkpoint, equal


@pytest.mark.parametrize("steps", [40, 15], ids=["to the end", "cut short"])
def test_profile_writes_table_and_trace(runner: Callable[..., Path], steps: int) -> None:
    length = ["trainer.batch_size=64", f"trainer.max_steps={steps}"]
    plain, watched = runner(*length), runner(*length, "trainer.profile=true")
    assert "aten::addmm" in (watched / "profile" / "table.txt").read_text()
    events = json.loads((watched / "profile" / "trace.json").read_text())["traceEvents"]
    assert sum(event["name"].startswith("ProfilerStep#") for event in events if "dur" in event) > 5
    assert "profile/table.txt" in (watched / "run.log").read_text()
    assert equal(checkpoint(plain)["model"], checkpoint(watched)["model"])
    assert not (plain / "profile").exists()


def test_short_run_has_no_profile(runner: Callable[..., Path]) -> None:
    assert not (runner("trainer.max_steps=3", "trainer.profile=true") / "profile").exists()
