#!/usr/bin/env bash
# Installs a real zigbee2mqtt, and the Node that it wants, as package-lock.json has them, into
#   ${XDG_CACHE_HOME:-$HOME/.cache}/iotd/zigbee2mqtt/VERSION
# VERSION is zigbee2mqtt's and a digest of package-lock.json. Needs npm; ten seconds, 200 MB (120 of them Node's).
# Prints the folder.
# Safe to run twice at once: the second waits for the first. With --find it only looks whether it is there.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
version=$(sed -n 's|^ *"zigbee2mqtt": "\([0-9.]*\)".*|\1|p' "$here/package.json")
target="${XDG_CACHE_HOME:-$HOME/.cache}/iotd/zigbee2mqtt/$version-$(sha256sum "$here/package-lock.json" | cut -c 1-8)"
source "$here/../once.sh"
command -v npm >/dev/null || { echo "no npm: install it and run 'make clients' again" >&2; exit 3; }

rm -rf "$target/node_modules"
cp "$here/package.json" "$here/package-lock.json" "$target"
# no script of a package is run: what is built for this machine comes built
npm ci --prefix "$target" --ignore-scripts --no-audit --no-fund --silent >&2
mv "$target"/node_modules/node-linux-*/bin/node "$target/node"
rm -rf "$target"/node_modules/node-linux-* # the rest is for compiling
"$target/node" --version >&2
touch "$target/complete"
echo "$target"
