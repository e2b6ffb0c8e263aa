// Jobs by command, and the events that tell of them.
#include <algorithm>

#include "tools/storage/daemon.h"

namespace myna::tools::storage {

using T = Argument::Type;
using namespace block::jobs;

namespace {

/// A job that is one call: blockdev-create.
class CallJob final : public Job {
  public:
    CallJob(io::Reactor& r, std::string_view type, JobOptions o, std::function<Task<Result<void>>()> call) : Job(r, type, std::move(o)), call_(std::move(call)) { total_ = 1; }

  protected:
    Task<Result<void>> run() override {
        auto r = co_await call_();
        if (r) done_ = 1;
        co_return r;
    }
    Task<void> clean(bool) override { co_return; }

  private:
    std::function<Task<Result<void>>()> call_;
};

/// A bitmap of the image or of memory, whose changes an incremental backup takes.
class BitmapChanges final : public ChangeSource {
  public:
    BitmapChanges(NodePtr n, std::string name, MemoryBitmap* memory) : node_(std::move(n)), name_(std::move(name)), memory_(memory) {
        if (memory_ != nullptr) memory_->busy = true;
    }
    ~BitmapChanges() override {
        if (memory_ != nullptr) memory_->busy = false;
    }
    Task<Result<block::BitmapBits>> take() override {
        if (memory_ != nullptr) {
            block::BitmapBits out = memory_->bits;
            std::ranges::fill(memory_->bits.words, 0u);
            co_return out;
        }
        auto bits = co_await node_->bitmap_bits(name_);
        if (!bits) co_return bits;
        if (auto r = co_await node_->change_bitmap(block::BitmapAction::kClear, name_); !r) co_return std::unexpected(r.error());
        co_return bits;
    }
    Task<Result<void>> give_back(block::BitmapBits bits) override {
        if (memory_ == nullptr) co_return co_await node_->merge_bitmap(name_, std::move(bits));
        for (size_t i = 0; i < bits.words.size(); ++i) memory_->bits.words[i] |= bits.words[i];
        co_return Result<void>{};
    }

  private:
    NodePtr node_;
    std::string name_;
    MemoryBitmap* memory_;
};

constexpr Argument kCommon[] = {{"job-id", T::kString}, {"auto-finalize", T::kBool}, {"auto-dismiss", T::kBool}, {"speed", T::kNumber}, {"filter-node-name", T::kString, false, "-"}};
std::vector<Argument> with_common(std::initializer_list<Argument> own) {
    std::vector<Argument> out(own);
    out.insert(out.end(), std::begin(kCommon), std::end(kCommon));
    return out;
}

bool is_block_job(const Job& j) { return j.type() != "create"; }

}  // namespace

json Daemon::job_data(const Job& j) const { return {{"device", j.id()}, {"type", j.type()}, {"len", j.total()}, {"offset", j.done()}, {"speed", j.options().speed}}; }

void Daemon::status_changed(const Job& j) {
    commands.emit("JOB_STATUS_CHANGE", {{"id", j.id()}, {"status", status_name(j.status())}});
    if (j.status() == Status::kNull) jobs_.erase(j.id());
}
void Daemon::ready(const Job& j) { commands.emit("BLOCK_JOB_READY", job_data(j)); }
void Daemon::pending(const Job& j) {
    if (is_block_job(j)) commands.emit("BLOCK_JOB_PENDING", {{"id", j.id()}, {"type", j.type()}});
}
void Daemon::failed(const Job& j, bool read, std::string_view action) { commands.emit("BLOCK_JOB_ERROR", {{"device", j.id()}, {"operation", read ? "read" : "write"}, {"action", action}}); }
void Daemon::ended(const Job& j) {
    if (!is_block_job(j)) return;
    json data = job_data(j);
    if (j.cancelled() && j.error()) return commands.emit("BLOCK_JOB_CANCELLED", std::move(data));
    if (j.error()) data["error"] = j.error()->message;
    commands.emit("BLOCK_JOB_COMPLETED", std::move(data));
}

Result<JobOptions> Daemon::job_options(const json& a) {
    if (a.contains("filter-node-name")) return fail(ErrorKind::kUnsupported, "'filter-node-name' is not supported: jobs have no filter node");
    JobOptions o;
    o.id = text_of(a, "job-id");
    if (o.id.empty()) return wrong("Invalid job ID ''");
    if (jobs_.contains(o.id)) return wrong("Job ID '" + o.id + "' already in use");
    if (const auto s = a.find("speed"); s != a.end()) {
        if (s->get<int64_t>() < 0) return wrong("Parameter 'speed' expects a non-negative value");
        o.speed = *s;
    }
    o.auto_finalize = flag_of(a, "auto-finalize", true);
    o.auto_dismiss = flag_of(a, "auto-dismiss", true);
    for (const auto& [key, source, target] : {std::tuple{"on-source-error", true, false}, std::tuple{"on-target-error", false, true}, std::tuple{"on-error", true, true}}) {
        if (!a.contains(key)) continue;
        const auto policy = parse_on_error(text_of(a, key));
        if (!policy) return wrong("Parameter '" + std::string(key) + "' does not accept value '" + text_of(a, key) + "'");
        if (source) o.on_source = *policy;
        if (target) o.on_target = *policy;
    }
    return o;
}

Result<json> Daemon::start_job(Result<JobPtr> job) {
    if (!job) return std::unexpected(job.error());
    jobs_[(*job)->id()] = *job;
    Job::start(*job, this);
    return json::object();
}

Result<JobPtr> Daemon::job_of(const std::string& id, bool block_job) {
    const auto at = jobs_.find(id);
    if (at != jobs_.end() && (!block_job || is_block_job(*at->second))) return at->second;
    if (block_job) return std::unexpected(qmp::class_error("DeviceNotActive", "Block job '" + id + "' not found"));
    return wrong("Job not found");
}

Task<Result<void>> Daemon::backup(json a, Transaction& t) {
    auto job = co_await make_backup(std::move(a));
    if (!job) co_return std::unexpected(job.error());
    jobs_[(*job)->id()] = *job;
    t.undo.push_back([this, j = *job]() -> Task<void> {
        co_await j->abandon(this);
    });
    if (t.whole)
        if (auto r = co_await (*job)->begin(); !r) co_return r;
    if (t.group) Job::join(*job, t.group);
    t.commit.push_back([this, j = *job]() -> Task<void> {
        Job::start(j, this);
        co_return;
    });
    co_return Result<void>{};
}

Task<Result<JobPtr>> Daemon::make_backup(json a) {
    auto o = job_options(a);
    if (!o) co_return std::unexpected(o.error());
    auto source = node_of(text_of(a, "device"));
    if (!source) co_return std::unexpected(source.error());
    auto target = node_of(text_of(a, "target"));
    if (!target) co_return std::unexpected(target.error());
    BackupArgs b{.source = *source, .target = *target, .compress = flag_of(a, "compress")};
    const std::string sync = text_of(a, "sync"), mode = text_of(a, "bitmap-mode", sync == "incremental" ? "on-success" : ""), name = text_of(a, "bitmap");
    if (sync == "full") b.sync = BackupArgs::Sync::kFull;
    else if (sync == "top") b.sync = BackupArgs::Sync::kTop;
    else if (sync == "none") b.sync = BackupArgs::Sync::kNone;
    else if (sync == "incremental" || sync == "bitmap") b.sync = BackupArgs::Sync::kBitmap;
    else co_return wrong("Parameter 'sync' does not accept value '" + sync + "'");
    if (b.sync == BackupArgs::Sync::kBitmap) {
        if (name.empty()) co_return wrong("must provide a valid bitmap name for '" + sync + "' sync mode");
        if (mode.empty()) co_return wrong("Bitmap sync mode must be given when providing a bitmap");
        if (sync == "incremental" && mode != "on-success") co_return wrong("Bitmap sync mode must be 'on-success' when using sync mode 'incremental'");
        if (mode == "on-success") b.keep = BackupArgs::Keep::kOnSuccess;
        else if (mode == "never") b.keep = BackupArgs::Keep::kNever;
        else if (mode == "always") b.keep = BackupArgs::Keep::kAlways;
        else co_return wrong("Parameter 'bitmap-mode' does not accept value '" + mode + "'");
        MemoryBitmap* memory = bitmap(**source, name);
        if (memory == nullptr) {
            auto list = co_await (*source)->bitmaps();
            if (!list) co_return std::unexpected(list.error());
            if (std::ranges::none_of(*list, [&](const auto& i) { return i.name == name; })) co_return wrong("Bitmap '" + name + "' could not be found");
        } else if (memory->busy) {
            co_return wrong("Bitmap '" + name + "' is currently in use by another operation and cannot be used");
        }
        b.changes = std::make_shared<BitmapChanges>(*source, name, memory);
    } else if (!name.empty()) {
        co_return fail(ErrorKind::kUnsupported, "a bitmap with sync mode '" + sync + "' is not supported");
    }
    co_return block::jobs::make_backup(graph, std::move(*o), std::move(b));
}

Result<json> Daemon::mirror(const json& a) {
    auto o = job_options(a);
    if (!o) return std::unexpected(o.error());
    auto source = node_of(text_of(a, "device"));
    if (!source) return std::unexpected(source.error());
    auto target = node_of(text_of(a, "target"));
    if (!target) return std::unexpected(target.error());
    if (a.contains("buf-size")) return fail(ErrorKind::kUnsupported, "'buf-size' is not supported");
    MirrorArgs m{.source = *source, .target = *target};
    if (a.contains("replaces")) {
        m.replaces = graph.find(text_of(a, "replaces"));
        if (!m.replaces) return wrong("Failed to find node with node-name='" + text_of(a, "replaces") + "'");
    }
    const std::string sync = text_of(a, "sync"), copy = text_of(a, "copy-mode", "background");
    if (sync == "full") m.sync = MirrorArgs::Sync::kFull;
    else if (sync == "top") m.sync = MirrorArgs::Sync::kTop;
    else if (sync == "none") m.sync = MirrorArgs::Sync::kNone;
    else if (sync == "incremental" || sync == "bitmap") return wrong("Sync mode '" + sync + "' not supported");
    else return wrong("Parameter 'sync' does not accept value '" + sync + "'");
    if (copy != "background" && copy != "write-blocking") return wrong("Parameter 'copy-mode' does not accept value '" + copy + "'");
    m.write_blocking = copy == "write-blocking";
    m.granularity = a.value("granularity", uint64_t{0});
    return start_job(make_mirror(graph, std::move(*o), std::move(m)));
}

Result<json> Daemon::stream(const json& a) {
    auto o = job_options(a);
    if (!o) return std::unexpected(o.error());
    auto top = node_of(text_of(a, "device"));
    if (!top) return std::unexpected(top.error());
    StreamArgs s{.top = *top};
    if (a.contains("base") && a.contains("base-node")) return wrong("'base' and 'base-node' cannot be specified at the same time");
    if (a.contains("bottom") && (a.contains("base") || a.contains("base-node"))) return wrong("'bottom' and 'base'/'base-node' cannot be specified at the same time");
    for (const char* key : {"base-node", "bottom"})
        if (a.contains(key)) {
            auto n = node_of(text_of(a, key), false);
            if (!n) return std::unexpected(n.error());
            s.base = key == std::string_view("bottom") ? (*n)->backing() : *n;
        }
    if (a.contains("base")) {
        for (NodePtr n = (*top)->backing(); n && !s.base; n = n->backing())
            if (n->filename() == text_of(a, "base")) s.base = n;
        if (!s.base) return wrong("Can't find '" + text_of(a, "base") + "' in the backing chain");
    }
    if (a.contains("backing-file")) s.backing_file = text_of(a, "backing-file");
    if (s.backing_file && !s.base) return wrong("backing file specified, but streaming the entire chain");
    return start_job(make_stream(graph, std::move(*o), std::move(s)));
}

Task<Result<json>> Daemon::commit(json a) {
    auto o = job_options(a);
    if (!o) co_return std::unexpected(o.error());
    auto active = node_of(text_of(a, "device"));
    if (!active) co_return std::unexpected(active.error());
    CommitArgs c{.top = *active};
    NodePtr lowest = *active;
    while (lowest->backing()) lowest = lowest->backing();
    c.base = lowest;
    const auto by_name = [&](const char* file_key, const char* node_key, NodePtr& out) -> Result<void> {
        if (a.contains(file_key) && a.contains(node_key)) return wrong(std::string("'") + node_key + "' and '" + file_key + "' are mutually exclusive");
        if (a.contains(node_key)) {
            auto n = node_of(text_of(a, node_key), false);
            if (!n) return std::unexpected(n.error());
            out = *n;
        } else if (a.contains(file_key)) {
            NodePtr n = *active;
            while (n && n->filename() != text_of(a, file_key)) n = n->backing();
            if (!n) return wrong("Can't find '" + text_of(a, file_key) + "' in the backing chain");
            out = n;
        }
        return {};
    };
    if (auto r = by_name("top", "top-node", c.top); !r) co_return std::unexpected(r.error());
    if (auto r = by_name("base", "base-node", c.base); !r) co_return std::unexpected(r.error());
    if (c.top != *active) {
        for (NodePtr n = *active; n; n = n->backing())
            if (n->backing() == c.top) c.overlay = n;
        if (!c.overlay) co_return wrong("'" + c.top->node_name() + "' is not in the backing chain of '" + (*active)->node_name() + "'");
    }
    if (a.contains("backing-file")) {
        if (!c.overlay) co_return wrong("'backing-file' specified, but 'top' is the active layer");
        c.backing_file = text_of(a, "backing-file");
    }
    // What is only read, and is to be written, is opened so for as long as the job takes; as the active layer it stays so.
    const bool is_active = !c.overlay;
    NodePtr n = c.top;
    while (n && n != c.base) n = n->backing();
    std::vector<NodePtr> reopened;
    const auto restore = [this](std::vector<NodePtr> nodes) -> Task<void> {
        for (const NodePtr& was : nodes) (void)co_await set_read_only(was, true);
    };
    for (NodePtr* to_write : {&c.base, &c.overlay}) {
        if (!n || c.top == c.base || !*to_write || !(*to_write)->read_only()) continue;
        auto anew = co_await set_read_only(*to_write, false);
        if (!anew) {
            co_await restore(std::move(reopened));
            co_return std::unexpected(anew.error());
        }
        reopened.push_back(*to_write = *anew);
    }
    auto job = make_commit(graph, std::move(*o), std::move(c));
    if (!job) {
        co_await restore(std::move(reopened));
        co_return std::unexpected(job.error());
    }
    (*job)->at_end([restore, reopened, is_active](bool good) -> Task<void> {
        if (!is_active || !good) co_await restore(reopened);
    });
    co_return start_job(std::move(job));
}

Task<Result<void>> Daemon::create_image(std::string driver, block::CreateOptions c, std::string node) {
    if (node.empty()) co_return co_await graph.create(driver, c);
    OwnedNode owned = std::move(owned_.at(node));
    owned_.erase(node);
    owned.node->set_node_name("");
    if (auto r = co_await owned.node->close(); !r) co_return r;
    owned.node.reset();
    auto made = co_await graph.create(driver, c);
    if (auto r = co_await blockdev_add(std::move(owned.options)); !r && made) made = std::unexpected(r.error());
    co_return made;
}

Task<Result<json>> Daemon::blockdev_create(json a) {
    JobOptions o{.id = text_of(a, "job-id"), .auto_dismiss = false};
    if (jobs_.contains(o.id)) co_return wrong("Job ID '" + o.id + "' already in use");
    json options = a["options"];
    const std::string driver = text_of(options, "driver");
    if (driver.empty()) co_return wrong("Parameter 'driver' is missing");
    const block::Driver* d = block::find_driver(driver);
    if (d == nullptr) co_return wrong("Parameter 'driver' does not accept value '" + driver + "'");
    block::CreateOptions c;
    std::string node;
    c.options = json::object();
    for (const auto& [key, value] : options.items()) {
        if (key == "driver") continue;
        if (key == "size") {
            if (!value.is_number_unsigned()) co_return wrong("Invalid parameter type for 'options.size', expected: integer");
            c.size = value;
        } else if (key == "filename" && driver != "ssh") c.filename = value;
        else if (key == "location" && driver == "ssh") {
            if (!value.is_object()) co_return wrong("Invalid parameter type for 'options.location', expected: object");
            for (const auto& [member, v] : value.items())
                if (member != "server" && member != "path" && member != "user" && member != "host-key-check") co_return wrong("Parameter 'options.location." + member + "' is unexpected");
            c.options["location"] = value;
            c.filename = "ssh:";  // the location says the rest
        }
        else if (key == "file") {
            // The file is created anew, and the node opened again: nobody else has it.
            if (!value.is_string()) co_return fail(ErrorKind::kUnsupported, "'file' must be the name of a node");
            auto n = node_of(value);
            if (!n) co_return std::unexpected(n.error());
            if ((*n)->driver() != "file" || (*n)->users() > 1) co_return fail(ErrorKind::kUnsupported, "blockdev-create is supported on 'file' nodes that nothing else uses");
            if (!owned_.contains(value)) co_return wrong("Node " + value.get<std::string>() + " is not owned by the monitor");
            c.filename = (*n)->filename();
            node = value;
        } else if (key == "backing-file") c.backing_file = value;
        else if (key == "backing-fmt") c.backing_format = value;
        else {
            const bool known = std::ranges::any_of(d->create_options, [&](const auto& i) { std::string n(i.name); std::ranges::replace(n, '_', '-'); return n == key; });
            if (!known && key != "version") co_return wrong("Parameter 'options." + key + "' is unexpected");
            std::string name = key;
            for (const auto& i : d->create_options) {
                std::string n(i.name);
                std::ranges::replace(n, '_', '-');
                if (n == key) name = i.name;
            }
            if (key == "version") c.options["compat"] = value == "v2" ? "0.10" : "1.1";
            else c.options[name] = value.is_boolean() ? json(value.get<bool>() ? "on" : "off") : value.is_string() ? value : json(value.dump());
        }
    }
    if (c.filename.empty() && driver == "ssh") co_return wrong("Parameter 'options.location' is missing");
    if (c.filename.empty()) co_return wrong(d->kind == block::Driver::Kind::kProtocol ? "Parameter 'options.filename' is missing" : "Parameter 'options.file' is missing");
    co_return start_job(JobPtr(std::make_shared<CallJob>(reactor, "create", std::move(o), [this, driver, c, node] { return create_image(driver, c, node); })));
}

void Daemon::add_job_commands() {
    add_action("blockdev-backup", with_common({{"device", T::kString, true}, {"target", T::kString, true}, {"sync", T::kString, true, "MirrorSyncMode"}, {"bitmap", T::kString}, {"bitmap-mode", T::kString, false, "on-success|never|always"}, {"compress", T::kBool},
                                        {"on-source-error", T::kString, false, "OnError"}, {"on-target-error", T::kString, false, "OnError"}}), [](Daemon& d, json a, Transaction& t) { return d.backup(std::move(a), t); });
    add("blockdev-mirror", with_common({{"device", T::kString, true}, {"target", T::kString, true}, {"sync", T::kString, true, "MirrorSyncMode"}, {"replaces", T::kString}, {"granularity", T::kNumber}, {"buf-size", T::kNumber, false, "-"},
                                        {"on-source-error", T::kString, false, "OnError"}, {"on-target-error", T::kString, false, "OnError"}, {"copy-mode", T::kString, false, "background|write-blocking"}}), &Daemon::mirror);
    add("block-stream", with_common({{"device", T::kString, true}, {"base", T::kString}, {"base-node", T::kString}, {"bottom", T::kString}, {"backing-file", T::kString}, {"on-error", T::kString, false, "OnError"}}), &Daemon::stream);
    add("block-commit", with_common({{"device", T::kString, true}, {"base", T::kString}, {"base-node", T::kString}, {"top", T::kString}, {"top-node", T::kString}, {"backing-file", T::kString}, {"on-error", T::kString, false, "OnError"}}), &Daemon::commit);
    add("blockdev-create", {{"job-id", T::kString, true}, {"options", T::kObject, true, "BlockdevCreateOptions"}}, &Daemon::blockdev_create);

    struct Verb {
        const char* name;
        Result<void> (*run)(Job&, const json&);
    };
    static constexpr Verb kVerbs[] = {
        {"pause", [](Job& j, const json&) { return j.pause(); }},       {"resume", [](Job& j, const json&) { return j.resume(); }},
        {"complete", [](Job& j, const json&) { return j.complete(); }}, {"finalize", [](Job& j, const json&) { return j.finalize(); }},
        {"dismiss", [](Job& j, const json&) { return j.dismiss(); }},
    };
    for (const Verb& v : kVerbs)
        for (const bool block_job : {false, true}) {
            const std::string key = block_job && v.name != std::string_view("finalize") && v.name != std::string_view("dismiss") ? "device" : "id";
            commands.add((block_job ? "block-job-" : "job-") + std::string(v.name), {{key == "id" ? "id" : "device", T::kString, true}}, [this, v, block_job, key](json a) -> Task<Result<json>> {
                auto j = job_of(a[key], block_job);
                if (!j) co_return std::unexpected(j.error());
                if (auto r = v.run(**j, a); !r) co_return std::unexpected(r.error());
                co_return json::object();
            });
        }
    commands.add("job-cancel", {{"id", T::kString, true}}, [this](json a) -> Task<Result<json>> {
        auto j = job_of(a["id"], false);
        if (!j) co_return std::unexpected(j.error());
        if (auto r = (*j)->cancel(true); !r) co_return std::unexpected(r.error());
        co_return json::object();
    });
    commands.add("block-job-cancel", {{"device", T::kString, true}, {"force", T::kBool}}, [this](json a) -> Task<Result<json>> {
        auto j = job_of(a["device"], true);
        if (!j) co_return std::unexpected(j.error());
        const bool force = flag_of(a, "force");
        if ((*j)->paused() && !force) co_return wrong("The block job for device '" + a["device"].get<std::string>() + "' is currently paused");
        if (auto r = (*j)->cancel(force); !r) co_return std::unexpected(r.error());
        co_return json::object();
    });
    commands.add("block-job-set-speed", {{"device", T::kString, true}, {"speed", T::kNumber, true}}, [this](json a) -> Task<Result<json>> {
        auto j = job_of(a["device"], true);
        if (!j) co_return std::unexpected(j.error());
        if (a["speed"].get<int64_t>() < 0) co_return wrong("Parameter 'speed' expects a non-negative value");
        if (auto r = (*j)->set_speed(a["speed"]); !r) co_return std::unexpected(r.error());
        co_return json::object();
    });
    commands.add("query-jobs", {}, [this](json) -> Task<Result<json>> {
        json out = json::array();
        for (const auto& [id, j] : jobs_) {
            json row = {{"id", id}, {"type", j->type()}, {"status", status_name(j->status())}, {"current-progress", j->done()}, {"total-progress", j->total()}};
            if (j->error()) row["error"] = j->error()->message;
            out.push_back(std::move(row));
        }
        co_return out;
    });
    commands.add("query-block-jobs", {}, [this](json) -> Task<Result<json>> {
        json out = json::array();
        for (const auto& [id, j] : jobs_) {
            if (!is_block_job(*j)) continue;
            json row = job_data(*j);
            row.update({{"busy", j->busy()}, {"paused", j->paused()}, {"ready", j->is_ready()}, {"io-status", j->stopped_by_error() ? "failed" : "ok"}, {"status", status_name(j->status())},
                        {"auto-finalize", j->options().auto_finalize}, {"auto-dismiss", j->options().auto_dismiss}});
            if (j->error()) row["error"] = j->error()->message;
            out.push_back(std::move(row));
        }
        co_return out;
    });
}

}  // namespace myna::tools::storage
