// Whatever a QMP client sends to the storage daemon: cut into values, parsed, run as commands on small images, with all that
// follows from it (nodes, exports, jobs, transactions), and then the daemon is shut down: nothing may be left running.
//
// '@' in the input stands for the folder of the images (a.qcow2, b.qcow2 over it, t.raw, o.qcow2), made anew each time. The
// process sees no other file (Landlock) but those on its command line, and no network.
#include <fcntl.h>
#include <linux/landlock.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string>

#include "parts.h"
#include "tools/storage/daemon.h"

namespace {

using namespace myna;
using fuzz::swallow;
using tools::storage::Daemon;

std::string folder;

void allow(int rules, const char* path, uint64_t access) {
    const int fd = open(path, O_PATH | O_CLOEXEC);
    if (fd < 0) return;
    struct stat st {};
    fstat(fd, &st);
    if (!S_ISDIR(st.st_mode)) access &= LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE;
    const landlock_path_beneath_attr a{access, fd};
    syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &a, 0);
    close(fd);
}

/// From now on: `folder`, what is named on the command line, and the system's libraries and programs (to read).
bool shut_in(int argc, char** argv) {
    if (unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0) return false;
    constexpr uint64_t kAll = (LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1;
    constexpr uint64_t kRead = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR | LANDLOCK_ACCESS_FS_EXECUTE;
    const landlock_ruleset_attr attributes{.handled_access_fs = kAll};
    const int rules = static_cast<int>(syscall(SYS_landlock_create_ruleset, &attributes, sizeof attributes, 0));
    if (rules < 0) return false;
    allow(rules, folder.c_str(), kAll);
    allow(rules, ".", kAll);
    for (const char* path : {"/usr", "/lib", "/lib64", "/proc/self"}) allow(rules, path, kRead);
    for (int i = 1; i < argc; ++i) {
        const std::string_view word = argv[i];
        constexpr std::string_view kPrefix = "-artifact_prefix=";
        if (word.starts_with(kPrefix)) allow(rules, std::filesystem::path(word.substr(kPrefix.size())).parent_path().c_str(), kAll);
        else if (!word.starts_with('-')) allow(rules, argv[i], kAll);
    }
    const bool good = prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && syscall(SYS_landlock_restrict_self, rules, 0) == 0;
    close(rules);
    return good;
}

io::Task<void> make_images(io::Reactor& reactor) {
    for (const auto& e : std::filesystem::directory_iterator(folder)) std::filesystem::remove_all(e.path());
    block::Graph graph(reactor);
    graph.on_corruption = [](const std::string&) {};
    for (const auto& [name, format] : {std::pair{"a.qcow2", "qcow2"}, std::pair{"b.qcow2", "qcow2"}, std::pair{"o.qcow2", "qcow2"}, std::pair{"t.raw", "raw"}}) {
        block::CreateOptions c;
        c.filename = folder + "/" + name;
        c.size = 1 << 20;
        c.options = nlohmann::json::object();
        if (*name == 'b') {
            c.backing_file = folder + "/a.qcow2";
            c.backing_format = "qcow2";
        }
        (void)co_await graph.create(format, c);
    }
}

io::Task<void> one_client(io::Reactor& reactor, Daemon& daemon, std::string input) {
    const size_t before = reactor.active();
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) co_return;
    net::Stream peer(reactor, pair[1]);
    io::Semaphore done(reactor, 0);
    reactor.spawn(swallow(peer, done));
    reactor.spawn([](net::Stream& s, io::Semaphore& ended, const std::string& text) -> io::Task<void> {
        (void)co_await s.write({reinterpret_cast<const uint8_t*>(text.data()), text.size()});
        ::shutdown(s.fd(), SHUT_WR);
        ended.release();
    }(peer, done, input));
    auto monitor = std::make_shared<qmp::Monitor>(daemon.commands, std::make_unique<net::Stream>(reactor, pair[0]), false);
    std::weak_ptr<qmp::Monitor> gone = monitor;
    co_await qmp::Monitor::serve(std::move(monitor));
    while (!gone.expired()) co_await reactor.sleep(std::chrono::microseconds(100));  // events are still being sent
    co_await done.acquire();
    co_await done.acquire();
    co_await daemon.shut_down();
    for (unsigned i = 0; reactor.active() > before; ++i) {
        if (i == 20000) {
            std::fprintf(stderr, "%zu tasks go on after the shutdown\n", reactor.active() - before);
            std::abort();
        }
        co_await reactor.sleep(std::chrono::microseconds(200));
    }
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int* argc, char*** argv) {
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    const rlimit most{64 << 20, 64 << 20};
    setrlimit(RLIMIT_FSIZE, &most);
    char name[] = "/tmp/myna-fuzz-qmp-XXXXXX";
    if (mkdtemp(name) == nullptr) return 1;
    folder = name;
    std::atexit([] {
        std::error_code ignored;
        std::filesystem::remove_all(folder, ignored);
    });
    if (!shut_in(*argc, *argv)) {
        std::fprintf(stderr, "this host cannot keep the program away from its files (Landlock, namespaces): skipped\n");
        std::exit(77);
    }
    return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    if (size > 1 << 14) return 0;
    static auto* const kept = new auto(*io::Reactor::create(io::Aio::kThreads, 1));  // never destroyed: its threads may run
    auto& reactor = **kept;
    std::string text = "{\"execute\":\"qmp_capabilities\"}\n";
    for (const char c : std::string_view(reinterpret_cast<const char*>(data), size))
        if (c == '@') text += folder + "/";
        else text += c;
    // Limits of speed and peers to wait for are what they say: they wait.
    for (const char* slow : {"throttle", "delay", "timeout"})
        if (text.find(slow) != std::string::npos) return 0;
    reactor.run(make_images(reactor));
    Daemon daemon(reactor);
    reactor.run(one_client(reactor, daemon, std::move(text)));
    return 0;
}
