"""A nursery: an interpreter that imports once what all workers of a program need, and forks the zygotes of its sessions.

A session's workers are forked from its zygote, and share what that has imported; but each session starts a zygote anew, and libraries
such as torch or transformers take seconds to import. A program that opens one session after another, as test suites do, pays that in each.
`python -m park.compat.ray --preload torch program.py` starts a nursery beside the program: while the program imports its own modules the
nursery imports those, and then every session begins with a fork of it.

What is preloaded was imported in the surroundings that the program was started with. A zygote takes over the program's variables, folder
and path of the moment, so only what a library reads while it is imported is from before; that is why preloading is asked for by name.

The nursery runs nothing but imports and has no part of any session. It ends with the program, however that ends.
"""

import atexit
import ctypes
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys

from park import session

_PR_SET_NAME = 15
#: A request: environment variables, path and folder, and the zygote's end of its socket.
_LONGEST = 1 << 18


class Nursery:
    """The program's side: `fork` gives a zygote for `park._park.init`."""

    def __init__(self, modules):
        self._link, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._link.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _LONGEST)
        start = f"import sys; sys.path[:] = {sys.path!r}; from park.nursery import main; main({os.getpid()}, {list(modules)!r})"
        threads = {} if "OMP_NUM_THREADS" in os.environ else {"OMP_NUM_THREADS": "1"}
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-c", start], stdin=theirs, env={**os.environ, **threads}, process_group=0
            )
        self._threads = threads
        self._owner = os.getpid()
        atexit.register(self.close)

    def fork(self, output):
        """A zygote that waits to be told: (socket, process id, pidfd). None in a child that was forked from the program.

        `output` is the socket over which it tells where its workers print, or None.
        """
        if os.getpid() != self._owner:
            return None
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        surroundings = {"environ": {**os.environ, **self._threads}, "path": sys.path, "folder": os.getcwd()}
        with ours, theirs:
            try:
                socket.send_fds(
                    self._link,
                    [json.dumps(surroundings).encode()],
                    [theirs.fileno()] + ([] if output is None else [output]),
                )
                answer, fds, _, _ = socket.recv_fds(self._link, 16, 1)
            except (BrokenPipeError, ConnectionResetError):
                answer = b""
            if not answer:
                raise RuntimeError("the process that preloads modules has ended; its error output says why")
            return ours.detach(), int(answer), fds[0]

    def close(self):
        """End it, once there will be no more sessions."""
        if os.getpid() == self._owner:
            self._link.close()
            self._process.wait()


def main(driver_pid, modules):
    """The nursery's side: import, then fork a zygote for each request until the program hangs up or ends."""
    link = socket.socket(fileno=os.dup(0))
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    ctypes.CDLL(None).prctl(_PR_SET_NAME, b"park-nursery", 0, 0, 0)
    driver = os.pidfd_open(driver_pid)
    if os.getppid() != driver_pid:
        return
    for name in ("park.worker", *session.PRELOADED, *modules):
        importlib.import_module(name)
    code = 1
    try:
        _serve(link, driver)
        code = 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        # The program waits for this end, and taking libraries apart module by module costs it a second.
        atexit._run_exitfuncs()
        sys.stderr.flush()
        os._exit(code)


def _serve(link, driver):
    """Fork a zygote for each request, until the program hangs up or ends."""
    # Zygotes are nobody's to wait for here: the kernel reaps them.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        ready, _, _ = select.select([link, driver], [], [])
        if driver in ready:
            return
        message, fds, _, _ = socket.recv_fds(link, _LONGEST, 2)
        if not message:
            return
        if (pid := os.fork()) == 0:
            link.close()
            os.close(driver)
            _become_zygote(json.loads(message), *fds)
        pidfd = os.pidfd_open(pid)
        socket.send_fds(link, [str(pid).encode()], [pidfd])
        os.close(pidfd)
        for fd in fds:
            os.close(fd)


def _become_zygote(surroundings, link, output=None):
    """In the forked child; never returns."""
    code = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setpgid(0, 0)
        os.dup2(link, 0)
        os.close(link)
        os.environ.clear()
        os.environ.update(surroundings["environ"])
        sys.path[:] = surroundings["path"]
        os.chdir(surroundings["folder"])
        from park import zygote

        zygote.main(os.getppid(), output)
        code = 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)
