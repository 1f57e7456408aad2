"""Arrays and tensors to and from TENSOR objects: numpy and PyTorch, neither imported before it is used.

A dtype crosses languages as DLPack's code and the bits of one element; strides are in elements.
"""

import pickle
import sys

_CODES = {"i": 0, "u": 1, "f": 2, "c": 5, "b": 6}
_KINDS = {code: kind for kind, code in _CODES.items()}
_WIDTHS = {0: (8, 16, 32, 64), 1: (8, 16, 32, 64), 2: (16, 32, 64), 5: (64, 128), 6: (8,)}
_NUMPY, _TORCH = 0, 1
_TORCH_NAMES = {
    (0, 8): "int8",
    (0, 16): "int16",
    (0, 32): "int32",
    (0, 64): "int64",
    (1, 8): "uint8",
    (1, 16): "uint16",
    (1, 32): "uint32",
    (1, 64): "uint64",
    (2, 16): "float16",
    (2, 32): "float32",
    (2, 64): "float64",
    (4, 16): "bfloat16",
    (5, 64): "complex64",
    (5, 128): "complex128",
    (6, 8): "bool",
}
_MAX_NDIM = 8
_torch_kinds = {}


def describe(value):
    """`(dtype code, bits, shape, strides, view, buffer)` of a dense array or tensor, or None if it must be pickled.

    The buffer is one contiguous run of the elements in memory order. Arrays that are not dense are copied first.
    """
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        return _describe_torch(torch, value)
    return _describe_numpy(value)


def _describe_numpy(array):
    dtype = array.dtype
    code = _CODES.get(dtype.kind)
    if code is None or not dtype.isnative or dtype.itemsize * 8 not in _WIDTHS[code] or array.ndim > _MAX_NDIM:
        return None
    if not (array.flags.c_contiguous or array.flags.f_contiguous):
        array = array.copy(order="C")
    if array.size == 0:
        return code, dtype.itemsize * 8, array.shape, (1,) * array.ndim, _NUMPY, b""
    order = "C" if array.flags.c_contiguous else "F"
    strides = tuple(max(stride, 0) // dtype.itemsize for stride in array.strides)
    return code, dtype.itemsize * 8, array.shape, strides, _NUMPY, array.reshape(-1, order=order).view("u1")


def _describe_torch(torch, tensor):
    plain = tensor.layout is torch.strided and tensor.device.type == "cpu" and not tensor.requires_grad
    if not plain or tensor.dim() > _MAX_NDIM or tensor.is_conj() or tensor.is_neg():
        return None
    if not _torch_kinds:
        names = _TORCH_NAMES.items()
        _torch_kinds.update({getattr(torch, name): kind for kind, name in names if hasattr(torch, name)})
    kind = _torch_kinds.get(tensor.dtype)
    if kind is None:
        return None
    if tensor.numel() == 0:
        return *kind, tuple(tensor.shape), (1,) * tensor.dim(), _TORCH, b""
    if not _is_dense(tensor):
        tensor = tensor.contiguous()
    elements = tensor.as_strided((tensor.numel(),), (1,)).view(torch.uint8).numpy()
    return *kind, tuple(tensor.shape), tuple(tensor.stride()), _TORCH, elements


def _is_dense(tensor):
    step = 1
    for stride, extent in sorted(zip(tensor.stride(), tensor.shape)):
        if extent > 1:
            if stride != step:
                return False
            step *= extent
    return True


def view(buffer, code, bits, shape, strides, kind):
    """An array or tensor over `buffer` (park's read-only `Buffer`), which it keeps alive."""
    if kind == _TORCH:
        return _torch_view(buffer.for_torch(), code, bits, shape, strides)
    import numpy

    if code not in _KINDS:
        raise TypeError(f"numpy has no dtype for DLPack code {code} with {bits} bits; torch has")
    dtype = numpy.dtype(f"{_KINDS[code]}{bits // 8}")
    if 0 in shape:
        empty = numpy.empty(shape, dtype)
        empty.flags.writeable = False
        return empty
    return numpy.ndarray(tuple(shape), dtype, buffer, 0, tuple(stride * dtype.itemsize for stride in strides))


def _torch_view(buffer, code, bits, shape, strides):
    import torch

    dtype = getattr(torch, _TORCH_NAMES[code, bits])
    if 0 in shape:
        return torch.empty(tuple(shape), dtype=dtype)
    return torch.frombuffer(buffer, dtype=dtype).as_strided(tuple(shape), tuple(strides))


def reduce_torch(tensor):
    """How a tensor inside another value is pickled: its elements out of band. None leaves it to torch's own pickling."""
    torch = sys.modules["torch"]
    if type(tensor) not in (torch.Tensor, torch.nn.Parameter) or (tensor.requires_grad and not tensor.is_leaf):
        return None
    described = _describe_torch(torch, tensor.detach())
    if described is None:
        narrow = tensor.itemsize == 1 and tensor.layout is torch.strided and tensor.device.type == "cpu"
        # Eight-bit floats: torch cannot pickle them itself, but they are bytes.
        return (_rebuild_narrow, (tensor.view(torch.uint8), tensor.dtype)) if narrow else None
    *spec, _, elements = described
    parameter = type(tensor) is torch.nn.Parameter
    return _rebuild_torch, (pickle.PickleBuffer(elements), *spec, parameter, tensor.requires_grad)


def _rebuild_narrow(elements, dtype):
    return elements.view(dtype)


def _rebuild_torch(elements, code, bits, shape, strides, parameter, requires_grad):
    import torch

    # What travelled inside the pickle is nobody else's, but reads as read-only: torch gets a copy that it may write to.
    buffer = elements.for_torch() if hasattr(elements, "for_torch") else bytearray(elements)
    tensor = _torch_view(buffer, code, bits, shape, strides)
    if parameter:
        return torch.nn.Parameter(tensor, requires_grad=requires_grad)
    return tensor.requires_grad_(requires_grad)
