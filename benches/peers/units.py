"""The units of work: the shapes of Ray's microbenchmark, written anew so that one text runs on park and on Ray.

A unit is a name, what one operation is, and a setup. The setup gets the runtime's module (`rt`, park or ray) and the
number of cores and returns a `Case`: the body to time, how many operations it does, and the check of its answer. Remote
functions and classes are defined inside the setups, so both runtimes ship them by value and neither needs this file in
its workers. Where Ray's program uses a fixed number of clients and servers, this one uses one a core. Counts are fixed
and the same on both sides; they are small enough for Ray to do a body in about a second on two cores.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from measure import Case

MB = 1_000_000
GB = 1_000_000_000
OK = b"ok"
MANY = 1_000
HELD_REFS = 10_000


@dataclass(frozen=True)
class Unit:
    """`shown` is how the table prints a value: operations a second, GB a second, or milliseconds an operation."""

    name: str
    operation: str
    setup: Callable[[Any, int], Case]
    shown: str = "rate"


UNITS: list[Unit] = []


def unit(name: str, operation: str, shown: str = "rate") -> Callable[[Callable[[Any, int], Case]], Any]:
    def add(setup: Callable[[Any, int], Case]) -> Callable[[Any, int], Case]:
        UNITS.append(Unit(name, operation, setup, shown))
        return setup

    return add


def all_ok(count: int) -> Callable[[Any], bool]:
    """A check: exactly `count` answers, each of them OK."""
    return lambda answers: len(answers) == count and all(answer == OK for answer in answers)


def killer(rt: Any, actors: list[Any]) -> Callable[[], None]:
    """A cleanup: later units must not find these actors' processes still there."""

    def kill() -> None:
        for actor in actors:
            rt.kill(actor)

    return kill


def array_of(nbytes: int) -> np.ndarray:
    """Bytes that differ from page to page, so that a read of the wrong page cannot go unseen."""
    return np.arange(nbytes // 8, dtype=np.int64)


def ok_task(rt: Any) -> Any:
    @rt.remote
    def answer():
        return OK

    return answer


def server_class(rt: Any) -> Any:
    """An actor that holds no core while it is alive and answers at once."""

    @rt.remote(num_cpus=0)
    class Server:
        def answer(self):
            return OK

        def echo(self, value):
            return value

        def ends(self, array):
            return array.nbytes, int(array[0]), int(array[-1])

    return Server


def async_server_class(rt: Any) -> Any:
    """The same, its methods coroutines."""

    @rt.remote(num_cpus=0)
    class AsyncServer:
        async def answer(self):
            return OK

        async def echo(self, value):
            return value

    return AsyncServer


def client_class(rt: Any) -> Any:
    """An actor that calls others. Its methods count right answers, so that only a number travels back."""
    task = ok_task(rt)

    @rt.remote(num_cpus=0)
    class Client:
        def __init__(self, servers):
            self.servers = servers

        def tasks(self, count):
            return sum(answer == OK for answer in rt.get([task.remote() for _ in range(count)]))

        def calls(self, count):
            refs = [server.answer.remote() for server in self.servers for _ in range(count)]
            return sum(answer == OK for answer in rt.get(refs))

        def calls_with_ref(self, count, value):
            shared = rt.put(value)
            refs = [server.echo.remote(shared) for server in self.servers for _ in range(count)]
            return sum(answer == value for answer in rt.get(refs))

    return Client


# Objects


@unit("get small", "get of the same small object")
def get_small(rt: Any, cores: int) -> Case:
    ref = rt.put(4711)
    return Case(lambda: [rt.get(ref) for _ in range(MANY)], lambda got: got == [4711] * MANY, MANY)


@unit("put small", "put of an int, the ref dropped")
def put_small(rt: Any, cores: int) -> Case:
    def body() -> Any:
        for number in range(MANY):
            ref = rt.put(number)
        return ref

    return Case(body, lambda ref: rt.get(ref) == MANY - 1, MANY)


@unit("multi-client put small", "one of 250 puts in each of as many tasks as cores")
def multi_put(rt: Any, cores: int) -> Case:
    count = 250

    @rt.remote
    def puts(start):
        for number in range(count):
            ref = rt.put(start + number)
        return rt.get(ref)

    expected = [client * count + count - 1 for client in range(cores)]
    return Case(
        lambda: rt.get([puts.remote(client * count) for client in range(cores)]),
        lambda last: last == expected,
        cores * count,
    )


@unit("put 100 MB", "put of a 100 MB int64 array, the ref dropped", shown="GB/s")
def put_large(rt: Any, cores: int) -> Case:
    array = array_of(100 * MB)
    copy = array.copy()
    return Case(
        lambda: rt.put(array),
        lambda ref: np.array_equal(rt.get(ref), array),
        array.nbytes / GB,
        yardstick=lambda: np.copyto(copy, array),
    )


@unit("put 10 MB", "put of a 10 MB int64 array, the ref dropped", shown="GB/s")
def put_medium(rt: Any, cores: int) -> Case:
    array = array_of(10 * MB)
    copy = array.copy()
    return Case(
        lambda: rt.put(array),
        lambda ref: np.array_equal(rt.get(ref), array),
        array.nbytes / GB,
        yardstick=lambda: np.copyto(copy, array),
    )


@unit("get 10 MB", "get of the same 10 MB array, each result dropped")
def get_medium(rt: Any, cores: int) -> Case:
    array = array_of(10 * MB)
    ref = rt.put(array)

    def body() -> Any:
        # Each array is dropped before the next is asked for: while one is held, Ray answers from what it has mapped.
        for _ in range(MANY - 1):
            rt.get(ref)
        return rt.get(ref)

    return Case(body, lambda got: np.array_equal(got, array), MANY)


@unit("get object of 10k refs", "get of a list of 10,000 refs that a task made")
def get_refs(rt: Any, cores: int) -> Case:
    @rt.remote
    def make():
        return [rt.put(number) for number in range(HELD_REFS)]

    ref = make.remote()
    rt.wait([ref], num_returns=1)

    def body() -> Any:
        refs = rt.get(ref)
        return len(refs), refs[0], refs[-1]

    return Case(body, lambda got: got[0] == HELD_REFS and rt.get([got[1], got[2]]) == [0, HELD_REFS - 1])


@unit("wait 1k refs", "1,000 tasks, waited for one at a time")
def wait_refs(rt: Any, cores: int) -> Case:
    task = ok_task(rt)

    def body() -> Any:
        pending = [task.remote() for _ in range(MANY)]
        finished: list[Any] = []
        while pending:
            # Ray remembers the first request to fetch; asking again for each ref would only slow it down.
            ready, pending = rt.wait(pending, num_returns=1, fetch_local=not finished)
            finished += ready
        return finished

    return Case(body, lambda refs: all_ok(MANY)(rt.get(refs)))


# Tasks


@unit("tasks sync", "submit a task and get its answer")
def tasks_sync(rt: Any, cores: int) -> Case:
    task, count = ok_task(rt), 100
    return Case(lambda: [rt.get(task.remote()) for _ in range(count)], all_ok(count), count)


@unit("tasks async", "one of 1,000 tasks submitted, then got together")
def tasks_async(rt: Any, cores: int) -> Case:
    task = ok_task(rt)
    return Case(lambda: rt.get([task.remote() for _ in range(MANY)]), all_ok(MANY), MANY)


@unit("tasks and get batch, nested", "1,000 tasks submitted and got, from inside one task")
def tasks_batch(rt: Any, cores: int) -> Case:
    task = ok_task(rt)

    @rt.remote
    def batch(count):
        return sum(answer == OK for answer in rt.get([task.remote() for _ in range(count)]))

    return Case(lambda: rt.get(batch.remote(MANY)), lambda right: right == MANY)


@unit("multi-client tasks async", "one of 500 tasks that each of as many actors as cores submits")
def tasks_multi(rt: Any, cores: int) -> Case:
    count = 500
    client = client_class(rt)
    clients = [client.remote([]) for _ in range(cores)]
    return Case(
        lambda: rt.get([client.tasks.remote(count) for client in clients]),
        lambda right: right == [count] * cores,
        count * cores,
        cleanup=killer(rt, clients),
    )


# Actors


def one_by_one(rt: Any, server: Any) -> Case:
    count = 200
    return Case(
        lambda: [rt.get(server.answer.remote()) for _ in range(count)],
        all_ok(count),
        count,
        cleanup=killer(rt, [server]),
    )


@unit("actor calls 1:1 sync", "call an actor and get its answer")
def actor_sync(rt: Any, cores: int) -> Case:
    return one_by_one(rt, server_class(rt).remote())


def thousand_calls(rt: Any, server: Any) -> Case:
    return Case(
        lambda: rt.get([server.answer.remote() for _ in range(MANY)]),
        all_ok(MANY),
        MANY,
        cleanup=killer(rt, [server]),
    )


@unit("actor calls 1:1 async", "one of 1,000 calls, then got together")
def actor_async(rt: Any, cores: int) -> Case:
    return thousand_calls(rt, server_class(rt).remote())


@unit("actor calls 1:1 concurrent", "the same, on an actor of max_concurrency=16")
def actor_concurrent(rt: Any, cores: int) -> Case:
    return thousand_calls(rt, server_class(rt).options(max_concurrency=16).remote())


def fan_out(rt: Any, cores: int, server: Any) -> Case:
    count = 500
    servers = [server.remote() for _ in range(cores)]
    client = client_class(rt).remote(servers)
    return Case(
        lambda: rt.get(client.calls.remote(count)),
        lambda right: right == count * cores,
        count * cores,
        cleanup=killer(rt, [client, *servers]),
    )


@unit("actor calls 1:n async", "one call of a client actor that calls as many servers as cores, 500 times each")
def actor_fan_out(rt: Any, cores: int) -> Case:
    return fan_out(rt, cores, server_class(rt))


def mesh(rt: Any, cores: int, server: Any) -> Case:
    count = 500
    servers = [server.remote() for _ in range(cores)]

    @rt.remote
    def work(actors):
        refs = [actors[number % len(actors)].answer.remote() for number in range(count)]
        return sum(answer == OK for answer in rt.get(refs))

    return Case(
        lambda: rt.get([work.remote(servers) for _ in range(cores)]),
        lambda right: right == [count] * cores,
        count * cores,
        cleanup=killer(rt, servers),
    )


@unit("actor calls n:n async", "one call of as many tasks as cores, each making 500 over as many servers")
def actor_mesh(rt: Any, cores: int) -> Case:
    return mesh(rt, cores, server_class(rt))


@unit("actor calls n:n with arg async", "one call of a client to its own server, passing a ref; a pair a core")
def actor_mesh_arg(rt: Any, cores: int) -> Case:
    server, client, count = server_class(rt), client_class(rt), 500
    servers = [server.remote() for _ in range(cores)]
    clients = [client.remote([one]) for one in servers]
    return Case(
        lambda: rt.get([one.calls_with_ref.remote(count, number) for number, one in enumerate(clients)]),
        lambda right: right == [count] * cores,
        count * cores,
        cleanup=killer(rt, clients + servers),
    )


# Actors whose methods are coroutines


@unit("async-actor calls 1:1 sync", "call an async actor and get its answer")
def async_actor_sync(rt: Any, cores: int) -> Case:
    return one_by_one(rt, async_server_class(rt).remote())


@unit("async-actor calls 1:1 async", "one of 1,000 calls, then got together")
def async_actor_async(rt: Any, cores: int) -> Case:
    return thousand_calls(rt, async_server_class(rt).remote())


@unit("async-actor calls 1:1 with arg async", "one of 1,000 calls passing an int, then got together")
def async_actor_arg(rt: Any, cores: int) -> Case:
    server = async_server_class(rt).remote()
    return Case(
        lambda: rt.get([server.echo.remote(number) for number in range(MANY)]),
        lambda got: got == list(range(MANY)),
        MANY,
        cleanup=killer(rt, [server]),
    )


@unit("async-actor calls 1:n async", "one call of a client actor that calls as many servers as cores, 500 times each")
def async_actor_fan_out(rt: Any, cores: int) -> Case:
    return fan_out(rt, cores, async_server_class(rt))


@unit("async-actor calls n:n async", "one call of as many tasks as cores, each making 500 over as many servers")
def async_actor_mesh(rt: Any, cores: int) -> Case:
    return mesh(rt, cores, async_server_class(rt))


# Large arguments, and actors and placement groups themselves


@unit("actor call with 10 MB array", "call passing a 10 MB array by value, and get")
def actor_array(rt: Any, cores: int) -> Case:
    server, array, count = server_class(rt).remote(), array_of(10 * MB), 10
    expected = [(array.nbytes, 0, array.size - 1)] * count
    return Case(
        lambda: [rt.get(server.ends.remote(array)) for _ in range(count)],
        lambda ends: [tuple(end) for end in ends] == expected,
        count,
        cleanup=killer(rt, [server]),
    )


@unit("actor create + first call", "create an actor, call it, get the answer", shown="ms")
def actor_create(rt: Any, cores: int) -> Case:
    server = server_class(rt)

    def body() -> Any:
        actor = server.remote()
        return actor, rt.get(actor.echo.remote(4711))

    return Case(body, lambda pair: pair[1] == 4711, after=lambda pair: rt.kill(pair[0]))


@unit("placement group create and remove", "one of 100 groups of one bundle, created, waited for and removed")
def placement_groups(rt: Any, cores: int) -> Case:
    groups = importlib.import_module(f"{rt.__name__}.util.placement_group")
    count = 100

    def body() -> Any:
        made = [groups.placement_group([{"CPU": 0.001}]) for _ in range(count)]
        ready = [group.wait(timeout_seconds=30) for group in made]
        for group in made:
            groups.remove_placement_group(group)
        return ready

    return Case(body, lambda ready: ready == [True] * count, count)
