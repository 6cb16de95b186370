from pathlib import Path

import pytest

from gpu import sync
from gpu.sync import FIRST, LAST, STEPS, WITH, Watch


def test_waiting_is_forbidden_between_the_first_and_the_last_steps() -> None:
    modes: list[tuple[int, str]] = []
    watch = Watch(lambda mode: modes.append((step, mode)))
    for step in range(1, 41):
        watch.progress(step)
    assert modes == [(FIRST, "error"), (LAST, "default")]
    assert watch.watched == LAST - FIRST


@pytest.mark.parametrize("name", ["plain", "augment"])
def test_cell_trains_the_real_steps(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = [*STEPS, "dataset.size=16", "device=cpu", "trainer.precision=fp16", *WITH[name]]
    assert sync.train(small, tmp_path) == {"steps": LAST - FIRST}
    with pytest.raises(RuntimeError, match="8 steps were watched instead of 27"):
        sync.train([*small, "trainer.max_steps=20"], tmp_path)
