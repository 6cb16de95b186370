import gc
import sys

import pytest

from runner.speed.imports import uncollected


@pytest.fixture
def early(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before torch was imported."""
    monkeypatch.delitem(sys.modules, "torch")


def test_the_collector_rests_and_then_leaves_alone_what_was_made(early: None) -> None:
    frozen = gc.get_freeze_count()
    with uncollected():
        assert not gc.isenabled()
        kept = [[number] for number in range(1000)]
    assert gc.isenabled()
    assert gc.get_freeze_count() >= frozen + len(kept)


def test_it_works_again_after_an_import_that_fails(early: None) -> None:
    with pytest.raises(ImportError), uncollected():
        raise ImportError
    assert gc.isenabled()


def test_in_a_process_that_goes_on_nothing_is_frozen() -> None:
    frozen = gc.get_freeze_count()
    with uncollected():
        assert gc.isenabled()
    assert gc.get_freeze_count() == frozen


def test_who_has_switched_it_off_finds_it_so(early: None) -> None:
    gc.disable()
    try:
        with uncollected():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
