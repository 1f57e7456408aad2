"""CPU torch tensors: every dtype and layout, and the same shared read-only pages for each reader."""

import signal

import park as ray
import pytest
from helpers import SOON, Driver, used_bytes

torch = pytest.importorskip("torch")
SESSION = {"num_cpus": 2, "object_store_memory": 256 << 20}
pytestmark = pytest.mark.usefixtures("session")

DTYPES = [
    torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.float16, torch.bfloat16, torch.float32,
    torch.float64, torch.complex64, torch.complex128,
]  # fmt: skip
FLOAT8 = [getattr(torch, name) for name in ("float8_e4m3fn", "float8_e5m2") if hasattr(torch, name)]
LAYOUTS = {
    "0-d": lambda t: t.reshape(-1)[3],
    "zero": lambda t: t[:0],
    "one": lambda t: t.reshape(-1)[:1],
    "contiguous": lambda t: t,
    "transposed": lambda t: t.t(),
    "every other": lambda t: t[::2, ::3],
    "permuted": lambda t: t.reshape(2, 3, 4).permute(2, 0, 1),
    "offset": lambda t: t[2:, 1:],
    "expanded": lambda t: t[0].expand(5, 4),
}


def sample(dtype):
    return (
        (torch.arange(24).reshape(6, 4) % 2 == 0) if dtype is torch.bool else torch.arange(24).reshape(6, 4).to(dtype)
    )


def assert_same(got, value):
    assert type(got) is type(value)
    assert got.dtype == value.dtype
    assert got.shape == value.shape
    assert torch.equal(got.to(torch.complex128), value.to(torch.complex128))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_dtype(dtype):
    value = sample(dtype)
    assert_same(ray.get(ray.put(value)), value)
    assert_same(ray.get(ray.put({"in": [value]}))["in"][0], value)


@pytest.mark.park_only
@pytest.mark.parametrize("dtype", FLOAT8, ids=str)
def test_eight_bit_floats(dtype):
    """torch's own pickling of them fails, and so does Ray."""
    value = torch.arange(24.0).reshape(6, 4).to(dtype)
    got = ray.get(ray.put(value))
    assert got.dtype == dtype
    assert torch.equal(got.float(), value.float())


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.bool], ids=str)
def test_every_layout(layout, dtype):
    value = LAYOUTS[layout](sample(dtype))
    assert_same(ray.get(ray.put(value)), value)


def test_through_a_task_and_an_actor():
    @ray.remote
    def scale(x, by):
        return x * by

    @ray.remote
    class Model:
        def __init__(self, weight):
            self.weight = weight

        def forward(self, x):
            return x @ self.weight

    weight = torch.arange(12.0).reshape(4, 3)
    x = torch.ones(2, 4, dtype=torch.float32)
    scaled = scale.remote(ray.put(x), 2)
    out = ray.get(Model.remote(ray.put(weight)).forward.remote(scaled), timeout=SOON)
    assert torch.equal(out, (2 * x) @ weight)


def test_parameters_and_modules():
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(8, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
    x = torch.randn(5, 8)
    with torch.no_grad():
        expected = net(x)
        got = ray.get(ray.put(net))
        assert torch.equal(got(x), expected)
        state = ray.get(ray.put(net.state_dict()))
        assert list(state) == list(net.state_dict())
        twin = torch.nn.Sequential(torch.nn.Linear(8, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
        twin.load_state_dict(state)
        assert torch.equal(twin(x), expected)
    parameter = ray.get(ray.put(torch.nn.Parameter(torch.ones(3))))
    assert isinstance(parameter, torch.nn.Parameter)
    assert parameter.requires_grad


def test_requires_grad_survives():
    value = torch.ones(3, requires_grad=True)
    assert ray.get(ray.put(value)).requires_grad


def test_sparse_tensors():
    value = torch.eye(4).to_sparse()
    got = ray.get(ray.put(value))
    assert got.is_sparse
    assert torch.equal(got.to_dense(), torch.eye(4))


@pytest.mark.park_only
def test_two_gets_share_one_memory():
    ref = ray.put(torch.arange(500_000))
    assert ray.get(ref).data_ptr() == ray.get(ref).data_ptr()
    nested = ray.put({"w": torch.ones(500_000, dtype=torch.bfloat16)})
    assert ray.get(nested)["w"].data_ptr() == ray.get(nested)["w"].data_ptr()


@pytest.mark.park_only
def test_a_view_does_not_copy():
    value = torch.ones(2_000_000)
    before = ray.store_stats()
    ref = ray.put(value)
    views = [ray.get(ref) for _ in range(3)]
    after = ray.store_stats()
    size = value.numel() * 4
    assert size <= after["bytes_copied"] - before["bytes_copied"] < size + 100_000
    assert after["bytes_shared"] - before["bytes_shared"] >= 3 * size
    assert all(bool(view.sum() == 2_000_000) for view in views)


@pytest.mark.park_only
def test_a_view_pins_the_memory_until_it_goes():
    before = used_bytes()
    tail = ray.get(ray.put(torch.ones(2_000_000)))[-3:]
    assert used_bytes() >= before + 8_000_000
    assert tail.tolist() == [1, 1, 1]
    del tail
    assert used_bytes() <= before


def test_a_clone_may_be_written():
    ref = ray.put(torch.zeros(100_000))
    own = ray.get(ref).clone()
    own += 1
    assert ray.get(ref).sum() == 0


@pytest.mark.park_only
def test_numpy_and_torch_read_the_same_object():
    np = pytest.importorskip("numpy")
    got = ray.get(ray.put(torch.arange(100_000, dtype=torch.int32)))
    array = got.numpy()
    assert array.ctypes.data == got.data_ptr()
    assert (array == np.arange(100_000)).all()


@pytest.mark.park_only
def test_a_write_to_a_view_faults_and_hurts_nobody_else():
    """torch has no read-only flag: the pages themselves are read-only. The writer dies, a copy would have hidden the mistake."""
    program = """
        import resource, torch
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        start(num_cpus=1)
        view = ray.get(ray.put(torch.zeros(1_000_000)))
        say("writes")
        view.add_(1)
        say("survived")
    """
    with Driver(program) as driver:
        assert driver.line() == "writes"
        assert driver.process.wait(SOON) in (-signal.SIGSEGV, -signal.SIGBUS)
