#include "user/linux/memory.h"

#include <linux/mman.h>
#include <sys/mman.h>
#include <sys/shm.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

#include "base/bits.h"

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif

namespace myna::user {

namespace {

constexpr uint64_t kTop47 = 0x7000'0000'0000;   // above it lie the emulator, its libraries' mappings and its stacks
constexpr int kProtBits = PROT_READ | PROT_WRITE | PROT_EXEC;
constexpr int kGrowBits = PROT_GROWSDOWN | PROT_GROWSUP;

uint64_t host_mmap_min_addr() {
    const int64_t fd = host_syscall(SYS_openat, arg(int64_t{-100}), arg("/proc/sys/vm/mmap_min_addr"), 0);
    if (fd < 0) return 65536;
    char text[32] = {};
    host_syscall(SYS_read, arg(fd), arg(text), sizeof text - 1);
    host_syscall(SYS_close, arg(fd));
    uint64_t v = 0;
    for (const char* p = text; *p >= '0' && *p <= '9'; ++p) v = v * 10 + static_cast<uint64_t>(*p - '0');
    return std::max<uint64_t>(v, kPage);
}

}  // namespace

Result<void> AddressSpace::start(std::optional<uint64_t> want_base, uint64_t lowest_fixed, unsigned address_bits,
                                 uint64_t reserve) {
    const uint64_t guest_top = address_bits >= 47 ? kTop47 : uint64_t{1} << (address_bits - (address_bits == 32 ? 0 : 1));
    layout_ = {.base = 0, .limit = guest_top, .lowest = 65536, .reserved = false};
    // Programs are linked at 64 KiB or above, where no host refuses; only lower ones need a look at the host's limit.
    if (want_base) {
        layout_.base = *want_base;
    } else if (lowest_fixed < 65536 && lowest_fixed < host_mmap_min_addr()) {
        layout_.base = ~uint64_t{0};
    }
    if (lowest_fixed < 65536) layout_.lowest = align_down(lowest_fixed, kPage);
    if (reserve != 0) layout_.limit = std::min(guest_top, align_up(reserve, kPage));
    if (layout_.base != 0 || reserve != 0) {
        uint64_t size = layout_.limit;
        if (layout_.base != 0) size = std::min<uint64_t>(size, uint64_t{1} << 46);
        const bool any_place = layout_.base == ~uint64_t{0};
        const int fixed = any_place ? 0 : MAP_FIXED_NOREPLACE;
        const uint64_t skip = layout_.base == 0 ? std::max(host_mmap_min_addr(), uint64_t{65536}) : 0;
        const uint64_t at = any_place ? 0 : layout_.base + skip;
        const int64_t r = host_syscall(SYS_mmap, at, size - skip, PROT_NONE,
                                       arg(int64_t{MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | fixed}), ~uint64_t{0}, 0);
        if (r < 0 || (!any_place && static_cast<uint64_t>(r) != at)) {
            char text[128];
            std::snprintf(text, sizeof text, "no room for a guest address space of 0x%llx bytes at 0x%llx",
                          static_cast<unsigned long long>(size), static_cast<unsigned long long>(any_place ? 0 : layout_.base));
            return fail(ErrorKind::kNoMemory, text, static_cast<int>(r < 0 ? -r : EEXIST));
        }
        if (any_place) layout_.base = static_cast<uint64_t>(r);
        layout_.limit = size;
        layout_.reserved = true;
    }
    mmap_top_ = layout_.limit;
    if (layout_.base == 0) {
        // The emulator's own heap grows here; malloc falls back to mmap (far above) when it meets a guest mapping.
        const uint64_t heap = reinterpret_cast<uint64_t>(sbrk(0));
        if (heap < layout_.limit)
            map_.set(align_down(heap, kPage) - std::min<uint64_t>(heap, 16u << 20), align_up(heap, kPage) + (uint64_t{16} << 30),
                     0, Region::kReserved);
    }
    return {};
}

int AddressSpace::host_prot(int prot) noexcept {
    int p = (prot & (PROT_READ | PROT_EXEC)) != 0 ? PROT_READ : PROT_NONE;
    if ((prot & PROT_WRITE) != 0) p |= PROT_READ | PROT_WRITE;
    return p;
}

std::optional<uint64_t> AddressSpace::place(uint64_t hint, uint64_t len, uint64_t align) {
    hint = align_up(hint, align);
    if (hint >= layout_.lowest && hint != 0 && len <= layout_.limit && hint <= layout_.limit - len && map_.free(hint, hint + len))
        return hint;
    return map_.find_gap(len, std::max<uint64_t>(layout_.lowest, 65536), mmap_top_, align);
}

int64_t AddressSpace::map_at_free_place(uint64_t hint, uint64_t len, int prot, int flags, int fd, uint64_t offset) {
    for (int tries = 0; tries < 64; ++tries) {
        const auto at = place(hint, len);
        if (!at) return -ENOMEM;
        const int how = layout_.reserved ? MAP_FIXED : MAP_FIXED_NOREPLACE;
        const int64_t r = host_syscall(SYS_mmap, *at + layout_.base, len, arg(int64_t{host_prot(prot)}),
                                       arg(int64_t{flags | how}), arg(int64_t{fd}), offset);
        if (r >= 0) return static_cast<int64_t>(*at);
        if (r != -EEXIST) return r;
        // Something of the host's is there: never look here again.
        map_.set(*at, *at + len, 0, Region::kReserved);
        hint = 0;
    }
    return -ENOMEM;
}

int64_t AddressSpace::map_fixed(uint64_t addr, uint64_t len, int prot, int flags, int fd, uint64_t offset) {
    if (len > layout_.limit || addr > layout_.limit - len) return -ENOMEM;
    if (addr < layout_.lowest) return -EPERM;
    if (map_.any_flag(addr, addr + len, Region::kReserved)) return -ENOMEM;
    const bool empty = map_.free(addr, addr + len);
    const bool fresh = !layout_.reserved && empty;
    if ((flags & MAP_FIXED_NOREPLACE) == MAP_FIXED_NOREPLACE && !empty) return -EEXIST;
    flags &= ~(MAP_FIXED | MAP_FIXED_NOREPLACE);
    flags |= fresh ? MAP_FIXED_NOREPLACE : MAP_FIXED;
    const int64_t r = host_syscall(SYS_mmap, addr + layout_.base, len, arg(int64_t{host_prot(prot)}), arg(int64_t{flags}),
                                   arg(int64_t{fd}), offset);
    if (r == -EEXIST) return -ENOMEM;
    return r < 0 ? r : static_cast<int64_t>(addr);
}

bool AddressSpace::within_limits(uint64_t bytes, bool data) const noexcept {
    if (as_limit != ~uint64_t{0} && map_.bytes() + bytes > as_limit) return false;
    return !data || data_limit == ~uint64_t{0} || data_bytes() + bytes <= data_limit;
}

int64_t AddressSpace::mmap(uint64_t addr, uint64_t len, int prot, int flags, int fd, uint64_t offset) {
    const bool fixed = (flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)) != 0;
    if (len == 0) return -EINVAL;
    if ((offset & (kPage - 1)) != 0 || (fixed && (addr & (kPage - 1)) != 0)) return -EINVAL;
    const uint64_t size = align_up(len, kPage);
    if (size < len) return -ENOMEM;
    flags &= ~MAP_32BIT;
    const bool grows = (flags & MAP_GROWSDOWN) != 0;
    int host_flags = flags & ~(MAP_GROWSDOWN | MAP_FIXED);
    bool had_code = false;
    int64_t at;
    {
        const Change change(*this);
        if (!within_limits(size, (prot & PROT_WRITE) != 0 && (flags & MAP_TYPE) == MAP_PRIVATE && !grows)) return -ENOMEM;
        if (fixed) {
            had_code = map_.any(addr, addr + size, PROT_EXEC);
            at = map_fixed(addr, size, prot, host_flags, fd, offset);
        } else {
            // Guests built for huge pages align by themselves.
            at = map_at_free_place(align_down(addr, kPage), size, prot, host_flags & ~MAP_FIXED_NOREPLACE, fd, offset);
        }
        bool host_place = false;
        if (at == -EINVAL && !fixed && fd >= 0 && layout_.base == 0) {
            // Some files choose their addresses themselves (io_uring).
            at = host_syscall(SYS_mmap, 0, size, arg(int64_t{host_prot(prot)}), arg(int64_t{host_flags}), arg(int64_t{fd}), offset);
            host_place = true;
        }
        if (at < 0) return at;
        const auto start = static_cast<uint64_t>(at);
        if (!code_pages_.empty() && drop_code_pages(start, start + size)) had_code = true;
        const bool shared = (flags & MAP_TYPE) != MAP_PRIVATE;
        map_.set(start, start + size, static_cast<uint8_t>(prot & kProtBits),
                 static_cast<uint8_t>((shared ? Region::kShared : 0) | (grows ? Region::kGrowsDown : 0) | (host_place ? Region::kHostPlace : 0)));
    }
    if (had_code) invalidate(static_cast<uint64_t>(at), size);
    return at;
}

void AddressSpace::host_unmap(uint64_t addr, uint64_t len) {
    if (layout_.reserved)
        host_syscall(SYS_mmap, addr + layout_.base, len, PROT_NONE,
                     arg(int64_t{MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED}), ~uint64_t{0}, 0);
    else
        host_syscall(SYS_munmap, addr + layout_.base, len);
}

int64_t AddressSpace::munmap(uint64_t addr, uint64_t len) {
    if ((addr & (kPage - 1)) != 0 || len == 0) return -EINVAL;
    const uint64_t size = align_up(len, kPage);
    if (addr >= layout_.limit) {
        const Change change(*this);
        const Region* r = map_.find(addr);
        if (r == nullptr || (r->flags & Region::kHostPlace) == 0 || size > r->end - addr) return -EINVAL;
        const int64_t done = host_syscall(SYS_munmap, addr + layout_.base, size);
        if (done == 0) map_.erase(addr, addr + size);
        return done;
    }
    if (size < len || size > layout_.limit || addr > layout_.limit - size) return -EINVAL;
    bool had_code;
    {
        const Change change(*this);
        if (map_.any_flag(addr, addr + size, Region::kReserved)) return -EINVAL;
        if (map_.free(addr, addr + size)) return 0;
        had_code = map_.any(addr, addr + size, PROT_EXEC);
        if (layout_.reserved) {
            host_unmap(addr, size);
        } else if (const int64_t r = host_syscall(SYS_munmap, addr + layout_.base, size); r < 0) {
            return r;
        }
        if (!code_pages_.empty()) drop_code_pages(addr, addr + size);
        map_.erase(addr, addr + size);
    }
    if (had_code) invalidate(addr, size);
    return 0;
}

int64_t AddressSpace::mprotect(uint64_t addr, uint64_t len, int prot) {
    if ((addr & (kPage - 1)) != 0) return -EINVAL;
    if ((prot & kGrowBits) == kGrowBits) return -EINVAL;
    if (len == 0) return 0;
    uint64_t size = align_up(len, kPage);
    if (size < len || size > layout_.limit || addr > layout_.limit - size) return -ENOMEM;
    bool forget = false;
    {
        const Change change(*this);
        if ((prot & kGrowBits) != 0)
            if (const Region* r = map_.find(addr); r != nullptr && (r->flags & Region::kGrowsDown) != 0 && (prot & PROT_GROWSDOWN) != 0) {
                size += addr - r->start;
                addr = r->start;
            }
        if (!map_.covered(addr, addr + size)) return -ENOMEM;
        const bool had_exec = map_.any(addr, addr + size, PROT_EXEC);
        if ((prot & PROT_WRITE) != 0 && data_limit != ~uint64_t{0}) {
            const uint64_t more = map_.private_bytes(addr, addr + size, 0) - map_.private_bytes(addr, addr + size, PROT_WRITE);
            if (more != 0 && data_bytes() + more > data_limit) return -ENOMEM;
        }
        if (const int64_t r = host_syscall(SYS_mprotect, addr + layout_.base, size, arg(int64_t{host_prot(prot)})); r < 0) return r;
        // Translations stay right while the page stays executable and read-only.
        forget = had_exec && ((prot & PROT_EXEC) == 0 || (prot & PROT_WRITE) != 0);
        if (!code_pages_.empty() && drop_code_pages(addr, addr + size)) forget = true;
        map_.protect(addr, addr + size, static_cast<uint8_t>(prot & kProtBits));
    }
    if (forget) invalidate(addr, size);
    return 0;
}

int64_t AddressSpace::mremap(uint64_t addr, uint64_t old_len, uint64_t new_len, int flags, uint64_t new_addr) {
    if ((flags & ~(MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP)) != 0) return -EINVAL;
    if ((flags & (MREMAP_FIXED | MREMAP_DONTUNMAP)) != 0 && (flags & MREMAP_MAYMOVE) == 0) return -EINVAL;
    if ((addr & (kPage - 1)) != 0) return -EINVAL;
    const uint64_t old_size = align_up(old_len, kPage), size = align_up(new_len, kPage);
    if (size == 0 || size < new_len) return -EINVAL;
    if (old_size > layout_.limit || addr > layout_.limit - old_size || size > layout_.limit) return -EFAULT;
    const bool fixed = (flags & MREMAP_FIXED) != 0;
    if (fixed && ((new_addr & (kPage - 1)) != 0 || new_addr > layout_.limit - size)) return -EINVAL;
    if (fixed && new_addr < addr + old_size && addr < new_addr + size) return -EINVAL;
    bool had_code, had_code_new = false;
    uint64_t to = addr;
    {
        const Change change(*this);
        const Region* r = map_.find(addr);
        if (r == nullptr || (old_size != 0 && !map_.covered(addr, addr + old_size))) return -EFAULT;
        if (fixed && map_.any_flag(new_addr, new_addr + size, Region::kReserved)) return -ENOMEM;
        const Region kind = *r;
        if (size > old_size && !within_limits(size - old_size, (kind.prot & PROT_WRITE) != 0 && (kind.flags & Region::kShared) == 0)) return -ENOMEM;
        had_code = map_.any(addr, addr + std::max(old_size, kPage), PROT_EXEC);
        // Write-protected code pages cut the host's mapping into pieces; the kernel moves whole ones only.
        if (!code_pages_.empty() && drop_code_pages(addr, addr + old_size)) {
            host_syscall(SYS_mprotect, addr + layout_.base, old_size, arg(int64_t{host_prot(kind.prot)}));
            had_code = true;
        }
        const bool move_only = fixed || (flags & MREMAP_DONTUNMAP) != 0 || old_size == 0;
        if (!move_only && size <= old_size) {
            if (size < old_size) {
                host_unmap(addr + size, old_size - size);
                map_.erase(addr + size, addr + old_size);
            }
        } else {
            int64_t done = -ENOMEM;
            if (!move_only && !layout_.reserved && addr + size <= layout_.limit && map_.free(addr + old_size, addr + size))
                done = host_syscall(SYS_mremap, addr + layout_.base, old_size, size, 0);
            if (done < 0) {
                if ((flags & MREMAP_MAYMOVE) == 0) return done;
                if (fixed) {
                    to = new_addr;
                    had_code_new = map_.any(to, to + size, PROT_EXEC);
                } else {
                    const auto gap = place((flags & MREMAP_DONTUNMAP) != 0 ? new_addr : 0, size);
                    if (!gap) return -ENOMEM;
                    to = *gap;
                }
                done = host_syscall(SYS_mremap, addr + layout_.base, old_size, size, arg(int64_t{flags | MREMAP_MAYMOVE | MREMAP_FIXED}),
                                    to + layout_.base);
                if (done < 0) return done;
                if (!code_pages_.empty() && drop_code_pages(to, to + size)) had_code_new = true;
                if ((flags & MREMAP_DONTUNMAP) == 0 && old_size != 0) {
                    map_.erase(addr, addr + old_size);
                    if (layout_.reserved) host_unmap(addr, old_size);
                }
            }
            map_.set(to, to + size, kind.prot, kind.flags);
        }
    }
    if (had_code) invalidate(addr, std::max(old_size, kPage));
    if (had_code_new) invalidate(to, size);
    return static_cast<int64_t>(to);
}

int64_t AddressSpace::madvise(uint64_t addr, uint64_t len, int advice) {
    const uint64_t size = align_up(len, kPage);
    if ((addr & (kPage - 1)) != 0 || size < len) return -EINVAL;
    if (size > layout_.limit || addr > layout_.limit - size) return -ENOMEM;
    const int64_t r = host_syscall(SYS_madvise, addr + layout_.base, size, arg(int64_t{advice}));
    if (advice == MADV_DONTNEED || advice == MADV_REMOVE || advice == MADV_FREE || advice == MADV_DONTNEED_LOCKED) {
        bool had_code;
        {
            const std::lock_guard l(lock_);
            had_code = map_.any(addr, addr + size, PROT_EXEC);
        }
        if (had_code) invalidate(addr, size);
    }
    return r;
}

int64_t AddressSpace::brk(uint64_t addr) {
    const Change change(*this);
    if (addr < brk_start_ || addr > layout_.limit) return static_cast<int64_t>(brk_);
    const uint64_t top = align_up(addr, kPage);
    if (top > brk_top_) {
        if (!map_.free(brk_top_, top)) return static_cast<int64_t>(brk_);
        if (!within_limits(top - brk_top_, true)) return static_cast<int64_t>(brk_);
        const int how = layout_.reserved ? MAP_FIXED : MAP_FIXED_NOREPLACE;
        const int64_t r = host_syscall(SYS_mmap, brk_top_ + layout_.base, top - brk_top_, PROT_READ | PROT_WRITE,
                                       arg(int64_t{MAP_PRIVATE | MAP_ANONYMOUS | how}), ~uint64_t{0}, 0);
        if (r < 0) return static_cast<int64_t>(brk_);
        map_.set(brk_top_, top, PROT_READ | PROT_WRITE, 0);
        brk_top_ = top;
    } else if (top < brk_top_) {
        host_unmap(top, brk_top_ - top);
        if (!code_pages_.empty()) drop_code_pages(top, brk_top_);
        map_.erase(top, brk_top_);
        brk_top_ = top;
    }
    brk_ = addr;
    return static_cast<int64_t>(brk_);
}

int64_t AddressSpace::shmat(int id, uint64_t addr, int flags) {
    shmid_ds ds;
    if (const int64_t r = host_syscall(SYS_shmctl, arg(int64_t{id}), IPC_STAT, arg(&ds)); r < 0) return r;
    const uint64_t size = align_up(ds.shm_segsz, kPage);
    if ((flags & SHM_RND) != 0) addr = align_down(addr, kPage);
    if ((addr & (kPage - 1)) != 0) return -EINVAL;
    const Change change(*this);
    uint64_t at = addr;
    int host_flags = flags & ~SHM_EXEC;
    if (addr == 0) {
        const auto gap = place(0, size);
        if (!gap) return -ENOMEM;
        at = *gap;
    } else {
        if (size > layout_.limit || addr > layout_.limit - size) return -EINVAL;
        if (map_.any_flag(at, at + size, Region::kReserved)) return -EINVAL;
        if ((flags & SHM_REMAP) == 0 && !map_.free(at, at + size)) return -EINVAL;
    }
    if (layout_.reserved) host_flags |= SHM_REMAP;
    const int64_t r = host_syscall(SYS_shmat, arg(int64_t{id}), at + layout_.base, arg(int64_t{host_flags}));
    if (r < 0) return r;
    const int prot = PROT_READ | ((flags & SHM_RDONLY) != 0 ? 0 : PROT_WRITE) | ((flags & SHM_EXEC) != 0 ? PROT_EXEC : 0);
    map_.set(at, at + size, static_cast<uint8_t>(prot), Region::kShared | Region::kShm);
    shm_.emplace_back(at, size);
    return static_cast<int64_t>(at);
}

int64_t AddressSpace::shmdt(uint64_t addr) {
    uint64_t size = 0;
    {
        const Change change(*this);
        const auto it = std::find_if(shm_.begin(), shm_.end(), [&](const auto& s) { return s.first == addr; });
        if (it == shm_.end()) return -EINVAL;
        if (const int64_t r = host_syscall(SYS_shmdt, addr + layout_.base); r < 0) return r;
        size = it->second;
        shm_.erase(it);
        if (layout_.reserved) host_unmap(addr, size);
        map_.erase(addr, addr + size);
    }
    invalidate(addr, size);
    return 0;
}

// ---- copies

int64_t AddressSpace::get_string(uint64_t from, char* to, size_t size) const noexcept {
    const int64_t n = myna_user_strncpy(to, host<char>(from), size);
    if (n == static_cast<int64_t>(size)) return -ENAMETOOLONG;
    return n;
}

int AddressSpace::copy_out_again(uint64_t to, const void* from, size_t n) noexcept {
    return release_code_pages() ? myna_user_copy(host(to), from, n) : -EFAULT;
}

// ---- code pages

bool AddressSpace::executable(uint64_t addr, uint64_t len) {
    if (addr >= layout_.limit || len > layout_.limit - addr) return false;  // addr + len may wrap
    const std::lock_guard l(lock_);
    return map_.covered(addr, addr + len, PROT_EXEC);
}

void AddressSpace::code_on_page(uint64_t page) {
    const std::lock_guard l(lock_);
    const Region* r = map_.find(page);
    if (r == nullptr || (r->prot & PROT_WRITE) == 0) return;
    const auto it = std::lower_bound(code_pages_.begin(), code_pages_.end(), page);
    if (it != code_pages_.end() && *it == page) return;
    if (host_syscall(SYS_mprotect, page + layout_.base, kPage, PROT_READ) == 0) code_pages_.insert(it, page);
}

bool AddressSpace::drop_code_pages(uint64_t start, uint64_t end) {
    const auto from = std::lower_bound(code_pages_.begin(), code_pages_.end(), start);
    const auto to = std::lower_bound(from, code_pages_.end(), end);
    const bool any = from != to;
    code_pages_.erase(from, to);
    return any;
}

bool AddressSpace::write_fault(uint64_t addr) {
    const uint64_t page = align_down(addr, kPage);
    {
        const Change change(*this);
        const Region* r = map_.find(page);
        if (r == nullptr || (r->prot & PROT_WRITE) == 0 || (r->flags & Region::kReserved) != 0) return false;
        map_changed();
        // Not listed: another thread has released it meanwhile.
        if (!drop_code_pages(page, page + kPage)) return true;
        host_syscall(SYS_mprotect, page + layout_.base, kPage, arg(int64_t{host_prot(r->prot)}));
    }
    invalidate(page, kPage);
    return true;
}

void AddressSpace::set_watches(std::vector<WatchedPage> pages) {
    const std::lock_guard l(lock_);
    for (const WatchedPage& w : watches_) {
        const Region* r = map_.find(w.page);
        if (r == nullptr || (r->flags & Region::kReserved) != 0) continue;
        const bool code = std::binary_search(code_pages_.begin(), code_pages_.end(), w.page);
        host_syscall(SYS_mprotect, w.page + layout_.base, kPage, arg(int64_t{code ? PROT_READ : host_prot(r->prot)}));
    }
    watches_ = std::move(pages);
    watching_ = watches_open_ = !watches_.empty();
}

void AddressSpace::restore_protection(uint64_t addr, uint64_t len) {
    const std::lock_guard l(lock_);
    for (uint64_t page = align_down(addr, kPage); page < addr + len; page += kPage) {
        const Region* r = map_.find(page);
        if (r == nullptr || (r->flags & Region::kReserved) != 0) continue;
        const bool code = std::binary_search(code_pages_.begin(), code_pages_.end(), page);
        host_syscall(SYS_mprotect, page + layout_.base, kPage, arg(int64_t{code ? PROT_READ : host_prot(r->prot)}));
    }
}

bool AddressSpace::watched(uint64_t addr) {
    const std::lock_guard l(lock_);
    return std::any_of(watches_.begin(), watches_.end(), [&](const WatchedPage& w) { return w.page == align_down(addr, kPage); });
}

void AddressSpace::rearm() {
    const std::lock_guard l(lock_);
    watches_open_ = false;
    for (const WatchedPage& w : watches_) {
        const Region* r = map_.find(w.page);
        if (r == nullptr || (r->flags & Region::kReserved) != 0) continue;
        const int least = w.reads ? PROT_NONE : host_prot(r->prot) & PROT_READ;
        host_syscall(SYS_mprotect, w.page + layout_.base, kPage, arg(int64_t{least}));
    }
}

bool AddressSpace::open_watches() {
    if (!watching_.load()) return false;
    const std::lock_guard w(watch_lock_);
    return open_watches_locked();
}

bool AddressSpace::open_watches_locked() {
    const std::lock_guard l(lock_);
    if (watches_.empty()) return false;
    watches_open_ = true;
    for (const WatchedPage& w : watches_)
        if (const Region* r = map_.find(w.page); r != nullptr && (r->flags & Region::kReserved) == 0)
            host_syscall(SYS_mprotect, w.page + layout_.base, kPage, arg(int64_t{host_prot(r->prot)}));
    return true;
}

bool AddressSpace::release_code_pages() {
    const bool opened = open_watches();
    std::vector<uint64_t> pages;
    {
        const Change change(*this);
        if (code_pages_.empty()) return opened;
        pages.swap(code_pages_);
        for (const uint64_t page : pages)
            if (const Region* r = map_.find(page))
                host_syscall(SYS_mprotect, page + layout_.base, kPage, arg(int64_t{host_prot(r->prot)}));
    }
    for (const uint64_t page : pages) invalidate(page, kPage);
    return true;
}

bool AddressSpace::grow_down(uint64_t addr) {
    const Change change(*this);
    const uint64_t page = align_down(addr, kPage);
    const Region* r = map_.at_or_above(page);
    if (r == nullptr || r->start <= page || (r->flags & Region::kGrowsDown) == 0 || r->start - page > (uint64_t{8} << 20)) return false;
    // A guard gap to whatever lies below, as the kernel keeps it.
    const uint64_t guard = page > 256 * kPage ? page - 256 * kPage : 0;
    const Region kind = *r;
    if (!map_.free(guard, page)) return false;
    const int how = layout_.reserved ? MAP_FIXED : MAP_FIXED_NOREPLACE;
    if (host_syscall(SYS_mmap, page + layout_.base, kind.start - page, arg(int64_t{host_prot(kind.prot)}),
                     arg(int64_t{MAP_PRIVATE | MAP_ANONYMOUS | how}), ~uint64_t{0}, 0) < 0)
        return false;
    map_.set(page, kind.start, kind.prot, kind.flags);
    return true;
}

int AddressSpace::prot_at(uint64_t addr) {
    const std::lock_guard l(lock_);
    const Region* r = map_.find(addr);
    return r == nullptr || (r->flags & Region::kReserved) != 0 ? -1 : r->prot;
}

std::vector<Region> AddressSpace::snapshot() {
    const std::lock_guard l(lock_);
    return map_.regions();
}

}  // namespace myna::user
