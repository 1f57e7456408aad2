"""`get_gpu_ids()`: which GPUs the caller may use."""

from __future__ import annotations

from park import _park, assignment


def get_gpu_ids() -> list[int] | list[str]:
    """The GPUs of the task or actor that asks; none in the driver.

    Their numbers on the node; or, if CUDA_VISIBLE_DEVICES was set when the session was opened, their names in it.
    """
    _park.session_id()  # opens a session as the rest of the interface does
    return assignment.gpu_ids()
