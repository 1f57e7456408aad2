"""Why cases of vLLM's suite cannot pass on a pool whose state is not in Python objects: a pattern of the case (below tests/v1) to the
reason. A pattern that matches no failing case fails the run."""

FOREIGN = (
    "The test makes `KVCacheBlock`s of its own, with numbers that it also gives to others, and lets the pool cache them. Park's pool takes "
    "its own blocks only: a block that it did not hand out is an error of the caller."
)
FREE = (
    "The test takes entries out of vLLM's dictionary and puts them back while nobody uses their blocks. On park's pool a block gets a hash "
    "while it is in use, and what it holds is therefore known."
)
UNUSED = "The test gives hashes to blocks that nobody uses. On park's pool a block gets a hash while it is in use."
REASONS = {
    "core/test_prefix_caching.py::test_cache_blocks[[]sha256*": FOREIGN,
    "core/test_prefix_caching.py::test_cache_blocks_multi_group": FOREIGN,
    "core/test_prefix_caching.py::test_prefill_hybrid_model": FREE,
    "core/test_prefix_caching.py::test_prefill_hybrid_model_eagle": FREE,
    "core/test_prefix_caching.py::test_maybe_evict_cached_block": (
        "The test gives a hash to every block of a pool, used by nobody and the null block among them, and compares vLLM's dictionary."
    ),
    "core/test_single_type_kv_cache_manager.py::test_*_possible_cached_prefix": UNUSED,
    "core/test_single_type_kv_cache_manager.py::test_sliding_window_cache_hit_with_finer_hash_alignment": UNUSED,
    "core/test_single_type_kv_cache_manager.py::test_*_remove_skipped_blocks*": FOREIGN,
}
