"""The pool behind `park.interop.vllm`, without vLLM: random traces beside a plain model, objects of blocks, and what is refused.

The same pool runs vLLM's own tests, and traces beside vLLM's pool, in tests/conformance/vllm.
"""

import gc
import random
import subprocess
import sys
import weakref

import pytest
from named_pool_model import Model
from park._park import NamedBlock, NamedPool

SECRET = bytes(32)


class Owner:
    """What the Python pool is to the native one."""

    def __init__(self, blocks):
        self.native = NamedPool(blocks, SECRET)
        self.blocks = self.native.adopt(self)


def numbers(blocks):
    return [block.block_id for block in blocks]


class Traced:
    """A pool and its model, to which the same is done."""

    def __init__(self, seed, blocks):
        self.random = random.Random(seed)
        self.owner = Owner(blocks)
        self.native, self.all = self.owner.native, self.owner.blocks
        self.model = Model(blocks)
        self.size = blocks

    def objects(self, ids):
        return [self.all[at] for at in ids]

    def used(self):
        """Some blocks in use, as a request lists them: maybe one twice if it has the references, maybe the null block."""
        some = [at for at, count in enumerate(self.model.references) for _ in range(count)]
        self.random.shuffle(some)
        return some[: self.random.randint(0, 6)] + [0] * (self.random.random() < 0.2)

    def step(self):
        choose, model, native = self.random, self.model, self.native
        what = choose.choices(
            ["allocate", "touch", "release", "release_last", "name", "cache", "forget", "reset"],
            [6, 4, 7, 1, 4, 6, 1, 1],
        )[0]
        if what == "allocate":
            count = choose.randint(0, min(5, len(model.queue)))
            taken, lost = native.allocate(count, self.all)
            assert (numbers(taken), lost) == model.allocate(count)
        elif what == "touch":
            ids = choose.choices(range(self.size), k=choose.randint(0, 4))
            native.touch(self.objects(ids))
            model.touch(ids)
        elif what in ("release", "release_last"):
            ids = self.used()
            assert not getattr(native, what)(self.objects(ids))
            getattr(model, what)(ids)
        elif what == "name" and any(model.references):
            block = choose.choice([at for at, count in enumerate(model.references) if count])
            name, tokens = b"name%d" % choose.randrange(5), choose.choice([None, 4, 8])
            assert native.name(self.all[block], name, tokens) == model.name(block, name, tokens)
        elif what == "cache":
            self.cache()
        elif what == "forget":
            block = choose.randrange(1, self.size)
            assert native.forget(self.all[block]) == model.forget(block)
        elif what == "reset":
            assert native.reset() == model.reset()

    def cache(self):
        choose, model = self.random, self.model
        done, size, group = choose.randrange(3), 4, choose.randrange(2)
        ids = list(dict.fromkeys(self.used()))
        # A request caches a block only for more tokens than it is cached for; no more is known of a block without a length.
        ids = [block for block in ids if not model.names(block) or model.tokens.get(block, 99) < (done + 1) * size]
        hashes = [b"hash%d" % choose.randrange(8) for _ in ids]
        mask = choose.choice([None, [choose.random() < 0.7 for _ in ids]])
        lost = self.native.cache(self.objects(ids), hashes, mask, group, size, done)
        assert lost == model.cache(ids, hashes, mask, group, size, done)

    def compare(self):
        model, native = self.model, self.native
        assert native.free_order() == model.queue
        assert native.free == len(model.queue)
        for at, block in enumerate(self.all):
            names = model.names(at)
            assert (block.ref_cnt, block.block_hash) == (model.references[at], names[0] if names else None)
            assert block.block_hash_num_tokens == model.tokens.get(at)
            assert native.more_names().get(at, []) == names[1:]
        for name in {name for name, _ in model.index} | {b"nobody"}:
            assert native.first(name) == model.find(name)
        held = {}
        for name, block in model.index:
            held.setdefault(name, []).append(block)
        assert list(native.holders().items()) == list(held.items())
        native.audit(model.references)


@pytest.mark.parametrize("seed", range(12))
def test_a_random_trace_agrees_with_the_model(seed):
    traced = Traced(seed, blocks=[2, 5, 9, 17][seed % 4])
    for _ in range(250):
        traced.step()
        traced.compare()


def test_a_hit_is_one_block_of_each_group():
    pool = Owner(6)
    (a, b), _ = pool.native.allocate(2, pool.blocks)
    assert pool.native.cache([a], [b"h" * 32], None, 0, 16, 0) == []
    assert pool.native.find(b"h" * 32, [0, 1], pool.blocks) is None
    pool.native.cache([b], [b"h" * 32], None, 1, 16, 0)
    assert pool.native.find(b"h" * 32, [1, 0], pool.blocks) == [b, a]
    assert pool.native.find(b"h" * 31, [0], pool.blocks) is None


def test_a_block_that_holds_more_now_is_found_by_that_only():
    pool = Owner(3)
    ((block), *_), _ = pool.native.allocate(1, pool.blocks)
    pool.native.name(block, b"half" + bytes(4), 8)
    pool.native.name(block, b"more" + bytes(4), 12)
    assert pool.native.cache([block], [b"full"], None, 0, 16, 0) == [b"half" + bytes(4), b"more" + bytes(4)]
    assert (block.block_hash, block.block_hash_num_tokens) == (b"full" + bytes(4), 16)


def test_what_is_refused_changes_nothing():
    pool, other = Owner(5), Owner(5)
    native = pool.native
    (a, b), _ = native.allocate(2, pool.blocks)
    native.cache([a], [b"a"], None, 0, 4, 1)
    free = pool.blocks[4]

    def refused(error, text, call):
        with pytest.raises(error, match=text):
            call()
        assert native.free_order() == [3, 4]
        native.audit([0, 1, 1, 0, 0])
        assert native.holders() == {b"a" + bytes(4): [1]}

    refused(Exception, "3 blocks were asked for, and 2 are free", lambda: native.allocate(3, pool.blocks))
    refused(ValueError, "released once more", lambda: native.release([a, b, b]))
    refused(ValueError, "released once more", lambda: native.release_last([b, free]))
    refused(TypeError, "a block of this pool was expected", lambda: native.touch([a, other.blocks[1]]))
    refused(TypeError, "a block of this pool was expected", lambda: native.touch([1]))
    refused(ValueError, "nobody uses it", lambda: native.cache([b, free], [b"b", b"c"], None, 0, 4, 0))
    refused(ValueError, "for as many already", lambda: native.cache([b, a], [b"b", b"c"], None, 0, 4, 0))
    refused(ValueError, "2 blocks came with 1 hashes", lambda: native.cache([a, b], [b"b"], None, 0, 4, 0))
    refused(ValueError, "a mask of 1", lambda: native.cache([a, b], [b"b", b"c"], [True], 0, 4, 0))
    refused(ValueError, "at most 35 bytes", lambda: native.find(bytes(61), [0], pool.blocks))
    refused(ValueError, "from 1 to 39 bytes", lambda: native.name(b, b"", None))
    refused(ValueError, "null block", lambda: native.name(pool.blocks[0], b"x", None))
    refused(ValueError, "has a hash already", lambda: a.set_block_hash(b"x"))
    refused(ValueError, "cannot be set to 1", lambda: setattr(free, "ref_cnt", 1))
    refused(ValueError, "cannot be set to 0", lambda: setattr(a, "ref_cnt", 0))
    refused(OverflowError, "out of range", lambda: setattr(a, "ref_cnt", -1))
    for blocks in (0, 1 << 31):
        with pytest.raises(ValueError, match="were asked for"):
            NamedPool(blocks, SECRET)
    with pytest.raises((ValueError, TypeError)):
        NamedPool(4, b"short")


def test_blocks_of_other_pools_are_given_back_to_the_caller():
    pool, other = Owner(3), Owner(3)
    (mine,), _ = pool.native.allocate(1, pool.blocks)
    (theirs,), _ = other.native.allocate(1, other.blocks)
    assert pool.native.release([theirs, mine]) == [theirs]
    assert (mine.ref_cnt, theirs.ref_cnt) == (0, 1)
    assert theirs.pool is other


def test_references_of_a_used_block_can_be_set():
    pool = Owner(3)
    (block,), _ = pool.native.allocate(1, pool.blocks)
    block.ref_cnt += 2
    assert block.ref_cnt == 3
    block.ref_cnt -= 1
    pool.native.audit([0, 2, 0])


def test_a_pool_goes_with_its_owner():
    pool = Owner(4)
    block, gone = pool.blocks[1], weakref.ref(pool)
    del pool
    gc.collect()
    assert gone() is None
    assert isinstance(block, NamedBlock)
    assert (block.pool, block.block_id, block.ref_cnt) == (None, 1, 0)


def test_importing_the_plug_in_imports_no_vllm():
    code = "import sys, park.interop.vllm as v; assert v.TESTED_WITH; sys.exit(any(m.split('.')[0] == 'vllm' for m in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_the_plug_in_does_nothing_unless_it_is_named(monkeypatch):
    import park.interop.vllm

    monkeypatch.delenv("VLLM_PLUGINS", raising=False)
    park.interop.vllm.plugin()
    monkeypatch.setenv("VLLM_PLUGINS", "other,parks")
    park.interop.vllm.plugin()
    assert "park.interop.vllm.block_pool" not in sys.modules


def test_drift_names_what_is_gone_new_and_changed():
    from park.interop.vllm import surface

    recorded = surface.recorded()
    assert recorded["BlockPool.get_new_blocks"] == "(self, num_blocks)"
    assert surface.drift(recorded, dict(recorded)) == []
    found = dict(recorded)
    del found["BlockPool.touch"]
    found["BlockPool.get_new_blocks"] = "(self, num_blocks, tenant)"
    found["BlockPool.lend"] = "(self)"
    assert surface.drift(recorded, found) == [
        "BlockPool.get_new_blocks is (self, num_blocks, tenant), and was (self, num_blocks)",
        "BlockPool.lend is new: (self)",
        f"BlockPool.touch is gone: it was {recorded['BlockPool.touch']}",
    ]


def test_this_vllm_has_the_recorded_signatures():
    pytest.importorskip("vllm", reason="vLLM is not installed; tests/conformance/vllm/run.py checks it")
    from park.interop.vllm import surface

    surface.check()
