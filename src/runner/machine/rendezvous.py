"""Let the ranks of a run meet through torchrun's store, which outlives a restart of the ranks.

The store still holds the keys from before the restart. Therefore every group of ranks uses keys with a prefix of its
own, which rank 0 chooses and all ranks confirm. torchrun's restart count is not used: machines may disagree on it.
"""

import json
import os
import socket
import time
import uuid
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path

from torch.distributed import (  # type: ignore[attr-defined]  # public, not re-exported
    FileStore,
    PrefixStore,
    Store,
    TCPStore,
)

from runner.errors import RunnerError
from runner.machine.ranks import is_elastic

POLL = 0.01  # seconds between two reads of the store
ROOT = "runner"  # prefix of all keys


@dataclass(frozen=True)
class Member:
    """A process that takes part in a run.

    Args:
        id: a random identifier.
        host: name of its machine.
        pid: number of the process on its machine.
        launcher: identifies the torchrun process that has started it, also after a restart; None: not torchrun.
    """

    id: str
    host: str
    pid: int
    launcher: str | None

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


def this_process() -> Member:
    """Return the description of this process."""
    host = socket.gethostname()
    # Such as /tmp/torchelastic_x/RUN_y/attempt_0/1/error.json; the folder RUN_y is new for each torchrun process.
    file = os.environ.get("TORCHELASTIC_ERROR_FILE")
    launcher = None
    if file is not None and len(Path(file).parents) > 2:
        launcher = uuid.uuid5(uuid.NAMESPACE_URL, f"{host}{Path(file).parents[2]}").hex
    return Member(uuid.uuid4().hex, host, os.getpid(), launcher)


def is_running(member: Member) -> bool:
    """Return whether a process of this machine exists and is not stopped; for other machines, it is unknown: False."""
    if member.host != socket.gethostname():
        return False
    try:
        state = Path(f"/proc/{member.pid}/stat").read_text().rpartition(") ")[2][:1]
    except OSError:
        return False
    return state not in ("T", "Z", "X", "")


def open_store(rank: int, timeout: float) -> Store:
    """Connect to the store of torchrun, to the one of rank 0 if torchrun keeps none, or to the file of a sweep's job.

    Raises:
        RunnerError: torchrun has restarted the ranks, but keeps no store.
    """
    if file := os.environ.get("RUNNER_STORE"):  # the sweep has started all ranks on this machine
        store = FileStore(file)
        store.set_timeout(timedelta(seconds=timeout))
        return store
    agent = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    if not agent and is_elastic() and os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") != "0":
        raise RunnerError(
            "torchrun: restarts need --standalone or --rdzv_backend=c10d; to continue, use `resume FOLDER`"
        )
    host, port = os.environ["MASTER_ADDR"], int(os.environ.get("MASTER_PORT", "29500"))
    return TCPStore(host, port, is_master=not agent and rank == 0, timeout=timedelta(seconds=timeout))


def meet(store: Store, rank: int, size: int, timeout: float) -> tuple[PrefixStore, list[Member]]:
    """Wait until all ranks are here.

    1. Each rank writes its description under `member/RANK`.
    2. Rank 0 reads all of them, and publishes them as a group with a new name; again if one of them changes later.
    3. Each rank that finds itself in the group confirms this under `NAME/ready/RANK`, and waits for the others to.

    Args:
        store: store that all ranks are connected to.
        rank: rank of this process.
        size: world size.
        timeout: seconds to wait for the other ranks.

    Returns:
        A store for this group of ranks only, and the processes of the group by rank.

    Raises:
        RunnerError: ranks are missing; the message names them.
    """
    shared, me, deadline = PrefixStore(ROOT, store), this_process(), time.monotonic() + timeout
    shared.set(f"member/{rank}", json.dumps(asdict(me)))
    group: list[Member] = []
    name = ""
    while True:
        if rank == 0:
            found = present(shared, size)
            if len(found) == size and found != group:  # a rank may have overwritten its entry from before a restart
                group, name = found, uuid.uuid4().hex
                shared.set("group", json.dumps([name, [asdict(member) for member in group]]))
        elif shared.check(["group"]):
            name, members = json.loads(shared.get("group"))
            group = [Member(**member) for member in members]
        if len(group) == size and group[rank] == me:
            shared.set(f"{name}/ready/{rank}", "")
            if shared.check([f"{name}/ready/{each}" for each in range(size)]):
                return PrefixStore(name, shared), group
        if time.monotonic() > deadline:
            key = f"{name}/ready" if len(group) == size and group[rank] == me else "member"
            missing = [each for each in range(size) if not shared.check([f"{key}/{each}"])] or [0]
            raise RunnerError(f"rank {', '.join(map(str, missing))} did not start within device.timeout={timeout:g} s")
        time.sleep(POLL)


def present(store: Store, size: int) -> list[Member]:
    """Return the processes that have announced themselves, which may include some from before a restart."""
    keys = [f"member/{rank}" for rank in range(size)]
    return [Member(**json.loads(store.get(key))) for key in keys] if store.check(keys) else []
