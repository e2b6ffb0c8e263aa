#include "block/formats/common/open.h"

#include <sys/random.h>

#include <cmath>
#include <cstdlib>
#include <nlohmann/json.hpp>

namespace myna::block::formats {

Task<Result<NodePtr>> open_below(Graph& graph, const OpenOptions& o) {
    if (o.probed_file) return [](NodePtr n) -> Task<Result<NodePtr>> { co_return n; }(o.probed_file);
    OpenOptions below = o;
    below.options = o.options.value("file", nlohmann::json::object());
    below.writethrough = false;
    return graph.open_tree(std::move(below));
}

Task<Result<std::vector<uint8_t>>> read_bytes(Node& file, uint64_t offset, size_t n) {
    std::vector<uint8_t> out(n);
    const size_t there = offset >= file.size() ? 0 : static_cast<size_t>(std::min<uint64_t>(n, file.size() - offset));
    const IoVec part(out.data(), there);
    if (auto r = co_await file.read(offset, part); !r && there != 0) co_return std::unexpected(r.error());
    co_return out;
}

Task<Result<void>> write_bytes(Node& file, uint64_t offset, const void* bytes, size_t n) {
    if (offset + n > file.size())
        if (auto r = co_await file.grow_to(offset + n); !r) co_return r;
    const IoVec part(const_cast<void*>(bytes), n);
    co_return co_await file.write(offset, part);
}

Result<std::optional<uint64_t>> number_option(const nlohmann::json& options, const char* key) {
    const auto it = options.find(key);
    if (it == options.end()) return std::nullopt;
    if (it->is_number_unsigned()) return it->get<uint64_t>();
    CreateOptions text;
    text.options = {{key, *it}};
    return CreateArgs(text).size(key);
}

Task<Result<NodePtr>> create_file(Graph& graph, const CreateOptions& o) {
    CreateOptions below;
    below.filename = o.filename;
    if (const auto it = o.options.find("nocow"); it != o.options.end()) below.options["nocow"] = *it;
    if (auto r = co_await graph.create_protocol(below); !r) co_return std::unexpected(r.error());
    OpenOptions open;
    auto node = co_await graph.open_protocol(o.filename, open);
    // A new file reads as zeroes; what a device holds from before must not be taken for tables.
    if (node && !(*node)->zero_init() && (*node)->size() > 0)
        if (auto r = co_await (*node)->write_zeroes(0, (*node)->size(), {.may_unmap = true}); !r) co_return std::unexpected(r.error());
    co_return node;
}

std::optional<std::string> CreateArgs::text(const char* key) const {
    const auto it = o_.options.find(key);
    if (it == o_.options.end()) return std::nullopt;
    return it->is_string() ? it->get<std::string>() : it->dump();
}

Result<std::optional<uint64_t>> CreateArgs::size(const char* key) const {
    const auto s = text(key);
    if (!s) return std::nullopt;
    char* end = nullptr;
    const double v = std::strtod(s->c_str(), &end);
    uint64_t unit = 1;
    bool good = end != s->c_str() && v >= 0 && std::isfinite(v);
    if (good && *end != 0) {
        static constexpr std::string_view kUnits = "bkmgtpe";
        const size_t i = kUnits.find(static_cast<char>(std::tolower(*end)));
        good = i != std::string_view::npos && end[1] == 0;
        if (good) unit = uint64_t{1} << (10 * i);
    }
    if (!good || v * static_cast<double>(unit) >= 9.2e18)
        return fail(ErrorKind::kInvalidArgument, std::string("Parameter '") + key + "' expects a non-negative number below 2^63, not '" + *s + "' (suffixes k, M, G, T, P, E are allowed)");
    return static_cast<uint64_t>(v * static_cast<double>(unit));
}

Result<bool> CreateArgs::on(const char* key, bool otherwise) const {
    const auto s = text(key);
    if (!s) return otherwise;
    if (*s == "on" || *s == "true" || *s == "yes") return true;
    if (*s == "off" || *s == "false" || *s == "no") return false;
    return fail(ErrorKind::kInvalidArgument, std::string("Parameter '") + key + "' expects 'on' or 'off', not '" + *s + "'");
}

std::vector<uint8_t> random_uuid() {
    std::vector<uint8_t> u(16);
    if (getrandom(u.data(), u.size(), 0) != static_cast<ssize_t>(u.size())) std::abort();  // cannot be for 16 bytes
    u[6] = static_cast<uint8_t>((u[6] & 0x0f) | 0x40);
    u[8] = static_cast<uint8_t>((u[8] & 0x3f) | 0x80);
    return u;
}

}  // namespace myna::block::formats
