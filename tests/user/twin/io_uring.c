// io_uring by its system calls: each operation that means something else to another architecture's kernel, and the usual ones.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static int fd;
static struct io_uring_params p;
static char *sq, *cq;
static struct io_uring_sqe* sqes;
static unsigned to_submit;

static unsigned at(char* ring, unsigned offset) { return atomic_load_explicit((_Atomic unsigned*)(ring + offset), memory_order_acquire); }

static struct io_uring_sqe* entry(int opcode, int target, const void* addr, unsigned len, unsigned long off) {
    const unsigned tail = at(sq, p.sq_off.tail), mask = at(sq, p.sq_off.ring_mask);
    struct io_uring_sqe* e = &sqes[tail & mask];
    memset(e, 0, sizeof *e);
    e->opcode = opcode;
    e->fd = target;
    e->addr = (unsigned long)addr;
    e->len = len;
    e->off = off;
    e->user_data = 100 + opcode;
    ((unsigned*)(sq + p.sq_off.array))[tail & mask] = tail & mask;
    atomic_store_explicit((_Atomic unsigned*)(sq + p.sq_off.tail), tail + 1, memory_order_release);
    to_submit++;
    return e;
}

static int enter(unsigned wait) {
    const int r = syscall(SYS_io_uring_enter, fd, to_submit, wait, IORING_ENTER_GETEVENTS, NULL, 8);
    to_submit = 0;
    return r;
}

/// Takes `n` completions, in order of their user_data; gives the result of the last.
static int finish(const char* what, int n) {
    const int r = enter(n);
    int last = 0;
    printf("%s: submitted %d", what, r);
    for (int i = 0; i < n; i++) {
        const unsigned head = at(cq, p.cq_off.head);
        if (head == at(cq, p.cq_off.tail)) {
            printf(" missing");
            break;
        }
        const struct io_uring_cqe* c = (struct io_uring_cqe*)(cq + p.cq_off.cqes) + (head & at(cq, p.cq_off.ring_mask));
        last = c->res;
        if (what[0] == '*') printf(" [%d %s]", (int)c->user_data - 100, c->res < 0 ? strerror(-c->res) : "a descriptor");
        else printf(" [%d %d]", (int)c->user_data - 100, c->res);
        atomic_store_explicit((_Atomic unsigned*)(cq + p.cq_off.head), head + 1, memory_order_release);
    }
    puts("");
    return last;
}

static void on_alarm(int sig) { (void)sig; }

int main(void) {
    fd = syscall(SYS_io_uring_setup, 8, &p);
    if (fd < 0) {
        printf("setup: %s\n", strerror(errno));
        return 0;
    }
    printf("entries %u %u\n", p.sq_entries, p.cq_entries);
    const size_t sq_size = p.sq_off.array + p.sq_entries * 4, cq_size = p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe);
    sq = mmap(NULL, sq_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, IORING_OFF_SQ_RING);
    cq = mmap(NULL, cq_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, IORING_OFF_CQ_RING);
    sqes = mmap(NULL, p.sq_entries * 64, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, IORING_OFF_SQES);
    if (sq == MAP_FAILED || cq == MAP_FAILED || sqes == MAP_FAILED) return perror("mmap"), 1;
    mmap((void*)0x20000000, 4096, PROT_READ, MAP_SHARED | MAP_FIXED, fd, IORING_OFF_SQ_RING);
    printf("mapped where the program wants it: %s\n", strerror(errno));

    entry(IORING_OP_NOP, -1, NULL, 0, 0);
    entry(IORING_OP_NOP, -1, NULL, 0, 0);
    finish("nop", 2);

    char folder[] = "/tmp/twin-XXXXXX", path[64], link[64], buffer[64] = {0};
    if (!mkdtemp(folder)) return 1;
    snprintf(path, sizeof path, "%s/file", folder);
    snprintf(link, sizeof link, "%s/link", folder);
    entry(IORING_OP_OPENAT, AT_FDCWD, path, 0600, 0)->open_flags = O_CREAT | O_RDWR;
    const int file = finish("*open", 1);
    entry(IORING_OP_WRITE, file, "hello, ring", 11, 0);
    finish("write", 1);
    entry(IORING_OP_READ, file, buffer, sizeof buffer, 7);
    finish("read", 1);
    printf("%s\n", buffer);
    entry(IORING_OP_OPENAT, AT_FDCWD, path, 0, 0)->open_flags = O_DIRECTORY;
    finish("*open a file as a directory", 1);
    entry(IORING_OP_OPENAT, AT_FDCWD, folder, 0, 0)->open_flags = O_DIRECTORY;
    finish("*open a directory", 1);
    entry(IORING_OP_SYMLINKAT, AT_FDCWD, path, 0, (unsigned long)link);
    finish("symlink", 1);
    entry(IORING_OP_OPENAT, AT_FDCWD, link, 0, 0)->open_flags = O_NOFOLLOW;
    finish("*open a link", 1);
    struct { unsigned long flags, mode, resolve; } how = {O_DIRECTORY, 0, 0};
    entry(IORING_OP_OPENAT2, AT_FDCWD, path, sizeof how, (unsigned long)&how);
    finish("*open2 a file as a directory", 1);
    entry(IORING_OP_OPENAT2, AT_FDCWD, folder, sizeof how, (unsigned long)&how);
    finish("*open2 a directory", 1);
    struct statx stx;
    entry(IORING_OP_STATX, AT_FDCWD, path, STATX_SIZE | STATX_MODE, (unsigned long)&stx);
    finish("statx", 1);
    printf("size %llu mode %o\n", (unsigned long long)stx.stx_size, stx.stx_mode);
    entry(IORING_OP_OPENAT, AT_FDCWD, (void*)16, 0, 0)->open_flags = O_RDONLY;
    finish("*open a bad address", 1);

    int ep = epoll_create1(0), ev = eventfd(3, 0);
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = 0x1122334455667788}, got;
    entry(IORING_OP_EPOLL_CTL, ep, &event, EPOLL_CTL_ADD, ev);
    finish("epoll_ctl", 1);
    printf("epoll_wait %d", epoll_wait(ep, &got, 1, 0));
    printf(" %x %llx\n", got.events, (unsigned long long)got.data.u64);
    entry(IORING_OP_EPOLL_CTL, ep, NULL, EPOLL_CTL_DEL, ev);
    finish("epoll_ctl", 1);
    entry(IORING_OP_POLL_ADD, ev, NULL, 0, 0)->poll32_events = 1;
    finish("poll", 1);

    char a[4] = {0}, b[8] = {0};
    struct iovec v[2] = {{a, 3}, {b, 7}};
    entry(IORING_OP_READV, file, v, 2, 0);
    finish("readv", 1);
    printf("%s|%s\n", a, b);
    printf("register %ld\n", syscall(SYS_io_uring_register, fd, IORING_REGISTER_BUFFERS, v, 2));
    entry(IORING_OP_READ_FIXED, file, b, 4, 3)->buf_index = 1;
    finish("read_fixed", 1);
    printf("%.4s\n", b);

    int pair[2];
    if (socketpair(AF_UNIX, SOCK_DGRAM, 0, pair)) return 1;
    struct msghdr out = {.msg_iov = v, .msg_iovlen = 1}, in = {.msg_iov = &v[1], .msg_iovlen = 1};
    entry(IORING_OP_SENDMSG, pair[0], &out, 1, 0)->flags = IOSQE_IO_LINK;
    entry(IORING_OP_RECVMSG, pair[1], &in, 1, 0);
    finish("messages", 2);
    printf("%.3s %d\n", b, in.msg_flags);

    struct { long sec, nsec; } soon = {0, 1000000};
    entry(IORING_OP_TIMEOUT, -1, &soon, 1, 0);
    finish("timeout", 1);
    entry(200, -1, NULL, 0, 0);
    finish("no such operation", 1);

    // A signal ends the wait, with the mask that the call brings.
    struct sigaction act = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
    sigaction(SIGALRM, &act, NULL);
    sigset_t set, none;
    sigemptyset(&none);
    sigemptyset(&set);
    sigaddset(&set, SIGALRM);
    sigprocmask(SIG_BLOCK, &set, NULL);
    raise(SIGALRM);
    int r = syscall(SYS_io_uring_enter, fd, 0, 1, IORING_ENTER_GETEVENTS, &none, 8);
    printf("interrupted %d %s\n", r, strerror(errno));
    struct { unsigned long mask; unsigned size, pad; void* ts; } x = {0, 0, 0, &soon};
    r = syscall(SYS_io_uring_enter, fd, 0, 1, IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG, &x, sizeof x);
    printf("timed out %d %s\n", r, strerror(errno));

    unlink(link);
    unlink(path);
    rmdir(folder);
    printf("unmap %d %d\n", munmap(sq, sq_size), munmap(sqes, p.sq_entries * 64));
    return 0;
}
