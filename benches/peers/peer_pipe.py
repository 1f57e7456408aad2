"""The floor of a round trip between two processes on this machine, from Python, with nothing in between.

A parent and its forked child pass a message of 64 bytes to and fro: over two pipes, over a socket pair, and through
shared memory where both sides only spin on a word, so that no futex and no system call is in the way. The last needs a
core for each side; the first is what an actor call is measured against. Waking a process on another core that has gone to
sleep can cost several times what a switch on the same core does, and the kernel chooses between the two as the load
changes; so the pipes are also measured with both sides bound to one core, and to one core each.
"""

from __future__ import annotations

import mmap
import os
import socket
import struct
import sys
from collections.abc import Callable

from measure import Case, options, run_case, wanted, write

MESSAGE = 64
ROUNDS = 2_000
WORD = struct.Struct("=q")
STOP = -1


def forked(child: Callable[[], None]) -> int:
    """Runs `child` in a forked process that cannot return into the parent's code."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            child()
            code = 0
        finally:
            os._exit(code)
    return pid


def message(number: int) -> bytes:
    return WORD.pack(number).ljust(MESSAGE, b".")


def echo_case(
    send: Callable[[bytes], object], receive: Callable[[], bytes], close: Callable[[], None], pid: int
) -> Case:
    messages = [message(number) for number in range(ROUNDS)]

    def body() -> list[bytes]:
        replies = []
        for one in messages:
            send(one)
            replies.append(receive())
        return replies

    def cleanup() -> None:
        close()
        os.waitpid(pid, 0)

    return Case(body, lambda replies: replies == messages, ROUNDS, cleanup=cleanup)


def pipes(ours: int | None = None, theirs: int | None = None) -> Case:
    """Over two pipes; with cores given, each side bound to its own for as long as the case lasts."""
    before = os.sched_getaffinity(0)
    request_read, request_write = os.pipe()
    reply_read, reply_write = os.pipe()

    def child() -> None:
        os.close(request_write)
        os.close(reply_read)
        if theirs is not None:
            os.sched_setaffinity(0, {theirs})
        while got := os.read(request_read, MESSAGE):
            os.write(reply_write, got)

    pid = forked(child)
    os.close(request_read)
    os.close(reply_write)
    if ours is not None:
        os.sched_setaffinity(0, {ours})

    def close() -> None:
        os.sched_setaffinity(0, before)
        os.close(request_write)
        os.close(reply_read)

    return echo_case(lambda one: os.write(request_write, one), lambda: os.read(reply_read, MESSAGE), close, pid)


def socket_pair() -> Case:
    ours, theirs = socket.socketpair()

    def child() -> None:
        ours.close()
        while got := theirs.recv(MESSAGE):
            theirs.send(got)

    pid = forked(child)
    theirs.close()
    return echo_case(ours.send, lambda: ours.recv(MESSAGE), ours.close, pid)


def spinning() -> Case:
    """Two words, a cache line apart: the parent writes the first and reads the second, the child the reverse."""
    shared = mmap.mmap(-1, mmap.PAGESIZE)
    request, reply = memoryview(shared)[0:8].cast("q"), memoryview(shared)[64:72].cast("q")

    def child() -> None:
        last = 0
        while True:
            now = request[0]
            if now == STOP:
                return
            if now != last:
                reply[0] = last = now

    pid = forked(child)
    next_number = 1

    def body() -> int:
        nonlocal next_number
        answered = 0
        for number in range(next_number, next_number + ROUNDS):
            request[0] = number
            while reply[0] != number:
                pass
            answered += 1
        next_number += ROUNDS
        return answered

    def cleanup() -> None:
        request[0] = STOP
        os.waitpid(pid, 0)

    return Case(body, lambda count: count == ROUNDS and reply[0] == next_number - 1, ROUNDS, cleanup=cleanup)


def main() -> None:
    opts = options()
    first, *others = sorted(os.sched_getaffinity(0))
    setups = {
        "pipe round trip": pipes,
        "pipe round trip, one core": lambda: pipes(first, first),
        "socketpair round trip": socket_pair,
    }
    if others:
        setups["pipe round trip, two cores"] = lambda: pipes(first, others[0])
        setups["shared word round trip"] = spinning
    results = {name: run_case(name, setup(), opts.seconds) for name, setup in setups.items() if wanted(name, opts.only)}
    write(opts.out, "pipe", f"Python {sys.version.split()[0]}", results)


if __name__ == "__main__":
    main()
