// Random instruction streams: the IR evaluator and translated code against QEMU and Unicorn, and against each other.
//
// MYNA_TEST_SEED, MYNA_TEST_ROUNDS, MYNA_TEST_INSNS (guest/common/seed.h); MYNA_TEST_ROW: only this row.
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

using Rows = std::vector<const guest::DecodeRow*>;

/// Rounds of random streams, run by the evaluator and by translated code under every host mask; each answer must be the
/// oracle's.
void compare_all(const char* what, const GuestUnderTest& guest, const Rows& rows, BatchResult (Batch::*ask)(), unsigned max_insns = 8) {
    if (rows.empty()) return;
    for (Tally tally(what, 2 * rounds()); tally.more();) {
        Batch batch(guest, {.seed = seed() + tally.round(), .streams = 1000, .max_insns = max_insns, .rows = rows});
        const std::string difference = batch.compare_engines([ask](Batch& b) { return (b.*ask)(); });
        if (!difference.empty()) FAIL() << difference;
        tally.add(batch.insn_count());
    }
}

/// Translated code against the evaluator, which the tests below hold against others: no process to start, so long runs
/// are cheap. Each host mask has a test of its own.
class Riscv64Translated : public ::testing::TestWithParam<HostMask> {};
INSTANTIATE_TEST_SUITE_P(Host, Riscv64Translated, ::testing::ValuesIn(host_masks()), [](const auto& mask) { return mask.param.name; });

TEST_P(Riscv64Translated, AgreesWithTheEvaluator) {
    const auto guest = make_riscv64("max", {});
    ASSERT_TRUE(guest);
    const auto rows = rows_but(*guest, {});
    for (Tally tally(std::string("riscv64, evaluator, host ") + GetParam().name, 2 * rounds()); tally.more();) {
        Batch batch(*guest, {.seed = seed() + tally.round(), .streams = 1000, .rows = rows});
        jit::EngineOptions options;
        options.cache_bytes = size_t{16} << 20;
        options.host_mask = GetParam().features;
        if (tally.round() % 4 == 1) options.one_insn_per_block = true;
        const std::string difference = batch.compare([&](Batch& b) { return b.run_jit(options); }, &Batch::run_evaluator);
        if (!difference.empty()) FAIL() << difference;
        tally.add(batch.insn_count());
    }
}

TEST(Riscv64Random, AgreesWithQemu) {
    if (!have_program("qemu-riscv64-static")) GTEST_SKIP() << "qemu-riscv64-static is not installed";
    const auto guest = make_riscv64(
        "rv64,zba=on,zbb=on,zbc=on,zbs=on,zbkb=on,zbkc=on,zbkx=on,zknd=on,zkne=on,zknh=on,zksed=on,zksh=on,zfh=on,zihintpause=on",
        {"qemu-riscv64-static", "-cpu", "rv64,zbkb=true,zbkc=true,zbkx=true,zknd=true,zkne=true,zknh=true,zksed=true,zksh=true,Zfh=true"});
    ASSERT_TRUE(guest);
    // QEMU 7.2: ctzw of a register whose low half is zero counts on.
    compare_all("riscv64, QEMU", *guest, rows_but(*guest, {"ctzw"}), &Batch::run_qemu);
}

/// Unicorn's core is QEMU 5: it knows neither NaN boxing of operands nor IEEE 754-2019's minimum, its AMOMIN.W
/// and kin compare whole registers, and infinity times zero plus NaN is not invalid to it.
TEST(Riscv64Random, AgreesWithUnicorn) {
    if (!have_unicorn()) GTEST_SKIP() << "built without Unicorn";
    const auto guest = make_riscv64("rv64", {});
    ASSERT_TRUE(guest);
    auto rows = rows_but(*guest, {"fmin_d", "fmax_d", "fcvt_d_s", "fcvt_s_d", "amomin_w", "amomax_w", "amominu_w", "amomaxu_w", "fmadd_d", "fmsub_d",
                                 "fnmsub_d", "fnmadd_d"});
    std::erase_if(rows, [](const guest::DecodeRow* r) { return r->feature == "f"; });
    compare_all("riscv64, Unicorn", *guest, rows, &Batch::run_unicorn);
}

/// Extensions that Debian 12's QEMU lacks. MYNA_NEWER_QEMU is the folder that scripts/newer-qemu prints.
TEST(Riscv64Random, AgreesWithNewerQemu) {
    const char* folder = getenv("MYNA_NEWER_QEMU");
    if (!folder) GTEST_SKIP() << "MYNA_NEWER_QEMU is not set";
    const auto guest = make_riscv64("max", {std::string(folder) + "/qemu-riscv64", "-cpu", "max"});
    ASSERT_TRUE(guest);
    // Not for user programs; and QEMU loses the flags of a rounding whose result is overwritten: one at a time.
    Rows rows, alone;
    for (const guest::DecodeRow* r : rows_but(*guest, {"cbo_clean", "cbo_flush"})) (r->name.starts_with("fround") ? alone : rows).push_back(r);
    compare_all("riscv64, newer QEMU", *guest, rows, &Batch::run_qemu);
    compare_all("riscv64, newer QEMU, one at a time", *guest, alone, &Batch::run_qemu, 1);
}

}  // namespace
}  // namespace myna::test
