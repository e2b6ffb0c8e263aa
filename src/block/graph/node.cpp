#include "block/graph/node.h"

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/bits.h"

namespace myna::block {

namespace {

Error out_of_bounds(const Node& n, uint64_t offset, uint64_t length) {
    return {ErrorKind::kInvalidArgument,
            n.filename() + ": request of " + std::to_string(length) + " bytes at offset " + std::to_string(offset) +
                " is outside the image (" + std::to_string(n.size()) + " bytes)"};
}

Error cannot(const Node& n, std::string_view what) {
    return {ErrorKind::kUnsupported, n.filename() + ": format '" + std::string(n.driver()) + "' does not support " + std::string(what)};
}

bool memory_aligned(const IoVec& v, uint32_t alignment) {
    for (const iovec& p : v.parts())
        if ((reinterpret_cast<uintptr_t>(p.iov_base) | p.iov_len) & (alignment - 1)) return false;
    return true;
}

/// A bounce buffer for requests that the driver cannot take as they are.
struct Bounce {
    explicit Bounce(size_t n, size_t alignment)
        : bytes(n), data(static_cast<uint8_t*>(std::aligned_alloc(std::max<size_t>(alignment, 64), align_up(n, std::max<size_t>(alignment, 64))))) {
        if (data == nullptr) throw std::bad_alloc();
    }
    ~Bounce() { std::free(data); }
    Bounce(const Bounce&) = delete;
    Bounce& operator=(const Bounce&) = delete;
    size_t bytes;
    uint8_t* data;
};

constexpr uint64_t kBounceBytes = 1 << 20;

/// `request(at, part)` for the parts of [offset, offset + v.size()), each of `most` bytes at most.
template <class Request>
Task<Result<void>> in_parts(uint64_t offset, const IoVec& v, uint64_t most, Request request) {
    for (uint64_t done = 0; done < v.size();) {
        const IoVec part = v.slice(done, std::min<uint64_t>(most, v.size() - done));
        if (auto r = co_await request(offset + done, part); !r) co_return r;
        done += part.size();
    }
    co_return Result<void>{};
}

/// One aligned piece of a request that is not aligned itself, in a buffer.
struct Piece {
    uint64_t at;           // where it is in the node
    IoVec whole;           // the buffer
    uint8_t* bytes;        // of the request in it
    uint64_t done, take;   // bytes [done, done + take) of the request
    [[nodiscard]] bool partly() const noexcept { return take != whole.size(); }
};

/// `request(piece)` for all pieces that cover [offset, offset + length).
template <class Request>
Task<Result<void>> in_pieces(uint64_t offset, uint64_t length, const Limits& limits, Request request) {
    const uint32_t align = limits.request_alignment;
    const Bounce b(std::min(kBounceBytes, align_up(offset + length, align) - align_down(offset, align)), limits.memory_alignment);
    for (uint64_t done = 0; done < length;) {
        const uint64_t at = align_down(offset + done, align), skip = offset + done - at;
        const uint64_t n = std::min<uint64_t>(b.bytes, align_up(offset + length, align) - at);
        const Piece p{at, IoVec(b.data, n), b.data + skip, done, std::min(n - skip, length - done)};
        if (auto r = co_await request(p); !r) co_return r;
        done += p.take;
    }
    co_return Result<void>{};
}

}  // namespace

Task<Result<void>> Node::read(uint64_t offset, const IoVec& into) {
    const uint64_t length = into.size();
    if (length == 0) co_return Result<void>{};
    if (offset > size_ || length > size_ - offset) co_return std::unexpected(out_of_bounds(*this, offset, length));
    const auto inside = co_await gate_.enter();
    const uint32_t align = limits_.request_alignment;
    if ((offset | length) % align == 0 && memory_aligned(into, limits_.memory_alignment)) {
        if (length <= limits_.max_transfer) co_return co_await do_read(offset, into);
        co_return co_await in_parts(offset, into, limits_.max_transfer, [this](uint64_t at, const IoVec& part) { return do_read(at, part); });
    }
    co_return co_await in_pieces(offset, length, limits_, [&](const Piece& p) -> Task<Result<void>> {
        if (auto r = co_await do_read(p.at, p.whole); !r) co_return r;
        into.slice(p.done, p.take).copy_from(p.bytes);
        co_return Result<void>{};
    });
}

// A node that nobody watches goes straight on: no frame more, one test.
Task<Result<void>> Node::write(uint64_t offset, const IoVec& from, WriteFlags flags) {
    return watchers_.empty() || flags.unchanged ? write_now(offset, from, flags) : write_watched(offset, from, flags);
}
Task<Result<void>> Node::write_zeroes(uint64_t offset, uint64_t length, WriteFlags flags) {
    return watchers_.empty() || flags.unchanged ? write_zeroes_now(offset, length, flags) : write_zeroes_watched(offset, length, flags);
}
Task<Result<void>> Node::discard(uint64_t offset, uint64_t length) {
    return watchers_.empty() ? discard_now(offset, length) : discard_watched(offset, length);
}

Task<Result<void>> Node::told_before(const std::vector<Watcher*>& to, uint64_t offset, uint64_t length) {
    if (read_only_) co_return fail(ErrorKind::kPermission, filename_ + ": image is read-only", EPERM);
    if (offset > size_ || length > size_ - offset) co_return std::unexpected(out_of_bounds(*this, offset, length));
    for (size_t i = 0; i < to.size(); ++i)
        if (auto r = co_await to[i]->before(offset, length); !r) {
            // Who has been told of the beginning is told of the end.
            for (size_t k = 0; k < i; ++k) (void)co_await to[k]->after(offset, length, nullptr, false);
            co_return r;
        }
    co_return Result<void>{};
}

Task<Result<void>> Node::told_after(const std::vector<Watcher*>& to, uint64_t offset, uint64_t length, const IoVec* data, Result<void> done) {
    for (Watcher* w : to)
        if (auto r = co_await w->after(offset, length, data, done.has_value()); !r && done) done = r;
    co_return done;
}

Task<Result<void>> Node::write_watched(uint64_t offset, const IoVec& from, WriteFlags flags) {
    const std::vector<Watcher*> to = watchers_;
    if (auto r = co_await told_before(to, offset, from.size()); !r) co_return r;
    auto done = co_await write_now(offset, from, flags);
    co_return co_await told_after(to, offset, from.size(), &from, std::move(done));
}

Task<Result<void>> Node::write_zeroes_watched(uint64_t offset, uint64_t length, WriteFlags flags) {
    const std::vector<Watcher*> to = watchers_;
    if (auto r = co_await told_before(to, offset, length); !r) co_return r;
    auto done = co_await write_zeroes_now(offset, length, flags);
    co_return co_await told_after(to, offset, length, nullptr, std::move(done));
}

Task<Result<void>> Node::discard_watched(uint64_t offset, uint64_t length) {
    const std::vector<Watcher*> to = watchers_;
    if (auto r = co_await told_before(to, offset, length); !r) co_return r;
    auto done = co_await discard_now(offset, length);
    co_return co_await told_after(to, offset, length, nullptr, std::move(done));
}

Result<std::shared_ptr<void>> Node::use(std::string who, Perm perm) {
    static constexpr const char* kNames[] = {"consistent read", "write", "write unchanged", "resize", "block job"};
    for (const Use& u : uses_)
        for (unsigned i = 0; i < std::size(kNames); ++i) {
            const bool refused = (perm.perm & ~u.perm.shared) >> i & 1, refuses = (u.perm.perm & ~perm.shared) >> i & 1;
            if (!refused && !refuses) continue;
            if ((perm.perm & u.perm.perm) >> i & 1 && Perm::kJob == 1u << i) return fail(ErrorKind::kInUse, "Node '" + node_name_ + "' is busy: block device is in use by block job: " + u.who);
            return fail(ErrorKind::kInUse, "Permission conflict on node '" + node_name_ + "': permissions '" + kNames[i] + "' are both required by " + (refused ? who : u.who) +
                                               " and unshared by " + (refused ? u.who : who));
        }
    uses_.push_back({std::move(who), perm});
    return std::shared_ptr<void>(nullptr, [this, at = std::prev(uses_.end())](void*) { uses_.erase(at); });
}

Task<Result<void>> Node::close() {
    if (users_ <= 1) return do_close();
    --users_;
    if (!read_only_) return flush();
    return []() -> Task<Result<void>> { co_return Result<void>{}; }();
}

Task<Result<void>> Node::write_now(uint64_t offset, const IoVec& from, WriteFlags flags) {
    const uint64_t length = from.size();
    if (read_only_) co_return fail(ErrorKind::kPermission, filename_ + ": image is read-only", EPERM);
    if (length == 0) co_return Result<void>{};
    if (offset > size_ || length > size_ - offset) co_return std::unexpected(out_of_bounds(*this, offset, length));
    flags.fua |= write_through_;
    if (detect_zeroes_ != DetectZeroes::kOff && !flags.compressed && from.is_zero())
        co_return co_await write_zeroes_now(offset, length, {.fua = flags.fua, .may_unmap = detect_zeroes_ == DetectZeroes::kUnmap});
    const uint32_t align = limits_.request_alignment;
    // Reading, changing and writing back a block must not meet another write to it: such requests run alone.
    const bool whole_blocks = (offset | length) % align == 0;
    const auto inside = whole_blocks ? co_await gate_.enter() : co_await gate_.close();
    if (whole_blocks && memory_aligned(from, limits_.memory_alignment)) {
        if (length <= limits_.max_transfer) co_return co_await do_write(offset, from, flags);
        co_return co_await in_parts(offset, from, limits_.max_transfer, [&](uint64_t at, const IoVec& part) { return do_write(at, part, flags); });
    }
    co_return co_await in_pieces(offset, length, limits_, [&](const Piece& p) -> Task<Result<void>> {
        if (p.partly())
            if (auto r = co_await do_read(p.at, p.whole); !r) co_return r;
        from.slice(p.done, p.take).copy_to(p.bytes);
        co_return co_await do_write(p.at, p.whole, flags);
    });
}

Task<Result<void>> Node::write_zeroes_now(uint64_t offset, uint64_t length, WriteFlags flags) {
    if (read_only_) co_return fail(ErrorKind::kPermission, filename_ + ": image is read-only", EPERM);
    if (length == 0) co_return Result<void>{};
    if (offset > size_ || length > size_ - offset) co_return std::unexpected(out_of_bounds(*this, offset, length));
    const auto inside = (offset | length) % limits_.request_alignment == 0 ? co_await gate_.enter() : co_await gate_.close();
    if (!discards_) flags.may_unmap = false;
    flags.fua |= write_through_;
    co_return co_await do_write_zeroes(offset, length, flags);
}

Task<Result<void>> Node::discard_now(uint64_t offset, uint64_t length) {
    if (read_only_) co_return fail(ErrorKind::kPermission, filename_ + ": image is read-only", EPERM);
    if (offset > size_ || length > size_ - offset) co_return std::unexpected(out_of_bounds(*this, offset, length));
    if (!discards_) co_return Result<void>{};
    // Discarding is a hint: what is not aligned at the edges stays.
    const uint64_t from = align_up(offset, limits_.discard_alignment);
    const uint64_t to = offset + length == size_ ? size_ : align_down(offset + length, limits_.discard_alignment);
    if (from >= to) co_return Result<void>{};
    const auto inside = co_await gate_.enter();
    co_return co_await do_discard(from, to - from);
}

Task<Result<void>> Node::flush() {
    const auto inside = co_await gate_.enter();
    co_return co_await do_flush();
}

Task<Result<Extent>> Node::block_status(uint64_t offset, uint64_t length) {
    if (offset >= size_ || length == 0) co_return Extent{.eof = offset >= size_};
    length = std::min(length, size_ - offset);
    const auto inside = co_await gate_.enter();
    auto e = co_await do_block_status(offset, length);
    if (e) {
        e->length = std::min(e->length, length);
        if (offset + e->length == size_) e->eof = true;
    }
    co_return e;
}

Task<Result<void>> Node::truncate(uint64_t size, std::string_view preallocation) {
    if (read_only_) co_return fail(ErrorKind::kPermission, filename_ + ": image is read-only", EPERM);
    const std::string mode(preallocation);
    const auto alone = co_await gate_.close();
    co_return co_await do_truncate(size, mode);
}

Task<Result<void>> Node::grow_to(uint64_t size) {
    if (size <= size_) co_return Result<void>{};
    if (read_only_) co_return fail(ErrorKind::kPermission, filename_ + ": image is read-only", EPERM);
    const auto alone = co_await gate_.close();
    if (size <= size_) co_return Result<void>{};  // another one was faster
    co_return co_await do_truncate(size, "off");
}

Result<void> Node::set_general(const nlohmann::json& options) {
    const auto get = [&](const char* key) -> std::string {
        const auto it = options.find(key);
        if (it == options.end()) return "";
        return it->is_string() ? it->get<std::string>() : *it == true ? "on" : "off";
    };
    const auto bad = [](const std::string& what) { return fail(ErrorKind::kInvalidArgument, what); };
    if (const std::string v = get("discard"); v == "ignore" || v == "off") discards_ = false;
    else if (!v.empty() && v != "unmap" && v != "on") return bad("Invalid discard option '" + v + "'");
    if (const std::string v = get("detect-zeroes"); v == "on") detect_zeroes_ = DetectZeroes::kOn;
    else if (v == "unmap") detect_zeroes_ = DetectZeroes::kUnmap;
    else if (!v.empty() && v != "off") return bad("Parameter 'detect-zeroes' does not accept value '" + v + "'");
    if (detect_zeroes_ == DetectZeroes::kUnmap && !discards_) return bad("setting detect-zeroes to unmap is not allowed without setting discard operation to unmap");
    return {};
}

// ---- defaults

Task<Result<void>> Node::do_write(uint64_t, const IoVec&, WriteFlags) { co_return std::unexpected(cannot(*this, "writing")); }

Task<Result<void>> Node::do_write_zeroes(uint64_t offset, uint64_t length, WriteFlags flags) {
    if (flags.no_fallback) co_return std::unexpected(cannot(*this, "fast zeroing"));
    const uint64_t chunk = std::min<uint64_t>(align_up(length, limits_.request_alignment), kBounceBytes);
    const Bounce b(chunk, limits_.memory_alignment);
    std::fill_n(b.data, chunk, uint8_t{0});
    for (uint64_t done = 0; done < length;) {
        const uint64_t n = std::min(chunk, length - done);
        const IoVec part(b.data, n);
        if ((offset + done) % limits_.request_alignment != 0 || n % limits_.request_alignment != 0) {
            // Edges below the alignment: read, modify, write.
            const uint32_t a = limits_.request_alignment;
            const uint64_t at = align_down(offset + done, a);
            const Bounce edge(a, limits_.memory_alignment);
            const IoVec whole(edge.data, a);
            if (auto r = co_await do_read(at, whole); !r) co_return r;
            const uint64_t skip = offset + done - at;
            const uint64_t take = std::min<uint64_t>(a - skip, length - done);
            std::fill_n(edge.data + skip, take, uint8_t{0});
            if (auto r = co_await do_write(at, whole, flags); !r) co_return r;
            done += take;
            continue;
        }
        if (auto r = co_await do_write(offset + done, part, flags); !r) co_return r;
        done += n;
    }
    co_return Result<void>{};
}

Task<Result<void>> Node::do_discard(uint64_t, uint64_t) { co_return Result<void>{}; }

Task<Result<void>> Node::do_flush() {
    if (file_) co_return co_await file_->flush();
    co_return Result<void>{};
}

Task<Result<Extent>> Node::do_block_status(uint64_t, uint64_t length) {
    co_return Extent{.length = length, .data = true, .allocated = true};
}

Task<Result<void>> Node::do_truncate(uint64_t, std::string_view) { co_return std::unexpected(cannot(*this, "resizing")); }

Task<Result<void>> Node::do_read_vm_state(uint64_t, const IoVec&) { co_return std::unexpected(cannot(*this, "VM state")); }
Task<Result<void>> Node::do_write_vm_state(uint64_t, const IoVec&) { co_return std::unexpected(cannot(*this, "VM state")); }

Task<Result<void>> Node::read_vm_state(uint64_t offset, const IoVec& into) {
    const auto inside = co_await gate_.enter();
    co_return co_await do_read_vm_state(offset, into);
}
Task<Result<void>> Node::write_vm_state(uint64_t offset, const IoVec& from) {
    if (read_only_) co_return fail(ErrorKind::kPermission, filename_ + ": image is read-only", EPERM);
    const auto inside = co_await gate_.enter();
    co_return co_await do_write_vm_state(offset, from);
}

Task<Result<CheckResult>> Node::check(CheckFix) { co_return std::unexpected(cannot(*this, "checks")); }
Task<Result<void>> Node::amend(const nlohmann::json&) { co_return std::unexpected(cannot(*this, "option amendment")); }
Task<Result<std::vector<SnapshotInfo>>> Node::snapshots() { co_return std::vector<SnapshotInfo>{}; }
Task<Result<void>> Node::snapshot_create(SnapshotInfo) { co_return std::unexpected(cannot(*this, "internal snapshots")); }
Task<Result<void>> Node::snapshot_apply(std::string_view) { co_return std::unexpected(cannot(*this, "internal snapshots")); }
Task<Result<void>> Node::snapshot_delete(std::string_view) { co_return std::unexpected(cannot(*this, "internal snapshots")); }
Task<Result<void>> Node::change_backing(std::optional<std::string>, std::optional<std::string>) {
    co_return std::unexpected(cannot(*this, "backing files"));
}
Task<Result<std::vector<BitmapInfo>>> Node::bitmaps() { co_return std::vector<BitmapInfo>{}; }
Task<Result<void>> Node::change_bitmap(BitmapAction, std::string, uint32_t) { co_return std::unexpected(cannot(*this, "persistent bitmaps")); }
Task<Result<BitmapBits>> Node::bitmap_bits(std::string name) { co_return fail(ErrorKind::kNotFound, "Dirty bitmap '" + name + "' not found"); }
Task<Result<void>> Node::merge_bitmap(std::string name, BitmapBits) { co_return fail(ErrorKind::kNotFound, "Dirty bitmap '" + name + "' not found"); }
Result<void> Node::breakpoint(Breakpoint action, std::string_view event, std::string_view tag) {
    if (file_) return file_->breakpoint(action, event, tag);
    return std::unexpected(cannot(*this, "breakpoints"));
}
bool Node::stopped(std::string_view tag) const { return file_ && file_->stopped(tag); }
Task<Result<void>> Node::make_empty() { co_return std::unexpected(cannot(*this, "being emptied")); }
Task<Result<void>> Node::compact() { co_return Result<void>{}; }
Task<Result<void>> Node::snapshot_open(std::string_view) { co_return std::unexpected(cannot(*this, "internal snapshots")); }
nlohmann::json Node::specific_info() const { return nullptr; }
std::optional<uint64_t> Node::allocated_bytes() const { return file_ ? file_->allocated_bytes() : std::nullopt; }

Task<Result<void>> Node::do_close() {
    auto r = read_only_ ? Result<void>{} : co_await flush();
    if (file_)
        if (auto f = co_await file_->close(); !f && r) r = f;
    if (backing_)
        if (auto b = co_await backing_->close(); !b && r) r = b;
    co_return r;
}

}  // namespace myna::block
