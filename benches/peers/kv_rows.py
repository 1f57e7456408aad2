"""The rows of the KV bench: what they are called, what one operation is, and the bar that park is held against.

Every peer measures those it has a shape for, under these names; the Rust peers repeat the names in their own text. Blocks
(pages) hold 16 tokens and pools 32,768 blocks.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

BLOCK = 16
POOL = 32_768
PROMPT = 131_072
BLOCKS = PROMPT // BLOCK
NODES, NODE = 64, 512
DECODING = 256
SOME = 1_000
RUNNING, WAITING = 1_024, 10_000
REPLAY_POOL, REPLAY_RUNNING = 65_536, 32
CONTENT = 512

RUST, PYTHON = "park-rust", "park"


@dataclass(frozen=True)
class Row:
    """`shown` is a key of `tables.SUFFIX`; `bar` a time in its unit (or a size) that `judge` may take at most; `more` is better."""

    name: str
    operation: str
    shown: str = "us"
    bar: float | None = None
    judge: str = RUST
    more: bool = False


HASH = [
    Row("hash 131,072 tokens, xxh3", "the keys of 8,192 blocks, each of which stands for all tokens before", bar=150),
    Row("hash 131,072 tokens, SHA-256", "the same", bar=1_200),
    Row("hash 131,072 tokens, BLAKE3", "the same"),
]
LONG = [
    Row("allocate and register 8,192 blocks", "blocks for a new prompt, and their keys into the index", bar=300),
    Row("allocate and register 8,192 blocks, evicting", "the same, in a pool that is full of cached blocks"),
    Row("match 8,192 blocks in use", "the longest cached prefix of a prompt whose keys are known", bar=100),
    Row("match 8,192 blocks, cached", "the same, when nobody uses the blocks", bar=100),
    Row("match 32,768 tokens over 64 nodes", "a prompt that 63 others have grown up to; keys known", bar=20),
    Row("hash and match 32,768 tokens over 64 nodes", "the same from tokens"),
    Row("free 8,192 blocks", "a sequence ends that is the only one to use them", bar=80),
    Row("free 8,192 blocks, shared", "a sequence ends and another goes on using them", bar=40),
]
SHORT = [
    Row("get and free 1,000 blocks", "by number, without a sequence", bar=4),
    Row("decode step of 256", "each of 256 sequences has got a token: blocks, keys of full ones", bar=15, judge=PYTHON),
    Row("decode step of 256, all at a block's end", "the same, and every sequence completes a block or begins one"),
    Row("decode step of 256, with tables", "the same, and its block table, slots and lengths written in place"),
    Row("scheduler step, 1,024 running, 10,000 waiting", "plan and answer; all decode", bar=100),
    Row("scheduler step with turnover, 1,024 running, 10,000 waiting", "the same; 8 end and 8 are admitted in each"),
]
MEMORY = [Row("memory per block", "bytes by which the process grows, all blocks cached", "plain", 64)]
REPLAY = [
    Row(f"replay of {requests}: {what}", operation, shown, more=True)
    for requests in ("300", "2,000")
    for what, operation, shown in (
        ("prompt tokens found", "percent of all prompt tokens", "plain"),
        ("requests", "hash, match, allocate, register and free", "rate"),
    )
]
ROWS = [*HASH, *LONG, *SHORT, *MEMORY, *REPLAY]
GROWTH = "growth: "


def tokens(seed: int, count: int) -> list[int]:
    """The same tokens as the Rust peers': xorshift32 over a seed, 17 bits of it."""
    state = (seed * 0x9E3779B9) & 0xFFFFFFFF | 1
    made = []
    for _ in range(count):
        state ^= state << 13 & 0xFFFFFFFF
        state ^= state >> 17
        state ^= state << 5 & 0xFFFFFFFF
        made.append(state >> 15)
    return made


@dataclass(frozen=True)
class Arrival:
    prompt: list[int]
    answer: list[int]


def trace(path: Path, most: int | None = None) -> list[Arrival]:
    """The requests of a trace in Mooncake's format, with the tokens that its contents stand for."""
    contents: dict[int, list[int]] = {}
    arrivals = []
    for line in path.read_text().splitlines()[:most]:
        request = json.loads(line)
        prompt: list[int] = []
        for content in request["hash_ids"]:
            if content not in contents:
                first = content * CONTENT
                contents[content] = [((first + at) * 0x9E3779B1 & 0xFFFFFFFF) >> 15 for at in range(CONTENT)]
            prompt += contents[content]
        first = request["timestamp"]
        answer = [(first + at & 0xFFFFFFFF) >> 1 for at in range(request["output_length"])]
        arrivals.append(Arrival(prompt[: request["input_length"]], answer))
    return arrivals
