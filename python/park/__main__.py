"""The command line: `park memory` shows who holds the memory of a running session.

    park memory [--address ADDRESS] [--watch SECONDS] [--json]

It joins the session for the moment, as a member that only reads. Without an address it takes every session of this user that runs
here: a session listens on an abstract unix socket, whose name the kernel lists in /proc/net/unix. Names are no secret; whoever
connects must run as the session's own user.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Any

from park import _park
from park.exceptions import RayError

_LARGEST = 10


def sessions() -> list[str]:
    """Addresses of the sessions that run on this machine, of any user."""
    found = set()
    with open("/proc/net/unix") as sockets:
        for line in sockets:
            name = line.split()[-1]
            if name.startswith("@park-") and len(name) == len("@park-") + 32:
                found.add(name[1:])
    return sorted(found)


def report(address: str) -> dict[str, Any]:
    """What `park memory --json` prints about one session."""
    _park.attach(address, True)
    try:
        return {"address": address, **_park.memory_report(_LARGEST)}
    finally:
        _park.shutdown()


def _size(count: int) -> str:
    size, unit = float(count), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if size < 1024:
            break
        size, unit = size / 1024, larger
    return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    """Columns as wide as they need to be: the first to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(head, *rows)]
    return [
        "  ".join([row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:]))]).rstrip()
        for row in [head, *rows]
    ]


def render(told: dict[str, Any]) -> str:
    """A report as text."""
    memory = f"{_size(told['used'])} of {_size(told['capacity'])} in {told['objects']} objects, {_size(told['pinned'])} looked at"
    disk = f"{_size(told['spilled'])} in {told['objects_spilled']} objects"
    lines = [f"session {told['address']}", f"memory  {memory}; disk {disk}; {told['waiting']} waiting"]
    if told["trouble"]:
        lines.append(f"spilling has stopped: {told['trouble']}")
    if told["holders"]:
        rows = [
            [
                holder["who"] if not holder["pid"] else f"{holder['who']} {holder['pid']}",
                _size(holder["bytes"]),
                str(holder["objects"]),
                _size(holder["pinned"]),
                _size(holder["spilled"]),
                f"{holder['oldest_seconds']} s",
            ]
            for holder in told["holders"]
        ]
        lines += ["", *_table(["held by", "memory", "objects", "looked at", "disk", "oldest"], rows)]
    if told["largest"]:
        rows = [
            [
                row["id"],
                _size(row["bytes"]),
                row["phase"],
                str(row["references"]),
                str(row["views"]),
                f"{row['age_seconds']} s",
                str(row["made_by"]),
            ]
            for row in told["largest"]
        ]
        lines += ["", *_table(["largest", "size", "phase", "references", "views", "age", "made by"], rows)]
    return "\n".join(lines)


def _memory(address: str | None, as_json: bool) -> int:
    """Print each session once. Sessions that ended meanwhile, or are another user's, are left out unless one was asked for."""
    reports, refused = [], None
    for name in [address] if address else sessions():
        try:
            reports.append(report(name))
        except (RayError, OSError, ValueError) as error:
            refused = error
    if address and refused is not None:
        print(f"park memory: {refused}", file=sys.stderr)
        return 1
    if as_json:
        print(json.dumps(reports))
    else:
        print("\n\n".join(map(render, reports)) or "no session of this user runs here")
    return 0


def main(arguments: list[str] | None = None) -> int:
    """The entry point of the `park` command."""
    parser = argparse.ArgumentParser(prog="park", description="Looks at running park sessions.")
    commands = parser.add_subparsers(dest="command", required=True)
    memory = commands.add_parser("memory", help="who holds a session's memory")
    memory.add_argument("--address", help="the session, as park.init() returned it; by default all of this user's")
    memory.add_argument(
        "--watch", type=float, metavar="SECONDS", help="print it again and again, so many seconds apart"
    )
    memory.add_argument("--json", action="store_true", help="one list of reports as JSON")
    chosen = parser.parse_args(arguments)
    if chosen.watch is not None and not chosen.watch > 0:
        parser.error(f"--watch must be above zero, got {chosen.watch}")
    try:
        while True:
            status = _memory(chosen.address, chosen.json)
            if chosen.watch is None or status:
                return status
            time.sleep(chosen.watch)
            print(flush=True)
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
