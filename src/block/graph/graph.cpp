#include "block/graph/graph.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <nlohmann/json.hpp>

#include "base/json_dialect.h"

namespace myna::block {

using nlohmann::json;

namespace {

constexpr uint64_t kProbeBytes = 2048;

/// "nbd" of "nbd://host"; empty for plain paths ("c:/x" and "a/b:c" are paths).
std::string_view scheme_of(std::string_view name) {
    const size_t colon = name.find(':');
    if (colon == std::string_view::npos || colon == 0) return {};
    const std::string_view s = name.substr(0, colon);
    if (s.find('/') != std::string_view::npos) return {};
    return s;
}

/// The driver of the protocol that `name` begins with: "nbd" of "nbd+unix://…", "file" of a path.
const Driver* protocol_of(std::string_view name) {
    const std::string_view scheme = scheme_of(name);
    return find_driver(scheme.empty() ? "file" : scheme.substr(0, scheme.find('+')));
}
std::unexpected<Error> unknown_protocol(std::string_view name) {
    return fail(ErrorKind::kInvalidArgument, "Unknown protocol '" + std::string(scheme_of(name)) + "'");
}
std::string without_file_scheme(std::string_view name) { return std::string(scheme_of(name) == "file" ? name.substr(5) : name); }

/// {"a.b.c": 1} as {"a": {"b": {"c": 1}}}.
json nest(const json& flat) {
    json out = json::object();
    for (const auto& [key, value] : flat.items()) {
        json* at = &out;
        size_t from = 0;
        for (size_t dot; (dot = key.find('.', from)) != std::string::npos; from = dot + 1) {
            at = &(*at)[key.substr(from, dot - from)];
            if (!at->is_object()) *at = at->is_null() ? json::object() : json::object({{"", *at}});  // "a=x,a.b=y"
        }
        json& leaf = (*at)[key.substr(from)];
        if (leaf.is_object() && !value.is_object()) leaf[""] = value;
        else leaf = value.is_object() ? nest(value) : value;
    }
    return out;
}

}  // namespace

const std::string* Graph::secret(std::string_view id) const {
    const auto it = secrets_.find(id);
    return it == secrets_.end() ? nullptr : &it->second.text;
}

void Graph::remove_secret(std::string_view id) {
    if (const auto it = secrets_.find(id); it != secrets_.end()) secrets_.erase(it);
}

void Graph::Secret::wipe() noexcept {
    text.resize(text.capacity());
    explicit_bzero(text.data(), text.size());
    text.clear();
}

std::shared_ptr<net::TlsCredentials> Graph::tls(std::string_view id) const {
    const auto it = tls_.find(id);
    return it == tls_.end() ? nullptr : it->second;
}

std::shared_ptr<ThrottleGroup> Graph::throttle_group(std::string_view id) const {
    const auto it = throttle_groups_.find(id);
    return it == throttle_groups_.end() ? nullptr : it->second;
}

Result<json> Graph::parse_image_opts(std::string_view text) {
    json flat = json::object();
    for (size_t at = 0; at <= text.size();) {
        std::string item;
        for (; at < text.size(); ++at) {
            if (text[at] != ',') item += text[at];
            else if (at + 1 < text.size() && text[at + 1] == ',') item += text[at++];  // a doubled comma is a comma
            else break;
        }
        ++at;
        if (item.empty()) continue;
        const size_t eq = item.find('=');
        if (eq == std::string::npos) flat[item] = "on";
        else flat[item.substr(0, eq)] = item.substr(eq + 1);
    }
    return nest(flat);
}

std::string Graph::resolve_backing(std::string_view image, std::string_view backing) {
    if (backing.starts_with('/') || !scheme_of(backing).empty() || backing.starts_with("json:")) return std::string(backing);
    const size_t slash = image.rfind('/');
    return slash == std::string_view::npos ? std::string(backing) : std::string(image.substr(0, slash + 1)) + std::string(backing);
}

Task<Result<NodePtr>> Graph::open_backing(std::string image, std::string name, std::string format, OpenOptions above) {
    constexpr unsigned kLongestChain = 200;
    if (above.chain_depth >= kLongestChain)
        co_return fail(ErrorKind::kCorrupt, image + ": the chain of backing files has more than " + std::to_string(kLongestChain) + " images; does an image name itself as its backing file?");
    OpenOptions below;
    below.read_only = above.writable_backing != 1;
    below.writable_backing = above.writable_backing == 0 ? 0 : above.writable_backing - 1;
    below.chain_depth = above.chain_depth + 1;
    below.force_share = above.force_share;
    below.no_io = above.no_io;
    below.direct = above.direct;
    below.unsafe_cache = above.unsafe_cache;
    const auto it = above.options.find("backing");
    Result<NodePtr> r;
    if (it != above.options.end() && (it->is_object() || (names_nodes_ && it->is_string()))) {
        below.options = *it;
        // Options without a place ("backing.driver=raw") are for what the image names.
        const Driver* named = it->is_object() ? find_driver(it->value("driver", std::string())) : nullptr;
        const bool placed = !it->is_object() || name.empty() || (named != nullptr && named->kind != Driver::Kind::kFormat) || it->contains("filename") || it->contains("file");
        if (it->is_object() && it->contains("driver")) format.clear();
        if (placed) r = co_await open_tree(std::move(below));
        else r = co_await open(resolve_backing(image, name), std::move(format), std::move(below));
    } else {
        r = co_await open(resolve_backing(image, name), std::move(format), std::move(below));
    }
    if (!r) co_return std::unexpected(std::move(r.error()).in("Could not open backing file"));
    co_return r;
}

void Graph::tell_corruption(const std::string& line) const {
    if (on_corruption) on_corruption(line);
    else std::fprintf(stderr, "%s\n", line.c_str());
}

Task<Result<NodePtr>> Graph::open(std::string name, std::string format, OpenOptions o) {
    if (name.starts_with("json:")) {
        json tree = json::parse(strict_json(std::string_view(name).substr(5)), nullptr, false);
        if (!tree.is_object()) co_return fail(ErrorKind::kInvalidArgument, "Could not parse the JSON options of '" + name + "'");
        o.options = nest(tree);
        if (!format.empty() && !o.options.contains("driver")) o.options["driver"] = format;
        co_return co_await open_tree(std::move(o));
    }
    json file = json::object();
    std::string_view scheme = scheme_of(name);
    if (scheme == "file") {
        file = {{"driver", "file"}, {"filename", without_file_scheme(name)}};
    } else if (!scheme.empty()) {
        const Driver* driver = protocol_of(name);
        if (driver == nullptr) co_return unknown_protocol(name);
        file = {{"driver", driver->name}, {"filename", name}};
    } else {
        file = {{"driver", "file"}, {"filename", name}};
    }
    if (o.options.is_null()) o.options = json::object();
    if (!format.empty()) o.options["driver"] = format;
    // Options given beside the name: of the protocol itself where they name it, else of the format over it.
    const Driver* given = find_driver(o.options.value("driver", std::string()));
    if (given != nullptr && (given->kind == Driver::Kind::kProtocol || given->name == scheme_of(name))) {
        o.options["filename"] = file["filename"];
    } else {
        if (const auto more = o.options.find("file"); more != o.options.end() && more->is_object()) file.update(*more);
        const Driver* below = find_driver(file.value("driver", std::string()));
        if (below != nullptr && below->kind == Driver::Kind::kFilter && scheme_of(name) != below->name) {
            // A filter between format and file: the name is of what it filters.
            const char* key = below->name == "blkdebug" ? "image" : below->name == "blkverify" ? "test" : "file";
            if (!file.contains(key)) {
                json place = {{"driver", "file"}, {"filename", file["filename"]}};
                if (below->name == "blkverify") place = {{"file", std::move(place)}};  // of whatever format it is
                file[key] = std::move(place);
            }
            file.erase("filename");
        }
        o.options["file"] = std::move(file);
    }
    co_return co_await open_tree(std::move(o));
}

Task<Result<NodePtr>> Graph::open_protocol(std::string name, OpenOptions o) {
    const Driver* driver = protocol_of(name);
    if (driver == nullptr) co_return unknown_protocol(name);
    o.options = {{"driver", driver->name}, {"filename", without_file_scheme(name)}};
    co_return co_await open_tree(std::move(o));
}

Task<Result<NodePtr>> Graph::open_tree(OpenOptions o) {
    o.probed_file = nullptr;  // of the node above
    if (o.options.is_string() && names_nodes_) co_return refer(o.options.get<std::string>(), o);
    if (o.options.is_string()) co_return co_await open(o.options.get<std::string>(), "", std::move(o));
    if (const auto ro = o.options.find("read-only"); ro != o.options.end()) o.read_only = *ro == "on" || *ro == true;
    if (const auto cache = o.options.find("cache"); cache != o.options.end() && cache->is_object()) {
        const auto on = [&](const char* key, bool& flag) {
            if (const auto v = cache->find(key); v != cache->end()) flag = *v == "on" || *v == true;
        };
        on("direct", o.direct);
        on("no-flush", o.unsafe_cache);
    }
    std::string name = o.options.value("driver", std::string());
    if (name.empty() && o.options.contains("filename") && !o.options.contains("file")) name = "file";
    if (name.empty()) {
        // Probe: the file's first bytes say.
        if (!o.options.contains("file")) co_return fail(ErrorKind::kInvalidArgument, "A block device must be specified for \"file\"");
        OpenOptions below = o;
        below.options = o.options["file"];
        below.writethrough = false;
        auto file = co_await open_tree(below);
        if (!file) co_return std::unexpected(file.error());
        std::vector<uint8_t> head(std::min(kProbeBytes, (*file)->size()));
        if (auto r = co_await (*file)->read(0, IoVec(head.data(), head.size())); !r) {
            (void)co_await (*file)->close();
            co_return std::unexpected(r.error());
        }
        const Driver* best = nullptr;  // raw claims what nobody else does
        int score = 0;
        for (const Driver* d : all_drivers())
            if (d->probe != nullptr)
                if (const int s = d->probe(head, (*file)->filename()); s > score) {
                    best = d;
                    score = s;
                }
        name = best->name;
        o.options["driver"] = name;
        if (name == "raw") o.options["probed"] = true;
        o.probed_file = *file;
        auto n = co_await open_named(best, std::move(o));
        if (!n) (void)co_await (*file)->close();
        co_return n;
    }
    const Driver* d = find_driver(name);
    if (d == nullptr) co_return fail(ErrorKind::kInvalidArgument, "Unknown driver '" + name + "'");
    co_return co_await open_named(d, std::move(o));
}

Task<Result<NodePtr>> Graph::open_named(const Driver* d, OpenOptions o) {
    std::string name;
    if (const auto it = o.options.find("node-name"); it != o.options.end() && it->is_string()) name = it->get<std::string>();
    if (!name.empty() && find(name)) co_return fail(ErrorKind::kInvalidArgument, "Duplicate nodes with node-name='" + name + "'");
    // What is behind may be given where the image names nothing, and may be left out.
    const auto behind = o.options.find("backing");
    const bool no_backing = behind != o.options.end() && (behind->is_null() || *behind == ""), given = !no_backing && behind != o.options.end();
    if (given && !d->supports_backing) co_return fail(ErrorKind::kInvalidArgument, "Block driver '" + std::string(d->name) + "' does not support backing files");
    if (no_backing) o.no_backing = true;
    auto n = co_await d->open(*this, o);
    if (!n) co_return n;
    if (auto r = (*n)->set_general(o.options); !r) co_return std::unexpected(r.error());
    if (o.writethrough && !o.read_only) (*n)->set_write_through(true);
    if (given && !(*n)->backing() && !o.no_backing) {
        auto b = co_await open_backing((*n)->filename(), "", "", o);
        if (!b) co_return b;
        (*n)->set_backing(*b);
    }
    if (name.empty() && names_nodes_) name = "#block" + std::to_string(next_name_++);
    if (!name.empty()) {
        (*n)->set_node_name(name);
        enlist(*n);
    }
    co_return n;
}

void Graph::enlist(const NodePtr& n) {
    std::erase_if(nodes_, [](const std::weak_ptr<Node>& w) { return w.expired(); });
    nodes_.push_back(n);
}

std::vector<NodePtr> Graph::users_of(const Node& below) {
    std::vector<NodePtr> out;
    for (const auto& w : nodes_)
        if (NodePtr n = w.lock(); n && (n->file().get() == &below || n->backing().get() == &below)) out.push_back(std::move(n));
    return out;
}

NodePtr Graph::find(std::string_view node_name) {
    for (const auto& w : nodes_)
        if (NodePtr n = w.lock(); n && n->node_name() == node_name) return n;
    return nullptr;
}

std::vector<NodePtr> Graph::named() {
    std::vector<NodePtr> out;
    for (const auto& w : nodes_)
        if (NodePtr n = w.lock(); n && !n->node_name().empty()) out.push_back(std::move(n));
    return out;
}

Result<NodePtr> Graph::refer(const std::string& node_name, const OpenOptions& o) {
    NodePtr n = find(node_name);
    if (!n) return fail(ErrorKind::kNotFound, "Cannot find device='" + node_name + "' nor node-name='" + node_name + "'");
    if (!o.read_only && n->read_only()) return fail(ErrorKind::kPermission, "Block node is read-only", EACCES);
    n->add_user();
    return n;
}

Task<Result<void>> Graph::create_protocol(CreateOptions o) {
    const Driver* driver = protocol_of(o.filename);
    if (driver == nullptr) co_return unknown_protocol(o.filename);
    if (driver->create == nullptr) co_return fail(ErrorKind::kUnsupported, "Protocol driver '" + std::string(driver->name) + "' does not support image creation");
    o.filename = without_file_scheme(o.filename);
    co_return co_await driver->create(*this, o);
}

Task<Result<void>> Graph::create(std::string_view format, CreateOptions o) {
    const Driver* d = find_driver(format);
    if (d == nullptr) co_return fail(ErrorKind::kInvalidArgument, "Unknown file format '" + std::string(format) + "'");
    if (d->create == nullptr) co_return fail(ErrorKind::kUnsupported, "Format driver '" + std::string(format) + "' does not support image creation");
    if (o.backing_file && !d->supports_backing)
        co_return fail(ErrorKind::kUnsupported, "Backing file not supported for file format '" + std::string(format) + "'");
    co_return co_await d->create(*this, o);
}

}  // namespace myna::block
