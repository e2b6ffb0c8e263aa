// Two threads add to, swap and order around shared atomics.
#include <pthread.h>
#include <stdatomic.h>

#include "../kernel.h"

static _Atomic uint64_t shared_sum, flags;
static _Atomic uint32_t narrow;
static struct {
    _Alignas(128) _Atomic uint64_t own;
} lanes[2];
static long count;

static void* worker(void* which) {
    int me = (int)(intptr_t)which;
    for (long i = 0; i < count; i++) {
        atomic_fetch_add(&lanes[me].own, (uint64_t)i);
        atomic_fetch_or_explicit(&flags, 1ull << (i & 63), memory_order_relaxed);
        if ((i & 3) == 0) atomic_fetch_add(&shared_sum, 3);
        if ((i & 7) == 0) atomic_fetch_sub_explicit(&narrow, 1, memory_order_acq_rel);
        atomic_store_explicit(&lanes[me].own, atomic_load_explicit(&lanes[me].own, memory_order_acquire) + 1, memory_order_release);
    }
    return NULL;
}

int main(int argc, char** argv) {
    count = rounds(argc, argv, 1500000);
    pthread_t threads[2];
    for (intptr_t i = 0; i < 2; i++) pthread_create(&threads[i], NULL, worker, (void*)i);
    for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
    return report(mix(mix(shared_sum, flags), mix(narrow, lanes[0].own + lanes[1].own)));
}
