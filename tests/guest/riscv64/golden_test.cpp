// Host code of single RISC-V instructions against golden.txt.
#include "guest/common/golden.h"

#include <gtest/gtest.h>

#include "guest/riscv64/riscv64.h"

namespace myna::test {
namespace {

TEST(Riscv64Golden, HostCodeIsAsReviewed) {
    const std::string differences = check_golden(guest::riscv64::kArch, "max", MYNA_SOURCE_DIR "/tests/guest/riscv64/golden.txt");
    if (differences.starts_with("skip: ")) GTEST_SKIP() << differences;
    EXPECT_EQ(differences, "") << "MYNA_BLESS=1 writes the file anew";
}

}  // namespace
}  // namespace myna::test
