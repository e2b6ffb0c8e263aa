// JSON text in the shape scripts know: four blanks of indentation, and the keys of objects in the order in which the
// documented tool's hash table of 512 buckets lists them, so that even line-by-line readers find what they look for.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "img/tool.h"

namespace myna::img {

namespace {

/// The bucket of a key. The hash is the one of the "trivial database" library, a fact of the peer's output order.
unsigned bucket(std::string_view key) {
    uint32_t v = 0x238F13AFu * static_cast<uint32_t>(key.size());
    for (uint32_t i = 0; i < key.size(); ++i) v += static_cast<uint32_t>(static_cast<unsigned char>(key[i])) << (i * 5 % 24);
    return (1103515243u * v + 12345u) % 512;
}

nlohmann::ordered_json ordered(const nlohmann::json& j) {
    if (j.is_array()) {
        nlohmann::ordered_json out = nlohmann::ordered_json::array();
        for (const auto& e : j) out.push_back(ordered(e));
        return out;
    }
    if (!j.is_object()) return nlohmann::ordered_json(j);
    nlohmann::ordered_json out = nlohmann::ordered_json::object();
    for (const std::string& k : ordered_keys(j)) out[k] = ordered(j[k]);
    return out;
}

}  // namespace

std::vector<std::string> ordered_keys(const nlohmann::json& object) {
    std::vector<std::string> keys;
    for (const auto& [k, v] : object.items()) keys.push_back(k);
    std::sort(keys.begin(), keys.end(), [](const std::string& a, const std::string& b) { return bucket(a) < bucket(b); });
    return keys;
}

std::string json_text(const nlohmann::json& j) { return ordered(j).dump(4, ' ', false, nlohmann::json::error_handler_t::replace); }

std::optional<bool> wants_json(const Tool& tool, const Args& args) {
    const std::string mode = args.get("output", "human");
    if (mode == "json") return true;
    if (mode == "human") return false;
    tool.error("--output must be used with human or json as argument.");
    return std::nullopt;
}

}  // namespace myna::img
