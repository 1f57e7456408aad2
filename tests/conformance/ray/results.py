"""Writes RESULTS.md from two reports of run.py: what of the cases that pass on real Ray passes on park, and why the others do not.

    python tests/conformance/ray/results.py on-ray.json on-park.json
    python tests/conformance/ray/results.py --others others-on-ray.json others-on-park.json         writes OTHERS.md

Only cases that pass on real Ray count, and each of them counts: one that park's run skips is not passed. The reasons stand in
reasons.toml, a table for each file, by case. A case without a reason, and a reason without such a case, are errors: they are named,
and the exit status is 1. A reason that begins with "sometimes:" is for a case that may also pass: whether it does is a matter of speed.
"""

import argparse
import json
import sys
import tomllib
from pathlib import Path

from run import OTHERS

HERE = Path(__file__).resolve().parent
#: How the reason of a case begins that passes in some runs.
SOMETIMES = "sometimes: "


def main():
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("ray", type=Path, help="the report of --module ray")
    parser.add_argument("park", type=Path, help="the report of --module park")
    parser.add_argument("--reasons", type=Path, default=HERE / "reasons.toml", help="why cases do not pass")
    parser.add_argument("--others", action="store_true", help="the reports are of `run.py --others`")
    parser.add_argument("--out", type=Path, help="what to write, by default RESULTS.md or OTHERS.md")
    chosen = parser.parse_args()
    out = chosen.out or HERE / ("OTHERS.md" if chosen.others else "RESULTS.md")
    on_ray, on_park = (json.loads(path.read_text()) for path in (chosen.ray, chosen.park))
    for path, report, module in ((chosen.ray, on_ray, "ray"), (chosen.park, on_park, "park")):
        if report["module"] != module:
            parser.error(f"{path} is a report of --module {report['module']}, not of --module {module}")
    # One file has the reasons for both sets.
    reasons = tomllib.loads(chosen.reasons.read_text())
    reasons = {file: said for file, said in reasons.items() if (file in OTHERS) == chosen.others}
    missed, wrong = compare(on_ray["files"], on_park["files"], reasons)
    out.write_text(page(on_ray, on_park, missed, chosen.others))
    for line in wrong:
        print(line, file=sys.stderr)
    return 1 if wrong else 0


def compare(on_ray, on_park, reasons):
    """The cases that pass on Ray and not on park, by file, each with its reason; and what is wrong with the reasons."""
    missed, wrong = {}, []
    for file, cases in on_ray.items():
        if file not in on_park:
            wrong.append(f"{file}: park's report does not have this file")
            continue
        said = reasons.get(file.removesuffix(".py"), {})
        failing = [case for case in passed(cases) if on_park[file].get(case, ["not run"])[0] != "passed"]
        missed[file] = {case: said.get(case, "") for case in failing}
        for case in failing:
            if not said.get(case):
                told = " ".join(on_park[file].get(case, ["not run", ""]))
                wrong.append(f"{file}: {case} does not pass and has no reason: {told}")
        wrong += [
            f"{file}: {case} has a reason and needs none: {why_not(case, cases, on_park[file])}"
            for case, reason in said.items()
            if case not in failing and not reason.startswith(SOMETIMES)
        ]
    wrong += [
        f"{file}.py: has reasons, and Ray's report does not have it" for file in reasons if f"{file}.py" not in on_ray
    ]
    return missed, wrong


def passed(cases):
    """The names of the cases that passed."""
    return [case for case, (outcome, _) in cases.items() if outcome == "passed"]


def why_not(case, cases, ours):
    if case not in cases:
        return "there is no such case"
    return "it passes" if ours.get(case, [""])[0] == "passed" else f"on Ray it is {cases[case][0]}"


def page(on_ray, on_park, missed, others):
    """The text of RESULTS.md or OTHERS.md."""
    title, target, files = "Ray's own tests on park", "conformance-ray", "files"
    if others:
        title, target, files = "More of Ray's own tests on park", "conformance-ray-others", "other files"
    lines = [
        f"# {title}",
        "",
        f"Written by `make {target} TESTS=DIR`: {files} of Ray's suite, unchanged, on Ray 2.60 and on park ({on_park['mode']} workers)",
        "through the same runner on the same machine. A case counts if it passes on Ray; seconds are those of the file's whole pytest run, cases",
        "that fail included. Times of a shared machine: they compare, and mean nothing by themselves.",
        "",
        "| file | cases | pass on Ray | of these on park | share | seconds on Ray | on park |",
        "|---|---|---|---|---|---|---|",
    ]
    rows = [
        (file, len(on_ray["files"][file]), len(passed(on_ray["files"][file])), len(cases))
        for file, cases in missed.items()
    ]
    for file, *counts in rows:
        lines.append(row(file.removesuffix(".py"), *counts, on_ray["seconds"].get(file), on_park["seconds"].get(file)))
    timed = [file for file in missed if file in on_ray["seconds"] and file in on_park["seconds"]]
    total = [sum(report["seconds"][file] for file in timed) for report in (on_ray, on_park)]
    lines.append(
        row("**all**", *(sum(column) for column in zip(*(counts for _, *counts in rows), strict=True)), *total)
    )
    lines += ["", "## Cases that pass on Ray and not on park", ""]
    for file, cases in missed.items():
        if cases:
            lines += [f"### {file}", ""]
            lines += [f"* `{case}`: {reason or '**no reason given**'}" for case, reason in cases.items()]
            lines.append("")
    return "\n".join(lines).rstrip("\n") + "\n"


def row(name, cases, there, lost, theirs, ours):
    share = (there - lost) / there if there else 1
    seconds = ["not measured" if one is None else f"{one:.0f}" for one in (theirs, ours)]
    return f"| {name} | {cases} | {there} | {there - lost} | {share:.1%} | {seconds[0]} | {seconds[1]} |"


if __name__ == "__main__":
    sys.exit(main())
