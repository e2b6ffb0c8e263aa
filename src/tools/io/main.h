// The entry of myna-io.
#pragma once

namespace myna::tools::io_tool {

/// Runs the program; gives its exit code. Servers end the process themselves.
int main_program(int argc, char** argv);

}  // namespace myna::tools::io_tool
