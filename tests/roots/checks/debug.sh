#!/bin/bash
# the guest's own gdb (break, watch, backtrace, threads, fork, attach) and strace -f, three times
set -e
command -v gdb >/dev/null && command -v strace >/dev/null || exit 77
cd $(mktemp -d)
cat > p.c <<'C'
#include <pthread.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>
int counter;
__attribute__((noinline)) int fact(int n) { counter++; return n < 2 ? 1 : n * fact(n - 1); }
void* work(void* p) { for (int i = 0; i < 3; i++) counter += 10; return p; }
int main(void) {
    printf("%d\n", fact(6));
    pthread_t t;
    pthread_create(&t, 0, work, 0);
    pthread_join(t, 0);
    int s = 0;
    if (fork() == 0) _exit(3);
    wait(&s);
    printf("done %d %d\n", counter, WEXITSTATUS(s));
    return 7;
}
C
gcc -g -O0 -o p p.c -pthread
for i in 1 2 3; do
    gdb -q -batch -ex 'set pagination off' -ex 'break fact if n==3' -ex 'break work' -ex run -ex bt -ex 'p counter' -ex 'watch counter' -ex continue \
        -ex 'delete 3' -ex 'p $_exitcode' -ex continue -ex 'info threads' -ex bt -ex next -ex 'delete' -ex continue -ex 'p $_exitcode' ./p > out 2>&1
    grep -q '#3  0x.* in fact (n=6)' out; grep -q 'New value = 4' out; grep -q 'hit Breakpoint 2, work' out; grep -q 'exited with code 07' out
    grep -q '^done 36 3' out
    gdb -q -batch -ex 'set follow-fork-mode child' -ex 'set detach-on-fork on' -ex run ./p > out 2>&1; grep -q 'exited with code 03' out
    strace -f -o log ./p >/dev/null || test $? = 7
    grep -q 'exit_group(7)' log; grep -q '+++ exited with 3 +++' log; grep -q 'CLONE_THREAD' log; ! grep -q 'SYS_[0-9]' log
    sh -c 'while :; do :; done' & child=$!
    gdb -q -batch -p $child -ex 'info proc' > out 2>&1; grep -q "exe = '/usr/bin/dash'" out; kill -0 $child; kill $child; wait $child || true
done
