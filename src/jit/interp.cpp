#include "jit/interp.h"

#include <sys/mman.h>
#include <ucontext.h>
#include <xmmintrin.h>

#include <algorithm>
#include <atomic>
#include <csetjmp>
#include <mutex>
#include <new>
#include <unordered_map>
#include <vector>

#include "base/bits.h"
#include "ir/builder.h"
#include "ir/eval.h"
#include "jit/fetcher.h"

namespace myna::jit {

using guest::VcpuHeader;
using ir::ExitReason;

namespace {

constexpr uint32_t kInEvaluator = 2;  // VcpuHeader::in_code

class InterpEngine;

class InterpVcpu final : public Vcpu {
  public:
    explicit InterpVcpu(InterpEngine& engine);
    ~InterpVcpu() override;
    void* state() noexcept override { return state_; }
    ExitReason run() override { return run(false, nullptr); }
    ExitReason step(ir::EvalMemory* memory) override { return run(true, memory); }
    void request_exit() noexcept override { std::atomic_ref<uint32_t>(header().poll).store(1); }
    void state_changed() override;
    /// Where a fault in the evaluator goes on: run() returns kFault.
    [[noreturn]] static void resume_after_fault(InterpVcpu* v) { longjmp(v->fault_, 1); }

  private:
    struct Lifted {
        uint64_t generation;
        ir::Function function;
    };
    const ir::Function& block_for(uint64_t pc, uint32_t mode, bool one);
    /// `watched`: sees the accesses of one instruction, nullptr: nobody does.
    ExitReason run(bool one, ir::EvalMemory* watched);

    InterpEngine& engine_;
    void* state_;
    size_t bytes_;
    ir::Evaluator evaluator_;
    GuestFetcher fetcher_;
    std::unordered_map<uint64_t, Lifted> blocks_;  // by PC ^ mode << 52
    Lifted single_;                                // step()'s
    jmp_buf fault_;
};

class InterpEngine final : public Engine {
  public:
    InterpEngine(const guest::GuestArch& arch, const guest::CpuConfig& cpu, const EngineOptions& opt, GuestMemory& memory)
        : arch_(arch), cpu_(cpu), opt_(opt), memory_(memory) {
        for (const guest::Helper& h : arch.helpers) helpers_.push_back(h.fn);
    }
    [[nodiscard]] const guest::GuestArch& arch() const noexcept override { return arch_; }
    [[nodiscard]] const guest::CpuConfig& cpu() const noexcept override { return cpu_; }
    std::unique_ptr<Vcpu> create_vcpu() override { return std::make_unique<InterpVcpu>(*this); }
    void invalidate(uint64_t, uint64_t len) override {
        const std::lock_guard lock(mutex_);  // whoever lifts now has done so when this returns
        if (len != 0) generation_.fetch_add(1);  // every vCPU lifts anew: exactness before speed
    }
    HostFault on_host_fault(Vcpu& vcpu, int, const siginfo_t*, void* ucontext) noexcept override {
        VcpuHeader& h = vcpu.header();
        if (h.in_code != kInEvaluator) return HostFault::kNotOurs;
        auto& g = static_cast<ucontext_t*>(ucontext)->uc_mcontext.gregs;
        h.exit_reason = static_cast<uint32_t>(ExitReason::kFault);
        g[REG_RSP] = static_cast<greg_t>(align_down(static_cast<uint64_t>(g[REG_RSP]) - 256, 16) - 8);
        g[REG_RDI] = static_cast<greg_t>(reinterpret_cast<uint64_t>(static_cast<InterpVcpu*>(&vcpu)));
        g[REG_RIP] = static_cast<greg_t>(reinterpret_cast<uint64_t>(&InterpVcpu::resume_after_fault));
        return HostFault::kGuest;
    }
    void before_fork() override { mutex_.lock(); }
    void after_fork_parent() override { mutex_.unlock(); }
    void after_fork_child(Vcpu&) override { mutex_.unlock(); }
    std::string stats() const override { return "interpreted: no translations\n"; }

    const guest::GuestArch& arch_;
    const guest::CpuConfig cpu_;
    const EngineOptions opt_;
    GuestMemory& memory_;
    std::vector<const void*> helpers_;
    std::atomic<uint64_t> generation_{1};
    std::mutex mutex_;  // GuestMemory is called with it held
};

InterpVcpu::InterpVcpu(InterpEngine& engine)
    : engine_(engine), evaluator_(engine.arch_), fetcher_(engine.memory_, engine.opt_.guest_base) {
    bytes_ = align_up(engine.arch_.state_size, 4096);
    state_ = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (state_ == MAP_FAILED) throw std::bad_alloc();
    engine.arch_.init_state(state_, engine.cpu_);
    VcpuHeader& h = header();
    h.guest_base = engine.opt_.guest_base;
    h.helpers = engine.helpers_.data();
    h.runner = this;
    h.mode = engine.arch_.mode_of(state_);
}

InterpVcpu::~InterpVcpu() { munmap(state_, bytes_); }

void InterpVcpu::state_changed() { header().mode = engine_.arch_.mode_of(state_); }

const ir::Function& InterpVcpu::block_for(uint64_t pc, uint32_t mode, bool one) {
    Lifted& l = one ? single_ : blocks_[pc ^ uint64_t{mode} << 52];
    const uint64_t now = engine_.generation_.load();
    if (!one && l.generation == now && l.function.pc == pc && l.function.mode == mode) return l.function;
    const std::lock_guard lock(engine_.mutex_);
    ir::Builder builder(l.function, engine_.arch_, {});
    if (one) fetcher_.begin_unstopped();
    else fetcher_.begin();
    builder.begin(pc, mode);
    guest::LiftLimits limits;
    limits.if_convert = limits.unroll = false;  // what the translator is compared with stays plain
    if (one || engine_.opt_.one_insn_per_block) limits.max_insns = 1;
    engine_.arch_.lift_block(builder, fetcher_, engine_.cpu_, limits);
    l.generation = now;
    return l.function;
}

ExitReason InterpVcpu::run(bool one, ir::EvalMemory* watched) {
    VcpuHeader& h = header();
    ir::DirectMemory memory(engine_.opt_.guest_base);
    for (;;) {
        if (std::atomic_ref<uint32_t>(h.poll).load(std::memory_order_relaxed) != 0) {
            std::atomic_ref<uint32_t>(h.poll).store(0);
            return ExitReason::kPoll;
        }
        const ir::Function& f = block_for(h.pc, h.mode, one);
        h.exit_reason = 0;
        h.host_mxcsr = _mm_getcsr();
        if (setjmp(fault_) != 0) {
            header().in_code = 0;
            _mm_setcsr(header().host_mxcsr);
            return ExitReason::kFault;
        }
        h.in_code = kInEvaluator;
        const ir::EvalResult r = evaluator_.run(f, state_, watched != nullptr ? *watched : memory);
        h.in_code = 0;
        h.pc = r.next_pc;
        switch (r.reason) {
            case ExitReason::kNone:
            case ExitReason::kLookup:
            case ExitReason::kLink: break;
            case ExitReason::kMode: h.mode = engine_.arch_.mode_of(state_); break;
            case ExitReason::kIcache: engine_.invalidate(0, ~uint64_t{0}); break;
            default: return r.reason;
        }
        if (one) return ExitReason::kNone;
    }
}

}  // namespace

Result<std::unique_ptr<Engine>> create_interp_engine(const guest::GuestArch& arch, const guest::CpuConfig& cpu,
                                                     const EngineOptions& opt, GuestMemory& memory) {
    return std::make_unique<InterpEngine>(arch, cpu, opt, memory);
}

}  // namespace myna::jit
