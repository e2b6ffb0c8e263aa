// Text in, text out: the values that get no code of their own since their user takes them over (fuse_cases.txt, in the
// form of ir/text_cases.h). Each case does the same with and without.
#include <random>
#include <sstream>

#include "codegen/host_run.h"
#include "environment.h"
#include "ir/parser.h"
#include "ir/text_cases.h"

namespace myna::testing {
namespace {

/// As a host of SSE4.2 has it, so that the text is the same everywhere.
x64::Options options(bool fuse) {
    x64::Options o;
    o.host = host_without("avx,bmi1,bmi2,lzcnt,movbe,aes,pclmul,sha,gfni");
    o.fuse = fuse;
    return o;
}

ir::Function input_of(const Case& c) {
    auto f = ir::parse(c.in + "exit 0x1004\n", toy_guest());
    EXPECT_TRUE(f) << c.name << ": " << (f ? "" : f.error().message);
    return f ? *f : ir::Function{};
}

/// The instructions up to the last exit, without their places and without padding.
std::string listing(HostRunner& host, const ir::Function& f) {
    if (!host.compile(f)) return "does not compile";
    std::istringstream lines(host.text());
    std::string out;
    for (std::string line; std::getline(lines, line);) {
        std::string insn = line.substr(line.find(": ") + 2);
        if (insn.starts_with("nop")) continue;
        if (insn.starts_with("j")) insn = insn.substr(0, insn.find(' ')) + " exit";
        out += insn + "\n";
        if (insn == "jmp exit") break;
    }
    return out;
}

TEST(FuseCases, GiveTheHostCodeWrittenDown) {
    HostRunner host(options(true));
    CaseFile("fuse_cases.txt").check([&](const Case& c) { return listing(host, input_of(c)); });
}

TEST(FuseCases, GiveEachValueItsOwnCodeWithoutFusing) {
    HostRunner host(options(false));
    for (const Case& c : CaseFile("fuse_cases.txt").cases()) {
        EXPECT_EQ(listing(host, input_of(c)) == c.out, c.name.starts_with("… but not")) << c.name;
    }
}

TEST(FuseCases, DoTheSameEitherWay) {
    std::mt19937_64 rng(test::seed_or_random());
    for (const bool fuse : {false, true}) {
        HostRunner host(options(fuse));
        for (const Case& c : CaseFile("fuse_cases.txt").cases()) EXPECT_EQ(compare_runs(host, input_of(c), rng, 50), "") << c.name;
    }
}

}  // namespace
}  // namespace myna::testing
