"""
The native half of `park`. Import `park` instead.
"""

from _typeshed import Incomplete, SupportsGetItem, SupportsLenAndGetItem
from os import PathLike
from typing import Any, Final, SupportsFloat, SupportsIndex, final
from typing_extensions import disjoint_base

__all__ = [
    "CANCEL_SIGNAL",
    "Buffer",
    "Cache",
    "Call",
    "CallOptions",
    "Changes",
    "ChannelMessage",
    "ChannelReader",
    "ChannelWriter",
    "KvChunks",
    "KvDevice",
    "KvMemory",
    "KvTicket",
    "LoopLane",
    "MappedFile",
    "Membership",
    "NamedBlock",
    "NamedPool",
    "ObjectRef",
    "OffloadTable",
    "PendingCalls",
    "Placement",
    "Plan",
    "Pool",
    "RadixTree",
    "Resources",
    "Scheduler",
    "StreamReader",
    "Tables",
    "TensorView",
    "Vacant",
    "Watch",
    "WeakActor",
    "add_node",
    "attach",
    "audit",
    "await_group",
    "call_actor",
    "cancel",
    "cancel_is_due",
    "children_of",
    "create_actor",
    "create_channel",
    "create_group",
    "current_work",
    "describe_session",
    "dtypes",
    "ended_tasks",
    "export",
    "fetch",
    "fetch_view",
    "find_actor",
    "get",
    "get_pair",
    "head_stats",
    "init",
    "init_threads",
    "interruption_heard",
    "is_cancelled",
    "is_initialized",
    "kill_actor",
    "leave_actor",
    "load_ref",
    "map_file",
    "membership",
    "memory_report",
    "memory_use",
    "open_calls",
    "pair_keys",
    "pickles_for_session",
    "placement_report",
    "put",
    "put_arrow",
    "put_described",
    "put_dlpack",
    "put_pair",
    "put_state",
    "reference_counts",
    "remove_group",
    "remove_node",
    "remove_pair",
    "role",
    "runs_event_loop",
    "session_address",
    "session_id",
    "shutdown",
    "store_stats",
    "stored_strides",
    "submit_task",
    "task_depth",
    "title_of_actor",
    "traced_calls",
    "trim",
    "value_of",
    "values",
    "view",
    "wait",
    "wait_for_item",
    "worker_main",
    "worker_participant",
]

CANCEL_SIGNAL: Final[int]
"""
The signal on which a worker process asks `cancel_is_due`.
"""

@final
class Buffer:
    """
    Bytes of a sealed object, or of a message of a channel, shared without a copy. Supports the buffer protocol, read-only.
    """
    def __len__(self, /) -> int: ...
    def for_torch(self, /) -> Buffer:
        """
        The same bytes, for `torch.frombuffer`.
        """
    def tensor(
        self,
        /,
        offset: SupportsIndex,
        code: SupportsIndex,
        bits: SupportsIndex,
        shape: SupportsGetItem[int, SupportsIndex],
        strides: SupportsGetItem[int, SupportsIndex],
    ) -> TensorView:
        """
        The dense tensor whose elements start at `offset` of these bytes. Strides are in elements.
        """

@final
class Cache:
    """
    Which block holds which tokens' keys and values, who shares them, and what can be found again. It touches no memory: an engine asks
    it for blocks, and says what it has computed. Owned by one thread at a time.

    A sequence knows tokens (`known`), of which the first so many are `computed`. In a step, `prefill` and `decode` make room for what is
    computed next, write the tables that kernels read (`Tables`), and return the copies that come first; `settle` ends the step.

    `groups` lists the groups of layers: "full", or the tokens of a sliding window. `secret` is 32 bytes that keys depend on: caches that
    are to find each other's blocks have the same; by default it is random. `eviction` is "lru", "tiny_lfu" or "retention"; `algorithm`
    "xxh3", "sha256" or "blake3". `verify` compares a found block's tokens; `partial` uses the beginning of a block, by a copy; `events`
    records what can be found, for `take_events`.

    Raises InvalidArgumentError for a pool without a block, a block without a token, no groups, a window smaller than a block.
    """
    def __new__(
        cls,
        /,
        *,
        blocks: SupportsIndex = ...,
        block_size: SupportsIndex = ...,
        groups: SupportsGetItem[int, SupportsIndex | str] | None = None,
        caching: bool = True,
        eviction: str = "lru",
        algorithm: str = "xxh3",
        secret: Any | None = None,
        verify: bool = False,
        partial: bool = False,
        events: bool = False,
    ) -> Cache: ...
    def __repr__(self, /) -> str: ...
    def add(
        self,
        /,
        tokens: Any,
        *,
        tenant: SupportsIndex = ...,
        salt: bytes | None = None,
        adapter: bytes | None = None,
        media: SupportsGetItem[int, tuple[SupportsIndex, SupportsIndex, Any]] | None = None,
    ) -> int:
        """
        A new sequence that knows these tokens, of which nothing is computed; returns its id. Ids are never used twice.

        `tokens` is an array of int32, uint32, int64 or uint64, or a list. `salt` and `adapter` divide the tenant's cache; `media` lists
        `(start, length, digest of 32 bytes)` of tokens that stand for something else.

        Raises OutOfRangeError, with index and value, for a token that is negative or beyond 32 bits.
        """
    def add_tenant(self, /, quota: SupportsIndex | None = None) -> int:
        """
        One more tenant, with room for `quota` blocks at a time. Tenants share no blocks. Tenant 0 is there from the start.
        """
    def advance(self, /, sequence: SupportsIndex, computed: SupportsIndex) -> None:
        """
        The first `computed` tokens of a sequence are computed, or will be by work that is given out: they can be found from now on.
        """
    def attach(self, /, sequence: SupportsIndex, limit: SupportsIndex | None = None) -> int:
        """
        Gives a sequence without blocks its longest cached prefix, as `lookup` finds it; returns how many of its tokens are computed now.

        Raises NoFreeBlocksError if the tenant's quota has no room for it.
        """
    def audit(self, /) -> None:
        """
        Checks every invariant. Raises CorruptError with the first thing that does not add up. Linear in blocks and sequences.
        """
    def blocks_held(self, /, sequence: SupportsIndex) -> int:
        """
        How many blocks a sequence holds, in all groups.
        """
    def computed(self, /, sequence: SupportsIndex) -> int:
        """
        Tokens of a sequence that are computed.
        """
    def decode(self, /, sequences: Any, tokens: Any, tables: Tables | None = None) -> Changes:
        """
        Computes one more token of each sequence, the one that was sampled from its last: as `extend` by that token, and `prefill` to the
        end. One call for all sequences that decode; `tokens` has one token for each. All or nothing.

        Raises NoFreeBlocksError, NotFoundError, or InvalidArgumentError; then nothing has changed.
        """
    def detach(self, /, sequence: SupportsIndex) -> None:
        """
        The sequence keeps its tokens and loses its blocks, as if nothing had been computed: what preemption does.
        """
    @property
    def epoch(self, /) -> int:
        """
        The weight version whose blocks are found now.
        """
    def extend(self, /, sequence: SupportsIndex, tokens: Any) -> None:
        """
        The sequence has got further tokens.
        """
    def fill(self, /, sequences: Any, ends: Any, tables: Tables, starts: Any | None = None) -> tuple[int, int]:
        """
        Writes the tables of tokens `starts[i]` to `ends[i]` of each sequence, all of which have room, and changes nothing. Without `starts`
        they are the first ones. Returns how many tokens and how many pages that are.
        """
    def finish(self, /, sequence: SupportsIndex) -> None:
        """
        The sequence has ended: its blocks are free unless others use them, and what was computed can still be found.
        """
    def fork(self, /, sequence: SupportsIndex) -> int:
        """
        A sequence that goes on from where this one is, with the same blocks; returns its id. Constant time.
        """
    def grow(self, /, sequence: SupportsIndex, tokens: SupportsIndex) -> Changes:
        """
        Makes room for the first `tokens` tokens of a sequence, known or to come.

        Raises NoFreeBlocksError if there are not enough free blocks, or the tenant may not have them.
        """
    def known(self, /, sequence: SupportsIndex) -> int:
        """
        Tokens that a sequence knows.
        """
    def lookup(self, /, sequence: SupportsIndex, limit: SupportsIndex | None = None) -> int:
        """
        How many tokens of a sequence without blocks are cached: at most `limit`, and short of its last one, which has to be computed.
        """
    def prefill(self, /, sequences: Any, ends: Any, tables: Tables | None = None) -> Changes:
        """
        Computes the next tokens of each sequence, up to its first `ends[i]`, all of which it knows: makes room, writes the tables, and
        lets others find what is computed. `sequences` is int64, `ends` any array of integers. All or nothing.

        Raises NoFreeBlocksError, NotFoundError, or InvalidArgumentError; then nothing has changed.
        """
    def renew(self, /, sequence: SupportsIndex) -> None:
        """
        The sequence starts again in the present epoch: its tokens are known, and nothing of them is computed.
        """
    def reset(self, /) -> bool:
        """
        Nothing can be found any more. False, and nothing happens, while a sequence has blocks.
        """
    def retain(self, /, sequence: SupportsIndex, priority: SupportsIndex, until: SupportsIndex = ...) -> None:
        """
        From now on, this is how long the computed blocks of a sequence are worth keeping after it: those of a lower priority (0 to 255)
        go first, until the cache's time is `until` (0: for ever). With `eviction="retention"`.
        """
    def rewind(self, /, sequence: SupportsIndex, computed: SupportsIndex) -> None:
        """
        Work that was given out has failed: only the first `computed` tokens are computed, and the others can no longer be found.
        """
    def set_epoch(self, /, epoch: SupportsIndex) -> None:
        """
        The model has got new weights: from now on no look-up finds what was computed before. Constant time.

        Raises InvalidArgumentError unless the epoch is later than the present one: that would be an update that nobody noticed.
        """
    def set_time(self, /, now: SupportsIndex) -> None:
        """
        The cache's time, by which retention ends. Time that goes back changes nothing.
        """
    def settle(self, /) -> None:
        """
        The step is over: its copies are done, its tokens are computed.
        """
    def stats(self, /) -> dict:
        """
        What was counted since the cache was made, and what there is now: a dict of ints.
        """
    def table(self, /, sequence: SupportsIndex, group: SupportsIndex = ...) -> Any:
        """
        The blocks of a sequence in a group, from the first position on: an array of int32. 0 is the null block, behind a window.
        """
    def take_event_batch(
        self,
        /,
        time: SupportsFloat | SupportsIndex,
        *,
        medium: str = "GPU",
        rank: SupportsIndex | None = ...,
        hashes: str = "int",
    ) -> bytes:
        """
        The same as one batch in vLLM 0.33's wire format (MessagePack), as its routers read it. `time` is in seconds since 1970, `medium` is
        where the blocks are ("GPU", "CPU", "STORAGE"), `rank` the publisher's among data parallel replicas or None; `hashes` "int" writes
        the low 64 bits of keys, "bytes" all of them.

        Raises InvalidArgumentError for another word in `hashes`; then the events are still there.
        """
    def take_events(self, /) -> list[dict]:
        """
        What happened to what can be found since the last call, with `events=True`: dicts with a "type" of "stored", "removed" or "cleared".
        """
    def trim(self, /, sequence: SupportsIndex) -> None:
        """
        Gives back blocks past those that known tokens need: room for drafts that were not accepted.
        """

@final
class Call:
    """
    One call of an async actor. `begin`, then either `succeed` or `fail`, once.
    """
    def begin(self, /) -> Any:
        """
        Loads the arguments and calls the method: what it returns, or the coroutine that it is.
        """
    @property
    def chosen_name(self, /) -> str | None:
        """
        The name that somebody chose for it.
        """
    @property
    def depth(self, /) -> int:
        """
        How many tasks and calls led to it, itself included.
        """
    def end(self, /) -> None:
        """
        The stream has come to its end: so has the call.
        """
    def fail(self, /, error: Any) -> None:
        """
        Raises the exception in the results, makes the call again, or ends the process, whichever it is to be.
        """
    @property
    def method(self, /) -> str:
        """
        The method's name.
        """
    def stream(self, /) -> Any | None:
        """
        The producing end of the stream that the call makes; None if it makes none.
        """
    def succeed(self, /, value: Any) -> None:
        """
        Seals the results.
        """
    @property
    def task_id(self, /) -> str:
        """
        Which call it is, among all calls of the session.
        """

@final
class CallOptions:
    """
    What the calls of one method have in common.
    """
    def __new__(
        cls,
        /,
        yields: SupportsIndex | tuple[str, SupportsIndex | None, SupportsIndex],
        max_task_retries: SupportsIndex,
        group: str,
        retry_on: SupportsGetItem[int, SupportsIndex] | None,
        pending: PendingCalls | None,
        name: str,
    ) -> CallOptions:
        """
        `group` is the concurrency group, empty for the actor's own; `retry_on` says after which exceptions the call is repeated, for
        `park.worker.wants_retry` to read; `name` is what people know the call by, empty for its method's name.
        """

@final
class Changes:
    """
    What a call of `Cache` asks an engine to do to its memory, and how much of its tables it wrote.
    """
    def __repr__(self, /) -> str: ...
    @property
    def copies(self, /) -> Any:
        """
        int32 `[k, 2]`: blocks whose contents are copied, from and to, before anything of the step is computed.
        """
    @property
    def pages(self, /) -> int:
        """
        Blocks up to the ends of all sequences of the step: numbers that `indices` has got.
        """
    @property
    def placed(self, /) -> Any:
        """
        int64 `[k, 4]`: what block tables have got: sequence, group, position in blocks, block. For engines that keep tables of their own.
        """
    @property
    def tokens(self, /) -> int:
        """
        Tokens of the step: numbers that `slot_mapping` has got.
        """

@final
class ChannelMessage:
    """
    A message that lies in its slot. The slot is given back when this was released and every view of it is gone.
    """
    def copy(self, /) -> Any:
        """
        The value, with nothing in it that lies in the slot.
        """
    def release(self, /) -> None:
        """
        Gives the slot back, once views of it are gone too.
        """
    def view(self, /) -> Any:
        """
        The value; arrays, tensors and large buffers in it are views of the slot, and keep it.
        """

@final
class ChannelReader:
    """
    A seat among the readers of a channel. Use `park.channel`.
    """
    def __new__(cls, /, channel: ObjectRef) -> ChannelReader:
        """
        Takes a seat at the channel that this object is.
        """
    def close(self, /) -> None:
        """
        Gives the seat back.
        """
    def receive(self, /, timeout: SupportsFloat | SupportsIndex | None) -> ChannelMessage:
        """
        Waits for the next message.
        """

@final
class ChannelWriter:
    """
    The writer's end of a channel. Use `park.channel`.
    """
    def __new__(cls, /, channel: ObjectRef) -> ChannelWriter:
        """
        Claims the writer's end of the channel that this object is.
        """
    def close(self, /) -> None:
        """
        No more messages will come.
        """
    def write(self, /, value: Any, timeout: SupportsFloat | SupportsIndex | None) -> None:
        """
        Writes a value as the next message.
        """

@final
class KvChunks:
    """
    Chunks by keys of 16 bytes, which must say everything that a chunk's content depends on. Nothing is given up here: what `put`, `find`
    and `fetch` return keeps the chunk in memory, for every process; when nobody has it any more it is gone from there.
    """
    def __new__(
        cls,
        /,
        *,
        room: SupportsIndex = 0,
        directory: ObjectRef | None = None,
        disk: str | PathLike[str] | None = None,
        disk_bytes: SupportsIndex = 0,
    ) -> KvChunks:
        """
        In a directory with room for `room` chunks that is made, or in the one that another process made; and on `disk`, a directory of at
        most `disk_bytes` bytes that a restart finds again.
        """
    def directory(self, /) -> ObjectRef:
        """
        The object by which other processes open the directory.
        """
    def fetch(self, /, key: bytes) -> Buffer | None:
        """
        The same, or brought from disk; None too for one that was damaged there.
        """
    def find(self, /, key: bytes) -> Buffer | None:
        """
        A chunk that any process has in memory, in place and read-only; None if none has.
        """
    def flush(self, /) -> None:
        """
        Waits until everything that was written is on the disk itself.
        """
    def on_disk(self, /, key: bytes) -> bool:
        """
        Whether the disk has a chunk. Its content is checked when it is fetched.
        """
    def persist(self, /, key: bytes) -> None:
        """
        Writes a chunk of memory to disk, unless it is there.
        """
    def put(self, /, key: bytes, parts: SupportsGetItem[int, Any]) -> Buffer:
        """
        Stores the bytes of `parts` one behind the other, unless the key is there, and returns the chunk. Nobody may write to them meanwhile.
        """
    def stats(self, /) -> dict:
        """
        What the disk has counted.
        """

@final
class KvDevice:
    """
    Device memory of a paged KV cache as a Python buffer. Its blocks are written to by whoever has them from a cache.
    """
    @property
    def __cuda_array_interface__(self, /) -> dict:
        """
        How CUDA libraries take it, PyTorch among them; AttributeError if the processor's own memory is meant.
        """
    def __len__(self, /) -> int: ...

@final
class KvMemory:
    """
    Memory of a paged KV cache. Use `park.kv.memory.Memory`.
    """
    def __new__(
        cls,
        /,
        *,
        blocks: SupportsIndex,
        block_size: SupportsIndex,
        kv_heads: SupportsIndex,
        head_dim: SupportsIndex,
        dtype: str,
        layers: Any,
        block_first: bool,
        model: SupportsGetItem[int, SupportsIndex],
        cuda: SupportsIndex | None,
        host_blocks: SupportsIndex,
        directory: ObjectRef | None,
        disk: str | PathLike[str] | None,
        disk_bytes: SupportsIndex,
        discard_other_layouts: bool,
        write_through: bool,
        queue: SupportsIndex,
    ) -> KvMemory: ...
    def adopt(self, /) -> int:
        """
        Holds what other processes stored, as far as there is room.
        """
    def copy_blocks(self, /, copies: SupportsGetItem[int, tuple[SupportsIndex, SupportsIndex]]) -> None:
        """
        Copies whole blocks of the device to others.
        """
    def device(self, /) -> KvDevice:
        """
        Device memory as a buffer that can be written to.
        """
    def directory(self, /) -> ObjectRef:
        """
        The object by which other processes open the host tier.
        """
    def find(self, /, key: bytes, epoch: SupportsIndex) -> Buffer | None:
        """
        A block's pages in host memory, in place; None if they are not there.
        """
    def flush(self, /) -> KvTicket:
        """
        Everything that was asked for before is done, and on the disk itself.
        """
    def load(
        self,
        /,
        keys: SupportsGetItem[int, SupportsGetItem[int, SupportsIndex]],
        blocks: Any,
        epoch: SupportsIndex,
        group: SupportsIndex,
    ) -> KvTicket:
        """
        Copies blocks of host memory or disk to the device.
        """
    def lookup(
        self, /, keys: SupportsGetItem[int, SupportsGetItem[int, SupportsIndex]], epoch: SupportsIndex
    ) -> tuple[int, int]:
        """
        How many of the first keys lower tiers have, and how many of those on disk only.
        """
    def persist(
        self, /, keys: SupportsGetItem[int, SupportsGetItem[int, SupportsIndex]], epoch: SupportsIndex
    ) -> KvTicket:
        """
        Writes blocks of host memory to disk.
        """
    def prefetch(
        self, /, keys: SupportsGetItem[int, SupportsGetItem[int, SupportsIndex]], epoch: SupportsIndex
    ) -> KvTicket:
        """
        Brings blocks from disk to host memory.
        """
    def read_block(self, /, block: SupportsIndex, group: SupportsIndex) -> bytearray:
        """
        A copy of a device block's pages.
        """
    def retire(self, /, epoch: SupportsIndex) -> tuple[int, int]:
        """
        Gives up blocks of other epochs: how many in host memory, and on disk.
        """
    def sleep(self, /, keep: Any) -> None:
        """
        Gives the device's memory back; content of the blocks in `keep` comes back with `wake`.
        """
    def stats(self, /) -> dict:
        """
        What host and disk tier have counted.
        """
    def strides(self, /) -> tuple[int, int]:
        """
        Bytes from a page to that of the next block, and of the next layer.
        """
    def wake(self, /) -> None:
        """
        Takes the device's memory again.
        """
    def write_back(
        self,
        /,
        keys: SupportsGetItem[int, SupportsGetItem[int, SupportsIndex]],
        blocks: Any,
        epoch: SupportsIndex,
        group: SupportsIndex,
    ) -> KvTicket:
        """
        Copies device blocks to host memory.
        """

@final
class KvTicket:
    """
    A transfer under way.
    """
    def poll(self, /) -> int | None:
        """
        How many blocks arrived; None while it is under way. Raises what the transfer failed with.
        """
    def wait(self, /, timeout: SupportsFloat | SupportsIndex | None = None) -> int:
        """
        Waits until it is over: how many blocks arrived. Raises what the transfer failed with.
        """

@final
class LoopLane:
    """
    The calls of a group that run on an event loop.
    """
    def admit(self, /) -> list[Call]:
        """
        The calls that may start now, without those that were cancelled before. On the loop's thread.
        """
    def attend(self, /, limit: SupportsFloat | SupportsIndex | None, alone: bool) -> bool | None:
        """
        Takes the calls that have come, on the loop's thread. `limit` is how long, in seconds, the loop may sleep: 0 not at all, None as
        long as it likes. If it is `alone`, with nothing to wait for but calls and whoever wakes it, it sleeps here. True if calls may
        start now, false if none came and it is to go on, None if it is to sleep as event loops do.
        """
    def knock(self, /) -> None:
        """
        Ends the loop's sleep in `attend`. From any thread.
        """
    def leave(self, /) -> bool:
        """
        A call has ended. True if others may start now.
        """

@final
class MappedFile:
    """
    A file mapped by the current session's store, read-only.
    """
    def __len__(self, /) -> int: ...
    def put(
        self, /, offset: SupportsIndex, dtype: str, shape: SupportsGetItem[int, SupportsIndex], view: SupportsIndex
    ) -> ObjectRef:
        """
        A tensor object whose elements lie at `offset`, in C order. They stay in the file, unless they are not aligned to their size,
        which no processor likes: such elements are copied into the store.
        """
    def read(self, /, offset: SupportsIndex, size: SupportsIndex) -> bytes:
        """
        A copy of `size` bytes at `offset`; EOFError if the file is shorter.
        """

@final
class Membership:
    """
    For a thread that a worker's thread starts: whom it works for.
    """
    def run(self, /, function: Any) -> None:
        """
        Calls `function` as a thread of this worker.
        """

@final
class NamedBlock:
    """
    A block of a `NamedPool`, with vLLM's names for what there is to know about it. Use `park.interop.vllm`.
    """
    def __repr__(self, /) -> str: ...
    @property
    def block_hash(self, /) -> bytes | None:
        """
        What it is found by: a hash and four bytes of group.
        """
    @property
    def block_hash_num_tokens(self, /) -> int | None:
        """
        How many tokens of a prefix its hash stands for.
        """
    @property
    def block_id(self, /) -> int:
        """
        Its number.
        """
    @property
    def is_null(self, /) -> bool:
        """
        Whether it is the null block.
        """
    @property
    def next_free_block(self, /) -> Any | None:
        """
        The free block that is taken after it, or the end of the queue; `None` for a block that is not free.
        """
    @property
    def pool(self, /) -> Any | None:
        """
        The pool that it belongs to; `None` once that is gone.
        """
    @property
    def prev_free_block(self, /) -> Any | None:
        """
        The free block that is taken before it, or the head of the queue; `None` for a block that is not free.
        """
    @property
    def ref_cnt(self, /) -> int:
        """
        How many use it.
        """
    @ref_cnt.setter
    def ref_cnt(self, /, count: SupportsIndex) -> None:
        """
        One that is used gets so many users. Only the pool's calls take a block out of the free ones or put it there.
        """
    def reset_hash(self, /) -> None:
        """
        It cannot be found any more.
        """
    def set_block_hash(self, /, block_hash: bytes, num_tokens: SupportsIndex | None = None) -> None:
        """
        From now on it is found by this hash.
        """

@final
class NamedPool:
    """
    A pool of blocks that are found by hashes. Use `park.interop.vllm`.
    """
    def __new__(cls, /, blocks: SupportsIndex, secret: SupportsLenAndGetItem[SupportsIndex]) -> NamedPool:
        """
        A pool of `blocks` free blocks, the null block among them. Who cannot guess `secret`, 32 bytes, cannot make hashes that collide.
        """
    def adopt(self, /, owner: Any) -> list:
        """
        Makes an object of each block, for the Python pool that owns this one.
        """
    def allocate(self, /, count: SupportsIndex, all: list) -> tuple[list, list]:
        """
        Takes `count` blocks. Returns them, from the list of all, and the hashes that they have lost.
        """
    def audit(self, /, references: SupportsGetItem[int, SupportsIndex]) -> None:
        """
        Checks every invariant of the pool; `references` are those that the caller counts, by block.
        """
    def cache(
        self,
        /,
        blocks: Any,
        hashes: Any,
        mask: SupportsGetItem[int, bool] | None,
        group: SupportsIndex,
        block_size: SupportsIndex,
        done: SupportsIndex,
    ) -> list:
        """
        Full blocks of a request become findable: block `i` of them by `hashes[i]`, unless `mask[i]` is false or it is the null block.
        `done` blocks of the request are before them. A block that was found by a shorter prefix loses that; returns those hashes.
        """
    @property
    def cached(self, /) -> int:
        """
        How many blocks can be found.
        """
    def find(self, /, hash: bytes, groups: SupportsGetItem[int, SupportsIndex], all: list) -> list | None:
        """
        The block of each group that is found by `hash`; `None` if one group has none.
        """
    def first(self, /, name: bytes) -> int | None:
        """
        The first block that has this name (a hash with its group).
        """
    def forget(self, /, block: Any) -> list:
        """
        The block cannot be found any more; returns the names that it had.
        """
    @property
    def free(self, /) -> int:
        """
        How many blocks are free.
        """
    def free_after(self, /, block_id: SupportsIndex | None) -> int | None:
        """
        The free block that is taken after `block_id`, or first of all; `None` after the last, and for one that is not free.
        """
    def free_order(self, /) -> list[int]:
        """
        The numbers of the free blocks, in the order in which they are taken.
        """
    def has(self, /, block_id: SupportsIndex, name: bytes) -> bool:
        """
        Whether a block has this name.
        """
    def holders(self, /) -> dict:
        """
        All names, and the numbers of the blocks that have them, oldest first.
        """
    def more_names(self, /) -> dict:
        """
        The names past the first of blocks that have such, by the block's number.
        """
    def name(self, /, block: Any, name: bytes, tokens: SupportsIndex | None) -> bool:
        """
        One more name for a block; `tokens` is what it stands for, if it is the first. Whether the block had not got it yet.
        """
    def release(self, /, blocks: Any) -> list:
        """
        One user less of each block, which are free after the last, in this order: see `BlockPool.free_blocks` of vLLM. Blocks of other
        pools are left alone and returned.
        """
    def release_last(self, /, blocks: Any) -> None:
        """
        As `release`, but they are taken after all blocks that are free now.
        """
    def reset(self, /) -> bool:
        """
        No block can be found any more. False, and nothing happens, while a block is in use.
        """
    def touch(self, /, blocks: Any) -> None:
        """
        One more user of each block. The null block is passed over.
        """

@final
class ObjectRef:
    """
    A reference to an object in the store, which may not exist yet: `park.get` waits for it. The object lives as long as
    references to it do, in any process. References travel inside values that are put, passed or returned.

    One that is made of an id names the object only if that exists; else it is an id that compares and prints, and `get` raises.
    """
    @classmethod
    def __class_getitem__(cls, key: Any) -> Any: ...
    def __await__(self, /) -> Any:
        """
        Waits for the value in a coroutine: `value = await ref`.
        """
    def __copy__(self, /) -> ObjectRef:
        """
        One more reference to the same object.
        """
    def __deepcopy__(self, /, _memo: Any) -> ObjectRef:
        """
        The reference itself: programs make deep copies of what holds references, and what it names never changes.
        """
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self, /) -> int: ...
    def __new__(cls, /, id: bytes) -> ObjectRef:
        """
        The reference with this id (16 bytes, from `binary()`). If there is no such object in the session, it names nothing.
        """
    def __reduce__(self, /) -> tuple[Any, tuple[bytes]]: ...
    def __repr__(self, /) -> str: ...
    def _on_completed(self, /, callback: Any) -> None:
        """
        Calls `callback(value)`, or of an error `callback(exception)`, in a thread of park's own once the object is there.
        """
    def as_future(self, /) -> Any:
        """
        An `asyncio.Future` of the value, of the event loop that runs in this thread.
        """
    def binary(self, /) -> bytes:
        """
        The id as 16 bytes.
        """
    def call_site(self, /) -> str:
        """
        Where the task was submitted, which nobody writes down: as in Ray, unless that is asked for.
        """
    @classmethod
    def from_binary(cls, /, id_bytes: bytes) -> ObjectRef:
        """
        As the constructor.
        """
    @classmethod
    def from_hex(cls, /, hex_id: Any) -> ObjectRef:
        """
        As the constructor, of the digits that `hex()` gives.
        """
    @classmethod
    def from_random(cls, /) -> ObjectRef:
        """
        A reference to nothing that is like no other.
        """
    def future(self, /) -> Any:
        """
        A `concurrent.futures.Future` of the value.
        """
    def hex(self, /) -> str:
        """
        The id as 32 hexadecimal digits.
        """
    def is_nil(self, /) -> bool:
        """
        Whether it is `nil()`.
        """
    def job_id(self, /) -> Any:
        """
        The id of the session's one job.
        """
    @classmethod
    def nil(cls, /) -> ObjectRef:
        """
        The reference that names nothing: what a wait that was too short gives.
        """
    def owner_address(self, /) -> bytes:
        """
        Where its owner is reached: the session, which owns every object; empty if it names nothing.
        """
    @classmethod
    def size(cls, /) -> int:
        """
        How many bytes an id has.
        """
    def task_id(self, /) -> Any:
        """
        The id of the task or call that is to make it; of one that is made, as if it were the first result of its maker.
        """
    def tensor_transport(self, /) -> str | None:
        """
        By which transport its tensors travel: None, for they lie in shared memory.
        """

@final
class OffloadTable:
    """
    Which chunks of keys and values lie in which of a tier's slots, who reads them, and whose slot is used next: by `policy`, "lru" or
    "arc". A rank is a pair of numbers; the least goes first.
    """
    def __new__(cls, /, slots: SupportsIndex, policy: str = "lru") -> OffloadTable: ...
    def arc_lists(self, /) -> tuple[list[bytes], list[bytes], list[bytes], list[bytes]] | None:
        """
        What the policy "arc" knows: chunks that were wanted once, and again, then the names that either list gave up, each in the order in
        which it goes; `None` with another policy.
        """
    def arc_target(self, /) -> float | None:
        """
        How many chunks that were wanted once the policy "arc" means to keep; `None` with another policy.
        """
    def audit(self, /) -> None:
        """
        Raises if an invariant of the table does not hold.
        """
    def clear(self, /) -> None:
        """
        Forgets everything, transfers included.
        """
    def evict(
        self, /, count: SupportsIndex, kept: SupportsGetItem[int, bytes | bytearray]
    ) -> list[tuple[bytes, int]] | None:
        """
        Takes the first chunks that may go and are not kept out of the tier: their names and slots; `None` if there are not so many.
        """
    def evictable(self, /) -> int:
        """
        How many chunks are ready and not being read.
        """
    def finish(self, /, names: SupportsGetItem[int, bytes | bytearray], succeeded: bool) -> list[int]:
        """
        The transfers that write these chunks are over; returns which of the list were being written, by index.
        """
    def forget(self, /, name: bytes) -> bool:
        """
        Forgets a chunk whose content is lost; `False` if it is not there, or is being read or written.
        """
    def free(self, /) -> int:
        """
        How many slots nothing is in.
        """
    def freed(self, /) -> list[int]:
        """
        The free slots among those, the next to be used last.
        """
    def missed(self, /, names: SupportsGetItem[int, bytes | bytearray]) -> None:
        """
        These chunks are missed, in order, as far as they are not there.
        """
    def pin(self, /, names: SupportsGetItem[int, bytes | bytearray]) -> list[int]:
        """
        One more reader of each chunk; returns their slots.
        """
    def raise_ranks(
        self,
        /,
        names: SupportsGetItem[int, bytes | bytearray],
        ranks: SupportsGetItem[int, tuple[SupportsIndex, SupportsIndex]],
    ) -> None:
        """
        Each chunk that is there gets its rank, unless the one that it has is not less.
        """
    def rank_of(self, /, name: bytes) -> tuple[int, int] | None:
        """
        The rank of a chunk.
        """
    def readers(self, /, name: bytes) -> int | None:
        """
        Readers of a chunk, -1 while it is being written, `None` if it is not there.
        """
    def readers_of(self, /, names: SupportsGetItem[int, bytes | bytearray]) -> list[int | None]:
        """
        The same for each of several.
        """
    def set_arc_target(self, /, target: SupportsFloat | SupportsIndex) -> None:
        """
        From now on it means to keep so many.
        """
    def slot(self, /, name: bytes) -> int | None:
        """
        The slot of a chunk.
        """
    def store(
        self,
        /,
        names: SupportsGetItem[int, bytes | bytearray],
        ranks: SupportsGetItem[int, tuple[SupportsIndex, SupportsIndex]],
        kept: SupportsGetItem[int, bytes | bytearray],
    ) -> tuple[list[int], list[bytes]] | None:
        """
        A slot for each name, at its rank, and the names that gave theirs up; `None` if there are too few without those of `kept`.
        """
    def tick(self, /) -> int:
        """
        A time later than every one before.
        """
    def touch(self, /, names: SupportsGetItem[int, bytes | bytearray]) -> None:
        """
        The chunks are wanted now, in order: the last one is the last to go. Each that is ready counts as wanted once more, and of one that
        is not there it is known that it is missed.
        """
    def unpin(self, /, names: SupportsGetItem[int, bytes | bytearray]) -> None:
        """
        One reader less of each chunk.
        """
    def used(self, /) -> int:
        """
        How many slots were ever used since the table was made or cleared.
        """
    def wanted(self, /, names: SupportsGetItem[int, bytes | bytearray], again: SupportsGetItem[int, bool]) -> None:
        """
        The same for those that are there, which count as wanted once more where `again` says so.
        """
    def writing(self, /) -> int:
        """
        How many chunks are being written.
        """

@final
class PendingCalls:
    """
    This process's calls to an actor that are not done, and how many there may be.
    """
    def __new__(cls, /, limit: SupportsIndex) -> PendingCalls: ...

@final
class Placement:
    """
    Where work may run.
    """
    def __new__(
        cls,
        /,
        *,
        group: SupportsIndex | None = None,
        index: SupportsIndex | None = None,
        capture: bool = False,
        spread: bool = False,
        selectors: SupportsGetItem[int, SupportsGetItem[int, tuple[str, str, SupportsGetItem[int, str]]]] = ...,
        patience: str = "room",
        environment: tuple[
            str, SupportsGetItem[int, str], SupportsGetItem[int, tuple[str, str]], str, SupportsIndex, str
        ]
        | None = None,
    ) -> Placement:
        """
        In a bundle of a placement group (in any of them without `index`), or on nodes that pass one of the selectors, best first.
        `patience` is "room" (the first with room), "feasible" (the first that could ever have room) or "none" (now or never).
        `environment` is another interpreter: its name for people, its command, variables and folder, the seconds it may take to be
        ready, and what it is told.
        """
    def __repr__(self, /) -> str: ...

@final
class Plan:
    """
    What an engine does in one step, in this order: `swap_out`, `copies`, `swap_in`, then the work. Made by `Scheduler.step`, answered by
    `commit` or `abandon`.

    Work has `len(plan)` pieces, one a sequence; `sequences`, `starts`, `counts`, `drafts`, `samples` and `proposed_counts` have one number
    for each.
    """
    def __len__(self, /) -> int: ...
    def __repr__(self, /) -> str: ...
    @property
    def admitted(self, /) -> Any:
        """
        int64: requests that began, or began again, with this plan.
        """
    @property
    def copies(self, /) -> Any:
        """
        int32 `[k, 2]`: blocks whose contents are copied, from and to.
        """
    @property
    def counts(self, /) -> Any:
        """
        int32 `[n]`: how many known tokens are computed.
        """
    @property
    def drafts(self, /) -> Any:
        """
        int32 `[n]`: how many drafts there is room for after them.
        """
    @property
    def dropped(self, /) -> Any:
        """
        int64: requests that ended because the weights changed.
        """
    @property
    def number(self, /) -> int:
        """
        Plans are numbered from 1.
        """
    @property
    def pages(self, /) -> int:
        """
        Blocks up to the ends of all sequences of the step: numbers that `indices` has got.
        """
    @property
    def placed(self, /) -> Any:
        """
        int64 `[k, 4]`: what block tables have got: sequence, group, position in blocks, block. For engines that keep tables of their own.
        """
    @property
    def preempted(self, /) -> Any:
        """
        int64: requests that lost their blocks and wait again; their tokens will be computed again, unless they are found.
        """
    @property
    def proposed(self, /) -> Any:
        """
        int64 `[sum of proposed_counts]`: tokens that older weights generated, as drafts for the new ones, in the order of the work.
        """
    @property
    def proposed_counts(self, /) -> Any:
        """
        int32 `[n]`: how many of the drafts the plan itself proposes.
        """
    @property
    def samples(self, /) -> Any:
        """
        bool `[n]`: whether a token is sampled after the last one; otherwise more of the prompt follows in a later step.
        """
    @property
    def sequences(self, /) -> Any:
        """
        int64 `[n]`: the sequences.
        """
    @property
    def starts(self, /) -> Any:
        """
        int32 `[n]`: the position of the first token that is computed.
        """
    @property
    def swap_in(self, /) -> Any:
        """
        int32 `[k, 2]`: blocks that come back from host memory after the copies, and the places they come from.
        """
    @property
    def swap_out(self, /) -> Any:
        """
        int32 `[k, 2]`: blocks that go to host memory before anything else, and the places they go to.
        """
    @property
    def swapped(self, /) -> Any:
        """
        int64: requests whose blocks went to host memory and that wait again.
        """
    @property
    def tokens(self, /) -> int:
        """
        Tokens that the step computes, room for drafts included: numbers that `slot_mapping` has got.
        """

@final
class Pool:
    """
    The threads of a group.
    """
    def serve(self, /) -> None:
        """
        The life of one thread: calls, one after another, until the worker ends.
        """

@final
class RadixTree:
    """
    A radix tree over tokens: which prefixes are cached, what may be evicted, and where each prefix lies. `bigrams` keys it by pairs of
    tokens; without `slots` it keeps none, and whoever keeps something by node heeds the splits that `match_prefix` and `insert` report.
    `eviction` is "lru", "lfu", "fifo", "mru", "filo", "priority" or "slru", which keeps what was inserted `protected` times. `secret`,
    32 bytes, makes the tree's hashes unpredictable.
    """
    def __len__(self, /) -> int:
        """
        Nodes, the root not counted.
        """
    def __new__(
        cls,
        /,
        page: SupportsIndex = 1,
        *,
        secret: SupportsLenAndGetItem[SupportsIndex],
        bigrams: bool = False,
        slots: bool = True,
        eviction: str = "lru",
        protected: SupportsIndex = 2,
    ) -> RadixTree: ...
    def audit(self, /) -> None:
        """
        Raises if an invariant of the tree does not hold.
        """
    def children(self, /, node: SupportsIndex) -> list[int]:
        """
        The nodes below. Looks at every node: for inspection.
        """
    def evict(self, /, units: SupportsIndex) -> tuple[int, list[int], bytes]:
        """
        Evicts leaves until so many units are gone or none may go: how many went, the nodes, and their slots as bytes of int64.
        """
    def evictable(self, /) -> int:
        """
        Units that no lock protects.
        """
    def hits(self, /, node: SupportsIndex) -> int:
        """
        How many insertions went through a node.
        """
    def insert(
        self,
        /,
        namespace: bytes,
        tokens: Any,
        slots: Any | None = None,
        *,
        priority: SupportsIndex = 0,
        counted: SupportsIndex = 0,
    ) -> tuple[int, int, bool, tuple[int, int, int] | None]:
        """
        Caches a prefix, in whole pages: its last node, how many units were there before, whether the node is new, and the split.
        """
    def lock(self, /, node: SupportsIndex) -> int:
        """
        Protects the prefix that ends with a node; returns how many units no other lock protects.
        """
    def locks(self, /, node: SupportsIndex) -> int:
        """
        How many locks protect a node.
        """
    def match_prefix(self, /, namespace: bytes, tokens: Any) -> tuple[int, int, tuple[int, int, int] | None]:
        """
        The longest cached prefix, in whole pages: its last node (0 for none), its length, and the split that it took, if any.
        """
    def namespace(self, /, node: SupportsIndex) -> bytes:
        """
        The namespace of a node.
        """
    def parent(self, /, node: SupportsIndex) -> int:
        """
        The node above; the root's is itself.
        """
    def path(self, /, node: SupportsIndex) -> list[int]:
        """
        The nodes from below the root to a node.
        """
    def protected(self, /) -> int:
        """
        Units that a lock protects.
        """
    def reset(self, /) -> None:
        """
        Forgets everything, locks included.
        """
    def slots_to(self, /, node: SupportsIndex) -> bytes:
        """
        The slots of the prefix that ends with a node, as bytes of int64.
        """
    def tokens(self, /, node: SupportsIndex) -> bytes:
        """
        The tokens of the edge to a node, as bytes of uint32.
        """
    def unlock(self, /, node: SupportsIndex) -> int:
        """
        Takes one lock back; returns how many units nothing protects any more.
        """
    def victim(self, /) -> int | None:
        """
        The node that the next eviction takes.
        """

@final
class Resources:
    """
    Amounts of named resources, exact to 0.0001.
    """
    def __new__(cls, /, amounts: dict) -> Resources: ...
    def __repr__(self, /) -> str: ...

@final
class Scheduler:
    """
    Continuous batching over a paged KV cache: requests come, each `step` makes a plan within a budget of tokens, and the engine answers
    with `commit`, or, if it failed, with `abandon`. It cannot deadlock: what can never fit is refused by `add`.

    A step computes at most `step_tokens` tokens, of at most `running` requests, and at most `chunk` tokens of one prompt. `policy` says
    who is admitted next: "fcfs", "priority", "longest_prefix", or "fair", which gives tenants turns of `quantum` tokens. `swap_slots` are
    places in host memory for blocks of preempted requests; `reserve_output` tokens past its prompt an admitted request has room for;
    `drafts` is how many drafts a decode has room for. The others are those of `Cache`.

    Raises InvalidArgumentError for a budget, a chunk or a number of requests of zero, and for what `Cache` refuses.
    """
    def __new__(
        cls,
        /,
        *,
        step_tokens: SupportsIndex = ...,
        running: SupportsIndex = ...,
        chunk: SupportsIndex = ...,
        policy: str = "fcfs",
        quantum: SupportsIndex = ...,
        swap_slots: SupportsIndex = ...,
        reserve_output: SupportsIndex = ...,
        drafts: SupportsIndex = ...,
        blocks: SupportsIndex = ...,
        block_size: SupportsIndex = ...,
        groups: SupportsGetItem[int, SupportsIndex | str] | None = None,
        caching: bool = True,
        eviction: str = "lru",
        algorithm: str = "xxh3",
        secret: Any | None = None,
        verify: bool = False,
        partial: bool = False,
        events: bool = False,
    ) -> Scheduler: ...
    def __repr__(self, /) -> str: ...
    def abandon(self, /) -> None:
        """
        The plan in flight failed: nothing of its work is computed. Whoever it admitted waits again.
        """
    def abort(self, /, sequence: SupportsIndex) -> None:
        """
        The request ends now. What it computed can still be found. Not while a plan is in flight.
        """
    def add(
        self,
        /,
        tokens: Any,
        max_new: SupportsIndex,
        *,
        tenant: SupportsIndex = ...,
        salt: bytes | None = None,
        adapter: bytes | None = None,
        media: SupportsGetItem[int, tuple[SupportsIndex, SupportsIndex, Any]] | None = None,
        priority: SupportsIndex = ...,
        on_epoch: str = "finish",
    ) -> int:
        """
        A new request, which waits; returns the id of its sequence. It ends after `max_new` tokens at the latest.

        `tokens` is the prompt: an array of int32, uint32, int64 or uint64, or a list. `salt`, `adapter` and `media` are those of
        `Cache.add`. With `policy="priority"` a lower `priority` is sooner. `on_epoch` says what becomes of it when the weights change:
        "finish" over the old keys and values, "drop", or "draft": start again, with what was generated proposed to the new weights.

        Raises RequestTooLongError if it could not finish with the whole pool, or its tenant's quota, to itself; OutOfRangeError, with index
        and value, for a token that is negative or beyond 32 bits.
        """
    def add_tenant(self, /, quota: SupportsIndex | None = None) -> int:
        """
        One more tenant, with room for `quota` blocks at a time. Tenants share no blocks. Tenant 0 is there from the start.
        """
    def audit(self, /) -> None:
        """
        Checks every invariant. Raises CorruptError with the first thing that does not add up. Linear in blocks and requests.
        """
    def commit(self, /, tokens: Any, counts: Any | None = None, finished: Any | None = None) -> None:
        """
        The plan in flight is done. `tokens` has what was sampled, in the order of the work: int `[n]`, one for each, of which those that
        did not sample are not looked at; or `[n, k]` with `counts` int `[n]`: accepted drafts in order, and one more. `finished`, bool
        `[n]`, says which requests end with that; those that have said all they may end by themselves.

        Raises InvalidArgumentError if that does not fit the plan, which is then still in flight.
        """
    @property
    def epoch(self, /) -> int:
        """
        The weight version whose blocks are found now.
        """
    def fill(self, /, tables: Tables) -> None:
        """
        Writes the tables of the plan in flight; those of another group, say.
        """
    def fork(self, /, sequence: SupportsIndex) -> int:
        """
        One more request that goes on from where this one is: another sample, another branch of a search. Returns the id of its sequence.
        Not while a plan is in flight.
        """
    def known(self, /, sequence: SupportsIndex) -> int:
        """
        Tokens that a request knows: its prompt, and what was generated.
        """
    def metrics(self, /) -> dict:
        """
        What was counted since the scheduler was made, and what there is now: a dict of ints.

        Those of `Cache.stats`; `running` and `waiting` requests; `steps`, `tokens_computed`, `admitted`, `steps_waited` (before admission,
        summed), `recomputed` and `swapped` (preemptions), `finished`, `dropped`, `drafts` that there was room for and `drafts_accepted`.
        """
    def pause(self, /) -> None:
        """
        Steps make empty plans until `resume`; requests keep their blocks.
        """
    @property
    def plan(self, /) -> Plan:
        """
        The plan in flight, or the last one.
        """
    def reset(self, /) -> bool:
        """
        Nothing can be found any more. False, and nothing happens, while a request has blocks.
        """
    def resume(self, /) -> None:
        """
        Steps make plans again.
        """
    def retain(self, /, sequence: SupportsIndex, priority: SupportsIndex, until: SupportsIndex = ...) -> None:
        """
        From now on, this is how long the computed blocks of a request are worth keeping after it; see `Cache.retain`.
        """
    def set_epoch(self, /, epoch: SupportsIndex) -> None:
        """
        The model has got new weights. Constant time; the next step treats each request as it asked for.

        Raises InvalidArgumentError unless the epoch is later than the present one, and while a plan is in flight.
        """
    def set_time(self, /, now: SupportsIndex) -> None:
        """
        The cache's time, by which retention ends. Time that goes back changes nothing.
        """
    def sleep(self, /) -> None:
        """
        Pauses and gives back every block, so that the engine can release its memory: what ran waits again, nothing is found any more.
        """
    def step(self, /, tables: Tables | None = None) -> Plan:
        """
        Makes the plan of the next step, and writes its tables. It is empty if there is nothing to do, or the scheduler is paused.

        Raises InvalidArgumentError while the last plan is in flight; also for a table that is too small: then the plan is in flight, `plan`
        has it, and `fill` writes it to larger ones.
        """
    def table(self, /, sequence: SupportsIndex, group: SupportsIndex = ...) -> Any:
        """
        The blocks of a request in a group, from the first position on: an array of int32. 0 is the null block, behind a window.
        """
    def take_event_batch(
        self,
        /,
        time: SupportsFloat | SupportsIndex,
        *,
        medium: str = "GPU",
        rank: SupportsIndex | None = ...,
        hashes: str = "int",
    ) -> bytes:
        """
        The same as one batch in vLLM's wire format; see `Cache.take_event_batch`.
        """
    def take_events(self, /) -> list[dict]:
        """
        What happened to what can be found since the last call, with `events=True`; see `Cache.take_events`.
        """

@disjoint_base
class StreamReader:
    """
    The consuming end of a stream.

    `park.ObjectRefGenerator` is this and the rules of iteration. Not for two threads at a time.
    """
    def __new__(cls, /, result: ObjectRef, link: ObjectRef) -> StreamReader:
        """
        The stream of the work with this result, from this link on.
        """
    @property
    def _generator_ref(self, /) -> ObjectRef:
        """
        The result that says how the generator ended.
        """
    def _is_ready(self, /) -> bool:
        """
        Whether the next item, or the end, is there.
        """
    @property
    def _link(self, /) -> ObjectRef:
        """
        An object that is there once the next item is, or the end.
        """
    def _take(self, /) -> ObjectRef | None:
        """
        The next item, which must be there; None at the end. A stream that broke gives the result that says why, and then ends.
        """
    def is_finished(self, /) -> bool:
        """
        Whether everything was taken and nothing will come.
        """

@final
class Tables:
    """
    Arrays that a step writes its block tables to, in place: numpy arrays, torch tensors on the CPU, or whatever else lends its memory
    by the buffer protocol or DLPack.

    For `n` sequences with `t` tokens to compute, whose keys and values lie in `p` blocks:

    * `block_table`, int32 `[n, width]`: the blocks of each sequence, padded with block 0 (vLLM, FlashAttention).
    * `slot_mapping`, int64 `[t]`: `block * block_size + offset` of each token (vLLM's cache writes).
    * `indptr`, int32 `[n + 1]`; `indices`, int32 `[p]`; `last_page_len`, int32 `[n]`: FlashInfer's page table.
    * `cu_seqlens_q`, int32 `[n + 1]`: sums of the tokens to compute (FlashAttention, FlashInfer's `qo_indptr`).
    * `cu_seqlens_k`, int32 `[n + 1]`: sums of the tokens that are attended to.
    * `seq_lens`, int32 `[n]`: tokens that are attended to.

    The arrays are made once, for the largest step: a step writes the beginning of each and leaves the rest as it is. They are kept, and
    kept in place, as long as this object lives. `group` is the group of layers whose blocks are written.

    With `keep_rows` the rows of `block_table` that a step wrote are the steps' until the next one has written its own: nobody else writes
    to them, and a step writes to them what has changed since, which for long sequences is next to nothing. Without, it writes them whole.

    Raises InvalidArgumentError for an array of another type or number of dimensions, one that is read-only, not contiguous, or on another
    device, and for two that share memory.
    """
    def __new__(
        cls,
        /,
        *,
        group: SupportsIndex = ...,
        block_table: Any | None = None,
        slot_mapping: Any | None = None,
        indptr: Any | None = None,
        indices: Any | None = None,
        last_page_len: Any | None = None,
        cu_seqlens_q: Any | None = None,
        cu_seqlens_k: Any | None = None,
        seq_lens: Any | None = None,
        keep_rows: bool = False,
    ) -> Tables: ...
    def __repr__(self, /) -> str: ...
    @property
    def group(self, /) -> int:
        """
        The group of layers whose blocks are written.
        """

@final
class TensorView:
    """
    A tensor in the store, shared without a copy, read-only. numpy, torch, jax and others read it by their `from_dlpack`.
    """
    @property
    def __array_interface__(self, /) -> dict:
        """
        numpy's array interface, version 3. A type that numpy has no code for is raw bytes ("V") here.
        """
    def __dlpack__(
        self,
        /,
        *,
        stream: SupportsIndex | None = None,
        max_version: tuple[SupportsIndex, SupportsIndex] | None = None,
        dl_device: tuple[SupportsIndex, SupportsIndex] | None = None,
        copy: bool | None = None,
    ) -> Any:
        """
        A DLPack capsule. Without `copy` it is read-only, which needs `max_version=(1, 0)` or higher: BufferError otherwise.
        """
    def __dlpack_device__(self, /) -> tuple[int, int]:
        """
        `(kDLCPU, 0)`.
        """
    def __reduce__(self, /) -> Any:
        """
        Refused: a view is of this process's memory. What travels is a reference.
        """
    def __repr__(self, /) -> str: ...
    @property
    def dtype(self, /) -> str:
        """
        The name of the element type, as numpy and torch spell it.
        """
    @property
    def nbytes(self, /) -> int:
        """
        Bytes of all elements.
        """
    @property
    def raw(self, /) -> Buffer:
        """
        The elements as bytes, in the order in which they lie in memory.
        """
    @property
    def shape(self, /) -> tuple:
        """
        The extents.
        """
    @property
    def strides(self, /) -> tuple:
        """
        The distances between neighbours, in elements.
        """

@final
class Vacant:
    """
    A seat that a thread is to take.
    """
    def take(self, /) -> None:
        """
        Takes the seat: this thread is a worker until it returns.
        """

@final
class Watch:
    """
    A list of references, each with what is to be told once its object is there. One thread calls `next`.
    """
    def __new__(cls, /) -> Watch:
        """
        An empty list, for references of the session that is open.
        """
    def add(self, /, object: ObjectRef, token: Any) -> bool:
        """
        Waits for one more reference. False if nothing is to be waited for, since its object is there.
        """
    def close(self, /) -> None:
        """
        Ends `next`.
        """
    def next(self, /) -> list[tuple[ObjectRef, Any]]:
        """
        Blocks until objects are there, and returns their references and tokens. Nothing once the list is closed and empty.
        """

@final
class WeakActor:
    """
    The id of an actor, without a part in keeping it alive.
    """
    def __eq__(self, value: object, /) -> bool: ...
    def __hash__(self, /) -> int: ...
    def __ne__(self, value: object, /) -> bool: ...
    def __new__(cls, /, id: bytes) -> WeakActor: ...
    def __reduce__(self, /) -> tuple[Any, tuple[bytes]]: ...
    def __repr__(self, /) -> str: ...
    def binary(self, /) -> bytes:
        """
        The id as bytes, as of a reference.
        """
    def hex(self, /) -> str:
        """
        The id in hexadecimal digits, as of a reference.
        """

def add_node(name: str, labels: dict[str, str], resources: dict[str, SupportsFloat | SupportsIndex]) -> None:
    """
    Adds a node to the session that this process opened.
    """

def attach(address: str, read_only: bool) -> None:
    """
    Joins the session at `address` from an unrelated process; `read_only` to look at objects and make none.
    """

def audit(patience: SupportsFloat | SupportsIndex) -> list[str]:
    """
    Checks that slots, references, ledgers, journals, rings and the arena of the whole session add up. Returns what does not, after
    looking again for `patience` seconds: what others do meanwhile can look wrong for a moment.
    """

def await_group(group: SupportsIndex, value: ObjectRef) -> ObjectRef:
    """
    A reference whose object is what `value` is, once the group is placed.
    """

def call_actor(handle: Any, method: str, args: tuple, kwargs: dict, options: CallOptions) -> list:
    """
    Calls a method; returns references to its results, or to the result and the first link of its stream.
    """

def cancel(object: ObjectRef, link: ObjectRef | None, force: bool, recursive: bool) -> None:
    """
    Cancels the work that is to make an object; `link` is the current link of its stream, if it makes one.
    """

def cancel_is_due() -> bool:
    """
    Asked by the signal handler: whether the task that the main thread runs is to be interrupted.
    """

def children_of(parent: bytes) -> list[bytes]:
    """
    First results of the tasks and calls that the one with this first result asked for and that are not done, as far as the head and this
    process know.
    """

def create_actor(
    class_: ObjectRef,
    class_name: str,
    args: tuple,
    kwargs: dict,
    placement: Resources,
    lifetime: Resources,
    max_restarts: SupportsIndex,
    name: tuple[str, str] | None,
    in_order: bool,
    place: Placement | None,
    detached: bool,
    get_if_exists: bool,
) -> tuple[ObjectRef, ObjectRef | None]:
    """
    Creates an actor; returns the reference that is its handle. If there is one of its name, and that will do, the class of that one comes
    with it.
    """

def create_channel(slots: SupportsIndex, slot_bytes: SupportsIndex, readers: SupportsIndex) -> ObjectRef:
    """
    Makes a channel in the store of this process's session; returns its object.
    """

def create_group(
    bundles: SupportsGetItem[int, Resources],
    layout: str,
    *,
    selectors: SupportsGetItem[int, SupportsGetItem[int, tuple[str, str, SupportsGetItem[int, str]]]] = ...,
    name: tuple[str, str] | None = None,
    target: str | None = None,
    domain: str | None = None,
    detached: bool = False,
) -> int:
    """
    Makes a placement group; returns its number. `layout` is one of Ray's strategies.
    """

def current_work() -> tuple[bytes, str, Any | None] | None:
    """
    The task or call that this thread of a worker runs: the id of its first result, its name, and the function if it is a task, or the
    name that somebody chose if it is a call.
    """

def describe_session() -> dict:
    """
    Actors, unfinished tasks and workers of the session, as the head knows them.
    """

def dtypes() -> list[tuple[str, int, int]]:
    """
    Every element type of the store: `(name, DLPack code, bits)`.
    """

def ended_tasks() -> list[
    tuple[bytes, str, tuple[int, int], int, bool, int, int, tuple[str, str] | None, bytes | None]
]:
    """
    Tasks of the session that ended lately, oldest first.
    """

def export(pickled: Any) -> ObjectRef:
    """
    Stores the bytes that `pickled()` returns: a function or class. References that it contains live as long as the object.
    """

def fetch(object: ObjectRef) -> bytes:
    """
    The raw bytes that `export` stored.
    """

def fetch_view(object: ObjectRef) -> Buffer:
    """
    The bytes of an object as they are stored, without a copy.
    """

def find_actor(namespace: str, name: str) -> tuple[ObjectRef, ObjectRef]:
    """
    The handle and the class of the actor with this namespace and name.
    """

def get(
    object_refs: Any, *, timeout: SupportsFloat | SupportsIndex | None = None, _use_object_store: bool = False
) -> Any:
    """
    Waits for objects and returns their values. A list of references gives a list of values.

    Raises GetTimeoutError after `timeout` seconds, or the error of the first object that has one.
    """

def get_pair(key: bytes) -> bytes | None:
    """
    The value of this key; None if it has none.
    """

def head_stats() -> dict:
    """
    Numbers about scheduling.
    """

def init(
    argv: SupportsGetItem[int, str],
    env: dict[str, str],
    hello: str,
    node_name: str,
    labels: dict[str, str],
    resources: dict[str, SupportsFloat | SupportsIndex],
    prestart: SupportsIndex,
    store: Incomplete,
    ready: tuple[SupportsIndex, SupportsIndex, SupportsIndex] | None,
    output: SupportsIndex | None,
    memory: tuple[SupportsIndex, SupportsFloat | SupportsIndex, SupportsIndex],
) -> str:
    """
    Opens a session with worker processes and returns its address. `ready` is a zygote that waits to be used (park.nursery): the socket
    to it, its process and a pidfd of that, which are this call's from now on; so is `output`, a socket for what workers print.
    `memory` is how often the use of memory is looked at, in milliseconds (0: never), above which share of it a worker is ended, and how
    often a task is repeated that was (-1: without end).
    """

def init_threads(
    node_name: str, labels: dict[str, str], resources: dict[str, SupportsFloat | SupportsIndex], store: Incomplete
) -> str:
    """
    Opens a session whose workers are threads of this process and returns its address.
    """

def interruption_heard() -> None:
    """
    The interruption of this thread's task was raised.
    """

def is_cancelled() -> bool:
    """
    Whether the work of this thread was cancelled.
    """

def is_initialized() -> bool:
    """
    Whether a session is open in this process.
    """

def kill_actor(handle: Any, no_restart: bool) -> None:
    """
    Kills an actor's process.
    """

def leave_actor() -> bool:
    """
    The actor that this thread's worker is ends itself: once the call that asks for it is over, or its constructor; an actor with an event
    loop at once, for on that it may be asked by what belongs to no call. False if the worker is no actor.
    """

def load_ref(id: bytes) -> ObjectRef:
    """
    What a pickled reference becomes: the reference with this id, if the object still exists in the current session.
    """

def map_file(path: str | PathLike[str]) -> MappedFile:
    """
    Maps a file. As long as objects of its parts exist, in any process, nobody may truncate or rewrite it; to rename another file
    over it, or to remove it, is fine for those who have it mapped already.
    """

def membership() -> Membership | None:
    """
    The worker thread that this thread works for; None if it works for its process.
    """

def memory_report(most: SupportsIndex) -> dict:
    """
    Who holds the store's memory: by process, and the `most` largest objects.
    """

def memory_use() -> tuple[int, int] | None:
    """
    Bytes of memory in use and bytes that there are: of the machine, or of the container that is nearer to its limit. None if the system
    does not say.
    """

def open_calls() -> list[dict]:
    """
    Calls of actors that were sent and are not done.
    """

def pair_keys(prefix: bytes) -> list[bytes]:
    """
    The keys that begin so, in order.
    """

def pickles_for_session() -> bool:
    """
    Whether this thread pickles a value for the session: what refers to an object then takes a reference along.
    """

def placement_report(only: SupportsIndex | None = None) -> dict:
    """
    The nodes and the placement groups of the session; or one group and no nodes.
    """

def put(value: Any, *, _owner: Any | None = None, _tensor_transport: Any | None = None) -> ObjectRef:
    """
    Stores a value and returns a reference to it.

    The elements of arrays and tensors are copied once. Dense layouts (C, Fortran, any order of the dimensions) come back as they
    were; others (gaps, negative strides, broadcasts) are gathered into C order by that same copy.
    """

def put_arrow(stream: Any) -> ObjectRef:
    """
    Stores an Arrow stream: see `arrow`.
    """

def put_described(description: Any) -> ObjectRef:
    """
    Stores the tensor that a description of `park.tensors` speaks of. It is trusted: whoever made it vouches for the address.
    """

def put_dlpack(exporter: Any) -> ObjectRef:
    """
    Stores a copy of a tensor of any library that speaks DLPack; `get` gives a `TensorView` of it.
    """

def put_pair(key: bytes, value: bytes, overwrite: bool) -> bytes | None:
    """
    Gives this key a value; one that it has stays, unless it is to be overwritten. Returns what it had before.
    """

def put_state(pickled: Any) -> ObjectRef:
    """
    Stores a pickle whose tensors lie side by side in one region of the object. `pickled()` returns the pickle, the region's length
    and `[(offset, description), ...]`; references that it contains live as long as the object.
    """

def reference_counts() -> list[tuple[bytes, int, int, bool, bool]]:
    """
    References to the objects that this process or a message refers to; in the head's process also for the tasks and actors it keeps.
    """

def remove_group(group: SupportsIndex) -> None:
    """
    Removes a placement group and ends what runs in it.
    """

def remove_node(name: str) -> None:
    """
    Removes a node from the session that this process opened, and kills what runs there.
    """

def remove_pair(key: bytes) -> bool:
    """
    Forgets this key. Returns whether it was there.
    """

def role() -> str:
    """
    "none", "head", "worker" or "peer".
    """

def runs_event_loop() -> bool:
    """
    Whether this thread's worker is an async actor.
    """

def session_address() -> str:
    """
    What `attach` takes.
    """

def session_id() -> int:
    """
    The session's tag; differs from session to session.
    """

def shutdown() -> None:
    """
    Ends the process's session, if one is open.
    """

def store_stats() -> dict:
    """
    Numbers about the object store, for the whole session.
    """

def stored_strides(description: Any) -> list[int]:
    """
    The strides, in elements, that a described tensor has once it is stored.
    """

def submit_task(
    function: ObjectRef,
    name: str,
    args: tuple,
    kwargs: dict,
    num_returns: SupportsIndex | tuple[str, SupportsIndex | None, SupportsIndex],
    resources: Resources,
    max_retries: SupportsIndex,
    place: Placement | None,
) -> list:
    """
    Submits a task; returns references to its results, or to the result and the first link of its stream.
    """

def task_depth() -> int:
    """
    How many tasks and calls led to the one that asks, itself included: 0 in a program, 1 in what it asks for.
    """

def title_of_actor(class_name: str) -> None:
    """
    This process is an actor of this class from now on. Nothing in a process that is no worker.
    """

def traced_calls() -> list[tuple[str, str | None, bytes, int, bool, int, int, tuple[str, str] | None, bytes | None]]:
    """
    The calls that this worker process finished last. Nothing elsewhere.
    """

def trim() -> int:
    """
    Gives the memory of free parts of the store back to the system; returns how many bytes that were.
    """

def value_of(object: ObjectRef) -> Any:
    """
    The value of an object that is there, as `get` returns it.
    """

def values() -> list[dict]:
    """
    Every value of the store, and every promise of one: not the handles of actors, nor functions and classes.
    """

def view(object_ref: ObjectRef, *, timeout: SupportsFloat | SupportsIndex | None = None) -> TensorView:
    """
    Waits for a tensor and returns it as a `TensorView`, whichever library it was put by.
    """

def wait(
    object_refs: Any,
    *,
    num_returns: SupportsIndex = 1,
    timeout: SupportsFloat | SupportsIndex | None = None,
    fetch_local: bool = True,
) -> tuple:
    """
    Waits until `num_returns` of the objects are ready, at most `timeout` seconds.

    Returns a list of those that are ready (at most `num_returns`) and a list of the others, both in the order given.
    """

def wait_for_item(reader: StreamReader, timeout: SupportsFloat | SupportsIndex | None) -> bool:
    """
    Waits until the next item, or the end, is there; false after `timeout` seconds.
    """

def worker_main(control: SupportsIndex, arena: SupportsIndex, participant: SupportsIndex) -> None:
    """
    Runs jobs until this process is told to end. The descriptors are the session's segments, inherited from the zygote.
    """

def worker_participant() -> int:
    """
    The number of this worker in its session; 0 elsewhere.
    """
