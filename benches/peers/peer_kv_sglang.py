"""The rows of the KV bench on SGLang's prefix caches: `RadixCache` (`--core python`) and its Rust tree core (`--core rust`).

A tree holds tokens and the slots they lie in; slots come from an allocator of its own, whose part is left out, so
"allocate and register" is the insertion alone. There is no hash. A match compares tokens; nothing else is looked at.
"""

from __future__ import annotations

import sys
from array import array
from typing import Any

import torch
from kv_rows import BLOCK, NODE, NODES, PROMPT, tokens
from measure import Case, options, run_case, wanted, write
from sglang.srt.mem_cache.base_prefix_cache import InsertParams, MatchPrefixParams
from sglang.srt.mem_cache.cache_init_params import CacheInitParams
from sglang.srt.mem_cache.radix_cache import RadixCache, RadixKey
from sglang.version import __version__


class Python:
    """SGLang's tree in Python."""

    def __init__(self) -> None:
        self.tree = RadixCache.create_simulated(page_size=BLOCK)
        self.reset = self.tree.reset

    def insert(self, key: RadixKey, value: torch.Tensor) -> int:
        """Returns how many tokens were there before."""
        return self.tree.insert(InsertParams(key=key, value=value)).prefix_len

    def match(self, key: RadixKey) -> int:
        return self.tree.match_prefix(MatchPrefixParams(key=key)).device_prefix_len

    def lock(self, key: RadixKey) -> Any:
        node = self.tree.match_prefix(MatchPrefixParams(key=key)).last_device_node
        self.tree.inc_lock_ref(node)
        return node

    def unlock(self, node: Any) -> None:
        self.tree.dec_lock_ref(node)

    def free(self) -> int:
        return self.tree.evictable_size()


class Rust:
    """Its tree in Rust, through the adapter that SGLang calls it by."""

    def __init__(self) -> None:
        from sglang.srt.mem_cache.rust_tree_core.adapter import RustUnifiedTreeCore
        from sglang.srt.mem_cache.unified_cache.component_type import ComponentType

        self.tree = RustUnifiedTreeCore(
            CacheInitParams(
                disable=False,
                req_to_token_pool=None,
                token_to_kv_pool_allocator=None,
                page_size=BLOCK,
                tree_components=(ComponentType.FULL,),
            )
        )
        self.reset = self.tree.reset

    def insert(self, key: RadixKey, value: torch.Tensor) -> int:
        step = self.tree.begin_insert(InsertParams(key=key, value=value))
        while step.result is None:
            step = self.tree.resume_insert()
        self.tree.end_insert()
        return step.result.prefix_len

    def match(self, key: RadixKey) -> int:
        return self.tree.match_prefix(MatchPrefixParams(key=key)).device_prefix_len

    def lock(self, key: RadixKey) -> Any:
        node = self.tree.match_prefix(MatchPrefixParams(key=key)).last_device_node
        return node, self.tree.inc_lock_ref(node)

    def unlock(self, lock: Any) -> None:
        node, receipt = lock
        self.tree.dec_lock_ref(node, receipt.to_dec_params())

    def free(self) -> int:
        return self.tree.evictable_size()


def key(prompt: list[int]) -> RadixKey:
    return RadixKey(array("q", prompt))


def slots(prompt: RadixKey) -> torch.Tensor:
    return torch.arange(len(prompt), dtype=torch.int64)


def allocate(core: type) -> Case:
    tree, prompt = core(), key(tokens(1, PROMPT))
    value = slots(prompt)
    return Case(lambda: tree.insert(prompt, value), lambda before: before == 0, after=lambda _: tree.reset())


def match(core: type, in_use: bool) -> Case:
    tree, prompt = core(), tokens(1, PROMPT)
    first = key(prompt)
    tree.insert(first, slots(first))
    if in_use:
        tree.lock(first)
    longer = key([*prompt, 1, 2, 3])
    return Case(lambda: tree.match(longer), lambda found: found == PROMPT)


def nodes(core: type) -> Case:
    tree, path = core(), tokens(1, NODES * NODE)
    for node in range(1, NODES + 1):
        one = key(path[: node * NODE] + tokens(1000 + node, 64))
        tree.insert(one, slots(one))
    longer = key([*path, 1, 2, 3])
    return Case(lambda: tree.match(longer), lambda found: found == NODES * NODE)


def free(core: type, shared: bool) -> Case:
    """A request's lock on its prefix goes: that is all that happens before slots are needed."""
    tree, prompt = core(), key(tokens(1, PROMPT))
    tree.insert(prompt, slots(prompt))
    if shared:
        tree.lock(prompt)
    held = {"node": tree.lock(prompt)}

    def after(_: Any) -> None:
        held["node"] = tree.lock(prompt)

    return Case(
        lambda: tree.unlock(held["node"]),
        lambda _: tree.free() == (0 if shared else PROMPT),
        after=after,
    )


def main() -> None:
    core = {"python": Python, "rust": Rust}[sys.argv.pop(1)]
    opts = options()
    results: dict[str, Any] = {}

    def keep(name: str, setup: Any, *arguments: Any) -> None:
        if wanted(name, opts.only):
            results[name] = run_case(name, setup(core, *arguments), opts.seconds)

    keep("allocate and register 8,192 blocks", allocate)
    keep("match 8,192 blocks in use", match, True)
    keep("match 8,192 blocks, cached", match, False)
    # Hashing is no part of it, and tokens are what it begins with.
    keep("hash and match 32,768 tokens over 64 nodes", nodes)
    keep("free 8,192 blocks", free, False)
    keep("free 8,192 blocks, shared", free, True)
    write(opts.out, "sglang" if core is Python else "sglang-rust", __version__, results)


if __name__ == "__main__":
    main()
