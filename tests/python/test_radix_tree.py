"""`park._park.RadixTree` and `OffloadTable`: what the binding adds to the core, whose own tests hold both against models."""

import struct
from array import array

import pytest
from park._park import OffloadTable, RadixTree

ROOT = 0


def tree(page=1, **options):
    return RadixTree(page, secret=bytes(32), **options)


def slots(data):
    return list(memoryview(data).cast("q"))


@pytest.mark.parametrize("make", [list, tuple, lambda tokens: array("q", tokens), lambda tokens: array("I", tokens)])
def test_tokens_come_in_any_form(make):
    cached = tree()
    node, matched, added, split = cached.insert(b"", make([1, 2, 3]), array("q", [10, 11, 12]))
    assert (matched, added, split) == (0, True, None)
    assert cached.match_prefix(b"", make([1, 2, 3, 4])) == (node, 3, None)
    assert slots(cached.slots_to(node)) == [10, 11, 12]
    assert bytes(cached.tokens(node)) == struct.pack("3I", 1, 2, 3)


@pytest.mark.parametrize("make", [list, lambda tokens: array("q", tokens)])
@pytest.mark.parametrize("wrong", [-1, 2**32])
def test_what_is_no_token_is_named_and_nothing_is_cached(make, wrong):
    cached = tree()
    with pytest.raises(ValueError, match=rf"`tokens\[2\]` is {wrong}"):
        cached.insert(b"", make([1, 2, wrong]), [1, 2, 3])
    assert len(cached) == 0
    assert cached.match_prefix(b"", [1, 2]) == (ROOT, 0, None)


def test_a_match_within_an_edge_says_how_it_was_divided():
    cached = tree(2)
    lower, *_ = cached.insert(b"a", [1, 2, 3, 4, 5], [0, 1, 2, 3])
    upper, units, split = cached.match_prefix(b"a", [1, 2, 9, 9])
    assert (units, split) == (2, (upper, lower, 2))
    assert cached.path(lower) == [upper, lower]
    assert cached.children(ROOT) == [upper]
    assert cached.parent(lower) == upper
    assert bytes(cached.namespace(upper)) == b"a"
    assert cached.match_prefix(b"b", [1, 2]) == (ROOT, 0, None)


def test_locks_protect_and_evictions_tell_what_went():
    cached = tree()
    kept, *_ = cached.insert(b"", [1, 2], [10, 11])
    gone, *_ = cached.insert(b"", [3, 4], [12, 13])
    assert cached.lock(kept) == 2
    assert (cached.evictable(), cached.protected()) == (2, 2)
    assert cached.victim() == gone
    units, nodes, freed = cached.evict(100)
    assert (units, nodes, slots(freed)) == (2, [gone], [12, 13])
    with pytest.raises(LookupError, match="not in the tree"):
        cached.lock(gone)
    assert cached.unlock(kept) == 2
    with pytest.raises(ValueError, match="once more than it was locked"):
        cached.unlock(kept)
    cached.audit()


def test_an_order_that_there_is_not_is_refused():
    with pytest.raises(ValueError, match='"random"'):
        tree(eviction="random")
    with pytest.raises(ValueError, match="at least one token"):
        tree(0)


def test_a_table_gives_slots_and_says_whose_they_were():
    table = OffloadTable(2)
    assert table.store([b"a", b"b"], [(1, 0), (2, 0)], []) == ([0, 1], [])
    assert table.readers_of([b"a", b"x"]) == [-1, None]
    assert table.store([b"c"], [(3, 0)], []) is None
    assert table.finish([b"a", b"x", b"b"], True) == [0, 2]
    assert table.pin([b"a"]) == [0]
    assert table.store([b"c"], [(3, 0)], []) == ([1], [b"b"])
    with pytest.raises(ValueError, match="still being written"):
        table.pin([b"a", b"c"])
    assert table.readers(b"a") == 1
    with pytest.raises(LookupError, match="not in the tier"):
        table.unpin([b"b"])
    table.unpin([b"a"])
    assert table.evict(1, [b"a"]) is None
    assert table.evict(1, []) == [(b"a", 0)]
    table.audit()
