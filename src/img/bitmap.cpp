// bitmap: adds, removes, clears, switches and merges persistent dirty bitmaps.
#include "img/tool.h"

namespace myna::img {

using block::BitmapAction;

namespace {

constexpr Option kOptions[] = {{0, "add", "", "add the bitmap"}, {0, "remove", "", "remove it"}, {0, "clear", "", "forget what it says"}, {0, "enable", "", "let it record writes"},
                               {0, "disable", "", "let it record no more"}, {0, "merge", "BITMAP", "add what another bitmap says"}, {'b', "source-file", "FILE", "where --merge finds the other bitmap"},
                               {'F', "source-format", "FMT", "format of that file"}, {'g', "granularity", "SIZE", "bytes that one bit stands for (--add)"}, kOptFormat, kOptImageOpts, kOptObject};

Task<int> run(Tool& tool, Args& a) {
    struct Step {
        std::string name, source;
    };
    std::vector<Step> steps;
    bool add = false, merge = false;
    for (const auto& [key, value] : a.in_order())
        if (key == "add" || key == "remove" || key == "clear" || key == "enable" || key == "disable" || key == "merge") {
            steps.push_back({key, value});
            add |= key == "add";
            merge |= key == "merge";
        }
    uint64_t granularity = 0;
    if (const auto g = a.find("granularity")) {
        const auto v = size_argument(tool, *g, "granularity", 1, INT64_MAX);
        if (!v) co_return 1;
        granularity = *v;
    }
    if (steps.empty()) co_return tool.error("Need at least one of --add, --remove, --clear, --enable, --disable, or --merge");
    if (granularity != 0 && !add) co_return tool.error("granularity only supported with --add");
    if (a.has("source-format") && !a.has("source-file")) co_return tool.error("-F only supported with -b");
    if (a.has("source-file") && !merge) co_return tool.error("Merge bitmap source file only supported with --merge");
    if (a.rest.size() != 2) co_return tool.error("Expecting filename and bitmap name");
    const std::string name = a.rest[1];
    const NodePtr node = co_await open_image(tool, {.name = a.rest[0], .format = a.get("format"), .image_opts = a.has("image-opts"), .writable = true, .no_backing = true});
    if (!node) co_return 1;
    NodePtr source;
    if (const auto file = a.find("source-file")) {
        source = co_await open_image(tool, {.name = *file, .format = a.get("source-format"), .no_io = true});
        if (!source) co_return 1;
    }
    int code = 0;
    for (const Step& s : steps) {
        Result<void> r;
        if (s.name == "merge") {
            auto bits = co_await (source ? *source : *node).bitmap_bits(s.source);
            if (!bits) r = std::unexpected(bits.error());
            else r = co_await node->merge_bitmap(name, std::move(*bits));
        } else {
            const BitmapAction action = s.name == "add" ? BitmapAction::kAdd : s.name == "remove" ? BitmapAction::kRemove : s.name == "clear" ? BitmapAction::kClear
                                        : s.name == "enable" ? BitmapAction::kEnable : BitmapAction::kDisable;
            if (action == BitmapAction::kAdd && granularity > UINT32_MAX) r = fail(ErrorKind::kInvalidArgument, "Granularity must be power of 2 and at least 512");
            else r = co_await node->change_bitmap(action, name, static_cast<uint32_t>(granularity));
        }
        if (!r) {
            code = tool.error("Operation " + s.name + " on bitmap " + name + " failed: " + r.error().message);
            break;
        }
    }
    if (auto r = co_await node->close(); !r && code == 0) co_return tool.error(r.error());
    if (source)
        if (auto r = co_await source->close(); !r) co_return tool.error(r.error());
    co_return code;
}

}  // namespace

const Command kBitmap{"bitmap", "FILE BITMAP", "Manages persistent dirty bitmaps", kOptions, run};

}  // namespace myna::img
