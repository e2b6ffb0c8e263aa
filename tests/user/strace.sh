#!/bin/bash
# -strace against strace: one program, built for the host and for GUEST, makes the same calls; their lines are compared
# after process ids and addresses were made alike.
#
#   strace.sh MYNA_USER GUEST
set -u
myna=$1 guest=$2
for tool in strace gcc "$guest-linux-gnu-gcc"; do command -v "$tool" > /dev/null || { echo "skipped: no $tool"; exit 77; }; done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat > "$work/p.c" <<'C'
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
int main(void) {
    struct stat s;
    char b[40];
    int p[2], fd = open("/etc/passwd", O_RDONLY | O_CLOEXEC), status;
    fstat(fd, &s);
    if (read(fd, b, 20) != 20) return 1;
    lseek(fd, 0, SEEK_SET);
    close(fd);
    close(77);
    if (pipe2(p, O_CLOEXEC) != 0) return 1;
    struct iovec v[2] = {{"ab", 2}, {"c\"d", 3}};
    if (writev(p[1], v, 2) != 5) return 1;
    int tcp = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), dgram = socket(AF_UNIX, SOCK_DGRAM, 0);
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(9), .sin_addr.s_addr = htonl(0x7f000001)};
    connect(tcp, (void*)&in, sizeof in);
    struct sockaddr_un un = {AF_UNIX, "/nosuch"};
    connect(dgram, (void*)&un, sizeof un);
    sigset_t m;
    sigemptyset(&m);
    sigaddset(&m, SIGINT);
    sigprocmask(SIG_BLOCK, &m, 0);
    struct rlimit r;
    getrlimit(RLIMIT_NOFILE, &r);
    struct timespec ts = {0, 1000};
    nanosleep(&ts, 0);
    struct utsname u;
    uname(&u);
    if (fork() == 0) _exit(3);
    wait(&status);
    fcntl(p[0], F_SETFD, FD_CLOEXEC);
    return 0;
}
C
gcc -O1 -w -static -o "$work/native" "$work/p.c" && "$guest-linux-gnu-gcc" -O1 -w -static -o "$work/guest" "$work/p.c" || exit 1
strace -f -o "$work/expected" "$work/native" < /dev/null
"$myna" -strace -D "$work/got" "$work/guest" < /dev/null
calls='openat|newfstatat|read|lseek|close|pipe2|writev|socket|connect|rt_sigprocmask|uname|clock_nanosleep|fcntl|exit_group'
# strace may see another process's call before a process has ended.
alike() { grep -E "^[0-9]+ +($calls)\(" "$1" | grep -v "rt_sigprocmask(SIG_\(BLOCK, ~\|SETMASK\)" |
    sed -E 's/^[0-9]+ +//; s/ +(= )/ \1/; s/IPPROTO_IP/0/; s/(exit_group\([0-9]+) <unfinished \.\.\.>/\1) = ?/; /proc\/self|readlink|sys\/devices/d'; }
alike "$work/expected" | sed -n '/passwd/,$p' > "$work/a"
alike "$work/got" | sed -n '/passwd/,$p' > "$work/b"
[ -s "$work/a" ] || { echo "skipped: strace does not work here"; exit 77; }

# A call that waits while another thread makes some is printed in two lines, each as strace's.
cat > "$work/t.c" <<'C'
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>
static int p[2];
static void* reader(void* x) {
    char b[8];
    return read(p[0], b, sizeof b) == 5 ? x : 0;
}
int main(int argc, char** argv) {
    pthread_t t;
    if (pipe(p) || pthread_create(&t, 0, reader, 0)) return 1;
    usleep(atoi(argv[1]));
    if (write(p[1], "hello", 5) != 5) return 1;
    usleep(atoi(argv[1]));
    return pthread_join(t, 0);
}
C
gcc -O1 -static -pthread -o "$work/native" "$work/t.c" && "$guest-linux-gnu-gcc" -O1 -static -pthread -o "$work/guest" "$work/t.c" || exit 1
halves() { grep -E 'read\(3|read resumed' "$1" | sed -E 's/^[0-9]+ +//; s/ +(= )/ \1/'; }
for pause in 300000 1000000 3000000; do  # a busy machine needs longer until the reader waits
    strace -f -o "$work/expected2" "$work/native" $pause
    "$myna" -strace -D "$work/got2" "$work/guest" $pause
    halves "$work/expected2" > "$work/a2"
    halves "$work/got2" > "$work/b2"
    cmp -s "$work/a2" "$work/b2" && break
done
[ "$(wc -l < "$work/a2")" = 2 ] && { diff "$work/a2" "$work/b2" || exit 1; }

diff "$work/a" "$work/b" && grep -q 'wait4.*\[{WIFEXITED(s) && WEXITSTATUS(s) == 3}\]' "$work/got" && grep -q 'prlimit64(0, RLIMIT_NOFILE, NULL, {rlim_cur=' "$work/got" && { echo ok; exit 0; }
exit 1
