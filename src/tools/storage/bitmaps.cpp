// block-dirty-bitmap-*: bitmaps in memory, and those that images keep.
#include <algorithm>
#include <bit>

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

Task<void> Daemon::restore_bits(NodePtr n, std::string name, block::BitmapBits bits) {
    if (MemoryBitmap* b = bitmap(*n, name)) {
        b->bits = std::move(bits);
        co_return;
    }
    (void)co_await n->change_bitmap(block::BitmapAction::kClear, name);
    (void)co_await n->merge_bitmap(name, std::move(bits));
}

Task<Result<void>> Daemon::bitmap_add(json a, Transaction& t) {
    auto n = node_of(text_of(a, "node"));
    if (!n) co_return std::unexpected(n.error());
    const std::string name = text_of(a, "name");
    if (name.empty()) co_return wrong("Bitmap name cannot be empty");
    if (name.size() > 1023) co_return wrong("Bitmap name too long");
    uint64_t granularity = std::clamp<uint64_t>((*n)->cluster_size().value_or(65536), 4096, 65536);
    if (a.contains("granularity")) {
        if (!a["granularity"].is_number_unsigned() || a["granularity"] < 512u || !std::has_single_bit(a["granularity"].get<uint64_t>())) co_return wrong("Granularity must be power of 2 and at least 512");
        granularity = a["granularity"];
        if (granularity > 1u << 31) co_return wrong("Granularity must be at most 2 GiB");
    }
    auto stored = co_await (*n)->bitmaps();
    if (!stored) co_return std::unexpected(stored.error());
    if (bitmap(**n, name) != nullptr || std::ranges::any_of(*stored, [&](const auto& b) { return b.name == name; })) co_return wrong("Bitmap already exists: " + name);
    if (flag_of(a, "persistent")) {
        if (auto r = co_await (*n)->change_bitmap(block::BitmapAction::kAdd, name, static_cast<uint32_t>(granularity)); !r) co_return r;
        t.undo.push_back([node = *n, name]() -> Task<void> { (void)co_await node->change_bitmap(block::BitmapAction::kRemove, name); });
        if (flag_of(a, "disabled")) co_return co_await (*n)->change_bitmap(block::BitmapAction::kDisable, name);
        co_return Result<void>{};
    }
    // From one moment on: no request that it was not told of is under way.
    const auto still = co_await block::jobs::hold_users(graph, **n, t.held);
    bitmaps_.push_back(std::make_unique<MemoryBitmap>(*n, name, static_cast<uint32_t>(granularity)));
    bitmaps_.back()->enabled = !flag_of(a, "disabled");
    t.undo.push_back([this, b = bitmaps_.back().get()]() -> Task<void> {
        std::erase_if(bitmaps_, [&](const auto& o) { return o.get() == b; });
        co_return;
    });
    co_return Result<void>{};
}

Task<Result<void>> Daemon::bitmap_change(json a, std::string what, Transaction& t) {
    auto n = node_of(text_of(a, "node"));
    if (!n) co_return std::unexpected(n.error());
    const std::string name = text_of(a, "name");
    const auto still = co_await block::jobs::hold_users(graph, **n, t.held);
    if (MemoryBitmap* b = bitmap(**n, name)) {
        if (b->busy) co_return wrong("Bitmap '" + name + "' is currently in use by another operation and cannot be used");
        if (what == "clear") {
            t.undo.push_back([this, node = *n, name, bits = b->bits]() -> Task<void> { co_await restore_bits(node, name, bits); });
            std::ranges::fill(b->bits.words, 0u);
        } else {
            t.undo.push_back([b, was = b->enabled]() -> Task<void> {
                b->enabled = was;
                co_return;
            });
            b->enabled = what == "enable";
        }
        co_return Result<void>{};
    }
    auto stored = co_await (*n)->bitmaps();
    if (!stored) co_return std::unexpected(stored.error());
    const auto row = std::ranges::find_if(*stored, [&](const auto& b) { return b.name == name; });
    if (row == stored->end()) co_return not_found(name);
    using A = block::BitmapAction;
    if (what == "clear") {
        if (t.whole)
            if (auto bits = co_await (*n)->bitmap_bits(name)) t.undo.push_back([this, node = *n, name, bits = std::move(*bits)]() -> Task<void> { co_await restore_bits(node, name, bits); });
        co_return co_await (*n)->change_bitmap(A::kClear, name);
    }
    const bool on = std::ranges::find(row->flags, "auto") != row->flags.end();
    if (auto r = co_await (*n)->change_bitmap(what == "enable" ? A::kEnable : A::kDisable, name); !r) co_return r;
    t.undo.push_back([node = *n, name, on]() -> Task<void> { (void)co_await node->change_bitmap(on ? A::kEnable : A::kDisable, name); });
    co_return Result<void>{};
}

/// At the end of the transaction: what was removed could not be brought back.
Task<Result<void>> Daemon::bitmap_remove(json a, Transaction& t) {
    auto n = node_of(text_of(a, "node"));
    if (!n) co_return std::unexpected(n.error());
    const std::string name = text_of(a, "name");
    if (MemoryBitmap* b = bitmap(**n, name)) {
        if (b->busy) co_return wrong("Bitmap '" + name + "' is currently in use by another operation and cannot be used");
        b->busy = true;
        t.undo.push_back([b]() -> Task<void> {
            b->busy = false;
            co_return;
        });
        t.commit.push_back([this, node = *n, b, held = t.held]() -> Task<void> {
            const auto still = co_await block::jobs::hold_users(graph, *node, held);
            std::erase_if(bitmaps_, [&](const auto& o) { return o.get() == b; });
        });
        co_return Result<void>{};
    }
    auto stored = co_await (*n)->bitmaps();
    if (!stored) co_return std::unexpected(stored.error());
    if (std::ranges::none_of(*stored, [&](const auto& b) { return b.name == name; })) co_return not_found(name);
    if (!t.whole) co_return co_await (*n)->change_bitmap(block::BitmapAction::kRemove, name);
    t.commit.push_back([node = *n, name]() -> Task<void> { (void)co_await node->change_bitmap(block::BitmapAction::kRemove, name); });
    co_return Result<void>{};
}

Task<Result<void>> Daemon::bitmap_merge(json a, Transaction& t) {
    auto n = node_of(text_of(a, "node"));
    if (!n) co_return std::unexpected(n.error());
    const std::string name = text_of(a, "target");
    auto before = co_await bits_of(*n, name);
    if (!before) co_return not_found(name);
    t.undo.push_back([this, node = *n, name, bits = std::move(*before)]() -> Task<void> { co_await restore_bits(node, name, bits); });
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
            co_return r;
        }
    }
    co_return Result<void>{};
}

void Daemon::add_bitmap_commands() {
    add_action("block-dirty-bitmap-add", {{"node", T::kString, true}, {"name", T::kString, true}, {"granularity", T::kNumber}, {"persistent", T::kBool}, {"disabled", T::kBool}},
               [](Daemon& d, json a, Transaction& t) { return d.bitmap_add(std::move(a), t); });
    for (const char* what : {"clear", "enable", "disable"})
        add_action(std::string("block-dirty-bitmap-") + what, {{"node", T::kString, true}, {"name", T::kString, true}}, [what](Daemon& d, json a, Transaction& t) { return d.bitmap_change(std::move(a), what, t); });
    add_action("block-dirty-bitmap-remove", {{"node", T::kString, true}, {"name", T::kString, true}}, [](Daemon& d, json a, Transaction& t) { return d.bitmap_remove(std::move(a), t); });
    add_action("block-dirty-bitmap-merge", {{"node", T::kString, true}, {"target", T::kString, true}, {"bitmaps", T::kArray, true, "[BitmapRef]"}}, [](Daemon& d, json a, Transaction& t) { return d.bitmap_merge(std::move(a), t); });
}

}  // namespace myna::tools::storage
