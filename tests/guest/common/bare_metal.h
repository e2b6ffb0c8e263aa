// A vCPU without a machine around it: RAM, devices, an MMU and one of the two engines. What the tests of system mode stand
// on; what an exception does is theirs.
//
//   BareMetal::step ─▶ lift_block ─┬▶ Evaluator + softmmu slow paths             ─▶ the exit reason, pc set
//                                  └▶ Compiler ─▶ host code with the inline TLB  ─┘
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "codegen/x64/compiler.h"
#include "guest/common/arch.h"
#include "ir/builder.h"
#include "ir/eval.h"
#include "mem/softmmu.h"

namespace myna::test {

/// A device that keeps what is written to it as text.
struct Console final : mem::MmioDevice {
    std::string text;
    uint64_t read(uint64_t, unsigned) override { return 0; }
    void write(uint64_t, uint64_t value, unsigned) override { text += static_cast<char>(value); }
};

/// Fetches through the MMU, within the page that `pc` begins in.
class SoftmmuFetcher final : public guest::CodeFetcher {
  public:
    SoftmmuFetcher(guest::VcpuHeader& hdr, unsigned mmu_index) : hdr_(hdr), index_(mmu_index) {}
    unsigned fetch(uint64_t pc, void* out, unsigned want) override;

  private:
    guest::VcpuHeader& hdr_;
    unsigned index_;
};

class BareMetal {
  public:
    /// `state_bytes` is sizeof the guest's State; `mmu` must outlive this.
    BareMetal(const guest::GuestArch& arch, const guest::CpuConfig& cpu, size_t state_bytes, mem::Mmu& mmu, bool translated);
    ~BareMetal();
    BareMetal(const BareMetal&) = delete;
    BareMetal& operator=(const BareMetal&) = delete;

    void* state() noexcept { return state_; }
    guest::VcpuHeader& header() noexcept { return *static_cast<guest::VcpuHeader*>(state_); }
    mem::PhysicalMemory& memory() noexcept { return memory_; }

    /// Runs one block from header().pc, which is the next block's afterwards. kNone: go on there.
    ir::ExitReason step(guest::CodeFetcher& fetcher);

  private:
    const guest::GuestArch& arch_;
    guest::CpuConfig cpu_;
    size_t state_bytes_;
    void* block_;
    void* state_;
    mem::PhysicalMemory memory_;
    std::unique_ptr<mem::SoftTlb> tlb_ = std::make_unique<mem::SoftTlb>();
    std::vector<const void*> helpers_;
    std::vector<guest::IndirectEntry> indirect_;
    ir::Function function_;
    ir::Builder builder_;
    ir::Evaluator evaluator_;
    std::unique_ptr<x64::Compiler> compiler_;  // null: the evaluator runs
    x64::Stubs stubs_;
    x64::CompiledBlock out_;
};

}  // namespace myna::test
