from typing import Any

import pytest

from gpu.trace import covered, summarize


def test_launches_and_kernels_are_counted_per_step() -> None:
    events: list[dict[str, Any]] = [
        {"cat": "cuda_runtime", "name": "cudaLaunchKernel", "ts": 0, "dur": 5, "args": {"correlation": 1}},
        {"cat": "cuda_driver", "name": "cuLaunchKernelEx", "ts": 1, "dur": 2, "args": {"correlation": 1}},
        {"cat": "cuda_runtime", "name": "cudaGraphLaunch", "ts": 9, "dur": 1, "args": {"correlation": 2}},
        {"cat": "cuda_runtime", "name": "cudaMemcpyAsync", "ts": 9, "dur": 1, "args": {"correlation": 3}},
        {"cat": "cuda_runtime", "name": "cudaDeviceSynchronize", "ts": 9, "dur": 1, "args": {"correlation": 4}},
        {"cat": "kernel", "name": "sgemm", "ts": 10, "dur": 10},
        {"cat": "kernel", "name": "relu", "ts": 15, "dur": 10},
        {"cat": "gpu_memcpy", "name": "Memcpy HtoD", "ts": 40, "dur": 5},
        {"cat": "cpu_op", "name": "aten::mm", "ts": 0, "dur": 50},
        {"ph": "M", "name": "process_name"},
    ]
    found = summarize(events, steps=2)
    assert found == {"launches": 1.5, "kernels": 1.5, "busy": pytest.approx(10e-6)}


def test_overlapping_intervals_count_once() -> None:
    assert covered([(0, 10), (5, 8), (9, 12), (20, 21)]) == 13
    assert covered([]) == 0
