// Branches to where no code can be: the ends of the address space, and a page whose code runs off its end. The program
// gets a signal with the address, and goes on.
#include "check.h"

#include <setjmp.h>
#include <stdint.h>
#include <sys/mman.h>

static sigjmp_buf back;
static void* volatile where;

static void caught(int sig, siginfo_t* info, void* context) {
    where = info->si_addr;
    siglongjmp(back, sig);
}

static int branch_to(uint64_t target) {
    where = NULL;
    const int sig = sigsetjmp(back, 1);
    if (sig == 0) ((void (*)(void))target)();
    return sig;
}

int main(void) {
    handle(SIGSEGV, caught, 0);
    static const uint64_t targets[] = {-4096ul, -16ul, -4ul, 0, 4, 0x0000700000000000, 0x0000800000000000, 0xffff800000000000};
    for (int round = 0; round < 3; round++)
        for (unsigned i = 0; i < sizeof targets / sizeof *targets; i++) {
            const int sig = branch_to(targets[i]);
            if (sig != SIGSEGV || (uint64_t)where != targets[i]) printf("%#lx: signal %d at %p\n", (unsigned long)targets[i], sig, where);
            CHECK(sig == SIGSEGV && (uint64_t)where == targets[i]);
        }
    // The last instruction of a page, and nothing behind it.
    char* page = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(munmap(page + 4096, 4096) == 0);
#ifdef __aarch64__
    const uint32_t nop = 0xd503201f;
    memcpy(page + 4092, &nop, 4);
#else
    const uint16_t nop = 0x0001;
    memcpy(page + 4092, &nop, 2);
    memcpy(page + 4094, &nop, 2);
#endif
    CHECK(mprotect(page, 4096, PROT_READ | PROT_EXEC) == 0);
    __builtin___clear_cache(page, page + 4096);
    CHECK(branch_to((uint64_t)page + 4092) == SIGSEGV && where == page + 4096);
    CHECK(munmap(page, 4096) == 0);
    CHECK(branch_to((uint64_t)page + 4092) == SIGSEGV && where == page + 4092);
    return failures();
}
