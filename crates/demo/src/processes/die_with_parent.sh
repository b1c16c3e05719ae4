# shellcheck shell=sh
# Runs one program, and stops it when the caller ends, even if the caller is killed.
#
# Arguments: TENTHS (time for the program to stop, in tenths of a second), then the
# program and its arguments.
#
# The caller holds the other end of standard input. When the pipe is closed (by the kernel
# if the caller is killed), the program is asked to stop and is killed after TENTHS.
# The exit status is that of the program.

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

# Forwards signals to the program, and waits until the program has ended.
trap 'kill -s TERM "$program" 2>/dev/null' HUP INT TERM
wait "$program"
status=$?
while kill -0 "$program" 2>/dev/null; do
    wait "$program"
    status=$?
done
kill "$leash" 2>/dev/null
exit "$status"
