// Random SIMD&FP instructions against Unicorn: vector and general registers, NZCV, FPSR and memory must be equal.
//
// First each row alone from many register values and FPCR settings, then streams; under each host mask, and by the
// evaluator. MYNA_TEST_SEED: where it starts; MYNA_TEST_ROUNDS, MYNA_TEST_INSNS: how much longer (guest/common/seed.h);
// MYNA_A64_ROWS: only rows whose names contain this text.
#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <map>
#include <set>
#include <tuple>

#include "guest/aarch64/cpu_models.h"
#include "guest/common/seed.h"
#include "stream.h"

namespace myna::guest::aarch64::test {
namespace {

constexpr uint32_t kRounding = 3u << 22, kFlushToZero = 1u << 24, kDefaultNan = 1u << 25, kFlushHalf = 1u << 19;

bool is_simd(const DecodeRow& row) { return (row.value & 0x0e000000) == 0x0e000000 || (row.value & 0xbe000000) == 0x0c000000; }
bool is_structure(const DecodeRow& row) { return (row.value & 0xbe000000) == 0x0c000000; }

/// What Unicorn's core does not have, or does wrong: FCVTZS of halves leaves bits above the half; FJCVTZS of a denormal
/// flushed to zero is exact there, and is not in the Arm ARM.
bool unicorn_lacks(const DecodeRow& row) {
    return row.feature == "i8mm" || row.feature == "bf16" || row.name == "fcvtzs_sfixh";
}

const DecodeField* field_of(const DecodeRow& row, std::string_view name) {
    for (const DecodeField& f : row.fields)
        if (f.name == name) return &f;
    return nullptr;
}

void put(uint32_t& raw, const DecodeField* f, uint32_t value) {
    const FieldPiece& p = f->pieces.front();
    if (p.lo == FieldPiece::kConstant) return;
    const uint32_t mask = ((1u << p.len) - 1) << p.lo;
    raw = (raw & ~mask) | (value << p.lo & mask);
}

/// A random instruction of the row; memory operands stay inside the data, x25..x28 keep their values.
std::optional<uint32_t> make(const DecodeRow& row, Rng& rng) {
    const auto made = random_insn(decode_table(), row, rng);
    if (!made) return std::nullopt;
    uint32_t raw = *made;
    if (is_structure(row)) {
        put(raw, field_of(row, "rn"), 26 + static_cast<uint32_t>(rng() % 2));
        // Registers written back would leave the data in the end: only x25 or the size is added.
        if ((raw >> 23 & 1) && (raw >> 16 & 31) != 31) put(raw, field_of(row, "rm"), 25);
    }
    if (row.name == "fcmla_xh") raw |= 1u << 30;  // with Q = 0 Unicorn computes the upper half too, and raises its exceptions
    for (const TextPiece& t : row.text) {
        const auto style = static_cast<Style>(t.style);
        if (t.field < 0 || row.fields[static_cast<size_t>(t.field)].name != "rd") continue;
        const uint32_t rd = raw & 31;
        if ((style == Style::w || style == Style::x || style == Style::gr) && rd >= 25 && rd <= 28) put(raw, field_of(row, "rd"), rd - 12);
    }
    return raw;
}

class Aarch64SimdRandom : public ::testing::TestWithParam<myna::test::HostMask> {
  protected:
    void SetUp() override {
        std::tie(ours_, oracle_) = make_pair_for(GetParam());
        if (oracle_ == nullptr) GTEST_SKIP() << "Unicorn is not available";
        const char* only = std::getenv("MYNA_A64_ROWS");
        for (const DecodeRow& row : decode_table().rows)
            if (is_simd(row) && !unicorn_lacks(row) && (only == nullptr || row.name.find(only) != std::string_view::npos))
                rows_.push_back(&row);
    }

    /// Empty when both machines end alike.
    std::string compare(std::span<const uint32_t> code, const Registers& start) {
        Registers a = start, b = start;
        const Stop theirs = oracle_->run(code, b), mine = ours_->run(code, a);
        std::string text;
        if (mine != theirs) text += "  stop " + std::to_string(static_cast<int>(mine)) + ", oracle " + std::to_string(static_cast<int>(theirs)) + "\n";
        text += difference(a, b);
        // Two kilobytes around the bases are all that structures reach.
        constexpr size_t kFrom = kDataSize / 2 - 1024, kBytes = 16384;
        if (std::memcmp(ours_->data().data() + kFrom, oracle_->data().data() + kFrom, kBytes) != 0) {
            text += "  memory differs\n";
            std::memcpy(oracle_->data().data(), ours_->data().data(), kDataSize);
        }
        return text;
    }

    static std::string show(const Registers& r, uint32_t raw) {
        char line[200];
        std::string text;
        std::set<unsigned> regs{raw & 31, raw >> 5 & 31, raw >> 16 & 31, raw >> 10 & 31};
        for (unsigned n : regs) {
            std::snprintf(line, sizeof line, "  in v%u: %016lx %016lx\n", n, r.v[n].u64[1], r.v[n].u64[0]);
            text += line;
        }
        std::snprintf(line, sizeof line, "  in fpcr %08x fpsr %08x\n", r.fpcr, r.fpsr);
        return text + line;
    }

    /// Every row alone.
    void each_row(unsigned tries, uint32_t fpcr_bits) {
        std::map<std::string, unsigned> failed;
        myna::test::Tally tally(std::string("aarch64 SIMD, each row, Unicorn, host ") + GetParam().name, 0);
        for (const DecodeRow* row : rows_) {
            const std::string name(row->name);
            for (unsigned n = 0; n < tries; ++n) {
                Rng rng(myna::test::seed() * 1000003 + row->id * 7919u + n);
                const auto raw = make(*row, rng);
                if (!raw) continue;
                Registers start = StreamMaker::registers(rng, fpcr_bits);
                if (row->name == "fjcvtzs") start.fpcr &= ~kFlushToZero;
                tally.add(1);
                const std::string text = compare({&*raw, 1}, start);
                if (text.empty()) continue;
                if (failed[name]++ == 0) ADD_FAILURE() << name << "\n" << listing({&*raw, 1}) << show(start, *raw) << text;
            }
        }
        for (const auto& [name, n] : failed) std::printf("  %s: %u of %u differ\n", name.c_str(), n, tries);
    }

    void streams(uint64_t count, unsigned length, uint32_t fpcr_bits) {
        unsigned failures = 0;
        myna::test::Tally tally(std::string("aarch64 SIMD, streams, Unicorn, host ") + GetParam().name, count);
        for (uint64_t n = 0; tally.more() && failures < 10; ++n) {
            const uint64_t seed = myna::test::seed() * 1000003 + n;
            Rng rng(seed);
            const Registers start = StreamMaker::registers(rng, fpcr_bits);
            std::vector<uint32_t> code;
            while (code.size() < length)
                if (const auto raw = make(*rows_[rng() % rows_.size()], rng)) code.push_back(*raw);
            std::string text = compare(code, start);
            tally.add(code.size());
            if (text.empty()) continue;
            ++failures;
            std::span<const uint32_t> part = code;
            for (size_t prefix = 1; prefix <= code.size(); ++prefix) {
                const std::string shorter = compare(std::span(code).first(prefix), start);
                if (shorter.empty()) continue;
                part = std::span(code).first(prefix);
                text = shorter;
                break;
            }
            ADD_FAILURE() << "seed " << seed << "\n" << listing(part) << text;
        }
    }

    std::unique_ptr<Machine> ours_, oracle_;
    std::vector<const DecodeRow*> rows_;
};

INSTANTIATE_TEST_SUITE_P(Host, Aarch64SimdRandom, ::testing::ValuesIn(myna::test::engines()), [](const auto& mask) { return mask.param.name; });

TEST_P(Aarch64SimdRandom, EachRow) { each_row(static_cast<unsigned>(10 * myna::test::rounds()), 0); }
TEST_P(Aarch64SimdRandom, EachRowInAllRoundingModes) {
    each_row(static_cast<unsigned>(8 * myna::test::rounds()), kRounding | kDefaultNan);
}
TEST_P(Aarch64SimdRandom, EachRowFlushingToZero) {
    each_row(static_cast<unsigned>(8 * myna::test::rounds()), kRounding | kDefaultNan | kFlushToZero | kFlushHalf);
}
TEST_P(Aarch64SimdRandom, Streams) { streams(1000 * myna::test::rounds(), 16, kRounding); }

}  // namespace
}  // namespace myna::guest::aarch64::test
