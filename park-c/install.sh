#!/usr/bin/env bash
# Installs the C and C++ library under a prefix: headers, libpark.{so,a}, a pkg-config file and a CMake package.
#   park-c/install.sh PREFIX [FOLDER]
# FOLDER holds an already built libpark_c.so and libpark_c.a; without it a release build is made. An installed tree can be moved:
# both packages find their files from where they lie themselves.
set -euo pipefail
(($# == 1 || $# == 2)) || { echo "usage: install.sh PREFIX [FOLDER WITH libpark_c.so AND libpark_c.a]" >&2; exit 2; }
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
mkdir -p "$1"
prefix=$(cd "$1" && pwd)
version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"$/\1/p' "$here/../Cargo.toml")
soversion=${version%%.*}
if (($# == 2)); then
    built=$2
else
    (cd "$here/.." && cargo build --release -p park-c)
    built=${CARGO_TARGET_DIR:-$here/../target}/release
fi
# What the static library needs of the system. Its C++ half (the cxx feature) is in there too.
private="-lstdc++ -lgcc_s -lpthread -lm -ldl"

install -d "$prefix/include" "$prefix/lib/pkgconfig" "$prefix/lib/cmake/park"
install -m 644 "$here"/../include/park.h "$here"/../include/*.hpp "$prefix/include/"
install -m 644 "$built/libpark_c.a" "$prefix/lib/libpark.a"
install -m 755 "$built/libpark_c.so" "$prefix/lib/libpark.so.$version"
ln -sfn "libpark.so.$version" "$prefix/lib/libpark.so.$soversion"
ln -sfn "libpark.so.$soversion" "$prefix/lib/libpark.so"

fill() { # TEMPLATE TARGET PRIVATE
    sed -e "s/@VERSION@/$version/g" -e "s/@SOVERSION@/$soversion/g" -e "s/@PRIVATE@/$3/g" "$here/packaging/$1" >"$prefix/lib/$2"
}
fill park.pc.in pkgconfig/park.pc "$private"
fill parkConfig.cmake.in cmake/park/parkConfig.cmake "${private// /;}"
fill parkConfigVersion.cmake.in cmake/park/parkConfigVersion.cmake ""
echo "park $version installed under $prefix"
