"""Arrays and tensors to and from the store: numpy and PyTorch, neither imported before it is used.

A type crosses languages as DLPack's code and the bits of one element; the table of them is the core's (`_park.dtypes`). Shapes and
strides of what is stored are in elements, those of a description in bytes.

`put` copies the elements of an array once, whatever its layout. Dense layouts (C, Fortran, any order of the dimensions) come back
as they were; all others (gaps, negative strides, broadcasts) are gathered into C order by that same copy.
"""

import pickle
import sys
from typing import Any

from park import _park

#: (DLPack code, bits) -> name, as numpy, torch and ml_dtypes spell it.
NAMES = {(code, bits): name for name, code, bits in _park.dtypes()}
_KINDS = {name: kind for kind, name in NAMES.items()}
NUMPY, TORCH, PLAIN = 0, 1, 2
MAX_NDIM = 8
_numpy_kinds: dict[Any, tuple[int, int]] = {}
_numpy_dtypes: dict[tuple[int, int], Any] = {}
_torch_kinds: dict[Any, tuple[int, int]] = {}


def describe(value):
    """`(DLPack code, bits, view, source)` of an array or tensor, or None if it must be pickled.

    The source is what exports its elements as a buffer, or a tuple: address, shape, strides in bytes, width of the parts of an
    element that are in the other byte order (0: none), and the object that keeps all that in place.
    """
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        return _describe_torch(torch, value)
    if type(value) is _park.TensorView:
        code, bits = _KINDS[value.dtype]
        strides = tuple(stride * (bits // 8) for stride in value.strides)
        return code, bits, PLAIN, (value.__array_interface__["data"][0], value.shape, strides, 0, value)
    return _describe_numpy(value)


def _describe_numpy(array):
    kind = _numpy_kinds.get(array.dtype)
    if kind is None:
        kind = _learn_numpy(array.dtype)
    if kind is None or array.ndim > MAX_NDIM:
        return None
    if array.ndim == 0:  # its buffer has no shape to look at
        return *kind, NUMPY, (array.__array_interface__["data"][0], (), (), 0, array)
    # numpy's buffers have no code for the types of ml_dtypes: their bits do.
    return *kind, NUMPY, array if array.dtype.kind in "biufc" else array.view(f"u{array.itemsize}")


def _learn_numpy(dtype):
    """Fills the table at the first array, and again when somebody has imported ml_dtypes since."""
    for kind in NAMES:
        known = _numpy_dtype(*kind, imported_only=True)
        if known is not None:
            _numpy_kinds[known] = kind
    return _numpy_kinds.get(dtype)


def _numpy_dtype(code, bits, imported_only=False):
    """numpy's dtype of a type, if it or ml_dtypes has one."""
    found = _numpy_dtypes.get((code, bits))
    if found is not None:
        return found
    import numpy

    name = NAMES[code, bits]
    if code in (4, *range(7, 15)):
        try:
            extra = sys.modules.get("ml_dtypes") if imported_only else __import__("ml_dtypes")
        except ImportError:
            return None
        scalar = getattr(extra, name, None)
        if scalar is None:
            return None
        found = numpy.dtype(scalar)
    else:
        found = numpy.dtype(name)
    _numpy_dtypes[code, bits] = found
    return found


def _torch_kinds_of(torch):
    if not _torch_kinds:
        _torch_kinds.update({getattr(torch, name): kind for kind, name in NAMES.items() if hasattr(torch, name)})
    return _torch_kinds


def _describe_torch(torch, tensor):
    plain = tensor.layout is torch.strided and tensor.device.type == "cpu" and not tensor.requires_grad
    kind = _torch_kinds_of(torch).get(tensor.dtype) if plain and tensor.dim() <= MAX_NDIM else None
    if kind is None:
        return None
    tensor = _in_memory(tensor)
    size = tensor.element_size()
    strides = tuple(stride * size for stride in tensor.stride())
    # The storage, because a tensor may be given another one by another thread.
    return *kind, TORCH, (tensor.data_ptr(), tuple(tensor.shape), strides, 0, tensor.untyped_storage())


def _in_memory(tensor):
    """The tensor, its elements computed if they were conjugated or negated by a mark only."""
    return tensor.resolve_conj().resolve_neg() if tensor.is_conj() or tensor.is_neg() else tensor


def describe_interface(value):
    """As `describe`, of what has an `__array_interface__` (version 3) and is not numpy's own."""
    interface = value.__array_interface__
    text, shape, data = interface["typestr"], tuple(interface["shape"]), interface.get("data")
    size = int(text[2:])
    kinds = {"b": 6, "i": 0, "u": 1, "f": 2, "c": 5}
    code = kinds.get(text[1])
    if code is None or (code, size * 8) not in NAMES or interface.get("mask") is not None:
        raise TypeError(f"the store has no tensors of elements {text!r}" + " with a mask" * ("mask" in interface))
    if not isinstance(data, tuple):
        raise TypeError(f"the __array_interface__ of {type(value).__name__} gives no address")
    strides = interface.get("strides")
    if strides is None:
        strides, step = [], size
        for extent in reversed(shape):
            strides.insert(0, step)
            step *= extent
    foreign = size > 1 and text[0] == (">" if sys.byteorder == "little" else "<")
    swapped = 0 if not foreign else size // 2 if code == 5 else size
    return code, size * 8, PLAIN, (data[0], shape, tuple(strides), swapped, value)


def view(buffer, code, bits, shape, strides, kind, offset=0):
    """A tensor over `buffer` (park's read-only `Buffer`), which it keeps alive, of the library that `kind` names.

    It is a `TensorView` if that library is not installed here, or has no such type: numpy has bfloat16 and the eight-bit floats
    only together with ml_dtypes.
    """
    made = None
    try:
        if kind == TORCH:
            made = _torch_view(buffer.for_torch(), code, bits, shape, strides, offset)
        elif kind == NUMPY:
            made = _numpy_view(buffer, code, bits, shape, strides, offset)
    except ImportError:
        pass
    return buffer.tensor(offset, code, bits, shape, strides) if made is None else made


def _numpy_view(buffer, code, bits, shape, strides, offset):
    import numpy

    dtype = _numpy_dtype(code, bits)
    if dtype is None:
        return None
    if 0 in shape:
        empty = numpy.empty(shape, dtype)
        empty.flags.writeable = False
        return empty
    return numpy.ndarray(tuple(shape), dtype, buffer, offset, tuple(stride * dtype.itemsize for stride in strides))


def _torch_view(buffer, code, bits, shape, strides, offset=0):
    import torch

    dtype = getattr(torch, NAMES[code, bits], None)
    if dtype is None:
        return None
    if 0 in shape:
        return torch.empty(tuple(shape), dtype=dtype)
    count = 1
    for extent in shape:
        count *= extent
    flat = torch.frombuffer(buffer, dtype=dtype, count=count, offset=offset)
    return flat.as_strided(tuple(shape), tuple(strides))


def reduce_torch(tensor):
    """How a tensor inside another value is pickled: its elements out of band. None leaves it to torch's own pickling."""
    torch = sys.modules["torch"]
    if type(tensor) not in (torch.Tensor, torch.nn.Parameter) or (tensor.requires_grad and not tensor.is_leaf):
        return None
    if tensor.device.type == "cuda":
        from park import cuda

        return cuda.reduce(tensor)
    plain = _in_memory(tensor.detach())
    if plain.layout is not torch.strided or plain.device.type != "cpu" or plain.dtype not in _torch_kinds_of(torch):
        return None
    code, bits = _torch_kinds[plain.dtype]
    if plain.numel() == 0:
        elements = b""
    else:
        if not _is_dense(plain):
            plain = plain.contiguous()
        elements = plain.as_strided((plain.numel(),), (1,)).view(torch.uint8).numpy()
    parameter = type(tensor) is torch.nn.Parameter
    spec = code, bits, tuple(plain.shape), tuple(plain.stride())
    return _rebuild_torch, (pickle.PickleBuffer(elements), *spec, parameter, tensor.requires_grad)


def _is_dense(tensor):
    step = 1
    for stride, extent in sorted(zip(tensor.stride(), tensor.shape)):
        if extent > 1:
            if stride != step:
                return False
            step *= extent
    return True


def _rebuild_torch(elements, code, bits, shape, strides, parameter, requires_grad):
    import torch

    # What travelled inside the pickle is nobody else's, but reads as read-only: torch gets a copy that it may write to.
    buffer = elements.for_torch() if hasattr(elements, "for_torch") else bytearray(elements)
    tensor = _torch_view(buffer, code, bits, shape, strides)
    if tensor is None:
        raise TypeError(f"this torch ({torch.__version__}) has no dtype {NAMES[code, bits]}")
    if parameter:
        return torch.nn.Parameter(tensor, requires_grad=requires_grad)
    return tensor.requires_grad_(requires_grad)
