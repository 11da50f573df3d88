#!/bin/sh
# One node of a shard in a container: Redis or Sentinel. Used by compose/, and in Kubernetes by way of a ConfigMap.
#
#   KIND       redis or sentinel
#   NODE PORT  the name by which the others know this node, and its port
#   LOCATION   the room: the name under which the Sentinels watch the master
#   MASTER     name:port of the master at the very first start
#   SENTINELS  name:port of each, with spaces between them
#   PASSWORD_FILE  the password of all of them; none when the file is not there
#
# A Redis asks the Sentinels for its role each time it starts, so that one that was away during a failover never comes up
# as a second master. Only what a shell can do itself is used, and sleep: the image may have no more.
set -eu
umask 077
data=${DATA:-/data}
PATH="$PATH:/opt/redis-stack/bin"
password=
if [ -f "${PASSWORD_FILE:-/run/secrets/redis_password}" ]; then
  read -r password <"${PASSWORD_FILE:-/run/secrets/redis_password}" || true
fi
[ -n "$password" ] && REDISCLI_AUTH=$password && export REDISCLI_AUTH

common() {
  echo "bind * -::*"
  echo "port $PORT"
  echo "dir $data"
  if [ -n "$password" ]; then echo "requirepass \"$password\""; else echo "protected-mode no"; fi
}

# of one Sentinel: the epoch of its configuration, and host and port of the master in it
claim() {
  redis-cli -h "${1%:*}" -p "${1##*:}" --raw SENTINEL MASTER "$LOCATION" 2>/dev/null |
    while read -r key && read -r value; do
      case "$key" in
        ip) host=$value ;;
        port) port=$value ;;
        config-epoch) echo "$value $host $port" ;;
      esac
    done
}

newest() {
  heard=0 epoch=-1
  for sentinel in $SENTINELS; do
    said=$(claim "$sentinel") || said=
    [ -n "$said" ] || continue
    heard=$((heard + 1))
    if [ "${said%% *}" -gt "$epoch" ]; then epoch=${said%% *} master=${said#* }; fi
  done
}

start_redis() {
  last=
  if [ -f "$data/redis.conf" ]; then
    last=master
    while read -r word rest; do
      [ "$word" = replicaof ] && last=$rest
    done <"$data/redis.conf"
  fi
  newest
  tries=0
  while [ -n "$last" ] && [ "$heard" -lt 2 ] && [ "$tries" -lt 15 ]; do
    sleep 1
    tries=$((tries + 1))
    newest
  done
  if [ "$heard" -gt 0 ]; then
    role=$master
    [ "$master" = "$NODE $PORT" ] && role=master
    echo "the Sentinels say the master is $master"
  elif [ -n "$last" ]; then
    role=$last
    echo "no Sentinel answers: the last known role, $role"
  else
    role="${MASTER%:*} ${MASTER##*:}"
    [ "$MASTER" = "$NODE:$PORT" ] && role=master
    echo "first start: $role"
  fi
  {
    common
    for module in /opt/redis-stack/lib/redistimeseries.so /usr/local/lib/redis/modules/redistimeseries.so; do
      if [ -f "$module" ]; then
        echo "loadmodule $module"
        break
      fi
    done
    # the append-only file is what WAITAOF, and so the daemon's checkpoint, stands on
    echo "appendonly yes"
    echo "appendfsync everysec"
    echo 'save ""'
    echo "repl-backlog-size 64mb"
    echo "repl-ping-replica-period 1"
    echo "repl-diskless-sync-delay 0"
    echo "maxmemory-policy noeviction"
    echo "replica-announce-ip $NODE"
    echo "replica-announce-port $PORT"
    if [ -n "$password" ]; then echo "masterauth \"$password\""; fi
    if [ "$role" != master ]; then echo "replicaof $role"; fi
  } >"$data/redis.conf"
  exec redis-server "$data/redis.conf"
}

start_sentinel() {
  if ! [ -f "$data/sentinel.conf" ]; then
    # a Sentinel can't begin with a master whose name is not known yet
    until [ "$(redis-cli -h "${MASTER%:*}" -p "${MASTER##*:}" PING 2>/dev/null)" = PONG ]; do sleep 1; done
    {
      common
      echo "sentinel resolve-hostnames yes"
      echo "sentinel announce-hostnames yes"
      echo "sentinel announce-ip $NODE"
      echo "sentinel announce-port $PORT"
      echo "sentinel monitor $LOCATION ${MASTER%:*} ${MASTER##*:} 2"
      echo "sentinel down-after-milliseconds $LOCATION ${DOWN_AFTER_MS:-1000}"
      echo "sentinel failover-timeout $LOCATION 5000"
      echo "sentinel parallel-syncs $LOCATION 1"
      echo "sentinel master-reboot-down-after-period $LOCATION 1000"
      if [ -n "$password" ]; then
        echo "sentinel auth-pass $LOCATION \"$password\""
        echo "sentinel sentinel-pass \"$password\""
      fi
    } >"$data/sentinel.conf"
  fi
  exec redis-server "$data/sentinel.conf" --sentinel
}

start_"$KIND"
