"""vLLM's schedulers over park's pool: name one of them in `scheduler_cls`."""

from __future__ import annotations

from typing import Any

from vllm.v1.core.sched import async_scheduler, scheduler

from park.interop.vllm import install


class Scheduler(scheduler.Scheduler):
    """vLLM's scheduler; its pool is park's."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        install()
        super().__init__(*args, **kwargs)


class AsyncScheduler(async_scheduler.AsyncScheduler):
    """vLLM's scheduler for overlapped steps; its pool is park's."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        install()
        super().__init__(*args, **kwargs)
