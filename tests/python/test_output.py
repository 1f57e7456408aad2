"""What workers print reaches the driver, with who printed it."""

import os
import re
import subprocess
import sys
import time

import park as ray
import pytest
from helpers import ON_RAY, Driver, fresh_python, wait_until

pytestmark = [pytest.mark.park_only]

if not ON_RAY:
    from park.output.dedup import Dedup

START = "import park, sys, os, time\npark.init(num_cpus=2)\n"


def lines_of(program, env=None):
    """Standard output and error of a program, once it has ended."""
    done = subprocess.run(
        [sys.executable, "-c", START + program],
        capture_output=True,
        text=True,
        timeout=50,
        env={**os.environ, **(env or {})},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines(), done.stderr.splitlines()


def test_tasks_and_actors_print_with_name_and_process():
    out, err = lines_of("""
@park.remote
def speak():
    print("from a task")
    print("to the error stream", file=sys.stderr)
    return os.getpid()

@park.remote
class Speaker:
    def speak(self):
        print("from an actor")
        return os.getpid()

speaker = Speaker.remote()
refs = [speak.remote(), speak.options(name="other").remote(), speaker.speak.remote()]
sys.stdout.write(" ".join(map(str, park.get(refs))) + "\\n")
""")
    (pids,) = [line for line in out if not line.startswith("(")]
    first, other, actor = pids.split()
    assert f"(speak pid={first}) from a task" in out and f"(Speaker pid={actor}) from an actor" in out
    assert f"(other pid={other}) from a task" in out or first != other  # de-duplicated if two processes said it
    assert f"(speak pid={first}) to the error stream" in err


def test_what_c_code_and_children_print_comes_too():
    out, _ = lines_of("""
import subprocess
@park.remote
def speak():
    print("named")
    os.write(1, b"raw line\\n")
    subprocess.run(["echo", "from a child"])
park.get(speak.remote())
""")
    assert [re.sub(r"pid=\d+", "pid=N", line) for line in out] == [
        "(speak pid=N) named",
        "(speak pid=N) raw line",
        "(speak pid=N) from a child",
    ]


def test_lines_are_whole_however_they_are_written():
    out, _ = lines_of("""
@park.remote
def speak(word):
    for part in (word, " ", "and the rest", "\\n", "äöü\\n", "no end"):
        sys.stdout.write(part)
        sys.stdout.flush()
    sys.stdout.write("")
park.get([speak.remote("alpha"), speak.remote("beta")])
""", {"RAY_DEDUP_LOGS": "0"})  # fmt: skip
    said = sorted(re.sub(r"\(speak pid=\d+\) ", "", line) for line in out)
    assert said == sorted(["alpha and the rest", "beta and the rest", "äöü", "äöü", "no end", "no end"])


def test_a_progress_bar_leaves_its_last_state_only():
    _, err = lines_of("""
@park.remote
def bar():
    for step in range(20):
        sys.stderr.write(f"\\r{step}/20 done")
        sys.stderr.flush()
    sys.stderr.write("\\n")
    print("after", file=sys.stderr)
park.get(bar.remote())
""")
    assert [line.partition(") ")[2] for line in err] == ["19/20 done", "after"]


def test_a_line_without_an_end_is_shown_after_a_while(capsys, fresh):
    fresh(num_cpus=1)

    @ray.remote
    def ask():
        sys.stdout.write("a question? ")
        sys.stdout.flush()
        time.sleep(2)

    ref = ask.remote()
    seen = []
    wait_until(lambda: seen.append(capsys.readouterr().out) or "a question?" in "".join(seen))
    ray.get(ref)


def test_it_goes_where_the_drivers_sys_stdout_goes(capsys, fresh):
    fresh(num_cpus=1)
    ray.get(ray.remote(lambda: print("into the cell")).remote())
    seen = []
    wait_until(lambda: seen.append(capsys.readouterr().out) or "into the cell" in "".join(seen))


def test_nothing_comes_if_it_is_not_wanted(capfd, fresh):
    fresh(num_cpus=1, log_to_driver=False)

    @ray.remote
    def speak():
        print("unheard")
        os.write(2, b"unheard\n")

    ray.get(speak.remote())
    ray.shutdown()
    assert "unheard" not in "".join(capfd.readouterr())


def test_the_last_words_of_a_worker_come_through():
    out, _ = lines_of("""
@park.remote(max_retries=0)
def die():
    print("last words")
    os._exit(1)
try:
    park.get(die.remote())
except park.exceptions.WorkerCrashedError:
    pass
""")
    assert any("last words" in line for line in out)


def test_much_output_loses_nothing():
    out, _ = lines_of("""
@park.remote
def talk(who):
    for number in range(5000):
        print("line", number, "x" * 50)
park.get([talk.remote(0), talk.remote(1)])
""", {"RAY_DEDUP_LOGS": "0"})  # fmt: skip
    assert len(out) == 10_000 and all(line.endswith("x" * 50) for line in out)


def test_a_driver_that_closed_its_stdout_lives():
    assert "fine" in fresh_python(
        START
        + """
@park.remote
def speak():
    print("to nobody")
sys.stdout.close()
sys.stdout = None
park.get([speak.remote() for _ in range(3)])
park.shutdown()
os.write(1, b"fine")
"""
    )


def test_the_zygote_and_orphans_keep_nobody_waiting():
    """A child of a worker that lives on holds the pipe open; shutdown does not wait for it."""
    with Driver("""
        import subprocess
        start(num_cpus=1)
        @ray.remote
        def leave():
            return subprocess.Popen(["sleep", "60"], start_new_session=True).pid
        pid = ray.get(leave.remote())
        ray.shutdown()
        os.kill(pid, 9)
        say("down")
    """) as driver:
        assert driver.line() == "down"
        driver.finish()


# --- repetition ---------------------------------------------------------------------------------------------------------------------


def dedup(**options):
    return Dedup(**{"window": 5.0, "enabled": True, "allow": None, "skip": None, **options})


def test_the_second_process_is_held_back_and_counted():
    lines = dedup()
    assert lines.add("f", 1, "loading step 1", False, 0.0)
    assert lines.add("f", 1, "loading step 2", False, 0.1), "one process may repeat itself"
    assert not lines.add("f", 2, "loading step 1", False, 0.2)
    assert not lines.add("f", 3, "loading step 7", False, 0.3)
    assert lines.add("f", 3, "another thing", False, 0.3)
    assert lines.next_due() == 5.0 and lines.due(4.0) == []
    ((name, pid, text, error),) = lines.due(5.1)
    assert (name, pid, error) == ("f", 3, False) and text.startswith("loading step 7 [repeated 2x across cluster]")
    assert lines.next_due() is None and lines.rest() == []
    assert lines.add("f", 2, "loading step 1", False, 6.0)


def test_one_repetition_is_printed_as_it_is():
    lines = dedup()
    lines.add("f", 1, "hello", True, 0.0)
    lines.add("f", 2, "hello", True, 0.0)
    assert lines.rest() == [("f", 2, "hello", True)]


def test_patterns_that_are_always_or_never_printed():
    lines = dedup(allow="important", skip="noise")
    assert all(lines.add("f", pid, "important", False, 0.0) for pid in range(3))
    assert not lines.add("f", 1, "noise", False, 0.0)
    assert all(dedup(enabled=False).add("f", pid, "x", False, 0.0) for pid in range(3))
