"""Facts in which the ranks of a run must not differ."""

import hashlib
import platform
from pathlib import Path

import torch

import runner
from runner.config.schema import Config, flatten
from runner.runs.environment import hash_plugins

# Keys that may differ between machines.
LOCAL = ("output_dir", "name", "dataset.root", "dataset.path", "logger", "sweep")


def facts(config: Config) -> dict[str, object]:
    """Return what decides the results of a run on this rank, by name."""
    values = flatten(config.model_dump())
    found: dict[str, object] = {f"config {key}": values[key] for key in values if not key.startswith(LOCAL)}
    found["hash of the code"] = hash_code(config.plugins)
    found["version of Python"] = platform.python_version()
    found["version of torch"] = torch.__version__
    found["number of threads (device.threads)"] = config.device.threads or torch.get_num_threads()
    return found


def hash_code(plugins: list[str]) -> str:
    """Return a hash of the source files of the runner and of the plugins."""
    package = Path(runner.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        digest.update(str(path.relative_to(package)).encode() + path.read_bytes())
    for name, plugin in hash_plugins(plugins).items():
        digest.update(name.encode() + plugin.encode())
    return digest.hexdigest()[:16]
