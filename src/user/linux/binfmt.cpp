#include "user/linux/binfmt.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "guest/common/arch.h"
#include "user/linux/options.h"

namespace myna::user {

namespace {

constexpr long kBinfmtMagic = 0x42494e4d;  // statfs
constexpr const char* kFolder = "/proc/sys/fs/binfmt_misc";
constexpr const char* kPersistFolder = "/etc/binfmt.d";
constexpr const char* kHelp =
    "Foreign programs start by themselves: myna-user binfmt COMMAND [options] [ARCH…]\n\n"
    "  list                 what would be registered for each architecture\n"
    "  install              register; all architectures when none is named\n"
    "  remove               take registrations of Myna's back\n"
    "  status               what is registered, and by whom\n"
    "  doctor               look for what keeps foreign programs from running, and try one\n\n"
    "  --flags FLAGS        binfmt_misc flags (POCF: argv[0] kept, opened by the kernel, set-user-ID honoured, works in chroots)\n"
    "  --interpreter PATH   the emulator to register (this one)\n"
    "  --replace            install although another emulator is registered: the newer one is asked first\n"
    "  --persist            install, remove: also the file in /etc/binfmt.d that systemd reads at boot\n"
    "  --dry-run            print what would be done\n\n"
    "Without root: inside 'unshare --map-root-user --mount' the registrations are that user namespace's own (Linux 6.7).\n";

struct Request {
    std::string command, flags = "POCF", interpreter;
    bool persist = false, dry_run = false, replace = false;
    std::vector<const guest::GuestArch*> guests;
};

struct Entry {
    std::string name, interpreter, flags, magic, mask;
    bool enabled = false;
};

/// The first 20 bytes of an ELF program (any e_type but relocatable and core; ABI byte free) and which bits count.
struct Pattern {
    uint8_t magic[20], mask[20];
};
Pattern pattern_of(const guest::GuestArch& g) {
    Pattern p{{0x7f, 'E', 'L', 'F', g.elf_class, static_cast<uint8_t>(g.big_endian ? 2 : 1), 1}, {}};
    std::memset(p.mask, 0xff, sizeof p.mask);
    p.mask[7] = 0;  // EI_OSABI
    const auto put16 = [&](int at, uint16_t v) {
        p.magic[at + (g.big_endian ? 1 : 0)] = static_cast<uint8_t>(v);
        p.magic[at + (g.big_endian ? 0 : 1)] = static_cast<uint8_t>(v >> 8);
    };
    put16(16, 2);
    p.mask[16 + (g.big_endian ? 1 : 0)] = 0xfe;  // ET_EXEC, ET_DYN
    put16(18, g.elf_machine);
    return p;
}

std::string hex(std::span<const uint8_t> bytes, const char* prefix) {
    std::string s;
    char text[8];
    for (const uint8_t b : bytes) {
        std::snprintf(text, sizeof text, "%s%02x", prefix, b);
        s += text;
    }
    return s;
}

std::string entry_name(const guest::GuestArch& g) { return "myna-" + std::string(g.name); }
std::string registration(const guest::GuestArch& g, const Request& r) {
    const Pattern p = pattern_of(g);
    return ":" + entry_name(g) + ":M::" + hex(p.magic, "\\x") + ":" + hex(p.mask, "\\x") + ":" + r.interpreter + ":" + r.flags;
}
std::string persist_path(const guest::GuestArch& g) { return std::string(kPersistFolder) + "/" + entry_name(g) + ".conf"; }

std::optional<std::string> read_text(const std::string& path) {
    const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return std::nullopt;
    std::string s;
    char buffer[4096];
    for (ssize_t n; (n = read(fd, buffer, sizeof buffer)) > 0;) s.append(buffer, static_cast<size_t>(n));
    close(fd);
    return s;
}

/// 0 or errno.
int write_text(const std::string& path, const std::string& text, int flags) {
    const int fd = open(path.c_str(), O_WRONLY | O_CLOEXEC | flags, 0644);
    if (fd < 0) return errno;
    const ssize_t n = write(fd, text.data(), text.size());
    const int e = n < 0 ? errno : 0;
    close(fd);
    return e;
}

bool in_own_user_namespace() {
    const auto map = read_text("/proc/self/uid_map");
    unsigned inside = 0, outside = 0, count = 0;
    // Empty: a namespace whose users nobody has mapped yet.
    return map && (std::sscanf(map->c_str(), "%u %u %u", &inside, &outside, &count) != 3 || count != 4294967295u);
}

bool is_mounted() {
    struct statfs s{};
    return statfs(kFolder, &s) == 0 && s.f_type == kBinfmtMagic;
}

/// True when we may register. The mounted instance can be an enclosing user namespace's all the same, where root is root there.
bool is_writable() { return access((std::string(kFolder) + "/register").c_str(), W_OK) == 0; }

std::string cause_of(int e) {
    switch (e) {
        case ENODEV: case ENOENT:
            return "this kernel has no binfmt_misc (CONFIG_BINFMT_MISC; as a module: modprobe binfmt_misc)";
        case EPERM: case EACCES: case EROFS:
            return in_own_user_namespace() ? "not permitted in this user namespace: it needs a mount namespace of its own (unshare --map-root-user --mount) and Linux 6.7"
                                           : "not privileged: run it as root, or for yourself inside 'unshare --map-root-user --mount' (Linux 6.7)";
        default: return std::strerror(e);
    }
}

/// Makes the folder usable. "" or the cause.
std::string mount_folder() {
    const bool there = is_mounted();
    if (there && !in_own_user_namespace()) return is_writable() ? "" : cause_of(EACCES);
    // An instance that can be seen, or written to, may be the enclosing namespace's: mounting gives this one's own. It is
    // refused as busy where that is there already.
    if (mount("binfmt_misc", kFolder, "binfmt_misc", 0, nullptr) != 0 && !(there && errno == EBUSY)) return cause_of(errno);
    return is_mounted() ? "" : cause_of(ENODEV);
}

std::vector<Entry> entries() {
    std::vector<Entry> out;
    DIR* d = opendir(kFolder);
    if (d == nullptr) return out;
    while (const dirent* e = readdir(d)) {
        const std::string_view name = e->d_name;
        if (name == "." || name == ".." || name == "register" || name == "status") continue;
        const auto text = read_text(std::string(kFolder) + "/" + e->d_name);
        if (!text) continue;
        Entry entry{.name = std::string(name)};
        for (size_t at = 0; at < text->size();) {
            const size_t end = std::min(text->find('\n', at), text->size());
            const std::string_view line(text->data() + at, end - at);
            at = end + 1;
            const auto value = [&](std::string_view key) -> std::optional<std::string> {
                if (!line.starts_with(key)) return std::nullopt;
                return std::string(line.substr(key.size()));
            };
            if (line == "enabled") entry.enabled = true;
            if (auto v = value("interpreter ")) entry.interpreter = *v;
            if (auto v = value("flags: ")) entry.flags = *v;
            if (auto v = value("magic ")) entry.magic = *v;
            if (auto v = value("mask ")) entry.mask = *v;
        }
        out.push_back(std::move(entry));
    }
    closedir(d);
    std::sort(out.begin(), out.end(), [](const Entry& a, const Entry& b) { return a.name < b.name; });
    return out;
}

/// True when `e` is asked for static programs of `g`.
bool takes(const Entry& e, const guest::GuestArch& g) {
    const Pattern p = pattern_of(g);
    const auto byte = [](const std::string& s, size_t i, uint8_t missing) {
        if (s.size() < 2 * i + 2) return missing;
        return static_cast<uint8_t>(std::strtoul(s.substr(2 * i, 2).c_str(), nullptr, 16));
    };
    if (!e.enabled || e.magic.size() < 40) return false;
    for (size_t i = 0; i < 20; ++i) {
        const uint8_t mask = byte(e.mask, i, 0xff);
        if ((byte(e.magic, i, 0) & mask) != (p.magic[i] & mask)) return false;
    }
    return true;
}
const Entry* find_entry(const std::vector<Entry>& all, std::string_view name) {
    const auto it = std::find_if(all.begin(), all.end(), [&](const Entry& e) { return e.name == name; });
    return it == all.end() ? nullptr : &*it;
}

bool complain(const guest::GuestArch& g, const std::string& what) {
    std::fprintf(stderr, "myna-user binfmt: %s: %s\n", std::string(g.name).c_str(), what.c_str());
    return false;
}

// ---- commands

bool install_one(const guest::GuestArch& g, const Request& r) {
    const std::string text = registration(g, r);
    const auto all = entries();
    for (const Entry& e : all)
        if (e.name != entry_name(g) && takes(e, g) && !r.replace)
            return complain(g, "already registered by " + e.name + " (" + e.interpreter + "). --replace puts Myna before it; 'echo -1 > " + kFolder + "/" + e.name + "' removes it");
    const Entry* own = find_entry(all, entry_name(g));
    const std::string path = std::string(kFolder) + "/" + entry_name(g);
    if (r.dry_run) {
        if (own != nullptr) std::printf("echo -1 > %s\n", path.c_str());
        std::printf("echo '%s' > %s/register\n", text.c_str(), kFolder);
        if (r.persist) std::printf("echo '%s' > %s\n", text.c_str(), persist_path(g).c_str());
        return true;
    }
    if (own != nullptr)
        if (const int e = write_text(path, "-1", 0); e != 0) return complain(g, "the older registration stays: " + cause_of(e));
    if (const int e = write_text(std::string(kFolder) + "/register", text, 0); e != 0)
        return complain(g, e == EINVAL ? "the kernel refuses the flags '" + r.flags + "' or the interpreter '" + r.interpreter + "'" : e == ENOENT ? "no such interpreter: " + r.interpreter : cause_of(e));
    if (r.persist) {
        if (access(kPersistFolder, F_OK) != 0) mkdir(kPersistFolder, 0755);
        if (const int e = write_text(persist_path(g), "# Written by 'myna-user binfmt install --persist'; binfmt.d(5).\n" + text + "\n", O_CREAT | O_TRUNC); e != 0)
            return complain(g, persist_path(g) + ": " + std::strerror(e));
    }
    std::printf("%s: registered as %s (%s, flags %s)%s\n", std::string(g.name).c_str(), entry_name(g).c_str(), r.interpreter.c_str(), r.flags.c_str(), r.persist ? ", at every boot" : "");
    return true;
}

bool remove_one(const guest::GuestArch& g, const Request& r) {
    const std::string path = std::string(kFolder) + "/" + entry_name(g);
    const bool there = access(path.c_str(), F_OK) == 0, kept = access(persist_path(g).c_str(), F_OK) == 0;
    if (r.dry_run) {
        if (there) std::printf("echo -1 > %s\n", path.c_str());
        if (kept && r.persist) std::printf("rm %s\n", persist_path(g).c_str());
        return true;
    }
    if (there)
        if (const int e = write_text(path, "-1", 0); e != 0) return complain(g, cause_of(e));
    if (kept && r.persist && unlink(persist_path(g).c_str()) != 0) return complain(g, persist_path(g) + ": " + std::strerror(errno));
    std::printf("%s: %s%s\n", std::string(g.name).c_str(), there ? "removed" : "was not registered", kept && !r.persist ? "; it comes back at boot: remove --persist" : "");
    return true;
}

bool print_status(const guest::GuestArch& g) {
    bool any = false;
    for (const Entry& e : entries()) {
        if (e.name != entry_name(g) && !takes(e, g)) continue;
        any = true;
        std::printf("%s: %s, %s, flags %s, %s%s\n", std::string(g.name).c_str(), e.name.c_str(), e.interpreter.c_str(), e.flags.empty() ? "none" : e.flags.c_str(), e.enabled ? "enabled" : "disabled",
                    access(persist_path(g).c_str(), F_OK) == 0 ? ", at every boot" : "");
    }
    if (!any) std::printf("%s: not registered\n", std::string(g.name).c_str());
    return any;
}

/// A static program that exits with 42.
std::vector<uint8_t> tiny_program(const guest::GuestArch& g) {
    struct Code {
        std::string_view guest;
        uint32_t words[3];
    };
    static constexpr Code kCodes[] = {
        {"aarch64", {0xd2800540, 0xd2800ba8, 0xd4000001}},  // mov x0, #42; mov x8, #93; svc #0
        {"riscv64", {0x02a00513, 0x05d00893, 0x00000073}},  // li a0, 42; li a7, 93; ecall
    };
    const auto code = std::find_if(std::begin(kCodes), std::end(kCodes), [&](const Code& c) { return c.guest == g.name; });
    if (code == std::end(kCodes)) return {};
    const Pattern p = pattern_of(g);
    std::vector<uint8_t> f(64 + 56 + sizeof code->words);
    std::memcpy(f.data(), p.magic, 20);
    const auto put = [&](size_t at, uint64_t v, size_t bytes) { std::memcpy(f.data() + at, &v, bytes); };
    constexpr uint64_t kBase = 0x400000;
    put(20, 1, 4);
    put(24, kBase + 120, 8);   // e_entry
    put(32, 64, 8);            // e_phoff
    put(48, g.name == "riscv64" ? 5 : 0, 4);
    put(52, 64, 2);
    put(54, 56, 2);
    put(56, 1, 2);
    put(64, 1, 4);             // PT_LOAD
    put(68, 5, 4);
    put(80, kBase, 8);
    put(88, kBase, 8);
    put(96, f.size(), 8);
    put(104, f.size(), 8);
    put(112, 4096, 8);
    std::memcpy(f.data() + 120, code->words, sizeof code->words);
    return f;
}

/// "" when the kernel starts a program of `g`, else what happened.
std::string try_one(const guest::GuestArch& g) {
    const auto program = tiny_program(g);
    if (program.empty()) return "there is no program to try";
    const int fd = memfd_create("binfmt-doctor", 0);  // stays open over exec: the emulator reads it by /proc/self/fd
    if (fd < 0 || write(fd, program.data(), program.size()) != static_cast<ssize_t>(program.size())) return std::strerror(errno);
    const pid_t pid = fork();
    if (pid == 0) {
        const std::string path = "/proc/self/fd/" + std::to_string(fd);
        char name[] = "doctor";
        char* const args[] = {name, nullptr};
        char* const env[] = {nullptr};
        execve(path.c_str(), args, env);
        _exit(errno == ENOEXEC ? 100 : 101);
    }
    close(fd);
    int status = 0;
    waitpid(pid, &status, 0);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 42) return "";
    if (WIFEXITED(status) && WEXITSTATUS(status) == 100) return "the kernel does not know what to do with its programs (Exec format error)";
    return WIFSIGNALED(status) ? std::string("a program of it dies by signal ") + std::to_string(WTERMSIG(status)) : "a program of it ends with " + std::to_string(WEXITSTATUS(status)) + " instead of 42";
}

bool doctor(const Request& r) {
    bool good = true;
    const auto say = [&](bool ok, const std::string& text) {
        std::printf("%s  %s\n", ok ? "ok  " : "FAIL", text.c_str());
        good = good && ok;
    };
    const auto systems = read_text("/proc/filesystems");
    const bool known = is_mounted() || (systems && systems->find("binfmt_misc") != std::string::npos);
    say(known, known ? "the kernel has binfmt_misc" : cause_of(ENODEV));
    if (!known) return false;
    say(is_mounted(), is_mounted() ? std::string("it is mounted at ") + kFolder : std::string("it is not mounted at ") + kFolder + " ('myna-user binfmt install' mounts it)");
    if (is_mounted()) {
        const auto status = read_text(std::string(kFolder) + "/status");
        const bool enabled = status && status->starts_with("enabled");
        say(enabled, enabled ? "it is enabled" : std::string("it is switched off: echo 1 > ") + kFolder + "/status");
        std::printf("info  %s\n", is_writable() ? "registrations can be changed here" : cause_of(EACCES).c_str());
    }
    const auto all = entries();
    for (const guest::GuestArch* g : r.guests) {
        const std::string name(g->name);
        std::vector<const Entry*> who;
        for (const Entry& e : all)
            if (takes(e, *g)) who.push_back(&e);
        if (who.empty()) {
            say(false, name + ": not registered: myna-user binfmt install " + name);
            continue;
        }
        if (who.size() > 1) {
            std::string names;
            for (const Entry* e : who) names += " " + e->name;
            std::printf("info  %s: several are registered, the one registered last is asked first:%s\n", name.c_str(), names.c_str());
        }
        for (const Entry* e : who) {
            const auto lacks = [&](char f) { return e->flags.find(f) == std::string::npos; };
            if (lacks('F')) {
                const bool there = access(e->interpreter.c_str(), X_OK) == 0;
                say(there, name + ": " + e->name + " has no F flag: chroots and containers need " + e->interpreter + " inside" + (there ? "" : ", and it is not even here"));
            }
            if (lacks('C')) std::printf("info  %s: %s has no C flag: set-user-ID programs (sudo, su) do not work\n", name.c_str(), e->name.c_str());
            if (lacks('P')) std::printf("info  %s: %s has no P flag: programs see another argv[0]\n", name.c_str(), e->name.c_str());
        }
        const std::string what = try_one(*g);
        say(what.empty(), name + ": " + (what.empty() ? "a program of it runs" : what));
    }
    return good;
}

Result<Request> parse(std::span<char*> arguments) {
    static const std::vector<std::string_view> kCommands = {"list", "install", "remove", "status", "doctor"};
    Request r;
    for (size_t i = 0; i < arguments.size(); ++i) {
        const std::string a = arguments[i];
        const auto value = [&]() -> std::optional<std::string> {
            if (i + 1 >= arguments.size()) return std::nullopt;
            return arguments[++i];
        };
        if (a == "--persist") r.persist = true;
        else if (a == "--dry-run") r.dry_run = true;
        else if (a == "--replace") r.replace = true;
        else if (a == "--flags" || a == "--interpreter") {
            const auto v = value();
            if (!v) return fail(ErrorKind::kInvalidArgument, a + ": expects an argument");
            (a == "--flags" ? r.flags : r.interpreter) = *v;
        } else if (a.starts_with("-")) {
            std::string m = "no such option: " + a;
            if (const auto c = closest(a, {"--persist", "--dry-run", "--replace", "--flags", "--interpreter"}); !c.empty()) m += ". Did you mean " + std::string(c) + "?";
            return fail(ErrorKind::kInvalidArgument, m);
        } else if (r.command.empty()) {
            if (std::find(kCommands.begin(), kCommands.end(), a) == kCommands.end()) {
                std::string m = "no such command: " + a;
                if (const auto c = closest(a, kCommands); !c.empty()) m += ". Did you mean " + std::string(c) + "?";
                return fail(ErrorKind::kInvalidArgument, m + " ('myna-user binfmt --help' lists all)");
            }
            r.command = a;
        } else {
            const guest::GuestArch* g = guest::find_guest(a);
            if (g == nullptr) {
                std::vector<std::string_view> names;
                for (const guest::GuestArch* k : guest::all_guests()) names.push_back(k->name);
                std::string m = "no such architecture: " + a + " (there are";
                for (const std::string_view n : names) m += " " + std::string(n);
                return fail(ErrorKind::kInvalidArgument, m + ")");
            }
            r.guests.push_back(g);
        }
    }
    if (r.flags.find_first_not_of("POCF") != std::string::npos) return fail(ErrorKind::kInvalidArgument, "--flags " + r.flags + ": there are P, O, C and F");
    if (r.guests.empty())
        for (const guest::GuestArch* g : guest::all_guests()) r.guests.push_back(g);
    if (r.interpreter.empty()) {
        char path[PATH_MAX];
        const ssize_t n = readlink("/proc/self/exe", path, sizeof path);
        if (n <= 0) return fail(ErrorKind::kNotFound, "/proc is not mounted: say --interpreter PATH");
        r.interpreter.assign(path, static_cast<size_t>(n));
    }
    if (r.interpreter[0] != '/') return fail(ErrorKind::kInvalidArgument, "--interpreter " + r.interpreter + ": expects an absolute path");
    if (r.interpreter.size() > 127) return fail(ErrorKind::kInvalidArgument, "--interpreter " + r.interpreter + ": the kernel takes at most 127 characters");
    return r;
}

}  // namespace

bool is_binfmt_command(int argc, char** argv) noexcept {
    if (argc < 2 || std::strcmp(argv[1], "binfmt") != 0 || !guest_of_tool_name(argv[0]).empty()) return false;
    return (getauxval(AT_FLAGS) & 1) == 0 && getauxval(AT_EXECFD) == 0;  // called by the kernel
}

int run_binfmt_command(std::span<char*> arguments) {
    if (arguments.empty() || std::string_view(arguments[0]) == "--help" || std::string_view(arguments[0]) == "-h") {
        std::fputs(kHelp, arguments.empty() ? stderr : stdout);
        return arguments.empty() ? 2 : 0;
    }
    auto request = parse(arguments);
    if (!request) {
        std::fprintf(stderr, "myna-user binfmt: %s\n", request.error().message.c_str());
        return 2;
    }
    const Request& r = *request;
    if (r.command == "doctor") return doctor(r) ? 0 : 1;
    if ((r.command == "install" || (r.command == "remove" && is_mounted())) && !r.dry_run)
        if (const std::string cause = mount_folder(); !cause.empty()) {
            std::fprintf(stderr, "myna-user binfmt: %s: %s\n", kFolder, cause.c_str());
            return 1;
        }
    if (r.command == "status" && !is_mounted()) {
        std::fprintf(stderr, "myna-user binfmt: %s is not mounted: nothing is registered ('myna-user binfmt doctor' says more)\n", kFolder);
        return 1;
    }
    bool good = true;
    for (const guest::GuestArch* g : r.guests) {
        if (r.command == "list") std::printf("%s\n", registration(*g, r).c_str());
        else if (r.command == "install") good = install_one(*g, r) && good;
        else if (r.command == "remove") good = remove_one(*g, r) && good;
        else good = print_status(*g) && good;
    }
    return good ? 0 : 1;
}

}  // namespace myna::user
