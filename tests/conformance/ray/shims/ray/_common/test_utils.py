"""What Ray's tests share: waiting for a condition, actors to signal by, programs in processes of their own."""

import asyncio
import inspect
import subprocess
import sys
import time

import ray


@ray.remote(num_cpus=0)
class SignalActor:
    def __init__(self):
        self.event = asyncio.Event()
        self.waiters = 0

    def send(self, clear=False):
        self.event.set()
        if clear:
            self.event.clear()

    async def wait(self, should_wait=True):
        if should_wait:
            self.waiters += 1
            await self.event.wait()
            self.waiters -= 1

    async def cur_num_waiters(self):
        return self.waiters


@ray.remote(num_cpus=0)
class Semaphore:
    def __init__(self, value=1):
        self.semaphore = asyncio.Semaphore(value=value)

    async def acquire(self):
        await self.semaphore.acquire()

    async def release(self):
        self.semaphore.release()

    async def locked(self):
        return self.semaphore.locked()


def wait_for_condition(condition_predictor, timeout=10, retry_interval_ms=100, raise_exceptions=False, **kwargs):
    """Ask again and again until it holds; what it raises is a no."""
    end, last = time.monotonic() + timeout, None
    while time.monotonic() <= end:
        try:
            if condition_predictor(**kwargs):
                return
        except Exception as error:
            if raise_exceptions:
                raise
            last = error
        time.sleep(retry_interval_ms / 1000)
    raise RuntimeError(f"The condition wasn't met before the timeout expired. Last exception: {last!r}")


async def async_wait_for_condition(condition_predictor, timeout=10, retry_interval_ms=100, **kwargs):
    """As `wait_for_condition`, for coroutines and in them."""
    end, last = time.monotonic() + timeout, None
    while time.monotonic() <= end:
        try:
            met = condition_predictor(**kwargs)
            if await met if inspect.isawaitable(met) else met:
                return
        except Exception as error:
            last = error
        await asyncio.sleep(retry_interval_ms / 1000)
    raise RuntimeError(f"The condition wasn't met before the timeout expired. Last exception: {last!r}")


def run_string_as_driver(driver_script, env=None, encode="utf-8", timeout=300):
    """Run a program, and give what it printed."""
    done = subprocess.run(
        [sys.executable, "-"],
        input=driver_script.encode(encode),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=env,
        timeout=timeout,
    )
    output = done.stdout.decode(encode)
    if done.returncode:
        print(output)
        raise subprocess.CalledProcessError(done.returncode, done.args, done.stdout)
    return output


def is_named_tuple(kind):
    """Whether it is a class that `namedtuple` made."""
    return kind.__bases__ == (tuple,) and isinstance(getattr(kind, "_fields", None), tuple)


def _metrics(name):
    from ray.absent import Absent

    return Absent(name, "Ray's metrics agents")


MetricSamplePattern = _metrics("MetricSamplePattern")
PrometheusTimeseries = _metrics("PrometheusTimeseries")
fetch_prometheus_metrics = _metrics("fetch_prometheus_metrics")
