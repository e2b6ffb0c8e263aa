// /proc as the guest must see it: files that would show the emulator are made anew and handed out as memory files.
//
//   maps, smaps       the host's lines inside the guest's regions, with the guest's protection and addresses
//   exe               of this and of other guest processes
//   mem               the host's; writing may set breakpoints, so it is watched
//   /proc/cpuinfo     the guest's CPU
//   cmdline, environ, auxv, stat   the kernel's own: it was told where the guest's are (prctl PR_SET_MM_MAP)
//
// Reached by absolute paths, and by relative ones from a directory under /proc.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>

#include "user/linux/syscalls/calls.h"
#include "user/linux/syscalls/tracer.h"

namespace myna::user {

namespace {

std::string read_file(const char* path) {
    std::string text;
    const int64_t fd = host_syscall(SYS_openat, arg(int64_t{AT_FDCWD}), arg(path), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return text;
    char buffer[8192];
    for (;;) {
        const int64_t n = host_syscall(SYS_read, arg(fd), arg(buffer), sizeof buffer);
        if (n <= 0) break;
        text.append(buffer, static_cast<size_t>(n));
    }
    host_syscall(SYS_close, arg(fd));
    return text;
}

int64_t memory_file(const std::string& text, uint64_t flags) {
    const int64_t fd = host_syscall(SYS_memfd_create, arg("proc"), MFD_CLOEXEC);
    if (fd < 0) return fd;
    host_syscall(SYS_write, arg(fd), arg(text.data()), text.size());
    host_syscall(SYS_lseek, arg(fd), 0, SEEK_SET);
    if ((flags & O_CLOEXEC) == 0) host_syscall(SYS_fcntl, arg(fd), F_SETFD, 0);
    return fd;
}

/// A path under /proc that concerns a process of guests.
struct ProcPath {
    pid_t pid = 0;            // 0: not such a path
    pid_t tid = 0;            // task/TID, else 0
    bool own = false;
    std::string_view entry;   // "maps"; points into the text that was parsed
};

/// Entries that differ between the guest and the host.
bool is_interesting(std::string_view entry) {
    for (const std::string_view e : {"exe", "maps", "smaps", "mem", "auxv", "cmdline", "stat"})
        if (entry == e) return true;
    return false;
}

/// Takes "//", "/./", "x/.." and the own root out of an absolute path, in place, by the text alone. False where x may be a
/// symbolic link: it is none within the first `real` bytes, nor are /proc, /proc/PID and its task.
bool simplify(char* path, size_t real = 0) {
    char* out = path;
    for (const char* p = path; *p != '\0';) {
        while (*p == '/') ++p;
        const size_t n = std::strcspn(p, "/");
        const std::string_view word(p, n);
        if (word == "..") {
            const std::string_view now(path, static_cast<size_t>(out - path));
            const size_t behind_pid = now.starts_with("/proc/") ? now.find('/', 6) : 0;
            const bool folder = now == "/proc" || behind_pid == now.npos || (behind_pid != 0 && now.substr(behind_pid) == "/task");
            if (now.size() > real && !folder) return false;
            while (out != path && *--out != '/') {}
            real = std::min(real, static_cast<size_t>(out - path));
        } else if (n != 0 && word != ".") {
            *out++ = '/';
            std::memmove(out, p, n);
            out += n;
            if (std::string_view(path, static_cast<size_t>(out - path)) == "/proc/self/root") out = path;
        }
        p += n;
    }
    *out = '\0';
    return true;
}

/// `path` made absolute under /proc, or "" when it does not lie there. `buffer`: PATH_MAX bytes.
std::string_view proc_path(uint64_t dirfd, const char* path, char* buffer) {
    const char* last = std::strrchr(path, '/');
    last = last != nullptr ? last + 1 : path;
    if (!is_interesting(last) && std::strcmp(last, "cpuinfo") != 0) return std::strncmp(path, "/proc/", 6) == 0 ? path : std::string_view();
    if (path[0] == '/') {
        if (std::strlen(path) >= PATH_MAX) return {};
        std::strcpy(buffer, path);
        return simplify(buffer) && std::strncmp(buffer, "/proc/", 6) == 0 ? buffer : std::string_view();
    }
    int64_t n;
    if (static_cast<int32_t>(dirfd) == AT_FDCWD) {
        n = host_syscall(SYS_getcwd, arg(buffer), PATH_MAX) - 1;
    } else {
        char link[40];
        std::snprintf(link, sizeof link, "/proc/self/fd/%d", static_cast<int32_t>(dirfd));
        n = host_syscall(SYS_readlinkat, arg(int64_t{AT_FDCWD}), arg(link), arg(buffer), PATH_MAX);
    }
    if (n < 1 || buffer[0] != '/' || static_cast<size_t>(n) + std::strlen(path) + 2 > PATH_MAX) return {};
    buffer[n] = '/';
    std::strcpy(buffer + n + 1, path);
    return simplify(buffer, static_cast<size_t>(n)) && std::strncmp(buffer, "/proc/", 6) == 0 ? buffer : std::string_view();
}

ProcPath parse(std::string_view p) {
    ProcPath out;
    if (!p.starts_with("/proc/")) return out;
    p.remove_prefix(6);
    const auto skip = [&] { while (p.starts_with('/') || p.starts_with("./")) p.remove_prefix(p[0] == '/' ? 1 : 2); };
    const auto take = [&](std::string_view word) {
        if (!p.starts_with(word) || p.size() <= word.size() || p[word.size()] != '/') return false;
        p.remove_prefix(word.size() + 1);
        skip();
        return true;
    };
    const auto number = [&](pid_t& n) {
        size_t i = 0;
        n = 0;
        while (i < p.size() && i < 9 && p[i] >= '0' && p[i] <= '9') n = n * 10 + (p[i++] - '0');
        return i != 0 && take(p.substr(0, i));
    };
    skip();
    const auto pid = static_cast<pid_t>(host_syscall(SYS_getpid));
    pid_t n = 0;
    if (take("self") || take("thread-self")) n = pid;
    else if (!number(n)) return out;
    if (p.starts_with("task/")) {
        take("task");
        if (!number(out.tid)) return out;
    }
    if (!is_interesting(p)) return out;
    out.pid = n;
    out.own = n == pid || (out.tid == 0 && n == host_syscall(SYS_gettid));
    out.entry = p;
    return out;
}

/// Another process runs a guest program too.
bool is_emulated(pid_t pid) {
    char path[32];
    std::snprintf(path, sizeof path, "/proc/%d/exe", pid);
    struct stat theirs, ours;
    return host_syscall(SYS_stat, arg(path), arg(&theirs)) == 0 && host_syscall(SYS_stat, arg("/proc/self/exe"), arg(&ours)) == 0 &&
           theirs.st_dev == ours.st_dev && theirs.st_ino == ours.st_ino;
}

/// The program of another guest: the file that its program headers are mapped from. (The kernel's auxv is the guest's.)
std::string exe_of_other(pid_t pid) {
    char path[32];
    std::snprintf(path, sizeof path, "/proc/%d/auxv", pid);
    const std::string aux = read_file(path);
    uint64_t phdr = 0;
    for (size_t at = 0; at + 16 <= aux.size(); at += 16) {
        uint64_t pair[2];
        std::memcpy(pair, aux.data() + at, 16);
        if (pair[0] == 3 /* AT_PHDR */) phdr = pair[1];
    }
    std::snprintf(path, sizeof path, "/proc/%d/maps", pid);
    const std::string maps = read_file(path);
    for (size_t at = 0; phdr != 0 && at < maps.size();) {
        const size_t end = std::min(maps.find('\n', at), maps.size());
        unsigned long long start, stop;
        if (std::sscanf(maps.c_str() + at, "%llx-%llx", &start, &stop) == 2 && phdr >= start && phdr < stop)
            if (const size_t name = maps.find('/', at); name < end) return maps.substr(name, end - name);
        at = end + 1;
    }
    return {};
}

std::string maps_line(uint64_t from, uint64_t to, uint8_t prot, bool shared, uint64_t offset, unsigned major, unsigned minor, unsigned long long inode,
                      const char* label) {
    char text[512];
    const int n = std::snprintf(text, sizeof text, "%08llx-%08llx %c%c%c%c %08llx %02x:%02x %llu ", static_cast<unsigned long long>(from),
                                static_cast<unsigned long long>(to), (prot & PROT_READ) != 0 ? 'r' : '-', (prot & PROT_WRITE) != 0 ? 'w' : '-',
                                (prot & PROT_EXEC) != 0 ? 'x' : '-', shared ? 's' : 'p', static_cast<unsigned long long>(offset), major, minor, inode);
    std::string out(text, static_cast<size_t>(n));
    if (label[0] != '\0') {
        out.append(n < 73 ? static_cast<size_t>(73 - n) : 0, ' ');
        out += label;
    }
    return out + '\n';
}

/// maps or smaps: the host's lines inside the guest's regions. Lines that describe a mapping follow it.
std::string maps(Thread& t, const char* file) {
    const std::string host = read_file(file);
    const std::vector<Region> regions = t.memory.snapshot();
    const uint64_t base = t.memory.base();
    std::string out;
    size_t next = 0;
    bool shown = false;
    for (size_t at = 0; at < host.size();) {
        const size_t end = std::min(host.find('\n', at), host.size());
        const std::string line = host.substr(at, end - at);
        at = end + 1;
        unsigned long long start, stop, offset, inode;
        char perms[8];
        unsigned major, minor;
        int name_at = 0;
        if (std::sscanf(line.c_str(), "%llx-%llx %7s %llx %x:%x %llu %n", &start, &stop, perms, &offset, &major, &minor, &inode, &name_at) < 7) {
            if (shown) out += line + '\n';
            continue;
        }
        shown = false;
        if (start < base) continue;
        start -= base;
        stop -= base;
        const char* name = name_at > 0 && static_cast<size_t>(name_at) <= line.size() ? line.c_str() + name_at : "";
        while (next < regions.size() && regions[next].end <= start) ++next;
        for (size_t i = next; i < regions.size() && regions[i].start < stop; ++i) {
            const Region& r = regions[i];
            if ((r.flags & Region::kReserved) != 0) continue;
            const uint64_t from = std::max<uint64_t>(start, r.start), to = std::min<uint64_t>(stop, r.end);
            if (from >= to) continue;
            const char* label = name;
            if (from >= t.memory.stack_start && to <= t.memory.stack_end) label = "[stack]";
            else if (from == t.memory.vdso_start) label = "[vdso]";
            else if (name[0] == '\0' && from >= t.memory.brk_start() && from < t.memory.brk_end()) label = "[heap]";
            out += maps_line(from, to, r.prot, (r.flags & Region::kShared) != 0, inode != 0 ? offset + (from - start) : 0, major, minor, inode, label);
            shown = true;
        }
    }
    return out;
}
std::string own_maps(Thread& t) { return maps(t, "/proc/self/maps"); }
std::string own_smaps(Thread& t) { return maps(t, "/proc/self/smaps"); }

/// maps of another guest. Which of its pages are executable only that process knows.
std::string maps_of_other(pid_t pid) {
    char path[32];
    std::snprintf(path, sizeof path, "/proc/%d/maps", pid);
    const std::string host = read_file(path);
    std::string out;
    for (size_t at = 0; at < host.size();) {
        const size_t end = std::min(host.find('\n', at), host.size());
        const std::string line = host.substr(at, end - at);
        at = end + 1;
        // What lies above is the emulator's own (AddressSpace).
        if (std::strtoull(line.c_str(), nullptr, 16) < 0x7000'0000'0000 && line.find("[heap]") == std::string::npos) out += line + '\n';
    }
    return out;
}

/// Fields 26…29 (startcode, endcode, startstack, kstkesp) are the guest's.
std::string stat_line(Thread& t) {
    const std::string host = read_file("/proc/self/stat");
    const size_t paren = host.rfind(')');
    if (paren == std::string::npos) return host;
    std::string out = host.substr(0, paren + 1);
    unsigned field = 2;
    for (size_t at = paren + 2; at < host.size();) {
        size_t end = host.find_first_of(" \n", at);
        if (end == std::string::npos) end = host.size();
        ++field;
        std::string value = host.substr(at, end - at);
        if (field == 26) value = std::to_string(t.process.code_start);
        if (field == 27) value = std::to_string(t.process.code_end);
        if (field == 28) value = std::to_string(t.process.start_sp);
        if (field == 29 || field == 30) value = "0";
        out += ' ';
        out += value;
        at = end + 1;
    }
    return out + "\n";
}

std::string auxv(Thread& t) {
    std::string bytes(t.process.auxv_size, '\0');
    t.memory.copy_in(bytes.data(), t.process.auxv, bytes.size());
    return bytes;
}

std::string cmdline(Thread& t) {
    std::string bytes(t.process.args_end - t.process.args_start, '\0');
    t.memory.copy_in(bytes.data(), t.process.args_start, bytes.size());
    return bytes;
}

std::string cpuinfo(Thread& t) { return t.abi.cpuinfo(t.process.cpu, static_cast<unsigned>(sysconf(_SC_NPROCESSORS_ONLN))); }

struct View {
    std::string_view entry;
    bool if_told;  // the kernel shows the guest's itself when it could be told (Process::kernel_knows)
    std::string (*make)(Thread&);
};
constexpr View kViews[] = {{"maps", false, own_maps}, {"smaps", false, own_smaps}, {"auxv", true, auxv}, {"cmdline", true, cmdline}, {"stat", true, stat_line}};

}  // namespace

bool guest_exe(Thread& t, uint64_t dirfd, const char* path, std::string& exe) {
    char buffer[PATH_MAX];
    const std::string_view absolute = proc_path(dirfd, path, buffer);
    if (absolute.empty()) return false;
    const ProcPath p = parse(absolute);
    if (p.pid == 0 || p.entry != "exe") return false;
    if (p.own) exe = t.process.exe;
    else if (is_emulated(p.pid)) exe = exe_of_other(p.pid);
    return p.own || !exe.empty();
}

int64_t open_proc_view(Thread& t, uint64_t dirfd, const char* path, uint64_t flags) {
    char buffer[PATH_MAX];
    const std::string_view absolute = proc_path(dirfd, path, buffer);
    if (absolute.empty()) return kNoView;
    if (absolute == "/proc/cpuinfo") return memory_file(cpuinfo(t), flags);
    const ProcPath p = parse(absolute);
    if (p.pid == 0) return kNoView;
    if (p.entry == "exe") {
        std::string exe;
        return guest_exe(t, dirfd, path, exe) ? t.syscall(SYS_openat, arg(int64_t{AT_FDCWD}), arg(exe.c_str()), flags) : kNoView;
    }
    if (p.entry == "mem" && (flags & O_ACCMODE) != O_RDONLY) {
        const int64_t fd = t.syscall(SYS_openat, dirfd, arg(path), flags);
        if (fd >= 0) t.process.memory_files.add(static_cast<int>(fd), p.own ? 0 : p.tid != 0 ? p.tid : p.pid);
        return fd;
    }
    if ((flags & O_ACCMODE) != O_RDONLY) return kNoView;
    if (!p.own) return p.entry == "maps" && is_emulated(p.pid) ? memory_file(maps_of_other(p.pid), flags) : kNoView;
    for (const View& v : kViews)
        if (v.entry == p.entry && !(v.if_told && t.process.kernel_knows)) return memory_file(v.make(t), flags);
    return kNoView;
}

void wrote_memory_file(Thread& t, int fd, uint64_t addr, int64_t size) {
    if (size <= 0) return;
    const pid_t pid = t.process.memory_files.find(fd);
    if (pid == 0) t.process.engine->invalidate(addr, static_cast<uint64_t>(size));
    else if (pid > 0) Tracer::of(t).wrote(addr, static_cast<uint64_t>(size));
}

}  // namespace myna::user
