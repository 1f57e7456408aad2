#!/usr/bin/env bash
# The stub of the native module, python/park/_park.pyi.
#   stubs.sh check BIN   stubtest imports park._park and compares names, signatures and kinds both ways
#   stubs.sh write BIN   write the stub anew from the signatures that PyO3 records
set -euo pipefail
mode=${1:?usage: stubs.sh check|write BIN} bin=${2:?usage: stubs.sh check|write BIN}
stub=python/park/_park.pyi

case $mode in
    check)
        [[ -s $stub ]] || { echo "stubs: $stub is missing (make stubs)" >&2; exit 1; }
        "$bin/python" -m mypy.stubtest park._park
        ;;
    write)
        fresh=$(mktemp -d)
        trap 'rm -rf "$fresh"' EXIT
        VIRTUAL_ENV=$(cd "$bin/.." && pwd) "$bin/maturin" generate-stubs --features stubs --out "$fresh"
        generated=$(find "$fresh" -name '_park.pyi' | head -n 1)
        [[ -n $generated ]] || { echo "stubs: maturin wrote no _park.pyi" >&2; exit 1; }
        # PyO3 does not record the class method that its `generic` option makes.
        "$bin/python" - "$generated" "$stub" <<'PY'
import sys

text = open(sys.argv[1]).read()
at = text.index("    def ", text.index("class ObjectRef"))
method = "    @classmethod\n    def __class_getitem__(cls, key: Any) -> Any: ...\n"
open(sys.argv[2], "w").write(text[:at] + method + text[at:])
PY
        "$bin/ruff" format --quiet "$stub"
        echo "stubs: wrote $stub; check it with: make check"
        ;;
    *)
        echo "usage: stubs.sh check|write BIN" >&2
        exit 2
        ;;
esac
