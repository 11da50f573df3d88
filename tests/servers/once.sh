# Sourced by a script that makes "$target" once for all: ends it here, with the folder's name, where it is made already.
# With --find it ends in any case. Otherwise the script goes on alone, whoever else is started waits for it, and it says
# by "$target/complete" that all is there.
if [ -e "$target/complete" ]; then
    echo "$target"
    exit 0
fi
[ "${1:-}" != --find ] || exit 1
mkdir -p "$target"
exec 9>"$target/.lock"
flock 9
if [ -e "$target/complete" ]; then # made meanwhile
    echo "$target"
    exit 0
fi
