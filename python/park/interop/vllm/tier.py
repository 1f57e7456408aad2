"""The tier that engines share: chunks of keys and values in park's store, by name, and how a worker copies them.

    directory = Directory(room=100_000)     # in the process that owns the session, which must outlive the engines
    KVTransferConfig(..., kv_connector_extra_config={**directory.options, "cpu_bytes_to_use": 8 << 30, ...})

A chunk is one sealed object of the store for each worker: the pages of its blocks, block by block, each in the order of its group's
layers. Its name is a digest of everything that its bytes depend on: vLLM's hash of the tokens and what else they depend on, model, layout
and parallelism (`fingerprint`), the worker, and a salt once a cache was reset. So all engines of a session may share one directory, and an
engine finds what another one computed by looking it up.

Whoever holds a chunk keeps it in memory. In an engine that is the worker: it holds what the scheduler's table has in its slots, and
nothing else. Names of vLLM's hashes agree between processes if their ``PYTHONHASHSEED`` does, or if the hash is a cryptographic one.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence

import park
from park._park import Buffer, ObjectRef, session_address
from park.interop.vllm import offloading_surface
from park.kv.memory import Chunks

offloading_surface.check()

from vllm.v1.kv_offload.base import OffloadKey  # noqa: E402 (only a vLLM that fits is imported from)
from vllm.v1.kv_offload.config import OffloadingConfig  # noqa: E402
from vllm.v1.kv_offload.cpu.common import CPULoadStoreSpec  # noqa: E402

__all__ = ["ChunkSpec", "Directory", "Tier", "fingerprint"]

#: Part of each fingerprint: changes when the meaning of a chunk's bytes does.
_VERSION = 1
_NAME = 16


class Directory:
    """A directory of chunks, with room for those of all engines, in the session of this process (which is opened if there is none).

    It lives as long as this or an engine; the session as long as the process that opened it. Its memory must have room for what engines
    may hold: the `cpu_bytes_to_use` of each.
    """

    def __init__(self, room: int):
        self._chunks = Chunks(room=room)
        self._reference = self._chunks.directory()

    @property
    def options(self) -> dict[str, str]:
        """What engines are to be told, in `kv_connector_extra_config`."""
        return {"park_session": session_address(), "park_directory": self._reference.hex()}


def fingerprint(config: OffloadingConfig) -> bytes:
    """32 bytes that are equal for engines whose chunks of one hash have the same bytes."""
    parallel = {
        field: getattr(config.parallel, field) for field in ("world_size", "tp_size", "pp_size", "pcp_size", "dcp_size")
    }
    said = {
        "version": _VERSION,
        "groups": [dataclasses.astuple(group) for group in config.groups],
        "bytes": config.worker_kv_bytes_per_block,
        "model": config.model.name,
        "dtype": config.model.dtype,
        "tokens_per_hash": config.cache.tokens_per_hash,
        "blocks_per_chunk": config.cache.blocks_per_chunk,
        "layout": config.kv_cache_layout,
        **parallel,
    }
    return hashlib.blake2b(json.dumps(said, sort_keys=True).encode(), digest_size=32).digest()


class ChunkSpec(CPULoadStoreSpec):
    """Where chunks lie: a slot of the worker's for each, -1 for one that it is not to keep, and the name that all workers share."""

    def __init__(self, slots: Sequence[int], names: Sequence[bytes]):
        super().__init__(list(slots))
        self.names = list(names)


class Tier:
    """An engine's view of the directory: scheduler and workers have one each. Only a scheduler has a disk.

    Raises:
        ValueError: an option is missing or wrong.
        RuntimeError: this process has another session open.
        park.exceptions.RayError: the session or the directory is gone, or another process has the disk.
    """

    def __init__(self, config: OffloadingConfig, *, disk: bool):
        options = config.extra_config
        missing = [name for name in ("park_session", "park_directory") if not options.get(name)]
        if missing:
            raise ValueError(
                f"kv_connector_extra_config lacks {' and '.join(missing)}: park.interop.vllm.tier.Directory(room=...).options has them"
            )
        if bool(options.get("park_disk")) != bool(options.get("park_disk_bytes")):
            raise ValueError(
                f"park_disk ({options.get('park_disk')!r}) and park_disk_bytes ({options.get('park_disk_bytes')!r}) go together"
            )
        _join(options["park_session"])
        self.disk = bool(disk and options.get("park_disk"))
        place = {"disk": options["park_disk"], "disk_bytes": int(options["park_disk_bytes"])} if self.disk else {}
        self.chunks = Chunks(directory=ObjectRef.from_hex(options["park_directory"]), **place)
        self.ranks = config.parallel.world_size
        self._fingerprint = fingerprint(config)

    def close(self) -> None:
        """Let go of directory and disk, which another engine may have then."""
        del self.chunks

    def name(self, key: OffloadKey, salt: bytes = b"") -> bytes:
        """What a chunk is called, before workers are told apart. `salt` has at most 16 bytes."""
        return hashlib.blake2b(key, digest_size=_NAME, key=self._fingerprint, salt=salt).digest()

    @staticmethod
    def part(name: bytes, rank: int) -> bytes:
        """What a worker's part of it is called."""
        return hashlib.blake2b(name + rank.to_bytes(4, "little"), digest_size=_NAME).digest()

    def parts(self, name: bytes) -> list[bytes]:
        """What the parts of all workers are called."""
        return [self.part(name, rank) for rank in range(self.ranks)]

    def find(self, name: bytes) -> list[Buffer] | None:
        """The parts of a chunk, if all are in memory: as long as these are kept."""
        return self._all(name, self.chunks.find)

    def fetch(self, name: bytes) -> list[Buffer] | None:
        """The same, with those that are on disk only brought to memory."""
        return self._all(name, self.chunks.fetch)

    def can_fetch(self, name: bytes) -> bool:
        """Whether memory or disk has each part. A damaged one counts: that is known once it is read."""
        return self.disk and all(self.chunks.on_disk(part) or self.chunks.find(part) for part in self.parts(name))

    def persist(self, name: bytes) -> None:
        """Write each part to disk."""
        for part in self.parts(name):
            self.chunks.persist(part)

    def _all(self, name: bytes, get) -> list[Buffer] | None:
        found = []
        for part in self.parts(name):
            buffer = get(part)
            if buffer is None:
                return None
            found.append(buffer)
        return found


def _join(session: str) -> None:
    """Make sure that this process is in a session."""
    if not park.is_initialized():
        park.attach(session)
    elif session_address() != session:
        raise RuntimeError(
            f"this process is in session {session_address()}, and its engine is to share that of {session}"
        )
