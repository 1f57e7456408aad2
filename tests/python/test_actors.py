"""Actors: state, order, names, handles that travel, and the end of an actor that nobody can reach."""

import gc
import os
import time

import park as ray
import pytest
from helpers import ON_RAY, SOON, alive, wait_until, wait_until_dead
from park.exceptions import ActorDiedError, RayActorError, RayTaskError

SESSION = {"num_cpus": 4, "namespace": "tests"}
pytestmark = pytest.mark.usefixtures("session")


@ray.remote
class Counter:
    """Counts."""

    unit = "calls"

    def __init__(self, start=0, *, step=1):
        self.value = start
        self.step = step

    def bump(self, by=None):
        self.value += self.step if by is None else by
        return self.value

    def read(self):
        return self.value

    def pid(self):
        return os.getpid()

    def fail(self, text):
        raise ValueError(text)

    def several(self):
        return 1, 2

    def echo(self, *args, **kwargs):
        return args, kwargs

    def sleep(self, seconds):
        time.sleep(seconds)
        return self.value


def test_state_lives_between_calls():
    counter = Counter.remote()
    assert ray.get([counter.bump.remote() for _ in range(50)], timeout=SOON) == list(range(1, 51))
    other = Counter.remote(100, step=-1)
    assert ray.get([other.bump.remote(), other.bump.remote(by=10), other.read.remote()], timeout=SOON) == [99, 109, 109]
    assert ray.get(counter.read.remote()) == 50


@pytest.mark.process_only("looks at process ids")
def test_each_actor_has_a_process_of_its_own():
    actors = [Counter.remote() for _ in range(3)]
    pids = ray.get([actor.pid.remote() for actor in actors], timeout=SOON)
    assert len({*pids, os.getpid()}) == 4
    assert ray.get(actors[0].pid.remote()) == pids[0]


def test_arguments_of_every_kind():
    five = ray.put(5)
    counter = Counter.remote(five, step=five)
    assert ray.get(counter.bump.remote(), timeout=SOON) == 10
    big = b"b" * 2_000_000
    args, kwargs = ray.get(counter.echo.remote(1, five, [five], big, key=five, other=big), timeout=SOON)
    assert args == (1, 5, [five], big)
    assert kwargs == {"key": 5, "other": big}


def test_wrong_calls_are_refused_at_once():
    counter = Counter.remote()
    with pytest.raises(TypeError):
        counter.bump.remote(1, 2)
    with pytest.raises(TypeError):
        counter.fail.remote()
    with pytest.raises(TypeError):
        counter.bump.remote(no_such=1)
    with pytest.raises(TypeError):
        Counter.remote(1, 2)
    with pytest.raises(TypeError):
        Counter.remote(no_such=1)
    with pytest.raises(AttributeError):
        counter.no_such_method.remote()
    with pytest.raises(TypeError, match="Actors cannot be instantiated directly.*Counter.remote"):
        Counter()
    with pytest.raises(TypeError, match="Actor methods cannot be called directly.*bump.remote"):
        counter.bump()
    assert ray.get(counter.bump.remote(), timeout=SOON) == 1


def test_calls_run_in_the_order_they_were_made():
    """A call whose argument is late holds back the calls behind it: order is a promise to each caller."""

    @ray.remote
    def late(value):
        time.sleep(0.3)
        return value

    @ray.remote
    class Log:
        def __init__(self):
            self.seen = []

        def add(self, value):
            self.seen.append(value)
            return list(self.seen)

    log = Log.remote()
    refs = [
        log.add.remote(late.remote("first")),
        log.add.remote("second"),
        log.add.remote(late.remote("third")),
        log.add.remote("fourth"),
    ]
    assert ray.get(refs[-1], timeout=SOON) == ["first", "second", "third", "fourth"]
    assert ray.get(refs[0]) == ["first"]


def test_a_late_argument_of_the_constructor_holds_back_the_calls():
    @ray.remote
    def late():
        time.sleep(0.3)
        return 7

    counter = Counter.remote(late.remote())
    assert ray.get(counter.read.remote(), timeout=SOON) == 7


def test_one_call_runs_at_a_time():
    @ray.remote
    class Guarded:
        def __init__(self):
            self.inside = 0

        def enter(self):
            self.inside += 1
            time.sleep(0.005)
            alone = self.inside == 1
            self.inside -= 1
            return alone

    guarded = Guarded.remote()

    @ray.remote(num_cpus=0)
    def call(actor):
        return all(ray.get([actor.enter.remote() for _ in range(10)]))

    assert all(ray.get([call.remote(guarded) for _ in range(3)], timeout=SOON))


def test_an_exception_leaves_the_actor_alive():
    counter = Counter.remote(3)
    with pytest.raises(RayTaskError) as info:
        ray.get(counter.fail.remote("on purpose"), timeout=SOON)
    assert isinstance(info.value, ValueError)
    assert "raise ValueError(text)" in str(info.value)
    assert "Counter.fail" in str(info.value)
    assert not isinstance(info.value, RayActorError)
    assert ray.get(counter.read.remote()) == 3


def test_the_exception_of_an_argument_is_the_exception_of_the_call():
    @ray.remote
    def broken():
        raise KeyError("argument")

    counter = Counter.remote(1)
    with pytest.raises(KeyError):
        ray.get(counter.bump.remote(broken.remote()), timeout=SOON)
    assert ray.get(counter.read.remote(), timeout=SOON) == 1


def test_an_exception_in_the_constructor_is_the_death_of_the_actor():
    @ray.remote
    class Broken:
        def __init__(self):
            raise RuntimeError("cannot start")

        def method(self):
            return 1

    broken = Broken.remote()
    for _ in range(2):
        with pytest.raises(ActorDiedError) as info:
            ray.get(broken.method.remote(), timeout=SOON)
        assert "cannot start" in str(info.value)
        assert isinstance(info.value, RayActorError)


def test_several_returns():
    counter = Counter.remote()
    first, second = counter.several.options(num_returns=2).remote()
    assert ray.get([first, second], timeout=SOON) == [1, 2]
    assert counter.bump.options(num_returns=0).remote() is None
    assert ray.get(counter.read.remote(), timeout=SOON) == 1
    for ref in counter.several.options(num_returns=3).remote():
        with pytest.raises(ValueError):
            ray.get(ref, timeout=SOON)


def test_methods_of_every_kind():
    class Base:
        def inherited(self):
            return f"from {type(self).__name__}"

        def overridden(self):
            return "base"

    @ray.remote
    class Derived(Base):
        limit = 5

        @staticmethod
        def static(x):
            return x + 1

        @classmethod
        def of_class(cls):
            return cls.limit

        def overridden(self):
            return "derived, " + super().overridden()

        def __len__(self):
            return 3

    derived = Derived.remote()
    calls = [derived.inherited, derived.of_class, derived.overridden]
    assert ray.get([call.remote() for call in calls], timeout=SOON)[1:] == [5, "derived, base"]
    assert ray.get(derived.static.remote(1), timeout=SOON) == 2
    assert ray.get(derived.__len__.remote(), timeout=SOON) == 3


def test_remote_as_a_plain_call_and_options():
    class Plain:
        def where(self):
            return "here"

    actor = ray.remote(Plain).options(num_cpus=0.5).remote()
    assert ray.get(actor.where.remote(), timeout=SOON) == "here"
    actor = ray.remote(num_cpus=0)(Plain).remote()
    assert ray.get(actor.where.remote(), timeout=SOON) == "here"


def test_a_handle_is_an_argument():
    @ray.remote(num_cpus=0)
    def bump(counter, times):
        return ray.get([counter.bump.remote() for _ in range(times)])[-1]

    @ray.remote(num_cpus=0)
    class Client:
        def __init__(self, counters):
            self.counters = counters

        def bump(self):
            return ray.get([counter.bump.remote() for counter in self.counters])

    counter = Counter.remote()
    assert ray.get(bump.remote(counter, 3), timeout=SOON) == 3
    assert ray.get(bump.remote(counter=ray.put(counter), times=2), timeout=SOON) == 5
    assert ray.get(Client.remote([counter]).bump.remote(), timeout=SOON) == [6]
    assert ray.get(ray.get(ray.put({"c": counter}))["c"].read.remote()) == 6


def test_many_callers_of_one_actor():
    @ray.remote(num_cpus=0)
    def bump(counter):
        values = ray.get([counter.bump.remote() for _ in range(25)])
        return values == sorted(values)

    counter = Counter.remote()
    assert all(ray.get([bump.remote(counter) for _ in range(4)], timeout=SOON))
    assert ray.get(counter.read.remote()) == 100


def test_an_actor_made_by_a_task_lives_on_with_its_handle():
    @ray.remote
    def make():
        counter = Counter.remote(41)
        ray.get(counter.read.remote())
        return counter

    counter = ray.get(make.remote(), timeout=SOON)
    assert ray.get(counter.bump.remote(), timeout=SOON) == 42


def test_actors_call_each_other_and_themselves():
    @ray.remote
    class Player:
        def __init__(self):
            self.hits = 0

        def play(self, me, other, rally):
            self.hits += 1
            # The next hit is not waited for: an actor that waits for a call to itself would wait for ever.
            return [other.play.remote(other, me, rally - 1)] if rally else "out"

        def later(self, me):
            return [me.count.remote()]

        def count(self):
            return self.hits

    left, right = Player.remote(), Player.remote()
    value = ray.get(left.play.remote(left, right, 9), timeout=SOON)
    while isinstance(value, list):
        value = ray.get(value[0], timeout=SOON)
    assert value == "out"
    assert ray.get([left.count.remote(), right.count.remote()], timeout=SOON) == [5, 5]
    assert ray.get(ray.get(left.later.remote(left), timeout=SOON)[0], timeout=SOON) == 5


def test_an_actor_submits_tasks_and_keeps_refs():
    @ray.remote(num_cpus=0)
    def square(x):
        return x * x

    @ray.remote
    class Boss:
        def __init__(self):
            self.refs = []

        def start(self, n):
            self.refs += [square.remote(number) for number in range(n)]

        def collect(self):
            return ray.get(self.refs)

        def first(self):
            return ray.wait(self.refs, num_returns=1)[0]

    boss = Boss.remote()
    ray.get(boss.start.remote(6), timeout=SOON)
    assert ray.get(boss.collect.remote(), timeout=SOON) == [0, 1, 4, 9, 16, 25]
    (ref,) = ray.get(boss.first.remote(), timeout=SOON)
    assert ray.get(ref) in (0, 1, 4, 9, 16, 25)


def test_named_actors():
    counter = Counter.options(name="the counter").remote(5)
    found = ray.get_actor("the counter")
    assert ray.get(found.bump.remote(), timeout=SOON) == 6

    @ray.remote
    def find():
        return ray.get(ray.get_actor("the counter").bump.remote())

    assert ray.get(find.remote(), timeout=SOON) == 7
    with pytest.raises(ValueError, match="the counter"):
        Counter.options(name="the counter").remote()
    again = Counter.options(name="the counter", get_if_exists=True).remote(1000)
    assert ray.get(again.read.remote(), timeout=SOON) == 7
    assert ray.get(counter.read.remote()) == 7


def test_a_missing_name():
    with pytest.raises(ValueError, match="Failed to look up actor with name 'nobody'"):
        ray.get_actor("nobody")
    with pytest.raises(ValueError, match="Please supply a non-empty value to get_actor"):
        ray.get_actor("")


def test_get_if_exists_makes_the_first():
    first = Counter.options(name="lazy", get_if_exists=True).remote(1)
    second = Counter.options(name="lazy", get_if_exists=True).remote(2)
    assert ray.get([first.bump.remote(), second.bump.remote()], timeout=SOON) == [2, 3]


def test_names_belong_to_a_namespace():
    here = Counter.options(name="twin").remote(1)
    there = Counter.options(name="twin", namespace="elsewhere").remote(2)
    assert ray.get([here.read.remote(), there.read.remote()], timeout=SOON) == [1, 2]
    assert ray.get(ray.get_actor("twin").read.remote(), timeout=SOON) == 1
    assert ray.get(ray.get_actor("twin", namespace="elsewhere").read.remote(), timeout=SOON) == 2
    with pytest.raises(ValueError):
        ray.get_actor("twin", namespace="nowhere")


def test_a_name_is_free_after_the_death():
    for value in (1, 2):
        counter = Counter.options(name="mortal").remote(value)
        assert ray.get(counter.read.remote(), timeout=SOON) == value
        ray.kill(counter)

        def gone():
            try:
                ray.get_actor("mortal")
            except ValueError:
                return True

        wait_until(gone)


def test_an_actor_ends_with_its_last_handle():
    counter = Counter.remote()
    pid = ray.get(counter.pid.remote(), timeout=SOON)
    copy = ray.get(ray.put([counter]))[0]
    del counter
    gc.collect()
    time.sleep(0.1)
    assert alive(pid)
    assert ray.get(copy.bump.remote(), timeout=SOON) == 1
    del copy
    gc.collect()
    wait_until_dead(pid)


def test_calls_made_before_the_handle_went_are_finished():
    counter = Counter.remote(9)
    refs = [counter.sleep.remote(0.05) for _ in range(4)]
    del counter
    gc.collect()
    assert ray.get(refs, timeout=SOON) == [9, 9, 9, 9]
    assert ray.get(Counter.remote(3).bump.remote(), timeout=SOON) == 4


def test_kill():
    counter = Counter.remote()
    pid = ray.get(counter.pid.remote(), timeout=SOON)
    running = counter.sleep.remote(60)
    ray.kill(counter)
    wait_until_dead(pid)
    for ref in (running, counter.read.remote()):
        with pytest.raises(ActorDiedError):
            ray.get(ref, timeout=SOON)
    ray.kill(counter)


def test_kill_takes_an_actor():
    for wrong in (ray.put(1), 3, Counter):
        with pytest.raises(ValueError, match=r"ray.kill\(\) only supported for actors"):
            ray.kill(wrong)


def test_many_actors():
    count = 4 if ON_RAY else 24
    actors = [Counter.remote(number) for number in range(count)]
    assert ray.get([actor.read.remote() for actor in actors], timeout=SOON) == list(range(count))


def test_a_thousand_calls():
    counter = Counter.remote()
    assert ray.get([counter.bump.remote() for _ in range(1000)], timeout=SOON)[-1] == 1000


def test_unpicklable_arguments_and_results():
    import threading

    @ray.remote
    class Odd:
        def __init__(self, x=None):
            self.x = x

        def lock(self):
            return threading.Lock()

        def fine(self):
            return "fine"

    with pytest.raises(TypeError, match="lock"):
        Odd.remote(threading.Lock())
    odd = Odd.remote()
    with pytest.raises(TypeError, match="lock"):
        ray.get(odd.lock.remote(), timeout=SOON)
    assert ray.get(odd.fine.remote(), timeout=SOON) == "fine"


def test_an_actor_keeps_what_cannot_be_pickled():
    import threading

    @ray.remote
    class Holder:
        def __init__(self):
            self.lock = threading.Lock()
            self.file = open(os.devnull)  # noqa: SIM115

        def use(self):
            with self.lock, self.file:
                return self.file.read()

    assert ray.get(Holder.remote().use.remote(), timeout=SOON) == ""


def test_an_attribute_does_not_hide_a_method():
    @ray.remote
    class Shadows:
        def __init__(self):
            self.items = self.kind = self.fixed = [1]

        def items(self):
            return self.items

        @classmethod
        def kind(cls):
            return cls.__name__

        @staticmethod
        def fixed(value):
            return value

    actor = Shadows.remote()
    refs = [actor.items.remote(), actor.kind.remote(), actor.fixed.remote(3)]
    assert ray.get(refs, timeout=SOON) == [[1], "Shadows", 3]
