#include "block/filters/filter.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "block/graph/chain.h"

namespace myna::block::filters {

FilterNode::FilterNode(io::Reactor& r, NodePtr below) : Node(r) {
    file_ = std::move(below);
    filename_ = file_->filename();
    read_only_ = file_->read_only();
    limits_ = file_->limits();
    size_ = file_->size();
}

Task<Result<Extent>> FilterNode::do_block_status(uint64_t offset, uint64_t length) {
    // What is behind the node below shows through it: here it is one layer.
    auto e = co_await status_above(*file_, nullptr, offset, length);
    if (!e) co_return std::unexpected(e.error());
    e->allocated = true;
    if (!e->data && !e->zero) e->zero = true;
    co_return *e;
}

Task<Result<void>> FilterNode::do_truncate(uint64_t size, std::string_view preallocation) {
    auto r = co_await file_->truncate(size, preallocation);
    size_ = file_->size();
    co_return r;
}

Task<Result<NodePtr>> open_child(Graph& graph, const OpenOptions& o, const char* key) {
    const auto it = o.options.find(key);
    if (it == o.options.end()) co_return fail(ErrorKind::kInvalidArgument, "A block device must be specified for \"" + std::string(key) + "\"");
    OpenOptions below = o;
    below.options = *it;
    co_return co_await graph.open_tree(std::move(below));
}

Result<void> only(const nlohmann::json& options, std::string_view driver, std::initializer_list<std::string_view> known) {
    static constexpr std::string_view kGeneral[] = {"driver", "file", "read-only", "node-name", "discard", "detect-zeroes", "cache", "auto-read-only", "force-share"};
    for (const auto& [key, value] : options.items())
        if (std::find(known.begin(), known.end(), key) == known.end() && std::find(std::begin(kGeneral), std::end(kGeneral), key) == std::end(kGeneral))
            return fail(ErrorKind::kInvalidArgument, "Block driver '" + std::string(driver) + "' does not support the option '" + key + "'");
    return {};
}

}  // namespace myna::block::filters
