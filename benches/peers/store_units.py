"""The rows of the store bench on a runtime shaped like Ray: one text for park and Ray, as `units.py` is for the runtimes.

Values are arrays of 64-bit words (`pattern`, the same bytes as `benches/src/bytes.rs` makes); a get gives an array that
lies in the store. Objects that are created by the thousand are plain bytes.
"""

from __future__ import annotations

import os
import time
from typing import Any

import numpy as np
from measure import Case, options, resident_bytes, run_case, single, wanted, write
from store_rows import LARGE, MEMORY, SIZES, SMALL
from units import GB

SALT = 77
STORE_BYTES = 1_500_000_000


def pattern(nbytes: int) -> np.ndarray:
    """Consecutive words that do not start at zero, as fresh pages do."""
    return np.arange(SALT, SALT + nbytes // 8, dtype=np.int64)


def stamped(nbytes: int, number: int) -> bytes:
    """The pattern with `number` in its first word."""
    words = pattern(nbytes)
    words[0] = number
    return words.tobytes()


def expected_sum(array: np.ndarray, part: str) -> int:
    return int(array[0]) if part == "first" else int(array.sum())


def create(rt: Any, nbytes: int) -> Case:
    count = 200
    values = [stamped(nbytes, number) for number in range(count)]

    def body() -> Any:
        for value in values:
            ref = rt.put(value)
        return ref

    return Case(body, lambda ref: rt.get(ref) == values[-1], count)


def put(rt: Any, nbytes: int) -> Case:
    array = pattern(nbytes)
    copy = array.copy()
    return Case(
        lambda: rt.put(array),
        lambda ref: np.array_equal(rt.get(ref), array),
        array.nbytes / GB,
        yardstick=lambda: np.copyto(copy, array),
    )


def get(rt: Any, nbytes: int, part: str) -> Case:
    """A new object each time; the reader is an actor, and drops what it got before the next comes."""
    array = pattern(nbytes)

    @rt.remote(num_cpus=0)
    class Reader:
        def look(self, held, part):
            begin = time.perf_counter()
            array = rt.get(held[0])
            found = int(array[0] if part == "first" else array.sum())
            return time.perf_counter() - begin, found

    reader = Reader.remote()
    right = expected_sum(array, part)
    return Case(
        lambda: rt.get(reader.look.remote([rt.put(array)], part)),
        lambda answer: answer[1] == right,
        reported=lambda answer: answer[0],
        cleanup=lambda: rt.kill(reader),
    )


def resident(rt: Any, nbytes: int, mappings: list[str], held: list[Any]) -> float:
    """Bytes of the store's mappings in this process, which writes the objects, for each byte put.

    The objects are kept in `held`: memory that they gave back would be resident already when the next size is put.
    """
    count = max(500, 8_000_000 // nbytes)
    values = [stamped(nbytes, number) for number in range(count)]
    before = sum(resident_bytes(os.getpid(), mapping) for mapping in mappings)
    refs = [rt.put(value) for value in values]
    after = sum(resident_bytes(os.getpid(), mapping) for mapping in mappings)
    held += refs
    if rt.get(refs) != values:
        raise SystemExit(f"wrong bytes among {count} objects of {nbytes} bytes")
    return (after - before) / (count * nbytes)


def measure(rt: Any, peer: str, version: str, mappings: list[str]) -> None:
    """All rows on a session that was just started. `mappings` are parts of the names of the files that hold the store."""
    opts = options()
    results: dict[str, Any] = {}

    def keep(name: str, setup: Any, *arguments: Any) -> None:
        if wanted(name, opts.only):
            results[name] = run_case(name, setup(rt, *arguments), opts.seconds)

    # First, while no page of the store has been touched.
    held: list[Any] = []
    for name, nbytes in MEMORY.items():
        if wanted(name, opts.only):
            results[name] = single(name, resident(rt, nbytes, mappings, held))
    held.clear()
    for name, nbytes in SMALL.items():
        keep(name, create, nbytes)
    for name, nbytes in LARGE.items():
        keep(name, put, nbytes)
    for name, nbytes in SIZES.items():
        for part in ("first", "all"):
            keep(f"{name}, {part}", get, nbytes, part)
    rt.shutdown()
    write(opts.out, peer, version, results)
