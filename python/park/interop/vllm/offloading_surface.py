"""What the offloading manager relies on in vLLM, and what that was in the version it was tested with (``offloading.json``).

``python -m park.interop.vllm.offloading_surface`` prints the table of the vLLM at hand.
"""

from __future__ import annotations

import functools
import json
import pathlib

from park.interop import surface
from park.interop.vllm import TESTED_WITH, VllmMismatchError

_OFFLOAD = "vllm.v1.kv_offload"
#: What the manager inherits, implements, is handed or gives back.
_USED = (
    *(
        f"{_OFFLOAD}.base:{name}"
        for name in ("OffloadingManager", "PrepareStoreOutput", "OffloadingEvent", "ReqContext")
    ),
    f"{_OFFLOAD}.cpu.common:CPULoadStoreSpec",
    f"{_OFFLOAD}.cpu.manager:CPUOffloadingManager",
    f"{_OFFLOAD}.cpu.manager:_RequestCacheAccess",
    f"{_OFFLOAD}.cpu.policies.base:CachePolicy",
    f"{_OFFLOAD}.cpu.policies.base:order_request_keys",
    f"{_OFFLOAD}.cpu.spec:CPUOffloadingSpec",
)
_RECORDED = pathlib.Path(__file__).parent / "offloading.json"


def found() -> dict[str, str]:
    """What the manager relies on, as it is in the vLLM that is installed."""
    return surface.describe(_USED)


@functools.cache
def check() -> None:
    """Raise `VllmMismatchError` unless what the manager relies on is as it was in `TESTED_WITH`.

    Raises:
        ModuleNotFoundError: there is no vLLM.
    """
    from vllm import __version__

    if lines := surface.differences(surface.read(_RECORDED), found()):
        raise VllmMismatchError(
            f"park's offloading manager was tested with vLLM {TESTED_WITH}, this is {__version__}, and what it relies on has changed:"
            "\n  " + "\n  ".join(lines)
        )


if __name__ == "__main__":
    print(json.dumps(found(), indent=1, sort_keys=True))
