#!/usr/bin/env bash
# Installs the clients of InfluxDB that people have, for Python and for JavaScript, into
#   ${XDG_CACHE_HOME:-$HOME/.cache}/iotd/influxclients/VERSION
# VERSION is a digest of what is installed. Needs python3 with venv, node and npm; a minute. Prints the folder.
# Safe to run twice at once: the second waits for the first. With --find it only looks whether it is there.
set -euo pipefail

javascript=@influxdata/influxdb-client@1.35.0

here=$(cd "$(dirname "$0")" && pwd)
version=$( (cat "$here/requirements.txt"; echo "$javascript") | sha256sum | cut -c 1-12)
target="${XDG_CACHE_HOME:-$HOME/.cache}/iotd/influxclients/$version"
source "$here/../once.sh"
for tool in python3 node npm; do
    command -v "$tool" >/dev/null || { echo "no $tool: install it and run 'make clients' again" >&2; exit 3; }
done

rm -rf "$target/python" "$target/node_modules"
python3 -m venv "$target/python" >&2
"$target/python/bin/python" -m pip install --quiet --disable-pip-version-check \
    --requirement "$here/requirements.txt" >&2
npm install --prefix "$target" --no-save --no-audit --no-fund --silent "$javascript" >&2
touch "$target/complete"
echo "$target"
