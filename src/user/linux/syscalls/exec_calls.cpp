// execve: a guest program is run by the emulator again, a script by its interpreter, anything else by the host's kernel.
//
//   path ─▶ under -L ─▶ ELF of a guest? ─▶ /proc/self/exe [our options] -0 argv[0] -- path argv[1…]
//                   ├─▶ "#!"? ─▶ its interpreter, the same way (four levels, as the kernel)
//                   └─▶ host execve
#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "user/linux/debug.h"
#include "user/linux/elf_image.h"
#include "user/linux/signals.h"
#include "user/linux/syscalls/calls.h"
#include "user/linux/syscalls/seccomp.h"

namespace myna::user {

namespace {

constexpr int kMaxScripts = 4;

/// A program to be run: argv as host pointers.
struct Command {
    std::string path;                // for the host
    std::vector<uint64_t> argv;      // without the end
    bool guest = false;              // to be run by the emulator
    bool privileged = false;         // set-user-ID or set-group-ID
};

int64_t read_vector(Thread& t, uint64_t at, std::vector<uint64_t>& to) {
    if (at == 0) return 0;
    for (;; at += 8) {
        uint64_t p = 0;
        if (t.memory.get(at, p) != 0) return -EFAULT;
        if (p == 0) return 0;
        to.push_back(t.memory.host_arg(p));
        if (to.size() > (1u << 21)) return -E2BIG;
    }
}

bool is_guest_elf(const uint8_t* head, size_t n) {
    const auto e = parse_elf_ident({head, n});
    if (!e) return false;
    const guest::GuestArch* g = guest::find_guest_elf(e->machine, e->elf_class, e->big_endian);
    return g != nullptr && find_abi(*g) != nullptr;
}

/// Splits "#! interpreter argument" as the kernel does. False: no interpreter named.
bool parse_script(const char* head, size_t n, std::string& interpreter, std::string& argument, bool& has_argument) {
    std::string_view line(head + 2, n - 2);
    if (const size_t nl = line.find('\n'); nl != std::string_view::npos) line = line.substr(0, nl);
    const auto blank = [](char c) { return c == ' ' || c == '\t'; };
    while (!line.empty() && blank(line.front())) line.remove_prefix(1);
    while (!line.empty() && (blank(line.back()) || line.back() == '\0')) line.remove_suffix(1);
    size_t end = 0;
    while (end < line.size() && !blank(line[end]) && line[end] != '\0') ++end;
    interpreter = line.substr(0, end);
    line.remove_prefix(end);
    while (!line.empty() && blank(line.front())) line.remove_prefix(1);
    argument = line;
    has_argument = !argument.empty();
    return !interpreter.empty();
}

std::string mapped(Thread& t, const std::string& path) {
    char buffer[PATH_MAX];
    return t.process.sysroot.map(path.c_str(), buffer);
}

/// Finds out what `c.path` is; follows scripts. `strings` keeps what new argv entries point to.
int64_t resolve(Thread& t, Command& c, std::vector<std::string>& strings, const std::string& guest_path) {
    std::string as_guest = guest_path;
    Command cur = c;
    for (int level = 0; level <= kMaxScripts; ++level) {
        // The kernel says what is wrong with a file that cannot be run.
        if (host_syscall(SYS_faccessat2, arg(int64_t{AT_FDCWD}), arg(cur.path.c_str()), 1 /* X_OK */, AT_EACCESS) != 0) return 0;
        const int64_t fd = host_syscall(SYS_openat, arg(int64_t{AT_FDCWD}), arg(cur.path.c_str()), O_RDONLY | O_CLOEXEC);
        if (fd < 0) return 0;
        char head[256] = {};
        const int64_t n = host_syscall(SYS_read, arg(fd), arg(head), sizeof head - 1);
        struct stat st{};
        host_syscall(SYS_fstat, arg(fd), arg(&st));
        host_syscall(SYS_close, arg(fd));
        if (n >= 20 && is_guest_elf(reinterpret_cast<const uint8_t*>(head), static_cast<size_t>(n))) {
            cur.guest = true;
            cur.privileged = (st.st_mode & (S_ISUID | S_ISGID)) != 0;
            c = std::move(cur);
            return 0;
        }
        if (n < 3 || head[0] != '#' || head[1] != '!') return 0;
        std::string interpreter, argument;
        bool has_argument = false;
        if (!parse_script(head, static_cast<size_t>(n), interpreter, argument, has_argument)) return 0;
        if (level == kMaxScripts) return -ELOOP;
        std::vector<uint64_t> argv;
        strings.push_back(interpreter);
        argv.push_back(arg(strings.back().c_str()));
        if (has_argument) {
            strings.push_back(argument);
            argv.push_back(arg(strings.back().c_str()));
        }
        strings.push_back(as_guest);
        argv.push_back(arg(strings.back().c_str()));
        if (cur.argv.size() > 1) argv.insert(argv.end(), cur.argv.begin() + 1, cur.argv.end());
        cur.argv = std::move(argv);
        as_guest = interpreter;
        cur.path = mapped(t, interpreter);
    }
    return 0;
}

/// A descriptor that a program is named by, alone or with a path behind it.
struct ByDescriptor {
    int fd = -1;  // none
    std::string path;
};

/// A copy of a program's descriptor for the new emulator to read, as the exec may close it; one that is no more than a name
/// (O_PATH) is opened anew. -errno.
int64_t readable_copy(int fd, const std::string& host_path) {
    const int64_t flags = host_syscall(SYS_fcntl, static_cast<uint64_t>(fd), F_GETFL);
    if (flags < 0 || (flags & O_PATH) == 0) return host_syscall(SYS_fcntl, static_cast<uint64_t>(fd), F_DUPFD, 200);
    const int64_t opened = host_syscall(SYS_openat, arg(int64_t{AT_FDCWD}), arg(host_path.c_str()), O_RDONLY | O_CLOEXEC);
    if (opened < 0) return opened;
    const int64_t copy = host_syscall(SYS_fcntl, arg(opened), F_DUPFD, 200);
    host_syscall(SYS_close, arg(opened));
    return copy;
}

int64_t exec_path(Thread& t, const std::string& guest_path, const std::string& host_path, uint64_t argv_at, uint64_t env_at, ByDescriptor by = {}) {
    Command c;
    c.path = host_path;
    std::vector<uint64_t> env;
    if (const int64_t e = read_vector(t, argv_at, c.argv); e != 0) return e;
    if (const int64_t e = read_vector(t, env_at, env); e != 0) return e;
    env.push_back(0);
    std::vector<std::string> strings;
    strings.reserve(64);
    if (const int64_t e = resolve(t, c, strings, guest_path); e != 0) return e;
    const bool script = c.path != host_path;
    // Its interpreter could not open it (execveat(2), ENOENT).
    if (script && by.fd >= 0 && (host_syscall(SYS_fcntl, static_cast<uint64_t>(by.fd), F_GETFD) & FD_CLOEXEC) != 0) return -ENOENT;

    if (c.privileged && t.process.options.own_args.empty() && t.trace.on == 0 && t.filters.load() == nullptr) {
        // Only the kernel can give the program its owner's rights; it does where binfmt_misc is set up with the C flag.
        std::vector<uint64_t> plain = c.argv;
        plain.push_back(0);
        signals_before_exec(t);
        const int64_t r = host_syscall(SYS_execve, arg(c.path.c_str()), arg(plain.data()), arg(env.data()));
        signals_exec_failed(t);
        if (r != -ENOEXEC) return r;
    }

    std::vector<uint64_t> argv;
    std::string program = c.path;
    char traced[48], filters[32], exec_fd[32];
    int64_t moved_fd = -1;
    int64_t filters_fd = -1;
    // Children of children are run through /proc/self/exe, which names no file where /proc is missing later.
    const std::string& emulator = t.process.options.emulator;
    const std::string emulator_option = "-emulator=" + emulator;
    Debugger* const debugger = t.process.debugger;
    int session = -1;
    std::string debug;
    if (c.guest) {
        const Options& o = t.process.options;
        const auto add = [&](const char* s) { argv.push_back(arg(s)); };
        add(o.called.c_str());
        for (const std::string& s : o.own_args) add(s.c_str());
        if (o.sysroot.empty() && t.process.sysroot.active()) {
            add("-L");
            add(t.process.sysroot.prefix().c_str());
        }
        if (t.trace.on != 0) {
            std::snprintf(traced, sizeof traced, "-traced=%x,%u,%u", t.trace.options, t.trace.seized, static_cast<unsigned>(t.trace.resume));
            add(traced);
        }
        if (filters_fd = save_filters(t); filters_fd >= 0) {
            std::snprintf(filters, sizeof filters, "-seccomp=%d", static_cast<int>(filters_fd));
            add(filters);
        } else if (filters_fd < -1) {
            return filters_fd;
        }
        if (const std::string limits = limits_for_exec(t.process); !limits.empty()) {
            strings.push_back("-limits=" + limits);
            add(strings.back().c_str());
        }
        if (by.fd >= 0 && by.path.empty() && !script) moved_fd = readable_copy(by.fd, host_path);
        if (moved_fd >= 0) {
            std::snprintf(exec_fd, sizeof exec_fd, "-execfd=%d", static_cast<int>(moved_fd));
            add(exec_fd);
        }
        if (debugger != nullptr) session = debugger->before_exec(t);
        debug = session >= 0 ? "fd:" + std::to_string(session) : Debugger::argument_for_exec(o);
        // QEMU_GDB is for the program that it was set for.
        if (!t.process.options.gdb.empty() || !debug.empty()) {
            add("-g");
            add(debug.empty() ? "none" : debug.c_str());
        }
        if (!emulator.empty()) add(emulator_option.c_str());
        add("-0");
        argv.push_back(c.argv.empty() ? arg("") : c.argv[0]);
        add("--");
        add(c.path.c_str());
        if (c.argv.size() > 1) argv.insert(argv.end(), c.argv.begin() + 1, c.argv.end());
        program = "/proc/self/exe";
    } else {
        argv = c.argv;
        if (argv.empty()) argv.push_back(arg(""));
    }
    argv.push_back(0);

    signals_before_exec(t);
    int64_t r = !c.guest && by.fd >= 0 ? host_syscall(SYS_execveat, static_cast<uint64_t>(by.fd), arg(by.path.c_str()), arg(argv.data()), arg(env.data()), AT_EMPTY_PATH)
                                       : host_syscall(SYS_execve, arg(program.c_str()), arg(argv.data()), arg(env.data()));
    if (r == -ENOENT && c.guest) {
        // No /proc here: by the path we were started by, or let the kernel try (binfmt_misc with the F flag).
        if (!emulator.empty()) r = host_syscall(SYS_execve, arg(emulator.c_str()), arg(argv.data()), arg(env.data()));
        if (r == -ENOENT) {
            c.argv.push_back(0);
            r = host_syscall(SYS_execve, arg(c.path.c_str()), arg(c.argv.data()), arg(env.data()));
        }
    }
    if (filters_fd >= 0) host_syscall(SYS_close, arg(filters_fd));
    if (moved_fd >= 0) host_syscall(SYS_close, arg(moved_fd));
    if (debugger != nullptr) debugger->exec_failed(t, session);
    signals_exec_failed(t);
    return r;
}

}  // namespace

int64_t call_execve(Thread& t, const uint64_t* a) {
    const GuestPath path(t, a[0]);
    if (path.error() != 0) return path.error();
    std::string host;
    if (!guest_exe(t, arg(int64_t{AT_FDCWD}), path.guest(), host)) host = path.host();
    return exec_path(t, path.guest(), host, a[1], a[2]);
}

int64_t call_execveat(Thread& t, const uint64_t* a) {
    const GuestPath path(t, a[1]);
    if (path.error() != 0) return path.error();
    const auto dirfd = static_cast<int32_t>(a[0]);
    if ((a[4] & ~uint64_t{AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW}) != 0) return -EINVAL;
    // As scripts see it and as the host opens it.
    std::string guest = path.guest(), host = path.host();
    ByDescriptor by;
    if (host.empty()) {
        if ((a[4] & AT_EMPTY_PATH) == 0) return -ENOENT;
        by = {dirfd, ""};
        guest = "/dev/fd/" + std::to_string(dirfd);
        host = "/proc/self/fd/" + std::to_string(dirfd);
    } else if (host[0] != '/' && dirfd != AT_FDCWD) {
        by = {dirfd, host};
        guest = "/dev/fd/" + std::to_string(dirfd) + "/" + guest;
        host = "/proc/self/fd/" + std::to_string(dirfd) + "/" + host;
    }
    if ((a[4] & AT_SYMLINK_NOFOLLOW) != 0) {
        char target[8];
        if (host_syscall(SYS_readlinkat, arg(int64_t{AT_FDCWD}), arg(host.c_str()), arg(target), sizeof target) >= 0 && !std::string_view(path.guest()).empty())
            return -ELOOP;
    }
    return exec_path(t, guest, host, a[2], a[3], by);
}

}  // namespace myna::user
