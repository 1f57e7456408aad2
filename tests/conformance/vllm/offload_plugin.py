"""Loaded by pytest (`-p offload_plugin`) before vLLM's tests are: swaps the offloading manager, and writes down how each case ended.

`PARK_VLLM_MANAGER` says whose manager is used, `PARK_VLLM_REPORT` where the report goes. The report counts the managers of either kind, so
that a run that was meant for park's and used vLLM's cannot pass for one.
"""

import json
import os
import pathlib
import sys

import pytest

MADE = {"park": 0, "vllm": 0}
CASES = {}


def pytest_configure():
    from vllm.v1.kv_offload.cpu import manager

    theirs = manager.CPUOffloadingManager
    if os.environ["PARK_VLLM_MANAGER"] == "park":
        # Before anything is counted: it compares signatures.
        from park.interop.vllm.offloading import OffloadingManager

        _count(OffloadingManager, "park")
        for name, module in list(sys.modules.items()):
            if name.partition(".")[0] == "vllm" and getattr(module, "CPUOffloadingManager", None) is theirs:
                module.CPUOffloadingManager = OffloadingManager
    _count(theirs, "vllm")


def _count(cls, whose):
    init = cls.__init__

    def counted(self, *args, **kwargs):
        MADE[whose] += 1
        init(self, *args, **kwargs)

    cls.__init__ = counted


@pytest.hookimpl(trylast=True)
def pytest_runtest_logreport(report):
    case = CASES.setdefault(report.nodeid, {"outcome": "passed"})
    if report.outcome != "passed" and case["outcome"] == "passed":
        case["outcome"] = report.outcome if report.when == "call" or report.outcome == "skipped" else "error"
        crash = getattr(report.longrepr, "reprcrash", None)
        case["reason"] = (crash.message if crash is not None else str(report.longrepr))[-600:].strip()


@pytest.hookimpl(trylast=True)
def pytest_collectreport(report):
    if report.failed:
        CASES[report.nodeid or "collection"] = {"outcome": "error", "reason": str(report.longrepr)[-600:].strip()}


def pytest_sessionfinish():
    report = {"managers": MADE, "cases": CASES}
    pathlib.Path(os.environ["PARK_VLLM_REPORT"]).write_text(json.dumps(report, indent=1))
