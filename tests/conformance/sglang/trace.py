"""SGLang's radix cache and park's, in step: random traces of what a scheduler does, on both, with the same answers expected.

Prompts with common prefixes, two namespaces, insertions, matches, locks, evictions, resets and checkpoints of requests with rows of their
own, over real allocators. After each step are compared: lengths, slots, sizes, what was freed in which order, the events, the rows.

`run.py` starts it; the number of traces and the first seed are its arguments.
"""

import random
import sys
import types
from array import array

import park.interop.sglang
import torch
from sglang.srt.managers.schedule_batch import ReqKvInfo
from sglang.srt.mem_cache.base_prefix_cache import EvictParams, InsertParams, MatchPrefixParams
from sglang.srt.mem_cache.cache_init_params import CacheInitParams
from sglang.srt.mem_cache.radix_cache import RadixCache, RadixKey

POLICIES = ("lru", "lfu", "fifo", "mru", "filo", "priority", "slru")
STEPS = 120
SLOTS = 512


class Allocator:
    """Slots that are given out once and remembered when they are freed, in order."""

    device = "cpu"

    def __init__(self, page_size):
        self.page_size, self.next, self.freed = page_size, 0, []

    def take(self, count):
        self.next += count
        return torch.arange(self.next - count, self.next, dtype=torch.int64)

    def free_segment(self, slots, *, start_pos):
        assert start_pos % self.page_size == 0
        self.freed.extend(slots.tolist())


class Rows:
    """Rows of slots, one a request."""

    def __init__(self):
        self.req_to_token = torch.zeros((16, SLOTS), dtype=torch.int32)

    def write(self, where, slots):
        self.req_to_token[where] = slots.to(torch.int32)


class Side:
    """A cache with an allocator and rows, what it has locked, and its requests."""

    def __init__(self, cls, **options):
        self.rows, self.allocator = Rows(), Allocator(options["page_size"])
        params = CacheInitParams(
            disable=False,
            req_to_token_pool=self.rows,
            token_to_kv_pool_allocator=self.allocator,
            **options,
        )
        self.cache, self.locks, self.requests = cls(params), [], {}

    def key(self, tokens, space):
        return RadixKey(array("q", tokens), space, is_bigram=self.cache.is_eagle)

    def insert(self, tokens, space, priority, counted):
        slots = self.allocator.take(len(tokens))
        params = InsertParams(self.key(tokens, space), slots, priority=priority, inserted_len=counted)
        done = self.cache.insert(params)
        return done.prefix_len, self.cache.path_device_indices(done.last_device_node).tolist()

    def match(self, tokens, space):
        found = self.cache.match_prefix(MatchPrefixParams(self.key(tokens, space)))
        return found.device_prefix_len, self.cache.path_device_indices(found.last_device_node).tolist()

    def lock(self, tokens, space):
        found = self.cache.match_prefix(MatchPrefixParams(self.key(tokens, space)))
        self.locks.append(self.cache.lock(found.last_device_node))
        return found.device_prefix_len

    def unlock(self, which):
        if self.locks:
            self.cache.unlock(self.locks.pop(which % len(self.locks)))

    def evict(self, count):
        before = len(self.allocator.freed)
        evicted = self.cache.evict(EvictParams(num_tokens=count)).num_tokens_evicted
        return evicted, self.allocator.freed[before:]

    def reset(self):
        self.locks.clear()
        self.requests.clear()
        self.cache.reset()

    def checkpoint(self, row, tokens, prompt, space, priority):
        """A request computes its tokens, or goes on from where it was, and is cached; then it ends, if there are no more."""
        request = self.requests.get(row)
        if request is None:
            found = self.cache.match_prefix(MatchPrefixParams(self.key(tokens, space)))
            kv = ReqKvInfo(req_pool_idx=row, cache_protected_len=found.device_prefix_len)
            request = types.SimpleNamespace(
                kv=kv, extra_key=space, cache_salt=None, priority=priority, done=found.device_prefix_len
            )
            request.last_node, request.lock = found.last_device_node, self.cache.lock(found.last_device_node)
            self.rows.write((row, slice(0, request.done)), self.cache.path_device_indices(request.last_node))
            self.requests[row] = request
        request.full_untruncated_fill_ids, request.origin_input_ids = array("q", tokens), array("q", tokens[:prompt])
        if len(tokens) > request.done:
            self.rows.write((row, slice(request.done, len(tokens))), self.allocator.take(len(tokens) - request.done))
            request.done = len(tokens)
        self.cache.checkpoint(request, up_to=len(tokens))
        kv = request.kv
        path = self.cache.path_device_indices(request.last_node).tolist()
        return kv.cache_protected_len, kv.cache_inserted_len, path, self.rows.req_to_token[row, : len(tokens)].tolist()

    def end(self, row):
        request = self.requests.pop(row, None)
        if request is not None:
            self.cache.unlock(request.lock)

    def state(self):
        cache = self.cache
        known = sorted(cache.all_values_flatten().tolist()) if cache.total_size() else []
        events = [str(event) for event in cache.take_events()]
        return cache.evictable_size(), cache.protected_size(), cache.total_size(), known, events, self.allocator.freed


def step(rng, prompts):
    """A random call, as a name and arguments."""
    tokens = list(rng.choice(prompts))
    tokens = tokens[: rng.randrange(len(tokens) + 1)] + [rng.randrange(3) for _ in range(rng.choice((0, 0, 3)))]
    space = rng.choice((None, None, "adapter"))
    kind = rng.choices(
        ("insert", "match", "lock", "unlock", "evict", "checkpoint", "end", "reset"), (5, 3, 2, 2, 2, 5, 2, 0.2)
    )[0]
    arguments = {
        "insert": (tokens, space, rng.randrange(3), rng.randrange(8)),
        "match": (tokens, space),
        "lock": (tokens, space),
        "unlock": (rng.randrange(8),),
        "evict": (rng.randrange(12),),
        "end": (rng.randrange(4),),
        "reset": (),
    }
    if kind == "checkpoint":
        row = rng.randrange(4)
        return kind, (
            row,
            list(prompts[row]) + [rng.randrange(3) for _ in range(rng.randrange(6))],
            len(prompts[row]),
            space,
            rng.randrange(3),
        )
    return kind, arguments[kind]


def trace(seed):
    """One trace; returns how many steps were compared."""
    rng = random.Random(seed)
    options = {
        "page_size": rng.choice((1, 2, 4)),
        "is_eagle": rng.random() < 0.3,
        "eviction_policy": rng.choice(POLICIES),
        "enable_kv_cache_events": rng.random() < 0.5,
    }
    theirs, ours = Side(RadixCache, **options), Side(park.interop.sglang.RadixCache, **options)
    stem = [rng.randrange(3) for _ in range(24)]
    prompts = [
        tuple(stem[: rng.randrange(25)] + [rng.randrange(3) for _ in range(rng.randrange(1, 16))]) for _ in range(6)
    ]
    grown = {}
    for count in range(STEPS):
        kind, arguments = step(rng, prompts)
        if kind == "checkpoint":
            row, tokens, prompt, space, priority = arguments
            # A running request keeps its tokens and its namespace, and goes on.
            before, space = grown.get(row, ([], space))
            tokens = before + tokens[len(before) :]
            grown[row] = (tokens, space)
            arguments = (row, tokens, prompt, space, priority)
        elif kind == "end":
            grown.pop(arguments[0], None)
        elif kind == "reset":
            grown.clear()
        answers = [getattr(side, kind)(*arguments) for side in (theirs, ours)]
        states = [side.state() for side in (theirs, ours)]
        ours.cache.tree.audit()
        if answers[0] != answers[1] or states[0] != states[1]:
            raise AssertionError(
                f"seed {seed}, {options}, step {count}: {kind}{arguments}\n"
                f"SGLang: {answers[0]} {states[0]}\npark:   {answers[1]} {states[1]}"
            )
    return STEPS


def main():
    """Run traces; print how many steps agreed."""
    count, first = int(sys.argv[1]), int(sys.argv[2])
    steps = sum(trace(seed) for seed in range(first, first + count))
    print(f"{count} traces, {steps} steps: all agree")


if __name__ == "__main__":
    main()
