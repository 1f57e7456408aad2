"""The rows of the store bench: what they are called, what one operation is, and how a value is told.

Every peer measures those it has a shape for, under these names; the Rust peers repeat the names in their own text.
"""

from __future__ import annotations

from dataclasses import dataclass

KB = 1_024
CROWDS = (1, 2, 4, 8)


@dataclass(frozen=True)
class Row:
    """`shown` is a key of `tables.SUFFIX`."""

    name: str
    operation: str
    shown: str


SMALL = {"create 64 B": 64, "create 1 KB": KB, "create 64 KB": 64 * KB}
LARGE = {"put 1 MB": 1_000_000, "put 10 MB": 10_000_000, "put 100 MB": 100_000_000}
SIZES = {"get 1 KB": KB, "get 100 MB": 100_000_000}
MEMORY = {"memory 1 KB": KB, "memory 100 KB": 100 * KB}

CREATE = [Row(name, "create, write, seal and release one object", "ns") for name in SMALL]
PUT = [Row(name, "create, write and seal one object", "GB/s") for name in LARGE]
PUT_PIECES = Row("put 100 MB, one thread", "the same, written in pieces that one thread copies", "GB/s")
GET = [
    Row(f"{name}, {part}", f"in another process, from knowing its name to having {done}", "us")
    for name in SIZES
    for part, done in (("first", "read its first word"), ("all", "summed all of it"))
]
HOP = [
    Row("hop over a pipe", "write and read", "us"),
    Row("hop over a park channel", "write and read in place: spins briefly, then sleeps on the bell", "us"),
    Row("hop over park objects", "seal a promised object, get it: spins briefly, then sleeps on the doorbell", "us"),
    Row("hop over iceoryx2, polling", "loan, write, send; the receiver polls and never sleeps", "us"),
    Row("hop over iceoryx2, event", "the same and notify; the receiver sleeps on a listener", "us"),
]
CROWD = [
    Row(f"create 1 KB by {count} at once", "objects a second of all processes together", "rate") for count in CROWDS
]
RESIDENT = [Row(name, "resident bytes of the store for each byte put", "plain") for name in MEMORY]
ROWS = [*CREATE, *PUT, PUT_PIECES, *GET, *HOP, *CROWD, *RESIDENT]
