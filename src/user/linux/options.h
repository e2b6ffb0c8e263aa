// The command line of myna-user and of the tools whose names it answers to (qemu-<arch>), with their QEMU_* variables.
//
//   argv[0] ─▶ which tool ─┐
//   QEMU_*, MYNA_* ────────┼─▶ Options        one table of rows: name, argument, variable, help, parser
//   argv[1…] ──────────────┘
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "jit/engine.h"

namespace myna::user {

/// -d crash: in EngineOptions::log beside the engine's items (jit::Log).
inline constexpr uint32_t kLogCrash = 1u << 31;

struct Options {
    std::string called;                 // the name we were called by, for messages
    std::string guest;                  // the guest that name demands ("aarch64"), "": from the program
    std::string sysroot;                // -L
    std::string cpu;                    // -cpu
    std::string argv0;                  // -0
    bool has_argv0 = false;
    std::string uname_release;          // -r
    uint64_t stack_size = 0;            // -s, 0: RLIMIT_STACK or 8 MiB
    std::optional<uint64_t> guest_base; // -B
    uint64_t reserved_va = 0;           // -R
    std::vector<std::string> set_env;   // -E NAME=VALUE, in order
    std::vector<std::string> unset_env; // -U NAME
    std::optional<uint64_t> seed;       // -seed
    std::string gdb;                    // -g, "": none
    bool strace = false;
    std::string log_items, log_file;
    jit::EngineOptions engine{.interpret_once = true};

    std::vector<std::string> own_args;  // the options as they were given: handed on at execve
    std::string traced;                 // how the process is traced that executes this program (trace.h), "": it is not
    std::string emulator;               // absolute path that we were started by, "" where the kernel chose us
    std::string limits;                 // limits_for_exec of its predecessor
    int filters_fd = -1;                // seccomp filters that its predecessor had (seccomp.h)
    std::string program;                // guest program
    std::vector<std::string> args;      // guest argv, from argv[0] on
    int program_fd = -1;                // binfmt_misc's O flag: the program, open
};

/// What main() does after parsing.
enum class Action : uint8_t { kRun, kDone };

/// Fills `o` from the environment and `argv`. kDone: something was printed (-help, -version, -cpu help), exit 0.
Result<Action> parse_options(int argc, char** argv, char** env, Options& o);

/// The guest that a program name stands for ("qemu-riscv64-static" → "riscv64"), or "".
std::string_view guest_of_tool_name(std::string_view name) noexcept;
/// The closest of `names` to `wrong`, or "" when none is close.
std::string_view closest(std::string_view wrong, const std::vector<std::string_view>& names);

}  // namespace myna::user
