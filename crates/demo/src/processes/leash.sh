# shellcheck shell=sh
# Runs one program for a caller who may be killed at any moment.
#
# arguments: TENTHS (how many tenths of a second the program has to stop), then the
# program and its arguments.
#
# The caller holds the other end of standard input. When it closes the pipe, which the
# kernel does for it if it dies, the program is asked to stop and, if it does not, killed.
# Ends as the program ends.

set -u
tenths=$1
shift
exec 3<&0 </dev/null

"$@" 3<&- &
program=$!
{
    while read -r _; do :; done
    kill -s TERM "$program"
    while [ "$tenths" -gt 0 ] && kill -0 "$program"; do
        sleep 0.1
        tenths=$((tenths - 1))
    done
    kill -s KILL "$program"
} <&3 3<&- >/dev/null 2>&1 &
leash=$!
exec 3<&-

# A signal to this shell is passed on; the wait goes on until the program has ended.
trap 'kill -s TERM "$program" 2>/dev/null' HUP INT TERM
wait "$program"
status=$?
while kill -0 "$program" 2>/dev/null; do
    wait "$program"
    status=$?
done
kill "$leash" 2>/dev/null
exit "$status"
