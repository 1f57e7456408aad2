"""`park.kv.Cache`: sequences, prefixes, forks, windows, epochs, and a step in one call."""

import random
import struct

import numpy as np
import pytest
from kv_kit import BLOCK, check, load, numpy_arrays, tables_of, torch_tensors

kv = load()


def cache(**options):
    return kv.Cache(**{"blocks": 64, "block_size": BLOCK, **options})


def begun(cache, tokens, **options):
    """A sequence whose tokens are computed."""
    sequence = cache.add(tokens, **options)
    cache.attach(sequence)
    cache.prefill([sequence], [len(tokens)])
    cache.settle()
    return sequence


def test_a_second_prompt_finds_what_the_first_computed():
    pool = cache()
    first = begun(pool, list(range(10)))
    second = pool.add(list(range(9)) + [99, 98])
    assert pool.lookup(second) == 8
    assert pool.attach(second) == 8
    assert pool.computed(second) == 8
    assert pool.table(second).tolist() == pool.table(first).tolist()[:2]
    assert pool.stats()["tokens_hit"] == 8
    pool.audit()


def test_a_prompt_is_never_found_whole():
    pool = cache()
    begun(pool, list(range(8)))
    again = pool.add(list(range(8)))
    assert pool.lookup(again) == 4, "its last token is computed, for the output"
    assert pool.lookup(again, 3) == 0


def test_tenants_salts_adapters_and_media_share_nothing():
    pool = cache()
    other = pool.add_tenant()
    tokens = list(range(12))
    digest = bytes(32)
    begun(pool, tokens)
    for options in [{"tenant": other}, {"salt": b"s"}, {"adapter": b"a"}, {"media": [(0, 2, digest)]}]:
        sequence = pool.add(tokens, **options)
        assert pool.lookup(sequence) == 0, options
        pool.finish(begun(pool, tokens, **options))
        assert pool.lookup(sequence) == 8, options
    pool.audit()


def test_caches_find_each_others_keys_with_one_secret_only():
    def keys(**options):
        pool = cache(events=True, **options)
        begun(pool, list(range(8)))
        return pool.take_events()[0]["keys"]

    assert keys(secret=b"s" * 32) == keys(secret=b"s" * 32)
    assert keys() != keys(), "random by default: nobody can guess them"


def test_a_fork_shares_blocks_and_copies_the_last_before_it_writes():
    pool = cache()
    sequence = begun(pool, list(range(6)))
    fork = pool.fork(sequence)
    assert pool.table(fork).tolist() == pool.table(sequence).tolist()
    shared = pool.table(sequence).tolist()[1]
    changes = pool.decode([sequence, fork], [50, 60])
    copies = np.asarray(changes.copies)
    assert copies.dtype == np.int32 and copies[:, 0].tolist() == [shared, shared]
    assert [pool.table(sequence)[1], pool.table(fork)[1]] == copies[:, 1].tolist()
    placed = np.asarray(changes.placed)
    assert placed.tolist() == [[sequence, 0, 1, copies[0, 1]], [fork, 0, 1, copies[1, 1]]]
    pool.settle()
    pool.audit()


def test_a_window_gives_back_what_it_leaves_behind():
    pool = cache(groups=["full", 8])
    sequence = begun(pool, list(range(20)))
    pool.decode([sequence], [20])
    assert pool.table(sequence, 1).tolist()[:3] == [0, 0, 0]
    assert 0 not in pool.table(sequence, 0).tolist()
    pool.audit()


def test_an_epoch_hides_what_older_weights_computed():
    pool = cache()
    begun(pool, list(range(12)))
    pool.set_epoch(1)
    assert pool.epoch == 1
    sequence = pool.add(list(range(12)))
    assert pool.lookup(sequence) == 0
    begun(pool, list(range(12)))
    assert pool.lookup(sequence) == 8
    pool.renew(sequence)
    pool.audit()


def test_detach_keeps_the_tokens_and_finds_them_again():
    pool = cache()
    sequence = begun(pool, list(range(10)))
    free = pool.stats()["free_blocks"]
    pool.detach(sequence)
    assert (pool.known(sequence), pool.computed(sequence), pool.blocks_held(sequence)) == (10, 0, 0)
    assert pool.stats()["free_blocks"] == free + 3
    assert pool.attach(sequence) == 8
    pool.audit()


def test_a_failed_step_is_taken_back():
    pool = cache()
    sequence = begun(pool, list(range(7)))
    pool.decode([sequence], [70])
    pool.rewind(sequence, 7)
    assert (pool.known(sequence), pool.computed(sequence)) == (8, 7)
    other = pool.add([*range(7), 70, 71])
    assert pool.lookup(other) == 4, "what failed cannot be found"
    pool.prefill([sequence], [8])
    assert pool.lookup(other) == 8
    pool.audit()


def test_room_for_drafts_and_back():
    pool = cache()
    sequence = begun(pool, list(range(4)))
    changes = pool.grow(sequence, 12)
    assert len(np.asarray(changes.placed)) == 2
    pool.extend(sequence, [4])
    pool.advance(sequence, 5)
    pool.trim(sequence)
    assert pool.blocks_held(sequence) == 2
    pool.audit()


def test_reset_only_when_nothing_is_in_use():
    pool = cache()
    sequence = begun(pool, list(range(8)))
    assert pool.reset() is False
    pool.finish(sequence)
    assert pool.stats()["cached_blocks"] == 2
    assert pool.reset() is True
    assert pool.stats()["cached_blocks"] == 0
    pool.audit()


def test_retention_is_a_place_in_the_order():
    pool = cache(blocks=5, eviction="retention")
    kept = begun(pool, list(range(8)))
    pool.retain(kept, 200, until=10)
    pool.finish(kept)
    pool.finish(begun(pool, list(range(50, 58))))
    pool.finish(begun(pool, list(range(80, 88))))
    probe = pool.add(list(range(9)))
    assert pool.lookup(probe) == 8, "those without a priority went first"
    pool.set_time(10)
    pool.finish(begun(pool, list(range(20, 28))))
    assert pool.lookup(probe) < 8
    pool.audit()


def test_events_say_what_can_be_found():
    pool = cache(events=True, blocks=4)
    sequence = begun(pool, list(range(8)))
    (stored,) = pool.take_events()
    assert (stored["type"], stored["tokens"], stored["parent"], stored["block_size"]) == (
        "stored",
        list(range(8)),
        None,
        4,
    )
    assert [len(key) for key in stored["keys"]] == [16, 16]
    pool.finish(sequence)
    begun(pool, list(range(100, 112)))
    removed = [event["key"] for event in pool.take_events() if event["type"] == "removed"]
    assert sorted(removed) == sorted(stored["keys"])
    assert pool.take_events() == []


def test_events_as_vllms_routers_read_them():
    pool = cache(events=True, blocks=4)
    begun(pool, list(range(8)))
    with pytest.raises(kv.errors.InvalidArgumentError, match="'hex'"):
        pool.take_event_batch(1.5, hashes="hex")
    batch = pool.take_event_batch(1.5, rank=3, hashes="bytes")
    # MessagePack: an array of three, a float of eight bytes, an array of one event; the rank at the end.
    assert batch[:11] == b"\x93\xcb" + struct.pack(">d", 1.5) + b"\x91"
    assert b"BlockStored" in batch and batch[-1:] == b"\x03"
    assert pool.take_events() == []


@pytest.mark.parametrize("make", [numpy_arrays, torch_tensors])
@pytest.mark.parametrize("groups", [["full"], ["full", 6], [6], ["full", "full"]], ids=str)
def test_a_steps_tables_are_those_of_a_slow_reference(make, groups):
    if make is torch_tensors:
        pytest.importorskip("torch")
    pool = cache(groups=groups, blocks=512)
    dice = random.Random(1)
    running = []
    for _ in range(30):
        for _ in range(dice.randrange(3)):
            prompt = [dice.randrange(3) for _ in range(dice.randrange(1, 30))]
            running.append(pool.add(prompt))
            pool.attach(running[-1])
        if len(running) > 6:
            pool.finish(running.pop(dice.randrange(len(running))))
        waiting = [sequence for sequence in running if pool.computed(sequence) < pool.known(sequence)]
        ready = [sequence for sequence in running if pool.computed(sequence) == pool.known(sequence)]
        if ready and dice.random() < 0.3:
            ready.append(pool.fork(dice.choice(ready)))
            running.append(ready[-1])
        for group in range(len(groups)):
            arrays = make(16, 24, 256, 256)
            tables = kv.Tables(group=group, **arrays)
            if group < len(groups) - 1:
                spans = [(sequence, 0, pool.computed(sequence)) for sequence in ready]
                counts = pool.fill(np.array(ready, np.int64), [end for _, _, end in spans], tables)
                assert counts == (sum(end for _, _, end in spans), sum(-(-end // BLOCK) for _, _, end in spans))
            else:
                # The last group's tables are written by the steps themselves.
                spans = [(sequence, pool.known(sequence), pool.known(sequence) + 1) for sequence in ready]
                changes = pool.decode(ready, np.arange(len(ready)), tables)
                assert (changes.tokens, changes.pages) == (len(ready), sum(-(-end // BLOCK) for _, _, end in spans))
            check(arrays, tables_of(pool, spans, 24, group))
        arrays = make(16, 24, 256, 256)
        ends = [dice.randrange(pool.computed(sequence), pool.known(sequence)) + 1 for sequence in waiting]
        spans = [(sequence, pool.computed(sequence), end) for sequence, end in zip(waiting, ends)]
        pool.prefill(waiting, ends, kv.Tables(**arrays))
        check(arrays, tables_of(pool, spans, 24))
        pool.settle()
        pool.audit()


@pytest.mark.parametrize("groups", [["full"], ["full", 8], ["full", "full"]], ids=str)
def test_rows_that_are_kept_are_those_that_are_written_whole(groups):
    pool, dice = cache(blocks=400, groups=groups), random.Random(7)
    width = 40
    kept = [np.full((6, width), -7, np.int32) for _ in groups]
    tables = [kv.Tables(group=at, block_table=rows, keep_rows=True) for at, rows in enumerate(kept)]
    live = [begun(pool, [dice.randrange(3) for _ in range(dice.randrange(1, 30))]) for _ in range(4)]
    for _ in range(150):
        match dice.randrange(8):
            case 0 if len(live) < 6:
                live.append(pool.fork(dice.choice(live)))
            case 1 if len(live) > 2:
                pool.finish(live.pop(dice.randrange(len(live))))
                live.append(begun(pool, [9] * dice.randrange(1, 30)))
            case 2:
                dice.shuffle(live)
            case 3:
                pool.grow(live[0], pool.known(live[0]) + 9)
                pool.trim(live[0])
        batch = [sequence for sequence in live if pool.known(sequence) < 120][: dice.randrange(1, 7)]
        if not batch:
            break
        pool.decode(batch, [dice.randrange(3) for _ in batch], tables[0])
        for more in tables[1:]:
            pool.fill(batch, [pool.known(sequence) for sequence in batch], more)
        for group, rows in enumerate(kept):
            for row, sequence in zip(rows.tolist(), batch, strict=False):
                blocks = pool.table(sequence, group).tolist()
                assert row == blocks + [0] * (width - len(blocks))
        # The others are the caller's.
        for rows in kept:
            rows[len(batch) :] = -7
        pool.settle()
    pool.audit()
