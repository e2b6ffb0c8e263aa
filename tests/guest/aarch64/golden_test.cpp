// Host code of single A64 instructions against golden.txt.
#include "guest/common/golden.h"

#include <gtest/gtest.h>

#include "guest/aarch64/aarch64.h"

namespace myna::guest::aarch64 {
namespace {

TEST(Aarch64Golden, HostCodeIsAsReviewed) {
    const std::string differences = myna::test::check_golden(kArch, "max", MYNA_SOURCE_DIR "/tests/guest/aarch64/golden.txt");
    if (differences.starts_with("skip: ")) GTEST_SKIP() << differences;
    EXPECT_EQ(differences, "") << "MYNA_BLESS=1 writes the file anew";
}

}  // namespace
}  // namespace myna::guest::aarch64
