// Every atomic builtin at every width and order, with results; then the same under contention.
#include <pthread.h>

#include "test.h"

#define WIDTH(type)                                                                              \
    do {                                                                                         \
        static type cell;                                                                        \
        uint64_t sum = 0;                                                                        \
        random_state = 8;                                                                        \
        for (int i = 0; i < 500; i++) {                                                          \
            type v = (type)edge64(), w = (type)edge64();                                         \
            sum = mix(sum, (uint64_t)__atomic_fetch_add(&cell, v, __ATOMIC_RELAXED));            \
            sum = mix(sum, (uint64_t)__atomic_sub_fetch(&cell, w, __ATOMIC_ACQUIRE));            \
            sum = mix(sum, (uint64_t)__atomic_fetch_and(&cell, v | 0xf0, __ATOMIC_RELEASE));     \
            sum = mix(sum, (uint64_t)__atomic_or_fetch(&cell, w & 0x55, __ATOMIC_ACQ_REL));      \
            sum = mix(sum, (uint64_t)__atomic_fetch_xor(&cell, v, __ATOMIC_SEQ_CST));            \
            sum = mix(sum, (uint64_t)__atomic_nand_fetch(&cell, w, __ATOMIC_SEQ_CST));           \
            sum = mix(sum, (uint64_t)__atomic_exchange_n(&cell, v, __ATOMIC_ACQ_REL));           \
            type expected = i & 1 ? v : w;                                                       \
            int ok = __atomic_compare_exchange_n(&cell, &expected, w, 0, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);   \
            sum = mix(sum, (uint64_t)expected * 2 + (uint64_t)ok);                               \
            __atomic_store_n(&cell, (type)(v + w), __ATOMIC_RELEASE);                            \
            sum = mix(sum, (uint64_t)__atomic_load_n(&cell, __ATOMIC_ACQUIRE));                  \
            sum = mix(sum, (uint64_t)__sync_val_compare_and_swap(&cell, (type)(v + w), v));      \
        }                                                                                        \
        show(#type, sum);                                                                        \
    } while (0)

enum { threads = 4, turns = 20000 };
static struct {
    uint8_t byte;
    int8_t other_byte;
    uint16_t half;
    uint32_t word;
    uint64_t dword;
    uint64_t spin;
    uint64_t guarded;
} cells;

static void* contend(void* which) {
    uint64_t me = (uint64_t)(uintptr_t)which;
    for (uint64_t i = 0; i < turns; i++) {
        __atomic_fetch_add(&cells.byte, 1, __ATOMIC_RELAXED);
        __atomic_fetch_sub(&cells.other_byte, 3, __ATOMIC_ACQ_REL);
        __atomic_fetch_add(&cells.half, (uint16_t)me, __ATOMIC_SEQ_CST);
        uint32_t old = __atomic_load_n(&cells.word, __ATOMIC_RELAXED);
        while (!__atomic_compare_exchange_n(&cells.word, &old, old * 3 + 1 - old * 2, 1, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED)) {
        }
        __atomic_fetch_xor(&cells.dword, i << (me * 8), __ATOMIC_SEQ_CST);
        if (i % 16 == 0) {
            while (__atomic_exchange_n(&cells.spin, 1, __ATOMIC_ACQUIRE)) sched_yield();
            cells.guarded += me;
            __atomic_store_n(&cells.spin, 0, __ATOMIC_RELEASE);
        }
    }
    return NULL;
}

int main(void) {
    WIDTH(uint8_t);
    WIDTH(int8_t);
    WIDTH(uint16_t);
    WIDTH(int16_t);
    WIDTH(uint32_t);
    WIDTH(int32_t);
    WIDTH(uint64_t);
    WIDTH(int64_t);
    pthread_t id[threads];
    for (uintptr_t i = 0; i < threads; i++) pthread_create(&id[i], NULL, contend, (void*)i);
    for (int i = 0; i < threads; i++) pthread_join(id[i], NULL);
    printf("%d %d %d %u %llx %llu\n", cells.byte, cells.other_byte, cells.half, cells.word, (unsigned long long)cells.dword, (unsigned long long)cells.guarded);
    return 0;
}
