"""The zygote: a single-threaded interpreter from which worker processes are forked.

It is started by the head with a socket as its standard input, imports what every worker needs, and then forks one worker for each
request. park-core/src/proc/zygote.rs says what travels on the socket and who dies with whom.
"""

import array
import atexit
import ctypes
import gc
import importlib
import json
import os
import select
import signal
import socket
import struct
import sys

from park.output import stream
from park.working_dir import remove_views

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
#: Milliseconds without a request after which there is time for imports.
_PAUSE = 100
_libc = ctypes.CDLL(None, use_errno=True)


def main(parent=None, output=None, foreign=False):
    """Serve the head until it ends or hangs up; then end every worker and leave.

    One that a nursery has forked is told its `parent`, and under which number it has the socket for its workers' output. One of another
    interpreter (`park.foreign`) may have any parent, is told its environment besides, and says when it is ready.
    """
    link = socket.socket(fileno=os.dup(0))
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    _libc.prctl(_PR_SET_NAME, b"park-zygote", 0, 0, 0)
    hello, (control, arena, *others) = _receive_hello(link)
    try:
        driver = os.pidfd_open(hello["driver_pid"])
    except ProcessLookupError:
        return
    if not foreign and os.getppid() != (parent or hello["driver_pid"]):
        return
    if foreign:
        hello["runtime_env"] = json.loads(link.recv(1 << 16))
        hello["preload"] = hello["needed"]
        hello["output"] = others[0] if others else None
        _extend_path(hello["program_path"])
    if parent:
        hello["output"] = output
    import park.worker

    if hello["runtime_env"]:
        from park import environment

        environment.put_on(hello["runtime_env"])
    for name in hello["preload"]:
        importlib.import_module(name)
    gc.collect()
    # Pages that the collector never touches again stay shared with the workers.
    gc.freeze()
    if foreign:
        itself = os.pidfd_open(os.getpid())
        socket.send_fds(link, [b"R"], [itself])
        os.close(itself)
    _Zygote(link, driver, control, arena, hello, park.worker).serve()


def _extend_path(program_path):
    """Where the driver's own modules lie comes last; what is park's (the package `ray` of `park.compat.ray`) first, as in the driver."""
    own = os.path.dirname(__file__)
    missing = [path for path in program_path if path not in sys.path]
    sys.path[:0] = [path for path in missing if path.startswith(own)]
    sys.path += [path for path in missing if not path.startswith(own)]


def _receive_hello(link):
    text, ancillary, _, _ = link.recvmsg(1 << 16, socket.CMSG_SPACE(3 * 4))
    fds = array.array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
    return json.loads(text), fds


class _Zygote:
    def __init__(self, link, driver, control, arena, hello, worker):
        self.link = link
        self.driver = driver
        self.control = control
        self.arena = arena
        self.hello = hello
        self.worker = worker.main
        #: What a worker prints as.
        self.name = worker.name
        #: Where the driver waits for the ends of pipes; None if nobody wants to read what workers print.
        self.output = None if hello["output"] is None else socket.socket(fileno=hello["output"])
        if self.output is not None:
            self.output.set_inheritable(False)
        #: process id -> (participant, pidfd)
        self.workers = {}
        self.poll = select.poll()
        #: Whether everything is imported that some workers need.
        self.complete = False

    def complete_imports(self):
        """Import what async actors need, when nobody waits for a worker: it would double the time to the first task."""
        self.complete = True
        import park.event_loop
        import park.futures  # noqa: F401

        gc.collect()
        gc.freeze()

    def serve(self):
        self.poll.register(self.link, select.POLLIN)
        self.poll.register(self.driver, select.POLLIN)
        try:
            while True:
                ready = {fd for fd, _ in self.poll.poll(None if self.complete else _PAUSE)}
                if not ready:
                    self.complete_imports()
                    continue
                if self.driver in ready or (self.link.fileno() in ready and not self.request()):
                    return
                for pid, (_, pidfd) in list(self.workers.items()):
                    if pidfd in ready:
                        self.reap(pid)
        except (BrokenPipeError, ConnectionResetError):
            return
        finally:
            self.end()

    def request(self):
        """Handle one request; False when the head has hung up."""
        message = self.link.recv(64)
        if not message:
            return False
        kind, participant = struct.unpack("<cH", message)
        if kind != b"S":
            raise ValueError(f"the head asked for {message!r}")
        self.fork(participant)
        return True

    def fork(self, participant):
        sys.stdout.flush()
        sys.stderr.flush()
        zygote = os.getpid()
        pipes = [] if self.output is None else [os.pipe(), os.pipe()]
        pid = os.fork()
        if pid == 0:
            self.become_worker(zygote, participant, pipes)
        if pipes:
            self.tell_output(pid, pipes)
        pidfd = os.pidfd_open(pid)
        self.workers[pid] = (participant, pidfd)
        self.poll.register(pidfd, select.POLLIN)
        socket.send_fds(self.link, [struct.pack("<cHI", b"P", participant, pid)], [pidfd])

    def tell_output(self, pid, pipes):
        """Give the driver the ends from which it reads what the worker prints."""
        try:
            socket.send_fds(self.output, [struct.pack("<I", pid)], [read for read, _ in pipes])
        except (BrokenPipeError, ConnectionResetError):
            pass  # the driver is about to end, and the worker with it
        for pair in pipes:
            for fd in pair:
                os.close(fd)

    def become_worker(self, zygote, participant, pipes):
        """In the forked child; never returns."""
        code = 1
        try:
            _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            _libc.prctl(_PR_SET_NAME, b"ray::IDLE", 0, 0, 0)
            if os.getppid() != zygote:
                os._exit(1)
            self.link.close()
            os.close(self.driver)
            for _, pidfd in self.workers.values():
                os.close(pidfd)
            if pipes:
                self.output.close()
                for read, _ in pipes:
                    os.close(read)
                stream.redirect(pipes[0][1], pipes[1][1], self.name)
            else:
                stream.discard()
            # The zygote's own exit handlers are not the worker's.
            atexit._clear()
            code = self.worker(self.control, self.arena, participant, self.hello)
        except SystemExit as exit:
            code = exit.code if isinstance(exit.code, int) else 0 if exit.code is None else 1
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            try:
                atexit._run_exitfuncs()
                sys.stdout.flush()
                sys.stderr.flush()
            finally:
                # Not sys.exit: threads of user code may be anywhere, and the interpreter would wait for them.
                os._exit(code)

    def reap(self, pid):
        participant, pidfd = self.workers.pop(pid)
        _, status = os.waitpid(pid, 0)
        self.poll.unregister(pidfd)
        os.close(pidfd)
        self.link.send(struct.pack("<cHi", b"D", participant, status))

    def end(self):
        for pid in self.workers:
            os.kill(pid, signal.SIGKILL)
        for pid in self.workers:
            os.waitpid(pid, 0)
        remove_views(self.hello["views"])
