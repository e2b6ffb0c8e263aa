// Opening images as the options of a command say, secrets, and the values of -o.
#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <nlohmann/json.hpp>

#include "base/json_dialect.h"
#include "block/filters/throttle.h"
#include "block/formats/crypto/secret.h"
#include "img/tool.h"
#include "net/tls.h"

namespace myna::img {

using nlohmann::json;

namespace {

bool take_object(Tool& tool, const std::string& given) {
    json o;
    if (given.starts_with('{')) {
        o = json::parse(strict_json(given), nullptr, false);
        if (!o.is_object()) return tool.error("--object: not a JSON object: " + given), false;
    } else {
        // The first item without a name is the type.
        const size_t comma = given.find(',');
        const std::string type = given.substr(0, comma);
        auto rest = Graph::parse_image_opts(comma == std::string::npos ? std::string_view{} : std::string_view(given).substr(comma + 1));
        o = std::move(*rest);
        if (type.starts_with("qom-type=")) o["qom-type"] = type.substr(9);
        else o["qom-type"] = type;
    }
    const std::string type = o.value("qom-type", "");
    if (!o.contains("id") || !o["id"].is_string()) return tool.error("Parameter 'id' is missing"), false;
    if (type.starts_with("tls-creds-")) {
        std::map<std::string, std::string> properties;
        for (const auto& [key, value] : o.items()) properties[key] = value.is_string() ? value.get<std::string>() : value.is_boolean() ? (value.get<bool>() ? "on" : "off") : value.dump();
        auto c = net::TlsCredentials::load(type, properties);
        if (!c) return tool.error(c.error()), false;
        tool.graph.add_tls(properties["id"], *c);
        return true;
    }
    if (type == "throttle-group") {
        auto group = std::make_shared<block::ThrottleGroup>(tool.graph.reactor());
        if (auto r = group->set(o); !r) return tool.error(r.error()), false;
        tool.graph.add_throttle_group(o["id"].get<std::string>(), std::move(group));
        return true;
    }
    if (type != "secret") return tool.error("--object " + type + ": only 'secret', 'tls-creds-…' and 'throttle-group' objects are there"), false;
    std::map<std::string, std::string> properties;
    for (const auto& [key, value] : o.items()) properties[key] = value.is_string() ? value.get<std::string>() : value.dump();
    auto bytes = block::crypto::secret_bytes(properties, [&](std::string_view id) { return tool.graph.secret(id); });
    if (!bytes) return tool.error(bytes.error()), false;
    tool.graph.add_secret(o["id"].get<std::string>(), std::move(*bytes));
    return true;
}

}  // namespace

bool take_objects(Tool& tool, const Args& args) {
    const auto all = args.all("object");
    return std::all_of(all.begin(), all.end(), [&](const std::string& o) { return take_object(tool, o); });
}

bool set_cache_mode(OpenOptions& o, std::string_view mode) {
    o.direct = mode == "none" || mode == "off" || mode == "directsync";
    o.writethrough = mode == "writethrough" || mode == "directsync";
    o.unsafe_cache = mode == "unsafe";
    return o.direct || o.writethrough || o.unsafe_cache || mode == "writeback";
}

Task<NodePtr> open_image(Tool& tool, Wanted w) {
    OpenOptions o;
    o.options = std::move(w.options);
    o.read_only = !w.writable;
    o.force_share = w.force_share;
    o.no_backing = w.no_backing;
    o.no_io = w.no_io;
    o.check = w.check;
    o.writable_backing = w.writable_backing;
    if (!set_cache_mode(o, w.cache)) {
        tool.error("Invalid cache option: " + w.cache);
        co_return nullptr;
    }
    Result<NodePtr> r;
    if (w.image_opts) {
        if (!w.format.empty()) {
            tool.error("--image-opts and --format are mutually exclusive");
            co_return nullptr;
        }
        auto tree = Graph::parse_image_opts(w.name);
        if (!tree) {
            tool.error(tree.error());
            co_return nullptr;
        }
        o.options = std::move(*tree);
        r = co_await tool.graph.open_tree(std::move(o));
    } else {
        r = co_await tool.graph.open(w.name, w.format, std::move(o));
    }
    if (!r) {
        // Protocol errors name the file themselves; the documented tool says the name twice then, and so do we.
        std::string m = r.error().message;
        const std::string own = w.name + ": ";
        if (m.starts_with(own)) m.erase(0, own.size());
        tool.error("Could not open '" + w.name + "': " + m);
        co_return nullptr;
    }
    if (w.writable && !w.image_opts && w.format.empty() && (*r)->driver() == "raw" && !w.name.starts_with("json:"))
        std::fprintf(stderr,
                     "WARNING: Image format was not specified for '%s' and probing guessed raw.\n"
                     "         Automatically detecting the format is dangerous for raw images, write operations on block 0 will be restricted.\n"
                     "         Specify the 'raw' format explicitly to remove the restrictions.\n",
                     w.name.c_str());
    co_return *r;
}

namespace {

/// The items of "a=b,c=d,,e": what stands between single commas, a doubled comma for one.
std::vector<std::string> items_of(std::string_view list) {
    std::vector<std::string> out;
    for (size_t at = 0; at < list.size(); ++at) {
        std::string item;
        for (; at < list.size(); ++at) {
            if (list[at] != ',') item += list[at];
            else if (at + 1 < list.size() && list[at + 1] == ',') item += list[at++];
            else break;
        }
        out.push_back(std::move(item));
    }
    return out;
}

}  // namespace

json creation_options(const std::vector<std::string>& given) {
    json out = json::object();
    for (const std::string& g : given) {
        for (const std::string& item : items_of(g)) {
            if (item.empty()) continue;
            const size_t eq = item.find('=');
            if (eq == std::string::npos) out[item.starts_with("no") && item != "nocow" ? item.substr(2) : item] = item.starts_with("no") && item != "nocow" ? "off" : "on";
            else out[item.substr(0, eq)] = item.substr(eq + 1);
        }
    }
    return out;
}

bool takes_options(const Tool& tool, const std::vector<std::string>& given) {
    for (const std::string& g : given) {
        // A comma at an edge is half of a pair, or belongs to a list that was cut.
        const size_t last = g.find_last_not_of(',');
        const size_t commas = last == std::string::npos ? g.size() : g.size() - last - 1;
        if (!g.empty() && (g[0] == ',' || commas % 2 != 0)) return tool.error("Invalid option list: " + g), false;
    }
    return true;
}

std::optional<std::string> snapshot_argument(const Tool& tool, const std::string& given) {
    if (!given.starts_with("snapshot.")) return given;
    const json o = creation_options({given});
    for (const auto& [key, value] : o.items())
        if (key != "snapshot.id" && key != "snapshot.name") {
            tool.error("Invalid parameter '" + key + "'");
            tool.error("Failed in parsing snapshot param '" + given + "'");
            return std::nullopt;
        }
    return o.contains("snapshot.id") ? o["snapshot.id"].get<std::string>() : o.value("snapshot.name", "");
}

bool asks_for_help(const std::vector<std::string>& given) {
    for (const std::string& g : given)
        for (const std::string& item : items_of(g))
            if (item == "help" || item == "?") return true;
    return false;
}

namespace {

const char* type_name(block::OptionInfo::Type t) {
    using T = block::OptionInfo::Type;
    switch (t) {
        case T::kBool: return "bool (on/off)";
        case T::kSize: return "size";
        case T::kNumber: return "num";
        case T::kString: break;
    }
    return "str";
}

void print_options(std::vector<const block::OptionInfo*> list) {
    std::sort(list.begin(), list.end(), [](auto* a, auto* b) { return a->name < b->name; });
    list.erase(std::unique(list.begin(), list.end(), [](auto* a, auto* b) { return a->name == b->name; }), list.end());
    for (const block::OptionInfo* o : list) {
        std::string left = "  " + std::string(o->name) + "=<" + type_name(o->type) + ">";
        std::printf("%-24s - %.*s\n", left.c_str(), static_cast<int>(o->help.size()), o->help.data());
    }
}

}  // namespace

int print_creation_help(const Tool& tool, std::string_view format, const std::optional<std::string>& filename) {
    const block::Driver* d = block::find_driver(format);
    if (d == nullptr) return tool.error("Unknown file format '" + std::string(format) + "'");
    if (d->create == nullptr) return tool.error("Format driver '" + std::string(format) + "' does not support image creation");
    std::vector<const block::OptionInfo*> list;
    for (const auto& o : d->create_options) list.push_back(&o);
    if (filename) {
        for (const auto& o : block::find_driver("file")->create_options) list.push_back(&o);
        std::printf("Supported options:\n");
        print_options(list);
        return 0;
    }
    // What belongs to the protocol is listed when a file is named.
    if (d->name == "raw" || d->kind == block::Driver::Kind::kFormat)
        std::erase_if(list, [&](const block::OptionInfo* o) {
            const auto& file = block::find_driver("file")->create_options;
            return std::any_of(file.begin(), file.end(), [&](const auto& f) { return f.name == o->name && f.name != "preallocation" && f.name != "size"; });
        });
    std::printf("Supported %.*s options:\n", static_cast<int>(format.size()), format.data());
    print_options(list);
    std::printf("\nThe protocol level may support further options.\nSpecify the target filename to include those options.\n");
    return 0;
}

Result<void> check_creation_options(const block::Driver& format, json& options) {
    using T = block::OptionInfo::Type;
    for (auto& [key, value] : options.items()) {
        const block::OptionInfo* info = nullptr;
        for (const auto& o : format.create_options)
            if (o.name == key) info = &o;
        if (const block::Driver* file = block::find_driver("file"); info == nullptr)
            for (const auto& o : file->create_options)
                if (o.name == key) info = &o;
        if (info == nullptr) {
            std::vector<std::string_view> known;
            for (const auto& o : format.create_options) known.push_back(o.name);
            const std::string guess = nearest(key, known);
            return fail(ErrorKind::kInvalidArgument, "Invalid parameter '" + key + "'" + (guess.empty() ? "" : "\nDid you mean '" + guess + "'?"));
        }
        const std::string v = value.get<std::string>();
        if (info->type == T::kBool && v != "on" && v != "off") {
            if (v == "yes" || v == "true" || v == "y") value = "on";
            else if (v == "no" || v == "false" || v == "n") value = "off";
            else return fail(ErrorKind::kInvalidArgument, "Parameter '" + key + "' expects 'on' or 'off'");
        }
        if (info->type == T::kSize) {
            uint64_t bytes = 0;
            const SizeError e = parse_size(v, bytes, UINT64_MAX);
            if (e == SizeError::kRange) return fail(ErrorKind::kInvalidArgument, "Value '" + v + "' is out of range for parameter '" + key + "'");
            if (e != SizeError::kNone)
                return fail(ErrorKind::kInvalidArgument, "Parameter '" + key + "' expects a non-negative number below 2^64\nOptional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-\nand exabytes, respectively.");
            value = std::to_string(bytes);
        }
        if (info->type == T::kNumber) {
            // As C has them: 0x10, 020, and -1 for the largest.
            char* end = nullptr;
            errno = 0;
            const unsigned long long number = std::strtoull(v.c_str(), &end, 0);
            if (v.empty() || *end != 0 || std::isspace(static_cast<unsigned char>(v[0])) != 0) return fail(ErrorKind::kInvalidArgument, "Parameter '" + key + "' expects a number");
            if (errno == ERANGE) return fail(ErrorKind::kInvalidArgument, "Value '" + v + "' is too large for parameter '" + key + "'");
            value = std::to_string(number);
        }
    }
    return {};
}

}  // namespace myna::img
