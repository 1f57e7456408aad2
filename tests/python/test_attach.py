"""Attach: an unrelated process joins a session by its string, and shares objects with it; nothing else of it is trusted.

A ref crosses the process border as its id: `ref.binary()` here, `ObjectRef(id)` there, while somebody holds it.
"""

import gc
import os
import signal
import time

import park as ray
import pytest
from helpers import MB, SOON, Driver, alive, used_bytes, wait_until
from park.exceptions import RayError

SESSION = {"num_cpus": 2, "object_store_memory": 256 * MB}
pytestmark = [pytest.mark.park_only, pytest.mark.usefixtures("session")]


@pytest.fixture
def name(session):
    return session.address_info["session"]


GUEST = """
    import gc, time
    def ref_of(text):
        return ray.ObjectRef(bytes.fromhex(text))
    ray.attach(sys.argv[1])
"""


def ref_of(text):
    return ray.ObjectRef(bytes.fromhex(text))


def guest(body, name, *arguments):
    return Driver(GUEST + body, name, *arguments)


def test_a_guest_reads_and_writes_objects(name):
    ref = ray.put({"from": "host", "data": b"h" * 500_000})
    body = """
    got = ray.get(ref_of(sys.argv[2]))
    say(got["from"], len(got["data"]))
    mine = ray.put(["from", "guest", b"g" * 500_000])
    say(mine.hex())
    input()
    ray.shutdown()
    say("detached")
    """
    with guest(body, name, ref.hex()) as driver:
        assert driver.line() == "host 500000"
        theirs = ref_of(driver.line())
        assert ray.get(theirs) == ["from", "guest", b"g" * 500_000]
        driver.tell("done")
        assert driver.line() == "detached"
        driver.finish()
        # The host holds it now: the guest's leaving does not take it away.
        assert ray.get(theirs)[:2] == ["from", "guest"]


def test_arrays_are_shared_both_ways(name):
    np = pytest.importorskip("numpy")
    before = ray.store_stats()
    ref = ray.put(np.arange(1_000_000))
    body = """
    import numpy as np
    view = ray.get(ref_of(sys.argv[2]))
    say(int(view.sum()), view.flags.writeable)
    mine = ray.put(np.full((1000, 100), 7.0, order="F"))
    say(mine.hex())
    input()
    """
    with guest(body, name, ref.hex()) as driver:
        assert driver.line() == f"{sum(range(1_000_000))} False"
        view = ray.get(ref_of(driver.line()))
        driver.tell("done")
        driver.finish()
    assert view.shape == (1000, 100) and view.flags.f_contiguous and (view == 7).all()
    after = ray.store_stats()
    copied = after["bytes_copied"] - before["bytes_copied"]
    assert 8_000_000 + 800_000 <= copied < 8_000_000 + 800_000 + 100_000


def test_tensors_arrive_as_tensors(name):
    torch = pytest.importorskip("torch")
    ref = ray.put(torch.arange(10, dtype=torch.bfloat16))
    body = """
    import torch
    got = ray.get(ref_of(sys.argv[2]))
    say(type(got).__name__, got.dtype, got.float().sum().item())
    """
    with guest(body, name, ref.hex()) as driver:
        assert driver.line(60) == "Tensor torch.bfloat16 45.0"
        driver.finish()


def test_a_guest_waits_for_a_result_of_the_host(name):
    @ray.remote
    def slow():
        time.sleep(1.0)
        return "late"

    ref = slow.remote()
    body = """
    ref = ref_of(sys.argv[2])
    say(ray.wait([ref], timeout=0) == ([], [ref]))
    try:
        ray.get(ref, timeout=0.05)
    except GetTimeoutError:
        say("timed out")
    say(ray.wait([ref], timeout=30) == ([ref], []), ray.get(ref))
    """
    with guest(body, name, ref.hex()) as driver:
        # The host's task may be done before a slow machine has started the guest; then there is nothing to time out.
        first = driver.line()
        if first == "True":
            assert driver.line() == "timed out"
            assert driver.line() == "True late"
            driver.finish()
        else:
            assert driver.line() == "True late"
    assert ray.get(ref) == "late"


def test_an_error_of_the_host_is_raised_in_the_guest(name):
    @ray.remote
    def fail():
        raise ValueError("in the host's worker")

    ref = fail.remote()
    with pytest.raises(ValueError):
        ray.get(ref, timeout=SOON)
    body = """
    try:
        ray.get(ref_of(sys.argv[2]), timeout=30)
    except ValueError as error:
        say(isinstance(error, RayTaskError), "in the host's worker" in str(error))
    """
    with guest(body, name, ref.hex()) as driver:
        assert driver.line() == "True True"
        driver.finish()


def test_nested_refs_cross(name):
    inner = ray.put("inner")
    outer = ray.put({"inner": inner})
    del inner
    body = """
    say(ray.get(ray.get(ref_of(sys.argv[2]))["inner"]))
    mine = ray.put([ray.put("guest's inner")])
    say(mine.hex())
    input()
    """
    with guest(body, name, outer.hex()) as driver:
        assert driver.line() == "inner"
        theirs = ref_of(driver.line())
        driver.tell("done")
        driver.finish()
    assert ray.get(ray.get(theirs)[0]) == "guest's inner"


def test_work_that_a_guest_submits_is_done_or_refused(name):
    """Objects are all that a guest is promised. What it may not do is to submit a task that is then lost."""
    body = """
    def try_it(what, call):
        try:
            say(what, ray.get(call(), timeout=10))
        except GetTimeoutError:
            say(what, "lost")
        except (RayError, RuntimeError, NotImplementedError) as error:
            say(what, "refused")

    @ray.remote
    def task():
        return "done"

    @ray.remote
    class Actor:
        def method(self):
            return "done"

    try_it("task", task.remote)
    try_it("actor", lambda: Actor.remote().method.remote())
    say(ray.get(ray.put("usable")))
    """
    with guest(body, name) as driver:
        assert driver.line() in ("task done", "task refused")
        assert driver.line() in ("actor done", "actor refused")
        assert driver.line() == "usable"
        driver.finish()


def test_a_guest_holds_what_it_reads(name):
    before = used_bytes()
    ref = ray.put(b"k" * (8 * MB))
    body = """
    ref = ref_of(sys.argv[2])
    say("holds")
    input()
    say(len(ray.get(ref)))
    del ref
    gc.collect()
    say("let go")
    input()
    """
    with guest(body, name, ref.hex()) as driver:
        assert driver.line() == "holds"
        del ref
        assert used_bytes() >= before + 8 * MB
        driver.tell("go on")
        assert driver.line() == str(8 * MB)
        assert driver.line() == "let go"
        wait_until(lambda: used_bytes() <= before, 5)
        driver.tell("end")
        driver.finish()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_the_memory_of_a_killed_guest_comes_back(name, how):
    before = used_bytes()
    ref = ray.put(b"k" * (8 * MB))
    body = """
    theirs = ref_of(sys.argv[2])
    view = ray.get(theirs)
    mine = [ray.put(b"m" * 4_000_000) for _ in range(4)]
    nested = ray.put([mine[0]])
    say("holds")
    time.sleep(600)
    """
    with guest(body, name, ref.hex()) as driver:
        assert driver.line() == "holds"
        del ref
        assert used_bytes() >= before + 8 * MB + 16_000_000
        os.kill(driver.pid, how)
        driver.process.wait(10)
        wait_until(lambda: used_bytes() <= before, 5)
    assert ray.get(ray.put("usable")) == "usable"


def test_a_guest_killed_in_the_middle_of_a_put(name):
    before = used_bytes()
    body = """
    say("puts")
    while True:
        ray.put(bytes(3_000_000))
    """
    for turn in range(3):
        with guest(body, name) as driver:
            assert driver.line() == "puts"
            time.sleep(0.05 + 0.017 * turn)
            os.kill(driver.pid, signal.SIGKILL)
            driver.process.wait(10)
            wait_until(lambda: used_bytes() <= before, 5)


def test_several_guests_at_once(name):
    body = """
    refs = [ray.put((int(sys.argv[2]), number)) for number in range(50)]
    assert ray.get(refs) == [(int(sys.argv[2]), number) for number in range(50)]
    say(refs[7].hex())
    input()
    """
    drivers = [guest(body, name, number) for number in range(3)]
    try:
        refs = [ref_of(driver.line()) for driver in drivers]
        assert ray.get(refs) == [(number, 7) for number in range(3)]
        for driver in drivers:
            driver.tell("done")
            driver.finish()
    finally:
        for driver in drivers:
            driver.__exit__(None, None, None)


@pytest.mark.parametrize(
    "wrong", ["", "nonsense", "park://", "/no/such/socket", "x" * 10_000, "nul\0inside", "../../etc/passwd"]
)
def test_a_string_that_names_no_session(wrong):
    body = """
    import ast
    wrong = ast.literal_eval(sys.argv[1])
    for _ in range(2):
        try:
            ray.attach(wrong)
            say("came back")
        except (ValueError, OSError, RayError) as error:
            say("refused")
    say(ray.is_initialized())
    start(num_cpus=1)
    say(ray.get(ray.put("usable")))
    ray.shutdown()
    """
    with Driver(body, repr(wrong)) as driver:
        assert [driver.line() for _ in range(4)] == ["refused", "refused", "False", "usable"]
        driver.finish()


@pytest.mark.parametrize("wrong", [None, 3, b"bytes", ["list"]], ids=repr)
def test_a_session_is_a_string(wrong):
    body = """
    import ast
    try:
        ray.attach(ast.literal_eval(sys.argv[1]))
    except TypeError:
        say("TypeError")
    """
    with Driver(body, repr(wrong)) as driver:
        assert driver.line() == "TypeError"
        driver.finish()


def test_a_truncated_and_a_changed_string(name):
    body = """
    name = sys.argv[1]
    changed = name[:-1] + ("0" if name[-1] != "0" else "1")
    for wrong in (name[:-1], name[: len(name) // 2], name[1:], name + "x", changed):
        try:
            ray.attach(wrong)
            say("came back with", wrong)
            ray.shutdown()
        except (ValueError, OSError, RayError):
            say("refused")
    """
    with Driver(body, name) as driver:
        assert [driver.line() for _ in range(5)] == ["refused"] * 5
        driver.finish()


def test_attach_while_a_session_is_open(name):
    with pytest.raises(RuntimeError):
        ray.attach(name)
    assert ray.get(ray.put("usable")) == "usable"


def test_a_closed_session_cannot_be_attached():
    host = """
    context = start(num_cpus=1)
    say(context.address_info["session"])
    input()
    ray.shutdown()
    say("closed")
    input()
    """
    visitor = """
    try:
        ray.attach(sys.argv[1])
        say("came back")
    except (ValueError, OSError, RayError) as error:
        say("refused")
    """
    with Driver(host) as driver:
        name = driver.line()
        driver.tell("close")
        assert driver.line() == "closed"
        with Driver(visitor, name) as other:
            assert other.line() == "refused"
            other.finish()
        driver.tell("end")
        driver.finish()


@pytest.mark.parametrize("how", ["close", "kill"])
def test_a_guest_whose_session_ends_hears_of_it(how):
    """No hang and no crash: what it has mapped stays readable, what it asks for is refused."""
    host = """
    context = start(num_cpus=1)

    @ray.remote
    def sleep():
        import time
        time.sleep(600)

    ready, never = ray.put(b"d" * 1_000_000), sleep.remote()
    say(context.address_info["session"], ready.hex(), never.hex())
    input()
    ray.shutdown()
    say("closed")
    input()
    """
    body = """
    ready, never = map(ref_of, sys.argv[2:4])
    data = ray.get(ready)
    say("attached")
    try:
        ray.get(never, timeout=60)
        say("came back")
    except GetTimeoutError:
        say("timed out")
    except (RayError, RuntimeError) as error:
        say("refused")
    say(data == b"d" * 1_000_000)
    try:
        ray.put(1)
        say("came back")
    except (RayError, RuntimeError):
        say("refused")
    ray.shutdown()
    say(ray.is_initialized())
    """
    with Driver(host) as driver:
        name, ready, never = driver.line().split()
        with guest(body, name, ready, never) as visitor:
            assert visitor.line() == "attached"
            time.sleep(0.2)
            if how == "close":
                driver.tell("close")
                assert driver.line() == "closed"
            else:
                os.kill(driver.pid, signal.SIGKILL)
            assert visitor.line(10) == "refused"
            assert visitor.line() == "True"
            assert visitor.line() == "refused"
            assert visitor.line() == "False"
            visitor.finish()
        if how == "close":
            driver.tell("end")
            driver.finish()


def test_a_guest_may_leave_and_come_back(name):
    body = """
    for number in range(5):
        if number:
            ray.attach(sys.argv[1])
        assert ray.is_initialized()
        assert ray.get(ray.put(number)) == number
        ray.shutdown()
        assert not ray.is_initialized()
    start(num_cpus=1)
    say(ray.get(ray.put("a session of its own")))
    ray.shutdown()
    """
    before = used_bytes()
    with guest(body, name) as driver:
        assert driver.line() == "a session of its own"
        driver.finish()
    wait_until(lambda: used_bytes() <= before, 5)


@pytest.mark.parametrize("wrong", [b"", b"\0", b"x" * 7, b"x" * 1000], ids=len)
def test_bytes_that_are_no_id(wrong):
    with pytest.raises((ValueError, RayError)):
        ray.get(ray.ObjectRef(wrong), timeout=1)


@pytest.mark.parametrize("wrong", [None, 3, "0" * 32], ids=repr)
def test_an_id_is_bytes(wrong):
    with pytest.raises(TypeError):
        ray.ObjectRef(wrong)


def test_refs_that_nobody_has():
    ref = ray.put("gone soon")
    text = ref.hex()
    del ref
    gc.collect()
    for unknown in (text, "00" * (len(text) // 2), "ff" * (len(text) // 2)):
        with pytest.raises((ValueError, RayError)) as info:
            ray.get(ref_of(unknown), timeout=2)
        assert not isinstance(info.value, TimeoutError), "to wait for what cannot come is no answer"
    assert ray.get(ray.put("usable")) == "usable"


def test_a_ref_of_another_session_is_refused(name):
    host = """
    start(num_cpus=1)
    ref = ray.put("theirs")
    say(ref.hex())
    input()
    ray.shutdown()
    """
    mine = [ray.put(number) for number in range(8)]
    with Driver(host) as driver:
        foreign = driver.line()
        with pytest.raises((ValueError, RayError)) as info:
            ray.get(ref_of(foreign), timeout=2)
        assert not isinstance(info.value, TimeoutError)
        driver.tell("end")
        driver.finish()
    assert ray.get(mine) == list(range(8))


def test_the_host_does_not_wait_for_its_guests():
    host = """
    import time
    context = start(num_cpus=1)
    say(context.address_info["session"])
    input()
    begin = time.monotonic()
    ray.shutdown()
    say(time.monotonic() - begin < 5)
    """
    with Driver(host) as driver, guest("\n    say('attached')\n    time.sleep(600)\n", driver.line()) as visitor:
        assert visitor.line() == "attached"
        driver.tell("close")
        assert driver.line() == "True"
        driver.finish()
        assert alive(visitor.pid), "the guest is no child of the session: it decides itself when to end"


def test_a_guest_that_only_looks_reads_and_makes_nothing(name):
    before = used_bytes()
    ref = ray.put({"from": "host", "data": b"h" * 500_000})
    body = """
    from park.exceptions import PeerRefusedError
    ray.shutdown()
    ray.attach(sys.argv[1], read_only=True)
    theirs = ref_of(sys.argv[2])
    say(len(ray.get(theirs)["data"]), ray.wait([theirs])[0] == [theirs])
    for make in (lambda: ray.put(1), lambda: ray.put(b"x" * 500_000), lambda: ray.remote(lambda: 1).remote()):
        try:
            make()
        except PeerRefusedError as error:
            say(isinstance(error, PermissionError), "read-only" in str(error))
    input()
    del theirs
    gc.collect()
    say("released")
    input()
    """
    with guest(body, name, ref.hex()) as driver:
        assert driver.line() == "500000 True"
        assert [driver.line() for _ in range(3)] == ["True True"] * 3
        # The guest's is the last reference: the session frees what it kept, though the guest itself cannot.
        del ref
        gc.collect()
        assert used_bytes() > before
        driver.tell("release")
        assert driver.line() == "released"
        wait_until(lambda: used_bytes() <= before)
        driver.tell("done")
        driver.finish()
