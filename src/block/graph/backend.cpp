#include "block/graph/backend.h"

namespace myna::block {

std::shared_ptr<Backend> Backend::create(Graph& graph, const NodePtr& below) {
    auto b = std::make_shared<Backend>(graph.reactor(), below);
    below->add_user();
    graph.enlist(b);
    return b;
}

void Backend::refresh() {
    filename_ = file_->filename();
    read_only_ = file_->read_only();
    limits_ = file_->limits();
    size_ = file_->size();
    if (!use_) return;
    use_.reset();
    if (auto u = file_->use(who_, perm_)) use_ = *u;
}

Result<void> Backend::claim(std::string who, Perm perm) {
    who_ = std::move(who);
    perm_ = perm;
    auto u = file_->use(who_, perm_);
    if (!u) return std::unexpected(u.error());
    use_ = *u;
    return {};
}

}  // namespace myna::block
