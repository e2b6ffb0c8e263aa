// `myna-user binfmt …`: tells the kernel which programs the emulator is to be started for (binfmt_misc).
//
//   list      what would be registered            install   registers (--persist: also at every boot)
//   status    what is registered, and by whom     remove    takes it back
//   doctor    looks for what keeps foreign programs from running, and runs one of each architecture
//
// Source: the kernel's Documentation/admin-guide/binfmt-misc.rst; binfmt.d(5).
#pragma once

#include <span>
#include <string>

namespace myna::user {

/// True when `argv` is this command, not a program called "binfmt" that the kernel hands to us.
bool is_binfmt_command(int argc, char** argv) noexcept;
/// Runs it; the arguments are those after "binfmt". Returns the exit code: 0, 1 (something failed), 2 (wrong usage).
int run_binfmt_command(std::span<char*> arguments);

}  // namespace myna::user
