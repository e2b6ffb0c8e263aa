// myna-user, and by other names qemu-aarch64, qemu-riscv64…: runs a Linux program of another architecture.
#include <cstdio>

#include "user/linux/binfmt.h"
#include "user/linux/options.h"
#include "user/linux/process.h"

int main(int argc, char** argv, char** env) {
    if (myna::user::is_binfmt_command(argc, argv)) return myna::user::run_binfmt_command({argv + 2, argv + argc});
    // Not destroyed: the guest's end is the process's end.
    auto& options = *new myna::user::Options;
    const auto action = myna::user::parse_options(argc, argv, env, options);
    if (!action) {
        std::fprintf(stderr, "%s: %s\n", options.called.c_str(), action.error().message.c_str());
        return 1;
    }
    return *action == myna::user::Action::kDone ? 0 : myna::user::run_program(options, env);
}
