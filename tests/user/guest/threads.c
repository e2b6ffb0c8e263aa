// Threads: creation and joining, cancellation, signals to one thread, robust mutexes, a storm of signals over busy threads.
#include "check.h"

#include <pthread.h>
#include <stdatomic.h>

static atomic_int go, hits, stop;
static _Thread_local int own;

static void* adds(void* p) {
    while (!go) {}
    own = *(int*)p;
    sched_yield();
    return (void*)(long)(own + 1);
}
static void* waits(void* p) {
    for (;;) pause();
    return NULL;
}
static void hit(int sig, siginfo_t* info, void* context) { hits++; }
static void* works(void* p) {
    unsigned long sum = 0;
    double d = 1;
    while (!stop) {
        for (int i = 0; i < 1000; i++) sum += i;
        d = d * 1.5 / 1.5;
    }
    CHECK(sum % 499500 == 0 && d == 1);
    return NULL;
}

static pthread_mutex_t robust;
static void* dies_locked(void* p) {
    pthread_mutex_lock(&robust);
    return NULL;
}

int main(void) {
    pthread_t t[16];
    int value[16];
    for (int round = 0; round < 5; round++) {
        go = 0;
        for (int i = 0; i < 16; i++) {
            value[i] = i;
            CHECK(pthread_create(&t[i], NULL, adds, &value[i]) == 0);
        }
        go = 1;
        for (int i = 0; i < 16; i++) {
            void* r;
            pthread_join(t[i], &r);
            CHECK((long)r == i + 1);
        }
    }
    void* r;
    pthread_create(&t[0], NULL, waits, NULL);
    usleep(10000);
    pthread_cancel(t[0]);
    pthread_join(t[0], &r);
    CHECK(r == PTHREAD_CANCELED);

    pthread_mutexattr_t attr;
    pthread_mutexattr_init(&attr);
    pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_init(&robust, &attr);
    pthread_create(&t[0], NULL, dies_locked, NULL);
    pthread_join(t[0], NULL);
    CHECK(pthread_mutex_lock(&robust) == EOWNERDEAD);
    CHECK(pthread_mutex_consistent(&robust) == 0 && pthread_mutex_unlock(&robust) == 0);

    handle(SIGUSR1, hit, SA_RESTART);
    for (int i = 0; i < 3; i++) pthread_create(&t[i], NULL, works, NULL);
    int sent = 0;
    for (int i = 0; i < 3000; i++) {
        CHECK(pthread_kill(t[i % 3], SIGUSR1) == 0);
        sent++;
        if (i % 50 == 0) usleep(100);
    }
    // libc makes all threads change their ids, by a signal of its own.
    CHECK(setgid(getgid()) == 0 && seteuid(geteuid()) == 0);
    stop = 1;
    for (int i = 0; i < 3; i++) pthread_join(t[i], NULL);
    CHECK(hits > 0 && hits <= sent);
    return failures();
}
