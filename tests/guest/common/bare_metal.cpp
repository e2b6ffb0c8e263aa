#include "guest/common/bare_metal.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <stdexcept>

namespace myna::test {

using namespace guest;

namespace {

constexpr size_t kCodeBytes = 1 << 20;

/// Guest memory of the evaluator in system mode; a fault leaves it by an exception.
class SoftmmuMemory final : public ir::EvalMemory {
  public:
    struct Fault {};
    SoftmmuMemory(VcpuHeader& hdr, uint32_t mmu_index) : hdr_(hdr), index_(mmu_index << 8) {}
    V128 load(uint64_t addr, unsigned size) override {
        hdr_.exit_reason = 0;
        V128 v{};
        if (size == 4) {
            mem::softmmu_load16(&hdr_, addr, 0, 0, size | index_);
            v = hdr_.vscratch[0];
        } else {
            v.u64[0] = mem::softmmu_load(&hdr_, addr, 0, 0, size | index_);
        }
        check();
        return v;
    }
    void store(uint64_t addr, const V128& value, unsigned size) override {
        hdr_.exit_reason = 0;
        if (size == 4) {
            hdr_.vscratch[0] = value;
            mem::softmmu_store16(&hdr_, addr, 0, 0, size | index_);
        } else {
            mem::softmmu_store(&hdr_, addr, value.u64[0], 0, size | index_);
        }
        check();
    }
    V128 cas(uint64_t addr, const V128& expected, const V128& desired, unsigned size) override {
        hdr_.exit_reason = 0;
        const uint64_t host = mem::softmmu_atomic(&hdr_, addr, 0, 0, size | index_);
        check();
        V128 old{};
        std::memcpy(&old, reinterpret_cast<const void*>(host), size_t{1} << size);
        if (std::memcmp(&old, &expected, size_t{1} << size) == 0) std::memcpy(reinterpret_cast<void*>(host), &desired, size_t{1} << size);
        return old;
    }

  private:
    void check() const {
        if (hdr_.exit_reason != 0) throw Fault{};
    }
    VcpuHeader& hdr_;
    uint32_t index_;
};

}  // namespace

unsigned SoftmmuFetcher::fetch(uint64_t pc, void* out, unsigned want) {
    want = static_cast<unsigned>(std::min<uint64_t>(want, 4096 - (pc & 4095)));
    const uint8_t* p = mem::softmmu_host(hdr_, pc, want, mem::Access::kFetch, index_);
    if (p == nullptr) return 0;
    std::memcpy(out, p, want);
    return want;
}

BareMetal::BareMetal(const GuestArch& arch, const CpuConfig& cpu, size_t state_bytes, mem::Mmu& mmu, bool translated)
    : arch_(arch),
      cpu_(cpu),
      state_bytes_(state_bytes + 4096),
      block_(mmap(nullptr, kCodeBytes, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)),
      state_(mmap(nullptr, state_bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)),
      indirect_(kIndirectEntries, IndirectEntry{~uint64_t{0}, 0}),
      builder_(function_, arch, {}),
      evaluator_(arch) {
    arch_.init_state(state_, cpu_);
    tlb_->mmu = &mmu;
    tlb_->memory = &memory_;
    for (const Helper& h : arch_.helpers) helpers_.push_back(h.fn);
    VcpuHeader& hdr = header();
    hdr.tlb = tlb_.get();
    hdr.helpers = helpers_.data();
    hdr.rt_helpers = x64::runtime_helpers().data();
    hdr.indirect = indirect_.data();
    if (!translated) return;
    x64::Options options;
    options.host = *x64::HostFeatures::detect();
    options.system_mode = true;
    compiler_ = std::make_unique<x64::Compiler>(arch_, options);
    stubs_ = *compiler_->emit_stubs({static_cast<uint8_t*>(block_), kCodeBytes}, reinterpret_cast<uint64_t>(block_));
    compiler_->use_stubs(stubs_);
}

BareMetal::~BareMetal() {
    munmap(block_, kCodeBytes);
    munmap(state_, state_bytes_);
}

ir::ExitReason BareMetal::step(CodeFetcher& fetcher) {
    VcpuHeader& hdr = header();
    LiftLimits limits;
    limits.system_mode = true;
    builder_.begin(hdr.pc, hdr.mode);
    arch_.lift_block(builder_, fetcher, cpu_, limits);
    hdr.exit_reason = 0;
    if (compiler_ == nullptr) {
        SoftmmuMemory memory(hdr, function_.mmu_index);
        try {
            const ir::EvalResult r = evaluator_.run(function_, state_, memory);
            hdr.pc = r.next_pc;
            return r.reason;
        } catch (const SoftmmuMemory::Fault&) {
            return ir::ExitReason::kException;
        }
    }
    const uint64_t at = (stubs_.end + 63) / 64 * 64;
    const size_t offset = at - reinterpret_cast<uint64_t>(block_);
    if (!compiler_->compile(function_, {static_cast<uint8_t*>(block_) + offset, kCodeBytes - offset}, at, out_))
        throw std::runtime_error("a block does not compile");
    hdr.in_code = 1;
    const auto reason = static_cast<ir::ExitReason>(stubs_.enter(&hdr, reinterpret_cast<const void*>(at)));
    hdr.in_code = 0;
    if (reason == ir::ExitReason::kLink) {
        std::memcpy(&hdr.pc, reinterpret_cast<const void*>(hdr.trap_arg), 8);
        return ir::ExitReason::kNone;
    }
    return reason == ir::ExitReason::kLookup ? ir::ExitReason::kNone : reason;
}

}  // namespace myna::test
