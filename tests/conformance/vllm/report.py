"""What the two runs say about each other, as RESULTS.md."""

import collections
import fnmatch
import re

import reasons

#: Of what passes on vLLM's pool, this much must pass on park's.
BAR = 0.95


def counted(run):
    """How many cases ended how, and which pools they made."""
    counts = collections.Counter(case["outcome"] for case in run["cases"].values())
    pools = ", ".join(f"{number} {whose} pools" for whose, number in run["pools"].items() if number)
    return ", ".join(f"{number} {outcome}" for outcome, number in sorted(counts.items())) + f"; {pools}"


def compare(base, park, suite, whole=True):
    """The comparison as Markdown, and why it fails as a check (`None` if it does not). `whole`: no case was left out on purpose."""
    passing = [name for name, case in base["cases"].items() if case["outcome"] == "passed"]
    kept = [name for name in passing if park["cases"].get(name, {}).get("outcome") == "passed"]
    lost = {name: park["cases"].get(name, {"reason": "was not run"}) for name in passing if name not in set(kept)}
    won = [name for name, case in park["cases"].items() if case["outcome"] == "passed" and name not in set(passing)]
    unknown = {name: case for name, case in lost.items() if reason(name) is None}
    stale = [pattern for pattern in reasons.REASONS if not fnmatch.filter(map(short, lost), pattern)]
    share = len(kept) / len(passing) if passing else 0.0
    lines = [
        f"# vLLM's tests/v1/{suite} on park's block pool",
        "",
        "`make conformance-vllm TREE=DIR`. The tests are vLLM 0.33.0's, unchanged; the pool is swapped before they are collected.",
        "",
        "| pool | passed | failed | errors | skipped | pools made |",
        "|---|---|---|---|---|---|",
        row("vLLM's", base),
        row("park's", park),
        "",
        f"Of {len(passing)} cases that pass on vLLM's pool, {len(kept)} pass on park's: {100 * share:.1f} %.",
        "",
        "## Cases that pass on vLLM's pool only",
        "",
    ]
    by_reason = collections.defaultdict(list)
    for name, case in lost.items():
        by_reason[reason(name) or f"**not known**: {one_line(case.get('reason', ''))}"].append(short(name))
    for why, names in by_reason.items():
        lines += [f"* {why}", *(f"  * `{name}`" for name in sorted(names))]
    if not lost:
        lines.append("None.")
    lines += ["", "## Cases that fail on vLLM's pool as well, here", ""]
    failing = {name: case for name, case in base["cases"].items() if case["outcome"] in ("failed", "error")}
    lines += [f"* `{short(name)}`: {one_line(case.get('reason', ''))}" for name, case in failing.items()] or ["None."]
    if won:
        lines += ["", "Of these, park's pool passes:", "", *(f"* `{short(name)}`" for name in won)]
    failed = None
    if park["pools"]["park"] == 0 and base["pools"]["vllm"] > 0:
        failed = "park's pool was not used"
    elif share < BAR:
        failed = f"{100 * share:.1f} % is below {100 * BAR:.0f} %"
    elif unknown:
        failed = "not known why: " + ", ".join(map(short, unknown))
    elif stale and whole:
        failed = "pass now, and are listed in reasons.py: " + ", ".join(stale)
    return "\n".join(lines) + "\n", failed


def row(whose, run):
    """One run as a row of the table."""
    counts = collections.Counter(case["outcome"] for case in run["cases"].values())
    numbers = " | ".join(str(counts[outcome]) for outcome in ("passed", "failed", "error", "skipped"))
    pools = run["pools"]
    return f"| {whose} | {numbers} | {pools['park']} park's, {pools['vllm']} vLLM's |"


def reason(name):
    """Why this case cannot pass on park's pool, if that is known."""
    return next((why for pattern, why in reasons.REASONS.items() if fnmatch.fnmatchcase(short(name), pattern)), None)


def short(name):
    """A case without the folders that all have."""
    return name.partition("tests/v1/")[2] or name


def one_line(text):
    """How an error begins, without this machine's folders."""
    line = " ".join(text.split("\n")[:2]).strip()
    return re.sub(r"(?<![\w.])/(?:[\w.+-]+/)+", "", line)[:160]
