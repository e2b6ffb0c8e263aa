// measure: how many bytes a new image would take on the host.
#include <cstdio>
#include <nlohmann/json.hpp>

#include "img/tool.h"

namespace myna::img {

using nlohmann::json;

namespace {

constexpr Option kOptions[] = {kOptFormat, kOptImageOpts, {'O', "target-format", "FMT", "format of the new image (default: raw)"}, {'o', "options", "OPTIONS", "options of the new image"},
                               {'l', "snapshot", "SNAPSHOT", "measure an internal snapshot of FILE"}, {'s', "size", "SIZE", "measure an empty image of that size"}, kOptOutput, kOptShare, kOptObject};

Task<int> run(Tool& tool, Args& a) {
    const auto as_json = wants_json(tool, a);
    if (!as_json || !takes_options(tool, a.all("options"))) co_return 1;
    std::optional<std::string> snapshot;
    if (const auto s = a.find("snapshot"))
        if (!(snapshot = snapshot_argument(tool, *s))) co_return 1;
    std::optional<uint64_t> size;
    if (const auto s = a.find("size")) {
        size = size_argument(tool, *s, "image size");
        if (!size) co_return 1;
    }
    if (a.rest.size() > 1) co_return tool.error("At most one filename argument is allowed.");
    if (a.rest.empty()) {
        for (const char* k : {"format", "image-opts", "force-share", "snapshot"})
            if (a.has(k)) co_return tool.error("--image-opts, -f, and -l require a filename argument.");
        if (!size) co_return tool.error("Either --size N or one filename must be specified.");
    } else if (size) {
        co_return tool.error("--size N cannot be used together with a filename.");
    }
    const std::string format = a.get("target-format", "raw");
    const block::Driver* d = block::find_driver(format);
    if (d == nullptr) co_return tool.error("Unknown file format '" + format + "'");
    block::CreateOptions c;
    c.options = creation_options(a.all("options"));
    if (auto r = check_creation_options(*d, c.options); !r) {
        tool.error(r.error());
        co_return tool.error("Invalid options for file format '" + format + "'");
    }
    if (const auto it = c.options.find("size"); it != c.options.end()) {
        if (!size) size = std::stoull(it->get<std::string>());
        c.options.erase("size");
    }
    if (const auto it = c.options.find("backing_file"); it != c.options.end()) {
        c.backing_file = it->get<std::string>();
        c.options.erase("backing_file");
    }
    c.options.erase("backing_fmt");
    NodePtr source;
    if (!a.rest.empty()) {
        source = co_await open_image(tool, {.name = a.rest[0], .format = a.get("format"), .image_opts = a.has("image-opts"), .force_share = a.has("force-share")});
        if (!source) co_return 1;
        if (snapshot)
            if (auto r = co_await source->snapshot_open(*snapshot); !r) co_return tool.error("Failed to load snapshot: " + r.error().message);
    }
    if (d->measure == nullptr) co_return tool.error("Block driver '" + format + "' does not support size measurement");
    auto m = co_await d->measure(tool.graph, size.value_or(0), source.get(), c);
    if (!m) co_return tool.error(m.error());
    if (*as_json) {
        json j{{"required", m->required}, {"fully-allocated", m->fully_allocated}};
        if (m->bitmaps) j["bitmaps"] = *m->bitmaps;
        std::printf("%s\n", json_text(j).c_str());
    } else {
        std::printf("required size: %llu\nfully allocated size: %llu\n", static_cast<unsigned long long>(m->required), static_cast<unsigned long long>(m->fully_allocated));
        if (m->bitmaps) std::printf("bitmaps size: %llu\n", static_cast<unsigned long long>(*m->bitmaps));
    }
    if (source)
        if (auto r = co_await source->close(); !r) co_return tool.error(r.error());
    co_return 0;
}

}  // namespace

const Command kMeasure{"measure", "[FILE]", "Says how much space a new image needs", kOptions, run};

}  // namespace myna::img
