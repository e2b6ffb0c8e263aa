// Serving an image: in the foreground, or in a child once it is ready (--fork).
//
//   open image ─▶ Export ─▶ listen ─▶ [--fork: the parent returns] ─▶ accept ─▶ Server::serve, one task a client
//                                                                      until the last client left, or a signal came
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <nlohmann/json.hpp>

#include "nbd/server/server.h"
#include "tools/nbd/tool.h"
#include "tools/options.h"
#include "tools/signals.h"

namespace myna::tools::nbd {

namespace {

using io::Task;

/// What a background server tells the process that started it: everything written to stderr until it is ready.
class Parent {
  public:
    /// In the child, gives nullopt; in the parent, the exit code.
    std::optional<int> fork_and_wait(const Settings& s) {
        int ends[2];
        if (pipe2(ends, O_CLOEXEC) != 0) return s.error(std::string("pipe: ") + std::strerror(errno));
        const pid_t pid = ::fork();
        if (pid < 0) return s.error(std::string("Failed to fork: ") + std::strerror(errno));
        if (pid == 0) {
            ::close(ends[0]);
            setsid();
            saved_ = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
            dup2(ends[1], STDERR_FILENO);
            ::close(ends[1]);
            return std::nullopt;
        }
        ::close(ends[1]);
        bool failed = false;
        char text[1024];
        for (ssize_t n; (n = ::read(ends[0], text, sizeof text)) > 0 || (n < 0 && errno == EINTR);)
            if (n > 0) {
                failed = true;
                [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, text, static_cast<size_t>(n));
            }
        int status = 0;
        if (failed) waitpid(pid, &status, 0);
        return failed ? 1 : 0;
    }
    /// Lets the parent go. Its streams are given up, so that who waits for their end is not kept (-v keeps stderr).
    void ready(bool verbose) {
        if (saved_ < 0) return;
        if (verbose) dup2(saved_, STDERR_FILENO);
        ::close(saved_);
        saved_ = -1;
        const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
        dup2(null, STDIN_FILENO);
        dup2(null, STDOUT_FILENO);
        if (!verbose) dup2(null, STDERR_FILENO);
        ::close(null);
        [[maybe_unused]] const int r = chdir("/");
    }

  private:
    int saved_ = -1;
};

/// A running server: who listens, who is connected, when it ends.
struct Running {
    Running(io::Reactor& r, const Settings& st) : reactor(r), settings(st), server(r), stop(r, 0), slots(r, st.shared == 0 ? UINT32_MAX : st.shared) {}
    io::Reactor& reactor;
    const Settings& settings;
    myna::nbd::Server server;
    io::Semaphore stop, slots;
    std::vector<int> listeners;
    size_t connected = 0;
    bool stopping = false;

    void end() {
        if (!stopping) stop.release();
        stopping = true;
    }
};

Task<void> serve_client(Running& run, int fd, myna::nbd::ExportPtr device) {
    ++run.connected;
    const bool used = co_await run.server.serve(fd, std::move(device));
    --run.connected;
    run.slots.release();
    if (run.connected == 0 && ((used && !run.settings.persistent) || run.stopping)) run.end(), run.stop.release();
}

Task<void> accept_clients(Running& run, int listener) {
    for (;;) {
        co_await run.slots.acquire();
        const auto fd = co_await net::accept_at(run.reactor, listener);
        if (!fd || run.stopping) {
            if (fd) ::close(*fd);
            co_return;
        }
        run.reactor.spawn(serve_client(run, *fd, nullptr));
    }
}

Task<void> wait_for_signals(Running& run, int fd) {
    co_await await_end(run.reactor, fd);
    run.end();
}

Task<Result<myna::nbd::ExportPtr>> open_export(block::Graph& graph, const Settings& s) {
    auto node = co_await open_image(graph, s.image);
    if (!node) co_return std::unexpected(std::move(node.error()).in("Failed to blk_new_open '" + s.image.name + "'"));
    if (!s.image.load_snapshot.empty()) {
        std::string which = s.image.load_snapshot;
        if (const auto p = parse_properties(which); which.starts_with("snapshot.") && p)
            for (const auto& [key, value] : *p) which = value;  // the name decides, or the id where it is all there is
        if (auto r = co_await (*node)->snapshot_open(which); !r)
            co_return std::unexpected(std::move(r.error()).in("Failed to load snapshot"));
    }
    auto e = std::make_shared<myna::nbd::Export>();
    e->node = *node;
    if (s.offset > (*node)->size())
        co_return fail(ErrorKind::kInvalidArgument, "Offset (" + std::to_string(s.offset) + ") has to be smaller than the image size (" + std::to_string((*node)->size()) + ")");
    e->name = s.name;
    e->description = s.description;
    e->offset = s.offset;
    e->size = (*node)->size() - s.offset;
    e->writable = !s.image.read_only && !(*node)->read_only();
    e->multi_conn = s.shared != 1;
    e->allocation_depth = s.allocation_depth;
    for (const std::string& name : s.bitmaps) {
        // The first image of the chain that has it.
        auto bits = co_await (*node)->bitmap_bits(name);
        for (block::Node* n = (*node)->backing().get(); !bits && n != nullptr; n = n->backing().get())
            if (auto below = co_await n->bitmap_bits(name)) bits = std::move(below);
        if (!bits && bits.error().kind == ErrorKind::kNotFound) co_return fail(ErrorKind::kNotFound, "Bitmap '" + name + "' is not found");
        if (!bits) co_return std::unexpected(bits.error());
        e->bitmaps.push_back({name, bits->granularity, std::move(bits->words)});
    }
    co_return e;
}

/// Sockets handed over by the service manager (sd_listen_fds(3)): one, descriptor 3.
bool socket_activated() {
    const char* pid = std::getenv("LISTEN_PID");
    const char* fds = std::getenv("LISTEN_FDS");
    return pid != nullptr && fds != nullptr && std::atol(pid) == getpid() && std::atol(fds) == 1;
}

Result<void> write_pid(const std::string& path) {
    std::FILE* f = std::fopen(path.c_str(), "w");
    if (f == nullptr) return fail_errno(errno, "Failed to store PID in '" + path + "'");
    std::fprintf(f, "%d\n", getpid());
    std::fclose(f);
    return {};
}

}  // namespace

int serve(const Settings& s) {
    Parent parent;
    const bool activated = socket_activated();
    if (s.fork)
        if (const auto code = parent.fork_and_wait(s)) return *code;
    const int signals = end_signals();

    std::unique_ptr<KernelClient> device;
    if (!s.connect.empty()) {
        auto d = KernelClient::open(s.connect);
        if (!d) return s.error(d.error().message);
        device = std::move(*d);
    }
    auto made = io::Reactor::create(s.aio);
    if (!made) return s.error(made.error().message);
    io::Reactor& reactor = **made;
    block::Graph graph(reactor);
    Objects objects;
    for (const std::string& text : s.objects)
        if (auto r = objects.add(text, graph); !r) return s.error(r.error().message);
    Running run(reactor, s);
    if (!s.tls_creds.empty()) {
        auto tls = objects.tls(s.tls_creds, true);
        if (!tls) return s.error(tls.error().message);
        run.server.tls = *tls;
    }
    if (!s.tls_authz.empty()) {
        auto a = objects.authorise(s.tls_authz);
        if (!a) return s.error(a.error().message);
        run.server.authorise = *a;
    }
    if (s.verbose) run.server.log = [&](const std::string& line) { s.error(line); };

    const auto exported = reactor.run(open_export(graph, s));
    if (!exported) return s.error(exported.error().message);
    run.server.add(*exported);
    if (device) {
        const auto fd = device->start((*exported)->size, myna::nbd::Server::flags_of(**exported));
        if (!fd) return s.error(fd.error().message);
        reactor.spawn(serve_client(run, *fd, *exported));
    } else {
        net::Address at = s.address;
        if (activated) at = {.kind = net::Address::Kind::kFd, .fd = 3};
        auto fds = net::listen_on(at, s.shared == 0 || s.persistent ? SOMAXCONN : static_cast<int>(std::min(s.shared, 4096u)) + 1);
        if (!fds) return s.error(fds.error().message);
        run.listeners = *fds;
        for (const int fd : run.listeners) reactor.spawn(accept_clients(run, fd));
    }
    if (!s.pid_file.empty())
        if (auto r = write_pid(s.pid_file); !r) return s.error(r.error().message);
    if (device) std::printf("NBD device %s is now connected to %s\n", s.connect.c_str(), s.image.name.c_str()), std::fflush(stdout);
    parent.ready(s.verbose);
    reactor.spawn(wait_for_signals(run, signals));

    reactor.run([](Running& r) -> Task<void> {
        co_await r.stop.acquire();
        for (const int fd : r.listeners) ::close(fd);
        r.server.disconnect_all();
        while (r.connected > 0) co_await r.stop.acquire();
    }(run));
    if (s.address.kind == net::Address::Kind::kUnix && !activated && !device) ::unlink(s.address.path.c_str());
    if (!s.pid_file.empty()) ::unlink(s.pid_file.c_str());
    int code = 0;
    if (auto r = reactor.run((*exported)->node->close()); !r) code = s.error(r.error().message);
    device.reset();
    std::fflush(nullptr);
    _exit(code);  // tasks that still wait (listeners, timers) end with the process
}

}  // namespace myna::tools::nbd
