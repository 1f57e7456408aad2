"""Tensors of any library, by the protocols that libraries share."""

import sys

from park import _park, tensors
from park.exceptions import UnsupportedError


def from_dlpack(x, /):
    """Store a copy of a tensor and return a reference to it.

    `x` is anything with `__dlpack__` and `__dlpack_device__`, or with `__array_interface__`, whose elements are in memory of the
    CPU; UnsupportedError, naming the device, if they are not. `get` gives a view: an array of numpy or a tensor of torch if that is
    what `x` was, else a `TensorView`, which every library with a `from_dlpack` reads without a copy.
    """
    torch = sys.modules.get("torch")
    numpy = sys.modules.get("numpy")
    if torch is not None and isinstance(x, torch.Tensor):
        if x.device.type != "cpu":
            raise UnsupportedError(
                f"the store holds tensors of the CPU only, this one is on {x.device}: copy it to the CPU first"
            )
        if type(x) is torch.Tensor and tensors.describe(x) is not None:
            return _park.put(x)
    elif numpy is not None and isinstance(x, numpy.ndarray):
        described = tensors.describe(x)
        if described is None:  # in the other byte order, or of no type that the store has
            code, bits, _, source = tensors.describe_interface(x)
            described = code, bits, tensors.NUMPY, source
        return _park.put_described(described)
    if hasattr(x, "__dlpack__") and hasattr(x, "__dlpack_device__"):
        return _park.put_dlpack(x)
    if hasattr(x, "__array_interface__"):
        return _park.put_described(tensors.describe_interface(x))
    raise TypeError(
        f"from_dlpack() takes what has __dlpack__ and __dlpack_device__, or __array_interface__, got {type(x).__name__}"
    )
