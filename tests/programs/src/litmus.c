// Litmus tests: outcomes the C memory model forbids must never be seen, however the two threads fall together.
#include <pthread.h>
#include <stdatomic.h>

#include "test.h"

enum { tries = 40000 };
static struct {
    _Alignas(128) _Atomic int x;
    _Alignas(128) _Atomic int y;
    _Alignas(128) _Atomic int gate;
    _Alignas(128) int plain;
} shared;
static _Atomic int round_number, arrived;
static int seen[2];
static void (*side[2])(void);

static void wait_for_other(void) {
    int mine = atomic_load(&round_number);
    if (atomic_fetch_add(&arrived, 1) == 1) {
        atomic_store(&arrived, 0);
        atomic_store(&round_number, mine + 1);
        return;
    }
    for (int spins = 0; atomic_load_explicit(&round_number, memory_order_acquire) == mine; spins++)
        if (spins > 200) sched_yield();
}

static void store_buffer_0(void) { atomic_store(&shared.x, 1); seen[0] = atomic_load(&shared.y); }
static void store_buffer_1(void) { atomic_store(&shared.y, 1); seen[1] = atomic_load(&shared.x); }
static void fenced_0(void) {
    atomic_store_explicit(&shared.x, 1, memory_order_relaxed);
    atomic_thread_fence(memory_order_seq_cst);
    seen[0] = atomic_load_explicit(&shared.y, memory_order_relaxed);
}
static void fenced_1(void) {
    atomic_store_explicit(&shared.y, 1, memory_order_relaxed);
    atomic_thread_fence(memory_order_seq_cst);
    seen[1] = atomic_load_explicit(&shared.x, memory_order_relaxed);
}
static void exchange_0(void) { atomic_exchange(&shared.x, 1); seen[0] = atomic_load(&shared.y); }
static void exchange_1(void) { atomic_exchange(&shared.y, 1); seen[1] = atomic_load(&shared.x); }
static void message_0(void) {
    shared.plain = 42;
    atomic_store_explicit(&shared.x, 1, memory_order_release);
    seen[0] = 0;
}
static void message_1(void) { seen[1] = atomic_load_explicit(&shared.x, memory_order_acquire) ? shared.plain != 42 : 0; }
static void fence_message_0(void) {
    atomic_store_explicit(&shared.y, 1, memory_order_relaxed);
    atomic_thread_fence(memory_order_release);
    atomic_store_explicit(&shared.x, 1, memory_order_relaxed);
    seen[0] = 0;
}
static void fence_message_1(void) {
    int flag = atomic_load_explicit(&shared.x, memory_order_relaxed);
    atomic_thread_fence(memory_order_acquire);
    seen[1] = flag && !atomic_load_explicit(&shared.y, memory_order_relaxed);
}
static void load_buffer_0(void) {
    seen[0] = atomic_load_explicit(&shared.x, memory_order_acquire);
    atomic_store_explicit(&shared.y, 1, memory_order_release);
}
static void load_buffer_1(void) {
    seen[1] = atomic_load_explicit(&shared.y, memory_order_acquire);
    atomic_store_explicit(&shared.x, 1, memory_order_release);
}
static void add_0(void) { for (int i = 0; i < 5; i++) atomic_fetch_add_explicit(&shared.x, 1, memory_order_relaxed); }
static void swap_loop(void) {
    for (int i = 0; i < 5; i++) {
        int old = atomic_load_explicit(&shared.x, memory_order_relaxed);
        while (!atomic_compare_exchange_weak(&shared.x, &old, old + 1)) {
        }
    }
}
static _Atomic uint8_t bytes[8];
static void byte_0(void) { atomic_fetch_add(&bytes[1], 3); atomic_fetch_xor(&bytes[3], 0x55); }
static void byte_1(void) { atomic_fetch_add(&bytes[2], 5); atomic_fetch_or(&bytes[3], 0x80); }

static int both_zero(void) { return seen[0] == 0 && seen[1] == 0; }
static int second(void) { return seen[1]; }
static int both_one(void) { return seen[0] == 1 && seen[1] == 1; }
static int not_ten(void) { return atomic_load(&shared.x) != 10; }
static int never(void) { return 0; }

static const struct {
    const char* name;
    void (*sides[2])(void);
    int (*forbidden)(void);
} cases[] = {
    {"store buffering", {store_buffer_0, store_buffer_1}, both_zero},
    {"store buffering, fences", {fenced_0, fenced_1}, both_zero},
    {"store buffering, exchange", {exchange_0, exchange_1}, both_zero},
    {"message passing", {message_0, message_1}, second},
    {"message passing, fences", {fence_message_0, fence_message_1}, second},
    {"load buffering", {load_buffer_0, load_buffer_1}, both_one},
    {"add and add", {add_0, add_0}, not_ten},
    {"add and swap", {add_0, swap_loop}, not_ten},
    {"neighbouring bytes", {byte_0, byte_1}, never},
};

static void* other(void* unused) {
    (void)unused;
    for (;;) {
        wait_for_other();
        if (!side[1]) return NULL;
        side[1]();
        wait_for_other();
    }
}

int main(void) {
    pthread_t thread;
    pthread_create(&thread, NULL, other, NULL);
    for (unsigned c = 0; c < sizeof cases / sizeof cases[0]; c++) {
        int bad = 0;
        side[0] = cases[c].sides[0], side[1] = cases[c].sides[1];
        for (int i = 0; i < tries; i++) {
            atomic_store(&shared.x, 0);
            atomic_store(&shared.y, 0);
            shared.plain = 0;
            wait_for_other();
            side[0]();
            wait_for_other();
            bad += cases[c].forbidden();
        }
        printf("%s: %d\n", cases[c].name, bad);
    }
    side[1] = NULL;
    wait_for_other();
    pthread_join(thread, NULL);
    printf("bytes %d %d %d\n", bytes[1] == (uint8_t)(3 * tries), bytes[2] == (uint8_t)(5 * tries), bytes[0]);
    return 0;
}
