// Random SIMD&FP instructions in the IR evaluator and in translated code against QEMU user mode, which also has what
// Unicorn's core lacks; and translated code against the evaluator. All under each host mask.
#include <gtest/gtest.h>

#include <cstdlib>

#include "batch_guest.h"
#include "guest/common/process.h"
#include "guest/common/seed.h"

namespace myna::test {
namespace {

constexpr uint32_t kRounding = 3u << 22, kFlushToZero = 1u << 24, kDefaultNan = 1u << 25, kFlushHalf = 1u << 19;

bool is_simd(const guest::DecodeRow& row) {
    return (row.value & 0x0e000000) == 0x0e000000 || (row.value & 0xbe000000) == 0x0c000000;
}

/// What QEMU 7.2 does wrong: FCVTZS of halves leaves bits above the half; FJCVTZS of a denormal flushed to zero is exact
/// there, and is not in the Arm ARM.
bool qemu_differs(const guest::DecodeRow& row, uint32_t fpcr_bits) {
    return row.name == "fcvtzs_sfixh" || (row.name == "fjcvtzs" && (fpcr_bits & kFlushToZero));
}

class Aarch64SimdQemu : public ::testing::Test {
  protected:
    void SetUp() override {
        if (!have_program("qemu-aarch64-static")) GTEST_SKIP() << "qemu-aarch64-static is not installed";
    }
    static std::unique_ptr<GuestUnderTest> guest(uint32_t fpcr_bits) {
        return make_aarch64_simd("max", {"qemu-aarch64-static", "-cpu", "max"}, fpcr_bits);
    }
    static std::vector<const guest::DecodeRow*> rows_for(const GuestUnderTest& guest, uint32_t fpcr_bits, bool qemu) {
        const char* only = std::getenv("MYNA_A64_ROWS");
        std::vector<const guest::DecodeRow*> rows;
        for (const guest::DecodeRow& row : guest.table().rows)
            if (is_simd(row) && !(qemu && qemu_differs(row, fpcr_bits)) && (only == nullptr || row.name.find(only) != std::string_view::npos))
                rows.push_back(&row);
        return rows;
    }
    template <class Compare>
    static void compare(const std::string& what, uint32_t fpcr_bits, unsigned length, bool qemu, Compare difference_of) {
        const auto guest = Aarch64SimdQemu::guest(fpcr_bits);
        ASSERT_TRUE(guest);
        const auto rows = rows_for(*guest, fpcr_bits, qemu);
        unsigned failures = 0;
        for (Tally tally(what, 2 * rounds()); tally.more() && failures < 8;) {
            Batch batch(*guest, {.seed = seed() + tally.round(), .streams = 2000, .max_insns = length, .rows = rows});
            const std::string difference = difference_of(batch);
            tally.add(batch.insn_count());
            if (difference.empty()) continue;
            ++failures;
            ADD_FAILURE() << difference;
        }
    }
    static std::string with_qemu(Batch& b) { return b.compare_engines(&Batch::run_qemu); }
};

constexpr uint32_t kUsual = kRounding | kDefaultNan, kFlushing = kRounding | kDefaultNan | kFlushToZero | kFlushHalf;

TEST_F(Aarch64SimdQemu, Streams) { compare("aarch64 SIMD, QEMU", kUsual, 8, true, with_qemu); }
TEST_F(Aarch64SimdQemu, StreamsFlushingToZero) { compare("aarch64 SIMD flushing to zero, QEMU", kFlushing, 4, true, with_qemu); }

class Aarch64SimdTranslated : public Aarch64SimdQemu, public ::testing::WithParamInterface<HostMask> {
  protected:
    void SetUp() override {}
    static std::string translated(Batch& b) {
        jit::EngineOptions options;
        options.cache_bytes = size_t{16} << 20;
        options.host_mask = GetParam().features;
        return b.compare([&](Batch& batch) { return batch.run_jit(options); }, &Batch::run_evaluator);
    }
};
INSTANTIATE_TEST_SUITE_P(Host, Aarch64SimdTranslated, ::testing::ValuesIn(host_masks()), [](const auto& mask) { return mask.param.name; });

TEST_P(Aarch64SimdTranslated, Streams) {
    compare(std::string("aarch64 SIMD, evaluator, host ") + GetParam().name, kUsual, 12, false, translated);
}
TEST_P(Aarch64SimdTranslated, StreamsFlushingToZero) {
    compare(std::string("aarch64 SIMD flushing to zero, evaluator, host ") + GetParam().name, kFlushing, 12, false, translated);
}

}  // namespace
}  // namespace myna::test
