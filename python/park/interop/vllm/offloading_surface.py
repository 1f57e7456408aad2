"""What offloading relies on in vLLM, manager and connector, and what that was in the version it was tested with (``offloading.json``).

``python -m park.interop.vllm.offloading_surface`` prints the table of the vLLM at hand.
"""

from __future__ import annotations

import functools
import json
import pathlib

from park.interop import surface
from park.interop.vllm import TESTED_WITH, VllmMismatchError

_OFFLOAD = "vllm.v1.kv_offload"
_CONNECTOR = "vllm.distributed.kv_transfer.kv_connector.v1"
#: What is inherited, implemented, handed over or given back.
_USED = (
    *(
        f"{_OFFLOAD}.base:{name}"
        for name in (
            "OffloadingManager",
            "PrepareStoreOutput",
            "OffloadingEvent",
            "ReqContext",
            "OffloadingWorker",
            "TransferResult",
            "GPULoadStoreSpec",
            "CanonicalKVCaches",
            "CanonicalKVCacheTensor",
            "CanonicalKVCacheRef",
        )
    ),
    *(
        f"{_OFFLOAD}.config:{name}"
        for name in (
            "OffloadingConfig",
            "OffloadingGroupConfig",
            "OffloadingModelConfig",
            "OffloadingCacheConfig",
            "OffloadingParallelConfig",
        )
    ),
    f"{_OFFLOAD}.cpu.common:CPULoadStoreSpec",
    f"{_OFFLOAD}.cpu.manager:CPUOffloadingManager",
    f"{_OFFLOAD}.cpu.manager:_RequestCacheAccess",
    f"{_OFFLOAD}.cpu.policies.arc:ARCCachePolicy",
    f"{_OFFLOAD}.cpu.policies.base:CachePolicy",
    f"{_OFFLOAD}.cpu.policies.base:order_request_keys",
    f"{_OFFLOAD}.cpu.spec:CPUOffloadingSpec",
    f"{_CONNECTOR}.base:KVConnectorBase_V1",
    f"{_CONNECTOR}.base:KVConnectorTransferResults",
    f"{_CONNECTOR}.offloading_connector:OffloadingConnector",
    f"{_CONNECTOR}.offloading.scheduler:OffloadingConnectorScheduler",
    f"{_CONNECTOR}.offloading.scheduler:TransferJobStatus",
    f"{_CONNECTOR}.offloading.worker:OffloadingConnectorWorker",
    f"{_CONNECTOR}.offloading.common:OffloadingWorkerMetadata",
)
_RECORDED = pathlib.Path(__file__).parent / "offloading.json"


def found() -> dict[str, str]:
    """What is relied on, as it is in the vLLM that is installed."""
    return surface.describe(_USED)


@functools.cache
def check() -> None:
    """Raise `VllmMismatchError` unless what is relied on is as it was in `TESTED_WITH`.

    Raises:
        ModuleNotFoundError: there is no vLLM.
    """
    from vllm import __version__

    if lines := surface.differences(surface.read(_RECORDED), found()):
        raise VllmMismatchError(
            f"park's offloading was tested with vLLM {TESTED_WITH}, this is {__version__}, and what it relies on has changed:"
            "\n  " + "\n  ".join(lines)
        )


if __name__ == "__main__":
    print(json.dumps(found(), indent=1, sort_keys=True))
