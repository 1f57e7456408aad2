"""`DeferSigint`: Ctrl-C waits while something runs that must not be left half done."""

import contextlib
import signal
import threading


class DeferSigint(contextlib.AbstractContextManager):
    """A block of the main thread that Ctrl-C does not interrupt: however often it came, the handler of SIGINT is called once, at the end.

    A handler that is set inside is the one that is called, and stays; until then only this object hears of the signal.
    """

    def __init__(self):
        self._came = False
        self._handler = None
        self._set = signal.signal

    @classmethod
    def create_if_main_thread(cls):
        """One of these; in other threads, which hear of no signals, a block that changes nothing."""
        return cls() if threading.current_thread() is threading.main_thread() else contextlib.nullcontext()

    def __enter__(self):
        self._set = signal.signal
        self._handler = self._set(signal.SIGINT, self._note)
        signal.signal = self._set_later
        return self

    def __exit__(self, *exc):
        signal.signal = self._set
        self._set(signal.SIGINT, self._handler)
        if self._came:
            self._came = False
            if callable(self._handler):
                self._handler(signal.SIGINT, None)

    def _note(self, number, frame):
        self._came = True

    def _set_later(self, number, handler):
        if number != signal.SIGINT:
            return self._set(number, handler)
        before, self._handler = self._handler, handler
        return before
