// Signals a program sends itself, with a handler, and a mask around some of them.
#include <signal.h>
#include <unistd.h>

#include "../kernel.h"

static volatile uint64_t taken;
static void handler(int signal, siginfo_t* info, void* context) {
    (void)context;
    taken += (uint64_t)(signal == info->si_signo);
}

int main(int argc, char** argv) {
    struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO};
    sigaction(SIGUSR1, &action, NULL);
    sigset_t set, old;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    for (long i = rounds(argc, argv, 40000); i > 0; i--) {
        if (i & 1) {
            raise(SIGUSR1);
        } else {
            sigprocmask(SIG_BLOCK, &set, &old);
            kill(getpid(), SIGUSR1);
            sigprocmask(SIG_SETMASK, &old, NULL);
        }
    }
    return report(taken);
}
