"""Call a function in a process of its own: an error, a crash or a hang there does no harm here.

The process is forked, so that what this one has imported need not be imported again. CUDA does not work in a forked
process if this one has used it, even to count the GPUs; then the process has to be spawned, which takes longer.
"""

import os
import signal
import traceback
import warnings
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any


class Failed(Exception):
    """A function has failed in its process.

    Args:
        line: what went wrong, in one line.
        trace: the traceback, if there is one.
    """

    def __init__(self, line: str, trace: str = "") -> None:
        super().__init__(line)
        self.trace = trace


class TookTooLong(Failed):
    """A function has not returned in time."""


def call(function: Callable[..., Any], *arguments: Any, seconds: float, method: str = "fork") -> Any:
    """Return what a function returns in a process of its own.

    Args:
        function: function to call.
        arguments: its arguments.
        seconds: time after which the process is killed, with all processes that it has started.
        method: fork or spawn.

    Raises:
        Failed: the function raised, or its process died.
        TookTooLong: the time is over.
    """
    context: Any = get_context(method)
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=answer, args=(sender, function, arguments))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of a fork with several threads
        process.start()
    sender.close()
    try:
        if not receiver.poll(seconds):
            raise TookTooLong(f"not finished after {seconds:.0f} seconds")
        succeeded, value, trace = receiver.recv()
    except EOFError:
        process.join()
        raise Failed(f"the process died: {how_it_ended(process)}") from None
    finally:
        kill_all(process)
    if not succeeded:
        raise Failed(value, trace)
    return value


def answer(sender: Connection, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    """Call the function, and send what it returns, or its error."""
    os.setsid()  # so that its whole group can be killed
    try:
        sender.send((True, function(*arguments), ""))
    except BaseException as error:
        traceback.print_exc()
        sender.send((False, first_line(error), traceback.format_exc()))
    os._exit(0)  # without waiting for threads, or cleaning up what the parent owns


def first_line(error: BaseException) -> str:
    """Return the type of an error and the first line of its message."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def how_it_ended(process: BaseProcess) -> str:
    """Return the signal that ended a process, or its exit code."""
    code = process.exitcode or 0
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"


def kill_all(process: BaseProcess) -> None:
    """Kill a process and all that it has started, and wait for it."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid or 0, signal.SIGKILL)
    process.kill()  # it may not have its own group yet
    process.join()
