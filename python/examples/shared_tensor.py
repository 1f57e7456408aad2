"""Share tensors with a program in C, C++ or Rust, without a copy in either direction.

    python shared_tensor.py PROGRAM

PROGRAM is one of the `shared_tensor` examples of park-c/examples (C, C++) or park-core/examples (Rust), built. This script opens a
session, puts a numpy array into its store, and starts PROGRAM with the session's address and the array's id. The program sums the
array where it lies, and makes a torch tensor with every element doubled. Here that arrives as a torch tensor over the same memory.
"""

import subprocess
import sys

import numpy as np
import park
import torch


def main(program: str) -> None:
    session = park.init(object_store_memory=64 << 20).address_info["session"]
    array = np.arange(12_000, dtype=np.float64).reshape(3, 4000)
    ref = park.put(array)

    peer = subprocess.Popen([program, session, ref.hex()], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    line = peer.stdout.readline().split()
    if len(line) != 2:
        raise SystemExit(f"{program} said {line!r} and ended with {peer.wait()}")

    # From here on this process refers to the tensor as well, so the other one may go; the tensor stays.
    theirs = park.ObjectRef(bytes.fromhex(line[0]))
    peer.communicate("thank you\n")
    tensor = park.get(theirs)

    assert float(line[1]) == array.sum()
    assert isinstance(tensor, torch.Tensor) and tensor.dtype == torch.float32
    assert torch.equal(tensor, torch.from_numpy(2 * array).float())
    assert peer.returncode == 0
    print(f"ok: {tuple(tensor.shape)} {tensor.dtype}, sum {line[1]}")
    park.shutdown()


if __name__ == "__main__":
    main(sys.argv[1])
