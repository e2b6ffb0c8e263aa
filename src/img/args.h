// Reading a command's arguments by its table of options, and printing that table as help.
#pragma once

#include "img/tool.h"

namespace myna::img {

/// Prints the command's help to stdout.
void print_help(const Tool& tool, const Command& c);
/// Fills `out` from argv[1…]; an exit code when the command must not run (help was printed, or a mistake named).
std::optional<int> parse_args(const Tool& tool, const Command& c, int argc, char** argv, Args& out);

}  // namespace myna::img
