// resize: a disk gets larger or (with --shrink) smaller; on request its last partition grows with it.
#include <cstdio>

#include "img/partitions.h"

namespace myna::img {

namespace {

constexpr Option kOptions[] = {kOptFormat, kOptImageOpts, {0, "preallocation", "MODE", "off, metadata, falloc or full, for what is added"}, {0, "shrink", "", "allow to cut off what is behind the new end"},
                               {0, "grow-last-partition", "", "let the last partition (GPT or MBR) reach the new end"}, kOptQuiet, kOptObject};

Task<int> run(Tool& tool, Args& a) {
    if (a.rest.size() < 2) co_return tool.usage("Not enough arguments");
    if (a.rest.size() > 2) co_return tool.usage("Expecting image file name and size");
    std::string size = a.rest[1];
    const std::string preallocation = a.get("preallocation", "off");
    if (preallocation != "off" && preallocation != "metadata" && preallocation != "falloc" && preallocation != "full")
        co_return tool.error("Invalid preallocation mode '" + preallocation + "'");
    int relative = 0;
    if (size[0] == '+' || size[0] == '-') {
        relative = size[0] == '+' ? 1 : -1;
        size.erase(0, 1);
    }
    uint64_t n = 0;
    const SizeError e = parse_size(size, n, UINT64_MAX);
    if (e == SizeError::kRange) co_return tool.error("Value '" + size + "' is out of range for parameter 'size'");
    if (e != SizeError::kNone)
        co_return tool.error("Parameter 'size' expects a non-negative number below 2^64\nOptional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-\nand exabytes, respectively.");
    const NodePtr node = co_await open_image(tool, {.name = a.rest[0], .format = a.get("format"), .image_opts = a.has("image-opts"), .writable = true});
    if (!node) co_return 1;
    const uint64_t old = node->size();
    const uint64_t total = relative == 0 ? n : relative > 0 ? old + n : (n < old ? old - n : 0);
    if (total == 0 || total > INT64_MAX) co_return tool.error("New image size must be positive");
    if (total <= old && preallocation != "off") co_return tool.error("Preallocation can only be used for growing images");
    if (total < old && !a.has("shrink")) {
        tool.error("Use the --shrink option to perform a shrink operation.");
        tool.warning("Shrinking an image will delete all data beyond the shrunken image's end. Before performing such an operation, make sure there is no important data there.");
        co_return 1;
    }
    if (auto r = co_await node->truncate((total + 511) / 512 * 512, preallocation); !r) co_return tool.error(r.error());
    std::string grown;
    if (a.has("grow-last-partition")) {
        auto r = co_await grow_last_partition(*node);
        if (!r) co_return tool.error(r.error());
        grown = *r;
    }
    if (auto r = co_await node->close(); !r) co_return tool.error(r.error());
    if (!a.has("quiet")) {
        std::printf("Image resized.\n");
        if (!grown.empty()) std::printf("%s\n", grown.c_str());
    }
    co_return 0;
}

}  // namespace

const Command kResize{"resize", "FILE [+|-]SIZE", "Changes the size of a disk", kOptions, run, true};

}  // namespace myna::img
