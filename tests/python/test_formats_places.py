"""Where the formats do not reach, and say so: no numpy, no torch, other devices, other interpreters."""

import subprocess
import sys

import park as ray
import pytest
from helpers import SOON
from park import cuda
from park.exceptions import UnsupportedError

pytestmark = pytest.mark.park_only


def run(code, check=True):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert not check or done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_the_store_alone_needs_neither_numpy_nor_torch():
    out = run("""
import sys
for name in ("numpy", "torch", "pyarrow", "ml_dtypes"):
    sys.modules[name] = None
import array, ctypes
import park, park.store as store
park.init(num_cpus=1)

class Interface:
    def __init__(self, values):
        self.values = values
        address, count = values.buffer_info()
        self.__array_interface__ = {
            "version": 3, "typestr": "<i4", "shape": (count // 2,), "strides": (-8,), "data": (address + 4 * (count - 2), True),
        }

view = store.get(store.from_dlpack(Interface(array.array("i", range(10)))))
print(view, memoryview(view).tolist())
again = store.get(store.from_dlpack(view))
print(again.dtype, memoryview(again).tolist(), again.strides)
print(store.get(store.put_state_dict({"a": 1})), store.wait([store.put(1)])[1])
park.shutdown()
""")
    assert out.splitlines() == [
        "TensorView(int32, shape [5]) [8, 6, 4, 2, 0]",
        "int32 [8, 6, 4, 2, 0] (1,)",
        "{'a': 1} []",
    ]


def test_a_reader_without_the_library_gets_a_plain_view():
    torch = pytest.importorskip("torch")
    ray.init(num_cpus=1)
    try:
        refs = [ray.put(torch.arange(4).to(torch.bfloat16)), ray.put(torch.arange(4).numpy())]
        address = ray.init(ignore_reinit_error=True).address_info["session"]
        out = run(f"""
import sys
sys.modules["numpy"] = sys.modules["torch"] = sys.modules["ml_dtypes"] = None
import park
park.attach({address!r})
for text in {[ref.hex() for ref in refs]!r}:
    print(park.get(park.ObjectRef(bytes.fromhex(text))))
park.shutdown()
""")
    finally:
        ray.shutdown()
    assert out.splitlines() == ["TensorView(bfloat16, shape [4])", "TensorView(int64, shape [4])"]


def test_a_tensor_of_a_device_that_is_not_here():
    torch = pytest.importorskip("torch")
    with pytest.raises(UnsupportedError, match="cuda:7.*CUDA devices"):
        cuda.to_device(torch.ones(3), "cuda:7", False, False)


def test_cuda_tensors_travel_as_copies():
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("there is no CUDA device on this machine")

    @ray.remote
    def double(tensor):
        assert tensor.is_cuda
        return tensor * 2

    ray.init(num_cpus=1)
    try:
        value = torch.arange(1000.0, device="cuda")
        got = ray.get(ray.put(value))
        assert got.device == value.device and torch.equal(got, value) and got.data_ptr() != value.data_ptr()
        assert torch.equal(ray.get(double.remote(value), timeout=SOON), value * 2)
    finally:
        ray.shutdown()


def test_a_subinterpreter_is_told_and_the_main_one_is_not_hurt():
    out = run("""
try:
    import _interpreters as interpreters
    make, run = interpreters.create, interpreters.exec
except ImportError:
    import _xxsubinterpreters as interpreters
    make, run = interpreters.create, interpreters.run_string
import os, sys
inside = make()
read, write = os.pipe()
run(inside, f'''
import os, sys
sys.path[:] = {sys.path!r}
try:
    import park
except ImportError as error:
    os.write({write}, str(error).encode())
''')
print(os.read(read, 1000).decode())
interpreters.destroy(inside)
import park
park.init(num_cpus=1)
print(park.get(park.put("fine")))
park.shutdown()
""")
    first, second = out.splitlines()
    assert "subinterpreters" in first and "main interpreter" in first
    assert second == "fine"


@pytest.mark.parametrize("fake", ["sys.abiflags = 't'", "sys._is_gil_enabled = lambda: False"])
def test_a_build_without_the_gil_is_told(fake):
    out = run(f"import sys; {fake}; import park", check=False)
    assert "ImportError: park does not support free-threaded Python" in out and "standard build" in out
    assert run("import sys; sys._is_gil_enabled = lambda: True; import park") == ""
