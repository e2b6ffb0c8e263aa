#include "block/proto/null.h"

#include <chrono>
#include <nlohmann/json.hpp>

#include "block/filters/filter.h"
#include "block/formats/common/open.h"

namespace myna::block {

namespace {

class NullNode final : public Node {
  public:
    NullNode(io::Reactor& r, std::string_view driver, const OpenOptions& o, uint64_t size, std::chrono::nanoseconds latency, bool zeroes)
        : Node(r), driver_(driver), latency_(latency), zeroes_(zeroes) {
        size_ = size;
        read_only_ = o.read_only;
        filename_ = driver_ + "://";
    }
    [[nodiscard]] std::string_view driver() const noexcept override { return driver_; }
    [[nodiscard]] std::optional<uint64_t> allocated_bytes() const override { return 0; }

  protected:
    Task<Result<void>> do_read(uint64_t, const IoVec& into) override {
        into.fill(0);  // the memory is a client's: what it held before is nobody's business
        return wait();
    }
    Task<Result<void>> do_write(uint64_t, const IoVec&, WriteFlags) override { return wait(); }
    Task<Result<void>> do_write_zeroes(uint64_t, uint64_t, WriteFlags) override { return wait(); }
    Task<Result<void>> do_discard(uint64_t, uint64_t) override { return wait(); }
    Task<Result<void>> do_flush() override { return wait(); }
    Task<Result<Extent>> do_block_status(uint64_t offset, uint64_t length) override {
        co_return Extent{.length = length, .data = !zeroes_, .zero = zeroes_, .allocated = true, .offset = offset, .file = this};
    }

  private:
    Task<Result<void>> wait() {
        if (latency_.count() > 0) co_await reactor_.sleep(latency_);
        co_return Result<void>{};
    }
    std::string driver_;
    std::chrono::nanoseconds latency_;
    bool zeroes_;  // reading as zeroes is promised (all reads give zeroes)
};

Task<Result<NodePtr>> open_null(Graph& graph, const OpenOptions& o, std::string_view driver) {
    const std::string scheme = std::string(driver) + "://";
    if (const auto name = o.options.find("filename"); name != o.options.end()) {
        if (!name->is_string() || *name != scheme) co_return fail(ErrorKind::kInvalidArgument, "The only allowed filename for this driver is '" + scheme + "'");
    } else if (auto r = filters::only(o.options, driver, {"size", "latency-ns", "read-zeroes"}); !r) {
        co_return std::unexpected(r.error());
    }
    auto size = formats::number_option(o.options, "size"), latency = formats::number_option(o.options, "latency-ns");
    if (!size) co_return std::unexpected(size.error());
    if (!latency) co_return std::unexpected(latency.error());
    if (latency->value_or(0) > INT64_MAX) co_return fail(ErrorKind::kInvalidArgument, "latency-ns is invalid");
    const auto zeroes = o.options.find("read-zeroes");
    co_return std::make_shared<NullNode>(graph.reactor(), driver, o, size->value_or(uint64_t{1} << 30), std::chrono::nanoseconds(latency->value_or(0)),
                                         zeroes != o.options.end() && (*zeroes == true || *zeroes == "on"));
}

}  // namespace

const Driver kNullCoDriver{"null-co", Driver::Kind::kProtocol, {}, nullptr, [](Graph& g, const OpenOptions& o) { return open_null(g, o, "null-co"); }, nullptr, nullptr, false, false};
const Driver kNullAioDriver{"null-aio", Driver::Kind::kProtocol, {}, nullptr, [](Graph& g, const OpenOptions& o) { return open_null(g, o, "null-aio"); }, nullptr, nullptr, false, false};

}  // namespace myna::block
