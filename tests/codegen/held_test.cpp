// What a register still holds must not mislead its next use: EFLAGS that one use turned into another form, the upper
// half of a floating-point constant.
#include <gtest/gtest.h>

#include <random>

#include "codegen/host_run.h"
#include "environment.h"
#include "ir/parser.h"

namespace myna::testing {
namespace {

// "set nzcv" of a logic operation's flags sets CF, which the operation left clear.
constexpr const char* kAfterSaving[] = {
    // … its flags again
    R"(%a = get w0
%b = get w1
%c = or.i32 %a, %b
%f = fl_logic.i32 %c
set nzcv, %f
%g = fl_logic.i32 %c
set nzcv, %g
)",
    // … its value, compared
    R"(%a = get x0
%b = get x1
%c = and.i64 %a, %b
%f = fl_logic.i64 %c
set nzcv, %f
%z = const.i64 0
%d = cmp.i64 ugt %c, %z
set x2, %d
)",
};

TEST(Flags, AreWhatTheOperationLeftAlsoAfterTheyWereSaved) {
    std::mt19937_64 rng(test::seed_or_random());
    for (const bool dead_sets : {true, false}) {
        x64::Options o;
        o.host = host_without("");
        o.dead_sets = dead_sets;
        HostRunner host(o);
        for (const char* text : kAfterSaving) {
            const auto f = ir::parse(std::string(text) + "exit 0x1004\n", toy_guest());
            ASSERT_TRUE(f) << f.error().message;
            EXPECT_EQ(compare_runs(host, *f, rng, 50), "") << text;
        }
    }
}

// A double constant, of which a float and then that float with zeroes above is asked.
TEST(Constants, OfMoreBitsThanAreAskedForAreNotTakenToBeZeroAbove) {
    std::mt19937_64 rng(test::seed_or_random());
    x64::Options o;
    o.host = host_without("");
    HostRunner host(o);
    for (const char* constant : {"0x400921fb54442d18", "0x54442d18", "0"}) {
        const std::string text = std::string("%k = const.f64 ") + constant + R"(
%w = vzext.v128 %k
%l = vlow.f32 %w
%y = vzext.v128 %l
set v0, %y
set v1, %w
exit 0x1004
)";
        const auto f = ir::parse(text, toy_guest());
        ASSERT_TRUE(f) << f.error().message;
        EXPECT_EQ(compare_runs(host, *f, rng, 5), "") << text;
    }
}

}  // namespace
}  // namespace myna::testing
