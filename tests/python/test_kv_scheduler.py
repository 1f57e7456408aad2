"""`park.kv.Scheduler`: plans, tables, answers, preemption, weights, and an engine that reads back what it wrote."""

import random

import numpy as np
import pytest
from kv_kit import BLOCK, check, load, numpy_arrays, tables_of, torch_tensors

kv = load()


def scheduler(**options):
    return kv.Scheduler(**{"blocks": 64, "block_size": BLOCK, **options})


def run(engine, sampled=7, steps=1000):
    """Steps until nothing is left; every sequence samples the same token."""
    for _ in range(steps):
        if engine.metrics()["sequences"] == 0:
            return
        plan = engine.step()
        engine.commit(np.full(len(plan), sampled))
        engine.audit()
    raise AssertionError("it does not come to an end")


def test_a_prompt_goes_in_chunks_then_token_by_token():
    engine = scheduler(chunk=4)
    request = engine.add(np.arange(6, dtype=np.int32), max_new=3)
    seen = []
    while engine.metrics()["sequences"]:
        plan = engine.step()
        seen.append((plan.starts.tolist(), plan.counts.tolist(), plan.samples.tolist(), plan.number, plan.tokens))
        assert plan.sequences.tolist() == [request]
        engine.commit([7])
    assert seen == [
        ([0], [4], [False], 1, 4),
        ([4], [2], [True], 2, 2),
        ([6], [1], [True], 3, 1),
        ([7], [1], [True], 4, 1),
    ]
    assert engine.metrics()["finished"] == 1
    assert len(engine.plan) == 1, "the last plan can be looked at after its request has ended"


def test_a_request_may_end_early_and_without_a_token():
    engine = scheduler()
    engine.add([1, 2], max_new=10)
    engine.add([3, 4], max_new=10)
    engine.step()
    engine.commit([7, 8], finished=[True, False])
    assert engine.metrics()["sequences"] == 1
    engine.step()
    engine.commit(np.array([[0]]), counts=[0], finished=np.array([True]))
    assert engine.metrics()["finished"] == 2


def test_drafts_are_accepted_in_order():
    engine = scheduler(drafts=3)
    request = engine.add([1, 2, 3], max_new=9)
    plan = engine.step()
    assert (plan.counts.tolist(), plan.drafts.tolist(), plan.tokens) == ([3], [3], 6)
    engine.commit(np.array([[10, 11, 12, 99]]), counts=[3])
    assert engine.known(request) == 6
    plan = engine.step()
    assert (plan.starts.tolist(), plan.counts.tolist()) == ([5], [1])
    engine.commit(np.array([[13, 0, 0, 0]], np.uint32), counts=np.array([1]))
    assert (engine.metrics()["drafts"], engine.metrics()["drafts_accepted"]) == (6, 2)
    engine.audit()


def test_what_one_request_of_a_step_computes_another_may_use():
    engine = scheduler()
    prompt = list(range(9))
    first, second = engine.add(prompt, max_new=1), engine.add(prompt, max_new=1)
    plan = engine.step()
    assert plan.sequences.tolist() == [first, second] and plan.starts.tolist() == [0, 8]
    assert engine.table(second).tolist()[:2] == engine.table(first).tolist()[:2]
    engine.commit([1, 1])


def test_a_step_that_failed_is_given_out_again():
    engine = scheduler()
    engine.add(list(range(9)), max_new=2)
    plan = engine.step()
    engine.abandon()
    again = engine.step()
    assert (again.starts.tolist(), again.counts.tolist()) == (plan.starts.tolist(), plan.counts.tolist())
    engine.commit([1])
    engine.audit()


def test_preemption_by_recomputing_and_by_swapping():
    for swap_slots in (0, 64):
        engine = scheduler(blocks=9, swap_slots=swap_slots, caching=False)
        for prompt in range(3):
            engine.add([prompt] * 8, max_new=16)
        lost, out, back = 0, 0, 0
        while engine.metrics()["sequences"]:
            plan = engine.step()
            lost += len(plan.swapped if swap_slots else plan.preempted)
            out += len(plan.swap_out)
            back += len(plan.swap_in)
            engine.commit(np.full(len(plan), 7))
            engine.audit()
        assert lost > 0 and engine.metrics()["swapped" if swap_slots else "recomputed"] == lost
        assert (out > 0, back > 0) == (swap_slots > 0,) * 2


def test_new_weights_end_drop_or_draft():
    engine = scheduler(drafts=4)
    requests = {how: engine.add([1, 2, 3], max_new=9, on_epoch=how) for how in ("finish", "drop", "draft")}
    for token in (5, 6):
        plan = engine.step()
        tokens = np.full((len(plan), 5), token)
        engine.commit(tokens, counts=np.ones(len(plan), int))
    engine.set_epoch(3)
    assert engine.epoch == 3
    plan = engine.step()
    assert plan.dropped.tolist() == [requests["drop"]]
    assert plan.proposed.tolist() == [5, 6]
    at = plan.sequences.tolist().index(requests["draft"])
    assert (plan.starts[at], plan.proposed_counts[at]) == (0, 2)
    assert requests["finish"] in plan.sequences.tolist()
    engine.abandon()
    engine.audit()


def test_pause_resume_and_sleep():
    engine = scheduler()
    engine.add(list(range(8)), max_new=4)
    engine.step()
    engine.commit([1])
    engine.pause()
    assert len(engine.step()) == 0
    engine.commit([])
    engine.resume()
    engine.step()
    engine.commit([1])
    engine.sleep()
    assert engine.metrics()["free_blocks"] == 63 and engine.metrics()["cached_blocks"] == 0
    engine.audit()
    engine.resume()
    run(engine)
    assert engine.reset() is True


def test_a_fork_goes_on_from_where_it_was():
    engine = scheduler()
    request = engine.add(list(range(6)), max_new=4)
    engine.step()
    engine.commit([1])
    fork = engine.fork(request)
    plan = engine.step()
    assert sorted(plan.sequences.tolist()) == sorted([request, fork])
    assert len(plan.copies) > 0
    engine.commit([2, 3])
    engine.abort(fork)
    run(engine)


def test_policies_admit_in_their_order():
    def order(policy, *requests, **options):
        engine = scheduler(policy=policy, running=1, **options)
        tenant = engine.add_tenant()
        names = {engine.add(list(range(16)), max_new=1): ""}
        engine.step()
        engine.commit([7])
        for name, prompt, priority, own in requests:
            names[engine.add(prompt, max_new=1, priority=priority, tenant=tenant if own else 0)] = name
        seen = ""
        while engine.metrics()["sequences"]:
            plan = engine.step()
            seen += "".join(names[request] for request in plan.admitted)
            engine.commit([7] * len(plan))
        return seen

    assert order("fcfs", ("a", [1], 5, False), ("b", [2], 1, False)) == "ab"
    assert order("priority", ("a", [1], 5, False), ("b", [2], 1, False)) == "ba"
    assert order("longest_prefix", ("a", [5], 0, False), ("b", [*range(16), 1], 0, False)) == "ba"
    assert order("fair", ("a", [1], 0, False), ("b", [2], 0, False), ("c", [3], 0, True), quantum=1) == "cab", (
        "tenant 0 has had its turn"
    )


def test_metrics_are_numbers():
    engine = scheduler()
    engine.add(list(range(9)), max_new=2)
    run(engine)
    engine.add(list(range(9)), max_new=1)
    run(engine)
    metrics = engine.metrics()
    assert all(type(value) is int for value in metrics.values())
    assert (metrics["tokens_asked"], metrics["tokens_hit"], metrics["admitted"]) == (18, 8, 2)
    assert (metrics["running"], metrics["waiting"]) == (0, 0)


def test_events_and_retention_reach_the_cache_below():
    engine = scheduler(events=True, eviction="retention")
    request = engine.add(list(range(8)), max_new=2)
    engine.step()
    engine.commit([1])
    assert [event["type"] for event in engine.take_events()] == ["stored"]
    engine.retain(request, 9, until=5)
    engine.set_time(6)
    engine.audit()


@pytest.mark.parametrize(
    ("make", "window", "caching"),
    [(numpy_arrays, None, True), (torch_tensors, None, True), (numpy_arrays, 8, True), (numpy_arrays, 6, False)],
)
def test_an_engine_reads_back_what_its_tables_told_it_to_write(make, window, caching):
    """Tokens are written to their slots; what a kernel would read through each form of the tables is then what the request knows: all
    of it, or, in a window, the last tokens."""
    if make is torch_tensors:
        pytest.importorskip("torch")
    groups = [window or "full"]
    blocks = 14 if window else 40
    engine = scheduler(blocks=blocks, chunk=7, running=6, drafts=2, swap_slots=20, groups=groups, caching=caching)
    dice, moved = random.Random(3), [0, 0]
    memory = np.full(40 * BLOCK, -1)
    host = np.full((20, BLOCK), -1)
    arrays = make(8, 24, 256, 256)
    tables = kv.Tables(**arrays)
    texts, told = {}, 0
    while told < 60 or texts:
        if told < 60 and dice.random() < 0.5:
            prompt = [dice.randrange(2) for _ in range(dice.randrange(1, 40))]
            texts[engine.add(prompt, max_new=dice.randrange(1, 20))] = prompt
            told += 1
        plan = engine.step(tables)
        pages = memory.reshape(-1, BLOCK)
        for block, slot in np.asarray(plan.swap_out).reshape(-1, 2):
            host[slot] = pages[block]
        for source, to in np.asarray(plan.copies).reshape(-1, 2):
            pages[to] = pages[source]
        for block, slot in np.asarray(plan.swap_in).reshape(-1, 2):
            assert block != 0
            pages[block] = host[slot]
        moved = [moved[0] + len(plan.swap_out), moved[1] + len(plan.swap_in)]
        works = list(zip(plan.sequences, plan.starts, plan.counts, plan.drafts, plan.samples))
        spans = [(sequence, start, start + count + drafts) for sequence, start, count, drafts, _ in works]
        check({name: array[: 1 + len(works)] if name == "indptr" else array for name, array in arrays.items()}, {})
        expected = tables_of(engine, spans, 24)
        for name, numbers in expected.items():
            assert arrays[name].tolist()[: len(numbers)] == numbers, name
        if dice.random() < 0.1:
            engine.abandon()
            engine.audit()
            continue
        slots = iter(arrays["slot_mapping"].tolist())
        rows, counts = [], []
        for sequence, start, count, drafts, samples in works:
            guesses = [dice.randrange(2) for _ in range(drafts)]
            for token in texts[sequence][start : start + count] + guesses:
                memory[next(slots)] = token
            accepted = dice.randrange(drafts + 1) if samples else 0
            sampled = [*guesses[:accepted], dice.randrange(2)] if samples else []
            rows.append(sampled + [-1] * (3 - len(sampled)))
            counts.append(len(sampled))
        for at, (sequence, start, count, _, _) in enumerate(works):
            first, end = arrays["indptr"][at], arrays["indptr"][at + 1]
            read = pages[arrays["indices"].tolist()[first:end]].ravel()[: start + count]
            seen = max(0, start + count - window) if window else 0
            assert read.tolist()[seen:] == texts[sequence][seen : start + count]
        engine.commit(np.array(rows).reshape(-1, 3), counts=counts)
        engine.audit()
        for (sequence, *_), row, count in zip(works, rows, counts):
            texts[sequence] = texts[sequence] + row[:count]
            try:
                texts[sequence] = texts[sequence][: engine.known(sequence)]
            except kv.errors.NotFoundError:
                del texts[sequence]
    assert engine.metrics()["finished"] == 60
    assert (engine.metrics()["tokens_hit"] > 0) == caching
    assert min(moved) > 0, "some were swapped, and came back"
