// blockdev-*: nodes that commands open, describe, resize and close.
#include <algorithm>
#include <cerrno>
#include <ranges>

#include "block/graph/image_info.h"
#include "block/jobs/change.h"
#include "qmp/schema.h"
#include "tools/storage/daemon.h"

namespace myna::tools::storage {

using T = Argument::Type;

namespace {

constexpr std::string_view kGeneral[] = {"driver", "node-name", "read-only", "auto-read-only", "force-share", "discard", "detect-zeroes", "cache"};

bool is_child(std::string_view key) { return key == "file" || key == "backing" || key == "data-file" || key == "image" || key == "raw" || key == "test"; }

/// What scripts are told of options that are missing, unknown or of the wrong kind.
Result<void> check(const json& o) {
    const auto d = o.find("driver");
    if (d == o.end()) return wrong("Parameter 'driver' is missing");
    if (!d->is_string()) return wrong("Invalid parameter type for 'driver', expected: string");
    const std::string driver = *d;
    if (block::find_driver(driver) == nullptr) return wrong("Parameter 'driver' does not accept value '" + driver + "'");
    const std::string text = members_of_driver(*block::find_driver(driver));
    const auto members = qmp::members_of(text);
    const auto has = [&](std::string_view key) { return std::ranges::any_of(members, [&](const qmp::Member& m) { return m.name == key; }); };
    for (const auto& [key, value] : o.items()) {
        const std::string_view k = key;
        const bool extra = driver == "throttle" && k == "limits";
        if (std::ranges::find(kGeneral, k) == std::end(kGeneral) && !has(k) && !extra && (checks_members_of(driver) || k != "backing")) return wrong("Parameter '" + key + "' is unexpected");
        if (is_child(k) && value.is_object())
            if (auto r = check(value); !r) return r;
    }
    if (checks_members_of(driver))
        for (const qmp::Member& m : members)
            // Limits of a node's own, which clients are not told of, take the place of a group.
            if (!m.optional && !o.contains(m.name) && !(m.name == "throttle-group" && o.contains("limits"))) return wrong("Parameter '" + std::string(m.name) + "' is missing");
    return {};
}

/// QMP's `server: {type: inet, host, port}` is what the drivers read, too; truth values are "on" and "off" there.
void plain(json& o) {
    for (auto& [key, value] : o.items()) {
        if (value.is_object()) plain(value);
        else if (value.is_boolean() && key != "read-only" && key != "discard") value = value.get<bool>() ? "on" : "off";
    }
}

}  // namespace

Result<NodePtr> Daemon::node_of(const std::string& name, bool or_device) {
    if (NodePtr n = graph.find(name)) return n;
    return fail(ErrorKind::kNotFound, "Cannot find device='" + (or_device ? name : "") + "' nor node-name='" + name + "'");
}

Task<Result<NodePtr>> Daemon::open_given(json a) {
    plain(a);
    block::OpenOptions o;
    o.options = a;
    o.read_only = flag_of(a, "read-only");
    auto n = co_await graph.open_tree(o);
    if (!n && flag_of(a, "auto-read-only") && (errno_of(n.error()) == EACCES || errno_of(n.error()) == EROFS)) {
        o.read_only = true;
        n = co_await graph.open_tree(o);
    }
    co_return n;
}

Task<Result<json>> Daemon::blockdev_add(json a) {
    if (auto r = check(a); !r) co_return std::unexpected(r.error());
    const std::string name = text_of(a, "node-name");
    if (name.empty()) co_return wrong("'node-name' must be specified for the root node");
    json given = a;
    auto n = co_await open_given(std::move(given));
    if (!n) co_return std::unexpected(n.error());
    owned_[name] = {*n, std::move(a)};
    co_return json::object();
}

Task<Result<json>> Daemon::blockdev_del(json a) {
    const std::string name = text_of(a, "node-name");
    const NodePtr n = graph.find(name);
    if (!n) co_return wrong("Failed to find node with node-name='" + name + "'");
    const auto at = owned_.find(name);
    if (at == owned_.end()) co_return wrong("Node " + name + " is not owned by the monitor");
    if (n->users() > 1) {
        const auto above = graph.users_of(*n);
        const bool exported = std::ranges::any_of(above, [](const NodePtr& u) { return u->node_name().empty(); });
        co_return wrong((exported ? "Node " : "Block device ") + name + " is in use");
    }
    for (const auto& b : bitmaps_)
        if (b->node == n && b->busy) co_return wrong("Node " + name + " is in use");
    // A job's source or target: nobody is above it, but it is used.
    if (auto alone = n->use("blockdev-del", {.perm = 0, .shared = 0}); !alone) co_return wrong("Node " + name + " is in use");
    std::erase_if(bitmaps_, [&](const auto& b) { return b->node == n; });
    owned_.erase(at);
    n->set_node_name("");
    auto r = co_await n->close();
    if (!r) co_return std::unexpected(r.error());
    co_return json::object();
}

Result<json> Daemon::options_of(const block::Node& n) const {
    if (const auto at = owned_.find(n.node_name()); at != owned_.end()) return at->second.options;
    const NodePtr& f = n.file();
    if (!f || f->driver() != "file" || f->users() > 1 || n.encrypted())
        return fail(ErrorKind::kUnsupported, "Node '" + n.node_name() + "' cannot be opened again: it was not added by a command of its own");
    return json{{"driver", n.driver()}, {"node-name", n.node_name()}, {"read-only", n.read_only()}, {"file", {{"driver", "file"}, {"filename", f->filename()}, {"node-name", f->node_name()}}}};
}

Task<Result<NodePtr>> Daemon::open_anew(NodePtr old, json options, json before) {
    const std::string name = old->node_name();
    const auto owner = owned_.find(name);
    const bool is_owned = owner != owned_.end(), to_read = flag_of(options, "read-only");
    {
        // Nobody may write to what is only to be read from now on, and no job be at work.
        using block::Perm;
        auto alone = old->use("blockdev-reopen", {.perm = 0, .shared = Perm::kAll & ~(Perm::kJob | (to_read ? Perm::kWrite : 0u))});
        if (!alone) co_return std::unexpected(alone.error());
    }
    const auto still = co_await block::jobs::hold_users(graph, *old);
    const auto above = graph.users_of(*old);
    if (old->users() != above.size() + is_owned) co_return wrong("Node '" + name + "' is in use in a way that does not allow to open it again");
    if (to_read)
        for (const NodePtr& u : above)
            if (u->file() == old && !u->read_only() && !u->node_name().empty()) co_return wrong("Cannot make block node read-only, there is a writer on it");
    std::vector<MemoryBitmap*> bitmaps;
    for (const auto& b : bitmaps_)
        if (b->node == old) bitmaps.push_back(b.get());
    // What is above keeps pointing at the closed node while users are held; what is behind stays open.
    const NodePtr behind = old->backing();
    if (behind) {
        behind->add_user();
        options["backing"] = before["backing"] = behind->node_name();
    } else if (block::find_driver(old->driver())->supports_backing) {
        options["backing"] = before["backing"] = nullptr;
    }
    for (size_t i = 0; i < above.size(); ++i) old->drop_user();
    old->set_node_name("");
    if (!is_owned) old->file()->set_node_name("");
    Result<void> result = co_await old->close();
    Result<NodePtr> fresh = std::unexpected(Error{});
    if (result) {
        json given = options;
        fresh = co_await open_given(std::move(given));
        if (!fresh) result = std::unexpected(fresh.error());
        else if (!to_read && (*fresh)->read_only() && !flag_of(options, "auto-read-only")) result = wrong("Block node is read-only");
        if (!result && fresh) {
            (*fresh)->set_node_name("");
            (void)co_await (*fresh)->close();
        }
    }
    if (!result) {
        options = before;
        fresh = co_await open_given(std::move(before));
    }
    if (behind) behind->drop_user();
    if (!fresh) {
        old->set_node_name(name);
        co_return std::unexpected(std::move(fresh.error()).in("node '" + name + "' could not be opened again and is closed"));
    }
    for (MemoryBitmap* b : bitmaps) {
        b->node->unwatch(*b);
        b->node = *fresh;
        b->node->watch(*b);
    }
    block::jobs::replace(graph, old, *fresh);
    if (is_owned) owner->second = {*fresh, std::move(options)};
    else (*fresh)->drop_user();  // those above hold it alone
    if (!result) co_return std::unexpected(result.error());
    co_return fresh;
}

Task<Result<NodePtr>> Daemon::set_read_only(NodePtr n, bool read_only) {
    auto before = options_of(*n);
    if (!before) co_return std::unexpected(before.error());
    json options = *before;
    options["read-only"] = read_only;
    co_return co_await open_anew(n, std::move(options), std::move(*before));
}

Task<Result<json>> Daemon::blockdev_reopen(json a) {
    for (const json& o : a["options"]) {
        if (auto r = check(o); !r) co_return std::unexpected(r.error());
        const std::string name = text_of(o, "node-name");
        const auto at = owned_.find(name);
        if (at == owned_.end()) co_return wrong("Failed to find node with node-name='" + name + "'");
        {
            OwnedNode& owned = at->second;
            json old = owned.options, fresh = o;
            for (json* j : {&old, &fresh})
                for (const char* key : {"backing", "discard", "detect-zeroes", "read-only", "auto-read-only"}) j->erase(key);
            for (const auto& [key, value] : fresh.items())
                if (!old.contains(key) || old[key] != value) co_return wrong("Cannot change the option '" + key + "'");
            for (const auto& [key, value] : old.items())
                if (!fresh.contains(key)) co_return wrong("Option '" + key + "' cannot be reset to its default value");
            if (flag_of(o, "read-only") != flag_of(owned.options, "read-only") && flag_of(o, "read-only") != owned.node->read_only()) {
                // Behind it stays what is there; that is changed below.
                json anew = o, before = owned.options;
                if (auto r = co_await open_anew(owned.node, std::move(anew), std::move(before)); !r) co_return std::unexpected(r.error());
            }
            json general = {{"discard", text_of(o, "discard", "unmap")}, {"detect-zeroes", text_of(o, "detect-zeroes", "off")}};
            if (auto r = owned.node->set_general(general); !r) co_return std::unexpected(r.error());
            const auto b = o.find("backing");
            if (b != o.end() && !b->is_object()) {
                NodePtr behind;
                if (b->is_string() && !b->get<std::string>().empty()) {
                    auto found = node_of(b->get<std::string>());
                    if (!found) co_return std::unexpected(found.error());
                    behind = *found;
                }
                for (const block::Node* n = behind.get(); n != nullptr; n = n->backing().get())
                    if (n == owned.node.get()) co_return wrong("Making '" + behind->node_name() + "' a backing child of '" + name + "' would create a cycle");
                if (behind != owned.node->backing()) {
                    auto alone = owned.node->use("blockdev-reopen", {.perm = 0, .shared = block::Perm::kAll & ~block::Perm::kJob});
                    if (!alone) co_return std::unexpected(alone.error());
                    if (auto r = co_await block::jobs::set_backing(*owned.node, behind); !r) co_return std::unexpected(r.error());
                }
            }
            owned.options = o;
        }
    }
    co_return json::object();
}

json Daemon::bitmaps_of(const block::Node& n, const std::vector<block::BitmapInfo>& persistent) const {
    json out = json::array();
    for (const auto& b : bitmaps_ | std::views::reverse) {
        if (b->node.get() != &n) continue;
        uint64_t count = 0;
        for (uint64_t i = 0; i < b->bits.count; ++i) count += b->bits.get(i);
        out.push_back({{"name", b->name}, {"recording", b->enabled}, {"persistent", false}, {"busy", b->busy}, {"granularity", b->bits.granularity}, {"count", count * b->bits.granularity}});
    }
    for (const auto& b : persistent) {
        const bool broken = std::ranges::find(b.flags, "in-use") != b.flags.end(), on = std::ranges::find(b.flags, "auto") != b.flags.end();
        json row = {{"name", b.name}, {"recording", on}, {"persistent", true}, {"busy", false}, {"granularity", b.granularity}};
        if (broken) row["inconsistent"] = true;
        out.push_back(std::move(row));
    }
    return out;
}

Task<Result<json>> Daemon::node_info(NodePtr n, bool flat) {
    auto image = co_await block::image_info(*n);
    if (!image) co_return std::unexpected(image.error());
    const auto at = owned_.find(n->node_name());
    const json options = at == owned_.end() ? json::object() : at->second.options;
    const json cache = options.value("cache", json::object());
    json j = {{"file", n->filename()}, {"node-name", n->node_name()}, {"ro", n->read_only()}, {"drv", n->driver()}, {"encrypted", n->encrypted()}, {"backing_file_depth", 0},
              {"detect_zeroes", text_of(options, "detect-zeroes", "off")}, {"write_threshold", 0}, {"bps", 0}, {"bps_rd", 0}, {"bps_wr", 0}, {"iops", 0}, {"iops_rd", 0}, {"iops_wr", 0},
              {"cache", {{"writeback", true}, {"direct", flag_of(cache, "direct")}, {"no-flush", flag_of(cache, "no-flush")}}}};
    auto persistent = co_await n->bitmaps();
    if (!persistent) co_return std::unexpected(persistent.error());
    if (json b = bitmaps_of(*n, *persistent); !b.empty()) {
        for (json& row : b)
            if (row["persistent"] == true && !row.contains("inconsistent")) {
                uint64_t count = 0;
                if (auto bits = co_await n->bitmap_bits(row["name"]))
                    for (uint64_t i = 0; i < bits->count; ++i) count += bits->get(i);
                row["count"] = count * row["granularity"].get<uint64_t>();
            } else if (row["persistent"] == true) {
                row["count"] = 0;
            }
        j["dirty-bitmaps"] = std::move(b);
    }
    if (n->backing()) j["backing_file"] = n->backing()->filename();
    if (!flat) {
        json* in = &*image;
        for (NodePtr b = n->backing(); b; b = b->backing()) {
            auto info = co_await block::image_info(*b);
            if (!info) co_return std::unexpected(info.error());
            (*in)["backing-image"] = std::move(*info);
            in = &(*in)["backing-image"];
        }
    }
    j["image"] = std::move(*image);
    co_return j;
}

Task<Result<json>> Daemon::named_nodes(json a) {
    json out = json::array();
    auto nodes = graph.named();
    std::ranges::reverse(nodes);
    for (const NodePtr& n : nodes) {
        auto j = co_await node_info(n, flag_of(a, "flat"));
        if (!j) co_return j;
        out.push_back(std::move(*j));
    }
    co_return out;
}

Task<Result<json>> Daemon::block_resize(json a) {
    auto n = node_of(text_of(a, "node-name"), false);
    if (!n) co_return std::unexpected(n.error());
    if (!a["size"].is_number_integer() || a["size"].get<int64_t>() < 0) co_return wrong("Parameter 'size' expects a >0 size");
    auto alone = (*n)->use("block_resize", {.perm = block::Perm::kResize, .shared = block::Perm::kAll});
    if (!alone) co_return std::unexpected(alone.error());
    const auto still = co_await block::jobs::hold_users(graph, **n);
    if (auto r = co_await (*n)->truncate(a["size"]); !r) co_return std::unexpected(r.error());
    for (const NodePtr& u : graph.users_of(**n))
        if (auto* b = dynamic_cast<block::Backend*>(u.get())) b->refresh();
    for (const auto& b : bitmaps_)
        if (b->node == *n) {
            b->bits.count = ((*n)->size() + b->bits.granularity - 1) / b->bits.granularity;
            b->bits.words.resize((b->bits.count + 63) / 64);
        }
    co_return json::object();
}

Task<Result<json>> Daemon::change_backing_file(json a) {
    auto top = node_of(text_of(a, "device"));
    if (!top) co_return std::unexpected(top.error());
    if (std::ranges::any_of(graph.users_of(**top), [](const NodePtr& u) { return !u->node_name().empty(); })) co_return wrong("Need a root block node");
    auto image = node_of(text_of(a, "image-node-name"), false);
    if (!image) co_return std::unexpected(image.error());
    if (!(*image)->backing()) co_return wrong("not allowing backing file change on an image without a backing file");
    NodePtr n = *top;
    while (n && n != *image) n = n->backing();
    if (!n) co_return wrong("'" + text_of(a, "device") + "' and image file are not in the same chain");
    const bool read_only = n->read_only();
    if (read_only) {
        auto anew = co_await set_read_only(n, false);
        if (!anew) co_return std::unexpected(anew.error());
        n = *anew;
    }
    const std::string name = text_of(a, "backing-file");
    auto r = co_await n->change_backing(name, std::string(n->driver()));  // the format, too, is what the documented daemon says
    if (read_only) (void)co_await set_read_only(n, true);
    if (!r) co_return std::unexpected(std::move(r.error()).in("Could not change backing file to '" + name + "'"));
    co_return json::object();
}

void Daemon::add_node_commands() {
    add("change-backing-file", {{"device", T::kString, true}, {"image-node-name", T::kString, true}, {"backing-file", T::kString, true}}, &Daemon::change_backing_file);
    add("blockdev-add", {}, &Daemon::blockdev_add, true);
    add("blockdev-del", {{"node-name", T::kString, true}}, &Daemon::blockdev_del);
    add("blockdev-reopen", {{"options", T::kArray, true, "[BlockdevOptions]"}}, &Daemon::blockdev_reopen);
    add("query-named-block-nodes", {{"flat", T::kBool}}, &Daemon::named_nodes);
    add("block_resize", {{"node-name", T::kString, true}, {"size", T::kNumber, true}}, &Daemon::block_resize);
    commands.add("query-block", {}, [](json) -> Task<Result<json>> { co_return json::array(); });  // devices: there is no machine
}

}  // namespace myna::tools::storage
