"""Profile a few training steps with torch.profiler, and write a table and a trace."""

import logging
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile, schedule

log = logging.getLogger("runner")
FIRST, WARM_UP, STEPS = 5, 3, 20  # numbers of steps: skipped, for warmup, and recorded
ROWS = 30  # operators in the table


class Profile:
    """Profile a few steps near the start of a run.

    The results are table.txt, with the operators sorted by time, and trace.json, a timeline for chrome://tracing or
    ui.perfetto.dev.

    Args:
        folder: folder to write to; it is created.
        device: device of the run.
    """

    def __init__(self, folder: Path, device: torch.device) -> None:
        self.folder, self.on_device = folder, device.type == "cuda"
        activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if self.on_device else [])]
        plan = schedule(wait=FIRST, warmup=WARM_UP, active=STEPS, repeat=1)
        self.profiler = profile(activities=activities, schedule=plan, on_trace_ready=self.write)
        self.written = False
        self.profiler.start()

    def step(self) -> None:
        """Mark the end of a training step."""
        self.profiler.step()

    def write(self, profiler: "profile") -> None:
        """Write the profile; called after the last recorded step, or at the end of a shorter run."""
        key = "self_cuda_time_total" if self.on_device else "self_cpu_time_total"
        try:
            self.folder.mkdir(exist_ok=True)
            table = profiler.key_averages().table(sort_by=key, row_limit=ROWS, max_name_column_width=60)
            (self.folder / "table.txt").write_text(table, "utf-8")
            profiler.export_chrome_trace(str(self.folder / "trace.json"))
        except OSError as error:
            log.warning("%s: cannot write the profile: %s; training continues", self.folder, error)
        else:
            self.written = True
            log.info("profile  %s/table.txt; open trace.json in ui.perfetto.dev", self.folder)

    def close(self) -> None:
        self.profiler.stop()
        if not self.written:
            log.info("profile  not written: the run had fewer than %d steps", FIRST + WARM_UP + 1)
