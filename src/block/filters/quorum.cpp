// quorum: the same disk on several children. Reads are voted on: what `vote-threshold` of them agree on counts; writes
// succeed when as many did. read-pattern=fifo reads from the first that works; rewrite-corrupted mends the ones that lost a
// vote; blkverify (two children) fails where they differ.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "block/filters/filter.h"
#include "block/graph/chain.h"
#include "block/formats/common/open.h"

namespace myna::block {

namespace {

struct Quorum {
    unsigned threshold = 0;
    bool fifo = false, rewrite = false, verify = false;
};

class QuorumNode final : public Node {
  public:
    QuorumNode(io::Reactor& r, std::vector<NodePtr> children, Quorum q) : Node(r), children_(std::move(children)), q_(q) {
        filename_ = "quorum";
        size_ = children_[0]->size();
        for (const NodePtr& c : children_) {
            read_only_ |= c->read_only();
            const Limits& l = c->limits();
            limits_.request_alignment = std::max(limits_.request_alignment, l.request_alignment);
            limits_.memory_alignment = std::max(limits_.memory_alignment, l.memory_alignment);
            limits_.max_transfer = std::min(limits_.max_transfer, l.max_transfer);
        }
    }
    [[nodiscard]] std::string_view driver() const noexcept override { return "quorum"; }
    [[nodiscard]] bool zero_init() const override {
        return std::all_of(children_.begin(), children_.end(), [](const NodePtr& c) { return c->zero_init(); });
    }
    [[nodiscard]] std::optional<uint64_t> allocated_bytes() const override {
        uint64_t sum = 0;
        for (const NodePtr& c : children_) sum += c->allocated_bytes().value_or(0);
        return sum;
    }
    Task<Result<void>> do_close() override {
        Result<void> r;
        for (const NodePtr& c : children_)
            if (auto one = co_await c->close(); !one && r) r = one;
        co_return r;
    }

  protected:
    Task<Result<void>> do_read(uint64_t offset, const IoVec& into) override {
        if (q_.fifo) {
            Result<void> r;
            for (const NodePtr& c : children_)
                if ((r = co_await c->read(offset, into))) break;
            co_return r;
        }
        std::vector<std::vector<uint8_t>> got;
        std::vector<size_t> who;
        Result<void> first;
        for (size_t i = 0; i < children_.size(); ++i) {
            std::vector<uint8_t> bytes(into.size());
            auto r = co_await children_[i]->read(offset, IoVec(bytes));
            if (!r) {
                if (first) first = r;
                continue;
            }
            got.push_back(std::move(bytes));
            who.push_back(i);
        }
        size_t winner = got.size(), votes = 0;
        for (size_t i = 0; i < got.size(); ++i)
            if (const auto n = static_cast<size_t>(std::count(got.begin(), got.end(), got[i])); n > votes) {
                votes = n;
                winner = i;
            }
        if (votes < q_.threshold || (q_.verify && votes != children_.size())) {
            if (!first) co_return first;
            co_return fail(ErrorKind::kCorrupt, "quorum: " + std::to_string(into.size()) + " bytes at offset " + std::to_string(offset) + ": only " + std::to_string(votes) + " of " +
                                                    std::to_string(children_.size()) + " children agree", EIO);
        }
        if (q_.rewrite && !read_only_)
            for (size_t i = 0; i < got.size(); ++i)
                if (got[i] != got[winner])
                    if (auto r = co_await children_[who[i]]->write(offset, IoVec(got[winner])); !r) co_return r;
        into.copy_from(got[winner].data());
        co_return Result<void>{};
    }
    Task<Result<void>> do_write(uint64_t offset, const IoVec& from, WriteFlags flags) override {
        co_return co_await all([&](Node& c) { return c.write(offset, from, flags); });
    }
    Task<Result<void>> do_write_zeroes(uint64_t offset, uint64_t length, WriteFlags flags) override {
        co_return co_await all([&](Node& c) { return c.write_zeroes(offset, length, flags); });
    }
    Task<Result<void>> do_flush() override {
        co_return co_await all([](Node& c) { return c.flush(); });
    }
    /// Zeroes are what all children call so; about anything else the votes of a read decide.
    Task<Result<Extent>> do_block_status(uint64_t offset, uint64_t length) override {
        uint64_t zeroes = length, data = 0;
        for (const NodePtr& c : children_) {
            const auto e = co_await status_above(*c, nullptr, offset, length);
            if (!e) co_return Extent{.length = length, .data = true, .allocated = true};
            if (e->zero) zeroes = std::min(zeroes, e->length);
            else data = std::max(data, e->length);
        }
        if (data != 0) co_return Extent{.length = data, .data = true, .allocated = true};
        co_return Extent{.length = zeroes, .zero = true, .allocated = true};
    }
    /// Discarded bytes may read differently from child to child, and lose every vote then.
    Task<Result<void>> do_discard(uint64_t, uint64_t) override { co_return Result<void>{}; }
    Task<Result<void>> do_truncate(uint64_t size, std::string_view preallocation) override {
        for (const NodePtr& c : children_)
            if (auto r = co_await c->truncate(size, preallocation); !r) co_return r;
        size_ = size;
        co_return Result<void>{};
    }

  private:
    template <class Do>
    Task<Result<void>> all(Do what) {
        unsigned good = 0;
        Result<void> first;
        for (const NodePtr& c : children_) {
            auto r = co_await what(*c);
            if (r) ++good;
            else if (first) first = r;
        }
        if (good < q_.threshold) co_return first;
        co_return Result<void>{};
    }
    std::vector<NodePtr> children_;
    Quorum q_;
};

Task<Result<NodePtr>> open_quorum(Graph& graph, const OpenOptions& o) {
    const auto bad = [](std::string text) { return fail(ErrorKind::kInvalidArgument, std::move(text)); };
    if (auto r = filters::only(o.options, "quorum", {"children", "vote-threshold", "read-pattern", "rewrite-corrupted", "blkverify"}); !r) co_return std::unexpected(r.error());
    const auto children = o.options.find("children");
    if (children == o.options.end() || !children->is_structured() || children->empty()) co_return bad("Number of provided children must be 1 or more");
    if (children->size() > 32) co_return bad("quorum: more than 32 children");
    const auto on = [&](const char* key) {
        const auto it = o.options.find(key);
        return it != o.options.end() && (*it == "on" || *it == true);
    };
    Quorum q;
    auto threshold = formats::number_option(o.options, "vote-threshold");
    if (!threshold) co_return std::unexpected(threshold.error());
    const std::string pattern = o.options.value("read-pattern", "quorum");
    if (pattern != "quorum" && pattern != "fifo") co_return bad("Parameter 'read-pattern' does not accept value '" + pattern + "'");
    q.fifo = pattern == "fifo";
    q.rewrite = on("rewrite-corrupted");
    q.verify = on("blkverify");
    if (!*threshold && !q.fifo) co_return bad("Parameter 'vote-threshold' is missing");
    q.threshold = static_cast<unsigned>(threshold->value_or(1));
    if (q.threshold < 1) co_return bad("Parameter 'vote-threshold' expects a value >= 1");
    if (q.threshold > children->size()) co_return bad("threshold may not exceed children count");
    if (q.verify && (children->size() != 2 || q.threshold != 2)) co_return bad("blkverify=on can only be set if there are exactly two files and vote-threshold is 2");
    if (q.verify && q.rewrite) co_return bad("rewrite-corrupted=on cannot be used with blkverify=on");
    std::vector<NodePtr> nodes;
    for (const auto& child : *children) {
        OpenOptions below = o;
        below.options = child;
        auto n = co_await graph.open_tree(std::move(below));
        if (!n) co_return n;
        if (!nodes.empty() && (*n)->size() != nodes[0]->size()) co_return bad("quorum: the children are of different sizes (" + std::to_string(nodes[0]->size()) + " and " + std::to_string((*n)->size()) + " bytes)");
        nodes.push_back(*n);
    }
    co_return std::make_shared<QuorumNode>(graph.reactor(), std::move(nodes), q);
}

}  // namespace

const Driver kQuorumDriver{"quorum", Driver::Kind::kFilter, {}, nullptr, open_quorum, nullptr, nullptr, false, false};

}  // namespace myna::block
