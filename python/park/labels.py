"""Labels of nodes, and the selectors that choose nodes by them: `{"zone": "!in(a, b)"}` as Ray writes them, and how they are checked.

Label keys and values follow the rules of Kubernetes, and the texts of refusals are Ray's. The native half gets a selector as a list of
(label, test, values).
"""

from __future__ import annotations

import re
from typing import Any

#: The label that is a node's own id.
NODE_ID = "ray.io/node-id"
#: Labels that begin so are the runtime's to give.
RESERVED = "ray.io/"

_NAME = r"([a-zA-Z0-9]([a-zA-Z0-9_.-]{0,61}[a-zA-Z0-9])?)"
_PREFIX = re.compile(rf"({_NAME}?(\.{_NAME}?)*)")
_VALUE = re.compile(_NAME)
_SELECTOR = re.compile(rf"!?(?:in)?\({_NAME}(?:, ?{_NAME})*\)|!?{_NAME}")
_RULE = (
    "must be 63 chars or less beginning and ending with an alphanumeric character ([a-z0-9A-Z]) with dashes (-), underscores (_),"
    "dots (.), and alphanumerics between."
)

Tests = list[tuple[str, str, list[str]]]


def key_wrong(key: str) -> str | None:
    """What is wrong with the key of a label."""
    prefix, slash, name = key.rpartition("/")
    if slash and (len(prefix) > 253 or not _PREFIX.fullmatch(prefix)):
        return (
            f"Invalid label key prefix `{prefix}`. Prefix must be a series of DNS labels separated by dots (.), not longer than 253 "
            "characters in total."
        )
    if not _VALUE.fullmatch(name):
        return f"Invalid label key name `{name}`. Name {_RULE}"
    return None


def selector_wrong(selector: dict[str, str] | None) -> str | None:
    """What is wrong with a label selector."""
    for key, value in (selector or {}).items():
        if text := key_wrong(key):
            return text
        if text := test_wrong(value):
            return text
    return None


def test_wrong(value: str) -> str | None:
    """What is wrong with what a selector asks of one label."""
    if not value or _SELECTOR.fullmatch(value):
        return None
    return (
        f"Invalid label selector value `{value}`. The label selector value should contain optional operators and a label value. "
        f"Supported operators are: ! and {{'in'}}. Value {_RULE}"
    )


def value_wrong(value: str) -> str | None:
    """What is wrong with the value of a label."""
    return f"Invalid label key value `{value}`. Value {_RULE}" if value and not _VALUE.fullmatch(value) else None


def fallback_wrong(fallback: list[dict[str, Any]] | None) -> str | None:
    """What is wrong with a list of fallbacks."""
    for one in fallback or []:
        if not isinstance(one, dict):
            return "Each element in fallback_strategy must be a dictionary."
        if not one:
            return "Empty dictionary found in `fallback_strategy`."
        for option in one:
            if option != "label_selector":
                return f"Unsupported option found: '{option}'. Only ['label_selector'] is currently supported."
        selector = one["label_selector"]
        if selector and not isinstance(selector, dict):
            return 'The value of "label_selector" must be a dictionary.'
        if text := selector_wrong(selector):
            return text
    return None


def check_labels(labels: dict[str, str] | None) -> dict[str, str]:
    """The labels of a node, checked."""
    labels = labels or {}
    if not isinstance(labels, dict):
        raise TypeError(f"labels must be a dictionary of keys and values, got {type(labels)}")
    for key, value in labels.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise TypeError(f"labels must be strings, got {key!r}: {value!r}")
        if text := key_wrong(key):
            raise ValueError(text)
        if text := value_wrong(value):
            raise ValueError(text)
    return labels


def tests_of(selector: dict[str, str] | None) -> Tests:
    """A checked selector as the native half takes it."""
    return [(key, *_test(value or "")) for key, value in (selector or {}).items()]


def _test(value: str) -> tuple[str, list[str]]:
    negated, value = value.startswith("!"), value.removeprefix("!")
    inside = value.removeprefix("in")
    values = [one.strip() for one in inside[1:-1].split(",")] if inside.startswith("(") else [value]
    return "not in" if negated else "in", values
