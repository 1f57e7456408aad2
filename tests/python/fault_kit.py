"""What runs in the workers of the tests of faults: work that ends its process at a chosen step, or waits to be killed.

A module of its own, so that a worker that loads it does not import the test tools with it.
"""

import asyncio
import os
import pickle
import signal
import time
from typing import NamedTuple

DATA = b"made" * 1000


class Fuse(NamedTuple):
    """Ends the process that comes to its step, the first time, or has it wait, and counts who comes there."""

    path: str
    step: str
    how: str

    def burn(self, step):
        if step != self.step:
            return
        with open(self.path, "ab") as file:
            file.write(b".")
        if os.path.getsize(self.path) == 1:
            if self.how == "wait":
                # What is sealed is over: nobody ends the wait.
                return time.sleep(0.2 if step == "sealed" else 600)
            if self.how == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            os._exit(3)

    def count(self):
        return os.path.getsize(self.path) if os.path.exists(self.path) else 0


def read(*fields):
    """What an `Argument` is in the worker."""
    fuse = Fuse(*fields)
    fuse.burn("arguments")
    return fuse


class Argument:
    def __init__(self, fuse):
        self.fuse = fuse

    def __reduce__(self):
        return read, tuple(self.fuse)


class LetGo(bytearray):
    """Memory that a pickle refers to: whoever stores it lets go of it once the object is sealed."""

    fuse = None

    def __del__(self):
        self.fuse.burn("sealed")


class Made:
    """A result: `DATA` to whoever gets it."""

    def __init__(self, fuse):
        self.fuse = fuse

    def __reduce__(self):
        self.fuse.burn("results")
        memory = LetGo(DATA)
        memory.fuse = self.fuse
        return bytes, (pickle.PickleBuffer(memory),)


def body(fuse):
    fuse.burn("running")
    return Made(fuse)


def items(fuse):
    yield "first"
    fuse.burn("running")
    yield Made(fuse)
    yield "last"


class Plain:
    def pid(self):
        return os.getpid()

    def work(self, fuse):
        return body(fuse)

    def stream(self, fuse):
        yield from items(fuse)


class Async:
    async def pid(self):
        return os.getpid()

    async def work(self, fuse):
        await asyncio.sleep(0)
        return body(fuse)

    async def stream(self, fuse):
        for item in items(fuse):
            await asyncio.sleep(0)
            yield item


def touch(path):
    with open(path, "a") as file:
        file.write(".")
    return os.path.getsize(path)


def sleeps_first(path):
    if touch(path) == 1:
        time.sleep(600)
    return "second attempt"


def yields(path):
    yield 0
    if touch(path) == 1:
        time.sleep(600)
    yield 1


class Sleeper:
    def pid(self):
        return os.getpid()

    def sleep_first(self, path):
        if touch(path) == 1:
            time.sleep(600)
        return "second attempt"


class AsyncSleeper:
    async def pid(self):
        return os.getpid()

    async def sleep_first(self, path):
        if touch(path) == 1:
            time.sleep(600)
        return "second attempt"
