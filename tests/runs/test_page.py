import base64
import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from runner import cli
from runner.runs.found import Run, find_runs
from runner.runs.page import LIBRARY, WEB, page
from runner.runs.page import follow as following
from runner.runs.page.data import thin
from runner.runs.page.follow import follow
from runs.test_compare import CHOSEN_BY_F1, compared, write, write_scored

RELEASED = "b66b25aeb4df84e33199dc21694014d336d222cbd9deb0e5a7c14bd6aa0d0fd0"  # of dist/echarts.min.js in echarts 6.1.0
PICTURE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
)


def contents(text: str) -> dict[str, Any]:
    """Return the data of a page."""
    found = re.search(r'<script type="application/json" id="data">(.*)</script>', text)
    assert found is not None
    return json.loads(found[1])


def test_long_curves_are_thinned() -> None:
    values = [float(x) for x in range(1001)]
    assert thin(values, 6)[:2] == [0, 6]
    assert thin(values, 6)[-1] == 1000
    assert thin(values[:5], 1) == values[:5]
    assert thin([0.123456789, None], 1) == [0.123457, None]
    assert thin([], 2) == []


def test_curves_of_many_epochs_stay_below_a_limit(tmp_path: Path) -> None:
    write(tmp_path / "a", best=0.5)
    rows = [f"{epoch},{epoch * 7},{1 / epoch},2.5" for epoch in range(1, 5001)]
    (tmp_path / "a" / "metrics.csv").write_text("\n".join(["epoch,step,val/loss,seconds", *rows, ""]))
    (curves,) = contents(page(compared(tmp_path)))["curves"]
    assert 150 <= len(curves["y"]["val/loss"]) <= 201
    assert {len(values) for values in curves["x"].values()} == {len(curves["y"]["val/loss"])}
    assert curves["x"]["seconds"][-1] == 12500


def test_data_cannot_close_the_script_element(tmp_path: Path) -> None:
    write(tmp_path / "a", "dataset.augment=null", best=0.5)
    before = page(compared(tmp_path))
    write(tmp_path / "<script>alert(1)<", best=0.25)
    write(tmp_path / "<!--<script", best=0.3)
    write(tmp_path / "{{script}}", best=0.4)
    text = page(compared(tmp_path))
    for tag in ("<script", "</script>", "<!--"):
        assert text.count(tag) == before.count(tag)
    names = {run["name"] for run in contents(text)["runs"]}
    assert names == {"a", "<script>alert(1)<", "<!--<script", "{{script}}"}


def test_datasets_of_the_same_name_are_told_apart_by_values_as_in_yaml(tmp_path: Path) -> None:
    write(tmp_path / "a", best=0.5)
    write(tmp_path / "b", "dataset.keep=[0,1]", best=0.5)
    labels = {run["name"]: run["dataset"] for run in contents(page(compared(tmp_path)))["runs"]}
    assert labels == {"a": "digits keep=null", "b": "digits keep=[0, 1]"}


def test_non_finite_values_are_null(tmp_path: Path) -> None:
    write(tmp_path / "a", "optim.momentum=0.5", best=0.5)
    write(tmp_path / "b", best=0.5)
    config = tmp_path / "b" / "config.yaml"
    config.write_text(config.read_text().replace("momentum: 0.9", "momentum: .inf"))
    assert contents(page(compared(tmp_path)))["values"]["optim.momentum"] == [0.5, None]


def test_policy_allows_only_the_scripts_of_the_page_and_no_connection(tmp_path: Path) -> None:
    write(tmp_path / "a", best=0.5)
    text = page(compared(tmp_path))
    found = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    assert found is not None
    rules = dict(rule.strip().split(" ", 1) for rule in found[1].split(";"))
    assert rules.keys() == {"default-src", "script-src", "style-src", "img-src"}
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == "data: file:"
    scripts = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    assert rules["script-src"].split() == [f"'sha256-{each}'" for each in hashes]


def test_plotting_library_is_the_released_file() -> None:
    assert hashlib.sha256(LIBRARY.read_bytes()).hexdigest() == RELEASED
    assert "Apache License" in (WEB / "vendor" / "echarts.LICENSE").read_text()


def test_scripts_are_short_and_never_read_data_as_html() -> None:
    files = [path for path in WEB.iterdir() if path.is_file()]
    assert {path.suffix for path in files} == {".js", ".css", ".html"}
    for path in files:
        text = path.read_text()
        assert len(text.splitlines()) <= 250, path
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function", text), path


def test_first_pictures_are_contained_and_the_others_linked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runner.runs.page.details.MOST_RUNS", 1)
    for name in ("a", "b #1"):
        (write(tmp_path / "runs" / name, best=0.5) / "plots").mkdir()
        (tmp_path / "runs" / name / "plots" / "curves.png").write_bytes(PICTURE)
    first, second = contents(page(compared(tmp_path / "runs"), tmp_path / "page.html"))["runs"]
    assert first["pictures"] == [
        {"name": "curves", "source": f"data:image/png;base64,{base64.b64encode(PICTURE).decode()}"}
    ]
    assert second["pictures"] == [{"name": "curves", "source": "runs/b%20%231/plots/curves.png"}]


def test_large_pictures_are_linked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runner.runs.page.details.MOST_BYTES", len(PICTURE) - 1)
    (write(tmp_path / "a", best=0.5) / "plots").mkdir()
    (tmp_path / "a" / "plots" / "curves.png").write_bytes(PICTURE)
    (run,) = contents(page(compared(tmp_path), tmp_path / "page.html"))["runs"]
    assert run["pictures"] == [{"name": "curves", "source": "a/plots/curves.png"}]


def test_failed_run_has_its_error_and_the_end_of_its_log(tmp_path: Path) -> None:
    write(tmp_path / "a", status="failed")
    results = json.loads((tmp_path / "a" / "results.json").read_text())
    error = {"type": "OutOfMemoryError", "message": "2 GiB"}
    (tmp_path / "a" / "results.json").write_text(json.dumps(results | {"error": error}))
    (tmp_path / "a" / "run.log").write_text("".join(f"line {number}\n" for number in range(5000)))
    write(tmp_path / "b", best=0.5)
    (tmp_path / "b" / "run.log").write_text("fine\n")
    first, second = contents(page(compared(tmp_path)))["runs"]
    assert first["error"] == "OutOfMemoryError: 2 GiB"
    assert first["log"].splitlines() == [f"line {number}" for number in range(4980, 5000)]
    assert (second["error"], second["log"]) == (None, None)


def test_damaged_runs_without_dataset_or_metrics_are_shown(tmp_path: Path) -> None:
    write(tmp_path / "a")
    (tmp_path / "a" / "config.yaml").write_text("\t")
    write(tmp_path / "b")
    (tmp_path / "b" / "results.json").write_text("{")
    first, second = contents(page(compared(tmp_path)))["runs"]
    assert (first["status"], first["dataset"]) == ("damaged: no config.yaml", "no dataset")
    assert (second["status"], second["dataset"]) == ("damaged: results.json", "digits")


def test_follow_writes_after_each_change_until_all_runs_have_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "PAUSE", 0.0)
    monkeypatch.setattr(following, "QUIET", 0.05)
    write(tmp_path / "a", best=0.5, status="running")
    written: list[tuple[int, str, bool]] = []

    def note(runs: list[Run], goes_on: bool) -> None:
        written.append((len(runs), runs[0].status, goes_on))
        if len(runs) == 1:
            write(tmp_path / "b", best=0.25, status="running")
        elif runs[0].status == "running":
            for name in ("a", "b"):
                shutil.rmtree(tmp_path / name)
                write(tmp_path / name, best=0.5)

    follow(lambda: find_runs([tmp_path]), note)
    assert written[0] == (1, "running", True)
    assert (2, "running", True) in written
    assert written[-2:] == [(2, "completed", True), (2, "completed", False)]


def test_page_reloads_only_while_it_is_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "PAUSE", 0.0)
    monkeypatch.setattr(following, "QUIET", 0.0)
    write(tmp_path / "a", best=0.5)
    assert contents(page(compared(tmp_path), follow=5.0))["follow"] == 5.0
    target = tmp_path / "page.html"
    assert cli.main(["compare", str(tmp_path), "--follow", "--format", "html", "--output", str(target)]) == 0
    assert contents(target.read_text())["follow"] is None


def test_follow_needs_a_page_and_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "a", best=0.5)
    for arguments in (["--format", "html"], ["--output", "x"]):
        assert cli.main(["compare", str(tmp_path), "--follow", *arguments]) == 2
        assert "--follow: needs an HTML page to rewrite; add --format html --output F" in capsys.readouterr().err


def test_page_knows_the_direction_of_each_metric(tmp_path: Path) -> None:
    write_scored(tmp_path / "a", *CHOSEN_BY_F1, loss=0.4, f1=0.2, auroc=0.3)
    assert contents(page(compared(tmp_path)))["higher"] == ["best val/f1", "test/f1", "test/auroc"]


def test_verdicts_name_their_dataset_and_the_best_group(tmp_path: Path) -> None:
    for dataset in ("digits", "mnist"):
        for rate in (0.1, 0.01):
            for seed in (0, 1):
                name = f"{dataset}-{rate}-{seed}"
                write(tmp_path / name, f"dataset={dataset}", f"optim.lr={rate}", f"seed={seed}", best=rate + seed / 100)
    write(tmp_path / "halved", "dataset.test_share=0.4", best=0.3)
    found = contents(page(compared(tmp_path)))
    names = {run["name"]: run["dataset"] for run in found["runs"]}
    assert names["mnist-0.1-0"] == "mnist"
    assert names["halved"] == "digits test_share=0.4"
    assert names["digits-0.1-0"] == "digits test_share=0.2"
    first, second = found["verdicts"]
    assert {first["dataset"], second["dataset"]} == {"digits test_share=0.2", "mnist"}
    assert first["best"].startswith("best optim.lr=0.01: val/loss 0.015")
    assert {group["verdict"] for group in first["groups"]} <= {"best", "worse", "indistinguishable"}
