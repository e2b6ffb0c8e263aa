// Branches that become selects, loops that go round more than once in a block, and precise state within: random
// programs of short branches, loops and memory accesses, run plainly, with every liberty the translator takes, and by
// the evaluator. MYNA_TEST_SEED starts the random programs, MYNA_TEST_ROUNDS is how much longer than by default to go on.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <random>

#include "environment.h"
#include "guest/riscv64/riscv64.h"
#include "jit/engine.h"
#include "rv.h"

namespace myna::jit {
namespace {

using guest::riscv64::kArch;
using ir::ExitReason;

constexpr size_t kPage = 4096, kCodeBytes = 16 << 20, kDataBytes = 2 * kPage;

/// Code, and data with nothing behind it, where loops run into a fault.
class Memory final : public GuestMemory {
  public:
    Memory() {
        const size_t all = kCodeBytes + kDataBytes + kPage;
        void* p = mmap(reinterpret_cast<void*>(0x50000000), all, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
        EXPECT_NE(p, MAP_FAILED);
        base = static_cast<uint8_t*>(p);
        mprotect(base + kCodeBytes + kDataBytes, kPage, PROT_NONE);
    }
    ~Memory() override { munmap(base, kCodeBytes + kDataBytes + kPage); }
    bool executable(uint64_t addr, uint64_t len) override { return addr >= address(0) && addr + len <= address(kCodeBytes); }
    void code_on_page(uint64_t) override {}
    [[nodiscard]] uint64_t address(uint64_t offset) const { return reinterpret_cast<uint64_t>(base) + offset; }
    [[nodiscard]] uint8_t* data() const { return base + kCodeBytes; }
    uint8_t* base;
};

Engine* fault_engine;
Vcpu* fault_vcpu;
void on_segv(int sig, siginfo_t* info, void* uc) {
    if (fault_engine->on_host_fault(*fault_vcpu, sig, info, uc) == Engine::HostFault::kNotOurs) _exit(99);
}

// x8: data, x9: counts the loop down, x18: walks through the data; all others are anything.
constexpr unsigned kData = 8, kCounter = 9, kPointer = 18;

class Program {
  public:
    Program(std::mt19937_64& random, bool may_fault) : random_(random) {
        body(pick(12));
        const size_t top = words_.size();
        body(1 + pick(14));
        if (may_fault) words_.push_back(i_type(0x13, 0, kPointer, kPointer, 8 << pick(5)));
        words_.push_back(i_type(0x13, 0, kCounter, kCounter, -1));
        const auto back = [&] { return static_cast<int32_t>(top - words_.size()) * 4; };
        switch (pick(3)) {
            case 0: words_.push_back(rv::bne(rv::Reg(kCounter), rv::zero, back())); break;
            case 1:
                words_.push_back(rv::beq(rv::Reg(kCounter), rv::zero, 8));
                words_.push_back(rv::jal(rv::zero, back()));
                break;
            default: {  // the loop's tail is away, and jumps back
                words_.push_back(rv::bne(rv::Reg(kCounter), rv::zero, 8));
                words_.push_back(rv::ecall());
                body(pick(3));
                words_.push_back(rv::jal(rv::zero, back()));
            }
        }
        body(pick(4));
        words_.push_back(rv::ecall());
        for (const Away& a : away_) {
            const int32_t distance = static_cast<int32_t>(words_.size() - a.branch) * 4;
            words_[a.branch] = rv::b_type(a.condition, rv::Reg(a.a), rv::Reg(a.b), distance);
            for (unsigned k = a.count; k-- > 0;) plain();
            words_.push_back(rv::jal(rv::zero, static_cast<int32_t>(a.branch + 1 - words_.size()) * 4));
        }
    }
    [[nodiscard]] const std::vector<uint32_t>& words() const { return words_; }

  private:
    struct Away {
        size_t branch;
        unsigned condition, a, b, count;
    };
    static uint32_t i_type(uint32_t op, uint32_t f3, unsigned rd, unsigned rs1, int32_t imm) { return rv::i_type(op, f3, rv::Reg(rd), rv::Reg(rs1), imm); }
    unsigned pick(unsigned n) { return static_cast<unsigned>(random_() % n); }
    unsigned source() { return pick(32); }
    unsigned target() {
        for (;;)
            if (const unsigned r = pick(4) == 0 ? pick(32) : 10 + pick(8); r != kData && r != kCounter && r != kPointer) return r;
    }
    void plain() {
        const unsigned rd = target(), a = source(), b = source();
        const auto r_type = [&](uint32_t op, uint32_t f7, uint32_t f3) { return f7 << 25 | b << 20 | a << 15 | f3 << 12 | rd << 7 | op; };
        const auto imm = static_cast<int32_t>(pick(4096)) - 2048;
        switch (pick(12)) {
            case 0: return words_.push_back(i_type(0x13, 0, rd, a, imm));
            case 1: return words_.push_back(i_type(0x1b, 0, rd, a, imm));
            case 2: return words_.push_back(i_type(0x13, pick(2) != 0 ? 7 : 4, rd, a, imm));
            case 3: return words_.push_back(i_type(0x13, 1, rd, a, static_cast<int32_t>(pick(64))));
            case 4: return words_.push_back(i_type(0x13, 5, rd, a, static_cast<int32_t>(pick(64) | (pick(2) << 10))));
            case 5: return words_.push_back(i_type(0x1b, 5, rd, a, static_cast<int32_t>(pick(32) | (pick(2) << 10))));
            case 6: return words_.push_back(r_type(0x33, pick(2) << 5, 0));
            case 7: return words_.push_back(r_type(0x3b, pick(2) << 5, 0));
            case 8: return words_.push_back(r_type(pick(2) != 0 ? 0x33 : 0x3b, 1, 0));  // mul, mulw
            case 9: return words_.push_back(r_type(0x33, 0, 4 + pick(4)));
            case 10: return words_.push_back(r_type(0x33, 0, 2 + pick(2)));             // slt, sltu
            default: return words_.push_back(i_type(0x1b, 1, rd, a, static_cast<int32_t>(pick(32))));
        }
    }
    void body(unsigned items) {
        static constexpr unsigned kConditions[] = {0, 1, 4, 5, 6, 7};
        for (; items > 0; --items) {
            const unsigned condition = kConditions[pick(6)], a = source(), b = pick(3) == 0 ? 0 : source();
            switch (pick(8)) {
                case 0: {  // over some
                    const unsigned count = pick(7);
                    words_.push_back(rv::b_type(condition, rv::Reg(a), rv::Reg(b), static_cast<int32_t>(count + 1) * 4));
                    for (unsigned k = 0; k < count; ++k) pick(12) == 0 ? memory() : plain();
                    break;
                }
                case 1:
                    away_.push_back({words_.size(), condition, a, b, pick(6)});
                    words_.push_back(0);
                    break;
                case 2: case 3: memory(); break;
                default: plain();
            }
        }
    }
    void memory() {
        const unsigned base = pick(2) != 0 ? kData : kPointer, size = pick(4);
        const auto at = static_cast<int32_t>(pick(64)) * 8;
        if (pick(2) != 0) words_.push_back(i_type(0x03, size, target(), base, at));
        else words_.push_back(rv::s_type(size, rv::Reg(source()), at, rv::Reg(base)));
    }

    std::mt19937_64& random_;
    std::vector<uint32_t> words_;
    std::vector<Away> away_;
};

struct Result {
    ExitReason reason;
    uint64_t pc;
    std::vector<uint64_t> x;
    std::vector<uint8_t> data;
    bool operator==(const Result&) const = default;
};

class Branches : public testing::Test {
  protected:
    struct Runner {
        std::string name;
        std::unique_ptr<Engine> engine;
        std::unique_ptr<Vcpu> vcpu;
    };
    void SetUp() override {
        const std::pair<const char*, EngineOptions> kinds[] = {
            {"interp", {.accel = Accel::kInterp}}, {"all", {}}, {"no if-convert", {.jit_disable = {"if-convert"}}}, {"no unroll", {.jit_disable = {"unroll"}}},
            {"no folding", {.jit_disable = {"fold", "forward", "share"}}}, {"no dead sets, fusing", {.jit_disable = {"dead-sets", "fuse"}}},
            {"nothing pinned", {.jit_disable = {"pin"}}}};
        for (const auto& [name, options] : kinds) {
            auto cpu = kArch.parse_cpu("max");
            ASSERT_TRUE(cpu);
            auto e = Engine::create(kArch, *cpu, options, memory);
            ASSERT_TRUE(e) << e.error().message;
            auto v = (*e)->create_vcpu();
            runners.push_back({name, std::move(*e), std::move(v)});
        }
        struct sigaction sa{};
        sa.sa_sigaction = on_segv;
        sa.sa_flags = SA_SIGINFO | SA_NODEFER;
        sigaction(SIGSEGV, &sa, &old_);
    }
    void TearDown() override { sigaction(SIGSEGV, &old_, nullptr); }

    Result run(Runner& r, uint64_t offset, const std::vector<uint64_t>& x, const std::vector<uint8_t>& data) {
        std::memcpy(memory.data(), data.data(), data.size());
        auto* state = static_cast<uint8_t*>(r.vcpu->state());
        for (unsigned n = 0; n < 32; ++n) std::memcpy(state + kArch.slots[n].offset, &x[n], 8);
        r.vcpu->header().pc = memory.address(offset);
        fault_engine = r.engine.get();
        fault_vcpu = r.vcpu.get();
        Result out{r.vcpu->run(), r.vcpu->header().pc, std::vector<uint64_t>(32), {memory.data(), memory.data() + kDataBytes}};
        for (unsigned n = 0; n < 32; ++n) std::memcpy(&out.x[n], state + kArch.slots[n].offset, 8);
        return out;
    }

    void random_programs(bool may_fault) {
        std::mt19937_64 seeds(test::number_from_environment("MYNA_TEST_SEED", 1));
        uint64_t offset = 0;
        for (uint64_t n = test::times_rounds(400); n > 0; --n) {
            const uint64_t seed = seeds();
            std::mt19937_64 random(seed);
            const Program program(random, may_fault);
            if (offset + program.words().size() * 4 + 64 > kCodeBytes) {
                offset = 0;
                for (Runner& r : runners) r.engine->invalidate(memory.address(0), kCodeBytes);
            }
            std::memcpy(memory.base + offset, program.words().data(), program.words().size() * 4);
            std::vector<uint64_t> x(32);
            for (unsigned k = 1; k < 32; ++k) {
                const uint64_t v = random();
                x[k] = k % 3 == 0 ? v % 7 : k % 3 == 1 ? static_cast<uint64_t>(static_cast<int32_t>(v)) : v;
            }
            x[kData] = memory.address(kCodeBytes);
            x[kPointer] = memory.address(kCodeBytes + kDataBytes / 2);
            x[kCounter] = may_fault ? 4000 : 1 + random() % 20;
            std::vector<uint8_t> data(kDataBytes);
            for (uint8_t& b : data) b = static_cast<uint8_t>(random());
            const Result expected = run(runners[0], offset, x, data);
            for (size_t k = 1; k < runners.size(); ++k) {
                const Result got = run(runners[k], offset, x, data);
                EXPECT_TRUE(got == expected) << runners[k].name << ", seed " << seed << (may_fault ? " (faulting)" : "");
                if (got == expected) continue;
                EXPECT_EQ(got.pc, expected.pc);
                for (unsigned r = 1; r < 32; ++r) EXPECT_EQ(got.x[r], expected.x[r]) << "x" << r;
                return;
            }
            offset = (offset + program.words().size() * 4 + 63) & ~uint64_t{63};
        }
    }

    Memory memory;
    std::vector<Runner> runners;

  private:
    struct sigaction old_{};
};

TEST_F(Branches, RandomProgramsAgree) { random_programs(false); }
TEST_F(Branches, RandomProgramsAgreeAtTheirFaults) { random_programs(true); }

}  // namespace
}  // namespace myna::jit
