// The debugger's connection and processes: listening, attaching, detaching; fork, vfork and execve.
//
//   fork:   parent stops with `fork`, child waits at a pipe ─▶ D;child  ─▶ 'd': the child runs undebugged
//                                                         └─▶ D;parent ─▶ 'a' session: the child has the connection now
//   vfork:  the child lives in our memory on the parent's Thread: the same debugger serves it until it execs
//   execve: the connection is inherited; the session goes by a memfd to the new program's -g fd:N
#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "user/linux/debug.h"
#include "user/linux/process.h"
#include "user/linux/signals.h"

namespace myna::user {

using gdb::Stop;
using gdb::ThreadId;

namespace {

constexpr std::string_view kLate = ",suspend=n", kWait = ",suspend=y", kInherited = "fd:";

std::string read_file(int fd) {
    std::string s;
    char buffer[1024];
    for (off_t at = 0;;) {
        const ssize_t n = pread(fd, buffer, sizeof buffer, at);
        if (n <= 0) return s;
        s.append(buffer, static_cast<size_t>(n));
        at += n;
    }
}

}  // namespace

// ---- start

Result<std::unique_ptr<Debugger>> Debugger::start(Process& p, const std::string& argument) {
    std::unique_ptr<Debugger> d(new Debugger(p));
    if (d->registers_ == nullptr) return fail(ErrorKind::kUnsupported, "-g: gdb has no registers for " + std::string(p.abi.arch->name) + " here yet");
    std::string where = argument;
    bool wait = true;
    if (where.ends_with(kLate)) {
        wait = false;
        where.resize(where.size() - kLate.size());
    } else if (where.ends_with(kWait)) {
        where.resize(where.size() - kWait.size());
    }
    if (where.starts_with(kInherited)) {
        // pid of the connection's process, descriptor, whether it was a vfork child's; then the session.
        const int fd = std::atoi(where.c_str() + kInherited.size());
        const std::string text = read_file(fd);
        long long connection = -1, ghost = 0;
        char session[512] = {};
        if (std::sscanf(text.c_str(), "%lld %lld %511s", &connection, &ghost, session) != 3) return fail(ErrorKind::kInvalidArgument, "-g " + argument + ": not a session");
        close(fd);
        d->connection_ = static_cast<int>(connection);
        fcntl(d->connection_, F_SETFD, FD_CLOEXEC);
        d->ghost_ = ghost;
        d->session_ = gdb::Session::parse(session);
        d->first_session_running_ = true;
        d->attached_ = true;
        return d;
    }
    if (auto r = d->listen_at(where); !r) return std::unexpected(r.error());
    if (wait && !d->accept_gdb()) return fail(ErrorKind::kIo, "-g " + where + ": nobody came");
    d->attached_ = d->connection_ >= 0;
    return d;
}

Result<void> Debugger::listen_at(const std::string& given) {
    std::string where = given;
    if (const size_t at = where.find("%d"); at != std::string::npos) where.replace(at, 2, std::to_string(pid_));
    const size_t colon = where.rfind(':');
    const std::string port = colon == std::string::npos ? where : where.substr(colon + 1);
    const bool number = !port.empty() && port.find_first_not_of("0123456789") == std::string::npos;
    if (number && where.find('/') == std::string::npos) {
        sockaddr_in a{};
        a.sin_family = AF_INET;
        const unsigned long n = std::strtoul(port.c_str(), nullptr, 10);
        const std::string host = colon == std::string::npos ? "" : where.substr(0, colon);
        if (n > 65535 || (!host.empty() && host != "localhost" && inet_pton(AF_INET, host.c_str(), &a.sin_addr) != 1))
            return fail(ErrorKind::kInvalidArgument, "-g " + given + ": expects PORT, ADDRESS:PORT or the path of a socket");
        a.sin_port = htons(static_cast<uint16_t>(n));
        if (host == "localhost") a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        const int one = 1;
        if (fd >= 0) setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
        if (fd < 0 || bind(fd, reinterpret_cast<sockaddr*>(&a), sizeof a) != 0 || ::listen(fd, 1) != 0) return fail_errno(errno, "-g " + given);
        listener_ = move_up(fd);
        return {};
    }
    sockaddr_un a{};
    a.sun_family = AF_UNIX;
    if (where.empty() || where.size() >= sizeof a.sun_path) return fail(ErrorKind::kInvalidArgument, "-g " + given + ": not a usable path of a socket");
    std::memcpy(a.sun_path, where.c_str(), where.size());
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    unlink(where.c_str());
    if (fd < 0 || bind(fd, reinterpret_cast<sockaddr*>(&a), sizeof a) != 0 || ::listen(fd, 1) != 0) return fail_errno(errno, "-g " + given);
    socket_path_ = where;
    listener_ = move_up(fd);
    return {};
}

bool Debugger::accept_gdb() {
    int fd;
    do fd = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    while (fd < 0 && errno == EINTR);
    if (fd < 0) return false;
    const int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    connection_ = move_up(fd);
    return true;
}

std::string Debugger::argument_for_exec(const Options& o) {
    return o.gdb.find("%d") != std::string::npos ? o.gdb : "";
}

void Debugger::begin(Thread& main) {
    main.debug.tid = host_syscall(SYS_gettid);
    current_ = id_of(main);
    if (attached_) {
        hook_signals(true);
        stopping_ = !first_session_running_;
        main.debug.go = first_session_running_;
        if (first_session_running_) current_ = {0, 0};
    }
    const bool after_exec = first_session_running_ && session_.exec_events;  // the server's thread clears it
    start_server_thread();
    if (after_exec) report_exec(main);
}

void Debugger::report_exec(Thread& t) { report(t, {.kind = Stop::Kind::kExec, .path = process_.exe}); }

void Debugger::start_server_thread() {
    // It takes no signal of the guest's.
    const uint64_t all = ~uint64_t{0};
    uint64_t before = 0;
    host_syscall(SYS_rt_sigprocmask, SIG_SETMASK, arg(&all), arg(&before), 8);
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, 256 << 10);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_t handle;
    pthread_create(&handle, &attr, server_main, this);
    pthread_attr_destroy(&attr);
    host_syscall(SYS_rt_sigprocmask, SIG_SETMASK, arg(&before), 0, 8);
}

void* Debugger::server_main(void* self) {
    static_cast<Debugger*>(self)->serve();
    return nullptr;
}

void Debugger::serve() {
    for (;;) {
        if (connection_ < 0) {
            if (listener_ < 0 || !accept_gdb()) return;
            Lock l(lock_);
            attached_ = true;
            session_ = {};
            stop_world(nullptr);
            wait_world(l);
            if (find(current_) == nullptr) {
                const std::lock_guard tl(process_.threads_lock);
                for (const Thread* t : process_.threads)
                    if (t->debug.where != ThreadDebug::kGone) current_ = id_of(*t);
            }
            l.unlock();
            hook_signals(true);
        }
        gdb::Server server(*this, connection_, session_);
        server_ = &server;
        const auto how = server.serve(std::exchange(first_session_running_, false));
        session_ = server.session();
        server_ = nullptr;
        if (how == gdb::Server::End::kDetached && hand_over_ != 0) {
            // The child has the connection too; ours is closed without a word.
            const auto it = children_.find(hand_over_);
            if (it != children_.end()) {
                const std::string text = "a" + std::to_string(connection_) + " " + session_.text();
                (void)!::write(it->second, text.data(), text.size());
                close(it->second);
                children_.erase(it);
            }
            hand_over_ = 0;
        }
        end_session(how);
        connection_ = -1;
    }
}

void Debugger::end_session(gdb::Server::End how) {
    if (how == gdb::Server::End::kOver) {
        const Lock l(lock_);
        end_sent_ = true;
        changed_.notify_all();
        // Whoever ends the process goes on; nothing else will happen here.
        return;
    }
    hook_signals(false);
    Lock l(lock_);
    // The connection may have broken while everything ran.
    if (attached_) {
        stop_world(nullptr);
        wait_world(l);
    }
    clear_points();
    for (const auto& [pid, fd] : children_) {
        (void)!::write(fd, "d", 1);
        close(fd);
    }
    children_.clear();
    release_all(l);
}

bool Debugger::detach(int64_t pid) {
    Lock l(lock_);
    if (const auto it = children_.find(pid); it != children_.end()) {
        (void)!::write(it->second, "d", 1);
        close(it->second);
        children_.erase(it);
        return true;
    }
    if (pid != 0 && pid == vfork_child_ && !follows_vfork_) {
        vfork_child_ = 0;
        Thread* t = find(current_);
        if (t != nullptr) {
            t->debug.shadow = true;
            t->debug.pid = 0;
            t->debug.tid = vfork_parent_tid_;
            current_ = id_of(*t);
        }
        return true;
    }
    if (pid == ghost_ && pid != 0) {
        ghost_ = 0;
        return true;
    }
    if (pid != pid_ && pid != 0) return false;
    if (!children_.empty()) hand_over_ = children_.begin()->first;
    attached_ = false;  // the session ends when gdb has its answer
    return true;
}

std::string Debugger::held(ThreadId id) {
    const Lock l(lock_);
    if (!children_.contains(id.pid)) return {};
    return "process " + std::to_string(id.pid) + " was forked and is held by 'set detach-on-fork off': one connection runs one process; 'detach inferiors' lets it go";
}

void Debugger::hook_signals(bool on) { hook_default_signals(process_.actions, on); }

// ---- fork

void Debugger::before_fork(ForkNotice& n) {
    if (attached_ && pipe2(n.verdict, O_CLOEXEC) == 0)
        for (int& fd : n.verdict) fd = move_up(fd);
    process_.memory.watch_lock().lock();
    points_lock_.lock();  // so that the child has points that agree with its memory's
}

void Debugger::after_fork_parent(Thread& t, ForkNotice& n, int64_t child) {
    points_lock_.unlock();
    process_.memory.watch_lock().unlock();
    if (n.verdict[0] < 0) return;
    close(n.verdict[0]);
    bool follow;
    {
        const Lock l(lock_);
        follow = child > 0 && attached_ && follow_fork_ && !t.debug.shadow;
        if (follow) children_[child] = n.verdict[1];
    }
    if (!follow) {
        (void)!::write(n.verdict[1], "d", 1);
        close(n.verdict[1]);
        return;
    }
    report(t, {.kind = Stop::Kind::kFork, .child = {child, child}});
}

void Debugger::after_fork_child(Thread& t, ForkNotice& n) {
    Process& p = t.process;
    Debugger* const old = p.debugger;
    if (old == nullptr) return;
    p.debugger = nullptr;
    p.memory.set_stops({});
    p.memory.forget_watches();
    p.memory.watch_lock().unlock();
    std::string verdict;
    if (n.verdict[0] >= 0) {
        close(n.verdict[1]);
        char buffer[1024];
        for (ssize_t r; (r = ::read(n.verdict[0], buffer, sizeof buffer)) > 0;) verdict.append(buffer, static_cast<size_t>(r));
        close(n.verdict[0]);
    }
    // The old one's locks are as another thread of the parent left them: it is not touched any more, but for its numbers.
    for (const Debugger::Point& point : old->points_->all) {
        p.engine->invalidate(point.addr, point.len);
        p.memory.restore_protection(point.addr, point.len);
    }
    if (old->event_ >= 0) close(old->event_);
    if (old->memory_ >= 0) close(old->memory_);
    if (old->listener_ >= 0) close(old->listener_);
    for (const auto& [pid, fd] : old->children_) close(fd);
    t.debug = {};
    if (verdict.starts_with('a')) {
        auto* d = new Debugger(p);
        int connection = -1;
        char session[512] = {};
        std::sscanf(verdict.c_str() + 1, "%d %511s", &connection, session);
        d->connection_ = connection;
        d->session_ = gdb::Session::parse(session);
        d->attached_ = true;
        p.debugger = d;
        d->begin(t);
        return;
    }
    if (old->connection_ >= 0) close(old->connection_);
    hook_default_signals(*t.actions, false);
    if (p.options.gdb.find("%d") == std::string::npos) return;
    // Every process has a socket of its own.
    auto* d = new Debugger(p);
    std::string where = p.options.gdb;
    for (const std::string_view end : {kLate, kWait})
        if (where.ends_with(end)) where.resize(where.size() - end.size());
    if (!d->listen_at(where)) return;
    p.debugger = d;
    d->begin(t);
}

// ---- vfork: all of this runs in the child, in the parent's memory, or in the parent after it

void Debugger::vfork_child_starts(Thread& t) {
    {
        const Lock l(lock_);
        if (!attached_ || !follow_vfork_ || t.debug.shadow) {
            t.debug.shadow = true;
            t.debug.where = ThreadDebug::kCall;
            return;
        }
        vfork_child_ = host_syscall(SYS_getpid);
        vfork_parent_tid_ = t.debug.tid;
    }
    // gdb hears it from the parent's thread; from the detach or the resume on this Thread is the child's.
    report(t, {.kind = Stop::Kind::kVfork, .child = {vfork_child_, vfork_child_}});
    const Lock l(lock_);
    if (follows_vfork_) {
        t.debug.pid = t.debug.tid = vfork_child_;
        ghost_ = pid_;
    } else {
        t.debug.shadow = true;
        t.debug.where = ThreadDebug::kCall;
    }
}

void Debugger::vfork_done(Thread& t) {
    bool tell = false;
    {
        Lock l(lock_);
        const bool was_reported = vfork_parent_tid_ != 0;
        t.debug.shadow = false;
        t.debug.pid = 0;
        t.debug.tid = host_syscall(SYS_gettid);
        t.debug.where = ThreadDebug::kCall;
        t.debug.go = !stopping_;
        vfork_child_ = 0;
        vfork_parent_tid_ = 0;
        if (follows_vfork_) {
            follows_vfork_ = false;
            ghost_ = 0;
            if (pause_) {  // the child runs its program now, with the connection
                released_ = true;
                pause_ = false;
                changed_.notify_all();
            }
        } else {
            tell = was_reported && attached_;
        }
    }
    if (tell) report(t, {.kind = Stop::Kind::kVforkDone});
}

// ---- execve

int Debugger::before_exec(Thread& t) {
    Lock l(lock_);
    if (!attached_ || t.debug.shadow) return -1;
    changed_.wait(l, [&] { return t.debug.go || !attached_; });
    if (!attached_) return -1;
    pause_ = true;
    wake_server();
    changed_.wait(l, [&] { return paused_ || !attached_; });
    if (!attached_) {
        pause_ = false;
        return -1;
    }
    const std::string text = std::to_string(connection_) + " " + std::to_string(follows_vfork_ ? ghost_ : 0) + " " + (server_ != nullptr ? server_->session() : session_).text();
    const int fd = memfd_create("gdb-session", 0);
    if (fd < 0 || ::write(fd, text.data(), text.size()) < 0) return -1;
    const int high = fcntl(fd, F_DUPFD, 900);
    if (high >= 0) close(fd);
    fcntl(connection_, F_SETFD, 0);
    return high >= 0 ? high : fd;
}

void Debugger::exec_failed(Thread&, int fd) {
    if (fd < 0) return;
    close(fd);
    const Lock l(lock_);
    fcntl(connection_, F_SETFD, FD_CLOEXEC);
    pause_ = false;
    changed_.notify_all();
}

}  // namespace myna::user
