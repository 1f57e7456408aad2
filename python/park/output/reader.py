"""The driver's side: a thread that reads what workers print and prints it with who said it.

It owns the link to the zygote, over which each new worker's two pipes come, and those pipes. Nobody else touches them. `stop` lets it
read to the end of what is there: it is called when the workers are gone.
"""

from __future__ import annotations

import array
import os
import resource
import select
import socket
import struct
import sys
import threading
import time

from park.output.dedup import Dedup

#: A line without an end is printed as it stands when nothing was added to it for so long.
_PATIENCE = 1.0
#: A line is cut here.
_LONGEST = 1 << 20
#: Each worker takes two descriptors here.
_DESCRIPTORS = 16_384


class _Pipe:
    """One worker's standard output or error."""

    def __init__(self, pid: int, error: bool):
        self.pid = pid
        self.error = error
        self.name = "worker"
        self.line = b""
        #: Since when the line is unfinished.
        self.since = 0.0

    def feed(self, data: bytes, now: float) -> list[tuple[str, str]]:
        """Lines that are whole now, each with the name of who said it."""
        *whole, rest = (self.line + data).split(b"\n")
        if len(rest) > _LONGEST:
            whole.append(rest)
            rest = b""
        self.line, self.since = rest, now
        lines = []
        for line in whole:
            if line.startswith(b"\0"):
                self.name = line[1:].decode(errors="replace")
            else:
                lines.append((self.name, _visible(line)))
        return lines

    def rest(self) -> list[tuple[str, str]]:
        """The unfinished line, as it stands."""
        line, self.line = self.line, b""
        return [(self.name, _visible(line))] if line and not line.startswith(b"\0") else []


def _visible(line: bytes) -> str:
    # What a progress bar overwrites would not be seen at a terminal either.
    return line.removesuffix(b"\r").rpartition(b"\r")[2].decode(errors="replace")


class Reader:
    """See the module."""

    def __init__(self):
        self._link, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        #: The zygote's end, which it inherits; kept for the next one, should it die.
        self.theirs = theirs
        theirs.set_inheritable(True)
        self._wake_read, self._wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._pipes: dict[int, _Pipe] = {}
        self._dedup = Dedup()
        self._poll = select.poll()
        self._poll.register(self._link, select.POLLIN)
        self._poll.register(self._wake_read, select.POLLIN)
        self._process = os.getpid()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft < (most := min(hard, _DESCRIPTORS) if hard >= 0 else _DESCRIPTORS):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        self._thread = threading.Thread(target=self._run, name="park-output", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Print what there is, and end. A child of `fork()` leaves its parent's reader alone."""
        if os.getpid() != self._process:
            return
        os.write(self._wake_write, b"x")
        self._thread.join()

    # --- the thread ---------------------------------------------------------------------------------------------------------------

    def _run(self):
        try:
            while self._step():
                pass
            # The workers are gone: what they wrote is all there.
            while fds := [fd for fd, _ in self._poll.poll(0) if fd in self._pipes]:
                for fd in fds:
                    self._read(fd)
            for pipe in self._pipes.values():
                self._say(pipe, pipe.rest())
            self._print(self._dedup.rest())
        finally:
            for fd in (*self._pipes, self._wake_read, self._wake_write):
                os.close(fd)
            self._link.close()
            self.theirs.close()

    def _step(self):
        """Wait for something and see to it; False when it is time to end."""
        for fd, _ in self._poll.poll(self._sleep()):
            if fd == self._wake_read:
                self._accept_all()
                return False
            if fd == self._link.fileno():
                self._accept()
            else:
                self._read(fd)
        now = time.monotonic()
        for pipe in self._pipes.values():
            if pipe.line and now - pipe.since >= _PATIENCE:
                self._say(pipe, pipe.rest())
        self._print(self._dedup.due(now))
        return True

    def _sleep(self):
        """Milliseconds until something is due; None for ever."""
        times = [pipe.since + _PATIENCE for pipe in self._pipes.values() if pipe.line]
        if (due := self._dedup.next_due()) is not None:
            times.append(due)
        return None if not times else max(1, int((min(times) - time.monotonic()) * 1000) + 1)

    def _accept_all(self):
        """Workers that died young may have printed: their pipes are still in the link."""
        while any(fd == self._link.fileno() for fd, _ in self._poll.poll(0)):
            self._accept()

    def _accept(self):
        """A new worker's pipes."""
        text, ancillary, _, _ = self._link.recvmsg(64, socket.CMSG_SPACE(2 * 4))
        fds = array.array("i")
        for _, _, data in ancillary:
            fds.frombytes(data)
        (pid,) = struct.unpack("<I", text)
        for fd, error in zip(fds, (False, True)):
            os.set_blocking(fd, False)
            self._pipes[fd] = _Pipe(pid, error)
            self._poll.register(fd, select.POLLIN)

    def _read(self, fd):
        pipe = self._pipes[fd]
        try:
            data = os.read(fd, 1 << 16)
        except BlockingIOError:
            return
        if data:
            self._say(pipe, pipe.feed(data, time.monotonic()))
            return
        self._say(pipe, pipe.rest())
        self._poll.unregister(fd)
        del self._pipes[fd]
        os.close(fd)

    # --- printing -----------------------------------------------------------------------------------------------------------------

    def _say(self, pipe, lines):
        now = time.monotonic()
        said = [(name, pipe.pid, line, pipe.error) for name, line in lines]
        self._print([one for one in said if self._dedup.add(*one, now)])

    def _print(self, lines):
        for error in (False, True):
            text = "".join(_prefixed(name, pid, line, error) for name, pid, line, which in lines if which == error)
            stream = sys.stderr if error else sys.stdout
            if not text or stream is None:
                continue
            try:
                stream.write(text)
                stream.flush()
            except (OSError, ValueError):
                pass  # the program has closed it: nobody wants to read


def _prefixed(name, pid, line, error):
    stream = sys.stderr if error else sys.stdout
    prefix = f"({name} pid={pid})"
    if getattr(stream, "isatty", bool)():
        prefix = f"\033[36m{prefix}\033[0m"
    return f"{prefix} {line}\n"
