// -g: the process under gdb. gdb::Target over guest threads, which are host threads.
//
//   gdb ◀─socket─▶ Server on the debugger's host thread ──▶ Debugger ◀── stops ── guest threads
//                                                              └─ go ─▶ parked threads
//
// A guest thread is in one of three places: in guest code (or on its way there), in a system call of the host, or parked.
// The world stands still when no thread is in guest code: a thread whose call ends meanwhile parks before it takes the
// result, so nobody need be interrupted and no call is cut short by a debugger. For gdb such a thread stands at its
// system call instruction; when gdb changes its registers, the call is broken off and its result dropped.
//
// Breakpoints are not written into memory: the engine does not translate the instruction, and the block ends before it
// (AddressSpace::stops). Single steps and accesses to watched pages run in the evaluator (Vcpu::step). Watched pages are
// protected on the host; an access that hits one is done by the evaluator through /proc/self/mem, which sees exactly
// what it reads and writes.
//
// Points are an immutable list that is replaced as a whole: a thread that met one has the list it met it in, whatever gdb
// does meanwhile.
//
// Locks: lock_ before AddressSpace::watch_lock before points_lock_ before Process::threads_lock before the engine's and the memory map's. Signal handlers
// take none of them.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "gdb/registers.h"
#include "gdb/server.h"
#include "gdb/target.h"
#include "user/linux/thread.h"

namespace myna::user {

/// What a fork leaves to be settled with gdb; made before, used on both sides after.
struct ForkNotice {
    int verdict[2] = {-1, -1};  // pipe: parent to child
};

class Debugger final : public gdb::Target {
  public:
    /// -g's argument: PORT, HOST:PORT or the PATH of a Unix socket (%d: process id), with ",suspend=n" not to wait for
    /// gdb; or fd:N, a session that the program before an execve left. Waits for gdb unless told otherwise.
    static Result<std::unique_ptr<Debugger>> start(Process& p, const std::string& where);
    /// The argument that a program run by execve needs, or "" (not debugged).
    static std::string argument_for_exec(const Options& o);

    /// The first thread is ready to run; the debugger's own thread starts.
    void begin(Thread& main);

    // ---- called by guest threads
    /// In place of Vcpu::run.
    ir::ExitReason run(Thread& t);
    /// Around system calls. after_call gives the result to use.
    void before_call(Thread& t);
    int64_t after_call(Thread& t, int64_t result);
    /// A signal is about to be delivered. Gives the one to deliver, 0: none.
    int on_signal(Thread& t, const siginfo_t& info);
    /// The process ends (gdb is told before this returns).
    void on_exit(Thread& t, int code);
    void on_kill(Thread& t, int signal);
    void on_thread_end(Thread& t);
    /// A fault on a protected page. True: it was handled, the guest goes on.
    bool on_fault(Thread& t, uint64_t addr);
    /// True while gdb wants to see signals whose action is the default one.
    [[nodiscard]] bool wants_signals() const noexcept { return attached_; }

    // ---- processes
    void before_fork(ForkNotice& n);
    void after_fork_parent(Thread& t, ForkNotice& n, int64_t child);
    /// In the child: waits for what gdb decides. The debugger may be gone (Process::debugger) when this returns.
    static void after_fork_child(Thread& t, ForkNotice& n);
    void vfork_child_starts(Thread& t);
    void vfork_done(Thread& t);
    /// Around execve. A descriptor for the new program's -g fd:N, or -1.
    int before_exec(Thread& t);
    void exec_failed(Thread& t, int fd);
    /// A new program runs after execve: the first stop.
    void report_exec(Thread& t);

    // ---- gdb::Target
    std::string description() override;
    std::vector<uint8_t> read_registers(gdb::ThreadId id) override;
    bool write_registers(gdb::ThreadId id, std::span<const uint8_t> bytes) override;
    std::span<const uint16_t> register_sizes() override { return registers_->sizes(); }
    size_t read_memory(uint64_t addr, std::span<uint8_t> to) override;
    bool write_memory(uint64_t addr, std::span<const uint8_t> from) override;
    std::vector<gdb::ThreadId> threads() override;
    std::string thread_name(gdb::ThreadId id) override;
    gdb::ThreadId current() override { return current_; }
    bool insert_point(gdb::PointKind kind, uint64_t addr, uint64_t len) override;
    bool remove_point(gdb::PointKind kind, uint64_t addr, uint64_t len) override;
    void resume(std::span<const gdb::Resume> actions) override;
    std::string held(gdb::ThreadId id) override;
    void interrupt() override;
    std::optional<gdb::Stop> take_stop() override;
    int stop_fd() override { return event_; }
    bool detach(int64_t pid) override;
    void kill() override;
    std::string auxv() override;
    std::string exec_file() override { return process_.exe; }
    std::string siginfo(gdb::ThreadId id) override;
    std::string host_path(const std::string& guest) override;
    void set_passed_signals(uint64_t mask) override { passed_ = mask; }
    void set_caught_calls(const std::optional<std::vector<uint64_t>>& calls) override;
    void set_followed_events(bool fork, bool vfork, bool exec) override;

  private:
    struct Point {
        gdb::PointKind kind;
        uint64_t addr, len;
    };
    struct Points {
        std::vector<Point> all;
        std::vector<uint64_t> breaks;  // sorted addresses
    };
    using Lock = std::unique_lock<std::mutex>;

    explicit Debugger(Process& p);
    void start_server_thread();
    static void* server_main(void* self);
    void serve();
    Result<void> listen_at(const std::string& where);
    bool accept_gdb();
    void end_session(gdb::Server::End how);

    /// Asks everything but `self` to stop. With lock_.
    void stop_world(Thread* self);
    /// True when no thread runs guest code. With lock_.
    bool world_stopped();
    void wait_world(Lock& l);
    /// Reports and parks until gdb lets the thread go.
    void report(Thread& t, gdb::Stop s);
    void park(Thread& t, Lock& l);
    void wake_server();
    void release_all(Lock& l);
    void break_off_call(Thread& t);
    Thread* find(gdb::ThreadId id);
    [[nodiscard]] gdb::ThreadId id_of(const Thread& t) const;
    /// The points as they are now; what it gives never changes. Any guest thread.
    [[nodiscard]] std::shared_ptr<const Points> points() const {
        const std::lock_guard l(points_lock_);
        return points_;
    }
    /// Publishes other points and makes memory and engine know: what lies at [addr, addr+len) is new or gone.
    void set_points(std::vector<Point> all, uint64_t addr, uint64_t len, bool watch);
    void clear_points();
    void hook_signals(bool on);
    [[nodiscard]] bool comes_again(const gdb::Stop& s) const;
    /// What a thread ran into before is nothing to gdb any more: it takes the thread on in another way. With lock_.
    [[nodiscard]] bool stale(const gdb::Stop& s, const gdb::Resume& a) const;
    /// Watchpoints are reported before the access (else after it): what gdb assumes of the architecture.
    [[nodiscard]] bool watch_stops_before() const;
    ir::ExitReason step(Thread& t);

    Process& process_;
    const gdb::RegisterSet* registers_;
    std::mutex lock_;
    std::condition_variable changed_;
    std::atomic<bool> attached_{false};  // changed with lock_
    bool stopping_ = false;              // no thread may run guest code
    bool ended_ = false;                 // the last stop reply is that of the process's end
    bool end_sent_ = false;
    std::deque<std::pair<Thread*, gdb::Stop>> stops_;
    gdb::ThreadId current_{0, 0};
    int64_t pid_ = 0;
    int event_ = -1, memory_ = -1, listener_ = -1, connection_ = -1;
    bool first_session_running_ = false; // the connection came with a session that waits for a stop reply
    std::string socket_path_;
    gdb::Session session_;
    gdb::Server* server_ = nullptr;      // while one serves

    mutable std::mutex points_lock_;     // held by whoever changes points until memory and engine have them
    std::shared_ptr<const Points> points_ = std::make_shared<const Points>();
    std::atomic<uint64_t> passed_{0};
    std::optional<std::vector<uint64_t>> caught_;
    bool follow_fork_ = false, follow_vfork_ = false, follow_exec_ = false;

    std::map<int64_t, int> children_;    // forked, not settled: where to write the verdict
    int64_t hand_over_ = 0;              // the child that gets the connection when the session ends
    int64_t vfork_child_ = 0;            // lives in our memory
    int64_t vfork_parent_tid_ = 0;       // of the thread that waits for it; 0: gdb was not told
    bool follows_vfork_ = false;         // gdb went on with it
    int64_t ghost_ = 0;                  // a process that gdb still has to detach from, gone from here
    bool pause_ = false, paused_ = false, released_ = false;  // the server's thread, around execve
};

}  // namespace myna::user
