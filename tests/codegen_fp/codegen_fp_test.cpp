// Floating-point and vector operations compiled and run, against the evaluator: results, exception flags, every host
// feature set, NaN rule and rounding mode.
//
// A block is a few random operations on a made-up guest with pinned and unpinned vector, FP and integer registers, whose
// results go to random registers: so operands die, live on, are overwritten in place and are used twice.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <functional>
#include <memory>
#include <random>

#include "../softfp/samples.h"
#include "codegen/x64/compiler.h"
#include "ir/builder.h"
#include "ir/eval.h"
#include "variants.h"

namespace myna::x64 {
namespace {

using ir::Op;
using ir::Ref;
using ir::Type;
using ir::V128;
using softfp::test_rounds;
using softfp::test_seed;

constexpr unsigned kV = 0, kF = 12, kX = 24, kSlots = 32;

struct TestState {
    guest::VcpuHeader hdr;
    alignas(16) V128 v[12];
    uint64_t f[12];
    uint64_t x[8];
};

std::array<guest::Slot, kSlots> make_slots() {
    std::array<guest::Slot, kSlots> s{};
    for (unsigned i = 0; i < 12; ++i) {
        s[kV + i] = {"v", Type::kV128, static_cast<uint16_t>(offsetof(TestState, v) + 16 * i), static_cast<uint8_t>(i < 5 ? i + 1 : 0)};
        s[kF + i] = {"f", Type::kF64, static_cast<uint16_t>(offsetof(TestState, f) + 8 * i), static_cast<uint8_t>(i < 5 ? i + 1 : 0)};
    }
    for (unsigned i = 0; i < 8; ++i)
        s[kX + i] = {"x", Type::kI64, static_cast<uint16_t>(offsetof(TestState, x) + 8 * i), static_cast<uint8_t>(i < 5 ? i + 1 : 0)};
    return s;
}
const std::array<guest::Slot, kSlots> kSlotTable = make_slots();

guest::GuestArch test_arch() {
    guest::GuestArch a{};
    a.name = "test";
    a.state_size = sizeof(TestState);
    a.slots = kSlotTable;
    return a;
}

/// Two views of one piece of memory.
struct CodeMemory {
    static constexpr size_t kBytes = 1 << 20;
    uint8_t* write;
    uint8_t* exec;
    CodeMemory() {
        const int fd = memfd_create("code", 0);
        if (ftruncate(fd, kBytes) != 0) std::abort();
        write = static_cast<uint8_t*>(mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
        exec = static_cast<uint8_t*>(mmap(nullptr, kBytes, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0));
        close(fd);
    }
    ~CodeMemory() {
        munmap(write, kBytes);
        munmap(exec, kBytes);
    }
};

struct NoMemory final : ir::EvalMemory {
    V128 load(uint64_t, unsigned) override { return {}; }
    void store(uint64_t, const V128&, unsigned) override {}
    V128 cas(uint64_t, const V128&, const V128&, unsigned) override { return {}; }
};

struct Mode {
    ir::NanRule rule = ir::NanRule::kArm;
    ir::FpMode fp;
    bool exact = false;
    bool watch = false;  // Function::exact_underflow
};

class Bench {
  public:
    explicit Bench(const HostFeatures& host) : arch_(test_arch()), opt_{.host = host}, compiler_(arch_, opt_) {
        const auto s = compiler_.emit_stubs({code_.write, 16384}, reinterpret_cast<uint64_t>(code_.exec));
        if (!s) std::abort();
        stubs_ = *s;
        compiler_.use_stubs(stubs_);
    }
    const guest::GuestArch& arch() const { return arch_; }

    /// Compiles `f`; the address to enter.
    const void* compile(const ir::Function& f) {
        at_ = 16384;
        CompiledBlock out;
        const bool ok = compiler_.compile(f, {code_.write + at_, CodeMemory::kBytes - at_}, reinterpret_cast<uint64_t>(code_.exec) + at_, out);
        EXPECT_TRUE(ok);
        code_bytes = out.code_bytes;
        return ok ? code_.exec + at_ : nullptr;
    }
    void run(const void* code, TestState& s) { stubs_.enter(&s.hdr, code); }
    uint32_t code_bytes = 0;
    std::string listing() const {
        std::string out;
        for (uint32_t o = 0; o < code_bytes && o < 400;) {
            unsigned n = 0;
            const std::string t = disassemble_host({code_.exec + at_ + o, code_bytes - o}, o, &n);
            if (t.empty() || n == 0) break;
            out += "  " + t + "\n";
            o += n;
        }
        return out;
    }

  private:
    CodeMemory code_;
    guest::GuestArch arch_;
    Options opt_;
    Compiler compiler_;
    Stubs stubs_;
    size_t at_ = 0;
};

/// Random guest register contents: lanes of one of the formats, bytes, or small integers.
class Contents {
  public:
    explicit Contents(uint64_t seed) : rng_(seed), f16_(seed + 1), f32_(seed + 2), f64_(seed + 3) {}
    void fill(TestState& s) {
        // Now and then no special values at all, so that the hot paths are seen with many operations in a block.
        tame_ = rng_() % 2;
        for (V128& v : s.v) v = vector();
        for (uint64_t& f : s.f) f = (rng_() & 1) ? vector().u64[0] : rng_() % 3 ? f32() | ~uint64_t{0xffffffff} : f16_.next() | ~uint64_t{0xffff};
        for (uint64_t& x : s.x) x = rng_() >> (rng_() % 64);
        if (rng_() & 1) s.x[rng_() % 8] = 0 - s.x[0];
    }

  private:
    uint32_t f32() { return tame_ ? static_cast<uint32_t>(0x3f000000 + (rng_() & 0x80ffffff)) : f32_.next(); }
    uint64_t f64() { return tame_ ? 0x3fe0000000000000 + (rng_() & 0x801fffffffffffff) : f64_.next(); }
    V128 vector() {
        V128 v;
        switch (rng_() % 6) {
            case 0: {
                uint16_t h[8];
                for (auto& x : h) x = f16_.next();
                std::memcpy(&v, h, 16);
                return v;
            }
            case 1: case 2: {
                uint32_t w[4];
                for (auto& x : w) x = f32();
                std::memcpy(&v, w, 16);
                return v;
            }
            case 3: case 4: return {{f64(), f64()}};
            default: {
                const uint64_t shift = rng_() % 64;
                return {{rng_() >> shift, rng_() >> (rng_() % 64)}};
            }
        }
    }
    std::mt19937_64 rng_;
    softfp::Samples<softfp::F16> f16_;
    softfp::Samples<softfp::F32> f32_;
    softfp::Samples<softfp::F64> f64_;
    bool tame_ = false;
};

/// Puts operations of random variants into a block.
class BlockMaker {
  public:
    BlockMaker(ir::Function& f, const guest::GuestArch& arch, uint64_t seed) : f_(f), b_(f, arch, {}), rng_(seed) {}

    void make(std::span<const Variant* const> ops, const Mode& mode) {
        b_.begin(0x1000, 0);
        f_.nan_rule = mode.rule;
        f_.fp_mode = mode.fp;
        f_.fp_exact = mode.exact;
        f_.exact_underflow = mode.watch;
        b_.insn(0x1000, 4);
        for (const Variant* v : ops) {
            Ref in[3] = {ir::kNoRef, ir::kNoRef, ir::kNoRef};
            for (unsigned n = 0; n < 3; ++n)
                if (v->operands[n] != Type::kVoid) in[n] = rng_() % 8 == 0 && n > 0 && v->operands[n] == v->operands[0] ? in[0] : operand(v->operands[n]);
            result(b_.emit(v->op, v->type, v->sub, in[0], in[1], in[2], v->imm));
        }
        b_.exit_trap(ir::ExitReason::kSyscall, 0x1004);
    }

  private:
    unsigned pick(unsigned n) { return static_cast<unsigned>(rng_() % n); }
    Ref operand(Type t) {
        switch (t) {
            case Type::kV128: return pick(12) == 0 ? b_.vimm(0, 0) : b_.get(kV + pick(12));
            case Type::kI64: return b_.get(kX + pick(8));
            case Type::kI32: return pick(8) == 0 ? b_.imm32(static_cast<uint32_t>(rng_())) : b_.trunc(b_.get(kX + pick(8)));
            case Type::kF64: return pick(3) == 0 ? b_.get(kF + pick(12)) : low(t);
            default: return low(t);
        }
    }
    Ref low(Type t) { return b_.emit(Op::kVLow, t, 0, b_.get(kV + pick(12))); }
    void result(Ref r) {
        switch (b_.type_of(r)) {
            case Type::kV128: return b_.set(kV + pick(12), r);
            case Type::kI64: return b_.set(kX + pick(8), r);
            case Type::kI32: return b_.set(kX + pick(8), b_.zext(r));
            case Type::kF64:
                if (pick(2)) return b_.set(kF + pick(12), r);
                [[fallthrough]];
            default: return b_.set(kV + pick(12), b_.emit(Op::kVZext, Type::kV128, 0, r));
        }
    }
    ir::Function& f_;
    ir::Builder b_;
    std::mt19937_64 rng_;
};

std::string describe(const Variant& v) {
    return std::string(ir::info(v.op).text) + " type " + std::to_string(static_cast<int>(v.type)) + " src " +
           std::to_string(static_cast<int>(v.operands[0])) + " sub " + std::to_string(v.sub) + " imm " + std::to_string(v.imm);
}

struct Checker {
    Bench& bench;
    Contents contents{test_seed()};
    std::mt19937_64 rng{test_seed() + 77};
    NoMemory memory{};
    int failures = 0;

    void check(std::span<const Variant* const> ops, const Mode& mode, unsigned runs) {
        ir::Function f;
        BlockMaker maker(f, bench.arch(), rng());
        maker.make(ops, mode);
        const void* code = bench.compile(f);
        ASSERT_NE(code, nullptr) << describe(*ops[0]);
        const auto guest_state = std::make_unique<TestState>(), eval_state = std::make_unique<TestState>();
        for (unsigned k = 0; k < runs && failures < 4; ++k) {
            TestState& s = *guest_state;
            contents.fill(s);
            s.hdr = {};
            s.hdr.rt_helpers = runtime_helpers().data();
            s.hdr.mxcsr = 0x1f80 | static_cast<uint32_t>(rng() & 3) << 13;
            TestState& want = *eval_state;
            want = s;
            const TestState before = s;
            bench.run(code, s);
            ir::Evaluator(bench.arch()).run(f, &want, memory);
            compare(ops, mode, before, s, want);
        }
    }
    void compare(std::span<const Variant* const> ops, const Mode& mode, const TestState& before, const TestState& got, const TestState& want) {
        uint32_t ignore = mode.fp.flush ? 0 : 2;  // denormal operand: no guest's flag unless it flushes
        // Underflow before rounding (docs/floating-point.md): the host may miss it, never raise it wrongly.
        if (mode.rule != ir::NanRule::kRiscv && !mode.exact && !mode.watch && (want.hdr.mxcsr & 16)) ignore |= 16;
        const bool same = std::memcmp(got.v, want.v, sizeof got.v) == 0 && std::memcmp(got.f, want.f, sizeof got.f) == 0 &&
                          std::memcmp(got.x, want.x, sizeof got.x) == 0 && ((got.hdr.mxcsr ^ want.hdr.mxcsr) & ~ignore) == 0;
        if (same) return;
        ++failures;
        std::string text;
        for (const Variant* v : ops) text += describe(*v) + "; ";
        char line[300];
        const auto differ = [&](const char* name, unsigned i, const uint64_t* b, const uint64_t* g, const uint64_t* w, unsigned words) {
            if (std::memcmp(g, w, 8 * words) == 0) return;
            std::snprintf(line, sizeof line, "\n  %s%u got %016lx %016lx want %016lx %016lx", name, i, g[0], words > 1 ? g[1] : 0, w[0], words > 1 ? w[1] : 0);
            text += line;
            (void)b;
        };
        for (unsigned i = 0; i < 12; ++i) {
            differ("v", i, before.v[i].u64.data(), got.v[i].u64.data(), want.v[i].u64.data(), 2);
            differ("f", i, &before.f[i], &got.f[i], &want.f[i], 1);
        }
        for (unsigned i = 0; i < 8; ++i) differ("x", i, &before.x[i], &got.x[i], &want.x[i], 1);
        std::snprintf(line, sizeof line, "\n  mxcsr got %x want %x (before %x), rule %d exact %d", got.hdr.mxcsr, want.hdr.mxcsr, before.hdr.mxcsr,
                      static_cast<int>(mode.rule), mode.exact);
        text += line;
        if (ops.size() == 1) {
            for (unsigned i = 0; i < 12; ++i) {
                std::snprintf(line, sizeof line, "\n  before v%u %016lx %016lx", i, before.v[i].u64[0], before.v[i].u64[1]);
                text += line;
            }
        }
        ADD_FAILURE() << text << "\n" << bench.listing();
    }
};

struct Named {
    const char* name;
    std::vector<const char*> masked;
};
void PrintTo(const Named& n, std::ostream* os) { *os << n.name; }

class CodegenFp : public testing::TestWithParam<Named> {
  protected:
    CodegenFp() {
        HostFeatures h = *HostFeatures::detect();
        for (const char* f : GetParam().masked) h.mask(f);
        bench_ = std::make_unique<Bench>(h);
    }
    std::unique_ptr<Bench> bench_;
};

constexpr Mode kModes[] = {{ir::NanRule::kArm, {}, false}, {ir::NanRule::kRiscv, {}, false}, {ir::NanRule::kArmDefault, {}, false, true},
                           {ir::NanRule::kArm, {}, false, true}};

TEST_P(CodegenFp, EachOperationAlone) {
    Checker c{*bench_};
    const auto all = all_variants();
    const unsigned repeats = 3 * test_rounds();
    for (const Variant& v : all)
        for (const Mode& m : kModes)
            for (unsigned k = 0; k < repeats && c.failures < 4; ++k) {
                const Variant* one[] = {&v};
                c.check(one, m, 40);
            }
}

TEST_P(CodegenFp, ExactModeGoesThroughTheSoftImplementation) {
    Checker c{*bench_};
    const auto all = all_variants();
    const Mode modes[] = {{ir::NanRule::kArm, {.flush = true}, true}, {ir::NanRule::kArmDefault, {.flush = true, .flush16 = true}, true},
                          {ir::NanRule::kRiscv, {.round_away = true}, true}, {ir::NanRule::kArm, {}, true}};
    for (const Variant& v : all) {
        if (!ir::info(v.op).fp_flags) continue;
        const Variant* one[] = {&v};
        for (const Mode& m : modes)
            if (c.failures < 4) c.check(one, m, 20);
    }
}

TEST_P(CodegenFp, UnderflowIsDetectedBeforeRoundingWhereItIsWatched) {
    ir::Function f;
    ir::Builder b(f, bench_->arch(), {});
    for (const bool watch : {false, true}) {
        b.begin(0x1000, 0);
        f.exact_underflow = watch;
        b.insn(0x1000, 4);
        b.set(kF + 2, b.emit(Op::kFMul, Type::kF64, 0, b.get(kF), b.get(kF + 1)));
        b.exit_trap(ir::ExitReason::kSyscall, 0x1004);
        const void* code = bench_->compile(f);
        const auto s = std::make_unique<TestState>();
        s->hdr.rt_helpers = runtime_helpers().data();
        s->f[0] = softfp::kMinNormal<softfp::F64> + 1;  // 2^-1022 (1 + 2^-52)
        s->f[1] = softfp::kOne<softfp::F64> - 2;        // 1 - 2^-52
        bench_->run(code, *s);
        EXPECT_EQ(s->f[2], softfp::kMinNormal<softfp::F64>);
        EXPECT_EQ((s->hdr.mxcsr & softfp::Flag::kUnderflow) != 0, watch);
    }
}

TEST_P(CodegenFp, BlocksOfRandomOperations) {
    Checker c{*bench_};
    const auto all = all_variants();
    for (unsigned k = 0; k < 4000 * test_rounds() && c.failures < 5; ++k) {
        std::vector<const Variant*> ops;
        const unsigned n = 2 + static_cast<unsigned>(c.rng() % 14);
        for (unsigned j = 0; j < n; ++j) ops.push_back(&all[c.rng() % all.size()]);
        c.check(ops, kModes[k % 4], 8);
    }
}

INSTANTIATE_TEST_SUITE_P(Hosts, CodegenFp,
                         testing::Values(Named{"all", {}}, Named{"avx2_no_fma", {"fma", "f16c", "sha", "aes", "pclmul"}}, Named{"avx", {"avx2", "fma"}},
                                         Named{"sse42", {"avx", "sha"}}),
                         [](const auto& i) { return std::string(i.param.name); });

}  // namespace
}  // namespace myna::x64
