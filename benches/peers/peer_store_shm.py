"""The peer multiprocessing.shared_memory of the store bench: each object is a segment of its own.

Creating is create and copy, releasing is close and unlink, getting is attach by name. Its memory comes from the kernel
anew each time and goes back each time; that is what the module offers, and what a put through it costs.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from collections.abc import Callable
from multiprocessing.shared_memory import SharedMemory
from typing import Any

import numpy as np
from measure import Case, options, run_case, single, wanted, write
from store_rows import CROWDS, KB, LARGE, MEMORY, SIZES, SMALL
from store_units import expected_sum, pattern, stamped
from units import GB

# A child started afresh shares nothing with this process but the segments it is told of.
SPAWN = multiprocessing.get_context("spawn")
CROWD_COUNT = 500


def segment_of(data: bytes | memoryview) -> SharedMemory:
    segment = SharedMemory(create=True, size=len(data))
    segment.buf[: len(data)] = data
    return segment


def release(segment: SharedMemory) -> None:
    segment.close()
    segment.unlink()


def holds(segment: SharedMemory, data: bytes) -> bool:
    return segment.buf[: len(data)] == data


def create(nbytes: int) -> Case:
    count = 100
    values = [stamped(nbytes, number) for number in range(count)]

    def body() -> SharedMemory:
        for value in values[:-1]:
            release(segment_of(value))
        return segment_of(values[-1])

    return Case(body, lambda last: holds(last, values[-1]), count, after=release)


def put(nbytes: int) -> Case:
    array = pattern(nbytes)
    copy = array.copy()

    def body() -> SharedMemory:
        segment = SharedMemory(create=True, size=array.nbytes)
        np.copyto(np.frombuffer(segment.buf, dtype=array.dtype, count=array.size), array)
        return segment

    return Case(
        body,
        lambda segment: holds(segment, memoryview(array).cast("B")),
        array.nbytes / GB,
        after=release,
        yardstick=lambda: np.copyto(copy, array),
    )


def child(
    work: Callable[..., Any], *arguments: Any
) -> tuple[Callable[[], None], Callable[[Any], None], Callable[[], Any]]:
    """A process that answers each message with what `work` makes of it. Returns how to end it, to tell it and to hear it."""
    ours, theirs = SPAWN.Pipe()
    process = SPAWN.Process(target=answer, args=(theirs, work, arguments), daemon=True)
    process.start()
    theirs.close()

    def end() -> None:
        ours.close()
        process.join()

    return end, ours.send, ours.recv


def answer(connection: Any, work: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    while True:
        try:
            message = connection.recv()
        except EOFError:
            return
        connection.send(work(message, *arguments))


def look(name: str, part: str) -> tuple[float, int]:
    begin = time.perf_counter()
    segment = SharedMemory(name=name)
    array = np.frombuffer(segment.buf, dtype=np.int64)
    found = int(array[0] if part == "first" else array.sum())
    seconds = time.perf_counter() - begin
    del array
    segment.close()
    return seconds, found


def get(nbytes: int, part: str) -> Case:
    array = pattern(nbytes)
    data, right = array.tobytes(), expected_sum(array, part)
    end, tell, hear = child(look, part)

    def body() -> Any:
        segment = segment_of(data)
        tell(segment.name)
        told = hear()
        release(segment)
        return told

    return Case(body, lambda told: told[1] == right, reported=lambda told: told[0], cleanup=end)


def many(_: Any) -> bool:
    value = stamped(KB, CROWD_COUNT)
    for _ in range(CROWD_COUNT - 1):
        release(segment_of(value))
    last = segment_of(value)
    right = holds(last, value)
    release(last)
    return right


def crowd(processes: int) -> Case:
    children = [child(many) for _ in range(processes)]

    def body() -> list[bool]:
        for _, tell, _ in children:
            tell("go")
        return [hear() for _, _, hear in children]

    def cleanup() -> None:
        for end, _, _ in children:
            end()

    return Case(body, all, processes * CROWD_COUNT, cleanup=cleanup)


def resident(nbytes: int) -> float:
    """What the files of the segments take, for each byte put."""
    count = 100
    segments = [segment_of(stamped(nbytes, number)) for number in range(count)]
    blocks = sum(os.stat(f"/dev/shm/{segment.name}").st_blocks for segment in segments)
    for number, segment in enumerate(segments):
        if not holds(segment, stamped(nbytes, number)):
            raise SystemExit("wrong bytes in a segment")
        release(segment)
    return blocks * 512 / (count * nbytes)


def main() -> None:
    opts = options()
    results: dict[str, Any] = {}

    def keep(name: str, setup: Callable[..., Case], *arguments: Any) -> None:
        if wanted(name, opts.only):
            results[name] = run_case(name, setup(*arguments), opts.seconds)

    for name, nbytes in SMALL.items():
        keep(name, create, nbytes)
    for name, nbytes in LARGE.items():
        keep(name, put, nbytes)
    for name, nbytes in SIZES.items():
        for part in ("first", "all"):
            keep(f"{name}, {part}", get, nbytes, part)
    for processes in CROWDS:
        keep(f"create 1 KB by {processes} at once", crowd, processes)
    for name, nbytes in MEMORY.items():
        if wanted(name, opts.only):
            results[name] = single(name, resident(nbytes))
    write(opts.out, "shm", f"of Python {sys.version.split()[0]}", results)


if __name__ == "__main__":
    main()
