#!/usr/bin/env bash
# Checks the few things that must be there (Rust, Python, a C and a C++ compiler) and installs the small ones that make can bring
# itself (cmake, pkg-config, Python's venv module) as Debian packages. Says what it does; with nothing to do it says nothing.
set -euo pipefail
python=${1:?usage: system.sh PYTHON}
missing=()

for tool in cargo rustc cc c++ "$python"; do
    command -v "$tool" >/dev/null || missing+=("$tool")
done
if ((${#missing[@]})); then
    echo "setup: not found: ${missing[*]}. park needs Rust 1.95, Python 3.11 or newer with headers, a C and a C++ compiler and make." >&2
    exit 1
fi
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "setup: $python is $("$python" -V); park needs 3.11 or newer (make PYTHON=python3.12 picks another)" >&2
    exit 1
}

packages=()
command -v cmake >/dev/null || packages+=(cmake)
command -v pkg-config >/dev/null || packages+=(pkg-config)
"$python" -c 'import venv, ensurepip' 2>/dev/null || packages+=(python3-venv)
((${#packages[@]})) || exit 0

if ! command -v apt-get >/dev/null; then
    echo "setup: please install ${packages[*]} with this system's package manager, then run make again" >&2
    exit 1
fi
as_root=()
if [[ $(id -u) != 0 ]]; then
    if sudo -n true 2>/dev/null; then
        as_root=(sudo -n)
    else
        echo "setup: not root, so please run: sudo apt-get install -y --no-install-recommends ${packages[*]}" >&2
        exit 1
    fi
fi
echo "setup: apt-get install ${packages[*]}"
export DEBIAN_FRONTEND=noninteractive
# A fresh machine has no package lists, or old ones: try with what is there, refresh once, try again.
"${as_root[@]}" apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null 2>&1 || {
    "${as_root[@]}" apt-get update -qq
    "${as_root[@]}" apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
}
