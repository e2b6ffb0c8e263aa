// map: which stretches of a disk are stored where, in which image of the chain.
#include <algorithm>
#include <cstdio>

#include "img/tool.h"

namespace myna::img {

namespace {

struct Entry {
    uint64_t start = 0, length = 0;
    unsigned depth = 0;
    bool present = false, zero = false, data = false;
    std::optional<uint64_t> offset;
    std::string file;

    [[nodiscard]] bool continued_by(const Entry& n) const {
        return depth == n.depth && present == n.present && zero == n.zero && data == n.data && file == n.file && offset.has_value() == n.offset.has_value() &&
               (!offset || *offset + length == *n.offset);
    }
};

unsigned long long ull(uint64_t v) { return v; }

/// False when the human form cannot tell where the bytes are.
bool print_entry(const Tool& tool, const Entry& e, bool json, bool last) {
    if (json) {
        std::printf("{ \"start\": %llu, \"length\": %llu, \"depth\": %u, \"present\": %s, \"zero\": %s, \"data\": %s", ull(e.start), ull(e.length), e.depth,
                    e.present ? "true" : "false", e.zero ? "true" : "false", e.data ? "true" : "false");
        if (e.offset) std::printf(", \"offset\": %llu", ull(*e.offset));
        std::printf(last ? "}" : "},\n");
        return true;
    }
    if (e.data && !e.offset) {
        tool.error("File contains external, encrypted or compressed clusters.");
        return false;
    }
    if (e.data && !e.zero) std::printf("%#-16llx%#-16llx%#-16llx%s\n", ull(e.start), ull(e.length), ull(e.offset.value_or(0)), e.file.c_str());
    return true;
}

constexpr Option kOptions[] = {kOptFormat, kOptImageOpts, {'s', "start-offset", "OFFSET", "begin there"}, {'l', "max-length", "LENGTH", "look at that many bytes"}, kOptOutput, kOptShare, kOptObject};

Task<int> run(Tool& tool, Args& a) {
    uint64_t start = 0, max = UINT64_MAX;
    if (const auto s = a.find("start-offset")) {
        const auto v = size_argument(tool, *s, "start offset");
        if (!v) co_return 1;
        start = *v;
    }
    if (const auto s = a.find("max-length")) {
        const auto v = size_argument(tool, *s, "max length");
        if (!v) co_return 1;
        max = *v;
    }
    if (a.rest.size() != 1) co_return tool.usage("Expecting one image file name");
    const auto json = wants_json(tool, a);
    if (!json) co_return 1;
    const NodePtr node = co_await open_image(tool, {.name = a.rest[0], .format = a.get("format"), .image_opts = a.has("image-opts"), .force_share = a.has("force-share")});
    if (!node) co_return 1;
    if (*json) std::printf("[");
    else std::printf("%-16s%-16s%-16s%s\n", "Offset", "Length", "Mapped to", "File");
    const uint64_t end = max > node->size() || start > node->size() - max ? node->size() : start + max;
    Entry current;
    if (start >= node->size() && *json) print_entry(tool, {.start = start}, true, true);
    for (uint64_t at = start; at < end;) {
        // The first layer that says what the bytes are; a layer behind whose backing file nothing is says zeroes itself.
        unsigned depth = 0;
        Result<block::Extent> s;
        uint64_t length = end - at;
        for (Node* n = node.get();; n = n->backing().get(), ++depth) {
            s = co_await n->block_status(at, length);
            if (!s) co_return tool.error(s.error());
            length = std::min(length, s->length);
            if (s->data || s->zero || !n->backing() || at >= n->backing()->size()) break;
        }
        Entry e{.start = at, .length = length, .depth = depth, .present = s->allocated, .zero = s->zero || (!s->data && !s->allocated), .data = s->data, .offset = s->offset, .file = s->offset && s->file != nullptr ? s->file->filename() : ""};
        if (s->allocated && !s->data && !s->zero) e = {.start = at, .length = length, .depth = depth};  // a peer says no more than "not stored"
        at += length;
        if (current.length != 0 && current.continued_by(e)) {
            current.length += e.length;
            continue;
        }
        if (current.length != 0 && !print_entry(tool, current, *json, false)) co_return 1;
        current = std::move(e);
    }
    if (current.length != 0 && !print_entry(tool, current, *json, true)) co_return 1;
    if (*json) std::printf("]\n");
    if (auto r = co_await node->close(); !r) co_return tool.error(r.error());
    co_return 0;
}

}  // namespace

const Command kMap{"map", "FILE", "Lists which stretches are stored, and where", kOptions, run};

}  // namespace myna::img
