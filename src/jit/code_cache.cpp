#include "jit/code_cache.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/bits.h"
#include "jit/block.h"

namespace myna::jit {

Result<std::unique_ptr<CodeCache>> CodeCache::create(size_t bytes) {
    const size_t region_bytes = align_up(std::max<size_t>(bytes / kRegions, 256 << 10), 64 << 10);
    std::unique_ptr<CodeCache> c(new CodeCache);
    c->bytes_ = region_bytes * kRegions;
    const int fd = memfd_create("myna-code", MFD_CLOEXEC);
    if (fd < 0) return fail_errno(errno, "code cache: memfd_create");
    const auto sized = ftruncate(fd, static_cast<off_t>(c->bytes_)) == 0 ? Result<void>{} : fail_errno(errno, "code cache: ftruncate");
    const auto mapped = sized ? c->map_views(fd, 0) : sized;
    close(fd);  // the views keep the memory; the guest sees no descriptor that is not its own
    if (!mapped) return std::unexpected(mapped.error());
    const size_t index_bytes = region_bytes / kMinBlockBytes * sizeof(Block*);
    for (unsigned i = 0; i < kRegions; ++i) {
        Region& r = c->regions_[i];
        r.begin = r.used = i * region_bytes;
        r.end = r.begin + region_bytes;
        void* index = mmap(nullptr, index_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (index == MAP_FAILED) return fail_errno(errno, "code cache: mmap of the block index");
        r.index = static_cast<Block**>(index);
    }
    return c;
}

Result<void> CodeCache::map_views(int fd, int extra_flags) {
    const int flags = MAP_SHARED | MAP_NORESERVE | extra_flags;
    void* w = mmap(write_, bytes_, PROT_READ | PROT_WRITE, flags, fd, 0);
    if (w == MAP_FAILED) return fail_errno(errno, "code cache: mmap of the writable view");
    write_ = static_cast<uint8_t*>(w);
    void* x = mmap(exec_, bytes_, PROT_READ | PROT_EXEC, flags, fd, 0);
    if (x == MAP_FAILED) return fail_errno(errno, "code cache: mmap of the executable view");
    exec_ = static_cast<uint8_t*>(x);
    return {};
}

CodeCache::~CodeCache() {
    if (write_ != nullptr) munmap(write_, bytes_);
    if (exec_ != nullptr) munmap(exec_, bytes_);
    for (Region& r : regions_)
        if (r.index != nullptr) munmap(r.index, (r.end - r.begin) / kMinBlockBytes * sizeof(Block*));
}

std::span<uint8_t> CodeCache::free_space() noexcept {
    // Memory is taken in pieces, not page by page: a fault costs more than clearing what will be used soon.
    while (next_ + kPieceBytes / 2 > populated_ && populated_ < regions_[current_].end) {
        const size_t n = std::min(kPieceBytes, regions_[current_].end - populated_);
        madvise(write_ + populated_, n, MADV_POPULATE_WRITE);  // a hint: older kernels fault as they go
        madvise(exec_ + populated_, n, MADV_POPULATE_READ);
        populated_ += n;
    }
    return {write_ + next_, regions_[current_].end - next_};
}

void CodeCache::commit(size_t bytes, Block* owner) {
    Region& r = regions_[current_];
    if (owner != nullptr) {
        const uint32_t n = r.count.load(std::memory_order_relaxed);
        r.index[n] = owner;
        r.count.store(n + 1, std::memory_order_release);
    }
    next_ = align_up(next_ + bytes, kMinBlockBytes);
    r.used = next_;
    if (owner == nullptr) r.begin = next_;  // the stubs stay when the region is evicted
}

std::span<Block* const> CodeCache::blocks(unsigned region) const noexcept {
    const Region& r = regions_[region];
    return {r.index, r.count.load(std::memory_order_acquire)};
}

void CodeCache::advance() {
    current_ = following();
    Region& r = regions_[current_];
    r.count.store(0, std::memory_order_release);
    r.used = r.begin;
    next_ = r.begin;
    populated_ = std::max(populated_, align_down(r.begin, 4096));
}

Block* CodeCache::block_at(uint64_t host_pc) const noexcept {
    if (!contains(host_pc)) return nullptr;
    const uint64_t offset = host_pc - reinterpret_cast<uint64_t>(exec_);
    for (unsigned i = 0; i < kRegions; ++i) {
        if (offset < regions_[i].begin || offset >= regions_[i].end) continue;
        const auto all = blocks(i);
        size_t lo = 0, hi = all.size();
        while (lo < hi) {
            const size_t mid = (lo + hi) / 2;
            if (all[mid]->host <= host_pc) lo = mid + 1;
            else hi = mid;
        }
        if (lo == 0) return nullptr;
        Block* b = all[lo - 1];
        return host_pc < b->host + b->code_bytes ? b : nullptr;
    }
    return nullptr;
}

size_t CodeCache::used() const noexcept {
    size_t sum = 0;
    for (const Region& r : regions_) sum += r.used - (&r == regions_ ? 0 : r.begin);
    return sum;
}

Result<void> CodeCache::unshare() {
    const int fd = memfd_create("myna-code", MFD_CLOEXEC);
    if (fd < 0) return fail_errno(errno, "code cache: memfd_create");
    if (ftruncate(fd, static_cast<off_t>(bytes_)) != 0) {
        close(fd);
        return fail_errno(errno, "code cache: ftruncate");
    }
    for (const Region& r : regions_) {
        const size_t from = &r == regions_ ? 0 : r.begin;
        for (size_t done = from; done < r.used;) {
            const ssize_t n = pwrite(fd, write_ + done, r.used - done, static_cast<off_t>(done));
            if (n <= 0) {
                close(fd);
                return fail_errno(errno, "code cache: copying after fork");
            }
            done += static_cast<size_t>(n);
        }
    }
    const auto mapped = map_views(fd, MAP_FIXED);
    close(fd);
    return mapped;
}

}  // namespace myna::jit
