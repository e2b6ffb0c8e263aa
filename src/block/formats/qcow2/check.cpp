// check: counts every reference that the header, tables and snapshots make, compares with the refcounts on disk, and
// with a fix mode writes the counts anew. An image whose counts are too high only leaks; one whose counts are too low, or
// whose tables point at nonsense, is damaged.
//
//   L1 tables ─▶ the L2 tables they name, and how often ─▶ each walked once ─▶ Counts ◀─▶ refcounts on disk
//
// Time and memory follow what the image really holds: a table that is named a million times is read once, and a file
// that is long but empty (or says so) costs nothing.
#include <algorithm>
#include <map>
#include <set>
#include <unordered_set>

#include "base/bits.h"
#include "block/formats/qcow2/qcow2.h"

namespace myna::block::qcow2 {

namespace {

// More than any writer makes: what is larger is damage.
constexpr uint64_t kMaxCryptHeader = 64 << 20, kMaxBitmapDirectory = uint64_t{65535} * 1024, kMaxBitmapEntries = (1u << 28) / 8;

/// How often each host cluster is referred to. Memory only for stretches where one is.
class Counts {
  public:
    static constexpr uint64_t kStretch = 4096;  // clusters
    [[nodiscard]] uint64_t operator[](uint64_t cluster) const {
        const auto it = stretches_.find(cluster / kStretch);
        return it == stretches_.end() ? 0 : it->second[cluster % kStretch];
    }
    void add(uint64_t cluster, uint64_t times) { at(cluster) += times; }
    void set(uint64_t cluster, uint64_t count) { at(cluster) = count; }
    /// The first cluster of each stretch that has memory, ascending.
    [[nodiscard]] std::vector<uint64_t> stretches() const {
        std::vector<uint64_t> out;
        for (const auto& s : stretches_) out.push_back(s.first * kStretch);
        return out;
    }

  private:
    uint64_t& at(uint64_t cluster) {
        if (last_ == nullptr || last_key_ != cluster / kStretch) {
            last_key_ = cluster / kStretch;
            last_ = &stretches_[last_key_];
            last_->resize(kStretch);
        }
        return (*last_)[cluster % kStretch];
    }
    std::map<uint64_t, std::vector<uint64_t>> stretches_;
    uint64_t last_key_ = 0;
    std::vector<uint64_t>* last_ = nullptr;
};

}  // namespace

class Checker {
  public:
    explicit Checker(Qcow2Node& n, CheckFix fix) : n_(n), fix_(fix) {}

    Task<Result<CheckResult>> run() {
        const Header& h = n_.h_;
        clusters_ = n_.clusters_of(n_.file_->size());
        add(0, h.cluster_size(), "header");
        add(h.l1_offset, n_.l1_.size() * 8, "active L1 table");
        name_tables(n_.l1_, true);
        if (h.snapshot_count > 0) {
            if (auto s = co_await n_.snapshots(); !s) {
                ++result_.corruptions;
                note("ERROR snapshot table: " + s.error().message);
            }
            add(h.snapshots_offset, n_.old_snapshot_bytes_, "snapshot table");
        }
        uint64_t l1_bytes = 0;
        for (const auto& s : n_.snapshot_tables_) {
            add(s.l1_offset, uint64_t{s.l1_entries} * 8, "snapshot L1 table");
            // Each has its own bytes of the file, so together they are not larger than it.
            l1_bytes += uint64_t{s.l1_entries} * 8;
            if (l1_bytes > n_.file_->size()) {
                ++result_.corruptions;
                note("ERROR the L1 tables of the snapshots overlap");
                break;
            }
            std::vector<uint8_t> raw(uint64_t{s.l1_entries} * 8);
            if (auto r = co_await n_.read_at(s.l1_offset, raw.data(), raw.size()); !r) co_return std::unexpected(r.error());
            std::vector<uint64_t> l1(s.l1_entries);
            for (size_t i = 0; i < l1.size(); ++i) l1[i] = be64(&raw[i * 8]);
            name_tables(l1, false);
        }
        for (const Named& t : named_)
            if (auto r = co_await walk(t); !r) co_return std::unexpected(r.error());
        result_.total_clusters = (n_.size_ + h.cluster_size() - 1) >> h.cluster_bits;
        if (const Extension* e = h.extension(Extension::kCryptHeader); e != nullptr && e->data.size() >= 16) {
            const uint64_t at = be64(e->data.data()), bytes = be64(e->data.data() + 8);
            if (bytes <= kMaxCryptHeader) {
                add(at, bytes, "encryption header");
            } else {
                ++result_.corruptions;
                note("ERROR the encryption header is said to have " + std::to_string(bytes) + " bytes");
            }
        }
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
            if (!blocks_.insert(at).second) {
                ++result_.corruptions;
                note("ERROR refcount block " + std::to_string(i) + " is the block of other clusters, too");
                twice_.insert(i);
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
            if (result_.corruptions == result_.corruptions_fixed && result_.leaks == result_.leaks_fixed) n_.unclean_ = false;
        }
        co_return result_;
    }

  private:
    void note(std::string text) {
        if (result_.messages.size() < 1000) result_.messages.push_back(std::move(text));
    }
    void add(uint64_t offset, uint64_t bytes, const char* what, uint64_t times = 1) {
        if (bytes == 0) return;
        const unsigned bits = n_.h_.cluster_bits;
        const uint64_t first = offset >> bits, last = bytes - 1 > UINT64_MAX - offset ? UINT64_MAX : (offset + bytes - 1) >> bits;
        for (uint64_t c = first; c <= last; ++c) {
            if (c >= clusters_) {
                ++result_.corruptions;
                note(std::string("ERROR ") + what + " at offset " + std::to_string(offset) + " is outside the file");
                return;
            }
            counts_.add(c, times);
        }
        end_ = std::max(end_, last + 1);
    }

    /// An L2 table and how many L1 entries name it.
    struct Named {
        uint64_t at = 0, times = 0;
        bool active = false;
    };

    void name_tables(std::vector<uint64_t>& l1, bool active) {
        const Header& h = n_.h_;
        for (size_t i = 0; i < l1.size(); ++i) {
            const uint64_t at = l1[i] & kOffsetMask;
            if (at == 0) continue;
            if ((at & (h.cluster_size() - 1)) != 0 || at >= n_.file_->size()) {
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
            const auto [it, first] = index_.try_emplace(at, named_.size());
            if (first) named_.push_back({.at = at});
            ++named_[it->second].times;
            named_[it->second].active |= active;
        }
    }

    /// Counts what an L2 table names, once for each L1 entry that names the table.
    Task<Result<void>> walk(Named table) {
        const Header& h = n_.h_;
        const uint64_t mask = h.cluster_size() - 1;
        const bool active = table.active;
        auto t = co_await n_.table(n_.l2_cache_, table.at);
        if (!t) co_return std::unexpected(t.error());
        uint64_t previous = 0;
        for (uint64_t k = 0; k < h.l2_entries(); ++k) {
            uint8_t* raw = &(*t)->bytes[k * h.l2_entry_bytes()];
            const uint64_t e = be64(raw);
            if (e & kCompressed) {
                add(n_.compressed_offset(e), n_.compressed_size(e), "compressed cluster", table.times);
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
            add(host, h.cluster_size(), "data cluster", table.times);
            if (!active) continue;
            ++result_.allocated_clusters;
            if (previous != 0 && host != previous + h.cluster_size()) ++result_.fragmented_clusters;
            previous = host;
            if (e & kCopied) own_.push_back(host >> h.cluster_bits);
        }
        co_return Result<void>{};
    }

    [[nodiscard]] bool inside(uint64_t offset, uint64_t bytes) const { return offset <= n_.file_->size() && bytes <= n_.file_->size() - offset; }

    Task<Result<void>> bitmaps(uint32_t count, uint64_t dir_bytes, uint64_t dir) {
        const auto outside = [&](const char* what, uint64_t at) {
            ++result_.corruptions;
            note(std::string("ERROR ") + what + " at offset " + std::to_string(at) + " is outside the file or too large");
            return Result<void>{};
        };
        if (dir_bytes > kMaxBitmapDirectory || !inside(dir, dir_bytes)) co_return outside("bitmap directory", dir);
        add(dir, dir_bytes, "bitmap directory");
        std::vector<uint8_t> d(dir_bytes);
        if (auto r = co_await n_.read_at(dir, d.data(), d.size()); !r) co_return r;
        size_t at = 0;
        uint64_t table_bytes = 0;  // each bitmap has a table of its own
        for (uint32_t i = 0; i < count && at + 24 <= d.size(); ++i) {
            const uint64_t table = be64(&d[at]);
            const uint64_t entries = be32(&d[at + 8]);
            const uint64_t row = 24 + uint64_t{be16(&d[at + 18])} + be32(&d[at + 20]);
            table_bytes += entries * 8;
            if (entries > kMaxBitmapEntries || table_bytes > n_.file_->size() || !inside(table, entries * 8)) co_return outside("bitmap table", table);
            add(table, entries * 8, "bitmap table");
            std::vector<uint8_t> t(entries * 8);
            if (auto r = co_await n_.read_at(table, t.data(), t.size()); !r) co_return r;
            for (uint64_t k = 0; k < entries; ++k)
                if (const uint64_t cluster = be64(&t[k * 8]) & kOffsetMask) add(cluster, n_.h_.cluster_size(), "bitmap data");
            at += align_up(row, 8);
        }
        co_return Result<void>{};
    }

    /// [begin, end) of host clusters that the file has and that may be counted or referred to, ascending.
    [[nodiscard]] std::vector<std::pair<uint64_t, uint64_t>> stretches() const {
        std::vector<std::pair<uint64_t, uint64_t>> all, out;
        const uint64_t per_block = n_.refcounts_per_block();
        for (size_t i = 0; i < n_.refcount_table_.size() && i * per_block < clusters_; ++i)
            if (n_.refcount_table_[i] != 0) all.emplace_back(i * per_block, (i + 1) * per_block);
        for (const uint64_t first : counts_.stretches()) all.emplace_back(first, first + Counts::kStretch);
        std::sort(all.begin(), all.end());
        for (const auto& [begin, end] : all) {
            const uint64_t from = out.empty() ? begin : std::max(begin, out.back().second), to = std::min(end, clusters_);
            if (from < to) out.emplace_back(from, to);
        }
        return out;
    }

    Task<Result<void>> compare() {
        for (const auto& [begin, end] : stretches())
            for (uint64_t c = begin; c < end; ++c)
                if (auto r = co_await compare_one(c); !r) co_return r;
        // A copied flag on a cluster that is shared would let a write change a snapshot.
        const Header& h = n_.h_;
        for (const uint64_t c : own_) {
            if (c >= clusters_ || counts_[c] == 1) continue;
            ++result_.corruptions;
            note("ERROR OFLAG_COPIED data cluster: cluster " + std::to_string(c) + " has " + std::to_string(counts_[c]) + " references");
        }
        if (fix_ == CheckFix::kAll && !n_.read_only_) {
            for (uint64_t& e : n_.l1_) {
                const uint64_t at = e & kOffsetMask;
                if (at == 0 || (at >> h.cluster_bits) >= clusters_) continue;
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
                    if ((old & kCompressed) || host == 0 || (host >> h.cluster_bits) >= clusters_) continue;
                    const uint64_t fresh = counts_[host >> h.cluster_bits] == 1 ? old | kCopied : old & ~kCopied;
                    if (fresh == old) continue;
                    if (!(fresh & kCopied)) ++result_.corruptions_fixed;
                    put64(raw, fresh);
                    (*t)->dirty = true;
                }
            }
        }
        if (result_.corruptions == result_.corruptions_fixed)
            if (auto r = co_await look_behind_the_end(); !r) co_return r;
        co_return Result<void>{};
    }

    /// Nothing lies behind the end of the file, so what is counted there is no leak; but it becomes one when the file grows.
    /// A cut between a new cluster's count and its first byte leaves that.
    Task<Result<void>> look_behind_the_end() {
        const uint64_t per_block = n_.refcounts_per_block();
        for (uint64_t block = clusters_ / per_block; block < n_.refcount_table_.size(); ++block) {
            if (n_.refcount_table_[block] == 0) continue;
            auto t = co_await n_.refcount_block(block * per_block);
            if (!t) co_return std::unexpected(t.error());
            for (uint64_t c = std::max(block * per_block, clusters_); c < (block + 1) * per_block; ++c) {
                if (counts_[c] != 0 || Qcow2Node::get_refcount((*t)->bytes, n_.h_.refcount_order, c % per_block) == 0) continue;
                ++result_.counted_behind_end;
                if (n_.read_only_ || fix_ == CheckFix::kNone) continue;
                Qcow2Node::set_refcount((*t)->bytes, n_.h_.refcount_order, c % per_block, 0);
                (*t)->dirty = true;
            }
        }
        co_return Result<void>{};
    }

    Task<Result<void>> compare_one(uint64_t c) {
        const uint64_t per_block = n_.refcounts_per_block(), block = c / per_block, want = counts_[c];
        uint64_t have = 0;
        const bool counted = block < n_.refcount_table_.size() && n_.refcount_table_[block] != 0 && n_.refcount_table_[block] < n_.file_->size() &&
                             (n_.refcount_table_[block] & (n_.h_.cluster_size() - 1)) == 0 && !twice_.contains(block);
        if (counted) {
            auto r = co_await n_.refcount(c);
            if (!r) co_return std::unexpected(r.error());
            have = *r;
        }
        if (have == want) co_return Result<void>{};
        const bool leak = have > want;
        note(std::string(leak ? "Leaked" : "ERROR") + " cluster " + std::to_string(c) + " refcount=" + std::to_string(have) + " reference=" + std::to_string(want));
        ++(leak ? result_.leaks : result_.corruptions);
        if (n_.read_only_ || fix_ == CheckFix::kNone || (!leak && fix_ != CheckFix::kAll)) co_return Result<void>{};
        if (!counted && block < n_.refcount_table_.size()) {
            n_.refcount_table_[block] = 0;
            twice_.erase(block);
        }
        if (want > n_.max_refcount()) co_return Result<void>{};
        auto t = co_await n_.refcount_block(c);
        if (!t) co_return std::unexpected(t.error());
        const uint64_t self = (*t)->offset >> n_.h_.cluster_bits;
        if (counts_[self] == 0) counts_.set(self, 1);  // a block that was just made
        Qcow2Node::set_refcount((*t)->bytes, n_.h_.refcount_order, c % per_block, counts_[c]);
        (*t)->dirty = true;
        ++(leak ? result_.leaks_fixed : result_.corruptions_fixed);
        if (leak && want == 0) n_.next_free_ = std::min(n_.next_free_, c);
        co_return Result<void>{};
    }

    Qcow2Node& n_;
    CheckFix fix_;
    CheckResult result_;
    uint64_t clusters_ = 0;      // of the file
    Counts counts_;
    std::vector<Named> named_;   // in the order of their first name
    std::unordered_map<uint64_t, size_t> index_;  // of named_, by offset
    std::unordered_set<uint64_t> blocks_;  // offsets of refcount blocks
    std::set<uint64_t> twice_;   // entries of the refcount table that name another entry's block
    std::vector<uint64_t> own_;  // clusters with the copied flag
    uint64_t end_ = 0;
};

Task<Result<CheckResult>> Qcow2Node::check(CheckFix fix) {
    const auto alone = co_await map_.lock();
    Checker c(*this, fix);
    co_return co_await c.run();
}

}  // namespace myna::block::qcow2
