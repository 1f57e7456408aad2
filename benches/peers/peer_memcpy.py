"""The floor of moving 100 MB: numpy's copy into pages already touched, and into pages fresh from the kernel."""

from __future__ import annotations

import mmap

import numpy as np
from measure import Case, options, run_case, wanted, write
from units import GB, MB, array_of


def main() -> None:
    opts = options()
    source = array_of(100 * MB)
    target = np.zeros_like(source)

    def warm() -> np.ndarray:
        np.copyto(target, source)
        return target

    def cold() -> np.ndarray:
        # A new mapping of ordinary pages each time, as a store that has not been used yet has to take them.
        fresh = np.frombuffer(mmap.mmap(-1, source.nbytes), dtype=source.dtype)
        np.copyto(fresh, source)
        return fresh

    def check(copied: np.ndarray) -> bool:
        right = np.array_equal(copied, source)
        if copied is target:
            target[:] = 0
        return right

    size = source.nbytes / GB
    cases = {"memcpy 100 MB warm": Case(warm, check, size), "memcpy 100 MB cold": Case(cold, check, size)}
    results = {name: run_case(name, case, opts.seconds) for name, case in cases.items() if wanted(name, opts.only)}
    write(opts.out, "memcpy", f"numpy {np.__version__}", results)


if __name__ == "__main__":
    main()
