"""What a Redis container runs first: a shell script that finds the server and its role.

The stack tells a node its role when it starts it. When Docker's restart policy starts it, after a crash or with the
engine, the Sentinels may have made another node master meanwhile, and reach it only some seconds later: so it asks
them, and comes up in the role that the newest of their configurations gives it.
"""

from __future__ import annotations

import shlex

from iotd.config import Settings
from iotd.config.sections.servers import Credentials
from iotd.config.topology import Node, Shard
from iotd.stack.conf import TlsFiles

_FIND = """\
for server in /opt/redis-stack/bin/redis-server redis-server; do
  command -v "$server" >/dev/null && break
done
PATH="$PATH:/opt/redis-stack/bin"
"""

# only what a shell does itself, and sleep: the smallest image may have no more
_ROLE = """\
umask 077
. {folder}/ask
for module in /opt/redis-stack/lib/redistimeseries.so /usr/local/lib/redis/modules/redistimeseries.so; do
  [ -f "$module" ] && break
done
set -- {folder}/redis.conf
# after a CONFIG REWRITE the file names the module itself
while read -r word _; do
  [ "$word" = loadmodule ] && module=
done <{folder}/redis.conf
[ -n "$module" ] && set -- "$@" --loadmodule "$module"

claim() {{
  redis-cli -h "${{1%:*}}" -p "${{1##*:}}" $options --raw SENTINEL MASTER "$service" 2>/dev/null |
    while read -r key && read -r value; do
      case "$key" in
        ip) host=$value ;;
        port) port=$value ;;
        config-epoch) echo "$value $host $port" ;;
      esac
    done
}}

newest() {{
  heard=0 epoch=-1
  for sentinel in $sentinels; do
    said=$(claim "$sentinel")
    [ -n "$said" ] || continue
    heard=$((heard + 1))
    [ "${{said%% *}}" -gt "$epoch" ] && epoch=${{said%% *}} master=${{said#* }}
  done
}}

if [ -s {folder}/told ]; then
  : >{folder}/told
else
  tries=0
  while newest; [ "$heard" -lt 2 ] && [ "$tries" -lt 15 ]; do
    tries=$((tries + 1))
    sleep 1
  done
  if [ "$heard" = 0 ]; then
    echo "no Sentinel answers: starting in the last known role"
  elif [ "$master" = "$me" ]; then
    echo "the Sentinels say this node is master"
    set -- "$@" --replicaof no one
  else
    echo "the Sentinels say the master is $master"
    set -- "$@" --replicaof $master
  fi
fi
exec "$server" "$@"
"""


def redis_entry(folder: str) -> str:
    """The script of a Redis container; needs ``redis.conf``, ``ask`` and, where its role is told, ``told`` there."""
    return _FIND + _ROLE.format(folder=folder)


def sentinel_entry(folder: str) -> str:
    """The script of a Sentinel container; needs ``sentinel.conf`` in the folder."""
    return _FIND + f'umask 077\nexec "$server" {folder}/sentinel.conf --sentinel\n'


def ask_file(settings: Settings, shard: Shard, node: Node, tls: TlsFiles | None) -> str:
    """What the scripts need to ask others, in shell: kept in a file, so that no password is in an argument or variable
    that `docker inspect` or `ps` shows."""
    asks: Credentials = settings.sentinel
    own: Credentials = settings.sentinel if node.role == "sentinel" else settings.redis
    values = {
        "service": shard.service,
        "me": f"{node.name} {node.address.port}",
        "sentinels": " ".join(f"{s.name}:{s.address.port}" for s in shard.sentinels),
        "options": _options(asks, tls),
        "own_options": _options(own, tls),
        "own_password": own.read_password() or "",
    }
    lines = [f"{name}={shlex.quote(value)}" for name, value in values.items()]
    if (password := asks.read_password()) is not None:
        lines += [f"REDISCLI_AUTH={shlex.quote(password)}", "export REDISCLI_AUTH"]
    return "\n".join(lines) + "\n"


def redis_health(folder: str, port: int) -> str:
    """The shell command that says whether a Redis or Sentinel answers."""
    return (
        f"PATH=$PATH:/opt/redis-stack/bin; . {folder}/ask; export REDISCLI_AUTH=$own_password; "
        f'case "$(redis-cli -p {port} $own_options PING 2>&1)" in *PONG*|*LOADING*|*MASTERDOWN*) exit 0;; esac; exit 1'
    )


def _options(credentials: Credentials, tls: TlsFiles | None) -> str:
    options = ["--no-auth-warning"]
    if credentials.username is not None and credentials.read_password() is not None:
        options += ["--user", credentials.username]
    if tls is not None:
        # the certificate names what people connect to, not the container: only its signature is looked at
        options += ["--tls", "--insecure", "--cert", str(tls.cert), "--key", str(tls.key), "--cacert", str(tls.ca)]
    return " ".join(options)
