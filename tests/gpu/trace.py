"""What a trace of torch.profiler says about a GPU."""

from collections.abc import Iterable
from typing import Any

ON_GPU = ("kernel", "gpu_memcpy", "gpu_memset")  # categories of what runs on the GPU
ON_HOST = ("cuda_runtime", "cuda_driver")  # categories of calls by the program
LAUNCHES = ("LaunchKernel", "GraphLaunch", "MemcpyAsync", "MemsetAsync")  # parts of the names of calls that start work


def summarize(events: Iterable[dict[str, Any]], steps: int) -> dict[str, float]:
    """Return what a step does on average.

    Args:
        events: "traceEvents" of a trace in Chrome's format.
        steps: number of steps in the trace.

    Returns:
        launches: calls of the program that start work on the GPU; a CUDA graph is one.
        kernels: kernels and copies that run on the GPU; those of a CUDA graph count one by one.
        busy: seconds in which at least one of them runs.
    """
    events = list(events)
    kernels = [event for event in events if event.get("cat") in ON_GPU]
    calls = [event for event in events if event.get("cat") in ON_HOST and starts_work(event["name"])]
    launches = {event.get("args", {}).get("correlation", index) for index, event in enumerate(calls)}
    busy = 1e-6 * covered((event["ts"], event["ts"] + event["dur"]) for event in kernels)
    return {"launches": len(launches) / steps, "kernels": len(kernels) / steps, "busy": busy / steps}


def starts_work(call: str) -> bool:
    """Return whether a call starts work on the GPU."""
    return any(part in call for part in LAUNCHES)


def covered(intervals: Iterable[tuple[float, float]]) -> float:
    """Return the length that intervals cover together; where they overlap, it counts once."""
    total, reached = 0.0, float("-inf")
    for begin, end in sorted(intervals):
        total += max(0.0, end - max(begin, reached))
        reached = max(reached, end)
    return total
