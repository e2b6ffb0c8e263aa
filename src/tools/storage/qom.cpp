// qom-…: the objects of --object and object-add as a tree of paths, with types and properties.
//
//   /  container ──objects──▶ container ──ID──▶ secret, throttle-group, tls-creds-…, authz-simple
//
// Types, their parents and properties are the documented daemon's. Here an object is what it was made as: only a throttle
// group's limits can be set afterwards, and the text of a secret is not given back.
#include <algorithm>

#include "block/filters/throttle.h"
#include "qmp/schema.h"
#include "tools/storage/daemon.h"

namespace myna::tools::storage {

using T = Argument::Type;

namespace {

struct TypeRow {
    std::string_view name, parent;
    std::string_view properties;  // "name:type …", beyond those of the parent
    bool abstract = false, creatable = false;
};
constexpr TypeRow kTypes[] = {
    {"object", "", "type:string", true},
    {"container", "object", ""},
    {"authz", "object", "", true},
    {"authz-simple", "authz", "identity:string", false, true},
    {"event-loop-base", "object", "aio-max-batch:int thread-pool-max:int thread-pool-min:int", true},
    {"iothread", "event-loop-base", "poll-grow:int poll-max-ns:int poll-shrink:int", false, true},
    {"secret_common", "object", "iv:string keyid:string loaded:bool format:QCryptoSecretFormat", true},
    {"secret", "secret_common", "file:string data:string", false, true},
    {"throttle-group", "object", "limits:ThrottleLimits", false, true},
    {"tls-creds", "object", "endpoint:QCryptoTLSCredsEndpoint dir:string verify-peer:bool priority:string", true},
    {"tls-creds-anon", "tls-creds", "loaded:bool", false, true},
    {"tls-creds-psk", "tls-creds", "loaded:bool username:string", false, true},
    {"tls-creds-x509", "tls-creds", "loaded:bool sanity-check:bool passwordid:string", false, true},
};

const TypeRow* type_of(std::string_view name) {
    const auto at = std::ranges::find(kTypes, name, &TypeRow::name);
    return at == std::end(kTypes) ? nullptr : at;
}

std::unexpected<Error> not_found(const std::string& what) { return std::unexpected(qmp::class_error("DeviceNotFound", what + " not found")); }

/// Name and type of each property that objects of the type have.
json properties_of(std::string_view type) {
    json out = json::array();
    for (const TypeRow* t = type_of(type); t != nullptr; t = type_of(t->parent))
        for (const qmp::Member& m : qmp::members_of(t->properties)) out.push_back({{"name", m.name}, {"type", m.type}});
    if (type == "throttle-group")
        for (const char* kind : {"bps-total", "bps-read", "bps-write", "iops-total", "iops-read", "iops-write"})
            for (const char* what : {"", "-max", "-max-length"}) out.push_back({{"name", std::string("x-") + kind + what}, {"type", "int"}});
    if (type == "throttle-group") out.push_back({{"name", "x-iops-size"}, {"type", "int"}});
    return out;
}

}  // namespace

Result<Daemon::QomPlace> Daemon::qom_place(const std::string& path) const {
    std::vector<std::string> parts;
    for (size_t at = 0; at < path.size();) {
        const size_t end = std::min(path.find('/', at), path.size());
        if (end > at) parts.push_back(path.substr(at, end - at));
        at = end + 1;
    }
    const auto& all = objects.all();
    const auto unknown = [&] { return not_found("Device '" + path + "'"); };
    // A path that does not begin at the root is found wherever it fits.
    const bool whole = path.starts_with('/');
    if (whole && parts.empty()) return QomPlace{"container", "", nullptr};
    if (parts.empty() || parts.size() > 2 || all.empty()) return unknown();
    if (parts[0] == "objects" && parts.size() == 1) return QomPlace{"container", "objects", nullptr};
    if (parts.size() == 2 ? parts[0] != "objects" : whole) return unknown();
    const auto at = all.find(parts.back());
    if (at == all.end()) return unknown();
    return QomPlace{at->second.type, at->first, &at->second};
}

json Daemon::qom_properties(const QomPlace& place) const {
    json out = properties_of(place.type);
    if (place.object != nullptr) return out;
    if (place.root() && !objects.all().empty()) out.push_back({{"name", "objects"}, {"type", "child<container>"}});
    if (!place.root())
        for (const auto& [id, o] : objects.all()) out.push_back({{"name", id}, {"type", "child<" + o.type + ">"}});
    return out;
}

Result<json> Daemon::qom_list(const json& a) {
    const auto place = qom_place(text_of(a, "path"));
    if (!place) return std::unexpected(place.error());
    return qom_properties(*place);
}

Result<json> Daemon::qom_get(const json& a) {
    const auto place = qom_place(text_of(a, "path"));
    if (!place) return std::unexpected(place.error());
    const std::string name = text_of(a, "property");
    const json all = qom_properties(*place);
    const auto row = std::ranges::find_if(all, [&](const json& j) { return j["name"] == name; });
    const std::string called = "Property '" + std::string(place->type) + "." + name + "'";
    if (row == all.end()) return wrong(called + " not found");
    const std::string type = (*row)["type"];
    if (name == "type") return json(place->type);
    if (place->object == nullptr) return json((place->root() ? "/" : "/objects/") + name);
    if (place->type == "throttle-group") {
        json limits = graph.throttle_group(place->id)->limits();
        return name == "limits" ? std::move(limits) : limits[name.substr(2)];
    }
    if (name == "data") return wrong(called + " is not readable: the text of a secret is not given back");
    const auto given = place->object->properties.find(name);
    const std::string text = given == place->object->properties.end() ? "" : given->second;
    if (!text.empty()) return type == "bool" ? json(flag_of({{"v", text}}, "v")) : json(text);
    if (type == "bool") return json(true);  // loaded, verify-peer, sanity-check
    return json(name == "endpoint" ? "client" : name == "format" ? "raw" : "");
}

Result<json> Daemon::qom_set(const json& a) {
    const auto place = qom_place(text_of(a, "path"));
    if (!place) return std::unexpected(place.error());
    const std::string name = text_of(a, "property"), called = "Property '" + std::string(place->type) + "." + name + "'";
    const json all = qom_properties(*place);
    if (std::ranges::none_of(all, [&](const json& j) { return j["name"] == name; })) return wrong(called + " not found");
    if (name == "type" || place->object == nullptr) return wrong(called + " is not writable");
    if (place->type == "throttle-group" && name != "limits") return wrong("Property cannot be set after initialization");
    if (name != "limits") return fail(ErrorKind::kUnsupported, called + " cannot be changed once the object is made");
    const json& value = a["value"];
    if (!value.is_object()) return wrong("Invalid parameter type for 'limits', expected: object");
    const auto group = graph.throttle_group(place->id);
    for (const json known = group->limits(); const auto& [key, limit] : value.items()) {
        if (!known.contains(key)) return wrong("Parameter 'limits." + key + "' is unexpected");
        if (!limit.is_number_integer()) return wrong("Invalid parameter type for 'limits." + key + "', expected: integer");
    }
    if (auto r = group->set({{"limits", value}}); !r) return std::unexpected(r.error());
    return json::object();
}

void Daemon::add_qom_commands() {
    add("qom-list", {{"path", T::kString, true}}, &Daemon::qom_list);
    add("qom-get", {{"path", T::kString, true}, {"property", T::kString, true}}, &Daemon::qom_get);
    add("qom-set", {{"path", T::kString, true}, {"property", T::kString, true}, {"value", T::kAny, true}}, &Daemon::qom_set);
    commands.add("qom-list-types", {{"implements", T::kString}, {"abstract", T::kBool}}, [](json a) -> Task<Result<json>> {
        const std::string wanted = text_of(a, "implements", "object");
        json out = json::array();
        for (const TypeRow& t : kTypes) {
            bool is = wanted == "user-creatable" && t.creatable;
            for (const TypeRow* up = &t; up != nullptr && !is; up = type_of(up->parent)) is = up->name == wanted;
            if (!is || (t.abstract && !flag_of(a, "abstract"))) continue;
            json row = {{"name", t.name}};
            if (!t.parent.empty()) row["parent"] = t.parent;
            if (t.abstract) row["abstract"] = true;
            out.push_back(std::move(row));
        }
        co_return out;
    });
    commands.add("qom-list-properties", {{"typename", T::kString, true}}, [](json a) -> Task<Result<json>> {
        const std::string name = a["typename"];
        if (type_of(name) == nullptr) co_return not_found("Class '" + name + "'");
        co_return properties_of(name);
    });
}

}  // namespace myna::tools::storage
