"""Which Pythons park runs in: the main interpreter of a build with the GIL. Elsewhere the import says so, and what to do.

The native module is built for the stable ABI, which a free-threaded build cannot load; a session, its signal handling and its
threads belong to one interpreter of a process.
"""

import sys


def check():
    """ImportError unless park can work here."""
    if "t" in getattr(sys, "abiflags", "") or not getattr(sys, "_is_gil_enabled", lambda: True)():
        raise ImportError(
            "park does not support free-threaded Python (this is a build without the GIL): install it into a standard build of "
            "the same version; its workers are processes and use all cores there",
            name="park",
        )
    if not _is_main():
        raise ImportError(
            "park does not support subinterpreters (this is one): import it in the main interpreter, and run work in park's "
            "worker processes instead",
            name="park",
        )


def _is_main():
    try:
        from _thread import _is_main_interpreter
    except ImportError:  # before Python 3.13
        try:
            import _xxsubinterpreters as interpreters
        except ImportError:  # a build that cannot make subinterpreters
            return True
        return interpreters.get_current() == interpreters.get_main()
    return _is_main_interpreter()
