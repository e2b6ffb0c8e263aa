// The engine's run loop, and the rules by which vCPUs, the translator and eviction share the code cache.
//
// A vCPU that looks a block up and runs it does so inside a *section*: section_ holds the epoch it saw on entry. To
// free memory, a thread removes the blocks, raises the epoch, asks all vCPUs to leave translated code and waits until
// each is outside or in a section of the new epoch. A thread never waits for the engine's lock inside a section.
//
//   run:  section ─▶ find ─▶ enter ─▶ exit reason ─▶ link / look up / leave
//                      └ missing: leave section ─▶ lock ─▶ translate ─▶ section ─▶ unlock
//                                                     └ seen for the first time: unlock ─▶ evaluate once ─▶ find …
#include "jit/engine.h"

#include <sched.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <mutex>
#include <new>
#include <optional>
#include <stdexcept>
#include <utility>

#include "base/bits.h"
#include "jit/block_map.h"
#include "jit/code_cache.h"
#include "jit/interp.h"
#include "jit/log.h"
#include "jit/stepper.h"
#include "jit/translator.h"

namespace myna::jit {

using guest::IndirectEntry;
using guest::kIndirectEntries;
using guest::VcpuHeader;
using ir::ExitReason;

namespace {

constexpr uint32_t kPollOwner = 1;     // VcpuHeader::poll bits: the owner asked
constexpr uint32_t kPollInternal = 2;  // the engine asked (eviction)

/// The PC of an empty entry of the indirect-branch cache: one that belongs to another entry, so that no look-up of this
/// one can match. All but the first are empty when zero.
constexpr uint64_t empty_pc(size_t index) { return index == 0 ? ~uint64_t{0} : 0; }

/// A table for the indirect-branch cache: untouched pages are zero, and a zero entry can match PC 0 only in slot 0.
IndirectEntry* new_indirect_table() {
    void* p = mmap(nullptr, sizeof(IndirectEntry) * kIndirectEntries, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) throw std::bad_alloc();
    auto* t = static_cast<IndirectEntry*>(p);
    t[0].pc = empty_pc(0);
    return t;
}

class JitEngine;

class JitVcpu final : public Vcpu {
  public:
    JitVcpu(JitEngine& engine);
    ~JitVcpu() override;

    void* state() noexcept override { return state_; }
    ExitReason run() override;
    ExitReason step(ir::EvalMemory* memory) override;
    [[nodiscard]] Stepper* stepper() const noexcept { return stepper_.get(); }
    void request_exit() noexcept override { request(kPollOwner); }
    void state_changed() override { set_mode(engine_mode()); }

    void request(uint32_t bit) noexcept {
        std::atomic_ref<uint32_t>(header().poll).fetch_or(bit);
        std::atomic_ref<IndirectEntry*>(header().indirect).store(empty_);
    }
    /// Forgets the cached way to `pc`. Any thread.
    void purge(uint64_t pc) noexcept {
        IndirectEntry& e = entry(pc);
        std::atomic_ref<uint64_t>(e.pc).store(empty_pc(static_cast<size_t>(&e - own_)), std::memory_order_relaxed);
    }
    [[nodiscard]] bool outside(uint64_t epoch) const noexcept {
        const uint64_t s = section_.load();
        return s == 0 || s >= epoch;
    }

    std::atomic<uint64_t> section_{0};  // 0: outside translated code and without pointers to blocks; else the epoch seen

  private:
    [[nodiscard]] IndirectEntry& entry(uint64_t pc) const noexcept;
    uint32_t engine_mode();
    void set_mode(uint32_t mode);
    Block* block_for(uint64_t pc);
    Block* link(uint64_t stub_data);
    Stepper& evaluated();
    ExitReason enter(const Block& b);
    void cache_indirect(const Block& b) noexcept;

    JitEngine& engine_;
    void* state_;
    size_t state_bytes_;
    IndirectEntry* own_;
    IndirectEntry* empty_;  // shared, never written
    std::unique_ptr<Stepper> stepper_;  // made when first needed
};

class JitEngine final : public Engine {
  public:
    JitEngine(const guest::GuestArch& arch, const guest::CpuConfig& cpu, const EngineOptions& opt, GuestMemory& memory)
        : arch_(arch), cpu_(cpu), opt_(opt), memory_(memory), layout_(arch, std::find(opt.jit_disable.begin(), opt.jit_disable.end(), "pin") == opt.jit_disable.end()), log_(opt.log, opt.log_fd, opt.log_ranges) {}
    Result<void> start();
    ~JitEngine() override { munmap(empty_, sizeof(IndirectEntry) * kIndirectEntries); }

    [[nodiscard]] const guest::GuestArch& arch() const noexcept override { return arch_; }
    [[nodiscard]] const guest::CpuConfig& cpu() const noexcept override { return cpu_; }
    std::unique_ptr<Vcpu> create_vcpu() override { return std::make_unique<JitVcpu>(*this); }
    void invalidate(uint64_t addr, uint64_t len) override;
    HostFault on_host_fault(Vcpu& vcpu, int sig, const siginfo_t* info, void* ucontext) noexcept override;
    void before_fork() override {
        mutex_.lock();
        copying_->fetch_add(1);
    }
    void after_fork_parent() override { mutex_.unlock(); }
    void after_fork_child(Vcpu& survivor) override;
    std::string stats() const override;
    Result<RegionSource> snapshot_region(std::span<const uint64_t> blocks, uint32_t mode) override;
    Result<void> install_region(const RegionSource& source, const ir::Function& region) override;
    [[nodiscard]] persist::Key persist_key() const override { return translator_->key(); }
    Result<persist::SavedBlock> save_block(uint64_t pc, uint32_t mode) override;
    Result<void> load_block(const persist::SavedBlock& block) override;

    /// Under the lock, outside any section: the block at `pc`, translated if need be. nullptr: it is to be evaluated, as it
    /// was never asked for before.
    Block* find_or_translate(uint64_t pc, uint32_t mode);

    const guest::GuestArch& arch_;
    const guest::CpuConfig cpu_;
    const EngineOptions opt_;
    GuestMemory& memory_;
    const x64::Layout layout_;
    LogSink log_;
    PerfRecorder perf_;
    std::unique_ptr<CodeCache> cache_;
    std::unique_ptr<BlockMap> map_;
    std::unique_ptr<Translator> translator_;
    std::vector<const void*> helpers_;  // GuestArch::helpers' functions by index
    IndirectEntry* empty_ = nullptr;
    bool chain_ = true, use_indirect_ = true, interpret_once_ = false;

    std::mutex mutex_;                 // translation, links, removal, the list of vCPUs
    std::vector<JitVcpu*> vcpus_;
    std::atomic<uint64_t> epoch_{1};
    std::atomic<uint64_t> evictions_{0};  // blocks seen before a change of this may be gone

  private:
    Result<void> new_fork_counter();
    void wait_for_children();
    void evict();
    void wait_until_left();
    void purge(const std::vector<Block*>& removed);
    bool first_time(uint64_t pc, uint32_t mode) noexcept;
    std::vector<Block*> removed_;  // scratch
    /// A bit for each place that was asked for. Places share bits: one that seems seen is only translated early. Never
    /// cleared, so everything that goes on running is translated.
    std::array<uint64_t, 1024> seen_{};
    uint32_t evaluated_ = 0, came_back_ = 0;  // places evaluated once, and places asked for again
    uint64_t generation_ = 1;      // of guest code: raised by each invalidation; under the lock
    std::atomic<uint32_t>* copying_ = nullptr;  // shared with forked children: how many still copy the cache
};

// ---- JitVcpu

JitVcpu::JitVcpu(JitEngine& engine) : engine_(engine), empty_(engine.empty_) {
    state_bytes_ = align_up(engine.arch_.state_size, 4096);
    state_ = mmap(nullptr, state_bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (state_ == MAP_FAILED) throw std::bad_alloc();
    engine.arch_.init_state(state_, engine.cpu_);
    own_ = new_indirect_table();
    VcpuHeader& h = header();
    h.indirect = own_;
    h.guest_base = engine.opt_.guest_base;
    h.helpers = engine.helpers_.data();
    h.rt_helpers = x64::runtime_helpers().data();
    h.runner = this;
    h.mode = engine.arch_.mode_of(state_);
    const std::lock_guard lock(engine_.mutex_);
    engine_.vcpus_.push_back(this);
}

JitVcpu::~JitVcpu() {
    {
        const std::lock_guard lock(engine_.mutex_);
        std::erase(engine_.vcpus_, this);
    }
    munmap(own_, sizeof(IndirectEntry) * kIndirectEntries);
    munmap(state_, state_bytes_);
}

IndirectEntry& JitVcpu::entry(uint64_t pc) const noexcept {
    return own_[(pc >> engine_.arch_.insn_align_log2) & (kIndirectEntries - 1)];
}

uint32_t JitVcpu::engine_mode() { return engine_.arch_.mode_of(state_); }

void JitVcpu::set_mode(uint32_t mode) {
    VcpuHeader& h = header();
    if (h.mode == mode) return;
    h.mode = mode;
    // Entries belong to a mode.
    madvise(own_, sizeof(IndirectEntry) * kIndirectEntries, MADV_DONTNEED);
    own_[0].pc = empty_pc(0);
}

/// The block at `pc`, in a section; nullptr, outside: to be evaluated.
Block* JitVcpu::block_for(uint64_t pc) {
    section_.store(engine_.epoch_.load());
    if (Block* b = engine_.map_->find(pc, header().mode)) [[likely]] return b;
    section_.store(0);
    const std::lock_guard lock(engine_.mutex_);
    Block* b = engine_.find_or_translate(pc, header().mode);
    if (b != nullptr) section_.store(engine_.epoch_.load());
    return b;
}

void JitVcpu::cache_indirect(const Block& b) noexcept {
    IndirectEntry& e = entry(b.pc);
    e.host = b.host;
    std::atomic_ref<uint64_t>(e.pc).store(b.pc);
    if (!std::atomic_ref<const bool>(b.valid).load()) purge(b.pc);
}

/// A direct exit was taken that is not linked. Links it, and gives the block it leads to, as block_for does.
Block* JitVcpu::link(uint64_t stub_data) {
    const auto* data = reinterpret_cast<const x64::ExitStubData*>(stub_data);
    VcpuHeader& h = header();
    Exit* exit = reinterpret_cast<Exit*>(data->target);
    h.pc = exit->target_pc;
    if (!engine_.chain_) return block_for(h.pc);
    const uint64_t evictions = engine_.evictions_.load();
    section_.store(0);
    const std::lock_guard lock(engine_.mutex_);
    Block* target = engine_.find_or_translate(h.pc, h.mode);
    if (target == nullptr) return nullptr;
    section_.store(engine_.epoch_.load());
    if (evictions == engine_.evictions_.load()) {
        engine_.map_->link(*exit, *target);
        ++engine_.translator_->stats.links;
    }
    return target;
}

Stepper& JitVcpu::evaluated() {
    if (stepper_ == nullptr)
        stepper_ = std::make_unique<Stepper>(engine_.arch_, engine_.cpu_, engine_.memory_, engine_.opt_.guest_base, engine_.mutex_);
    return *stepper_;
}

ExitReason JitVcpu::enter(const Block& b) {
    VcpuHeader& h = header();
    if (engine_.log_.on(Log::kExec | Log::kCpu, b.pc)) [[unlikely]] {
        char line[96];
        std::snprintf(line, sizeof line, "Trace: %llx [%llx/%x]\n", static_cast<unsigned long long>(b.host),
                      static_cast<unsigned long long>(b.pc), b.mode);
        if (engine_.log_.on(Log::kExec)) engine_.log_.write(line);
        if (engine_.log_.on(Log::kCpu)) engine_.log_.write(engine_.arch_.dump(state_));
    }
    h.exit_reason = 0;
    h.in_code = 1;
    const auto reason = static_cast<ExitReason>(engine_.translator_->stubs().enter(&h, reinterpret_cast<const void*>(b.host)));
    h.in_code = 0;
    return reason;
}

ExitReason JitVcpu::run() {
    VcpuHeader& h = header();
    // Where the last exit leads, when that is known; in a section then, unless it is nullptr: to be evaluated.
    std::optional<const Block*> next;
    for (;;) {
        if (std::atomic_ref<uint32_t>(h.poll).load(std::memory_order_relaxed) != 0) [[unlikely]] {
            section_.store(0);
            std::atomic_ref<IndirectEntry*>(h.indirect).store(own_);
            if (std::atomic_ref<uint32_t>(h.poll).exchange(0) & kPollOwner) return ExitReason::kPoll;
            // What is to be evaluated stays so: asked for again it would seem seen.
            if (next.has_value() && *next != nullptr) next.reset();
        }
        const Block* b = next.has_value() ? *next : block_for(h.pc);
        next.reset();
        const ExitReason reason = b != nullptr ? enter(*b) : evaluated().run_block(state_);
        switch (reason) {
            case ExitReason::kLink:
                next = link(h.trap_arg);
                break;
            case ExitReason::kLookup:
                if (engine_.use_indirect_ && std::atomic_ref<uint32_t>(h.poll).load() == 0) {
                    std::atomic_ref<IndirectEntry*>(h.indirect).store(own_);
                    next = block_for(h.pc);
                    if (*next != nullptr) cache_indirect(**next);
                }
                break;
            case ExitReason::kPoll:
                break;  // seen at the head of the loop
            case ExitReason::kNone:
                break;  // evaluated; pc is the next block's
            case ExitReason::kMode:
                set_mode(engine_mode());
                break;
            case ExitReason::kIcache:
                section_.store(0);
                engine_.invalidate(h.trap_arg2 != 0 ? h.trap_arg : 0, h.trap_arg2 != 0 ? h.trap_arg2 : ~uint64_t{0});
                h.trap_arg2 = 0;
                break;
            default:
                section_.store(0);
                return reason;
        }
    }
}

ExitReason JitVcpu::step(ir::EvalMemory* memory) {
    VcpuHeader& h = header();
    if (std::atomic_ref<uint32_t>(h.poll).exchange(0) & kPollOwner) return ExitReason::kPoll;
    const ExitReason reason = evaluated().step(state_, memory);
    if (reason == ExitReason::kMode) {
        set_mode(engine_mode());
        return ExitReason::kNone;
    }
    if (reason == ExitReason::kIcache) {
        engine_.invalidate(0, ~uint64_t{0});
        h.trap_arg2 = 0;
        return ExitReason::kNone;
    }
    return reason;
}

// ---- JitEngine

bool contains(const std::vector<std::string>& list, std::string_view name) {
    return std::find(list.begin(), list.end(), name) != list.end();
}

Result<void> JitEngine::start() {
    auto cache = CodeCache::create(opt_.cache_bytes);
    if (!cache) return std::unexpected(cache.error());
    cache_ = std::move(*cache);
    map_ = std::make_unique<BlockMap>(*cache_);
    if (auto r = perf_.open(opt_.perf_map, opt_.jitdump); !r) return r;
    translator_ = std::make_unique<Translator>(arch_, cpu_, opt_, memory_, *cache_, *map_, log_, perf_);
    auto host = x64::HostFeatures::detect();
    if (!host) return std::unexpected(host.error());
    for (const std::string& name : opt_.host_mask)
        if (!host->mask(name)) return fail(ErrorKind::kInvalidArgument, "no such host feature: " + name);
    static constexpr std::string_view kPasses[] = {"fold", "share", "forward", "if-convert", "unroll", "dead-sets", "fuse", "pin", "chain", "indirect-cache", "interpret-once"};
    for (const std::string& name : opt_.jit_disable)
        if (std::find(std::begin(kPasses), std::end(kPasses), name) == std::end(kPasses))
            return fail(ErrorKind::kInvalidArgument,
                        "no such part of the translator: " + name + " (fold, share, forward, if-convert, unroll, dead-sets, fuse, pin, chain, indirect-cache, interpret-once)");
    x64::Options codegen;
    codegen.host = *host;
    codegen.guest_base = opt_.guest_base;
    codegen.dead_sets = !contains(opt_.jit_disable, "dead-sets");
    codegen.fuse = !contains(opt_.jit_disable, "fuse");
    codegen.pin = !contains(opt_.jit_disable, "pin");
    chain_ = !contains(opt_.jit_disable, "chain") && !log_.on(Log::kNochain);
    use_indirect_ = !contains(opt_.jit_disable, "indirect-cache");
    if (log_.on(Log::kExec | Log::kCpu)) chain_ = use_indirect_ = false;
    // A log tells of all code that runs.
    interpret_once_ = opt_.interpret_once && !opt_.one_insn_per_block && !contains(opt_.jit_disable, "interpret-once") &&
                      !log_.on(Log::kInAsm | Log::kOp | Log::kOpOpt | Log::kOutAsm | Log::kExec | Log::kCpu);
    empty_ = new_indirect_table();
    for (const guest::Helper& helper : arch_.helpers) helpers_.push_back(helper.fn);
    if (auto r = new_fork_counter(); !r) return r;
    return translator_->start(codegen);
}

Block* JitEngine::find_or_translate(uint64_t pc, uint32_t mode) {
    if (Block* b = map_->find(pc, mode)) return b;
    if (interpret_once_ && first_time(pc, mode)) return nullptr;
    for (unsigned tries = 0;; ++tries) {
        if (Block* b = translator_->translate(pc, mode)) {
            if (map_->has_old_tables()) {
                wait_until_left();
                map_->free_old_tables();
            }
            return b;
        }
        if (tries > 1) throw std::runtime_error("a block does not fit an empty code cache region");
        evict();
    }
}

bool JitEngine::first_time(uint64_t pc, uint32_t mode) noexcept {
    const uint64_t hash = ((pc >> arch_.insn_align_log2) ^ uint64_t{mode} << 40) * 0x9e3779b97f4a7c15;
    uint64_t& word = seen_[hash >> 54];
    const uint64_t bit = uint64_t{1} << (hash >> 48 & 63);
    if ((std::exchange(word, word | bit) & bit) != 0) {
        ++came_back_;
        return false;
    }
    // Worth it while most places run once. A start of a program is so, its work is not.
    if (came_back_ > evaluated_ / 2 + 32) return false;
    ++evaluated_;
    return true;
}

void JitEngine::wait_until_left() {
    const uint64_t epoch = epoch_.fetch_add(1) + 1;
    for (JitVcpu* v : vcpus_) {
        if (v->outside(epoch)) continue;
        v->request(kPollInternal);
        while (!v->outside(epoch)) sched_yield();
    }
}

void JitEngine::purge(const std::vector<Block*>& removed) {
    for (JitVcpu* v : vcpus_)
        for (const Block* b : removed) v->purge(b->pc);
}

Result<void> JitEngine::new_fork_counter() {
    void* p = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) return fail_errno(errno, "code cache: mmap of the fork counter");
    copying_ = new (p) std::atomic<uint32_t>(0);
    return {};
}

/// A forked child copies the cache before it runs; code must not be overwritten until it has. A child that was killed
/// meanwhile never says so: the wait is bounded.
void JitEngine::wait_for_children() {
    for (unsigned ms = 0; copying_->load() != 0 && ms < 500; ++ms) usleep(1000);
    copying_->store(0);
}

/// Makes room: everything in the cache's following region goes, and allocation continues there.
void JitEngine::evict() {
    wait_for_children();
    const unsigned region = cache_->following();
    removed_.clear();
    map_->remove_region(region, removed_);
    purge(removed_);
    wait_until_left();
    map_->free_region(region);
    map_->free_old_tables();
    cache_->advance();
    evictions_.fetch_add(1);
    ++translator_->stats.evictions;
}

void JitEngine::invalidate(uint64_t addr, uint64_t len) {
    if (len == 0) return;
    len = std::min(len, ~addr);
    memory_.changes.fetch_add(1);
    const std::lock_guard lock(mutex_);
    ++generation_;
    removed_.clear();
    map_->remove_range(addr, len, removed_);
    if (removed_.empty()) return;
    purge(removed_);
    translator_->stats.invalidated += removed_.size();
}

Result<RegionSource> JitEngine::snapshot_region(std::span<const uint64_t> blocks, uint32_t mode) {
    RegionSource source;
    source.blocks.assign(blocks.begin(), blocks.end());
    source.mode = mode;
    const std::lock_guard lock(mutex_);
    source.generation = generation_;
    for (const uint64_t pc : blocks) {
        const std::vector<ir::GuestRange>& ranges = translator_->ranges_of(pc, mode);
        if (ranges.empty()) return fail(ErrorKind::kNotFound, "a block of the region has no code");
        for (const ir::GuestRange& r : ranges) {
            const auto* p = reinterpret_cast<const uint8_t*>(opt_.guest_base + r.pc);
            source.code.push_back({r.pc, {p, p + r.bytes}});
        }
    }
    return source;
}

Result<void> JitEngine::install_region(const RegionSource& source, const ir::Function& region) {
    const std::lock_guard lock(mutex_);
    for (unsigned tries = 0; tries < 3; ++tries) {
        if (source.generation != generation_) return fail(ErrorKind::kInterrupted, "guest code was changed since the region's snapshot");
        Block* now = translator_->compile(region);
        if (now == nullptr) {
            evict();
            continue;
        }
        if (Block* old = map_->find(region.pc, region.mode)) {
            removed_.assign(1, old);
            map_->replace(old, now);
            purge(removed_);
        } else {
            map_->publish(now);
        }
        return {};
    }
    return fail(ErrorKind::kNoSpace, "a region does not fit an empty code cache region");
}

Result<persist::SavedBlock> JitEngine::save_block(uint64_t pc, uint32_t mode) {
    if (!opt_.keep_relocations) return fail(ErrorKind::kUnsupported, "this engine does not keep what saving translations needs");
    const std::lock_guard lock(mutex_);
    const Block* b = map_->find(pc, mode);
    if (b == nullptr) return fail(ErrorKind::kNotFound, "there is no translation");
    return translator_->save(*b);
}

Result<void> JitEngine::load_block(const persist::SavedBlock& block) {
    const std::lock_guard lock(mutex_);
    if (map_->find(block.pc, block.mode) != nullptr) return fail(ErrorKind::kInvalidArgument, "there is a translation already");
    for (unsigned tries = 0; tries < 3; ++tries) {
        const auto b = translator_->load(block);
        if (!b) return std::unexpected(b.error());
        if (*b != nullptr) {
            map_->publish(*b);
            return {};
        }
        evict();
    }
    return fail(ErrorKind::kNoSpace, "a translation does not fit an empty code cache region");
}

Engine::HostFault JitEngine::on_host_fault(Vcpu& vcpu, int, const siginfo_t*, void* ucontext) noexcept {
    VcpuHeader& h = vcpu.header();
    if (h.in_code == 0) return HostFault::kNotOurs;
    if (h.in_code == Stepper::kInEvaluator) {
        static_cast<JitVcpu&>(vcpu).stepper()->on_host_fault(ucontext);
        return HostFault::kGuest;
    }
    auto& gregs = static_cast<ucontext_t*>(ucontext)->uc_mcontext.gregs;
    const auto rip = static_cast<uint64_t>(gregs[REG_RIP]);
    if (cache_->contains(rip)) {
        const Block* b = cache_->block_at(rip);
        if (b == nullptr) return HostFault::kNotOurs;  // in a stub: ours to mend, not the guest's
        const auto offset = static_cast<uint32_t>(rip - b->host);
        const Fault* begin = b->faults;
        const Fault* end = begin + b->fault_count;
        const Fault* f = std::lower_bound(begin, end, offset, [](const Fault& a, uint32_t o) { return a.host_offset < o; });
        if (f == end || f->host_offset != offset) return HostFault::kNotOurs;
        x64::recover(arch_, layout_, {f->host_offset, f->insn, f->flags}, ucontext, vcpu.state());
        h.pc = b->insn_pc(f->insn);
    }  // else: in a helper; its thunk saved all registers and the block stored pc
    h.exit_reason = static_cast<uint32_t>(ExitReason::kFault);
    gregs[REG_RBP] = static_cast<greg_t>(reinterpret_cast<uint64_t>(&h) + x64::kStateBias);
    gregs[REG_RSP] = static_cast<greg_t>(h.host_rsp);
    gregs[REG_RIP] = static_cast<greg_t>(translator_->stubs().fault_exit);
    return HostFault::kGuest;
}

void JitEngine::after_fork_child(Vcpu& survivor) {
    std::erase_if(vcpus_, [&](JitVcpu* v) { return v != &survivor; });
    // Before anything runs: the parent goes on patching the memory that the child still shares.
    if (auto r = cache_->unshare(); !r) {
        log_.write("myna-user: " + r.error().message + "\n");
        _exit(127);
    }
    map_->repatch_all();
    copying_->fetch_sub(1);
    munmap(copying_, 4096);
    if (auto r = new_fork_counter(); !r) {
        log_.write("myna-user: " + r.error().message + "\n");
        _exit(127);
    }
    mutex_.unlock();
}

std::string JitEngine::stats() const {
    const Stats& s = translator_->stats;
    char text[1024];
    const double insns = s.guest_insns != 0 ? static_cast<double>(s.guest_insns) : 1;
    std::snprintf(text, sizeof text,
                  "blocks translated   %llu\n"
                  "blocks interpreted  %u\n"
                  "guest instructions  %llu (%llu bytes), %.2f a block\n"
                  "IR instructions     %llu, %.2f a guest instruction\n"
                  "host code           %llu bytes, %.2f a guest instruction\n"
                  "translation         %.0f cycles a guest instruction\n"
                  "exits linked        %llu\n"
                  "blocks invalidated  %llu\n"
                  "regions evicted     %llu\n"
                  "code cache in use   %zu bytes\n",
                  static_cast<unsigned long long>(s.blocks), evaluated_, static_cast<unsigned long long>(s.guest_insns),
                  static_cast<unsigned long long>(s.guest_bytes), insns / static_cast<double>(std::max<uint64_t>(s.blocks, 1)),
                  static_cast<unsigned long long>(s.ir_insns), static_cast<double>(s.ir_insns) / insns,
                  static_cast<unsigned long long>(s.host_bytes), static_cast<double>(s.host_bytes) / insns,
                  static_cast<double>(s.translate_cycles) / insns, static_cast<unsigned long long>(s.links),
                  static_cast<unsigned long long>(s.invalidated), static_cast<unsigned long long>(s.evictions), cache_->used());
    return text;
}

}  // namespace

namespace {
std::unexpected<Error> not_translated() { return fail(ErrorKind::kUnsupported, "this engine makes no translations"); }
}  // namespace

Result<RegionSource> Engine::snapshot_region(std::span<const uint64_t>, uint32_t) { return not_translated(); }
Result<void> Engine::install_region(const RegionSource&, const ir::Function&) { return not_translated(); }
persist::Key Engine::persist_key() const { return {}; }
Result<persist::SavedBlock> Engine::save_block(uint64_t, uint32_t) { return not_translated(); }
Result<void> Engine::load_block(const persist::SavedBlock&) { return not_translated(); }

Result<std::unique_ptr<Engine>> Engine::create(const guest::GuestArch& arch, const guest::CpuConfig& cpu,
                                               const EngineOptions& opt, GuestMemory& memory) {
    if (opt.accel == Accel::kInterp) return create_interp_engine(arch, cpu, opt, memory);
    auto engine = std::make_unique<JitEngine>(arch, cpu, opt, memory);
    if (auto r = engine->start(); !r) return std::unexpected(r.error());
    return engine;
}

}  // namespace myna::jit
