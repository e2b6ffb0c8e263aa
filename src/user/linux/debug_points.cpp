// Breakpoints and watchpoints of the debugger.
//
//   breakpoint: AddressSpace::stops ─▶ the engine does not translate the instruction ─▶ kNoExec ─▶ Debugger::run
//   watchpoint: page protected ─▶ host fault ─▶ on_fault ─▶ the instruction in the evaluator, each access seen
//                                                   ├─ hits: reported (before it on aarch64, after it elsewhere: what gdb expects)
//                                                   └─ misses: done; on with the guest
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "base/bits.h"
#include "ir/eval.h"
#include "user/linux/debug.h"
#include "user/linux/signals.h"

namespace myna::user {

using gdb::PointKind;
using gdb::Stop;
using ir::ExitReason;
using ir::V128;

namespace {

bool is_watch(PointKind k) { return k >= PointKind::kWatchWrite; }

struct Access {
    uint64_t addr, bytes;
    bool write;
};

/// The memory of one instruction that met a watched page: accesses there go through /proc/self/mem, past the protection;
/// stores are kept back until commit().
class WatchedMemory final : public ir::EvalMemory {
  public:
    /// With AddressSpace::watch_lock() held as long as it lives.
    WatchedMemory(AddressSpace& memory, jit::Engine& engine, int fd) : memory_(memory), engine_(engine), fd_(fd), direct_(memory.base()) {}

    V128 load(uint64_t addr, unsigned size) override {
        accesses.push_back({addr, uint64_t{1} << size, false});
        return plain(addr, size, false) ? direct_.load(addr, size) : read(addr, size);
    }
    void store(uint64_t addr, const V128& value, unsigned size) override {
        accesses.push_back({addr, uint64_t{1} << size, true});
        if (plain(addr, size, true)) probe(addr, size);
        stores_.push_back({addr, size, value});
    }
    V128 cas(uint64_t addr, const V128& expected, const V128& desired, unsigned size) override {
        accesses.push_back({addr, uint64_t{1} << size, true});
        if (plain(addr, size, true)) return direct_.cas(addr, expected, desired, size);
        const V128 old = read(addr, size);
        if (std::memcmp(&old, &expected, size_t{1} << size) == 0) stores_.push_back({addr, size, desired});
        return old;
    }
    /// Makes the stores. False: one of them cannot be made here.
    bool commit() {
        for (const Store& s : stores_) {
            const size_t n = size_t{1} << s.size;
            if (pwrite(fd_, &s.value, n, static_cast<off_t>(s.addr + memory_.base())) != static_cast<ssize_t>(n) && !store_directly(s)) return false;
            engine_.invalidate(s.addr, n);
        }
        return true;
    }

    std::vector<Access> accesses;

  private:
    struct Store {
        uint64_t addr;
        unsigned size;
        V128 value;
    };
    /// True when no byte of it is on a watched page that the guest may use this way: the usual access (and fault) is right.
    bool plain(uint64_t addr, unsigned size, bool write) {
        const uint64_t last = addr + (uint64_t{1} << size) - 1;
        for (const uint64_t page : {align_down(addr, kPage), align_down(last, kPage)}) {
            const int prot = memory_.prot_at(page);
            if (prot < 0 || (write && (prot & 2) == 0) || (!write && (prot & 7) == 0)) return true;
        }
        return !memory_.watched(addr) && !memory_.watched(last);
    }
    /// Shared memory cannot be written past its protection: it is opened for a moment.
    bool store_directly(const Store& s) {
        for (int tries = 0; tries < kTries && memory_.open_watches_locked(); ++tries)
            if (myna_user_copy(memory_.host(s.addr), &s.value, size_t{1} << s.size) == 0) return true;
        return false;
    }
    static constexpr int kTries = 64;  // other threads protect the page again when they enter guest code
    /// Faults where the store would.
    void probe(uint64_t addr, unsigned size) {
        const V128 now = direct_.load(addr, size);
        V128 same = now;
        direct_.cas(addr, now, same, size);
    }
    V128 read(uint64_t addr, unsigned size) {
        V128 v{};
        if (pread(fd_, &v, size_t{1} << size, static_cast<off_t>(addr + memory_.base())) < 0) v = {};
        return v;
    }

    AddressSpace& memory_;
    jit::Engine& engine_;
    int fd_;
    ir::DirectMemory direct_;
    std::vector<Store> stores_;
};

/// A thread's registers, to take an instruction back. What others may change in the header meanwhile is left alone.
class SavedRegisters {
  public:
    explicit SavedRegisters(Thread& t)
        : bytes_(t.state + sizeof(guest::VcpuHeader), t.state + t.abi.arch->state_size), pc_(t.pc()), mxcsr_(t.vcpu->header().mxcsr),
          excl_addr_(t.vcpu->header().excl_addr) {}
    void restore(Thread& t) const {
        std::memcpy(t.state + sizeof(guest::VcpuHeader), bytes_.data(), bytes_.size());
        t.pc() = pc_;
        t.vcpu->header().mxcsr = mxcsr_;
        t.vcpu->header().excl_addr = excl_addr_;
        t.vcpu->state_changed();
    }

  private:
    std::vector<uint8_t> bytes_;
    uint64_t pc_;
    uint32_t mxcsr_;
    uint64_t excl_addr_;
};

}  // namespace

bool Debugger::insert_point(PointKind kind, uint64_t addr, uint64_t len) {
    if (len == 0 || len > (1u << 20)) return false;
    if (is_watch(kind)) {
        if (memory_ < 0) return false;  // no /proc: nothing to see accesses through
        for (uint64_t page = align_down(addr, kPage); page < addr + len; page += kPage) {
            const int prot = process_.memory.prot_at(page);
            // The translator reads code itself.
            if (prot < 0 || (kind != PointKind::kWatchWrite && (prot & 4) != 0)) return false;
        }
    }
    auto all = points()->all;
    const auto same = [&](const Point& p) { return p.kind == kind && p.addr == addr && p.len == len; };
    if (std::none_of(all.begin(), all.end(), same)) all.push_back({kind, addr, len});
    set_points(std::move(all), addr, len, is_watch(kind));
    return true;
}

bool Debugger::remove_point(PointKind kind, uint64_t addr, uint64_t len) {
    auto all = points()->all;
    std::erase_if(all, [&](const Point& p) { return p.kind == kind && p.addr == addr && p.len == len; });
    set_points(std::move(all), addr, len, is_watch(kind));
    return true;
}

void Debugger::set_points(std::vector<Point> all, uint64_t addr, uint64_t len, bool watch) {
    auto next = std::make_shared<Points>();
    next->all = std::move(all);
    for (const Point& p : next->all)
        if (!is_watch(p.kind)) next->breaks.push_back(p.addr);
    std::sort(next->breaks.begin(), next->breaks.end());
    const std::lock_guard l(points_lock_);
    points_ = next;
    if (!watch) {
        const auto old = process_.memory.set_stops(next->breaks);
        process_.engine->invalidate(addr, len);
        return;
    }
    std::vector<AddressSpace::WatchedPage> pages;
    for (const Point& p : next->all) {
        if (!is_watch(p.kind)) continue;
        for (uint64_t page = align_down(p.addr, kPage); page < p.addr + p.len; page += kPage) {
            const bool reads = p.kind != PointKind::kWatchWrite;
            const auto it = std::find_if(pages.begin(), pages.end(), [&](const auto& w) { return w.page == page; });
            if (it == pages.end()) pages.push_back({page, reads});
            else it->reads = it->reads || reads;
        }
    }
    process_.memory.set_watches(std::move(pages));
}

void Debugger::clear_points() {
    for (const Point& p : points()->all) remove_point(p.kind, p.addr, p.len);
}

bool Debugger::on_fault(Thread& t, uint64_t addr) {
    const bool before = watch_stops_before();
    const SavedRegisters saved(t);
    std::optional<Point> hit;
    {
        const std::lock_guard access(process_.memory.watch_lock());
        const auto points = this->points();
        process_.memory.rearm_watches();  // whoever reaches the page now comes here and waits
        WatchedMemory memory(process_.memory, *process_.engine, memory_);
        ExitReason r;
        do r = t.vcpu->step(&memory);
        while (r == ExitReason::kPoll);  // whoever asked is heard before the next instruction
        for (const Access& a : memory.accesses)
            for (const Point& p : points->all) {
                if (!is_watch(p.kind) || a.addr >= p.addr + p.len || p.addr >= a.addr + a.bytes) continue;
                if (p.kind == PointKind::kWatchAccess || (p.kind == PointKind::kWatchWrite) == a.write) hit = p;
            }
        if (r == ExitReason::kFault && memory.accesses.empty()) {
            // A helper that uses memory by itself: the page is opened for this one instruction.
            saved.restore(t);
            if (!t.memory.watched(reinterpret_cast<uint64_t>(t.fault.si_addr) - t.memory.base())) return false;
            t.memory.open_watches_locked();
            if (t.vcpu->step(nullptr) == ExitReason::kFault) return false;
            for (const Point& p : points->all)
                if (is_watch(p.kind) && align_down(p.addr, 64) == align_down(addr, 64)) hit = p;
            if (!hit) return true;
        } else if (hit && before && !t.debug.shadow && attached_ && r != ExitReason::kFault) {
            saved.restore(t);
        } else {
            if (r != ExitReason::kNone || !memory.commit()) return false;  // the instruction's own fault
            if (!hit) {
                if (t.debug.step) {
                    t.debug.step = false;
                    t.debug.info = fault_info(SIGTRAP, 2, t.pc());
                } else {
                    return true;
                }
            }
        }
    }
    if (t.debug.shadow || !attached_) return true;
    if (!hit) {
        report(t, {.kind = Stop::Kind::kSignal, .signal = SIGTRAP, .stepped = true});
        return true;
    }
    const Stop::Kind kind = hit->kind == PointKind::kWatchWrite ? Stop::Kind::kWatchWrite : hit->kind == PointKind::kWatchRead ? Stop::Kind::kWatchRead : Stop::Kind::kWatchAccess;
    t.debug.info = fault_info(SIGTRAP, 4, hit->addr);
    report(t, {.kind = kind, .address = hit->addr});
    return true;
}

}  // namespace myna::user
