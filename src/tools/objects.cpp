#include "tools/objects.h"

#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "block/filters/throttle.h"
#include "block/formats/crypto/secret.h"
#include "tools/options.h"

namespace myna::tools {

namespace {
std::unexpected<Error> wrong(std::string text) { return fail(ErrorKind::kInvalidArgument, std::move(text)); }
}  // namespace

Result<void> Objects::add(std::string_view text, block::Graph& graph) {
    const auto parsed = parse_properties(text, "qom-type");
    if (!parsed) return std::unexpected(parsed.error());
    std::map<std::string, std::string> p(parsed->begin(), parsed->end());
    const std::string type = p["qom-type"], id = p["id"];
    if (type.empty()) return wrong("Parameter 'qom-type' is missing");
    if (id.empty()) return wrong("Parameter 'id' is missing");
    if (all_.contains(id)) return wrong("attempt to add duplicate property '" + id + "' to object (type 'container')");
    if (type == "secret") {
        auto bytes = block::crypto::secret_bytes(p, [&](std::string_view other) { return graph.secret(other); });
        if (!bytes) return std::unexpected(bytes.error());
        graph.add_secret(id, std::move(*bytes));
    } else if (type.starts_with("tls-creds-")) {
        auto c = net::TlsCredentials::load(type, p);
        if (!c) return std::unexpected(c.error());
        tls_[id] = *c;
        graph.add_tls(id, *c);
    } else if (type == "throttle-group") {
        auto group = std::make_shared<block::ThrottleGroup>(graph.reactor());
        nlohmann::json limits(p);
        for (const auto& [key, value] : p)
            if (key.starts_with("limits.")) {
                limits.erase(key);
                limits["x-" + key.substr(7)] = value;
            }
        if (auto r = group->set(limits); !r) return r;
        graph.add_throttle_group(id, std::move(group));
    } else if (type == "authz-simple") {
        if (p["identity"].empty()) return wrong("authz-simple: identity is missing");
        identities_[id] = p["identity"];
    } else if (type == "iothread") {
        // Nothing to make: the Reactor's threads do the work of all nodes. Exports may name it.
    } else if (type == "authz-list" || type == "authz-list-file" || type == "authz-pam" || type == "secret_keyring" || type == "main-loop") {
        return fail(ErrorKind::kUnsupported, "object type '" + type + "' is not supported");
    } else {
        return wrong("invalid object type: " + type);
    }
    p.erase("qom-type");
    p.erase("id");
    p.erase("data");
    all_[id] = {type, std::move(p)};
    return {};
}

Result<void> Objects::remove(const std::string& id, block::Graph& graph) {
    if (!all_.contains(id)) return fail(ErrorKind::kNotFound, "object '" + id + "' not found");
    // Each is held by the graph and, credentials, by this.
    const auto group = graph.throttle_group(id);
    const auto t = tls_.find(id);
    if (group.use_count() > 2 || (t != tls_.end() && t->second.use_count() > 2)) return fail(ErrorKind::kInUse, "object '" + id + "' is in use, can not be deleted");
    all_.erase(id);
    tls_.erase(id);
    graph.remove_throttle_group(id);
    graph.remove_secret(id);
    graph.remove_tls(id);
    identities_.erase(id);
    return {};
}

Result<std::shared_ptr<net::TlsCredentials>> Objects::tls(const std::string& id, bool server) const {
    if (!all_.contains(id)) return wrong("No TLS credentials with id '" + id + "'");
    const auto c = tls_.find(id);
    if (c == tls_.end()) return wrong("Object with id '" + id + "' is not TLS credentials");
    if (c->second->server() != server) return wrong(std::string("Expecting TLS credentials with a ") + (server ? "server" : "client") + " endpoint");
    return c->second;
}

Result<Objects::Authorise> Objects::authorise(const std::string& id) const {
    const auto i = identities_.find(id);
    if (i == identities_.end()) return wrong("No authorization object with id '" + id + "'");
    return [identity = i->second](const net::TlsPeer& peer) -> Result<void> {
        if (peer.distinguished_name == identity) return {};
        return fail(ErrorKind::kPermission, "TLS x509 authz check for " + peer.distinguished_name + " is denied", EACCES);
    };
}

bool set_cache_mode(block::OpenOptions& o, std::string_view mode) {
    o.direct = mode == "none" || mode == "off" || mode == "directsync";
    o.writethrough = mode == "writethrough" || mode == "directsync";
    o.unsafe_cache = mode == "unsafe";
    return o.direct || o.writethrough || o.unsafe_cache || mode == "writeback";
}

namespace {

/// Puts a temporary qcow2 image in front of the file (-s): it has no name any more when this returns.
block::Task<Result<block::NodePtr>> open_snapshot(block::Graph& graph, ImageOptions image) {
    const char* dir = std::getenv("TMPDIR");
    std::string path = std::string(dir != nullptr ? dir : "/var/tmp") + "/myna-overlay-XXXXXX";
    const int fd = mkstemp(path.data());
    if (fd < 0) co_return fail_errno(errno, "Could not create temporary overlay '" + path + "'");
    ::close(fd);
    std::error_code ec;
    block::CreateOptions c;
    c.filename = path;
    image.snapshot = false;
    ImageOptions below = image;
    below.read_only = true;
    auto base = co_await open_image(graph, below);
    Result<block::NodePtr> out;
    if (!base) {
        out = std::unexpected(base.error());
    } else {
        c.size = (*base)->size();
        c.options = nlohmann::json::object();
        c.backing_file = image.name.starts_with('/') || image.name.find(':') != std::string::npos ? image.name : std::filesystem::absolute(image.name, ec).string();
        c.backing_format = std::string((*base)->driver());
        (void)co_await (*base)->close();
        base->reset();
        if (auto r = co_await graph.create("qcow2", c); !r) {
            out = std::unexpected(r.error());
        } else {
            ImageOptions over = image;
            over.name = path;
            over.format = "qcow2";
            over.cache = "unsafe";
            over.read_only = false;
            out = co_await open_image(graph, over);
        }
    }
    ::unlink(path.c_str());
    co_return out;
}

}  // namespace

block::Task<Result<block::NodePtr>> open_image(block::Graph& graph, ImageOptions i) {
    if (i.copy_on_read) {
        if (i.read_only) co_return wrong("Can't use copy-on-read on read-only device");
        i.copy_on_read = false;
        auto below = co_await open_image(graph, std::move(i));
        if (!below) co_return below;
        co_return block::copy_on_read(graph.reactor(), *below);
    }
    if (i.force_share && !i.read_only) co_return wrong("force-share=on can only be used with read-only images");
    if (i.aio == "native" && i.cache != "none" && i.cache != "directsync" && i.cache != "off")
        co_return wrong("aio=native was specified, but it requires cache.direct=on, which was not specified.");
    if (i.snapshot) co_return co_await open_snapshot(graph, i);
    block::OpenOptions o;
    o.options = nlohmann::json::object();
    o.read_only = i.read_only;
    o.force_share = i.force_share;
    if (!set_cache_mode(o, i.cache)) co_return wrong("Invalid cache mode '" + i.cache + "'");
    const auto general = [&] {
        if (!i.discard.empty()) o.options.emplace("discard", i.discard);
        if (!i.detect_zeroes.empty()) o.options.emplace("detect-zeroes", i.detect_zeroes);
    };
    if (i.image_opts) {
        auto tree = block::Graph::parse_image_opts(i.name);
        if (!tree) co_return std::unexpected(tree.error());
        o.options = std::move(*tree);
        general();
        if (o.options.contains("file") && o.options["file"].is_object() && !o.options["file"].contains("driver")) o.options["file"]["driver"] = "file";
        co_return co_await graph.open_tree(std::move(o));
    }
    if (!i.options.empty()) {
        auto tree = block::Graph::parse_image_opts(i.options);
        if (!tree) co_return std::unexpected(tree.error());
        o.options = std::move(*tree);
    }
    general();
    auto node = co_await graph.open(i.name, i.format, std::move(o));
    // A format's error begins with the name, which the caller's message already says.
    if (const std::string own = i.name + ": "; !node && node.error().message.starts_with(own)) node.error().message.erase(0, own.size());
    co_return node;
}

}  // namespace myna::tools
