// The command line: options, names of other tools, environment variables, and the messages for what is wrong.
#include "user/linux/options.h"

#include <gtest/gtest.h>

namespace myna::user {
namespace {

struct Parsed {
    Options o;
    Result<Action> action;
};

Parsed parse(std::vector<std::string> args, std::vector<std::string> env = {}) {
    std::vector<char*> argv, envp;
    for (std::string& a : args) argv.push_back(a.data());
    argv.push_back(nullptr);
    for (std::string& e : env) envp.push_back(e.data());
    envp.push_back(nullptr);
    Parsed p{.o = {}, .action = Action::kDone};
    p.action = parse_options(static_cast<int>(args.size()), argv.data(), envp.data(), p.o);
    return p;
}

TEST(Options, OfQemu) {
    const Parsed p = parse({"/usr/bin/qemu-aarch64-static", "-L", "/root", "-cpu", "cortex-a72", "-E", "A=1,B=2", "-U", "C", "-s", "16M",
                            "-strace", "-0", "name", "prog", "-x", "y"});
    ASSERT_TRUE(p.action) << p.action.error().message;
    EXPECT_EQ(*p.action, Action::kRun);
    EXPECT_EQ(p.o.called, "qemu-aarch64-static");
    EXPECT_EQ(p.o.guest, "aarch64");
    EXPECT_EQ(p.o.sysroot, "/root");
    EXPECT_EQ(p.o.cpu, "cortex-a72");
    EXPECT_EQ(p.o.set_env, (std::vector<std::string>{"A=1", "B=2"}));
    EXPECT_EQ(p.o.unset_env, std::vector<std::string>{"C"});
    EXPECT_EQ(p.o.stack_size, uint64_t{16} << 20);
    EXPECT_TRUE(p.o.strace);
    EXPECT_EQ(p.o.program, "prog");
    EXPECT_EQ(p.o.args, (std::vector<std::string>{"name", "-x", "y"}));
}

TEST(Options, FromTheEnvironment) {
    const Parsed p = parse({"myna-user", "prog"}, {"QEMU_LD_PREFIX=/p", "QEMU_CPU=max", "MYNA_STRACE=1", "PATH=/bin", "QEMU_RAND_SEED=7"});
    ASSERT_TRUE(p.action) << p.action.error().message;
    EXPECT_EQ(p.o.sysroot, "/p");
    EXPECT_EQ(p.o.cpu, "max");
    EXPECT_TRUE(p.o.strace);
    EXPECT_EQ(p.o.seed, 7u);
    EXPECT_EQ(p.o.guest, "");
}

TEST(Options, LongFormsTakeTheirValueBehindEquals) {
    const Parsed p = parse({"myna-user", "--jit-disable=fold,pin", "--jit-stats", "-d", "in_asm,strace", "--accel=interp", "--", "-prog"});
    ASSERT_TRUE(p.action) << p.action.error().message;
    EXPECT_EQ(p.o.engine.jit_disable, (std::vector<std::string>{"fold", "pin"}));
    EXPECT_TRUE(p.o.engine.jit_stats);
    EXPECT_EQ(p.o.engine.log, jit::Log::kInAsm | jit::Log::kStrace);
    EXPECT_EQ(p.o.engine.accel, jit::Accel::kInterp);
    EXPECT_EQ(p.o.program, "-prog");
}

void expect_error(std::vector<std::string> args, std::string_view words) {
    const Parsed p = parse(std::move(args));
    ASSERT_FALSE(p.action);
    EXPECT_NE(p.action.error().message.find(words), std::string::npos) << p.action.error().message;
}

TEST(Options, MistakesAreNamedWithASuggestion) {
    expect_error({"myna-user", "-strac", "x"}, "Did you mean -strace?");
    expect_error({"myna-user", "-d", "in_asn", "x"}, "Did you mean in_asm?");
    expect_error({"myna-user", "-s", "big", "x"}, "-s: 'big' is not a number");
    expect_error({"myna-user", "-cpu"}, "expects an argument");
    expect_error({"myna-user"}, "no program");
    expect_error({"myna-user", "-plugin", "x.so", "x"}, "plugins");
    expect_error({"myna-user", "-E", "NAME", "x"}, "NAME=VALUE");
    expect_error({"myna-user", "-p", "65536", "x"}, "4096");
}

TEST(Options, RangesOfTheLog) {
    const Parsed p = parse({"myna-user", "-dfilter", "0x8000..0x8fff,0x10000+0x200,0x5000-0x1000", "x"});
    ASSERT_TRUE(p.action) << p.action.error().message;
    const auto& r = p.o.engine.log_ranges;
    ASSERT_EQ(r.size(), 3u);
    EXPECT_EQ(r[0].first, 0x8000u);
    EXPECT_EQ(r[0].last, 0x8fffu);
    EXPECT_EQ(r[1].first, 0x10000u);
    EXPECT_EQ(r[1].last, 0x101ffu);
    EXPECT_EQ(r[2].first, 0x4001u);
    EXPECT_EQ(r[2].last, 0x5000u);
    expect_error({"myna-user", "-dfilter", "0x8000", "x"}, "START+SIZE");
    expect_error({"myna-user", "-dfilter", "0x9000..0x8000", "x"}, "ends before it begins");
    expect_error({"myna-user", "-dfilter", "1+0", "x"}, "empty");
    expect_error({"myna-user", "-trace", "all", "x"}, "trace points");
}

TEST(Options, GuestsOfToolNames) {
    EXPECT_EQ(guest_of_tool_name("qemu-riscv64"), "riscv64");
    EXPECT_EQ(guest_of_tool_name("/x/qemu-aarch64-static"), "aarch64");
    EXPECT_EQ(guest_of_tool_name("qemu-pdp11"), "");
    EXPECT_EQ(guest_of_tool_name("myna-user"), "");
}

}  // namespace
}  // namespace myna::user
