// Two threads push to and pop from one lock-free stack by compare-and-swap on an index with a tag.
#include <pthread.h>
#include <stdatomic.h>

#include "../kernel.h"

enum { nodes = 64 };
static _Atomic uint64_t top;   // tag in the upper half, index + 1 in the lower
static _Atomic uint32_t next[nodes];
static _Atomic uint64_t popped;
static long count;

static void push(uint32_t index) {
    uint64_t old = atomic_load(&top), new;
    do {
        atomic_store_explicit(&next[index], (uint32_t)old, memory_order_relaxed);
        new = ((old >> 32) + 1) << 32 | (index + 1);
    } while (!atomic_compare_exchange_weak(&top, &old, new));
}
static int pop(void) {
    uint64_t old = atomic_load(&top), new;
    do {
        if ((uint32_t)old == 0) return -1;
        new = ((old >> 32) + 1) << 32 | atomic_load_explicit(&next[(uint32_t)old - 1], memory_order_relaxed);
    } while (!atomic_compare_exchange_weak(&top, &old, new));
    return (int)((uint32_t)old - 1);
}
static void* worker(void* unused) {
    (void)unused;
    for (long i = 0; i < count; i++) {
        int index = pop();
        if (index < 0) continue;
        push((uint32_t)index);
        atomic_fetch_add_explicit(&popped, 1, memory_order_relaxed);
    }
    return NULL;
}

int main(int argc, char** argv) {
    count = rounds(argc, argv, 700000);
    for (uint32_t i = 0; i < nodes; i++) push(i);
    pthread_t threads[2];
    for (int i = 0; i < 2; i++) pthread_create(&threads[i], NULL, worker, NULL);
    for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
    uint64_t left = 0;
    while (pop() >= 0) left++;
    return report(mix(left, popped));
}
