import json
import shutil
import subprocess
from pathlib import Path

import pytest

from runner.runs.page import TEMPLATE, page, thin
from runs.test_compare import compared, write


def test_long_curves_are_thinned() -> None:
    points = [(float(x), 0.0) for x in range(1001)]
    assert len(thin(points)) <= 201
    assert thin(points)[0] == points[0]
    assert thin(points)[-1] == points[-1]
    assert thin(points[:5]) == points[:5]


def test_data_cannot_close_the_script_element(tmp_path: Path) -> None:
    write(tmp_path / "a", "dataset.augment=null", best=0.5)
    write(tmp_path / "<script>alert(1)<", best=0.25)
    write(tmp_path / "<!--<script", best=0.3)
    text = page(compared(tmp_path))
    assert text.count("</script>") == text.count("<script>") == 1
    assert "<!--" not in text
    line = next(line for line in text.splitlines() if line.startswith("const data = "))
    assert json.loads(line.removeprefix("const data = ").removesuffix(";"))["summary"] == "3 completed"


def test_non_finite_values_are_null(tmp_path: Path) -> None:
    write(tmp_path / "a", "optim.momentum=0.5", best=0.5)
    write(tmp_path / "b", best=0.5)
    config = tmp_path / "b" / "config.yaml"
    config.write_text(config.read_text().replace("momentum: 0.9", "momentum: .inf"))
    assert "Infinity" not in page(compared(tmp_path)).partition("const data = ")[2].partition("\n")[0]


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
@pytest.mark.parametrize(
    ("low", "high"),
    [
        *((3e18, 3e18), (9e15, 9e15), (-3e18, -3e18), (1e308, 1e308), (9007199254740992, 9007199254740994)),
        *((-1e308, 1e308), (0, 0), (0.1, 0.1), (1e-300, 2e-300), (0, 1), (2.25, 2.5), (1e6, 1e6 + 1), (5e-324, 1e-323)),
    ],
)
def test_axis_has_few_ticks_within_its_range(low: float, high: float) -> None:
    script = TEMPLATE.read_text()
    functions = script[script.index("function ticks") : script.index("function plot")]
    code = f"const [a, b] = widen({low}, {high}); console.log(JSON.stringify([a, b, ticks(a, b, false)]))"
    done = subprocess.run(["node", "-e", functions + code], capture_output=True, text=True, timeout=30, check=True)
    start, end, ticks = json.loads(done.stdout)
    assert start <= low <= high <= end
    assert start < end
    assert len(ticks) <= 11
    assert all(start - abs(start) / 1e9 <= tick <= end + abs(end) / 1e9 for tick in ticks)


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
def test_tick_labels_are_short() -> None:
    script = TEMPLATE.read_text()
    functions = script[script.index("function ticks") : script.index("function plot")]
    code = "console.log(JSON.stringify([0, 0.25, 1500, 1300000000, 3e18, -1e-7].map(label)))"
    done = subprocess.run(["node", "-e", functions + code], capture_output=True, text=True, timeout=30, check=True)
    assert json.loads(done.stdout) == ["0", "0.25", "1500", "1.3e+9", "3e+18", "-1e-7"]
