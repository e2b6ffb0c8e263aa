#include "block/jobs/change.h"

#include <algorithm>

#include "block/graph/backend.h"

namespace myna::block::jobs {

Task<Stillness> hold_users(Graph& graph, const Node& node, std::vector<const Node*> held) {
    Stillness out;
    for (const NodePtr& n : graph.users_of(node))
        if (std::ranges::find(held, n.get()) == held.end()) out.push_back(co_await n->drain());
    co_return out;
}

void replace(Graph& graph, const NodePtr& from, const NodePtr& to, const Node* except) {
    for (const NodePtr& n : graph.users_of(*from)) {
        if (n.get() == except || n == to) continue;
        to->add_user();
        from->drop_user();
        if (n->file() == from) n->set_file(to);
        else n->set_backing(to);
        if (auto* b = dynamic_cast<Backend*>(n.get())) b->refresh();
    }
}

Task<Result<void>> set_backing(Node& above, NodePtr behind) {
    if (behind) behind->add_user();
    NodePtr old;
    {
        const auto alone = co_await above.drain();
        old = above.backing();
        above.set_backing(std::move(behind));
    }
    if (old) co_return co_await old->close();
    co_return Result<void>{};
}

}  // namespace myna::block::jobs
