"""The trace of `differential.py --side cache`: vLLM's KV cache manager on its own pool, and `park.kv.Cache`, an engine's day on both.

The two have calls of their own: where vLLM's scheduler asks for a hit and then for slots, an engine attaches a sequence and prefills it. What is
the same is what an engine sees of it, and that is compared: whether a request is admitted, how long its hit is, the number of every block
in every table (`tables`), how many blocks are free, and what can be found, event by event. Both evict the least recently used.

Names of blocks differ, as each hashes in its own way: events are compared by what they say of tokens. vLLM tells of every block that gets a
hash or loses it; here, as in park's events, only the first of a hash and the last count, and of a step that ends with an empty cache only that.

A request that does not fit leaves no trace in vLLM's manager, and a hit that is attached and detached again is one more use in park's cache; so
its blocks are used once more in vLLM's pool as well.
"""

import collections
import random

from park import kv
from trace_pair import spec
from vllm.distributed.kv_events import AllBlocksCleared, BlockRemoved, BlockStored
from vllm.sampling_params import SamplingParams
from vllm.utils.hashing import sha256
from vllm.v1.core.kv_cache_manager import KVCacheManager
from vllm.v1.core.kv_cache_utils import get_request_block_hasher, init_none_hash
from vllm.v1.kv_cache_interface import KVCacheConfig, KVCacheGroupSpec
from vllm.v1.request import Request, RequestStatus


class Theirs:
    """vLLM's manager, with an engine's calls."""

    def __init__(self, options):
        init_none_hash(sha256)
        groups = [
            KVCacheGroupSpec([f"layer{at}"], spec(kind, options)) for at, kind in enumerate(options.groups.split(","))
        ]
        config = KVCacheConfig(num_blocks=options.blocks, kv_cache_tensors=[], kv_cache_groups=groups)
        self.manager = KVCacheManager(
            config,
            max_model_len=8192,
            scheduler_block_size=options.block_size,
            hash_block_size=options.block_size,
            enable_caching=not options.no_caching,
            enable_kv_cache_events=not options.no_events,
        )
        self.hasher = get_request_block_hasher(options.block_size, sha256)
        self.requests = {}
        #: Of what can be found: how many blocks, and what it is.
        self.known = collections.Counter()
        self.said = {}

    def add(self, name, tokens, salt):
        sampling = SamplingParams(max_tokens=1)
        sampling.update_from_generation_config({}, eos_token_id=-1)
        self.requests[name] = Request(
            request_id=name,
            prompt_token_ids=list(tokens),
            sampling_params=sampling,
            pooling_params=None,
            cache_salt=salt,
            block_hasher=self.hasher,
        )

    def admit(self, name, most):
        """The hit and how many tokens were given room; None if it does not fit."""
        request, manager = self.requests[name], self.manager
        blocks, hit, *_ = manager.get_computed_blocks(request)
        count = min(request.num_tokens - hit, most)
        if manager.allocate_slots(request, count, hit, blocks) is None:
            for group in blocks.blocks:
                manager.block_pool.touch(group)
            for group in blocks.blocks:
                manager.block_pool.free_blocks(reversed(group))
            return None
        request.num_computed_tokens = hit + count
        request.status = RequestStatus.RUNNING
        return hit, count

    def compute(self, name, count):
        """Whether there was room for so many tokens more."""
        request = self.requests[name]
        if self.manager.allocate_slots(request, count) is None:
            return False
        request.num_computed_tokens += count
        return True

    def append(self, name, token):
        self.requests[name].append_output_token_ids(token)

    def put_back(self, name):
        self.manager.free(self.requests[name])
        self.requests[name].num_computed_tokens = 0
        self.requests[name].status = RequestStatus.PREEMPTED

    def end(self, name):
        self.manager.free(self.requests.pop(name))

    def begin(self):
        self.manager.new_step_starts()

    def settle(self):
        pass

    def reset(self):
        return self.manager.reset_prefix_cache()

    def table(self, name, group):
        return list(self.manager.get_block_ids(name)[group])

    def free(self):
        return self.manager.block_pool.get_num_free_blocks()

    def news(self):
        """What can be found now, and what cannot any more, in order."""
        news = []
        for event in self.manager.take_events():
            if isinstance(event, AllBlocksCleared):
                self.known.clear()
                news = [("cleared",)]
            elif isinstance(event, BlockStored):
                news += self._stored(event)
            elif isinstance(event, BlockRemoved):
                for hash_ in event.block_hashes:
                    key = (hash_, event.group_idx)
                    self.known[key] -= 1
                    if not self.known[key]:
                        news.append(("removed", event.group_idx, self.said[key]))
            else:
                raise TypeError(f"an event of vLLM's that is not known here: {event!r}")
        return news

    def _stored(self, event):
        parent = self.said[event.parent_block_hash, event.group_idx] if event.parent_block_hash is not None else None
        for at, hash_ in enumerate(event.block_hashes):
            tokens = tuple(event.token_ids[at * event.block_size : (at + 1) * event.block_size])
            said = (*(parent or (self._salt(event, at),)), *tokens)
            key, parent = (hash_, event.group_idx), said
            self.said[key] = said
            self.known[key] += 1
            if self.known[key] == 1:
                yield "stored", event.group_idx, said

    @staticmethod
    def _salt(event, at):
        extra = event.extra_keys[at] if event.extra_keys else None
        return extra[0].encode() if extra else b""


class Ours:
    """park's cache, with the same calls."""

    def __init__(self, options):
        groups = [int(kind.partition(":")[2]) if ":" in kind else kind for kind in options.groups.split(",")]
        self.cache = kv.Cache(
            blocks=options.blocks,
            block_size=options.block_size,
            groups=groups,
            caching=not options.no_caching,
            events=not options.no_events,
        )
        self.ids = {}
        self.known = {}

    def add(self, name, tokens, salt):
        self.ids[name] = self.cache.add(list(tokens), salt=salt and salt.encode())

    def admit(self, name, most):
        sequence = self.ids[name]
        hit = self.cache.attach(sequence)
        count = min(self.cache.known(sequence) - hit, most)
        if not self.compute(name, count):
            self.cache.detach(sequence)
            return None
        return hit, count

    def compute(self, name, count):
        sequence = self.ids[name]
        try:
            self.cache.prefill([sequence], [self.cache.computed(sequence) + count])
        except kv.errors.NoFreeBlocksError:
            return False
        return True

    def append(self, name, token):
        self.cache.extend(self.ids[name], [token])

    def put_back(self, name):
        self.cache.detach(self.ids[name])

    def end(self, name):
        self.cache.finish(self.ids.pop(name))

    def begin(self):
        pass

    def settle(self):
        self.cache.settle()

    def reset(self):
        return self.cache.reset()

    def table(self, name, group):
        return list(self.cache.table(self.ids[name], group))

    def free(self):
        return self.cache.stats()["free_blocks"]

    def news(self):
        news = []
        for event in self.cache.take_events():
            if event["type"] == "cleared":
                self.known.clear()
                news.append(("cleared",))
            elif event["type"] == "removed":
                news.append(("removed", event["group"], self.known.pop((event["key"], event["group"]))))
            else:
                said = self.known[event["parent"], event["group"]] if event["parent"] is not None else (event["salt"],)
                for at, key in enumerate(event["keys"]):
                    size = event["block_size"]
                    said = (*said, *list(event["tokens"])[at * size : (at + 1) * size])
                    self.known[key, event["group"]] = said
                    news.append(("stored", event["group"], said))
        return news


class Trace:
    """A seeded trace on both sides."""

    def __init__(self, options, seed, mutation=None):
        unknown = [kind for kind in options.groups.split(",") if kind.partition(":")[0] not in ("full", "window")]
        if (
            unknown
            or options.eagle
            or options.lookahead
            or (options.hash_size or options.block_size) != options.block_size
        ):
            raise SystemExit(
                "the cache has groups 'full' and 'window:TOKENS', one hash a block, and no drafts of eagle's kind"
            )
        self.options, self.random = options, random.Random(seed)
        theirs, ours = Theirs(options), Ours(options)
        self.sides = [theirs, MUTATIONS[mutation](ours) if mutation else ours]
        self.mismatches, self.counts = [], collections.Counter()
        self.running, self.waiting = [], []
        #: By request: its tokens and salt, how many are computed, and how many it will sample.
        self.tokens, self.done, self.left = {}, {}, {}
        self.made = self.step = 0
        longest = max(options.block_size, options.prompt * 3 // 4)
        choose = self.random
        self.prefixes = [
            [choose.randrange(1000) for _ in range(choose.randint(1, longest))] for _ in range(options.prefixes)
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

    def both(self, what, method, *arguments):
        """The same call on both sides, compared; returns what vLLM's returned."""
        theirs, ours = (getattr(side, method)(*arguments) for side in self.sides)
        if theirs != ours:
            self.mismatches.append(f"step {self.step}: {what}: vLLM {theirs!r:.300}; park {ours!r:.300}")
        return theirs

    def happens(self, what):
        return self.random.random() < getattr(self.options, what)

    def one_step(self):
        self.both("begin", "begin")
        if self.happens("arrive"):
            self.arrive()
        if self.happens("fork") and self.running:
            self.again()
        if self.happens("abort") and self.running:
            self.end(self.random.choice(self.running), "aborted")
        if self.happens("preempt") and self.running:
            self.put_back(self.random.choice(self.running))
        self.advance_running()
        self.admit_waiting()
        drained = self.happens("drain")
        if drained:
            for name in [*self.running, *self.waiting]:
                self.end(name, "aborted")
        if drained or self.happens("reset"):
            done = self.both("reset", "reset")
            self.counts["resets" if done else "resets refused"] += 1
        self.both("settle", "settle")
        news = self.both("events", "news")
        self.counts["events"] += len(news)
        for name in self.running:
            for group in range(len(self.options.groups.split(","))):
                self.both(f"table of {name} in group {group}", "table", name, group)
        self.both("free blocks", "free")

    def arrive(self):
        choose = self.random
        tokens = list(choose.choice(self.prefixes))[: choose.randint(1, self.options.prompt)]
        tokens += [choose.randrange(1000) for _ in range(choose.randint(1, max(1, self.options.prompt // 3)))]
        salt = choose.choice([None, *(f"salt{at}" for at in range(self.options.salts))])
        self.request(tokens[: self.options.prompt], salt)

    def again(self):
        """Another request with what one has so far."""
        tokens, salt = self.tokens[self.random.choice(self.running)]
        self.counts["forks"] += 1
        self.request(list(tokens), salt)

    def request(self, tokens, salt):
        self.made += 1
        name = f"r{self.made}"
        self.tokens[name] = (tokens, salt)
        self.left[name] = self.random.randint(1, self.options.output)
        self.both("a request", "add", name, tokens, salt)
        self.waiting.append(name)

    def advance_running(self):
        for name in list(self.running):
            while name in self.running:
                left = self.left_to_compute(name)
                count = min(left, self.random.randint(1, self.options.chunk))
                if self.both(f"room for {count} tokens of {name}", "compute", name, count):
                    self.computed(name, count)
                    break
                self.counts["full"] += 1
                self.put_back(self.running[-1])

    def admit_waiting(self):
        for name in list(self.waiting):
            if len(self.running) >= self.options.running:
                return
            most = self.random.randint(1, self.options.chunk)
            admitted = self.both(f"admission of {name}", "admit", name, most)
            if admitted is None:
                self.counts["not admitted"] += 1
                if not self.running:
                    self.end(name, "never fits")
                return
            hit, count = admitted
            self.counts["admitted"] += 1
            self.counts["hit tokens"] += hit
            self.waiting.remove(name)
            self.running.append(name)
            self.done[name] = hit
            self.computed(name, count)

    def left_to_compute(self, name):
        return len(self.tokens[name][0]) - self.done[name]

    def computed(self, name, count):
        """The tokens are computed; after the last one the request samples, and maybe ends."""
        self.done[name] += count
        if self.left_to_compute(name):
            return
        token = self.random.randrange(1000)
        self.left[name] -= 1
        if not self.left[name]:
            self.end(name, "finished")
            return
        self.tokens[name][0].append(token)
        self.both("a token", "append", name, token)

    def put_back(self, name):
        self.counts["preempted"] += 1
        self.both("preemption", "put_back", name)
        self.running.remove(name)
        self.waiting.insert(0, name)

    def end(self, name, how):
        self.counts[how] += 1
        self.both("end", "end", name)
        for names in (self.running, self.waiting):
            if name in names:
                names.remove(name)


# --- defects ------------------------------------------------------------------------------------------------------------------------


class _Defect:
    """park's cache with something that goes wrong."""

    def __init__(self, ours):
        self._ours = ours

    def __getattr__(self, name):
        return getattr(self._ours, name)


class _NoHit(_Defect):
    def admit(self, name, most):
        sequence, cache = self._ours.ids[name], self._ours.cache
        hit = cache.attach(sequence, max(0, cache.lookup(sequence) - 1))
        count = min(cache.known(sequence) - hit, most)
        return (hit, count) if self._ours.compute(name, count) else cache.detach(sequence)


class _Twice(_Defect):
    def put_back(self, name):
        self._ours.put_back(name)
        if self._ours.cache.attach(self._ours.ids[name]):
            self._ours.put_back(name)


class _Mute(_Defect):
    def news(self):
        return self._ours.news()[:-1]


class _Backwards(_Defect):
    def news(self):
        return self._ours.news()[::-1]


class _Leaks(_Defect):
    def end(self, name):
        cache, sequence = self._ours.cache, self._ours.ids[name]
        if cache.blocks_held(sequence):
            cache.fork(sequence)
        self._ours.end(name)


class _Deaf(_Defect):
    def reset(self):
        return self._ours.cache.blocks_held(next(iter(self._ours.ids.values()))) == 0 if self._ours.ids else True


#: Defects, each of which a trace must notice.
MUTATIONS = {
    "a hit is a block short": _NoHit,
    "a preempted prompt counts as used": _Twice,
    "the last event of a step is missing": _Mute,
    "events are in the opposite order": _Backwards,
    "blocks of a request that ends are kept": _Leaks,
    "a reset does nothing": _Deaf,
}


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
