"""Bad input to `park.kv`: a typed error that names what was asked and what was found, and nothing has changed; `audit` still holds."""

import array
import random
from functools import partial

import numpy as np
import pytest
from kv_kit import BLOCK, load, numpy_arrays
from park import exceptions

kv = load()
INVALID = exceptions.InvalidArgumentError
FOREIGN = [0, 1, -1, 2**63 - 1, -(2**63), 2**64, 10**30]


@pytest.fixture
def pool():
    pool = kv.Cache(blocks=16, block_size=BLOCK)
    yield pool
    pool.audit()


@pytest.fixture
def engine():
    engine = kv.Scheduler(blocks=16, block_size=BLOCK)
    yield engine
    engine.audit()


def begun(pool, count=6):
    sequence = pool.add(list(range(count)))
    pool.prefill([sequence], [count])
    pool.settle()
    return sequence


def refused(error, call, *words):
    """The call raises the error, and its text has each of these."""
    with pytest.raises(error) as raised:
        call()
    assert isinstance(raised.value, exceptions.RayError), "one of park's own"
    for word in words:
        assert str(word) in str(raised.value), (word, str(raised.value))
    return raised.value


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"blocks": 0}, "0 were asked for"),
        ({"blocks": 1}, "1 were asked for"),
        ({"blocks": 2**31}, 2**31),
        ({"blocks": -1}, "`blocks`"),
        ({"blocks": 10**30}, "`blocks`"),
        ({"block_size": 0}, "block of 0 tokens"),
        ({"groups": []}, "groups"),
        ({"groups": ["full"] * 256}, "256"),
        ({"groups": [3]}, "a window of 3 tokens is smaller than a block of 4"),
        ({"groups": [-8]}, "-8"),
        ({"groups": ["half"]}, "half"),
        ({"eviction": "fifo"}, "fifo"),
        ({"algorithm": "md5"}, "md5"),
        ({"secret": b"short"}, "32 bytes, not 5"),
        ({"partial": True, "groups": ["full", 8]}, "Window(8)"),
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", ["Cache", "Scheduler"])
def test_what_nothing_can_be_made_of(kind, options, word):
    refused(INVALID, lambda: getattr(kv, kind)(**{"blocks": 16, "block_size": BLOCK, **options}), word)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"step_tokens": 0}, "0 tokens a step"),
        ({"running": 0}, "0 running requests"),
        ({"chunk": 0}, "0 tokens a chunk"),
        ({"policy": "random"}, "random"),
        ({"policy": "fair", "quantum": 0}, "turns of 0 tokens"),
    ],
    ids=str,
)
def test_a_scheduler_that_would_compute_nothing(options, word):
    refused(INVALID, lambda: kv.Scheduler(**options), word)


@pytest.mark.parametrize(
    "make", [list, lambda n: np.array(n, np.int64), lambda n: array.array("q", n)], ids=["list", "numpy", "array"]
)
@pytest.mark.parametrize("bad", [-1, 2**32, -(2**63), 2**63 - 1])
def test_a_token_that_is_none(pool, engine, make, bad):
    tokens = make([5, 6, bad, 7])
    sequence = begun(pool)
    for call in [
        lambda: pool.add(tokens),
        lambda: pool.extend(sequence, tokens),
        lambda: engine.add(tokens, max_new=1),
        lambda: pool.decode([sequence], make([bad])),
    ]:
        error = refused(kv.errors.OutOfRangeError, call, bad)
        assert (error.name, error.value) == ("tokens", bad)
    assert refused(kv.errors.OutOfRangeError, lambda: pool.add(tokens)).index == 2
    assert (pool.known(sequence), pool.stats()["sequences"], engine.metrics()["sequences"]) == (6, 1, 0)


def test_tokens_of_every_good_type(pool):
    torch = pytest.importorskip("torch")
    kinds = [np.int32, np.int64, np.uint32, np.uint64]
    arrays = [np.arange(9, dtype=kind) for kind in kinds]
    arrays += [
        torch.arange(9),
        torch.arange(9, dtype=torch.int32),
        array.array("i", range(9)),
        memoryview(arrays[0]),
        range(9),
    ]
    for tokens in arrays:
        sequence = pool.add(tokens)
        pool.attach(sequence)
        pool.prefill([sequence], [9])
        pool.settle()
        pool.finish(sequence)
    assert pool.stats()["tokens_hit"] == 8 * (len(arrays) - 1), "all of them are the same prompt"
    high = pool.add(np.array([2**32 - 1], np.uint32))
    assert pool.known(high) == 1


@pytest.mark.parametrize(
    ("tokens", "word"),
    [
        (np.ones(4), "format 'd'"),
        (np.ones(4, np.int16), "format 'h'"),
        (np.ones(4, ">i4"), "format '>i'"),
        (np.ones(4, ">i8"), "format '>q'"),
        (np.ones(4, bool), "bool"),
        (np.ones((2, 2), np.int32), "[2, 2]"),
        (np.int32(3), "shape"),
        (np.arange(8)[::2], "contiguous"),
        (np.frombuffer(b"x" * 9, np.uint8)[1:].view(np.int64), "aligned"),
        (b"tokens", "bool"),
        ([], "1 to"),
        (np.array([], np.int32), "1 to"),
    ],
    ids=str,
)
def test_arrays_that_are_no_tokens(pool, tokens, word):
    refused(INVALID, lambda: pool.add(tokens), word)


def test_things_that_are_no_tokens_at_all(pool):
    for thing in [None, 5, object(), "text", [1.5], [None]]:
        with pytest.raises(TypeError):
            pool.add(thing)


@pytest.mark.parametrize("sequence", FOREIGN)
def test_a_sequence_that_is_none(pool, engine, sequence):
    begun(pool)
    array_of = np.array([sequence % 2**64], np.uint64)
    calls = [
        lambda: pool.extend(sequence, [1]),
        lambda: pool.fork(sequence),
        lambda: pool.finish(sequence),
        lambda: pool.detach(sequence),
        lambda: pool.renew(sequence),
        lambda: pool.lookup(sequence),
        lambda: pool.attach(sequence),
        lambda: pool.prefill([sequence], [1]),
        lambda: pool.prefill(array_of, [1]),
        lambda: pool.decode(array_of, [1]),
        lambda: pool.fill(array_of, [1], kv.Tables()),
        lambda: pool.grow(sequence, 1),
        lambda: pool.advance(sequence, 1),
        lambda: pool.rewind(sequence, 0),
        lambda: pool.trim(sequence),
        lambda: pool.retain(sequence, 1),
        lambda: pool.known(sequence),
        lambda: pool.computed(sequence),
        lambda: pool.blocks_held(sequence),
        lambda: pool.table(sequence),
        lambda: engine.fork(sequence),
        lambda: engine.abort(sequence),
        lambda: engine.known(sequence),
        lambda: engine.table(sequence),
        lambda: engine.retain(sequence, 1),
    ]
    for call in calls:
        error = refused(kv.errors.NotFoundError, call)
        assert isinstance(error, LookupError)
    assert pool.stats()["sequences"] == 1


def test_a_sequence_that_has_ended(pool, engine):
    sequence = begun(pool)
    pool.finish(sequence)
    refused(kv.errors.NotFoundError, lambda: pool.finish(sequence))
    refused(kv.errors.NotFoundError, lambda: pool.fork(sequence))
    again = begun(pool)
    assert again != sequence, "ids are never used twice"
    refused(kv.errors.NotFoundError, lambda: pool.fork(sequence))
    request = engine.add([1], max_new=1)
    engine.step()
    engine.commit([1])
    refused(kv.errors.NotFoundError, lambda: engine.abort(request))
    refused(kv.errors.NotFoundError, lambda: engine.fork(request))


def test_ids_of_32_bits_were_cut(pool):
    sequence = begun(pool)
    refused(INVALID, lambda: pool.decode(np.array([sequence % 2**31], np.int32), [1]), "int32", "64 bits")


@pytest.mark.parametrize("epoch", [0, -1, 5, 4, 2**32])
def test_an_epoch_that_does_not_move_forward(pool, engine, epoch):
    for what in (pool, engine):
        what.set_epoch(5)
        refused(INVALID, partial(what.set_epoch, epoch), epoch)
        assert what.epoch == 5


def test_a_request_that_is_longer_than_the_pool(engine):
    refused(kv.errors.RequestTooLongError, lambda: engine.add(list(range(50)), max_new=12), "16 blocks", "hold 15")
    poor = engine.add_tenant(quota=2)
    refused(kv.errors.RequestTooLongError, lambda: engine.add([1] * 8, max_new=2, tenant=poor), "3 blocks", "hold 2")
    for bad in (0, -1, 2**31, 2**32):
        refused(INVALID, partial(engine.add, [1], bad))
    refused(INVALID, lambda: engine.add([1], max_new=1, tenant=9), "tenant 9")
    refused(INVALID, lambda: engine.add([1], max_new=1, tenant=-1), "-1")
    refused(INVALID, lambda: engine.add([1], max_new=1, on_epoch="wait"), "wait")
    refused(INVALID, lambda: engine.add([1], max_new=1, media=[(0, 1, b"short")]), "32 bytes")
    assert engine.metrics()["sequences"] == 0


def test_a_request_that_fits_to_the_last_token(engine):
    # Its last token is sampled and never computed: 15 blocks of 4 hold all that is.
    engine.add(list(range(50)), max_new=11)
    refused(kv.errors.RequestTooLongError, lambda: engine.add(list(range(50)), max_new=12), "16 blocks", "hold 15")
    steps = 0
    while engine.metrics()["sequences"]:
        engine.commit([7] * len(engine.step()))
        steps += 1
    assert (engine.metrics()["finished"], steps) == (1, 11)


OUT = [
    ("group", 256, "from 0 to 255"),
    ("group", -1, "from 0 to 255"),
    ("priority", 256, "from 0 to 255"),
    ("tenant", 65536, "from 0 to 65535"),
    ("limit", 2**32, "from 0 to 2^32 - 1"),
    ("tokens", 10**30, "from 0 to 2^32 - 1"),
    ("computed", -1, "from 0 to 2^32 - 1"),
    ("epoch", 2**70, "from 0 to 2^32 - 1"),
    ("until", -1, "from 0 to 2^63 - 1"),
    ("until", 2**63, "from 0 to 2^63 - 1"),
    ("now", -(10**30), "from 0 to 2^63 - 1"),
    ("quota", -5, "from 0 to 2^32 - 1"),
    ("rank", 2**32, "from 0 to 2^32 - 1"),
    ("max_new", 2**32, "from 0 to 2^32 - 1"),
    ("request_priority", 2**31, "from -2^31 to 2^31 - 1"),
    ("request_priority", -(2**31) - 1, "from -2^31 to 2^31 - 1"),
]


@pytest.mark.parametrize(("name", "bad", "numbers"), OUT, ids=str)
def test_a_number_that_is_out_of_range(pool, engine, name, bad, numbers):
    sequence, request = begun(pool), engine.add([1, 2], max_new=2)
    calls = {
        "group": [
            partial(pool.table, sequence, bad),
            partial(engine.table, request, bad),
            partial(kv.Tables, group=bad),
        ],
        "priority": [partial(pool.retain, sequence, bad), partial(engine.retain, request, bad)],
        "tenant": [partial(pool.add, [1], tenant=bad), partial(engine.add, [1], 1, tenant=bad)],
        "limit": [partial(pool.lookup, sequence, bad), partial(pool.attach, sequence, bad)],
        "tokens": [partial(pool.grow, sequence, bad)],
        "computed": [partial(pool.advance, sequence, bad), partial(pool.rewind, sequence, bad)],
        "epoch": [partial(pool.set_epoch, bad), partial(engine.set_epoch, bad)],
        "until": [partial(pool.retain, sequence, 1, bad), partial(engine.retain, request, 1, bad)],
        "now": [partial(pool.set_time, bad), partial(engine.set_time, bad)],
        "quota": [partial(pool.add_tenant, bad), partial(engine.add_tenant, bad)],
        "rank": [partial(what.take_event_batch, 0.0, rank=bad) for what in (pool, engine)],
        "max_new": [partial(engine.add, [1], bad)],
        "request_priority": [partial(engine.add, [1], 1, priority=bad)],
    }
    for call in calls[name]:
        error = refused(kv.errors.OutOfRangeError, call, bad, numbers)
        expected = ("priority" if name == "request_priority" else name, None, bad, numbers)
        assert (error.name, error.index, error.value, error.numbers) == expected
        assert str(error) == f"`{expected[0]}` is {bad}, and numbers {numbers} were expected"
        assert isinstance(error, ValueError)


def test_a_sampled_token_that_is_beyond_64_bits(engine):
    engine.add([1, 2], max_new=2)
    engine.step()
    for bad in (10**30, -(2**63) - 1):
        error = refused(kv.errors.OutOfRangeError, partial(engine.commit, [bad]), "tokens[0]", bad)
        assert error.value == bad
    engine.commit([3])


def test_a_pool_that_is_short(pool):
    first = begun(pool, 40)
    second = pool.add([1] * 21)
    before = pool.stats()
    error = refused(kv.errors.NoFreeBlocksError, lambda: pool.prefill([second], [21]), "6 more blocks", "5 are free")
    assert isinstance(error, MemoryError)
    refused(kv.errors.NoFreeBlocksError, lambda: pool.grow(second, 21), "6 more blocks")
    assert pool.stats() == before
    pool.prefill([second], [20])
    refused(kv.errors.NoFreeBlocksError, lambda: pool.decode([first], [1]))
    assert pool.known(first) == 40
    poor = pool.add_tenant(quota=0)
    third = pool.add([1], tenant=poor)
    pool.detach(second)
    refused(kv.errors.NoFreeBlocksError, lambda: pool.prefill([third], [1]), f"tenant {poor}")


def test_steps_that_do_not_fit_together(pool):
    first, second = begun(pool), begun(pool, 8)
    waiting = pool.add([1, 2, 3])
    before = pool.stats()
    refused(INVALID, lambda: pool.decode([first, first], [1, 2]), "twice")
    refused(INVALID, lambda: pool.decode([first, second], [1]), "1 came")
    refused(INVALID, lambda: pool.decode([waiting], [1]), "0 are computed")
    refused(INVALID, lambda: pool.prefill([waiting], [0]))
    refused(INVALID, lambda: pool.prefill([waiting], [4]))
    refused(INVALID, lambda: pool.prefill([first], [6]))
    refused(INVALID, lambda: pool.prefill([waiting], [1, 2]))
    refused(kv.errors.OutOfRangeError, lambda: pool.prefill([waiting], [-1]), "ends[0]")
    refused(INVALID, lambda: pool.fill([first], [6, 7], kv.Tables()))
    refused(INVALID, lambda: pool.fill([first], [9], kv.Tables()), "room for 8")
    refused(INVALID, lambda: pool.fill([first], [0], kv.Tables()))
    refused(INVALID, lambda: pool.fill([first], [6], kv.Tables(), starts=[6]))
    refused(INVALID, lambda: pool.fill([first], [6], kv.Tables(group=1)), "group 1")
    refused(INVALID, lambda: pool.table(first, 1), "group 1")
    refused(INVALID, lambda: pool.attach(first), "computed tokens")
    refused(INVALID, lambda: pool.advance(waiting, 1))
    refused(INVALID, lambda: pool.rewind(first, 7))
    refused(INVALID, lambda: pool.grow(first, 5))
    refused(INVALID, lambda: pool.grow(first, -5), "-5")
    assert pool.stats() == before


def test_answers_that_do_not_fit_their_plan(engine):
    refused(INVALID, lambda: engine.commit([]), "no plan")
    refused(INVALID, engine.abandon, "no plan")
    request = engine.add([1, 2], max_new=3)
    engine.step()
    for call in [
        engine.step,
        lambda: engine.fork(request),
        lambda: engine.abort(request),
        lambda: engine.set_epoch(9),
        engine.sleep,
    ]:
        refused(INVALID, call, "in flight")
    refused(INVALID, lambda: engine.commit([]))
    refused(INVALID, lambda: engine.commit([1, 2]))
    refused(INVALID, lambda: engine.commit([1], counts=[0]))
    refused(INVALID, lambda: engine.commit([1], counts=[2]))
    refused(INVALID, lambda: engine.commit(np.array([[1, 2]])), "counts")
    refused(INVALID, lambda: engine.commit(np.array([[1, 2]]), counts=[2]), "2 came")
    refused(INVALID, lambda: engine.commit([1], finished=[]))
    refused(INVALID, lambda: engine.commit([1], finished=np.array([1.0])))
    refused(INVALID, lambda: engine.commit(np.ones((1, 1, 1), np.int32)))
    for bad in (-1, 2**32):
        error = refused(kv.errors.OutOfRangeError, partial(engine.commit, [bad]), "tokens[0]")
        assert error.value == bad
    assert engine.known(request) == 2
    engine.commit(np.array([4]))
    assert engine.known(request) == 3


def test_the_token_of_work_that_did_not_sample_is_not_looked_at():
    engine = kv.Scheduler(blocks=16, block_size=BLOCK, chunk=2)
    request = engine.add([1, 2, 3], max_new=1)
    engine.step()
    engine.commit([-1])
    assert engine.known(request) == 3


ARRAYS = {name: (value.ndim, value.dtype) for name, value in numpy_arrays(2, 2, 2, 2).items()}


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_that_cannot_be_tables(name):
    dimensions, dtype = ARRAYS[name]
    shape = (4,) * dimensions
    other = np.int32 if dtype == np.int64 else np.int64
    good = np.zeros(shape, dtype)
    frozen = good.copy()
    frozen.flags.writeable = False
    for bad, word in [
        (np.zeros(shape, other), np.dtype(other).name),
        (np.zeros(shape, np.float32), "format"),
        (np.zeros((*shape, 2), dtype), "shape"),
        (np.zeros(tuple(2 * n for n in shape), dtype)[(slice(None, None, 2),) * dimensions], "contiguous"),
        (frozen, "read-only"),
        (bytes(64), "read-only"),
        ([0] * 16, "list"),
        (7, "int"),
    ]:
        refused(INVALID, partial(kv.Tables, **{name: bad}), f"`{name}`", word)
    kv.Tables(**{name: good})


def test_arrays_that_share_memory_cannot_be_tables():
    memory = np.zeros(8, np.int32)
    refused(INVALID, lambda: kv.Tables(indptr=memory[:5], indices=memory[4:]), "`indptr` and `indices` share memory")
    kv.Tables(indptr=memory[:4], indices=memory[4:])


def test_tensors_that_cannot_be_tables():
    torch = pytest.importorskip("torch")
    refused(INVALID, lambda: kv.Tables(indptr=torch.zeros(4, dtype=torch.int64)), "int64")
    refused(INVALID, lambda: kv.Tables(indptr=torch.zeros(8, dtype=torch.int32)[::2]), "contiguous")
    refused(INVALID, lambda: kv.Tables(indptr=torch.zeros(4, dtype=torch.bfloat16)), "bfloat16")
    with pytest.raises(ValueError):
        kv.Tables(indptr=torch.zeros(4, dtype=torch.int32, device="meta"))


def test_tables_that_are_too_small_are_left_alone(pool):
    sequences = [begun(pool, 10), begun(pool, 3)]
    known = [pool.known(sequence) for sequence in sequences]
    before = pool.stats()
    for name, right in numpy_arrays(2, 3, 2, 4).items():
        small = right[:, :2].copy() if right.ndim == 2 else right[:-1].copy()
        untouched = np.full(64, -7, np.int64)
        tables = (
            kv.Tables(**{name: small}) if name == "slot_mapping" else kv.Tables(**{name: small}, slot_mapping=untouched)
        )
        refused(INVALID, partial(pool.decode, sequences, [1, 2], tables), f"`{name}`")
        assert (small == -7).all() and (untouched == -7).all()
    assert pool.stats() == before and [pool.known(sequence) for sequence in sequences] == known
    tables = kv.Tables(**numpy_arrays(2, 3, 2, 4))
    pool.decode(sequences, [1, 2], tables)


def test_a_plan_whose_tables_are_too_small_is_written_to_larger_ones(engine):
    engine.add(list(range(9)), max_new=2)
    refused(
        INVALID, lambda: engine.step(kv.Tables(slot_mapping=np.zeros(8, np.int64))), "`slot_mapping` has room for 8"
    )
    plan, slots = engine.plan, np.zeros(9, np.int64)
    engine.fill(kv.Tables(slot_mapping=slots))
    assert (plan.tokens, len(set(slots.tolist()))) == (9, 9)
    engine.commit([1])


@pytest.mark.parametrize("seed", range(40))
def test_any_calls_in_any_order_leave_a_cache_that_adds_up(seed):
    """Fuzz: every method with every kind of argument. What is refused is refused with an error of park's, and `audit` holds."""
    dice = random.Random(seed)
    pool = kv.Cache(
        blocks=dice.choice([3, 9, 40]),
        block_size=dice.choice([1, 4]),
        groups=dice.choice([None, [4], ["full", 6]]),
        caching=dice.random() < 0.8,
        eviction=dice.choice(["lru", "tiny_lfu", "retention"]),
        verify=dice.random() < 0.3,
    )
    ids = [0]
    some = lambda: dice.choice(ids[-6:] + [dice.choice(FOREIGN)])  # noqa: E731
    number = lambda: dice.choice([*range(14), 30, -1, 2**31, 2**32, 2**63])  # noqa: E731
    numbers = lambda: [dice.randrange(3) for _ in range(dice.choice([0, 1, 2, 9, 20]))]  # noqa: E731
    batch = lambda count: [some() for _ in range(count)]  # noqa: E731

    def whole(sequence):
        pool.attach(sequence)
        pool.prefill([sequence], [pool.known(sequence)])

    for _ in range(150):
        calls = [
            lambda: ids.append(pool.add(numbers(), tenant=dice.choice([0, 0, 0, 1, -1]))),
            lambda: ids.append(pool.add(numbers())),
            lambda: ids.append(pool.fork(some())),
            lambda: pool.extend(some(), numbers()),
            lambda: pool.finish(some()),
            lambda: pool.detach(some()),
            lambda: pool.attach(some(), number()),
            lambda: pool.prefill(batch(2), [number(), number()]),
            lambda: whole(some()),
            lambda: pool.decode(batch(3), [number(), number(), number()], kv.Tables(**numpy_arrays(2, 3, 2, 4))),
            lambda: pool.decode(batch(2), [1, 1], kv.Tables(**numpy_arrays(4, 64, 4, 256))),
            lambda: pool.decode(batch(1), [1]),
            lambda: pool.grow(some(), number()),
            lambda: pool.advance(some(), number()),
            lambda: pool.rewind(some(), number()),
            lambda: pool.trim(some()),
            lambda: pool.renew(some()),
            lambda: pool.retain(some(), dice.randrange(256), number()),
            lambda: pool.set_time(number()),
            lambda: pool.set_epoch(pool.epoch + dice.randrange(-1, 2)),
            lambda: pool.settle(),
            lambda: pool.reset(),
            lambda: pool.add_tenant(number()),
        ]
        try:
            dice.choice(calls)()
        except exceptions.RayError as error:
            assert not isinstance(error, exceptions.RaySystemError), error
        pool.audit()
    for sequence in ids:
        try:
            pool.finish(sequence)
        except kv.errors.NotFoundError:
            pass
    pool.settle()
    pool.audit()
    assert pool.reset() is True
