"""`ParkConnector`: vLLM's own offloading connector, which besides survives a transfer that fails.

vLLM's ends the engine when a worker says so. Here a chunk that could not be stored is not there, and one that could not be loaded is
computed: its blocks are reported to vLLM, which by `kv_load_failure_policy` computes the request from there on or fails it. With several
groups of layers vLLM is told the request, as numbers of blocks say nothing then.

All else is vLLM's: what is looked up, stored and when, events, resets. It is named by module path, with the spec of `shared`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from park.interop.vllm import offloading_surface

offloading_surface.check()

from vllm.config import VllmConfig  # noqa: E402 (only a vLLM that fits is imported from)
from vllm.distributed.kv_transfer.kv_connector.v1.base import (  # noqa: E402
    KVConnectorRole,
    KVConnectorTransferResults,
    KVConnectorWorkerMetadata,
)
from vllm.distributed.kv_transfer.kv_connector.v1.offloading.common import OffloadingWorkerMetadata  # noqa: E402
from vllm.distributed.kv_transfer.kv_connector.v1.offloading.worker import OffloadingConnectorWorker  # noqa: E402
from vllm.distributed.kv_transfer.kv_connector.v1.offloading_connector import OffloadingConnector  # noqa: E402
from vllm.v1.kv_cache_interface import KVCacheConfig  # noqa: E402
from vllm.v1.kv_offload.base import CanonicalKVCaches, OffloadingWorker, TransferResult  # noqa: E402
from vllm.v1.outputs import KVConnectorOutput  # noqa: E402

__all__ = ["ParkConnector"]


@dataclass
class WorkerMetadata(OffloadingWorkerMetadata):
    """What a worker tells the scheduler: which jobs are over, and which of them failed."""

    failed: set[int] = field(default_factory=set)

    def aggregate(self, other: KVConnectorWorkerMetadata) -> WorkerMetadata:
        """Of two workers: a job failed if it did in either."""
        both = super().aggregate(other)
        failed = self.failed | getattr(other, "failed", set())
        return WorkerMetadata(both.completed_jobs, both.transfer_stats, failed)


class _Noting:
    """A worker whose jobs all succeed, as vLLM's half wants it; those that did not are noted here with the blocks that they spoiled."""

    def __init__(self, worker: OffloadingWorker):
        self._worker = worker
        self.failed: dict[int, set[int]] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._worker, name)

    def get_finished(self) -> list[TransferResult]:
        results = self._worker.get_finished()
        for at, result in enumerate(results):
            if not result.success:
                self.failed[result.job_id] = self._worker.failed_blocks.pop(result.job_id)
                results[at] = replace(result, success=True)
        return results


class ConnectorWorker(OffloadingConnectorWorker):
    """vLLM's half in a worker, with failures."""

    def __init__(self, spec: Any, vllm_config: VllmConfig, kv_cache_config: KVCacheConfig):
        super().__init__(spec, vllm_config, kv_cache_config)
        self._connector_worker_meta = WorkerMetadata()
        self.failed_blocks: set[int] = set()
        self.failed_requests: set[str | None] = set()

    def _init_worker(self, kv_caches: CanonicalKVCaches) -> None:
        super()._init_worker(kv_caches)
        self.worker = _Noting(self.worker)

    def get_finished(self, finished_req_ids: set[str]) -> tuple[set[str], set[str]]:
        """Requests whose loads are over; loads that failed are counted among them, and kept for `failed_blocks` and `failed_requests`."""
        loads = dict(self._load_jobs)
        finished = super().get_finished(finished_req_ids)
        for job_id, blocks in self.worker.failed.items():
            self._connector_worker_meta.failed.add(job_id)
            if job_id in loads:
                self.failed_blocks |= blocks
                self.failed_requests.add(loads[job_id])
        self.worker.failed.clear()
        return finished

    def build_connector_worker_meta(self) -> OffloadingWorkerMetadata | None:
        """What to tell the scheduler, once."""
        meta = super().build_connector_worker_meta()
        if meta is not None:
            self._connector_worker_meta = WorkerMetadata()
        return meta


class ParkConnector(OffloadingConnector):
    """See the module.

    Raises:
        ValueError: loads within a step are asked for (`sync_load_budget_bytes`) with several groups of layers: vLLM cannot be told
            that one has failed.
    """

    def __init__(self, vllm_config: VllmConfig, role: KVConnectorRole, kv_cache_config: KVCacheConfig):
        super().__init__(vllm_config, role, kv_cache_config)
        self._groups = len(kv_cache_config.kv_cache_groups)
        if self._groups > 1 and vllm_config.kv_transfer_config.kv_connector_extra_config.get("sync_load_budget_bytes"):
            raise ValueError(
                f"sync_load_budget_bytes was given with {self._groups} groups of layers: a load that fails could not be reported"
            )
        if self.connector_worker is not None:
            self.connector_worker = ConnectorWorker(self.connector_worker.spec, vllm_config, kv_cache_config)

    def get_transfer_results(self, finished_req_ids: set[str]) -> KVConnectorTransferResults:
        """What is over, and, with several groups of layers, which requests were not loaded."""
        results = super().get_transfer_results(finished_req_ids)
        if self._groups > 1:
            results.failed_recving |= self.connector_worker.failed_requests
        self.connector_worker.failed_requests = set()
        return results

    def get_block_ids_with_load_errors(self) -> set[int]:
        """Blocks whose content was not loaded, since the last call; none with several groups of layers."""
        failed, self.connector_worker.failed_blocks = self.connector_worker.failed_blocks, set()
        return failed if self._groups == 1 else set()

    def update_connector_output(self, connector_output: KVConnectorOutput) -> None:
        """Hear from the workers. What they could not transfer is known to the manager before it hears that the transfer is over."""
        meta = connector_output.kv_connector_worker_meta
        for job_id in getattr(meta, "failed", ()):
            job = self.scheduler._jobs.get(job_id)
            if job is None:
                continue  # From before a reset: nobody's.
            if job.is_store:
                self.scheduler.manager.store_failed(job.keys)
            else:
                status = self.scheduler._req_status[job.req_id]
                self.scheduler.manager.load_failed(job.keys, status.req_context)
                # What is computed instead is to be stored: vLLM passes over what it meant to have loaded.
                for group in status.group_states:
                    group.next_stored_chunk_idx = 0
        super().update_connector_output(connector_output)
