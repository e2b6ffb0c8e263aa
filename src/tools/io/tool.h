// myna-io: reads, writes and pokes at an image by commands, for tests and for looking into trouble.
//
//   -c 'write -P 7 0 64k' | a line of stdin ─▶ words ─▶ Command (table) ─▶ its coroutine on the open Node ─▶ report
//
// Output and exit codes are those of the documented tool, since test suites match on them.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "io/reactor.h"
#include "io/sync.h"
#include "tools/objects.h"

namespace myna::tools::io_tool {

using io::Task;

/// The state between commands.
struct Shell {
    Shell(std::string name, io::Reactor& r) : called(std::move(name)), reactor(r), graph(r), idle(r, kMostAsync) {}
    static constexpr uint64_t kMostAsync = 1u << 20;

    std::string called;
    io::Reactor& reactor;
    block::Graph graph;
    Objects objects;
    block::NodePtr node;
    ImageOptions opened;      // how `node` was opened, for reopen
    bool misalign = false;    // -m
    bool done = false;        // quit
    io::Semaphore idle;       // one unit for each asynchronous request under way

    /// Prints `called: message` to stderr; gives -1.
    int error(const std::string& message) const;
    Task<int> open(ImageOptions image);
    Task<int> close();
    Task<void> drain();
};

/// A command's words after getopt's manner: letters with their values, and the rest.
struct Words {
    std::string name;
    std::vector<std::pair<char, std::string>> options;
    std::vector<std::string> rest;
    [[nodiscard]] bool has(char c) const;
    [[nodiscard]] std::string get(char c, std::string otherwise = {}) const;
};

struct Command {
    std::string_view name, alias;
    std::string_view letters;   // as getopt wants them: "bCqvP:"
    int least, most;            // words behind the name; most -1: any number
    std::string_view usage, summary, details;
    bool needs_file, writes;
    /// Negative: the command failed.
    Task<int> (*run)(Shell& shell, const Command& command, Words& words);
};

/// rw.cpp and inspect.cpp
std::span<const Command> transfer_commands() noexcept;
std::span<const Command> other_commands() noexcept;

/// Runs one line.
Task<int> run_line(Shell& shell, const std::string& line);
/// Prints the one-line usage; gives -1.
int usage(const Command& c);
/// Prints what is wrong with the words unless `least` ≤ rest ≤ `most`.
int list_commands(const std::string& which);

// ---- numbers and reports (report.cpp)

/// A size argument; prints the parse error otherwise.
std::optional<int64_t> number(const std::string& text);
/// A byte for -P; prints the error otherwise.
std::optional<uint8_t> pattern(const std::string& text);
/// "64 KiB", "4.500 KiB", "100 bytes".
std::string size_text(double value);
/// The two lines (or with `machine` the one) about a finished request.
void report(const char* what, std::chrono::nanoseconds took, uint64_t offset, uint64_t count, uint64_t total, int ops, bool machine);
/// Hex and characters, sixteen a line.
void dump(std::span<const uint8_t> bytes, uint64_t offset);

}  // namespace myna::tools::io_tool
