#!/bin/bash
# Programs that print what the kernel answers, built for the host and for GUEST: the lines are the same, also with a
# guest_base. The host's kernel is the oracle of both, whatever it has or refuses.
#
#   twins.sh MYNA_USER GUEST
set -u
myna=$1 guest=$2
here=$(dirname "$0")
for tool in gcc "$guest-linux-gnu-gcc"; do command -v "$tool" > /dev/null || { echo "skipped: no $tool"; exit 77; }; done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0
compare() {
    if ! diff -a "$work/expected" "$work/printed"; then
        echo "$1: the guest's lines (>) are not the host's (<)"
        failed=1
    fi
}
for source in "$here"/twin/*.c; do
    name=$(basename "$source" .c)
    gcc -O1 -Wall -static -pthread -o "$work/native" "$source" && "$guest-linux-gnu-gcc" -O1 -Wall -static -pthread -o "$work/guest" "$source" || exit 1
    timeout 60 "$work/native" > "$work/expected" 2>&1 || { echo "$name fails on the host"; failed=1; }
    timeout 60 "$myna" "$work/guest" > "$work/printed" 2>&1
    compare "$name"
    # The kernel reads addresses in the rings when nobody can convert them.
    [ "$name" = io_uring ] && echo "setup: Function not implemented" > "$work/expected"
    timeout 60 "$myna" -R 0x100000000000 -B 0x100000000000 "$work/guest" > "$work/printed" 2>&1
    compare "$name with a guest_base"
done
[ $failed = 0 ] && echo ok
exit $failed
