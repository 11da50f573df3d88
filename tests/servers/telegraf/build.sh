#!/usr/bin/env bash
# Builds a real Telegraf, with only the plugins that the tests and benchmarks use, from its Go module into
#   ${XDG_CACHE_HOME:-$HOME/.cache}/iotd/telegraf/VERSION
# VERSION is Telegraf's and a digest of the plugins. Needs go (1.25.5 or newer); minutes, once. Prints the folder.
# Safe to run twice at once: the second waits for the first. With --find it only looks whether it is there.
set -euo pipefail

plugins=inputs.mock,inputs.file,inputs.tail,inputs.influxdb_v2_listener,inputs.mqtt_consumer
plugins=$plugins,outputs.file,outputs.influxdb_v2,outputs.influxdb,outputs.redistimeseries,outputs.discard
plugins=$plugins,parsers.influx,parsers.value,parsers.json_v2,serializers.influx

here=$(cd "$(dirname "$0")" && pwd)
version=$(sed -n 's|^\s*github.com/influxdata/telegraf v\([0-9.]*\).*|\1|p' "$here/go.mod")
target="${XDG_CACHE_HOME:-$HOME/.cache}/iotd/telegraf/$version-$(echo "$plugins" | sha256sum | cut -c 1-8)"
source "$here/../once.sh"
if ! command -v go >/dev/null; then
    echo "cannot build Telegraf: go is not on PATH; install it and run 'make clients' again" >&2
    exit 3
fi

cd "$here"
# "custom" leaves out every plugin that is not named
GOFLAGS="-mod=readonly -buildvcs=false" CGO_ENABLED=0 go build -tags "custom,$plugins" \
    -ldflags "-s -w -X github.com/influxdata/telegraf/internal.Version=$version" -o "$target/telegraf" \
    github.com/influxdata/telegraf/cmd/telegraf >&2
touch "$target/complete"
echo "$target"
