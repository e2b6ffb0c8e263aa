// The decoder's tree against a scan of the table, and the disassembler against llvm-mc, over random encodings.
#include <gtest/gtest.h>

#include <map>

#include "guest/common/llvm_mc.h"
#include "guest/riscv64/cpu_models.h"
#include "guest/riscv64/decode.inc.h"
#include "guest/riscv64/riscv64_test.h"

namespace myna::guest::riscv64 {
namespace {

/// Remembers which row the generated decoder took.
struct RowRecorder {
    const CpuConfig& cpu;
    InsnId last{};
    [[nodiscard]] bool enabled(InsnId id) {
        last = id;
        return row_enabled(id, cpu);
    }
#define RV_RECORD(handler, Fields) \
    bool handler(const Fields&) { return true; }
    RISCV64_HANDLERS(RV_RECORD)
#undef RV_RECORD
};

void check_tree(uint32_t raw, unsigned width, const CpuConfig& cpu) {
    RowRecorder v{cpu};
    const bool found = width == 32 ? decode32(raw, v) : decode16(raw, v);
    const auto expected = match(decode_table(), raw, width, 0, &cpu);
    ASSERT_EQ(found, expected.has_value()) << std::hex << raw;
    if (found) {
        ASSERT_EQ(static_cast<uint16_t>(v.last), expected->row->id) << std::hex << raw << " " << expected->row->name;
    }
}

TEST(Riscv64Decode, TreeFindsTheRowThatAScanFinds) {
    Rng rng(test::seed());
    for (const char* model : {"max", "rv64", "rv64,c=off,zba=on"}) {
        const CpuConfig cpu = *parse_cpu(model);
        for (const DecodeRow& row : decode_table().rows)
            for (int n = 0; n < 100; ++n)
                if (const auto raw = random_insn(decode_table(), row, rng)) check_tree(*raw, row.width, cpu);
        for (int n = 0; n < 100000; ++n) check_tree(static_cast<uint32_t>(rng()) | 3, 32, cpu);
        for (uint32_t raw = 0; raw < 0x10000; ++raw)
            if ((raw & 3) != 3) check_tree(raw, 16, cpu);
    }
}

TEST(Riscv64Decode, EveryRowCanBeGenerated) {
    Rng rng(test::seed());
    for (const DecodeRow& row : decode_table().rows) EXPECT_TRUE(random_insn(decode_table(), row, rng).has_value()) << row.name;
}

class Riscv64Disasm : public ::testing::Test {
  protected:
    void SetUp() override {
        if (test::find_llvm_mc().empty()) GTEST_SKIP() << "llvm-mc is not installed";
    }
    /// Compares ours with llvm-mc's; `both_ways`: what we do not know, llvm-mc must not know either.
    static void compare(const std::vector<test::RawInsn>& insns, bool both_ways) {
        const auto theirs = test::llvm_disassemble(test::riscv64_llvm(), insns);
        std::map<std::string, int> seen;  // a few lines a row are enough
        for (size_t n = 0; n < insns.size(); ++n) {
            const auto m = match(decode_table(), insns[n].raw, insns[n].width);
            const std::string ours = m ? disassemble(decode_table(), *m) : "";
            const std::string name = m ? std::string(m->row->name) : "(none)";
            if (!both_ways && !m) continue;
            const std::string expected = theirs[n] ? test::normalized(*theirs[n]) : "";
            if (test::normalized(ours) == expected || test::known_difference(ours, expected)) continue;
            if (++seen[name] <= 2) ADD_FAILURE() << name << " " << std::hex << insns[n].raw << ": ours '" << ours << "', llvm-mc '" << expected << "'";
        }
    }
};

TEST_F(Riscv64Disasm, RowsReadAsLlvmReadsThem) {
    Rng rng(test::seed());
    std::vector<test::RawInsn> insns;
    for (const DecodeRow& row : decode_table().rows)
        for (int n = 0; n < 20; ++n)
            if (const auto raw = random_insn(decode_table(), row, rng)) insns.push_back({*raw, row.width});
    compare(insns, false);
}

TEST_F(Riscv64Disasm, AllCompressedEncodings) {
    std::vector<test::RawInsn> insns;
    for (uint32_t raw = 0; raw < 0x10000; ++raw)
        if ((raw & 3) != 3) insns.push_back({raw, 16});
    compare(insns, true);
}

TEST_F(Riscv64Disasm, RandomEncodings) {
    Rng rng(test::seed());
    std::vector<test::RawInsn> insns;
    for (int n = 0; n < 50000; ++n) insns.push_back({static_cast<uint32_t>(rng()) | 3, 32});
    compare(insns, true);
}

}  // namespace
}  // namespace myna::guest::riscv64
