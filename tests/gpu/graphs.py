"""Capture a function as a CUDA graph."""

from collections.abc import Callable

import torch

WARM_UP = 3  # calls before the capture, in which libraries choose their algorithms and buffers are made


def capture(step: Callable[[], None], device: str) -> Callable[[], None]:
    """Call a function a few times, then capture it as one CUDA graph, which runs nothing.

    Args:
        step: function that only launches kernels, always the same ones, on the same memory.
        device: cuda. On the CPU the function itself is returned, after the same number of calls.

    Returns:
        A function that replays the graph.
    """
    if device == "cpu":
        for _ in range(WARM_UP):
            step()
        return step
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):  # the same one as in the capture, as autograd remembers it
        for _ in range(WARM_UP):
            step()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        step()
    torch.cuda.synchronize()
    return graph.replay
