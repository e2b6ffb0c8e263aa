// -cpu: what it switches on, and that programs are told the same.
#include <gtest/gtest.h>

#include "guest/riscv64/cpu_models.h"
#include "guest/riscv64/features.h"

namespace myna::guest::riscv64 {
namespace {

constexpr int64_t kKeyImaExt0 = 4, kKeyZicbozBlockSize = 6;
constexpr uint64_t kBitFd = 1 << 0, kBitZba = 1 << 3, kBitZicboz = 1 << 6;

CpuConfig cpu(const char* spec) {
    auto c = parse_cpu(spec);
    EXPECT_TRUE(c) << spec << ": " << (c ? "" : c.error().message);
    return c ? *c : CpuConfig{};
}

TEST(Riscv64Cpu, Rv64IsRv64gc) {
    const CpuConfig c = cpu("rv64");
    for (Feature f : {Feature::m, Feature::a, Feature::f, Feature::d, Feature::c}) EXPECT_TRUE(has(c, f));
    EXPECT_FALSE(has(c, Feature::zba));
    EXPECT_EQ(isa_string(c), "rv64imafdc_zicntr_zicsr_zifencei");
}

TEST(Riscv64Cpu, MaxHasEverything) {
    const CpuConfig c = cpu("max");
    for (unsigned f = 0; f < static_cast<unsigned>(Feature::kCount); ++f) EXPECT_TRUE(c.has(f)) << f;
}

TEST(Riscv64Cpu, ExtensionsBringWhatTheyNeedAndTakeWhatNeedsThem) {
    EXPECT_TRUE(has(cpu("rv64,zfh=true"), Feature::zfhmin));
    EXPECT_TRUE(has(cpu("rv64,+zkn"), Feature::zknd));
    const CpuConfig c = cpu("max,f=off");
    for (Feature f : {Feature::d, Feature::zfh, Feature::zfhmin, Feature::zfa, Feature::zfbfmin}) EXPECT_FALSE(has(c, f));
}

TEST(Riscv64Cpu, HwprobeAndHwcapSayWhatCpuSays) {
    uint64_t value = 0;
    ASSERT_TRUE(hwprobe(cpu("rv64,zba=on"), kKeyImaExt0, value));
    EXPECT_EQ(value & (kBitFd | kBitZba | kBitZicboz), kBitFd | kBitZba);
    ASSERT_TRUE(hwprobe(cpu("rv64,zicboz=on"), kKeyZicbozBlockSize, value));
    EXPECT_EQ(value, kCacheBlockBytes);
    EXPECT_FALSE(hwprobe(cpu("max"), 9999, value));
    EXPECT_EQ(hwcap(cpu("rv64")), 0x112du);
    EXPECT_EQ(hwcap(cpu("rv64,d=off")), 0x1125u);
}

TEST(Riscv64Cpu, MistakesAreNamed) {
    EXPECT_NE(parse_cpu("rv65").error().message.find("no such riscv64 model"), std::string::npos);
    EXPECT_NE(parse_cpu("rv64,zbz=true").error().message.find("Did you mean zb"), std::string::npos);
    EXPECT_NE(parse_cpu("rv64,zba=maybe").error().message.find("true or false"), std::string::npos);
}

}  // namespace
}  // namespace myna::guest::riscv64
