// blkverify: every request goes to a node under test (`test`) and to a raw one beside it (`raw`); what they read must agree.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "block/filters/filter.h"

namespace myna::block {

namespace {

class BlkverifyNode final : public filters::FilterNode {
  public:
    BlkverifyNode(io::Reactor& r, NodePtr test, NodePtr raw) : FilterNode(r, std::move(test)), raw_(std::move(raw)) { read_only_ |= raw_->read_only(); }
    [[nodiscard]] std::string_view driver() const noexcept override { return "blkverify"; }
    Task<Result<void>> do_close() override {
        auto r = co_await FilterNode::do_close();
        if (auto c = co_await raw_->close(); r && !c) r = c;
        co_return r;
    }

  protected:
    Task<Result<void>> do_read(uint64_t offset, const IoVec& into) override {
        auto r = co_await file_->read(offset, into);
        std::vector<uint8_t> want(into.size()), got(into.size());
        auto w = co_await raw_->read(offset, IoVec(want));
        if (auto same = both(r, w, "read", offset); !same || !r) co_return same ? r : same;
        into.copy_to(got.data());
        const auto [a, b] = std::mismatch(got.begin(), got.end(), want.begin());
        if (a != got.end())
            co_return fail(ErrorKind::kCorrupt, "blkverify: read of " + std::to_string(into.size()) + " bytes at offset " + std::to_string(offset) + ": contents mismatch at offset " +
                                                    std::to_string(offset + static_cast<uint64_t>(a - got.begin())), EIO);
        co_return Result<void>{};
    }
    Task<Result<void>> do_write(uint64_t offset, const IoVec& from, WriteFlags flags) override {
        auto r = co_await file_->write(offset, from, flags);
        flags.compressed = false;
        co_return both(r, co_await raw_->write(offset, from, flags), "write", offset);
    }
    Task<Result<void>> do_write_zeroes(uint64_t offset, uint64_t length, WriteFlags flags) override {
        auto r = co_await file_->write_zeroes(offset, length, flags);
        co_return both(r, co_await raw_->write_zeroes(offset, length, flags), "write of zeroes", offset);
    }
    /// What is discarded may read as anything: nothing to compare, so nothing is discarded.
    Task<Result<void>> do_discard(uint64_t, uint64_t) override { co_return Result<void>{}; }
    Task<Result<void>> do_flush() override { return file_->flush(); }
    Task<Result<void>> do_truncate(uint64_t size, std::string_view preallocation) override {
        auto r = co_await FilterNode::do_truncate(size, preallocation);
        co_return both(r, co_await raw_->truncate(size), "truncation", size);
    }

  private:
    static Result<void> both(const Result<void>& test, const Result<void>& raw, const char* what, uint64_t offset) {
        if (test.has_value() == raw.has_value()) return test;
        return fail(ErrorKind::kCorrupt, std::string("blkverify: ") + what + " at offset " + std::to_string(offset) + ": return value mismatch: " + (test ? raw : test).error().message, EIO);
    }
    NodePtr raw_;
};

Task<Result<NodePtr>> open_blkverify(Graph& graph, const OpenOptions& o) {
    OpenOptions with = o;
    if (const auto name = o.options.find("filename"); name != o.options.end() && name->is_string()) {
        // blkverify:RAW:TEST
        std::string rest = name->get<std::string>();
        if (rest.starts_with("blkverify:")) rest.erase(0, 10);
        const size_t colon = rest.find(':');
        if (colon == std::string::npos) co_return fail(ErrorKind::kInvalidArgument, "blkverify requires raw copy and original image path");
        with.options["raw"] = {{"driver", "raw"}, {"file", {{"driver", "file"}, {"filename", rest.substr(0, colon)}}}};
        with.options["test"] = {{"file", {{"driver", "file"}, {"filename", rest.substr(colon + 1)}}}};
    } else if (auto r = filters::only(o.options, "blkverify", {"test", "raw"}); !r) {
        co_return std::unexpected(r.error());
    }
    auto raw = co_await filters::open_child(graph, with, "raw");
    if (!raw) co_return raw;
    auto test = co_await filters::open_child(graph, with, "test");
    if (!test) co_return test;
    co_return std::make_shared<BlkverifyNode>(graph.reactor(), *test, *raw);
}

}  // namespace

const Driver kBlkverifyDriver{"blkverify", Driver::Kind::kFilter, {}, nullptr, open_blkverify, nullptr, nullptr, false, false};

}  // namespace myna::block
