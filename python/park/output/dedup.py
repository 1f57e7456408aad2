"""Lines that many workers print at about the same time are printed once, and then how often they came.

Two lines are the same if they are but for the words with digits in them. The first is printed at once. What other processes say
within the next seconds is counted, and the last of it printed with the count when the time is over. A process that repeats itself
is not silenced: only a second one makes a repetition.
"""

from __future__ import annotations

import os
import re

_NUMBER = re.compile(r"\d")


class _Seen:
    def __init__(self, since: float, sources: set[int]):
        self.since = since
        self.sources = sources
        #: Held back: how many, and the last of them with who said it.
        self.count = 0
        self.last = ("", 0, "")
        #: On which stream.
        self.error = False


class Dedup:
    """Decides for each line whether it is printed. Times are the caller's, in seconds."""

    def __init__(
        self,
        window: float | None = None,
        enabled: bool | None = None,
        allow: str | None = None,
        skip: str | None = None,
    ):
        """What is not given is as the environment says."""
        variables = os.environ
        self.window = float(variables.get("RAY_DEDUP_LOGS_AGG_WINDOW_S", "5")) if window is None else window
        self.enabled = variables.get("RAY_DEDUP_LOGS", "1") not in ("0", "false") if enabled is None else enabled
        #: Lines that are always printed, and lines that never are.
        self.allow = variables.get("RAY_DEDUP_LOGS_ALLOW_REGEX") if allow is None else allow
        self.skip = variables.get("RAY_DEDUP_LOGS_SKIP_REGEX") if skip is None else skip
        self._seen: dict[str, _Seen] = {}
        self._explained = False

    def add(self, name: str, pid: int, line: str, error: bool, now: float) -> bool:
        """Whether to print this line now; else it is counted, or dropped."""
        if not self.enabled or (self.allow and re.search(self.allow, line)):
            return True
        if self.skip and re.search(self.skip, line):
            return False
        key = " ".join(word for word in line.split() if not _NUMBER.search(word))
        seen = self._seen.get(key)
        if seen is None or (now - seen.since > self.window and not seen.count):
            self._seen[key] = _Seen(now, {pid})
            return True
        seen.sources.add(pid)
        if len(seen.sources) == 1:
            return True
        seen.count += 1
        seen.last = (name, pid, line)
        seen.error = error
        return False

    def due(self, now: float) -> list[tuple[str, int, str, bool]]:
        """What was held back long enough: name, process, line with its count, and whether it is an error stream's."""
        return self._flush(lambda seen: now - seen.since > self.window)

    def rest(self) -> list[tuple[str, int, str, bool]]:
        """All that is held back."""
        return self._flush(lambda seen: True)

    def next_due(self) -> float | None:
        """When to ask `due` again; None if nothing is held back."""
        return min((seen.since + self.window for seen in self._seen.values() if seen.count), default=None)

    def _flush(self, ripe):
        lines = []
        for key, seen in list(self._seen.items()):
            if not ripe(seen):
                continue
            del self._seen[key]
            if seen.count:
                name, pid, line = seen.last
                times = f" [repeated {seen.count}x across cluster]" if seen.count > 1 else ""
                if times and not self._explained:
                    self._explained = True
                    times += " (lines that differ in numbers only are printed once; RAY_DEDUP_LOGS=0 prints them all)"
                lines.append((name, pid, line + times, seen.error))
        return lines
