// Changes of the graph while it is used: the users of a node are held still, and are given another node.
#pragma once

#include <vector>

#include "block/graph/graph.h"
#include "io/sync.h"

namespace myna::block::jobs {

/// While it lives no user of the node has a request under way, and new ones wait.
using Stillness = std::vector<io::SharedMutex::Guard>;
/// `held`: nodes that the caller holds already.
Task<Stillness> hold_users(Graph& graph, const Node& node, std::vector<const Node*> held = {});

/// Every user of `from` but `except` uses `to` from now on. They are held still.
void replace(Graph& graph, const NodePtr& from, const NodePtr& to, const Node* except = nullptr);

/// `above` has `behind` (or null: nothing) behind it from now on; what was there is closed. `above` is held still by this.
Task<Result<void>> set_backing(Node& above, NodePtr behind);

}  // namespace myna::block::jobs
