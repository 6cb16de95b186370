import os
import re
from pathlib import Path

import pytest

from runner.dataset.listing import Listing, names_below
from runner.errors import DataError

NAMES = ["b/2.png", "b-1/x.PNG", "b/deep/1.jpg", "a.png", "größe.webp"]


def test_files_are_found_at_any_depth_and_sorted_as_paths(tmp_path: Path) -> None:
    for name in [*NAMES, "notes.txt", "b/.hidden.png", ".thumbnails"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "link").symlink_to(tmp_path / "b")
    found = names_below(tmp_path, (".png", ".jpg", ".webp"))
    assert found == [str(path) for path in sorted(map(Path, NAMES))]


def test_listing_returns_paths(tmp_path: Path) -> None:
    listing = Listing(tmp_path, NAMES)
    assert len(listing) == len(NAMES)
    assert [listing[index] for index in range(len(NAMES))] == [f"{tmp_path}/{name}" for name in NAMES]
    assert listing.name(4) == "größe.webp".encode()


def test_listing_keeps_names_that_are_not_unicode(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.png")
    assert Listing(tmp_path, [name])[0] == f"{tmp_path}/{name}"


def test_empty_listing_has_no_files(tmp_path: Path) -> None:
    assert len(Listing(tmp_path, [])) == 0


def test_folder_that_cannot_be_listed_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"{re.escape(str(tmp_path / 'no'))}: cannot be listed: No such file"):
        names_below(tmp_path / "no", (".png",))
