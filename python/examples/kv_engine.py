"""An engine without a model: chat requests over the paged KV cache, in the way of a serving engine.

    python kv_engine.py [REQUESTS]        10000 unless said

Users share a few system prompts and come back with longer conversations, in bursts, so much of every prompt is cached. The "model" samples
token 7 for everything. Prints its parameters, the hit rate, and what the steps cost. The same program stands in Rust
(park-core/examples/kv_engine.rs) and in C++ (park-c/examples/kv_engine.cpp).
"""

import sys
import time

import numpy as np
from park import kv

USERS, SYSTEM_PROMPTS, BURST = 500, 8, 200
BLOCKS, BLOCK_SIZE, RUNNING, STEP_TOKENS = 32_768, 16, 256, 8192


def prompt_of(user: int, turn: int) -> np.ndarray:
    """What a user says in a turn of a conversation: the system prompt, what was said before, and something new."""
    system = np.arange(600) + (user % SYSTEM_PROMPTS) * 1000
    said = np.arange((turn + 1) * 80) + 100_000 + user * 10_000
    return np.concatenate([system, said]).astype(np.int32)


def main(requests: int) -> None:
    scheduler = kv.Scheduler(blocks=BLOCKS, block_size=BLOCK_SIZE, running=RUNNING, step_tokens=STEP_TOKENS, chunk=2048)
    # The arrays that kernels would read, made once for the largest step.
    slots = np.zeros(STEP_TOKENS, np.int64)
    starts, lengths = np.zeros(RUNNING + 1, np.int32), np.zeros(RUNNING, np.int32)
    tables = kv.Tables(slot_mapping=slots, cu_seqlens_q=starts, seq_lens=lengths)
    sampled = np.full(RUNNING, 7, np.int32)

    print(
        f"{requests} requests of {USERS} users in bursts of {BURST}, {SYSTEM_PROMPTS} system prompts; "
        f"{BLOCKS} blocks of {BLOCK_SIZE} tokens, {RUNNING} requests and {STEP_TOKENS} tokens a step"
    )
    steps: list[float] = []
    sent = 0
    while sent < requests or scheduler.metrics()["sequences"]:
        if len(steps) % 40 == 0:
            for request in range(sent, min(sent + BURST, requests)):
                prompt = prompt_of(request % USERS, request // USERS)
                scheduler.add(prompt, max_new=32 + request % 64)
                sent += 1
        begun = time.perf_counter()
        plan = scheduler.step(tables)
        scheduler.commit(sampled[: len(plan)])
        steps.append(time.perf_counter() - begun)
    scheduler.audit()
    metrics = scheduler.metrics()
    p50, p99 = np.percentile(np.array(steps) * 1e6, [50, 99])
    print(
        f"{metrics['finished']} requests in {metrics['steps']} steps, {metrics['tokens_computed']} tokens computed, "
        f"{metrics['recomputed']} preemptions"
    )
    print(
        f"hit rate: {100 * metrics['tokens_hit'] / metrics['tokens_asked']:.1f} % of {metrics['tokens_asked']} prompt tokens"
    )
    print(f"a step, planned, its tables written, committed: p50 {p50:.1f} us, p99 {p99:.1f} us")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
