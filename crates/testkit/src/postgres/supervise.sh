# shellcheck shell=sh
# Runs one private PostgreSQL server, and stops it when the caller ends, even if the caller
# is killed.
#
# Arguments: BIN (directory of initdb and postgres), BASE (parent of the working directory),
# DATA (the data directory, or '' for a temporary one), then options for postgres.
#
# The caller holds the other end of standard input. It writes `start N` (the Nth run),
# `INT` (fast stop) or `QUIT` (immediate stop). When the pipe is closed (by the kernel if the
# caller is killed), the server is stopped and the working directory removed. The first line
# of output is the working directory. It contains `pid.N` of the server, `status.N` once the
# server has ended, and `log`.

set -u
umask 077
bin=$1 base=$2 data=$3
shift 3
run=$(mktemp -d "$base/rpg.XXXXXX") || exit 1
[ -n "$data" ] || data=$run/data
job=
pid=
status=

start() {
    pid=$run/pid.$1 status=$run/status.$1
    shift
    {
        # A signal to the whole group must not end the subshell that records the status.
        trap '' HUP INT TERM
        if [ ! -s "$data/PG_VERSION" ]; then
            "$bin/initdb" -D "$data" -U postgres -A trust -E UTF8 --no-locale --no-sync \
                >>"$run/log" 2>&1 || {
                echo "initdb failed" >"$status"
                exit
            }
        fi
        "$bin/postgres" -D "$data" -k "$run" "$@" >>"$run/log" 2>&1 &
        echo "$!" >"$pid"
        wait "$!"
        echo "postgres ended with $?" >"$status"
    } </dev/null >/dev/null 2>&1 &
    job=$!
}

stop() {
    [ -n "$job" ] || return 0
    # A starting server ignores signals until its handlers are installed, so the signal is
    # repeated. A second signal has no further effect.
    while [ ! -e "$status" ]; do
        [ -s "$pid" ] && kill -s "$1" "$(cat "$pid")" 2>/dev/null
        sleep 0.05
    done
    wait "$job"
    job=
}

finish() {
    stop QUIT
    rm -rf -- "$run"
    exit 0
}

trap finish HUP INT TERM
printf '%s\n' "$run"
while read -r word number; do
    case $word in
    start) start "$number" "$@" ;;
    INT | QUIT) stop "$word" ;;
    esac
done
finish
