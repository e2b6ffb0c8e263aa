// Source of numbers and layouts: include/uapi/linux/io_uring.h; io_uring_setup(2), io_uring_enter(2), io_uring_register(2).
#include "user/linux/syscalls/io_uring.h"

#include <fcntl.h>
#include <sys/epoll.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "user/linux/signals.h"
#include "user/linux/syscalls/calls.h"

namespace myna::user {

namespace {

constexpr long kSetup = 425, kEnter = 426, kRegister = 427;

/// struct io_sqring_offsets and io_cqring_offsets.
struct Offsets {
    uint32_t head, tail, ring_mask, ring_entries, a, b, c, reserved;  // submission: flags, dropped, array
    uint64_t user_addr;
};
struct Params {
    uint32_t sq_entries, cq_entries, flags, sq_thread_cpu, sq_thread_idle, features, wq_fd, reserved[3];
    Offsets sq, cq;
};
static_assert(sizeof(Params) == 120);

constexpr uint32_t kSqPoll = 1u << 1, kBigEntries = 1u << 10, kNoMmap = 1u << 14, kOnlyRegistered = 1u << 15, kNoArray = 1u << 16;
constexpr uint32_t kSetupFlags = (1u << 18) - 1;
/// What the kernel would do with entries before anybody can look at them, or without a descriptor.
constexpr uint32_t kRefusedSetup = kSqPoll | kOnlyRegistered;

constexpr uint64_t kEnterExtArg = 8;
/// GETEVENTS, SQ_WAKEUP, SQ_WAIT, EXT_ARG, ABS_TIMER, NO_IOWAIT; not: registered rings and registered waits.
constexpr uint64_t kEnterFlags = 1 | 2 | 4 | kEnterExtArg | 32 | 128;

/// io_uring_register: registered ring descriptors, another ring size, memory regions for registered waits.
constexpr uint64_t kRefusedRegister[] = {20, 21, 33, 34};
constexpr uint64_t kRegisterProbe = 8;

constexpr uint64_t kRingOffset = 0, kEntriesOffset = 0x10000000;

struct Entry {
    uint8_t opcode, flags;
    uint16_t ioprio;
    int32_t fd;
    uint64_t off, addr;
    uint32_t len, op_flags;
    uint64_t user_data;
    uint8_t other[8];
    uint64_t addr3, pad;
};
static_assert(sizeof(Entry) == 64);

/// What is to be put right in an entry.
enum class Repair : uint8_t { kOpen, kOpen2, kStatx, kGetxattr, kEpollCtl, kPipe, kRefuse };
struct Operation {
    uint8_t opcode;
    Repair repair;
};
constexpr Operation kOperations[] = {
    {18, Repair::kOpen},      // OPENAT: path at addr, flags
    {21, Repair::kStatx},     // STATX: path at addr
    {28, Repair::kOpen2},     // OPENAT2: path at addr, struct open_how at off
    {29, Repair::kEpollCtl},  // EPOLL_CTL: event at addr
    {44, Repair::kGetxattr},  // GETXATTR: path at addr3
    {59, Repair::kRefuse},    // EPOLL_WAIT: its events are written when nobody of us looks
    {62, Repair::kPipe},      // PIPE: flags
};
constexpr uint8_t kNoSuchOperation = 255, kEpollWait = 59;

struct GuestEpollEvent {
    uint32_t events, pad;
    uint64_t data;
};
struct OpenHow {
    uint64_t flags, mode, resolve;
};

}  // namespace

IoRings& IoRings::of(Thread& t) {
    IoRings* r = t.process.rings.load();
    if (r == nullptr) {
        auto fresh = std::make_unique<IoRings>();
        if (t.process.rings.compare_exchange_strong(r, fresh.get())) r = fresh.release();
    }
    return *r;
}

void IoRings::add(int fd, const Layout& layout, uint64_t ring, uint64_t entries) {
    const std::lock_guard l(lock_);
    Ring& r = rings_[fd];
    r = {};
    r.layout = layout;
    r.ring = ring;
    r.entries = entries;
}

void IoRings::mapped(int fd, uint64_t offset, uint64_t at) {
    const std::lock_guard l(lock_);
    const auto it = rings_.find(fd);
    if (it == rings_.end()) return;
    if (offset == kRingOffset) it->second.ring = at;
    if (offset == kEntriesOffset) it->second.entries = at;
}

void IoRings::prepare(Thread& t, int fd, uint32_t count) {
    const std::lock_guard l(lock_);
    const auto it = rings_.find(fd);
    if (it == rings_.end() || it->second.ring == 0 || it->second.entries == 0) return;
    Ring& r = it->second;
    uint32_t head, tail, mask;
    if (t.memory.get(r.ring + r.layout.head, head) != 0 || t.memory.get(r.ring + r.layout.tail, tail) != 0 || t.memory.get(r.ring + r.layout.ring_mask, mask) != 0) return;
    while (!r.replaced.empty() && static_cast<int32_t>(r.replaced.front().first - head) < 0) r.replaced.pop_front();
    // Counts wrap around. Entries that an earlier call prepared and the kernel did not take yet are ready.
    if (static_cast<int32_t>(r.prepared - head) < 0 || static_cast<int32_t>(tail - r.prepared) < 0) r.prepared = head;
    const uint32_t end = head + std::min(count, tail - head);
    const uint64_t size = (r.layout.flags & kBigEntries) != 0 ? 128 : 64;
    for (; static_cast<int32_t>(end - r.prepared) > 0; ++r.prepared) {
        uint32_t index = r.prepared & mask;
        if ((r.layout.flags & kNoArray) == 0 && t.memory.get(r.ring + r.layout.array + index * 4, index) != 0) return;
        if (index <= mask) prepare_entry(t, r, r.prepared, r.entries + index * size);
    }
}

void IoRings::prepare_entry(Thread& t, Ring& r, uint32_t count, uint64_t at) {
    Entry e;
    if (t.memory.get(at, e) != 0) return;
    const auto* const row = std::find_if(std::begin(kOperations), std::end(kOperations), [&](const Operation& o) { return o.opcode == e.opcode; });
    if (row == std::end(kOperations)) return;
    const auto keep = [&](const void* data, size_t n) {
        const auto* bytes = static_cast<const uint8_t*>(data);
        r.replaced.emplace_back(count, std::make_unique<std::vector<uint8_t>>(bytes, bytes + n));
        return reinterpret_cast<uint64_t>(r.replaced.back().second->data());
    };
    // What cannot be read is left to the kernel, which answers EFAULT.
    const auto path = [&](uint64_t where, bool follow) {
        if (!t.process.sysroot.active() || where == 0) return where;
        const GuestPath p(t, where, follow);
        return p.error() != 0 ? where : keep(p.host(), std::strlen(p.host()) + 1);
    };
    switch (row->repair) {
        case Repair::kOpen:
            e.op_flags = static_cast<uint32_t>(host_open_flags(t.abi, e.op_flags));
            e.addr = path(e.addr, (e.op_flags & O_NOFOLLOW) == 0);
            break;
        case Repair::kOpen2: {
            e.addr = path(e.addr, true);
            if (e.len < sizeof(OpenHow) || e.len > 4096) break;
            std::vector<uint8_t> how(e.len);
            if (t.memory.copy_in(how.data(), e.off, how.size()) != 0) break;
            OpenHow h;
            std::memcpy(&h, how.data(), sizeof h);
            h.flags = host_open_flags(t.abi, h.flags);
            std::memcpy(how.data(), &h, sizeof h);
            e.off = keep(how.data(), how.size());
            break;
        }
        case Repair::kStatx: e.addr = path(e.addr, (e.op_flags & AT_SYMLINK_NOFOLLOW) == 0); break;
        case Repair::kGetxattr: e.addr3 = path(e.addr3, true); break;
        case Repair::kEpollCtl: {
            GuestEpollEvent g;
            if (e.len == EPOLL_CTL_DEL || t.memory.get(e.addr, g) != 0) break;
            epoll_event host{};
            host.events = g.events;
            host.data.u64 = g.data;
            e.addr = keep(&host, sizeof host);
            break;
        }
        case Repair::kPipe: e.op_flags = static_cast<uint32_t>(host_open_flags(t.abi, e.op_flags)); break;
        case Repair::kRefuse: e.opcode = kNoSuchOperation; break;
    }
    (void)t.memory.put(at, e);
}

// ---- the calls. With a guest_base every address would have to be converted, also those that the kernel reads later: ENOSYS.

int64_t call_io_uring_setup(Thread& t, const uint64_t* a) {
    if (t.memory.base() != 0) return -ENOSYS;
    Params p;
    if (t.memory.get(a[1], p) != 0) return -EFAULT;
    if ((p.flags & kRefusedSetup) != 0 || (p.flags & ~kSetupFlags) != 0) return -EINVAL;
    const uint64_t ring = (p.flags & kNoMmap) != 0 ? p.cq.user_addr : 0, entries = (p.flags & kNoMmap) != 0 ? p.sq.user_addr : 0;
    const int64_t fd = host_syscall(kSetup, a[0], arg(&p));
    if (fd < 0) return fd;
    if (t.memory.put(a[1], p) != 0) {
        host_syscall(SYS_close, arg(fd));
        return -EFAULT;
    }
    IoRings::of(t).add(static_cast<int>(fd), {.flags = p.flags, .head = p.sq.head, .tail = p.sq.tail, .ring_mask = p.sq.ring_mask, .array = p.sq.c}, ring, entries);
    return fd;
}

int64_t call_io_uring_enter(Thread& t, const uint64_t* a) {
    if (t.memory.base() != 0) return -ENOSYS;
    if ((a[3] & ~kEnterFlags) != 0) return -EINVAL;
    if (IoRings* r = t.process.rings.load(); r != nullptr && a[1] != 0) r->prepare(t, static_cast<int>(a[0]), static_cast<uint32_t>(a[1]));
    struct Extended {
        uint64_t mask;
        uint32_t mask_size, wait_usec;
        uint64_t timeout;
    } x{};
    const bool extended = (a[3] & kEnterExtArg) != 0;
    if (extended && (a[5] != sizeof x || t.memory.get(a[4], x) != 0)) return a[5] != sizeof x ? -EINVAL : -EFAULT;
    const uint64_t mask_at = extended ? x.mask : a[4], mask_size = extended ? x.mask_size : a[5];
    if (mask_at == 0) return t.syscall(kEnter, a[0], a[1], a[2], a[3], a[4], a[5]);
    if (mask_size != 8) return -EINVAL;
    uint64_t mask = 0;
    if (t.memory.get(mask_at, mask) != 0) return -EFAULT;
    const SuspendedMask s(t, mask & ~(sigbit(SIGKILL) | sigbit(SIGSTOP)));
    const uint64_t host = host_mask(mask);
    x.mask = arg(&host);
    return t.syscall(kEnter, a[0], a[1], a[2], a[3], extended ? arg(&x) : arg(&host), a[5]);
}

int64_t call_io_uring_register(Thread& t, const uint64_t* a) {
    if (t.memory.base() != 0) return -ENOSYS;
    if (std::find(std::begin(kRefusedRegister), std::end(kRefusedRegister), a[1]) != std::end(kRefusedRegister)) return -EINVAL;
    int64_t r = t.syscall(kRegister, a[0], a[1], a[2], a[3]);
    if (r == -EFAULT && retry_after_efault(t)) r = t.syscall(kRegister, a[0], a[1], a[2], a[3]);
    // What is refused is not offered: struct io_uring_probe, 16 bytes, then 8 for each operation.
    uint16_t flags = 0;
    if (r == 0 && a[1] == kRegisterProbe && a[3] > kEpollWait && t.memory.get(a[2] + 16 + kEpollWait * 8 + 2, flags) == 0)
        (void)t.memory.put(a[2] + 16 + kEpollWait * 8 + 2, uint16_t{0});
    return r;
}

}  // namespace myna::user
