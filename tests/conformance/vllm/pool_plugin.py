"""Loaded by pytest (`-p pool_plugin`) before vLLM's tests are: swaps the pool, and writes down how each case ended.

`PARK_VLLM_POOL` says whose pool is used, `PARK_VLLM_REPORT` where the report goes. The report counts the pools that were made, of either
kind, so that a run that was meant for park's pool and used vLLM's cannot pass for one.
"""

import inspect
import json
import logging
import os
import pathlib

import pytest

POOLS = {"park": 0, "vllm": 0}
CASES = {}


def pytest_configure():
    from vllm.v1.core import block_pool

    if os.environ["PARK_VLLM_POOL"] == "park":
        import park.interop.vllm

        park.interop.vllm.install()
    # Whichever class a test gets, its instances are counted by what holds their state.
    theirs = block_pool.BlockPool
    while theirs.__module__ != "vllm.v1.core.block_pool":
        theirs = theirs.__base__
    _count(theirs, "vllm")
    if block_pool.BlockPool is not theirs:
        _count(block_pool.BlockPool, "park")


def _count(cls, whose):
    init = cls.__init__

    def counted(self, *args, **kwargs):
        POOLS[whose] += 1
        init(self, *args, **kwargs)

    counted.__wrapped__ = init
    counted.__signature__ = inspect.signature(init)
    cls.__init__ = counted


@pytest.fixture
def caplog_vllm(caplog):
    """`caplog` of what vLLM's own logger says. vLLM's conftest has one, and is not loaded."""
    logger = logging.getLogger("vllm")
    level = logger.level
    logger.addHandler(caplog.handler)
    logger.setLevel(logging.INFO)
    yield caplog
    logger.setLevel(level)
    logger.removeHandler(caplog.handler)


@pytest.hookimpl(trylast=True)
def pytest_runtest_logreport(report):
    # A case that was begun and did not come to its end has not passed.
    case = CASES.setdefault(report.nodeid, {"outcome": "unfinished"})
    if report.when == "call" or report.skipped:
        case["outcome"] = report.outcome
    elif report.failed:
        case["outcome"] = "error"
    if not report.passed:
        case.setdefault("reason", _reason(report))


@pytest.hookimpl(trylast=True)
def pytest_collectreport(report):
    if report.failed:
        CASES[report.nodeid or "collection"] = {"outcome": "error", "reason": _reason(report)}


def _reason(report):
    crash = getattr(report.longrepr, "reprcrash", None)
    if crash is not None:
        return crash.message.strip()[:600]
    return str(report.longrepr).strip()[-600:]


def pytest_sessionfinish():
    report = {"pool": os.environ["PARK_VLLM_POOL"], "pools": POOLS, "cases": CASES}
    pathlib.Path(os.environ["PARK_VLLM_REPORT"]).write_text(json.dumps(report, indent=1))
