#include "tools/signals.h"

#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cerrno>

namespace myna::tools {

int end_signals() {
    signal(SIGPIPE, SIG_IGN);
    sigset_t set;
    sigemptyset(&set);
    for (const int n : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&set, n);
    pthread_sigmask(SIG_BLOCK, &set, nullptr);
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

io::Task<void> await_end(io::Reactor& reactor, int signals) {
    signalfd_siginfo info;
    while (::read(signals, &info, sizeof info) < 0 && (errno == EAGAIN || errno == EINTR)) co_await reactor.poll(signals, POLLIN);
}

}  // namespace myna::tools
