// The program: standard options, the choice of the command, and the loop that runs it.
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdarg>
#include <cstdio>
#include <cstring>

#include "img/args.h"

namespace myna::img {

std::span<const Command* const> all_commands() noexcept {
    static constexpr std::array all{&kAmend,  &kBench, &kBitmap,  &kCheck,  &kCommit, &kCompact, &kCompare, &kConvert, &kCreate,
                                    &kDd,     &kImport, &kInfo,   &kMap,    &kMeasure, &kRebase, &kResize, &kSnapshot};
    return all;
}

std::string reason(const Error& e) { return e.sys_errno != 0 ? std::strerror(e.sys_errno) : e.message; }

std::string text(const char* format, ...) {
    va_list a, b;
    va_start(a, format);
    va_copy(b, a);
    std::string out(static_cast<size_t>(std::max(0, std::vsnprintf(nullptr, 0, format, a))), '\0');
    std::vsnprintf(out.data(), out.size() + 1, format, b);
    va_end(a);
    va_end(b);
    return out;
}

int Tool::error(const std::string& message) const {
    std::fflush(stdout);
    std::fprintf(stderr, "%s: %s\n", called.c_str(), message.c_str());
    return 1;
}
int Tool::usage(const std::string& message) const {
    error(message);
    std::fprintf(stderr, "Try '%s --help' for more information\n", called.c_str());
    return 1;
}
void Tool::warning(const std::string& message) const { error("warning: " + message); }

namespace {

constexpr const char* kVersion = "0.1.0";

void print_usage(const Tool& tool) {
    std::printf("usage: %s [standard options] command [command options]\n"
                "Creates, converts, checks and changes disk images.\n\n"
                "    '-h', '--help'       display this help and exit\n"
                "    '-V', '--version'    output version information and exit\n\n"
                "Commands ('%s COMMAND --help' explains each):\n",
                tool.called.c_str(), tool.called.c_str());
    for (const Command* c : all_commands())
        std::printf("  %-10.*s %.*s\n", static_cast<int>(c->name.size()), c->name.data(), static_cast<int>(c->summary.size()), c->summary.data());
    std::printf("\nSizes are bytes, or have one of the suffixes k, M, G, T, P, E (powers of 1024).\nSupported formats:");
    std::vector<std::string_view> names;
    for (const block::Driver* d : block::all_drivers()) names.push_back(d->name);
    std::sort(names.begin(), names.end());
    for (const std::string_view n : names) std::printf(" %.*s", static_cast<int>(n.size()), n.data());
    std::printf("\n");
}

void print_version(const Tool& tool) {
    // Programs look for "qemu-img version X.Y" to know what they may ask for: the level of the documented tool comes first.
    if (tool.called.starts_with("qemu-img")) std::printf("qemu-img version 7.2.0 (Myna %s)\n", kVersion);
    else std::printf("myna-img version %s (compatible with qemu-img 7.2)\n", kVersion);
}

}  // namespace

int main_program(int argc, char** argv) {
    const char* slash = std::strrchr(argv[0], '/');
    auto reactor = io::Reactor::create();
    Tool tool(slash != nullptr ? slash + 1 : argv[0], **reactor);
    if (!reactor) return tool.error(reactor.error());
    if (argc < 2) return tool.usage("Not enough arguments");
    int at = 1;
    for (; at < argc && argv[at][0] == '-'; ++at) {
        const std::string_view a = argv[at];
        if (a == "-h" || a == "--help") return print_usage(tool), 0;
        if (a == "-V" || a == "--version") return print_version(tool), 0;
        if (a == "-T" || a.starts_with("--trace") || a.starts_with("-T"))
            return tool.error(std::string(a) + ": trace points are not implemented; 'perf trace' and 'strace' show requests to the host");
        return tool.usage("unrecognized option '" + std::string(a) + "'");
    }
    if (at == argc) return tool.usage("Not enough arguments");
    const std::string_view name = argv[at];
    std::vector<std::string_view> names;
    for (const Command* c : all_commands()) {
        names.push_back(c->name);
        if (c->name != name) continue;
        Args args;
        if (const auto code = parse_args(tool, *c, argc - at, argv + at, args)) return *code;
        if (!take_objects(tool, args)) return 1;
        const int code = tool.reactor.run(c->run(tool, args));
        if (std::fflush(stdout) != 0) return tool.error(text("writing to standard output: %s", std::strerror(errno)));
        return code;
    }
    std::string message = "Command not found: " + std::string(name);
    const std::string guess = nearest(name, names);
    if (!guess.empty()) message += "\nDid you mean '" + guess + "'?";
    return tool.usage(message);
}

}  // namespace myna::img
