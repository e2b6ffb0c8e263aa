// Text in, text out: every folding, sharing and forwarding rule (builder_cases.txt) and the sweep (sweep_cases.txt).
//
//   == what the case shows
//   instructions in
//   --
//   instructions out
//
// After an intended change MYNA_BLESS=1 writes the new output into the files. Each case also runs before and after on
// random machines, with every combination of options.
#include <fstream>
#include <sstream>
#include <vector>

#include "ir/support.h"

namespace myna::testing {
namespace {

using ir::Builder;
using ir::Function;

struct Case {
    std::string name, in, out;
};

std::string path_of(const std::string& file) { return std::string(MYNA_TEST_DATA "/") + file; }

std::vector<Case> read_cases(const std::string& file, std::string* head) {
    std::ifstream in(path_of(file));
    EXPECT_TRUE(in) << file;
    std::vector<Case> cases;
    std::string* into = head;
    for (std::string line; std::getline(in, line);) {
        if (line.starts_with("== ")) {
            cases.push_back({line.substr(3), "", ""});
            into = &cases.back().in;
        } else if (line == "--" && !cases.empty()) {
            into = &cases.back().out;
        } else {
            *into += line + "\n";
        }
    }
    for (Case& c : cases) {
        while (c.out.ends_with("\n\n")) c.out.pop_back();
    }
    return cases;
}

void bless(const std::string& file, const std::string& head, const std::vector<Case>& cases) {
    std::ofstream out(path_of(file));
    std::string text = head;
    for (const Case& c : cases) text += "== " + c.name + "\n" + c.in + "--\n" + c.out + "\n";
    while (text.ends_with("\n\n")) text.pop_back();
    out << text;
}

/// The case's instructions; without a terminator they get one.
Function input_of(const Case& c) {
    const bool ends = c.in.find("\nexit ") != std::string::npos || c.in.find("\nexit_ind ") != std::string::npos ||
                      c.in.find("\nexit_trap ") != std::string::npos;
    return parsed(ends ? c.in : c.in + "exit 0x1004\n");
}

template <typename Transform>
void check_file(const std::string& file, Transform transform) {
    std::string head;
    std::vector<Case> cases = read_cases(file, &head);
    const bool blessing = std::getenv("MYNA_BLESS") != nullptr;
    for (Case& c : cases) {
        const std::string out = transform(input_of(c));
        if (blessing) c.out = out;
        EXPECT_EQ(out, c.out) << c.name << "\n" << c.in;
    }
    EXPECT_GT(cases.size(), 0U);
    if (blessing) bless(file, head, cases);
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
    std::string head;
    for (const Case& c : read_cases("builder_cases.txt", &head)) {
        const Function f = input_of(c);
        for (unsigned bits = 0; bits < 8; ++bits) {
            const Builder::Options o{.fold = (bits & 1) == 0, .share = (bits & 2) == 0, .forward = (bits & 4) == 0};
            ASSERT_NO_FATAL_FAILURE(expect_same(c.name, f, rebuild(f, toy(), o)));
        }
    }
}

TEST(BuilderCases, AreLeftAloneWithoutOptions) {
    std::string head;
    for (const Case& c : read_cases("builder_cases.txt", &head)) {
        const Function f = input_of(c);
        const Function g = rebuild(f, toy(), {.fold = false, .share = false, .forward = false});
        EXPECT_EQ(listing(g), listing(f)) << c.name;
    }
}

std::string swept(Function f, ir::SweepOptions o) {
    ir::Sweep s;
    s.run(f, toy(), o);
    std::string out;
    for (ir::Ref r = 0; r < f.insts.size(); ++r) {
        if (!s.live[r]) continue;
        out += ir::print(f, r, toy());
        if (s.fuse[r] == ir::Fuse::kAddress) out += "  ; in the address of %" + std::to_string(s.last_use[r]);
        if (s.fuse[r] == ir::Fuse::kCondition) out += "  ; in the condition of %" + std::to_string(s.last_use[r]);
        out += "\n";
    }
    return out;
}

TEST(SweepCases, GiveTheCodeWrittenDown) {
    check_file("sweep_cases.txt", [](const Function& f) { return swept(f, {}); });
}

TEST(SweepCases, KeepAllWritesWithoutDeadSets) {
    std::string head;
    for (const Case& c : read_cases("sweep_cases.txt", &head)) {
        const Function f = input_of(c);
        ir::Sweep s;
        s.run(f, toy(), {.dead_sets = false, .fuse = false});
        for (ir::Ref r = 0; r < f.insts.size(); ++r) {
            if (f[r].op == ir::Op::kSet) {
                EXPECT_TRUE(s.live[r]) << c.name;
            }
            EXPECT_EQ(s.fuse[r], ir::Fuse::kNone) << c.name;
        }
    }
}

TEST(SweepCases, KeepTheirMeaning) {
    std::string head;
    for (const Case& c : read_cases("sweep_cases.txt", &head)) {
        const Function f = input_of(c);
        Function g = f;
        ir::Sweep s;
        s.run(g, toy(), {});
        ir::remove_dead(g, s);
        ASSERT_NO_FATAL_FAILURE(expect_same(c.name, f, g));
    }
}

}  // namespace
}  // namespace myna::testing
