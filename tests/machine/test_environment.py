import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from runner.machine.environment import describe_environment


def git(*arguments: str, text: str | None = None) -> str:
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    return subprocess.run(["git", *identity, *arguments], input=text, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def repository(workdir: Path) -> Path:
    git("init")
    (workdir / "code.py").write_text("first\nsame\n\n\n")
    git("add", ".")
    git("commit", "-m", "first")
    return workdir


def test_describes_versions_device_and_host(workdir: Path) -> None:
    sys.argv = ["runner", "optim.lr=0.1"]
    found = describe_environment("cpu (2 threads)")
    assert found["device"] == "cpu (2 threads)"
    assert found["command"] == ["runner", "optim.lr=0.1"]
    assert found["folder"] == str(workdir)
    assert found["packages"]["torch"] == torch.__version__
    assert found["python"].split(".")[:2] == [str(number) for number in sys.version_info[:2]]
    assert found["cores"] == os.cpu_count()
    assert json.loads(json.dumps(found)) == found


def test_missing_package_has_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runner.machine.environment.PACKAGES", ("torch", "no-such-package"))
    assert describe_environment("cpu")["packages"] == {"torch": torch.__version__, "no-such-package": None}


def test_clean_repository_has_an_empty_diff(repository: Path) -> None:
    assert describe_environment("cpu")["git"] == {"commit": git("rev-parse", "HEAD").strip(), "diff": ""}


def test_commit_and_diff_restore_the_code(repository: Path) -> None:
    changed = "second\nsame\n\n\n"
    (repository / "code.py").write_text(changed)
    found = describe_environment("cpu")["git"]
    git("checkout", "--force", found["commit"])
    assert (repository / "code.py").read_text() != changed
    git("apply", text=found["diff"])
    assert (repository / "code.py").read_text() == changed


def test_diff_that_is_not_utf8_is_decoded(repository: Path) -> None:
    (repository / "code.py").write_bytes(b"gr\xf6\xdfe\n")
    assert "gr\ufffd\ufffde" in describe_environment("cpu")["git"]["diff"]


def test_commit_and_diff_are_none_without_repository_or_git(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(workdir.parent))
    assert describe_environment("cpu")["git"] == {"commit": None, "diff": None}
    monkeypatch.setenv("PATH", "")
    assert describe_environment("cpu")["git"] == {"commit": None, "diff": None}


def test_programs_named_in_git_settings_are_not_run(repository: Path) -> None:
    (repository / ".gitattributes").write_text("code.py diff=theirs filter=a=b\n")
    program = repository / "program.sh"
    program.write_text("#!/bin/sh\ntouch was_run\ncat\n")
    program.chmod(0o755)
    for key in ("diff.theirs.command", "diff.theirs.textconv", "filter.a=b.clean", "core.fsmonitor"):
        git("config", key, str(program))
    (repository / "code.py").write_text("second\n")
    assert "+second" in describe_environment("cpu")["git"]["diff"]
    assert not (repository / "was_run").exists()


def test_huge_diff_is_truncated(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runner.machine.environment.MOST_BYTES", 1000)
    (repository / "code.py").write_text("long\n" * 1_000_000)
    diff = describe_environment("cpu")["git"]["diff"]
    assert diff.endswith("\n[cut after 1,000 bytes]\n")
    assert len(diff) < 1100
