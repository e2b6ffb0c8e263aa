// Opening and closing a qcow2 image, what `info` says of it, and changing its size.
#include <algorithm>
#include <cerrno>
#include <nlohmann/json.hpp>

#include "base/bits.h"
#include "block/formats/qcow2/qcow2.h"

namespace myna::block::qcow2 {

Qcow2Node::Qcow2Node(Graph& graph, NodePtr file)
    : Node(graph.reactor()), graph_(graph), l2_cache_(16), refcount_cache_(16), map_(graph.reactor()), evicting_(graph.reactor()), bitmap_commands_(graph.reactor()) {
    file_ = std::move(file);
    filename_ = file_->filename();
    read_only_ = file_->read_only();
}

std::optional<std::string> Qcow2Node::backing_name() const {
    return h_.backing_file.empty() ? std::nullopt : std::optional(h_.backing_file);
}

std::optional<std::string> Qcow2Node::backing_format_name() const {
    const Extension* e = h_.extension(Extension::kBackingFormat);
    return e == nullptr ? std::nullopt : std::optional(e->data);
}

Task<Result<void>> Qcow2Node::start(const OpenOptions& o) {
    std::string head(std::min<uint64_t>(file_->size(), 64 << 10), '\0');
    if (auto r = co_await read_at(0, head.data(), head.size()); !r) co_return r;
    auto h = decode_header(head, filename_, file_->size(), o.check && !read_only_);
    if (!h) co_return std::unexpected(h.error());
    h_ = std::move(*h);
    size_ = h_.size;
    auto settings = take_settings(o.options, h_);
    if (!settings) co_return std::unexpected(settings.error());
    settings_ = *settings;
    const uint64_t cluster = h_.cluster_size();
    fresh_from_ = clusters_of(file_->size());
    limits_.request_alignment = 1;
    limits_.zeroes_alignment = limits_.discard_alignment = static_cast<uint32_t>(cluster);
    l2_cache_ = TableCache(std::max<size_t>(16, settings_.l2_cache_bytes / cluster));
    refcount_cache_ = TableCache(std::max<size_t>(16, settings_.refcount_cache_bytes / cluster));

    if (h_.crypt != Crypt::kNone)
        if (auto r = co_await open_crypt(o); !r) co_return r;
    if ((h_.incompatible & Incompatible::kCorrupt) && !read_only_ && !o.check)
        co_return fail(ErrorKind::kCorrupt, "qcow2: Image is corrupt; cannot be opened read/write\n'check -r all' can repair it; make a copy first.", EACCES);

    if (h_.incompatible & Incompatible::kDataFile) {
        OpenOptions below = o;
        below.writethrough = false;
        if (const auto it = o.options.find("data-file"); it != o.options.end()) {
            below.options = *it;
            auto n = co_await graph_.open_tree(below);
            if (!n) co_return std::unexpected(n.error());
            data_file_ = *n;
        } else {
            const Extension* e = h_.extension(Extension::kDataFile);
            if (e == nullptr || e->data.empty()) co_return fail(ErrorKind::kInvalidArgument, filename_ + ": 'data-file' is required for this image");
            // Seen from where the program runs, as the documented tools see it; beside the image where nothing is there.
            auto n = co_await graph_.open_protocol(e->data, below);
            if (!n && errno_of(n.error()) == ENOENT)
                if (auto beside = co_await graph_.open_protocol(Graph::resolve_backing(filename_, e->data), below)) n = std::move(beside);
            if (!n) co_return std::unexpected(n.error());
            data_file_ = *n;
        }
    } else if (const auto it = o.options.find("data-file"); it != o.options.end() && !it->is_null()) {
        co_return fail(ErrorKind::kInvalidArgument, "'data-file' can only be set for images with an external data file");
    }

    std::vector<uint8_t> raw(uint64_t{h_.l1_entries} * 8);
    if (auto r = co_await read_at(h_.l1_offset, raw.data(), raw.size()); !r) co_return r;
    l1_.resize(h_.l1_entries);
    for (size_t i = 0; i < l1_.size(); ++i) l1_[i] = be64(&raw[i * 8]);
    l1_dirty_.assign((l1_.size() + 63) / 64, false);

    raw.assign(uint64_t{h_.refcount_table_clusters} << h_.cluster_bits, 0);
    if (auto r = co_await read_at(h_.refcount_table_offset, raw.data(), raw.size()); !r) co_return r;
    refcount_table_.resize(raw.size() / 8);
    for (size_t i = 0; i < refcount_table_.size(); ++i) refcount_table_[i] = be64(&raw[i * 8]) & ~uint64_t{511};

    if (h_.snapshot_count > 0)
        if (auto s = co_await snapshots(); !s && !o.check) co_return std::unexpected(s.error());

    if (auto r = co_await load_bitmap_directory(); !r && !o.check) co_return r;
    if (auto r = co_await find_inactive(); !r) co_return r;

    marked_ = unclean_ = h_.extension(Extension::kWriting) != nullptr;

    if (!h_.backing_file.empty() && !o.no_backing) {
        auto b = co_await graph_.open_backing(filename_, h_.backing_file, backing_format_name().value_or(""), o);
        if (!b) co_return std::unexpected(std::move(b.error()));
        backing_ = *b;
    }

    if (!read_only_) {
        // Bits that this version does not know say that something went out of date when we write.
        if (h_.autoclear & ~Autoclear::kKnown) {
            h_.autoclear &= Autoclear::kKnown;
            if (auto r = co_await write_header(); !r) co_return r;
        }
        if ((h_.incompatible & Incompatible::kDirty) && !o.check) {
            auto r = co_await check(CheckFix::kAll);
            if (!r) co_return std::unexpected(std::move(r.error()).in("Could not repair dirty image"));
            h_.incompatible &= ~Incompatible::kDirty;
            if (auto w = co_await write_header(); !w) co_return w;
        }
        if (unclean_ && !o.check)
            if (auto r = co_await settle(); !r) co_return r;
    }
    co_return Result<void>{};
}

Task<Result<void>> Qcow2Node::settle() {
    // An extension that this version does not know may refer to clusters, which would look leaked.
    for (const Extension& e : h_.extensions)
        if (!Extension::known(e.type)) co_return Result<void>{};
    auto found = co_await check(CheckFix::kNone);
    if (!found) co_return std::unexpected(found.error());
    // What a damaged image seems to leak may be what the damaged table named: only 'check -r' may touch it. It finds leaks
    // without a mark; so close() takes the mark out, and the next opening does not search again what this one found.
    if (found->corruptions != 0) {
        unclean_ = false;
        co_return Result<void>{};
    }
    if (found->leaks != 0 || found->counted_behind_end != 0) found = co_await check(CheckFix::kLeaks);
    if (!found) co_return std::unexpected(found.error());
    unclean_ = found->leaks != found->leaks_fixed;
    co_return Result<void>{};
}

Task<Result<void>> Qcow2Node::do_close() {
    Result<void> r;
    co_await mark_damage();
    if (!read_only_ && !damaged_) {
        if (bitmaps_changed_) r = co_await store_bitmaps();
        if (auto f = co_await flush(); !f && r) r = f;
        if (r && (!frees_.empty() || !frees_waiting_.empty())) r = co_await flush();
        if (r && grown_ahead_) {
            const auto alone = co_await map_.lock();
            // Down to what was ever used, and never below what was there: counts that are wrong must not cost data.
            if (const uint64_t end = fresh_from_ << h_.cluster_bits; end < file_->size()) r = co_await file_->truncate(end);
            grown_ahead_ = false;
        }
        if (r && marked_ && !unclean_ && h_.extension(Extension::kWriting) != nullptr) {
            h_.drop_extension(Extension::kWriting);
            r = co_await put_header();  // all else is durable; losing this costs a check
        }
    }
    if (data_file_)
        if (auto d = co_await data_file_->close(); !d && r) r = d;
    if (auto f = co_await file_->close(); !f && r) r = f;
    if (backing_)
        if (auto b = co_await backing_->close(); !b && r) r = b;
    co_return r;
}

nlohmann::json Qcow2Node::specific_info() const {
    nlohmann::json d;
    d["compat"] = h_.version == 2 ? "0.10" : "1.1";
    if (h_.version == 3) {
        d["lazy-refcounts"] = (h_.compatible & Compatible::kLazyRefcounts) != 0;
        d["refcount-bits"] = 1u << h_.refcount_order;
        d["corrupt"] = (h_.incompatible & Incompatible::kCorrupt) != 0;
        d["extended-l2"] = h_.extended_l2();
        if (data_file_) {
            d["data-file"] = h_.extension(Extension::kDataFile) ? h_.extension(Extension::kDataFile)->data : data_file_->filename();
            d["data-file-raw"] = raw_data_file();
        }
    } else {
        d["refcount-bits"] = 16;
    }
    d["compression-type"] = h_.compression == Compression::kZstd ? "zstd" : "zlib";
    if (h_.crypt != Crypt::kNone) {
        d["encrypt"] = luks_ ? luks_->info() : nlohmann::json::object();
        d["encrypt"]["format"] = h_.crypt == Crypt::kAes ? "aes" : "luks";
    }
    return {{"type", "qcow2"}, {"data", d}};
}

Task<Result<void>> Qcow2Node::change_backing(std::optional<std::string> file, std::optional<std::string> format) {
    if (file && file->size() > 1023) co_return fail(ErrorKind::kInvalidArgument, "Backing file name too long");
    h_.backing_file = file.value_or("");
    h_.drop_extension(Extension::kBackingFormat);
    if (format && !h_.backing_file.empty()) h_.set_extension(Extension::kBackingFormat, *format);
    co_return co_await write_header();
}

/// Grows (or shrinks, after discarding what is cut off) the disk; the L1 table moves when it gets too small.
Task<Result<void>> Qcow2Node::do_truncate(uint64_t size, std::string_view preallocation) {
    const uint64_t old_size = size_;
    if (auto r = co_await grow_or_shrink(size); !r || preallocation == "off" || size <= old_size) co_return r;
    co_return co_await preallocate(std::string(preallocation), old_size, false);
}

/// What is behind `old_size` reads as zeroes after growing to `size`: the rest of the last cluster, whatever lies there, and
/// what the backing file has there. Before the header says the new size, so that a cut shows nothing of it.
Task<Result<void>> Qcow2Node::zero_growth(uint64_t old_size, uint64_t size) {
    const uint64_t first = std::min(size, align_up(old_size, h_.cluster_size()));
    if (old_size < first) {
        const uint64_t begin = align_down(old_size, 512);  // whole sectors: ciphers want them
        std::vector<uint8_t> rest(first - begin);
        if (auto r = co_await do_read(begin, IoVec(rest)); !r) co_return r;
        const auto fresh = std::span(rest).subspan(old_size - begin);
        if (!io::is_zero(fresh)) {
            std::ranges::fill(fresh, uint8_t{0});
            if (auto r = co_await do_write(begin, IoVec(rest), {}); !r) co_return r;
        }
    }
    const uint64_t end = backing_ ? std::min(size, backing_->size()) : 0;
    if (first >= end) co_return Result<void>{};
    co_return co_await do_write_zeroes(first, end - first, {});
}

Task<Result<void>> Qcow2Node::grow_or_shrink(uint64_t size) {
    auto commands = co_await bitmap_commands_.lock();
    for (const Bitmap& b : bitmaps_)
        if (b.broken()) co_return fail(ErrorKind::kUnsupported, "Cannot resize the image while its bitmap '" + b.name + "' is inconsistent; remove it first ('bitmap --remove')", ENOTSUP);
    if (!bitmaps_.empty()) {
        if (auto r = co_await mark_bitmaps_in_use(true); !r) co_return r;
        for (Bitmap& b : bitmaps_) {
            if (auto r = co_await load_bits(b); !r) co_return r;
            b.bits.count = (size + b.bits.granularity - 1) / b.bits.granularity;
            b.bits.words.resize((b.bits.count + 63) / 64);
            if (b.bits.count % 64 != 0) b.bits.words.back() &= low_bits(static_cast<unsigned>(b.bits.count % 64));
        }
        bitmaps_changed_ = true;
    }
    if (!snapshots_.empty() && h_.version < 3) co_return fail(ErrorKind::kUnsupported, "Can't resize a v2 image which has snapshots");
    if (size < size_) {
        const uint64_t cut = align_up(size, h_.cluster_size());
        if (cut < size_)
            if (auto r = co_await zero_clusters(cut, align_up(size_, h_.cluster_size()) - cut, true, true); !r) co_return r;
        const auto alone = co_await map_.lock();
        if (auto r = co_await drop_vm_state(); !r) co_return r;
        if (auto r = co_await flush_metadata(); !r) co_return r;
        size_ = h_.size = size;
        if (auto r = co_await write_header(); !r || !data_file_ || !raw_data_file()) co_return r;
        co_return co_await data_file_->truncate(size);
    }
    // A data file is as long as the disk; one that may be read as a raw image must be.
    if (data_file_)
        if (auto r = co_await data_file_->grow_to(size); !r) co_return r;
    const uint64_t needed = (size + h_.l2_reach() - 1) / h_.l2_reach(), old_size = size_;
    if (needed * 8 > kMaxL1Bytes) co_return fail(ErrorKind::kInvalidArgument, "The image size is too large for its cluster size", EFBIG);
    {
        const auto alone = co_await map_.lock();
        if (auto r = co_await drop_vm_state(); !r) co_return r;
        if (needed > l1_.size())
            if (auto r = co_await move_l1(needed); !r) co_return r;
    }
    size_ = size;
    auto zeroed = co_await zero_growth(old_size, size);
    const auto alone = co_await map_.lock();
    if (zeroed) zeroed = co_await flush_metadata();
    if (!zeroed) {
        size_ = old_size;
        co_return zeroed;
    }
    h_.size = size;
    co_return co_await write_header();
}

}  // namespace myna::block::qcow2
