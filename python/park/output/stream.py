"""The worker's side: standard output and error that say whose lines they carry.

A line that begins with NUL holds a name: it is that of every line until the next such one. It is written only before text, and only
when the name is another than before, so work that prints nothing costs nothing.
"""

import io
import os
import sys


class NamedPipe(io.RawIOBase):
    """Writes to a pipe, and before that the name of who writes if the reader does not know it."""

    def __init__(self, fd, name):
        self._fd = fd
        self._name = name
        self._told = None
        self._at_start = True

    def writable(self):
        return True

    def fileno(self):
        return self._fd

    def write(self, data):
        data = bytes(data)
        if not data:
            return 0
        text = data
        if self._at_start:
            name = self._name()
            if name != self._told:
                self._told = name
                text = b"\0" + name.encode(errors="replace").replace(b"\n", b" ") + b"\n" + data
        self._at_start = data.endswith(b"\n")
        view = memoryview(text)
        while view:
            view = view[os.write(self._fd, view) :]
        return len(data)


def redirect(out, err, name):
    """Let this process print into these two pipes; `name()` says who it is."""
    for fd, pipe, which in ((1, out, "stdout"), (2, err, "stderr")):
        os.dup2(pipe, fd)
        os.close(pipe)
        # As Python does at a terminal: by lines.
        text = io.TextIOWrapper(
            io.BufferedWriter(NamedPipe(fd, name)), encoding="utf-8", errors="backslashreplace", line_buffering=True
        )
        setattr(sys, which, text)
        setattr(sys, f"__{which}__", text)


def discard():
    """Let this process print into nothing."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    os.close(null)
