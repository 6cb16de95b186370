"""Everything that only a GPU can show, in one report: `make gpu`.

    tests      the tests that need a GPU
    sync       training steps without a log wait for no value of the GPU
    kill       killed and resumed runs are equal to undisturbed ones, bit for bit
    speed      images per second, against bare loops and the code of speed records
    branches   64 models in one CUDA graph, and as one model with stacked weights

Usage: make gpu, or make gpu ARGS="sync kill". Needs no network, and ends within nine minutes. The report is written to
outputs/gpu/report.md and report.json after each section. Exit code 0: all passed, 1: something failed, 2: no GPU.
"""

import argparse
import importlib
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import torch

from gpu.isolate import Failed, call, first_line
from gpu.machine import ROOT, machine, missing_gpu
from gpu.report import Part, Report, cell
from gpu.section import Section

# Seconds of each section; what one does not use is left for those after it. Together less than nine minutes.
SECTIONS = {"tests": 90, "sync": 100, "kill": 75, "speed": 180, "branches": 65}
# Modules that the processes would import one by one: in them, an import of torch._dynamo alone takes two seconds.
PRELOADED = ("torch._dynamo", "runner.vision", *(f"gpu.{name}" for name in SECTIONS))


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the report and return the exit code."""
    parser = argparse.ArgumentParser(prog="make gpu", description="Everything that only a GPU can show.")
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=f"of {', '.join(SECTIONS)}; default: all")
    parser.add_argument("--output", type=Path, default=ROOT / "outputs" / "gpu", help="folder of the report")
    parser.add_argument("--rehearse", action="store_true", help="everything in small on the CPU, to test it")
    options = parser.parse_args(arguments)
    if unknown := [name for name in options.sections if name not in SECTIONS]:
        parser.error(f"unknown section {unknown[0]!r}; allowed: {', '.join(SECTIONS)}")
    began = time.monotonic()
    try:
        reason = None if options.rehearse else call(missing_gpu, seconds=60)
        where = call(machine, seconds=60) if reason is None else {}
    except Failed as error:
        reason = str(error)
    if reason is not None:
        print(f"make gpu: found no NVIDIA GPU ({reason}); run it on a machine with one", file=sys.stderr)
        return 2
    method = start_method(options.rehearse)
    report = Report(where | {"processes": f"started by {method}"}, rehearses=options.rehearse)
    for name in options.sections or SECTIONS:
        ends = began + SECTIONS[name]
        report.parts.append(make_part(name, ends, options.rehearse, method))
        report.write(options.output)
        began = ends  # so that the next one has what this one has left
    print(f"\n{report.markdown()}\nreport    {options.output}/report.md (.json)")
    return 0 if report.passed else 1


def start_method(rehearses: bool) -> str:
    """Import what all processes need, and return how they begin: by fork, if CUDA still works in a forked process."""
    for name in PRELOADED:
        with suppress(Exception):  # the section that needs it will say so
            importlib.import_module(name)
    if rehearses:
        torch.set_num_threads(1)
    try:
        call(touch, "cpu" if rehearses else "cuda", seconds=60)
    except Failed:
        return "spawn"
    return "fork"


def touch(device: str) -> None:
    """Compute something on a device."""
    torch.ones(2, device=device).sum().item()


def make_part(name: str, ends: float, rehearses: bool, method: str) -> Part:
    """Make a section of the report, with its error if it fails.

    Args:
        name: name of the section.
        ends: time.monotonic() at which it has to end.
        rehearses: whether it is made in small on the CPU.
        method: how its processes begin.
    """
    part, began = Part(name, name), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="runner-gpu-", ignore_cleanup_errors=True) as folder:
        section = Section("cpu" if rehearses else "cuda", rehearses, ends, Path(folder), method)
        try:
            module = importlib.import_module(f"gpu.{name}")
            part.title = module.TITLE
            print(f"\n{name}: {part.title}", flush=True)
            for row in module.rows(section):
                part.rows.append(row)
                print("   ", *(f"{key}: {cell(value)};" for key, value in row.items() if key != "trace"), flush=True)
        except Exception as error:
            traceback.print_exc()
            part.error = first_line(error)
    part.seconds = time.monotonic() - began
    return part
