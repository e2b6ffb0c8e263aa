// Random instruction streams: the IR evaluator against QEMU and Unicorn.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>

#include "guest/common/oracle.h"
#include "guest/common/process.h"
#include "guest/common/seed.h"
#include "guest/riscv64/batch_guest.h"

namespace myna::test {
namespace {

/// Rows of the table that `guest` has, without those that an oracle is known to get wrong; MYNA_TEST_ROW: only that one.
std::vector<const guest::DecodeRow*> rows_but(const GuestUnderTest& guest, std::initializer_list<std::string_view> but) {
    std::vector<const guest::DecodeRow*> rows;
    const char* only = getenv("MYNA_TEST_ROW");
    for (const guest::DecodeRow& row : guest.table().rows)
        if (guest.table().enabled(row.id, guest.cpu()) && std::find(but.begin(), but.end(), row.name) == but.end() && (!only || row.name == only)) rows.push_back(&row);
    return rows;
}

/// Rounds of random streams; each engine's answer must be the oracle's.
void compare_with_qemu(const GuestUnderTest& guest, const std::vector<const guest::DecodeRow*>& rows, unsigned max_insns = 8) {
    if (rows.empty()) return;
    for (uint64_t n = 0; n < 2 * rounds(); ++n) {
        Batch batch(guest, {.seed = seed() + n, .streams = 1000, .max_insns = max_insns, .rows = rows});
        const std::string difference = batch.compare(&Batch::run_evaluator, &Batch::run_qemu);
        if (!difference.empty()) FAIL() << difference;
    }
}

/// Translated code against the evaluator, which the tests below hold against others: no process to start, so long runs
/// are cheap. Host features are masked in turn.
TEST(Riscv64Random, TranslatedCodeAgreesWithTheEvaluator) {
    const auto guest = make_riscv64("max", {});
    ASSERT_TRUE(guest);
    const auto rows = rows_but(*guest, {});
    const std::vector<std::string> masks[] = {{}, {"avx512"}, {"avx", "bmi1", "bmi2", "lzcnt", "movbe", "sha", "gfni", "pclmul", "aes"}};
    for (uint64_t n = 0; n < 6 * rounds(); ++n) {
        Batch batch(*guest, {.seed = seed() + n, .streams = 1000, .rows = rows});
        jit::EngineOptions options;
        options.host_mask = masks[n % 3];
        if (n % 4 == 3) options.one_insn_per_block = true;
        const std::string difference = batch.compare([&](Batch& b) { return b.run_jit(options); }, &Batch::run_evaluator);
        if (!difference.empty()) FAIL() << difference;
    }
}

TEST(Riscv64Random, EvaluatorAgreesWithQemu) {
    if (!have_program("qemu-riscv64-static")) GTEST_SKIP() << "qemu-riscv64-static is not installed";
    const auto guest = make_riscv64(
        "rv64,zba=on,zbb=on,zbc=on,zbs=on,zbkb=on,zbkc=on,zbkx=on,zknd=on,zkne=on,zknh=on,zksed=on,zksh=on,zfh=on,zihintpause=on",
        {"qemu-riscv64-static", "-cpu", "rv64,zbkb=true,zbkc=true,zbkx=true,zknd=true,zkne=true,zknh=true,zksed=true,zksh=true,Zfh=true"});
    ASSERT_TRUE(guest);
    // QEMU 7.2: ctzw of a register whose low half is zero counts on.
    compare_with_qemu(*guest, rows_but(*guest, {"ctzw"}));
}

/// Unicorn's core is QEMU 5: it knows neither NaN boxing of operands nor IEEE 754-2019's minimum, its AMOMIN.W
/// and kin compare whole registers, and infinity times zero plus NaN is not invalid to it.
TEST(Riscv64Random, EvaluatorAgreesWithUnicorn) {
    if (!have_unicorn()) GTEST_SKIP() << "built without Unicorn";
    const auto guest = make_riscv64("rv64", {});
    ASSERT_TRUE(guest);
    auto rows = rows_but(*guest, {"fmin_d", "fmax_d", "fcvt_d_s", "fcvt_s_d", "amomin_w", "amomax_w", "amominu_w", "amomaxu_w", "fmadd_d", "fmsub_d",
                                 "fnmsub_d", "fnmadd_d"});
    std::erase_if(rows, [](const guest::DecodeRow* r) { return r->feature == "f"; });
    for (uint64_t n = 0; n < 2 * rounds(); ++n) {
        Batch batch(*guest, {.seed = seed() + n, .streams = 1000, .rows = rows});
        const std::string difference = batch.compare(&Batch::run_evaluator, &Batch::run_unicorn);
        if (!difference.empty()) FAIL() << difference;
    }
}

/// Extensions that Debian 12's QEMU lacks. MYNA_NEWER_QEMU is the folder that scripts/newer-qemu prints.
TEST(Riscv64Random, EvaluatorAgreesWithNewerQemu) {
    const char* folder = getenv("MYNA_NEWER_QEMU");
    if (!folder) GTEST_SKIP() << "MYNA_NEWER_QEMU is not set";
    const auto guest = make_riscv64("max", {std::string(folder) + "/qemu-riscv64", "-cpu", "max"});
    ASSERT_TRUE(guest);
    // Not for user programs; and QEMU loses the flags of a rounding whose result is overwritten: one at a time.
    std::vector<const guest::DecodeRow*> rows, alone;
    for (const guest::DecodeRow* r : rows_but(*guest, {"cbo_clean", "cbo_flush"})) (r->name.starts_with("fround") ? alone : rows).push_back(r);
    compare_with_qemu(*guest, rows);
    compare_with_qemu(*guest, alone, 1);
}

}  // namespace
}  // namespace myna::test
