// The frame of myna-img: one table of commands, each a table of options and a coroutine.
//
//   argv ─▶ main_program ─▶ Command (by name) ─▶ parse_args ─▶ Args ─▶ command's coroutine ─▶ exit code
//
// A command is one file of this folder with one `const Command` in it and a line in program.cpp. Help, the suggestions
// for mistyped names and the options' long and short forms come from the tables. Messages begin with the name that the
// program was called by, since scripts look for `qemu-img:`.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "block/graph/graph.h"
#include "io/reactor.h"

namespace myna::img {

using block::Graph;
using block::Node;
using block::NodePtr;
using block::OpenOptions;
using io::IoVec;
using io::Task;

/// One option. `letter` 0: long form only; `name` empty: short form only; `value` empty: a switch.
struct Option {
    char letter;
    std::string_view name;
    std::string_view value;
    std::string_view help;
};

/// What was given: options by long name (or, without one, by letter) and the rest in order.
class Args {
  public:
    std::vector<std::string> rest;

    [[nodiscard]] bool has(std::string_view key) const { return values_.contains(key); }
    /// The last value given, or `otherwise`.
    [[nodiscard]] std::string get(std::string_view key, std::string otherwise = {}) const;
    [[nodiscard]] std::optional<std::string> find(std::string_view key) const;
    [[nodiscard]] std::vector<std::string> all(std::string_view key) const;
    /// Every option in the order given, for commands where order matters.
    [[nodiscard]] const std::vector<std::pair<std::string, std::string>>& in_order() const noexcept { return order_; }
    void add(const std::string& key, std::string value);

  private:
    std::map<std::string, std::vector<std::string>, std::less<>> values_;
    std::vector<std::pair<std::string, std::string>> order_;
};

class Tool {
  public:
    Tool(std::string name, io::Reactor& r) : called(std::move(name)), reactor(r), graph(r) {}

    std::string called;  // the base name of argv[0]
    io::Reactor& reactor;
    Graph graph;

    /// Prints `called: message` to stderr; gives 1, the usual exit code.
    int error(const std::string& message) const;
    int error(const Error& e) const { return error(e.message); }
    int error(Error e, std::string_view prefix) const { return error(std::move(e).in(prefix)); }
    /// error(), and where to find help.
    int usage(const std::string& message) const;
    void warning(const std::string& message) const;
};

struct Command {
    std::string_view name;
    std::string_view operands;  // "FILE [SIZE]"
    std::string_view summary;
    std::span<const Option> options;
    Task<int> (*run)(Tool& tool, Args& args);
    bool last_is_operand = false;  // the last argument is never an option: "resize FILE -1M"
};

/// All commands, by name.
std::span<const Command* const> all_commands() noexcept;

/// The program: gives the exit code.
int main_program(int argc, char** argv);

/// What the host says of an error ("Input/output error"), where it said something; else the message.
std::string reason(const Error& e);
/// printf into a string.
[[gnu::format(printf, 1, 2)]] std::string text(const char* format, ...);

/// The candidate nearest to `typed` when it is near enough for a mistyping; else empty.
std::string nearest(std::string_view typed, std::span<const std::string_view> candidates);

// ---- sizes (units.cpp)

enum class SizeError : uint8_t { kNone, kSyntax, kRange };
/// "64k", "1.5G", "0x200" as bytes: suffixes b k M G T P E, powers of 1024.
SizeError parse_size(std::string_view s, uint64_t& out, uint64_t max = INT64_MAX);
/// parse_size with the tool's messages: `what` names the thing ("image size").
std::optional<uint64_t> size_argument(const Tool& tool, std::string_view s, std::string_view what, uint64_t min = 0, uint64_t max = INT64_MAX);
/// "10 MiB", "1.82 MiB": three digits.
std::string human_size(uint64_t bytes);

// ---- output (output.cpp)

/// JSON as the documented tool prints it: four blanks, keys in the order of its hash table.
std::string json_text(const nlohmann::json& j);
/// The keys of `object` in that order.
std::vector<std::string> ordered_keys(const nlohmann::json& object);
/// "--output": human or json; nullopt after a message.
std::optional<bool> wants_json(const Tool& tool, const Args& args);

// ---- opening (open.cpp)

/// Takes --object secret,… into the graph. False after a message.
bool take_objects(Tool& tool, const Args& args);

struct Wanted {
    std::string name, format;
    bool image_opts = false;
    bool writable = false, force_share = false, no_backing = false, no_io = false, check = false;
    bool quiet = false;
    std::string cache = "writeback";
    unsigned writable_backing = 0;
    nlohmann::json options = nlohmann::json::object();  // of the driver, beside the name
};
/// Opens an image, says what is wrong, gives null then.
Task<NodePtr> open_image(Tool& tool, Wanted wanted);
/// Sets the cache mode of `o`; false when there is no such mode.
bool set_cache_mode(OpenOptions& o, std::string_view mode);
/// "a=b,c=d,,e" (values of -o, given once or more) as an options object; "help" and "?" are left as keys.
nlohmann::json creation_options(const std::vector<std::string>& given);
/// Whether the values of -o are lists; says which is not.
[[nodiscard]] bool takes_options(const Tool& tool, const std::vector<std::string>& given);
[[nodiscard]] bool asks_for_help(const std::vector<std::string>& given);
/// "snapshot.id=1,snapshot.name=x", or the id or name itself, as id or name; nullopt after a message.
std::optional<std::string> snapshot_argument(const Tool& tool, const std::string& given);
/// The list of `-o help`.
int print_creation_help(const Tool& tool, std::string_view format, const std::optional<std::string>& filename);
/// Checks and normalises the values of -o against the format's (and the protocol's) options.
Result<void> check_creation_options(const block::Driver& format, nlohmann::json& options);

// ---- progress (progress.cpp)

/// Percents on stdout (-p), or to stderr when SIGUSR1 comes.
class Progress {
  public:
    explicit Progress(bool on);
    ~Progress();
    Progress(const Progress&) = delete;
    Progress& operator=(const Progress&) = delete;
    /// `done` of `total` (any unit).
    void report(uint64_t done, uint64_t total);
    void finish();

  private:
    void print(double percent);
    bool on_, bar_, finished_ = false;
    double last_ = -100;
};

// ---- shared options

inline constexpr Option kOptFormat{'f', "format", "FMT", "the image's format (default: guessed)"};
inline constexpr Option kOptImageOpts{0, "image-opts", "", "FILE is a list of driver options (driver=…,file.filename=…)"};
inline constexpr Option kOptObject{0, "object", "OBJECT", "secret,id=…,data=…|file=… for passwords and keys"};
inline constexpr Option kOptShare{'U', "force-share", "", "open although another process writes to it"};
inline constexpr Option kOptQuiet{'q', "quiet", "", "print errors only"};
inline constexpr Option kOptProgress{'p', "progress", "", "show how far it is"};
inline constexpr Option kOptCache{'t', "cache", "CACHE", "none, writeback, writethrough, directsync or unsafe"};
inline constexpr Option kOptSourceCache{'T', "source-cache", "CACHE", "cache mode of what is read"};
inline constexpr Option kOptOutput{0, "output", "human|json", "how the result is printed"};

extern const Command kAmend, kBench, kBitmap, kCheck, kCommit, kCompact, kCompare, kConvert, kCreate, kDd, kImport, kInfo, kMap, kMeasure,
    kRebase, kResize, kSnapshot;

}  // namespace myna::img
