// create: a new, empty image.
#include <cerrno>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "img/create.h"

namespace myna::img {

using nlohmann::json;

namespace {

/// "fmt=qcow2 cluster_size=65536 …": every option that was given or has a default, in the driver's order.
std::string listed(const block::Driver& format, const json& options) {
    std::string out = "fmt=" + std::string(format.name);
    std::vector<std::string_view> seen;
    const auto add = [&](const block::OptionInfo& o) {
        for (const std::string_view s : seen)
            if (s == o.name) return;
        seen.push_back(o.name);
        std::string value(o.default_value);
        if (const auto it = options.find(o.name); it != options.end()) value = it->get<std::string>();
        else if (value.empty()) return;
        out += " " + std::string(o.name) + "=";
        for (const char c : value) out += c == ',' && o.type == block::OptionInfo::Type::kString ? ",," : std::string(1, c);
    };
    for (const auto& o : format.create_options) add(o);
    for (const auto& o : block::find_driver("file")->create_options) add(o);
    return out;
}

bool has_option(const block::Driver& d, std::string_view name) {
    for (const auto& o : d.create_options)
        if (o.name == name) return true;
    return false;
}

/// The backing image's format and size, seen without its own backing files.
Task<Result<std::pair<std::string, uint64_t>>> look_at_backing(Tool& tool, std::string image, std::string backing, std::string format) {
    OpenOptions o;
    o.options = json::object();
    o.read_only = o.no_io = o.force_share = true;
    auto n = co_await tool.graph.open(Graph::resolve_backing(image, backing), std::move(format), o);
    if (!n) {
        Error e = std::move(n.error());
        e.message += "\nCould not open backing image.";
        co_return std::unexpected(std::move(e));
    }
    std::pair<std::string, uint64_t> out{(*n)->driver(), (*n)->size()};
    if (auto r = co_await (*n)->close(); !r) co_return std::unexpected(r.error());
    co_return out;
}

}  // namespace

Task<Result<void>> create_image(Tool& tool, NewImage w) {
    const auto bad = [](std::string m) { return fail(ErrorKind::kInvalidArgument, std::move(m)); };
    const block::Driver* d = block::find_driver(w.format);
    if (d == nullptr) co_return bad("Unknown file format '" + w.format + "'");
    if (d->create == nullptr) co_return fail(ErrorKind::kUnsupported, "Format driver '" + w.format + "' does not support image creation");
    if (auto r = check_creation_options(*d, w.options); !r) co_return r;
    if (const auto it = w.options.find("size"); it != w.options.end()) {
        if (w.size) co_return bad("The image size must be specified only once");
        w.size = std::stoull(it->get<std::string>());
    }
    if (w.backing) {
        if (!has_option(*d, "backing_file")) co_return fail(ErrorKind::kUnsupported, "Backing file not supported for file format '" + w.format + "'");
        w.options["backing_file"] = *w.backing;
    }
    if (w.backing_format) {
        if (!has_option(*d, "backing_fmt")) co_return fail(ErrorKind::kUnsupported, "Backing format not supported for file format '" + w.format + "'");
        w.options["backing_fmt"] = *w.backing_format;
    }
    const auto option = [&](const char* key) -> std::optional<std::string> {
        const auto it = w.options.find(key);
        return it == w.options.end() || it->get<std::string>().empty() ? std::nullopt : std::optional(it->get<std::string>());
    };
    block::CreateOptions c;
    c.backing_file = option("backing_file");
    c.backing_format = option("backing_fmt");
    if (w.backing && w.backing->empty()) co_return bad("Expected backing file name, got empty string");
    if (c.backing_file && *c.backing_file == w.filename)
        co_return bad("Error: Trying to create an image with the same filename as the backing file");
    if (c.backing_file && !w.trust_backing) {
        auto b = co_await look_at_backing(tool, w.filename, *c.backing_file, c.backing_format.value_or(""));
        if (!b) co_return std::unexpected(b.error());
        if (!c.backing_format) co_return bad("Backing file specified without backing format\nDetected format of " + b->first + ".");
        if (!w.size) w.size = b->second;
    } else if (c.backing_file && !c.backing_format) {
        co_return bad("Backing file specified without backing format");
    }
    if (!w.size) co_return bad("Image creation needs a size parameter");
    if (*w.size > INT64_MAX) co_return bad("Image size must be less than 8 EiB!");
    w.options["size"] = std::to_string(*w.size);
    if (!w.quiet) {
        std::printf("Formatting '%s', %s\n", w.filename.c_str(), listed(*d, w.options).c_str());
        std::fflush(stdout);
    }
    c.filename = w.filename;
    c.size = (*w.size + 511) / 512 * 512;
    c.options = w.options;
    for (const char* k : {"size", "backing_file", "backing_fmt"}) c.options.erase(k);
    auto created = co_await tool.graph.create(w.format, std::move(c));
    if (!created && created.error().sys_errno == EFBIG)
        co_return fail(ErrorKind::kInvalidArgument, "The image size is too large for file format '" + w.format + "'" + (has_option(*d, "cluster_size") ? " (try using a larger cluster size)" : ""), EFBIG);
    co_return created;
}

namespace {

constexpr Option kOptions[] = {
    {'f', "format", "FMT", "format of the new image (default: raw)"},
    {'b', "backing", "FILE", "show this image wherever the new one has nothing"},
    {'F', "backing-format", "FMT", "the backing file's format"},
    {'u', "backing-unsafe", "", "do not open the backing file to check it"},
    {'o', "options", "OPTIONS", "the format's own options, name=value,…; 'help' lists them"}, kOptObject, kOptQuiet};

Task<int> run(Tool& tool, Args& a) {
    NewImage w;
    w.format = a.get("format", "raw");
    const auto given = a.all("options");
    if (!takes_options(tool, given)) co_return 1;
    if (asks_for_help(given)) co_return print_creation_help(tool, w.format, a.rest.empty() ? std::nullopt : std::optional(a.rest[0]));
    if (a.rest.empty()) co_return tool.usage("Expecting image file name");
    if (a.rest.size() > 2) co_return tool.usage("Unexpected argument: " + a.rest[2]);
    w.filename = a.rest[0];
    if (a.rest.size() == 2) {
        const auto size = size_argument(tool, a.rest[1], "image size");
        if (!size) co_return 1;
        w.size = *size;
    }
    w.options = creation_options(given);
    w.backing = a.find("backing");
    w.backing_format = a.find("backing-format");
    w.trust_backing = a.has("backing-unsafe");
    w.quiet = a.has("quiet");
    const std::string name = w.filename;
    if (auto r = co_await create_image(tool, std::move(w)); !r) {
        // Errors that name the file themselves name it once.
        const std::string& m = r.error().message;
        co_return tool.error(m.starts_with(name + ": ") ? m : name + ": " + m);
    }
    co_return 0;
}

}  // namespace

const Command kCreate{"create", "FILE [SIZE]", "Creates an image", kOptions, run};

}  // namespace myna::img
