// Backend: the end of a disk that a device, an export or a tool holds: a node that can be put over another one while in use.
//
//   export ─▶ Backend ──file──▶ source          mirror ends, an overlay is added …          Backend ──file──▶ target
//
// Its gate is where the users' requests wait while the nodes below change places (jobs/change.h).
#pragma once

#include "block/filters/filter.h"

namespace myna::block {

class Backend final : public filters::FilterNode {
  public:
    /// A backend over `below`, of which it is one more user; known to `graph`.
    static std::shared_ptr<Backend> create(Graph& graph, const NodePtr& below);
    explicit Backend(io::Reactor& r, NodePtr below) : FilterNode(r, std::move(below)) {}
    [[nodiscard]] std::string_view driver() const noexcept override { return "backend"; }

    /// The node below has another size, or is another node.
    void refresh();
    /// Says how it is used: of this node, and of every one that takes its place.
    Result<void> claim(std::string who, Perm perm);

  private:
    std::string who_;
    Perm perm_;
    std::shared_ptr<void> use_;
};

}  // namespace myna::block
