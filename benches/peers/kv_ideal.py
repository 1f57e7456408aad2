"""What an ideal LRU finds of a trace: prefixes in the order of their last use, told apart by what they consist of, not by hashes.

It knows no blocks and no references: a request uses all of its prefixes when it comes and again when it ends, longest first, and
whatever was used longest ago goes when there is one too many. What a cache finds may differ a little, as blocks in use cannot go.
"""

from __future__ import annotations

import json
from collections import OrderedDict, deque
from pathlib import Path

from kv_rows import BLOCK, CONTENT, REPLAY_POOL, REPLAY_RUNNING

PER_CONTENT = CONTENT // BLOCK


class Ideal:
    def __init__(self, most: int):
        self.most = most
        self.names: dict[tuple[int, int], int] = {}
        self.used: OrderedDict[int, None] = OrderedDict()

    def prefixes(self, contents: list[int], blocks: int) -> list[int]:
        """A number for each prefix of whole blocks."""
        found: list[int] = []
        before = 0
        for content in contents:
            before = self.names.setdefault((before, content), len(self.names) + 1)
            found += range(before * PER_CONTENT, (before + 1) * PER_CONTENT)
        return found[:blocks]

    def found(self, prefixes: list[int]) -> int:
        for count, prefix in enumerate(prefixes):
            if prefix not in self.used:
                return count
        return len(prefixes)

    def touch(self, prefixes: list[int]) -> None:
        for prefix in reversed(prefixes):
            self.used[prefix] = None
            self.used.move_to_end(prefix)
        while len(self.used) > self.most:
            self.used.popitem(last=False)


def share(path: Path, most: int | None = None) -> float:
    """Of all prompt tokens of the first `most` requests, the percentage that is found."""
    ideal, running = Ideal(REPLAY_POOL - 1), deque()
    asked = hit = 0
    for number, line in enumerate(path.read_text().splitlines()[:most]):
        request = json.loads(line)
        length, answer = request["input_length"], request["output_length"]
        if len(running) == REPLAY_RUNNING:
            ideal.touch(running.popleft())
        prompt = ideal.prefixes(request["hash_ids"], length // BLOCK)
        # Short of the last token, which has to be computed.
        hit += BLOCK * ideal.found(prompt[: (length - 1) // BLOCK])
        asked += length
        # Nobody asks for an answer again: its blocks are told by negative numbers, each once.
        answered = [-(number * 10_000 + at) - 1 for at in range((length + answer) // BLOCK - length // BLOCK)]
        ideal.touch(prompt + answered)
        running.append(prompt + answered)
    return 100 * hit / asked
