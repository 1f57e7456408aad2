"""park.interop.vllm.connector in engines without a model (engine.py): vLLM's scheduler and connector, park's tier, real bytes. Every key and
value that a request attends to is compared with what a model would have computed. Run by run.py before vLLM's own tests."""

import json
import os
import pathlib
import random
import subprocess
import sys

import park
import pytest
from engine import BLOCK, BLOCK_BYTES, PARK, Engine, failed
from models import write
from park.interop.vllm.tier import Directory

#: Tokens of a prompt of six whole blocks and some.
LONG = 6 * BLOCK + 5


@pytest.fixture(scope="module", autouse=True)
def session(tmp_path_factory):
    """A session of this process, in a folder with the configurations of models."""
    folder = tmp_path_factory.mktemp("work")
    write(folder)
    before = pathlib.Path.cwd()
    os.chdir(folder)
    park.init(num_cpus=1, object_store_memory=64 << 20)
    yield
    park.shutdown()
    os.chdir(before)


@pytest.fixture
def directory():
    return Directory(room=1000)


@pytest.fixture
def engines():
    """Makes engines, which end with the test."""
    made = []

    def make(directory, chunks=64, **more):
        options = more.pop("options", {})
        engine = Engine({**directory.options, "cpu_bytes_to_use": chunks * BLOCK_BYTES, **options}, **more)
        made.append(engine)
        return engine

    yield make
    for engine in made:
        engine.close()


def prompt(seed, length=LONG):
    return [random.Random(seed).randrange(50_000) for _ in range(length)]


def forget_device(engine):
    """The engine's own prefix cache is empty from now on: what is found is found by the connector."""
    assert engine.scheduler.reset_prefix_cache()


@pytest.mark.parametrize("groups", [(None,), (None, 3 * BLOCK)], ids=["full", "full and window"])
@pytest.mark.parametrize("per_chunk", [1, 2])
def test_an_engine_reuses_what_another_one_computed(directory, engines, groups, per_chunk):
    options = {"block_size": BLOCK * per_chunk} if per_chunk > 1 else {}
    first, second = (engines(directory, groups=groups, options=options) for _ in range(2))
    tokens = prompt(1)
    assert first.run(tokens) == (LONG, True)
    assert second.run(tokens) == (LONG - 6 * BLOCK, True)
    computed, right = second.run(tokens[: 4 * BLOCK] + prompt(2))
    assert right and computed >= LONG


def test_part_of_a_chunk_is_loaded_behind_what_the_device_has(directory, engines):
    options = {"block_size": BLOCK * 4}
    first, second = engines(directory, options=options), engines(directory, options=options)
    tokens = prompt(3, 8 * BLOCK + 1)
    assert first.run(tokens) == (len(tokens), True)
    assert second.run(tokens[: BLOCK * 2 + 1]) == (BLOCK * 2 + 1, True)
    assert second.run(tokens) == (1, True), "two blocks on the device, six of two chunks from the tier"


def test_another_process_reuses_and_keeps_what_an_ended_one_computed(directory, tmp_path):
    options = {**directory.options, "cpu_bytes_to_use": 64 * BLOCK_BYTES}
    disk = {"park_disk": str(tmp_path / "kv"), "park_disk_bytes": 8 << 20}
    tokens, other = prompt(4), prompt(5)
    # They start together, as that takes its time.
    started = [Process(options | disk), Process(options), Process(options)]
    with started[0] as first, started[1] as second, started[2] as third:
        assert first.run(tokens) == {"computed": LONG, "right": True}
        assert first.run(other) == {"computed": LONG, "right": True}
        assert second.run(tokens) == {"computed": 5, "right": True}
        first.end()
        assert second.run(other) == {"computed": LONG, "right": True}, "nobody kept it"
        assert third.run(tokens) == {"computed": 5, "right": True}, "the second one keeps what it loaded"
    with Process(options | disk) as again:
        assert again.run(tokens) == {"computed": 5, "right": True}, "from disk"


def test_what_was_damaged_on_disk_is_computed_again(directory, engines, tmp_path):
    options = {"park_disk": str(tmp_path / "kv"), "park_disk_bytes": 8 << 20}
    first = engines(directory, options=options)
    tokens = prompt(6)
    assert first.run(tokens) == (LONG, True)
    third = first.parts(tokens)[2]
    first.close()
    (file,) = (tmp_path / "kv").glob("*.seg")
    content = bytearray(file.read_bytes())
    # A record's key is in its head of 64 bytes, which the chunk follows.
    content[content.index(third) - 16 + 64 + 1000] ^= 1
    file.write_bytes(content)
    second = engines(directory, options=options)
    assert second.run(tokens) == (LONG - 2 * BLOCK, True)
    assert second.manager._tier.chunks.stats()["disk_corrupt"] == 1
    forget_device(second)
    assert second.run(tokens) == (5, True), "it was stored again"


@pytest.mark.parametrize("groups", [(None,), (None, 3 * BLOCK)], ids=["full", "full and window"])
def test_a_chunk_that_cannot_be_loaded_is_computed_and_stored_again(directory, engines, groups):
    engine = engines(directory, groups=groups)
    tokens = prompt(7)
    assert engine.run(tokens) == (LONG, True)
    forget_device(engine)
    lose(engine, 2)
    computed, right = engine.run(tokens)
    assert right
    assert computed == (LONG - 2 * BLOCK if len(groups) == 1 else LONG)
    assert bool(engine.reported) == (len(groups) == 1)
    forget_device(engine)
    assert engine.run(tokens) == (5, True)


def test_a_load_within_a_step_that_fails_is_computed(directory, engines):
    engine = engines(directory, options={"sync_load_budget_bytes": 1 << 20})
    tokens = prompt(8)
    assert engine.run(tokens) == (LONG, True)
    forget_device(engine)
    assert engine.run(tokens) == (5, True)
    forget_device(engine)
    lose(engine, 3)
    computed, _ = engine.run(tokens)
    # What it computed in the step whose load failed was thrown away with it.
    assert computed == 5 + LONG - 3 * BLOCK
    assert engine.reported


def test_by_the_policy_fail_a_load_that_fails_ends_its_request(directory, engines):
    engine = engines(directory, policy="fail")
    tokens = prompt(9)
    assert engine.run(tokens) == (LONG, True)
    forget_device(engine)
    lose(engine, 2)
    name, ended = engine.add(tokens), []
    engine.wrong = []
    while engine.busy():
        ended += failed(engine.step())
    assert ended == [name]


def test_a_store_that_fails_is_a_miss_and_the_engine_goes_on(directory, engines):
    engine = engines(directory)
    tokens = prompt(10)
    hogs = fill(directory)
    assert engine.run(tokens) == (LONG, True)
    forget_device(engine)
    assert engine.run(tokens) == (LONG, True)
    assert engine.manager._table.writing() == 0
    hogs.clear()
    forget_device(engine)
    assert engine.run(tokens) == (LONG, True)
    forget_device(engine)
    assert engine.run(tokens) == (5, True)


def test_a_tier_holds_as_many_chunks_as_it_was_given(directory, engines):
    engine = engines(directory, chunks=8)
    for seed in range(20, 24):
        assert engine.run(prompt(seed)) == (LONG, True)
    kept = [held for held in engine.worker.connector_worker.worker._kept if held is not None]
    assert len(kept) == 8
    other = engines(directory, chunks=8)
    assert other.run(prompt(23)) == (5, True)
    assert other.run(prompt(20)) == (LONG, True)


def test_what_has_no_slot_is_loaded_and_not_kept(directory, engines):
    first, second = engines(directory), engines(directory, chunks=4)
    tokens = prompt(11)
    assert first.run(tokens) == (LONG, True)
    assert second.run(tokens) == (5, True)
    assert second.manager._table.used() == 0


def test_a_reset_hides_everything_from_before(directory, engines, tmp_path):
    options = {"park_disk": str(tmp_path / "kv"), "park_disk_bytes": 8 << 20}
    engine, other = engines(directory, options=options), engines(directory)
    tokens = prompt(12)
    assert engine.run(tokens) == (LONG, True)
    assert engine.scheduler.reset_prefix_cache(reset_connector=True)
    assert engine.run(tokens) == (LONG, True), "neither memory nor disk"
    forget_device(engine)
    assert engine.run(tokens) == (5, True)
    assert other.run(tokens) == (LONG, True), "what the first one stored since is its own"


def test_arc_evicts_here_as_well(directory, engines):
    engine = engines(directory, chunks=12, options={"eviction_policy": "arc"})
    often = prompt(13)
    assert engine.run(often) == (LONG, True)
    forget_device(engine)
    assert engine.run(often) == (5, True)
    for seed in range(30, 34):
        assert engine.run(prompt(seed)) == (LONG, True)
    forget_device(engine)
    assert engine.run(often) == (5, True), "chunks that were wanted again stay"


def test_vllms_own_connector_works_with_the_spec(directory, engines):
    plain = {"kv_connector": "OffloadingConnector"}
    first, second = engines(directory, connector=plain), engines(directory, connector=PARK)
    tokens = prompt(14)
    assert first.run(tokens) == (LONG, True)
    assert second.run(tokens) == (5, True)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"park_session": None}, "lacks park_session: .*Directory"),
        ({"park_directory": ""}, "lacks park_directory"),
        ({"park_session": "elsewhere"}, "is to share that of elsewhere"),
        ({"park_disk": "/tmp/kv"}, "go together"),
        ({"cpu_bytes_to_use": 100}, "cpu_bytes_to_use is 100, and a chunk takes"),
        ({"eviction_policy": "random"}, "'lru' or 'arc', not by 'random'"),
    ],
)
def test_what_cannot_be_is_refused_by_name(directory, engines, change, message):
    with pytest.raises((ValueError, RuntimeError, NotImplementedError), match=message):
        engines(directory, options=change)


def test_loads_within_a_step_are_refused_with_several_groups(directory, engines):
    with pytest.raises(ValueError, match="2 groups of layers"):
        engines(directory, groups=(None, 3 * BLOCK), options={"sync_load_budget_bytes": 1 << 20})


def test_engines_of_other_models_or_layouts_do_not_share(directory, engines):
    first = engines(directory)
    second = engines(directory, groups=(None, 3 * BLOCK))
    tokens = prompt(15)
    assert first.run(tokens) == (LONG, True)
    assert second.run(tokens) == (LONG, True)


def lose(engine, nth):
    """The worker does not have the nth chunk of its first prompt any more, and nobody else has."""
    engine.worker.connector_worker.worker._kept[nth] = None


def fill(directory):
    """What takes all memory of the store, as long as it is kept."""
    hogs = []
    for size in (1 << 20, 1 << 16, 1 << 12):
        with pytest.raises(park.exceptions.ObjectStoreFullError):
            while True:
                hogs.append(directory._chunks.put(os.urandom(16), [bytes(size)]))
    return hogs


class Process:
    """An engine in a process of its own."""

    def __init__(self, options):
        engine = pathlib.Path(__file__).with_name("engine.py")
        self.process = subprocess.Popen(
            [sys.executable, str(engine), json.dumps(options)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self):
        assert self.process.stdout.readline() == "ready\n"
        return self

    def run(self, tokens):
        self.process.stdin.write(json.dumps(tokens) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def end(self):
        if not self.process.stdin.closed:
            self.process.stdin.close()
        assert self.process.wait(120) == 0

    def __exit__(self, kind, *_):
        if kind is not None:
            self.process.kill()
        self.process.stdin.close()
        self.process.wait(120)
        self.process.stdout.close()
