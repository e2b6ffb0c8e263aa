// What ties a process together besides Process itself: starting it, ending it, and lending a Thread to a vfork child.
#pragma once

#include <string>
#include <vector>

#include "user/linux/thread.h"

namespace myna::user {

/// Runs the program that `o` names; returns the exit code where starting failed (a message was printed).
int run_program(Options& o, char** env);

/// exit_group.
[[noreturn]] void exit_process(Thread& t, int code);

/// `fd` moved to where no guest looks for its own files, and closed on exec; itself where that is not possible.
int move_up(int fd);

/// The state of a Thread while a vfork child uses it.
class SavedThread {
  public:
    explicit SavedThread(Thread& t);
    void restore(Thread& t) const;

  private:
    std::vector<uint8_t> registers_;
    uint64_t pc_;
    uint32_t mxcsr_;
    uint64_t sigmask_, held_;
    AltStack altstack_;
    SignalActions* actions_;
    uint64_t clear_child_tid_, robust_list_, robust_len_;
    unsigned vfork_depth_;
    TraceState trace_;
    const SeccompFilter* filters_;
};

}  // namespace myna::user
