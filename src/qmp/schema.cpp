#include "qmp/schema.h"

#include <algorithm>

namespace myna::qmp {

using nlohmann::json;

namespace {

/// The words of `text`; what is in brackets is one with what it belongs to.
std::vector<std::string_view> words_of(std::string_view text) {
    std::vector<std::string_view> out;
    size_t depth = 0, begin = 0;
    for (size_t i = 0; i <= text.size(); ++i) {
        const char c = i < text.size() ? text[i] : ' ';
        if (c == '{' || c == '[' || c == '<') ++depth;
        else if (c == '}' || c == ']' || c == '>') --depth;
        if (depth != 0 || (c != ' ' && c != '\n')) continue;
        if (i > begin) out.push_back(text.substr(begin, i - begin));
        begin = i + 1;
    }
    return out;
}

std::vector<std::string_view> split(std::string_view text, char at) {
    std::vector<std::string_view> out;
    for (size_t begin = 0; begin <= text.size();) {
        const size_t end = std::min(text.find(at, begin), text.size());
        out.push_back(text.substr(begin, end - begin));
        begin = end + 1;
    }
    return out;
}

constexpr std::pair<std::string_view, std::string_view> kBuiltins[] = {{"str", "string"}, {"int", "int"}, {"bool", "boolean"}, {"number", "number"}, {"any", "value"}, {"null", "null"}};

bool enumeration(std::string_view text) { return text.starts_with('=') || (text.find_first_of("{[<") == std::string_view::npos && text.find('|') != std::string_view::npos); }
std::vector<std::string_view> values(std::string_view text) { return split(text.starts_with('=') ? text.substr(1) : text, '|'); }

}  // namespace

std::vector<Member> members_of(std::string_view text) {
    std::vector<Member> out;
    for (std::string_view w : words_of(text)) {
        if (w == "/") break;
        const bool optional = w.starts_with('?');
        if (optional) w.remove_prefix(1);
        const size_t colon = w.find(':');
        out.push_back({w.substr(0, colon), w.substr(colon + 1), optional});
    }
    return out;
}

json Schema::object(std::string_view body) {
    json members = json::array();
    std::string_view tag_type;
    const auto words = words_of(body);
    const auto slash = std::ranges::find(words, "/");
    const std::string_view tag = slash == words.end() ? "" : slash[1];
    for (const Member& m : members_of(body)) {
        json j = {{"name", m.name}, {"type", type(m.type)}};
        if (m.optional) j["default"] = nullptr;
        members.push_back(std::move(j));
        if (m.name == tag) tag_type = m.type;
    }
    json out = {{"meta-type", "object"}, {"members", std::move(members)}};
    if (tag.empty()) return out;
    if (const auto named = types_.find(tag_type); named != types_.end()) tag_type = named->second;
    json variants = json::array();
    for (const std::string_view value : values(tag_type)) {
        std::string_view own = "{}";
        for (auto w = slash + 2; w != words.end(); ++w)
            if (w->starts_with(value) && w->substr(value.size()).starts_with('=')) own = w->substr(value.size() + 1);
        variants.push_back({{"case", value}, {"type", type(own)}});
    }
    out["tag"] = tag;
    out["variants"] = std::move(variants);
    return out;
}

std::string Schema::type(std::string_view text) {
    if (const auto at = known_.find(text); at != known_.end()) return at->second;
    for (const auto& [name, json_type] : kBuiltins)
        if (text == name) {
            known_.emplace(name, name);
            out_.push_back({{"name", name}, {"meta-type", "builtin"}, {"json-type", json_type}});
            return std::string(name);
        }
    if (text.starts_with('[')) {
        const std::string element = type(text.substr(1, text.size() - 2)), name = "[" + element + "]";
        if (known_.emplace(text, name).second) out_.push_back({{"name", name}, {"meta-type", "array"}, {"element-type", element}});
        return name;
    }
    const auto named = types_.find(text);
    const std::string_view body = named == types_.end() ? text : std::string_view(named->second);
    const std::string name = std::to_string(known_.size());
    known_.emplace(text, name);  // before its members: they may name it
    json j;
    if (body.starts_with('{')) {
        j = object(body.substr(1, body.size() - 2));
    } else if (body.starts_with('<')) {
        json members = json::array();
        for (const std::string_view w : words_of(body.substr(1, body.size() - 2))) members.push_back({{"type", type(w)}});
        j = {{"meta-type", "alternate"}, {"members", std::move(members)}};
    } else if (enumeration(body)) {
        json members = json::array(), names = json::array();
        for (const std::string_view v : values(body)) {
            members.push_back({{"name", v}});
            names.push_back(v);
        }
        j = {{"meta-type", "enum"}, {"members", std::move(members)}, {"values", std::move(names)}};
    } else {
        throw std::logic_error("no such type: " + std::string(text));  // a row of a table is wrong
    }
    j["name"] = name;
    out_.push_back(std::move(j));
    return name;
}

void Schema::command(const std::string& name, std::string_view arguments, std::string_view result) {
    out_.push_back({{"name", name}, {"meta-type", "command"}, {"arg-type", type(arguments)}, {"ret-type", type(result)}});
}

void Schema::event(const std::string& name, std::string_view data) { out_.push_back({{"name", name}, {"meta-type", "event"}, {"arg-type", type(data)}}); }

}  // namespace myna::qmp
