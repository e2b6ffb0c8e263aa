// The engine as its owner sees it: programs run, translations are forgotten when they must be, faults are precise,
// a small cache evicts, other threads may ask a vCPU to stop.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <thread>

#include "fixture.h"

namespace myna::jit {
namespace {

/// Everything here is to hold whether a block is translated at its first run or, EngineOptions::interpret_once, its second.
class RunTest : public EngineTest, public testing::WithParamInterface<bool> {
  protected:
    void start(EngineOptions opt = {}) {
        opt.interpret_once = GetParam();
        EngineTest::start(opt);
    }
};
INSTANTIATE_TEST_SUITE_P(Run, RunTest, testing::Bool(), [](const auto& info) { return info.param ? "interpret_once" : "translate"; });

TEST_P(RunTest, ALoopRunsToItsSystemCall) {
    start();
    memory.put(0, {rv::addi(rv::a1, rv::zero, 1000), rv::add(rv::a0, rv::a0, rv::a1), rv::addi(rv::a1, rv::a1, -1),
                   rv::bne(rv::a1, rv::zero, -8), rv::ecall()});
    EXPECT_EQ(run_from(0), ExitReason::kSyscall);
    EXPECT_EQ(x(rv::a0), 500500u);
    EXPECT_EQ(vcpu->header().pc, memory.pc(20));
}

/// The number behind a word of Engine::stats().
long stat(const Engine& engine, const std::string& name) {
    const std::string text = engine.stats();
    const size_t at = text.find(name);
    return at == std::string::npos ? -1 : std::strtol(text.c_str() + at + name.size(), nullptr, 10);
}

TEST_P(RunTest, OnlyWhatRunsAgainIsTranslatedWhenAsked) {
    start();
    // Straight on over a jump, then a loop of two blocks.
    memory.put(0, {rv::addi(rv::a0, rv::zero, 5), rv::jal(rv::zero, 60)});
    memory.put(64, {rv::addi(rv::a1, rv::zero, 10), rv::jal(rv::zero, 60)});
    memory.put(128, {rv::add(rv::a0, rv::a0, rv::a1), rv::addi(rv::a1, rv::a1, -1), rv::bne(rv::a1, rv::zero, -8), rv::ecall()});
    EXPECT_EQ(run_from(0), ExitReason::kSyscall);
    EXPECT_EQ(x(rv::a0), 60u);
    EXPECT_EQ(vcpu->header().pc, memory.pc(144));
    if (GetParam()) {
        EXPECT_EQ(stat(*engine, "blocks interpreted"), 4);  // two that lead to the loop, its first round, what follows it
        EXPECT_EQ(stat(*engine, "blocks translated"), 1);
    } else {
        EXPECT_EQ(stat(*engine, "blocks interpreted"), 0);
        EXPECT_EQ(stat(*engine, "blocks translated"), 4);
    }
    EXPECT_EQ(run_from(0), ExitReason::kSyscall);
    EXPECT_EQ(x(rv::a0), 60u);
    EXPECT_EQ(stat(*engine, "blocks translated"), 4);
}

TEST_P(RunTest, CodeThatKeepsComingBackIsTranslatedAtOnce) {
    start();
    // 1,000 functions, each called twice in a row: soon nothing suggests that the next will run only once.
    constexpr unsigned kCount = 1000;
    for (unsigned i = 0; i < kCount; ++i) memory.put(4096 + i * 64, {rv::addi(rv::a0, rv::a0, 1), rv::ret()});
    memory.put(0, {rv::addi(rv::s1, rv::a4, 0), rv::jalr(rv::ra, rv::s1, 0), rv::jalr(rv::ra, rv::s1, 0), rv::addi(rv::s1, rv::s1, 64),
                   rv::addi(rv::a3, rv::a3, -1), rv::bne(rv::a3, rv::zero, -16), rv::ecall()});
    x(rv::a3) = kCount;
    x(rv::a4) = memory.pc(4096);
    EXPECT_EQ(run_from(0), ExitReason::kSyscall);
    EXPECT_EQ(x(rv::a0), 2 * kCount);
    if (GetParam()) {
        EXPECT_GT(stat(*engine, "blocks interpreted"), 20);
        EXPECT_LT(stat(*engine, "blocks interpreted"), 200);
    }
}

TEST_P(RunTest, AReservationHoldsBetweenEvaluatedAndTranslatedCode) {
    start();
    // lr.d in one block, sc.d in the next; whichever half ran before is translated, the other evaluated.
    const auto lr_d = [](rv::Reg rd, rv::Reg rs1) { return 0x1000302fu | rs1 << 15 | rd << 7; };
    const auto sc_d = [](rv::Reg rd, rv::Reg rs2, rv::Reg rs1) { return 0x1800302fu | rs2 << 20 | rs1 << 15 | rd << 7; };
    for (const uint64_t first : {0u, 64u}) {
        const uint64_t at = 8192 + first * 64;
        memory.put(at, {lr_d(rv::a0, rv::a1), rv::addi(rv::a0, rv::a0, 1), rv::jal(rv::zero, 56)});
        memory.put(at + 64, {sc_d(rv::a2, rv::a0, rv::a1), rv::ecall()});
        uint64_t word = 41;
        x(rv::a1) = reinterpret_cast<uint64_t>(&word);
        EXPECT_EQ(run_from(at + first), ExitReason::kSyscall);  // from 0 both halves, from 64 only the second: no reservation
        EXPECT_EQ(x(rv::a2), first == 0 ? 0u : 1u);
        word = 41;
        EXPECT_EQ(run_from(at), ExitReason::kSyscall);
        EXPECT_EQ(x(rv::a2), 0u);
        EXPECT_EQ(word, 42u);
    }
}

TEST_P(RunTest, CallsAndReturnsGoThroughTheIndirectCache) {
    start();
    memory.put(0, {rv::addi(rv::a1, rv::zero, 100), rv::jal(rv::ra, 16), rv::addi(rv::a1, rv::a1, -1),
                   rv::bne(rv::a1, rv::zero, -8), rv::ecall(), /* 20: */ rv::addi(rv::a0, rv::a0, 3), rv::ret()});
    EXPECT_EQ(run_from(0), ExitReason::kSyscall);
    EXPECT_EQ(x(rv::a0), 300u);
}

TEST_P(RunTest, InvalidatedCodeIsTranslatedAnew) {
    start();
    memory.put(0, {rv::addi(rv::a0, rv::zero, 1), rv::jal(rv::zero, 252)});
    memory.put(256, {rv::addi(rv::a0, rv::a0, 10), rv::ecall()});
    EXPECT_EQ(run_from(0), ExitReason::kSyscall);
    EXPECT_EQ(run_from(0), ExitReason::kSyscall);  // now linked
    EXPECT_EQ(x(rv::a0), 11u);
    memory.put(256, {rv::addi(rv::a0, rv::a0, 20), rv::ecall()});
    engine->invalidate(memory.pc(256), 4);
    EXPECT_EQ(run_from(0), ExitReason::kSyscall);
    EXPECT_EQ(x(rv::a0), 21u);
}

TEST_P(RunTest, AFenceIMakesNewCodeSeen) {
    start();
    memory.put(0, {rv::jal(rv::ra, 256), rv::sw(rv::a2, 0, rv::a3), rv::fence_i(), rv::jal(rv::ra, 244), rv::ecall()});
    memory.put(256, {rv::addi(rv::a0, rv::a0, 1), rv::ret()});
    x(rv::a2) = rv::addi(rv::a0, rv::a0, 100);
    x(rv::a3) = memory.pc(256);
    EXPECT_EQ(run_from(0), ExitReason::kSyscall);
    EXPECT_EQ(x(rv::a0), 101u);
}

TEST_P(RunTest, PagesWithCodeAreAnnounced) {
    start();
    memory.put(4096, {rv::ecall()});
    EXPECT_EQ(run_from(4096), ExitReason::kSyscall);
    ASSERT_FALSE(memory.pages.empty());
    EXPECT_EQ(memory.pages.front(), memory.pc(4096));
}

TEST_P(RunTest, FetchingWhereNothingIsExecutableSaysSo) {
    start();
    memory.put(0, {rv::jalr(rv::zero, rv::a0, 0)});
    x(rv::a0) = 0x1000;
    EXPECT_EQ(run_from(0), ExitReason::kNoExec);
    EXPECT_EQ(vcpu->header().pc, 0x1000u);
}

TEST_P(RunTest, ASmallCacheEvictsAndStaysRight) {
    EngineOptions opt;
    opt.cache_bytes = 2 << 20;
    start(opt);
    // 20,000 little functions, called in turn, twice: more than the cache holds.
    constexpr unsigned kCount = 20000;
    for (unsigned i = 0; i < kCount; ++i) memory.put(4096 + i * 64, {rv::addi(rv::a0, rv::a0, 1), rv::ret()});
    memory.put(0, {rv::jalr(rv::ra, rv::a1, 0), rv::addi(rv::a1, rv::a1, 64), rv::bne(rv::a1, rv::a2, -8), rv::ecall()});
    for (unsigned round = 0; round < 2; ++round) {
        x(rv::a0) = 0;
        x(rv::a1) = memory.pc(4096);
        x(rv::a2) = memory.pc(4096 + kCount * 64);
        EXPECT_EQ(run_from(0), ExitReason::kSyscall);
        EXPECT_EQ(x(rv::a0), kCount);
    }
    EXPECT_EQ(engine->stats().find("regions evicted     0\n"), std::string::npos) << engine->stats();
}

TEST_P(RunTest, AnotherThreadStopsAnEndlessLoop) {
    start();
    memory.put(0, {rv::addi(rv::a0, rv::a0, 1), rv::jal(rv::zero, -4)});
    memory.put(64, {rv::jalr(rv::zero, rv::a1, 0)});
    x(rv::a1) = memory.pc(64);
    for (const uint64_t entry : {uint64_t{0}, uint64_t{64}}) {
        std::thread stopper([&] {
            usleep(20000);
            vcpu->request_exit();
        });
        EXPECT_EQ(run_from(entry), ExitReason::kPoll);
        stopper.join();
    }
}

TEST_P(RunTest, ThreadsRunWhileTheirCodeIsInvalidated) {
    EngineOptions opt;
    opt.cache_bytes = 2 << 20;
    start(opt);
    memory.put(0, {rv::lui(rv::a1, 400), rv::jal(rv::ra, 252), rv::addi(rv::a1, rv::a1, -1), rv::bne(rv::a1, rv::zero, -8), rv::ecall()});
    memory.put(256, {rv::addi(rv::a0, rv::a0, 1), rv::ret()});
    std::atomic<bool> stop{false};
    std::thread invalidator([&] {
        while (!stop) {
            engine->invalidate(memory.pc(256), 8);
            usleep(50);
        }
    });
    std::vector<std::thread> threads;
    for (int t = 0; t < 3; ++t)
        threads.emplace_back([&] {
            auto v = engine->create_vcpu();
            v->header().pc = memory.pc(0);
            EXPECT_EQ(v->run(), ExitReason::kSyscall);
            EXPECT_EQ(x(rv::a0, v.get()), 400u << 12);
        });
    for (auto& t : threads) t.join();
    stop = true;
    invalidator.join();
}

// ---- faults

Engine* fault_engine;
Vcpu* fault_vcpu;
void on_segv(int sig, siginfo_t* info, void* uc) {
    if (fault_engine->on_host_fault(*fault_vcpu, sig, info, uc) == Engine::HostFault::kNotOurs) _exit(99);
}

TEST_P(RunTest, AFaultLeavesTheStateAtTheInstruction) {
    start();
    memory.put(0, {rv::addi(rv::a0, rv::zero, 5), rv::addi(rv::t2, rv::zero, 6), rv::ld(rv::a0, 0, rv::a3),
                   rv::addi(rv::a0, rv::a0, 1), rv::addi(rv::t2, rv::t2, 1), rv::ecall()});
    x(rv::a3) = 0x10;  // not mapped
    fault_engine = engine.get();
    fault_vcpu = vcpu.get();
    struct sigaction sa{}, old{};
    sa.sa_sigaction = on_segv;
    sa.sa_flags = SA_SIGINFO | SA_NODEFER;
    sigaction(SIGSEGV, &sa, &old);
    EXPECT_EQ(run_from(0), ExitReason::kFault);
    EXPECT_EQ(vcpu->header().pc, memory.pc(8));
    EXPECT_EQ(x(rv::a0), 5u);
    EXPECT_EQ(x(rv::t2), 6u);
    uint64_t value = 41;
    x(rv::a3) = reinterpret_cast<uint64_t>(&value);
    EXPECT_EQ(vcpu->run(), ExitReason::kSyscall);
    EXPECT_EQ(x(rv::a0), 42u);
    sigaction(SIGSEGV, &old, nullptr);
}

TEST_P(RunTest, AForkedChildHasACacheOfItsOwn) {
    start();
    memory.put(0, {rv::addi(rv::a0, rv::a0, 1), rv::jal(rv::zero, 252)});
    memory.put(256, {rv::addi(rv::a0, rv::a0, 10), rv::ecall()});
    EXPECT_EQ(run_from(0), ExitReason::kSyscall);
    engine->before_fork();
    const pid_t child = fork();
    if (child == 0) {
        engine->after_fork_child(*vcpu);
        memory.put(256, {rv::addi(rv::a0, rv::a0, 20), rv::ecall()});
        engine->invalidate(memory.pc(256), 4);
        x(rv::a0) = 0;
        const bool ok = run_from(0) == ExitReason::kSyscall && x(rv::a0) == 21;
        _exit(ok ? 0 : 1);
    }
    engine->after_fork_parent();
    for (int i = 0; i < 100; ++i) {
        x(rv::a0) = 0;
        EXPECT_EQ(run_from(0), ExitReason::kSyscall);
        EXPECT_EQ(x(rv::a0), 11u);
    }
    int status = 0;
    waitpid(child, &status, 0);
    EXPECT_EQ(status, 0);
}

TEST_P(RunTest, AWrongPassNameIsRefusedByName) {
    auto cpu = kArch.parse_cpu("max");
    EngineOptions opt;
    opt.jit_disable = {"dead-stes"};
    auto e = Engine::create(kArch, *cpu, opt, memory);
    ASSERT_FALSE(e);
    EXPECT_NE(e.error().message.find("dead-stes"), std::string::npos);
}

TEST(IndirectCache, AnEmptiedEntryMatchesNoAddress) {
    // A64: the block lies where the last entry is its own; the number of all ones leads to that entry too.
    TestMemory memory;
    const guest::GuestArch& arch = *guest::find_guest("aarch64");
    auto engine = Engine::create(arch, *arch.parse_cpu("max"), {}, memory);
    ASSERT_TRUE(engine);
    const auto vcpu = (*engine)->create_vcpu();
    const auto x1 = reinterpret_cast<uint64_t*>(static_cast<uint8_t*>(vcpu->state()) + arch.slots[1].offset);
    ASSERT_EQ(arch.slots[1].name, "x1");
    constexpr uint64_t kLast = uint64_t{guest::kIndirectEntries - 1} * 4;
    memory.put(0, {0xd61f0020});                  // br x1
    memory.put(kLast, {0xd2800be0, 0xd4000001});  // mov x0, #95; svc #0
    for (int round = 0; round < 2; ++round) {     // looked up, then found
        *x1 = memory.pc(kLast), vcpu->header().pc = memory.pc(0);
        ASSERT_EQ(vcpu->run(), ExitReason::kSyscall);
    }
    (*engine)->invalidate(memory.pc(kLast), 8);
    *x1 = ~uint64_t{0}, vcpu->header().pc = memory.pc(0);
    EXPECT_NE(vcpu->run(), ExitReason::kSyscall) << "code that was forgotten runs";
}

}  // namespace
}  // namespace myna::jit
