// seccomp filters see the guest's architecture and numbers: errors, SIGSYS, death, a tracer, threads, exec. Holds on the
// native kernel too.
#include "check.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/ptrace.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#if defined(__aarch64__)
#define ARCH 0xc00000b7
#elif defined(__riscv)
#define ARCH 0xc00000f3
#else
#define ARCH AUDIT_ARCH_X86_64
#endif

#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define ANSWER(v) BPF_STMT(BPF_RET | BPF_K, v)
#define IF_CALL(nr, answer) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 1), ANSWER(answer)

static long install(struct sock_filter* f, unsigned short n, unsigned flags) {
    struct sock_fprog p = {n, f};
    return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &p);
}
#define INSTALL(flags, ...)                                                                 \
    ({                                                                                      \
        struct sock_filter f[] = {__VA_ARGS__};                                             \
        install(f, sizeof f / sizeof f[0], flags);                                          \
    })

static volatile int trapped, trapped_call, trapped_data;
static void on_sys(int sig, siginfo_t* info, void* context) {
    trapped++;
    trapped_call = info->si_syscall;
    trapped_data = info->si_errno;
    CHECK(sig == SIGSYS && info->si_code == 1 && info->si_arch == ARCH);
}

static void wrong_programs(void) {
    CHECK(INSTALL(0, BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 2), ANSWER(SECCOMP_RET_ALLOW)) == -1 && errno == EINVAL);
    CHECK(INSTALL(0, BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 64), ANSWER(SECCOMP_RET_ALLOW)) == -1 && errno == EINVAL);
    CHECK(INSTALL(0, LOAD(nr)) == -1 && errno == EINVAL);
    CHECK(INSTALL(0, BPF_STMT(BPF_JMP | BPF_JA, 1), ANSWER(SECCOMP_RET_ALLOW)) == -1 && errno == EINVAL);
    CHECK(INSTALL(0, BPF_STMT(BPF_LD | BPF_H | BPF_ABS, 0), ANSWER(SECCOMP_RET_ALLOW)) == -1 && errno == EINVAL);
    CHECK(INSTALL(1u << 20, ANSWER(SECCOMP_RET_ALLOW)) == -1 && errno == EINVAL);
    struct sock_fprog none = {0, NULL};
    CHECK(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &none) == -1 && errno == EINVAL);
    CHECK(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, 16) == -1 && errno == EFAULT);
    uint32_t action = SECCOMP_RET_TRAP;
    CHECK(syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0);
    action = 0x12340000;
    CHECK(syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == -1 && errno == EOPNOTSUPP);
}

static void answers(void) {
    pid_t child = fork();
    if (child == 0) {
        handle(SIGSYS, on_sys, 0);
        CHECK(prctl(PR_GET_SECCOMP) == 0);
        CHECK(INSTALL(0, LOAD(arch), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCH, 1, 0), ANSWER(SECCOMP_RET_KILL_PROCESS), LOAD(nr),
                      IF_CALL(SYS_getppid, SECCOMP_RET_ERRNO | 77), IF_CALL(SYS_getpgid, SECCOMP_RET_TRAP | 5),
                      IF_CALL(SYS_sched_yield, SECCOMP_RET_TRACE | 3), ANSWER(SECCOMP_RET_ALLOW)) == 0);
        CHECK(prctl(PR_GET_SECCOMP) == SECCOMP_MODE_FILTER);
        errno = 0;
        CHECK(syscall(SYS_getppid) == -1 && errno == 77);
        syscall(SYS_getpgid, 0);
        CHECK(trapped == 1 && trapped_call == SYS_getpgid && trapped_data == 5);
        CHECK(syscall(SYS_sched_yield) == -1 && errno == ENOSYS);  // there is no tracer
        // The stricter of two; arguments are seen.
        CHECK(INSTALL(0, LOAD(nr), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_close, 0, 3), LOAD(args[0]),
                      BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, 1000, 0, 1), ANSWER(SECCOMP_RET_ERRNO | 88), ANSWER(SECCOMP_RET_ALLOW)) == 0);
        CHECK(close(999) == -1 && errno == EBADF && close(1001) == -1 && errno == 88);
        CHECK(syscall(SYS_getppid) == -1 && errno == 77);
        // Exec and children keep them.
        pid_t grandchild = fork();
        if (grandchild == 0) {
            execl("/proc/self/exe", "again", "again", (char*)NULL);
            _exit(1);
        }
        CHECK(exits_with(grandchild, 21));
        _exit(failed != 0);
    }
    CHECK(exits_with(child, 0));
    CHECK(syscall(SYS_getppid) > 0 || getppid() == 0);
}

static void deaths(void) {
    pid_t child = fork();
    if (child == 0) {
        INSTALL(0, LOAD(nr), IF_CALL(SYS_getppid, SECCOMP_RET_KILL_PROCESS), ANSWER(SECCOMP_RET_ALLOW));
        syscall(SYS_getppid);
        _exit(0);
    }
    CHECK(dies_of(child, SIGSYS));
    child = fork();
    if (child == 0) {
        INSTALL(0, LOAD(nr), IF_CALL(SYS_getppid, SECCOMP_RET_TRAP), ANSWER(SECCOMP_RET_ALLOW));
        signal(SIGSYS, SIG_IGN);
        syscall(SYS_getppid);
        _exit(0);
    }
    CHECK(dies_of(child, SIGSYS));
    child = fork();
    if (child == 0) {
        CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) == 0);
        if (write(1, "", 0) != 0) syscall(SYS_exit, 1);
        syscall(SYS_exit, 12);
    }
    CHECK(exits_with(child, 12));
    child = fork();
    if (child == 0) {
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT);
        syscall(SYS_getppid);
        syscall(SYS_exit, 1);
    }
    CHECK(dies_of(child, SIGKILL));
}

static pthread_barrier_t barrier;
static void* other_thread(void* p) {
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    errno = 0;
    *(int*)p = syscall(SYS_getppid) == -1 ? errno : 0;
    return NULL;
}
static void threads(void) {
    for (int sync = 0; sync < 2; sync++) {
        pid_t child = fork();
        if (child == 0) {
            pthread_t t;
            int seen = -1;
            pthread_barrier_init(&barrier, NULL, 2);
            pthread_create(&t, NULL, other_thread, &seen);
            pthread_barrier_wait(&barrier);
            CHECK(INSTALL(sync ? SECCOMP_FILTER_FLAG_TSYNC : 0, LOAD(nr), IF_CALL(SYS_getppid, SECCOMP_RET_ERRNO | 66), ANSWER(SECCOMP_RET_ALLOW)) == 0);
            pthread_barrier_wait(&barrier);
            pthread_join(t, NULL);
            CHECK(seen == (sync ? 66 : 0));
            _exit(failed != 0);
        }
        CHECK(exits_with(child, 0));
    }
}

static long trace(long what, pid_t tid, void* addr, void* data) { return syscall(SYS_ptrace, what, tid, addr, data); }
static void tracer(void) {
    pid_t child = fork();
    if (child == 0) {
        trace(PTRACE_TRACEME, 0, 0, 0);
        raise(SIGSTOP);
        INSTALL(0, LOAD(nr), IF_CALL(SYS_getppid, SECCOMP_RET_TRACE | 9), ANSWER(SECCOMP_RET_ALLOW));
        _exit(syscall(SYS_getppid) > 0 ? 31 : 32);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && WIFSTOPPED(status));
    CHECK(trace(PTRACE_SETOPTIONS, child, 0, (void*)PTRACE_O_TRACESECCOMP) == 0 && trace(PTRACE_CONT, child, 0, 0) == 0);
    CHECK(waitpid(child, &status, 0) == child && status >> 8 == (SIGTRAP | PTRACE_EVENT_SECCOMP << 8));
    unsigned long message = 0;
    CHECK(trace(PTRACE_GETEVENTMSG, child, 0, &message) == 0 && message == 9);
    struct ptrace_syscall_info info;
    CHECK(trace(PTRACE_GET_SYSCALL_INFO, child, (void*)sizeof info, &info) > 0 && info.op == PTRACE_SYSCALL_INFO_SECCOMP);
    CHECK(info.seccomp.nr == SYS_getppid && info.seccomp.ret_data == 9 && info.arch == ARCH);
    CHECK(trace(PTRACE_CONT, child, 0, 0) == 0);
    CHECK(exits_with(child, 31));
}

int main(int argc, char** argv) {
    if (argc > 1) return syscall(SYS_getppid) == -1 && errno == 77 ? 21 : 22;
    alarm(60);
    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    wrong_programs();
    answers();
    deaths();
    threads();
    tracer();
    return failures();
}
