#include "machine.h"

#include <sys/mman.h>

#include <cstdio>
#include <cstring>
#include <stdexcept>

#include "guest/aarch64/aarch64.h"
#include "guest/aarch64/fpcr.h"
#include "guest/aarch64/state.h"


namespace myna::guest::aarch64::test {
namespace {

constexpr uint32_t kBrk = 0xd4200000;

class FlatMemory final : public jit::GuestMemory {
  public:
    FlatMemory() {
        map(kCode, kCodeSize);
        map(kData, kDataSize);
    }
    ~FlatMemory() override {
        munmap(reinterpret_cast<void*>(kCode), kCodeSize);
        munmap(reinterpret_cast<void*>(kData), kDataSize);
    }
    bool executable(uint64_t addr, uint64_t len) override { return addr >= kCode && addr + len <= kCode + kCodeSize; }
    void code_on_page(uint64_t) override {}

  private:
    static void map(uint64_t addr, uint64_t size) {
        void* p = mmap(reinterpret_cast<void*>(addr), size, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
        if (p != reinterpret_cast<void*>(addr)) throw std::runtime_error("the test's guest addresses are taken");
    }
};

class MynaMachine final : public Machine {
  public:
    MynaMachine(const CpuConfig& cpu, const jit::EngineOptions& options) : cpu_(cpu) {
        auto engine = jit::Engine::create(kArch, cpu_, options, memory_);
        if (!engine) throw std::runtime_error(engine.error().message);
        engine_ = std::move(*engine);
        vcpu_ = engine_->create_vcpu();
    }

    Stop run(std::span<const uint32_t> code, Registers& r) override {
        std::memcpy(reinterpret_cast<void*>(kCode), code.data(), code.size_bytes());
        const uint64_t end = kCode + code.size_bytes();
        std::memcpy(reinterpret_cast<void*>(end), &kBrk, 4);
        engine_->invalidate(kCode, code.size_bytes() + 4);
        State& s = *static_cast<State*>(vcpu_->state());
        s.x = r.x;
        s.sp = r.sp;
        s.nzcv = r.nzcv;
        s.v = r.v;
        s.hdr.pc = r.pc;
        s.hdr.mxcsr = 0x1f80;
        s.hdr.excl_addr = kNoExclusive;
        set_fpcr(s, r.fpcr);
        set_fpsr(s, r.fpsr);
        s.fpsr_watched = 1;
        vcpu_->state_changed();
        const ir::ExitReason reason = vcpu_->run();
        r.x = s.x;
        r.sp = s.sp;
        r.nzcv = s.nzcv & 0xf0000000;
        r.v = s.v;
        r.pc = s.hdr.pc;
        r.fpcr = s.fpcr;
        r.fpsr = fpsr(s);
        if (reason == ir::ExitReason::kBreakpoint && r.pc == end) return Stop::kEnd;
        return reason == ir::ExitReason::kIllegal ? Stop::kUndefined : Stop::kOther;
    }
    std::span<uint8_t> data() override { return {reinterpret_cast<uint8_t*>(kData), kDataSize}; }

  private:
    CpuConfig cpu_;
    FlatMemory memory_;
    std::unique_ptr<jit::Engine> engine_;
    std::unique_ptr<jit::Vcpu> vcpu_;
};

}  // namespace

std::unique_ptr<Machine> make_myna(const CpuConfig& cpu, const jit::EngineOptions& options) {
    return std::make_unique<MynaMachine>(cpu, options);
}

std::string difference(const Registers& a, const Registers& b) {
    std::string text;
    char line[160];
    const auto check = [&](const char* name, unsigned n, uint64_t va, uint64_t vb) {
        if (va == vb) return;
        std::snprintf(line, sizeof line, "  %s%u: %016lx  oracle %016lx\n", name, n, va, vb);
        text += line;
    };
    for (unsigned n = 0; n < 31; ++n) check("x", n, a.x[n], b.x[n]);
    check("sp", 0, a.sp, b.sp);
    check("pc", 0, a.pc, b.pc);
    check("nzcv", 0, a.nzcv, b.nzcv);
    check("fpcr", 0, a.fpcr, b.fpcr);
    check("fpsr", 0, a.fpsr, b.fpsr);
    for (unsigned n = 0; n < 32; ++n) {
        if (a.v[n] == b.v[n]) continue;
        std::snprintf(line, sizeof line, "  v%u: %016lx:%016lx  oracle %016lx:%016lx\n", n, a.v[n].u64[1], a.v[n].u64[0],
                      b.v[n].u64[1], b.v[n].u64[0]);
        text += line;
    }
    return text;
}

}  // namespace myna::guest::aarch64::test
