#include "guest/riscv64/cpu_models.h"

#include <algorithm>
#include <array>
#include <vector>

#include "guest/riscv64/features.h"
#include "guest/riscv64/state.h"

namespace myna::guest::riscv64 {

namespace {

struct FeatureRow {
    std::string_view name;
    int hwprobe_bit;
    bool base;
    std::string_view doc;
};
constexpr FeatureRow kFeatures[] = {
#define RV_FEATURE(name, bit, base, doc) {#name, bit, base, doc},
    RISCV64_FEATURES(RV_FEATURE)
#undef RV_FEATURE
};

/// An extension and what it brings along: switching the first on switches on the second.
struct Implies {
    Feature extension, implied;
};
constexpr Implies kImplications[] = {
    {Feature::d, Feature::f},       {Feature::zfh, Feature::zfhmin}, {Feature::zfhmin, Feature::f}, {Feature::zfa, Feature::f},
    {Feature::zfbfmin, Feature::f}, {Feature::zcb, Feature::c},      {Feature::zcmop, Feature::c},  {Feature::zacas, Feature::a},
    {Feature::zabha, Feature::a},   {Feature::f, Feature::zicsr},    {Feature::zicntr, Feature::zicsr},
};
/// Names for several extensions at once.
struct Group {
    std::string_view name;
    std::array<Feature, 6> members;
};
constexpr Group kGroups[] = {
    {"zkn", {Feature::zbkb, Feature::zbkc, Feature::zbkx, Feature::zkne, Feature::zknd, Feature::zknh}},
    {"zks", {Feature::zbkb, Feature::zbkc, Feature::zbkx, Feature::zksed, Feature::zksh, Feature::zksh}},
    {"b", {Feature::zba, Feature::zbb, Feature::zbs, Feature::zbs, Feature::zbs, Feature::zbs}},
};

struct Model {
    std::string_view name;
    std::string_view doc;
    bool everything;
};
constexpr Model kModels[] = {
    {"max", "all extensions this program has (the default)", true},
    {"any", "the same as max", true},
    {"rv64", "RV64GC", false},
};

void switch_on(CpuConfig& cfg, Feature f) {
    if (has(cfg, f)) return;
    cfg.add(static_cast<unsigned>(f));
    for (const Implies& i : kImplications)
        if (i.extension == f) switch_on(cfg, i.implied);
}
void switch_off(CpuConfig& cfg, Feature f) {
    if (!has(cfg, f)) return;
    cfg.remove(static_cast<unsigned>(f));
    for (const Implies& i : kImplications)
        if (i.implied == f) switch_off(cfg, i.extension);
}

bool find_features(std::string_view name, std::vector<Feature>& out) {
    for (const Group& g : kGroups)
        if (g.name == name) out.assign(g.members.begin(), g.members.end());
    for (size_t n = 0; n < std::size(kFeatures); ++n)
        if (kFeatures[n].name == name) out = {static_cast<Feature>(n)};
    return !out.empty();
}

/// The known name nearest to `name` in its first letters, for the error message.
std::string_view similar_feature(std::string_view name) {
    std::string_view best;
    size_t best_common = 1;
    for (const FeatureRow& f : kFeatures) {
        const auto end = std::mismatch(name.begin(), name.end(), f.name.begin(), f.name.end()).first;
        const auto common = static_cast<size_t>(end - name.begin());
        if (common > best_common) best = f.name, best_common = common;
    }
    return best;
}

bool parse_bool(std::string_view v, bool& on) {
    on = v == "on" || v == "true" || v == "yes";
    return on || v == "off" || v == "false" || v == "no";
}

}  // namespace

Result<CpuConfig> parse_cpu(std::string_view spec) {
    const auto comma = [](std::string_view s) { return std::min(s.find(','), s.size()); };
    const std::string_view name = spec.substr(0, comma(spec));
    const auto model = std::find_if(std::begin(kModels), std::end(kModels), [&](const Model& m) { return m.name == name; });
    if (model == std::end(kModels))
        return fail(ErrorKind::kInvalidArgument, "-cpu " + std::string(name) + ": no such riscv64 model. '-cpu help' lists them");

    CpuConfig cfg;
    cfg.model = name;
    for (size_t n = 0; n < std::size(kFeatures); ++n)
        if (model->everything || kFeatures[n].base) cfg.add(static_cast<unsigned>(n));

    for (spec.remove_prefix(name.size()); !spec.empty();) {
        spec.remove_prefix(1);
        std::string_view item = spec.substr(0, comma(spec));
        spec.remove_prefix(item.size());
        if (item.empty()) continue;
        bool on = true;
        std::string_view key = item.substr(0, std::min(item.find('='), item.size()));
        if (key.size() < item.size()) {
            if (!parse_bool(item.substr(key.size() + 1), on))
                return fail(ErrorKind::kInvalidArgument, "-cpu: '" + std::string(item) + "': expected true or false");
        } else if (item[0] == '+' || item[0] == '-') {
            on = item[0] == '+';
            key.remove_prefix(1);
        }
        std::vector<Feature> features;
        if (!find_features(key, features)) {
            std::string message = "-cpu: no riscv64 extension '" + std::string(key) + "'";
            if (const auto s = similar_feature(key); !s.empty()) message += ". Did you mean " + std::string(s) + "?";
            return fail(ErrorKind::kInvalidArgument, message + " ('-cpu help' lists all)");
        }
        for (Feature f : features) on ? switch_on(cfg, f) : switch_off(cfg, f);
    }
    return cfg;
}

std::string cpu_help() {
    std::string text = "CPU models of riscv64:\n";
    const auto line = [&](std::string_view name, std::string_view doc) {
        text += "  " + std::string(name) + std::string(name.size() < 14 ? 14 - name.size() : 1, ' ') + std::string(doc) + "\n";
    };
    for (const Model& m : kModels) line(m.name, m.doc);
    text += "\nExtensions, as in -cpu rv64,zba=true,zfh=true (* in rv64):\n";
    for (const FeatureRow& f : kFeatures) line(std::string(f.name) + (f.base ? "*" : ""), f.doc);
    text += "  zkn, zks, b   groups of the above\n";
    return text;
}

uint64_t hwcap(const CpuConfig& cfg) noexcept {
    const auto letter = [](char c) { return uint64_t{1} << (c - 'a'); };
    uint64_t v = letter('i');
    if (has(cfg, Feature::m)) v |= letter('m');
    if (has(cfg, Feature::a)) v |= letter('a');
    if (has(cfg, Feature::f)) v |= letter('f');
    if (has(cfg, Feature::d)) v |= letter('d');
    if (has(cfg, Feature::c)) v |= letter('c');
    return v;
}

bool hwprobe(const CpuConfig& cfg, int64_t key, uint64_t& value) noexcept {
    constexpr uint64_t kBehaviorIma = 1, kMisalignedFast = 3;
    value = 0;
    switch (key) {
        case 0: case 1: case 2: return true;  // MVENDORID, MARCHID, MIMPID: a non-commercial implementation
        case 3: value = has(cfg, Feature::m) && has(cfg, Feature::a) ? kBehaviorIma : 0; return true;  // BASE_BEHAVIOR
        case 4:  // IMA_EXT_0
            for (size_t n = 0; n < std::size(kFeatures); ++n)
                if (kFeatures[n].hwprobe_bit != kNoBit && cfg.has(static_cast<unsigned>(n))) value |= uint64_t{1} << kFeatures[n].hwprobe_bit;
            return true;
        case 5: case 9: value = kMisalignedFast; return true;  // CPUPERF_0, MISALIGNED_SCALAR_PERF
        case 6: value = has(cfg, Feature::zicboz) ? kCacheBlockBytes : 0; return true;  // ZICBOZ_BLOCK_SIZE
        case 7: value = (uint64_t{1} << 47) - 4096; return true;                        // HIGHEST_VIRT_ADDRESS
        case 8: value = kTimeHz; return true;                                           // TIME_CSR_FREQ
        case 10: value = 4; return true;                                                // MISALIGNED_VECTOR_PERF: unsupported
        case 12: value = has(cfg, Feature::zicbom) ? kCacheBlockBytes : 0; return true; // ZICBOM_BLOCK_SIZE
        default: return false;
    }
}

std::string isa_string(const CpuConfig& cfg) {
    std::string letters = "rv64i";
    std::vector<std::string_view> rest;
    for (size_t n = 0; n < std::size(kFeatures); ++n) {
        if (!cfg.has(static_cast<unsigned>(n))) continue;
        if (kFeatures[n].name.size() == 1) letters += kFeatures[n].name;
        else rest.push_back(kFeatures[n].name);
    }
    std::sort(rest.begin(), rest.end());
    for (std::string_view r : rest) letters += "_" + std::string(r);
    return letters;
}

}  // namespace myna::guest::riscv64
