import gc
import logging
import multiprocessing
import os
import pickle
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from helpers import checkpoint, equal, wait_until
from runner import cli
from runner.data.batches import Batches
from runner.data.sources import CPU, InMemory, Source
from runner.data.splits import split
from runner.data.streamed import Streamed
from runner.dataset import cache
from runner.dataset.cache import Cached, cached
from runner.dataset.frame import Frame
from runner.dataset.image_folder import ImageFolder
from runner.dataset.listing import Listing, names_below
from runner.dataset.picture import Pictures
from runner.errors import DataError
from runner.machine.files import system_lock

FRAME = Frame(3, 8, 8, "crop")


def paint(path: Path, seed: int) -> None:
    """Write a picture of noise, larger than the images and not square."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (12, 20, 3), np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a folder with two classes of 8 pictures."""
    for number in range(16):
        paint(tmp_path / "pictures" / f"{number % 2}" / f"{number:02}.png", number)
    return tmp_path / "pictures"


def pictures(root: Path, frame: Frame = FRAME) -> Pictures:
    return Pictures(Listing(root, names_below(root, (".png",))), frame)


def is_right(images: Cached, root: Path, frame: Frame = FRAME) -> bool:
    """Return whether cached images equal those that are read from their files."""
    files = pictures(root, frame)
    return len(images) == len(files) and all(torch.equal(images[n], files[n]) for n in range(len(files)))


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list of the names of the files that are decoded from now on."""
    names: list[str] = []
    read = Pictures.__getitem__

    def counted(self: Pictures, index: int) -> torch.Tensor:
        names.append(Path(self.files[index]).name)
        return read(self, index)

    monkeypatch.setattr(Pictures, "__getitem__", counted)
    return names


def test_pictures_are_decoded_once(root: Path, tmp_path: Path, decoded: list[str]) -> None:
    assert is_right(cached(pictures(root), tmp_path / "cache"), root)
    decoded.clear()
    images = cached(pictures(root), tmp_path / "cache")
    assert decoded == []
    assert is_right(images, root)
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".pictures"]


def test_images_of_processes_equal_those_of_one(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "FEW", 2)
    monkeypatch.setattr(cache, "BATCH", 3)
    assert is_right(cached(pictures(root), tmp_path / "cache"), root)


def test_changed_added_and_removed_files_are_noticed(root: Path, tmp_path: Path, decoded: list[str]) -> None:
    cached(pictures(root), tmp_path / "cache")
    before = (root / "0" / "04.png").stat()
    paint(root / "0" / "04.png", 104)
    os.utime(root / "0" / "04.png", ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    paint(root / "1" / "00-new.png", 105)
    (root / "0" / "06.png").unlink()
    (root / "1" / "15.png").rename(root / "1" / "17.png")
    decoded.clear()
    images = cached(pictures(root), tmp_path / "cache")
    assert decoded == ["04.png", "00-new.png", "17.png"]
    assert is_right(images, root)
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_each_setting_has_its_own_file(root: Path, tmp_path: Path) -> None:
    frames = [FRAME, Frame(1, 8, 8, "crop"), Frame(3, 8, 8, "stretch"), replace(FRAME, shorter_side=10)]
    for _ in range(2):
        for frame in frames:
            assert is_right(cached(pictures(root, frame), tmp_path / "cache"), root, frame)
    assert len(list((tmp_path / "cache").iterdir())) == 4


def test_images_of_another_version_of_a_library_are_not_used(
    root: Path, tmp_path: Path, decoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cached(pictures(root), tmp_path / "cache")
    monkeypatch.setattr("PIL.__version__", "1.2.3")
    decoded.clear()
    cached(pictures(root), tmp_path / "cache")
    assert len(decoded) == 16


@pytest.mark.parametrize("damage", ["cut", "longer", "empty", "text", "pickled"])
def test_damaged_file_is_written_again(root: Path, tmp_path: Path, damage: str) -> None:
    path = cached(pictures(root), tmp_path / "cache").path
    whole = path.read_bytes()
    with path.open("wb") as file:
        if damage == "pickled":  # an array of Python objects, which is not read
            np.save(file, np.array([{"a": 1}], dtype=object), allow_pickle=True)
        else:
            changed = {"cut": whole[:-1], "longer": whole + b"0", "empty": b"", "text": b"no array at all"}
            file.write(changed[damage])
    assert is_right(cached(pictures(root), tmp_path / "cache"), root)
    assert path.read_bytes() == whole


# torch waits 5 seconds for the worker
@pytest.mark.parametrize("few", [100, pytest.param(2, marks=pytest.mark.slow)])
def test_damaged_picture_is_reported_with_its_path_and_leaves_no_file(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    (root / "1" / "05.png").write_bytes(b"no picture")
    monkeypatch.setattr(cache, "FEW", few)  # pictures to start processes for
    with pytest.raises(DataError) as caught:
        cached(pictures(root), tmp_path / "cache")
    assert str(caught.value).startswith(f"{root / '1' / '05.png'}: cannot be read as an image: ")
    assert "\n" not in str(caught.value)
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.slow
def test_end_of_the_processes_after_an_error_starts_no_thread_that_closes_files_of_others(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "1" / "05.png").write_bytes(b"no picture")
    monkeypatch.setattr(cache, "FEW", 2)
    with pytest.raises(DataError) as caught:
        cached(pictures(root), tmp_path / "cache")
    cycle: list[Any] = [caught]
    cycle.append(cycle)
    del caught, cycle
    started: list[threading.Thread] = []
    monkeypatch.setattr(threading.Thread, "start", lambda thread: started.append(thread))
    assert multiprocessing.active_children() != []
    gc.collect()  # the processes that decoded the pictures are ended here
    assert multiprocessing.active_children() == []
    assert started == []


def test_too_little_space_is_reported_before_anything_is_written(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decoded: list[str]
) -> None:
    monkeypatch.setattr(cache, "disk_usage", lambda folder: type("Usage", (), {"free": 3071}))
    with pytest.raises(DataError, match=r"dataset.cache: .*pictures: needs 0.0 GiB, 0.0 GiB are free"):
        cached(pictures(root), tmp_path / "cache")
    assert (decoded, list((tmp_path / "cache").iterdir())) == ([], [])


def test_disk_that_fills_up_is_reported_and_leaves_no_file(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match=r"dataset.cache: .*: cannot be written: No space left on device"):
        cached(pictures(root), tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_missing_picture_is_reported(root: Path, tmp_path: Path) -> None:
    files = pictures(root)
    (root / "0" / "00.png").unlink()
    with pytest.raises(DataError, match=f"{re.escape(str(root / '0' / '00.png'))}: cannot be read: No such file"):
        cached(files, tmp_path / "cache")


def test_second_starter_waits_for_the_first_and_uses_its_file(
    root: Path, tmp_path: Path, decoded: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    first = cached(pictures(root), tmp_path / "cache")
    held, path = first.path.read_bytes(), first.path
    path.unlink()
    decoded.clear()
    caplog.set_level(logging.INFO, "runner")
    found: list[Cached] = []
    second = threading.Thread(target=lambda: found.append(cached(pictures(root), tmp_path / "cache")))
    with system_lock(path.with_name(f".{path.name}.lock")):  # as the first starter, while it writes
        second.start()
        wait_until(lambda: "another process is writing" in caplog.text)
        path.write_bytes(held)
    second.join(60)
    assert is_right(found[0], root)
    assert decoded[: -len(found[0])] == []  # those at the end are from the comparison
    assert not path.with_name(f".{path.name}.lock").exists()


def test_complete_file_in_a_folder_without_write_permission_is_used(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached(pictures(root), tmp_path / "cache")
    monkeypatch.setattr(cache, "_wait_for_lock", lambda path: pytest.fail("needs the lock"))
    assert is_right(cached(pictures(root), tmp_path / "cache"), root)


def test_writing_does_not_use_the_global_generators(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "FEW", 2)
    states: list[tuple[float, ...]] = []
    for _ in range(2):
        torch.manual_seed(0)
        np.random.seed(0)
        random.seed(0)
        if not states:
            cached(pictures(root), tmp_path / "cache")
        states.append((random.random(), np.random.rand(), torch.rand(()).item()))
    assert states[0] == states[1]


def test_images_are_not_copied_to_other_processes(root: Path, tmp_path: Path) -> None:
    images = cached(pictures(root), tmp_path / "cache")
    copied = pickle.dumps(images)
    assert len(copied) < 1000
    assert is_right(pickle.loads(copied), root)


@pytest.mark.parametrize("kind", range(4))
def test_batches_with_and_without_a_cache_are_equal(root: Path, tmp_path: Path, kind: int) -> None:
    def batches(folder: str | None, of: Callable[[Any], Source]) -> list[Any]:
        dataset = ImageFolder(str(root), size=8, cache=folder)
        train = split(dataset.load(), seed=0, val_share=0.2, test_share=0.2, fold=None).train
        return list(Batches(of(train), dataset.spec, 4, seed=0).epoch(1))

    ways: list[Callable[[Any], Source]] = [
        lambda samples: InMemory(samples, CPU),
        lambda samples: Streamed(samples, CPU, 0),
        lambda samples: Streamed(samples, CPU, 1),
        lambda samples: Streamed(samples, CPU, 2),
    ]
    expected, found = batches(None, ways[1]), batches(str(tmp_path / "cache"), ways[kind])
    assert all(torch.equal(a, b) and torch.equal(c, d) for (a, c), (b, d) in zip(expected, found, strict=True))


def test_cache_that_is_a_file_is_rejected(root: Path) -> None:
    with pytest.raises(ValueError, match=r"cache: found '.*00.png', which is not a folder"):
        ImageFolder(str(root), cache=str(root / "0" / "00.png"))


def test_run_with_a_cache_equals_one_without_and_predicts_without_it(
    root: Path, workdir: Path, runner: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["dataset=image_folder", f"dataset.root={root}", "dataset.test_share=0.2", "dataset.workers=0"]
    plain = runner(*arguments)
    with_cache = runner(*arguments, "dataset.cache=cache")
    assert equal(checkpoint(plain), checkpoint(with_cache))
    (path,) = (workdir / "cache").iterdir()
    path.unlink()
    assert cli.main(["predict", str(with_cache), str(root / "0" / "00.png")]) == 0
    assert cli.main(["evaluate", str(with_cache)]) == 0
    assert list((workdir / "cache").iterdir()) == []
    assert cli.main(["resume", str(with_cache), "trainer.epochs=3", "dataset.cache=null"]) == 0


KILLED = """
import sys
from pathlib import Path
from runner.dataset import cache
from runner.dataset.frame import Frame
from runner.dataset.listing import Listing, names_below
from runner.dataset.picture import Pictures
root = Path(sys.argv[1])
cache.FEW = 10
print("begun", flush=True)
cache.cached(Pictures(Listing(root, names_below(root, (".png",))), Frame(3, 8, 8, "crop")), Path(sys.argv[2]))
"""


@pytest.mark.slow
def test_writer_killed_at_any_moment_leaves_a_complete_file_or_none(root: Path, tmp_path: Path) -> None:
    for number in range(600):
        paint(root / "0" / f"more-{number}.png", number)
    for delay in (0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6, 0.8, 1.2):
        command = [sys.executable, "-c", KILLED, str(root), str(tmp_path / "cache")]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(delay)
            process.send_signal(signal.SIGKILL)
        for path in (tmp_path / "cache").glob("*.pictures"):
            found = cache.read_file(path)
            assert found is not None
            assert is_right(found[1], root)
            path.unlink()
    assert is_right(cached(pictures(root), tmp_path / "cache"), root)
    assert len(list((tmp_path / "cache").iterdir())) == 1  # nothing is left of the killed ones
