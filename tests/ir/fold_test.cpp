// Text in, text out: every folding, sharing and forwarding rule (builder_cases.txt) and the sweep (sweep_cases.txt).
//
// The files are as text_cases.h tells. Each case also runs before and after on random machines, with every combination of
// options.
#include "ir/support.h"
#include "ir/text_cases.h"

namespace myna::testing {
namespace {

using ir::Builder;
using ir::Function;

/// The case's instructions; without a terminator they get one.
Function input_of(const Case& c) {
    const bool ends = c.in.find("\nexit ") != std::string::npos || c.in.find("\nexit_ind ") != std::string::npos ||
                      c.in.find("\nexit_trap ") != std::string::npos;
    return parsed(ends ? c.in : c.in + "exit 0x1004\n");
}

template <typename Transform>
void check_file(const std::string& file, Transform transform) {
    CaseFile(file).check([&](const Case& c) { return transform(input_of(c)); });
}

/// Random machines whose registers often hold equal, small or extreme values, so that comparisons go either way.
void edge(Machine& m, std::mt19937_64& rng) {
    m.randomize(rng);
    if (rng() % 2) m.state.x[1] = m.state.x[0] + rng() % 3 - 1;
    if (rng() % 2) m.state.w[1] = m.state.w[0] + static_cast<uint32_t>(rng() % 3) - 1;
    if (rng() % 3 == 0) m.state.x[0] = rng() % 5 - 2;
    if (rng() % 3 == 0) m.state.w[0] = static_cast<uint32_t>(rng() % 5 - 2);
}

void expect_same(const std::string& name, const Function& before, const Function& after) {
    ASSERT_EQ(ir::verify(after, toy()), "") << name << "\n" << ir::print(after, toy());
    std::mt19937_64 rng(test_seed());
    for (unsigned k = 0; k < test_rounds(60); ++k) {
        Machine start, m;
        edge(start, rng);
        m.copy(start);
        m.run(before);
        const Machine first(m);
        m.copy(start);
        m.run(after);
        ASSERT_EQ(Machine::difference(first, m), "") << name << ", seed " << test_seed() << "\n" << ir::print(after, toy());
    }
}

TEST(BuilderCases, GiveTheCodeWrittenDown) {
    check_file("builder_cases.txt", [](const Function& f) { return listing(rebuild(f, toy(), {})); });
}

TEST(BuilderCases, KeepTheirMeaningWithAnyOptions) {
    for (const Case& c : CaseFile("builder_cases.txt").cases()) {
        const Function f = input_of(c);
        for (unsigned bits = 0; bits < 8; ++bits) {
            const Builder::Options o{.fold = (bits & 1) == 0, .share = (bits & 2) == 0, .forward = (bits & 4) == 0};
            ASSERT_NO_FATAL_FAILURE(expect_same(c.name, f, rebuild(f, toy(), o)));
        }
    }
}

TEST(BuilderCases, AreLeftAloneWithoutOptions) {
    for (const Case& c : CaseFile("builder_cases.txt").cases()) {
        const Function f = input_of(c);
        const Function g = rebuild(f, toy(), {.fold = false, .share = false, .forward = false});
        EXPECT_EQ(listing(g), listing(f)) << c.name;
    }
}

std::string swept(Function f, bool dead_sets) {
    ir::Sweep s;
    s.run(f, toy(), dead_sets);
    std::string out;
    for (ir::Ref r = 0; r < f.insts.size(); ++r) {
        if (!s.live[r]) continue;
        out += ir::print(f, r, toy()) + "\n";
    }
    return out;
}

TEST(SweepCases, GiveTheCodeWrittenDown) {
    check_file("sweep_cases.txt", [](const Function& f) { return swept(f, true); });
}

TEST(SweepCases, KeepAllWritesWithoutDeadSets) {
    for (const Case& c : CaseFile("sweep_cases.txt").cases()) {
        const Function f = input_of(c);
        ir::Sweep s;
        s.run(f, toy(), false);
        for (ir::Ref r = 0; r < f.insts.size(); ++r) {
            if (f[r].op == ir::Op::kSet) {
                EXPECT_TRUE(s.live[r]) << c.name;
            }
        }
    }
}

TEST(SweepCases, KeepTheirMeaning) {
    for (const Case& c : CaseFile("sweep_cases.txt").cases()) {
        const Function f = input_of(c);
        Function g = f;
        ir::Sweep s;
        s.run(g, toy());
        ir::remove_dead(g, s);
        ASSERT_NO_FATAL_FAILURE(expect_same(c.name, f, g));
    }
}

}  // namespace
}  // namespace myna::testing
