// What blocks with branches become: the IR of a few pieces of code against block_cases.txt. MYNA_BLESS=1 writes the
// output into the file anew.
//
//   == title
//   16- or 32-bit instruction in hexadecimal   ; what it is        (the block begins at 0x10000)
//   --
//   the IR, without what is dead
#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>

#include "guest/riscv64/riscv64.h"
#include "ir/builder.h"
#include "ir/printer.h"
#include "ir/sweep.h"

namespace myna::test {
namespace {

constexpr uint64_t kPc = 0x10000;
constexpr const char* kFile = MYNA_SOURCE_DIR "/tests/guest/riscv64/block_cases.txt";

class Bytes final : public guest::CodeFetcher {
  public:
    std::vector<uint8_t> bytes;
    unsigned fetch(uint64_t pc, void* out, unsigned want) override {
        if (pc < kPc || pc >= kPc + bytes.size()) return 0;
        const auto n = static_cast<unsigned>(std::min<uint64_t>(want, kPc + bytes.size() - pc));
        std::memcpy(out, bytes.data() + (pc - kPc), n);
        return n;
    }
    unsigned peek(uint64_t pc, void* out, unsigned want) override { return fetch(pc, out, want); }
};

std::string lifted(const std::string& code, const guest::LiftLimits& limits) {
    Bytes fetcher;
    std::istringstream lines(code);
    for (std::string line; std::getline(lines, line);) {
        const std::string hex = line.substr(0, line.find_first_of(" ;"));
        const auto word = static_cast<uint32_t>(std::stoul(hex, nullptr, 16));
        for (unsigned k = 0; k < hex.size() / 2; ++k) fetcher.bytes.push_back(static_cast<uint8_t>(word >> 8 * k));
    }
    fetcher.bytes.resize(fetcher.bytes.size() + 32);  // undefined instructions, so that all of the code can be peeked at
    ir::Function f;
    ir::Builder builder(f, guest::riscv64::kArch, {});
    const auto cpu = guest::riscv64::kArch.parse_cpu("rv64");
    EXPECT_TRUE(cpu);
    builder.begin(kPc, 0);
    guest::riscv64::kArch.lift_block(builder, fetcher, *cpu, limits);
    ir::Sweep sweep;
    sweep.run(f, guest::riscv64::kArch);
    ir::remove_dead(f, sweep);
    return ir::print(f, guest::riscv64::kArch);
}

TEST(Riscv64Blocks, BranchesBecomeWhatIsWrittenDown) {
    std::ifstream in(kFile);
    ASSERT_TRUE(in) << kFile;
    const bool blessing = std::getenv("MYNA_BLESS") != nullptr;
    std::string all, head, title, code, expected;
    bool output = false;
    const auto finish = [&] {
        if (title.empty()) return;
        const std::string got = lifted(code, {});
        if (!blessing) EXPECT_EQ(got, expected) << title;
        all += "== " + title + "\n" + code + "--\n" + got + "\n";
    };
    for (std::string line; std::getline(in, line);) {
        if (line.starts_with("== ")) {
            finish();
            title = line.substr(3), code.clear(), expected.clear(), output = false;
        } else if (title.empty()) {
            head += line + "\n";
        } else if (line == "--") {
            output = true;
        } else if (!line.empty()) {
            (output ? expected : code) += line + "\n";
        }
    }
    finish();
    if (blessing) std::ofstream(kFile) << head << all;
}

TEST(Riscv64Blocks, OneInstructionABlockStaysOne) {
    const std::string text = lifted("00050463 ; beqz a0, +8\n00158593 ; addi a1, a1, 1\n00000073 ; ecall\n", {.max_insns = 1, .single_insn = true});
    EXPECT_EQ(text.find("insn 0x10004"), std::string::npos) << text;
}

}  // namespace
}  // namespace myna::test
