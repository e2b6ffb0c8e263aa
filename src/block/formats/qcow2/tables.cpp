// L2 tables and refcount blocks in memory, and the order in which what changed is written (qcow2.h).
#include <algorithm>

#include "base/bits.h"
#include "block/formats/qcow2/qcow2.h"

namespace myna::block::qcow2 {

// ---- TableCache

Table* TableCache::find(uint64_t offset) {
    const auto it = index_.find(offset);
    if (it == index_.end()) return nullptr;
    order_.splice(order_.begin(), order_, it->second);
    return &*it->second;
}

Table& TableCache::insert(uint64_t offset, std::vector<uint8_t> bytes) {
    order_.push_front({offset, std::move(bytes), false});
    index_[offset] = order_.begin();
    return order_.front();
}

Table* TableCache::victim() {
    for (auto it = order_.rbegin(); it != order_.rend(); ++it)
        if (!it->dirty) return &*it;
    return order_.empty() ? nullptr : &order_.back();
}

void TableCache::drop(uint64_t offset) {
    const auto it = index_.find(offset);
    if (it == index_.end()) return;
    order_.erase(it->second);
    index_.erase(it);
}

void TableCache::clear() {
    order_.clear();
    index_.clear();
}

std::vector<Table*> TableCache::dirty_tables() {
    std::vector<Table*> out;
    for (Table& t : order_)
        if (t.dirty) out.push_back(&t);
    std::sort(out.begin(), out.end(), [](const Table* a, const Table* b) { return a->offset < b->offset; });
    return out;
}

// ---- reading and writing tables

Task<Result<void>> Qcow2Node::read_at(uint64_t offset, void* bytes, size_t n) {
    const uint64_t there = offset < file_->size() ? std::min<uint64_t>(n, file_->size() - offset) : 0;
    if (there < n) std::memset(static_cast<uint8_t*>(bytes) + there, 0, n - there);  // a table of no entries has no memory
    co_return co_await file_->read(offset, IoVec(bytes, there));
}

Task<Result<void>> Qcow2Node::write_at(uint64_t offset, const void* bytes, size_t n) {
    fresh_from_ = std::max(fresh_from_, clusters_of(offset + n));  // also what was not allocated: nothing may cut it off
    if (offset + n > file_->size())
        if (auto r = co_await reach(offset + n); !r) co_return r;
    co_return co_await file_->write(offset, IoVec(const_cast<void*>(bytes), n));
}

std::unexpected<Error> Qcow2Node::unaligned(const TableCache& cache, uint64_t offset) {
    const bool l2 = &cache == &l2_cache_;
    const auto& names = l2 ? l1_ : refcount_table_;
    const auto at = std::ranges::find_if(names, [&](uint64_t e) { return (e & kOffsetMask) == offset; });
    const std::string index = at == names.end() ? "" : std::string(" (") + (l2 ? "L1" : "reftable") + " index: " + hex(static_cast<uint64_t>(at - names.begin())) + ")";
    return found_damage((l2 ? "L2 table offset " : "Refblock offset ") + hex(offset) + " unaligned" + index);
}

Task<Result<Table*>> Qcow2Node::table(TableCache& cache, uint64_t offset) {
    struct Wait {
        std::vector<std::coroutine_handle<>>& waiters;
        bool await_ready() const noexcept { return false; }
        void await_suspend(std::coroutine_handle<> h) { waiters.push_back(h); }
        void await_resume() const noexcept {}
    };
    const uint64_t key = offset | (&cache == &refcount_cache_ ? 1 : 0);  // a damaged image may have both kinds at one place
    for (;;) {
        if (Table* t = cache.find(offset)) co_return t;
        const auto others = loading_.find(key);
        if (others == loading_.end()) break;
        co_await Wait{others->second};  // many may ask for one table at once: one of them reads it
    }
    if ((offset & (h_.cluster_size() - 1)) != 0 || offset == 0) co_return unaligned(cache, offset);
    if (offset >= file_->size()) co_return corrupt("a metadata table is said to be at offset " + std::to_string(offset) + ", outside the file");
    struct Load {
        Qcow2Node& n;
        uint64_t key;
        Load(Qcow2Node& node, uint64_t k) : n(node), key(k) { n.loading_[k]; }
        Load(const Load&) = delete;
        Load& operator=(const Load&) = delete;
        ~Load() {
            for (const auto h : n.loading_.extract(key).mapped()) n.reactor_.post(h);
        }
    } const load(*this, key);
    if (auto r = co_await make_room(cache); !r) co_return std::unexpected(r.error());
    std::vector<uint8_t> bytes(h_.cluster_size());
    file_->event(&cache == &l2_cache_ ? "l2_load" : "refblock_load");
    if (auto r = co_await read_at(offset, bytes.data(), bytes.size()); !r) co_return std::unexpected(r.error());
    co_return &cache.insert(offset, std::move(bytes));
}

Task<Result<Table*>> Qcow2Node::new_table(TableCache& cache, uint64_t offset, std::vector<uint8_t> bytes) {
    cache.drop(offset);
    if (auto r = co_await make_room(cache); !r) co_return std::unexpected(r.error());
    Table& t = cache.insert(offset, std::move(bytes));
    t.dirty = true;
    note_tables(offset, h_.cluster_size(), &cache == &l2_cache_ ? Metadata::kActiveL2 : Metadata::kRefcountBlock);
    co_return &t;
}

Task<Result<void>> Qcow2Node::make_room(TableCache& cache) {
    while (cache.full()) {
        Table* v = cache.victim();
        if (v->dirty) {
            // Two that look up at once may both get here: one writes, the other looks again.
            std::optional<io::SharedMutex::Guard> one;
            if (&cache == &l2_cache_) one.emplace(co_await evicting_.lock());
            if (v = cache.full() ? cache.victim() : nullptr; v != nullptr && v->dirty)
                if (auto r = co_await flush_metadata(); !r) co_return r;
            continue;
        }
        cache.drop(v->offset);
    }
    co_return Result<void>{};
}

Task<Result<void>> Qcow2Node::write_tables(TableCache& cache) {
    const auto dirty = cache.dirty_tables();
    if (!dirty.empty())
        if (auto r = co_await mark_writing(); !r) co_return r;
    for (Table* t : dirty) {
        if (auto r = refuse_overlap(t->offset, &cache == &l2_cache_ ? Metadata::kActiveL2 : Metadata::kRefcountBlock); !r) co_return r;
        file_->event(&cache == &l2_cache_ ? "l2_update" : "refblock_update");
        // Dirty until it is written: a clean table may leave the cache.
        if (auto r = co_await write_at(t->offset, t->bytes.data(), t->bytes.size()); !r) co_return r;
        t->dirty = false;
    }
    co_return Result<void>{};
}

Task<Result<void>> Qcow2Node::barrier() {
    if (data_file_)
        if (auto r = co_await data_file_->flush(); !r) co_return r;
    const auto written = tables_written_;
    file_->event("flush_to_disk");
    auto r = co_await file_->flush();
    if (r) tables_settled_ = written;
    co_return r;
}

/// Writes all that is dirty in the order that the head of qcow2.h gives. The caller holds map_ alone, or is the only user.
Task<Result<void>> Qcow2Node::flush_metadata() {
    if (refcount_table_dirty_ || !refcount_cache_.dirty_tables().empty()) {
        if (auto r = co_await write_tables(refcount_cache_); !r) co_return r;
        if (refcount_table_dirty_) {
            if (auto r = co_await barrier(); !r) co_return r;
            std::vector<uint8_t> t(refcount_table_.size() * 8);
            for (size_t i = 0; i < refcount_table_.size(); ++i) put64(t.data() + i * 8, refcount_table_[i]);
            file_->event("reftable_update");
            if (auto r = co_await write_at(h_.refcount_table_offset, t.data(), t.size()); !r) co_return r;
            refcount_table_dirty_ = false;
        }
    }
    const bool l1 = std::find(l1_dirty_.begin(), l1_dirty_.end(), true) != l1_dirty_.end();
    const bool l2 = !l2_cache_.dirty_tables().empty();
    if (l1)
        if (auto r = co_await mark_writing(); !r) co_return r;
    if (l1 || l2)
        if (auto r = co_await barrier(); !r) co_return r;  // counts and data before what refers to them
    tables_written_ += l1 || l2;
    if (auto r = co_await write_tables(l2_cache_); !r) co_return r;
    if (l1) {
        if (auto r = co_await barrier(); !r) co_return r;
        for (size_t s = 0; s < l1_dirty_.size(); ++s) {
            if (!l1_dirty_[s]) continue;
            uint8_t sector[512] = {};
            const size_t n = std::min<size_t>(64, l1_.size() - s * 64);
            for (size_t i = 0; i < n; ++i) put64(sector + i * 8, l1_[s * 64 + i]);
            file_->event("l1_update");
            if (auto r = co_await write_at(h_.l1_offset + s * 512, sector, n * 8); !r) co_return r;
            l1_dirty_[s] = false;
        }
        ++tables_written_;
    }
    if (damaged_) {  // what else names them is not known: they stay
        frees_.clear();
        frees_waiting_.clear();
        co_return Result<void>{};
    }
    if (!frees_.empty()) {
        frees_waiting_.push_back({oldest_generation_ + readers_.size() - 1, std::exchange(frees_, {})});
        readers_.push_back(0);
        forget_old_generations();
    }
    while (!frees_waiting_.empty() && frees_waiting_.front().generation < oldest_generation_) {
        // Also when the tables were written by an earlier call: nothing may name what is freed.
        if (tables_settled_ != tables_written_)
            if (auto r = co_await barrier(); !r) co_return r;
        auto references = std::move(frees_waiting_.front().references);
        frees_waiting_.pop_front();
        if (auto r = co_await apply_frees(std::move(references)); !r) co_return r;
        if (auto r = co_await write_tables(refcount_cache_); !r) co_return r;
    }
    co_return Result<void>{};
}

Task<Result<void>> Qcow2Node::do_flush() {
    file_->event("flush_to_os");
    {
        const auto alone = co_await map_.lock();
        if (auto r = co_await flush_metadata(); !r) co_return co_await failed(std::move(r));
    }
    co_return co_await barrier();
}

Task<Result<void>> Qcow2Node::put_header() {
    auto bytes = encode_header(h_);
    if (!bytes) co_return std::unexpected(bytes.error());
    // The whole header area is written so that a shorter header leaves nothing behind.
    if (h_.version == 3) bytes->resize(std::max<size_t>(bytes->size(), std::min<uint64_t>(h_.cluster_size(), 4096)));
    co_return co_await write_at(0, bytes->data(), bytes->size());
}

Task<Result<void>> Qcow2Node::write_header() {
    file_->event("header_update");
    if (auto r = co_await put_header(); !r) co_return r;
    co_return co_await file_->flush();
}

Task<Result<void>> Qcow2Node::mark_writing() {
    if (marked_) co_return Result<void>{};
    marked_ = true;
    h_.set_extension(Extension::kWriting, "");
    if (!encode_header(h_)) {  // a long name of a backing file in a small cluster: no room
        h_.drop_extension(Extension::kWriting);
        co_return Result<void>{};
    }
    auto r = co_await put_header();
    if (r) r = co_await file_->flush();
    marked_ = r.has_value();
    co_return r;
}

}  // namespace myna::block::qcow2
