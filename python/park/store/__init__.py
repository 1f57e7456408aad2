"""park.store: the object store by itself, for programs that want shared memory and no tasks.

    import park.store as store

    ref = store.put(array)                    # one copy, into memory that every process of the session maps
    view = store.get(ref)                     # none: a view of that memory

An object lives as long as a reference to it does, in any process; there is nothing to delete by hand. A session opens at first use,
or by `park.init()`, or by `park.attach(address)` from an unrelated process.

| what is put | how it is stored | what `get` gives |
|---|---|---|
| numpy array, torch tensor | TENSOR | a read-only view of the same library |
| what has `__dlpack__` or `__array_interface__`, by `from_dlpack` | TENSOR | `TensorView`, which exports the same |
| what exports Arrow data (pyarrow, polars, duckdb, pandas) | ARROW | the pyarrow object, over the stored bytes |
| a dict of tensors, by `put_state_dict` | one PICKLE5 object | the dict, its tensors views |
| a file, by `load_safetensors` | one MAPPED object a tensor | views of the file |
| all else | PICKLE5 | what was put; arrays in it are views |

Elements are copied once by `put`, whatever their layout: dense ones (C, Fortran, any order of the dimensions) stay as they are,
all others (gaps, negative strides, broadcasts, the other byte order in `from_dlpack`) come back in C order.
"""

from park import arrow
from park._park import Buffer, ObjectRef, TensorView, get, trim, view, wait
from park._park import put as _put
from park.store.dlpack import from_dlpack
from park.store.safetensors import load_safetensors
from park.store.state_dict import put_state_dict

__all__ = [
    "Buffer",
    "ObjectRef",
    "TensorView",
    "from_dlpack",
    "get",
    "load_safetensors",
    "put",
    "put_state_dict",
    "trim",
    "view",
    "wait",
]


def put(value):
    """Store a value in the format that most readers understand, and return a reference to it.

    As `park.put`, but what exports Arrow data becomes an ARROW object, which `get` gives back as a pyarrow table, record batch or
    array: `park.put` does so with pyarrow's own tables only, and gives everything else back as the type that it was.
    """
    if arrow.is_exporter(value):
        from park._park import put_arrow

        return put_arrow(arrow.stream(value))
    return _put(value)
