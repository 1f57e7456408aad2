"""Patterns as in a `.gitignore`: which paths below a folder a list of them leaves out.

The last pattern that matches a path decides; one that begins with `!` brings back what an earlier one left out, but nothing comes back
into a folder that is left out itself. A pattern with a slash before its end is about the path from the folder, any other about a name at
any depth; one that ends with a slash is about folders alone. `*` and `?` stop at slashes, `**` does not, `[a-c]` and `[!a-c]` are sets.
"""

from __future__ import annotations

import re
from collections.abc import Iterable


class Patterns:
    """A list of patterns, in the order in which they are written."""

    def __init__(self, patterns: Iterable[str]):
        self._rules = [rule for pattern in patterns if (rule := _rule(pattern)) is not None]

    def leaves_out(self, path: str, folder: bool) -> bool:
        """Whether this path, with slashes and from the folder that all is about, is left out; what is above it is not."""
        out = False
        for expression, only_folders, brings_back in self._rules:
            if (folder or not only_folders) and expression.fullmatch(path):
                out = not brings_back
        return out


def _rule(pattern: str) -> tuple[re.Pattern[str], bool, bool] | None:
    if not isinstance(pattern, str):
        raise TypeError(f"a pattern of what to exclude must be a string, got {type(pattern)}")
    text = pattern.rstrip("\n")
    while text.endswith(" ") and not text.endswith("\\ "):
        text = text[:-1]
    if not text or text.startswith("#"):
        return None
    brings_back = text.startswith("!")
    if brings_back:
        text = text[1:]
    only_folders = text.endswith("/")
    text = text.rstrip("/") if only_folders else text
    anchored = "/" in text
    text = text.removeprefix("/")
    if not text:
        return None
    expression = _expression(text)
    return re.compile(expression if anchored else f"(?:.*/)?{expression}", re.DOTALL), only_folders, brings_back


def _expression(text: str) -> str:
    parts, at = [], 0
    while at < len(text):
        if text.startswith("**/", at) and (at == 0 or text[at - 1] == "/"):
            parts.append("(?:.*/)?")
            at += 3
        elif text[at:] == "**" and (at == 0 or text[at - 1] == "/"):
            parts.append(".+")
            at += 2
        elif text[at] == "*":
            parts.append("[^/]*")
            while at < len(text) and text[at] == "*":
                at += 1
        elif text[at] == "?":
            parts.append("[^/]")
            at += 1
        elif text[at] == "[" and (end := text.find("]", at + (3 if text[at + 1 : at + 2] in ("!", "^") else 2))) > 0:
            negated = text[at + 1] in "!^"
            inside = text[at + 1 + negated : end].replace("\\", "\\\\").replace("[", "\\[").replace("^", "\\^")
            parts.append(f"(?!/)[{'^' if negated else ''}{inside}]")
            at = end + 1
        elif text[at] == "\\" and at + 1 < len(text):
            parts.append(re.escape(text[at + 1]))
            at += 2
        else:
            parts.append(re.escape(text[at]))
            at += 1
    return "".join(parts)
