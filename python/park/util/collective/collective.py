"""The groups of this process, how their members find each other, and the operations.

Members meet at a named actor, to which rank 0 gives the path of a file without a name (a memfd, by its number in its owner's /proc),
in which torch's FileStore then keeps what they tell each other. So no port is chosen and no file is left.
"""

from __future__ import annotations

import datetime
import os
import time
from dataclasses import dataclass
from typing import Any

from park.util.collective.types import Backend, ReduceOp

_NAMESPACE = "park.util.collective"


@dataclass
class _Group:
    name: str
    rank: int
    size: int
    backend: str
    process_group: Any
    #: Lives as long as a member does, and the name of the group with it.
    meeting: Any
    #: Rank 0's file.
    file: int | None


_groups: dict[str, _Group] = {}


class _Meeting:
    """Where members learn the path; one for each group."""

    def __init__(self):
        self.path: str | None = None

    def tell(self, path):
        self.path = path

    def ask(self):
        return self.path


def nccl_available() -> bool:
    """Whether groups of GPUs can be made."""
    import torch

    return torch.cuda.is_available() and torch.distributed.is_nccl_available()


def gloo_available() -> bool:
    """Whether groups of CPUs can be made."""
    import torch.distributed

    return torch.distributed.is_gloo_available()


def is_backend_available(backend: str) -> bool:
    """Whether groups with this backend can be made."""
    return {"NCCL": nccl_available, "GLOO": gloo_available}.get(str(backend).upper(), lambda: False)()


# --- groups -------------------------------------------------------------------------------------------------------------------------


def init_collective_group(
    world_size: int,
    rank: int,
    backend: str = Backend.NCCL,
    group_name: str = "default",
    gloo_timeout: int = 30_000,
) -> None:
    """Join a group: called by each of its `world_size` members with a rank of its own; returns when all have."""
    kind: Any = Backend(backend)  # a plain string
    if not group_name:
        raise ValueError(f"group_name '{group_name}' needs to be a string.")
    if group_name in _groups:
        raise RuntimeError(f"Trying to initialize a group twice: {group_name!r}")
    if world_size <= 0 or not 0 <= rank < world_size:
        raise ValueError(
            f"a member's rank is at least 0 and below the size of the group, got rank {rank} of {world_size}"
        )
    if not is_backend_available(kind):
        raise RuntimeError(f"{kind} is not available here")
    _groups[group_name] = _join(group_name, rank, world_size, kind, datetime.timedelta(milliseconds=gloo_timeout))


def _meet(name, rank, file, end):
    """The actor where the members of the group meet, and the path that rank 0 has told there."""
    import park

    while True:
        try:
            if rank == 0:
                path = f"/proc/{os.getpid()}/fd/{file}"
                # While the meeting of an earlier group with this name is still being ended, the name is taken.
                meeting = park.remote(num_cpus=0)(_Meeting).options(name=f"group {name}", namespace=_NAMESPACE).remote()
                park.get(meeting.tell.remote(path))
                return meeting, path
            meeting = park.get_actor(f"group {name}", _NAMESPACE)
            path = park.get(meeting.ask.remote())
            if path is not None and os.path.exists(path):
                return meeting, path
        except (ValueError, park.exceptions.RayActorError):
            pass  # not there yet, or of an earlier group
        if time.monotonic() > end:
            raise TimeoutError(f"the members of the collective group {name!r} did not meet in time")
        time.sleep(0.005)


def _join(name, rank, size, backend, timeout):
    import torch.distributed as dist

    file = os.memfd_create("park-collective") if rank == 0 else None
    meeting, path = _meet(name, rank, file, time.monotonic() + timeout.total_seconds())
    store = dist.PrefixStore(name, dist.FileStore(path, -1))
    if backend == Backend.NCCL:
        process_group = dist.ProcessGroupNCCL(store, rank, size, dist.ProcessGroupNCCL.Options())
    else:
        # All members are on this machine, whatever its name resolves to.
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        process_group = dist.ProcessGroupGloo(store, rank, size, timeout)
    group = _Group(name, rank, size, backend, process_group, meeting, file)
    process_group.barrier().wait()
    return group


def create_collective_group(
    actors: list,
    world_size: int,
    ranks: list[int],
    backend: str = Backend.NCCL,
    group_name: str = "default",
    gloo_timeout: int = 30_000,
) -> None:
    """Make these actors the members of a group, from outside; returns when they are."""
    import park

    if len(actors) != len(ranks):
        raise RuntimeError(
            f"Each actor should correspond to one rank. Got '{len(ranks)}' ranks but '{len(actors)}' actors"
        )
    if sorted(ranks) != list(range(world_size)):
        raise RuntimeError(f"Ranks must be a permutation from 0 to '{world_size}'. Got '{ranks}'.")
    park.get(
        [
            actor.__ray_call__.remote(_init_inside, world_size, rank, backend, group_name, gloo_timeout)
            for actor, rank in zip(actors, ranks)
        ]
    )


def _init_inside(_actor, *arguments):
    init_collective_group(*arguments)


def destroy_collective_group(group_name: str = "default") -> None:
    """Leave a group, if this process is in it."""
    group = _groups.pop(group_name, None)
    if group is not None and group.file is not None:
        import park

        os.close(group.file)
        park.kill(group.meeting)


def is_group_initialized(group_name: str) -> bool:
    """Whether this process is in the group."""
    return group_name in _groups


def get_rank(group_name: str = "default") -> int:
    """This process's rank; -1 if it is not in the group."""
    return _groups[group_name].rank if group_name in _groups else -1


def get_collective_group_size(group_name: str = "default") -> int:
    """How many members the group has; -1 if this process is not in it."""
    return _groups[group_name].size if group_name in _groups else -1


def get_group_handle(group_name: str = "default") -> Any:
    """The group as torch knows it."""
    return _group(group_name).process_group


def _group(name: str) -> _Group:
    if name not in _groups:
        raise RuntimeError(f"The collective group {name!r} is not initialized in the process.")
    return _groups[name]


# --- operations ---------------------------------------------------------------------------------------------------------------------


def _tensor(value: Any) -> Any:
    """The tensor whose memory this is."""
    import torch

    if isinstance(value, torch.Tensor):
        return value
    if type(value).__module__ == "numpy":
        return torch.from_numpy(value)
    raise RuntimeError(f"Unrecognized tensor type. Supported types are: np.ndarray, torch.Tensor. Got '{type(value)}'.")


def _operation(op: ReduceOp) -> Any:
    import torch.distributed as dist

    return getattr(dist.ReduceOp, op.name)


def _other(group: _Group, rank: int) -> int:
    if not 0 <= rank < group.size:
        raise ValueError(f"rank '{rank}' must be at least 0 and below the size of the group, {group.size}.")
    return rank


def allreduce(tensor: Any, group_name: str = "default", op: ReduceOp = ReduceOp.SUM) -> None:
    """Each member's tensor becomes what all of them give."""
    import torch.distributed as dist

    options = dist.AllreduceOptions()
    options.reduceOp = _operation(op)
    _group(group_name).process_group.allreduce([_tensor(tensor)], options).wait()


def reduce(tensor: Any, dst_rank: int = 0, group_name: str = "default", op: ReduceOp = ReduceOp.SUM) -> None:
    """The tensor of `dst_rank` becomes what all of them give."""
    import torch.distributed as dist

    group = _group(group_name)
    options = dist.ReduceOptions()
    options.reduceOp = _operation(op)
    options.rootRank = _other(group, dst_rank)
    # gloo leaves parts of the sum in everybody's tensor: only the destination's may change.
    value = _tensor(tensor)
    group.process_group.reduce([value if group.rank == dst_rank else value.clone()], options).wait()


def broadcast(tensor: Any, src_rank: int = 0, group_name: str = "default") -> None:
    """Each member's tensor becomes that of `src_rank`."""
    import torch.distributed as dist

    group = _group(group_name)
    options = dist.BroadcastOptions()
    options.rootRank = _other(group, src_rank)
    group.process_group.broadcast([_tensor(tensor)], options).wait()


def allgather(tensor_list: list, tensor: Any, group_name: str = "default") -> None:
    """`tensor_list` becomes the members' tensors, in the order of their ranks."""
    group = _group(group_name)
    if len(tensor_list) != group.size:
        raise RuntimeError(
            f"The length of the tensor list operands to allgather must be equal to world_size, {group.size}."
        )
    group.process_group.allgather([[_tensor(one) for one in tensor_list]], [_tensor(tensor)]).wait()


def reducescatter(tensor: Any, tensor_list: list, group_name: str = "default", op: ReduceOp = ReduceOp.SUM) -> None:
    """Each member's `tensor` becomes what the entries of its rank in all the lists give."""
    import torch

    group = _group(group_name)
    if len(tensor_list) != group.size:
        raise RuntimeError(
            f"The length of the tensor list operands to reducescatter must be equal to world_size, {group.size}."
        )
    # gloo has no such operation; between processes of one machine the detour is short.
    whole = torch.stack([_tensor(one) for one in tensor_list])
    allreduce(whole, group_name, op)
    _tensor(tensor).copy_(whole[group.rank])


def barrier(group_name: str = "default") -> None:
    """Wait until every member has come here."""
    _group(group_name).process_group.barrier().wait()


def send(tensor: Any, dst_rank: int, group_name: str = "default") -> None:
    """Send a tensor to one member, who calls `recv`."""
    group = _group(group_name)
    if _other(group, dst_rank) == group.rank:
        raise RuntimeError(f"The destination rank '{dst_rank}' is self.")
    group.process_group.send([_tensor(tensor)], dst_rank, 0).wait()


def recv(tensor: Any, src_rank: int, group_name: str = "default") -> None:
    """The tensor becomes what one member sends."""
    group = _group(group_name)
    if _other(group, src_rank) == group.rank:
        raise RuntimeError(f"The source rank '{src_rank}' is self.")
    group.process_group.recv([_tensor(tensor)], src_rank, 0).wait()
