// Source of packets and replies: the gdb manual, appendix E "GDB Remote Serial Protocol".
#include "gdb/server.h"

#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <csignal>

#include "gdb/signals.h"

namespace myna::gdb {

namespace {

constexpr size_t kPacketSize = 0x10000;

}  // namespace

std::string Session::text() const {
    std::string s;
    for (const bool b : {no_ack, multiprocess, swbreak, hwbreak, fork_events, vfork_events, exec_events}) s += b ? '1' : '0';
    s += "," + hex_number(passed_signals);
    if (caught_calls) {
        s += ",c";
        for (const uint64_t n : *caught_calls) s += ";" + hex_number(n);
    }
    return s;
}

Session Session::parse(std::string_view text) {
    Session s;
    for (bool* b : {&s.no_ack, &s.multiprocess, &s.swbreak, &s.hwbreak, &s.fork_events, &s.vfork_events, &s.exec_events}) {
        *b = text.starts_with('1');
        text.remove_prefix(std::min<size_t>(1, text.size()));
    }
    Reader r(text);
    r.take(',');
    s.passed_signals = static_cast<uint64_t>(r.number().value_or(0));
    if (r.take(",c")) {
        s.caught_calls.emplace();
        while (r.take(';')) s.caught_calls->push_back(static_cast<uint64_t>(r.number().value_or(0)));
    }
    return s;
}

Server::Server(Target& target, int fd, const Session& session)
    : target_(target), connection_(fd), session_(session), files_([&target](const std::string& path) { return target.host_path(path); }) {
    if (session_.no_ack) connection_.stop_acknowledging();
    target_.set_passed_signals(session_.passed_signals);
    target_.set_caught_calls(session_.caught_calls);
    target_.set_followed_events(session_.fork_events, session_.vfork_events, session_.exec_events);
}

int Server::release() {
    end_ = End::kReleased;
    return connection_.release();
}

Server::End Server::serve(bool running) {
    running_ = running;
    std::string packet;
    while (!end_) {
        if (running_) {
            if (const auto stop = target_.take_stop()) {
                running_ = false;
                report(*stop);
                continue;
            }
        }
        Connection::Event e = connection_.receive(packet, false);
        if (e == Connection::Event::kNothing) {
            pollfd fds[2] = {{connection_.fd(), POLLIN, 0}, {target_.stop_fd(), POLLIN, 0}};
            const int n = poll(fds, running_ ? 2 : 1, -1);
            if (n < 0 && errno != EINTR) return End::kGone;
            if (n <= 0 || fds[0].revents == 0) continue;
            e = connection_.receive(packet, true);
        }
        switch (e) {
            case Connection::Event::kEnd: return End::kGone;
            case Connection::Event::kInterrupt:
                if (running_) target_.interrupt();
                break;
            case Connection::Event::kPacket: handle(packet); break;
            case Connection::Event::kNothing: break;
        }
    }
    return *end_;
}

void Server::reply(std::string_view text) {
    if (connection_.fd() >= 0 && !connection_.send(text) && !end_) end_ = End::kGone;
}

void Server::reply_error(int code) {
    const char text[4] = {'E', static_cast<char>('0' + code / 10), static_cast<char>('0' + code % 10), '\0'};
    reply(text);
}

// ---- threads

std::string Server::name(ThreadId id) const {
    const auto part = [](int64_t v) { return v < 0 ? std::string("-1") : hex_number(static_cast<uint64_t>(v)); };
    return session_.multiprocess ? "p" + part(id.pid) + "." + part(id.tid) : part(id.tid);
}

std::optional<ThreadId> Server::thread_id(Reader& r) const {
    ThreadId id{0, 0};
    if (r.take('p')) {
        const auto pid = r.number();
        if (!pid) return std::nullopt;
        id = {*pid, -1};
        if (r.take('.')) {
            const auto tid = r.number();
            if (!tid) return std::nullopt;
            id.tid = *tid;
        }
        return id;
    }
    const auto tid = r.number();
    if (!tid) return std::nullopt;
    id.tid = *tid;
    return id;
}

ThreadId Server::general() const {
    for (const ThreadId t : target_.threads()) {
        if (general_.tid > 0 && t.tid != general_.tid) continue;
        if (general_.pid > 0 && t.pid != general_.pid) continue;
        if (general_.tid > 0 || general_.pid > 0) return t;
    }
    return target_.current();
}

void Server::select(Reader r) {
    const char what = r.peek();
    r.take(what);
    const auto id = thread_id(r);
    if (!id) return reply_error();
    if (id->tid > 0) {
        const auto all = target_.threads();
        if (std::none_of(all.begin(), all.end(), [&](ThreadId t) { return t.tid == id->tid && (id->pid <= 0 || t.pid == id->pid); })) return reply_error();
    }
    (what == 'g' ? general_ : continue_) = *id;
    reply_ok();
}

// ---- stops

void Server::report(const Stop& s) {
    last_ = s;
    const std::string process = session_.multiprocess ? ";process:" + hex_number(static_cast<uint64_t>(s.thread.pid)) : "";
    const auto byte = [](int v) {
        const std::string h = hex_number(static_cast<uint64_t>(v) & 255);
        return h.size() < 2 ? "0" + h : h;
    };
    if (s.kind == Stop::Kind::kExited || s.kind == Stop::Kind::kKilled) {
        const bool exited = s.kind == Stop::Kind::kExited;
        reply((exited ? "W" + byte(s.code) : "X" + byte(gdb_signal(s.signal))) + process);
        end_ = End::kOver;
        return;
    }
    if (s.thread.tid > 0) general_ = continue_ = s.thread;
    const std::string address = hex_number(s.address) + ";";
    std::string text = "T" + byte(gdb_signal(s.kind == Stop::Kind::kSignal ? s.signal : SIGTRAP));
    switch (s.kind) {
        case Stop::Kind::kSoftBreak: if (session_.swbreak) text += "swbreak:;"; break;
        case Stop::Kind::kHardBreak: if (session_.hwbreak) text += "hwbreak:;"; break;
        case Stop::Kind::kWatchWrite: text += "watch:" + address; break;
        case Stop::Kind::kWatchRead: text += "rwatch:" + address; break;
        case Stop::Kind::kWatchAccess: text += "awatch:" + address; break;
        case Stop::Kind::kFork: text += "fork:" + name(s.child) + ";"; break;
        case Stop::Kind::kVfork: text += "vfork:" + name(s.child) + ";"; break;
        case Stop::Kind::kVforkDone: text += "vforkdone:;"; break;
        case Stop::Kind::kExec: text += "exec:" + to_hex(std::string_view(s.path)) + ";"; break;
        case Stop::Kind::kCallEntry: text += "syscall_entry:" + address; break;
        case Stop::Kind::kCallReturn: text += "syscall_return:" + address; break;
        default: break;
    }
    reply(text + "thread:" + name(s.thread) + ";");
}

void Server::resume_all(bool step, int signal) {
    std::vector<Resume> actions;
    ThreadId chosen = continue_.tid > 0 ? continue_ : target_.current();
    for (const ThreadId t : target_.threads()) {
        const bool is = t.tid == chosen.tid;
        if (continue_.tid > 0 && !is && step) continue;
        actions.push_back({t, step && is, is ? signal : 0});
    }
    running_ = true;
    target_.resume(actions);
}

void Server::vcont(Reader r) {
    struct Action {
        char what;
        int signal;
        std::optional<ThreadId> id;
    };
    std::vector<Action> wanted;
    while (r.take(';')) {
        Action a{r.peek(), 0, std::nullopt};
        r.take(a.what);
        if (a.what == 'C' || a.what == 'S') {
            const auto sig = r.number();
            if (!sig) return reply_error();
            a.signal = linux_signal(static_cast<int>(*sig));
        } else if (a.what != 'c' && a.what != 's') {
            return reply_error();
        }
        if (r.take(':')) {
            a.id = thread_id(r);
            if (!a.id) return reply_error();
        }
        wanted.push_back(a);
    }
    std::vector<Resume> actions;
    for (const ThreadId t : target_.threads())
        for (const Action& a : wanted) {
            if (a.id && a.id->pid > 0 && a.id->pid != t.pid) continue;
            if (a.id && a.id->tid > 0 && a.id->tid != t.tid) continue;
            if (const std::string why = target_.held(t); !why.empty()) return reply("E." + why);
            actions.push_back({t, a.what == 's' || a.what == 'S', a.signal});
            break;
        }
    running_ = true;
    target_.resume(actions);
}

// ---- registers and memory

void Server::registers(Reader) { reply(to_hex(target_.read_registers(general()))); }

void Server::write_registers(Reader r) {
    const std::string bytes = from_hex(r.rest());
    if (!target_.write_registers(general(), {reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()})) return reply_error();
    reply_ok();
}

void Server::one_register(Reader r, bool write) {
    const auto n = r.number();
    const auto sizes = target_.register_sizes();
    if (!n || *n < 0 || static_cast<size_t>(*n) >= sizes.size()) return reply_error();
    size_t at = 0;
    for (int64_t i = 0; i < *n; ++i) at += sizes[static_cast<size_t>(i)];
    const size_t size = sizes[static_cast<size_t>(*n)];
    auto all = target_.read_registers(general());
    if (at + size > all.size()) return reply_error();
    if (!write) return reply(to_hex(std::span<const uint8_t>(all).subspan(at, size)));
    r.take('=');
    const std::string bytes = from_hex(r.rest());
    if (bytes.size() != size) return reply_error();
    std::copy(bytes.begin(), bytes.end(), all.begin() + static_cast<ptrdiff_t>(at));
    if (!target_.write_registers(general(), all)) return reply_error();
    reply_ok();
}

void Server::memory(Reader r, char kind) {
    const auto addr = r.number();
    r.take(',');
    const auto length = r.number();
    if (!addr || !length || *length < 0) return reply_error();
    const auto at = static_cast<uint64_t>(*addr);
    if (kind == 'm') {
        std::vector<uint8_t> bytes(std::min<size_t>(static_cast<size_t>(*length), kPacketSize / 2 - 16));
        const size_t n = target_.read_memory(at, bytes);
        if (n == 0 && !bytes.empty()) return reply_error(14);
        bytes.resize(n);
        return reply(to_hex(bytes));
    }
    r.take(':');
    const std::string bytes = kind == 'M' ? from_hex(r.rest()) : std::string(r.rest());
    if (bytes.size() != static_cast<size_t>(*length)) return reply_error();
    if (!target_.write_memory(at, {reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()})) return reply_error(14);
    reply_ok();
}

void Server::point(Reader r, bool insert) {
    const char type = r.peek();
    r.take(type);
    r.take(',');
    const auto addr = r.number();
    r.take(',');
    const auto length = r.number();
    if (type < '0' || type > '4') return reply("");
    if (!addr || !length) return reply_error();
    // A child that forked has copies of our points only in gdb's mind: its translations are made without them.
    if (general_.pid > 0 && general_.pid != target_.current().pid) return reply_ok();
    const auto kind = static_cast<PointKind>(type - '0');
    const bool done = insert ? target_.insert_point(kind, static_cast<uint64_t>(*addr), static_cast<uint64_t>(*length))
                             : target_.remove_point(kind, static_cast<uint64_t>(*addr), static_cast<uint64_t>(*length));
    if (!done) return reply_error(22);
    reply_ok();
}

void Server::detach(Reader r) {
    int64_t pid = target_.current().pid;
    if (r.take(';')) pid = r.number().value_or(pid);
    if (!target_.detach(pid)) return reply_error();
    reply_ok();
    if (target_.threads().empty() && !end_) end_ = End::kDetached;
}

// ---- dispatch

void Server::handle(std::string_view packet) {
    Reader r(packet);
    const char c = r.peek();
    r.take(c);
    switch (c) {
        case '!': return reply_ok();
        case '?':
            if (last_) return report(*last_);
            return report({.kind = Stop::Kind::kSignal, .thread = target_.current(), .signal = SIGTRAP});
        case 'g': return registers(r);
        case 'G': return write_registers(r);
        case 'p': return one_register(r, false);
        case 'P': return one_register(r, true);
        case 'm': case 'M': case 'X': return memory(r, c);
        case 'H': return select(r);
        case 'T': {
            const auto id = thread_id(r);
            const auto all = target_.threads();
            const bool there = id && std::any_of(all.begin(), all.end(), [&](ThreadId t) { return t.tid == id->tid; });
            return there ? reply_ok() : reply_error();
        }
        case 'z': case 'Z': return point(r, c == 'Z');
        case 'D': return detach(r);
        case 'k':
            end_ = End::kOver;
            return target_.kill();
        case 'c': case 's': case 'C': case 'S': {
            int signal = 0;
            if (c == 'C' || c == 'S') {
                signal = linux_signal(static_cast<int>(r.number().value_or(0)));
                r.take(';');
            }
            if (const auto at = r.number()) {
                (void)at;  // "continue at an address": gdb writes pc instead
                return reply_error();
            }
            return resume_all(c == 's' || c == 'S', signal);
        }
        case 'q': return query(r);
        case 'Q': return set(r);
        case 'v': return verb(r);
        default: return reply("");
    }
}

void Server::verb(Reader r) {
    if (r.take("Cont?")) return reply("vCont;c;C;s;S");
    if (r.take("Cont")) return vcont(r);
    if (r.take("File:")) return reply(files_.handle(r.rest()));
    if (r.take("Kill;")) {
        reply_ok();
        end_ = End::kOver;
        return target_.kill();
    }
    if (r.take("Attach;")) {
        const auto pid = r.number();
        if (!pid || *pid != target_.current().pid) return reply_error();
        return report({.kind = Stop::Kind::kSignal, .thread = target_.current(), .signal = 0});
    }
    reply("");
}

void Server::set(Reader r) {
    if (r.take("StartNoAckMode")) {
        reply_ok();
        connection_.stop_acknowledging();
        session_.no_ack = true;
        return;
    }
    if (r.take("PassSignals:")) return passed(r);
    if (r.take("CatchSyscalls:")) return caught(r);
    reply("");
}

void Server::passed(Reader r) {
    session_.passed_signals = 0;
    while (const auto n = r.number()) {
        if (const int sig = linux_signal(static_cast<int>(*n)); sig > 0) session_.passed_signals |= uint64_t{1} << (sig - 1);
        if (!r.take(';')) break;
    }
    target_.set_passed_signals(session_.passed_signals);
    reply_ok();
}

void Server::caught(Reader r) {
    session_.caught_calls.reset();
    if (r.take('1')) {
        session_.caught_calls.emplace();
        while (r.take(';'))
            if (const auto n = r.number()) session_.caught_calls->push_back(static_cast<uint64_t>(*n));
    }
    target_.set_caught_calls(session_.caught_calls);
    reply_ok();
}

void Server::supported(Reader r) {
    r.take(':');
    while (!r.empty()) {
        const std::string_view feature = r.until(';');
        const auto is = [&](std::string_view name) { return feature.size() == name.size() + 1 && feature.starts_with(name) && feature.back() == '+'; };
        if (is("multiprocess")) session_.multiprocess = true;
        else if (is("swbreak")) session_.swbreak = true;
        else if (is("hwbreak")) session_.hwbreak = true;
        else if (is("fork-events")) session_.fork_events = true;
        else if (is("vfork-events")) session_.vfork_events = true;
        else if (is("exec-events")) session_.exec_events = true;
    }
    target_.set_followed_events(session_.fork_events, session_.vfork_events, session_.exec_events);
    std::string text = "PacketSize=" + hex_number(kPacketSize) +
                       ";QStartNoAckMode+;vContSupported+;multiprocess+;qXfer:features:read+;qXfer:threads:read+;swbreak+;hwbreak+";
    if (!target_.exec_file().empty())
        text += ";qXfer:auxv:read+;qXfer:exec-file:read+;qXfer:siginfo:read+;QPassSignals+;QCatchSyscalls+;fork-events+;vfork-events+;exec-events+";
    reply(text);
}

void Server::query(Reader r) {
    if (r.take("Supported")) return supported(r);
    if (r.take("Xfer:")) return transfer(r);
    if (r.take("fThreadInfo")) {
        std::string list = "m";
        for (const ThreadId t : target_.threads()) list += (list.size() > 1 ? "," : "") + name(t);
        return reply(list);
    }
    if (r.take("sThreadInfo")) return reply("l");
    if (r.take("ThreadExtraInfo,")) {
        const auto id = thread_id(r);
        if (!id) return reply_error();
        return reply(to_hex(std::string_view(target_.thread_name(*id))));
    }
    if (r.take("Attached")) return reply("1");
    if (r.take("Symbol")) return reply_ok();
    if (r.rest() == "C") return reply("QC" + name(general()));
    reply("");
}

// ---- qXfer

std::string Server::slice(const std::string& all, Reader& r) const {
    const auto offset = r.number();
    r.take(',');
    const auto length = r.number();
    if (!offset || !length || *offset < 0 || *length < 0 || static_cast<size_t>(*offset) > all.size()) return "E01";
    const std::string part = all.substr(static_cast<size_t>(*offset), std::min<size_t>(static_cast<size_t>(*length), kPacketSize / 2));
    return (static_cast<size_t>(*offset) + part.size() < all.size() ? "m" : "l") + part;
}

std::string Server::threads_xml() const {
    std::string x = "<?xml version=\"1.0\"?>\n<threads>\n";
    for (const ThreadId t : target_.threads()) {
        std::string safe;
        for (const char c : target_.thread_name(t)) {
            if (c == '<') safe += "&lt;";
            else if (c == '&') safe += "&amp;";
            else if (c == '"') safe += "&quot;";
            else safe += c;
        }
        x += "<thread id=\"" + name(t) + "\" name=\"" + safe + "\"/>\n";
    }
    return x + "</threads>\n";
}

void Server::transfer(Reader r) {
    const std::string_view object = r.until(':'), operation = r.until(':'), annex = r.until(':');
    if (operation != "read") return reply("");
    if (object == "features") return reply(annex == "target.xml" ? slice(target_.description(), r) : "E00");
    if (object == "threads") return reply(slice(threads_xml(), r));
    if (object == "auxv") return reply(slice(target_.auxv(), r));
    if (object == "exec-file") return reply(slice(target_.exec_file(), r));
    if (object == "siginfo") {
        const std::string info = target_.siginfo(general());
        return info.empty() ? reply_error() : reply(slice(info, r));
    }
    reply("");
}

}  // namespace myna::gdb
