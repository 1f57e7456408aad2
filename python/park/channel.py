"""Channels: one writer, many readers, and slots of shared memory that are used over and over.

    channel = Channel(slot_bytes=4 << 20)
    stage = Stage.remote(channel.reader())      # handles travel as arguments
    with channel.writer() as writer:
        writer.write(array)

A message costs a copy into a slot and, while both sides run, a few microseconds: for pipelines that would make an object for each
value otherwise. How ends find each other, what happens when one of them is killed, and why no reader sees half a message is told in
park-core/src/channel/README.md.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

from park import _park
from park.exceptions import ChannelClosedError

__all__ = ["Channel", "ChannelReader", "ChannelWriter", "MessageView"]


class Channel:
    """A channel in the store of this session. It lives as long as handles to it do, in any process.

    `slots` messages fit at once; a writer that is further ahead than that of the slowest reader waits. `slot_bytes` is the longest
    message: the bytes of an array, or of a pickle. `readers` are waited for from the first message on, also before they have come (64 at
    most); whoever reads beyond those sees what is written after it came. With `readers=0` the writer waits for nobody who is not there.
    """

    def __init__(self, *, slot_bytes: int, slots: int = 8, readers: int = 1):
        for name, value, least in (("slot_bytes", slot_bytes, 0), ("slots", slots, 1), ("readers", readers, 0)):
            if not isinstance(value, int) or isinstance(value, bool):
                raise TypeError(f"{name} must be a number, got {type(value)}")
            if value < least:
                raise ValueError(f"{name} must be at least {least}, got {value}")
        self._ref = _park.create_channel(slots, slot_bytes, readers)

    @classmethod
    def _of(cls, ref: _park.ObjectRef) -> Channel:
        channel = cls.__new__(cls)
        channel._ref = ref
        return channel

    def writer(self) -> ChannelWriter:
        """A handle of the writer's end. Whoever writes first, in whatever process it has arrived, is the writer."""
        return ChannelWriter(self)

    def reader(self) -> ChannelReader:
        """A handle of a reader's end, for one reader. It takes its seat at the first read, in whatever process it has arrived."""
        return ChannelReader(self)

    def __reduce__(self):
        return Channel._of, (self._ref,)

    def __repr__(self) -> str:
        return f"Channel({self._ref.hex()})"


class _End(ABC):
    """What both ends have in common: the native end is made when it is first needed, and a pickle is a handle without one."""

    _native: Any

    def __init__(self, channel: Channel):
        self._channel = channel
        self._end: Any = None

    def open(self):
        """Take this end now, rather than at its first use. Returns the handle."""
        if self._end is None:
            self._end = self._native(self._channel._ref)
        return self

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    @abstractmethod
    def close(self) -> None:
        """Give this end back."""

    def __reduce__(self):
        return type(self), (self._channel,)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._channel._ref.hex()})"


class ChannelWriter(_End):
    """The end that writes, of which there is one at a time. For one thread at a time. Closes the channel when it goes, or is closed."""

    _native = _park.ChannelWriter

    def write(self, value: Any, timeout: float | None = None) -> None:
        """Write a message: an array or CPU tensor with one copy, bytes as they are, anything else pickled.

        Waits for the slowest reader while all slots are in use, and raises RayChannelTimeoutError after `timeout` seconds;
        ValueError if the message is longer than a slot; ChannelClosedError if every reader has left; RayChannelError if another
        writer has the channel.
        """
        if self._end is None:
            self.open()
        self._end.write(value, timeout)

    def close(self) -> None:
        """No more messages: readers get those that were written, then ChannelClosedError."""
        self.open()
        self._end.close()


class ChannelReader(_End):
    """A reader's end. For one thread at a time. Gives its seat up when it goes, or is closed. Iterating reads until the end."""

    _native = _park.ChannelReader

    def read(self, timeout: float | None = None) -> Any:
        """The next message, as a value of one's own: nothing in it lies in the slot, which is given back before this returns.

        Raises RayChannelTimeoutError after `timeout` seconds, and ChannelClosedError when no message is left and none can come: the
        writer closed the channel, or died.
        """
        if self._end is None:
            self.open()
        message = self._end.receive(timeout)
        try:
            return message.copy()
        finally:
            message.release()

    def read_view(self, timeout: float | None = None) -> MessageView:
        """As `read`, without a copy: `with reader.read_view() as array:` gives a read-only view of the slot.

        The slot goes back to the writer after the block, once every array made from it is gone too: a view that is kept does not
        change under one's eyes, it holds the writer up.
        """
        if self._end is None:
            self.open()
        return MessageView(self._end.receive(timeout))

    def close(self) -> None:
        """Give the seat up. The writer no longer waits for this reader."""
        self.open()
        self._end.close()

    def __iter__(self) -> Iterator[Any]:
        while True:
            try:
                value = self.read()
            except ChannelClosedError:
                return
            yield value


class MessageView:
    """A message in its slot: a context manager whose value is valid, and constant, for as long as somebody has it."""

    def __init__(self, message: _park.ChannelMessage):
        self._message = message

    def __enter__(self) -> Any:
        return self._message.view()

    def __exit__(self, *exc):
        self._message.release()

    def release(self) -> None:
        """As leaving the `with` block."""
        self._message.release()
