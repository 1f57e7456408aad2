"""verl's own tests of its worker groups, unchanged, on park and on real Ray: `make conformance-verl`.

verl 0.9.1 carries its tests in its wheel, as a top-level package `tests`, so they get an environment of their own: verl and the small
libraries that it imports (requirements.txt), with torch, numpy and pytest taken from the project's environment by a .pth file. Real Ray is
in neither; it joins only the second run, by PYTHONPATH, from the environment that the benches use.

Both runs start the same pytest in the same way, one after the other. Park's is started by `python -m park.compat.ray --preload ...`, which
imports the libraries for the workers of all sessions once, beside pytest's own imports; in Ray every worker imports them anew. With
`--plain` there is a run on park without that, too.
"""

import argparse
import os
import pathlib
import re
import subprocess
import sys
import sysconfig
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[2]
PRELOAD = "verl.single_controller.ray,verl.utils.tensordict_utils,transformers"
FILES = (
    *("auto_padding_on_cpu", "decorator_on_cpu", "fused_workers_on_cpu", "get_set_dispatch_collect_cpu"),
    *("ray_local_envs_on_cpu", "ray_utils_on_cpu"),
)


def main():
    """Set up, run, print the table."""
    options = parser().parse_args()
    python = environment(options.venv, options.packages)
    site = next((options.venv / "lib").glob("python3*/site-packages"))
    tests = [f"tests/single_controller/test_{name}.py" for name in FILES]
    # Without the settings of the repository, which the environment may lie in.
    pytest = ["-m", "pytest", "-q", "-c", os.devnull, "--rootdir", str(site), "-p", "no:cacheprovider", *tests]
    park = {"PYTHONPATH": str(ROOT / "python")}
    runs = [("park, with --preload", [python, "-m", "park.compat.ray", "--preload", PRELOAD, *pytest], park)]
    if options.plain:
        runs.append(("park", [python, "-m", "park.compat.ray", *pytest], park))
    if not options.park_only:
        ray = next((options.ray / "lib").glob("python3*/site-packages"), None)
        if ray is None:
            sys.exit(f"no environment with real Ray at {options.ray}: `make bench-ray` makes one; or --park-only")
        runs.append(("Ray", [python, *pytest], {"PYTHONPATH": str(ray), "RAY_USAGE_STATS_ENABLED": "0"}))
    rows = [(name, *run(command, variables, site, options.timeout)) for name, command, variables in runs]
    print(table(rows))
    sys.exit(any(failed for name, _, failed, _ in rows if name.startswith("park")))


def parser():
    """The command line."""
    made = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    made.add_argument("--venv", type=pathlib.Path, default=HERE / ".venv", help="verl's environment, made if absent")
    made.add_argument(
        *("--packages", "-p"), default=sysconfig.get_path("purelib"), help="the site-packages with torch and pytest"
    )
    made.add_argument("--ray", type=pathlib.Path, default=ROOT / "benches" / ".venv-ray", help="real Ray's environment")
    made.add_argument("--plain", action="store_true", help="run on park without --preload, too")
    made.add_argument("--park-only", action="store_true", help="leave real Ray out")
    made.add_argument("--timeout", type=int, default=1200, help="seconds for one run")
    return made


def environment(venv, packages):
    """The interpreter of verl's environment, which is made first if need be."""
    python = venv / "bin" / "python"
    if not python.exists():
        print(f"verl: pip install into {venv}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
        install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
        subprocess.run([*install, "--requirement", HERE / "requirements.txt"], check=True)
    site = next((venv / "lib").glob("python3*/site-packages"))
    (site / "project.pth").write_text(f"{packages}\n")
    return str(python)


def run(command, variables, site, timeout):
    """How many tests passed and failed, and in how many seconds."""
    began = time.monotonic()
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | variables
    done = subprocess.run(command, env=env, cwd=site, timeout=timeout, capture_output=True, text=True)
    seconds = time.monotonic() - began
    counts = {what: int(number) for number, what in re.findall(r"(\d+) (passed|failed|error)", done.stdout)}
    failed = counts.get("failed", 0) + counts.get("error", 0)
    if failed or not counts:
        print(done.stdout[-6000:], done.stderr[-2000:], sep="\n")
    return counts.get("passed", 0), failed or int(not counts), seconds


def table(rows):
    """What was measured, as Markdown."""
    slowest = rows[-1][3]
    lines = ["| verl 0.9.1, worker groups | passed | failed | seconds | Ray's time / this |", "|---|---|---|---|---|"]
    on_ray = rows[-1][0] == "Ray"
    lines += [
        f"| {name} | {passed} | {failed} | {seconds:.1f} | {f'{slowest / seconds:.1f}' if on_ray else ''} |"
        for name, passed, failed, seconds in rows
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
