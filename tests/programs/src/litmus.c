// Litmus tests: outcomes the C memory model forbids must never be seen, however the two threads fall together.
#include <pthread.h>
#include <stdatomic.h>

#include "test.h"

// Many instances are run between two meetings of the threads, side by side in an array, so that a meeting (which may
// cost a time slice on a busy machine) is rare and the threads still fall together in many ways.
enum { batch = 500, batches = 100 };
struct cell {
    _Alignas(64) _Atomic int x;
    _Alignas(64) _Atomic int y;
    int plain, seen[2];
};
static struct cell cells[batch];
static _Atomic int round_number, arrived;
static int (*side[2])(struct cell*);

static void meet(void) {
    int mine = atomic_load(&round_number);
    if (atomic_fetch_add(&arrived, 1) == 1) {
        atomic_store(&arrived, 0);
        atomic_store(&round_number, mine + 1);
        return;
    }
    for (int spins = 0; atomic_load_explicit(&round_number, memory_order_acquire) == mine; spins++)
        if (spins > 2000) sched_yield();
}

static int store_buffer_0(struct cell* c) { return atomic_store(&c->x, 1), atomic_load(&c->y); }
static int store_buffer_1(struct cell* c) { return atomic_store(&c->y, 1), atomic_load(&c->x); }
static int fenced_0(struct cell* c) {
    atomic_store_explicit(&c->x, 1, memory_order_relaxed);
    atomic_thread_fence(memory_order_seq_cst);
    return atomic_load_explicit(&c->y, memory_order_relaxed);
}
static int fenced_1(struct cell* c) {
    atomic_store_explicit(&c->y, 1, memory_order_relaxed);
    atomic_thread_fence(memory_order_seq_cst);
    return atomic_load_explicit(&c->x, memory_order_relaxed);
}
static int exchange_0(struct cell* c) { return atomic_exchange(&c->x, 1), atomic_load(&c->y); }
static int exchange_1(struct cell* c) { return atomic_exchange(&c->y, 1), atomic_load(&c->x); }
static int message_0(struct cell* c) {
    c->plain = 42;
    atomic_store_explicit(&c->x, 1, memory_order_release);
    return 0;
}
static int message_1(struct cell* c) { return atomic_load_explicit(&c->x, memory_order_acquire) ? c->plain != 42 : 0; }
static int fence_message_0(struct cell* c) {
    atomic_store_explicit(&c->y, 1, memory_order_relaxed);
    atomic_thread_fence(memory_order_release);
    atomic_store_explicit(&c->x, 1, memory_order_relaxed);
    return 0;
}
static int fence_message_1(struct cell* c) {
    int flag = atomic_load_explicit(&c->x, memory_order_relaxed);
    atomic_thread_fence(memory_order_acquire);
    return flag && !atomic_load_explicit(&c->y, memory_order_relaxed);
}
static int load_buffer_0(struct cell* c) {
    int seen = atomic_load_explicit(&c->x, memory_order_acquire);
    atomic_store_explicit(&c->y, 1, memory_order_release);
    return seen;
}
static int load_buffer_1(struct cell* c) {
    int seen = atomic_load_explicit(&c->y, memory_order_acquire);
    atomic_store_explicit(&c->x, 1, memory_order_release);
    return seen;
}
static int add(struct cell* c) {
    for (int i = 0; i < 5; i++) atomic_fetch_add_explicit(&c->x, 1, memory_order_relaxed);
    return 0;
}
static int swap_loop(struct cell* c) {
    for (int i = 0; i < 5; i++) {
        int old = atomic_load_explicit(&c->x, memory_order_relaxed);
        while (!atomic_compare_exchange_weak(&c->x, &old, old + 1)) {
        }
    }
    return 0;
}
static _Atomic uint8_t bytes[8];
static int byte_0(struct cell* c) { return atomic_fetch_add(&bytes[1], 3), atomic_fetch_xor(&bytes[3], 0x55), c->plain; }
static int byte_1(struct cell* c) { return atomic_fetch_add(&bytes[2], 5), atomic_fetch_or(&bytes[3], 0x80), c->plain; }

static int both_zero(const struct cell* c) { return c->seen[0] == 0 && c->seen[1] == 0; }
static int second(const struct cell* c) { return c->seen[1]; }
static int both_one(const struct cell* c) { return c->seen[0] == 1 && c->seen[1] == 1; }
static int not_ten(const struct cell* c) { return atomic_load(&c->x) != 10; }
static int never(const struct cell* c) { return c->plain; }

static const struct {
    const char* name;
    int (*sides[2])(struct cell*);
    int (*forbidden)(const struct cell*);
} cases[] = {
    {"store buffering", {store_buffer_0, store_buffer_1}, both_zero},
    {"store buffering, fences", {fenced_0, fenced_1}, both_zero},
    {"store buffering, exchange", {exchange_0, exchange_1}, both_zero},
    {"message passing", {message_0, message_1}, second},
    {"message passing, fences", {fence_message_0, fence_message_1}, second},
    {"load buffering", {load_buffer_0, load_buffer_1}, both_one},
    {"add and add", {add, add}, not_ten},
    {"add and swap", {add, swap_loop}, not_ten},
    {"neighbouring bytes", {byte_0, byte_1}, never},
};

static void run(int me) {
    for (int i = 0; i < batch; i++) cells[i].seen[me] = side[me](&cells[i]);
}
static void* other(void* unused) {
    (void)unused;
    for (;;) {
        meet();
        if (!side[1]) return NULL;
        run(1);
        meet();
    }
}

int main(void) {
    pthread_t thread;
    pthread_create(&thread, NULL, other, NULL);
    for (unsigned n = 0; n < sizeof cases / sizeof cases[0]; n++) {
        int bad = 0;
        side[0] = cases[n].sides[0], side[1] = cases[n].sides[1];
        for (int b = 0; b < batches; b++) {
            memset(cells, 0, sizeof cells);
            meet();
            run(0);
            meet();
            for (int i = 0; i < batch; i++) bad += cases[n].forbidden(&cells[i]);
        }
        printf("%s: %d\n", cases[n].name, bad);
    }
    side[1] = NULL;
    meet();
    pthread_join(thread, NULL);
    printf("bytes %d %d %d\n", bytes[1] == (uint8_t)(3 * batch * batches), bytes[2] == (uint8_t)(5 * batch * batches), bytes[0]);
    return 0;
}
