// Tracer: the processes that the guest traces, and what their host stops mean to it (trace.h has the whole picture).
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <set>

#include "user/linux/trace.h"

namespace myna::user {

class Thread;

class Tracer {
  public:
    /// The one of this process; made if need be.
    static Tracer& of(Thread& t);

    int64_t attach(Thread& t, pid_t tid, bool seize, uint64_t options);
    /// Every other request, for a stopped thread.
    int64_t request(Thread& t, uint64_t what, pid_t tid, uint64_t addr, uint64_t data);

    /// A wait call of the guest found `tid` stopped with `status` (wait4's form). The status that the guest is to see, or
    /// nothing when the stop is not for it: the thread was sent on then.
    std::optional<int> stopped(Thread& t, pid_t tid, int status);
    /// Forks hold locks of the emulator, and their stops in the kernel are not the guest's (TraceState::forking): those of
    /// all tracees but `waited_for` are continued. True: others than that one are running, and may fork later.
    bool let_forks_go_on(pid_t waited_for);
    /// It ended. False: the guest never heard of this thread.
    bool ended(pid_t tid);
    /// The guest wrote to the memory of a process it traces, by ptrace or otherwise: what was translated there is stale.
    void wrote(uint64_t addr, uint64_t size);

  private:
    /// What the last host stop was.
    enum class Stop : uint8_t {
        kRunning,
        kGuest,   // in trace_stop: TraceState has the details
        kHost,    // the kernel's own: fork and its kin, group stops, a new process
    };
    struct Tracee {
        Stop stop = Stop::kRunning;
        bool vfork_parent = false;  // its TraceState is its child's for now
        bool emulated = false;
        uint64_t at = 0;            // address of its TraceState
    };

    Tracee* find(pid_t tid);
    bool locate(pid_t tid, Tracee& tracee);
    bool hide_fork(pid_t tid, Tracee& tracee, int event);
    bool same_emulator(pid_t tid);
    int64_t go_on(pid_t tid, Tracee& tracee, TraceResume how, uint64_t sig);
    int64_t syscall_info(Thread& t, pid_t tid, Tracee& tracee, uint64_t size, uint64_t to);
    int64_t registers(Thread& t, pid_t tid, Tracee& tracee, uint32_t type, uint64_t iov_at, bool write);
    void note_poke(uint64_t addr, uint64_t size);

    std::mutex lock_;
    std::map<pid_t, Tracee> tracees_;
    std::set<pid_t> hidden_;  // seen by us only
};

}  // namespace myna::user
