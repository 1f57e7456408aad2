"""The peer park: worker processes, one core a worker, as `park.init(num_cpus=cores)` gives them."""

import time

# First of all, so that its import pays for every module it needs.
BEGIN = time.perf_counter()
import park  # noqa: E402

IMPORT_S = time.perf_counter() - BEGIN

from importlib.metadata import version  # noqa: E402

from measure import options  # noqa: E402
from session import STORE_BYTES, Session  # noqa: E402


def main() -> None:
    session = Session(options())
    session.start(
        park,
        IMPORT_S,
        lambda: park.init(num_cpus=session.opts.cores, object_store_memory=STORE_BYTES),
    )
    session.footprint(lambda below: list(park.runtime_stats()["workers_alive_pids"]))
    session.units(park)
    session.stop(park, "park", version("parkstack"))


if __name__ == "__main__":
    main()
