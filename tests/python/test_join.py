"""Drivers that join another process's session by its address, as Ray's programs name a cluster."""

import subprocess
import sys
import textwrap

import park as ray
import pytest
from helpers import wait_until

pytestmark = [pytest.mark.park_only, pytest.mark.process_only("joins from another process")]


@pytest.fixture
def address(fresh):
    return fresh(num_cpus=4, namespace="host").address_info["address"]


def drive(body, **variables):
    """What a program printed that ran to its end."""
    import os

    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(body)],
        capture_output=True,
        text=True,
        timeout=100,
        env={**os.environ, **variables},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@ray.remote
class Counter:
    def __init__(self):
        self.count = 0

    def add(self):
        self.count += 1
        return self.count


@pytest.mark.parametrize("way", ["argument", "RAY_ADDRESS", "auto"])
def test_a_driver_that_joins_has_tasks_actors_and_names(address, way):
    counter = Counter.options(name="counter").remote()
    assert ray.get(counter.add.remote()) == 1
    given = {"argument": f"{address!r}, ", "RAY_ADDRESS": "", "auto": "'auto', "}[way]
    printed = drive(
        f"""
        import park as ray
        with ray.init({given}namespace="host") as context:
            print(context["address"], ray.get(ray.remote(lambda: 7).remote()), ray.get(ray.get_actor("counter").add.remote()))

            @ray.remote
            class Kept:
                def ping(self):
                    return "pong"

            print(ray.get(Kept.options(name="kept", lifetime="detached").remote().ping.remote()))
            theirs = Kept.options(name="theirs").remote()
            ray.get(theirs.ping.remote())
            print(*sorted(ray.util.list_named_actors()))
            group = ray.util.placement_group([{{"CPU": 1}}])
            ray.get(group.ready())
        """,
        **({} if way == "argument" else {"RAY_ADDRESS": address}),
    )
    assert printed == [address, "7", "2", "pong", "counter", "kept", "theirs"]
    assert ray.get(ray.get_actor("kept").ping.remote()) == "pong"
    wait_until(lambda: sorted(ray.util.list_named_actors()) == ["counter", "kept"])
    wait_until(lambda: ray.available_resources().get("CPU") == 4)


def test_a_driver_without_a_namespace_has_one_of_its_own(address):
    body = f"""
    import park as ray
    ray.init({address!r})
    A = ray.remote(type("A", (), {{"ping": lambda self: "pong"}}))
    print(ray.get(A.options(name="mine", lifetime="detached").remote().ping.remote()))
    """
    assert drive(body) == drive(body) == ["pong"]
    assert ray.util.list_named_actors() == []
    assert len({row["namespace"] for row in ray.util.list_named_actors(all_namespaces=True)}) == 2


def test_an_environment_of_its_own(address):
    body = f"""
    import os
    import park as ray
    ray.init({address!r}, runtime_env={{"env_vars": {{"PARK_TEST_JOINED": "yes"}}}})
    print(ray.get(ray.remote(lambda: os.environ.get("PARK_TEST_JOINED")).remote()))
    """
    assert drive(body) == ["yes"]


def test_modules_beside_a_driver_are_found_by_its_tasks(address, tmp_path):
    (tmp_path / "beside.py").write_text("VALUE = 11\ndef value():\n    return VALUE\n")
    (tmp_path / "program.py").write_text(
        f"import beside\nimport park as ray\nray.init({address!r})\nprint(ray.get(ray.remote(beside.value).remote()))\n"
    )
    done = subprocess.run([sys.executable, tmp_path / "program.py"], capture_output=True, text=True, timeout=100)
    assert done.stdout.split() == ["11"], done.stderr


def test_what_a_session_has_is_the_sessions(address):
    body = f"""
    import park as ray
    for options in ({{"num_cpus": 1}}, {{"resources": {{"a": 1}}}}, {{"object_store_memory": 1 << 30}}):
        try:
            ray.init({address!r}, **options)
        except ValueError as error:
            print("must not be provided" in str(error))
    try:
        ray.init("park-00000000000000000000000000000000")
    except (ray.exceptions.RayError, ConnectionError) as error:
        print(type(error).__name__ != "")
    print(ray.is_initialized())
    """
    assert drive(body) == ["True"] * 4 + ["False"]


def test_a_killed_actor_loses_its_name_at_once(address):
    counter = Counter.options(name="hi", max_restarts=-1).remote()
    assert ray.util.list_named_actors() == ["hi"]
    ray.kill(counter, no_restart=False)
    assert ray.util.list_named_actors() == ["hi"]
    ray.kill(counter)
    assert ray.util.list_named_actors() == []


def test_a_handle_that_is_pickled_by_hand_names_its_actor(address):
    from park import cloudpickle

    counter = Counter.remote()
    again = cloudpickle.loads(cloudpickle.dumps(counter))
    assert again == counter and ray.get(again.add.remote()) == 1


def test_an_actors_death_says_whose_it_was(address):
    counter = Counter.remote()
    ray.get(counter.add.remote())
    ray.kill(counter)
    with pytest.raises(ray.exceptions.ActorDiedError) as caught:
        ray.get(counter.add.remote())
    assert caught.value.actor_id == counter._actor_id.hex()
