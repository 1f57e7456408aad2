"""An engine without a model: vLLM's scheduler, both halves of a connector, and tensors that hold what a model would have computed.

Keys and values of a token are random bytes that follow from all tokens up to it and the layer (`content`), so a block is right or wrong
whoever computed it. A step does what vLLM's model runner does, in its order.

    python engine.py '{"park_session": ..., "park_directory": ..., "cpu_bytes_to_use": ...}'

reads prompts from its input, a JSON list of tokens a line, and answers each with a JSON object: how many tokens were `computed`, and whether
the bytes are `right`. It ends with its input.
"""

import functools
import hashlib
import json
import sys

import numpy as np
import torch
from tests.v1.kv_connector.unit.utils import create_vllm_config
from vllm import SamplingParams
from vllm.config import set_current_vllm_config
from vllm.distributed.kv_transfer.kv_connector.factory import KVConnectorFactory
from vllm.distributed.kv_transfer.kv_connector.v1 import KVConnectorRole
from vllm.forward_context import ForwardContext
from vllm.utils.hashing import sha256
from vllm.v1.core.kv_cache_utils import get_request_block_hasher, init_none_hash, resolve_kv_cache_block_sizes
from vllm.v1.core.sched.scheduler import Scheduler
from vllm.v1.kv_cache_interface import (
    FullAttentionSpec,
    KVCacheConfig,
    KVCacheGroupSpec,
    KVCacheTensor,
    SlidingWindowSpec,
)
from vllm.v1.kv_offload.base import make_offload_key
from vllm.v1.outputs import KVConnectorOutput, ModelRunnerOutput
from vllm.v1.request import Request, RequestStatus
from vllm.v1.structured_output import StructuredOutputManager

BLOCK, HEADS, DIM = 16, 2, 8
#: What makes a connector of park's.
PARK = {"kv_connector": "ParkConnector", "kv_connector_module_path": "park.interop.vllm.connector"}
SPEC = {"spec_name": "SharedOffloadingSpec", "spec_module_path": "park.interop.vllm.shared"}
#: Bytes of a block of all layers of one group.
BLOCK_BYTES = 3 * 2 * BLOCK * HEADS * DIM * 4


@functools.cache
def content(tokens, layer):
    """Keys and values of the last of these tokens in a layer: float32 of shape (2, HEADS, DIM)."""
    seed = hashlib.blake2b(f"{layer}:{tokens}".encode(), digest_size=8).digest()
    numbers = np.random.default_rng(int.from_bytes(seed, "little")).random((2, HEADS, DIM), np.float32)
    return torch.from_numpy(numbers)


class Engine:
    """See the module. `groups` as a list of windows, None for full attention; each group has three layers."""

    def __init__(self, options, *, groups=(None,), blocks=64, policy="recompute", connector=PARK, events=False):
        config = create_vllm_config(
            block_size=BLOCK,
            max_num_batched_tokens=1024,
            kv_connector_extra_config={**SPEC, **options},
            kv_load_failure_policy=policy,
            kv_role="kv_both",
            disable_hybrid_kv_cache_manager=False,
            **connector,
        )
        # Its scheduler makes its connector by this, which needs no other process.
        config.kv_transfer_config.engine_id = "engine"
        shape = {"block_size": BLOCK, "num_kv_heads": HEADS, "head_size": DIM, "dtype": torch.float32}
        specs, tensors, self.caches = [], [], {}
        for at, window in enumerate(groups):
            spec = FullAttentionSpec(**shape) if window is None else SlidingWindowSpec(**shape, sliding_window=window)
            names = [f"layer{at}.{layer}" for layer in range(3)]
            specs.append(KVCacheGroupSpec(names, spec))
            page = spec.page_size_bytes
            tensors.append(
                KVCacheTensor(size=3 * page * blocks, layers=names, layer_stride=page * blocks, block_stride=page)
            )
        for at in range(len(groups)):
            for layer in range(3):
                cache = torch.zeros(blocks, 2, BLOCK, HEADS, DIM)
                # Groups share the pool of blocks, and here each has tensors of its own.
                self.caches[f"layer{at}.{layer}"] = cache
        kv_config = KVCacheConfig(num_blocks=blocks, kv_cache_tensors=tensors, kv_cache_groups=specs)
        config.cache_config.num_gpu_blocks = blocks
        config.scheduler_config.async_scheduling = False
        scheduler_block, hash_block = resolve_kv_cache_block_sizes(kv_config, config)
        self.scheduler = Scheduler(
            vllm_config=config,
            kv_cache_config=kv_config,
            log_stats=True,
            structured_output_manager=StructuredOutputManager(config),
            block_size=scheduler_block,
            hash_block_size=hash_block,
        )
        self.worker = KVConnectorFactory.create_connector(config, KVConnectorRole.WORKER, kv_config)
        with set_current_vllm_config(config):
            self.worker.register_kv_caches(self.caches)
        init_none_hash(sha256)
        self.hasher = get_request_block_hasher(BLOCK, sha256)
        self.context = ForwardContext(no_compile_layers={}, attn_metadata={}, slot_mapping={})
        self.groups = groups
        self.made = 0
        self.computed = {}
        self.reported = set()
        self.closed = False

    @property
    def manager(self):
        """The offloading manager."""
        return self.scheduler.connector.connector_scheduler.manager

    def add(self, tokens, outputs=1):
        """A request; returns its name."""
        self.made += 1
        name = f"r{self.made}"
        self.computed[name] = 0
        self.scheduler.add_request(self._request(name, tokens, outputs))
        return name

    def step(self):
        """One step of the engine, with all that it did for each request compared."""
        planned = self.scheduler.schedule()
        metadata = planned.kv_connector_metadata
        self.worker.handle_preemptions(metadata)
        self.worker.bind_connector_metadata(metadata)
        if planned.has_sync_kv_loads:
            self.worker.start_load_kv(self.context)
        sampled = self._compute(planned)
        if not planned.has_sync_kv_loads:
            self.worker.start_load_kv(self.context)
        self.worker.wait_for_save()
        results = self.worker.get_transfer_results(planned.finished_req_ids)
        invalid = self.worker.get_block_ids_with_load_errors()
        self.reported |= invalid
        told = KVConnectorOutput(
            finished_sending=results.finished_sending,
            finished_recving=results.finished_recving,
            failed_recving=results.failed_recving,
            invalid_block_ids=invalid,
            kv_connector_worker_meta=self.worker.build_connector_worker_meta(),
        )
        self.worker.clear_connector_metadata()
        names = list(planned.num_scheduled_tokens)
        output = ModelRunnerOutput(
            req_ids=names,
            req_id_to_index={name: at for at, name in enumerate(names)},
            sampled_token_ids=[sampled[name] for name in names],
            logprobs=None,
            prompt_logprobs_dict={},
            pooler_output=None,
            kv_connector_output=told,
        )
        return self.scheduler.update_from_output(planned, output)

    def run(self, tokens, outputs=1):
        """One request from its arrival until all that it left is over; returns how many tokens were computed for it, and whether all
        keys and values that it would attend to were right in every step."""
        name = self.add(tokens, outputs)
        self.wrong = []
        for _ in range(100_000):
            if not self.busy():
                return self.computed[name], not self.wrong
            self.step()
        raise AssertionError(f"{name} does not end: {self.scheduler.requests}")

    def busy(self):
        """Whether there is something to be done."""
        return bool(
            self.scheduler.requests
            or self.scheduler.finished_req_ids
            or self.scheduler.connector.has_pending_push_work()
        )

    def parts(self, tokens):
        """What this worker's chunks of a prompt are called, one a block, in the first group."""
        tier, rank = self.manager._tier, 0
        hashes = self._request("", tokens, 1).block_hashes
        return [tier.part(self.manager._name(make_offload_key(each, 0)), rank) for each in hashes]

    def close(self):
        """Both halves end, once."""
        if not self.closed:
            self.closed = True
            self.worker.shutdown()
            self.scheduler.shutdown()

    def _request(self, name, tokens, outputs):
        sampling = SamplingParams(max_tokens=outputs, ignore_eos=True)
        sampling.update_from_generation_config({}, 50256)
        return Request(
            request_id=name,
            prompt_token_ids=list(tokens),
            sampling_params=sampling,
            pooling_params=None,
            block_hasher=self.hasher,
        )

    def _compute(self, planned):
        """Write the keys and values of the tokens of a step, then look at all that they attend to."""
        starts = {new.req_id: new.num_computed_tokens for new in planned.scheduled_new_reqs}
        cached = planned.scheduled_cached_reqs
        starts.update(zip(cached.req_ids, cached.num_computed_tokens, strict=True))
        sampled = {}
        for name, count in planned.num_scheduled_tokens.items():
            request, start = self.scheduler.requests[name], starts[name]
            tokens = tuple(request.all_token_ids)
            self.computed[name] += count
            for group, table in enumerate(self.scheduler.kv_cache_manager.get_block_ids(name)):
                window = self.groups[group]
                for at in range(start, start + count):
                    for layer in range(3):
                        page = self.caches[f"layer{group}.{layer}"][table[at // BLOCK]]
                        page[:, at % BLOCK] = content(tokens[: at + 1], layer)
                first = 0 if window is None else max(0, start - window + 1)
                for at in range(first, start + count):
                    for layer in range(3):
                        page = self.caches[f"layer{group}.{layer}"][table[at // BLOCK]]
                        if not torch.equal(page[:, at % BLOCK], content(tokens[: at + 1], layer)):
                            self.wrong.append((name, group, layer, at))
            done = start + count >= len(tokens)
            sampled[name] = [len(tokens) % 1000] if done else []
        return sampled


def failed(outputs):
    """Requests that ended with an error, by what a step returned."""
    error = RequestStatus.get_finished_reason(RequestStatus.FINISHED_ERROR)
    return [out.request_id for each in outputs.values() for out in each.outputs if out.finish_reason == error]


if __name__ == "__main__":
    engine = Engine(json.loads(sys.argv[1]))
    print("ready", flush=True)
    for line in sys.stdin:
        computed, right = engine.run(json.loads(line))
        print(json.dumps({"computed": computed, "right": right}), flush=True)
    engine.close()
