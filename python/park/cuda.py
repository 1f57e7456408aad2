"""Tensors of a CUDA device inside values: they travel as a copy in host memory, and are put back onto a device of that number.

Nothing of the device itself is shared: a tensor is not handed over by reference or by a CUDA IPC handle, because the memory would
have to outlive its producer's use of it for exactly as long as the object lives, in processes that may be killed. A process
without the device is told so by name.
"""

import sys

from park.exceptions import UnsupportedError


def reduce(tensor):
    """How a CUDA tensor is pickled: its copy on the CPU, which travels out of band, and the device that it belongs to."""
    parameter = isinstance(tensor, sys.modules["torch"].nn.Parameter)
    return to_device, (tensor.detach().cpu(), str(tensor.device), parameter, tensor.requires_grad)


def to_device(tensor, device, parameter, requires_grad):
    """The tensor on its device. UnsupportedError, naming the device, where there is none."""
    import torch

    number = torch.device(device).index or 0
    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if number >= there:
        raise UnsupportedError(
            f"the tensor was put from {device}, and this process has {there} CUDA devices: put tensor.cpu() for a reader without"
        )
    moved = tensor.to(device)
    if parameter:
        return torch.nn.Parameter(moved, requires_grad=requires_grad)
    return moved.requires_grad_(requires_grad)
