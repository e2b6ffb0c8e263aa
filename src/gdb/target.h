// What the protocol engine asks of the machine or process that is debugged.
//
//   gdb ◀── packets ──▶ Server ──▶ Target      user mode: a process's threads; system mode: a machine's CPUs
//                          ▲         │
//                          └─ Stop ◀─┘
//
// All-stop: while nothing was resumed every thread stands still, and only then are registers and memory asked for. All
// functions are called on the thread that runs Server::serve.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace myna::gdb {

/// pid and tid as gdb sees them; -1: all, 0: any.
struct ThreadId {
    int64_t pid = 0, tid = 0;
    bool operator==(const ThreadId&) const = default;
};

/// Why the target stands still, or is no more.
struct Stop {
    enum class Kind : uint8_t {
        kSignal,         // `signal`
        kSoftBreak,      // at a breakpoint that the target keeps
        kHardBreak,
        kWatchWrite, kWatchRead, kWatchAccess,  // `address`: what is watched
        kFork, kVfork,   // `child`
        kVforkDone,
        kExec,           // `path`: the new program
        kCallEntry, kCallReturn,  // `address`: system call number
        kExited,         // `code`
        kKilled,         // `signal`
    };
    Kind kind = Kind::kSignal;
    ThreadId thread;
    int signal = 0;      // the host's (Linux) number
    int code = 0;
    uint64_t address = 0;
    ThreadId child;
    std::string path;
    bool stepped = false;  // kSignal: the step that gdb asked for is done
};

/// What a thread does when the target is resumed.
struct Resume {
    ThreadId thread;
    bool step = false;
    int signal = 0;      // to be delivered first, 0: none
};

/// Z0 … Z4 of the protocol.
enum class PointKind : uint8_t { kSoftBreak, kHardBreak, kWatchWrite, kWatchRead, kWatchAccess };

class Target {
  public:
    virtual ~Target() = default;

    // ---- registers and memory
    /// The target description (target.xml), complete.
    virtual std::string description() = 0;
    /// All registers in the order of the description, as bytes in guest order.
    virtual std::vector<uint8_t> read_registers(ThreadId id) = 0;
    /// False when `bytes` is not the whole set.
    virtual bool write_registers(ThreadId id, std::span<const uint8_t> bytes) = 0;
    /// Size in bytes of each register, in the order of the description.
    virtual std::span<const uint16_t> register_sizes() = 0;
    /// How many bytes from `addr` on could be read.
    virtual size_t read_memory(uint64_t addr, std::span<uint8_t> to) = 0;
    virtual bool write_memory(uint64_t addr, std::span<const uint8_t> from) = 0;

    // ---- threads
    virtual std::vector<ThreadId> threads() = 0;
    virtual std::string thread_name(ThreadId id) = 0;
    /// The thread that stopped last.
    virtual ThreadId current() = 0;

    // ---- points; the same one may be inserted twice
    virtual bool insert_point(PointKind kind, uint64_t addr, uint64_t len) = 0;
    virtual bool remove_point(PointKind kind, uint64_t addr, uint64_t len) = 0;

    // ---- running
    /// Threads that are in none of `actions` stay where they are.
    virtual void resume(std::span<const Resume> actions) = 0;
    /// Why a thread of `threads()` cannot be resumed, for gdb's user; "" when it can.
    virtual std::string held(ThreadId) { return {}; }
    /// ctrl-C: a stop with SIGINT follows.
    virtual void interrupt() = 0;
    /// The next stop, when there is one. Everything stands still then.
    virtual std::optional<Stop> take_stop() = 0;
    /// A descriptor that is readable when take_stop may have something.
    virtual int stop_fd() = 0;
    /// The process goes on without a debugger. False: there is no such process.
    virtual bool detach(int64_t pid) = 0;
    virtual void kill() = 0;

    // ---- user mode only; empty where there is no such thing
    virtual std::string auxv() { return {}; }
    virtual std::string exec_file() { return {}; }
    /// The siginfo_t of the last stop of a thread.
    virtual std::string siginfo(ThreadId) { return {}; }
    /// Where a path of the guest's is on the host.
    virtual std::string host_path(const std::string& guest) { return guest; }
    /// gdb says which signals (Linux numbers, bit n: signal n) need no stop.
    virtual void set_passed_signals(uint64_t) {}
    /// System calls that stop; none: nullopt, all: empty.
    virtual void set_caught_calls(const std::optional<std::vector<uint64_t>>&) {}
    /// gdb understands stops for fork, vfork, exec.
    virtual void set_followed_events(bool /*fork*/, bool /*vfork*/, bool /*exec*/) {}
};

}  // namespace myna::gdb
