// Operands as text, in LLVM's syntax without aliases; the rest of an instruction's text stands in insn.decode.
#include "guest/riscv64/disasm.h"

#include <array>
#include <cinttypes>
#include <cstdio>
#include <cstring>

#include "guest/riscv64/decode.inc.h"

namespace myna::guest::riscv64 {

namespace {

constexpr std::array<const char*, 32> kIntNames = {
    "zero", "ra", "sp", "gp", "tp", "t0", "t1", "t2", "s0", "s1", "a0", "a1", "a2", "a3", "a4", "a5",
    "a6", "a7", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11", "t3", "t4", "t5", "t6"};
constexpr std::array<const char*, 32> kFpNames = {
    "ft0", "ft1", "ft2", "ft3", "ft4", "ft5", "ft6", "ft7", "fs0", "fs1", "fa0", "fa1", "fa2", "fa3", "fa4", "fa5",
    "fa6", "fa7", "fs2", "fs3", "fs4", "fs5", "fs6", "fs7", "fs8", "fs9", "fs10", "fs11", "ft8", "ft9", "ft10", "ft11"};
constexpr std::array<const char*, 8> kRounding = {"rne", "rtz", "rdn", "rup", "rmm", "reserved5", "reserved6", "dyn"};
constexpr std::array<const char*, 32> kFliValues = {
    "-1.0", "min", "1.52587890625e-05", "3.0517578125e-05", "0.00390625", "0.0078125", "0.0625", "0.125",
    "0.25", "0.3125", "0.375", "0.4375", "0.5", "0.625", "0.75", "0.875", "1.0", "1.25", "1.5", "1.75", "2.0", "2.5",
    "3.0", "4.0", "8.0", "16.0", "128.0", "256.0", "32768.0", "65536.0", "inf", "nan"};

struct CsrName {
    unsigned number;
    const char* name;
};
constexpr CsrName kCsrNames[] = {{0x001, "fflags"}, {0x002, "frm"},     {0x003, "fcsr"},   {0xc00, "cycle"},
                                 {0xc01, "time"},   {0xc02, "instret"}, {0x100, "sstatus"}, {0x105, "stvec"},
                                 {0x140, "sscratch"}, {0x141, "sepc"},  {0x142, "scause"}, {0x143, "stval"},
                                 {0x180, "satp"},   {0x300, "mstatus"}, {0x305, "mtvec"},  {0x341, "mepc"}};

std::string access_set(int64_t v) {  // FENCE's predecessor or successor set
    std::string s;
    for (int n = 0; n < 4; ++n)
        if (v >> (3 - n) & 1) s += "iorw"[n];
    return s.empty() ? "0" : s;
}

std::string hex(uint64_t v) {
    char text[24];
    std::snprintf(text, sizeof text, "0x%" PRIx64, v);
    return text;
}

}  // namespace

const char* int_register_name(unsigned n) noexcept { return kIntNames[n]; }
const char* fp_register_name(unsigned n) noexcept { return kFpNames[n]; }

std::string format_field(Style style, int64_t v, const RowMatch& m) {
    const auto low5 = static_cast<size_t>(v & 31);
    switch (style) {
        case Style::kDecimal: return std::to_string(v);
        case Style::x: return kIntNames[low5];
        case Style::xpair: return kIntNames[low5 * 2 & 31];
        case Style::f: return kFpNames[low5];
        case Style::rs1: return kIntNames[m.raw >> 15 & 31];
        case Style::rs2: return kIntNames[m.raw >> 20 & 31];
        case Style::upper: return std::to_string(v >> 12 & 0xfffff);
        case Style::target: return hex(m.pc + static_cast<uint64_t>(v));
        case Style::iorw: return access_set(v);
        case Style::rm: return std::string(", ") + kRounding[static_cast<size_t>(v & 7)];
        case Style::rm_exact: return v ? std::string(", ") + kRounding[static_cast<size_t>(v & 7)] : "";
        case Style::fli: return kFliValues[low5];
        case Style::cmop: return std::to_string(m.field("n") * 2 + 1);
        case Style::nopimm: return v ? " " + std::to_string(v) : "";
        case Style::aqrl: return std::string(m.field("aq") || m.field("rl") ? "." : "") + (m.field("aq") ? "aq" : "") + (m.field("rl") ? "rl" : "");
        case Style::prefetch: {
            const int64_t offset = static_cast<int32_t>(m.raw & 0xfe000000) >> 20;
            return std::to_string(offset) + "(" + kIntNames[m.raw >> 15 & 31] + ")";
        }
        case Style::csr:
            for (const CsrName& c : kCsrNames)
                if (c.number == static_cast<unsigned>(v)) return c.name;
            return std::to_string(v);
    }
    return {};
}

std::string disassemble_insn(uint64_t pc, std::span<const uint8_t> bytes, unsigned* length) {
    *length = 0;
    if (bytes.size() < 2) return {};
    uint32_t raw = bytes[0] | uint32_t{bytes[1]} << 8;
    *length = (raw & 3) == 3 ? 4 : 2;
    if (*length == 4) {
        if (bytes.size() < 4) return {};
        std::memcpy(&raw, bytes.data(), 4);
    }
    const auto m = match(decode_table(), raw, *length * 8, pc);
    return m ? disassemble(decode_table(), *m) : std::string{};
}

}  // namespace myna::guest::riscv64
