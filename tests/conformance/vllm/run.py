"""vLLM's own tests of its KV cache and scheduler, unchanged, on vLLM's pool and on park's: `make conformance-vllm TREE=DIR`.

`--tree` is vLLM's source package (vllm-0.33.0.tar.gz of PyPI), unpacked: the wheel has no tests. It is read, never written to, and nothing
of it is part of this repository. On a clean machine the first run makes an environment
(requirements.txt) that takes torch, numpy and pytest from the project's own by a .pth file; vLLM itself is not installed, its tree is on
the path. There is no GPU, no compiled part of vLLM and no network: configurations of the models that tests name come from models.py.

Without `--pool` there are two runs, the first with vLLM's own pool; what passes there is what park's is measured by. At least 95 % of it
must pass, every other case is in RESULTS.md with its reason, and a case that fails for no reason known here fails the run.

    run.py --tree vllm-0.33.0                          both, and RESULTS.md
    run.py --tree vllm-0.33.0 --pool park -k eviction  some cases, for work on the pool
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import sysconfig
import tempfile

import models
import report

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[2]
#: Our own tests that need a vLLM.
OWN = ("test_plug_in.py", "test_shared.py", "test_connector.py")
#: What is run, below the tree: the files of a suite, and those that it leaves out with the reason.
SUITES = {
    "core": (
        "tests/v1/core",
        {"test_scheduler_e2e.py": "runs a model", "test_reset_prefix_cache_e2e.py": "runs a model"},
    ),
    "kv_offload": ("tests/v1/kv_offload", {}),
}


def main():
    """Set up, run, compare."""
    options, pytest_arguments = parser().parse_known_args()
    tree = options.tree.resolve()
    if not (tree / "vllm" / "v1" / "core" / "block_pool.py").exists():
        sys.exit(f"{tree} is not vLLM's source package: it has no vllm/v1/core/block_pool.py")
    python = environment(options.venv, options.packages)
    if not options.pool:
        own_tests(python, tree)
    runs = {}
    for pool in [options.pool] if options.pool else ["vllm", "park"]:
        runs[pool] = run(python, tree, pool, options.suite, pytest_arguments, options.timeout)
        print(f"{pool}: {report.counted(runs[pool])}", flush=True)
    if options.json:
        options.json.write_text(json.dumps(runs if len(runs) > 1 else runs[options.pool], indent=1))
    if len(runs) == 1:
        return
    text, failed = report.compare(runs["vllm"], runs["park"], options.suite, whole=not pytest_arguments)
    print(text)
    if options.results:
        options.results.write_text(text)
    sys.exit(failed)


def parser():
    """The command line; what is left over goes to pytest."""
    made = argparse.ArgumentParser(
        description=__doc__.partition("\n")[0], epilog="other arguments go to pytest", allow_abbrev=False
    )
    made.add_argument("--tree", type=pathlib.Path, required=True, help="vLLM's source package, unpacked")
    made.add_argument(
        "--pool", choices=["park", "vllm"], help="one run with this pool, instead of both and a comparison"
    )
    made.add_argument("--suite", choices=list(SUITES), default="core", help="which of vLLM's tests (default: core)")
    made.add_argument("--json", type=pathlib.Path, help="write how each case ended to this file")
    made.add_argument("--results", type=pathlib.Path, help="write the comparison to this file (RESULTS.md)")
    made.add_argument("--venv", type=pathlib.Path, default=HERE / ".venv", help="the environment, made if absent")
    made.add_argument(
        "--packages", default=sysconfig.get_path("purelib"), help="the site-packages with torch, numpy and pytest"
    )
    made.add_argument("--timeout", type=int, default=1800, help="seconds for one run")
    return made


def environment(venv, packages):
    """The interpreter of the environment, which is made first if need be."""
    python = venv / "bin" / "python"
    if not (venv / ".ready").exists():
        print(f"vllm: pip install into {venv}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
        # First, so that pip finds torch and numpy there and installs neither.
        site = next((venv / "lib").glob("python3*/site-packages"))
        (site / "project.pth").write_text(f"{packages}\n")
        install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*install, "--requirement", HERE / "requirements.txt"], check=True)
        (venv / ".ready").touch()
    return str(python)


def variables(tree, work, cache):
    """The environment variables under which vLLM's tree runs without a device, a network or anything written to it."""
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith(("VLLM_", "HF_", "PYTEST_"))},
        "PYTHONPATH": os.pathsep.join([str(tree), str(HERE), str(ROOT / "python")]),
        "PYTHONPYCACHEPREFIX": str(work / "pycache"),
        "HOME": str(work),
        # vLLM looks at each model's class once, in a process of its own, which takes longer than the tests of it.
        "VLLM_CACHE_ROOT": str(cache),
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_TARGET_DEVICE": "cpu",
        "VLLM_LOGGING_LEVEL": "ERROR",
        "CUDA_VISIBLE_DEVICES": "",
    }


def own_tests(python, tree):
    """Runs our own tests beside this vLLM."""
    with tempfile.TemporaryDirectory(prefix="park-vllm-") as work:
        command = [
            python,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-c",
            os.devnull,
            *(str(HERE / name) for name in OWN),
        ]
        env = variables(tree, pathlib.Path(work), pathlib.Path(python).parents[1] / "cache")
        if subprocess.run(command, env=env, cwd=work).returncode:
            sys.exit("park.interop.vllm does not fit this vLLM")


def run(python, tree, pool, suite, pytest_arguments, timeout):
    """The report of one pytest run: see pool_plugin."""
    folder, left_out = SUITES[suite]
    with tempfile.TemporaryDirectory(prefix="park-vllm-") as name:
        work = pathlib.Path(name)
        models.write(work)
        out = work / "report.json"
        command = [python, "-m", "pytest", "-q", "-p", "pool_plugin", "-p", "no:cacheprovider"]
        # vLLM's conftest for all of its tests loads models; those below the suite's folder are its own.
        command += [
            f"--confcutdir={tree / folder}",
            "--rootdir",
            str(tree),
            "-c",
            os.devnull,
            "-W",
            "ignore",
            "--tb=short",
            "-rN",
            "--no-header",
        ]
        command += [f"--ignore={tree / folder / file}" for file in left_out]
        targets = [argument for argument in pytest_arguments if not argument.startswith("-") and "::" in argument]
        command += pytest_arguments if targets else [*pytest_arguments, str(tree / folder)]
        env = variables(tree, work, pathlib.Path(python).parents[1] / "cache") | {
            "PARK_VLLM_POOL": pool,
            "PARK_VLLM_REPORT": str(out),
        }
        done = subprocess.run(command, env=env, cwd=work, timeout=timeout, stdout=sys.stderr)
        if not out.exists():
            sys.exit(f"pytest wrote no report and ended with {done.returncode}")
        return json.loads(out.read_text())


if __name__ == "__main__":
    main()
