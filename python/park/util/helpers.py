"""`as_completed` and `map_unordered`: results as they come."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from park import _park


def as_completed(
    refs: Sequence[_park.ObjectRef], *, chunk_size: int = 10, yield_obj_refs: bool = False, **wait_options: Any
) -> Iterator[Any]:
    """The values of `refs` in the order in which they are ready, or the references with `yield_obj_refs`.

    `chunk_size` results are waited for together, which is quicker for many small ones and holds the first of them back. Other
    arguments are `wait`'s.
    """
    _check(chunk_size, wait_options)
    left = list(refs)
    while left:
        done, left = _some(left, chunk_size, yield_obj_refs, wait_options)
        yield from done


def map_unordered(
    fn: Any,
    items: Iterable[Any],
    *,
    backpressure_size: int | None = 100,
    chunk_size: int = 10,
    yield_obj_refs: bool = False,
    **wait_options: Any,
) -> Iterator[Any]:
    """The results of the remote function `fn` for each item, in the order in which they are ready.

    At most `backpressure_size` tasks are under way at once (None: all of them), so the items may be without end.
    """
    if backpressure_size is not None and backpressure_size <= 0:
        raise ValueError("backpressure_size must be positive.")
    _check(chunk_size, wait_options)
    left: list[_park.ObjectRef] = []
    for item in items:
        left.append(fn.remote(item))
        if backpressure_size is not None and len(left) >= backpressure_size:
            done, left = _some(left, chunk_size, yield_obj_refs, wait_options)
            yield from done
    yield from as_completed(left, chunk_size=chunk_size, yield_obj_refs=yield_obj_refs, **wait_options)


def _check(chunk_size, wait_options):
    if chunk_size < 1:
        raise ValueError("`chunk_size` must be >= 1")
    if "num_returns" in wait_options:
        raise ValueError("Use the `chunk_size` argument instead of `num_returns`.")


def _some(refs, chunk_size, yield_obj_refs, wait_options):
    ready, left = _park.wait(refs, num_returns=min(chunk_size, len(refs)), **wait_options)
    return (ready if yield_obj_refs else _park.get(ready)), left
