#include "user/linux/debug.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>

#include "user/linux/signals.h"

namespace myna::user {

using gdb::Stop;
using gdb::ThreadId;
using ir::ExitReason;

/// Stops that the thread will run into again by itself are not kept for later.
bool Debugger::comes_again(const Stop& s) const {
    const bool watch = s.kind == Stop::Kind::kWatchWrite || s.kind == Stop::Kind::kWatchRead || s.kind == Stop::Kind::kWatchAccess;
    return s.kind == Stop::Kind::kSoftBreak || s.kind == Stop::Kind::kHardBreak || (watch && watch_stops_before());
}
bool Debugger::stale(const Stop& s, const gdb::Resume& a) const {
    if (s.kind == Stop::Kind::kSignal) return s.stepped && !a.step;
    if (s.kind != Stop::Kind::kWatchWrite && s.kind != Stop::Kind::kWatchRead && s.kind != Stop::Kind::kWatchAccess) return false;
    const auto all = points();
    return std::none_of(all->all.begin(), all->all.end(), [&](const Point& p) { return p.kind >= gdb::PointKind::kWatchWrite && p.addr == s.address; });
}
bool Debugger::watch_stops_before() const { return process_.abi.arch->name == "aarch64"; }

Debugger::Debugger(Process& p) : process_(p), registers_(gdb::RegisterSet::find(*p.abi.arch)) {
    pid_ = host_syscall(SYS_getpid);
    event_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    memory_ = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
}

// ---- where threads are

ThreadId Debugger::id_of(const Thread& t) const {
    return {t.debug.pid != 0 ? t.debug.pid : pid_, t.debug.tid};
}

void Debugger::wake_server() {
    const uint64_t one = 1;
    host_syscall(SYS_write, arg(int64_t{event_}), arg(&one), 8);
}

void Debugger::stop_world(Thread* self) {
    stopping_ = true;
    const std::lock_guard l(process_.threads_lock);
    for (Thread* t : process_.threads) {
        t->debug.go = false;
        if (t != self) t->vcpu->request_exit();
    }
}

bool Debugger::world_stopped() {
    const std::lock_guard l(process_.threads_lock);
    return std::all_of(process_.threads.begin(), process_.threads.end(), [](Thread* t) { return t->debug.where != ThreadDebug::kGuest; });
}

void Debugger::wait_world(Lock& l) {
    changed_.wait(l, [&] { return world_stopped(); });
}

/// With lock_: waits until gdb lets the thread go.
void Debugger::park(Thread& t, Lock& l) {
    const auto before = t.debug.where;
    t.debug.where = ThreadDebug::kParked;
    changed_.notify_all();
    changed_.wait(l, [&] { return t.debug.go || !attached_; });
    t.debug.where = before == ThreadDebug::kParked ? ThreadDebug::kGuest : before;
}

void Debugger::report(Thread& t, Stop s) {
    Lock l(lock_);
    if (!attached_) return;
    s.thread = id_of(t);
    t.debug.signal = 0;
    stops_.emplace_back(&t, std::move(s));
    stop_world(&t);
    wake_server();
    park(t, l);
}

ExitReason Debugger::run(Thread& t) {
    ThreadDebug& d = t.debug;
    if (d.tid == 0) {
        const Lock l(lock_);
        d.tid = host_syscall(SYS_gettid);
        d.go = !stopping_;
    }
    if (!d.shadow && attached_) {
        Lock l(lock_);
        d.where = ThreadDebug::kGuest;
        if (attached_ && !d.go) park(t, l);
        if (d.signal != 0) {  // gdb's `signal N` where no signal was
            const int sig = d.signal;
            d.signal = 0;
            d.pass_once |= sigbit(sig);
            l.unlock();
            host_syscall(SYS_tgkill, static_cast<uint64_t>(host_syscall(SYS_getpid)), static_cast<uint64_t>(host_syscall(SYS_gettid)), static_cast<uint64_t>(sig));
        }
    }
    if (t.signal_pending != 0 || process_.debugger == nullptr) return ExitReason::kPoll;
    t.memory.rearm_watches();
    if (d.step) return step(t);
    const ExitReason r = t.vcpu->run();
    if (r != ExitReason::kNoExec) return r;
    const auto points = this->points();
    if (!std::binary_search(points->breaks.begin(), points->breaks.end(), t.pc())) return r;
    if (d.shadow || !attached_) return step(t);  // not ours to stop
    Stop::Kind kind = Stop::Kind::kSoftBreak;
    for (const Point& p : points->all)
        if (p.addr == t.pc() && p.kind == gdb::PointKind::kHardBreak) kind = Stop::Kind::kHardBreak;
    d.info = fault_info(SIGTRAP, 1, t.pc());
    report(t, {.kind = kind});
    return ExitReason::kPoll;
}

ExitReason Debugger::step(Thread& t) {
    const ExitReason r = t.vcpu->step(nullptr);
    if (!t.debug.step || r != ExitReason::kNone) return r == ExitReason::kNone ? ExitReason::kPoll : r;
    t.debug.step = false;
    t.debug.info = fault_info(SIGTRAP, 2, t.pc());
    report(t, {.kind = Stop::Kind::kSignal, .signal = SIGTRAP, .stepped = true});
    return ExitReason::kPoll;
}

void Debugger::before_call(Thread& t) {
    ThreadDebug& d = t.debug;
    if (d.shadow) return;
    const uint64_t number = t.reg(t.abi.reg.number);
    bool caught = false;
    {
        const Lock l(lock_);
        caught = attached_ && caught_ && (caught_->empty() || std::find(caught_->begin(), caught_->end(), number) != caught_->end());
    }
    if (caught) report(t, {.kind = Stop::Kind::kCallEntry, .address = number});
    const Lock l(lock_);
    d.caught = caught;
    d.number = number;
    d.discard = false;
    d.where = ThreadDebug::kCall;
    changed_.notify_all();
}

int64_t Debugger::after_call(Thread& t, int64_t result) {
    ThreadDebug& d = t.debug;
    if (d.shadow) return result;
    {
        Lock l(lock_);
        if (attached_ && !d.go) {
            changed_.notify_all();
            changed_.wait(l, [&] { return d.go || !attached_; });
        }
        d.where = ThreadDebug::kGuest;
        if (d.discard) {
            d.discard = false;
            return kNoReturnValue;
        }
    }
    const bool stepped = d.step;
    if (!(stepped || d.caught) || t.exited || result == kRestartSys) return result;
    if (result != kNoReturnValue) t.set_result(result);
    if (d.caught) {
        d.caught = false;
        report(t, {.kind = Stop::Kind::kCallReturn, .address = d.number});
    } else {
        d.step = false;
        d.info = fault_info(SIGTRAP, 2, t.pc());
        report(t, {.kind = Stop::Kind::kSignal, .signal = SIGTRAP, .stepped = true});
    }
    return kNoReturnValue;
}

int Debugger::on_signal(Thread& t, const siginfo_t& info) {
    const int sig = info.si_signo;
    ThreadDebug& d = t.debug;
    if ((d.pass_once & sigbit(sig)) != 0) {
        d.pass_once &= ~sigbit(sig);
        return sig;
    }
    if (d.shadow || !attached_ || (passed_ & sigbit(sig)) != 0) return sig;
    d.info = info;
    report(t, {.kind = Stop::Kind::kSignal, .signal = sig});
    const Lock l(lock_);
    if (!attached_) return sig;
    const int chosen = d.signal;
    d.signal = 0;
    return chosen;
}

void Debugger::on_exit(Thread& t, int code) {
    Lock l(lock_);
    if (!attached_ || t.debug.shadow) return;
    stop_world(&t);
    ended_ = true;
    stops_.clear();
    stops_.emplace_back(&t, Stop{.kind = Stop::Kind::kExited, .thread = id_of(t), .code = code});
    t.debug.where = ThreadDebug::kParked;
    wake_server();
    changed_.notify_all();
    // The reply is on its way when serve() has ended.
    changed_.wait_for(l, std::chrono::seconds(5), [&] { return end_sent_ || !attached_; });
    if (!socket_path_.empty()) unlink(socket_path_.c_str());
}

void Debugger::on_kill(Thread& t, int signal) {
    Lock l(lock_);
    if (!attached_ || t.debug.shadow) return;
    stop_world(&t);
    ended_ = true;
    stops_.clear();
    stops_.emplace_back(&t, Stop{.kind = Stop::Kind::kKilled, .thread = id_of(t), .signal = signal});
    t.debug.where = ThreadDebug::kParked;
    wake_server();
    changed_.notify_all();
    changed_.wait_for(l, std::chrono::seconds(5), [&] { return end_sent_ || !attached_; });
    if (!socket_path_.empty()) unlink(socket_path_.c_str());
}

void Debugger::on_thread_end(Thread& t) {
    const Lock l(lock_);
    t.debug.where = ThreadDebug::kGone;
    changed_.notify_all();
}

// ---- gdb::Target: running

std::optional<Stop> Debugger::take_stop() {
    uint64_t count = 0;
    (void)!::read(event_, &count, sizeof count);
    Lock l(lock_);
    if (pause_) {
        paused_ = true;
        changed_.notify_all();
        changed_.wait(l, [&] { return !pause_; });
        paused_ = false;
        if (released_ && server_ != nullptr) close(server_->release());
        return std::nullopt;
    }
    const auto first = [&] { return std::find_if(stops_.begin(), stops_.end(), [&](const auto& p) { return ended_ || p.first->debug.wanted; }); };
    if (first() == stops_.end()) return std::nullopt;
    if (!ended_) wait_world(l);
    const auto next = first();  // others have left theirs meanwhile, or the process has ended
    if (next == stops_.end()) return std::nullopt;
    const Stop s = next->second;
    stops_.erase(next);
    std::erase_if(stops_, [this](const auto& p) { return comes_again(p.second); });
    {
        const std::lock_guard tl(process_.threads_lock);
        for (Thread* t : process_.threads) t->debug.wanted = false;
    }
    current_ = s.thread;
    return s;
}

void Debugger::interrupt() {
    Lock l(lock_);
    const auto faster = [&] { return std::any_of(stops_.begin(), stops_.end(), [](const auto& p) { return p.first->debug.wanted; }); };
    if (faster()) return;
    stop_world(nullptr);
    wait_world(l);
    if (faster()) return;
    ThreadId id = current_;
    if (find(id) == nullptr) {
        const std::lock_guard tl(process_.threads_lock);
        for (Thread* t : process_.threads)
            if (t->debug.where != ThreadDebug::kGone) {
                id = id_of(*t);
                break;
            }
    }
    if (Thread* t = find(id)) {
        t->debug.info = {};
        t->debug.info.si_signo = SIGINT;
        t->debug.wanted = true;
        stops_.emplace_back(t, Stop{.kind = Stop::Kind::kSignal, .thread = id, .signal = SIGINT});
    }
}

void Debugger::resume(std::span<const gdb::Resume> actions) {
    const Lock l(lock_);
    bool had_stop = false;
    for (const gdb::Resume& a : actions) {
        Thread* t = find(a.thread);
        // gdb goes on with the child of a vfork: it is this memory's debugged process until it runs another program.
        if (vfork_child_ != 0 && a.thread.pid == vfork_child_ && !follows_vfork_) {
            follows_vfork_ = true;
            t = find({pid_, vfork_parent_tid_});
        }
        if (t == nullptr) continue;
        t->debug.wanted = true;
        std::erase_if(stops_, [&](const auto& p) { return p.first == t && stale(p.second, a); });
        had_stop = had_stop || std::any_of(stops_.begin(), stops_.end(), [&](const auto& p) { return p.first == t; });
    }
    // What such a thread had run into before comes first; nothing moves.
    if (had_stop) {
        wake_server();
        return;
    }
    for (const gdb::Resume& a : actions) {
        Thread* t = find(a.thread);
        if (t == nullptr && follows_vfork_ && a.thread.pid == vfork_child_) t = find({pid_, vfork_parent_tid_});
        if (t == nullptr) continue;
        ThreadDebug& d = t->debug;
        d.step = a.step;
        d.signal = a.signal;
        d.go = true;
        if (d.discard && d.where == ThreadDebug::kCall) break_off_call(*t);
    }
    bool all = true;
    {
        const std::lock_guard tl(process_.threads_lock);
        for (Thread* t : process_.threads) all = all && (t->debug.go || t->debug.where == ThreadDebug::kGone || !t->debug.listed);
        // Threads that gdb could not name yet, made by a call that was under way: they go when everybody does.
        if (all)
            for (Thread* t : process_.threads) t->debug.go = true;
    }
    stopping_ = !all;
    changed_.notify_all();
}

/// With lock_, attached_ already false or about to be: everything runs.
void Debugger::release_all(Lock&) {
    attached_ = false;
    stopping_ = false;
    stops_.clear();
    caught_.reset();
    passed_ = 0;
    {
        const std::lock_guard tl(process_.threads_lock);
        for (Thread* t : process_.threads) {
            t->debug.go = true;
            t->debug.step = false;
            t->debug.signal = 0;
        }
    }
    changed_.notify_all();
}

void Debugger::kill() {
    host_syscall(SYS_kill, static_cast<uint64_t>(current_.pid != 0 && current_.pid != pid_ ? current_.pid : pid_), SIGKILL);
}

// ---- gdb::Target: threads, registers, memory

Thread* Debugger::find(ThreadId id) {
    const std::lock_guard l(process_.threads_lock);
    for (Thread* t : process_.threads)
        if (t->debug.tid == id.tid && t->debug.where != ThreadDebug::kGone) return t;
    // A child that waits for us looks as its parent did.
    if (children_.contains(id.tid))
        for (Thread* t : process_.threads)
            if (t->debug.tid == current_.tid) return t;
    return nullptr;
}

std::vector<ThreadId> Debugger::threads() {
    std::vector<ThreadId> out;
    if (!attached_) return out;
    const std::lock_guard l(process_.threads_lock);
    for (Thread* t : process_.threads)
        if (t->debug.where != ThreadDebug::kGone && t->debug.tid != 0) {
            t->debug.listed = true;
            out.push_back(id_of(*t));
        }
    for (const auto& [pid, fd] : children_) out.push_back({pid, pid});
    if (vfork_child_ != 0 && !follows_vfork_ && !out.empty() && out[0].pid != vfork_child_) out.push_back({vfork_child_, vfork_child_});
    return out;
}

std::string Debugger::thread_name(ThreadId id) {
    char path[64], name[32] = {};
    std::snprintf(path, sizeof path, "/proc/%lld/task/%lld/comm", static_cast<long long>(id.pid), static_cast<long long>(id.tid));
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return {};
    const ssize_t n = ::read(fd, name, sizeof name - 1);
    close(fd);
    std::string s(name, n > 0 ? static_cast<size_t>(n) : 0);
    if (s.ends_with('\n')) s.pop_back();
    return s;
}

std::string Debugger::description() { return registers_->description(true); }

std::vector<uint8_t> Debugger::read_registers(ThreadId id) {
    std::vector<uint8_t> bytes(registers_->total());
    Thread* t = find(id);
    if (t == nullptr && id.pid == vfork_child_) t = find(current_);
    if (t == nullptr) return bytes;
    const Lock l(lock_);
    const bool in_call = t->debug.where == ThreadDebug::kCall && !t->debug.discard;
    if (in_call) t->pc() -= t->abi.syscall_bytes;
    registers_->read(t->state, bytes.data());
    if (in_call) t->pc() += t->abi.syscall_bytes;
    return bytes;
}

bool Debugger::write_registers(ThreadId id, std::span<const uint8_t> bytes) {
    Thread* t = find(id);
    if (t == nullptr || bytes.size() != registers_->total()) return false;
    const Lock l(lock_);
    if (t->debug.where == ThreadDebug::kCall) t->debug.discard = true;
    registers_->write(t->state, bytes.data());
    t->vcpu->state_changed();
    return true;
}

/// The call that a thread waits in is to end: gdb gave the thread other registers. SIGTRAP is never blocked on the host;
/// its handler knows this one by its value.
void Debugger::break_off_call(Thread& t) {
    siginfo_t info{};
    info.si_signo = SIGTRAP;
    info.si_code = SI_QUEUE;
    info.si_value.sival_ptr = &process_;
    host_syscall(SYS_rt_tgsigqueueinfo, static_cast<uint64_t>(pid_), static_cast<uint64_t>(t.debug.tid), SIGTRAP, arg(&info));
}

size_t Debugger::read_memory(uint64_t addr, std::span<uint8_t> to) {
    size_t done = 0;
    while (done < to.size()) {
        const uint64_t at = addr + done;
        const size_t n = std::min<size_t>(to.size() - done, kPage - (at & (kPage - 1)));
        if (process_.memory.prot_at(at) < 0) break;
        const auto offset = static_cast<off_t>(at + process_.memory.base());
        if (memory_ < 0 ? process_.memory.copy_in(to.data() + done, at, n) != 0 : pread(memory_, to.data() + done, n, offset) != static_cast<ssize_t>(n)) break;
        done += n;
    }
    return done;
}

bool Debugger::write_memory(uint64_t addr, std::span<const uint8_t> from) {
    for (size_t done = 0; done < from.size();) {
        const uint64_t at = addr + done;
        const size_t n = std::min<size_t>(from.size() - done, kPage - (at & (kPage - 1)));
        if (process_.memory.prot_at(at) < 0) return false;
        const auto offset = static_cast<off_t>(at + process_.memory.base());
        if (memory_ < 0 ? process_.memory.copy_out(at, from.data() + done, n) != 0 : pwrite(memory_, from.data() + done, n, offset) != static_cast<ssize_t>(n)) return false;
        done += n;
    }
    process_.engine->invalidate(addr, from.size());
    return true;
}

std::string Debugger::auxv() {
    std::string s(process_.auxv_size, '\0');
    if (process_.memory.copy_in(s.data(), process_.auxv, s.size()) != 0) return {};
    return s;
}

std::string Debugger::siginfo(ThreadId id) {
    const Thread* t = find(id);
    if (t == nullptr || t->debug.info.si_signo == 0) return {};
    return {reinterpret_cast<const char*>(&t->debug.info), 128};
}

std::string Debugger::host_path(const std::string& guest) {
    char buffer[4096];
    return process_.sysroot.map(guest.c_str(), buffer);
}

void Debugger::set_caught_calls(const std::optional<std::vector<uint64_t>>& calls) {
    const Lock l(lock_);
    caught_ = calls;
}

void Debugger::set_followed_events(bool fork, bool vfork, bool exec) {
    const Lock l(lock_);
    follow_fork_ = fork;
    follow_vfork_ = vfork;
    follow_exec_ = exec;
}

}  // namespace myna::user
