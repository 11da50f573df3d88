#!/usr/bin/env bash
# Installs a real Home Assistant, with what the integrations need that the tests set up, into
#   ${XDG_CACHE_HOME:-$HOME/.cache}/iotd/homeassistant/VERSION
# VERSION is Home Assistant's and a digest of the integrations. Needs Python 3.11 or 3.12 with venv; three minutes,
# 600 MB. Prints the folder.
# Safe to run twice at once: the second waits for the first. With --find it only looks whether it is there.
set -euo pipefail

version=2024.3.3 # the newest for Python 3.11
python=${HOMEASSISTANT_PYTHON:-python3}

here=$(cd "$(dirname "$0")" && pwd)
target="${XDG_CACHE_HOME:-$HOME/.cache}/iotd/homeassistant/$version-$(sha256sum "$here/requirements.py" | cut -c 1-8)"
source "$here/../once.sh"
if ! "$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))'; then
    echo "Home Assistant $version needs Python 3.11 or 3.12 with venv; name one in HOMEASSISTANT_PYTHON" >&2
    exit 3
fi

rm -rf "$target/python"
"$python" -m venv "$target/python" >&2
pip=("$target/python/bin/python" -m pip install --quiet --disable-pip-version-check)
# its own list of what is known to work together; Home Assistant itself installs with the same
"${pip[@]}" "homeassistant==$version" >&2
constraints=$("$target/python/bin/python" -c \
    'import homeassistant, pathlib; print(pathlib.Path(homeassistant.__file__).parent / "package_constraints.txt")')
"$target/python/bin/python" "$here/requirements.py" >"$target/requirements.txt"
"${pip[@]}" --constraint "$constraints" --requirement "$target/requirements.txt" >&2
touch "$target/complete"
echo "$target"
