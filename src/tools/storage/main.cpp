// The command line: each option is a command of QMP, run in the order given; then the monitors and the main loop.
#include "tools/storage/main.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>

#include "base/json_dialect.h"
#include "net/address.h"
#include "tools/options.h"
#include "tools/signals.h"
#include "tools/storage/daemon.h"

namespace myna::tools::storage {

namespace {

const OptionRow kOptions[] = {
    {'h', "help", "", "this text"},
    {'V', "version", "", "the version"},
    {'T', "trace", "PATTERN", "trace points (not supported)"},
    {0, "blockdev", "DRIVER,node-name=N,…", "opens a node"},
    {0, "chardev", "TYPE,id=ID,…", "a socket or stdio for a monitor"},
    {0, "daemonize", "", "goes to the background when all is set up"},
    {0, "export", "TYPE,id=ID,node-name=N,…", "exports a node: nbd or fuse"},
    {0, "monitor", "chardev=ID[,mode=control][,pretty=on]", "a QMP monitor"},
    {0, "nbd-server", "addr.type=…,…", "starts the NBD server"},
    {0, "object", "TYPE,id=ID,…", "secret, throttle-group, tls-creds-…, authz-simple"},
    {0, "pidfile", "FILE", "writes the process id there"},
};

std::string called = "myna-storage-daemon";
int error(const std::string& text) {
    std::fprintf(stderr, "%s: %s\n", called.c_str(), text.c_str());
    return 1;
}

/// "a=b,c.d=e" or a JSON object. The first word without '=' is the value of `implied`.
Result<json> options_of(const std::string& text, const char* implied) {
    if (text.starts_with('{')) {
        json j = json::parse(strict_json(text), nullptr, false);
        if (!j.is_object()) return wrong("JSON parse error in '" + text + "'");
        return j;
    }
    const size_t comma = std::min(text.find(','), text.size());
    std::string whole = text;
    if (implied != nullptr && text.substr(0, comma).find('=') == std::string::npos) whole = std::string(implied) + "=" + text;
    return block::Graph::parse_image_opts(whole);
}

/// "on" and "off", and texts of digits, as the truth values and numbers that QMP has; names stay texts.
void typed(json& j) {
    static constexpr std::string_view kNumbers[] = {"max-connections", "size", "offset", "granularity", "speed", "reconnect-delay", "vote-threshold", "align", "max-transfer", "readahead", "timeout"};
    for (auto& [key, value] : j.items()) {
        if (value.is_object()) typed(value);
        if (!value.is_string() || key == "node-name" || key == "id" || key == "filename" || key == "detect-zeroes" || key == "locking" || key == "allow-other") continue;
        const std::string v = value;
        if (v == "on" || v == "yes" || v == "true") value = true;
        else if (v == "off" || v == "no" || v == "false") value = false;
        else if (std::ranges::find(kNumbers, std::string_view(key)) != std::end(kNumbers))
            if (auto n = parse_size(v)) value = *n;
    }
    // "0", "1", … are the places of a list.
    if (const auto bitmaps = j.find("bitmaps"); bitmaps != j.end() && bitmaps->is_object()) {
        json list = json::array();
        for (const auto& [place, item] : bitmaps->items()) list.push_back(item);
        *bitmaps = std::move(list);
    }
}

struct Chardev {
    std::string type;
    net::Address address;
    bool server = false, wait = true;
    std::vector<int> listeners;
    bool taken = false;
};

class Program {
  public:
    explicit Program(io::Reactor& r) : reactor_(r), daemon_(r), stop_(r, 0) {
        daemon_.on_quit = [this] { stop_.release(); };
    }

    /// One option of the command line; false: an error was told.
    bool option(const std::string& key, const std::string& value) {
        if (key == "blockdev") return command("blockdev-add", value, "driver");
        if (key == "export") return command("block-export-add", value, "type");
        if (key == "nbd-server") {
            auto o = options_of(value, nullptr);
            if (!o) return error("--nbd-server: " + o.error().message), false;
            typed(*o);
            return run("nbd-server-start", std::move(*o), "--nbd-server " + value);
        }
        if (key == "object") return command("object-add", value, "qom-type");
        if (key == "chardev") return report(add_chardev(value), "--chardev " + value);
        if (key == "monitor") return report(add_monitor(value), "--monitor " + value);
        return true;
    }
    /// Runs until quit or a signal, and shuts down.
    void serve(int signals) {
        for (Task<void>& m : monitors_) reactor_.spawn(std::move(m));
        reactor_.spawn([](Program& p, int fd) -> Task<void> {
            co_await await_end(p.reactor_, fd);
            p.stop_.release();
        }(*this, signals));
        reactor_.run([](Program& p) -> Task<void> {
            co_await p.stop_.acquire();
            co_await p.daemon_.shut_down();
        }(*this));
        for (const auto& s : streams_) hand_over_rest(*s);
        for (const auto& [id, c] : chardevs_)
            if (c.server && c.address.kind == net::Address::Kind::kUnix && c.address.path[0] != '@') ::unlink(c.address.path.c_str());
    }
    /// What was set up is taken down when a later option was wrong.
    void give_up() { reactor_.run(daemon_.shut_down()); }

  private:
    static bool report(const Result<void>& r, const std::string& what) { return r || (error(what + ": " + r.error().message), false); }

    bool command(const char* name, const std::string& value, const char* implied) {
        auto o = options_of(value, implied);
        if (!o) return error(value + ": " + o.error().message), false;
        if (std::string_view(name) != "object-add") typed(*o);
        const char* option = name == std::string_view("blockdev-add") ? "--blockdev " : name == std::string_view("object-add") ? "--object " : "--export ";
        return run(name, std::move(*o), option + value);
    }
    bool run(const char* name, json arguments, const std::string& what) {
        auto r = reactor_.run(daemon_.commands.run(name, std::move(arguments)));
        return r || (error(what + ": " + qmp::error_object(r.error())["desc"].get<std::string>()), false);
    }

    Result<void> add_chardev(const std::string& text) {
        auto o = options_of(text, "backend");
        if (!o) return std::unexpected(o.error());
        const std::string id = text_of(*o, "id");
        if (id.empty()) return wrong("Parameter 'id' is missing");
        if (chardevs_.contains(id)) return wrong("Duplicate ID '" + id + "' for chardev");
        Chardev c{.type = text_of(*o, "backend")};
        if (c.type == "socket") {
            if (o->contains("path")) {
                c.address.kind = net::Address::Kind::kUnix;
                c.address.path = text_of(*o, "path");
            } else if (o->contains("fd")) {
                c.address.kind = net::Address::Kind::kFd;
                c.address.fd = std::atoi(text_of(*o, "fd").c_str());
            } else if (o->contains("port")) {
                c.address.host = text_of(*o, "host");
                c.address.port = text_of(*o, "port");
            } else {
                return wrong("chardev: socket: no host given");
            }
            c.server = flag_of(*o, "server");
            c.wait = flag_of(*o, "wait", true);
            for (const auto& [key, value] : o->items())
                if (key != "backend" && key != "id" && key != "path" && key != "host" && key != "port" && key != "server" && key != "wait" && key != "fd") return wrong("chardev socket: '" + key + "' is not supported");
            if (c.server) {
                auto fds = net::listen_on(c.address, 1);
                if (!fds) return std::unexpected(fds.error());
                c.listeners = *fds;
            }
        } else if (c.type != "stdio") {
            return wrong("'" + c.type + "' is not a supported chardev; socket and stdio are");
        }
        chardevs_.emplace(id, std::move(c));
        return {};
    }

    Result<void> add_monitor(const std::string& text) {
        auto o = options_of(text, "chardev");
        if (!o) return std::unexpected(o.error());
        const std::string id = text_of(*o, "chardev");
        if (text_of(*o, "mode", "control") != "control") return wrong("only mode=control (QMP) is supported");
        const auto at = chardevs_.find(id);
        if (at == chardevs_.end()) return wrong("chardev \"" + id + "\" not found");
        Chardev& c = at->second;
        if (c.taken) return wrong("Chardev '" + id + "' is busy");
        c.taken = true;
        const bool pretty = flag_of(*o, "pretty");
        if (c.type == "stdio") {
            // One socket for both directions, carried from and to the streams: a terminal or pipe stays as it was.
            monitors_.push_back(serve_stdio(pretty));
        } else if (c.server) {
            if (c.wait && !c.listeners.empty()) {
                std::fprintf(stderr, "%s: info: QEMU waiting for connection on: disconnected:%s%s,server=on\n", called.c_str(), c.address.kind == net::Address::Kind::kUnix ? "unix:" : "tcp:", c.address.text().c_str());
                pollfd p{c.listeners[0], POLLIN, 0};
                ::poll(&p, 1, -1);
            }
            for (const int fd : c.listeners) monitors_.push_back(accept_monitors(fd, pretty));
        } else {
            auto s = reactor_.run(net::connect_to(reactor_, c.address));
            if (!s) return std::unexpected(s.error());
            monitors_.push_back(qmp::Monitor::serve(std::make_shared<qmp::Monitor>(daemon_.commands, std::move(*s), pretty)));
        }
        return {};
    }

    /// One client at a time: the next is greeted when the one before has left.
    Task<void> accept_monitors(int listener, bool pretty) {
        for (;;) {
            const auto fd = co_await net::accept_at(reactor_, listener);
            if (!fd) co_return;
            auto monitor = std::make_shared<qmp::Monitor>(daemon_.commands, std::make_unique<net::Stream>(reactor_, *fd), pretty);
            co_await qmp::Monitor::serve(std::move(monitor));
        }
    }
    static bool print(std::string_view text) {
        while (!text.empty()) {
            const ssize_t n = ::write(STDOUT_FILENO, text.data(), text.size());
            if (n <= 0) return false;
            text.remove_prefix(static_cast<size_t>(n));
        }
        return true;
    }
    /// The answer to quit, and what else the program ended before.
    static void hand_over_rest(const net::Stream& s) {
        char b[4096];
        for (ssize_t n; (n = ::recv(s.fd(), b, sizeof b, MSG_DONTWAIT)) > 0;)
            if (!print({b, static_cast<size_t>(n)})) return;
    }
    Task<void> serve_stdio(bool pretty) {
        int ends[2];
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) co_return;
        auto theirs = std::make_shared<net::Stream>(reactor_, ends[1]);
        streams_.push_back(theirs);
        reactor_.spawn([](io::Reactor& r, std::shared_ptr<net::Stream> s) -> Task<void> {
            char b[4096];
            for (;;) {
                co_await r.poll(STDIN_FILENO, POLLIN);
                const ssize_t n = ::read(STDIN_FILENO, b, sizeof b);
                if (n <= 0) break;
                if (!co_await s->write({reinterpret_cast<const uint8_t*>(b), static_cast<size_t>(n)})) break;
            }
            ::shutdown(s->fd(), SHUT_WR);
        }(reactor_, theirs));
        reactor_.spawn([](std::shared_ptr<net::Stream> s) -> Task<void> {
            char b[4096];
            for (;;) {
                const auto n = co_await s->read_some(b, sizeof b);
                if (!n || *n == 0) co_return;
                if (!print({b, *n})) co_return;
            }
        }(theirs));
        co_await qmp::Monitor::serve(std::make_shared<qmp::Monitor>(daemon_.commands, std::make_unique<net::Stream>(reactor_, ends[0]), pretty));
    }

    io::Reactor& reactor_;
    Daemon daemon_;
    io::Semaphore stop_;
    std::map<std::string, Chardev> chardevs_;
    std::vector<Task<void>> monitors_;                   // wait until all options are done: commands may name what they make
    std::vector<std::shared_ptr<net::Stream>> streams_;  // our ends of what stdin and stdout are carried by
};

/// The parent waits for one byte of the child: the exit code to end with.
std::optional<int> to_background(int& tell) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) return error(std::string("pipe: ") + std::strerror(errno));
    const pid_t pid = ::fork();
    if (pid < 0) return error(std::string("fork: ") + std::strerror(errno));
    if (pid > 0) {
        ::close(ends[1]);
        char code = 1;
        ssize_t n;
        while ((n = ::read(ends[0], &code, 1)) < 0 && errno == EINTR) {}
        return n == 1 ? code : 1;
    }
    ::close(ends[0]);
    setsid();
    tell = ends[1];
    return std::nullopt;
}

Result<void> write_pid(const std::string& path) {
    const int fd = ::open(path.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0) return fail_errno(errno, "Cannot open pid file '" + path + "'");
    struct flock l {};
    l.l_type = F_WRLCK;
    l.l_whence = SEEK_SET;
    if (fcntl(fd, F_SETLK, &l) != 0) {
        ::close(fd);
        return fail(ErrorKind::kInUse, "Cannot lock pid file '" + path + "': another process has it");
    }
    const std::string text = std::to_string(getpid()) + "\n";
    if (ftruncate(fd, 0) != 0 || ::write(fd, text.data(), text.size()) != static_cast<ssize_t>(text.size())) return fail_errno(errno, "Failed to write pid file");
    return {};  // stays open: the lock says that the process lives
}

void print_help() {
    std::printf("Usage: %s [options]\nDisks without a machine: opens images, exports them by NBD and FUSE, runs jobs, and takes QMP commands.\n\n%s", called.c_str(), help_text(kOptions).c_str());
}

}  // namespace

int main_program(int argc, char** argv) {
    const std::string_view path = argv[0];
    called = path.substr(path.rfind('/') + 1);
    const auto parsed = parse_options(kOptions, {argv, static_cast<size_t>(argc)});
    if (!parsed) {
        error(parsed.error().message);
        return error("Try `" + called + " --help' for more information.");
    }
    if (!parsed->rest.empty()) return error("Unexpected argument: " + parsed->rest[0]);
    bool daemonize = false;
    std::string pid_file;
    for (const auto& [key, value] : parsed->options) {
        if (key == "help") return print_help(), 0;
        if (key == "version") {
            std::printf("%s version 7.2.0 (Myna 0.1)\n", called.c_str());
            return 0;
        }
        if (key == "trace") return error("--trace is not supported");
        if (key == "daemonize") daemonize = true;
        if (key == "pidfile") pid_file = value;
    }
    int tell = -1;
    if (daemonize)
        if (const auto code = to_background(tell)) return *code;
    const int signals = end_signals();
    auto reactor = io::Reactor::create();
    if (!reactor) return error(reactor.error().message);
    auto program = std::make_unique<Program>(**reactor);
    for (const auto& [key, value] : parsed->options)
        if (!program->option(key, value)) {
            program->give_up();
            std::fflush(nullptr);
            _exit(1);
        }
    if (!pid_file.empty())
        if (auto r = write_pid(pid_file); !r) {
            error(r.error().message);
            program->give_up();
            _exit(1);
        }
    if (tell >= 0) {
        const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
        for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) dup2(null, fd);
        if (chdir("/") != 0) error("chdir");
        const char good = 0;
        [[maybe_unused]] const ssize_t n = ::write(tell, &good, 1);
        ::close(tell);
    }
    program->serve(signals);
    if (!pid_file.empty()) ::unlink(pid_file.c_str());
    std::fflush(nullptr);
    _exit(0);  // tasks that still wait (listeners, monitors) end with the process
}

}  // namespace myna::tools::storage
