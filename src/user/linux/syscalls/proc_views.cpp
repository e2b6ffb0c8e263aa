// /proc as the guest must see it: files that would show the emulator are made anew and handed out as memory files.
//
//   /proc/self/maps   host's lines inside the guest's regions, with the guest's protection and addresses
//   auxv, cmdline, exe, stat, /proc/cpuinfo
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>

#include "user/linux/syscalls/calls.h"

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

/// What follows "/proc/<this process>/" in `path`, or "" when it is about something else.
std::string_view own_entry(const char* path) {
    std::string_view p(path);
    if (!p.starts_with("/proc/")) return {};
    p.remove_prefix(6);
    const auto take = [&](std::string_view word) {
        if (!p.starts_with(word) || p.size() <= word.size() || p[word.size()] != '/') return false;
        p.remove_prefix(word.size() + 1);
        return true;
    };
    char pid[24];
    std::snprintf(pid, sizeof pid, "%ld", static_cast<long>(host_syscall(SYS_getpid)));
    if (!take("self") && !take("thread-self") && !take(pid)) return {};
    if (p.starts_with("task/")) {
        std::snprintf(pid, sizeof pid, "%ld", static_cast<long>(host_syscall(SYS_gettid)));
        p.remove_prefix(5);
        if (!take(pid)) return {};
    }
    return p;
}

std::string maps(Thread& t) {
    const std::string host = read_file("/proc/self/maps");
    const std::vector<Region> regions = t.memory.snapshot();
    const uint64_t base = t.memory.base();
    std::string out;
    size_t next = 0;
    for (size_t at = 0; at < host.size();) {
        size_t end = host.find('\n', at);
        if (end == std::string::npos) end = host.size();
        const std::string line = host.substr(at, end - at);
        at = end + 1;
        unsigned long long start, stop, offset, inode;
        char perms[8];
        unsigned major, minor;
        int name_at = 0;
        if (std::sscanf(line.c_str(), "%llx-%llx %7s %llx %x:%x %llu %n", &start, &stop, perms, &offset, &major, &minor, &inode, &name_at) < 7)
            continue;
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
            char text[512];
            const int n = std::snprintf(text, sizeof text, "%08llx-%08llx %c%c%c%c %08llx %02x:%02x %llu", static_cast<unsigned long long>(from),
                                        static_cast<unsigned long long>(to), (r.prot & PROT_READ) != 0 ? 'r' : '-', (r.prot & PROT_WRITE) != 0 ? 'w' : '-',
                                        (r.prot & PROT_EXEC) != 0 ? 'x' : '-', (r.flags & Region::kShared) != 0 ? 's' : 'p',
                                        static_cast<unsigned long long>(inode != 0 ? offset + (from - start) : 0), major, minor, inode);
            out.append(text, static_cast<size_t>(n));
            if (label[0] != '\0') {
                out.append(n < 73 ? static_cast<size_t>(73 - n) : 1, ' ');
                out += label;
            }
            out += '\n';
        }
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
    std::string (*make)(Thread&);
};
constexpr View kViews[] = {{"maps", maps}, {"auxv", auxv}, {"cmdline", cmdline}, {"stat", stat_line}};

}  // namespace

bool is_own_exe(const char* path) noexcept { return std::strncmp(path, "/proc/", 6) == 0 && own_entry(path) == "exe"; }

int64_t open_proc_view(Thread& t, const char* path, uint64_t flags) {
    if (std::strcmp(path, "/proc/cpuinfo") == 0) return memory_file(cpuinfo(t), flags);
    const std::string_view entry = own_entry(path);
    if (entry.empty()) return kNoView;
    if (entry == "exe") return t.syscall(SYS_openat, arg(int64_t{AT_FDCWD}), arg(t.process.exe.c_str()), flags);
    if ((flags & O_ACCMODE) != O_RDONLY) return kNoView;
    for (const View& v : kViews)
        if (v.entry == entry) return memory_file(v.make(t), flags);
    return kNoView;
}

}  // namespace myna::user
