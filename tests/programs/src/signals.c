// Signals: siginfo, masks, nesting, alternate stacks, restarts, real-time queues, storms of timers and of other threads.
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "test.h"

static volatile sig_atomic_t count, nested, last_value, on_alternate;
static volatile siginfo_t info;
static char alternate[65536];

static void handle(int signal, void (*handler)(int, siginfo_t*, void*), int flags) {
    struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | flags};
    CHECK(sigaction(signal, &action, NULL) == 0);
}
static void note(int signal, siginfo_t* i, void* context) {
    (void)signal, (void)context;
    count++;
    info = *i;
    last_value = i->si_value.sival_int;
}
static void nest(int signal, siginfo_t* i, void* context) {
    (void)i, (void)context;
    count++;
    if (signal == SIGUSR1 && nested < 2) {
        int before = count;
        raise(SIGUSR2);          // not masked: runs at once
        nested += count == before + 1;
        before = count;
        raise(SIGUSR1);          // masked while its handler runs: waits
        nested += count == before;
    }
}
static void where(int signal, siginfo_t* i, void* context) {
    (void)signal, (void)i, (void)context;
    char here;
    on_alternate = &here >= alternate && &here < alternate + sizeof alternate;
    count++;
}

static _Atomic long storm_count;
static _Atomic int stop;
static void storm(int signal, siginfo_t* i, void* context) {
    (void)signal, (void)i, (void)context;
    atomic_fetch_add(&storm_count, 1);
}
static uint64_t work(uint64_t seed) {   // integer, floating-point and call state that a handler must not disturb
    double d = 1, e = (double)seed;
    float f = 1;
    uint64_t a = seed, b = ~seed;
    for (int i = 0; i < 20000; i++) {
        a = a * 6364136223846793005u + (uint64_t)i;
        b = (b ^ a) >> 3 | b << 61;
        d = d * 0.999 + (double)(a >> 40) * 0x1p-20;
        e = (e + d) / 1.001;
        f = f * 0.5f + (float)(i & 7);
        if (b & 1) a += b < a ? 1 : 2;
    }
    uint64_t u, v;
    memcpy(&u, &d, 8);
    memcpy(&v, &e, 8);
    return a ^ b ^ u ^ v ^ (uint64_t)f;
}
static void* pester(void* target) {
    while (!atomic_load(&stop)) {
        pthread_kill(*(pthread_t*)target, SIGUSR2);
        struct timespec nap = {0, 20000};
        nanosleep(&nap, NULL);
    }
    return NULL;
}

int main(void) {
    handle(SIGUSR1, note, 0);
    raise(SIGUSR1);
    CHECK(count == 1 && info.si_signo == SIGUSR1 && info.si_pid == getpid() && info.si_code == SI_TKILL);
    kill(getpid(), SIGUSR1);
    CHECK(count == 2 && info.si_code == SI_USER && info.si_uid == getuid());
    union sigval value = {.sival_int = 77};
    sigqueue(getpid(), SIGUSR1, value);
    CHECK(count == 3 && info.si_code == SI_QUEUE && last_value == 77);

    // Masks, pending signals, and a queue of real-time signals in order.
    sigset_t set, old, pending;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGRTMIN + 1);
    CHECK(sigprocmask(SIG_BLOCK, &set, &old) == 0 && !sigismember(&old, SIGUSR1));
    raise(SIGUSR1);
    raise(SIGUSR1);
    CHECK(count == 3 && sigpending(&pending) == 0 && sigismember(&pending, SIGUSR1) && !sigismember(&pending, SIGUSR2));
    for (int i = 0; i < 5; i++) sigqueue(getpid(), SIGRTMIN + 1, (union sigval){.sival_int = i});
    for (int i = 0; i < 5; i++) {
        siginfo_t got;
        struct timespec wait = {1, 0};
        CHECK(sigtimedwait(&set, &got, &wait) == (i == 0 ? SIGUSR1 : SIGRTMIN + 1) || i == 0);
        if (i > 0) CHECK(got.si_value.sival_int == i - 1);
    }
    handle(SIGRTMIN + 1, note, 0);
    sigprocmask(SIG_SETMASK, &old, NULL);
    CHECK(last_value == 4);
    struct timespec no_wait = {0, 0};
    CHECK(sigtimedwait(&set, NULL, &no_wait) == -1 && errno == EAGAIN);

    // Handlers within handlers.
    count = 0;
    handle(SIGUSR1, nest, 0);
    handle(SIGUSR2, nest, 0);
    raise(SIGUSR1);
    CHECK(nested == 2 && count == 3);

    // An alternate stack, one-shot handlers, and a handler reset.
    stack_t stack = {.ss_sp = alternate, .ss_size = sizeof alternate};
    CHECK(sigaltstack(&stack, NULL) == 0);
    handle(SIGUSR1, where, SA_ONSTACK | SA_RESETHAND);
    raise(SIGUSR1);
    CHECK(on_alternate);
    struct sigaction now;
    CHECK(sigaction(SIGUSR1, NULL, &now) == 0 && now.sa_handler == SIG_DFL);
    handle(SIGUSR1, where, 0);
    raise(SIGUSR1);
    CHECK(!on_alternate);
    CHECK(sigaltstack(NULL, &stack) == 0 && stack.ss_sp == alternate);

    // A read is interrupted, or goes on, as the handler asks.
    int p[2];
    CHECK(pipe(p) == 0);
    char byte = 0;
    struct itimerval soon = {{0, 0}, {0, 30000}}, off = {{0, 0}, {0, 0}};
    handle(SIGALRM, note, 0);
    count = 0;
    setitimer(ITIMER_REAL, &soon, NULL);
    CHECK(read(p[0], &byte, 1) == -1 && errno == EINTR && count == 1);
    handle(SIGALRM, note, SA_RESTART);
    pid_t child = fork();
    if (child == 0) {
        usleep(120000);
        _exit(write(p[1], "x", 1) != 1);
    }
    setitimer(ITIMER_REAL, &soon, NULL);
    CHECK(read(p[0], &byte, 1) == 1 && byte == 'x' && count == 2);
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0);

    // Children: how they ended, and the signal that says so.
    handle(SIGCHLD, note, SA_RESTART);
    count = 0;
    child = fork();
    if (child == 0) _exit(33);
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 33);
    while (count == 0) usleep(1000);
    CHECK(info.si_code == CLD_EXITED && info.si_status == 33 && info.si_pid == child);
    child = fork();
    if (child == 0) {
        signal(SIGTERM, SIG_DFL);
        kill(getpid(), SIGTERM);
        for (;;) pause();
    }
    CHECK(waitpid(child, &status, 0) == child && WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
    handle(SIGCHLD, note, SA_NOCLDSTOP);
    child = fork();
    if (child == 0) {
        *(volatile int*)8 = 1;
        _exit(0);
    }
    CHECK(waitpid(child, &status, 0) == child && WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);

    // A storm of timers over running code: the result must be as without.
    uint64_t expected[8];
    for (uint64_t i = 0; i < 8; i++) expected[i] = work(i);
    handle(SIGALRM, storm, SA_RESTART);
    struct itimerval often = {{0, 100}, {0, 100}};
    setitimer(ITIMER_REAL, &often, NULL);
    for (uint64_t i = 0; i < 200; i++) CHECK(work(i % 8) == expected[i % 8]);
    setitimer(ITIMER_REAL, &off, NULL);
    CHECK(storm_count > 0);

    // The same from another thread.
    handle(SIGUSR2, storm, SA_RESTART);
    storm_count = 0;
    pthread_t self = pthread_self(), other;
    pthread_create(&other, NULL, pester, &self);
    for (uint64_t i = 0; i < 200; i++) CHECK(work(i % 8) == expected[i % 8]);
    atomic_store(&stop, 1);
    pthread_join(other, NULL);
    CHECK(storm_count > 0);
    puts("ok");
    return 0;
}
