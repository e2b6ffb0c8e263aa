#include "user/linux/options.h"

#include <sys/auxv.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "base/edit_distance.h"
#include "guest/common/arch.h"

namespace myna::user {

namespace {

#ifndef MYNA_VERSION
#define MYNA_VERSION "0.1.0"
#endif

using Parse = Result<void> (*)(Options&, std::string_view value);

std::unexpected<Error> bad(std::string_view what) { return fail(ErrorKind::kInvalidArgument, std::string(what)); }

/// 0x…, 0… or decimal, with an optional K, M, G, T.
Result<uint64_t> number(std::string_view text) {
    const std::string s(text);
    char* end = nullptr;
    errno = 0;
    uint64_t v = std::strtoull(s.c_str(), &end, 0);
    if (end == s.c_str() || errno != 0 || s[0] == '-') return bad("'" + s + "' is not a number");
    static constexpr std::string_view kUnits = "KMGT";
    if (*end != '\0') {
        const size_t unit = kUnits.find(static_cast<char>(*end & ~0x20));
        if (unit == std::string_view::npos || end[1] != '\0') return bad("'" + s + "' is not a number");
        v <<= 10 * (unit + 1);
    }
    return v;
}

struct LogItem {
    std::string_view name;
    uint32_t bit;
    std::string_view doc;
};
using jit::Log;
constexpr LogItem kLogItems[] = {
    {"in_asm", Log::kInAsm, "guest instructions of each block that is translated"},
    {"op", Log::kOp, "its IR"},
    {"op_opt", Log::kOpOpt, "its IR after the passes"},
    {"out_asm", Log::kOutAsm, "its host code"},
    {"exec", Log::kExec, "each block that runs (slow)"},
    {"cpu", Log::kCpu, "registers before each block (slow)"},
    {"int", Log::kInt, "exceptions and signals"},
    {"page", Log::kPage, "the guest's memory map at start"},
    {"strace", Log::kStrace, "system calls, as -strace"},
    {"unimp", Log::kUnimp, "system calls and instructions that are not implemented"},
    {"guest_errors", Log::kGuestErrors, "what the guest does wrong"},
    {"mmu", Log::kMmu, "translation of addresses"},
    {"crash", kLogCrash, "a report of the fault that ends the program (always where standard error is a terminal)"},
    {"nochain", Log::kNochain, "blocks are not linked"},
};

/// FIRST..LAST, START+SIZE or END-SIZE (the SIZE bytes before and at END); several with commas between.
Result<void> parse_ranges(Options& o, std::string_view list) {
    o.engine.log_ranges.clear();
    while (!list.empty()) {
        const size_t n = std::min(list.find(','), list.size());
        const std::string_view item = list.substr(0, n);
        list.remove_prefix(std::min(n + 1, list.size()));
        const size_t at = item.find_first_of("+-.");
        const bool span = at != std::string_view::npos && item[at] == '.';
        if (at == std::string_view::npos || (span && !item.substr(at).starts_with("..")))
            return bad("'" + std::string(item) + "': a range is FIRST..LAST, START+SIZE or END-SIZE");
        const auto a = number(item.substr(0, at)), b = number(item.substr(at + (span ? 2 : 1)));
        if (!a) return std::unexpected(a.error());
        if (!b) return std::unexpected(b.error());
        if (!span && *b == 0) return bad("'" + std::string(item) + "' is empty");
        const jit::AddressRange r = span ? jit::AddressRange{*a, *b} : item[at] == '+' ? jit::AddressRange{*a, *a + (*b - 1)} : jit::AddressRange{*a - (*b - 1), *a};
        if (r.last < r.first) return bad("'" + std::string(item) + "' ends before it begins");
        o.engine.log_ranges.push_back(r);
    }
    return {};
}

Result<void> parse_log(Options& o, std::string_view list) {
    while (!list.empty()) {
        const size_t n = std::min(list.find(','), list.size());
        const std::string_view item = list.substr(0, n);
        list.remove_prefix(std::min(n + 1, list.size()));
        if (item == "all") {
            for (const LogItem& i : kLogItems) o.engine.log |= i.bit;
            continue;
        }
        const auto it = std::find_if(std::begin(kLogItems), std::end(kLogItems), [&](const LogItem& i) { return i.name == item; });
        if (it != std::end(kLogItems)) {
            o.engine.log |= it->bit;
            continue;
        }
        std::vector<std::string_view> names;
        for (const LogItem& i : kLogItems) names.push_back(i.name);
        std::string m = "no such log item: '" + std::string(item) + "'";
        if (const auto c = closest(item, names); !c.empty()) m += ". Did you mean " + std::string(c) + "?";
        return bad(m + " ('-d help' lists all)");
    }
    return {};
}

Result<void> split_list(std::vector<std::string>& to, std::string_view list) {
    while (!list.empty()) {
        const size_t n = std::min(list.find(','), list.size());
        to.emplace_back(list.substr(0, n));
        list.remove_prefix(std::min(n + 1, list.size()));
    }
    return {};
}

Result<void> take_number(uint64_t& to, std::string_view v) {
    auto n = number(v);
    if (!n) return std::unexpected(n.error());
    to = *n;
    return {};
}
Result<void> take_optional(std::optional<uint64_t>& to, std::string_view v) {
    auto n = number(v);
    if (!n) return std::unexpected(n.error());
    to = *n;
    return {};
}
Result<void> env_list(std::vector<std::string>& to, std::string_view list, bool values) {
    // QEMU's -E takes several, separated by commas.
    std::vector<std::string> items;
    split_list(items, list);
    for (std::string& i : items) {
        if (values && i.find('=') == std::string::npos) return bad("'" + i + "' is not NAME=VALUE");
        if (!values && i.find('=') != std::string::npos) return bad("'" + i + "' is not the name of a variable");
        to.push_back(std::move(i));
    }
    return {};
}

enum class Special : uint8_t { kNone, kHelp, kVersion };

struct OptionRow {
    std::string_view name;      // without the dash
    std::string_view argument;  // "" for none
    const char* variable;       // environment, or nullptr
    Parse parse;
    std::string_view doc;
    Special special = Special::kNone;
};

constexpr OptionRow kRows[] = {
    {"h", "", nullptr, nullptr, "print this help", Special::kHelp},
    {"help", "", nullptr, nullptr, "", Special::kHelp},
    {"version", "", "QEMU_VERSION", nullptr, "print the version", Special::kVersion},
    {"L", "PREFIX", "QEMU_LD_PREFIX", [](Options& o, std::string_view v) -> Result<void> { o.sysroot = v; return {}; },
     "look for the guest's absolute paths under PREFIX first"},
    {"cpu", "MODEL", "QEMU_CPU", [](Options& o, std::string_view v) -> Result<void> { o.cpu = v; return {}; },
     "CPU model and features; '-cpu help' lists them"},
    {"E", "NAME=VALUE", "QEMU_SET_ENV", [](Options& o, std::string_view v) { return env_list(o.set_env, v, true); },
     "set a variable of the guest's environment"},
    {"U", "NAME", "QEMU_UNSET_ENV", [](Options& o, std::string_view v) { return env_list(o.unset_env, v, false); },
     "remove a variable from the guest's environment"},
    {"0", "ARGV0", "QEMU_ARGV0", [](Options& o, std::string_view v) -> Result<void> { o.argv0 = v; o.has_argv0 = true; return {}; },
     "the guest's argv[0]"},
    {"r", "RELEASE", "QEMU_UNAME", [](Options& o, std::string_view v) -> Result<void> { o.uname_release = v; return {}; },
     "what uname -r tells the guest"},
    {"s", "SIZE", "QEMU_STACK_SIZE", [](Options& o, std::string_view v) { return take_number(o.stack_size, v); },
     "size of the guest's main stack (8M)"},
    {"B", "ADDRESS", "QEMU_GUEST_BASE", [](Options& o, std::string_view v) { return take_optional(o.guest_base, v); },
     "host address of the guest's address 0"},
    {"R", "SIZE", "QEMU_RESERVED_VA", [](Options& o, std::string_view v) { return take_number(o.reserved_va, v); },
     "reserve SIZE bytes of host addresses for the guest"},
    {"p", "SIZE", "QEMU_PAGESIZE", [](Options&, std::string_view v) -> Result<void> {
         auto n = number(v);
         if (!n) return std::unexpected(n.error());
         if (*n != 4096) return bad("pages of " + std::string(v) + " bytes are not supported: host and guest pages are of 4096 bytes");
         return {};
     }, "page size; only 4096"},
    {"strace", "", "QEMU_STRACE", [](Options& o, std::string_view) -> Result<void> { o.strace = true; return {}; },
     "log system calls"},
    {"seed", "NUMBER", "QEMU_RAND_SEED", [](Options& o, std::string_view v) { return take_optional(o.seed, v); },
     "seed for the random bytes that the guest gets at start"},
    {"d", "ITEM,…", "QEMU_LOG", [](Options& o, std::string_view v) { return parse_log(o, v); },
     "log; '-d help' lists the items"},
    {"D", "FILE", "QEMU_LOG_FILENAME", [](Options& o, std::string_view v) -> Result<void> { o.log_file = v; return {}; },
     "write the log to FILE (%d: process id)"},
    {"dfilter", "RANGE,…", "QEMU_DFILTER", [](Options& o, std::string_view v) { return parse_ranges(o, v); },
     "log only blocks that begin in one of these: FIRST..LAST, START+SIZE, END-SIZE"},
    {"one-insn-per-tb", "", "QEMU_ONE_INSN_PER_TB", [](Options& o, std::string_view) -> Result<void> { o.engine.one_insn_per_block = true; return {}; },
     "translate one guest instruction at a time"},
    {"singlestep", "", "QEMU_SINGLESTEP", [](Options& o, std::string_view) -> Result<void> { o.engine.one_insn_per_block = true; return {}; },
     "the same, an older name"},
    {"accel", "NAME", "MYNA_ACCEL", [](Options& o, std::string_view v) -> Result<void> {
         if (v == "jit" || v == "tcg") o.engine.accel = jit::Accel::kJit;
         else if (v == "interp") o.engine.accel = jit::Accel::kInterp;
         else return bad("'" + std::string(v) + "': there are jit (the default) and interp");
         return {};
     }, "jit, or interp: slow, a second opinion"},
    {"jit-disable", "PASS,…", "MYNA_JIT_DISABLE", [](Options& o, std::string_view v) { return split_list(o.engine.jit_disable, v); },
     "switch off parts of the translator: fold, share, forward, dead-sets, fuse, pin, chain, indirect-cache"},
    {"host-mask", "FEATURE,…", "MYNA_HOST_MASK", [](Options& o, std::string_view v) { return split_list(o.engine.host_mask, v); },
     "do not use these features of the host CPU"},
    {"jit-stats", "", "MYNA_JIT_STATS", [](Options& o, std::string_view) -> Result<void> { o.engine.jit_stats = true; return {}; },
     "print the translator's counters at exit"},
    {"cache-size", "SIZE", "MYNA_CACHE_SIZE", [](Options& o, std::string_view v) -> Result<void> {
         uint64_t n = 0;
         if (auto r = take_number(n, v); !r) return r;
         o.engine.cache_bytes = n;
         return {};
     }, "size of the code cache (256M)"},
    {"perfmap", "", "QEMU_PERFMAP", [](Options& o, std::string_view) -> Result<void> { o.engine.perf_map = true; return {}; },
     "write /tmp/perf-PID.map for perf"},
    {"jitdump", "", "QEMU_JITDUMP", [](Options& o, std::string_view) -> Result<void> { o.engine.jitdump = true; return {}; },
     "write jit-PID.dump for perf inject"},
    {"g", "PORT|PATH", "QEMU_GDB", [](Options& o, std::string_view v) -> Result<void> { o.gdb = v == "none" ? "" : v; return {}; },
     "wait for gdb at a TCP port or Unix socket (%d: process id; ',suspend=n': do not wait)"},
    {"trace", "PATTERN", nullptr, [](Options&, std::string_view) -> Result<void> {
         return fail(ErrorKind::kUnsupported, "there are no trace points; -strace and -d show what happens");
     }, "not supported"},
    {"plugin", "FILE", "QEMU_PLUGIN", [](Options&, std::string_view) -> Result<void> {
         return fail(ErrorKind::kUnsupported, "plugins are not supported");
     }, "not supported"},
    {"traced", "HOW", nullptr, [](Options& o, std::string_view v) -> Result<void> { o.traced = v; return {}; }, ""},
    {"limits", "LIST", nullptr, [](Options& o, std::string_view v) -> Result<void> { o.limits = v; return {}; }, ""},
    {"execfd", "FD", nullptr, [](Options& o, std::string_view v) -> Result<void> {
         uint64_t n = 0;
         if (auto r = take_number(n, v); !r) return r;
         o.program_fd = static_cast<int>(n);
         return {};
     }, ""},
    {"emulator", "PATH", nullptr, [](Options& o, std::string_view v) -> Result<void> { o.emulator = v; return {}; }, ""},
    {"seccomp", "FD", nullptr, [](Options& o, std::string_view v) -> Result<void> {
         uint64_t n = 0;
         if (auto r = take_number(n, v); !r) return r;
         o.filters_fd = static_cast<int>(n);
         return {};
     }, ""},
    {"t", "", nullptr, [](Options&, std::string_view) -> Result<void> { return {}; }, ""},
    {"tb-size", "SIZE", nullptr, [](Options&, std::string_view) -> Result<void> { return {}; }, ""},
};

void write_all(std::string_view text) {
    while (!text.empty()) {
        const size_t n = fwrite(text.data(), 1, text.size(), stdout);
        if (n == 0) return;
        text.remove_prefix(n);
    }
    fflush(stdout);
}

void print_help(const Options& o) {
    std::string text = "Runs Linux programs of other architectures: " + o.called + " [options] program [arguments…]\n\n";
    for (const OptionRow& r : kRows) {
        if (r.doc.empty()) continue;
        std::string left = "  -" + std::string(r.name) + (r.argument.empty() ? "" : " ") + std::string(r.argument);
        size_t columns = 0;
        for (const char c : left) columns += (c & 0xc0) != 0x80 ? 1u : 0u;
        left += std::string(columns < 24 ? 24 - columns : 1, ' ');
        text += left + std::string(r.doc);
        if (r.variable != nullptr) text += std::string(" [") + r.variable + "]";
        text += '\n';
    }
    text += "\nLong options may begin with two dashes and take their argument after '='. In brackets: the environment variable\n"
            "that does the same. Guests:";
    for (const guest::GuestArch* g : guest::all_guests()) text += " " + std::string(g->name);
    text += "\n";
    write_all(text);
}

void print_log_help() {
    std::string text = "Log items (-d ITEM,…):\n";
    for (const LogItem& i : kLogItems) {
        std::string left = "  " + std::string(i.name);
        left += std::string(left.size() < 18 ? 18 - left.size() : 1, ' ');
        text += left + std::string(i.doc) + "\n";
    }
    write_all(text);
}

const OptionRow* find_row(std::string_view name) {
    for (const OptionRow& r : kRows)
        if (r.name == name) return &r;
    return nullptr;
}

Error in_option(Error e, std::string_view option) { return std::move(e).in(option); }

Result<void> apply_environment(char** env, Options& o) {
    for (char** e = env; *e != nullptr; ++e) {
        const char* v = *e;
        const bool qemu = std::strncmp(v, "QEMU_", 5) == 0;
        if (!qemu && std::strncmp(v, "MYNA_", 5) != 0) continue;
        const char* eq = std::strchr(v, '=');
        if (eq == nullptr) continue;
        const std::string_view name(v, static_cast<size_t>(eq - v));
        for (const OptionRow& r : kRows) {
            if (r.variable == nullptr || r.parse == nullptr) continue;
            const std::string_view variable = r.variable;
            // MYNA_X does what QEMU_X does.
            if (name != variable && (qemu || variable.substr(5) != name.substr(5))) continue;
            if (auto done = r.parse(o, eq + 1); !done) return std::unexpected(in_option(done.error(), name));
            break;
        }
    }
    return {};
}

Result<Action> cpu_list(const Options& o) {
    bool any = false;
    for (const guest::GuestArch* g : guest::all_guests()) {
        if (!o.guest.empty() && g->name != o.guest) continue;
        if (g->cpu_help == nullptr) continue;
        if (any) write_all("\n");
        write_all(g->cpu_help());
        any = true;
    }
    return Action::kDone;
}

/// "linux_binfmt": called by the kernel with the P flag: argv[0] is the emulator, then the program and its own argv[0].
bool called_by_binfmt_with_argv0() noexcept { return (getauxval(AT_FLAGS) & 1) != 0; }

}  // namespace

std::string_view guest_of_tool_name(std::string_view name) noexcept {
    if (const size_t slash = name.rfind('/'); slash != std::string_view::npos) name.remove_prefix(slash + 1);
    for (const std::string_view prefix : {"qemu-", "myna-"}) {
        if (!name.starts_with(prefix)) continue;
        std::string_view arch = name.substr(prefix.size());
        for (const std::string_view suffix : {"-static", "-binfmt"})
            if (arch.ends_with(suffix)) arch.remove_suffix(suffix.size());
        if (const guest::GuestArch* g = guest::find_guest(arch)) return g->name;
    }
    return {};
}

std::string_view closest(std::string_view wrong, const std::vector<std::string_view>& names) { return nearest_word(wrong, names); }

Result<Action> parse_options(int argc, char** argv, char** env, Options& o) {
    std::string_view called = argc > 0 ? argv[0] : "myna-user";
    o.guest = guest_of_tool_name(called);
    if (const size_t slash = called.rfind('/'); slash != std::string_view::npos) called.remove_prefix(slash + 1);
    o.called = called.empty() || called[0] == '-' ? "myna-user" : std::string(called);
    // A set-user-ID guest (binfmt_misc's C flag) takes no orders from its caller's environment.
    if (getauxval(AT_SECURE) == 0)
        if (auto r = apply_environment(env, o); !r) return std::unexpected(r.error());
    const unsigned long exec_fd = getauxval(AT_EXECFD);
    if (exec_fd != 0) o.program_fd = static_cast<int>(exec_fd);

    int i = 1;
    if (called_by_binfmt_with_argv0() && argc >= 3) {
        o.program = argv[1];
        o.args.assign(argv + 2, argv + argc);
        if (o.has_argv0) o.args[0] = o.argv0;
        return Action::kRun;
    }
    for (; i < argc; ++i) {
        std::string_view text = argv[i];
        if (text.size() < 2 || text[0] != '-') break;
        if (text == "--") {
            ++i;
            break;
        }
        std::string_view name = text.substr(text.starts_with("--") ? 2 : 1), value;
        bool has_value = false;
        if (const size_t eq = name.find('='); eq != std::string_view::npos) {
            value = name.substr(eq + 1);
            name = name.substr(0, eq);
            has_value = true;
        }
        const OptionRow* row = find_row(name);
        if (row == nullptr) {
            std::vector<std::string_view> names;
            for (const OptionRow& r : kRows)
                if (!r.doc.empty()) names.push_back(r.name);
            std::string m = "no such option: " + std::string(text);
            if (const auto c = closest(name, names); !c.empty()) m += ". Did you mean -" + std::string(c) + "?";
            return fail(ErrorKind::kInvalidArgument, m + " ('" + o.called + " -help' lists all)");
        }
        const int first = i;
        if (row->special == Special::kHelp) {
            print_help(o);
            return Action::kDone;
        }
        if (row->special == Special::kVersion) {
            write_all(o.called + " (Myna) version " MYNA_VERSION "\n");
            return Action::kDone;
        }
        if (!row->argument.empty() && !has_value) {
            if (i + 1 >= argc) return bad("-" + std::string(name) + ": expects an argument: " + std::string(row->argument));
            value = argv[++i];
        }
        if (name == "d" && value == "help") {
            print_log_help();
            return Action::kDone;
        }
        if (name == "cpu" && (value == "help" || value == "?")) return cpu_list(o);
        if (auto r = row->parse(o, value); !r) return std::unexpected(in_option(r.error(), "-" + std::string(name)));
        if (name != "0" && name != "traced" && name != "seccomp" && name != "execfd" && name != "limits" && name != "emulator" && name != "g")
            for (int n = first; n <= i; ++n) o.own_args.emplace_back(argv[n]);
    }
    if (i >= argc) return bad("no program to run given ('" + o.called + " -help' for help)");
    o.program = argv[i];
    o.args.assign(argv + i, argv + argc);
    if (o.has_argv0) o.args[0] = o.argv0;
    return Action::kRun;
}

}  // namespace myna::user
