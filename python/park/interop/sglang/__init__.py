"""park's prefix tree in SGLang, through SGLang's own door: ``register_radix_cache_backend``.

```python
import park.interop.sglang

park.interop.sglang.register()                       # before the engine is made, in the process that makes it
sglang.Engine(..., radix_cache_backend="park")       # or --radix-cache-backend park
```

SGLang's scheduler then asks park which prefix of a prompt is cached, what to evict and what is locked. The tree is Rust
(`park_core::kv::RadixTree`); slots stay tensors on the device where SGLang put them, so that no call waits for the device.

`TESTED_WITH` names the version whose own tests the cache was run against (tests/conformance/sglang). Another version is refused if what
park inherits, implements or is handed has another signature there: `SglangMismatchError` says what. What the tree does not do (sliding
windows, recurrent states, a host tier) is refused when a model that needs it is loaded, not when it goes wrong.

| file | what |
|---|---|
| `cache` | `RadixCache`: what SGLang calls |
| `nodes` | nodes of the tree as SGLang's objects, for those who look into it |
| `surface.json` | what park relies on in SGLang, as it was in `TESTED_WITH` |

Importing this module imports nothing of SGLang. ``python -m park.interop.sglang`` prints the table of the SGLang at hand.
"""

from __future__ import annotations

import functools
import pathlib
from typing import TYPE_CHECKING, Any

from park.interop import surface

if TYPE_CHECKING:
    from park.interop.sglang.cache import RadixCache

__all__ = ["TESTED_WITH", "RadixCache", "SglangMismatchError", "check", "factory", "register"]

#: The version of SGLang whose own tests the cache was run against.
TESTED_WITH = "0.5.23"

_CACHE = "sglang.srt.mem_cache"
#: What the cache inherits, implements, is handed or gives back.
_USED = (
    *(f"{_CACHE}.base_prefix_cache:{name}" for name in ("BasePrefixCache", "MatchResult", "MatchPrefixParams")),
    *(f"{_CACHE}.base_prefix_cache:{name}" for name in ("InsertParams", "InsertResult", "EvictParams", "EvictResult")),
    *(f"{_CACHE}.base_prefix_cache:{name}" for name in ("IncLockRefResult", "DecLockRefParams", "DecLockRefResult")),
    f"{_CACHE}.cache_init_params:CacheInitParams",
    f"{_CACHE}.events:KVCacheEventRecorder",
    f"{_CACHE}.radix_cache:RadixKey",
    f"{_CACHE}.registry:TreeCacheBuildContext",
    f"{_CACHE}.registry:register_radix_cache_backend",
    f"{_CACHE}.utils:split_node_hash_value",
)
_RECORDED = pathlib.Path(__file__).parent / "surface.json"


class SglangMismatchError(ImportError):
    """This SGLang is not one that the cache can serve; the text says in what it differs."""


def found() -> dict[str, str]:
    """What the cache relies on, as it is in the SGLang that is installed: the table that ``surface.json`` was made from."""
    return surface.describe(_USED)


@functools.cache
def check() -> None:
    """Raise `SglangMismatchError` unless what the cache relies on is as it was in `TESTED_WITH`.

    Raises:
        ModuleNotFoundError: there is no SGLang.
    """
    from sglang.version import __version__

    lines = surface.differences(surface.read(_RECORDED), found())
    if lines:
        raise SglangMismatchError(
            f"park's prefix cache was tested with SGLang {TESTED_WITH}, this is {__version__}, and what it relies on "
            "has changed:\n  " + "\n  ".join(lines)
        )


def register(name: str = "park") -> None:
    """Make ``--radix-cache-backend NAME`` select park's tree, in this process. A second call changes nothing.

    Raises:
        SglangMismatchError: see `check`.
        ValueError: somebody else has registered that name.
    """
    check()
    from sglang.srt.mem_cache import registry

    if registry.get_radix_cache_factory(name) is not factory:
        registry.register_radix_cache_backend(name, factory)


def factory(context: Any) -> RadixCache:
    """A cache for what SGLang is about to run (a ``TreeCacheBuildContext``).

    Raises:
        NotImplementedError: the model or the options need what the tree does not do; the text says what.
    """
    unsupported = {
        "sliding-window layers": context.is_hybrid_swa,
        "recurrent states (Mamba)": context.is_hybrid_ssm,
        "a host tier (--enable-hierarchical-cache)": context.enable_hierarchical_cache,
    }
    if asked := [what for what, needed in unsupported.items() if needed]:
        raise NotImplementedError(f"park's prefix cache for SGLang does not do what is asked for: {', '.join(asked)}")
    from park.interop.sglang.cache import RadixCache

    return RadixCache(context.params)


def __getattr__(name: str) -> Any:
    if name == "RadixCache":
        check()
        from park.interop.sglang import cache

        return cache.RadixCache
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
