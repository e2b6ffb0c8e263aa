// The entry of myna-nbd.
#pragma once

namespace myna::tools::nbd {

/// Runs the program; gives its exit code. Servers end the process themselves.
int main_program(int argc, char** argv);

}  // namespace myna::tools::nbd
