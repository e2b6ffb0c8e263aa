// Types of arguments, results and events in a short notation, and what query-qmp-schema makes of them.
//
//   str int bool number any null      what JSON has
//   off|on|unmap   =only              an enumeration
//   [T]                               a list
//   <T U>                             one of several types
//   {a:T ?b:T}                        an object; ?: may be left out
//   {kind:K a:T / kind x={b:T} y=Y}   …with more members, which the value of one decides
//   Name                              a type that was defined; it may name itself
#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace myna::qmp {

struct Member {
    std::string_view name, type;
    bool optional;
};
/// The members that a text "a:T ?b:T" lists. They live as long as the text.
std::vector<Member> members_of(std::string_view text);

/// Gathers types, each once, as the documented introspection gives them: a flat list, in which types have numbers for names.
class Schema {
  public:
    /// `types`: the text of each name; must live as long.
    explicit Schema(const std::map<std::string, std::string, std::less<>>& types) : types_(types) {}
    /// The name by which `text` is referred to.
    std::string type(std::string_view text);
    void command(const std::string& name, std::string_view arguments, std::string_view result);
    void event(const std::string& name, std::string_view data);
    [[nodiscard]] nlohmann::json take() { return std::move(out_); }

  private:
    nlohmann::json object(std::string_view body);

    const std::map<std::string, std::string, std::less<>>& types_;
    std::map<std::string, std::string, std::less<>> known_;  // by text
    nlohmann::json out_ = nlohmann::json::array();
};

}  // namespace myna::qmp
