// Page faults a program handles itself: a write to a protected page opens it, and the page is closed again.
#include <signal.h>
#include <sys/mman.h>

#include "../kernel.h"

static char* page;
static volatile uint64_t faults;
static void handler(int signal, siginfo_t* info, void* context) {
    (void)signal, (void)context;
    faults += (uint64_t)((char*)info->si_addr - page) + 1;
    mprotect(page, 4096, PROT_READ | PROT_WRITE);
}

int main(int argc, char** argv) {
    page = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO};
    sigaction(SIGSEGV, &action, NULL);
    for (long i = rounds(argc, argv, 30000); i > 0; i--) {
        *(volatile char*)(page + (i & 0xff0)) = 1;
        mprotect(page, 4096, PROT_READ);
    }
    return report(faults);
}
