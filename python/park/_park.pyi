"""
The native half of `park`. Import `park` instead.
"""

from _typeshed import Incomplete, SupportsGetItem
from os import PathLike
from typing import Any, Final, SupportsFloat, SupportsIndex, final
from typing_extensions import disjoint_base

__all__ = [
    "CANCEL_SIGNAL",
    "Buffer",
    "Call",
    "CallOptions",
    "ChannelMessage",
    "ChannelReader",
    "ChannelWriter",
    "LoopLane",
    "MappedFile",
    "Membership",
    "ObjectRef",
    "PendingCalls",
    "Placement",
    "Pool",
    "Resources",
    "StreamReader",
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
    "pickles_for_session",
    "placement_report",
    "put",
    "put_arrow",
    "put_described",
    "put_dlpack",
    "put_state",
    "reference_counts",
    "remove_group",
    "remove_node",
    "role",
    "runs_event_loop",
    "session_address",
    "session_id",
    "shutdown",
    "store_stats",
    "stored_strides",
    "submit_task",
    "traced_calls",
    "trim",
    "value_of",
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
class Call:
    """
    One call of an async actor. `begin`, then either `succeed` or `fail`, once.
    """
    def begin(self, /) -> Any:
        """
        Loads the arguments and calls the method: what it returns, or the coroutine that it is.
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
        yields: SupportsIndex | tuple[str, SupportsIndex | None],
        max_task_retries: SupportsIndex,
        group: str,
        retry_on: SupportsGetItem[int, SupportsIndex] | None,
        pending: PendingCalls | None,
    ) -> CallOptions:
        """
        `group` is the concurrency group, empty for the actor's own; `retry_on` says after which exceptions the call is repeated, for
        `park.worker.wants_retry` to read.
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
class LoopLane:
    """
    The calls of a group that run on an event loop.
    """
    def admit(self, /) -> list[Call]:
        """
        The calls that may start now, without those that were cancelled before. On the loop's thread.
        """
    def attend(self, /, patient: bool) -> bool:
        """
        Takes the calls that have come, on the loop's thread. True if any may start. `patient` if the loop is about to sleep.
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
    ) -> Placement:
        """
        In a bundle of a placement group (in any of them without `index`), or on nodes that pass one of the selectors, best first.
        `patience` is "room" (the first with room), "feasible" (the first that could ever have room) or "none" (now or never).
        """
    def __repr__(self, /) -> str: ...

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
class Resources:
    """
    Amounts of named resources, exact to 0.0001.
    """
    def __new__(cls, /, amounts: dict) -> Resources: ...
    def __repr__(self, /) -> str: ...

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
    detached: bool = False,
) -> int:
    """
    Makes a placement group; returns its number. `layout` is one of Ray's strategies.
    """

def current_work() -> tuple[bytes, str, Any | None] | None:
    """
    The task or call that this thread of a worker runs: the id of its first result, its name, and the function if it is a task.
    """

def describe_session() -> dict:
    """
    Actors, unfinished tasks and workers of the session, as the head knows them.
    """

def dtypes() -> list[tuple[str, int, int]]:
    """
    Every element type of the store: `(name, DLPack code, bits)`.
    """

def ended_tasks() -> list[tuple[bytes, str, tuple[int, int], int, bool, int, int]]:
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
) -> str:
    """
    Opens a session with worker processes and returns its address. `ready` is a zygote that waits to be used (park.nursery): the socket
    to it, its process and a pidfd of that, which are this call's from now on.
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
    The actor that this thread's worker is ends itself once the call that asks for it is over. False if it is no actor.
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
    num_returns: SupportsIndex | tuple[str, SupportsIndex | None],
    resources: Resources,
    max_retries: SupportsIndex,
    place: Placement | None,
) -> list:
    """
    Submits a task; returns references to its results, or to the result and the first link of its stream.
    """

def traced_calls() -> list[tuple[str, int, int]]:
    """
    The calls that this worker process finished last: method, begin and end in microseconds. Nothing elsewhere.
    """

def trim() -> int:
    """
    Gives the memory of free parts of the store back to the system; returns how many bytes that were.
    """

def value_of(object: ObjectRef) -> Any:
    """
    The value of an object that is there, as `get` returns it.
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
