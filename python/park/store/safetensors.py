"""safetensors files as TENSOR objects that stay in the file.

The format: eight bytes of header length, a header of JSON (`{name: {dtype, shape, data_offsets}}`), then the elements.
"""

import json
import math
import os
import struct

from park import _park, tensors

#: safetensors' names of types that the store has.
_DTYPES = {
    "BOOL": "bool",
    **{f"I{bits}": f"int{bits}" for bits in (8, 16, 32, 64)},
    **{f"U{bits}": f"uint{bits}" for bits in (8, 16, 32, 64)},
    **{f"F{bits}": f"float{bits}" for bits in (16, 32, 64)},
    "BF16": "bfloat16",
    "C64": "complex64",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2": "float8_e5m2",
    "F8_E5M2FNUZ": "float8_e5m2fnuz",
    "F8_E8M0": "float8_e8m0fnu",
}
_FRAMEWORKS = {"np": tensors.NUMPY, "numpy": tensors.NUMPY, "pt": tensors.TORCH, "torch": tensors.TORCH}
#: The format's own bound on its header.
_HEADER_MAX = 100_000_000


def load_safetensors(path, framework="np"):
    """References to the tensors in a file: a dict from name to `ObjectRef`. Nothing of the elements is read or copied.

    `get` gives read-only views of the file, in any process of the session that can open it, as arrays of numpy or tensors of torch
    (`framework="pt"`); Rust and C read the objects as tensors too. Each process maps the file once, for as long as it has views.
    A tensor that does not lie at a multiple of its elements' size is copied into the store.

    The file must stay as it is. One that was changed is refused by `get` (ObjectLostError), but a process that reads a view while
    the file is truncated ends by SIGBUS, and one that is written to shows through. To rename a new file over it is safe.
    """
    if framework not in _FRAMEWORKS:
        raise ValueError(f"framework must be one of {sorted(_FRAMEWORKS)}, got {framework!r}")
    file = _park.map_file(os.fspath(path))
    start, entries = _header(file, path)
    refs = {}
    for name, (dtype, shape, begin) in entries.items():
        refs[name] = file.put(start + begin, dtype, shape, _FRAMEWORKS[framework])
    return refs


def _header(file, path):
    """Where the elements start, and for each name its dtype, shape and offset from there. ValueError if the file is not sound."""

    def wrong(what):
        return ValueError(f"{os.fspath(path)} is no safetensors file: {what}")

    try:
        (size,) = struct.unpack("<Q", file.read(0, 8))
        if size > _HEADER_MAX:
            raise wrong(f"its header would have {size} bytes")
        header = json.loads(file.read(8, size))
    except (EOFError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise wrong(error) from None
    if not isinstance(header, dict):
        raise wrong("its header is no object of JSON")
    header.pop("__metadata__", None)
    room = len(file) - 8 - size
    entries = {}
    for name, entry in header.items():
        try:
            kind, shape, (begin, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
            sound = all(type(number) is int and number >= 0 for number in (*shape, begin, end))
        except (TypeError, KeyError, ValueError):
            sound = False
        if not sound:
            raise wrong(f"its entry of {name!r} is malformed")
        if kind not in _DTYPES:
            raise TypeError(
                f"the tensor {name!r} of {os.fspath(path)} has elements {kind}, which the store has no type for"
            )
        dtype = _DTYPES[kind]
        nbytes = math.prod(shape) * _BYTES[dtype]
        if end - begin != nbytes or end > room:
            raise wrong(f"{name!r} has {nbytes} bytes and is said to lie at {begin} to {end} of {room}")
        entries[name] = dtype, shape, begin
    return 8 + size, entries


_BYTES = {name: bits // 8 for (_, bits), name in tensors.NAMES.items()}
