// Properties that must hold of any IR: it can be written and read back, and no pass changes what it computes.
#include "ir/support.h"

namespace myna::testing {
namespace {

using ir::Builder;
using ir::Function;

RandomIrOptions options_of(std::mt19937_64& rng) {
    RandomIrOptions o;
    o.size = 5 + rng() % 60;
    o.flags = rng() % 4;
    o.memory = rng() % 4;
    o.atomics = rng() % 2;
    o.fp = rng() % 3 == 0;
    o.vectors = rng() % 3 == 0;
    o.half = rng() % 2;
    o.calls = rng() % 2;
    if (rng() % 4) o.focus = 2 + rng() % 6;
    return o;
}

TEST(RandomIr, IsWellFormed) {
    std::mt19937_64 rng(test_seed());
    for (unsigned n = 0; n < test_rounds(3000); ++n) {
        const Function f = random_function(rng, toy(), options_of(rng));
        ASSERT_EQ(ir::verify(f, toy()), "") << "seed " << test_seed() << "\n" << ir::print(f, toy());
    }
}

TEST(RandomIr, IsWrittenAndReadBack) {
    std::mt19937_64 rng(test_seed());
    for (unsigned n = 0; n < test_rounds(1000); ++n) {
        const Function f = random_function(rng, toy(), options_of(rng));
        const std::string text = ir::print(f, toy());
        const auto g = ir::parse(text, toy());
        ASSERT_TRUE(g) << "seed " << test_seed() << ": " << g.error().message << "\n" << text;
        ASSERT_EQ(ir::print(*g, toy()), text) << "seed " << test_seed();
        ASSERT_EQ(g->insts.size(), f.insts.size());
        for (ir::Ref r = 0; r < f.insts.size(); ++r) {
            if (f[r].op == ir::Op::kVConst) continue;  // the pool is shared on reading
            ASSERT_EQ(std::memcmp(&f.insts[r], &g->insts[r], sizeof(ir::Inst)), 0)
                << "seed " << test_seed() << "\n" << ir::print(f, r, toy());
        }
    }
}

/// Both Functions on the same random machines.
void expect_same(const Function& before, const Function& after, std::mt19937_64& rng, const char* what) {
    ASSERT_EQ(ir::verify(after, toy()), "") << what << ", seed " << test_seed() << "\n" << ir::print(before, toy()) << ir::print(after, toy());
    for (int k = 0; k < 3; ++k) {
        // Values made from the buffer's address differ with it: both run in the same place.
        Machine start, m;
        start.randomize(rng);
        m.copy(start);
        m.run(before);
        const Machine first(m);
        m.copy(start);
        m.run(after);
        ASSERT_EQ(Machine::difference(first, m), "") << what << ", seed " << test_seed() << "\n" << ir::print(before, toy()) << ir::print(after, toy());
    }
}

TEST(RandomIr, BuilderKeepsTheMeaning) {
    std::mt19937_64 rng(test_seed());
    for (unsigned n = 0; n < test_rounds(10000); ++n) {
        const Function f = random_function(rng, toy(), options_of(rng));
        const unsigned bits = n % 8;
        const Builder::Options o{.fold = (bits & 1) == 0, .share = (bits & 2) == 0, .forward = (bits & 4) == 0};
        ASSERT_NO_FATAL_FAILURE(expect_same(f, rebuild(f, toy(), o), rng, "Builder"));
    }
}

TEST(RandomIr, SweepKeepsTheMeaning) {
    std::mt19937_64 rng(test_seed());
    ir::Sweep sweep;
    for (unsigned n = 0; n < test_rounds(2000); ++n) {
        Function f = random_function(rng, toy(), options_of(rng));
        if (n % 2) f = rebuild(f, toy(), {});
        Function g = f;
        sweep.run(g, toy(), n % 3 != 0);
        ir::remove_dead(g, sweep);
        ASSERT_NO_FATAL_FAILURE(expect_same(f, g, rng, "sweep"));
    }
}

TEST(Builder, GivesTheSameCodeWhateverItBuiltBefore) {
    std::mt19937_64 rng(test_seed());
    Function out;
    Builder used(out, toy(), {});
    for (unsigned n = 0; n < test_rounds(300); ++n) {
        const Function f = random_function(rng, toy(), options_of(rng));
        const Function fresh = rebuild(f, toy(), {});
        // The used Builder has built other blocks: its tables are full of stale hints.
        std::vector<ir::Ref> place(f.insts.size(), ir::kNoRef);
        used.begin(f.pc, f.mode);
        out.exact_underflow = f.exact_underflow;
        for (ir::Ref r = 0; r < f.insts.size(); ++r) {
            const ir::Inst& i = f.insts[r];
            const unsigned args = ir::info(i.op).arg_count;
            const auto ref = [&](unsigned k, ir::Ref v) { return k < args && v != ir::kNoRef ? place[v] : v; };
            if (i.op == ir::Op::kConst) {
                place[r] = used.imm(i.imm, i.type);
            } else if (i.op == ir::Op::kVConst) {
                place[r] = used.vimm(f.vconsts[i.imm].u64[0], f.vconsts[i.imm].u64[1]);
            } else {
                place[r] = used.emit(i.op, i.type, i.sub, ref(0, i.a), ref(1, i.b), ref(2, i.c), i.imm);
            }
        }
        ASSERT_EQ(ir::print(out, toy()), ir::print(fresh, toy())) << "seed " << test_seed();
    }
}

}  // namespace
}  // namespace myna::testing
