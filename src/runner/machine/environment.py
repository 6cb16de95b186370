"""The contents of environment.json, which are needed to reproduce a run."""

import os
import platform
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import MappingProxyType
from typing import Any

PACKAGES = ("runner", "torch", "torchvision", "numpy", "hydra-core", "omegaconf", "pydantic", "tensorboard")
MOST_BYTES = 1_000_000  # of git's output


def describe_environment(device: str) -> dict[str, Any]:
    """Return versions, device, host and command line, and the git commit and changes of the current folder.

    Args:
        device: description of the device.
    """
    commit = _git(["rev-parse", "HEAD"])
    return {
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "platform": platform.platform(),
        "host": socket.gethostname(),
        "cores": os.cpu_count(),
        "device": device,
        "command": sys.argv,
        "folder": str(Path.cwd()),
        "git": {"commit": commit and commit.strip(), "diff": _diff()},
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _diff() -> str | None:
    """Return the changes since the last commit, without running programs that the repository's git settings name."""
    settings = {"core.fsmonitor": "false"}
    filters = _git(["config", "--show-scope", "--name-only", "--get-regexp", r"^filter\."]) or ""
    for line in filters.splitlines():
        scope, key = line.split("\t", 1)
        if scope in ("local", "worktree"):
            settings[key] = ""
    return _git(["diff", "--no-ext-diff", "--no-textconv", "--no-color", "HEAD"], settings)


def _git(arguments: list[str], settings: Mapping[str, str] = MappingProxyType({})) -> str | None:
    """Return the output of a git command, at most `MOST_BYTES`; None without a repository or without git.

    Args:
        arguments: arguments of git.
        settings: git settings for this command only, by key.
    """
    first = int(os.environ.get("GIT_CONFIG_COUNT", "0"))
    environment = os.environ | {"GIT_CONFIG_COUNT": str(first + len(settings))}
    for number, (key, value) in enumerate(settings.items(), first):
        environment |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    try:
        process = subprocess.Popen(
            ["git", *arguments], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
        )
    except OSError:
        return None
    timer = threading.Timer(10, process.kill)
    timer.start()
    with process:
        assert process.stdout is not None
        output = process.stdout.read(MOST_BYTES + 1)
        if len(output) > MOST_BYTES:
            process.kill()
    timer.cancel()
    if len(output) > MOST_BYTES:
        return output[:MOST_BYTES].decode(errors="replace") + f"\n[cut after {MOST_BYTES:,} bytes]\n"
    return output.decode(errors="replace") if process.returncode == 0 else None
