#!/bin/bash
# bwrap --unshare-all, unshare -Urpf --mount-proc, nsenter
set -e
command -v bwrap >/dev/null || exit 77
for i in 1 2 3; do
    test "$(bwrap --unshare-all --ro-bind / / --proc /proc --dev /dev --tmpfs /tmp sh -c 'echo $$ $(id -u) $(ls /proc | grep -c "^[0-9]")' | cut -d' ' -f2)" = 0
    test "$(unshare -Urpf --mount-proc sh -c 'ps -e 2>/dev/null | wc -l; echo $$' | tail -1)" = 1
    test "$(unshare -Urn sh -c 'grep -c : /proc/net/dev')" = 1
done
bwrap --unshare-all --die-with-parent --ro-bind / / --proc /proc --dev /dev python3 -c 'import os; print(os.getpid()); os.execvp("true", ["true"])'
