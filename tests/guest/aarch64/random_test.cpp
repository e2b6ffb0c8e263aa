// Random instruction streams against Unicorn: registers, flags, FP state and memory must be equal at the end.
//
// Each host mask has tests of its own, and so has the evaluator. MYNA_TEST_SEED: where streams start; MYNA_TEST_ROUNDS and
// MYNA_TEST_INSNS make it longer (guest/common/seed.h). A failing stream is cut down to its shortest failing prefix and
// printed.
#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <map>
#include <tuple>

#include "guest/aarch64/cpu_models.h"
#include "guest/common/seed.h"
#include "stream.h"

namespace myna::guest::aarch64::test {
namespace {

class RandomStreams : public ::testing::TestWithParam<myna::test::HostMask> {
  protected:
    void SetUp() override {
        std::tie(ours_, oracle_) = make_pair_for(GetParam());
        if (oracle_ == nullptr) GTEST_SKIP() << "Unicorn is not available";
    }

    struct Outcome {
        bool same, skipped;
        std::string text;
    };
    Outcome compare(std::span<const uint32_t> code, const Registers& start) {
        Registers a = start, b = start;
        const Stop theirs = oracle_->run(code, b);
        if (theirs != Stop::kEnd) {
            std::memcpy(oracle_->data().data(), ours_->data().data(), kDataSize);
            return {true, true, ""};
        }
        const Stop mine = ours_->run(code, a);
        const bool memory = std::memcmp(ours_->data().data(), oracle_->data().data(), kDataSize) == 0;
        std::string text;
        if (mine != Stop::kEnd) text += "  stopped at " + std::to_string((a.pc - kCode) / 4) + "\n";
        text += difference(a, b);
        if (!memory) {
            for (size_t i = 0; i < kDataSize; ++i)
                if (ours_->data()[i] != oracle_->data()[i]) {
                    text += "  memory differs at data + " + std::to_string(i) + "\n";
                    break;
                }
            std::memcpy(oracle_->data().data(), ours_->data().data(), kDataSize);
        }
        return {text.empty(), false, text};
    }

    void run(const StreamMaker& maker, unsigned length, uint64_t streams, uint32_t fpcr_bits) {
        const uint64_t first = myna::test::seed();
        uint64_t skipped = 0, failures = 0;
        std::map<std::string, unsigned> seen, skipped_rows;
        myna::test::Tally tally("aarch64 base, streams of " + std::to_string(length) + ", Unicorn, host " + GetParam().name,
                                streams * myna::test::rounds());
        for (uint64_t n = 0; tally.more(); ++n) {
            Rng rng(first + n);
            const Registers start = StreamMaker::registers(rng, fpcr_bits);
            const std::vector<uint32_t> code = maker.instructions(rng, length);
            Outcome o = compare(code, start);
            tally.add(o.skipped ? 0 : code.size());
            skipped += o.skipped;
            if (o.skipped && length == 1) ++skipped_rows[std::string(match(decode_table(), code[0], 32)->row->name)];
            if (o.same) continue;
            std::span<const uint32_t> part = code;
            for (size_t prefix = 1; prefix <= code.size(); ++prefix) {
                const Outcome p = compare(std::span(code).first(prefix), start);
                if (p.same) continue;
                part = std::span(code).first(prefix);
                o = p;
                break;
            }
            const auto m = match(decode_table(), part.back(), 32);
            const std::string row(m ? m->row->name : "?");
            if (seen[row]++ == 0)
                ADD_FAILURE() << "seed " << first + n << " (" << row << ")\n" << listing(part) << o.text;
            if (++failures > 400 || seen.size() > 25) break;
        }
        RecordProperty("skipped", static_cast<int>(skipped));
        for (const auto& [row, count] : seen) std::printf("  %s: %u\n", row.c_str(), count);
        if (std::getenv("MYNA_A64_VERBOSE") != nullptr)
            for (const auto& [row, count] : skipped_rows) std::printf("  skipped %s: %u\n", row.c_str(), count);
        if (skipped != 0) std::printf("  %lu streams skipped by the oracle\n", skipped);
    }

    static StreamMaker maker(bool base, bool simd) {
        static const size_t first_simd = [] {
            for (size_t n = 0; n < decode_table().rows.size(); ++n)
                if (decode_table().rows[n].name == "swp") return n + 1;
            return decode_table().rows.size();
        }();
        std::vector<const DecodeRow*> rows;
        for (size_t n = 0; n < decode_table().rows.size(); ++n) {
            const bool is_simd = n > first_simd;
            if (runs_in_stream(decode_table().rows[n]) && (is_simd ? simd : base)) rows.push_back(&decode_table().rows[n]);
        }
        return StreamMaker(std::move(rows));
    }

    std::unique_ptr<Machine> ours_, oracle_;
};

INSTANTIATE_TEST_SUITE_P(Host, RandomStreams, ::testing::ValuesIn(myna::test::engines()), [](const auto& mask) { return mask.param.name; });

TEST_P(RandomStreams, OneBaseInstruction) { run(maker(true, false), 1, 5'000, 0); }
TEST_P(RandomStreams, BaseInstructions) { run(maker(true, false), 12, 1'500, 0); }

}  // namespace
}  // namespace myna::guest::aarch64::test
