// Exports: nodes seen by others, over NBD or as files of the host.
//
//   listener ─▶ nbd::Server ─▶ nbd::Export ─▶ Backend ─▶ node        mount point ─▶ FuseExport ─▶ Backend ─▶ node
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>

#include "net/address.h"
#include "tools/storage/daemon.h"

namespace myna::tools::storage {

using T = Argument::Type;
using block::Perm;

namespace {

/// {"type": "unix", "data": {"path": …}}, or the same without "data".
Result<net::Address> address_of(const json& given) {
    const json data = given.contains("data") ? given["data"] : given;
    const std::string type = text_of(given, "type");
    net::Address a;
    if (type == "unix") {
        a.kind = net::Address::Kind::kUnix;
        a.path = text_of(data, "path");
        if (a.path.empty()) return wrong("Parameter 'path' is missing");
        if (flag_of(data, "abstract")) a.path = "@" + a.path;
    } else if (type == "inet") {
        a.host = text_of(data, "host");
        a.port = text_of(data, "port");
        if (!data.contains("host")) return wrong("Parameter 'host' is missing");
        if (a.port.empty()) return wrong("Parameter 'port' is missing");
        a.ipv4 = flag_of(data, "ipv4", !data.contains("ipv6") || !flag_of(data, "ipv6"));
        a.ipv6 = flag_of(data, "ipv6", !data.contains("ipv4") || !flag_of(data, "ipv4"));
    } else if (type == "fd") {
        a.kind = net::Address::Kind::kFd;
        a.fd = std::atoi(text_of(data, "str").c_str());
    } else {
        return wrong(type.empty() ? "Parameter 'type' is missing" : "Parameter 'type' does not accept value '" + type + "'");
    }
    return a;
}

}  // namespace

Task<Result<json>> Daemon::server_start(json a) {
    if (server_) co_return wrong("NBD server already running");
    const auto at = address_of(a["addr"]);
    if (!at) co_return std::unexpected(at.error());
    auto server = std::make_unique<nbd::Server>(reactor);
    if (const std::string id = text_of(a, "tls-creds"); !id.empty()) {
        auto tls = objects.tls(id, true);
        if (!tls) co_return std::unexpected(tls.error());
        server->tls = *tls;
    }
    if (const std::string id = text_of(a, "tls-authz"); !id.empty()) {
        if (!server->tls) co_return wrong("TLS authorization is not permitted without TLS credentials");
        auto who = objects.authorise(id);
        if (!who) co_return std::unexpected(who.error());
        server->authorise = *who;
    }
    server->max_clients = a.value("max-connections", 0u);
    auto fds = net::listen_on(*at, SOMAXCONN);
    if (!fds) co_return std::unexpected(fds.error());
    server_ = std::move(server);
    listeners_ = *fds;
    socket_path_ = at->kind == net::Address::Kind::kUnix ? at->path : "";
    for (const int fd : listeners_) reactor.spawn(accept_clients(fd));
    co_return json::object();
}

Task<void> Daemon::accept_clients(int listener) {
    for (;;) {
        const auto fd = co_await net::accept_at(reactor, listener);
        if (!fd) break;
        if (!server_) {
            ::close(*fd);
            break;
        }
        reactor.spawn(serve_client(*fd));
    }
    ::close(listener);
}

Task<void> Daemon::serve_client(int fd) {
    ++clients_;
    (void)co_await server_->serve(fd);
    --clients_;
}

Task<Result<json>> Daemon::server_stop(json) {
    if (!server_) co_return wrong("NBD server not running");
    for (const int fd : listeners_) ::shutdown(fd, SHUT_RDWR);
    listeners_.clear();
    if (!socket_path_.empty() && socket_path_[0] != '@') ::unlink(socket_path_.c_str());
    std::vector<std::string> ids;
    for (const auto& e : exports_)
        if (e.type == "nbd") ids.push_back(e.id);
    server_->disconnect_all();
    while (clients_ > 0) co_await reactor.sleep(std::chrono::milliseconds(2));
    for (const auto& id : ids) co_await drop_export(id);
    server_.reset();
    co_return json::object();
}

Task<Result<json>> Daemon::export_add(json a) {
    ExportEntry e;
    e.type = text_of(a, "type");
    e.id = text_of(a, "id");
    e.node_name = text_of(a, "node-name");
    if (e.id.empty()) co_return wrong("Invalid block export id");
    if (std::ranges::any_of(exports_, [&](const auto& o) { return o.id == e.id; })) co_return wrong("Block export id '" + e.id + "' is already in use");
    if (e.type != "nbd" && e.type != "fuse") {
        if (e.type == "vhost-user-blk" || e.type == "vduse-blk") co_return fail(ErrorKind::kUnsupported, "export type '" + e.type + "' is not supported");
        co_return wrong("Parameter 'type' does not accept value '" + e.type + "'");
    }
    static constexpr std::string_view kBoth[] = {"type", "id", "node-name", "writable", "writethrough", "fixed-iothread", "iothread"};
    static constexpr std::string_view kNbd[] = {"name", "description", "bitmaps", "allocation-depth"}, kFuse[] = {"mountpoint", "growable", "allow-other"};
    const std::span<const std::string_view> own = e.type == "nbd" ? std::span<const std::string_view>(kNbd) : kFuse;
    for (const auto& [key, value] : a.items())
        if (std::ranges::find(kBoth, std::string_view(key)) == std::end(kBoth) && std::ranges::find(own, std::string_view(key)) == own.end()) co_return wrong("Parameter '" + key + "' is unexpected");
    // All exports run in the daemon's own loop; the name is checked, so that a mistyped one does not pass.
    if (const std::string thread = text_of(a, "iothread"); !thread.empty())
        if (const auto it = objects.all().find(thread); it == objects.all().end() || it->second.type != "iothread") co_return wrong("iothread \"" + thread + "\" not found");
    if (flag_of(a, "writethrough")) co_return fail(ErrorKind::kUnsupported, "writethrough is not supported; open the node with cache.direct and let clients ask for FUA");
    auto node = node_of(e.node_name, false);
    if (!node) co_return std::unexpected(node.error());
    const bool writable = flag_of(a, "writable");
    if (writable && (*node)->read_only()) co_return wrong("Block node is read-only");
    if (e.type == "nbd" && !server_) co_return wrong("NBD server not running");
    e.backend = block::Backend::create(graph, *node);
    auto claimed = e.backend->claim("export '" + e.id + "'", {.perm = Perm::kRead | (writable ? Perm::kWrite : 0u), .shared = Perm::kAll});
    Result<void> done = claimed;
    if (done && e.type == "nbd") {
        e.nbd_name = text_of(a, "name", e.node_name);
        auto out = std::make_shared<nbd::Export>();
        out->name = e.nbd_name;
        out->description = text_of(a, "description");
        out->node = e.backend;
        out->size = (*node)->size();
        out->writable = writable;
        out->multi_conn = true;
        // Unless the node was told what to do about zeroes, they become holes: images stay small.
        const auto owned = owned_.find(e.node_name);
        if (owned == owned_.end() || !owned->second.options.contains("detect-zeroes")) {
            const std::string discard = owned == owned_.end() ? "" : text_of(owned->second.options, "discard");
            out->detect_zeroes = discard == "ignore" || discard == "off" ? nbd::Export::DetectZeroes::kOn : nbd::Export::DetectZeroes::kUnmap;
        }
        out->allocation_depth = flag_of(a, "allocation-depth");
        if (out->name.size() > 4096) done = wrong("export name '" + out->name + "' too long");
        else if (server_->find(out->name)) done = wrong("NBD server already has export named '" + out->name + "'");
        if (a.contains("bitmaps"))
            for (const json& b : a["bitmaps"]) {
                if (!done) break;
                const std::string of = b.is_object() ? text_of(b, "node") : "", name = b.is_object() ? text_of(b, "name") : b.is_string() ? b.get<std::string>() : "";
                NodePtr holder = *node;
                if (!of.empty()) {
                    auto other = node_of(of);
                    if (!other) done = std::unexpected(other.error());
                    else holder = *other;
                }
                if (!done) break;
                auto bits = co_await bits_of(holder, name);
                if (of.empty())  // the first image of the chain that has it
                    for (NodePtr n = holder->backing(); !bits && n; n = n->backing())
                        if (auto below = co_await bits_of(n, name)) bits = std::move(below);
                if (!bits) done = fail(ErrorKind::kNotFound, "Bitmap '" + name + "' is not found");
                else out->bitmaps.push_back({name, bits->granularity, std::move(bits->words)});
            }
        if (done) server_->add(std::move(out));
    } else if (done) {
        FuseSettings s;
        s.mountpoint = text_of(a, "mountpoint");
        s.writable = writable;
        s.growable = flag_of(a, "growable");
        const std::string others = text_of(a, "allow-other", "auto");
        s.allow_other = others == "off" || others == "false" ? FuseSettings::AllowOther::kOff : others == "auto" ? FuseSettings::AllowOther::kAuto : FuseSettings::AllowOther::kOn;
        if (s.mountpoint.empty()) done = wrong("Parameter 'mountpoint' is missing");
        if (done) {
            auto f = FuseExport::mount(e.backend, s);
            if (!f) done = std::unexpected(f.error());
            else e.fuse = std::move(*f);
        }
    }
    if (!done) {
        (*node)->drop_user();
        co_return std::unexpected(done.error());
    }
    exports_.push_back(std::move(e));
    co_return json::object();
}

Task<void> Daemon::drop_export(std::string id) {
    const auto at = std::ranges::find_if(exports_, [&](const auto& e) { return e.id == id; });
    if (at == exports_.end()) co_return;
    ExportEntry e = std::move(*at);
    exports_.erase(at);
    if (e.fuse) co_await e.fuse->unmount();
    {
        const auto alone = co_await e.backend->drain();
        if (!e.backend->read_only()) (void)co_await e.backend->file()->flush();
    }
    e.backend->file()->drop_user();
    e = {};
    commands.emit("BLOCK_EXPORT_DELETED", {{"id", id}});
}

Task<Result<json>> Daemon::export_del(json a) {
    const std::string id = text_of(a, "id"), mode = text_of(a, "mode", "safe");
    const auto at = std::ranges::find_if(exports_, [&](const auto& e) { return e.id == id; });
    if (at == exports_.end()) co_return wrong("Export '" + id + "' is not found");
    if (mode != "safe" && mode != "hard") co_return wrong("Parameter 'mode' does not accept value '" + mode + "'");
    if (at->type == "nbd") {
        const std::string name = at->nbd_name;
        if (mode == "safe" && server_->in_use(name)) co_return wrong("export '" + id + "' still in use");
        server_->remove(name, true);
        while (server_ && server_->in_use(name)) co_await reactor.sleep(std::chrono::milliseconds(2));
    }
    co_await drop_export(id);
    co_return json::object();
}

void Daemon::add_export_commands() {
    add("nbd-server-start", {{"addr", T::kObject, true, "SocketAddressLegacy"}, {"tls-creds", T::kString}, {"tls-authz", T::kString}, {"max-connections", T::kNumber}}, &Daemon::server_start);
    add("nbd-server-stop", {}, &Daemon::server_stop);
    add("block-export-add", {{"type", T::kString, true}, {"id", T::kString, true}, {"node-name", T::kString, true}, {"writable", T::kBool}}, &Daemon::export_add, true);
    add("block-export-del", {{"id", T::kString, true}, {"mode", T::kString, false, "safe|hard"}}, &Daemon::export_del);
    commands.add("nbd-server-add", {{"device", T::kString, true}, {"name", T::kString}, {"description", T::kString}, {"writable", T::kBool}, {"bitmap", T::kString}}, [this](json a) -> Task<Result<json>> {
        json b = {{"type", "nbd"}, {"id", text_of(a, "name", a["device"])}, {"node-name", a["device"]}, {"name", text_of(a, "name", a["device"])}, {"writable", flag_of(a, "writable")}};
        if (a.contains("description")) b["description"] = a["description"];
        if (a.contains("bitmap")) b["bitmaps"] = json::array({a["bitmap"]});
        return export_add(std::move(b));
    });
    commands.add("nbd-server-remove", {{"name", T::kString, true}, {"mode", T::kString, false, "safe|hard"}}, [this](json a) -> Task<Result<json>> {
        json b = {{"id", a["name"]}, {"mode", text_of(a, "mode", "safe")}};
        return export_del(std::move(b));
    });
    commands.add("query-block-exports", {}, [this](json) -> Task<Result<json>> {
        json out = json::array();
        for (const auto& e : exports_) out.push_back({{"id", e.id}, {"type", e.type}, {"node-name", e.backend->file()->node_name()}, {"shutting-down", false}});
        co_return out;
    });
}

}  // namespace myna::tools::storage
