"""The peer multiprocessing.Pool: what the standard library offers for the units it has a shape for.

A Pool has no object store and no actors, so only tasks, a call with a large array, and the start and stop are measured.
They carry the names of the units they stand beside.
"""

import time

BEGIN = time.perf_counter()
import multiprocessing  # noqa: E402
import multiprocessing.pool  # noqa: E402

IMPORT_S = time.perf_counter() - BEGIN

import os  # noqa: E402
import statistics  # noqa: E402
import sys  # noqa: E402

import numpy as np  # noqa: E402
from measure import Case, descendants, options, pss_mb, run_case, wanted, write  # noqa: E402
from session import SETTLE_S, Session  # noqa: E402
from units import MANY, MB, OK, all_ok, array_of  # noqa: E402


def answer() -> bytes:
    return OK


def ends(array: np.ndarray) -> tuple[int, int, int]:
    return array.nbytes, int(array[0]), int(array[-1])


def cases(pool: multiprocessing.pool.Pool) -> dict[str, Case]:
    sync, arrays = 100, 10
    array = array_of(10 * MB)
    expected = [(array.nbytes, 0, array.size - 1)] * arrays

    def submit_all() -> list[bytes]:
        pending = [pool.apply_async(answer) for _ in range(MANY)]
        return [one.get() for one in pending]

    return {
        "tasks sync": Case(lambda: [pool.apply(answer) for _ in range(sync)], all_ok(sync), sync),
        "tasks async": Case(submit_all, all_ok(MANY), MANY),
        "actor call with 10 MB array": Case(
            lambda: [pool.apply(ends, (array,)) for _ in range(arrays)], lambda got: got == expected, arrays
        ),
    }


def main() -> None:
    session = Session(options())
    opts = session.opts
    session.keep("import", IMPORT_S * 1e3)
    begin = time.perf_counter()
    pool = multiprocessing.get_context("fork").Pool(opts.cores)
    started = time.perf_counter()
    if pool.apply(answer) != OK:
        raise SystemExit("first task: wrong answer")
    answered = time.perf_counter()
    session.keep("init", (started - begin) * 1e3)
    session.keep("first task after init", (answered - started) * 1e3)
    session.keep("init + first task", (answered - begin) * 1e3)

    time.sleep(SETTLE_S)
    workers = descendants(os.getpid())
    session.keep("worker processes", len(workers))
    session.keep("other processes beside the driver", len(workers) - opts.cores)
    session.keep("PSS of an idle worker", statistics.median(pss_mb(pid) for pid in workers))
    session.keep("PSS of all processes beside the driver", sum(pss_mb(pid) for pid in workers))

    for name, case in cases(pool).items():
        if wanted(name, opts.only):
            session.results[name] = run_case(name, case, opts.seconds)

    begin = time.perf_counter()
    pool.close()
    pool.join()
    session.keep("shutdown", (time.perf_counter() - begin) * 1e3)
    write(opts.out, "pool", f"Python {sys.version.split()[0]}", session.results)


if __name__ == "__main__":
    main()
