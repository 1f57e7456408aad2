"""The trace of differential.py: two managers, what is done to them, and what is compared. Needs vLLM and park importable."""

import collections
import random

import park.interop.vllm
import torch
from vllm.multimodal.inputs import MultiModalFeatureSpec, MultiModalKwargsItem, PlaceholderRange
from vllm.sampling_params import SamplingParams
from vllm.utils.hashing import sha256
from vllm.v1.core import kv_cache_coordinator
from vllm.v1.core.block_pool import BlockPool as TheirPool
from vllm.v1.core.kv_cache_manager import KVCacheManager
from vllm.v1.core.kv_cache_utils import get_request_block_hasher, init_none_hash
from vllm.v1.kv_cache_interface import (
    ChunkedLocalAttentionSpec,
    FullAttentionSpec,
    KVCacheConfig,
    KVCacheGroupSpec,
    MambaSpec,
    SlidingWindowSpec,
)
from vllm.v1.request import Request, RequestStatus

ParkPool = park.interop.vllm.BlockPool
RAISED = "raised"


class Ordered(dict):
    """A set that keeps the order in which its members came, as far as vLLM's pool uses one."""

    def add(self, member):
        self[member] = None


class OrderedSets(dict):
    """vLLM's further hashes of blocks, with sets that keep their order."""

    def setdefault(self, key, _default):
        return super().setdefault(key, Ordered())


class ReferencePool(TheirPool):
    """vLLM's pool; see differential.py for the one thing that differs."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.cached_block_hashes_by_block = OrderedSets()


class Side:
    """One manager and its requests."""

    def __init__(self, pool_class, options):
        # The coordinator makes the pool, by this name.
        kv_cache_coordinator.BlockPool = pool_class
        hash_size = options.hash_size or options.block_size
        config = KVCacheConfig(
            num_blocks=options.blocks,
            kv_cache_tensors=[],
            kv_cache_groups=[
                KVCacheGroupSpec([f"layer{at}"], spec(kind, options))
                for at, kind in enumerate(options.groups.split(","))
            ],
        )
        self.manager = KVCacheManager(
            config,
            max_model_len=8192,
            scheduler_block_size=options.block_size,
            hash_block_size=hash_size,
            enable_caching=not options.no_caching,
            use_eagle=options.eagle,
            enable_kv_cache_events=not options.no_events,
        )
        self.pool = self.manager.block_pool
        assert type(self.pool) is pool_class
        self.hasher = get_request_block_hasher(hash_size, sha256)
        self.requests = {}
        self.pins = []
        self.reused = []

    def blocks_of(self, name, group):
        """The blocks of a request that are not the null block."""
        return [block for block in self.manager.get_blocks(name).blocks[group] if not block.is_null]

    def snapshot(self):
        """All there is to compare."""
        pool = self.pool
        running = {name: self.manager.get_block_ids(name) for name in self.requests}
        more = {at: list(names) for at, names in pool.cached_block_hashes_by_block.items()}
        if isinstance(pool, ParkPool):
            more = pool.native.more_names()
        blocks = [(block.ref_cnt, block.block_hash, block.block_hash_num_tokens) for block in pool.blocks]
        names = sorted({name for _, name, _ in blocks if name} | {name for names in more.values() for name in names})
        found = {name: pool.cached_block_hash_to_block.get_one_block(name) for name in names}
        return {
            "tables": running,
            "free blocks in order": [block.block_id for block in pool.free_block_queue.get_all_free_blocks()],
            "references and hashes": blocks,
            "further hashes": more,
            "index": {name: block and block.block_id for name, block in found.items()},
            "hashes": len(pool.cached_block_hash_to_block),
            "usage": self.manager.usage,
            "free": pool.get_num_free_blocks(),
            "reused": self.reused,
        }


def spec(kind, options):
    """The layers of a group, by the word for them."""
    name, _, tokens = kind.partition(":")
    shape = {"block_size": options.block_size, "num_kv_heads": 1, "head_size": 1, "dtype": torch.float32}
    if name == "full":
        return FullAttentionSpec(**shape)
    if name == "window":
        return SlidingWindowSpec(**shape, sliding_window=int(tokens))
    if name == "chunked":
        return ChunkedLocalAttentionSpec(**shape, attention_chunk_size=int(tokens))
    if name == "mamba":
        return MambaSpec(
            block_size=options.block_size, shapes=((1, 1),), dtypes=(torch.float32,), mamba_cache_mode="align"
        )
    raise SystemExit(f"a group is full, window:TOKENS, chunked:TOKENS or mamba, not {kind!r}")


class Trace:
    """A seeded trace on both sides."""

    def __init__(self, options, seed, mutation=None):
        init_none_hash(sha256)
        self.options = options
        self.random = random.Random(seed)
        mutant = MUTATIONS[mutation](ParkPool) if mutation else ParkPool
        self.sides = [Side(ReferencePool, options), Side(mutant, options)]
        self.mismatches = []
        self.counts = collections.Counter()
        self.running, self.waiting = [], []
        self.made = self.step = 0
        tokens = self.random
        longest = max(options.block_size, options.prompt * 3 // 4)
        self.prefixes = [
            [tokens.randrange(1000) for _ in range(tokens.randint(1, longest))] for _ in range(options.prefixes)
        ]

    def run(self):
        """All steps, or up to the first mismatch."""
        while self.step < self.options.steps:
            self.one_step()
            self.step += 1
            if self.mismatches and not self.options.go_on:
                return

    def summary(self):
        """What happened how often."""
        counts = ", ".join(f"{number} {what}" for what, number in sorted(self.counts.items()))
        return f"{self.step} steps, {counts}, {len(self.mismatches)} mismatches"

    # --- doing the same on both sides ---------------------------------------------------------------------------------------------

    def both(self, what, function, show=lambda value: value):
        """Runs `function` on each side, compares what `show` makes of the results, and returns them; `RAISED` if both raised."""
        results, shown = [], []
        for side in self.sides:
            try:
                results.append(function(side))
                shown.append(show(results[-1]))
            except Exception as error:
                results.append(RAISED)
                shown.append((RAISED, error))
        raised = [isinstance(value, tuple) and value[:1] == (RAISED,) for value in shown]
        if all(raised):
            self.counts[f"{what} raised alike"] += 1
            return RAISED
        if any(raised) or shown[0] != shown[1]:
            self.mismatches.append(f"step {self.step}: {what}: vLLM {shown[0]!r:.400}; park {shown[1]!r:.400}")
        return results

    def happens(self, what):
        """Whether something with a rate happens in this step."""
        return self.random.random() < getattr(self.options, what)

    # --- a step -------------------------------------------------------------------------------------------------------------------

    def one_step(self):
        self.both("step", lambda side: side.manager.new_step_starts())
        if self.happens("arrive"):
            self.arrive()
        for what in ("abort", "preempt", "fork", "pin", "unpin", "evict", "partial", "move"):
            if self.happens(what):
                getattr(self, what)()
        self.advance_running()
        self.admit_waiting()
        if self.happens("drain"):
            self.drain()
        elif self.happens("reset"):
            self.reset()
        self.settle()

    def settle(self):
        """The end of a step: copies are done, and everything is compared."""
        pairs = self.both(
            "copies",
            lambda side: side.manager.take_kv_cache_block_copies(),
            lambda value: (value[0], [block.block_id for block in value[1]]),
        )
        if pairs is not RAISED and any(pair[1] for pair in pairs):
            self.counts["copies"] += len(pairs[0][1])
            retained = {id(side): pair[1] for side, pair in zip(self.sides, pairs)}
            self.both("end of copies", lambda side: side.pool.free_blocks(retained[id(side)]))
        events = self.both(
            "events", lambda side: side.manager.take_events(), lambda value: [repr(event) for event in value]
        )
        if events is not RAISED:
            self.counts["events"] += len(events[0])
        left, right = (side.snapshot() for side in self.sides)
        for what in left:
            if left[what] != right[what]:
                self.mismatches.append(f"step {self.step}: {what}: vLLM {left[what]!r:.600}; park {right[what]!r:.600}")

    # --- requests -----------------------------------------------------------------------------------------------------------------

    def arrive(self):
        choose = self.random
        tokens = list(choose.choice(self.prefixes))[: choose.randint(1, self.options.prompt)]
        tokens += [choose.randrange(1000) for _ in range(choose.randint(1, max(1, self.options.prompt // 3)))]
        image = None
        if choose.random() < self.options.images and len(tokens) > 4:
            length = choose.randint(1, min(len(tokens), 2 * self.options.block_size))
            image = (choose.randint(0, len(tokens) - length), length, f"image{choose.randrange(3)}")
        salt = choose.choice([None, *(f"salt{at}" for at in range(self.options.salts))])
        self.request(tokens[: self.options.prompt], salt, image)

    def fork(self):
        if not self.running:
            return
        self.counts["forks"] += 1
        parent = self.sides[0].requests[self.random.choice(self.running)]
        image = None
        for feature in parent.mm_features or []:
            image = (feature.mm_position.offset, feature.mm_position.length, feature.identifier)
        self.request(list(parent.all_token_ids), parent.cache_salt, image)

    def request(self, tokens, salt, image):
        """A new request, which waits."""
        self.made += 1
        name = f"r{self.made}"
        output = self.random.randint(1, self.options.output)
        full_report = self.random.random() < self.options.full_report

        def make(side):
            features = None
            if image:
                position = PlaceholderRange(offset=image[0], length=image[1])
                features = [
                    MultiModalFeatureSpec(
                        data=MultiModalKwargsItem.dummy(), mm_position=position, identifier=image[2], modality="image"
                    )
                ]
            sampling = SamplingParams(max_tokens=output)
            sampling.update_from_generation_config({}, eos_token_id=100)
            made = Request(
                request_id=name,
                prompt_token_ids=list(tokens),
                mm_features=features,
                sampling_params=sampling,
                pooling_params=None,
                cache_salt=salt,
                block_hasher=side.hasher,
            )
            if full_report:
                made.kv_cache_report_mode = "full"
            side.requests[name] = made
            return list(made.block_hashes)

        if self.both("hashes of a request", make) is not RAISED:
            self.waiting.append(name)

    def advance_running(self):
        """Every running request computes some tokens; who finds no block preempts the last one."""
        for name in list(self.running):
            while name in self.running and self.running:
                request = self.sides[0].requests[name]
                count = self.chunk(request.num_tokens - request.num_computed_tokens, request.num_computed_tokens)
                made = self.both(
                    "allocation",
                    lambda side, name=name, count=count: side.manager.allocate_slots(
                        side.requests[name], count, num_lookahead_tokens=self.options.lookahead
                    ),
                    lambda value: value and value.get_block_ids(),
                )
                if made is RAISED:
                    self.end(name, "raised")
                elif made[0] is None:
                    self.counts["full"] += 1
                    self.put_back(self.running[-1])
                else:
                    self.computed(name, count)
                    break

    def admit_waiting(self):
        """Requests that wait are admitted in order, as long as they fit."""
        for name in list(self.waiting):
            if len(self.running) >= self.options.running:
                return
            found = self.both(
                "hit",
                lambda side, name=name: side.manager.get_computed_blocks(side.requests[name]),
                lambda value: (value[0].get_block_ids(), *value[1:]),
            )
            if found is RAISED:
                self.end(name, "raised")
                continue
            hit = found[0][1]
            count = self.chunk(self.sides[0].requests[name].num_tokens - hit, hit)
            blocks = {id(side): result[0] for side, result in zip(self.sides, found)}
            made = self.both(
                "admission",
                lambda side, name=name, count=count, hit=hit, blocks=blocks: side.manager.allocate_slots(
                    side.requests[name], count, hit, blocks[id(side)], num_lookahead_tokens=self.options.lookahead
                ),
                lambda value: value and value.get_block_ids(),
            )
            if made is RAISED:
                self.end(name, "raised")
                continue
            if made[0] is None:
                self.counts["not admitted"] += 1
                if not self.running:
                    self.end(name, "never fits")
                return
            self.counts["admitted"] += 1
            self.counts["hit tokens"] += hit
            self.waiting.remove(name)
            self.running.append(name)
            for side in self.sides:
                side.requests[name].num_computed_tokens = hit
                side.requests[name].status = RequestStatus.RUNNING
            self.computed(name, count)

    def chunk(self, left, computed):
        """How many of the tokens that are left a step computes: for state-space layers, to the end of a block."""
        count = max(1, min(left, self.random.randint(1, self.options.chunk)))
        if "mamba" in self.options.groups and count < left:
            size = self.options.block_size
            end = max((computed + count) // size, computed // size + 1) * size
            count = min(left, end - computed)
        return count

    def computed(self, name, count):
        """The tokens are computed; after the last one the request samples, and maybe ends."""
        token = self.random.randrange(1000)
        for side in self.sides:
            request = side.requests[name]
            request.num_computed_tokens += count
            if request.num_computed_tokens >= request.num_tokens:
                request.append_output_token_ids(token)
        request = self.sides[0].requests[name]
        if request.num_output_tokens >= request.max_tokens:
            self.end(name, "finished")

    def end(self, name, how):
        self.counts[how] += 1
        self.both("free", lambda side: side.manager.free(side.requests.pop(name)))
        for names in (self.running, self.waiting):
            if name in names:
                names.remove(name)

    def abort(self):
        if self.running:
            self.end(self.random.choice(self.running), "aborted")

    def preempt(self):
        if self.running:
            self.put_back(self.random.choice(self.running))

    def put_back(self, name):
        """A running request gives up its blocks and waits again, before all others."""
        self.counts["preempted"] += 1
        self.both("preemption", lambda side: side.manager.free(side.requests[name]))
        for side in self.sides:
            side.requests[name].num_computed_tokens = 0
            side.requests[name].status = RequestStatus.PREEMPTED
        self.running.remove(name)
        self.waiting.insert(0, name)

    # --- blocks -------------------------------------------------------------------------------------------------------------------

    def pin(self):
        if self.sides[0].pins and self.random.random() < 0.5:
            at = self.random.randrange(len(self.sides[0].pins))
            self.both("end of a pin", lambda side: side.pool.free_blocks(reversed(side.pins.pop(at))))
        elif self.running and len(self.sides[0].pins) < 4:
            name, group = self.random.choice(self.running), self.random.randrange(len(self.groups()))
            first, count = self.random.randrange(4), self.random.randint(1, 4)

            def touch(side):
                blocks = side.blocks_of(name, group)[first : first + count]
                side.pool.touch(blocks)
                side.pins.append(blocks)

            self.counts["pins"] += 1
            self.both("pin", touch)

    def unpin(self):
        if self.sides[0].pins:
            at = self.random.randrange(len(self.sides[0].pins))
            self.counts["unpinned"] += len(self.sides[0].pins[at])
            self.both(
                "unpin",
                lambda side: side.pool.unpin_blocks(
                    side.pins.pop(at), lambda block: side.reused.append(block.block_id)
                ),
            )

    def evict(self):
        chosen = set(self.random.sample(range(1, self.options.blocks), min(5, self.options.blocks - 1)))
        self.counts["evicted by id"] += len(chosen)
        self.both("eviction", lambda side: side.manager.evict_blocks(chosen))

    def partial(self):
        """The last block of a request becomes findable by the tokens that it has so far."""
        name, size = self.some_request(), self.options.hash_size or self.options.block_size
        if name is None or self.options.no_caching:
            return
        request = self.sides[0].requests[name]
        group = self.random.randrange(len(self.groups()))
        tokens = request.num_computed_tokens // size * size
        table = self.sides[0].manager.get_blocks(name).blocks[group]
        at = (tokens - 1) // self.options.block_size
        if not tokens or at >= len(table) or self.groups()[group].startswith("mamba"):
            return
        replace = self.random.random() < 0.3
        self.counts["partial"] += 1

        def cache(side):
            block = side.manager.get_blocks(name).blocks[group][at]
            return side.pool.cache_partial_block(
                side.requests[name], block, tokens, group, self.options.block_size, replace_existing_hashes=replace
            )

        self.both("partial block", cache)

    def move(self):
        """The hashes of a request's block move to a block that holds a copy, which is pinned."""
        name = self.some_request()
        if name is None or not self.sides[0].pool.get_num_free_blocks() or len(self.sides[0].pins) >= 4:
            return
        blocks = self.sides[0].blocks_of(name, 0)
        hashed = [at for at, block in enumerate(blocks) if block.block_hash is not None]
        if not hashed:
            return
        at = self.random.choice(hashed)
        self.counts["moved"] += 1

        def move(side):
            source, (copy,) = side.blocks_of(name, 0)[at], side.pool.get_new_blocks(1)
            side.pool.move_block_hashes(source, copy)
            side.pins.append([copy])
            return copy.block_id, side.pool.is_block_writable(source), side.pool.is_block_writable(copy)

        self.both("move", move)

    def reset(self):
        results = self.both("reset", lambda side: side.manager.reset_prefix_cache())
        self.counts["resets" if results[0] else "resets refused"] += 1

    def drain(self):
        """Everything ends, and then there is a reset that must succeed."""
        for name in [*self.running, *self.waiting]:
            self.end(name, "aborted")
        while self.sides[0].pins:
            self.both("end of a pin", lambda side: side.pool.free_blocks(reversed(side.pins.pop())))
        self.settle()
        self.reset()

    def some_request(self):
        return self.random.choice(self.running) if self.running else None

    def groups(self):
        return self.options.groups.split(",")


# --- defects ------------------------------------------------------------------------------------------------------------------------


def _mutation(**methods):
    return lambda base: type("Mutant", (base,), {name: method(base) for name, method in methods.items()})


#: Defects of a pool, each of which a trace must notice.
MUTATIONS = {
    "blocks are freed in the opposite order": _mutation(
        free_blocks=lambda base: lambda self, blocks: base.free_blocks(self, list(blocks)[::-1])
    ),
    "blocks are freed one by one": _mutation(
        free_blocks=lambda base: lambda self, blocks: [base.free_blocks(self, [block]) for block in blocks] and None
    ),
    "a block that is freed loses its hashes": _mutation(
        free_blocks=lambda base: lambda self, blocks: _forget_and_free(base, self, list(blocks))
    ),
    "unpinned blocks are freed as all others": _mutation(
        unpin_blocks=lambda base: lambda self, blocks, on_reuse: _unpin_as_free(base, self, list(blocks), on_reuse)
    ),
    "nobody is told that a block is used again": _mutation(_notify_reuse=lambda base: lambda self, blocks: None),
    "the newest block of a hash is found": _mutation(
        get_cached_block=lambda base: lambda self, block_hash, groups: _newest(base, self, block_hash, groups)
    ),
    "groups are mixed up": _mutation(
        get_cached_block=lambda base: (
            lambda self, block_hash, groups: base.get_cached_block(self, block_hash, [0] * len(groups))
        )
    ),
    "a hit does not keep its last block": _mutation(
        touch=lambda base: lambda self, blocks: base.touch(self, blocks[:-1])
    ),
    "an event of a removal is missing": _mutation(
        _emit_block_removed_events=lambda base: lambda self, names: base._emit_block_removed_events(self, names[:-1])
    ),
    "events of removals are in the opposite order": _mutation(
        _emit_block_removed_events=lambda base: lambda self, names: base._emit_block_removed_events(self, names[::-1])
    ),
    "the parent of stored blocks is missing": _mutation(
        _build_block_stored_event=lambda base: (
            lambda self, request, **fields: base._build_block_stored_event(
                self, request, **(fields | {"parent_block_hash": None})
            )
        )
    ),
    "an eviction by id does nothing": _mutation(evict_blocks=lambda base: lambda self, ids: None),
    "a further hash is not kept": _mutation(
        _insert_block_hash=lambda base: (
            lambda self, name, block, num_tokens: (
                block.block_hash is None and base._insert_block_hash(self, name, block, num_tokens)
            )
        )
    ),
    "the length of a hash is forgotten": _mutation(
        _insert_block_hash=lambda base: (
            lambda self, name, block, num_tokens: base._insert_block_hash(self, name, block, None)
        )
    ),
    "a reset leaves the hashes": _mutation(
        reset_prefix_cache=lambda base: lambda self: self.native.free == len(self.blocks) - 1
    ),
    "the last block is not cached": _mutation(
        cache_full_blocks=lambda base: (
            lambda self, *given, num_full_blocks, **more: base.cache_full_blocks(
                self, *given, num_full_blocks=num_full_blocks - 1, **more
            )
        )
    ),
}


def _forget_and_free(base, pool, blocks):
    for block in blocks:
        if block.ref_cnt == 1:
            pool.native.forget(block)
    base.free_blocks(pool, blocks)


def _unpin_as_free(base, pool, blocks, on_reuse):
    base.free_blocks(pool, blocks)
    pool._reuse_watchers.update((block.block_id, on_reuse) for block in blocks)


def _newest(base, pool, block_hash, groups):
    found = base.get_cached_block(pool, block_hash, groups)
    if found is None:
        return None
    holders = pool.native.holders()
    return [pool.blocks[holders[block_hash + group.to_bytes(4, "big")][-1]] for group in groups]


def noticed(options, name):
    """Whether the trace notices a defect, in one of its seeds."""
    for seed in range(options.seed, options.seed + options.seeds):
        trace = Trace(options, seed, name)
        trace.run()
        if trace.mismatches:
            print(f"{name}: noticed in seed {seed}: {trace.mismatches[0]:.160}", flush=True)
            return True
    print(f"{name}: not noticed", flush=True)
    return False
