// Regions: a loop of two blocks becomes one translation, runs, leaves exactly, and goes when its code is changed.
#include "fixture.h"

#include <thread>

#include "ir/printer.h"

namespace myna::jit {
namespace {

/// for (; a1 != 0; --a1) a0 += a1;  then a0 is stored to [a2], 7 to a3. The loop jumps over a word, so it has two blocks.
class RegionTest : public EngineTest {
  protected:
    static constexpr uint64_t kHead = 4, kTail = 20, kOut = 36;
    void put_loop() {
        memory.put(0, {rv::addi(rv::a0, rv::zero, 0),
                       /* 4: */ rv::add(rv::a0, rv::a0, rv::a1), rv::sd(rv::a0, 0, rv::a2), rv::jal(rv::zero, 8), 0,
                       /* 20: */ rv::addi(rv::a1, rv::a1, -1), rv::beq(rv::a1, rv::zero, 12), rv::jal(rv::zero, -24), 0,
                       /* 36: */ rv::addi(rv::a3, rv::zero, 7), rv::ecall()});
    }
    ExitReason run_loop(uint64_t count) {
        x(rv::a1) = count;
        x(rv::a2) = memory.pc(8 << 20);
        x(rv::a3) = 0;
        return run_from(0);
    }
    uint64_t stored() const {
        uint64_t v = 0;
        std::memcpy(&v, memory.base + (8 << 20), 8);
        return v;
    }
    Result<ir::Function> make_region(RegionSource& source) {
        const uint64_t blocks[] = {memory.pc(kHead), memory.pc(kTail)};
        auto s = engine->snapshot_region(blocks, vcpu->header().mode);
        if (!s) return std::unexpected(s.error());
        source = *s;
        return optimise_region(engine->arch(), engine->cpu(), source);
    }
};

TEST_F(RegionTest, ATwoBlockLoopRunsAsOneTranslation) {
    start();
    put_loop();
    ASSERT_EQ(run_loop(10), ExitReason::kSyscall);  // the first tier; its blocks are linked now
    EXPECT_EQ(x(rv::a0), 55u);
    RegionSource source;
    const auto region = make_region(source);
    ASSERT_TRUE(region) << region.error().message;
    // The inner edge is gone: what is left are the way out and the way back to the head.
    unsigned exits = 0, gets_of_a0 = 0;
    for (const ir::Inst& i : region->insts) {
        exits += i.op == ir::Op::kExit || i.op == ir::Op::kExitIf;
        gets_of_a0 += i.op == ir::Op::kGet && i.imm == rv::a0;
        if (i.op == ir::Op::kExit) { EXPECT_EQ(i.imm, memory.pc(kHead)); }
    }
    EXPECT_EQ(exits, 2u) << ir::print(*region, kArch);
    EXPECT_EQ(gets_of_a0, 1u);
    ASSERT_TRUE(engine->install_region(source, *region));
    ASSERT_EQ(run_loop(1000), ExitReason::kSyscall);
    EXPECT_EQ(x(rv::a0), 500500u);
    EXPECT_EQ(x(rv::a1), 0u);
    EXPECT_EQ(x(rv::a3), 7u);
    EXPECT_EQ(stored(), 500500u);
    EXPECT_EQ(vcpu->header().pc, memory.pc(kOut + 8));
}

TEST_F(RegionTest, ChangedCodeMakesItStaleBeforeAndAfterInstallation) {
    start();
    put_loop();
    ASSERT_EQ(run_loop(3), ExitReason::kSyscall);
    RegionSource source;
    const auto region = make_region(source);
    ASSERT_TRUE(region);
    // Another step in the second block, between snapshot and installation.
    memory.put(kTail, {rv::addi(rv::a1, rv::a1, -2)});
    engine->invalidate(memory.pc(kTail), 4);
    const auto stale = engine->install_region(source, *region);
    ASSERT_FALSE(stale);
    EXPECT_EQ(stale.error().kind, ErrorKind::kInterrupted);
    ASSERT_EQ(run_loop(10), ExitReason::kSyscall);
    EXPECT_EQ(x(rv::a0), 10u + 8 + 6 + 4 + 2);
    // Made anew, then changed again: the region depends on both blocks' bytes.
    const auto again = make_region(source);
    ASSERT_TRUE(again);
    ASSERT_TRUE(engine->install_region(source, *again));
    ASSERT_EQ(run_loop(10), ExitReason::kSyscall);
    EXPECT_EQ(x(rv::a0), 30u);
    memory.put(kTail, {rv::addi(rv::a1, rv::a1, -5)});
    engine->invalidate(memory.pc(kTail), 4);
    ASSERT_EQ(run_loop(10), ExitReason::kSyscall);
    EXPECT_EQ(x(rv::a0), 15u);
}

TEST_F(RegionTest, AnExitRequestIsSeenInItsLoop) {
    start();
    memory.put(0, {rv::addi(rv::a0, rv::a0, 1), rv::jal(rv::zero, 8), 0, /* 12: */ rv::addi(rv::a1, rv::a1, 1), rv::jal(rv::zero, -16)});
    const uint64_t blocks[] = {memory.pc(0), memory.pc(12)};
    const auto source = engine->snapshot_region(blocks, vcpu->header().mode);
    ASSERT_TRUE(source);
    const auto region = optimise_region(engine->arch(), engine->cpu(), *source);
    ASSERT_TRUE(region) << region.error().message;
    ASSERT_TRUE(engine->install_region(*source, *region));
    std::thread other([&] {
        usleep(20000);
        vcpu->request_exit();
    });
    EXPECT_EQ(run_from(0), ExitReason::kPoll);
    other.join();
    EXPECT_EQ(x(rv::a0), x(rv::a1));
    EXPECT_GT(x(rv::a0), 1000u);
    EXPECT_EQ(vcpu->header().pc, memory.pc(0));
}

TEST_F(RegionTest, SaysWhatCannotBeARegion) {
    start();
    put_loop();
    const auto error_of = [&](std::initializer_list<uint64_t> offsets) {
        std::vector<uint64_t> pcs;
        for (const uint64_t o : offsets) pcs.push_back(memory.pc(o));
        const auto source = engine->snapshot_region(pcs, vcpu->header().mode);
        if (!source) return source.error().message;
        const auto region = optimise_region(engine->arch(), engine->cpu(), *source);
        return region ? std::string() : region.error().message;
    };
    EXPECT_NE(error_of({kHead, kOut}).find("does not lead to"), std::string::npos);
    EXPECT_NE(error_of({kTail, kHead}).find("lowest address"), std::string::npos);
    EXPECT_EQ(error_of({kHead, kTail, kOut}), "");  // by the branch that is taken
    EngineOptions interpreted;
    interpreted.accel = Accel::kInterp;
    start(interpreted);
    EXPECT_NE(error_of({kHead, kTail}).find("no translations"), std::string::npos);
}

TEST_F(RegionTest, ATraceThroughATakenBranchRunsAndLeaves) {
    start();
    put_loop();
    RegionSource source;
    const uint64_t blocks[] = {memory.pc(kHead), memory.pc(kTail), memory.pc(kOut)};
    const auto s = engine->snapshot_region(blocks, vcpu->header().mode);
    ASSERT_TRUE(s);
    const auto region = optimise_region(engine->arch(), engine->cpu(), *s);
    ASSERT_TRUE(region);
    ASSERT_TRUE(engine->install_region(*s, *region));
    ASSERT_EQ(run_loop(4), ExitReason::kSyscall);
    EXPECT_EQ(x(rv::a0), 10u);
    EXPECT_EQ(x(rv::a3), 7u);
    EXPECT_EQ(stored(), 10u);
}

}  // namespace
}  // namespace myna::jit
