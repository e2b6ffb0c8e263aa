// block-dirty-bitmap-*: bitmaps in memory, and those that images keep.
#include <algorithm>
#include <bit>

#include "block/jobs/change.h"
#include "tools/storage/daemon.h"

namespace myna::tools::storage {

using T = Argument::Type;

namespace {

std::unexpected<Error> not_found(const std::string& name) { return wrong("Dirty bitmap '" + name + "' not found"); }

}  // namespace

MemoryBitmap::MemoryBitmap(NodePtr n, std::string bitmap_name, uint32_t granularity) : node(std::move(n)), name(std::move(bitmap_name)) {
    bits.granularity = granularity;
    bits.count = (node->size() + granularity - 1) / granularity;
    bits.words.assign((bits.count + 63) / 64, 0);
    node->watch(*this);
}

Task<Result<void>> MemoryBitmap::after(uint64_t offset, uint64_t length, const block::IoVec*, bool) {
    if (enabled) bits.set(offset, length);
    co_return Result<void>{};
}

MemoryBitmap* Daemon::bitmap(const block::Node& n, std::string_view name) const {
    for (const auto& b : bitmaps_)
        if (b->node.get() == &n && b->name == name) return b.get();
    return nullptr;
}

Task<Result<block::BitmapBits>> Daemon::bits_of(NodePtr n, std::string name) {
    if (const MemoryBitmap* b = bitmap(*n, name)) co_return b->bits;
    co_return co_await n->bitmap_bits(name);
}

Task<Result<json>> Daemon::bitmap_add(json a) {
    auto n = node_of(text_of(a, "node"));
    if (!n) co_return std::unexpected(n.error());
    const std::string name = text_of(a, "name");
    if (name.empty()) co_return wrong("Bitmap name cannot be empty");
    if (name.size() > 1023) co_return wrong("Bitmap name too long");
    uint64_t granularity = std::clamp<uint64_t>((*n)->cluster_size().value_or(65536), 4096, 65536);
    if (a.contains("granularity")) {
        granularity = a["granularity"].get<uint64_t>();
        if (granularity < 512 || !std::has_single_bit(granularity)) co_return wrong("Granularity must be power of 2 and at least 512");
        if (granularity > 1u << 31) co_return wrong("Granularity must be at most 2 GiB");
    }
    auto stored = co_await (*n)->bitmaps();
    if (!stored) co_return std::unexpected(stored.error());
    if (bitmap(**n, name) != nullptr || std::ranges::any_of(*stored, [&](const auto& b) { return b.name == name; })) co_return wrong("Bitmap already exists: " + name);
    if (flag_of(a, "persistent")) {
        if (auto r = co_await (*n)->change_bitmap(block::BitmapAction::kAdd, name, static_cast<uint32_t>(granularity)); !r) co_return std::unexpected(r.error());
        if (flag_of(a, "disabled"))
            if (auto r = co_await (*n)->change_bitmap(block::BitmapAction::kDisable, name); !r) co_return std::unexpected(r.error());
        co_return json::object();
    }
    // From one moment on: no request that it was not told of is under way.
    const auto still = co_await block::jobs::hold_users(graph, **n);
    bitmaps_.push_back(std::make_unique<MemoryBitmap>(*n, name, static_cast<uint32_t>(granularity)));
    bitmaps_.back()->enabled = !flag_of(a, "disabled");
    co_return json::object();
}

Task<Result<json>> Daemon::bitmap_change(json a, std::string what) {
    auto n = node_of(text_of(a, "node"));
    if (!n) co_return std::unexpected(n.error());
    const std::string name = text_of(a, "name");
    const auto still = co_await block::jobs::hold_users(graph, **n);
    if (MemoryBitmap* b = bitmap(**n, name)) {
        if (b->busy) co_return wrong("Bitmap '" + name + "' is currently in use by another operation and cannot be used");
        if (what == "remove") std::erase_if(bitmaps_, [&](const auto& o) { return o.get() == b; });
        else if (what == "clear") std::ranges::fill(b->bits.words, 0u);
        else b->enabled = what == "enable";
        co_return json::object();
    }
    auto stored = co_await (*n)->bitmaps();
    if (!stored) co_return std::unexpected(stored.error());
    if (std::ranges::none_of(*stored, [&](const auto& b) { return b.name == name; })) co_return not_found(name);
    using A = block::BitmapAction;
    const A action = what == "remove" ? A::kRemove : what == "clear" ? A::kClear : what == "enable" ? A::kEnable : A::kDisable;
    if (auto r = co_await (*n)->change_bitmap(action, name); !r) co_return std::unexpected(r.error());
    co_return json::object();
}

Task<Result<json>> Daemon::bitmap_merge(json a) {
    auto n = node_of(text_of(a, "node"));
    if (!n) co_return std::unexpected(n.error());
    const std::string name = text_of(a, "target");
    for (const json& source : a["bitmaps"]) {
        NodePtr holder = *n;
        std::string from;
        if (source.is_string()) {
            from = source;
        } else {
            auto other = node_of(text_of(source, "node"));
            if (!other) co_return std::unexpected(other.error());
            holder = *other;
            from = text_of(source, "name");
        }
        auto bits = co_await bits_of(holder, from);
        if (!bits) co_return not_found(from);
        if (MemoryBitmap* b = bitmap(**n, name)) {
            for (uint64_t i = 0; i < bits->count; ++i)
                if (bits->get(i) && i * bits->granularity < (*n)->size()) b->bits.set(i * bits->granularity, std::min<uint64_t>(bits->granularity, (*n)->size() - i * bits->granularity));
        } else if (auto r = co_await (*n)->merge_bitmap(name, std::move(*bits)); !r) {
            co_return std::unexpected(r.error());
        }
    }
    co_return json::object();
}

void Daemon::add_bitmap_commands() {
    add("block-dirty-bitmap-add", {{"node", T::kString, true}, {"name", T::kString, true}, {"granularity", T::kNumber}, {"persistent", T::kBool}, {"disabled", T::kBool}}, &Daemon::bitmap_add);
    for (const char* what : {"remove", "clear", "enable", "disable"})
        commands.add(std::string("block-dirty-bitmap-") + what, {{"node", T::kString, true}, {"name", T::kString, true}}, [this, what](json a) -> Task<Result<json>> { return bitmap_change(std::move(a), what); });
    add("block-dirty-bitmap-merge", {{"node", T::kString, true}, {"target", T::kString, true}, {"bitmaps", T::kArray, true}}, &Daemon::bitmap_merge);
}

}  // namespace myna::tools::storage
