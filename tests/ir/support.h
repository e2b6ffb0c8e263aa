// What the IR tests share: a toy machine with a buffer, and text in, text out.
#pragma once

#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <memory>
#include <random>
#include <string>

#include "environment.h"
#include "ir/eval.h"
#include "ir/parser.h"
#include "ir/printer.h"
#include "ir/random_ir.h"
#include "ir/sweep.h"
#include "ir/toy_guest.h"
#include "ir/verifier.h"

namespace myna::testing {

inline const guest::GuestArch& toy() { return toy_guest(); }

/// The seed of random tests: MYNA_TEST_SEED or a new one; printed with every failure.
inline uint64_t test_seed() {
    static const uint64_t seed = test::seed_or_random();
    return seed;
}
/// How many random cases: MYNA_TEST_ROUNDS times the usual.
inline unsigned test_rounds(unsigned usual) { return static_cast<unsigned>(test::times_rounds(usual)); }

inline ir::Function parsed(std::string_view text) {
    auto f = ir::parse(text, toy());
    if (!f) {
        ADD_FAILURE() << f.error().message << "\n" << text;
        return {};
    }
    EXPECT_EQ(ir::verify(*f, toy()), "") << text;
    return *f;
}

/// The instructions of `f` as text without indentation, header and dead values; constants written in place.
inline std::string listing(ir::Function f) {
    ir::Sweep sweep;
    sweep.run(f, toy(), false);
    ir::remove_dead(f, sweep);
    std::string out;
    for (ir::Ref r = 0; r < f.insts.size(); ++r) out += ir::print(f, r, toy()) + "\n";
    return out;
}

/// The toy guest's registers and memory.
struct Machine {
    alignas(16) ToyState state;
    alignas(64) std::array<uint8_t, kRandomMemoryBytes> memory{};

    Machine() { state.base = reinterpret_cast<uint64_t>(memory.data()); }
    Machine(const Machine& o) { copy(o); }
    Machine& operator=(const Machine&) = delete;

    /// The contents of `o`; the base register keeps the address of this machine's own buffer.
    void copy(const Machine& o) {
        state = o.state;
        memory = o.memory;
        state.base = reinterpret_cast<uint64_t>(memory.data());
    }

    void randomize(std::mt19937_64& rng) {
        for (auto& x : state.x) x = interesting(rng);
        for (auto& w : state.w) w = static_cast<uint32_t>(interesting(rng));
        for (auto& f : state.f) f = interesting(rng);
        for (auto& v : state.v) v.u64 = {interesting(rng), interesting(rng)};
        state.nzcv = static_cast<uint32_t>(rng()) & 0xf0000000;
        for (auto& m : memory) m = static_cast<uint8_t>(rng());
    }

    ir::EvalResult run(const ir::Function& f) {
        ir::DirectMemory direct(0);
        ir::Evaluator evaluator(toy());
        return evaluator.run(f, &state, direct);
    }

    /// Everything but the buffer's address and what only faults can see, as text: empty when both are the same.
    static std::string difference(const Machine& a, const Machine& b) {
        std::string out;
        const auto field = [&out](std::string name, uint64_t x, uint64_t y) {
            if (x != y) out += name + ": " + std::to_string(x) + " != " + std::to_string(y) + "\n";
        };
        for (size_t n = 0; n < a.state.x.size(); ++n) field("x" + std::to_string(n), a.state.x[n], b.state.x[n]);
        for (size_t n = 0; n < 2; ++n) field("w" + std::to_string(n), a.state.w[n], b.state.w[n]);
        for (size_t n = 0; n < 2; ++n) field("f" + std::to_string(n), a.state.f[n], b.state.f[n]);
        for (size_t n = 0; n < 4; ++n) {
            field("v" + std::to_string(n) + " low", a.state.v[n].u64[0], b.state.v[n].u64[0]);
            field("v" + std::to_string(n) + " high", a.state.v[n].u64[1], b.state.v[n].u64[1]);
        }
        field("nzcv", a.state.nzcv, b.state.nzcv);
        field("pc", a.state.hdr.pc, b.state.hdr.pc);
        field("exit_reason", a.state.hdr.exit_reason, b.state.hdr.exit_reason);
        field("trap_arg", a.state.hdr.trap_arg, b.state.hdr.trap_arg);
        field("mxcsr", a.state.hdr.mxcsr, b.state.hdr.mxcsr);
        for (size_t n = 0; n < a.memory.size(); ++n) field("byte " + std::to_string(n), a.memory[n], b.memory[n]);
        return out;
    }
};

}  // namespace myna::testing
