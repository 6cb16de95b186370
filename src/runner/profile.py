"""Where the time of a step goes: torch's profiler over a few of them, as a table and as a trace."""

import logging
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile, schedule

log = logging.getLogger("runner")
FIRST, WARM_UP, STEPS = 5, 3, 20  # steps that are let pass, that the profiler needs to settle, that it records
ROWS = 30


class Profile:
    """Watches some steps near the start of a run, and writes what they did into `folder`.

    Args:
        folder: for table.txt, the operators by the time they took, and trace.json, the same over time, which
            chrome://tracing and ui.perfetto.dev show.
        device: on which the run computes.
    """

    def __init__(self, folder: Path, device: torch.device) -> None:
        self.folder, self.on_device = folder, device.type == "cuda"
        activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if self.on_device else [])]
        plan = schedule(wait=FIRST, warmup=WARM_UP, active=STEPS, repeat=1)
        self.profiler = profile(activities=activities, schedule=plan, on_trace_ready=self.write)
        self.written = False
        self.profiler.start()

    def step(self) -> None:
        """A step of the training has ended."""
        self.profiler.step()

    def write(self, profiler: "profile") -> None:
        """Called when the steps are over, or the run is, in the middle of them."""
        key = "self_cuda_time_total" if self.on_device else "self_cpu_time_total"
        try:
            self.folder.mkdir(exist_ok=True)
            table = profiler.key_averages().table(sort_by=key, row_limit=ROWS, max_name_column_width=60)
            (self.folder / "table.txt").write_text(table)
            profiler.export_chrome_trace(str(self.folder / "trace.json"))
        except OSError as error:
            log.warning("%s: the profile cannot be written: %s; the training goes on", self.folder, error)
        else:
            self.written = True
            log.info("profile  %s/table.txt; trace.json for ui.perfetto.dev", self.folder)

    def close(self) -> None:
        self.profiler.stop()
        if not self.written:
            log.info("profile  none: the run had fewer than %d steps", FIRST + WARM_UP + 1)
