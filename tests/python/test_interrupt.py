"""Ctrl-C: SIGINT raises KeyboardInterrupt promptly in every blocking call, and the session goes on.

A terminal sends SIGINT to the whole foreground group, so workers and the zygote get it too and must not mind.
"""

import time

import pytest
from helpers import SOON, Driver

#: From the signal to the program's answer. Blocking calls look for signals at least every 100 ms.
PROMPT = 5.0

PROGRAM = """
    import time
    start(num_cpus=1, object_store_memory=100_000_000)

    @ray.remote
    def sleep(seconds):
        time.sleep(seconds)
        return seconds

    @ray.remote
    class Actor:
        def add(self, x):
            return x + 1

        def sleep(self, seconds):
            time.sleep(seconds)

    actor = Actor.remote()
    assert ray.get([sleep.remote(0), actor.add.remote(1)]) == [0, 2]
    long = sleep.remote(SECONDS)
    say("blocks")
    try:
        BLOCK
        say("came back")
    except KeyboardInterrupt:
        say("interrupted")
    assert ray.get(ray.put("usable")) == "usable"
    assert ray.get(actor.add.remote(2), timeout=30) == 3
    ready, pending = ray.wait([long], timeout=0)
    say("usable", len(ready))
    ray.shutdown()
    say("closed")
"""

BLOCKS = {
    "get": "ray.get(long)",
    "get with a timeout": "ray.get(long, timeout=600)",
    "get of many": "ray.get([ray.put(1), long])",
    "wait": "ray.wait([long])",
    "wait with a timeout": "ray.wait([ray.put(1), long], num_returns=2, timeout=600)",
    "get of an actor's call": "ray.get(actor.add.remote(long))",
}


def run(block, group, seconds=600):
    body = PROGRAM.replace("BLOCK", block).replace("SECONDS", str(seconds))
    if "actor.add.remote(long)" in block:
        # The call in flight holds the actor's later calls back by its order: ask another one.
        body = body.replace(
            "ray.get(actor.add.remote(2), timeout=30)",
            "ray.get(Actor.options(num_cpus=0).remote().add.remote(2), timeout=30)",
        )
    with Driver(body) as driver:
        assert driver.line() == "blocks"
        time.sleep(0.3)
        started = time.monotonic()
        driver.interrupt(group)
        assert driver.line() == "interrupted"
        assert time.monotonic() - started < PROMPT
        assert driver.line() == "usable 0"
        assert driver.line() == "closed"
        driver.finish()


@pytest.mark.park_only
@pytest.mark.parametrize("block", BLOCKS.values(), ids=BLOCKS)
def test_an_interrupt_of_a_blocking_call(block):
    run(block, group=False)


def test_an_interrupt_of_get_on_either_runtime():
    run("ray.get(long)", group=False)


@pytest.mark.park_only
@pytest.mark.parametrize("block", ["ray.get(long)", "ray.wait([long])"])
def test_an_interrupt_from_the_terminal_spares_the_workers(block):
    run(block, group=True)


@pytest.mark.park_only
def test_an_interrupt_of_a_put_into_a_full_store():
    """A full store blocks or refuses; in a loop over both the interrupt must come through either way."""
    program = """
        import time
        start(num_cpus=1, object_store_memory=64_000_000, _object_spilling_limit=0)
        kept = []
        def fill():
            while True:
                try:
                    kept.append(ray.put(bytes(4_000_000)))
                except ObjectStoreFullError:
                    return
        fill()
        say("full")
        try:
            while True:
                try:
                    kept.append(ray.put(bytes(4_000_000)))
                except ObjectStoreFullError:
                    pass
        except KeyboardInterrupt:
            say("interrupted")
        del kept[::2]
        assert len(ray.get(ray.put(bytes(4_000_000)))) == 4_000_000
        assert len(ray.get(kept[0])) == 4_000_000
        say("usable")
        ray.shutdown()
    """
    with Driver(program) as driver:
        assert driver.line() == "full"
        time.sleep(0.3)
        started = time.monotonic()
        driver.interrupt(group=False)
        assert driver.line() == "interrupted"
        assert time.monotonic() - started < PROMPT
        assert driver.line() == "usable"
        driver.finish()


@pytest.mark.park_only
def test_a_program_that_does_not_catch_the_interrupt_ends():
    program = """
        start(num_cpus=1)

        @ray.remote
        def sleep():
            import time
            time.sleep(600)

        ref = sleep.remote()
        say("blocks")
        ray.get(ref)
    """
    with Driver(program) as driver:
        assert driver.line() == "blocks"
        time.sleep(0.3)
        driver.interrupt(group=True)
        assert driver.process.wait(PROMPT) != 0
    assert "KeyboardInterrupt" in "".join(driver.noise)


@pytest.mark.park_only
def test_another_signal_handler_runs_while_a_call_blocks():
    program = """
        import signal, time
        start(num_cpus=1)

        @ray.remote
        def sleep():
            time.sleep(1.0)
            return "result"

        signal.signal(signal.SIGUSR1, lambda *_: say("handled"))
        ref = sleep.remote()
        say("blocks")
        say(ray.get(ref))
        ray.shutdown()
    """
    with Driver(program) as driver:
        assert driver.line() == "blocks"
        time.sleep(0.3)
        driver.process.send_signal(10)
        assert driver.line() == "handled"
        assert driver.line(SOON) == "result"
        driver.finish()


@pytest.mark.park_only
def test_interrupts_in_a_row():
    program = """
        import time
        start(num_cpus=1)

        @ray.remote
        def sleep():
            time.sleep(600)

        ref = sleep.remote()
        for _ in range(10):
            try:
                say("blocks")
                ray.get(ref)
            except KeyboardInterrupt:
                say("interrupted")
        ray.shutdown()
    """
    with Driver(program) as driver:
        for _ in range(10):
            assert driver.line() == "blocks"
            time.sleep(0.03)
            driver.interrupt(group=True)
            assert driver.line(PROMPT) == "interrupted"
        driver.finish()
