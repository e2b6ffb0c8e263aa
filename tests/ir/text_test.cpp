// Printer, parser and verifier: what is well formed, and what is said of the rest.
#include "ir/support.h"

namespace myna::testing {
namespace {

using namespace ir;

std::string parse_error(std::string_view text) {
    const auto f = parse(text, toy());
    return f ? "" : f.error().message;
}

TEST(Parser, ReadsAHeader) {
    const Function f = parsed("block 0x4000 mode 0x7 nan riscv exact flush round_away\ninsn 0x4000, 4\ninsn 0x4004, 2\nexit 0x4006\n");
    EXPECT_EQ(f.pc, 0x4000U);
    EXPECT_EQ(f.mode, 7U);
    EXPECT_EQ(f.nan_rule, NanRule::kRiscv);
    EXPECT_TRUE(f.fp_exact && f.fp_mode.flush && f.fp_mode.round_away && !f.fp_mode.flush16);
    EXPECT_EQ(f.guest_insns, 2U);
    ASSERT_EQ(f.ranges.size(), 1U);
    EXPECT_EQ(f.ranges[0].bytes, 6U);
    EXPECT_EQ(print(f, toy()), "block 0x4000 mode 0x7 nan riscv exact flush round_away\n insn 0x4000, 4\n insn 0x4004, 2\n   exit 0x4006\n");
}

TEST(Parser, WritesWhatEveryKindOfInstructionLooksLike) {
    const std::string text =
        "%0 = get base\n"
        "%1 = get v1\n"
        "%2 = load.i64 [%0-8] sext32 be acq\n"
        "store [%0+16], %1 128 rel sc\n"
        "%4 = vadd.32 %1, %1\n"
        "%5 = vget.i64.16 %4 imm=0x103\n"
        "%6 = cmp.i64 ult %2, %5\n"
        "%7 = fl_ccmp.i64 ge %8, %2, %5 imm=4\n";
    EXPECT_NE(parse_error(text), "");
    const std::string good =
        "%0 = get base\n"
        "%1 = get v1\n"
        "%2 = load.i64 [%0-8] sext32 be acq\n"
        "store [%0+16], %1 128 rel sc\n"
        "%4 = vadd.32 %1, %1\n"
        "%5 = vget.i64.16 %4 imm=0x103\n"
        "%6 = cmp.i64 ult %2, %5\n"
        "%7 = fl_sub.i64 %2, %5\n"
        "%8 = fl_ccmp.i64 ge %7, %2, %5 imm=4\n"
        "set nzcv, %8\n"
        "%10 = bfi.i64 %2, %5, 3, 9\n"
        "%11 = vcall swap64 %1 arg=3\n"
        "%12 = call.i64 mix %2, %5\n"
        "%13 = cas.i64 [%0], %2, %5 64\n"
        "%14 = sc [%0], %2 64 rel\n"
        "%15 = vconst 0x0123456789abcdef00000000deadbeef\n"
        "%16 = fcmp.f64 le signal %17, %17\n";
    EXPECT_NE(parse_error(good), "") << "%17 is not defined";
    const std::string body = good.substr(0, good.rfind("%16")) + "exit_if %6, 0x2000\nexit_trap syscall, 0x1004, 5\n";
    const Function f = parsed(body);
    std::string again;
    for (Ref r = 0; r < f.insts.size(); ++r) again += print(f, r, toy()) + "\n";
    EXPECT_EQ(again, body);
}

TEST(Parser, SaysWhatIsWrongAndWhere) {
    EXPECT_EQ(parse_error("%0 = get x0\n%1 = adb.i64 %0, %0\n"), "line 2: 'adb' is not an operation");
    EXPECT_EQ(parse_error("%0 = get r0\n"), "line 1: 'r0' is not a guest register of toy");
    EXPECT_EQ(parse_error("%0 = get x0\n%1 = add.i64 %0\n"), "line 2: an operand is missing");
    EXPECT_EQ(parse_error("%1 = not.i64 %0\n"), "line 1: %0 is not defined");
    EXPECT_EQ(parse_error("%0 = get x0\n%0 = get x1\n"), "line 2: %0 is defined twice");
    EXPECT_EQ(parse_error("%0 = const.i99 1\n"), "line 1: '.i99' is not a type");
    EXPECT_EQ(parse_error("%0 = const.i64 0xzz\n"), "line 1: '0xzz' is not a number");
    EXPECT_EQ(parse_error("%0 = get x0\nstore [%0], %0 24\n"), "line 2: an access has 8, 16, 32, 64 or 128 bits");
    EXPECT_EQ(parse_error("%0 = get x0 x1\n"), "line 1: 'x1' is too much");
    EXPECT_EQ(parse_error("exit_trap nothing, 0\n"), "line 1: 'nothing' is not known here");
    EXPECT_EQ(parse_error("%0 = call.i64 nobody\n"), "line 1: 'nobody' is not a helper of toy");
    EXPECT_EQ(parse_error("block 0x1000 fast\n"), "line 1: 'fast' is not known of a block");
}

/// What the verifier says of a broken text that can be parsed.
std::string verdict(std::string_view text) {
    const auto f = parse(text, toy());
    if (!f) return "parser: " + f.error().message;
    return verify(*f, toy());
}

TEST(Verifier, AcceptsAWellFormedBlock) { EXPECT_EQ(verdict("%0 = get x0\nset x1, %0\nexit 0x1000\n"), ""); }

TEST(Verifier, RejectsBrokenBlocks) {
    const auto expect = [](std::string_view text, std::string_view why) {
        EXPECT_NE(verdict(text).find(why), std::string::npos) << text << verdict(text);
    };
    expect("", "no instructions");
    expect("%0 = get x0\n", "one terminator");
    expect("exit 0x1000\nexit 0x1000\n", "one terminator");
    expect("%0 = get x0\n%1 = get w0\n%2 = add.i64 %0, %1\nexit 0\n", "operand 1 has type i32");
    expect("%0 = get x0\n%1 = zext %0\nexit 0\n", "operand 0 has type i64");
    expect("%0 = get w0\nset x0, %0\nexit 0\n", "not the guest register's type");
    expect("%0 = get.i32 x0\nexit 0\n", "not the guest register's type");
    expect("%0 = get f0\n%1 = add.f64 %0, %0\nexit 0\n", "a type it cannot have");
    expect("%0 = get x0\n%1 = fadd.i64 %0, %0\nexit 0\n", "a type it cannot have");
    expect("%0 = get nzcv\n%1 = get w0\n%2 = select.flags %1, %0, %0\nexit 0\n", "a type it cannot have");
    expect("%0 = get x0\n%1 = ubfx.i64 %0, 60, 8\nexit 0\n", "outside the type");
    expect("%0 = get x0\n%1 = extr.i64 %0, %0 imm=64\nexit 0\n", "outside the type");
    expect("%0 = get x0\n%1 = load.i32 [%0] 64\nexit 0\n", "wider than its value");
    expect("%0 = get x0\n%1 = get w0\nstore [%0], %1 64\nexit 0\n", "wider than its value");
    expect("%0 = get w0\n%1 = load.i32 [%0] 32\nexit 0\n", "operand 0 has type i32");
    expect("%0 = const.i32 0x100000000\nexit 0\n", "wider than its type");
    expect("%0 = get x0\n%1 = call.i64 swap64 %0\nexit 0\n", "a helper of another kind");
    expect("%0 = get nzcv\n%1 = vdup.32 %0\nexit 0\n", "operand 0 has type flags");
    expect("%0 = get x0\n%1 = bitcast.f32 %0\nexit 0\n", "no such move");
}

TEST(Verifier, RejectsWhatNoTextCanSay) {
    Function f = parsed("%0 = get x0\n%1 = add.i64 %0, %0\nexit 0\n");
    Function g = f;
    g.insts[1].b = 1;
    EXPECT_NE(verify(g, toy()).find("not defined before"), std::string::npos);
    g = f;
    g.insts[1].b = kNoRef;
    EXPECT_NE(verify(g, toy()).find("missing"), std::string::npos);
    g = f;
    g.insts[1].c = 0;
    EXPECT_NE(verify(g, toy()).find("too many"), std::string::npos);
    g = f;
    g.insts[0].imm = 99;
    EXPECT_NE(verify(g, toy()).find("no such guest register"), std::string::npos);
    g = f;
    g.insts[1].op = Op::kCount;
    EXPECT_NE(verify(g, toy()).find("no such operation"), std::string::npos);
}

TEST(Verifier, FindsOperandsThatRandomChangesBroke) {
    std::mt19937_64 rng(test_seed());
    for (unsigned n = 0; n < test_rounds(500); ++n) {
        Function f = random_function(rng, toy(), {});
        const auto r = static_cast<Ref>(rng() % f.insts.size());
        Inst& i = f.insts[r];
        if (info(i.op).arg_count == 0) continue;
        i.a = r + static_cast<Ref>(rng() % 5);  // itself or later
        EXPECT_NE(verify(f, toy()), "") << "seed " << test_seed() << "\n" << print(f, toy());
    }
}

}  // namespace
}  // namespace myna::testing
