// The gdb stub's guest with threads: three workers and a main thread that meet before all_here(), after it (no worker
// begins before it has been called) and when the work is done.
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

static pthread_barrier_t barrier;
volatile int total;

__attribute__((noinline)) int in_thread(int n) { return __atomic_add_fetch(&total, n, __ATOMIC_SEQ_CST); }

static void* worker(void* p) {
    char name[16];
    snprintf(name, sizeof name, "worker-%ld", (long)p);
    pthread_setname_np(pthread_self(), name);
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    for (int i = 0; i < 100; i++) in_thread((int)(long)p);
    pthread_barrier_wait(&barrier);
    return NULL;
}

__attribute__((noinline)) void all_here(void) { asm volatile("" ::: "memory"); }

int main(void) {
    pthread_t t[3];
    pthread_barrier_init(&barrier, NULL, 4);
    for (long i = 0; i < 3; i++) pthread_create(&t[i], NULL, worker, (void*)(i + 1));
    pthread_barrier_wait(&barrier);
    all_here();
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    for (int i = 0; i < 3; i++) pthread_join(t[i], NULL);
    printf("total %d\n", total);
    return 0;
}
