"""park.interop.vllm.shared with two workers, without an engine: a chunk is there when each worker has its part, in memory and on disk, and lost
when one of them could not store or load. Run by run.py before vLLM's own tests."""

import park
import pytest
import torch
from park.interop.vllm.shared import SharedManager, SharedOffloadingSpec
from park.interop.vllm.tier import Directory
from vllm.v1.kv_offload.base import (
    CanonicalKVCacheRef,
    CanonicalKVCaches,
    CanonicalKVCacheTensor,
    GPULoadStoreSpec,
    LookupResult,
    ReqContext,
    make_offload_key,
)
from vllm.v1.kv_offload.config import (
    OffloadingCacheConfig,
    OffloadingConfig,
    OffloadingGroupConfig,
    OffloadingModelConfig,
    OffloadingParallelConfig,
)

PAGE, BLOCKS = 96, 8
KEYS = [make_offload_key(bytes([n]) * 32, 0) for n in range(4)]


@pytest.fixture(scope="module", autouse=True)
def session():
    park.init(num_cpus=1, object_store_memory=32 << 20)
    yield
    park.shutdown()


class Rig:
    """A manager and two workers of one engine, each with its own pages: block b of worker r has bytes 16 * r + b."""

    def __init__(self, directory, events=False, **options):
        self.specs = [SharedOffloadingSpec(config(directory, rank, events, options)) for rank in range(2)]
        self.manager = self.specs[0].get_manager()
        assert isinstance(self.manager, SharedManager)
        self.pages = [
            torch.arange(BLOCKS, dtype=torch.int8).repeat_interleave(PAGE).view(BLOCKS, PAGE) + 16 * rank
            for rank in range(2)
        ]
        self.workers = [
            spec.get_worker(CanonicalKVCaches([CanonicalKVCacheTensor(page, PAGE)], [[CanonicalKVCacheRef(0, PAGE)]]))
            for spec, page in zip(self.specs, self.pages, strict=True)
        ]
        self.jobs = 0

    def transfer(self, call, blocks, chunks, workers=(0, 1)):
        """What came of a job in each of the workers."""
        self.jobs += 1
        on_device = GPULoadStoreSpec(blocks, group_sizes=[len(blocks)], block_indices=[0])
        ends = (on_device, chunks) if call == "submit_store" else (chunks, on_device)
        results = []
        for worker in (self.workers[rank] for rank in workers):
            assert getattr(worker, call)(self.jobs, *ends)
            worker.wait({self.jobs})
            (result,) = worker.get_finished()
            results.append(result.success)
        return results

    def store(self, keys, blocks):
        stored = self.manager.prepare_store(keys, context())
        assert self.transfer("submit_store", blocks, stored.store_spec) == [True, True]
        self.manager.complete_store(keys, context())

    def close(self):
        """Once."""
        workers, self.workers = self.workers, []
        for worker in workers:
            worker.shutdown()
        if workers:
            self.manager.shutdown()


def config(directory, rank, events, options):
    return OffloadingConfig(
        groups=(OffloadingGroupConfig(tokens_per_block=16, layer_names=("layer",), group_id=0),),
        worker_kv_bytes_per_block=PAGE,
        enable_kv_cache_events=events,
        extra_config={**directory.options, "cpu_bytes_to_use": 16 * 2 * PAGE, **options},
        engine_id="engine",
        model=OffloadingModelConfig(name="model", dtype="int8"),
        cache=OffloadingCacheConfig(tokens_per_hash=16, blocks_per_chunk=1),
        parallel=OffloadingParallelConfig(
            rank=rank,
            world_size=2,
            tp_size=2,
            pp_size=1,
            pcp_size=1,
            dcp_size=1,
            data_parallel_index=0,
            data_parallel_size=1,
            data_parallel_rank_local=None,
            is_parallelism_agnostic=False,
        ),
    )


def context(name="r"):
    return ReqContext(name)


@pytest.fixture
def rigs():
    made = []

    def make(*arguments, **options):
        made.append(Rig(*arguments, **options))
        return made[-1]

    yield make
    for rig in made:
        rig.close()


def test_a_chunk_is_there_when_every_worker_has_its_part(rigs):
    directory = Directory(room=100)
    first, second = rigs(directory), rigs(directory, events=True)
    stored = first.manager.prepare_store(KEYS[:2], context())
    assert first.transfer("submit_store", [1, 2], stored.store_spec, workers=[0]) == [True]
    assert second.manager.lookup(KEYS[0], context()) is LookupResult.MISS
    assert first.transfer("submit_store", [1, 2], stored.store_spec, workers=[1]) == [True]
    first.manager.complete_store(KEYS[:2], context())

    request = context("request")
    assert [second.manager.lookup(key, request) for key in KEYS[:3]] == [
        LookupResult.HIT,
        LookupResult.HIT,
        LookupResult.MISS,
    ]
    chunks = second.manager.prepare_load(KEYS[:2], request)
    assert second.transfer("submit_load", [6, 7], chunks) == [True, True]
    second.manager.complete_load(KEYS[:2], request)
    for rank, pages in enumerate(second.pages):
        assert (pages[6] == 16 * rank + 1).all() and (pages[7] == 16 * rank + 2).all()
    told = [(event.keys, event.removed) for event in second.manager.take_events()]
    assert told == [(KEYS[:2], False)], "it is this engine's as well from now on"
    first.close()
    assert second.manager.lookup(KEYS[0], context()) is LookupResult.HIT


def test_a_load_that_failed_in_one_worker_is_a_miss_for_its_request(rigs):
    rig = rigs(Directory(room=100), events=True)
    rig.store(KEYS[:2], [1, 2])
    rig.workers[1]._kept[1] = None
    request = context("request")
    chunks = rig.manager.prepare_load(KEYS[:2], request)
    assert rig.transfer("submit_load", [6, 7], chunks) == [True, False]
    assert rig.workers[1].failed_blocks.pop(rig.jobs) == {7}
    rig.manager.load_failed(KEYS[:2], request)
    rig.manager.complete_load(KEYS[:2], request)
    assert [rig.manager.lookup(key, request) for key in KEYS[:2]] == [LookupResult.MISS] * 2
    assert rig.manager.lookup(KEYS[1], context("another")) is LookupResult.MISS
    assert sorted(rig.manager.take_events(), key=lambda event: event.removed)[-1].removed


def test_a_store_that_failed_in_one_worker_is_none(rigs):
    rig = rigs(Directory(room=100))
    stored = rig.manager.prepare_store(KEYS[:2], context())
    assert rig.transfer("submit_store", [1, 2], stored.store_spec) == [True, True]
    rig.manager.store_failed(KEYS[:1])
    rig.manager.complete_store(KEYS[:2], context())
    rig.workers[1]._kept[0] = None
    assert [rig.manager.lookup(key, context()) for key in KEYS[:2]] == [LookupResult.MISS, LookupResult.HIT]


def test_both_parts_come_back_from_disk(rigs, tmp_path):
    directory = Directory(room=100)
    disk = {"park_disk": str(tmp_path / "kv"), "park_disk_bytes": 1 << 20}
    first = rigs(directory, **disk)
    first.store(KEYS, [1, 2, 3, 4])
    with pytest.raises(park.exceptions.RayError, match="another process has the disk"):
        rigs(directory, **disk)
    first.close()
    second, request = rigs(directory, **disk), context()
    while LookupResult.RETRY in [second.manager.lookup(key, request) for key in KEYS]:
        pass
    assert [second.manager.lookup(key, request) for key in KEYS] == [LookupResult.HIT] * 4
    chunks = second.manager.prepare_load(KEYS, request)
    for pages in second.pages:
        pages.zero_()
    assert second.transfer("submit_load", [4, 5, 6, 7], chunks) == [True, True]
    second.manager.complete_load(KEYS, request)
    assert [[int(page[0]) for page in pages[4:]] for pages in second.pages] == [[1, 2, 3, 4], [17, 18, 19, 20]]
    assert second.manager._tier.chunks.stats()["disk_read"] == 8
