"""Tensors of every element type and layout, of any library, in and out of the store: numpy, torch, DLPack, the array interface."""

import ctypes
import gc
import hashlib
import sys

import park as ray
import park.store as store
import pytest
from helpers import used_bytes
from park import _park, tensors
from park.exceptions import RayError, UnsupportedError, WrongFormatError

np = pytest.importorskip("numpy")
torch = pytest.importorskip("torch")
SESSION = {"num_cpus": 2, "object_store_memory": 256 << 20}
pytestmark = [pytest.mark.park_only, pytest.mark.usefixtures("session")]

NAMES = [name for name, _, _ in _park.dtypes()]
TORCH_NAMES = [name for name in NAMES if hasattr(torch, name)]
LAYOUTS = {
    "0-d": lambda a: a.reshape(-1)[3],
    "zero": lambda a: a[:0],
    "C": lambda a: a,
    "Fortran": lambda a: a.T,
    "permuted": lambda a: a.reshape(2, 3, 4).swapaxes(0, 2),
    "gaps": lambda a: a[::2, ::3],
    "one column": lambda a: a[:, 1],
    "offset": lambda a: a[2:, 1:],
}
BACKWARD = {
    "reversed": lambda a: a[::-1, ::-1],
    "reversed rows": lambda a: a[::-1],
    "reversed, with gaps": lambda a: a[::-2, ::-3],
    "broadcast": lambda a: np.broadcast_to(a[0], (5, 4)),
    "broadcast of one": lambda a: np.broadcast_to(a[0, 0], (3, 4, 5)),
}


def bits_of(array):
    return np.ascontiguousarray(array).view(np.uint8).tobytes()


def torch_sample(name):
    dtype = getattr(torch, name)
    bytes_ = torch.arange(24 * dtype.itemsize, dtype=torch.uint8)
    return (bytes_ % 2 if name == "bool" else bytes_).view(dtype).reshape(6, 4)


def same_bits(left, right):
    assert left.dtype == right.dtype and left.shape == right.shape
    assert left.contiguous().view(torch.uint8).tolist() == right.contiguous().view(torch.uint8).tolist()


def test_one_table_of_types():
    assert len(set(NAMES)) == len(NAMES) == 23
    assert {"bool", "bfloat16", "float8_e4m3fn", "float8_e8m0fnu", "complex128"} <= set(NAMES)
    assert len(TORCH_NAMES) >= 17


@pytest.mark.parametrize("name", TORCH_NAMES)
def test_every_type_of_torch(name):
    value = torch_sample(name)
    for put in (store.put, store.from_dlpack):
        same_bits(store.get(put(value)), value)
    same_bits(ray.get(ray.put([value]))[0], value)
    view = store.view(store.put(value))
    assert (view.dtype, view.shape, view.strides, view.nbytes) == (name, (6, 4), (4, 1), 24 * value.element_size())
    assert bytes(view.raw) == bytes(value.view(torch.uint8).reshape(-1).tolist())
    same_bits(torch.from_dlpack(view), value)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", ["float32", "float8_e5m2", "bfloat16", "complex128", "bool"])
def test_every_layout_of_torch(name, layout):
    value = LAYOUTS[layout](torch_sample(name))
    got = store.get(store.put(value))
    assert type(got) is torch.Tensor
    if layout == "0-d":
        got, value = got.reshape(1), value.reshape(1)
    same_bits(got, value)


def test_what_torch_puts_off_is_done_by_put():
    value = torch.arange(4.0) * (1 + 2j)
    assert torch.equal(store.get(store.put(value.conj())), value.conj().resolve_conj())
    assert torch.equal(store.get(store.put(value.conj().imag)), -value.imag)
    assert torch.equal(store.get(store.put(value[0].expand(3, 4))), value[0].expand(3, 4))


@pytest.mark.parametrize("layout", [*LAYOUTS, *BACKWARD])
@pytest.mark.parametrize("dtype", ["?", "i1", "u2", "f2", "f4", "i8", "c8", "c16"])
def test_every_layout_of_numpy(dtype, layout):
    value = {**LAYOUTS, **BACKWARD}[layout](np.arange(24).astype(dtype).reshape(6, 4))
    value = np.asarray(value, dtype)
    for ref in (store.put(value), store.from_dlpack(value)):
        got = store.get(ref)
        assert type(got) is np.ndarray and got.dtype == value.dtype and not got.flags.writeable
        assert np.array_equal(got, value) and got.shape == value.shape
        assert np.array_equal(np.from_dlpack(store.view(ref)), value)


def test_dense_layouts_stay_and_others_become_c_order():
    base = np.arange(24.0).reshape(2, 3, 4)
    for dense in (base, base.T, base.swapaxes(0, 1), np.asfortranarray(base)):
        assert store.get(store.put(dense)).strides == dense.strides
    for loose in (base[::-1], base[:, ::2], base.swapaxes(0, 1)[..., ::-1], np.broadcast_to(base[0], (5, 3, 4))):
        assert store.get(store.put(loose)).flags.c_contiguous


@pytest.mark.parametrize("layout", ["C", "gaps", "reversed", "broadcast", "Fortran"])
def test_every_layout_costs_one_copy(layout):
    value = {**LAYOUTS, **BACKWARD}[layout](np.arange(24.0).reshape(6, 4))
    value = np.repeat(value, 5000, axis=0) if layout == "C" else value
    before = ray.store_stats()["bytes_copied"]
    ref = store.put(value)
    copied = ray.store_stats()["bytes_copied"] - before
    assert value.nbytes <= copied <= value.nbytes + 1024
    assert np.array_equal(store.get(ref), value)


@pytest.mark.parametrize("step", [1, -1, 3])
@pytest.mark.parametrize("dtype", ["u1", "f4", "c16"])
def test_gathering_more_than_a_chunk(dtype, step):
    value = np.arange(600 * 700).astype(dtype).reshape(600, 700)
    for loose in (value[:, ::step], value[::step, 3:], value.T[::2, ::step]):
        assert np.array_equal(store.get(store.put(loose)), loose)


def test_rows_longer_than_a_chunk():
    value = np.arange(4 * 40_000, dtype="f8").reshape(4, 40_000)
    assert np.array_equal(store.get(store.put(value[::2, 1:])), value[::2, 1:])
    assert np.array_equal(store.get(store.put(value[::-1])), value[::-1])


@pytest.mark.parametrize("dtype", [">i2", ">f4", ">f8", ">c8", ">c16", ">u8"])
def test_the_other_byte_order(dtype):
    value = np.arange(24).astype(dtype).reshape(6, 4)
    kept = store.get(store.put(value))
    assert kept.dtype == value.dtype and (kept == value).all(), "put gives back what it got"
    for layout in ("C", "gaps", "Fortran", "0-d"):
        part = np.asarray(LAYOUTS[layout](value))
        got = store.get(store.from_dlpack(part))
        assert got.dtype == value.dtype.newbyteorder("=") and np.array_equal(got, part)


def test_ml_dtypes_arrays_keep_their_type():
    ml_dtypes = pytest.importorskip("ml_dtypes")
    for name in ("bfloat16", "float8_e4m3fn", "float8_e3m4", "float8_e4m3b11fnuz", "float8_e8m0fnu"):
        value = np.arange(24.0).reshape(6, 4).astype(getattr(ml_dtypes, name))
        for array in (value, value[::2, ::-1], value.T, value[:1, :1].reshape(())):
            got = store.get(store.put(array))
            assert got.dtype == value.dtype and got.shape == array.shape and bits_of(got) == bits_of(array)
            assert store.view(store.put(array)).dtype == name


# --- other libraries --------------------------------------------------------------------------------------------------------------


class Interface:
    """An array of no library that the store knows."""

    def __init__(self, array, **changes):
        self.array = array
        self.__array_interface__ = {**array.__array_interface__, **changes}


class Exporter:
    """Exports what another object exports, and counts."""

    def __init__(self, inner, versioned=True, device=(1, 0)):
        self.inner, self.versioned, self.device, self.asked = inner, versioned, device, []

    def __dlpack_device__(self):
        return self.device

    def __dlpack__(self, **options):
        self.asked.append(options)
        if options and not self.versioned:
            raise TypeError("unexpected keyword argument 'max_version'")
        return self.inner.__dlpack__(**options)


class Given:
    """Gives this as its capsule."""

    def __init__(self, capsule):
        self.capsule = capsule

    def __dlpack_device__(self):
        return (1, 0)

    def __dlpack__(self, **_):
        return self.capsule


@pytest.mark.parametrize("versioned", [True, False])
@pytest.mark.parametrize("layout", ["C", "gaps", "Fortran", "0-d", "zero", "reversed"])
def test_dlpack_in(layout, versioned):
    value = np.asarray({**LAYOUTS, **BACKWARD}[layout](np.arange(24, dtype="i4").reshape(6, 4)))
    exporter = Exporter(value, versioned)
    got = store.get(store.from_dlpack(exporter))
    assert isinstance(got, store.TensorView) and got.dtype == "int32" and got.shape == value.shape
    assert np.array_equal(np.from_dlpack(got), value)
    assert exporter.asked[0] == {"max_version": (1, 1)} and len(exporter.asked) == 2 - versioned


def test_the_deleter_runs_once_and_soon():
    for versioned in (True, False):
        value = np.arange(1000)
        idle = sys.getrefcount(value)
        store.from_dlpack(Exporter(value, versioned))
        gc.collect()
        assert sys.getrefcount(value) == idle
        used = Given(value.__dlpack__(max_version=(1, 1)))
        store.from_dlpack(used)
        with pytest.raises(BufferError, match="fresh"):
            store.from_dlpack(used)
        del used
        gc.collect()
        assert sys.getrefcount(value) == idle


@pytest.mark.parametrize(
    ("device", "name"), [((2, 1), "cuda:1"), ((10, 0), "rocm:0"), ((99, 3), "device type 99, number 3")]
)
def test_other_devices_are_refused_by_name(device, name):
    exporter = Exporter(np.arange(3), device=device)
    with pytest.raises(UnsupportedError, match=name):
        store.from_dlpack(exporter)
    assert exporter.asked == []


def test_torch_tensors_elsewhere_are_refused():
    with pytest.raises(UnsupportedError, match="meta"):
        store.from_dlpack(torch.empty(3, device="meta"))
    with pytest.raises(BufferError, match="grad"):
        store.from_dlpack(torch.ones(3, requires_grad=True))


def test_what_says_nothing_of_elements_is_refused():
    for wrong in (3, "text", b"bytes", [1, 2], None):
        with pytest.raises(TypeError, match="__array_interface__"):
            store.from_dlpack(wrong)
    with pytest.raises(TypeError, match="U3"):
        store.from_dlpack(np.array(["abc"]))
    with pytest.raises(TypeError, match="mask"):
        store.from_dlpack(Interface(np.arange(3), mask=np.array([True, False, True])))


def test_a_capsule_of_another_kind_is_refused():
    make = ctypes.pythonapi.PyCapsule_New
    make.restype, make.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]

    for gives in (make(1, b"something", None), None, 3):
        with pytest.raises(BufferError, match="capsule"):
            store.from_dlpack(Given(gives))


class Managed(ctypes.Structure):
    """A DLManagedTensorVersioned that the test fills in."""

    _fields_ = [
        ("major", ctypes.c_uint32), ("minor", ctypes.c_uint32), ("context", ctypes.c_void_p), ("deleter", ctypes.c_void_p),
        ("flags", ctypes.c_uint64), ("data", ctypes.c_void_p), ("device", ctypes.c_int32), ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32), ("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16),
        ("shape", ctypes.c_void_p), ("strides", ctypes.c_void_p), ("byte_offset", ctypes.c_uint64),
    ]  # fmt: skip


def given(deleted, **changes):
    """Elements 0 to 5 of float32, as a capsule whose deleter counts; with some fields as they should not be."""
    data, shape, strides = (ctypes.c_float * 6)(*range(6)), (ctypes.c_int64 * 2)(2, 3), (ctypes.c_int64 * 2)(3, 1)
    deleter = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(deleted.append)
    at = {"data": ctypes.addressof(data), "shape": ctypes.addressof(shape), "strides": ctypes.addressof(strides)}
    fields = {"major": 1, "minor": 1, "device": 1, "ndim": 2, "code": 2, "bits": 32, "lanes": 1, **at}
    fields["deleter"] = ctypes.cast(deleter, ctypes.c_void_p).value
    if "extent" in changes:
        shape[0] = changes.pop("extent")
    managed = Managed(**{**fields, **changes})
    make = ctypes.pythonapi.PyCapsule_New
    make.restype, make.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
    exporter = Given(make(ctypes.addressof(managed), b"dltensor_versioned", None))
    exporter.alive = managed, data, shape, strides, deleter
    return exporter


@pytest.mark.parametrize(
    "changes",
    [
        {"major": 2}, {"major": 0}, {"lanes": 4}, {"ndim": -1}, {"ndim": 9}, {"shape": None}, {"data": None}, {"extent": -2},
        {"extent": 1 << 60}, {"device": 2}, {"code": 3}, {"bits": 4}, {"code": 17, "bits": 4},
    ],
    ids=repr,
)  # fmt: skip
def test_tensors_that_are_not_sound_are_given_back(changes):
    deleted = []
    if changes.get("ndim") == 9:
        many = (ctypes.c_int64 * 9)(*[1] * 9)
        changes = {**changes, "shape": ctypes.addressof(many), "strides": ctypes.addressof(many)}
    with pytest.raises((BufferError, TypeError, ValueError, RayError)):
        store.from_dlpack(given(deleted, **changes))
    assert len(deleted) == 1


def test_tensors_that_are_sound_in_other_ways():
    for changes, expected in [
        ({}, [[0, 1, 2], [3, 4, 5]]),
        ({"strides": None}, [[0, 1, 2], [3, 4, 5]]),
        ({"minor": 99, "flags": 7}, [[0, 1, 2], [3, 4, 5]]),
        ({"byte_offset": 4, "extent": 1}, [[1, 2, 3]]),
        ({"data": None, "extent": 0}, []),
        ({"ndim": 0, "shape": None, "strides": None}, 0),
    ]:
        deleted = []
        ref = store.from_dlpack(given(deleted, **changes))
        assert len(deleted) == 1
        assert np.from_dlpack(store.get(ref)).tolist() == expected
    assert store.get(store.from_dlpack(given([], deleter=None))).shape == (2, 3)


def test_the_array_interface_in():
    for layout in ("C", "gaps", "reversed", "broadcast", "0-d", "zero"):
        value = np.asarray({**LAYOUTS, **BACKWARD}[layout](np.arange(24, dtype="f8").reshape(6, 4)))
        assert np.array_equal(np.asarray(store.get(store.from_dlpack(Interface(value)))), value)
    swapped = np.arange(6, dtype=">i4")
    assert np.array_equal(np.asarray(store.get(store.from_dlpack(Interface(swapped)))), swapped)


# --- out --------------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def view():
    return store.view(store.put(np.arange(12, dtype="f4").reshape(3, 4)))


def test_views_share_the_memory_and_are_read_only(view):
    address = view.__array_interface__["data"][0]
    arrays = [np.from_dlpack(view), np.asarray(view), np.asarray(memoryview(view))]
    assert all(array.ctypes.data == address and not array.flags.writeable for array in arrays)
    assert torch.from_dlpack(view).data_ptr() == address
    assert view.__dlpack_device__() == (1, 0)
    assert memoryview(view).tolist() == np.arange(12.0).reshape(3, 4).tolist()
    assert repr(view) == "TensorView(float32, shape [3, 4])"
    with pytest.raises((BufferError, TypeError), match="writable|read-only"):
        (ctypes.c_char * 48).from_buffer(view)


def test_an_unversioned_export_would_hide_that_it_is_read_only(view):
    for options in ({}, {"max_version": (0, 8)}, {"copy": False}):
        with pytest.raises(BufferError, match="max_version"):
            view.__dlpack__(**options)
    mine = torch.from_dlpack(view.__dlpack__(copy=True))
    mine += 1
    assert mine[0, 0] == 1 and np.asarray(view)[0, 0] == 0
    own = np.from_dlpack(view, copy=True)
    own += 1
    assert np.asarray(view)[0, 0] == 0
    for options in ({"stream": 3}, {"dl_device": (2, 0)}):
        with pytest.raises(BufferError):
            view.__dlpack__(max_version=(1, 0), **options)


def test_an_export_keeps_its_object():
    before = used_bytes()
    view = store.view(store.put(np.ones(1_000_000)))
    array, capsule, memory = np.from_dlpack(view), view.__dlpack__(max_version=(1, 1)), memoryview(view)
    del view
    for last in ("array", "capsule", "memory"):
        assert used_bytes() >= before + 8_000_000, last
        if last == "array":
            assert array.sum() == 1e6
            del array
        elif last == "capsule":
            del capsule  # nobody took it: it frees what it holds by itself
        else:
            assert memory.nbytes == 8_000_000
            memory.release()
            del memory
    assert used_bytes() <= before


def test_contiguity_is_what_the_buffer_protocol_asks_for():
    fortran = store.view(store.put(np.asfortranarray(np.arange(12.0).reshape(3, 4))))
    assert memoryview(fortran).f_contiguous and not memoryview(fortran).c_contiguous
    with pytest.raises(BufferError, match="contiguous"):
        hashlib.sha256(fortran)  # asks for plain contiguous bytes
    scalar = store.view(store.put(np.array(3, np.float32)))
    assert memoryview(scalar).shape == () and memoryview(scalar).tolist() == 3
    empty = store.view(store.put(np.empty((0, 3))))
    assert np.from_dlpack(empty).shape == (0, 3) and memoryview(empty).nbytes == 0


def test_types_that_numpy_lacks_are_readable_anyway():
    value = torch.arange(6).to(torch.bfloat16)
    view = store.view(store.put(value))
    with pytest.raises(BufferError, match="bfloat16"):
        memoryview(view)
    raw = np.asarray(view)
    assert raw.dtype == "V2" and raw.shape == (6,)
    assert raw.view("u2").tolist() == value.view(torch.uint16).tolist()
    assert bytes(view.raw) == raw.tobytes()


def test_a_view_may_be_put_but_not_pickled(view):
    again = store.get(store.put(view))
    assert isinstance(again, store.TensorView) and memoryview(again) == memoryview(view)
    narrow = store.view(store.put(torch.arange(6).to(torch.bfloat16).reshape(2, 3).t()))
    assert (store.get(store.put(narrow)).strides, store.get(store.put(narrow)).dtype) == ((1, 3), "bfloat16")
    with pytest.raises(TypeError, match="ObjectRef"):
        store.put([view])


def test_a_view_of_what_is_no_tensor():
    with pytest.raises(WrongFormatError):
        store.view(store.put({"not": "a tensor"}))
    with pytest.raises(TypeError):
        store.view("ref")


def test_descriptions_are_checked():
    array = np.arange(4.0)
    for wrong in [
        (2, 8, 0, array),
        (2, 32, 0, array),
        (2, 64, 0, (array.ctypes.data, (4,), (8, 8), 0, array)),
        (2, 64, 0, (array.ctypes.data, (4,), (8,), 3, array)),
        (2, 64, 0, (0, (1 << 62, 1 << 62), (8, 8), 0, array)),
        (2, 64, 0, 3),
        None,
    ]:
        with pytest.raises((TypeError, ValueError, RayError)):
            _park.put_described(wrong)
    buffer = store.view(store.put(np.zeros(4))).raw
    for wrong in [(0, 2, 64, [5], [1]), (8, 2, 64, [4], [1]), (40, 2, 64, [0], [1]), (0, 2, 8, [1], [1])]:
        with pytest.raises((BufferError, RayError)):
            buffer.tensor(*wrong)
    assert buffer.tensor(8, 2, 64, [3], [1]).shape == (3,)
    assert tensors.NAMES[10, 8] == "float8_e4m3fn"


def test_through_a_channel():
    from park.channel import Channel

    value = torch.arange(24).to(torch.bfloat16).reshape(4, 6)
    plain = store.view(store.put(value.t()))
    loose = np.arange(24.0).reshape(4, 6)[::2, ::-3]
    channel = Channel(slot_bytes=4096)
    reader = channel.reader()
    with channel.writer() as writer:
        for message in (value, plain, loose):
            writer.write(message)
    assert torch.equal(reader.read(), value)
    got = reader.read()
    assert isinstance(got, store.TensorView) and (got.dtype, got.strides) == ("bfloat16", (1, 6))
    assert bytes(got.raw) == bytes(plain.raw)
    assert np.array_equal(reader.read(), loose)
