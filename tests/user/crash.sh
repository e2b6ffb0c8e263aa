#!/bin/sh
# The report of a fatal fault (-d crash): where, what, registers, system calls; and silence where nobody asked.
#
#   crash.sh MYNA_USER GUEST
set -u
myna=$1 guest=$2
command -v "$guest-linux-gnu-gcc" > /dev/null || { echo "skipped: no cross compiler"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/p.c" <<'C'
#include <unistd.h>
__attribute__((noinline)) void touch(volatile int* p) { *p = 1; }
__attribute__((noinline)) void extension(void) {
#ifdef __aarch64__
    asm volatile(".inst 0xcec08000");  // sha512su0 v0.2d, v0.2d
#else
    asm volatile(".word 0x40b57533");  // andn a0, a0, a1
#endif
}
int main(int argc, char** argv) {
    close(77);
    if (argc > 1) extension();
    else touch((int*)0x10);
    return 0;
}
C
"$guest-linux-gnu-gcc" -O1 -static -o "$folder/p" "$folder/p.c" || exit 1
if [ "$guest" = aarch64 ]; then cpu=cortex-a53 insn=sha512su0 feature=sha512; else cpu=rv64,zbb=false,zbkb=false insn=andn feature=zbb; fi
failed=0
has() { grep -q -- "$1" "$folder/out" || { echo "FAIL: no '$1' in:"; cat "$folder/out"; failed=1; }; }
"$myna" -d crash "$folder/p" > "$folder/out" 2>&1
[ $? = 139 ] || { echo "FAIL: the exit status is not SIGSEGV's"; failed=1; }
for line in "died by SIGSEGV" "at  *0x[0-9a-f]*  touch+0x" "accessing  *0x10  not mapped" "called from .* main+0x" "close(0x4d.* = -1 EBADF" "Myna .*, guest $guest, -cpu max"; do has "$line"; done
"$myna" -cpu "$cpu" -d crash "$folder/p" x > "$folder/out" 2>&1
[ $? = 132 ] || { echo "FAIL: the exit status is not SIGILL's"; failed=1; }
for line in "died by SIGILL" "extension+0x" "instruction .* $insn" "missing  *$feature.*'-cpu max' (the default) does"; do has "$line"; done
"$myna" "$folder/p" x > "$folder/out" 2>&1 || { echo "FAIL: the default CPU lacks $feature"; failed=1; }
(exec "$myna" "$folder/p" > /dev/null 2> "$folder/out")
[ -s "$folder/out" ] && { echo "FAIL: something was printed unasked:"; cat "$folder/out"; failed=1; }
[ "$failed" = 0 ] && echo "ok"
exit "$failed"
