"""Loaded by pytest (`-p offload_plugin`) before vLLM's tests are: swaps a class of offloading, and writes down how each case ended.

`PARK_VLLM_SWAP` says which ("manager" or "connector"), `PARK_VLLM_WHOSE` whose is used, `PARK_VLLM_REPORT` where the report goes. The report
counts what was made of either kind, so that a run that was meant for park's and used vLLM's cannot pass for one.
"""

import importlib
import json
import os
import pathlib
import sys

import pytest

#: Where vLLM's class is, and park's.
CLASSES = {
    "manager": (
        "vllm.v1.kv_offload.cpu.manager:CPUOffloadingManager",
        "park.interop.vllm.offloading:OffloadingManager",
    ),
    "connector": (
        "vllm.distributed.kv_transfer.kv_connector.v1.offloading_connector:OffloadingConnector",
        "park.interop.vllm.connector:ParkConnector",
    ),
}
MADE = {"park": 0, "vllm": 0}
CASES = {}


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests():
    # Not later: vLLM's conftest imports the connector.
    theirs, ours = CLASSES[os.environ["PARK_VLLM_SWAP"]]
    name = theirs.partition(":")[2]
    theirs = _get(theirs)
    if os.environ["PARK_VLLM_WHOSE"] == "park":
        # Before anything is counted: it compares signatures.
        ours = _get(ours)
        _count(ours, "park", ours)
        for module_name, module in list(sys.modules.items()):
            if module_name.partition(".")[0] == "vllm" and getattr(module, name, None) is theirs:
                setattr(module, name, ours)
    _count(theirs, "vllm", theirs)


def _get(path):
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


def _count(cls, whose, counted_class):
    init = cls.__init__

    def counted(self, *args, **kwargs):
        # One of park's is made by vLLM's, too.
        MADE[whose] += type(self) is counted_class
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
    report = {"made": MADE, "cases": CASES}
    pathlib.Path(os.environ["PARK_VLLM_REPORT"]).write_text(json.dumps(report, indent=1))
