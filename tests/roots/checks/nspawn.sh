#!/bin/bash
# systemd-nspawn boots the root to multi-user.target and shuts it down again
# runs on the host
# network: none
set -e
command -v systemd-nspawn > /dev/null && [ -x "$1/usr/bin/systemctl" ] || exit 77
log=$(mktemp)
trap 'cat "$log"; rm -f "$log"' EXIT
test "$(systemd-nspawn -q --register=no --keep-unit -D "$1" /bin/sh -c 'echo $$ $(cat /proc/1/comm)' 2> /dev/null | tr -d '\r')" = '1 sh'
systemd-nspawn --register=no --keep-unit -D "$1" -b < /dev/null > "$log" 2>&1 & machine=$!
for i in $(seq 1200); do grep -q 'Reached target .*multi-user.target' "$log" && break; kill -0 $machine; sleep 0.1; done
grep -q 'Reached target .*multi-user.target' "$log"
! grep -E '\[.*FAILED|Failed to start' "$log"
kill $machine
wait $machine
grep -q 'has been shut down' "$log"
