"""environment.json: what a run ran on, so that it can be run again."""

import os
import platform
import socket
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("runner", "torch", "torchvision", "numpy", "hydra-core", "omegaconf", "pydantic", "tensorboard")


def describe_environment(device: str) -> dict[str, Any]:
    """Versions, device, host, the command line, and the commit and changes of the folder it was given in."""
    commit = _git("rev-parse", "HEAD")
    return {
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "platform": platform.platform(),
        "host": socket.gethostname(),
        "cores": os.cpu_count(),
        "device": device,
        "command": sys.argv,
        "folder": str(Path.cwd()),
        "git": {"commit": commit and commit.strip(), "diff": _git("diff", "HEAD")},
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _git(*arguments: str) -> str | None:
    """What git prints; None where there is no repository or no git."""
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, errors="replace", timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
