// blockdev-snapshot…: overlays put over nodes in use, and snapshots within images.
#include <cerrno>
#include <chrono>

#include "tools/storage/daemon.h"

namespace myna::tools::storage {

using T = Argument::Type;
using block::Perm;
using block::jobs::hold_users;

/// Puts `overlay`, which shows what is behind it, over `node`.
Task<Result<void>> Daemon::put_over(NodePtr node, NodePtr overlay, Transaction& t) {
    for (const NodePtr& u : graph.users_of(*node))
        if (!u->node_name().empty() && u->backing() == node) co_return wrong("Node '" + node->node_name() + "' is busy: node is used as backing hd of '" + u->node_name() + "'");
    if (overlay->backing()) co_return wrong("The overlay already has a backing image");
    if (!block::find_driver(overlay->driver())->supports_backing) co_return wrong("The overlay does not support backing images");
    if (overlay->users() > 1) co_return wrong("The overlay is already in use");
    if (overlay->size() < node->size()) co_return wrong("The overlay is smaller than the node that it is put over");
    auto alone = node->use("blockdev-snapshot", {.perm = 0, .shared = Perm::kAll & ~Perm::kJob});
    if (!alone) co_return std::unexpected(alone.error());
    const auto still = co_await hold_users(graph, *node, t.held);
    if (!node->read_only())
        if (auto r = co_await node->flush(); !r) co_return r;
    node->add_user();
    overlay->set_backing(node);
    alone->reset();
    block::jobs::replace(graph, node, overlay, overlay.get());
    t.undo.push_back([this, node, overlay]() -> Task<void> {
        block::jobs::replace(graph, overlay, node);
        overlay->set_backing(nullptr);
        node->drop_user();
        co_return;
    });
    co_return Result<void>{};
}

Task<Result<void>> Daemon::snapshot(json a, Transaction& t) {
    auto n = node_of(a["node"]);
    if (!n) co_return std::unexpected(n.error());
    auto o = node_of(a["overlay"]);
    if (!o) co_return std::unexpected(o.error());
    if (*n == *o) co_return wrong("Making '" + (*n)->node_name() + "' a backing child of '" + (*n)->node_name() + "' would create a cycle");
    co_return co_await put_over(*n, *o, t);
}

Task<Result<void>> Daemon::snapshot_sync(json a, Transaction& t) {
    auto n = node_of(a["node-name"]);
    if (!n) co_return std::unexpected(n.error());
    const std::string file = a["snapshot-file"], format = text_of(a, "format", "qcow2"), mode = text_of(a, "mode", "absolute-paths"), name = a["snapshot-node-name"];
    if (graph.find(name)) co_return wrong("New overlay node-name already in use");
    if (mode != "existing" && mode != "absolute-paths") co_return wrong("Parameter 'mode' does not accept value '" + mode + "'");
    if (mode == "absolute-paths") {
        block::CreateOptions c;
        c.filename = file;
        c.size = (*n)->size();
        c.options = json::object();
        c.backing_file = (*n)->filename();
        c.backing_format = std::string((*n)->driver());
        if (auto r = co_await graph.create(format, c); !r) co_return r;
    }
    json options = {{"driver", format}, {"node-name", name}, {"file", {{"driver", "file"}, {"filename", file}}}, {"backing", nullptr}};
    if (auto r = co_await blockdev_add(std::move(options)); !r) co_return std::unexpected(r.error());
    t.undo.push_back([this, name]() -> Task<void> {
        json gone = {{"node-name", name}};
        (void)co_await blockdev_del(std::move(gone));
    });
    co_return co_await put_over(*n, graph.find(name), t);
}

Task<Result<void>> Daemon::snapshot_internal(json a, Transaction& t) {
    auto n = node_of(a["device"]);
    if (!n) co_return std::unexpected(n.error());
    const std::string name = a["name"];
    if (name.empty()) co_return wrong("Name is empty");
    auto all = co_await (*n)->snapshots();
    if (!all) co_return std::unexpected(all.error());
    for (const auto& s : *all)
        if (s.name == name) co_return wrong("Snapshot with name '" + name + "' already exists on device '" + (*n)->node_name() + "'");
    const auto still = co_await hold_users(graph, **n, t.held);
    const auto now = std::chrono::system_clock::now().time_since_epoch();
    block::SnapshotInfo info;
    info.name = name;
    info.date_sec = static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::seconds>(now).count());
    info.date_nsec = static_cast<uint32_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(now).count() % 1'000'000'000);
    if (auto r = co_await (*n)->snapshot_create(info); !r) co_return r;
    t.undo.push_back([node = *n, name]() -> Task<void> { (void)co_await node->snapshot_delete(name); });
    co_return Result<void>{};
}

void Daemon::add_snapshot_commands() {
    add_action("blockdev-snapshot", {{"node", T::kString, true}, {"overlay", T::kString, true}}, [](Daemon& d, json a, Transaction& t) { return d.snapshot(std::move(a), t); });
    add_action("blockdev-snapshot-sync", {{"node-name", T::kString, true}, {"snapshot-file", T::kString, true}, {"snapshot-node-name", T::kString, true}, {"format", T::kString}, {"mode", T::kString, false, "existing|absolute-paths"}},
               [](Daemon& d, json a, Transaction& t) { return d.snapshot_sync(std::move(a), t); });
    add_action("blockdev-snapshot-internal-sync", {{"device", T::kString, true}, {"name", T::kString, true}}, [](Daemon& d, json a, Transaction& t) { return d.snapshot_internal(std::move(a), t); });
    commands.add("blockdev-snapshot-delete-internal-sync", {{"device", T::kString, true}, {"id", T::kString}, {"name", T::kString}}, [this](json a) -> Task<Result<json>> {
        auto n = node_of(a["device"]);
        if (!n) co_return std::unexpected(n.error());
        const std::string id = text_of(a, "id"), name = text_of(a, "name");
        if (id.empty() && name.empty()) co_return wrong("Name or id must be provided");
        auto all = co_await (*n)->snapshots();
        if (!all) co_return std::unexpected(all.error());
        for (const auto& s : *all) {
            if ((!id.empty() && s.id != id) || (!name.empty() && s.name != name)) continue;
            const json out = {{"id", s.id}, {"name", s.name}, {"vm-state-size", s.vm_state_bytes}, {"date-sec", s.date_sec}, {"date-nsec", s.date_nsec},
                              {"vm-clock-sec", s.vm_clock_ns / 1'000'000'000}, {"vm-clock-nsec", s.vm_clock_ns % 1'000'000'000}};
            const std::string which = s.id;
            const auto still = co_await hold_users(graph, **n);
            if (auto r = co_await (*n)->snapshot_delete(which); !r) co_return std::unexpected(r.error());
            co_return out;
        }
        co_return wrong("Snapshot with id '" + (id.empty() ? "null" : id) + "' and name '" + (name.empty() ? "null" : name) + "' does not exist on device '" + (*n)->node_name() + "'");
    });
}

}  // namespace myna::tools::storage
