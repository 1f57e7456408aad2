"""Channels between processes: order, back-pressure, views, both ends killed, and what the two say to each other."""

import gc
import itertools
import os
import threading
import time

import numpy as np
import park as ray
import pytest
from helpers import SOON, object_count, used_bytes

if not hasattr(ray, "store_stats"):
    pytest.skip("a promise of park, not of Ray", allow_module_level=True)

from helpers import kill
from park import exceptions
from park.channel import Channel

SESSION = {"num_cpus": 4, "object_store_memory": 256 << 20}
pytestmark = [pytest.mark.usefixtures("session"), pytest.mark.park_only]
NOW = 0.0


@ray.remote
class Stage:
    """An actor at the far end of one channel, and perhaps at the near end of another."""

    def __init__(self, reader=None, writer=None):
        self.reader, self.writer = reader, writer

    def pid(self):
        return os.getpid()

    def take(self, count, timeout=SOON):
        return [self.reader.read(timeout) for _ in range(count)]

    def hold(self):
        self.kept = self.reader.read_view(SOON).__enter__()
        return self.kept.sum()

    def give(self, *values):
        for value in values:
            self.writer.write(value, SOON)

    def close(self):
        self.writer.close()

    def run(self):
        """Double what comes until the end."""
        done = 0
        with self.writer as writer:
            for array in self.reader:
                writer.write(2 * array, SOON)
                done += 1
        return done


def test_every_kind_of_value_arrives_as_it_was():
    torch = pytest.importorskip("torch")
    channel = Channel(slot_bytes=100_000, slots=2)
    writer, reader = channel.writer(), channel.reader()
    fortran = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    for value in [
        b"", b"bytes", "text", 7, None, [1, {"a": (2.5, None)}], np.arange(5), fortran, np.zeros((0, 3), "f4"), np.float32(3).reshape(()),
        np.arange(10)[::2], np.array(["x", "yz"]), np.array([1, 2], "datetime64[s]"), {"big": np.ones(5000), "small": np.ones(3)},
        torch.arange(6, dtype=torch.bfloat16).reshape(2, 3), torch.ones(3, 4).t(), {"t": torch.ones(2000)},
    ]:  # fmt: skip
        writer.write(value, SOON)
        got = reader.read(SOON)
        assert type(got) is type(value)
        for mine, its in zip(*([list(v.values()) if isinstance(v, dict) else [v] for v in (value, got)])):
            if isinstance(mine, torch.Tensor):
                assert mine.dtype == its.dtype
                assert torch.equal(mine, its)
            else:
                assert np.array_equal(np.asarray(mine, dtype=object), np.asarray(its, dtype=object))
        with_view = writer.write(value, SOON)
        assert with_view is None
        with reader.read_view(SOON) as got:
            assert type(got) is type(value)
        del got
        gc.collect()


def test_what_is_read_is_ones_own():
    channel = Channel(slot_bytes=80, slots=1)
    writer, reader = channel.writer(), channel.reader()
    writer.write(np.arange(10), NOW)
    first = reader.read(NOW)
    writer.write(np.zeros(10, int), NOW)
    first[0] = 5
    assert first.tolist() == [5, *range(1, 10)]
    assert reader.read(NOW).tolist() == [0] * 10


def test_a_view_lies_in_the_slot_and_holds_the_writer_up_while_anybody_has_it():
    channel = Channel(slot_bytes=8000, slots=1)
    writer, reader = channel.writer(), channel.reader()
    writer.write(np.arange(1000), NOW)
    with reader.read_view(NOW) as view:
        assert not view.flags.writeable
        with pytest.raises(exceptions.RayChannelTimeoutError, match="all 1 slots"):
            writer.write(b"x", NOW)
        tail = view[-2:]
        del view
    with pytest.raises(TimeoutError):
        writer.write(b"x", 0.01)
    assert tail.tolist() == [998, 999]
    del tail
    writer.write(b"x", NOW)
    assert reader.read(NOW) == b"x"


def test_back_pressure_between_processes():
    channel = Channel(slot_bytes=64, slots=3)
    stage = Stage.remote(reader=channel.reader())
    writer = channel.writer()
    for n in range(3):
        writer.write(n, NOW)
    with pytest.raises(exceptions.RayChannelTimeoutError):
        writer.write(3, 0.02)
    taken = stage.take.remote(5)
    for n in range(3, 5):
        writer.write(n, SOON)
    assert ray.get(taken, timeout=SOON) == list(range(5))


def test_a_pipeline_of_two_actors():
    channels = [Channel(slot_bytes=80_000, slots=2) for _ in range(3)]
    stages = [Stage.remote(a.reader(), b.writer()) for a, b in itertools.pairwise(channels)]
    runs = [stage.run.remote() for stage in stages]
    source, sink = channels[0].writer(), channels[-1].reader()
    feeder = threading.Thread(
        target=lambda: [source.write(np.full(10_000, n), SOON) for n in range(50)] and source.close()
    )
    feeder.start()
    for n in range(50):
        got = sink.read(SOON)
        assert got.shape == (10_000,)
        assert (got == 4 * n).all()
    feeder.join()
    assert ray.get(runs, timeout=SOON) == [50, 50]
    with pytest.raises(exceptions.ChannelClosedError):
        sink.read()


def test_each_of_several_readers_gets_each_message():
    channel = Channel(slot_bytes=100, slots=2, readers=3)
    stages = [Stage.remote(reader=channel.reader()) for _ in range(3)]
    taken = [stage.take.remote(20) for stage in stages]
    with channel.writer() as writer:
        for n in range(20):
            writer.write(n, SOON)
    assert ray.get(taken, timeout=SOON) == [list(range(20))] * 3


def test_a_reader_killed_with_a_message_in_its_hands_does_not_wedge_the_writer():
    channel = Channel(slot_bytes=80, slots=2, readers=2)
    stage = Stage.remote(reader=channel.reader())
    writer, reader = channel.writer(), channel.reader()
    writer.write(np.arange(10), SOON)
    assert ray.get(stage.hold.remote(), timeout=SOON) == 45
    assert reader.read(SOON).sum() == 45
    kill(ray.get(stage.pid.remote()))
    for n in range(20):
        writer.write(n, SOON)
        assert reader.read(SOON) == n
    reader.close()
    with pytest.raises(exceptions.ChannelClosedError, match="every reader"):
        for _ in range(3):
            writer.write(0, SOON)


def test_a_reader_learns_that_the_writer_was_killed_and_goes_on_with_another():
    channel = Channel(slot_bytes=80, slots=4)
    stage = Stage.remote(writer=channel.writer())
    reader = channel.reader()
    ray.get(stage.give.remote(1, 2), timeout=SOON)
    with pytest.raises(exceptions.RayChannelError, match="already has a writer"):
        channel.writer().write(3, NOW)
    kill(ray.get(stage.pid.remote()))
    assert [reader.read(SOON), reader.read(SOON)] == [1, 2]
    with pytest.raises(exceptions.ChannelClosedError, match="died"):
        reader.read(SOON)
    channel.writer().open().write(3, SOON)
    assert reader.read(SOON) == 3


def test_the_end_comes_after_the_last_message():
    channel = Channel(slot_bytes=80)
    with channel.writer() as writer:
        writer.write("last")
    with pytest.raises(exceptions.HandleClosedError):
        writer.write("more")
    reader = channel.reader()
    assert list(reader) == ["last"]
    with pytest.raises(EOFError):
        reader.read()
    with pytest.raises(exceptions.ChannelClosedError):
        channel.writer().write("again")


def test_timeouts_and_what_does_not_fit():
    channel = Channel(slot_bytes=80, slots=1)
    writer, reader = channel.writer(), channel.reader()
    start = time.monotonic()
    with pytest.raises(exceptions.RayChannelTimeoutError):
        reader.read(0.05)
    assert time.monotonic() - start >= 0.05
    with pytest.raises(ValueError, match="nonnegative"):
        reader.read(-1)
    for value, length in [(b"x" * 81, "81 bytes"), (np.zeros(11), "280 bytes"), ("y" * 100, "bytes")]:
        with pytest.raises(exceptions.InvalidArgumentError, match=length):
            writer.write(value)
    writer.write(np.zeros(10), NOW)
    assert reader.read(NOW).shape == (10,)


def test_references_are_refused_in_messages_and_handles_travel_in_tasks_only():
    channel = Channel(slot_bytes=1000)
    writer = channel.writer()
    for value in [ray.put(1), [ray.put(1)], channel, {"reader": channel.reader()}]:
        with pytest.raises(exceptions.OufOfBandObjectRefSerializationException):
            writer.write(value)
    with pytest.raises(ValueError, match="is a channel"):
        ray.get(channel._ref)

    @ray.remote
    def relay(reader, writers):
        writers[0].write(reader.read(SOON) + 1, SOON)

    back = Channel(slot_bytes=1000)
    relayed = relay.remote(channel.reader(), [back.writer()])
    writer.write(1)
    assert back.reader().read(SOON) == 2
    ray.get(relayed, timeout=SOON)


def test_a_task_that_waits_for_a_message_gives_its_cpu_to_the_one_that_writes_it():
    channels = [Channel(slot_bytes=100) for _ in range(4)]

    @ray.remote
    def read(channel):
        return channel.reader().read(SOON)

    @ray.remote
    def write(channel):
        channel.writer().write("here", SOON)

    reading = [read.remote(channel) for channel in channels]
    time.sleep(0.1)
    ray.get([write.remote(channel) for channel in channels], timeout=SOON)
    assert ray.get(reading, timeout=SOON) == ["here"] * 4


def test_a_signal_ends_a_wait_and_a_second_thread_is_told():
    channel = Channel(slot_bytes=100)
    reader = channel.reader().open()
    failed = []

    def read():
        try:
            reader.read(0.5)
        except exceptions.RayChannelTimeoutError:
            failed.append("timeout")

    thread = threading.Thread(target=read)
    thread.start()
    time.sleep(0.1)
    with pytest.raises(exceptions.InvalidArgumentError, match="another thread"):
        reader.read(NOW)
    thread.join()
    assert failed == ["timeout"]


def test_the_memory_comes_back():
    gc.collect()
    bytes_before, objects_before = used_bytes(), object_count()
    channel = Channel(slot_bytes=1 << 20, slots=4)
    assert used_bytes() > bytes_before + (4 << 20)
    writer, reader = channel.writer(), channel.reader()
    writer.write(np.ones(100_000))
    with reader.read_view() as view:
        pass
    del channel, writer, reader
    assert view.sum() == 100_000
    assert object_count() == objects_before + 1
    del view
    assert (used_bytes(), object_count()) == (bytes_before, objects_before)


@pytest.mark.parametrize(
    "sizes", [{"slots": 0}, {"readers": 65}, {"slot_bytes": -1}, {"slots": 1.5}, {"readers": True}]
)
def test_impossible_sizes(sizes):
    with pytest.raises((ValueError, TypeError)):
        Channel(**{"slot_bytes": 8, **sizes})
