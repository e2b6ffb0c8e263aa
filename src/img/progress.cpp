// How far a command is: on stdout with -p (a bar where that is a terminal, the documented text elsewhere), and on stderr
// whenever SIGUSR1 asks.
#include <csignal>
#include <cstdio>
#include <unistd.h>

#include "img/tool.h"

namespace myna::img {

namespace {
volatile std::sig_atomic_t asked = 0;  // set by the signal handler, which can reach nothing else
}  // namespace

Progress::Progress(bool on) : on_(on), bar_(on && isatty(STDOUT_FILENO) != 0) {
    struct sigaction sa {};
    sa.sa_handler = [](int) { asked = 1; };
    sa.sa_flags = SA_RESTART;
    sigaction(SIGUSR1, &sa, nullptr);
    if (on_) print(0);
}

Progress::~Progress() {
    if (on_) {
        std::printf("\n");
        std::fflush(stdout);
    }
}

void Progress::print(double percent) {
    last_ = percent;
    if (bar_) {
        constexpr int kWidth = 40;
        const int full = static_cast<int>(percent * kWidth / 100);
        std::printf("    [%.*s%*s] (%3.2f/100%%)\r", full, "########################################", kWidth - full, "", percent);
    } else {
        std::printf("    (%3.2f/100%%)\r", percent);
    }
    std::fflush(stdout);
}

void Progress::report(uint64_t done, uint64_t total) {
    const double percent = total == 0 ? 100 : 100.0 * static_cast<double>(done) / static_cast<double>(total);
    if (asked != 0) {
        asked = 0;
        std::fprintf(stderr, "    (%3.2f/100%%)\n", percent);
    }
    if (on_ && percent - last_ >= 1) print(percent);
}

void Progress::finish() {
    if (!on_ || finished_) return;
    finished_ = true;
    print(100);
}

}  // namespace myna::img
