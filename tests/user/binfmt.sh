#!/bin/sh
# `myna-user binfmt` in a user namespace of its own (Linux 6.7): the host's registrations stay untouched.
#
#   binfmt.sh MYNA_USER GUEST      ends with 77 where the kernel has no binfmt_misc for user namespaces
set -u
myna=$1 guest=$2
if [ "${3-}" != inside ]; then
    command -v "$guest-linux-gnu-gcc" > /dev/null || { echo "skipped: no cross compiler"; exit 77; }
    unshare --map-root-user --mount sh -c 'mount -t binfmt_misc none /proc/sys/fs/binfmt_misc' 2> /dev/null ||
        { echo "skipped: no binfmt_misc in user namespaces here"; exit 77; }
    # A user namespace without a mount namespace of its own may not mount anything.
    unshare --user "$myna" binfmt install "$guest" 2>&1 | grep -q "not permitted in this user namespace" ||
        { echo "FAIL privilege: the cause is not said"; exit 1; }
    exec unshare --map-root-user --mount --fork --pid --mount-proc sh "$0" "$myna" "$guest" inside
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
failed=0
# expect NAME PATTERN COMMAND…: the output has a line with PATTERN
expect() {
    name=$1 pattern=$2; shift 2
    if ! "$@" > "$folder/out" 2>&1 && [ "${status:-0}" = 0 ]; then echo "FAIL $name: exit code"; cat "$folder/out"; failed=1; fi
    grep -q -- "$pattern" "$folder/out" || { echo "FAIL $name: no '$pattern' in:"; cat "$folder/out"; failed=1; }
}
cat > "$folder/p.c" <<'C'
#include <stdio.h>
#include <sys/auxv.h>
int main(int argc, char** argv) { printf("argv0=%s argc=%d secure=%lu\n", argv[0], argc, getauxval(AT_SECURE)); return 0; }
C
"$guest-linux-gnu-gcc" -static -o "$folder/p" "$folder/p.c" || exit 1

expect list "^:myna-$guest:M::" "$myna" binfmt list "$guest"
status=1 expect status-before "not registered\|not mounted" "$myna" binfmt status "$guest"
expect dry-run "register$" "$myna" binfmt install --dry-run "$guest"
expect install "registered as myna-$guest" "$myna" binfmt install "$guest"
expect status "flags POCF, enabled" "$myna" binfmt status "$guest"
expect nested "was not registered" unshare -Urm sh -c "'$myna' binfmt remove '$guest'; true"
expect untouched "flags POCF, enabled" "$myna" binfmt status "$guest"
expect doctor "a program of it runs" "$myna" binfmt doctor "$guest"
expect runs "argv0=$folder/p argc=2" "$folder/p" x
command -v bash > /dev/null && expect argv0 "argv0=another argc=1" bash -c "exec -a another '$folder/p'"
mkdir "$folder/top"
cp "$folder/p" "$folder/top/p"
expect chroot "argv0=/p argc=1" chroot "$folder/top" /p
expect again "registered as" "$myna" binfmt install "$guest"
expect remove "removed" "$myna" binfmt remove "$guest"
status=1 expect gone "not registered" "$myna" binfmt status "$guest"
"$folder/p" > /dev/null 2>&1 && { echo "FAIL: a program runs after remove"; failed=1; }
# Another emulator has it.
"$myna" binfmt list "$guest" | sed "s/^:myna-/:other-/; s|:[^:]*:POCF|:/bin/true:OC|" > "$folder/other"
cat "$folder/other" > /proc/sys/fs/binfmt_misc/register
status=1 expect taken "already registered by other-$guest (/bin/true)" "$myna" binfmt install "$guest"
expect replace "registered as myna-$guest" "$myna" binfmt install --replace "$guest"
expect replaced "argv0=$folder/p" "$folder/p"
status=1 expect flags "there are P, O, C and F" "$myna" binfmt install --flags X "$guest"
status=1 expect command "Did you mean install" "$myna" binfmt instal
status=1 expect guest "no such architecture" "$myna" binfmt install vax
[ "$failed" = 0 ] && echo "ok"
exit "$failed"
