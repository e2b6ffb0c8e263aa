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
                note("ERROR failed to read the snapshot table: " + s.error().message);
                hidden_ = true;
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
                hidden_ = true;
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
                hidden_ = true;
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
                note("ERROR refcount block " + std::to_string(i) + ((at & (h.cluster_size() - 1)) != 0 ? " is not cluster aligned; refcount table entry corrupted" : " is outside image"));
                twice_.insert(i);
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
        for (size_t i = 0; i < n_.refcount_table_.size(); ++i) {
            const uint64_t cluster = n_.refcount_table_[i] >> h.cluster_bits;
            if (cluster == 0 || cluster >= clusters_ || twice_.contains(i) || counts_[cluster] <= 1 || (n_.refcount_table_[i] & (h.cluster_size() - 1)) != 0) continue;
            ++result_.corruptions;
            note("ERROR refcount block " + std::to_string(i) + " refcount=" + std::to_string(counts_[cluster]));
            shared_.push_back(i);
        }
        if (auto r = co_await compare(false); !r) co_return std::unexpected(r.error());
        if (fix_ != CheckFix::kNone && !n_.read_only_)
            if (auto r = co_await repair(); !r) co_return std::unexpected(r.error());
        if (auto r = co_await check_copied(); !r) co_return std::unexpected(r.error());
        if (result_.corruptions == result_.corruptions_fixed)
            if (auto r = co_await look_behind_the_end(); !r) co_return std::unexpected(r.error());
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
    [[nodiscard]] static std::string beyond(uint64_t offset, uint64_t bytes) {
        return "ERROR: counting reference for region exceeding the end of the file by one cluster or more: offset " + hex(offset) + " size " + hex(bytes);
    }
    void add(uint64_t offset, uint64_t bytes, const char* what, uint64_t times = 1) {
        if (bytes == 0) return;
        const unsigned bits = n_.h_.cluster_bits;
        const uint64_t first = offset >> bits, last = bytes - 1 > UINT64_MAX - offset ? UINT64_MAX : (offset + bytes - 1) >> bits;
        for (uint64_t c = first; c <= last; ++c) {
            if (c >= clusters_) {
                ++result_.corruptions;
                note(beyond(offset, bytes) + " (" + what + ")");
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
                note("ERROR l2_offset=" + hex(at).substr(2) + ": Table is not cluster aligned or outside the file; L1 entry corrupted");
                if (fix_ == CheckFix::kAll && active) {
                    l1[i] = 0;
                    n_.l1_dirty_[i / 64] = true;
                    ++result_.corruptions_fixed;
                }
                continue;
            }
            add(at, h.cluster_size(), "L2 table");
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
                note((host & mask) != 0 ? "ERROR offset=" + hex(host).substr(2) + ": Data cluster is not properly aligned; L2 entry corrupted." : beyond(host, h.cluster_size()));
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
            entries_.push_back(e);
        }
        co_return Result<void>{};
    }

    [[nodiscard]] bool inside(uint64_t offset, uint64_t bytes) const { return offset <= n_.file_->size() && bytes <= n_.file_->size() - offset; }

    Task<Result<void>> bitmaps(uint32_t count, uint64_t dir_bytes, uint64_t dir) {
        const auto outside = [&](const char* what, uint64_t at) {
            ++result_.corruptions;
            note(std::string("ERROR ") + what + " at offset " + std::to_string(at) + " is outside the file or too large");
            hidden_ = true;
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

    Task<Result<void>> compare(bool fix) {
        for (const auto& [begin, end] : stretches())
            for (uint64_t c = begin; c < end; ++c)
                if (auto r = co_await compare_one(c, fix); !r) co_return r;
        co_return Result<void>{};
    }

    Task<Result<void>> repair() {
        if (result_.leaks == 0 && result_.corruptions == 0) co_return Result<void>{};
        if (hidden_ && result_.leaks != 0) note("What cannot be read may use the clusters that seem leaked: they are left alone.");
        repairing_ = true;
        n_.uncounted_.emplace();  // what is in use is known here
        if (fix_ == CheckFix::kAll)
            for (const uint64_t i : std::exchange(twice_, {})) {
                n_.refcount_table_[i] = 0;
                n_.refcount_table_dirty_ = true;
                ++result_.corruptions_fixed;
            }
        if (auto r = co_await compare(true); !r || fix_ != CheckFix::kAll || shared_.empty() || result_.corruptions != result_.corruptions_fixed + shared_.size()) co_return r;
        // All is counted now, so a place is found for the blocks that lie where something else does.
        n_.table_clusters_.clear();
        for (const size_t i : shared_) {
            const uint64_t old = n_.refcount_table_[i], cluster = old >> n_.h_.cluster_bits;
            auto t = co_await n_.table(n_.refcount_cache_, old);
            if (!t) co_return std::unexpected(t.error());
            auto to = co_await n_.allocate(1, true);
            if (!to) co_return std::unexpected(to.error());
            if (t = co_await n_.table(n_.refcount_cache_, old); !t) co_return std::unexpected(t.error());
            std::vector<uint8_t> bytes = (*t)->bytes;
            n_.refcount_cache_.drop(old);
            if (t = co_await n_.new_table(n_.refcount_cache_, to->first, std::move(bytes)); !t) co_return std::unexpected(t.error());
            n_.refcount_table_[i] = to->first;
            n_.refcount_table_dirty_ = true;
            if (auto r = co_await n_.change_refcount(cluster, 1, -1); !r) co_return r;
            counts_.set(cluster, counts_[cluster] - 1);
            counts_.set(to->first >> n_.h_.cluster_bits, 1);
            note("Repairing refcount block " + std::to_string(i) + ": moved to offset " + hex(to->first));
            ++result_.corruptions_fixed;
        }
        note_blocks();
        n_.table_clusters_.clear();
        co_return Result<void>{};
    }

    /// How often the image says that a cluster is used.
    [[nodiscard]] uint64_t counted(uint64_t cluster) const {
        const auto wrong = wrong_.find(cluster);
        return wrong != wrong_.end() ? wrong->second : cluster < clusters_ ? counts_[cluster] : 1;
    }

    /// The copied flag says that a cluster is used once. Where it is used more often, a write would change a snapshot.
    Task<Result<void>> check_copied() {
        const unsigned bits = n_.h_.cluster_bits;
        const bool fix = !n_.read_only_ && (fix_ == CheckFix::kAll || (fix_ == CheckFix::kLeaks && result_.corruptions == result_.corruptions_fixed && result_.leaks == result_.leaks_fixed));
        const auto wrong = [&](uint64_t e) { return (e & kOffsetMask) >> bits < clusters_ && (counted((e & kOffsetMask) >> bits) == 1) != ((e & kCopied) != 0); };
        uint64_t found = 0;
        const auto tell = [&](const std::string& what, uint64_t e) {
            ++found;
            note((fix ? "Repairing OFLAG_COPIED " : "ERROR OFLAG_COPIED ") + what + hex(e).substr(2) + " refcount=" + std::to_string(counted((e & kOffsetMask) >> bits)));
        };
        for (size_t i = 0; i < n_.l1_.size(); ++i)
            if ((n_.l1_[i] & kOffsetMask) != 0 && wrong(n_.l1_[i])) tell("L2 cluster: l1_index=" + std::to_string(i) + " l1_entry=", n_.l1_[i]);
        for (const uint64_t e : entries_)
            if (wrong(e)) tell("data cluster: l2_entry=", e);
        result_.corruptions += found;
        if (!fix || found == 0) co_return Result<void>{};
        for (uint64_t& e : n_.l1_) {
            const uint64_t at = e & kOffsetMask;
            if (at == 0 || (at >> bits) >= clusters_) continue;
            if (wrong(e)) {
                e ^= kCopied;
                n_.l1_dirty_[static_cast<size_t>(&e - n_.l1_.data()) / 64] = true;
            }
            if (n_.data_file_) continue;
            auto t = co_await n_.table(n_.l2_cache_, at);
            if (!t) continue;
            for (uint64_t k = 0; k < n_.h_.l2_entries(); ++k) {
                uint8_t* raw = &(*t)->bytes[k * n_.h_.l2_entry_bytes()];
                const uint64_t old = be64(raw);
                if ((old & kCompressed) || (old & kOffsetMask) == 0 || !wrong(old)) continue;
                put64(raw, old ^ kCopied);
                (*t)->dirty = true;
            }
        }
        result_.corruptions_fixed += found;
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

    /// Whether a block of refcounts says something of its clusters.
    [[nodiscard]] bool has_block(uint64_t block) const {
        if (block >= n_.refcount_table_.size() || twice_.contains(block)) return false;
        const uint64_t at = n_.refcount_table_[block];
        return at != 0 && (at < n_.file_->size() || made_.contains(block)) && (at & (n_.h_.cluster_size() - 1)) == 0;
    }

    Task<Result<void>> compare_one(uint64_t c, bool fix) {
        const uint64_t per_block = n_.refcounts_per_block(), block = c / per_block, want = counts_[c];
        uint64_t have = 0;
        if (has_block(block)) {
            auto r = co_await n_.refcount(c);
            if (!r) co_return std::unexpected(r.error());
            have = *r;
        }
        if (have != 0) end_ = std::max(end_, c + 1);
        if (have == want) co_return Result<void>{};
        const bool leak = have > want;
        fix = fix && (leak ? !hidden_ : fix_ == CheckFix::kAll) && want <= n_.max_refcount();
        if (fix || !repairing_) note(std::string(fix ? "Repairing" : leak ? "Leaked" : "ERROR") + " cluster " + std::to_string(c) + " refcount=" + std::to_string(have) + " reference=" + std::to_string(want));
        if (!repairing_) {
            ++(leak ? result_.leaks : result_.corruptions);
            if (want != 0) wrong_[c] = have;
        }
        if (!fix) co_return Result<void>{};
        auto t = co_await block_of(c);
        if (!t) co_return std::unexpected(t.error());
        Qcow2Node::set_refcount((*t)->bytes, n_.h_.refcount_order, c % per_block, want);
        (*t)->dirty = true;
        wrong_.erase(c);
        ++(leak ? result_.leaks_fixed : result_.corruptions_fixed);
        if (leak && want == 0) n_.next_free_ = std::min(n_.next_free_, c);
        co_return Result<void>{};
    }

    /// Blocks behind the end of the file, as it was when this began, were made here.
    void note_blocks() {
        for (const uint64_t at : n_.refcount_table_)
            if (at >> n_.h_.cluster_bits >= clusters_ && (at & (n_.h_.cluster_size() - 1)) == 0) counts_.set(at >> n_.h_.cluster_bits, 1);
    }

    /// The refcount block that counts `c`. One that is missing, or is no table, is made where nothing is in use.
    Task<Result<Table*>> block_of(uint64_t c) {
        const uint64_t per_block = n_.refcounts_per_block(), block = c / per_block, first = block * per_block;
        if (has_block(block)) co_return co_await n_.table(n_.refcount_cache_, n_.refcount_table_[block]);
        if (block >= n_.refcount_table_.size()) {
            if (auto r = co_await n_.grow_refcount_table(block + 1); !r) co_return std::unexpected(r.error());
            for (uint64_t k = 0; k < n_.h_.refcount_table_clusters; ++k) counts_.set((n_.h_.refcount_table_offset >> n_.h_.cluster_bits) + k, 1);
            note_blocks();
        }
        uint64_t at = first;
        while (at < first + per_block && counts_[at] != 0) ++at;
        if (at == first + per_block) co_return fail(ErrorKind::kNoSpace, n_.filename_ + ": no place for the refcount block of the clusters from " + std::to_string(first) + " on", ENOSPC);
        std::vector<uint8_t> bytes(n_.h_.cluster_size());
        Qcow2Node::set_refcount(bytes, n_.h_.refcount_order, at - first, 1);
        if (auto r = co_await n_.reach((at + 1) << n_.h_.cluster_bits); !r) co_return std::unexpected(r.error());
        auto t = co_await n_.new_table(n_.refcount_cache_, at << n_.h_.cluster_bits, std::move(bytes));
        if (!t) co_return t;
        counts_.set(at, 1);
        wrong_.erase(at);
        n_.fresh_from_ = std::max(n_.fresh_from_, at + 1);
        n_.refcount_table_[block] = at << n_.h_.cluster_bits;
        n_.refcount_table_dirty_ = true;
        made_.insert(block);
        co_return t;
    }

    Qcow2Node& n_;
    CheckFix fix_;
    CheckResult result_;
    uint64_t clusters_ = 0;      // of the file
    Counts counts_;
    std::vector<Named> named_;   // in the order of their first name
    std::unordered_map<uint64_t, size_t> index_;  // of named_, by offset
    std::unordered_set<uint64_t> blocks_;  // offsets of refcount blocks
    std::set<uint64_t> twice_;   // entries of the refcount table that name another entry's block, or none
    std::set<uint64_t> made_;    // and those whose block was made here
    std::vector<size_t> shared_; // those whose block lies where something else does
    std::vector<uint64_t> entries_;                // of active L2 tables, those that name a cluster of data
    std::unordered_map<uint64_t, uint64_t> wrong_; // what is on disk of clusters that are counted wrongly
    bool repairing_ = false;
    bool hidden_ = false;        // something that names clusters cannot be read: what seems leaked may be its
    uint64_t end_ = 0;
};

Task<Result<CheckResult>> Qcow2Node::check(CheckFix fix) {
    const auto alone = co_await map_.lock();
    checking_ = true;
    Checker c(*this, fix);
    auto result = co_await c.run();
    checking_ = false;
    co_return result;
}

}  // namespace myna::block::qcow2
