"""The rows of the KV bench on park's Python API, `park.kv`: tokens, ids and tables in numpy arrays, one call for a step."""

from __future__ import annotations

import os
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
import park
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
    WAITING,
    tokens,
    trace,
)
from measure import Case, options, run_case, single, wanted, write
from park.kv import Cache, Scheduler, Tables

SHORT, OUTPUT = 64, 2_048


def prompt(seed: int, count: int, *more: int) -> np.ndarray:
    return np.array([*tokens(seed, count), *more], dtype=np.uint32)


def one(sequence: int) -> np.ndarray:
    return np.array([sequence], dtype=np.int64)


def compute(cache: Cache, sequence: int) -> Any:
    """Room for all known tokens of a sequence, all of which are computed then."""
    changes = cache.prefill(one(sequence), one(cache.known(sequence)))
    cache.settle()
    return changes


def hashing(algorithm: str) -> Case:
    """A sequence that knows the prompt, without blocks: its keys, and a copy of what is left over."""
    cache, what = Cache(blocks=POOL, algorithm=algorithm), prompt(1, PROMPT)
    return Case(lambda: cache.add(what), lambda sequence: cache.known(sequence) == PROMPT, after=cache.finish)


def allocate(evicting: bool) -> Case:
    cache = Cache(blocks=POOL)
    held: dict[str, Any] = {"seed": 1}
    if evicting:
        for seed in range(2, 2 + POOL // BLOCKS):
            filler = cache.add(prompt(seed, PROMPT))
            compute(cache, filler)
            cache.finish(filler)
        held["seed"] = 2 + POOL // BLOCKS

    def prepare() -> None:
        held["seed"] += evicting
        held["id"] = cache.add(prompt(held["seed"], PROMPT))
        held["ids"], held["ends"] = one(held["id"]), one(PROMPT)

    def after(_: Any) -> None:
        cache.settle()
        cache.finish(held["id"])
        if not evicting and not cache.reset():
            raise SystemExit("blocks are in use after the only sequence has ended")
        prepare()

    prepare()
    return Case(
        lambda: cache.prefill(held["ids"], held["ends"]),
        lambda _: cache.blocks_held(held["id"]) == BLOCKS and cache.stats()["cached_blocks"] >= BLOCKS,
        after=after,
    )


def match(in_use: bool) -> Case:
    cache = Cache(blocks=POOL)
    first = cache.add(prompt(1, PROMPT))
    compute(cache, first)
    if not in_use:
        cache.finish(first)
    second = cache.add(prompt(1, PROMPT, 1, 2, 3))
    return Case(lambda: cache.lookup(second), lambda found: found == PROMPT)


def nodes(hashed: bool) -> Case:
    cache, path = Cache(blocks=POOL), tokens(1, NODES * NODE)
    for node in range(1, NODES + 1):
        grown = cache.add(np.array(path[: node * NODE] + tokens(1000 + node, 64), dtype=np.uint32))
        cache.attach(grown)
        compute(cache, grown)
        cache.finish(grown)
    wanted_tokens = np.array([*path, 1, 2, 3], dtype=np.uint32)
    known = cache.add(wanted_tokens)
    if not hashed:
        return Case(lambda: cache.lookup(known), lambda found: found == NODES * NODE)

    def body() -> tuple[int, int]:
        sequence = cache.add(wanted_tokens)
        return sequence, cache.lookup(sequence)

    return Case(body, lambda answer: answer[1] == NODES * NODE, after=lambda answer: cache.finish(answer[0]))


def free(shared: bool) -> Case:
    cache, what = Cache(blocks=POOL), prompt(1, PROMPT, 1, 2, 3) if shared else prompt(1, PROMPT)
    held: dict[str, Any] = {}
    if shared:
        compute(cache, cache.add(prompt(1, PROMPT)))

    def prepare(_: Any = None) -> None:
        if not shared:
            cache.reset()
        held["id"] = cache.add(what)
        found = cache.attach(held["id"])
        if found != (PROMPT if shared else 0):
            raise SystemExit(f"{found} tokens were found")
        if not shared:
            compute(cache, held["id"])
        held["before"] = cache.stats()["free_blocks"]

    prepare()
    freed = 0 if shared else BLOCKS
    return Case(
        lambda: cache.finish(held["id"]),
        lambda _: cache.stats()["free_blocks"] - held["before"] == freed,
        after=prepare,
    )


def decode(staggered: bool, with_tables: bool = False) -> Case:
    """A sample is sixteen steps, in which every sequence begins a block once; or one step in which all do."""
    held: dict[str, Any] = {"samples": 0}
    tables = Tables(
        block_table=np.zeros((DECODING, POOL // DECODING), dtype=np.int32),
        slot_mapping=np.zeros(DECODING, dtype=np.int64),
        seq_lens=np.zeros(DECODING, dtype=np.int32),
    )
    written = tables if with_tables else None
    sampled = np.arange(DECODING, dtype=np.int32)

    def begin() -> None:
        cache = Cache(blocks=POOL)
        ids = [cache.add(prompt(1 + at, 1000 + 7 * at % 64 if staggered else 1024)) for at in range(DECODING)]
        for sequence in ids:
            compute(cache, sequence)
        held["cache"], held["ids"] = cache, np.array(ids, dtype=np.int64)

    def free_blocks() -> int:
        return held["cache"].stats()["free_blocks"]

    timed = BLOCK if staggered else 1

    def body() -> None:
        decode, ids = held["cache"].decode, held["ids"]
        for _ in range(timed):
            decode(ids, sampled, written)

    def check(_: Any) -> bool:
        return held["before"] - free_blocks() == DECODING

    def after(_: Any) -> None:
        for _ in range(timed, BLOCK):
            held["cache"].decode(held["ids"], sampled)
        held["cache"].settle()
        held["samples"] += 1
        if held["samples"] % 32 == 0:
            begin()
        held["before"] = free_blocks()

    begin()
    held["before"] = free_blocks()
    return Case(body, check, timed, after=after)


def scheduler(output: int) -> Case:
    """One step and its answer; as at vLLM, tables are the runner's."""
    blocks = RUNNING * -(-(SHORT + output) // BLOCK) + 1
    held: dict[str, Any] = {"seed": 0, "steps": 0}

    def submit(left: int) -> None:
        held["seed"] += 1
        held["scheduler"].add(prompt(held["seed"], SHORT), max_new=left)

    def step() -> int:
        count = len(held["scheduler"].step())
        held["scheduler"].commit(held["sampled"][:count])
        return count

    def begin() -> None:
        held["scheduler"] = Scheduler(blocks=blocks, block_size=BLOCK, running=RUNNING, step_tokens=8_192)
        held["sampled"] = np.arange(RUNNING, dtype=np.int32)
        for at in range(RUNNING):
            submit(output if output == OUTPUT else 1 + at * output // RUNNING)
        while held["scheduler"].metrics()["waiting"]:
            step()
        refill()

    def refill() -> None:
        for _ in range(WAITING - held["scheduler"].metrics()["waiting"]):
            submit(output)

    def after(_: Any) -> None:
        held["steps"] += 1
        if output == OUTPUT and held["steps"] % (OUTPUT - 64) == 0:
            begin()
        refill()

    begin()
    return Case(step, lambda count: count == RUNNING, after=after)


def replay(most: int | None) -> tuple[Any, Case]:
    requests = [
        (np.array(arrival.prompt, dtype=np.uint32), np.array(arrival.answer, dtype=np.uint32))
        for arrival in trace(Path(os.environ["PARK_KV_TRACE"]), most)
    ]

    def body() -> float:
        cache = Cache(blocks=REPLAY_POOL)
        running: deque[int] = deque()
        asked = hit = 0
        for asking, answer in requests:
            if len(running) == REPLAY_RUNNING:
                cache.finish(running.popleft())
            sequence = cache.add(asking)
            hit += cache.attach(sequence)
            asked += len(asking)
            compute(cache, sequence)
            cache.extend(sequence, answer)
            compute(cache, sequence)
            running.append(sequence)
        return 100 * hit / asked

    return body, Case(body, lambda share: 0 < share < 100, len(requests))


def main() -> None:
    opts = options()
    results: dict[str, Any] = {}

    def keep(name: str, setup: Any, *arguments: Any) -> None:
        if wanted(name, opts.only):
            results[name] = run_case(name, setup(*arguments), opts.seconds)

    keep("hash 131,072 tokens, xxh3", hashing, "xxh3")
    keep("hash 131,072 tokens, SHA-256", hashing, "sha256")
    keep("hash 131,072 tokens, BLAKE3", hashing, "blake3")
    keep("allocate and register 8,192 blocks", allocate, False)
    keep("allocate and register 8,192 blocks, evicting", allocate, True)
    keep("match 8,192 blocks in use", match, True)
    keep("match 8,192 blocks, cached", match, False)
    keep("match 32,768 tokens over 64 nodes", nodes, False)
    keep("hash and match 32,768 tokens over 64 nodes", nodes, True)
    keep("free 8,192 blocks", free, False)
    keep("free 8,192 blocks, shared", free, True)
    keep("decode step of 256", decode, True)
    keep("decode step of 256, all at a block's end", decode, False)
    keep("decode step of 256, with tables", decode, True, True)
    keep("scheduler step, 1,024 running, 10,000 waiting", scheduler, OUTPUT)
    keep("scheduler step with turnover, 1,024 running, 10,000 waiting", scheduler, 128)
    for requests, most in (("300", 300), ("2,000", None)):
        name = f"replay of {requests}: "
        if wanted(name, opts.only):
            body, case = replay(most)
            results[name + "requests"] = run_case(name + "requests", case, opts.seconds)
            results[name + "prompt tokens found"] = single(name + "prompt tokens found", body())
    write(opts.out, "park", park.__version__, results)


if __name__ == "__main__":
    main()
