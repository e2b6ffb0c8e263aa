// Host CPU features by CPUID, and masking them by name.
#include <cpuid.h>
#define _Bool bool  // the C library's header is for C
#include <sys/platform/x86.h>
#undef _Bool

#include <algorithm>
#include <cstring>
#include <string>

#include "codegen/x64/compiler.h"

namespace myna::x64 {

namespace {

struct Regs {
    unsigned a = 0, b = 0, c = 0, d = 0;
};
/// What the C library read when the program began: the instruction leaves a virtual machine each time, for microseconds.
Regs cpuid(unsigned index) {
    const auto& r = __x86_get_cpuid_feature_leaf(index)->cpuid_array;
    return {r[0], r[1], r[2], r[3]};
}
uint64_t xcr0() {
    unsigned lo = 0, hi = 0;
    __asm__("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
    return uint64_t{hi} << 32 | lo;
}

struct Name {
    std::string_view name;
    bool HostFeatures::* member;
};
constexpr Name kNames[] = {
    {"avx", &HostFeatures::avx},       {"avx2", &HostFeatures::avx2}, {"bmi1", &HostFeatures::bmi1},
    {"bmi2", &HostFeatures::bmi2},     {"lzcnt", &HostFeatures::lzcnt}, {"fma", &HostFeatures::fma},
    {"f16c", &HostFeatures::f16c},     {"movbe", &HostFeatures::movbe}, {"aes", &HostFeatures::aes},
    {"pclmul", &HostFeatures::pclmul}, {"sha", &HostFeatures::sha},   {"gfni", &HostFeatures::gfni},
    {"vaes", &HostFeatures::vaes},     {"avx512", &HostFeatures::avx512},
};

}  // namespace

Result<HostFeatures> HostFeatures::detect() {
    const Regs l1 = cpuid(CPUID_INDEX_1);
    const Regs l7 = cpuid(CPUID_INDEX_7);
    const Regs ext = cpuid(CPUID_INDEX_80000001);
    const auto has = [](unsigned reg, unsigned n) { return (reg >> n & 1) != 0; };
    if (!has(l1.c, 20) || !has(l1.c, 23) || !has(l1.c, 13)) {  // SSE4.2, POPCNT, CMPXCHG16B
        char brand[49] = {};
        for (unsigned i = 0; i < 3; ++i) {
            Regs r;
            __get_cpuid(0x80000002 + i, &r.a, &r.b, &r.c, &r.d);
            std::memcpy(brand + 16 * i, &r, 16);
        }
        return fail(ErrorKind::kUnsupported, std::string("the JIT needs a host CPU with SSE4.2, POPCNT and CMPXCHG16B; this is ") + brand);
    }
    HostFeatures f;
    const bool ymm = has(l1.c, 27) && (xcr0() & 6) == 6;
    const bool zmm = ymm && (xcr0() & 0xe0) == 0xe0;
    f.avx = ymm && has(l1.c, 28);
    f.avx2 = f.avx && has(l7.b, 5);
    f.fma = f.avx && has(l1.c, 12);
    f.f16c = f.avx && has(l1.c, 29);
    f.bmi1 = f.avx && has(l7.b, 3);
    f.bmi2 = f.avx && has(l7.b, 8);
    f.lzcnt = has(ext.c, 5) && has(l7.b, 3);
    f.movbe = has(l1.c, 22);
    f.aes = has(l1.c, 25);
    f.pclmul = has(l1.c, 1);
    f.sha = has(l7.b, 29);
    f.gfni = has(l7.c, 8);
    f.vaes = f.avx && has(l7.c, 9);
    f.avx512 = zmm && has(l7.b, 16) && has(l7.b, 30) && has(l7.b, 17) && has(l7.b, 31);
    return f;
}

bool HostFeatures::mask(std::string_view name) {
    const auto* n = std::find_if(std::begin(kNames), std::end(kNames), [&](const Name& x) { return x.name == name; });
    if (n == std::end(kNames)) return false;
    this->*n->member = false;
    if (name == "avx") avx2 = fma = f16c = vaes = bmi1 = bmi2 = avx512 = false;  // all VEX or EVEX encoded
    if (name == "avx2") vaes = avx512 = false;
    return true;
}

}  // namespace myna::x64
