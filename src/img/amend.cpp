// amend: changes options of an existing image.
#include <cstdio>
#include <nlohmann/json.hpp>
#include <span>

#include "img/tool.h"

namespace myna::img {

namespace {

constexpr Option kOptions[] = {kOptFormat, kOptImageOpts, {'o', "options", "OPTIONS", "what to change, name=value,…; 'help' lists them"}, kOptCache, {0, "force", "", "allow what may lock you out (encryption keys)"}, kOptProgress, kOptQuiet, kOptObject};

struct Amendable {
    std::string_view name, type, help;
};
constexpr Amendable kLuks[] = {{"iter-time", "num", "Time to spend in PBKDF in milliseconds"}, {"keyslot", "num", "Select a single keyslot to modify explicitly"},
                               {"new-secret", "str", "New secret to set in the matching keyslots. Empty string to erase"}, {"old-secret", "str", "Select all keyslots that match this password"},
                               {"state", "str", "Select new state of affected keyslots (active/inactive)"}};
constexpr Amendable kQcow2[] = {
    {"backing_file", "str", "File name of a base image"}, {"backing_fmt", "str", "Image format of the base image"}, {"compat", "str", "Compatibility level (v2 [0.10] or v3 [1.1])"},
    {"data_file", "str", "File name of an external data file"}, {"data_file_raw", "bool (on/off)", "The external data file must stay valid as a raw image"},
    {"encrypt.iter-time", "num", "Time to spend in PBKDF in milliseconds"}, {"encrypt.keyslot", "num", "Select a single keyslot to modify explicitly"},
    {"encrypt.new-secret", "str", "New secret to set in the matching keyslots. Empty string to erase"}, {"encrypt.old-secret", "str", "Select all keyslots that match this password"},
    {"encrypt.state", "str", "Select new state of affected keyslots (active/inactive)"},
    {"lazy_refcounts", "bool (on/off)", "Postpone refcount updates"}, {"refcount_bits", "num", "Width of a reference count entry in bits"}, {"size", "size", "Virtual disk size"}};

int help(const Tool& tool, const std::string& format) {
    const block::Driver* d = block::find_driver(format);
    if (d == nullptr) return tool.error("Unknown file format '" + format + "'");
    if (format != "qcow2" && format != "luks") return tool.error("Format driver '" + format + "' does not support option amendment");
    std::printf("Amend options for '%s':\n", format.c_str());
    for (const Amendable& o : format == "luks" ? std::span<const Amendable>(kLuks) : kQcow2) {
        const std::string left = "  " + std::string(o.name) + "=<" + std::string(o.type) + ">";
        std::printf("%-24s - %.*s\n", left.c_str(), static_cast<int>(o.help.size()), o.help.data());
    }
    return 0;
}

Task<int> run(Tool& tool, Args& a) {
    const auto given = a.all("options");
    if (given.empty()) co_return tool.usage("Must specify options (-o)");
    if (!takes_options(tool, given)) co_return 1;
    if (asks_for_help(given) && a.has("format")) co_return help(tool, a.get("format"));
    if (a.rest.size() != 1) co_return tool.error("Expecting one image file name");
    const NodePtr node = co_await open_image(tool, {.name = a.rest[0], .format = a.get("format"), .image_opts = a.has("image-opts"), .writable = true, .cache = a.get("cache", "writeback")});
    if (!node) co_return 1;
    if (asks_for_help(given)) co_return help(tool, std::string(node->driver()));
    nlohmann::json options = creation_options(given);
    if (options.empty()) co_return tool.error("Invalid option list: " + given.back());
    if (node->driver() == "qcow2") {
        for (const auto& [key, value] : options.items()) {
            bool known = key.starts_with("encrypt.");
            std::vector<std::string_view> names;
            for (const Amendable& o : kQcow2) {
                known |= o.name == key;
                names.push_back(o.name);
            }
            if (known) continue;
            for (const auto& o : block::find_driver("qcow2")->create_options)
                if (o.name == key) co_return tool.error("Invalid parameter '" + key + "'\nThis option is only supported for image creation");
            const std::string guess = nearest(key, names);
            co_return tool.error("Invalid parameter '" + key + "'" + (guess.empty() ? "" : "\nDid you mean '" + guess + "'?"));
        }
        nlohmann::json others = options;
        for (const auto& [key, value] : options.items())
            if (key.starts_with("encrypt.")) others.erase(key);
        if (auto r = check_creation_options(*block::find_driver("qcow2"), others); !r) co_return tool.error(r.error());
        options.update(others);  // sizes as numbers
    }
    // Key slots: by which secret the image is opened, and whether what loses passwords is meant.
    if (a.has("image-opts") && (node->driver() == "luks" || node->driver() == "qcow2")) {
        const auto tree = Graph::parse_image_opts(a.rest[0]);
        if (tree) {
            const nlohmann::json& where = node->driver() == "luks" ? *tree : tree->value("encrypt", nlohmann::json::object());
            if (const auto it = where.find("key-secret"); it != where.end()) options["unlock-secret"] = *it;
        }
    }
    if (a.has("force") && node->encrypted()) options["force"] = true;
    {
        Progress progress(a.has("progress") && !a.has("quiet"));
        if (auto r = co_await node->amend(options); !r) {
            if (r.error().kind == ErrorKind::kUnsupported && node->driver() != "qcow2" && node->driver() != "luks") co_return tool.error("Format driver '" + std::string(node->driver()) + "' does not support option amendment");
            co_return tool.error(r.error());
        }
        progress.finish();
    }
    if (auto r = co_await node->close(); !r) co_return tool.error(r.error());
    co_return 0;
}

}  // namespace

const Command kAmend{"amend", "FILE", "Changes options of an image", kOptions, run};

}  // namespace myna::img
