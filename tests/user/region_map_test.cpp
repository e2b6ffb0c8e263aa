// The guest's map of its address space against a plain array of pages, under random operations.
#include "user/linux/region_map.h"

#include <gtest/gtest.h>

#include <array>
#include <random>

namespace myna::user {
namespace {

constexpr uint64_t kPage = 4096;

TEST(RegionMap, EqualNeighboursAreOneRegion) {
    RegionMap m;
    m.set(0x1000, 0x3000, 3, 0);
    m.set(0x3000, 0x5000, 3, 0);
    ASSERT_EQ(m.regions().size(), 1u);
    EXPECT_EQ(m.regions()[0].end, 0x5000u);
    m.protect(0x2000, 0x3000, 1);
    EXPECT_EQ(m.regions().size(), 3u);
    m.protect(0x2000, 0x3000, 3);
    EXPECT_EQ(m.regions().size(), 1u);
}

TEST(RegionMap, AttachedSharedMemoryKeepsItsBorders) {
    RegionMap m;
    m.set(0x1000, 0x2000, 3, Region::kShared | Region::kShm);
    m.set(0x2000, 0x3000, 3, Region::kShared | Region::kShm);
    EXPECT_EQ(m.regions().size(), 2u);
}

TEST(RegionMap, GapsAreFoundFromTheTop) {
    RegionMap m;
    m.set(0x8000, 0x9000, 3, 0);
    EXPECT_EQ(m.find_gap(0x1000, 0x1000, 0x10000), 0xf000u);
    m.set(0x9000, 0x10000, 3, 0);
    EXPECT_EQ(m.find_gap(0x1000, 0x1000, 0x10000), 0x7000u);
    EXPECT_EQ(m.find_gap(0x7000, 0x1000, 0x10000), 0x1000u);
    EXPECT_FALSE(m.find_gap(0x8000, 0x1000, 0x10000));
    EXPECT_EQ(m.find_gap(0x1000, 0x1000, 0x10000, 0x4000), 0x4000u);
}

TEST(RegionMap, TheEmulatorsOwnIsNeverTheGuests) {
    RegionMap m;
    m.set(0x1000, 0x2000, 7, Region::kReserved);
    EXPECT_FALSE(m.covered(0x1000, 0x2000));
    EXPECT_FALSE(m.free(0x1000, 0x2000));
    EXPECT_EQ(m.bytes(), 0u);
}

TEST(RegionMap, BehavesAsAnArrayOfPages) {
    constexpr uint64_t kPages = 64;
    const unsigned seed = std::random_device{}();
    SCOPED_TRACE(seed);
    std::mt19937 rng(seed);
    RegionMap m;
    std::array<int, kPages> model;
    model.fill(-1);
    for (int step = 0; step < 20000; ++step) {
        const uint64_t a = rng() % kPages, b = a + 1 + rng() % (kPages - a);
        const uint8_t prot = rng() % 8;
        switch (rng() % 3) {
            case 0:
                m.set(a * kPage, b * kPage, prot, 0);
                for (uint64_t p = a; p < b; ++p) model[p] = prot;
                break;
            case 1:
                m.erase(a * kPage, b * kPage);
                for (uint64_t p = a; p < b; ++p) model[p] = -1;
                break;
            default:
                m.protect(a * kPage, b * kPage, prot);
                for (uint64_t p = a; p < b; ++p)
                    if (model[p] >= 0) model[p] = prot;
        }
        bool covered = true, is_free = true;
        for (uint64_t p = a; p < b; ++p) {
            covered = covered && model[p] >= 0;
            is_free = is_free && model[p] < 0;
        }
        ASSERT_EQ(m.covered(a * kPage, b * kPage), covered);
        ASSERT_EQ(m.free(a * kPage, b * kPage), is_free);
        for (uint64_t p = 0; p < kPages; ++p) {
            const Region* r = m.find(p * kPage + 5);
            ASSERT_EQ(r != nullptr ? r->prot : -1, model[p]);
        }
        for (size_t i = 0; i + 1 < m.regions().size(); ++i) {
            const Region &x = m.regions()[i], &y = m.regions()[i + 1];
            ASSERT_LE(x.end, y.start);
            ASSERT_FALSE(x.end == y.start && x.prot == y.prot) << "equal neighbours at step " << step;
        }
    }
}

}  // namespace
}  // namespace myna::user
