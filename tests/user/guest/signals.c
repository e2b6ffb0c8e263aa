// Signals as a program sees them: queueing, masks, restarts, faults, frames that handlers edit.
#include "check.h"

#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/time.h>
#include <time.h>
#include <ucontext.h>

static volatile sig_atomic_t count, code;
static void* volatile addr;
static sigjmp_buf fault;
static int order[16];

static void counts(int sig, siginfo_t* info, void* context) {
    order[count & 15] = sig;
    count++;
    code = info->si_code;
    addr = info->si_addr;
}
static void jumps(int sig, siginfo_t* info, void* context) {
    code = info->si_code;
    addr = info->si_addr;
    siglongjmp(fault, sig);
}

/// Skips the faulting instruction and sets a floating-point register.
static void edits(int sig, siginfo_t* info, void* context) {
    ucontext_t* uc = context;
#ifdef __riscv
    uc->uc_mcontext.__gregs[REG_PC] += 4;
    uc->uc_mcontext.__gregs[10] = 1234;
    double d = 2.5;
    memcpy(&uc->uc_mcontext.__fpregs.__d.__f[10], &d, 8);
#else
    uc->uc_mcontext.pc += 4;
    uc->uc_mcontext.regs[0] = 1234;
    struct fpsimd_context* fp = (struct fpsimd_context*)uc->uc_mcontext.__reserved;
    if (fp->head.magic != FPSIMD_MAGIC) abort();
    double d = 2.5;
    memcpy(&fp->vregs[0], &d, 8);
#endif
}

static double edited(long* integer) {
    register long a asm(
#ifdef __riscv
        "a0"
#else
        "x0"
#endif
        ) = 0;
    register double f asm(
#ifdef __riscv
        "fa0"
#else
        "d0"
#endif
        ) = 1.0;
#ifdef __riscv
    asm volatile(".option push\n.option norvc\nlw a0, 0(zero)\n.option pop" : "+r"(a), "+f"(f)::"memory");
#else
    asm volatile("ldr w0, [%2]" : "+r"(a), "+w"(f) : "r"(0L) : "memory");
#endif
    *integer = a;
    return f;
}

static void sending(void) {
    handle(SIGUSR1, counts, 0);
    raise(SIGUSR1);
    CHECK(count == 1 && code == SI_TKILL);
    kill(getpid(), SIGUSR1);
    CHECK(count == 2 && code == SI_USER);
    union sigval v = {.sival_int = 42};
    sigqueue(getpid(), SIGUSR1, v);
    CHECK(count == 3 && code == SI_QUEUE);
}

static void masks(void) {
    sigset_t usr1, old, pending, none;
    sigemptyset(&usr1);
    sigaddset(&usr1, SIGUSR1);
    sigemptyset(&none);
    count = 0;
    sigprocmask(SIG_BLOCK, &usr1, &old);
    raise(SIGUSR1);
    CHECK(count == 0);
    sigpending(&pending);
    CHECK(sigismember(&pending, SIGUSR1));
    CHECK(sigsuspend(&none) == -1 && errno == EINTR && count == 1);
    raise(SIGUSR1);
    siginfo_t info;
    CHECK(sigwaitinfo(&usr1, &info) == SIGUSR1 && count == 1);
    raise(SIGUSR1);
    struct timespec second = {1, 0};
    CHECK(ppoll(NULL, 0, &second, &none) == -1 && errno == EINTR && count == 2);
    raise(SIGUSR1);
    int fd = signalfd(-1, &usr1, 0);
    struct signalfd_siginfo got;
    CHECK(read(fd, &got, sizeof got) == sizeof got && got.ssi_signo == SIGUSR1 && count == 2);
    close(fd);
    // SIGSEGV sent while it is blocked waits like any other.
    sigset_t segv;
    sigemptyset(&segv);
    sigaddset(&segv, SIGSEGV);
    handle(SIGSEGV, counts, 0);
    sigprocmask(SIG_BLOCK, &segv, NULL);
    raise(SIGSEGV);
    CHECK(count == 2);
    sigpending(&pending);
    CHECK(sigismember(&pending, SIGSEGV));
    sigprocmask(SIG_SETMASK, &old, NULL);
    CHECK(count == 3);
    // Real-time signals queue, lowest number first.
    handle(SIGRTMIN, counts, 0);
    handle(SIGRTMAX, counts, 0);
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &old);
    raise(SIGRTMAX);
    for (int i = 0; i < 3; i++) raise(SIGRTMIN);
    count = 0;
    sigprocmask(SIG_SETMASK, &old, NULL);
    CHECK(count == 4);
    for (int sig = 1; sig <= 64; sig++) {
        if (sig == SIGKILL || sig == SIGSTOP || sig == 32 || sig == 33) continue;
        handle(sig, counts, 0);
        count = 0;
        raise(sig);
        CHECK(count == 1 && order[0] == sig);
        signal(sig, SIG_DFL);
    }
}

static void restarts(void) {
    int p[2];
    char c;
    CHECK(pipe(p) == 0);
    struct itimerval soon = {{0, 0}, {0, 50000}};
    count = 0;
    handle(SIGALRM, counts, 0);
    setitimer(ITIMER_REAL, &soon, NULL);
    CHECK(read(p[0], &c, 1) == -1 && errno == EINTR && count == 1);
    handle(SIGALRM, counts, SA_RESTART);
    pid_t child = fork();
    if (child == 0) {
        usleep(150000);
        _exit(write(p[1], "z", 1) == 1 ? 7 : 8);
    }
    setitimer(ITIMER_REAL, &soon, NULL);
    CHECK(read(p[0], &c, 1) == 1 && c == 'z' && count == 2);
    CHECK(exits_with(child, 7));
    // nanosleep is never restarted, and tells what is left.
    struct timespec ask = {1, 0}, left = {0, 0};
    setitimer(ITIMER_REAL, &soon, NULL);
    CHECK(nanosleep(&ask, &left) == -1 && errno == EINTR && left.tv_nsec > 500000000);
}

static void faults(void) {
    int sig;
    for (int i = 0; i < 4; i++) handle((int[]){SIGSEGV, SIGBUS, SIGILL, SIGTRAP}[i], jumps, 0);
    if (!(sig = sigsetjmp(fault, 1))) *(volatile int*)16 = 1;
    CHECK(sig == SIGSEGV && code == SEGV_MAPERR && addr == (void*)16);
    // Addresses that no page table holds (x86-64 hosts do not say which it was); the second of a pair of registers too.
    char* volatile strange = (char*)0x0034567890001000;
    if (!(sig = sigsetjmp(fault, 1))) *(volatile char*)(strange + 5) = 1;
    CHECK(sig == SIGSEGV && code == SEGV_MAPERR && addr == strange + 5);
    if (!(sig = sigsetjmp(fault, 1))) memcpy(strange + 64, "a string of some length, which takes more than a register", 32);
    CHECK(sig == SIGSEGV && code == SEGV_MAPERR && addr >= (void*)(strange + 64) && addr < (void*)(strange + 96));
    char* page = mmap(NULL, 8192, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (!(sig = sigsetjmp(fault, 1))) *(volatile char*)(page + 100) = 1;
    CHECK(sig == SIGSEGV && code == SEGV_ACCERR && addr == page + 100);
    if (!(sig = sigsetjmp(fault, 1))) ((void (*)(void))page)();
    CHECK(sig == SIGSEGV && code == SEGV_ACCERR && addr == page);
    if (!(sig = sigsetjmp(fault, 1))) ((void (*)(void))64)();
    CHECK(sig == SIGSEGV && code == SEGV_MAPERR && addr == (void*)64);
    if (!(sig = sigsetjmp(fault, 1))) asm volatile(".4byte 0");
    CHECK(sig == SIGILL && code == ILL_ILLOPC);
#ifdef __riscv
    if (!(sig = sigsetjmp(fault, 1))) asm volatile("ebreak");
#else
    if (!(sig = sigsetjmp(fault, 1))) asm volatile("brk #0");
#endif
    CHECK(sig == SIGTRAP && code == TRAP_BRKPT);
    char name[] = "/tmp/myna-truncated-XXXXXX";
    int fd = mkstemp(name);
    unlink(name);
    CHECK(ftruncate(fd, 4096) == 0);
    char* file = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (!(sig = sigsetjmp(fault, 1))) *(volatile char*)(file + 5000) = 1;
    CHECK(sig == SIGBUS && code == BUS_ADRERR && addr == file + 5000);
    stack_t alt = {.ss_sp = malloc(65536), .ss_size = 65536};
    CHECK(sigaltstack(&alt, NULL) == 0);
    handle(SIGSEGV, jumps, SA_ONSTACK);
    if (!(sig = sigsetjmp(fault, 1))) *(volatile int*)32 = 1;
    CHECK(sig == SIGSEGV);
    handle(SIGSEGV, edits, 0);
    long integer = 0;
    double d = edited(&integer);
    CHECK(integer == 1234 && d == 2.5);
    CHECK(write(1, (void*)8, 4) == -1 && errno == EFAULT);
}

static void deaths(void) {
    for (int sig = 1; sig <= 31; sig++) {
        if (sig == SIGCHLD || sig == SIGCONT || sig == SIGURG || sig == SIGWINCH || sig == SIGSTOP || sig == SIGTSTP || sig == SIGTTIN || sig == SIGTTOU)
            continue;
        pid_t child = fork();
        if (child == 0) {
            if (sig != SIGKILL) signal(sig, SIG_DFL);
            kill(getpid(), sig);
            for (;;) pause();
        }
        CHECK(dies_of(child, sig));
    }
    pid_t child = fork();
    if (child == 0) {
        signal(SIGSEGV, SIG_IGN);  // a fault cannot be ignored
        *(volatile int*)0 = 1;
        _exit(1);
    }
    CHECK(dies_of(child, SIGSEGV));
    child = fork();
    if (child == 0) {
        sigset_t all;
        sigfillset(&all);
        handle(SIGSEGV, jumps, 0);
        sigprocmask(SIG_BLOCK, &all, NULL);  // nor blocked
        *(volatile int*)0 = 1;
        _exit(1);
    }
    CHECK(dies_of(child, SIGSEGV));
    child = fork();
    if (child == 0) {
        raise(SIGSTOP);
        _exit(5);
    }
    int status;
    CHECK(waitpid(child, &status, WUNTRACED) == child && WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP);
    kill(child, SIGCONT);
    CHECK(exits_with(child, 5));
}

// A signal interrupts a loop between its comparison and its branch, whose flags nobody else reads: the flags in memory are
// those of an older comparison, which must not decide the branch.
#ifdef __aarch64__
uint64_t sum_up_to(uint64_t n);
asm("sum_up_to:\n"
    "    mov x12, #0\n"
    "    mov x3, #0\n"
    "1:  add x12, x12, #1\n"
    "    add x3, x3, x12\n"
    "    cmp x12, x12\n"
    "    cbz x12, 2f\n"  // as many ways out as a block may have
    "    cbz x12, 2f\n"
    "    cbz x12, 2f\n"
    "    cmp x0, x12\n"
    "    b.gt 1b\n"
    "    cmp x3, #1\n"
    "    csinc x0, x3, x3, hs\n"
    "2:  ret\n");
#else
static uint64_t sum_up_to(uint64_t n) {
    volatile uint64_t sum = 0;
    uint64_t i = 0;
    do sum += ++i;
    while (n > i);
    return sum;
}
#endif

static void loops(void) {
    count = 0;
    handle(SIGALRM, counts, 0);
    timer_t timer;
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGALRM};
    CHECK(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0);
    const struct itimerspec often = {{0, 50000}, {0, 50000}}, never = {{0, 0}, {0, 0}};
    timer_settime(timer, 0, &often, NULL);
    int bad = 0, n = 0;
    for (; n < 200 || count < 200; n++) bad += sum_up_to(100000) != 100000ull * 100001 / 2;
    timer_settime(timer, 0, &never, NULL);
    timer_delete(timer);
    CHECK(bad == 0);
}

int main(void) {
    sending();
    loops();
    masks();
    restarts();
    faults();
    deaths();
    return failures();
}
