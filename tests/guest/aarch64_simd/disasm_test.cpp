// The rows of insn_simd.decode against llvm-mc: every row's text, and over random encodings of the SIMD&FP space that
// both know the same ones.
#include <gtest/gtest.h>

#include <map>

#include "guest/aarch64/decode.inc.h"
#include "guest/common/llvm_mc.h"
#include "guest/common/seed.h"

namespace myna::guest::aarch64 {
namespace {

const test::LlvmTarget kLlvm{"aarch64",
                             "+fp-armv8,+neon,+fullfp16,+rdm,+dotprod,+complxnum,+fp16fml,+i8mm,+bf16,+jsconv,+fptoint,+aes,"
                             "+sha2,+sha3,+sm4",
                             {"-M", "no-aliases"}};

/// Data processing on SIMD&FP registers, or loads and stores of structures (Arm ARM C4.1).
bool is_simd(uint32_t raw) { return (raw & 0x0e000000) == 0x0e000000 || (raw & 0xbe000000) == 0x0c000000; }

/// llvm-mc's names of two conditions.
std::string conditions_as_llvm(std::string text) {
    if (text.ends_with(", cs")) text.replace(text.size() - 2, 2, "hs");
    if (text.ends_with(", cc")) text.replace(text.size() - 2, 2, "lo");
    return text;
}

class Aarch64SimdDisasm : public ::testing::Test {
  protected:
    void SetUp() override {
        if (test::find_llvm_mc().empty()) GTEST_SKIP() << "llvm-mc is not installed";
    }
    static void compare(const std::vector<test::RawInsn>& insns) {
        const auto theirs = test::llvm_disassemble(kLlvm, insns);
        std::map<std::string, int> seen;
        for (size_t n = 0; n < insns.size(); ++n) {
            const auto m = match(decode_table(), insns[n].raw, 32);
            const std::string ours = m ? conditions_as_llvm(test::normalized(disassemble(decode_table(), *m))) : "";
            const std::string expected = theirs[n] ? test::normalized(*theirs[n]) : "";
            if (ours == expected) continue;
            const std::string name = m ? std::string(m->row->name) : "(none) " + expected.substr(0, expected.find(' '));
            if (++seen[name] <= 2)
                ADD_FAILURE() << name << " " << std::hex << insns[n].raw << ": ours '" << ours << "', llvm-mc '" << expected << "'";
        }
    }
};

TEST_F(Aarch64SimdDisasm, EveryRowReadsAsLlvmReadsIt) {
    Rng rng(test::seed());
    std::vector<test::RawInsn> insns;
    for (const DecodeRow& row : decode_table().rows) {
        if (!is_simd(row.value)) continue;
        for (unsigned n = 0; n < 30 * test::rounds(); ++n) {
            const auto raw = random_insn(decode_table(), row, rng);
            ASSERT_TRUE(raw) << row.name;
            insns.push_back({*raw, 32});
        }
    }
    compare(insns);
}

TEST_F(Aarch64SimdDisasm, RandomEncodingsAreKnownToBothOrNeither) {
    Rng rng(test::seed());
    std::vector<test::RawInsn> insns;
    while (insns.size() < 100000 * test::rounds()) {
        auto raw = static_cast<uint32_t>(rng());
        raw |= 0x0e000000;
        if (rng() % 4 == 0) raw &= ~0x32000000u;
        if (is_simd(raw)) insns.push_back({raw, 32});
    }
    compare(insns);
}

}  // namespace
}  // namespace myna::guest::aarch64
