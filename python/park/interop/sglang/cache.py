"""`RadixCache`: a ``BasePrefixCache`` of SGLang over park's tree.

The tree (`park._park.RadixTree`) knows tokens, locks, order and sizes; this class keeps, by node, the slots that SGLang gave it: tensors
on the device they came from. When the tree divides a node it says so, and the tensors are divided with it. What the scheduler sees of a
node is a `Node`; it hands it back and asks nothing of it.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from sglang.srt.mem_cache.base_prefix_cache import (
    BasePrefixCache,
    DecLockRefParams,
    DecLockRefResult,
    EvictParams,
    EvictResult,
    IncLockRefResult,
    InsertParams,
    InsertResult,
    MatchPrefixParams,
    MatchResult,
)
from sglang.srt.mem_cache.cache_init_params import CacheInitParams
from sglang.srt.mem_cache.events import KVCacheEventRecorder
from sglang.srt.mem_cache.radix_cache import RadixKey
from sglang.srt.mem_cache.utils import split_node_hash_value

from park._park import RadixTree
from park.interop.sglang.nodes import ROOT, Node, encode_namespace

if TYPE_CHECKING:
    from sglang.srt.managers.schedule_batch import Req


class RadixCache(BasePrefixCache):
    """See the module.

    Raises:
        ValueError: the order of eviction is none of SGLang's, or one that lives in another tree of SGLang's only (``tlru``).
    """

    def __init__(self, params: CacheInitParams):
        self.disable = params.disable
        self.req_to_token_pool = params.req_to_token_pool
        self.token_to_kv_pool_allocator = params.token_to_kv_pool_allocator
        self.page_size = params.page_size
        self.is_eagle = params.is_eagle
        self.eviction_policy = "lru" if params.disable else params.eviction_policy.lower()
        self.kv_events = KVCacheEventRecorder(
            enabled=params.enable_kv_cache_events and not params.disable,
            page_size=params.page_size,
            dynamo_format=params.dynamo_kv_event_format,
            lora_names=params.kv_event_lora_names,
        )
        device = getattr(params.token_to_kv_pool_allocator, "device", None)
        self.device = torch.device(device if isinstance(device, str | torch.device) else "cpu")
        if params.enable_metrics:
            self.init_metrics_collector()
        options = {} if params.disable else dict(params.eviction_policy_config or {})
        self.tree = RadixTree(
            params.page_size,
            secret=secrets.token_bytes(32),
            bigrams=params.is_eagle,
            slots=False,
            eviction=self.eviction_policy,
            protected=options.pop("protected_threshold", 2),
        )
        if options:
            raise ValueError(f"the order of eviction {self.eviction_policy!r} has no options {sorted(options)}")
        #: By node: the slots of the edge to it, int64 on the device.
        self.values: dict[int, torch.Tensor] = {}
        #: By node: hashes of the pages of the edge to it, once an event needed them; and those that include the namespace.
        self.hashes: dict[int, list[str]] = {}
        self.event_hashes: dict[int, list[str]] = {}
        self.no_slots = torch.empty(0, dtype=torch.int64, device=self.device)
        self.root_node = Node(self, ROOT)
        self.kv_events.record_all_cleared()

    @classmethod
    def create_simulated(
        cls,
        disable: bool = False,
        mock_allocator: Any = None,
        page_size: int = 1,
        enable_kv_cache_events: bool = False,
        **events: Any,
    ) -> RadixCache:
        """A cache without pools, for simulations and tests, as SGLang's class of this name makes one."""
        return cls(
            CacheInitParams(
                disable=disable,
                req_to_token_pool=None,
                token_to_kv_pool_allocator=mock_allocator,
                page_size=page_size,
                enable_kv_cache_events=enable_kv_cache_events,
                **events,
            )
        )

    # What the scheduler calls.

    def reset(self) -> None:
        """Forget everything, locks included."""
        self.tree.reset()
        for known in (self.values, self.hashes, self.event_hashes):
            known.clear()
        self.kv_events.record_all_cleared()

    def match_prefix(self, params: MatchPrefixParams) -> MatchResult:
        """The longest prefix that is cached, in whole pages. Everything on the way counts as used now."""
        number, units = self._match(params.key)
        node = Node(self, number)
        return MatchResult(device_prefix_len=units, last_device_node=node, last_host_node=node, best_match_node=node)

    def touch_prefix(self, key: RadixKey) -> None:
        """The prefix counts as used now."""
        self._match(key)

    def insert(self, params: InsertParams) -> InsertResult:
        """Cache a prefix, in whole pages. Slots of what was cached before stay the caller's."""
        if self.disable:
            return InsertResult(prefix_len=0)
        key, value = params.key.maybe_to_bigram_view(self.is_eagle, params.value)
        tokens = key.raw_token_ids()
        if value is None:  # a simulation
            value = torch.tensor(list(tokens), dtype=torch.int64)
        units = len(key) // self.page_size * self.page_size
        if len(value) < units:
            raise ValueError(f"a prefix of {units} tokens needs as many slots, and there are {len(value)}")
        number, matched, added, split = self.tree.insert(
            encode_namespace(key.extra_key, key.cache_salt),
            tokens,
            priority=params.priority or 0,
            counted=params.inserted_len,
        )
        if split is not None:
            self._divide(*split)
        node = Node(self, number)
        if added:
            # A view would keep the whole of what was given alive.
            self.values[number] = value[matched:units].clone()
            self.kv_events.record_store(node)
        return InsertResult(prefix_len=matched, last_device_node=node)

    def checkpoint(self, req: Req, *, up_to: int, **_kwargs: Any) -> None:
        """Cache what a request has computed up to a position of its row, and put the request onto the tree's copy of it."""
        if self.disable:
            return
        kv = req.kv
        tokens = req.full_untruncated_fill_ids[:up_to]
        row = self.req_to_token_pool.req_to_token[kv.req_pool_idx, : len(tokens)]
        priority = req.priority or 0
        key = self._key(req, tokens)
        units = len(key) // self.page_size * self.page_size
        if kv.swa_evict_floor:
            raise NotImplementedError(
                "park's prefix cache for SGLang has no sliding windows, and a request has left one behind"
            )
        slots = row[:units].to(dtype=torch.int64, copy=True)
        inserted = self.insert(InsertParams(key, slots, inserted_len=kv.cache_inserted_len, priority=priority))
        node, matched = inserted.last_device_node, inserted.prefix_len
        kv.cache_inserted_len = max(kv.cache_inserted_len, units)
        prompt = self._key(req, tokens[: len(req.origin_input_ids)])
        prompt_units = len(prompt) // self.page_size * self.page_size
        if 0 < prompt_units < units:
            # A node of its own, worth more than what follows, so that answers are evicted before their prompt is.
            worth = min(priority + 1, torch.iinfo(torch.int64).max)
            known = InsertParams(prompt, slots[:prompt_units], inserted_len=prompt_units, priority=worth)
            self.insert(known)
        if matched > kv.cache_protected_len:
            # Somebody else had cached this part: the request goes on with theirs, and its own slots are free.
            part = slice(kv.cache_protected_len, matched)
            theirs = self.path_device_indices(node)[part]
            self.token_to_kv_pool_allocator.free_segment(slots[part], start_pos=part.start)
            self.req_to_token_pool.write((kv.req_pool_idx, part), theirs)
        kv.cache_protected_len = units
        lock = self.lock(node)
        self.unlock(req.lock)
        req.lock, req.last_node = lock, node

    def evict(self, params: EvictParams) -> EvictResult:
        """Free at least so many tokens' slots, as far as nothing protects them."""
        began = time.perf_counter()
        gone: list[int] = []
        evicted = 0
        if self.disable:
            return EvictResult()
        if self.kv_events.enabled:
            # An event tells of a node that is still there.
            while evicted < params.num_tokens and (victim := self.tree.victim()) is not None:
                self.kv_events.record_remove(Node(self, victim))
                units, _, _ = self.tree.evict(1)
                gone.append(victim)
                evicted += units
        else:
            evicted, gone, _ = self.tree.evict(params.num_tokens)
        if gone:
            # Edges are whole pages, so one after the other they are, too.
            slots = torch.cat([self.values.pop(number) for number in gone])
            self.token_to_kv_pool_allocator.free_segment(slots, start_pos=0)
        for number in gone:
            self.hashes.pop(number, None)
            self.event_hashes.pop(number, None)
        self.update_eviction_metrics(evicted, began)
        return EvictResult(num_tokens_evicted=evicted)

    def inc_lock_ref(self, node: Node) -> IncLockRefResult:
        """Protect the prefix that ends with a node. ``delta`` is by how much less can be evicted, at most 0."""
        return IncLockRefResult(delta=0 if self.disable else -self.tree.lock(node.id))

    def dec_lock_ref(self, node: Node, params: DecLockRefParams | None = None) -> DecLockRefResult:
        """Take one protection back. ``delta`` is by how much more can be evicted."""
        return DecLockRefResult(delta=0 if self.disable else self.tree.unlock(node.id))

    def path_device_indices(self, node: Node) -> torch.Tensor:
        """The slots of the prefix that ends with a node, int64 on the device."""
        path = self.tree.path(node.id)
        return torch.cat([self.values[number] for number in path]) if path else self.no_slots

    def dfs_weight_order(self, node_handles: Sequence[Node]) -> list[int]:
        """Indices of requests such that those below one node are neighbours, where most requests are first.

        Only nodes that a request's prefix goes through are looked at.
        """
        weights: dict[int, int] = {}
        paths = [self.tree.path(node.id) for node in node_handles]
        for path in paths:
            for number in path:
                weights[number] = weights.get(number, 0) + 1
        first = {number: at for at, path in reversed(list(enumerate(paths))) for number in path}
        # At each level the heavier subtree goes first, then the one that was asked for first; a node itself goes after what is below it.
        last = (1, 0)
        ranks = [[*((-weights[number], first[number]) for number in path), last] for path in paths]
        return sorted(range(len(paths)), key=ranks.__getitem__)

    # What it tells of itself.

    def supports_prefix_sharing(self) -> bool:
        """Whether anything is cached at all."""
        return not self.disable

    def evictable_size(self) -> int:
        """Tokens that nothing protects."""
        return self.tree.evictable()

    def protected_size(self) -> int:
        """Tokens that a lock protects."""
        return self.tree.protected()

    def total_size(self) -> int:
        """Tokens that are cached."""
        return self.tree.evictable() + self.tree.protected()

    def all_values_flatten(self) -> torch.Tensor:
        """The slots of everything that is cached, in no order."""
        return torch.cat([self.no_slots, *self.values.values()])

    def pretty_print(self) -> None:
        """Print the tree: length, first tokens and locks of each node."""
        stack = [(self.root_node, 0)]
        while stack:
            node, depth = stack.pop()
            tokens = node.key.token_ids
            print(f"{'  ' * depth}{len(node.key)} {list(tokens[:10])} r={node.lock_ref}")
            stack.extend((child, depth + 1) for child in node.children.values())
        print(f"#tokens: {self.total_size()}")

    def _key(self, req: Req, tokens: Any) -> RadixKey:
        return RadixKey(tokens, req.extra_key, is_bigram=self.is_eagle, cache_salt=req.cache_salt)

    def _match(self, key: RadixKey) -> tuple[int, int]:
        key, _ = key.maybe_to_bigram_view(self.is_eagle)
        if self.disable:
            return ROOT, 0
        number, units, split = self.tree.match_prefix(
            encode_namespace(key.extra_key, key.cache_salt), key.raw_token_ids()
        )
        if split is not None:
            self._divide(*split)
        return number, units

    def _divide(self, upper: int, lower: int, units: int) -> None:
        """What is kept by node follows a node that the tree has divided."""
        value = self.values[lower]
        self.values[upper], self.values[lower] = value[:units].clone(), value[units:].clone()
        for known in (self.hashes, self.event_hashes):
            if lower in known:
                known[upper], known[lower] = split_node_hash_value(known[lower], units, self.page_size)
