import hashlib
import http.client
import threading
import urllib.error
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from runner.dataset.download import Published, download, fetch_file
from runner.dataset.mnist import FILES, MNIST
from runner.errors import DataError

Fetch = Callable[[str, str, str], None]
PUBLISHED = {"a": Published("https://example.org/a.gz", "1"), "b": Published("https://example.org/b.gz", "2")}


def publish(monkeypatch: pytest.MonkeyPatch, fetch: Fetch) -> None:
    """Replace the download of a file with a call of fetch(url, folder, md5)."""
    target = "runner.dataset.download._fetch"
    monkeypatch.setattr(target, lambda source, path: fetch(source.url, str(path.parent), source.md5))


def left(folder: Path) -> list[str]:
    """Return the names of all files."""
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_file_is_verified_before_it_appears_in_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str]] = []

    def fetch(url: str, root: str, md5: str) -> None:
        asked.append((url, md5))
        (Path(root) / url.rsplit("/")[-1]).write_text(md5)
        assert not (tmp_path / "raw" / url.rsplit("/")[-1]).exists()

    publish(monkeypatch, fetch)
    download(PUBLISHED, tmp_path / "raw")
    assert asked == list(PUBLISHED.values())
    assert left(tmp_path) == ["a.gz", "b.gz"]
    assert [(tmp_path / "raw" / name).read_text() for name in ("a.gz", "b.gz")] == ["1", "2"]


def test_file_downloaded_by_another_process_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.gz").write_text("theirs")
    publish(monkeypatch, lambda url, root, md5: (Path(root) / "b.gz").touch())
    download(PUBLISHED, tmp_path)
    assert (tmp_path / "a.gz").read_text() == "theirs"
    assert left(tmp_path) == ["a.gz", "b.gz"]


@pytest.mark.parametrize(
    "error",
    [
        urllib.error.URLError("no route to host"),
        TimeoutError("timed out"),
        http.client.BadStatusLine("please log in"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_failed_download_names_folder_and_files_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(url: str, root: str, md5: str) -> None:
        (Path(root) / "train-images-idx3-ubyte.gz").write_text("half of i")
        raise error

    publish(monkeypatch, fail)
    with pytest.raises(DataError) as caught:
        MNIST(str(tmp_path)).load()
    message = str(caught.value).splitlines()
    assert message[0] == f"The download failed: {error}"
    assert message[1] == f"Place these files in {tmp_path.resolve() / 'MNIST' / 'raw'}"
    assert message[2:] == [f"  {name}  or  {name}.gz  from {source.url}" for name, source in FILES.items()]
    assert left(tmp_path) == []


def test_files_downloaded_before_a_failure_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch_one(url: str, root: str, md5: str) -> None:
        if url.endswith("b.gz"):
            raise OSError("connection lost")
        (Path(root) / "a.gz").touch()

    publish(monkeypatch, fetch_one)
    with pytest.raises(DataError, match="connection lost"):
        download(PUBLISHED, tmp_path)
    assert left(tmp_path) == ["a.gz"]


def test_folder_that_cannot_be_created_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(monkeypatch, lambda url, root, md5: None)
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"The download failed: .*Not a directory"):
        download(PUBLISHED, tmp_path / "file" / "raw")


def test_all_urls_are_https_and_have_a_checksum() -> None:
    for source in FILES.values():
        assert source.url.startswith("https://")
        assert len(bytes.fromhex(source.md5)) == 16


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Return the URL of a local server for the files in tmp_path."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_refused_download_closes_its_connection(tmp_path: Path, site: str) -> None:
    with pytest.raises(urllib.error.HTTPError, match="404") as caught:
        fetch_file(f"{site}/missing.gz", tmp_path / "missing.gz")
    assert caught.value.fp.closed


def test_downloads_are_verified(tmp_path: Path, site: str) -> None:
    (tmp_path / "a.gz").write_bytes(b"published")
    good = Published(f"{site}/a.gz", hashlib.md5(b"published").hexdigest())
    download({"a": good}, tmp_path / "raw")
    assert (tmp_path / "raw" / "a.gz").read_bytes() == b"published"
    for bad in (good._replace(md5="0" * 32), good._replace(url=f"{site}/missing.gz")):
        with pytest.raises(DataError, match=r"The download failed: (.*: the MD5 is |HTTP Error 404)"):
            download({"a": bad}, tmp_path / "other")
    assert left(tmp_path / "other") == []
