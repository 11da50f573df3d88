#!/bin/sh
# Prints all of it for kubectl: deploy/kubernetes/make.sh [ROOM…] | kubectl apply --namespace iotd -f -
#
# First, once: kubectl create namespace iotd
#   kubectl create secret generic iotd --namespace iotd --from-literal=redis_password="$(openssl rand -hex 24)" \
#     --from-literal=influxdb_password="$(openssl rand -hex 24)" --from-literal=influxdb_token="$(openssl rand -hex 24)"
set -eu
cd "$(dirname "$0")"
[ $# -gt 0 ] || set -- salon chambre1 chambre2 cuisine salle_de_bain

indented() { sed 's/^\(.\)/    \1/'; }
dns() { echo "$1" | tr 'A-Z_' 'a-z-'; }

cat influxdb.yaml
for room in "$@"; do
  echo ---
  sed "s/DNS_ROOM/$(dns "$room")/g; s/ROOM/$room/g" shard.yaml
done
echo ---
cat iotd.yaml
printf -- '---\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: redis-node\ndata:\n  redis-node.sh: |\n'
indented <../redis-node.sh
printf -- '---\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: iotd\ndata:\n  iotd.toml: |\n'
{
  echo "locations = [$(for room in "$@"; do printf '"%s", ' "$room"; done | sed 's/, $//')]"
  echo '[influxdb]'
  echo 'url = "http://influxdb:8086"'
  for room in "$@"; do
    name=$(dns "$room")
    echo "[topology.shards.$room]"
    echo "master = \"redis-$name-0.redis-$name:6379\""
    echo "replica = \"redis-$name-1.redis-$name:6379\""
    echo "sentinels = [\"sentinel-$name-0.redis-$name:26379\", \"sentinel-$name-1.redis-$name:26379\", \"sentinel-$name-2.redis-$name:26379\"]"
  done
} | indented
