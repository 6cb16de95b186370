"""Tests of TensorBoard in a real browser."""

import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from helpers import finish, start

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run a sweep over two learning rates and two seeds and return its folder."""
    workdir = tmp_path_factory.mktemp("browser")
    finish(start("-m", "trainer.epochs=3", "optim.lr=0.02,0.002", "seed=0,1", cwd=workdir))
    (folder,) = workdir.glob("outputs/*/*")
    return folder


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
                    if answer.read().count(b"optim.lr") == 4 + 2:
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
    for name in ("optim.lr=0.02,seed=0", "optim.lr=0.02,seed=1", "optim.lr=0.002,seed=0", "optim.lr=0.002,seed=1"):
        expect(page.get_by_text(name, exact=True).first).to_be_visible()
    for group in ("lr", "plots", "test", "train", "val", "weights"):
        expect(page.get_by_role("button", name="Expand group").filter(has_text=group).first).to_be_attached()


def test_tensorboard_shows_swept_keys_and_metrics(board: str, page: Page) -> None:
    page.goto(f"{board}/#hparams")
    for column in ("optim.lr", "seed", "test/loss", "test/accuracy"):
        expect(page.get_by_role("columnheader", name=column).first).to_be_visible()
    expect(page.get_by_role("columnheader", name="model.kernel_size")).to_have_count(0)  # not swept
    for name in ("optim.lr=0.02,seed=0", "optim.lr=0.002,seed=1"):
        expect(page.get_by_role("gridcell", name=name)).to_have_count(1)


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
    expect(page.get_by_text(found).first).to_be_attached()


def test_tensorboard_shows_the_mean_of_each_group_with_a_band(board: str, page: Page) -> None:
    page.goto(f"{board}/#custom_scalars")
    expect(page.get_by_text("mean ± standard deviation of runs that differ only in seed or fold")).to_be_visible()
    chart = page.locator("tf-custom-scalar-margin-chart-card").filter(has_text="val/loss")
    expect(chart.locator("svg path.area")).to_have_count(2)
    for group in ("optim.lr=0.02", "optim.lr=0.002"):
        expect(chart.get_by_text(f"val/loss (mean/{group})")).to_be_attached()
