#!/usr/bin/env bash
# Licences, bans, sources and known advisories of the Rust and Python dependencies.
# The first three need nothing but the registry and always run. The advisory services are not reachable from every machine: where
# they are not, this says NOT CHECKED in as many words, and the status is that of what could be checked. With AUDIT_STRICT=1 an
# unreachable service is a failure too (for the machine that cuts a release).
set -uo pipefail
python=${1:?usage: audit.sh VENV_PYTHON}
version=0.20.2
status=0
unreachable() {
    echo "audit: NOT CHECKED: $1"
    [[ ${AUDIT_STRICT:-} != 1 ]] || status=1
}

deny=$(command -v cargo-deny || true)
if [[ -z $deny ]]; then
    deny=target/tools/bin/cargo-deny
    if [[ ! -x $deny ]]; then
        echo "audit: installing cargo-deny $version into target/tools (minutes, once)"
        cargo install --quiet --locked --root target/tools --target-dir target/tools/build "cargo-deny@$version" || exit 1
        rm -rf target/tools/build
    fi
fi

echo "audit: Rust licences, bans, sources"
"$deny" --log-level error check licenses bans sources || status=1

echo "audit: Rust advisories"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if timeout 120 "$deny" --log-level error fetch db >"$log" 2>&1; then
    "$deny" --log-level error check --disable-fetch advisories || status=1
else
    unreachable "the RustSec advisory database could not be fetched: $(grep -iE "fatal|error" "$log" | tail -n 1 | cut -c1-200)"
fi

echo "audit: Python advisories"
"$python" -c 'import pip_audit' 2>/dev/null || "$python" -m pip install --quiet 'pip-audit>=2.7' || status=1
# Ask about what the package needs at run time and what the examples use, at the versions installed here.
"$python" -m pip list --format=freeze 2>/dev/null |
    grep -iE '^(cloudpickle|numpy|torch|scikit-learn|rich|pyarrow|matplotlib|pillow|psutil)==' >"$log"
wanted=$(wc -l <"$log")
report=$(timeout 120 "$python" -m pip_audit --requirement "$log" --no-deps --disable-pip --format json --progress-spinner off 2>/dev/null)
"$python" - "$wanted" "$report" <<'PY'
import json
import sys

wanted, text = int(sys.argv[1]), sys.argv[2]
try:
    found = json.loads(text)["dependencies"]
except (ValueError, KeyError):
    sys.exit(3)
asked = [d for d in found if "skip_reason" not in d]
bad = [d for d in asked if d["vulns"]]
for d in bad:
    print(d["name"], d["version"], ", ".join(v["id"] for v in d["vulns"]))
# A service that does not know these packages is one that did not answer: pip-audit reports both as "skipped".
if wanted == 0 or len(asked) < wanted:
    print(f"audit: {len(asked)} of {wanted} packages were answered for")
    sys.exit(1 if bad else 3)
sys.exit(1 if bad else 0)
PY
case $? in
    0) ;;
    3) unreachable "PyPI's advisory service did not answer for every package" ;;
    *) status=1 ;;
esac

((status == 0)) && echo "audit: ok (what is marked NOT CHECKED aside)"
exit "$status"
