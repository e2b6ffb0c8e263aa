// check: counts every reference that the header, tables and snapshots make, compares with the refcounts on disk, and
// with a fix mode writes the counts anew. An image whose counts are too high only leaks; one whose counts are too low, or
// whose tables point at nonsense, is damaged.
#include <algorithm>

#include "base/bits.h"
#include "block/formats/qcow2/qcow2.h"

namespace myna::block::qcow2 {

class Checker {
  public:
    explicit Checker(Qcow2Node& n, CheckFix fix) : n_(n), fix_(fix) {}

    Task<Result<CheckResult>> run() {
        const Header& h = n_.h_;
        counts_.resize(n_.clusters_of(n_.file_->size()));
        add(0, h.cluster_size(), "header");
        add(h.l1_offset, n_.l1_.size() * 8, "active L1 table");
        if (auto r = co_await tables(n_.l1_, true); !r) co_return std::unexpected(r.error());
        if (h.snapshot_count > 0) {
            if (auto s = co_await n_.snapshots(); !s) {
                ++result_.corruptions;
                note("ERROR snapshot table: " + s.error().message);
            }
            add(h.snapshots_offset, n_.old_snapshot_bytes_, "snapshot table");
        }
        for (const auto& s : n_.snapshot_tables_) {
            add(s.l1_offset, uint64_t{s.l1_entries} * 8, "snapshot L1 table");
            std::vector<uint8_t> raw(uint64_t{s.l1_entries} * 8);
            if (auto r = co_await n_.read_at(s.l1_offset, raw.data(), raw.size()); !r) co_return std::unexpected(r.error());
            std::vector<uint64_t> l1(s.l1_entries);
            for (size_t i = 0; i < l1.size(); ++i) l1[i] = be64(&raw[i * 8]);
            if (auto r = co_await tables(l1, false); !r) co_return std::unexpected(r.error());
        }
        if (const Extension* e = h.extension(Extension::kCryptHeader); e != nullptr && e->data.size() >= 16) add(be64(e->data.data()), be64(e->data.data() + 8), "encryption header");
        if (const Extension* e = h.extension(Extension::kBitmaps); e != nullptr && e->data.size() >= 24) {
            if (auto r = co_await bitmaps(be32(e->data.data()), be64(e->data.data() + 8), be64(e->data.data() + 16)); !r) co_return std::unexpected(r.error());
        }
        add(h.refcount_table_offset, uint64_t{h.refcount_table_clusters} << h.cluster_bits, "refcount table");
        for (size_t i = 0; i < n_.refcount_table_.size(); ++i) {
            uint64_t& at = n_.refcount_table_[i];
            if (at == 0) continue;
            if ((at & (h.cluster_size() - 1)) != 0 || at >= n_.file_->size()) {
                ++result_.corruptions;
                note("ERROR refcount block " + std::to_string(i) + " is not inside the file or not cluster aligned; refcount table entry corrupted");
                continue;
            }
            add(at, h.cluster_size(), "refcount block");
        }
        if (auto r = co_await compare(); !r) co_return std::unexpected(r.error());
        result_.image_end_offset = end_ << h.cluster_bits;
        if (fix_ != CheckFix::kNone && !n_.read_only_) {
            if (auto r = co_await n_.flush_metadata(); !r) co_return std::unexpected(r.error());
            if (auto r = co_await n_.barrier(); !r) co_return std::unexpected(r.error());
            if (result_.corruptions == result_.corruptions_fixed && (n_.h_.incompatible & (Incompatible::kCorrupt | Incompatible::kDirty))) {
                n_.h_.incompatible &= ~(Incompatible::kCorrupt | Incompatible::kDirty);
                if (auto r = co_await n_.write_header(); !r) co_return std::unexpected(r.error());
            }
            if (result_.corruptions == result_.corruptions_fixed) n_.damaged_ = false;
        }
        co_return result_;
    }

  private:
    void note(std::string text) {
        if (result_.messages.size() < 1000) result_.messages.push_back(std::move(text));
    }
    void add(uint64_t offset, uint64_t bytes, const char* what) {
        if (bytes == 0) return;
        const unsigned bits = n_.h_.cluster_bits;
        const uint64_t first = offset >> bits, last = (offset + bytes - 1) >> bits;
        for (uint64_t c = first; c <= last; ++c) {
            if (c >= counts_.size()) {
                ++result_.corruptions;
                note(std::string("ERROR ") + what + " at offset " + std::to_string(offset) + " is outside the file");
                return;
            }
            ++counts_[c];
        }
        end_ = std::max(end_, last + 1);
    }

    Task<Result<void>> tables(std::vector<uint64_t>& l1, bool active) {
        const Header& h = n_.h_;
        const uint64_t mask = h.cluster_size() - 1;
        for (size_t i = 0; i < l1.size(); ++i) {
            const uint64_t at = l1[i] & kOffsetMask;
            if (at == 0) continue;
            if ((at & mask) != 0 || at >= n_.file_->size()) {
                ++result_.corruptions;
                note("ERROR L1 table entry " + std::to_string(i) + " points outside the file or is not cluster aligned (offset " + std::to_string(at) + ")");
                if (fix_ == CheckFix::kAll && active) {
                    l1[i] = 0;
                    n_.l1_dirty_[i / 64] = true;
                    ++result_.corruptions_fixed;
                }
                continue;
            }
            add(at, h.cluster_size(), "L2 table");
            if (active && (l1[i] & kCopied)) own_.push_back(at >> h.cluster_bits);
            auto t = co_await n_.table(n_.l2_cache_, at);
            if (!t) co_return std::unexpected(t.error());
            uint64_t previous = 0;
            for (uint64_t k = 0; k < h.l2_entries(); ++k) {
                uint8_t* raw = &(*t)->bytes[k * h.l2_entry_bytes()];
                const uint64_t e = be64(raw);
                if (e & kCompressed) {
                    add(n_.compressed_offset(e), n_.compressed_size(e), "compressed cluster");
                    if (active) ++result_.compressed_clusters, ++result_.allocated_clusters, ++result_.fragmented_clusters;
                    continue;
                }
                const uint64_t host = e & kOffsetMask;
                if (host == 0) continue;
                if (n_.data_file_) {
                    if (active) ++result_.allocated_clusters;
                    continue;
                }
                if ((host & mask) != 0 || host >= align_up(n_.file_->size(), h.cluster_size())) {
                    ++result_.corruptions;
                    note("ERROR offset=" + std::to_string(host) + ": Cluster is not properly aligned or outside the file; L2 entry corrupted.");
                    if (fix_ == CheckFix::kAll && active) {
                        // What was there is lost; zeroes are better than somebody else's bytes.
                        put64(raw, h.version >= 3 && !h.extended_l2() ? kZeroFlag : 0);
                        if (h.extended_l2()) put64(raw + 8, uint64_t{0xffffffff} << 32);
                        (*t)->dirty = true;
                        ++result_.corruptions_fixed;
                    }
                    continue;
                }
                add(host, h.cluster_size(), "data cluster");
                if (!active) continue;
                ++result_.allocated_clusters;
                if (previous != 0 && host != previous + h.cluster_size()) ++result_.fragmented_clusters;
                previous = host;
                if (e & kCopied) own_.push_back(host >> h.cluster_bits);
            }
        }
        if (active) result_.total_clusters = (n_.size_ + mask) >> h.cluster_bits;
        co_return Result<void>{};
    }

    Task<Result<void>> bitmaps(uint32_t count, uint64_t dir_bytes, uint64_t dir) {
        add(dir, dir_bytes, "bitmap directory");
        if (dir_bytes > (1u << 20) || dir + dir_bytes > n_.file_->size()) co_return Result<void>{};
        std::vector<uint8_t> d(dir_bytes);
        if (auto r = co_await n_.read_at(dir, d.data(), d.size()); !r) co_return r;
        size_t at = 0;
        for (uint32_t i = 0; i < count && at + 24 <= d.size(); ++i) {
            const uint64_t table = be64(&d[at]);
            const uint64_t entries = be32(&d[at + 8]);
            const uint64_t row = 24 + uint64_t{be16(&d[at + 18])} + be32(&d[at + 20]);
            add(table, entries * 8, "bitmap table");
            if (table + entries * 8 > n_.file_->size()) co_return Result<void>{};
            std::vector<uint8_t> t(entries * 8);
            if (auto r = co_await n_.read_at(table, t.data(), t.size()); !r) co_return r;
            for (uint64_t k = 0; k < entries; ++k)
                if (const uint64_t cluster = be64(&t[k * 8]) & kOffsetMask) add(cluster, n_.h_.cluster_size(), "bitmap data");
            at += align_up(row, 8);
        }
        co_return Result<void>{};
    }

    Task<Result<void>> compare() {
        const uint64_t per_block = n_.refcounts_per_block();
        const uint64_t end = counts_.size();  // counts behind the end of the file waste nothing
        for (uint64_t c = 0; c < end; ++c) {
            const uint64_t want = c < counts_.size() ? counts_[c] : 0;
            uint64_t have = 0;
            const uint64_t block = c / per_block;
            const bool counted = block < n_.refcount_table_.size() && n_.refcount_table_[block] != 0 && n_.refcount_table_[block] < n_.file_->size() &&
                                 (n_.refcount_table_[block] & (n_.h_.cluster_size() - 1)) == 0;
            if (counted) {
                auto r = co_await n_.refcount(c);
                if (!r) co_return std::unexpected(r.error());
                have = *r;
            }
            if (have == want) continue;
            const bool leak = have > want;
            note(std::string(leak ? "Leaked" : "ERROR") + " cluster " + std::to_string(c) + " refcount=" + std::to_string(have) + " reference=" + std::to_string(want));
            ++(leak ? result_.leaks : result_.corruptions);
            if (n_.read_only_ || fix_ == CheckFix::kNone || (!leak && fix_ != CheckFix::kAll)) continue;
            if (!counted && block < n_.refcount_table_.size()) n_.refcount_table_[block] = 0;
            if (want > n_.max_refcount()) continue;
            auto t = co_await n_.refcount_block(c);
            if (!t) co_return std::unexpected(t.error());
            const uint64_t self = (*t)->offset >> n_.h_.cluster_bits;
            if (self >= counts_.size()) counts_.resize(self + 1);
            if (counts_[self] == 0) counts_[self] = 1;  // a block that was just made
            Qcow2Node::set_refcount((*t)->bytes, n_.h_.refcount_order, c % per_block, c < counts_.size() ? counts_[c] : 0);
            (*t)->dirty = true;
            ++(leak ? result_.leaks_fixed : result_.corruptions_fixed);
            if (leak && want == 0) n_.next_free_ = std::min(n_.next_free_, c);
        }
        // A copied flag on a cluster that is shared would let a write change a snapshot.
        const Header& h = n_.h_;
        for (const uint64_t c : own_) {
            if (c >= counts_.size() || counts_[c] == 1) continue;
            ++result_.corruptions;
            note("ERROR OFLAG_COPIED data cluster: cluster " + std::to_string(c) + " has " + std::to_string(counts_[c]) + " references");
        }
        if (fix_ == CheckFix::kAll && !n_.read_only_) {
            for (uint64_t& e : n_.l1_) {
                const uint64_t at = e & kOffsetMask;
                if (at == 0 || (at >> h.cluster_bits) >= counts_.size()) continue;
                const uint64_t want = counts_[at >> h.cluster_bits] == 1 ? at | kCopied : at;
                if (want != e) {
                    if (!(want & kCopied)) ++result_.corruptions_fixed;
                    e = want;
                    n_.l1_dirty_[static_cast<size_t>(&e - n_.l1_.data()) / 64] = true;
                }
                auto t = co_await n_.table(n_.l2_cache_, at);
                if (!t) continue;
                for (uint64_t k = 0; k < h.l2_entries(); ++k) {
                    uint8_t* raw = &(*t)->bytes[k * h.l2_entry_bytes()];
                    const uint64_t old = be64(raw), host = old & kOffsetMask;
                    if ((old & kCompressed) || host == 0 || (host >> h.cluster_bits) >= counts_.size()) continue;
                    const uint64_t fresh = counts_[host >> h.cluster_bits] == 1 ? old | kCopied : old & ~kCopied;
                    if (fresh == old) continue;
                    if (!(fresh & kCopied)) ++result_.corruptions_fixed;
                    put64(raw, fresh);
                    (*t)->dirty = true;
                }
            }
        }
        co_return Result<void>{};
    }

    Qcow2Node& n_;
    CheckFix fix_;
    CheckResult result_;
    std::vector<uint32_t> counts_;
    std::vector<uint64_t> own_;  // clusters with the copied flag
    uint64_t end_ = 0;
};

Task<Result<CheckResult>> Qcow2Node::check(CheckFix fix) {
    const auto alone = co_await map_.lock();
    Checker c(*this, fix);
    co_return co_await c.run();
}

}  // namespace myna::block::qcow2
