// The evaluator against computations written another way: bit by bit, or in 128-bit arithmetic.
#include <functional>

#include "ir/scalar.h"
#include "ir/support.h"

namespace myna::testing {
namespace {

using namespace ir;
using Wide = __int128;

struct Operands {
    uint64_t a, b, c;  // zero extended from the type
    unsigned w;        // width in bits
    uint64_t imm;
    uint8_t sub;
    [[nodiscard]] int64_t sa() const { return sign_extend(a, w); }
    [[nodiscard]] int64_t sb() const { return sign_extend(b, w); }
    [[nodiscard]] unsigned count() const { return static_cast<unsigned>(b % w); }
    [[nodiscard]] bool bit_of_a(unsigned n) const { return n < w && (a >> n & 1); }
};
using Meaning = std::function<uint64_t(const Operands&)>;

/// A number from a rule for each of its bits.
uint64_t by_bits(unsigned w, const std::function<bool(unsigned)>& rule) {
    uint64_t r = 0;
    for (unsigned n = 0; n < w; ++n) r |= uint64_t{rule(n)} << n;
    return r;
}

/// Runs one operation over constants and gives its value.
uint64_t run_op(Op op, Type t, const Operands& o, Type ta, Type tb, Type tc) {
    Function f;
    const unsigned args = info(op).arg_count;
    const uint64_t v[] = {o.a, o.b, o.c};
    const Type types[] = {ta, tb, tc};
    Ref refs[] = {kNoRef, kNoRef, kNoRef};
    for (unsigned k = 0; k < args; ++k) {
        refs[k] = static_cast<Ref>(f.insts.size());
        f.insts.push_back({Op::kConst, types[k], 0, kNoRef, kNoRef, kNoRef, v[k]});
    }
    const auto r = static_cast<Ref>(f.insts.size());
    f.insts.push_back({op, t, o.sub, refs[0], refs[1], refs[2], o.imm});
    f.insts.push_back({Op::kExit, Type::kVoid, 0, kNoRef, kNoRef, kNoRef, 0x1000});
    EXPECT_EQ(verify(f, toy()), "") << print(f, toy());
    ToyState state;
    DirectMemory memory(0);
    Evaluator evaluator(toy());
    evaluator.run(f, &state, memory);
    EXPECT_EQ(evaluator.value(r).u64[1], 0U);
    return evaluator.value(r).u64[0];
}

struct IntRow {
    Op op;
    Meaning meaning;
};

const std::vector<IntRow>& int_rows() {
    static const std::vector<IntRow> rows{
        {Op::kAdd, [](const Operands& o) { return static_cast<uint64_t>(Wide{o.sa()} + o.sb()); }},
        {Op::kSub, [](const Operands& o) { return static_cast<uint64_t>(Wide{o.sa()} - o.sb()); }},
        {Op::kMul, [](const Operands& o) { return static_cast<uint64_t>(static_cast<unsigned __int128>(o.a) * o.b); }},
        {Op::kMulHS, [](const Operands& o) { return static_cast<uint64_t>(Wide{o.sa()} * o.sb() >> o.w); }},
        {Op::kMulHU, [](const Operands& o) { return static_cast<uint64_t>(static_cast<unsigned __int128>(o.a) * o.b >> o.w); }},
        {Op::kDivS, [](const Operands& o) { return o.b ? static_cast<uint64_t>(Wide{o.sa()} / o.sb()) : 0; }},
        {Op::kDivU, [](const Operands& o) { return o.b ? o.a / o.b : 0; }},
        {Op::kRemS, [](const Operands& o) { return o.b ? static_cast<uint64_t>(Wide{o.sa()} % o.sb()) : o.a; }},
        {Op::kRemU, [](const Operands& o) { return o.b ? o.a % o.b : o.a; }},
        {Op::kAnd, [](const Operands& o) { return by_bits(o.w, [&](unsigned n) { return bit(o.a, n) && bit(o.b, n); }); }},
        {Op::kOr, [](const Operands& o) { return by_bits(o.w, [&](unsigned n) { return bit(o.a, n) || bit(o.b, n); }); }},
        {Op::kXor, [](const Operands& o) { return by_bits(o.w, [&](unsigned n) { return bit(o.a, n) != bit(o.b, n); }); }},
        {Op::kAndN, [](const Operands& o) { return by_bits(o.w, [&](unsigned n) { return bit(o.a, n) && !bit(o.b, n); }); }},
        {Op::kNot, [](const Operands& o) { return by_bits(o.w, [&](unsigned n) { return !bit(o.a, n); }); }},
        {Op::kNeg, [](const Operands& o) { return static_cast<uint64_t>(-Wide{o.sa()}); }},
        {Op::kShl, [](const Operands& o) { return by_bits(o.w, [&](unsigned n) { return n >= o.count() && bit(o.a, n - o.count()); }); }},
        {Op::kShr, [](const Operands& o) { return by_bits(o.w, [&](unsigned n) { return o.bit_of_a(n + o.count()); }); }},
        {Op::kSar, [](const Operands& o) { return by_bits(o.w, [&](unsigned n) { return bit(o.a, std::min(n + o.count(), o.w - 1)); }); }},
        {Op::kRor, [](const Operands& o) { return by_bits(o.w, [&](unsigned n) { return bit(o.a, (n + o.count()) % o.w); }); }},
        {Op::kExtr, [](const Operands& o) {
             return by_bits(o.w, [&](unsigned n) {
                 const auto p = static_cast<unsigned>(n + o.imm);
                 return p < o.w ? bit(o.b, p) : bit(o.a, p - o.w);
             });
         }},
        {Op::kClz, [](const Operands& o) {
             unsigned n = 0;
             while (n < o.w && !bit(o.a, o.w - 1 - n)) ++n;
             return n;
         }},
        {Op::kCtz, [](const Operands& o) {
             unsigned n = 0;
             while (n < o.w && !bit(o.a, n)) ++n;
             return n;
         }},
        {Op::kCls, [](const Operands& o) {
             unsigned n = 0;
             while (n + 1 < o.w && bit(o.a, o.w - 2 - n) == bit(o.a, o.w - 1)) ++n;
             return n;
         }},
        {Op::kPopcnt, [](const Operands& o) {
             unsigned count = 0;
             for (unsigned n = 0; n < o.w; ++n) count += bit(o.a, n);
             return count;
         }},
        {Op::kBswap, [](const Operands& o) { return by_bits(o.w, [&](unsigned n) { return bit(o.a, (o.w / 8 - 1 - n / 8) * 8 + n % 8); }); }},
        {Op::kBswap16, [](const Operands& o) { return by_bits(o.w, [&](unsigned n) { return bit(o.a, n ^ 8); }); }},
        {Op::kBswap32, [](const Operands& o) { return by_bits(o.w, [&](unsigned n) { return bit(o.a, n ^ 24); }); }},
        {Op::kBitrev, [](const Operands& o) { return by_bits(o.w, [&](unsigned n) { return bit(o.a, o.w - 1 - n); }); }},
        {Op::kSext8, [](const Operands& o) { return static_cast<uint64_t>(static_cast<int64_t>(static_cast<int8_t>(o.a))); }},
        {Op::kSext16, [](const Operands& o) { return static_cast<uint64_t>(static_cast<int64_t>(static_cast<int16_t>(o.a))); }},
        {Op::kZext8, [](const Operands& o) { return o.a % 256; }},
        {Op::kZext16, [](const Operands& o) { return o.a % 65536; }},
        {Op::kUbfx, [](const Operands& o) { return by_bits(static_cast<unsigned>(o.imm >> 8), [&](unsigned n) { return bit(o.a, n + (o.imm & 255)); }); }},
        {Op::kSbfx, [](const Operands& o) {
             const unsigned len = static_cast<unsigned>(o.imm >> 8);
             return by_bits(o.w, [&](unsigned n) { return bit(o.a, std::min(n, len - 1) + (o.imm & 255)); });
         }},
        {Op::kBfi, [](const Operands& o) {
             const unsigned lo = o.imm & 255, len = static_cast<unsigned>(o.imm >> 8);
             return by_bits(o.w, [&](unsigned n) { return n >= lo && n < lo + len ? bit(o.b, n - lo) : bit(o.a, n); });
         }},
        {Op::kAdc, [](const Operands& o) { return static_cast<uint64_t>(Wide{o.sa()} + o.sb() + static_cast<int64_t>(o.c)); }},
        {Op::kSelect, [](const Operands& o) { return o.a & 0xffffffff ? o.b : o.c; }},
        {Op::kClmul, [](const Operands& o) {
             return by_bits(64, [&](unsigned n) {
                 bool r = false;
                 for (unsigned k = 0; k <= n; ++k) r ^= bit(o.a, k) && bit(o.b, n - k);
                 return r;
             });
         }},
        {Op::kClmulH, [](const Operands& o) {
             return by_bits(63, [&](unsigned n) {
                 bool r = false;
                 for (unsigned k = n + 1; k < 64; ++k) r ^= bit(o.a, k) && bit(o.b, n + 64 - k);
                 return r;
             });
         }},
    };
    return rows;
}

TEST(Evaluator, IntegerOperationsMeanWhatTheTableSays) {
    std::mt19937_64 rng(test_seed());
    for (const IntRow& row : int_rows()) {
        for (const Type t : {Type::kI64, Type::kI32}) {
            if (t == Type::kI32 && (row.op == Op::kClmul || row.op == Op::kClmulH || row.op == Op::kBswap32)) continue;
            for (unsigned n = 0; n < test_rounds(300); ++n) {
                Operands o{interesting(rng), interesting(rng), interesting(rng), width_of(t), 0, 0};
                if (n % 5 == 0) o.b = o.a;
                o.a = cut(o.a, t), o.b = cut(o.b, t), o.c = cut(o.c, t);
                Type ta = t, tc = t;
                const uint64_t lo = rng() % o.w, len = 1 + rng() % (o.w - lo);
                if (row.op == Op::kExtr) o.imm = lo;
                if (row.op == Op::kUbfx || row.op == Op::kSbfx || row.op == Op::kBfi) o.imm = lo | len << 8;
                if (row.op == Op::kAdc) o.c &= 1, tc = Type::kI32;
                if (row.op == Op::kSelect) o.a = n % 2 ? cut(o.a, Type::kI32) : 0, ta = Type::kI32;
                const uint64_t want = cut(row.meaning(o), t);
                ASSERT_EQ(run_op(row.op, t, o, ta, t, tc), want)
                    << info(row.op).text << " of " << o.w << " bits: " << std::hex << o.a << " " << o.b << " " << o.c << " imm " << o.imm
                    << ", seed " << test_seed();
            }
        }
    }
}

TEST(Evaluator, EveryIntegerOperationIsTested) {
    for (auto op = Op::kAdd; op < Op::kFlSub; op = static_cast<Op>(static_cast<unsigned>(op) + 1)) {
        if (op == Op::kTrunc || op == Op::kZext || op == Op::kSext || op == Op::kCmp || op == Op::kCrc32) continue;  // below
        bool found = false;
        for (const IntRow& row : int_rows()) found |= row.op == op;
        EXPECT_TRUE(found) << info(op).text;
    }
}

TEST(Evaluator, ExtendsBetweenWidths) {
    const Operands o{0x89abcdef, 0, 0, 32, 0, 0};
    EXPECT_EQ(run_op(Op::kZext, Type::kI64, o, Type::kI32, Type::kI32, Type::kI32), 0x89abcdefU);
    EXPECT_EQ(run_op(Op::kSext, Type::kI64, o, Type::kI32, Type::kI32, Type::kI32), 0xffffffff89abcdefU);
    const Operands p{0x0123456789abcdef, 0, 0, 64, 0, 0};
    EXPECT_EQ(run_op(Op::kTrunc, Type::kI32, p, Type::kI64, Type::kI64, Type::kI64), 0x89abcdefU);
}

TEST(Evaluator, Compares) {
    std::mt19937_64 rng(test_seed());
    for (unsigned n = 0; n < test_rounds(2000); ++n) {
        const Type t = n % 2 ? Type::kI64 : Type::kI32;
        Operands o{cut(interesting(rng), t), cut(interesting(rng), t), 0, width_of(t), 0, static_cast<uint8_t>(rng() % 10)};
        if (n % 7 == 0) o.b = o.a;
        const Wide d = Wide{o.sa()} - o.sb(), u = Wide{o.a} - Wide{o.b};
        const bool want[] = {d == 0, d != 0, d < 0, d <= 0, d > 0, d >= 0, u < 0, u <= 0, u > 0, u >= 0};
        ASSERT_EQ(run_op(Op::kCmp, t, o, t, t, t), want[o.sub]) << unsigned{o.sub} << " " << o.a << " " << o.b;
    }
}

TEST(Evaluator, ComputesBothCrcs) {
    // The check values of CRC-32 and CRC-32C: "123456789", inverted in and out.
    for (const auto& [castagnoli, want] : {std::pair{0U, 0xcbf43926U}, std::pair{1U, 0xe3069283U}}) {
        uint32_t acc = 0xffffffff;
        const char text[] = "123456789";
        Operands o{acc, 0, 0, 64, castagnoli, 3};
        std::memcpy(&o.b, text, 8);
        acc = static_cast<uint32_t>(run_op(Op::kCrc32, Type::kI32, o, Type::kI32, Type::kI64, Type::kI32));
        o = {acc, '9' | 0xab00, 0, 64, castagnoli, 0};  // one byte; what lies above it is not used
        acc = static_cast<uint32_t>(run_op(Op::kCrc32, Type::kI32, o, Type::kI32, Type::kI64, Type::kI32));
        EXPECT_EQ(~acc, want);
    }
}

/// NZCV by 128-bit sums of the operands, signed and unsigned.
uint32_t nzcv(const Operands& o, bool subtract, uint64_t carry_in) {
    const uint64_t b = subtract ? ~o.b & low_mask(o.w) : o.b;
    const unsigned __int128 u = static_cast<unsigned __int128>(o.a) + b + carry_in;
    const Wide s = Wide{o.sa()} + sign_extend(b, o.w) + static_cast<int64_t>(carry_in);
    const uint64_t r = static_cast<uint64_t>(u) & low_mask(o.w);
    const bool n = sign_extend(r, o.w) < 0, z = r == 0, c = (u >> o.w) != 0, v = s != sign_extend(r, o.w);
    return uint32_t{n} << 31 | uint32_t{z} << 30 | uint32_t{c} << 29 | uint32_t{v} << 28;
}

TEST(Evaluator, SetsFlags) {
    std::mt19937_64 rng(test_seed());
    for (unsigned n = 0; n < test_rounds(2000); ++n) {
        const Type t = n % 2 ? Type::kI64 : Type::kI32;
        Operands o{cut(interesting(rng), t), cut(interesting(rng), t), rng() & 1, width_of(t), 0, 0};
        if (n % 7 == 0) o.b = o.a;
        ASSERT_EQ(run_op(Op::kFlSub, t, o, t, t, t), nzcv(o, true, 1));
        ASSERT_EQ(run_op(Op::kFlAdd, t, o, t, t, t), nzcv(o, false, 0));
        ASSERT_EQ(run_op(Op::kFlAdc, t, o, t, t, Type::kI32), nzcv(o, false, o.c));
        ASSERT_EQ(run_op(Op::kFlLogic, t, o, t, t, t), nzcv({o.a, 0, 0, o.w, 0, 0}, false, 0) & (kFlagN | kFlagZ));
    }
}

TEST(Evaluator, HoldsConditionsAsTheManualWritesThem) {
    for (unsigned f = 0; f < 16; ++f) {
        const bool n = f & 8, z = f & 4, c = f & 2, v = f & 1;
        const bool want[] = {z, !z, c, !c, n, !n, v, !v, c && !z, !(c && !z), n == v, n != v, !z && n == v, !(!z && n == v), true};
        for (uint8_t cc = 0; cc < 15; ++cc) {
            Machine m;
            m.state.nzcv = f << 28;
            Function g = parsed("%f = get nzcv\n%c = cond " + std::array<std::string, 15>{"eq", "ne", "cs", "cc", "mi", "pl", "vs", "vc", "hi",
                                                                                         "ls", "ge", "lt", "gt", "le", "al"}[cc] +
                                " %f\nset w0, %c\nexit 0x1000\n");
            m.run(g);
            EXPECT_EQ(m.state.w[0], want[cc]) << "condition " << unsigned{cc} << " of " << f;
        }
    }
}

TEST(Evaluator, ComparesConditionally) {
    Machine m;
    const Function f = parsed(
        "%f = get nzcv\n%a = get x0\n%b = get x1\n"
        "%s = fl_ccmp.i64 eq %f, %a, %b imm=9\nset nzcv, %s\nexit 0x1000\n");
    m.state.nzcv = kFlagZ, m.state.x = {1, 2};
    m.run(f);
    EXPECT_EQ(m.state.nzcv, kFlagN) << "1 - 2: negative, borrow";
    m.state.nzcv = 0;
    m.run(f);
    EXPECT_EQ(m.state.nzcv, 9U << 28) << "the condition does not hold: the immediate";
    const Function g = parsed("%f = get nzcv\n%a = get x0\n%b = get x1\n%s = fl_ccmp.i64 eq %f, %a, %b imm=16\nset nzcv, %s\nexit 0x1000\n");
    m.state.nzcv = kFlagZ, m.state.x = {~uint64_t{0}, 1};
    m.run(g);
    EXPECT_EQ(m.state.nzcv, kFlagZ | kFlagC) << "-1 + 1";
}

// ---- memory

TEST(Evaluator, LoadsEverySizeSignAndOrder) {
    Machine m;
    for (unsigned n = 0; n < 16; ++n) m.memory[n] = static_cast<uint8_t>(0x81 + n);
    const auto load = [&m](const std::string& how) {
        m.run(parsed("%p = get base\n%v = load." + how + "\nset " + (how.starts_with("i64") ? "x0" : "w0") + ", %v\nexit 0x1000\n"));
        return how.starts_with("i64") ? m.state.x[0] : m.state.w[0];
    };
    EXPECT_EQ(load("i64 [%p] 8"), 0x81U);
    EXPECT_EQ(load("i64 [%p+1] sext8"), 0xffffffffffffff82U);
    EXPECT_EQ(load("i32 [%p+1] sext8"), 0xffffff82U);
    EXPECT_EQ(load("i64 [%p] 16"), 0x8281U);
    EXPECT_EQ(load("i64 [%p] 16 be"), 0x8182U);
    EXPECT_EQ(load("i64 [%p] sext16 be"), 0xffffffffffff8182U);
    EXPECT_EQ(load("i64 [%p+3] 32"), 0x87868584U);
    EXPECT_EQ(load("i64 [%p] sext32 be"), 0xffffffff81828384U);
    EXPECT_EQ(load("i32 [%p] 32"), 0x84838281U);
    EXPECT_EQ(load("i64 [%p+1] 64"), 0x8988878685848382U);
    EXPECT_EQ(load("i64 [%p] 64 be"), 0x8182838485868788U);
    m.run(parsed("%p = get base\n%v = load.v128 [%p] 128\n%b = load.v128 [%p] 128 be\nset v0, %v\nset v1, %b\nexit 0x1000\n"));
    EXPECT_EQ(m.state.v[0].u64[0], 0x8887868584838281U);
    EXPECT_EQ(m.state.v[0].u64[1], 0x908f8e8d8c8b8a89U);
    EXPECT_EQ(m.state.v[1].u64[0], 0x898a8b8c8d8e8f90U);
    EXPECT_EQ(m.state.v[1].u64[1], 0x8182838485868788U);
}

TEST(Evaluator, StoresTheLowBytesAndNothingElse) {
    Machine m;
    m.memory.fill(0xee);
    m.state.x[0] = 0x1122334455667788;
    m.run(parsed("%p = get base\n%x = get x0\nstore [%p], %x 8\nstore [%p+2], %x 16 be\nstore [%p+5], %x 32\nstore [%p+10], %x 64 be\nexit 0x1000\n"));
    const uint8_t want[] = {0x88, 0xee, 0x77, 0x88, 0xee, 0x88, 0x77, 0x66, 0x55, 0xee, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0xee};
    EXPECT_EQ(std::memcmp(m.memory.data(), want, sizeof want), 0);
}

TEST(Evaluator, ReadModifiesWrites) {
    const auto rmw = [](const std::string& what, uint64_t before, uint64_t operand, uint64_t* old) {
        Machine m;
        std::memcpy(m.memory.data(), &before, 8);
        m.state.x[0] = operand;
        m.run(parsed("%p = get base\n%x = get x0\n%o = rmw_" + what + "\nset x1, %o\nexit 0x1000\n"));
        *old = m.state.x[1];
        std::memcpy(&before, m.memory.data(), 8);
        return before;
    };
    uint64_t old = 0;
    EXPECT_EQ(rmw("add.i64 [%p], %x 32", 0x11111111ffffffff, 2, &old), 0x1111111100000001U);
    EXPECT_EQ(old, 0xffffffffU);
    EXPECT_EQ(rmw("add.i64 [%p], %x sext8 acq rel", 0x80, 1, &old), 0x81U);
    EXPECT_EQ(old, 0xffffffffffffff80U);
    EXPECT_EQ(rmw("and.i64 [%p], %x 64", 0xff00, 0x0ff0, &old), 0x0f00U);
    EXPECT_EQ(rmw("or.i64 [%p], %x 64", 0xff00, 0x0ff0, &old), 0xfff0U);
    EXPECT_EQ(rmw("xor.i64 [%p], %x 16", 0xff00, 0xff0ff0, &old), 0xf0f0U);
    EXPECT_EQ(rmw("xchg.i64 [%p], %x 16 be", 0xccbbaa, 0x1122, &old), 0xcc2211U);
    EXPECT_EQ(old, 0xaabbU);
    EXPECT_EQ(rmw("smin.i64 [%p], %x 8", 0x01, 0xff, &old), 0xffU);
    EXPECT_EQ(rmw("umin.i64 [%p], %x 8", 0x01, 0xff, &old), 0x01U);
    EXPECT_EQ(rmw("smax.i64 [%p], %x 8", 0x01, 0xff, &old), 0x01U);
    EXPECT_EQ(rmw("umax.i64 [%p], %x 8", 0x01, 0xff, &old), 0xffU);
    EXPECT_EQ(rmw("add.i64 [%p], %x 32 be", 0xff000000, 1, &old), 0x00010000U);
}

TEST(Evaluator, ComparesAndSwaps) {
    Machine m;
    m.memory[0] = 5;
    const Function f = parsed("%p = get base\n%e = get x0\n%n = get x1\n%o = cas.i64 [%p], %e, %n 8\nset x2, %o\nexit 0x1000\n");
    m.state.x = {4, 9};
    m.run(f);
    EXPECT_EQ(m.memory[0], 5);
    EXPECT_EQ(m.state.x[2], 5U);
    m.state.x = {0x105, 9};  // only the byte counts
    m.run(f);
    EXPECT_EQ(m.memory[0], 9);
    EXPECT_EQ(m.state.x[2], 5U);
    const Function wide = parsed("%p = get base\n%e = load.v128 [%p] 128\n%n = get v0\n%o = cas.v128 [%p], %e, %n 128\nset v1, %o\nexit 0x1000\n");
    m.state.v[0] = {{1, 2}};
    m.run(wide);
    EXPECT_EQ(m.memory[8], 2);
    EXPECT_EQ(m.state.v[1].u64[0], 9U);
}

TEST(Evaluator, StoresExclusivelyOnlyWhatIsStillTheSame) {
    Machine m;
    m.memory[0] = 7;
    const Function load = parsed("%p = get base\n%v = ll.i64 [%p+0] 32\nset x0, %v\nexit 0x1000\n");
    const Function store = parsed("%p = get base\n%v = get x1\n%f = sc [%p], %v 32\nset w0, %f\nexit 0x1000\n");
    m.state.x[1] = 8;
    m.run(store);
    EXPECT_EQ(m.state.w[0], 1U) << "nothing was loaded";
    m.run(load);
    EXPECT_EQ(m.state.x[0], 7U);
    m.run(store);
    EXPECT_EQ(m.state.w[0], 0U);
    EXPECT_EQ(m.memory[0], 8);
    m.run(store);
    EXPECT_EQ(m.state.w[0], 1U) << "the monitor was cleared";
    m.run(load);
    m.memory[1] = 1;
    m.run(store);
    EXPECT_EQ(m.state.w[0], 1U) << "another writer came between";
    EXPECT_EQ(m.memory[0], 8);
}

// ---- leaving

TEST(Evaluator, LeavesWhereTheBlockSays) {
    Machine m;
    const Function f = parsed("%c = get w0\nexit_if %c, 0x2000\n%x = get x0\nexit_ind jump %x\n");
    m.state.w[0] = 1, m.state.x[0] = 0x3000;
    EXPECT_EQ(m.run(f).next_pc, 0x2000U);
    m.state.w[0] = 0;
    const EvalResult r = m.run(f);
    EXPECT_EQ(r.next_pc, 0x3000U);
    EXPECT_EQ(r.reason, ExitReason::kNone);
    EXPECT_EQ(m.state.hdr.pc, 0x3000U);
    const EvalResult t = m.run(parsed("insn 0x1000, 4\nexit_trap breakpoint, 0x1000, 42\n"));
    EXPECT_EQ(t.reason, ExitReason::kBreakpoint);
    EXPECT_EQ(m.state.hdr.exit_reason, static_cast<uint32_t>(ExitReason::kBreakpoint));
    EXPECT_EQ(m.state.hdr.trap_arg, 42U);
}

TEST(Evaluator, CallsHelpers) {
    Machine m;
    m.state.x = {10, 20, 7};
    m.state.v[0] = {{1, 2}};
    m.run(parsed("%a = get x0\n%b = get x1\n%c = get x2\n%m = call.i64 mix %a, %b, %c\nset x3, %m\n"
                 "%v = get v0\n%s = vcall swap64 %v arg=16\nset v1, %s\n%t = call_state.i64 touch %a\nset x4, %t\nexit 0x1000\n"));
    EXPECT_EQ(m.state.x[3], 10U * 3 + (20 ^ 7));
    EXPECT_EQ(m.state.v[1].u64[0], 2U ^ 16);
    EXPECT_EQ(m.state.v[1].u64[1], 1U);
    EXPECT_EQ(m.state.x[0], 20U);
    EXPECT_EQ(m.state.x[4], 20U);
}

TEST(Evaluator, LeavesWhenAStateHelperAsksForIt) {
    Machine m;
    const Function f = parsed("insn 0x1000, 4\n%a = get x0\n%r = call_state.i64 leave %a arg=5\nset x1, %a\nexit 0x1008\n");
    m.state.x = {2};
    EXPECT_EQ(m.run(f).next_pc, 0x1008U);
    EXPECT_EQ(m.state.x[1], 2U);
    m.state.x = {3};
    const EvalResult r = m.run(f);
    EXPECT_EQ(r.reason, ExitReason::kYield);
    EXPECT_EQ(r.next_pc, 0x1004U);
    EXPECT_EQ(m.state.x[1], 0U) << "nothing behind the call ran";
    EXPECT_EQ(m.state.hdr.trap_arg, 5U);
}

TEST(Evaluator, KnowsTheGuestInstructionAtEachMemoryAccess) {
    // Memory that notes where the guest stood: what a fault handler would find.
    struct Watching final : EvalMemory {
        guest::VcpuHeader* hdr = nullptr;
        std::vector<uint64_t> pcs;
        V128 load(uint64_t, unsigned) override { return pcs.push_back(hdr->pc), V128{}; }
        void store(uint64_t, const V128&, unsigned) override { pcs.push_back(hdr->pc); }
        V128 cas(uint64_t, const V128& expected, const V128&, unsigned) override { return pcs.push_back(hdr->pc), expected; }
    } memory;
    Machine m;
    memory.hdr = &m.state.hdr;
    Evaluator evaluator(toy());
    evaluator.run(parsed("insn 0x1000, 4\n%p = get base\n%a = load.i64 [%p] 64\ninsn 0x1004, 2\nstore [%p], %a 64\ninsn 0x1006, 4\n"
                         "%b = rmw_or.i64 [%p], %a 8\nexit 0x100a\n"),
                  &m.state, memory);
    EXPECT_EQ(memory.pcs, (std::vector<uint64_t>{0x1000, 0x1004, 0x1006, 0x1006}));
}

}  // namespace
}  // namespace myna::testing
