// myna-storage-daemon: disks without a machine: opened, exported and changed by commands.
//
//   argv, QMP ─▶ Commands ─▶ nodes (blockdev-*)   exports (NBD, FUSE)   jobs   bitmaps      all on one Reactor's thread
//                                  └──────────── Graph ◀── Backend ──────┘
//
// The command line calls the same commands as QMP does, in the order given.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "block/graph/backend.h"
#include "block/graph/graph.h"
#include "block/jobs/change.h"
#include "block/jobs/jobs.h"
#include "nbd/server/server.h"
#include "qmp/qmp.h"
#include "tools/objects.h"
#include "tools/storage/fuse_export.h"

namespace myna::tools::storage {

using block::NodePtr;
using io::Task;
using nlohmann::json;
using qmp::Argument;

/// A dirty bitmap that lives in memory: bits of what was written since it was made or cleared.
class MemoryBitmap final : public block::Watcher {
  public:
    MemoryBitmap(NodePtr n, std::string bitmap_name, uint32_t granularity);
    ~MemoryBitmap() override { node->unwatch(*this); }
    Task<Result<void>> after(uint64_t offset, uint64_t length, const block::IoVec* data, bool ok) override;

    NodePtr node;
    std::string name;
    block::BitmapBits bits;
    bool enabled = true, busy = false;
};

/// What the actions of a transaction did so far, how it is undone (last first), and what is left to do when all went well.
struct Transaction {
    bool whole = false;                       // several actions at one moment: jobs begin at once, and start at the end
    std::vector<const block::Node*> held;     // exports that are held still until the end
    std::shared_ptr<block::jobs::JobGroup> group;
    std::vector<std::function<Task<void>()>> undo, commit;
    /// Does what is left to do, or undoes what was done, the last first.
    Task<void> end(bool good);
};

class Daemon : private block::jobs::Listener {
  public:
    explicit Daemon(io::Reactor& r);
    ~Daemon() override;

    io::Reactor& reactor;
    block::Graph graph;
    Objects objects;
    qmp::Commands commands;
    /// Set by `quit`: the main loop ends when it is woken.
    bool quitting = false;
    std::function<void()> on_quit;

    /// Ends jobs, exports and nodes, in this order.
    Task<void> shut_down();

  private:
    struct ExportEntry {
        std::string id, type, node_name, nbd_name;
        std::shared_ptr<block::Backend> backend;
        std::unique_ptr<FuseExport> fuse;
    };
    struct OwnedNode {
        NodePtr node;
        json options;
    };

    void add_node_commands();      // nodes.cpp
    void add_snapshot_commands();  // snapshots.cpp
    void add_export_commands();    // exports.cpp
    void add_job_commands();       // jobs.cpp
    void add_bitmap_commands();    // bitmaps.cpp
    void add_transaction_commands();  // transaction.cpp
    void describe_commands();      // schema.cpp
    void add_object_commands();    // objects of --object and QMP
    void add_qom_commands();       // qom.cpp

    // ---- nodes.cpp
    Task<Result<json>> blockdev_add(json a);
    Task<Result<json>> blockdev_del(json a);
    Task<Result<json>> blockdev_reopen(json a);
    /// Opens a node as `options` of blockdev-add say.
    Task<Result<NodePtr>> open_given(json options);
    /// What opens the node again as it is: how it was added or, where no command added it, the name of its file.
    Result<json> options_of(const block::Node& n) const;
    /// Closes the node and opens it as `options` say, in the same place of the graph and with the same node behind it; as
    /// `before` says when that fails. Gives the new node.
    Task<Result<NodePtr>> open_anew(NodePtr old, json options, json before);
    /// The node opened again, to read only or to write as well.
    Task<Result<NodePtr>> set_read_only(NodePtr n, bool read_only);
    Task<Result<json>> named_nodes(json a);
    Task<Result<json>> node_info(NodePtr n, bool flat);
    Task<Result<json>> block_resize(json a);
    Task<Result<json>> change_backing_file(json a);
    /// Errors say whether the argument could have been the name of a device, too.
    Result<NodePtr> node_of(const std::string& name, bool or_device = true);
    [[nodiscard]] json bitmaps_of(const block::Node& n, const std::vector<block::BitmapInfo>& persistent) const;

    // ---- qom.cpp
    struct QomPlace {
        std::string_view type;
        std::string id;                          // of an object; empty: "/" or "/objects"
        const Objects::Object* object = nullptr;
        [[nodiscard]] bool root() const noexcept { return object == nullptr && id.empty(); }
    };
    [[nodiscard]] Result<QomPlace> qom_place(const std::string& path) const;
    [[nodiscard]] json qom_properties(const QomPlace& place) const;
    Result<json> qom_list(const json& a);
    Result<json> qom_get(const json& a);
    Result<json> qom_set(const json& a);

    // ---- transaction.cpp
    using ActionRun = std::function<Task<Result<void>>(Daemon&, json, Transaction&)>;
    /// A command that a transaction may contain.
    void add_action(const std::string& name, std::vector<Argument> arguments, ActionRun run);
    Task<void> hold_all(const json& actions, Transaction& t, block::jobs::Stillness& still);
    Task<Result<json>> transaction(json a);

    // ---- snapshots.cpp
    Task<Result<void>> put_over(NodePtr node, NodePtr overlay, Transaction& t);
    Task<Result<void>> snapshot(json a, Transaction& t);
    Task<Result<void>> snapshot_sync(json a, Transaction& t);
    Task<Result<void>> snapshot_internal(json a, Transaction& t);

    // ---- exports.cpp
    Task<Result<json>> server_start(json a);
    Task<Result<json>> server_stop(json a);
    Task<Result<json>> export_add(json a);
    Task<Result<json>> export_del(json a);
    Task<void> accept_clients(int listener);
    Task<void> serve_client(int fd);
    Task<void> drop_export(std::string id);

    // ---- jobs.cpp
    Result<json> start_job(Result<block::jobs::JobPtr> job);
    Result<block::jobs::JobOptions> job_options(const json& a);
    Result<block::jobs::JobPtr> job_of(const std::string& id, bool block_job);
    Task<Result<json>> blockdev_create(json a);
    Task<Result<void>> create_image(std::string driver, block::CreateOptions c, std::string node);
    Task<Result<void>> backup(json a, Transaction& t);
    Task<Result<block::jobs::JobPtr>> make_backup(json a);
    Result<json> mirror(const json& a);
    Result<json> stream(const json& a);
    Task<Result<json>> commit(json a);
    [[nodiscard]] json job_data(const block::jobs::Job& j) const;
    void status_changed(const block::jobs::Job& j) override;
    void ready(const block::jobs::Job& j) override;
    void pending(const block::jobs::Job& j) override;
    void failed(const block::jobs::Job& j, bool read, std::string_view action) override;
    void ended(const block::jobs::Job& j) override;

    // ---- bitmaps.cpp
    MemoryBitmap* bitmap(const block::Node& n, std::string_view name) const;
    Task<Result<void>> bitmap_add(json a, Transaction& t);
    Task<Result<void>> bitmap_change(json a, std::string what, Transaction& t);
    Task<Result<void>> bitmap_remove(json a, Transaction& t);
    Task<Result<void>> bitmap_merge(json a, Transaction& t);
    /// Sets a bitmap back to what it was.
    Task<void> restore_bits(NodePtr n, std::string name, block::BitmapBits bits);
    Task<Result<block::BitmapBits>> bits_of(NodePtr n, std::string name);

    /// A command whose work is done at once.
    void add(std::string name, std::vector<Argument> arguments, Result<json> (Daemon::*run)(const json&));
    void add(std::string name, std::vector<Argument> arguments, Task<Result<json>> (Daemon::*run)(json), bool open = false);

    std::map<std::string, ActionRun> actions_;
    std::map<std::string, OwnedNode> owned_;
    std::unique_ptr<nbd::Server> server_;
    std::vector<int> listeners_;
    std::string socket_path_;
    size_t clients_ = 0;
    std::vector<ExportEntry> exports_;
    std::map<std::string, block::jobs::JobPtr> jobs_;
    std::vector<std::unique_ptr<MemoryBitmap>> bitmaps_;
};

/// The options of a driver beyond the general ones (qmp/schema.h).
std::string members_of_driver(const block::Driver& driver);
/// Whether they are all that the driver has: others are an error here, not the driver's to judge.
bool checks_members_of(std::string_view driver);
/// Reads options that were given as text into the types that commands take: numbers and truth values by `row`'s types.
std::string text_of(const json& a, const char* key, std::string otherwise = {});
bool flag_of(const json& a, const char* key, bool otherwise = false);
std::unexpected<Error> wrong(std::string text);

}  // namespace myna::tools::storage
