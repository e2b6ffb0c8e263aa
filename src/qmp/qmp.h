// QMP: the JSON control protocol of machines and storage daemons. One library for all who speak it.
//
//   bytes ─▶ Splitter ─▶ one JSON value ─▶ Monitor: capabilities, id ─▶ Commands (by name) ─▶ {"return": …} | {"error": …}
//                                                     events, to every monitor that has negotiated  ◀─ Commands::emit
//
// A command is a row: a name, the arguments it takes, a coroutine from arguments to a result. All on the Reactor's thread;
// commands of one monitor run one after the other. Not there: out-of-band execution (the capability is not offered).
#pragma once

#include <functional>
#include <list>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "net/stream.h"

namespace myna::qmp {

using io::Task;
using nlohmann::json;

/// Cuts a stream of JSON values into single ones, with or without white space between them. Strings may stand in single
/// quotes, as the documented server takes them; they come out in double ones.
class Splitter {
  public:
    static constexpr size_t kLongest = 16u << 20;  // bytes of one value
    static constexpr unsigned kDeepest = 1024;     // brackets
    /// Takes bytes; gives each value that is complete. An error when a value is too long or too deep.
    Result<std::vector<std::string>> feed(std::string_view bytes);

  private:
    std::string value_;
    unsigned depth_ = 0;
    char quote_ = 0;
    bool escaped_ = false;
};

/// A command's argument.
struct Argument {
    std::string_view name;
    enum class Type : uint8_t { kString, kBool, kNumber, kObject, kArray, kAny } type;
    bool required = false;
    /// Its type as clients are told (schema.h); empty: what `type` says; "-": they are not told of it.
    std::string_view schema = {};
};

class Monitor;

/// The commands of a program, and the monitors that use them.
class Commands {
  public:
    using Run = std::function<Task<Result<json>>(json arguments)>;

    /// `open`: arguments beyond those listed are the command's to check (blockdev-add).
    void add(std::string name, std::vector<Argument> arguments, Run run, bool open = false);
    /// Runs one command after checking its arguments. Errors are worded as scripts expect them.
    Task<Result<json>> run(std::string name, json arguments);
    /// A type that others may name (schema.h).
    void define(std::string name, std::string type) { types_[std::move(name)] = std::move(type); }
    /// What clients are told of a command's result, and of its arguments where the rows do not say ("": the rows do).
    void describe(const std::string& command, std::string_view result, std::string_view arguments = {});
    /// An event that clients may hear of.
    void declare(std::string event, std::string_view data) { events_[std::move(event)] = data; }
    /// The type of a command's arguments (schema.h).
    [[nodiscard]] std::string shape(std::string_view command) const;
    /// What query-qmp-schema answers.
    [[nodiscard]] json schema() const;
    /// Checks arguments as run() does. `prefix` stands before names in errors ("actions[0].data.").
    Result<void> check(std::string_view name, const json& arguments, const std::string& prefix = {}) const;
    /// The names, sorted.
    [[nodiscard]] std::vector<std::string> names() const;
    /// Sends an event to every monitor that negotiated. `data` null: none.
    void emit(const std::string& event, json data);

  private:
    friend class Monitor;
    struct Row {
        std::vector<Argument> arguments;
        Run run;
        bool open;
        std::string result = "{}", shape = {};
    };
    std::map<std::string, Row, std::less<>> rows_;
    std::map<std::string, std::string, std::less<>> types_;
    std::map<std::string, std::string_view> events_;
    std::list<Monitor*> monitors_;
};

/// {"qemu": {…}, "package": …}: the version that clients are told, of the program whose commands these are.
json version();

/// One client of a monitor.
class Monitor : public std::enable_shared_from_this<Monitor> {
  public:
    Monitor(Commands& commands, std::unique_ptr<net::Stream> stream, bool pretty);
    ~Monitor();
    Monitor(const Monitor&) = delete;
    Monitor& operator=(const Monitor&) = delete;

    /// Greets, then answers until the client leaves.
    static Task<void> serve(std::shared_ptr<Monitor> self);
    /// Ends the connection.
    void shutdown() { stream_->shutdown(); }

  private:
    friend class Commands;
    void event(const json& e);
    Task<Result<void>> send(json j);
    Task<json> answer(const std::string& text);
    Result<void> negotiate(const json& request);

    Commands& commands_;
    std::unique_ptr<net::Stream> stream_;
    bool pretty_, negotiated_ = false;
    std::list<Monitor*>::iterator at_;
};

/// An error of a class of its own: an Error's message may begin with the class and a colon ("DeviceNotActive:…").
Error class_error(std::string_view error_class, std::string message);
/// {"class": …, "desc": …}.
json error_object(const Error& e);

}  // namespace myna::qmp
