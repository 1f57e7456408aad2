"""Memory of a paged KV cache: pages on the device, blocks in host memory that other processes read in place, blocks on disk.

    memory = Memory(blocks=4096, block_size=16, kv_heads=8, head_dim=128, dtype="bfloat16", layers=32, host_blocks=1024)
    keys_and_values = memory.tensor(layer)            # what attention reads and writes: a view, (blocks, 2, heads, tokens, dim)
    memory.write_back(keys, blocks).wait()            # to host memory, while the engine goes on
    found = memory.lookup(keys)                       # by any process of the session that has memory.directory
    memory.load(keys[:found.blocks], blocks).wait()   # from host memory, or from disk

A block is named by a key of 16 bytes, which must say everything that its content depends on besides model and weights: all tokens up to its
end, tenant, adapter. Copies are made by one thread in the order in which they were asked for, and say in a `Ticket` what came of them.
Blocks must not be written to while they are written back, nor used at all while they are loaded. park-core/src/kv/physical/README.md has
the rest: what a killed process leaves, what is on disk, what sleeps.

`Chunks` is for an engine that has pages and a table of its own: bytes of any length by key, in the store and on disk.

The device is plain memory, or that of a GPU. Kernels that use its blocks must run on the default stream, which copies wait for and
which waits for them, or be waited for by the program itself.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from park import ObjectRef, _park

__all__ = ["Chunks", "Lead", "Memory", "Ticket"]

Chunks = _park.KvChunks
Ticket = _park.KvTicket
ORDERS = ("layer_first", "block_first")


class Lead(NamedTuple):
    """How many of the first keys were found without a gap, and how many of those on disk only, where a prefetch pays."""

    blocks: int
    on_disk: int


class Memory:
    """Memory of one cache, in the session of this process (which is opened if there is none).

    `blocks` is as many as the cache has, block 0 included; `layers` the layers of a model whose layers are all of one group, or a list with
    those of each group. Pages follow each other by layer ("layer_first": a dense tensor a layer) or by block ("block_first": copies best).
    `device` is "cpu" or, with the CUDA driver, "cuda:N"; the store is pinned for its copies then, so that all of its capacity is taken from
    the machine. `model` names model and weights: blocks are shared only where it is the same. This process holds `host_blocks` blocks in the store at
    most, in `directory` of another `Memory` if one is given. `disk` is a directory of `disk_bytes` bytes at most, which a restart
    finds again; blocks go there as host memory gives them up, or at once with `write_through`.

    Raises ValueError for sizes and devices that cannot be and for a disk that another process has, `StoreFullError` if there is no memory, `UnsupportedError` for a CUDA device on a machine without, and
    `WrongFormatError` if directory or disk are of another layout or model.
    """

    def __init__(
        self,
        *,
        blocks: int,
        block_size: int = 16,
        kv_heads: int,
        head_dim: int,
        dtype: str,
        layers: int | Sequence[int],
        page_order: str = "layer_first",
        model: bytes = b"",
        device: str = "cpu",
        host_blocks: int,
        directory: ObjectRef | None = None,
        disk: str | os.PathLike[str] | None = None,
        disk_bytes: int = 0,
        discard_other_layouts: bool = False,
        write_through: bool = False,
        queue: int = 256,
    ):
        if page_order not in ORDERS:
            raise ValueError(f"page_order is one of {', '.join(ORDERS)}, not {page_order!r}")
        cuda = re.fullmatch(r"cuda(?::(\d+))?", device)
        if cuda is None and device != "cpu":
            raise ValueError(f"device is cpu, cuda or cuda:N, not {device!r}")
        if disk is None and disk_bytes:
            raise ValueError(f"disk_bytes is {disk_bytes}, and no disk was given")
        self.blocks, self.block_size, self.kv_heads, self.head_dim = blocks, block_size, kv_heads, head_dim
        self.dtype = dtype
        self.device = f"cuda:{cuda[1] or 0}" if cuda else "cpu"
        self.layers = [layers] if isinstance(layers, int) else list(layers)
        self._native = _park.KvMemory(
            blocks=blocks,
            block_size=block_size,
            kv_heads=kv_heads,
            head_dim=head_dim,
            dtype=dtype,
            layers=self.layers,
            block_first=page_order == "block_first",
            model=model,
            cuda=int(cuda[1] or 0) if cuda else None,
            host_blocks=host_blocks,
            directory=directory,
            disk=None if disk is None else os.fspath(disk),
            disk_bytes=disk_bytes,
            discard_other_layouts=discard_other_layouts,
            write_through=write_through,
            queue=queue,
        )

    @property
    def directory(self) -> ObjectRef:
        """What other processes pass as `directory`. Travels in messages; lives as long as somebody has it."""
        return self._native.directory()

    def tensor(self, layer: int) -> Any:
        """The pages of a layer (counted within its group) as a torch tensor that shares the device's memory: shape (blocks, 2, kv_heads,
        block_size, head_dim), keys before values. IndexError for a layer that does not exist."""
        import torch

        if not 0 <= layer < max(self.layers):
            raise IndexError(f"there is no layer {layer}: there are {max(self.layers)}")
        pages = self._native.device()
        flat = (
            torch.frombuffer(pages, dtype=torch.uint8)
            if self.device == "cpu"
            else torch.as_tensor(pages, device=self.device)
        )
        flat = flat.view(getattr(torch, self.dtype))
        size = flat.element_size()
        by_block, by_layer = (stride // size for stride in self._native.strides())
        head = self.block_size * self.head_dim
        shape = (self.blocks, 2, self.kv_heads, self.block_size, self.head_dim)
        strides = (by_block, self.kv_heads * head, head, self.head_dim, 1)
        return flat.as_strided(shape, strides, layer * by_layer)

    def lookup(self, keys: Sequence[bytes], epoch: int = 0) -> Lead:
        """How many of the first keys host memory (of any process) or disk have, in this epoch; at most `host_blocks`."""
        return Lead(*self._native.lookup(keys, epoch))

    def find(self, key: bytes, epoch: int = 0) -> memoryview | None:
        """A block's pages in host memory, in place and read-only, in the order of its group's layers. They stay as long as the view."""
        found = self._native.find(key, epoch)
        return None if found is None else memoryview(found)

    def write_back(self, keys: Sequence[bytes], blocks: Sequence[int], epoch: int = 0, group: int = 0) -> Ticket:
        """Copies device blocks to host memory. The ticket says how many were copied; others were there already."""
        return self._native.write_back(keys, blocks, epoch, group)

    def load(self, keys: Sequence[bytes], blocks: Sequence[int], epoch: int = 0, group: int = 0) -> Ticket:
        """Copies blocks to the device, up to the first that no tier has. The ticket says how many of the first arrived."""
        return self._native.load(keys, blocks, epoch, group)

    def prefetch(self, keys: Sequence[bytes], epoch: int = 0) -> Ticket:
        """Brings blocks from disk to host memory, up to the first that no tier has. The ticket says how many of the first are there."""
        return self._native.prefetch(keys, epoch)

    def persist(self, keys: Sequence[bytes], epoch: int = 0) -> Ticket:
        """Writes blocks of host memory to disk. The ticket says how many are there; it fails for a block that no tier has."""
        return self._native.persist(keys, epoch)

    def flush(self) -> Ticket:
        """Over when everything that was asked for before is, and what is on disk would survive a power failure."""
        return self._native.flush()

    def copy_blocks(self, copies: Sequence[tuple[int, int]]) -> None:
        """Copies whole device blocks, each (from, to), at once. No block may be written twice, or read and written."""
        self._native.copy_blocks(copies)

    def adopt(self) -> int:
        """Holds what other processes have stored, as far as there is room, so that it outlives them. Returns how many blocks."""
        return self._native.adopt()

    def retire(self, epoch: int) -> tuple[int, int]:
        """The weights have changed: gives up the blocks of other epochs. Returns how many in host memory, and how many on disk."""
        return self._native.retire(epoch)

    def sleep(self, keep: Sequence[int] = ()) -> None:
        """Gives the device's memory back until `wake`; copies fail meanwhile. Blocks in `keep` are kept in the store."""
        self._native.sleep(keep)

    def wake(self) -> None:
        """Takes the device's memory again, at the same addresses. Blocks that were not kept are zeros."""
        self._native.wake()

    def stats(self) -> dict[str, int]:
        """What this process's host tier and its disk have counted."""
        return self._native.stats()
