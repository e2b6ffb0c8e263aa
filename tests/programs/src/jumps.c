// setjmp and longjmp, out of signal handlers too; computed goto; tables of functions; a switch with hundreds of cases.
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "test.h"

static jmp_buf back;
static sigjmp_buf signal_back;

__attribute__((noinline)) static void dive(int depth) {
    volatile char stack[100];
    stack[0] = (char)depth;
    if (depth == 0) longjmp(back, 7 + stack[0]);
    dive(depth - 1);
    stack[1] = 0;
}
static void on_fault(int signal, siginfo_t* info, void* context) {
    (void)info, (void)context;
    siglongjmp(signal_back, signal);
}

#define CASE(n) case n: sum = mix(sum, n * 31 + 1); state = (state * 5 + n) % 259; break;
#define CASES4(n) CASE(n) CASE(n + 1) CASE(n + 2) CASE(n + 3)
#define CASES16(n) CASES4(n) CASES4(n + 4) CASES4(n + 8) CASES4(n + 12)
#define CASES64(n) CASES16(n) CASES16(n + 16) CASES16(n + 32) CASES16(n + 48)

static uint64_t big_switch(void) {
    uint64_t sum = 0;
    unsigned state = 1;
    for (int i = 0; i < 20000; i++) {
        switch (state) {
            CASES64(0) CASES64(64) CASES64(128) CASES64(192)
            default: sum = mix(sum, state); state = (state + 3) % 259;
        }
    }
    return sum;
}
static uint64_t computed_goto(void) {
    static const void* const targets[] = {&&add, &&sub, &&twist, &&swap, &&end};
    uint64_t a = 1, b = 2;
    random_state = 3;
    int steps = 0;
next:
    if (++steps > 20000) goto *targets[4];
    goto *targets[random64() >> 62];
add: a += b; goto next;
sub: b -= a * 3; goto next;
twist: a = a << 7 | a >> 57; goto next;
swap: { uint64_t t = a; a = b; b = t; } goto next;
end: return a ^ b;
}
static uint64_t f0(uint64_t x) { return x + 1; }
static uint64_t f1(uint64_t x) { return x * 3; }
static uint64_t f2(uint64_t x) { return x ^ x >> 5; }
static uint64_t f3(uint64_t x) { return ~x; }

static ucontext_t main_context, other_context;
static void coroutine(int from, int to) {
    for (int i = from; i < to; i++) {
        printf("coroutine %d\n", i);
        swapcontext(&other_context, &main_context);
    }
}

int main(void) {
    volatile int rounds = 0;
    int value = setjmp(back);
    if (value == 0) dive(50);
    if (++rounds < 1000) dive(rounds % 20);
    printf("value %d rounds %d\n", value, rounds);

    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
    sigaction(SIGSEGV, &action, NULL);
    sigaction(SIGBUS, &action, NULL);
    sigaction(SIGILL, &action, NULL);
    sigaction(SIGTRAP, &action, NULL);
    char* none = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    volatile int caught = 0;
    for (volatile int i = 0; i < 2000; i++)
        if (sigsetjmp(signal_back, 1) == 0) none[i] = 1; else caught++;
    printf("caught %d\n", caught);
    if (sigsetjmp(signal_back, 1) == 0) __builtin_trap(); else puts("trap caught");
    volatile int (*volatile nowhere)(void) = (volatile int (*)(void))none;
    if (sigsetjmp(signal_back, 1) == 0) nowhere(); else puts("jump to nowhere caught");

    show("big switch", big_switch());
    show("computed goto", computed_goto());
    static uint64_t (*const table[])(uint64_t) = {f0, f1, f2, f3};
    uint64_t x = 1;
    for (int i = 0; i < 20000; i++) x = table[x >> 3 & 3](x);
    show("function table", x);

    static char stack[1 << 16];
    getcontext(&other_context);
    other_context.uc_stack.ss_sp = stack;
    other_context.uc_stack.ss_size = sizeof stack;
    other_context.uc_link = &main_context;
    makecontext(&other_context, (void (*)(void))coroutine, 2, 10, 13);
    for (int i = 0; i < 4; i++) {
        printf("main %d\n", i);
        if (i < 4) swapcontext(&main_context, &other_context);
        if (i == 3) break;
    }
    return 0;
}
