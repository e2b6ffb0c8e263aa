// The disassembler against GNU objdump: random instructions of every row, and random words over the encoding space.
//
// Both texts are normalised first (numbers in decimal, comments and spaces dropped), as objdump writes some in hex.
// MYNA_DISASM_SAMPLES sets the number of instructions a row (default 40).
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "guest/aarch64/aarch64.h"
#include "guest/aarch64/decode.inc.h"

namespace myna::guest::aarch64 {
namespace {

constexpr const char* kObjdump = "aarch64-linux-gnu-objdump";

unsigned samples_per_row() {
    const char* text = std::getenv("MYNA_DISASM_SAMPLES");
    return text != nullptr ? static_cast<unsigned>(std::strtoul(text, nullptr, 0)) : 40;
}

std::string normalised(std::string_view text) {
    std::string out;
    for (size_t i = 0; i < text.size();) {
        if (text.substr(i).starts_with("//") || text[i] == '<') break;
        if (text.substr(i).starts_with("0x")) {
            char* end = nullptr;
            const std::string rest(text.substr(i));
            out += std::to_string(std::strtoull(rest.c_str(), &end, 16));
            i += static_cast<size_t>(end - rest.c_str());
            continue;
        }
        if (text[i] != ' ' && text[i] != '\t' && text[i] != '#') out += static_cast<char>(std::tolower(text[i]));
        else if (!out.empty() && out.back() != ' ' && out.find(' ') == std::string::npos) out += ' ';
        ++i;
    }
    while (!out.empty() && out.back() == ' ') out.pop_back();
    return out;
}

/// objdump's text of each word, in order; empty when there is no objdump.
std::vector<std::string> objdump(const std::vector<uint32_t>& words) {
    char name[] = "/tmp/myna-disasm-XXXXXX";
    const int fd = mkstemp(name);
    if (fd < 0) return {};
    const size_t bytes = words.size() * 4;
    const bool written = write(fd, words.data(), bytes) == static_cast<ssize_t>(bytes);
    close(fd);
    std::vector<std::string> lines;
    const std::string command = std::string(kObjdump) + " -D -z -b binary -m aarch64 -M no-aliases " + name + " 2>/dev/null";
    if (FILE* pipe = written ? popen(command.c_str(), "r") : nullptr) {
        char line[512];
        while (std::fgets(line, sizeof line, pipe) != nullptr) {
            const std::string_view text(line);
            const size_t colon = text.find(":\t");
            if (colon == std::string_view::npos) continue;
            const size_t tab = text.find('\t', colon + 2);
            if (tab == std::string_view::npos) continue;
            std::string_view insn = text.substr(tab + 1);
            if (insn.ends_with('\n')) insn.remove_suffix(1);
            lines.emplace_back(insn);
        }
        pclose(pipe);
    }
    unlink(name);
    return lines;
}

struct Tally {
    unsigned compared = 0, wrong = 0;
    std::map<std::string, std::string> examples;  // row -> text
};

/// Encodings that objdump refuses although the processor need not: should-be bits, loads that write a register twice.
bool constrained_unpredictable(const RowMatch& m) {
    if ((m.raw & m.row->should_be_zero) != 0 || (~m.raw & m.row->should_be_one) != 0) return true;
    if (m.row->handler != "ldp") return false;
    const int64_t rt = m.field("rt"), rt2 = m.field("rt2"), rn = m.field("rn");
    return rt == rt2 || (m.field("wback") != 0 && (rt == rn || rt2 == rn));
}

void compare(const std::vector<uint32_t>& words, Tally& tally, bool valid_only) {
    const std::vector<std::string> theirs = objdump(words);
    if (theirs.size() != words.size()) GTEST_SKIP() << kObjdump << " is not installed";
    for (size_t i = 0; i < words.size(); ++i) {
        unsigned length = 0;
        std::array<uint8_t, 4> bytes{};
        std::memcpy(bytes.data(), &words[i], 4);
        std::string ours = normalised(kArch.disassemble(i * 4, bytes, &length));
        std::string other = normalised(theirs[i]);
        if (other.starts_with(".inst") || other.find("undefined") != std::string::npos) other.clear();
        if (ours.empty() && valid_only) continue;
        // objdump knows more system registers by name; system instructions only have to agree that they are there.
        const std::string mnemonic = ours.substr(0, ours.find(' '));
        if ((mnemonic == "mrs" || mnemonic == "msr" || mnemonic == "sys" || mnemonic == "sysl") && !other.empty()) other = ours;
        const auto m = match(decode_table(), words[i], 32);
        if (m && (constrained_unpredictable(*m) || (other.starts_with("hint ") && m->row->name != "hint"))) continue;
        ++tally.compared;
        if (ours == other) continue;
        ++tally.wrong;
        char raw[16];
        std::snprintf(raw, sizeof raw, "%08x", words[i]);
        tally.examples.emplace(m ? std::string(m->row->name) : "(no row) " + other.substr(0, other.find(' ')),
                               std::string(raw) + "  " + ours + "  |  " + other);
    }
}

std::string report(const Tally& t) {
    std::string text = std::to_string(t.wrong) + " of " + std::to_string(t.compared) + " differ\n";
    for (const auto& [row, example] : t.examples) text += "  " + row + ": " + example + "\n";
    return text;
}

/// Insns of insn_simd.decode: tests/guest/aarch64_simd compares them with llvm-mc.
bool is_simd(uint32_t raw) { return (raw & 0x0e000000) == 0x0e000000 || (raw & 0xbe000000) == 0x0c000000; }

/// Rows objdump 2.40 does not know, or writes as something else on purpose.
bool objdump_lacks(const DecodeRow& row) {
    return row.feature == "cssc" || row.feature == "hbc";
}

TEST(Aarch64Disasm, EveryRowReadsAsObjdumpWritesIt) {
    Rng rng(1);
    std::vector<uint32_t> words;
    for (const DecodeRow& row : decode_table().rows) {
        if (objdump_lacks(row) || is_simd(row.value)) continue;
        for (unsigned n = 0; n < samples_per_row(); ++n)
            if (const auto raw = random_insn(decode_table(), row, rng)) words.push_back(*raw);
    }
    Tally tally;
    compare(words, tally, false);
    EXPECT_EQ(tally.wrong, 0u) << report(tally);
}

TEST(Aarch64Disasm, RandomWordsDecodeToTheSameInstruction) {
    Rng rng(2);
    std::vector<uint32_t> words;
    for (unsigned n = 0; n < samples_per_row() * 2500; ++n) if (const auto raw = static_cast<uint32_t>(rng()); !is_simd(raw)) words.push_back(raw);
    Tally tally;
    compare(words, tally, true);
    EXPECT_EQ(tally.wrong, 0u) << report(tally);
}

}  // namespace
}  // namespace myna::guest::aarch64
