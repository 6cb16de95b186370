"""Tests of TensorBoard and of the comparison page in a real browser."""

import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from helpers import finish, start

pytestmark = pytest.mark.slow
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run a sweep over two learning rates and two seeds and return its folder."""
    workdir = tmp_path_factory.mktemp("browser")
    finish(start("-m", "trainer.epochs=3", "optim.lr=0.1,0.01", "seed=0,1", cwd=workdir))
    (folder,) = workdir.glob("outputs/*/*")
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("needs Chromium: apt install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS.split())
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """Open a page and fail the test if a script on it raises an error."""
    page = browser.new_page(viewport={"width": 1300, "height": 900})
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    page.close()
    assert errors == []


@pytest.fixture(scope="module")
def board(sweep: Path) -> Iterator[str]:
    """Start TensorBoard on the sweep and return its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(sweep), "--host", "127.0.0.1"]
    server = subprocess.Popen([*command, "--port", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    end = time.monotonic() + 60
    try:
        while True:
            try:
                with urllib.request.urlopen(f"{address}/data/runs") as answer:
                    if answer.read().count(b"tensorboard") == 4:
                        break
            except OSError:
                pass
            assert time.monotonic() < end, "TensorBoard did not load the runs within a minute"
            time.sleep(0.3)
        yield address
    finally:
        server.kill()
        server.wait()


def test_tensorboard_shows_one_readable_curve_per_run(board: str, page: Page) -> None:
    page.goto(f"{board}/#timeseries")
    for name in ("optim.lr=0.1,seed=0", "optim.lr=0.1,seed=1", "optim.lr=0.01,seed=0", "optim.lr=0.01,seed=1"):
        expect(page.get_by_text(f"{name}/tensorboard", exact=True).first).to_be_visible(timeout=30_000)
    for group in ("lr", "plots", "test", "train", "val", "weights"):
        expect(page.get_by_role("button", name="Expand group").filter(has_text=group).first).to_be_attached()


def test_tensorboard_shows_swept_keys_and_metrics(board: str, page: Page) -> None:
    page.goto(f"{board}/#hparams")
    for column in ("optim.lr", "seed", "test/loss", "test/accuracy"):
        expect(page.get_by_role("columnheader", name=column).first).to_be_visible(timeout=30_000)
    expect(page.get_by_role("columnheader", name="model.kernel_size")).to_have_count(0)  # not swept
    for name in ("optim.lr=0.1,seed=0", "optim.lr=0.01,seed=1"):
        expect(page.get_by_role("gridcell", name=f"{name}/tensorboard")).to_have_count(1)


@pytest.mark.parametrize(
    ("tab", "found"),
    [
        ("images", "tag: plots/confusion"),
        ("text", "config"),
        ("histograms", "weights/conv1.weight"),
    ],
)
def test_tensorboard_tab_shows_its_data(board: str, page: Page, tab: str, found: str) -> None:
    page.goto(f"{board}/#{tab}")
    expect(page.get_by_text(found).first).to_be_attached(timeout=30_000)


def test_comparison_page_sorts_and_plots(sweep: Path, page: Page) -> None:
    target = sweep.parent / "page.html"
    finish(start("compare", str(sweep), "--format", "html", "--output", str(target), cwd=sweep))
    page.goto(target.as_uri())
    expect(page.locator("#summary")).to_have_text("4 runs: 4 completed. Click a column to sort.")
    rates = page.locator("#runs tbody td:nth-child(6)")
    page.get_by_role("columnheader", name="optim.lr").first.click()
    assert rates.all_inner_texts() == ["0.01", "0.01", "0.1", "0.1"]
    page.get_by_role("columnheader", name="optim.lr").first.click()
    assert rates.all_inner_texts() == ["0.1", "0.1", "0.01", "0.01"]
    assert page.locator("#groups tbody tr").count() == 2
    assert page.locator("#curves svg").count() == 4
    assert page.locator("#curves svg").first.locator("path").count() == 4
    assert page.locator("#scatter circle").count() == 4
    assert page.locator("#log").is_checked()  # learning rates
    page.locator("#x").select_option("seed")
    expect(page.locator("#scatter svg text").first).to_have_text("best val/loss against seed")
    page.locator("#runs tbody tr").first.click()
    assert page.locator("#curves svg").first.locator("g[opacity='1']").count() == 1
