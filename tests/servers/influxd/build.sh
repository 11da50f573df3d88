#!/usr/bin/env bash
# Builds a real influxd from its Go module and puts it where iotd looks for one:
#   ${XDG_CACHE_HOME:-$HOME/.cache}/iotd/influxd/VERSION/influxd
# Needs go (1.24 or newer), cargo, clang and pkg-config; about six minutes on two cores.
# Prints the binary's path. Safe to run twice at once: the last step is an atomic rename.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
version=$(sed -n 's|^\s*github.com/influxdata/influxdb/v2 v\([0-9.]*\).*|\1|p' "$here/go.mod")
target="${XDG_CACHE_HOME:-$HOME/.cache}/iotd/influxd/$version"
if [ -x "$target/influxd" ]; then
    echo "$target/influxd"
    exit 0
fi

missing=()
for tool in go cargo clang pkg-config; do
    command -v "$tool" >/dev/null || missing+=("$tool")
done
if [ ${#missing[@]} -gt 0 ]; then
    echo "cannot build influxd: ${missing[*]} not on PATH; install them and run 'make influxd' again" >&2
    exit 3
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# influxd's Rust part denies warnings that a newer rustc has added, and asks for a toolchain
# that need not be there: cap the lints, and name one that is installed.
printf '#!/bin/sh\nexec "$@" --cap-lints warn\n' >"$work/rustc-cap-lints"
chmod +x "$work/rustc-cap-lints"
export RUSTC_WRAPPER="$work/rustc-cap-lints"
if [ -z "${RUSTUP_TOOLCHAIN:-}" ] && command -v rustup >/dev/null; then
    RUSTUP_TOOLCHAIN=$(cd / && rustup show active-toolchain | cut -d' ' -f1)
    export RUSTUP_TOOLCHAIN
fi

cd "$here"
export GOFLAGS="-mod=readonly -buildvcs=false"
go build -o "$work/pkg-config" github.com/influxdata/pkg-config >&2
PKG_CONFIG="$work/pkg-config" CC=clang go build -tags sqlite_foreign_keys,sqlite_json \
    -ldflags "-s -w -X main.version=v$version" -o "$work/influxd" \
    github.com/influxdata/influxdb/v2/cmd/influxd >&2

mkdir -p "$target"
mv "$work/influxd" "$target/influxd.$$"
mv "$target/influxd.$$" "$target/influxd"
echo "$target/influxd"
