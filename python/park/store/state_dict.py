"""A whole dict of tensors as one object: one allocation, every tensor aligned in it, and views of all of them on the way out."""

import io
import pickle
import sys

from park import _park, serialization, tensors
from park.exceptions import UnsupportedError

_ALIGNMENT = 64


def put_state_dict(state_dict):
    """Store a state dict as one object, and return a reference to it; `get` gives an equal one whose tensors are read-only views.

    It may be nested, as an optimizer's is, and hold what it likes beside numpy arrays and CPU tensors of torch: numbers, strings,
    references, which the object keeps alive. Each tensor is copied once, straight into the store; names that share one tensor
    (tied weights) share it there too. Tensors come back without gradients, as `Module.state_dict()` gives them. UnsupportedError,
    naming the device, if one is not on the CPU.
    """
    return _park.put_state(lambda: _pickled(state_dict))


def _pickled(state_dict):
    """The pickle, the bytes of its tensors, and `(offset, description)` of each."""
    with io.BytesIO() as file:
        pickler = _Pickler(file)
        try:
            pickler.dump(state_dict)
        except Exception as error:
            explained = serialization.explain(error, state_dict, "the state dict")
            if explained is error:
                raise
            raise explained from error
        # Below the bound of `serialization` the region would be read as a copy.
        return file.getvalue(), max(pickler.size, serialization.SMALL), pickler.parts


class _Region:
    """The memory of all tensors of one state dict. Pickled once, by its first tensor, and met again by the others."""

    def __init__(self, buffer):
        self.buffer = buffer

    def __reduce__(self):
        # Stands for the one buffer of the object: what it says it is makes no difference.
        return _Region, (pickle.PickleBuffer(bytearray()),)


class _Pickler(serialization.Pickler):
    def __init__(self, file):
        super().__init__(file, protocol=5, buffer_callback=lambda _: False)
        self.region = _Region(None)
        self.size = 0
        self.parts = []
        self.known = {}

    def reducer_override(self, value):
        torch, numpy = sys.modules.get("torch"), sys.modules.get("numpy")
        if torch is not None and isinstance(value, torch.Tensor):
            if value.device.type != "cpu":
                raise UnsupportedError(
                    f"a state dict in the store holds tensors of the CPU only, one is on {value.device}: copy it to the CPU first"
                )
            value = value.detach()
        elif numpy is None or type(value) is not numpy.ndarray:
            return super().reducer_override(value)
        description = tensors.describe(value)
        if description is None:
            return super().reducer_override(value)
        return _tensor_in, (self.region, *self.place(value, description))

    def place(self, value, description):
        """Where in the region the tensor is, from now on or already, and what it is there."""
        code, bits, view, source = description
        if isinstance(source, tuple):
            address, shape, strides, _, source = source
        else:
            address, shape, strides = source.__array_interface__["data"][0], source.shape, source.strides
        key = address, code, bits, tuple(shape), tuple(strides), view
        if key not in self.known:
            nbytes = bits // 8
            for extent in shape:
                nbytes *= extent
            self.known[key] = self.size
            # The description keeps the value: an address means this tensor for as long as the pickling goes on.
            self.parts.append((self.size, description))
            self.size += nbytes + -nbytes % _ALIGNMENT
        return self.known[key], code, bits, tuple(shape), _park.stored_strides(description), view


def _tensor_in(region, offset, code, bits, shape, strides, view):
    return tensors.view(region.buffer, code, bits, shape, strides, view, offset)
