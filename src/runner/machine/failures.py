"""Find out which rank has made the communication between the ranks fail."""

import re
import time
from contextlib import suppress

import torch.distributed as dist

from runner.errors import RunnerError
from runner.machine.distributed import World
from runner.machine.rendezvous import is_running

GRACE = 2.0  # seconds for the other ranks to report why they failed
# Messages of torch.distributed that are raised as plain RuntimeErrors.
SIGNS = (
    *("gloo", "nccl", "c10d", "connection closed", "connection reset", "connection refused", "broken pipe"),
    *("timed out waiting", "pair closure", "socket timeout", "wait timeout", "failed to recv", "failed to send"),
)
DDP_LIMITS = ("Expected to have finished reduction", "Expected to mark a variable ready only once")


def explain(world: World, error: BaseException) -> BaseException:
    """Return an error that names the ranks at fault, if another rank has made the communication fail.

    An error of DistributedDataParallel about unused or reused parameters is replaced by advice to set trainer.shards.
    """
    if any(limit in str(error) for limit in DDP_LIMITS):
        problem = "which parameters get a gradient, and how often, differs between steps or ranks"
        return RunnerError(f"{problem}; set trainer.shards={world.size}, which allows this")
    lost = isinstance(error, dist.DistError) or any(sign in str(error).lower() for sign in SIGNS)
    if world.size == 1 or isinstance(error, RunnerError) or not isinstance(error, RuntimeError) or not lost:
        return error
    reason = re.sub(r"^\[.*?\] ", "", str(error).splitlines()[0])  # without the source location that gloo prepends
    world.report_failure("cannot communicate")
    failed = failures(world)
    lines = [f"cannot communicate with the other ranks of this run: {reason}"]
    for number, member in enumerate(world.members):
        if number not in failed:
            if not is_running(member) or re.search("timed out|timeout", reason.lower()):
                lines.append(
                    f"rank {number} ({member}) has ended or does not respond (device.timeout={world.timeout:g})"
                )
        elif failed[number] != "cannot communicate":
            lines.append(f"rank {number} ({member}) failed: {failed[number]}")
    return RunnerError("\n".join(lines))


def failures(world: World) -> dict[int, str]:
    """Return the reason of each rank that has reported a failure, after giving all ranks the time to do so."""
    deadline = time.monotonic() + GRACE
    found: dict[int, str] = {}
    with suppress(RuntimeError):  # the store is gone, too
        while len(found) < world.size and time.monotonic() < deadline:
            for number in range(world.size):
                if number not in found and world.store.check([f"failed/{number}"]):
                    found[number] = world.store.get(f"failed/{number}").decode()
            time.sleep(0.05)
    return found
