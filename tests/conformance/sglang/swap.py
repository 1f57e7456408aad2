"""pytest plug-in for `run.py`: which radix cache SGLang's tests get.

With PARK_SGLANG_CACHE=park, ``RadixCache.create_simulated`` of SGLang's module makes a cache the way the scheduler does: a factory is
looked up in SGLang's registry by name and called. With "sglang" it makes SGLang's own.

The tests are of a revision before the release: they read ``device_indices`` of a match, which is ``path_device_indices(last node)`` in the
release. Both caches get that accessor, in the same way.
"""

import os
import sys
import types

import park.interop.sglang
from sglang.srt.mem_cache import radix_cache, registry
from sglang.srt.mem_cache.base_prefix_cache import MatchResult
from sglang.srt.mem_cache.cache_init_params import CacheInitParams


class Matched(MatchResult):
    """A match that knows its cache."""

    @property
    def device_indices(self):
        """The slots of the prefix."""
        return self.cache.path_device_indices(self.last_device_node)


def with_indices(cls):
    """Make matches of this class remember who found them."""
    found = cls.match_prefix

    def match_prefix(self, params):
        matched = Matched(*found(self, params))
        matched.cache = self
        return matched

    cls.match_prefix = match_prefix
    return cls


def context(**options):
    """What SGLang's scheduler hands to a factory, for a model with full attention."""
    defaults = {"is_hybrid_swa": False, "is_hybrid_ssm": False, "enable_hierarchical_cache": False}
    nothing = dict.fromkeys(("server_args", "tp_worker", "model_config", "tp_group"))
    params = CacheInitParams(req_to_token_pool=None, **options)
    return registry.TreeCacheBuildContext(
        params=params, disable_radix_cache=params.disable, tp_size=1, tp_rank=0, **defaults, **nothing
    )


def from_registry(disable=False, mock_allocator=None, page_size=1, enable_kv_cache_events=False, **options):
    """A cache from the factory that is registered as park."""
    build = registry.get_radix_cache_factory("park")
    return build(
        context(
            disable=disable,
            token_to_kv_pool_allocator=mock_allocator,
            page_size=page_size,
            enable_kv_cache_events=enable_kv_cache_events,
            **options,
        )
    )


with_indices(radix_cache.RadixCache)
if os.environ["PARK_SGLANG_CACHE"] == "park":
    park.interop.sglang.register()
    with_indices(park.interop.sglang.RadixCache)
    radix_cache.RadixCache = types.SimpleNamespace(create_simulated=from_registry)
    print("radix cache: park's, by SGLang's registry", file=sys.stderr)
