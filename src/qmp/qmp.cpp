#include "qmp/qmp.h"

#include <algorithm>
#include <chrono>

#include "qmp/schema.h"

namespace myna::qmp {

namespace {

constexpr std::string_view kClasses[] = {"CommandNotFound", "DeviceNotActive", "DeviceNotFound", "KVMMissingCap"};

bool is_of(const json& v, Argument::Type t) {
    switch (t) {
        case Argument::Type::kString: return v.is_string();
        case Argument::Type::kBool: return v.is_boolean();
        case Argument::Type::kNumber: return v.is_number_integer();
        case Argument::Type::kObject: return v.is_object();
        case Argument::Type::kArray: return v.is_array();
        case Argument::Type::kAny: return true;
    }
    return false;
}
constexpr const char* kTypeNames[] = {"string", "boolean", "integer", "object", "array", "any"};

/// Lets everything run that is ready to.
struct Turn {
    io::Reactor& reactor;
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> h) const { reactor.post(h); }
    void await_resume() const noexcept {}
};

std::unexpected<Error> wrong(std::string text) { return fail(ErrorKind::kInvalidArgument, std::move(text)); }

}  // namespace

Result<std::vector<std::string>> Splitter::feed(std::string_view bytes) {
    std::vector<std::string> out;
    for (const char c : bytes) {
        if (value_.empty() && depth_ == 0 && (c == ' ' || c == '\n' || c == '\r' || c == '\t')) continue;
        if (value_.size() > kLongest) return wrong("JSON token size limit exceeded");
        if (quote_ != 0) {
            if (escaped_) {
                escaped_ = false;
                if (c == '\'') value_.pop_back();  // \' is no escape of JSON's
                value_ += c;
            } else if (c == quote_) {
                quote_ = 0;
                value_ += '"';
            } else {
                escaped_ = c == '\\';
                if (c == '"') value_ += '\\';
                value_ += c;
            }
            continue;
        }
        if (c == '"' || c == '\'') {
            quote_ = c;
            value_ += '"';
            continue;
        }
        value_ += c;
        if (c == '{' || c == '[') {
            if (++depth_ > kDeepest) return wrong("JSON nesting depth limit exceeded");
        } else if ((c == '}' || c == ']') && depth_ > 0) {
            --depth_;
        }
        if (depth_ == 0 && (c == '\n' || c == '}' || c == ']')) out.push_back(std::exchange(value_, {}));
    }
    return out;
}

Error class_error(std::string_view error_class, std::string message) { return {ErrorKind::kNotFound, std::string(error_class) + ":" + message}; }

json error_object(const Error& e) {
    for (const std::string_view c : kClasses)
        if (e.message.starts_with(c) && e.message.substr(c.size()).starts_with(":")) return {{"class", c}, {"desc", e.message.substr(c.size() + 1)}};
    return {{"class", "GenericError"}, {"desc", e.message}};
}

json version() { return {{"qemu", {{"major", 7}, {"minor", 2}, {"micro", 0}}}, {"package", "Myna 0.1"}}; }

void Commands::add(std::string name, std::vector<Argument> arguments, Run run, bool open) { rows_[std::move(name)] = {.arguments = std::move(arguments), .run = std::move(run), .open = open}; }

std::vector<std::string> Commands::names() const {
    std::vector<std::string> out;
    for (const auto& [name, row] : rows_) out.push_back(name);
    return out;
}

Result<void> Commands::check(std::string_view name, const json& arguments, const std::string& prefix) const {
    const auto at = rows_.find(name);
    if (at == rows_.end()) return std::unexpected(class_error("CommandNotFound", "The command " + std::string(name) + " has not been found"));
    for (const Argument& a : at->second.arguments) {
        const auto v = arguments.find(a.name);
        if (v == arguments.end()) {
            if (a.required) return wrong("Parameter '" + prefix + std::string(a.name) + "' is missing");
        } else if (!is_of(*v, a.type)) {
            return wrong("Invalid parameter type for '" + prefix + std::string(a.name) + "', expected: " + kTypeNames[static_cast<int>(a.type)]);
        }
    }
    if (!at->second.open)
        for (const auto& [key, v] : arguments.items())
            if (std::ranges::none_of(at->second.arguments, [&](const Argument& a) { return a.name == key; })) return wrong("Parameter '" + prefix + key + "' is unexpected");
    return {};
}

Task<Result<json>> Commands::run(std::string name, json arguments) {
    if (arguments.is_null()) arguments = json::object();
    if (auto r = check(name, arguments); !r) co_return std::unexpected(r.error());
    co_return co_await rows_.find(name)->second.run(std::move(arguments));
}

void Commands::describe(const std::string& command, std::string_view result, std::string_view arguments) {
    Row& row = rows_.at(command);
    row.result = result;
    row.shape = arguments;
}

std::string Commands::shape(std::string_view command) const {
    static constexpr std::string_view kOfType[] = {"str", "bool", "int", "any", "[any]", "any"};
    const Row& row = rows_.find(command)->second;
    if (!row.shape.empty()) return row.shape;
    std::string out;
    for (const Argument& a : row.arguments)
        if (a.schema != "-") out += (out.empty() ? "" : " ") + std::string(a.required ? "" : "?") + std::string(a.name) + ":" + std::string(a.schema.empty() ? kOfType[static_cast<int>(a.type)] : a.schema);
    return "{" + out + "}";
}

json Commands::schema() const {
    Schema s(types_);
    for (const auto& [name, row] : rows_) s.command(name, shape(name), row.result);
    s.command("qmp_capabilities", "{?enable:[=oob]}", "{}");
    for (const auto& [name, data] : events_) s.event(name, data);
    return s.take();
}

void Commands::emit(const std::string& event, json data) {
    const auto now = std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::system_clock::now().time_since_epoch()).count();
    json e = {{"event", event}, {"timestamp", {{"seconds", now / 1'000'000}, {"microseconds", now % 1'000'000}}}};
    if (!data.is_null()) e["data"] = std::move(data);
    for (Monitor* m : monitors_) m->event(e);
}

Monitor::Monitor(Commands& commands, std::unique_ptr<net::Stream> stream, bool pretty) : commands_(commands), stream_(std::move(stream)), pretty_(pretty) {
    at_ = commands_.monitors_.insert(commands_.monitors_.end(), this);
}

Monitor::~Monitor() { commands_.monitors_.erase(at_); }

namespace {

/// One line of JSON with a blank behind each colon and comma, as scripts that compare text expect it.
std::string spaced(const std::string& compact) {
    std::string out;
    out.reserve(compact.size() + compact.size() / 8);
    bool quoted = false;
    for (size_t i = 0; i < compact.size(); ++i) {
        const char c = compact[i];
        out += c;
        if (quoted && c == '\\' && i + 1 < compact.size()) out += compact[++i];
        else if (c == '"') quoted = !quoted;
        else if (!quoted && (c == ':' || c == ',')) out += ' ';
    }
    return out;
}

}  // namespace

Task<Result<void>> Monitor::send(json j) {
    const auto replace = json::error_handler_t::replace;
    const std::string text = (pretty_ ? j.dump(4, ' ', false, replace) : spaced(j.dump(-1, ' ', false, replace))) + "\r\n";
    co_return co_await stream_->write({reinterpret_cast<const uint8_t*>(text.data()), text.size()});
}

void Monitor::event(const json& e) {
    if (!negotiated_) return;
    stream_->reactor().spawn([](std::shared_ptr<Monitor> m, json j) -> Task<void> { (void)co_await m->send(std::move(j)); }(shared_from_this(), e));
}

Result<void> Monitor::negotiate(const json& request) {
    if (negotiated_) return std::unexpected(class_error("CommandNotFound", "Capabilities negotiation is already complete, command ignored"));
    if (const auto a = request.find("arguments"); a != request.end() && a->is_object())
        if (const auto enable = a->find("enable"); enable != a->end() && !enable->empty()) return wrong("Capability " + enable->front().dump() + " is not available");
    negotiated_ = true;
    return {};
}

Task<json> Monitor::answer(const std::string& text) {
    const json request = json::parse(text, nullptr, false);
    json reply = json::object();
    Result<json> result = json::object();
    const auto refuse = [&](std::string why) { result = wrong(std::move(why)); };
    if (request.is_discarded()) {
        refuse("JSON parse error, invalid input");
    } else if (!request.is_object()) {
        refuse("QMP input must be a JSON object");
    } else {
        if (request.contains("id")) reply["id"] = request["id"];
        const auto execute = request.find("execute"), arguments = request.find("arguments");
        std::string unexpected;
        for (const auto& [key, v] : request.items())
            if (key != "execute" && key != "arguments" && key != "id" && key != "control") unexpected = key;
        if (!unexpected.empty()) refuse("QMP input member '" + unexpected + "' is unexpected");
        else if (execute == request.end()) refuse("QMP input lacks member 'execute'");
        else if (!execute->is_string()) refuse("QMP input member 'execute' must be a string");
        else if (arguments != request.end() && !arguments->is_object()) refuse("QMP input member 'arguments' must be an object");
        else if (*execute == "qmp_capabilities") {
            if (auto r = negotiate(request); !r) result = std::unexpected(r.error());
        } else if (!negotiated_) {
            result = std::unexpected(class_error("CommandNotFound", "Expecting capabilities negotiation with 'qmp_capabilities'"));
        } else {
            result = co_await commands_.run(execute->get<std::string>(), arguments == request.end() ? json() : *arguments);
        }
    }
    if (result) reply["return"] = std::move(*result);
    else reply["error"] = error_object(result.error());
    co_return reply;
}

Task<void> Monitor::serve(std::shared_ptr<Monitor> self) {
    Monitor& m = *self;
    const json greeting = {{"QMP", {{"version", version()}, {"capabilities", json::array()}}}};
    if (!co_await m.send(greeting)) co_return;
    Splitter splitter;
    char buffer[4096];
    for (;;) {
        const auto n = co_await m.stream_->read_some(buffer, sizeof buffer);
        if (!n || *n == 0) co_return;
        const auto values = splitter.feed({buffer, *n});
        if (!values) {
            (void)co_await m.send({{"error", error_object(values.error())}});
            co_return;
        }
        for (const std::string& v : *values) {
            json reply = co_await m.answer(v);
            co_await Turn{m.stream_->reactor()};  // what the command set going begins before the next one
            if (!co_await m.send(std::move(reply))) co_return;
        }
    }
}

}  // namespace myna::qmp
