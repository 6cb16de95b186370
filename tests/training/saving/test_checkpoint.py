import os
import pickle
import random
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from runner.errors import CheckpointError
from runner.training.saving.checkpoint import Checkpoints, load_checkpoint, save_checkpoint, verify_checkpoint

CONTENTS = {"step": 3, "model": {"weight": torch.arange(6.0)}, "nested": [1, None, ("a", 2.5)]}


def at(step: int) -> dict[str, Any]:
    return CONTENTS | {"step": step}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_round_trip_with_load_checkpoint_and_torch_load(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "a.pt", CONTENTS)
    plain: dict[str, Any] = torch.load(tmp_path / "a.pt", weights_only=True)
    checked: dict[str, Any] = dict(load_checkpoint(tmp_path / "a.pt"))
    for loaded in (checked, plain):
        assert loaded["nested"] == CONTENTS["nested"]
        assert torch.equal(loaded["model"]["weight"], torch.arange(6.0))
    assert zipfile.ZipFile(tmp_path / "a.pt").testzip() is None
    assert names(tmp_path) == ["a.pt"]


def test_flipped_bits_zeroed_pages_and_truncation_are_detected(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    save_checkpoint(path, CONTENTS)
    whole = path.read_bytes()
    chance = random.Random(0)
    damaged = []
    for _ in range(300):
        flipped = bytearray(whole)
        flipped[chance.randrange(len(whole))] ^= 1 << chance.randrange(8)
        damaged.append(bytes(flipped))
    damaged += [whole[:length] for length in (0, 1, 77, 78, 79, 100, *range(len(whole) - 90, len(whole)))]
    damaged += [
        whole[:at] + bytes(64) + whole[at + 64 :] for at in range(0, len(whole), 64) if any(whole[at : at + 64])
    ]
    damaged += [whole + b"x"]
    for data in damaged:
        path.write_bytes(data)
        with pytest.raises(CheckpointError, match=r"a\.pt: damaged"):
            verify_checkpoint(path)


def test_pickle_with_code_is_rejected_and_does_not_run(tmp_path: Path) -> None:
    class Hostile:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "pwned"),)

    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Hostile()))
    with pytest.raises(CheckpointError, match="damaged, or not a checkpoint of runner"):
        load_checkpoint(tmp_path / "plain.pt")
    save_checkpoint(tmp_path / "proved.pt", {"model": Hostile()})
    with pytest.raises(CheckpointError, match=r"proved\.pt: refused"):
        load_checkpoint(tmp_path / "proved.pt")
    assert not (tmp_path / "pwned").exists()


def test_save_updates_last_and_best_and_deletes_old_steps(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep_last=2)
    for step in (1, 2, 3, 4):
        checkpoints.save(at(step), best=step == 2)
    assert names(tmp_path) == ["best.pt", "last.pt", "step-000000003.pt", "step-000000004.pt"]
    assert load_checkpoint(checkpoints.last)["step"] == 4
    assert load_checkpoint(checkpoints.best)["step"] == 2


def test_saving_a_step_again_replaces_its_files(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep_last=1)
    for extra in ("first", "second"):
        checkpoints.save(at(1) | {"extra": extra}, best=True)
    assert names(tmp_path) == ["best.pt", "last.pt", "step-000000001.pt"]
    assert {dict(load_checkpoint(path))["extra"] for path in tmp_path.iterdir()} == {"second"}


def test_later_steps_from_before_a_resume_are_deleted(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep_last=2)
    for step in (8, 9, 5):
        checkpoints.save(at(step), best=False)
    assert names(tmp_path) == ["last.pt", "step-000000005.pt"]


def test_damaged_checkpoint_is_reported_and_the_next_older_one_is_loaded(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep_last=3)
    for step in (1, 2, 3):
        checkpoints.save(at(step), best=False)
    (tmp_path / "step-000000003.pt").write_bytes(b"")  # last.pt is a link to it
    loaded, problems = checkpoints.load_newest("cpu")
    assert loaded is not None
    assert loaded["step"] == 2
    assert [": damaged" in line for line in problems] == [True, True, False]
    assert problems[1].startswith(f"{tmp_path / 'step-000000003.pt'}: damaged")
    assert problems[2].endswith("step-000000002.pt instead; 1 steps are lost and will be repeated")


def test_third_newest_checkpoint_is_loaded_if_newer_ones_are_empty_or_missing(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep_last=3)
    for step in (10, 20, 30):
        checkpoints.save(at(step), best=False)
    checkpoints.last.unlink()
    for path in checkpoints.steps()[:2]:
        path.write_bytes(b"")
    loaded, problems = checkpoints.load_newest("cpu")
    assert loaded is not None
    assert loaded["step"] == 10
    assert problems[-1].endswith("step-000000010.pt instead; 20 steps are lost and will be repeated")


def test_checkpoint_of_another_format_is_rejected(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "a.pt", CONTENTS | {"format": 1})
    with pytest.raises(CheckpointError, match=r"a\.pt: its format is 1, but this version of runner reads format 4"):
        load_checkpoint(tmp_path / "a.pt")


def test_nothing_is_changed_if_all_checkpoints_are_damaged(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep_last=3)
    for step in (1, 2):
        checkpoints.save(at(step), best=True)
    for path in tmp_path.glob("step-*.pt"):
        path.write_bytes(path.read_bytes()[:-1])
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(CheckpointError, match="all checkpoints are damaged"):
        checkpoints.load_newest("cpu")
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_load_newest_returns_none_without_checkpoints(tmp_path: Path) -> None:
    assert Checkpoints(tmp_path, keep_last=1).load_newest("cpu") == (None, [])


def test_full_disk_is_reported_before_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(100, 90, 10))
    with pytest.raises(CheckpointError, match=r"a\.pt: no room: needs [\d,]+ bytes, 10 are free"):
        save_checkpoint(tmp_path / "a.pt", CONTENTS)
    assert names(tmp_path) == []


def test_missing_folder_is_reported(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"gone/step.pt: cannot write .* bytes: .*No such file or directory"):
        save_checkpoint(tmp_path / "gone" / "step.pt", {})


def test_old_checkpoints_are_kept_if_the_new_one_is_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoints = Checkpoints(tmp_path, keep_last=1)
    checkpoints.save(at(1), best=True)
    before = names(tmp_path)
    module = "runner.training.saving.checkpoint"
    monkeypatch.setattr(f"{module}.write_atomically", lambda path, *pieces: path.write_bytes(b"".join(pieces)[1:]))
    with pytest.raises(CheckpointError, match=r"step-000000002\.pt: damaged"):
        checkpoints.save(at(2), best=True)
    assert set(before) < set(names(tmp_path))
    assert load_checkpoint(checkpoints.last)["step"] == 1


def test_last_is_a_copy_if_hard_links_are_not_supported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise PermissionError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    Checkpoints(tmp_path, keep_last=1).save(at(1), best=True)
    assert names(tmp_path) == ["best.pt", "last.pt", "step-000000001.pt"]
    assert load_checkpoint(tmp_path / "last.pt")["step"] == 1


def test_unreadable_newer_checkpoint_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoints = Checkpoints(tmp_path, keep_last=3)
    for step in (1, 2, 3):
        checkpoints.save(at(step), best=False)
    checkpoints.steps()[1].write_bytes(b"")  # step 2 is damaged
    whole = checkpoints.steps()[0].read_bytes()
    is_open = Path.open

    def refuse(path: Path, *arguments: Any) -> Any:
        if path.name in ("last.pt", "step-000000003.pt"):
            raise OSError(5, "Input/output error")
        return is_open(path, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", refuse)
        loaded, _ = checkpoints.load_newest("cpu")
    assert loaded is not None
    assert loaded["step"] == 1
    checkpoints.save(at(1), best=False)
    assert names(tmp_path) == ["last.pt", "step-000000001.pt", "step-000000003.pt.superseded"]
    assert (tmp_path / "step-000000003.pt.superseded").read_bytes() == whole
