"""What the tests of `park.kv` share: small caches, and the tables of a step in plain Python, to compare those that were written."""

import helpers
import numpy as np
import pytest

BLOCK = 4


def load():
    """`park.kv`; on Ray, which has no such thing, the module that asks is skipped."""
    if helpers.ON_RAY:
        pytest.skip("a promise of park, not of Ray", allow_module_level=True)
    from park import kv

    return kv


def tables_of(cache, spans, width, group=0, block_size=BLOCK):
    """Every table of the tokens `start` to `end` of each sequence, from its blocks, number by number."""
    rows, slots, indptr, indices, last, lengths = [], [], [0], [], [], []
    q, k = [0], [0]
    for sequence, start, end in spans:
        blocks = cache.table(sequence, group).tolist()
        rows.append(blocks + [0] * (width - len(blocks)))
        slots += [blocks[at // block_size] * block_size + at % block_size for at in range(start, end)]
        pages = (end + block_size - 1) // block_size
        indices += blocks[:pages]
        indptr.append(len(indices))
        last.append(end - (pages - 1) * block_size)
        q.append(q[-1] + end - start)
        k.append(k[-1] + end)
        lengths.append(end)
    return {
        "block_table": rows,
        "slot_mapping": slots,
        "indptr": indptr,
        "indices": indices,
        "last_page_len": last,
        "cu_seqlens_q": q,
        "cu_seqlens_k": k,
        "seq_lens": lengths,
    }


def numpy_arrays(rows, width, tokens, pages, fill=-7):
    """An array for each table, of the size of the largest step."""
    make = lambda shape, dtype=np.int32: np.full(shape, fill, dtype)  # noqa: E731
    return {
        "block_table": make((rows, width)),
        "slot_mapping": make(tokens, np.int64),
        "indptr": make(rows + 1),
        "indices": make(pages),
        "last_page_len": make(rows),
        "cu_seqlens_q": make(rows + 1),
        "cu_seqlens_k": make(rows + 1),
        "seq_lens": make(rows),
    }


def torch_tensors(*sizes):
    """The same as torch tensors that no numpy array is behind."""
    import torch

    return {
        name: torch.tensor(array.tolist(), dtype=getattr(torch, array.dtype.name))
        for name, array in numpy_arrays(*sizes).items()
    }


def check(arrays, expected, fill=-7):
    """What was written is what was expected, and the rest of each array is as it was."""
    for name, numbers in expected.items():
        found = arrays[name].tolist()
        assert found[: len(numbers)] == numbers, name
        rest = found[len(numbers) :]
        assert all(row == fill or row == [fill] * len(row) for row in rest), name
