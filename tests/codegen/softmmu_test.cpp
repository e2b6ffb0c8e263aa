// Memory through the inline softmmu TLB: random Functions see the same as with flat memory, wherever their pages are and
// whether the TLB is cold or warm; an access that the MMU refuses leaves the block with the guest state as it was.
#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "codegen/host_run.h"
#include "environment.h"
#include "ir/builder.h"
#include "ir/eval.h"
#include "ir/printer.h"
#include "mem/softmmu.h"

namespace myna::testing {
namespace {

constexpr uint64_t kPhysical = 0x8000'0000;
constexpr uint64_t kBytes = 2 * 4096;

/// What the pages would be without paging. The guest sees the same addresses, so that Functions may compute with them.
alignas(4096) uint8_t flat[kBytes];
const uint64_t kVirtual = reinterpret_cast<uint64_t>(flat);

/// Two pages, mapped in the wrong order.
class SwappedPages final : public mem::Mmu {
  public:
    bool translate(guest::VcpuHeader& hdr, uint64_t va, mem::Access, unsigned, mem::Translation& out) override {
        ++walks;
        if (va - kVirtual >= kBytes) {
            hdr.trap_arg = va;
            return false;
        }
        out = {kPhysical + ((va - kVirtual) ^ 4096), true, writable, false};
        return true;
    }
    unsigned walks = 0;
    bool writable = true;
};

class SoftmmuTest : public ::testing::Test {
  protected:
    SoftmmuTest() {
        ram_ = *memory_.add_ram(kPhysical, kBytes);
        tlb_ = std::make_unique<mem::SoftTlb>();
        tlb_->mmu = &mmu_;
        tlb_->memory = &memory_;
        tlb_->flush();
    }
    static x64::Options options() {
        x64::Options o;
        o.host = host_without("");
        o.system_mode = true;
        return o;
    }
    uint8_t& at(uint64_t offset) { return ram_[offset ^ 4096]; }

    /// x0 = what is loaded from 8 bytes behind base, zero extended.
    static bool compile_load(HostRunner& host, ir::Type type, uint8_t attr) {
        ir::Function f;
        ir::Builder b(f, toy_guest(), {});
        b.begin(0x1000, 0);
        b.insn(0x1000, 4);
        const ir::Ref value = b.load(type, attr, b.get(kBase), 8);
        b.set(kX0, type == ir::Type::kI32 ? b.zext(value) : value);
        b.exit(0x1004);
        return host.compile(f);
    }
    uint64_t loaded(HostRunner& host) {
        ToyState s{};
        s.base = kVirtual;
        s.hdr.tlb = tlb_.get();
        host.run(s);
        return s.x[0];
    }

    mem::PhysicalMemory memory_;
    uint8_t* ram_ = nullptr;
    SwappedPages mmu_;
    std::unique_ptr<mem::SoftTlb> tlb_;
};

TEST_F(SoftmmuTest, RandomFunctionsSeeTheSameMemory) {
    HostRunner host(options());
    const uint64_t seed = test::seed_or_random();
    std::vector<const void*> helpers;
    for (const guest::Helper& h : toy_guest().helpers) helpers.push_back(h.fn);
    for (unsigned k = 0; k < 1500; ++k) {
        std::mt19937_64 rng(seed + k);
        // Exclusive accesses remember host addresses here: left out.
        const ir::Function f = random_function(rng, toy_guest(), {.calls = false});
        bool exclusive = false;
        for (const ir::Inst& i : f.insts) exclusive |= i.op == ir::Op::kLl || i.op == ir::Op::kSc;
        if (exclusive) continue;
        ASSERT_TRUE(host.compile(f)) << "MYNA_TEST_SEED=" << seed + k << "\n" << ir::print(f, toy_guest());
        if (k % 3 == 0) tlb_->flush();
        // Near the page end, so that some accesses cross it.
        const uint64_t start = 4096 - rng() % 1024;
        for (uint64_t i = 0; i < kBytes; ++i) at(i) = flat[i] = static_cast<uint8_t>(rng());
        ToyState mine{}, theirs{};
        for (auto& x : mine.x) x = interesting(rng);
        mine.base = kVirtual + start;
        theirs = mine;
        mine.hdr.tlb = tlb_.get();
        theirs.hdr.helpers = helpers.data();
        const ir::ExitReason reason = host.run(mine);
        // An atomic access that crosses the page is refused.
        if (reason == ir::ExitReason::kException) continue;
        ir::DirectMemory direct(0);
        ir::Evaluator(toy_guest()).run(f, &theirs, direct);
        for (uint64_t i = 0; i < kBytes; ++i)
            ASSERT_EQ(at(i), flat[i]) << "MYNA_TEST_SEED=" << seed + k << " offset " << i << "\n" << ir::print(f, toy_guest()) << host.text();
    }
}

TEST_F(SoftmmuTest, ALoadOf32BitsIsZeroAboveThemColdAndWarm) {
    HostRunner host(options());
    ASSERT_TRUE(compile_load(host, ir::Type::kI32, 2 | ir::MemAttr::kSigned));
    std::memset(&at(8), 0xff, 8);
    for (unsigned round = 0; round < 2; ++round) EXPECT_EQ(loaded(host), 0xffffffffu) << "round " << round << "\n" << host.text();
}

TEST_F(SoftmmuTest, ALoadHitsTheTlbTheSecondTime) {
    HostRunner host(options());
    ASSERT_TRUE(compile_load(host, ir::Type::kI64, 3));
    const uint64_t value = 0x1122334455667788;
    std::memcpy(&at(8), &value, 8);
    for (unsigned round = 0; round < 2; ++round) {
        EXPECT_EQ(loaded(host), value);
        EXPECT_EQ(mmu_.walks, 1u);
    }
}

TEST_F(SoftmmuTest, AFaultLeavesWithTheStateBeforeTheInstruction) {
    HostRunner host(options());
    ir::Function f;
    ir::Builder b(f, toy_guest(), {});
    b.begin(0x1000, 0);
    b.insn(0x1000, 4);
    b.set(kX0, b.imm(1));
    b.insn(0x1004, 4);
    b.set(kX0 + 1, b.load(ir::Type::kI64, 3, b.get(kBase), static_cast<int64_t>(kBytes)));
    b.insn(0x1008, 4);
    b.set(kX0, b.imm(2));
    b.exit(0x100c);
    ASSERT_TRUE(host.compile(f));
    ToyState s{};
    s.base = kVirtual;
    s.x[1] = 77;
    s.nzcv = 0x90000000;
    s.hdr.tlb = tlb_.get();
    EXPECT_EQ(host.run(s), ir::ExitReason::kException);
    EXPECT_EQ(s.hdr.pc, 0x1004u);
    EXPECT_EQ(s.hdr.trap_arg, kVirtual + kBytes);
    EXPECT_EQ(s.x[0], 1u);
    EXPECT_EQ(s.x[1], 77u);
    EXPECT_EQ(s.nzcv, 0x90000000u);
}

}  // namespace
}  // namespace myna::testing
