import subprocess
from pathlib import Path

import pytest

from gpu import tests
from gpu.machine import ROOT

RESULTS = """<testsuites><testsuite>
<testcase classname="tests.training.test_loop" name="test_a" time="0.5"/>
<testcase classname="tests.training.test_loop" name="test_b" time="0"><failure message="1 != 2&#10;more">trace</failure></testcase>
<testcase classname="tests.data.test_mix" name="test_c" time="0"><skipped message="needs a GPU">trace</skipped></testcase>
<testcase classname="" name="tests.broken" time="0"><error message="collection failure">trace</error></testcase>
</testsuite></testsuites>"""  # noqa: E501


def test_each_test_is_a_row(tmp_path: Path) -> None:
    (tmp_path / "results.xml").write_text(RESULTS)
    rows = list(tests.read(tmp_path / "results.xml"))
    assert [row["test"] for row in rows[:2]] == ["training.test_loop.test_a", "training.test_loop.test_b"]
    assert [row["result"] for row in rows] == [
        *("ok", "failed: 1 != 2", "skipped: needs a GPU", "failed: collection failure")
    ]
    assert rows[1]["trace"] == "trace"


def test_pytest_that_cannot_run_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "run", lambda command, cwd: subprocess.CompletedProcess(command, 4))
    with pytest.raises(RuntimeError, match="pytest ended with exit code 4"):
        tests.run(["test_a.py"], tmp_path / "results.xml")


@pytest.mark.slow
def test_only_tests_that_need_a_gpu_run(tmp_path: Path) -> None:
    file = ROOT / "tests" / "data" / "test_augment.py"
    tests.run([str(file)], tmp_path / "results.xml")
    assert [row["test"] for row in tests.read(tmp_path / "results.xml")] == [
        "data.test_augment.test_accelerator_matches_cpu[cuda]"
    ]
