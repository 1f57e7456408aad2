"""Objects that do not fit into memory: they wait on disk and come back, and what goes wrong with a disk is said and survived."""

import gc
import json
import os
import subprocess
import sys
import threading

import park as ray
import pytest
from helpers import MB, SOON, Driver, wait_until
from park.exceptions import GetTimeoutError, ObjectLostError, ObjectStoreFullError

np = pytest.importorskip("numpy")

SIZE = 2 * MB
CAPACITY = 16 * SIZE
pytestmark = pytest.mark.park_only


@pytest.fixture
def spilling(fresh, tmp_path):
    """Opens a small session that spills into an empty directory; the directory must be empty again afterwards."""

    def start(**options):
        return fresh(
            num_cpus=2, object_store_memory=CAPACITY, **{"_object_spilling_directory": str(tmp_path), **options}
        )

    yield start
    ray.shutdown()
    assert os.listdir(tmp_path) == []


def files(parent):
    return [os.path.join(at, name) for at, _, names in os.walk(parent) for name in names]


def numbers(seed, size=SIZE):
    return np.random.default_rng(seed).integers(0, 256, size, np.uint8)


def test_ten_times_the_capacity(spilling, tmp_path):
    spilling()
    refs = [ray.put(numbers(seed)) for seed in range(160)]
    assert ray.store_stats()["spilled"] > 8 * CAPACITY
    directory = tmp_path / os.listdir(tmp_path)[0]
    assert directory.stat().st_mode & 0o777 == 0o700
    assert {os.stat(file).st_mode & 0o777 for file in files(directory)} == {0o600}
    assert len(files(directory)) < 16, "grouped into files"
    assert ray.wait(refs, num_returns=len(refs), timeout=SOON)[1] == []
    for seed, ref in enumerate(refs):
        assert np.array_equal(ray.get(ref), numbers(seed))
    del refs, ref
    gc.collect()
    wait_until(lambda: ray.store_stats()["spilled"] == 0)
    assert files(directory) == []


def test_ten_times_the_capacity_through_tasks(spilling):
    spilling()

    @ray.remote
    def make(seed):
        return np.random.default_rng(seed).integers(0, 256, SIZE, np.uint8)

    @ray.remote
    def total(*arrays):
        return sum(int(array.sum()) for array in arrays)

    refs = [make.remote(seed) for seed in range(160)]
    totals = ray.get([total.remote(*refs[at : at + 2]) for at in range(0, 160, 2)], timeout=60)
    assert totals == [int(numbers(at).sum()) + int(numbers(at + 1).sum()) for at in range(0, 160, 2)]
    assert ray.store_stats()["objects_restored"] > 50


def test_a_session_that_fits_touches_no_disk(spilling, tmp_path):
    spilling()
    refs = [ray.put(numbers(seed)) for seed in range(10)]
    assert all(len(ray.get(ref)) == SIZE for ref in refs)
    assert os.listdir(tmp_path) == []


def test_views_stay_valid(spilling):
    spilling()
    view = ray.get(ray.put(numbers(7)))
    address = view.ctypes.data
    for seed in range(80):
        ray.put(numbers(seed))
    refs = [ray.put(numbers(seed)) for seed in range(80)]
    assert view.ctypes.data == address
    assert np.array_equal(view, numbers(7))
    assert np.array_equal(ray.get(refs[0]), numbers(0))


def test_many_readers_of_what_fits_one_at_a_time(spilling):
    spilling()
    refs = [ray.put(numbers(seed, 10 * SIZE)) for seed in range(6)]
    wrong = []

    def read(seed):
        if not np.array_equal(ray.get(refs[seed], timeout=SOON), numbers(seed, 10 * SIZE)):
            wrong.append(seed)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_get_waits_for_room_no_longer_than_it_was_told(spilling):
    spilling()
    refs = [ray.put(numbers(seed)) for seed in range(40)]
    views = []
    with pytest.raises((ObjectStoreFullError, GetTimeoutError)):
        while len(views) < len(refs):
            views.append(ray.get(refs[len(views)], timeout=0.5))
    assert len(views) >= 12
    assert all(np.array_equal(view, numbers(seed)) for seed, view in enumerate(views))
    del views
    gc.collect()
    assert np.array_equal(ray.get(refs[-1]), numbers(39))


def test_the_limit_is_a_full_store(spilling):
    spilling(_object_spilling_limit=8 * SIZE)
    refs = []
    with pytest.raises(ObjectStoreFullError, match="as much on disk as it may have"):
        while len(refs) < 100:
            refs.append(ray.put(numbers(len(refs))))
    assert 20 < len(refs) < 25
    assert ray.store_stats()["spilled"] <= 8 * SIZE
    while refs:
        seed = len(refs) - 1
        assert np.array_equal(ray.get(refs.pop()), numbers(seed))


def test_a_directory_that_cannot_be_written(spilling):
    spilling(_object_spilling_directory="/proc/nowhere")
    refs = []
    with pytest.raises(ObjectStoreFullError, match="could not be written"):
        while len(refs) < 100:
            refs.append(ray.put(numbers(len(refs))))
    assert all(np.array_equal(ray.get(ref), numbers(seed)) for seed, ref in enumerate(refs))


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
def test_a_full_disk(fresh, tmp_path):
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=10m", "tmpfs", str(tmp_path)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip(f"no mounts here: {mounted.stderr.decode()}")
    try:
        fresh(
            num_cpus=1,
            object_store_memory=CAPACITY,
            _object_spilling_directory=str(tmp_path),
            _object_spilling_limit=1 << 40,
        )
        refs = []
        with pytest.raises(ObjectStoreFullError, match="No space left on device"):
            while len(refs) < 100:
                refs.append(ray.put(numbers(len(refs))))
        assert 15 < len(refs) < 25
        while refs:
            seed = len(refs) - 1
            assert np.array_equal(ray.get(refs.pop()), numbers(seed)), "nothing was lost"
        ray.shutdown()
        assert os.listdir(tmp_path) == []
    finally:
        ray.shutdown()
        subprocess.run(["umount", str(tmp_path)], check=True)


def damage(parent):
    """Flip a byte in the middle of every record."""
    for name in files(parent):
        with open(name, "r+b") as file:
            for at in range(SIZE // 2, os.path.getsize(name), SIZE):
                file.seek(at)
                byte = file.read(1)
                file.seek(at)
                file.write(bytes([byte[0] ^ 1]))


def test_a_damaged_object_that_was_put_is_lost(spilling, tmp_path):
    spilling()
    refs = [ray.put(numbers(seed)) for seed in range(40)]
    damage(tmp_path)
    lost = 0
    for seed, ref in enumerate(refs):
        try:
            assert np.array_equal(ray.get(ref), numbers(seed))
        except ObjectLostError as error:
            lost += 1
            assert ref.hex() in str(error) and ".park" in str(error) and "no task that may be repeated" in str(error)
            with pytest.raises(ObjectLostError):
                ray.get(ref)
    assert lost > 20
    assert ray.get(ray.put(b"still here")) == b"still here"


def test_a_damaged_result_is_made_again(spilling, tmp_path):
    spilling()

    @ray.remote
    def make(seed):
        return np.random.default_rng(seed).integers(0, 256, SIZE, np.uint8)

    @ray.remote
    def length(array):
        return len(array)

    refs = [make.remote(seed) for seed in range(40)]
    ray.wait(refs, num_returns=40, timeout=SOON)
    damage(tmp_path)
    assert ray.get([length.remote(ref) for ref in refs[:5]], timeout=SOON) == [SIZE] * 5
    for seed, ref in enumerate(refs):
        assert np.array_equal(ray.get(ref, timeout=SOON), numbers(seed))
    assert ray.runtime_stats()["tasks_retried"] > 20


def test_a_damaged_result_of_a_task_without_retries_is_lost(spilling, tmp_path):
    spilling()

    @ray.remote(max_retries=0)
    def make(seed):
        return np.random.default_rng(seed).integers(0, 256, SIZE, np.uint8)

    refs = [make.remote(seed) for seed in range(40)]
    ray.wait(refs, num_returns=40, timeout=SOON)
    for name in files(tmp_path):
        os.truncate(name, 100)
    with pytest.raises(ObjectLostError):
        for ref in refs:
            ray.get(ref, timeout=SOON)


def test_a_result_whose_argument_is_gone_is_lost(spilling, tmp_path):
    spilling()

    @ray.remote
    def same(array):
        return np.array(array)

    refs = [same.remote(ray.put(numbers(seed))) for seed in range(40)]
    ray.wait(refs, num_returns=40, timeout=SOON)
    damage(tmp_path)
    with pytest.raises(ObjectLostError, match="argument of the task that made it is gone"):
        for ref in refs:
            ray.get(ref, timeout=SOON)


def test_a_killed_session_is_swept_by_the_next(tmp_path):
    program = f"""
        import numpy as np
        start(num_cpus=1, object_store_memory={CAPACITY}, _object_spilling_directory=sys.argv[1])
        refs = [ray.put(np.zeros({SIZE}, np.uint8)) for _ in range(30)]
        say("spilled")
        input()
    """
    with Driver(program, str(tmp_path)) as first:
        assert first.line() == "spilled"
        first.process.kill()
        first.process.wait()
        left = os.listdir(tmp_path)
        assert len(left) == 1 and files(tmp_path)
        with Driver(program, str(tmp_path)) as second:
            assert second.line() == "spilled"
            assert len(os.listdir(tmp_path)) == 1 and os.listdir(tmp_path) != left


def test_memory_command(spilling):
    session = spilling().address_info["session"]
    refs = [ray.put(numbers(seed)) for seed in range(30)]
    view = ray.get(refs[-1])
    command = [sys.executable, "-m", "park", "memory", "--address", session]
    told = json.loads(subprocess.run([*command, "--json"], capture_output=True, check=True, timeout=SOON).stdout)[0]
    assert told["address"] == session and told["capacity"] == CAPACITY
    assert told["spilled"] > 10 * SIZE and told["pinned"] >= SIZE
    driver = next(holder for holder in told["holders"] if holder["pid"] == os.getpid())
    assert driver["who"] == "driver" and driver["objects"] + told["objects_spilled"] == 30
    assert any(row["views"] == 1 for row in told["largest"])
    text = subprocess.run(command, capture_output=True, check=True, timeout=SOON, text=True).stdout
    assert f"driver {os.getpid()}" in text and session in text
    everyone = subprocess.run(command[:4], capture_output=True, check=True, timeout=SOON, text=True).stdout
    assert session in everyone, "sessions are found by themselves"
    wrong = subprocess.run([*command[:5], "park-" + "0" * 32], capture_output=True, timeout=SOON, text=True)
    assert wrong.returncode == 1 and wrong.stderr.startswith("park memory: ")
    assert view[0] == numbers(29)[0]


@pytest.mark.parametrize(
    "options, error",
    [
        ({"_object_spilling_directory": 5}, TypeError),
        ({"_object_spilling_limit": "much"}, TypeError),
        ({"_object_spilling_limit": -1}, ValueError),
    ],
)
def test_what_init_refuses(fresh, options, error):
    with pytest.raises(error, match="_object_spilling"):
        fresh(**options)
