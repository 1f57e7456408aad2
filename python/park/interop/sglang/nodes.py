"""Nodes of park's tree as objects, with SGLang's names for what there is to know about one.

A node is a number; what it is named here is looked up when it is asked for. SGLang's scheduler hands nodes back as it got them; its
event recorder reads keys and hashes and stores the hashes; tests and tools look at more. Two objects are equal if they are the same node
of the same tree.
"""

from __future__ import annotations

import functools
import json
from array import array
from typing import TYPE_CHECKING, Any

import torch
from sglang.srt.mem_cache.radix_cache import RadixKey

if TYPE_CHECKING:
    from park.interop.sglang.cache import RadixCache

#: The number of the root, in any tree.
ROOT = 0


@functools.lru_cache(maxsize=4096)
def encode_namespace(extra_key: str | None, cache_salt: str | None) -> bytes:
    """The tree's name for what SGLang separates prefixes by. Different pairs have different names."""
    if extra_key is None and cache_salt is None:
        return b""
    return json.dumps([extra_key, cache_salt]).encode()


def decode_namespace(name: bytes) -> tuple[str | None, str | None]:
    """What `encode_namespace` made the name of."""
    extra_key, cache_salt = json.loads(name) if name else (None, None)
    return extra_key, cache_salt


class Node:
    """A node, as ``TreeNode`` of SGLang."""

    __slots__ = ("_cache", "id")

    def __init__(self, cache: RadixCache, number: int):
        self._cache = cache
        self.id = number

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Node) and other.id == self.id and other._cache is self._cache

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        return f"Node({self.id:#x})"

    @property
    def parent(self) -> Node | None:
        """The node above; `None` for the root."""
        return None if self.id == ROOT else Node(self._cache, self._cache.tree.parent(self.id))

    @property
    def key(self) -> RadixKey:
        """The tokens of the edge to it."""
        cache = self._cache
        extra_key, cache_salt = decode_namespace(cache.tree.namespace(self.id))
        tokens = array("q", memoryview(cache.tree.tokens(self.id)).cast("I"))
        return RadixKey(tokens, extra_key, is_bigram=cache.is_eagle, cache_salt=cache_salt)

    @property
    def value(self) -> torch.Tensor:
        """The slots of the edge to it."""
        return self._cache.values[self.id] if self.id != ROOT else self._cache.no_slots

    @property
    def children(self) -> dict[Any, Node]:
        """The nodes below, by what SGLang looks them up by. Walks the whole tree."""
        below = (Node(self._cache, number) for number in self._cache.tree.children(self.id))
        return {node.key.child_key(self._cache.page_size): node for node in below}

    @property
    def lock_ref(self) -> int:
        """Locks on it and below; the root counts as locked."""
        return 1 if self.id == ROOT else self._cache.tree.locks(self.id)

    @property
    def hit_count(self) -> int:
        """How many insertions went through it."""
        return self._cache.tree.hits(self.id)

    @property
    def evicted(self) -> bool:
        """Whether its slots are gone: never, as a node goes with them."""
        return False

    @property
    def hash_value(self) -> list[str] | None:
        """The hashes of its pages, once an event needed them; none for the root."""
        return [] if self.id == ROOT else self._cache.hashes.get(self.id)

    @hash_value.setter
    def hash_value(self, hashes: list[str]) -> None:
        self._cache.hashes[self.id] = hashes

    @property
    def event_hash_value(self) -> list[str] | None:
        """The same, of a prefix with a namespace."""
        return self._cache.event_hashes.get(self.id)

    @event_hash_value.setter
    def event_hash_value(self, hashes: list[str]) -> None:
        self._cache.event_hashes[self.id] = hashes
