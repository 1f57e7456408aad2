"""The rows of the KV bench on vLLM's own manager: `KVCacheManager`, `BlockPool` and `Scheduler` of its source package.

Started with an interpreter that has what those modules import, and with the package's tree on PYTHONPATH.
"""

from __future__ import annotations

import gc
import json
import os
import tempfile
from collections import deque
from pathlib import Path
from typing import Any

import torch
from kv_rows import (
    BLOCK,
    BLOCKS,
    DECODING,
    NODE,
    NODES,
    POOL,
    PROMPT,
    REPLAY_POOL,
    REPLAY_RUNNING,
    RUNNING,
    SOME,
    WAITING,
    tokens,
    trace,
)
from measure import Case, options, run_case, single, wanted, write
from vllm.sampling_params import SamplingParams
from vllm.utils.hashing import sha256, xxhash
from vllm.v1.core.block_pool import BlockPool
from vllm.v1.core.kv_cache_manager import KVCacheManager
from vllm.v1.core.kv_cache_utils import get_request_block_hasher, init_none_hash
from vllm.v1.kv_cache_interface import FullAttentionSpec, KVCacheConfig, KVCacheGroupSpec
from vllm.v1.request import Request
from vllm.version import __version__

# Requests of the trace that are replayed: all would take half a minute a round.
REPLAYED = 300
HELD = 1 << 17


class Numbers:
    """Requests are numbered."""

    last = 0

    @classmethod
    def next(cls) -> str:
        cls.last += 1
        return str(cls.last)


def request(prompt: list[int], hasher: Any, most: int = 4_096) -> Request:
    sampling = SamplingParams(max_tokens=most, ignore_eos=True)
    sampling.update_from_generation_config({}, eos_token_id=100)
    return Request(
        request_id=Numbers.next(),
        prompt_token_ids=prompt,
        sampling_params=sampling,
        pooling_params=None,
        block_hasher=hasher,
    )


def config(blocks: int) -> KVCacheConfig:
    spec = FullAttentionSpec(block_size=BLOCK, num_kv_heads=1, head_size=1, dtype=torch.float32)
    return KVCacheConfig(num_blocks=blocks, kv_cache_tensors=[], kv_cache_groups=[KVCacheGroupSpec(["layer"], spec)])


def manager(blocks: int = POOL) -> KVCacheManager:
    return KVCacheManager(config(blocks), max_model_len=1 << 20, scheduler_block_size=BLOCK, hash_block_size=BLOCK)


def hasher(hash_fn: Any) -> Any:
    init_none_hash(hash_fn)
    return get_request_block_hasher(BLOCK, hash_fn)


def compute(made: KVCacheManager, what: Request) -> int:
    """Looks a request up and gives it blocks for all of its tokens, as the scheduler does. Returns the tokens found."""
    found, count, _ = made.get_computed_blocks(what)
    blocks = made.allocate_slots(what, what.num_tokens - count, count, found)
    if blocks is None:
        raise SystemExit(f"no blocks for {what.num_tokens} tokens")
    what.num_computed_tokens = what.num_tokens
    return count


def hashing(hash_fn: Any) -> Case:
    keys = hasher(hash_fn)
    plain = request(tokens(1, PROMPT), None)
    first = keys(plain)
    return Case(lambda: keys(plain), lambda found: len(found) == BLOCKS and found == first)


def allocate(evicting: bool) -> Case:
    made, keys = manager(), hasher(sha256)
    held: dict[str, Any] = {"seed": 1}
    if evicting:
        for seed in range(2, 2 + POOL // BLOCKS):
            filler = request(tokens(seed, PROMPT), keys)
            if compute(made, filler):
                raise SystemExit("a new prompt was found")
            made.free(filler)
        held["seed"] = 2 + POOL // BLOCKS

    def prepare() -> None:
        held["seed"] += evicting
        held["request"] = request(tokens(held["seed"], PROMPT), keys)

    def after(_: Any) -> None:
        made.free(held["request"])
        if not evicting and not made.reset_prefix_cache():
            raise SystemExit("blocks are in use after the only request has gone")
        prepare()

    prepare()
    return Case(
        lambda: made.allocate_slots(held["request"], PROMPT),
        lambda blocks: (
            len(blocks.blocks[0]) == BLOCKS and all(block.block_hash is not None for block in blocks.blocks[0])
        ),
        after=after,
    )


def match(in_use: bool) -> Case:
    made, keys = manager(), hasher(sha256)
    prompt = tokens(1, PROMPT)
    first = request(prompt, keys)
    compute(made, first)
    if not in_use:
        made.free(first)
    second = request([*prompt, 1, 2, 3], keys)
    return Case(lambda: made.get_computed_blocks(second), lambda found: found[1] == PROMPT)


def nodes(hashed: bool) -> Case:
    made, keys = manager(), hasher(sha256)
    path = tokens(1, NODES * NODE)
    for node in range(1, NODES + 1):
        one = request(path[: node * NODE] + tokens(1000 + node, 64), keys)
        compute(made, one)
        made.free(one)
    prompt = [*path, 1, 2, 3]
    known = request(prompt, keys)
    if not hashed:
        return Case(lambda: made.get_computed_blocks(known), lambda found: found[1] == NODES * NODE)
    plain = request(prompt, None)

    def body() -> Any:
        plain.block_hashes = []
        plain.block_hashes = keys(plain)
        return made.get_computed_blocks(plain)

    return Case(body, lambda found: found[1] == NODES * NODE)


def free(shared: bool) -> Case:
    made, keys = manager(), hasher(sha256)
    prompt = tokens(1, PROMPT)
    held: dict[str, Any] = {}
    if shared:
        compute(made, request(prompt, keys))
        prompt = [*prompt, 1, 2, 3]

    def prepare(_: Any = None) -> None:
        if not shared:
            made.reset_prefix_cache()
        held["request"] = request(prompt, keys)
        found = compute(made, held["request"])
        held["before"] = made.block_pool.get_num_free_blocks()
        if found != (PROMPT if shared else 0):
            raise SystemExit(f"{found} tokens were found")

    prepare()
    freed = 1 if shared else BLOCKS
    return Case(
        lambda: made.free(held["request"]),
        lambda _: made.block_pool.get_num_free_blocks() - held["before"] == freed,
        after=prepare,
    )


def decode(staggered: bool) -> Case:
    """A sample is sixteen steps, in which every request begins a block once; or one step in which all do."""
    keys = hasher(sha256)
    held: dict[str, Any] = {"samples": 0}

    def begin() -> None:
        held["manager"] = manager()
        held["requests"] = [
            request(tokens(1 + at, 1000 + 7 * at % 64 if staggered else 1024), keys) for at in range(DECODING)
        ]
        for one in held["requests"]:
            compute(held["manager"], one)

    def step(number: int) -> None:
        made = held["manager"]
        for at, one in enumerate(held["requests"]):
            one.append_output_token_ids(number + at)
            if made.allocate_slots(one, 1) is None:
                raise SystemExit("no block is left")
            one.num_computed_tokens += 1

    timed = BLOCK if staggered else 1

    def body() -> int:
        free_before = held["manager"].block_pool.get_num_free_blocks()
        for number in range(timed):
            step(number)
        return free_before - held["manager"].block_pool.get_num_free_blocks()

    def after(_: Any) -> None:
        for number in range(timed, BLOCK):
            step(number)
        held["samples"] += 1
        if held["samples"] % 32 == 0:
            begin()

    begin()
    return Case(body, lambda taken: taken == DECODING, timed, after=after)


def get_and_free() -> Case:
    pool = BlockPool(POOL, enable_caching=True, hash_block_size=BLOCK)

    def body() -> int:
        blocks = pool.get_new_blocks(SOME)
        left = pool.get_num_free_blocks()
        pool.free_blocks(blocks)
        return left

    return Case(body, lambda left: left == POOL - 1 - SOME and pool.get_num_free_blocks() == POOL - 1)


def memory() -> float:
    """Bytes for each block by which the process grows: blocks, hashes and the map that finds them."""
    keys = hasher(sha256)

    def resident() -> int:
        gc.collect()
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    prompts = [tokens(seed, PROMPT) for seed in range(HELD // BLOCKS)]
    before = resident()
    made = manager(HELD + 1)
    for prompt in prompts:
        one = request(prompt, keys)
        compute(made, one)
        made.free(one)
        del one
    grown = resident() - before
    if len(made.block_pool.cached_block_hash_to_block) != HELD:
        raise SystemExit("not all blocks are cached")
    return grown / HELD


def scheduler(output: int) -> Case:
    """vLLM's own scheduler over a model that is a configuration only: it reads no weights."""
    from vllm.config import CacheConfig, ModelConfig, SchedulerConfig, VllmConfig
    from vllm.v1.core.sched.scheduler import Scheduler
    from vllm.v1.outputs import ModelRunnerOutput
    from vllm.v1.structured_output import StructuredOutputManager

    prompt, most = 64, 2_048
    folder = Path(tempfile.mkdtemp())
    (folder / "config.json").write_text(
        json.dumps(
            {
                "architectures": ["LlamaForCausalLM"],
                "model_type": "llama",
                "hidden_size": 64,
                "intermediate_size": 64,
                "num_attention_heads": 1,
                "num_hidden_layers": 1,
                "vocab_size": 1 << 17,
                "max_position_embeddings": 4_096,
            }
        )
    )
    model = ModelConfig(model=str(folder), dtype="float16", seed=1, skip_tokenizer_init=True, max_model_len=4_096)
    cache = CacheConfig(block_size=BLOCK, gpu_memory_utilization=0.9, enable_prefix_caching=True)
    whole = VllmConfig(
        scheduler_config=SchedulerConfig(
            max_num_seqs=RUNNING,
            max_num_batched_tokens=8_192,
            max_model_len=4_096,
            enable_chunked_prefill=True,
            is_encoder_decoder=False,
            async_scheduling=False,
            watermark=0.0,
        ),
        model_config=model,
        cache_config=cache,
    )
    blocks = RUNNING * -(-(prompt + min(output, most)) // BLOCK) + 1
    cache.num_gpu_blocks = blocks
    keys = hasher(sha256)
    held: dict[str, Any] = {"seed": 0, "steps": 0}

    def submit(left: int) -> None:
        held["seed"] += 1
        held["scheduler"].add_request(request(tokens(held["seed"], prompt), keys, left))

    def step() -> int:
        made = held["scheduler"]
        plan = made.schedule()
        ids = list(plan.num_scheduled_tokens)
        answer = ModelRunnerOutput(
            req_ids=ids,
            req_id_to_index={one: at for at, one in enumerate(ids)},
            sampled_token_ids=[[7]] * len(ids),
            logprobs=None,
            prompt_logprobs_dict={},
            pooler_output=[],
        )
        made.update_from_output(plan, answer)
        return len(ids)

    def begin() -> None:
        held["scheduler"] = Scheduler(
            vllm_config=whole,
            kv_cache_config=config(blocks),
            block_size=BLOCK,
            log_stats=False,
            structured_output_manager=StructuredOutputManager(whole),
        )
        for at in range(RUNNING):
            submit(most if output >= most else 1 + at * output // RUNNING)
        while len(held["scheduler"].waiting):
            step()
        refill()

    def refill() -> None:
        while len(held["scheduler"].waiting) < WAITING:
            submit(min(output, most))

    def after(_: Any) -> None:
        held["steps"] += 1
        if output >= most and held["steps"] % (most - 64) == 0:
            begin()
        refill()

    begin()
    return Case(step, lambda count: count == RUNNING, after=after)


def replay(most: int) -> tuple[Any, Any]:
    requests = trace(Path(os.environ["PARK_KV_TRACE"]), most)
    keys = hasher(sha256)

    def body() -> float:
        made = manager(REPLAY_POOL)
        running: deque[Request] = deque()
        asked = hit = 0
        for arrival in requests:
            if len(running) == REPLAY_RUNNING:
                made.free(running.popleft())
            one = request(arrival.prompt, keys)
            hit += compute(made, one)
            asked += len(arrival.prompt)
            one.append_output_token_ids(arrival.answer)
            if made.allocate_slots(one, len(arrival.answer)) is None:
                raise SystemExit("no blocks for an answer")
            one.num_computed_tokens = one.num_tokens
            running.append(one)
        return 100 * hit / asked

    return body, Case(body, lambda share: 0 < share < 100, len(requests))


def main() -> None:
    opts = options()
    results: dict[str, Any] = {}

    def keep(name: str, setup: Any, *arguments: Any) -> None:
        if wanted(name, opts.only):
            results[name] = run_case(name, setup(*arguments), opts.seconds)

    if wanted("memory per block", opts.only):
        results["memory per block"] = single("memory per block", memory())
    try:
        keep("hash 131,072 tokens, xxh3", hashing, xxhash)
    except ModuleNotFoundError as why:
        results["hash 131,072 tokens, xxh3"] = {"refused": str(why)}
    keep("hash 131,072 tokens, SHA-256", hashing, sha256)
    keep("allocate and register 8,192 blocks", allocate, False)
    keep("allocate and register 8,192 blocks, evicting", allocate, True)
    keep("match 8,192 blocks in use", match, True)
    keep("match 8,192 blocks, cached", match, False)
    keep("match 32,768 tokens over 64 nodes", nodes, False)
    keep("hash and match 32,768 tokens over 64 nodes", nodes, True)
    keep("free 8,192 blocks", free, False)
    keep("free 8,192 blocks, shared", free, True)
    keep("get and free 1,000 blocks", get_and_free)
    keep("decode step of 256", decode, True)
    keep("decode step of 256, all at a block's end", decode, False)
    keep("scheduler step, 1,024 running, 10,000 waiting", scheduler, 2_048)
    keep("scheduler step with turnover, 1,024 running, 10,000 waiting", scheduler, 128)
    name = f"replay of {REPLAYED}: "
    if wanted(name, opts.only):
        body, case = replay(REPLAYED)
        results[name + "requests"] = run_case(name + "requests", case, opts.seconds)
        results[name + "prompt tokens found"] = single(name + "prompt tokens found", body())
    write(opts.out, "vllm", __version__, results)


if __name__ == "__main__":
    main()
