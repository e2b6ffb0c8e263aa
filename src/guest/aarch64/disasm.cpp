// How the fields of insn_base.decode are written.
#include "guest/aarch64/disasm.h"

#include <cstdio>
#include <cstring>

#include "base/bits.h"
#include "guest/aarch64/bitmask.h"
#include "guest/aarch64/sysreg.h"

namespace myna::guest::aarch64 {
namespace {

template <class... Args>
std::string format(const char* text, Args... args) {
    char out[96];
    std::snprintf(out, sizeof out, text, args...);
    return out;
}

long number(int64_t v) { return static_cast<long>(v); }

std::string offset(int64_t bytes) { return bytes == 0 ? "" : format(", #%ld", number(bytes)); }

std::string shift(int64_t amount, const RowMatch& m) {
    static constexpr const char* kShifts[] = {"lsl", "lsr", "asr", "ror"};
    const auto kind = static_cast<unsigned>(m.field("shift"));
    return kind == 0 && amount == 0 ? "" : format(", %s #%ld", kShifts[kind & 3], number(amount));
}

constexpr const char* kExtends[] = {"uxtb", "uxth", "uxtw", "uxtx", "sxtb", "sxth", "sxtw", "sxtx"};

std::string extend(int64_t amount, const RowMatch& m) {
    const auto option = static_cast<unsigned>(m.field("option")) & 7;
    const bool flags = bit(m.raw, 29);  // ADDS, SUBS write no SP
    const bool sp = m.field("rn") == 31 || (!flags && m.field("rd") == 31);
    const bool natural = option == (m.field("sf") != 0 ? 3u : 2u);
    if (natural && sp) return amount == 0 ? "" : format(", lsl #%ld", number(amount));
    return amount == 0 ? format(", %s", kExtends[option]) : format(", %s #%ld", kExtends[option], number(amount));
}

std::string index(int64_t rm, const RowMatch& m) {
    const bool opt2 = m.field("opt2") != 0, opt0 = m.field("opt0") != 0, s = m.field("s") != 0;
    const int64_t amount = m.has("size") ? m.field("size") : 3;
    std::string text = register_name(opt0, rm);
    if (!opt2 && opt0) return s ? text + format(", lsl #%ld", number(amount)) : text;
    text += std::string(", ") + kExtends[(opt2 ? 4 : 0) | 2 | (opt0 ? 1 : 0)];
    return s ? text + format(" #%ld", number(amount)) : text;
}

std::string prefetch(int64_t op) {
    static constexpr const char* kTypes[] = {"pld", "pli", "pst"};
    if (op >> 3 > 2 || (op >> 1 & 3) == 3) return format("#%ld", number(op));
    return format("%sl%ld%s", kTypes[op >> 3], number((op >> 1 & 3) + 1), (op & 1) != 0 ? "strm" : "keep");
}

std::string system_register(const RowMatch& m) {
    const uint32_t reg = m.raw >> 5 & 0xffff;
    switch (reg | 0x8000) {
#define A64_SYSREG(name, op0, op1, crn, crm, op2, text) case name: return text;
        A64_SYSREGS(A64_SYSREG)
#undef A64_SYSREG
        default: break;
    }
    return format("s%u_%u_c%u_c%u_%u", (reg >> 14 & 1) + 2, reg >> 11 & 7, reg >> 7 & 15, reg >> 3 & 15, reg & 7);
}

std::string system_operation(const RowMatch& m) {
    const auto field = [&](const char* name) { return static_cast<unsigned>(m.field(name)); };
    return format("sys #%u, C%u, C%u, #%u, ", field("op1"), field("crn"), field("crm"), field("op2")) +
           register_name(true, m.field("rt"));
}

std::string pstate(const RowMatch& m) {
    switch (m.field("op1") << 3 | m.field("op2")) {
        case 3: return "uao";
        case 4: return "pan";
        case 5: return "spsel";
        case 3 << 3 | 4: return "tco";
        case 3 << 3 | 6: return "daifset";
        case 3 << 3 | 7: return "daifclr";
        default: return format("s0_%ld_c4_c%ld_%ld", number(m.field("op1")), number(m.field("crm")), number(m.field("op2")));
    }
}

std::string barrier(int64_t crm) {
    static constexpr const char* kDomains[] = {"osh", "nsh", "ish", "sy"};
    static constexpr const char* kTypes[] = {"", "ld", "st", ""};
    const int64_t type = crm & 3;
    if (type == 0) return format("#%ld", number(crm));
    if (crm >> 2 == 3 && type != 3) return kTypes[type];
    return std::string(kDomains[crm >> 2 & 3]) + kTypes[type];
}

std::string logical_immediate(const RowMatch& m) {
    const auto field = [&](const char* name) { return static_cast<unsigned>(m.field(name)); };
    const uint64_t mask = decode_bitmask(field("n"), field("imms"), field("immr")).value_or(0);
    return format("0x%lx", field("sf") != 0 ? mask : mask & 0xffffffff);
}

}  // namespace

std::string register_name(bool is_x, int64_t n, bool sp31) {
    if (n == 31) return sp31 ? (is_x ? "sp" : "wsp") : (is_x ? "xzr" : "wzr");
    return format("%c%ld", is_x ? 'x' : 'w', number(n));
}

std::string format_field(Style style, int64_t value, const RowMatch& m) {
    static constexpr const char* kConds[] = {"eq", "ne", "cs", "cc", "mi", "pl", "vs", "vc",
                                             "hi", "ls", "ge", "lt", "gt", "le", "al", "nv"};
    static constexpr const char* kSizes[] = {"b", "h", "w", "x"};
    static constexpr const char* kKeys[] = {"ia", "ib", "da", "db"};
    static constexpr char kScalars[] = "bhsdq";
    switch (style) {
        case Style::x: return register_name(true, value);
        case Style::w: return register_name(false, value);
        case Style::r: return register_name(bit(m.raw, 31), value);
        case Style::rsp: return register_name(bit(m.raw, 31), value, true);
        case Style::xsp: return register_name(true, value, true);
        case Style::rsz: return register_name(m.field("size") == 3, value);
        case Style::r30: return register_name(bit(m.raw, 30), value);
        case Style::r30n: return register_name(bit(m.raw, 30), value + 1);
        case Style::extreg: return register_name(bit(m.raw, 31) && (m.field("option") & 3) == 3, value);
        case Style::vsz: return format("%c%ld", kScalars[m.field("size") & 3], number(value));
        case Style::s: return format("s%ld", number(value));
        case Style::d: return format("d%ld", number(value));
        case Style::q: return format("q%ld", number(value));
        case Style::retreg: return value == 30 ? "" : " " + register_name(true, value);

        case Style::pcrel: return format("0x%lx", m.pc + static_cast<uint64_t>(value));
        case Style::pcpage: return format("0x%lx", (m.pc & ~uint64_t{0xfff}) + (static_cast<uint64_t>(value) << 12));
        case Style::lsl12: return value != 0 ? ", lsl #12" : "";
        case Style::lsl16: return value != 0 ? format(", lsl #%ld", number(value * 16)) : "";
        case Style::s8: return format("%ld", number(sign_extend(static_cast<uint64_t>(value), 8)));
        case Style::bitmask: return logical_immediate(m);
        case Style::shift: return shift(value, m);
        case Style::extend: return extend(value, m);
        case Style::cond: return kConds[value & 15];

        case Style::off: return offset(value);
        case Style::uoff: return offset(value * (1 << (m.has("size") ? m.field("size") : 3)));
        case Style::pairoff: return offset(value * (1 << m.field("size")));
        case Style::pairimm: return format("%ld", number(value * (1 << m.field("size"))));
        case Style::ldraa: return value == 0 ? "" : format(", #%ld", number(value * 8));
        case Style::extidx: return index(value, m);
        case Style::bang: return value != 0 ? "]!" : "]";
        case Style::prfop: return prefetch(value);

        case Style::bh: return value < 2 ? kSizes[value] : "";
        case Style::bhw: case Style::bhwx: return kSizes[value & 3];
        case Style::a: return value != 0 ? "a" : "";
        case Style::l: return value != 0 ? "l" : "";
        case Style::ab: return value != 0 ? "b" : "a";
        case Style::id: return value != 0 ? "d" : "i";
        case Style::crcc: return value != 0 ? "c" : "";
        case Style::key: return kKeys[value & 3];
        case Style::keyz: { static constexpr const char* kZ[] = {"iza", "izb", "dza", "dzb"}; return kZ[value & 3]; }

        case Style::clrex: return value == 15 ? "" : format(" #%ld", number(value));
        case Style::isb: return value == 15 ? "" : format(" #%ld", number(value));
        case Style::barrier: return barrier(value);
        case Style::pstate: return pstate(m);
        case Style::sys: return system_operation(m);
        case Style::sysreg: return system_register(m);
        default: return format_simd_field(style, value, m);
    }
}

std::string disassemble(uint64_t pc, std::span<const uint8_t> bytes, unsigned* length) {
    if (length != nullptr) *length = 4;
    if (bytes.size() < 4) return "";
    uint32_t raw = 0;
    std::memcpy(&raw, bytes.data(), 4);
    const auto m = match(decode_table(), raw, 32, pc);
    if (!m) return "";
    if (m->has("immr") && m->has("n") &&
        !decode_bitmask(static_cast<unsigned>(m->field("n")), static_cast<unsigned>(m->field("imms")),
                        static_cast<unsigned>(m->field("immr"))))
        return "";
    return guest::disassemble(decode_table(), *m);
}

}  // namespace myna::guest::aarch64
