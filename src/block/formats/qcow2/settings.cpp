// The options that a qcow2 image is opened with (not those it is created with), by the documented tools' names.
#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "base/bits.h"
#include "block/formats/common/open.h"
#include "block/formats/qcow2/qcow2.h"

namespace myna::block::qcow2 {

namespace {

// Enough L2 tables for 32 GiB with default clusters.
constexpr uint64_t kL2CacheBytes = 4u << 20, kRefcountCacheBytes = 1u << 20;

constexpr uint32_t bit_of(Metadata m) { return 1u << static_cast<unsigned>(m); }
constexpr std::pair<std::string_view, Metadata> kMetadata[] = {
    {"main-header", Metadata::kHeader},       {"active-l1", Metadata::kActiveL1},           {"active-l2", Metadata::kActiveL2},
    {"refcount-table", Metadata::kRefcountTable}, {"refcount-block", Metadata::kRefcountBlock}, {"snapshot-table", Metadata::kSnapshotTable},
    {"inactive-l1", Metadata::kInactiveL1},   {"inactive-l2", Metadata::kInactiveL2},       {"bitmap-directory", Metadata::kBitmapDirectory},
};
constexpr uint32_t kConstant = bit_of(Metadata::kHeader) | bit_of(Metadata::kActiveL1) | bit_of(Metadata::kRefcountTable) | bit_of(Metadata::kSnapshotTable) | bit_of(Metadata::kBitmapDirectory);
constexpr uint32_t kCached = kConstant | bit_of(Metadata::kActiveL2) | bit_of(Metadata::kRefcountBlock) | bit_of(Metadata::kInactiveL1);
constexpr std::pair<std::string_view, uint32_t> kTemplates[] = {{"none", 0}, {"constant", kConstant}, {"cached", kCached}, {"all", kCached | bit_of(Metadata::kInactiveL2)}};

constexpr std::string_view kKnown[] = {
    // of every node
    "driver", "file", "backing", "read-only", "auto-read-only", "force-share", "node-name", "discard", "detect-zeroes", "cache",
    // of this format
    "data-file", "encrypt", "lazy-refcounts", "pass-discard-request", "pass-discard-snapshot", "pass-discard-other", "discard-no-unref",
    "overlap-check", "cache-size", "l2-cache-size", "l2-cache-entry-size", "refcount-cache-size", "cache-clean-interval",
};

std::unexpected<Error> bad(std::string what) { return fail(ErrorKind::kInvalidArgument, std::move(what)); }

/// A text, or a JSON value's; nullopt where there is none.
std::optional<std::string> text(const nlohmann::json& o, std::string_view key) {
    const auto it = o.find(key);
    if (it == o.end() || it->is_null()) return std::nullopt;
    if (it->is_boolean()) return *it ? "on" : "off";
    return it->is_string() ? it->get<std::string>() : it->dump();
}

Result<bool> flag(const nlohmann::json& o, std::string_view key, bool otherwise) {
    const auto v = text(o, key);
    if (!v) return otherwise;
    if (*v == "on" || *v == "true" || *v == "yes" || *v == "y") return true;
    if (*v == "off" || *v == "false" || *v == "no" || *v == "n") return false;
    return bad("Parameter '" + std::string(key) + "' expects 'on' or 'off'");
}

Result<uint32_t> overlap_check(const nlohmann::json& o) {
    nlohmann::json each = nlohmann::json::object();
    std::string name = "cached";
    if (const auto it = o.find("overlap-check"); it != o.end()) {
        if (it->is_object()) {
            each = *it;
            const auto plain = text(each, ""), named = text(each, "template");  // "overlap-check=all,overlap-check.active-l2=off"
            if (plain && named && *plain != *named) return bad("Conflicting values for qcow2 options 'overlap-check' ('" + *plain + "') and 'overlap-check.template' ('" + *named + "')");
            name = plain ? *plain : named.value_or(name);
        } else {
            name = *text(o, "overlap-check");
        }
    }
    const auto t = std::ranges::find(kTemplates, name, &std::pair<std::string_view, uint32_t>::first);
    if (t == std::end(kTemplates)) return bad("Unsupported value '" + name + "' for qcow2 option 'overlap-check'. Allowed are any of the following: none, constant, cached, all");
    uint32_t mask = t->second;
    for (const auto& [key, value] : each.items()) {
        if (key.empty() || key == "template") continue;
        const auto m = std::ranges::find(kMetadata, key, &std::pair<std::string_view, Metadata>::first);
        if (m == std::end(kMetadata)) return bad("Block format 'qcow2' does not support the option 'overlap-check." + key + "'");
        auto on = flag(each, key, false);
        if (!on) return bad("Parameter 'overlap-check." + key + "' expects 'on' or 'off'");
        mask = *on ? mask | bit_of(m->second) : mask & ~bit_of(m->second);
    }
    return mask;
}

/// The sizes of both caches, by the documented rules for what is not said of them.
Result<void> cache_sizes(const nlohmann::json& o, const Header& h, Settings& out) {
    std::optional<uint64_t> both, l2, counts, piece;
    for (const auto& [key, to] : {std::pair{"cache-size", &both}, {"l2-cache-size", &l2}, {"refcount-cache-size", &counts}, {"l2-cache-entry-size", &piece}}) {
        auto v = formats::number_option(o, key);
        if (!v) return std::unexpected(v.error());
        *to = *v;
    }
    const uint64_t cluster = h.cluster_size();
    const uint64_t all_l2 = align_up((h.size / cluster + (h.size % cluster != 0)) * h.l2_entry_bytes(), cluster);
    uint64_t for_l2 = std::min(all_l2, l2.value_or(kL2CacheBytes)), for_counts = counts.value_or(kRefcountCacheBytes);
    if (both) {
        if (l2 && counts) return bad("cache-size, l2-cache-size and refcount-cache-size may not be set at the same time");
        if (l2 && *l2 > *both) return bad("l2-cache-size may not exceed cache-size");
        if (counts && *counts > *both) return bad("refcount-cache-size may not exceed cache-size");
        if (l2) for_counts = *both - for_l2;
        else if (counts) for_l2 = *both - *counts;
        else for_counts = std::min(*both, 4 * cluster), for_l2 = *both - for_counts;
    }
    if (piece && (*piece < 512 || *piece > cluster || !std::has_single_bit(*piece)))
        return bad("L2 cache entry size must be a power of two between 512 and the cluster size (" + std::to_string(cluster) + ")");
    // Tables are kept whole here; smaller pieces are what the peer's limit is about.
    const uint64_t unit = piece.value_or(for_l2 < all_l2 ? std::min<uint64_t>(cluster, 4096) : cluster);
    if (for_l2 / unit > INT_MAX) return bad("L2 cache size too big");
    if (for_counts / cluster > INT_MAX) return bad("Refcount cache size too big");
    out.l2_cache_bytes = std::min(for_l2, all_l2);
    out.refcount_cache_bytes = for_counts;
    return {};
}

}  // namespace

Result<Settings> take_settings(const nlohmann::json& o, const Header& h) {
    for (const auto& [key, value] : o.items())
        if (std::ranges::find(kKnown, key) == std::end(kKnown)) return bad("Block format 'qcow2' does not support the option '" + key + "'");
    Settings s;
    auto lazy = flag(o, "lazy-refcounts", false);
    if (!lazy) return std::unexpected(lazy.error());
    if (auto r = cache_sizes(o, h, s); !r) return std::unexpected(r.error());
    if (const auto interval = text(o, "cache-clean-interval")) {
        char* end = nullptr;
        errno = 0;
        const unsigned long long seconds = std::strtoull(interval->c_str(), &end, 0);
        if (interval->empty() || *end != 0) return bad("Parameter 'cache-clean-interval' expects a number");
        if (errno != 0 || seconds > UINT_MAX) return bad("Cache clean interval too big");
    }
    // Counts are never postponed beyond a flush here, so what the option is for is had anyway.
    if (*lazy && h.version < 3) return bad("Lazy refcounts require a qcow2 image with at least qemu 1.1 compatibility level");
    auto mask = overlap_check(o);
    if (!mask) return std::unexpected(mask.error());
    s.overlap_check = *mask;
    auto pass = flag(o, "pass-discard-request", true);
    if (!pass) return std::unexpected(pass.error());
    s.pass_discards = *pass;
    return s;
}

}  // namespace myna::block::qcow2
