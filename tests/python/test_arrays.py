"""numpy arrays: every dtype and layout, read-only views of one memory, and how long a view keeps its object alive."""

import gc

import park as ray
import pytest
from helpers import SOON, Driver, used_bytes

np = pytest.importorskip("numpy")
SESSION = {"num_cpus": 2, "object_store_memory": 256 << 20}
pytestmark = pytest.mark.usefixtures("session")

PLAIN = ["?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8", "g", "c8", "c16", "G"]
OTHER = [">i4", ">f8", "S5", "U7", "V8", "M8[ns]", "m8[s]", "datetime64[D]"]
STRUCTURED = [
    [("a", "i4"), ("b", "f8")],
    [("a", "u1"), ("nested", [("x", "f4"), ("y", "f4")])],
    [("matrix", "f4", (2, 3)), ("name", "U4")],
]
LAYOUTS = {
    "0-d": lambda a: a.reshape(-1)[:1].reshape(()),
    "zero": lambda a: a[:0],
    "zero of rank 3": lambda a: a.reshape(-1)[:0].reshape(0, 4, 2),
    "one": lambda a: a.reshape(-1)[:1],
    "C order": lambda a: a,
    "Fortran order": np.asfortranarray,
    "transposed": lambda a: a.T,
    "every other": lambda a: a[::2, ::3],
    "column": lambda a: a[:, 1],
    "reversed": lambda a: a[::-1, ::-1],
    "broadcast": lambda a: np.broadcast_to(a[0], (5, a.shape[1])),
    "rank 5": lambda a: a.reshape(2, 3, 2, 2, 1),
    "swapped axes": lambda a: a.reshape(2, 3, 4).swapaxes(0, 2),
}


def sample(dtype):
    dtype = np.dtype(dtype)
    if dtype.kind in "SUV" or dtype.names:
        raw = np.arange(24 * dtype.itemsize, dtype=np.uint8) % 3
        if dtype.kind == "U" or (dtype.names and "name" in dtype.names):
            out = np.zeros(24, dtype)
            if dtype.kind == "U":
                out[:] = ["äö" + str(n) for n in range(24)]
            else:
                out["name"] = [f"n{n}" for n in range(24)]
            return out.reshape(6, 4)
        return np.frombuffer(raw.tobytes(), dtype).reshape(6, 4)
    return np.arange(24).astype(dtype if dtype.kind not in "Mm" else "i8").astype(dtype).reshape(6, 4)


def assert_same(got, value):
    assert type(got) is type(value)
    assert got.dtype == value.dtype
    assert got.shape == value.shape
    assert got.tobytes() == value.tobytes() if value.dtype != object else got.tolist() == value.tolist()


@pytest.mark.parametrize("dtype", PLAIN + OTHER + STRUCTURED, ids=str)
def test_every_dtype(dtype):
    value = sample(dtype)
    assert_same(ray.get(ray.put(value)), value)
    assert_same(ray.get(ray.put({"in": [value]}))["in"][0], value)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", ["f8", "u1", "?", "c8", "M8[ns]"])
def test_every_layout(layout, dtype):
    value = LAYOUTS[layout](sample(dtype))
    assert_same(ray.get(ray.put(value)), value)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_through_a_task(layout):
    @ray.remote
    def echo(x):
        return x

    value = LAYOUTS[layout](sample("f4"))
    assert_same(ray.get(echo.remote(value), timeout=SOON), value)


def test_fortran_order_is_kept():
    value = np.asfortranarray(np.arange(12.0).reshape(3, 4))
    got = ray.get(ray.put(value))
    assert got.flags.f_contiguous and not got.flags.c_contiguous
    assert (got == value).all()


def test_object_arrays_are_pickled():
    value = np.array([{"a": 1}, [2], None, "s"], dtype=object)
    got = ray.get(ray.put(value))
    assert_same(got, value)
    got[0] = "own copy"
    assert ray.get(ray.put(value))[0] == {"a": 1}


def test_numpy_scalars_keep_their_type():
    for value in (
        np.float32(1.5),
        np.int64(-3),
        np.bool_(True),
        np.complex64(1 + 2j),
        np.str_("s"),
        np.datetime64("2026-02-03"),
    ):
        got = ray.get(ray.put(value))
        assert type(got) is type(value)
        assert got == value


def test_subclasses_keep_their_type():
    masked = np.ma.masked_array([1.0, 2.0, 3.0], mask=[False, True, False])
    got = ray.get(ray.put(masked))
    assert type(got) is type(masked)
    assert got.mask.tolist() == [False, True, False]
    records = np.rec.array([(1, 2.0), (3, 4.0)], dtype=[("a", "i4"), ("b", "f8")])
    got = ray.get(ray.put(records))
    assert isinstance(got, np.recarray)
    assert got.a.tolist() == [1, 3]


def test_a_view_is_read_only():
    ref = ray.put(np.arange(200_000))
    got = ray.get(ref)
    assert not got.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        got[0] = 1
    with pytest.raises(ValueError):
        got.flags.writeable = True
    own = got.copy()
    own[0] = 7
    assert ray.get(ref)[0] == 0


def test_two_gets_share_one_memory():
    ref = ray.put(np.arange(200_000))
    assert ray.get(ref).ctypes.data == ray.get(ref).ctypes.data
    nested = ray.put({"a": np.arange(200_000), "b": np.ones(300_000)})
    first, second = ray.get(nested), ray.get(nested)
    for key in first:
        assert first[key].ctypes.data == second[key].ctypes.data
        assert not first[key].flags.writeable


def test_data_is_aligned_for_vector_instructions():
    for size in (100_000, 100_001, 131_073):
        assert ray.get(ray.put(np.ones(size, np.float32))).ctypes.data % 64 == 0


@pytest.mark.park_only
def test_tasks_read_the_same_pages():
    value = np.ones(1_000_000)
    ref = ray.put(value)

    @ray.remote
    def total(x):
        assert not x.flags.writeable
        return float(x.sum())

    before = ray.store_stats()
    assert ray.get([total.remote(ref) for _ in range(4)], timeout=SOON) == [1e6] * 4
    after = ray.store_stats()
    assert after["bytes_copied"] - before["bytes_copied"] < 1_000_000
    assert after["bytes_shared"] - before["bytes_shared"] >= 4 * value.nbytes


@pytest.mark.park_only
def test_put_copies_once():
    value = np.ones(1_000_000)
    before = ray.store_stats()
    ref = ray.put(value)
    after = ray.store_stats()
    assert value.nbytes <= after["bytes_copied"] - before["bytes_copied"] < value.nbytes + 100_000
    assert ray.get(ref).nbytes == value.nbytes


def test_a_view_outlives_its_ref():
    value = np.arange(1_000_000)
    view = ray.get(ray.put(value))
    part = ray.get(ray.put({"x": value}))["x"][1000:2000]
    gc.collect()
    # Fill and free the store several times over: memory given back too early would be written over.
    for number in range(40):
        ray.put(np.full(1_000_000, number))
    assert (view == value).all()
    assert (part == value[1000:2000]).all()


@pytest.mark.park_only
def test_a_view_pins_the_memory_until_it_goes():
    before = used_bytes()
    view = ray.get(ray.put(np.arange(1_000_000)))
    tail = view[-1:]
    del view
    assert used_bytes() >= before + 8_000_000
    assert tail[0] == 999_999
    del tail
    assert used_bytes() <= before


@pytest.mark.park_only
def test_a_view_in_a_task_pins_only_while_it_lives():
    before = used_bytes()

    @ray.remote
    class Keeper:
        def keep(self, x):
            self.x = x
            return int(x[-1])

        def check(self):
            return int(self.x.sum())

        def drop(self):
            self.x = None

    keeper = Keeper.remote()
    assert ray.get(keeper.keep.remote(ray.put(np.ones(1_000_000, np.int64))), timeout=SOON) == 1
    assert used_bytes() >= before + 8_000_000
    assert ray.get(keeper.check.remote(), timeout=SOON) == 1_000_000
    ray.get(keeper.drop.remote(), timeout=SOON)
    ray.get(keeper.keep.remote(np.zeros(1)), timeout=SOON)
    assert used_bytes() < before + 1_000_000


@pytest.mark.park_only
def test_a_view_outlives_the_session():
    program = """
        import gc
        import numpy as np
        start(num_cpus=1)
        value = np.arange(500_000)
        view = ray.get(ray.put(value))
        nested = ray.get(ray.put([value, b"x"]))[0]
        ray.shutdown()
        gc.collect()
        say((view == value).all(), (nested == value).all(), view.flags.writeable)
        start(num_cpus=1)
        other = ray.get(ray.put(np.zeros(500_000)))
        say((view == value).all(), other.sum())
        del view, nested
        gc.collect()
        ray.shutdown()
        say("end")
    """
    with Driver(program) as driver:
        assert driver.line() == "True True False"
        assert driver.line() == "True 0.0"
        assert driver.line() == "end"
        driver.finish()


def test_a_result_is_a_view_too():
    @ray.remote
    def make():
        return np.arange(300_000)

    ref = make.remote()
    first = ray.get(ref, timeout=SOON)
    assert not first.flags.writeable
    assert first.ctypes.data == ray.get(ref).ctypes.data
    assert first[-1] == 299_999


def test_a_file_mapped_array_becomes_an_ordinary_one(tmp_path):
    mapped = np.memmap(tmp_path / "data", dtype="f4", mode="w+", shape=(100, 10))
    mapped[:] = 3
    got = ray.get(ray.put(mapped))
    assert (np.asarray(got) == 3).all()
    assert got.shape == (100, 10)


def test_arrays_in_deep_structures():
    value = {
        "layers": [{"w": np.random.default_rng(n).random((50, 60)), "b": np.zeros(60)} for n in range(20)],
        "step": 3,
    }
    got = ray.get(ray.put(value))
    assert got["step"] == 3
    for left, right in zip(got["layers"], value["layers"], strict=True):
        assert_same(left["w"], right["w"])
        assert_same(left["b"], right["b"])
