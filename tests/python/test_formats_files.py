"""safetensors files that stay where they are, and state dicts as one object."""

import collections
import gc
import json
import os
import struct

import park as ray
import park.store as store
import pytest
from helpers import SOON, object_count, used_bytes
from park import tensors
from park.exceptions import ObjectLostError, RayError, UnsupportedError

np = pytest.importorskip("numpy")
torch = pytest.importorskip("torch")
SESSION = {"num_cpus": 2, "object_store_memory": 256 << 20}
pytestmark = [pytest.mark.park_only, pytest.mark.usefixtures("session")]


def mappings(path):
    with open("/proc/self/maps") as maps:
        return [line for line in maps if str(path) in line]


def write(path, entries, data, length=None):
    """A file of this header, sound or not."""
    header = entries if isinstance(entries, bytes) else json.dumps(entries).encode()
    path.write_bytes(struct.pack("<Q", len(header) if length is None else length) + header + data)
    return path


@pytest.fixture
def weights(tmp_path):
    safetensors = pytest.importorskip("safetensors.torch")
    names = (
        "bool int8 uint8 int16 int32 int64 float16 bfloat16 float32 float64 float8_e4m3fn float8_e5m2 float8_e8m0fnu"
    )
    state = {name: (torch.arange(24) % 2).to(getattr(torch, name)).reshape(4, 6) for name in names.split()}
    state |= {"large": torch.randn(1000, 300), "scalar": torch.tensor(3.5), "empty": torch.empty(0, 3)}
    safetensors.save_file(state, tmp_path / "weights.safetensors", metadata={"made": "by a test"})
    return tmp_path / "weights.safetensors", state


@pytest.mark.parametrize("framework", ["pt", "torch"])
def test_a_file_is_what_safetensors_says(weights, framework):
    path, state = weights
    refs = store.load_safetensors(path, framework=framework)
    assert set(refs) == set(state)
    for name, value in state.items():
        got = store.get(refs[name])
        assert got.dtype == value.dtype and got.shape == value.shape, name
        assert torch.equal(got.double(), value.double()), name


def test_numpy_gets_what_it_has_types_for(weights):
    numpy_of = pytest.importorskip("safetensors.numpy")
    path, state = weights
    refs = store.load_safetensors(str(path))
    plain = {name: value for name, value in state.items() if not name.startswith(("bfloat", "float8"))}
    numpy_of.save_file({name: value.numpy() for name, value in plain.items()}, path.with_name("plain"))
    expected = numpy_of.load_file(path.with_name("plain"))
    for name, value in expected.items():
        got = store.get(refs[name])
        assert got.dtype == value.dtype and np.array_equal(got, value) and not got.flags.writeable
    for name in ("bfloat16", "float8_e4m3fn"):
        assert store.view(refs[name]).dtype == name
        assert bytes(store.view(refs[name]).raw) == bytes(state[name].view(torch.uint8).reshape(-1).tolist())


def test_nothing_is_copied_and_the_file_is_mapped_once(weights):
    path, state = weights
    before = ray.store_stats()
    refs = store.load_safetensors(path, framework="pt")
    views = [store.get(ref) for ref in refs.values()]
    after = ray.store_stats()
    # The records; no element of the 1.2 MB.
    assert after["bytes_copied"] - before["bytes_copied"] < 1000 * len(refs)
    assert after["used"] - before["used"] < 1000 * len(refs)
    assert after["bytes_shared"] - before["bytes_shared"] >= state["large"].nbytes
    assert len(mappings(path)) == 1
    assert store.get(refs["large"]).data_ptr() == store.get(refs["large"]).data_ptr()
    del views
    gc.collect()
    assert mappings(path) == [], "nobody looks at it any more"


def test_workers_read_the_file_too(weights):
    path, state = weights
    refs = store.load_safetensors(path, framework="pt")

    @ray.remote
    def total(value, path):
        with open("/proc/self/maps") as maps:
            return value.sum().item(), sum(path in line for line in maps)

    got, mapped = ray.get(total.remote(refs["large"], str(path)), timeout=SOON)
    assert got == pytest.approx(state["large"].sum().item(), rel=1e-4) and mapped == 1
    assert ray.get(ray.get(ray.put(refs))["scalar"]) == 3.5


def test_a_view_outlives_refs_and_the_name_of_the_file(weights):
    path, state = weights
    refs = store.load_safetensors(path, framework="pt")
    view = store.get(refs["large"])
    objects = object_count()
    del refs
    os.remove(path)
    gc.collect()
    assert object_count() < objects
    assert torch.equal(view, state["large"])


@pytest.mark.parametrize("how", ["truncated", "grown", "replaced", "touched", "removed"])
def test_a_changed_file_is_lost_by_name(weights, how):
    path, _ = weights
    refs = store.load_safetensors(path)
    if how == "removed":
        os.remove(path)
    elif how == "replaced":
        path.with_name("new").write_bytes(path.read_bytes())
        os.rename(path.with_name("new"), path)
    elif how == "touched":
        os.utime(path, (1, 1))
    else:
        os.truncate(path, 100 if how == "truncated" else 10_000_000)
    with pytest.raises(ObjectLostError, match=r"weights\.safetensors"):
        store.get(refs["large"])

    @ray.remote
    def read(value):
        return value.sum()

    with pytest.raises(ObjectLostError, match=r"weights\.safetensors"):
        ray.get(read.remote(refs["large"]), timeout=SOON)


def test_a_tensor_at_an_odd_place_is_copied(tmp_path):
    data = b"\1" + np.arange(3, dtype="<f8").tobytes()
    entries = {
        "flag": {"dtype": "BOOL", "shape": [1], "data_offsets": [0, 1]},
        "odd": {"dtype": "F64", "shape": [3], "data_offsets": [1, 25]},
    }
    text = json.dumps(entries).encode()
    path = write(tmp_path / "odd", text + b" " * (-len(text) % 8), data)
    refs = store.load_safetensors(path)
    odd = store.get(refs["odd"])
    assert odd.tolist() == [0, 1, 2] and odd.flags.aligned and odd.ctypes.data % 64 == 0
    assert store.get(refs["flag"]).tolist() == [True]


ENTRY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    "entries",
    [
        b"", b"{", b"[]", b"3", b"\xff\xfe", b"null",
        {"x": {**ENTRY, "data_offsets": [0, 12]}},
        {"x": {**ENTRY, "data_offsets": [8, 0]}},
        {"x": {**ENTRY, "data_offsets": [4, 12]}},
        {"x": {**ENTRY, "data_offsets": [0]}},
        {"x": {**ENTRY, "data_offsets": ["0", "8"]}},
        {"x": {**ENTRY, "shape": [-2]}},
        {"x": {**ENTRY, "shape": [1 << 62, 4]}},
        {"x": {**ENTRY, "shape": [True, 2]}},
        {"x": {**ENTRY, "shape": 2}},
        {"x": {"dtype": "F32"}},
        {"x": 3},
    ],
    ids=repr,
)  # fmt: skip
def test_files_that_are_not_sound(tmp_path, entries):
    before = object_count()
    with pytest.raises(ValueError, match="no safetensors file"):
        store.load_safetensors(write(tmp_path / "bad", entries, bytes(8)))
    assert object_count() == before


def test_headers_that_reach_too_far(tmp_path):
    for length in (9, 1 << 20, 1 << 40, (1 << 64) - 1):
        with pytest.raises(ValueError, match="no safetensors file"):
            store.load_safetensors(write(tmp_path / "long", b"{}", b"", length))
    for content in (b"", b"1234567"):
        (tmp_path / "short").write_bytes(content)
        with pytest.raises(ValueError, match="no safetensors file"):
            store.load_safetensors(tmp_path / "short")


def test_types_files_and_frameworks_that_are_not_there(tmp_path):
    with pytest.raises(TypeError, match="F4"):
        store.load_safetensors(write(tmp_path / "f4", {"x": {**ENTRY, "dtype": "F4", "shape": [16]}}, bytes(8)))
    with pytest.raises(OSError, match="no-such-file"):
        store.load_safetensors(tmp_path / "no-such-file")
    with pytest.raises((ValueError, RayError), match="regular"):
        store.load_safetensors(tmp_path)
    with pytest.raises(ValueError, match="framework"):
        store.load_safetensors(write(tmp_path / "ok", {"x": ENTRY}, bytes(8)), framework="tf")
    assert store.get(store.load_safetensors(tmp_path / "ok")["x"]).tolist() == [0, 0]


# --- state dicts ------------------------------------------------------------------------------------------------------------------


def same(left, right):
    assert type(left) is type(right)
    if isinstance(left, dict):
        assert list(left) == list(right)
        for key in left:
            same(left[key], right[key])
    elif isinstance(left, torch.Tensor):
        assert left.dtype == right.dtype and torch.equal(left.double(), right.detach().double())
    elif isinstance(left, np.ndarray):
        assert left.dtype == right.dtype and np.array_equal(left, right)
    else:
        assert left == right


def model():
    torch.manual_seed(1)
    return torch.nn.Sequential(
        torch.nn.Linear(64, 32), torch.nn.BatchNorm1d(32), torch.nn.Linear(32, 4).to(torch.bfloat16)
    )


def test_a_state_dict_comes_back_equal_and_loads():
    state = model().state_dict()
    ref = store.put_state_dict(state)
    got = store.get(ref)
    same(got, state)
    assert type(got) is collections.OrderedDict and got._metadata == state._metadata
    twin = model()
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.zero_()
    twin.load_state_dict(got)
    same(twin.state_dict(), state)


def test_one_object_one_allocation_no_copies_out():
    state = {f"layer {n}": torch.full((n + 1, 100), float(n)) for n in range(50)} | {
        "tiny": torch.ones(1),
        "np": np.ones(3),
    }
    size = sum(value.nbytes for value in state.values())
    objects, before = object_count(), ray.store_stats()
    ref = store.put_state_dict(state)
    after = ray.store_stats()
    assert object_count() == objects + 1
    assert size <= after["bytes_copied"] - before["bytes_copied"] < size + 20_000
    first, second = store.get(ref), store.get(ref)
    for name, value in first.items():
        address = value.data_ptr() if name != "np" else value.ctypes.data
        assert address % 64 == 0
        assert address == (second[name].data_ptr() if name != "np" else second[name].ctypes.data)
    same(first, state)


def test_tied_weights_are_stored_once_and_stay_tied():
    weight = torch.randn(300, 300)
    before = used_bytes()
    ref = store.put_state_dict({"in": weight, "out": weight.detach(), "turned": weight.t()})
    assert used_bytes() - before < 2 * weight.nbytes + 10_000
    got = store.get(ref)
    assert got["in"].data_ptr() == got["out"].data_ptr()
    assert torch.equal(got["turned"], weight.t())


def test_an_optimizers_nested_state():
    net = model().float()
    optimizer = torch.optim.Adam(net.parameters())
    net(torch.randn(8, 64)).sum().backward()
    optimizer.step()
    state = optimizer.state_dict()
    got = store.get(store.put_state_dict(state))
    same(got["state"], state["state"])
    assert got["param_groups"] == state["param_groups"]
    torch.optim.Adam(net.parameters()).load_state_dict(got)


def test_references_beside_the_tensors_stay_alive():
    inner = store.put(np.arange(200_000))
    ref = store.put_state_dict({"w": np.ones(10), "extra": {"ref": inner}, "loose": np.arange(10)[::3]})
    del inner
    gc.collect()
    got = store.get(ref)
    assert store.get(got["extra"]["ref"]).sum() == sum(range(200_000))
    assert got["loose"].tolist() == [0, 3, 6, 9]
    again = store.put_state_dict(got)
    del got, ref
    gc.collect()
    assert store.get(store.get(again)["extra"]["ref"])[-1] == 199_999


def test_memory_comes_back():
    before, objects = used_bytes(), object_count()
    ref = store.put_state_dict({"w": torch.ones(1_000_000), "ref": store.put(b"x" * 100_000)})
    tail = store.get(ref)["w"][-1:]
    del ref
    assert used_bytes() >= before + 4_000_000 and tail.item() == 1
    del tail
    assert used_bytes() <= before and object_count() == objects


def test_what_a_state_dict_may_hold():
    for state in ({}, {"n": 3, "s": "text"}, {"empty": torch.empty(0, 4), "scalar": torch.tensor(2)}):
        same(store.get(store.put_state_dict(state)), state)
    grown = store.get(store.put_state_dict({"p": torch.nn.Parameter(torch.ones(2))}))["p"]
    assert type(grown) is torch.Tensor and not grown.requires_grad
    with pytest.raises(UnsupportedError, match="meta"):
        store.put_state_dict({"w": torch.empty(2, device="meta")})
    with pytest.raises(TypeError, match="the state dict.*lock"):
        import threading

        store.put_state_dict({"lock": threading.Lock()})


def test_through_a_task():
    @ray.remote
    def total(state):
        return {name: float(value.sum()) for name, value in state.items()}

    ref = store.put_state_dict({"a": torch.ones(1000), "b": np.ones((3, 3))})
    assert ray.get(total.remote(ref), timeout=SOON) == {"a": 1000.0, "b": 9.0}


def test_the_table_of_types_is_the_cores():
    from park.store import safetensors

    assert set(safetensors._DTYPES.values()) <= set(tensors.NAMES.values())
