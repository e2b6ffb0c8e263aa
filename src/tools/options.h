// Options of a tool as a table: parsing, help and the hint for mistyped names come from it.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace myna::tools {

/// One option. `letter` 0: long form only; `name` empty: short form only; `value` empty: takes none. A row with neither
/// letter nor name is a heading of the help.
struct OptionRow {
    char letter;
    std::string_view name;
    std::string_view value;
    std::string_view help;
    bool optional_value = false;
};

struct Parsed {
    /// In the order given: the long name (the letter where there is none) and the value.
    std::vector<std::pair<std::string, std::string>> options;
    std::vector<std::string> rest;
};

/// Reads argv[1…]: -f fmt, -ffmt, -rt, --format=fmt, --format fmt, unambiguous beginnings of long names, "--". A single
/// dash before a long name is taken when `single_dash` is set. Errors begin as getopt's do.
Result<Parsed> parse_options(std::span<const OptionRow> table, std::span<char* const> arguments, bool single_dash = false);
/// The table as help text.
std::string help_text(std::span<const OptionRow> table);
/// "a=1,b=2": values may hold doubled commas; a word without '=' that comes first is the value of `implied`.
Result<std::vector<std::pair<std::string, std::string>>> parse_properties(std::string_view text, std::string_view implied = {});
/// "64k", "1.5G", "0x200" as bytes (suffixes b k M G T P E).
Result<uint64_t> parse_size(std::string_view text);

}  // namespace myna::tools
