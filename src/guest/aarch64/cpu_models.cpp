// CPU models, identification registers and HWCAP: all from the one feature table.
//
// `max` is rich and cheap: everything this guest has. The others are what their cores have, less what is not here.
#include "guest/aarch64/cpu_models.h"

#include <algorithm>
#include <array>
#include <initializer_list>
#include <iterator>

#include "guest/aarch64/features.h"
#include "guest/aarch64/sysreg.h"

namespace myna::guest::aarch64 {
namespace {

enum class IdReg : uint8_t { kPfr0, kPfr1, kIsar0, kIsar1, kIsar2, kMmfr2 };

struct FeatureRow {
    std::string_view name;
    IdReg reg;
    uint8_t low, value, hwcap_word, hwcap_bit;
    std::string_view doc;
};
constexpr FeatureRow kFeatures[] = {
#define A64_FEATURE(name, reg, lo, val, word, bit, doc) {#name, IdReg::reg, lo, val, word, bit, doc},
    A64_FEATURES(A64_FEATURE)
#undef A64_FEATURE
};

struct Model {
    std::string_view name, doc;
    uint64_t midr;
    std::span<const Feature> features;  // empty: all
};
using enum Feature;
constexpr Feature kV8Crypto[] = {fp, asimd, aes, pmull, sha1, sha256, crc32};
constexpr Feature kNeoverseN1[] = {fp,  asimd, aes, pmull, sha1,  sha256, crc32, lse,
                                   fp16, rdm,  lrcpc, dpb,  dotprod, ssbs};
constexpr Model kModels[] = {
    {"cortex-a53", "Arm Cortex-A53 (Armv8.0)", 0x410fd034, kV8Crypto},
    {"cortex-a72", "Arm Cortex-A72 (Armv8.0)", 0x410fd083, kV8Crypto},
    // Says it is a Neoverse N2: glibc then copies memory through vector registers, which the translator keeps in the host's.
    {"max", "all features, the default", 0x410fd490, {}},
    {"neoverse-n1", "Arm Neoverse N1 (Armv8.2)", 0x414fd0c1, kNeoverseN1},
};

/// What `f` cannot be without.
constexpr struct { Feature feature, needs; } kNeeds[] = {
    {asimd, fp},      {fp16, asimd},    {aes, asimd},   {pmull, aes},      {sha1, asimd},     {sha256, sha1},
    {sha512, sha256}, {sha3, sha512},   {sm3, asimd},   {sm4, sm3},        {rdm, asimd},      {dotprod, asimd},
    {fhm, fp16},      {fcma, asimd},    {jscvt, fp},    {bf16, asimd},     {i8mm, asimd},     {frintts, fp},
    {lrcpc2, lrcpc},  {flagm2, flagm},  {dpb2, dpb},
};

const FeatureRow* find_feature(std::string_view name) {
    const auto* row = std::ranges::find(kFeatures, name, &FeatureRow::name);
    return row == std::end(kFeatures) ? nullptr : row;
}

const Model* model_of(const CpuConfig& cpu) {
    const auto* m = std::ranges::find(kModels, cpu.model, &Model::name);
    return m == std::end(kModels) ? nullptr : m;
}

void remove_orphans(CpuConfig& cpu) {
    for (unsigned round = 0; round < std::size(kNeeds); ++round)
        for (const auto& n : kNeeds)
            if (!has(cpu, n.needs)) cpu.remove(static_cast<unsigned>(n.feature));
}

uint64_t field_values(const CpuConfig& cpu, IdReg reg) {
    uint64_t value = 0;
    for (unsigned f = 0; f < std::size(kFeatures); ++f) {
        const FeatureRow& row = kFeatures[f];
        if (row.reg != reg || !cpu.has(f)) continue;
        const uint64_t mask = uint64_t{15} << row.low;
        const uint64_t field = uint64_t{row.value} << row.low;
        value = (value & ~mask) | std::max(value & mask, field);
    }
    return value;
}

uint64_t pfr0(const CpuConfig& cpu) {
    uint64_t value = 0x11;  // EL0, EL1: AArch64 only
    const uint64_t none = has(cpu, fp) ? (has(cpu, fp16) ? 1 : 0) : 15;
    value |= none << 16 | (has(cpu, asimd) ? (has(cpu, fp16) ? 1u : 0u) : uint64_t{15}) << 20;
    if (has(cpu, dit)) value |= uint64_t{1} << 48;
    return value;
}

uint64_t isar1(const CpuConfig& cpu) {
    uint64_t value = field_values(cpu, IdReg::kIsar1) & ~(uint64_t{15} << 8);
    if (has(cpu, pauth)) value |= uint64_t{3} << 8 | uint64_t{1} << 28;  // API: FEAT_PAuth2; GPI
    return value;
}

}  // namespace

bool id_register(const CpuConfig& cpu, uint32_t reg, uint64_t* value) noexcept {
    switch (reg) {
        case kMidrEl1: {
            const Model* m = model_of(cpu);
            *value = m != nullptr ? m->midr : 0;
            return true;
        }
        case kMpidrEl1: *value = uint64_t{1} << 31; return true;
        case kRevidrEl1: *value = 0; return true;
        case kIdAa64Pfr0: *value = pfr0(cpu); return true;
        case kIdAa64Pfr1: *value = field_values(cpu, IdReg::kPfr1); return true;
        case kIdAa64Isar0: *value = field_values(cpu, IdReg::kIsar0); return true;
        case kIdAa64Isar1: *value = isar1(cpu); return true;
        case kIdAa64Isar2: *value = field_values(cpu, IdReg::kIsar2); return true;
        case kIdAa64Mmfr2: *value = field_values(cpu, IdReg::kMmfr2); return true;
        case kIdAa64Mmfr0: *value = 0xff000000; return true;  // as Linux: granules are not shown
        case kIdAa64Dfr0: *value = 6; return true;
        default:
            // The rest of the ID space that Linux emulates reads as zero: CRm 4..7, and CRm 0 but op2 1..4, 7.
            if (reg >= sysreg(3, 0, 0, 4, 0) && reg <= sysreg(3, 0, 0, 7, 7)) {
                *value = 0;
                return true;
            }
            return false;
    }
}

uint64_t hwcap(const CpuConfig& cpu) noexcept {
    uint64_t value = uint64_t{1} << 11;  // CPUID: MRS of identification registers works
    for (unsigned f = 0; f < std::size(kFeatures); ++f)
        if (cpu.has(f) && kFeatures[f].hwcap_word == 1) value |= uint64_t{1} << kFeatures[f].hwcap_bit;
    if (has(cpu, fp16)) value |= 1 << 10;              // ASIMDHP
    if (has(cpu, pauth)) value |= uint64_t{1} << 31;   // PACG
    return value;
}

uint64_t hwcap2(const CpuConfig& cpu) noexcept {
    uint64_t value = 0;
    for (unsigned f = 0; f < std::size(kFeatures); ++f)
        if (cpu.has(f) && kFeatures[f].hwcap_word == 2) value |= uint64_t{1} << kFeatures[f].hwcap_bit;
    return value;
}

Result<CpuConfig> parse_cpu(std::string_view spec) {
    const size_t comma = spec.find(',');
    std::string_view name = spec.substr(0, comma);
    if (name.empty() || name == "any") name = "max";
    const auto* model = std::ranges::find(kModels, name, &Model::name);
    if (model == std::end(kModels))
        return fail(ErrorKind::kNotFound, "-cpu " + std::string(name) + ": no such AArch64 CPU ('-cpu help' lists all)");
    CpuConfig cpu;
    cpu.model = name;
    if (model->features.empty())
        for (unsigned f = 0; f < std::size(kFeatures); ++f) cpu.add(f);
    for (const Feature f : model->features) cpu.add(static_cast<unsigned>(f));

    std::string_view rest = comma == std::string_view::npos ? "" : spec.substr(comma + 1);
    while (!rest.empty()) {
        const size_t end = rest.find(',');
        std::string_view item = rest.substr(0, end);
        rest = end == std::string_view::npos ? "" : rest.substr(end + 1);
        bool on = true;
        std::string_view key = item;
        if (const size_t eq = item.find('='); eq != std::string_view::npos) {
            key = item.substr(0, eq);
            const std::string_view value = item.substr(eq + 1);
            if (value == "off" || value == "false" || value == "no") on = false;
            else if (value != "on" && value != "true" && value != "yes")
                return fail(ErrorKind::kInvalidArgument, "-cpu " + std::string(name) + ": " + std::string(item) + ": expected on or off");
        } else if (item.starts_with('+') || item.starts_with('-')) {
            on = item[0] == '+';
            key = item.substr(1);
        }
        const FeatureRow* row = find_feature(key);
        if (row == nullptr) {
            // Options of other emulators that change nothing here: the algorithm of pointer authentication is always the
            // fast one, and what is not there can be switched off.
            if (key.starts_with("pauth-") || !on) continue;
            return fail(ErrorKind::kUnsupported, "-cpu " + std::string(name) + ": no feature '" + std::string(key) + "' ('-cpu help' lists all)");
        }
        const auto number = static_cast<unsigned>(row - kFeatures);
        on ? cpu.add(number) : cpu.remove(number);
    }
    remove_orphans(cpu);
    return cpu;
}

std::string cpu_help() {
    std::string text = "Available CPUs:\n";
    const auto line = [&](std::string_view name, std::string_view doc) {
        text.append("  ").append(name).append(std::max<size_t>(18, name.size() + 2) - name.size(), ' ').append(doc).append("\n");
    };
    for (const Model& m : kModels) line(m.name, m.doc);
    text += "\nFeatures (name=on|off after the CPU, with commas):\n";
    for (const FeatureRow& f : kFeatures) line(f.name, f.doc);
    return text;
}

}  // namespace myna::guest::aarch64
