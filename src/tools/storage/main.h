// myna-storage-daemon, also called qemu-storage-daemon.
#pragma once

namespace myna::tools::storage {

/// The program; gives its exit code.
int main_program(int argc, char** argv);

}  // namespace myna::tools::storage
