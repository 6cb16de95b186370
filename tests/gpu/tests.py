"""Run the tests that need a GPU."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from gpu.isolate import Failed, call
from gpu.machine import ROOT
from gpu.section import Row, Section

TITLE = "the tests that need a GPU"
MARK = "pytest.mark.gpu"


def rows(section: Section) -> Iterator[Row]:
    """Yield a row for each test."""
    results = section.folder / "results.xml"
    files = sorted(str(path) for path in (ROOT / "tests").rglob("test_*.py") if MARK in path.read_text())
    error = None
    try:
        call(run, files, results, seconds=max(section.left, 0), method=section.method)
    except Failed as failed:
        error = failed
    if results.exists():
        yield from read(results)
    if error is not None:
        raise error


def run(files: list[str], results: Path) -> None:
    """Run the tests marked `gpu` in some files, and write their results as JUnit's XML.

    Raises:
        RuntimeError: pytest could not run them.
    """
    # Other tests may need packages that are not installed: errors while collecting them must not end this.
    options = ["-m", "gpu", "--continue-on-collection-errors", "-p", "no:cacheprovider", f"--junitxml={results}"]
    code = subprocess.run([sys.executable, "-m", "pytest", *options, *files], cwd=ROOT).returncode
    if code not in (0, 1) and not results.exists():
        raise RuntimeError(f"pytest ended with exit code {code}")


def read(results: Path) -> Iterator[Row]:
    """Yield a row for each test in a JUnit file."""
    for case in ElementTree.parse(results).getroot().iter("testcase"):
        row: Row = {"test": f"{case.get('classname', '')}.{case.get('name', '')}".removeprefix("tests.")}
        row |= {"seconds": float(case.get("time", 0)), "result": "ok"}
        for kind in ("failure", "error", "skipped"):
            if (found := case.find(kind)) is not None:
                lines = (found.get("message") or "").strip().splitlines()
                word = "skipped" if kind == "skipped" else "failed"
                row |= {"result": f"{word}: {lines[0] if lines else kind}", "trace": found.text or ""}
        yield row
