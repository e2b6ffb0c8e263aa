// ptrace between guest processes: system calls, signals, steps, breakpoints, events, attaching. Holds on the native kernel
// too (the few registers that are named are there for each processor).
#include "check.h"

#include <elf.h>
#include <linux/ptrace.h>
#include <pthread.h>
#include <sched.h>
#include <spawn.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <time.h>

#if defined(__aarch64__)
typedef struct user_regs_struct Regs;
#define PC(r) (r).pc
#define RESULT(r) (r).regs[0]
static const uint32_t kBreak = 0xd4200000;
#elif defined(__riscv)
#include <asm/ptrace.h>
typedef struct user_regs_struct Regs;
#define PC(r) (r).pc
#define RESULT(r) (r).a0
static const uint32_t kBreak = 0x00100073;
#else
typedef struct user_regs_struct Regs;
#define PC(r) (r).rip
#define RESULT(r) (r).rax
static const uint32_t kBreak = 0xcc;
#endif

extern char** environ;
static long trace(long what, pid_t tid, void* addr, void* data) { return syscall(SYS_ptrace, what, tid, addr, data); }
static Regs regs_of(pid_t tid) {
    Regs r;
    memset(&r, 0, sizeof r);
    struct iovec iov = {&r, sizeof r};
    CHECK(trace(PTRACE_GETREGSET, tid, (void*)NT_PRSTATUS, &iov) == 0 && iov.iov_len == sizeof r);
    iov.iov_len = 12;  // not whole registers
    CHECK(trace(PTRACE_GETREGSET, tid, (void*)NT_PRSTATUS, &iov) == -1 && errno == EINVAL);
    return r;
}
static void set_regs(pid_t tid, Regs r) {
    struct iovec iov = {&r, sizeof r};
    CHECK(trace(PTRACE_SETREGSET, tid, (void*)NT_PRSTATUS, &iov) == 0);
}
static int wait_for(pid_t tid) {
    int status = -1;
    if (waitpid(tid, &status, __WALL) != tid) return -1;
    return status;
}
static int stopped_by(int status, int sig) { return WIFSTOPPED(status) && WSTOPSIG(status) == sig && status >> 16 == 0; }
static int event(int status) { return WIFSTOPPED(status) ? status >> 16 : -1; }
static long go(long how, pid_t tid, long sig) { return trace(how, tid, 0, (void*)sig); }

volatile int value = 5, calls, hits;
__attribute__((noinline)) int marker(int n) {
    calls++;
    return n + value;
}
static void on_signal(int sig, siginfo_t* info, void* context) { hits += sig == SIGUSR1 ? 1 : 100; }

static pid_t traced_child(void (*f)(void)) {
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        if (trace(PTRACE_TRACEME, 0, 0, 0) != 0) _exit(99);
        raise(SIGSTOP);
        f();
        _exit(0);
    }
    CHECK(stopped_by(wait_for(child), SIGSTOP));
    return child;
}

// ---- system calls, memory, registers

static void do_calls(void) {
    if (syscall(SYS_getppid) != 4711) _exit(1);
    if (value != 77) _exit(2);
    errno = 0;
    if (syscall(SYS_close, 12345) != -1 || errno != EBADF) _exit(3);
    _exit(42);
}
static void system_calls(void) {
    pid_t child = traced_child(do_calls);
    CHECK(trace(PTRACE_SETOPTIONS, child, 0, (void*)(PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL)) == 0);
    CHECK(trace(PTRACE_SETOPTIONS, child, 0, (void*)0x40000000) == -1 && errno == EINVAL);
    long word = 0;
    CHECK(trace(PTRACE_PEEKDATA, child, (void*)&value, &word) == 0 && (int)word == 5);
    word = (word & ~0xffffffffL) | 77;
    CHECK(trace(PTRACE_POKEDATA, child, (void*)&value, (void*)word) == 0 && value == 5);
    int copy = 0;
    struct iovec mine = {&copy, sizeof copy}, theirs = {(void*)&value, sizeof copy};
    CHECK(process_vm_readv(child, &mine, 1, &theirs, 1, 0) == sizeof copy && copy == 77);
    int seen = 0, status;
    for (;;) {
        CHECK(go(PTRACE_SYSCALL, child, 0) == 0);
        status = wait_for(child);
        if (!stopped_by(status, SIGTRAP | 0x80)) break;
        struct ptrace_syscall_info info;
        CHECK(trace(PTRACE_GET_SYSCALL_INFO, child, (void*)sizeof info, &info) > 0);
        if (info.op == PTRACE_SYSCALL_INFO_ENTRY) {
            seen = info.entry.nr;
            if (seen == SYS_close) CHECK(info.entry.args[0] == 12345);
        } else if (info.op == PTRACE_SYSCALL_INFO_EXIT && seen == SYS_getppid) {
            CHECK(info.exit.rval == getpid() && !info.exit.is_error);
            Regs r = regs_of(child);
            CHECK((long)RESULT(r) == getpid());
            RESULT(r) = 4711;
            set_regs(child, r);
        } else if (info.op == PTRACE_SYSCALL_INFO_EXIT && seen == SYS_close) {
            CHECK(info.exit.rval == -EBADF && info.exit.is_error);
        }
        siginfo_t si;
        CHECK(trace(PTRACE_GETSIGINFO, child, 0, &si) == 0 && si.si_code == (SIGTRAP | 0x80));
    }
    CHECK(seen == SYS_exit_group && WIFEXITED(status) && WEXITSTATUS(status) == 42);
}

// ---- signals

static void do_signals(void) {
    handle(SIGUSR1, on_signal, 0);
    raise(SIGUSR1);                      // goes through
    raise(SIGUSR1);                      // is dropped
    raise(SIGUSR2);                      // becomes SIGUSR1
    if (hits != 2) _exit(hits);
    raise(SIGTERM);                      // default action
}
static void signals(void) {
    pid_t child = traced_child(do_signals);
    siginfo_t si;
    CHECK(go(PTRACE_CONT, child, 0) == 0 && stopped_by(wait_for(child), SIGUSR1));
    CHECK(trace(PTRACE_GETSIGINFO, child, 0, &si) == 0 && si.si_signo == SIGUSR1 && si.si_pid == child);
    CHECK(go(PTRACE_CONT, child, SIGUSR1) == 0 && stopped_by(wait_for(child), SIGUSR1));
    CHECK(go(PTRACE_CONT, child, 0) == 0 && stopped_by(wait_for(child), SIGUSR2));
    CHECK(go(PTRACE_CONT, child, SIGUSR1) == 0 && stopped_by(wait_for(child), SIGTERM));
    CHECK(go(PTRACE_CONT, child, SIGTERM) == 0);
    int status = wait_for(child);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
}

static void do_wait(void) {
    struct timespec t = {0, 50 * 1000 * 1000};
    if (nanosleep(&t, NULL) != 0) _exit(errno);  // a signal that is dropped cuts nothing short
    int fds[2];
    char c;
    if (pipe(fds) != 0) _exit(98);
    if (read(fds[0], &c, 1) != -1) _exit(97);
    _exit(errno == EINTR ? 0 : errno);
}
static void interrupted_calls(void) {
    pid_t child = traced_child(do_wait);
    CHECK(go(PTRACE_CONT, child, 0) == 0);
    usleep(10000);
    kill(child, SIGWINCH);
    CHECK(stopped_by(wait_for(child), SIGWINCH));
    CHECK(go(PTRACE_CONT, child, 0) == 0);
    usleep(300000);
    kill(child, SIGCHLD);  // ignored by default: the read goes on
    CHECK(stopped_by(wait_for(child), SIGCHLD));
    CHECK(go(PTRACE_CONT, child, SIGCHLD) == 0);
    int status;
    usleep(20000);
    CHECK(waitpid(child, &status, WNOHANG) == 0);
    kill(child, SIGKILL);
    status = wait_for(child);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

// ---- breakpoints and steps

static void do_marker(void) {
    int sum = 0;
    for (int i = 0; i < 3; i++) sum += marker(i);
    _exit(sum);
}
static void breakpoints(void) {
    pid_t child = traced_child(do_marker);
    unsigned long text = 0, patched;
    int width = kBreak == 0xcc ? 1 : 4;
    CHECK(trace(PTRACE_PEEKTEXT, child, (void*)marker, &text) == 0);
    patched = text;
    memcpy(&patched, &kBreak, width);
    for (int i = 0; i < 3; i++) {
        CHECK(trace(PTRACE_POKETEXT, child, (void*)marker, (void*)patched) == 0);
        CHECK(go(PTRACE_CONT, child, 0) == 0 && stopped_by(wait_for(child), SIGTRAP));
        Regs r = regs_of(child);
        if (width == 1) PC(r)--;
        CHECK(PC(r) == (uintptr_t)marker);
        set_regs(child, r);
        long count = 0;
        CHECK(trace(PTRACE_PEEKDATA, child, (void*)&calls, &count) == 0 && (int)count == i);
        CHECK(trace(PTRACE_POKETEXT, child, (void*)marker, (void*)text) == 0);
        // Step over it, and out of the function.
        int steps = 0;
        for (uintptr_t pc = (uintptr_t)marker; pc >= (uintptr_t)marker && pc < (uintptr_t)marker + 64 && steps < 100; steps++) {
            CHECK(go(PTRACE_SINGLESTEP, child, 0) == 0 && stopped_by(wait_for(child), SIGTRAP));
            pc = PC(regs_of(child));
        }
        CHECK(steps > 3 && steps < 30);
        CHECK(trace(PTRACE_PEEKDATA, child, (void*)&calls, &count) == 0 && (int)count == i + 1);
    }
    CHECK(go(PTRACE_CONT, child, 0) == 0);
    int status = wait_for(child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 18);
}

static void do_fault(void) { *(volatile int*)16 = 1; }
static void faults(void) {
    pid_t child = traced_child(do_fault);
    siginfo_t si;
    CHECK(go(PTRACE_CONT, child, 0) == 0 && stopped_by(wait_for(child), SIGSEGV));
    CHECK(trace(PTRACE_GETSIGINFO, child, 0, &si) == 0 && si.si_code == SEGV_MAPERR && si.si_addr == (void*)16);
    CHECK(go(PTRACE_CONT, child, SIGSEGV) == 0);
    int status = wait_for(child);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
}

// ---- children and threads

static void* thread(void* p) {
    *(volatile int*)p = 9;
    return NULL;
}
static void do_children(void) {
    pid_t child = fork();
    if (child == 0) _exit(4);
    int status, number = 0;
    if (waitpid(child, &status, 0) != child || WEXITSTATUS(status) != 4) _exit(1);
    pthread_t t;
    if (pthread_create(&t, NULL, thread, &number) != 0 || pthread_join(t, NULL) != 0 || number != 9) _exit(2);
    char* none[] = {"nothing", NULL};
    pid_t spawned;
    if (posix_spawn(&spawned, "/nonexistent/program", NULL, NULL, none, environ) != ENOENT) _exit(3);
    execl("/proc/self/exe", "again", "again", (char*)NULL);
    _exit(5);
}
static void children(int seize) {
    pid_t first = traced_child(do_children);
    long options = PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC | PTRACE_O_TRACEVFORKDONE;
    if (seize) {
        CHECK(go(PTRACE_DETACH, first, SIGSTOP) == 0);
        int status;
        CHECK(waitpid(first, &status, WUNTRACED) == first && WIFSTOPPED(status));
        CHECK(trace(PTRACE_SEIZE, first, 0, (void*)options) == 0);
        kill(first, SIGCONT);
    } else {
        CHECK(trace(PTRACE_SETOPTIONS, first, 0, (void*)options) == 0);
        CHECK(go(PTRACE_CONT, first, 0) == 0);
    }
    int forks = 0, vforks = 0, clones = 0, execs = 0, exits = 0, births = 0, code = -1;
    for (;;) {
        int status;
        pid_t tid = waitpid(-1, &status, __WALL);
        if (tid < 0) break;
        if (WIFEXITED(status) || WIFSIGNALED(status)) {
            exits++;
            if (tid == first) code = status;
            continue;
        }
        long sig = 0;
        unsigned long message = 0;
        switch (event(status)) {
            case PTRACE_EVENT_FORK: forks++; break;
            case PTRACE_EVENT_VFORK: vforks++; break;
            case PTRACE_EVENT_CLONE:
                clones++;
                CHECK(trace(PTRACE_GETEVENTMSG, tid, 0, &message) == 0 && message > 1);
                break;
            case PTRACE_EVENT_EXEC: execs++; break;
            case PTRACE_EVENT_VFORK_DONE: break;
            case PTRACE_EVENT_STOP: births += tid != first; break;
            case 0:
                if (WSTOPSIG(status) == SIGSTOP && tid != first) births++;
                else sig = WSTOPSIG(status);
                break;
            default: CHECK(!"an unknown event");
        }
        CHECK(go(PTRACE_CONT, tid, sig == SIGTRAP ? 0 : sig) == 0 || errno == ESRCH);
    }
    CHECK(forks == 1 && vforks == 1 && clones == 1 && execs == 1 && births == 3 && exits == 4);
    CHECK(WIFEXITED(code) && WEXITSTATUS(code) == 17);
    if (failed) printf("seize %d: forks %d vforks %d clones %d execs %d births %d exits %d code %x\n", seize, forks, vforks, clones, execs, births, exits, code);
}

// ---- attaching

static void attaching(void) {
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        for (;;) value = (value + 1) & 0xffff;
    }
    usleep(20000);
    CHECK(trace(PTRACE_ATTACH, child, 0, 0) == 0 && stopped_by(wait_for(child), SIGSTOP));
    CHECK(PC(regs_of(child)) != 0);
    long a = 0, b = 0;
    CHECK(trace(PTRACE_PEEKDATA, child, (void*)&value, &a) == 0);
    usleep(5000);
    CHECK(trace(PTRACE_PEEKDATA, child, (void*)&value, &b) == 0 && a == b);
    CHECK(go(PTRACE_DETACH, child, 0) == 0);
    CHECK(go(PTRACE_CONT, child, 0) == -1 && errno == ESRCH);

    CHECK(trace(PTRACE_SEIZE, child, 0, 0) == 0);
    CHECK(trace(PTRACE_INTERRUPT, child, 0, 0) == 0);
    int status = wait_for(child);
    CHECK(event(status) == PTRACE_EVENT_STOP && WSTOPSIG(status) == SIGTRAP);
    CHECK(go(PTRACE_CONT, child, 0) == 0);
    kill(child, SIGSTOP);
    CHECK(stopped_by(wait_for(child), SIGSTOP));
    CHECK(go(PTRACE_CONT, child, SIGSTOP) == 0);
    status = wait_for(child);
    CHECK(event(status) == PTRACE_EVENT_STOP && WSTOPSIG(status) == SIGSTOP);
    CHECK(trace(PTRACE_LISTEN, child, 0, 0) == 0);
    kill(child, SIGCONT);
    status = wait_for(child);
    CHECK(event(status) == PTRACE_EVENT_STOP && WSTOPSIG(status) == SIGTRAP);
    CHECK(go(PTRACE_CONT, child, 0) == 0);
    CHECK(stopped_by(wait_for(child), SIGCONT));
    CHECK(go(PTRACE_CONT, child, 0) == 0);
    kill(child, SIGKILL);
    status = wait_for(child);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);

    CHECK(trace(PTRACE_ATTACH, 1 << 22, 0, 0) == -1 && errno == ESRCH);
    CHECK(go(PTRACE_CONT, getpid(), 0) == -1 && errno == ESRCH);
}

// A debugger stops every thread when one of them forks, and waits for each by its number: none may then wait for what the
// forking one holds, wherever it is.
static void* end_at_once(void* p) { return p; }
static void do_forks(void) {
    for (int i = 0; i < 40; i++) {
        pthread_t a, b;
        pthread_create(&a, 0, end_at_once, 0);
        pthread_create(&b, 0, end_at_once, 0);
        const pid_t child = fork();
        if (child == 0) _exit(3);
        int status = 0;
        if (waitpid(child, &status, 0) != child || status != 3 << 8) _exit(99);
        pthread_join(a, 0);
        pthread_join(b, 0);
    }
    _exit(7);
}

// The first stop of a new thread may come before the event of who made it.
static pid_t early[64];
static int earlies;
static void await_birth(pid_t born) {
    for (int i = 0; i < earlies; i++)
        if (early[i] == born) {
            early[i] = early[--earlies];
            return;
        }
    CHECK(stopped_by(wait_for(born), SIGSTOP));
}

static void forks_among_threads(void) {
    const long options = PTRACE_O_TRACEFORK | PTRACE_O_TRACECLONE | PTRACE_O_EXITKILL;
    const pid_t leader = traced_child(do_forks);
    CHECK(trace(PTRACE_SETOPTIONS, leader, 0, (void*)options) == 0 && go(PTRACE_CONT, leader, 0) == 0);
    pid_t others[128];
    int n = 0, forks = 0, status = 0;
    for (;;) {
        const pid_t tid = waitpid(-1, &status, __WALL);
        if (tid < 0) { CHECK(0); break; }
        int at = 0;
        while (at < n && others[at] != tid) at++;
        if (!WIFSTOPPED(status)) {
            if (at < n) others[at] = others[--n];
            if (tid == leader) break;
            continue;
        }
        if (at == n && tid != leader) {
            CHECK(earlies < 64);
            early[earlies++] = tid;
            continue;
        }
        unsigned long born = 0;
        if (event(status) == PTRACE_EVENT_CLONE) {
            CHECK(trace(PTRACE_GETEVENTMSG, tid, 0, &born) == 0 && n < 128);
            await_birth((pid_t)born);
            others[n++] = (pid_t)born;
            CHECK(go(PTRACE_CONT, (pid_t)born, 0) == 0);
        } else if (event(status) == PTRACE_EVENT_FORK) {
            ++forks;
            siginfo_t info;
            CHECK(trace(PTRACE_GETSIGINFO, tid, 0, &info) == 0 && info.si_code == (SIGTRAP | PTRACE_EVENT_FORK << 8));
            CHECK(trace(PTRACE_GETEVENTMSG, tid, 0, &born) == 0);
            await_birth((pid_t)born);
            for (int i = 0; i < n; i++) {
                syscall(SYS_tgkill, leader, others[i], SIGSTOP);
                int other = 0;
                CHECK(waitpid(others[i], &other, __WALL) == others[i]);
                if (WIFSTOPPED(other)) CHECK(go(PTRACE_CONT, others[i], 0) == 0);
                else others[i--] = others[--n];
            }
            CHECK(trace(PTRACE_DETACH, (pid_t)born, 0, 0) == 0);
        }
        go(PTRACE_CONT, tid, event(status) == 0 && WSTOPSIG(status) == SIGCHLD ? SIGCHLD : 0);
    }
    CHECK(forks == 40 && WIFEXITED(status) && WEXITSTATUS(status) == 7);
}

int main(int argc, char** argv) {
    if (argc > 1) return 17;
    alarm(60);
    system_calls();
    signals();
    interrupted_calls();
    breakpoints();
    faults();
    children(0);
    children(1);
    attaching();
    forks_among_threads();
    return failures();
}
