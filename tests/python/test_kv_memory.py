"""Memory of the paged KV cache from Python: blocks between tiers and between processes."""

import hashlib

import park
import pytest
import torch
from park.kv.memory import Chunks, Lead, Memory

pytestmark = pytest.mark.usefixtures("session")

SIZES = {"blocks": 9, "block_size": 4, "kv_heads": 2, "head_dim": 8, "dtype": "float32", "layers": 3, "host_blocks": 16}


def key(n: int) -> bytes:
    return hashlib.sha256(str(n).encode()).digest()[:16]


def fill(memory: Memory, block: int) -> list[torch.Tensor]:
    pages = []
    for layer in range(3):
        page = torch.randn(2, 2, 4, 8)
        memory.tensor(layer)[block] = page
        pages.append(page)
    return pages


@pytest.mark.parametrize("order", ["layer_first", "block_first"])
def test_blocks_come_back_as_they_went(order):
    memory = Memory(page_order=order, **SIZES)
    pages = {block: fill(memory, block) for block in (1, 2, 3)}
    keys = [key(block) for block in pages]
    assert memory.lookup(keys) == Lead(0, 0)
    assert memory.write_back(keys, list(pages)).wait(60) == 3
    assert memory.lookup([*keys, key(9)]) == Lead(3, 0)
    assert memory.lookup(keys, epoch=1) == Lead(0, 0)
    found = torch.frombuffer(bytearray(memory.find(key(2))), dtype=torch.float32).reshape(3, 2, 2, 4, 8)
    assert torch.equal(found, torch.stack(pages[2]))
    ticket = memory.load([*keys, key(9)], [5, 6, 7, 8])
    assert ticket.wait(60) == 3
    assert ticket.poll() == 3
    for block in pages:
        for layer in range(3):
            assert torch.equal(memory.tensor(layer)[block + 4], pages[block][layer])
    memory.copy_blocks([(5, 8)])
    assert torch.equal(memory.tensor(1)[8], pages[1][1])


@park.remote
def other_process(directory, keys):
    memory = Memory(directory=directory[0], **SIZES)
    found = memory.lookup(keys)
    memory.load(keys, list(range(1, 1 + len(keys)))).wait(60)
    return found.blocks, [memory.tensor(layer)[1].sum().item() for layer in range(3)], memory.stats()


def test_another_process_finds_a_prefix_by_its_keys():
    memory = Memory(**SIZES)
    pages = fill(memory, 4)
    fill(memory, 5)
    keys = [key(4), key(5)]
    assert memory.write_back(keys, [4, 5]).wait(60) == 2
    blocks, sums, stats = park.get(other_process.remote([memory.directory], keys), timeout=120)
    assert blocks == 2
    assert sums == pytest.approx([page.sum().item() for page in pages])
    assert (stats["host_found"], stats["host_stored"]) == (2, 0)


def test_the_disk_survives_and_tells_models_apart(tmp_path):
    sizes = {**SIZES, "disk": tmp_path / "kv", "disk_bytes": 1 << 20}
    memory = Memory(write_through=True, model=b"a", **sizes)
    pages = fill(memory, 1)
    memory.write_back([key(1)], [1]).wait(60)
    memory.flush().wait(60)
    with pytest.raises(park.exceptions.RayError, match="another process"):
        Memory(model=b"a", **sizes)
    del memory
    with pytest.raises(park.exceptions.RayError, match="fingerprint"):
        Memory(model=b"b", **sizes)
    memory = Memory(model=b"a", **sizes)
    assert memory.lookup([key(1)]) == Lead(1, 1)
    assert memory.prefetch([key(1)]).wait(60) == 1
    assert memory.lookup([key(1)]) == Lead(1, 0)
    memory.load([key(1)], [2]).wait(60)
    assert torch.equal(memory.tensor(0)[2], pages[0])
    assert memory.retire(1) == (1, 1)
    assert memory.stats()["disk_records"] == 0


def test_sleep_keeps_what_it_is_told():
    memory = Memory(**SIZES)
    pages = fill(memory, 1)
    fill(memory, 2)
    memory.sleep(keep=[1])
    with pytest.raises(park.exceptions.RayError, match="wake it first"):
        memory.load([key(1)], [1]).wait(60)
    memory.wake()
    assert torch.equal(memory.tensor(2)[1], pages[2])
    assert not memory.tensor(2)[2].any()


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="0 heads"):
        Memory(**{**SIZES, "kv_heads": 0})
    with pytest.raises(ValueError, match="page_order"):
        Memory(page_order="random", **SIZES)
    memory = Memory(**SIZES)
    with pytest.raises(ValueError, match="16 bytes"):
        memory.lookup([b"short"])
    with pytest.raises(ValueError, match="2 keys were given for 1 blocks"):
        memory.write_back([key(1), key(2)], [1])
    with pytest.raises(ValueError, match="no block 99"):
        memory.write_back([key(1)], [99]).wait(60)
    with pytest.raises(IndexError):
        memory.tensor(3)


def test_a_device_that_there_is_not_is_refused():
    with pytest.raises(ValueError, match="'tpu:0'"):
        Memory(device="tpu:0", **SIZES)
    with pytest.raises(AttributeError):
        _ = Memory(**SIZES)._native.device().__cuda_array_interface__
    if not torch.cuda.is_available():
        with pytest.raises(park.exceptions.UnsupportedError, match="cuda:0"):
            Memory(device="cuda", **SIZES)


def test_pages_on_a_gpu_travel_like_any():
    if not torch.cuda.is_available():
        pytest.skip("there is no CUDA device on this machine")
    memory = Memory(device="cuda:0", **SIZES)
    pages = fill(memory, 1)
    assert memory.tensor(0).is_cuda
    memory.write_back([key(1)], [1]).wait(60)
    memory.load([key(1)], [2]).wait(60)
    assert all(torch.equal(memory.tensor(layer)[2].cpu(), page.cpu()) for layer, page in enumerate(pages))


@park.remote
def from_elsewhere(directory, name):
    found = Chunks(directory=directory[0]).find(name)
    return None if found is None else bytes(found)


def test_chunks_are_found_by_other_processes_as_long_as_somebody_keeps_them():
    chunks = Chunks(room=16)
    page = torch.arange(6, dtype=torch.int8)
    kept = chunks.put(key(1), [page.numpy(), b"rest", memoryview(page.numpy())[2:4]])
    content = b"\0\1\2\3\4\5rest\2\3"
    assert bytes(kept) == bytes(chunks.find(key(1))) == content
    assert bytes(chunks.put(key(1), [b"other"])) == content, "it was there"
    ask = [[chunks.directory()], key(1)]
    assert park.get(from_elsewhere.remote(*ask), timeout=120) == content
    del kept
    assert chunks.find(key(1)) is None
    assert park.get(from_elsewhere.remote(*ask), timeout=120) is None
    large = bytes(range(256)) * 1024
    kept = chunks.put(key(2), [large])
    assert bytes(chunks.find(key(2))) == bytes(kept) == large


def test_chunks_come_back_from_disk(tmp_path):
    disk = {"disk": tmp_path / "kv", "disk_bytes": 1 << 20}
    chunks = Chunks(room=16, **disk)
    kept = chunks.put(key(1), [b"one"])
    chunks.persist(key(1))
    chunks.flush()
    with pytest.raises(LookupError):
        chunks.persist(key(2))
    del kept
    assert chunks.find(key(1)) is None
    assert chunks.on_disk(key(1))
    del chunks
    chunks = Chunks(room=16, **disk)
    assert chunks.fetch(key(2)) is None
    assert bytes(chunks.fetch(key(1))) == b"one"
    assert chunks.stats()["disk_reloaded"] == 1


def test_chunks_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="0 were asked for"):
        Chunks()
    chunks = Chunks(room=1)
    with pytest.raises(ValueError, match="16 bytes"):
        chunks.put(b"short", [b""])
    with pytest.raises(ValueError, match="lends no memory"):
        chunks.put(key(1), [3])
    with pytest.raises(ValueError, match="int32, not bytes"):
        chunks.put(key(1), [torch.zeros(2, dtype=torch.int32).numpy()])
    with pytest.raises(ValueError, match="no disk"):
        chunks.persist(key(1))
    with pytest.raises(park.exceptions.RayError, match="is Pickle5"):
        Chunks(directory=park.put(b"x" * 200))


def test_numbers_that_are_out_of_range_are_named():
    from park.kv.errors import OutOfRangeError

    memory = Memory(**SIZES)
    calls = [
        ("epoch", None, 2**32, lambda bad: memory.lookup([key(1)], epoch=bad)),
        ("epoch", None, -1, lambda bad: memory.find(key(1), epoch=bad)),
        ("group", None, 256, lambda bad: memory.write_back([key(1)], [1], group=bad)),
        ("group", None, -1, lambda bad: memory.load([key(1)], [1], group=bad)),
        ("blocks", 1, 2**32, lambda bad: memory.load([key(1), key(2)], [1, bad])),
        ("blocks", 0, -1, lambda bad: memory.write_back([key(1)], [bad])),
        ("copies", 1, 10**30, lambda bad: memory.copy_blocks([(1, 2), (3, bad)])),
        ("keep", 0, -1, lambda bad: memory.sleep([bad])),
        ("epoch", None, 2**32, lambda bad: memory.retire(bad)),
        ("host_blocks", None, -1, lambda bad: Memory(**{**SIZES, "host_blocks": bad})),
        ("layers", 0, 2**40, lambda bad: Memory(**{**SIZES, "layers": bad})),
        ("disk_bytes", None, -1, lambda bad: Memory(**SIZES, disk="/nowhere", disk_bytes=bad)),
        ("queue", None, -1, lambda bad: Memory(**SIZES, queue=bad)),
    ]
    for name, index, bad, call in calls:
        with pytest.raises(OutOfRangeError) as raised:
            call(bad)
        assert (raised.value.name, raised.value.index, raised.value.value) == (name, index, bad)
