// AddressSpace: the guest's memory map over the host's, and what the engine asks about it.
//
//   guest address + base() = host address. base() is 0 whenever the program's layout allows it.
//
//   0 … mmap_min_addr … program … brk …        … mmap area, searched downwards ◀─ stack │ limit() … the emulator
//
// Host page tables never hold PROT_EXEC for guest pages (code is only read, by the translator). A page that the guest may
// write and that code was translated from is write-protected on the host until a write fault; `code_pages_` lists them.
//
// Locking: lock_ is taken after the engine's lock (the engine calls executable() and code_on_page() with its own held), so
// nothing here calls the engine with lock_ held, and guest memory is never touched with lock_ held.
#pragma once

#include <sys/mman.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "jit/engine.h"
#include "user/linux/host_calls.h"
#include "user/linux/region_map.h"

namespace myna::user {

inline constexpr uint64_t kPage = 4096;

class AddressSpace final : public jit::GuestMemory {
  public:
    struct Layout {
        uint64_t base = 0;       // guest_base
        uint64_t limit = 0;      // guest addresses are below
        uint64_t lowest = 0;     // mmap_min_addr as the guest sees it
        bool reserved = false;   // the host range is one reservation of ours: unmapped parts stay PROT_NONE
    };
    /// Chooses the layout. `want_base`: -B, or none. `lowest_fixed`: the lowest address the program must be at (~0: none).
    /// `address_bits` of the guest; `reserve` (-R): size of the guest's address space, 0: free.
    Result<void> start(std::optional<uint64_t> want_base, uint64_t lowest_fixed, unsigned address_bits, uint64_t reserve);
    void set_engine(jit::Engine* engine) noexcept { engine_ = engine; }

    [[nodiscard]] uint64_t base() const noexcept { return layout_.base; }
    [[nodiscard]] uint64_t limit() const noexcept { return layout_.limit; }
    template <typename T = uint8_t>
    [[nodiscard]] T* host(uint64_t guest) const noexcept { return reinterpret_cast<T*>(guest + layout_.base); }
    [[nodiscard]] uint64_t guest(const void* host) const noexcept { return reinterpret_cast<uint64_t>(host) - layout_.base; }
    /// A pointer argument for the host kernel: NULL stays NULL.
    [[nodiscard]] uint64_t host_arg(uint64_t guest) const noexcept { return guest != 0 ? guest + layout_.base : 0; }

    // ---- system calls; results as the kernel gives them (address or -errno)
    int64_t mmap(uint64_t addr, uint64_t len, int prot, int flags, int fd, uint64_t offset);
    int64_t munmap(uint64_t addr, uint64_t len);
    int64_t mprotect(uint64_t addr, uint64_t len, int prot);
    int64_t mremap(uint64_t addr, uint64_t old_len, uint64_t new_len, int flags, uint64_t new_addr);
    int64_t madvise(uint64_t addr, uint64_t len, int advice);
    int64_t brk(uint64_t addr);
    int64_t shmat(int id, uint64_t addr, int flags);
    int64_t shmdt(uint64_t addr);

    /// The break starts at `start` (page aligned), with `in_use` bytes of it already there.
    void set_brk(uint64_t start) noexcept { brk_start_ = brk_ = brk_top_ = start; }
    [[nodiscard]] uint64_t brk_start() const noexcept { return brk_start_; }
    [[nodiscard]] uint64_t brk_end() const noexcept { return brk_; }

    // ---- copies that give -EFAULT instead of faulting (0 on success)
    int copy_in(void* to, uint64_t from, size_t n) const noexcept { return myna_user_copy(to, host(from), n); }
    int copy_out(uint64_t to, const void* from, size_t n) noexcept {
        const int r = myna_user_copy(host(to), from, n);
        return r == 0 ? 0 : copy_out_again(to, from, n);
    }
    template <typename T>
    int get(uint64_t from, T& to) const noexcept { return copy_in(&to, from, sizeof(T)); }
    template <typename T>
    int put(uint64_t to, const T& from) noexcept { return copy_out(to, &from, sizeof(T)); }
    /// A C string of at most `size` - 1 bytes: its length, -EFAULT or -ENAMETOOLONG.
    int64_t get_string(uint64_t from, char* to, size_t size) const noexcept;

    // ---- jit::GuestMemory
    bool executable(uint64_t addr, uint64_t len) override;
    void code_on_page(uint64_t page_addr) override;
    std::span<const uint64_t> stops() override {
        const auto* s = stops_.load();
        return s == nullptr ? std::span<const uint64_t>() : *s;
    }

    // ---- for the debugger; no debugged thread is in guest code when `set_` functions are called
    /// Sorted addresses that are not translated. Gives the list it had: to be kept until the next Engine::invalidate has
    /// returned, since a translation may be reading it.
    std::unique_ptr<const std::vector<uint64_t>> set_stops(std::vector<uint64_t> stops) {
        const auto* now = stops.empty() ? nullptr : new std::vector<uint64_t>(std::move(stops));
        return std::unique_ptr<const std::vector<uint64_t>>(stops_.exchange(now));
    }
    /// Pages whose writes, or with `reads` any accesses, fault although the guest may make them.
    struct WatchedPage {
        uint64_t page;
        bool reads;
    };
    void set_watches(std::vector<WatchedPage> pages);
    /// In a forked child, whose pages still have the protection of the parent's watches.
    void forget_watches() {
        watches_.clear();
        watching_ = false;
    }
    void restore_protection(uint64_t addr, uint64_t len);
    void map_changed() {
        if (watching_.load(std::memory_order_relaxed)) watches_open_ = true;
    }
    [[nodiscard]] bool watched(uint64_t addr);
    /// Lets the kernel have the watched pages until rearm_watches(). False when there are none. Takes watch_lock().
    bool open_watches();
    /// The same with watch_lock() held.
    bool open_watches_locked();
    /// Held while an instruction is done in place of the guest on watched pages: nobody opens them meanwhile, so what it
    /// reads and writes there is one access for all threads. Before lock().
    std::mutex& watch_lock() noexcept { return watch_lock_; }
    /// Protects watched pages again after the map changed or they were opened; cheap when nothing happened.
    void rearm_watches() {
        if (watches_open_.load(std::memory_order_relaxed)) rearm();
    }

    /// A write to `addr` faulted. True when the page held code: its translations are gone and the write can be made again.
    /// Not from a signal handler.
    bool write_fault(uint64_t addr);
    /// Gives up the write protection of all code pages: the host kernel answered EFAULT. False when there were none.
    bool release_code_pages();
    /// Extends a MAP_GROWSDOWN mapping down to `addr`. True when that made `addr` valid.
    bool grow_down(uint64_t addr);
    /// What is mapped at `addr`: protection, or -1.
    [[nodiscard]] int prot_at(uint64_t addr);

    /// Copy of the map, for /proc/self/maps.
    std::vector<Region> snapshot();
    std::mutex& lock() noexcept { return lock_; }

    uint64_t stack_start = 0, stack_end = 0;  // the main thread's
    uint64_t vdso_start = 0;
    uint64_t as_limit = ~uint64_t{0};         // RLIMIT_AS of the guest
    uint64_t data_limit = ~uint64_t{0};       // RLIMIT_DATA of the guest
    uint64_t as_used() { const std::lock_guard l(lock_); return map_.bytes(); }

  private:
    /// Whether RLIMIT_AS and, for private writable memory, RLIMIT_DATA leave room for `bytes` more. With lock_ held.
    [[nodiscard]] bool within_limits(uint64_t bytes, bool data) const noexcept;
    /// What RLIMIT_DATA counts: private writable memory but the main thread's stack.
    [[nodiscard]] uint64_t data_bytes() const noexcept {
        return map_.private_bytes(0, ~uint64_t{0}, PROT_WRITE) - map_.private_bytes(stack_start, stack_end, PROT_WRITE);
    }
    int copy_out_again(uint64_t to, const void* from, size_t n) noexcept;
    static int host_prot(int prot) noexcept;
    /// Where a mapping of `len` bytes without MAP_FIXED goes (near `hint` if that is free). With lock_ held.
    std::optional<uint64_t> place(uint64_t hint, uint64_t len, uint64_t align = kPage);
    int64_t map_at_free_place(uint64_t hint, uint64_t len, int prot, int flags, int fd, uint64_t offset);
    int64_t map_fixed(uint64_t addr, uint64_t len, int prot, int flags, int fd, uint64_t offset);
    void host_unmap(uint64_t addr, uint64_t len);
    /// Forgets the code pages in a range, without changing protections. True when there were any.
    bool drop_code_pages(uint64_t start, uint64_t end);
    void invalidate(uint64_t start, uint64_t len) { if (engine_ != nullptr) engine_->invalidate(start, len); }

    /// Held while the map changes, or pages lose the protection of code_on_page().
    class Change {
      public:
        explicit Change(AddressSpace& s) : lock_(s.lock_) { s.changes.fetch_add(1); }

      private:
        const std::lock_guard<std::mutex> lock_;
    };

    std::mutex lock_;
    RegionMap map_;
    Layout layout_;
    jit::Engine* engine_ = nullptr;
    void rearm();
    std::vector<uint64_t> code_pages_;  // sorted
    std::atomic<const std::vector<uint64_t>*> stops_{nullptr};  // owned
    std::mutex watch_lock_;
    std::vector<WatchedPage> watches_;
    std::atomic<bool> watching_{false};  // watches_ is not empty
    std::atomic<bool> watches_open_{false};
    std::vector<std::pair<uint64_t, uint64_t>> shm_;  // attached: address, size
    uint64_t mmap_top_ = 0;
    uint64_t brk_start_ = 0, brk_ = 0, brk_top_ = 0;
};

}  // namespace myna::user
