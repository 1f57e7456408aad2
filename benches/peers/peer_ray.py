"""The peer Ray: the wheel from PyPI, one node, without its dashboard and with its logging off."""

import time

# First of all, so that its import pays for every module it needs.
BEGIN = time.perf_counter()
import ray  # noqa: E402

IMPORT_S = time.perf_counter() - BEGIN

import logging  # noqa: E402

from measure import options, title  # noqa: E402
from session import STORE_BYTES, Session  # noqa: E402


def main() -> None:
    session = Session(options())
    session.start(
        ray,
        IMPORT_S,
        lambda: ray.init(
            address="local",
            num_cpus=session.opts.cores,
            object_store_memory=STORE_BYTES,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
        ),
    )
    # Ray's workers rename themselves after what they run, "ray::IDLE" when it is nothing.
    session.footprint(lambda below: [pid for pid in below if title(pid).startswith("ray::")])
    session.units(ray)
    session.stop(ray, "ray", ray.__version__)


if __name__ == "__main__":
    main()
