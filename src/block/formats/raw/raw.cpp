#include "block/formats/raw/raw.h"

#include <algorithm>

#include "base/bits.h"
#include "block/formats/common/open.h"
#include "block/graph/graph.h"

namespace myna::block {

using formats::number_option;

namespace {

constexpr uint64_t kSector = 512;

class RawNode final : public Node {
  public:
    RawNode(io::Reactor& r, NodePtr file, bool probed) : Node(r), probed_(probed) {
        file_ = std::move(file);
        filename_ = file_->filename();
        read_only_ = file_->read_only();
        limits_ = file_->limits();
    }
    [[nodiscard]] std::string_view driver() const noexcept override { return "raw"; }
    Result<void> window(uint64_t offset, std::optional<uint64_t> size) {
        if (offset > file_->size()) return fail(ErrorKind::kInvalidArgument, "The offset of the raw window is behind the end of '" + filename_ + "'");
        if (size && *size > file_->size() - offset)
            return fail(ErrorKind::kInvalidArgument, "The raw window is larger than what '" + filename_ + "' holds behind its offset");
        base_ = offset;
        fixed_ = offset != 0 || size.has_value();
        size_ = size.value_or(align_up(file_->size() - offset, fixed_ ? 1 : kSector));
        return {};
    }
    [[nodiscard]] bool zero_init() const override { return !fixed_ && file_->zero_init(); }

  protected:
    Task<Result<void>> do_read(uint64_t offset, const IoVec& into) override {
        const uint64_t there = file_->size() - base_;
        if (offset + into.size() <= there) co_return co_await file_->read(base_ + offset, into);
        // The last sector of a file whose length is no multiple of 512.
        const uint64_t have = offset < there ? there - offset : 0;
        into.slice(have, into.size() - have).fill(0);
        co_return co_await file_->read(base_ + offset, into.slice(0, have));
    }
    Task<Result<void>> do_write(uint64_t offset, const IoVec& from, WriteFlags flags) override {
        if (probed_ && offset < kHead) {
            // A guest that writes another format's header into a guessed raw image would own the next open.
            std::vector<uint8_t> head(kHead);
            if (auto r = co_await do_read(0, IoVec(head.data(), std::min<uint64_t>(kHead, size_))); !r) co_return r;
            std::vector<uint8_t> bytes(from.size());
            from.copy_to(bytes.data());
            std::copy_n(bytes.begin(), std::min<uint64_t>(bytes.size(), kHead - offset), head.begin() + static_cast<ptrdiff_t>(offset));
            for (const Driver* d : all_drivers())
                if (d != &kRawDriver && d->probe != nullptr && d->probe(head, filename_) > 0)
                    co_return fail(ErrorKind::kPermission, filename_ + ": the format was guessed to be raw; a write that makes it look like '" +
                                                               std::string(d->name) + "' is refused (name the format: -f raw)", EPERM);
        }
        if (auto r = co_await grow(offset + from.size()); !r) co_return r;
        co_return co_await file_->write(base_ + offset, from, flags);
    }
    Task<Result<void>> do_write_zeroes(uint64_t offset, uint64_t length, WriteFlags flags) override {
        if (auto r = co_await grow(offset + length); !r) co_return r;
        co_return co_await file_->write_zeroes(base_ + offset, length, flags);
    }
    Task<Result<void>> do_discard(uint64_t offset, uint64_t length) override {
        const uint64_t there = file_->size() - base_;
        if (offset >= there) co_return Result<void>{};
        co_return co_await file_->discard(base_ + offset, std::min(length, there - offset));
    }
    Task<Result<Extent>> do_block_status(uint64_t offset, uint64_t length) override {
        if (base_ + offset >= file_->size()) co_return Extent{.length = length, .zero = true, .allocated = true};
        auto e = co_await file_->block_status(base_ + offset, length);
        if (e && e->eof && e->length < length) {
            // The rest of the last sector belongs to what is before it.
            e->length = length;
        }
        co_return e;
    }
    Task<Result<void>> do_truncate(uint64_t size, std::string_view preallocation) override {
        if (fixed_) co_return fail(ErrorKind::kUnsupported, "Cannot resize fixed-size raw disks");
        if (auto r = co_await file_->truncate(size, preallocation); !r) co_return r;
        size_ = size;
        co_return Result<void>{};
    }

  private:
    static constexpr uint64_t kHead = 2048;
    Task<Result<void>> grow(uint64_t end) {
        if (base_ + end > file_->size()) co_return co_await file_->grow_to(base_ + end);
        co_return Result<void>{};
    }
    uint64_t base_ = 0;
    bool fixed_ = false;
    bool probed_;
};

Task<Result<NodePtr>> open_raw(Graph& graph, const OpenOptions& o) {
    auto file = co_await formats::open_below(graph, o);
    if (!file) co_return std::unexpected(file.error());
    auto node = std::make_shared<RawNode>(graph.reactor(), *file, o.options.value("probed", false));
    const auto offset = number_option(o.options, "offset"), size = number_option(o.options, "size");
    if (!offset) co_return std::unexpected(offset.error());
    if (!size) co_return std::unexpected(size.error());
    if (auto r = node->window(offset->value_or(0), *size); !r) co_return std::unexpected(r.error());
    co_return node;
}

Task<Result<void>> create_raw(Graph& graph, const CreateOptions& o) { return graph.create_protocol(o); }

Task<Result<MeasureResult>> measure_raw(Graph&, uint64_t size, Node* source, const CreateOptions&) {
    const uint64_t bytes = align_up(source != nullptr ? source->size() : size, kSector);
    co_return MeasureResult{.required = bytes, .fully_allocated = bytes, .bitmaps = std::nullopt};
}

int probe_raw(std::span<const uint8_t>, std::string_view) { return 1; }  // when nothing else claims it

constexpr OptionInfo kOptions[] = {
    {"size", OptionInfo::Type::kSize, "Virtual disk size", {}},
};

}  // namespace

const Driver kRawDriver{"raw", Driver::Kind::kFormat, kOptions, probe_raw, open_raw, create_raw, measure_raw, false, false};

}  // namespace myna::block
