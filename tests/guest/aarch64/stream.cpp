#include "stream.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>

#include "guest/aarch64/aarch64.h"

namespace myna::guest::aarch64::test {
namespace {

/// Handlers that leave the stream, need another exception level, or depend on what oracles do differently.
constexpr std::string_view kLeaves[] = {"udf",  "svc",   "hvc",   "smc",  "brk",  "hlt",     "wfe",    "wfi",  "wfet",
                                        "wfit", "yield_", "eret",  "msr_imm", "sys", "sysl", "msr_reg", "mrs",  "br",
                                        "blr",  "ret",   "adrp",  "bl",   "msr_ssbs_imm", "msr_dit_imm"};

bool is_memory(const DecodeRow& row) {
    return std::ranges::any_of(row.text, [](const TextPiece& t) { return t.literal.find('[') != std::string_view::npos; });
}

const DecodeField* field_of(const DecodeRow& row, std::string_view name) {
    for (const DecodeField& f : row.fields)
        if (f.name == name) return &f;
    return nullptr;
}

/// Puts `value` into a field that is one piece of bits.
void put(uint32_t& raw, const DecodeField* f, unsigned value) {
    if (f == nullptr || f->pieces.front().lo == FieldPiece::kConstant) return;
    const FieldPiece& p = f->pieces.front();
    const uint32_t mask = ((1u << p.len) - 1) << p.lo;
    raw = (raw & ~mask) | (value << p.lo & mask);
}

}  // namespace

bool runs_in_stream(const DecodeRow& row) {
    if (row.feature == "pauth") return false;                             // another algorithm
    if (row.feature == "cssc" || row.feature == "hbc") return false;  // newer than the oracle
    return std::ranges::find(kLeaves, row.handler) == std::end(kLeaves);
}

std::vector<uint32_t> StreamMaker::instructions(Rng& rng, unsigned length) const {
    std::vector<uint32_t> code;
    if (length > 1) code.push_back(0xd5033f5f);  // CLREX: what ran before in the oracle left its monitor set
    while (code.size() < length) code.push_back(one(rng, length, length - static_cast<unsigned>(code.size()) - 1));
    return code;
}

uint32_t StreamMaker::one(Rng& rng, unsigned length, unsigned left) const {
    for (;;) {
        const DecodeRow& row = *rows_[rng() % rows_.size()];
        const auto made = random_insn(decode_table(), row, rng);
        if (!made) continue;
        uint32_t raw = *made;
        if (const DecodeField* off = field_of(row, "off")) {
            if (row.text.size() > 1 && row.name.find("lit") != std::string_view::npos) continue;  // literals: the code's own bytes
            if (row.name != "adr") {
                const unsigned words = 1 + static_cast<unsigned>(rng() % (left + 1));
                const FieldPiece& p = off->pieces.front();
                const uint32_t mask = ((1u << p.len) - 1) << p.lo;
                raw = (raw & ~mask) | (words << p.lo & mask);
            }
        }
        const bool memory = is_memory(row);
        // Base registers keep their values; what is written goes elsewhere.
        for (const char* name : {"rd", "rt", "rt2", "rs"}) {
            const DecodeField* f = field_of(row, name);
            if (f == nullptr) continue;
            const auto n = static_cast<unsigned>(f->extract(raw));
            const bool vector = row.handler.find("_v") != std::string_view::npos || row.feature == "fp";
            if (vector) continue;
            if (n >= 25 && n <= 28) put(raw, f, f->pieces.front().len == 4 ? (n - 12) / 2 : n - 12);
        }
        const DecodeField* rd = field_of(row, "rd");
        if (rd != nullptr && !memory && rd->extract(raw) == 31 &&
            std::ranges::any_of(row.text, [](const TextPiece& t) { return t.style == static_cast<uint8_t>(Style::rsp); }))
            put(raw, rd, static_cast<unsigned>(rng() % 24));
        if (memory) {
            const bool atomic = row.feature.starts_with("ls") || row.handler.find("xr") != std::string_view::npos ||
                                row.handler.find("xp") != std::string_view::npos || row.feature.starts_with("lrcpc") ||
                                row.handler.ends_with("lr") || row.handler.ends_with("ar");
            static constexpr unsigned kBases[] = {26, 27, 31};
            put(raw, field_of(row, "rn"), atomic ? 28 : kBases[rng() % 3]);
            if (field_of(row, "extidx") != nullptr || field_of(row, "opt0") != nullptr) put(raw, field_of(row, "rm"), 25);
            else if (field_of(row, "rm") != nullptr && field_of(row, "rm")->extract(raw) != 31) put(raw, field_of(row, "rm"), 25);
            if (const DecodeField* imm = field_of(row, "imm12")) put(raw, imm, static_cast<unsigned>(rng() % 1024));
            
            // Exclusive pairs of different sizes are unpredictable.
            if (row.handler == "stxp" || row.handler == "ldxp" || (length == 1 && row.handler == "stxr")) continue;
            if (row.handler == "stxr" || row.handler == "ldxr") raw |= 3u << 30;
            // A register that is both written back and transferred is unpredictable.
            const RowMatch m{&row, raw, 0};
            if (m.has("rt2") && m.field("rt") == m.field("rt2") && row.handler.starts_with("ld")) continue;
            if (m.has("rs") && (m.field("rs") == m.field("rt") || m.field("rs") == m.field("rt2") || m.field("rs") == m.field("rn")) &&
                row.handler.starts_with("stx"))
                continue;
        }
        unsigned bytes_used = 0;
        std::array<uint8_t, 4> bytes{};
        // Unicorn's core compares all of the register's bits in narrow minimum and maximum.
        if (row.handler == "ldop" && (raw >> 14 & 1) != 0) raw |= 3u << 30;
        std::memcpy(bytes.data(), &raw, 4);
        const auto again = match(decode_table(), raw, 32);
        if (!again || again->row != &row || kArch.disassemble(0, bytes, &bytes_used).empty()) continue;
        return raw;
    }
}

Registers StreamMaker::registers(Rng& rng, uint32_t fpcr_bits) {
    static constexpr uint64_t kInts[] = {0, 1, 2, 0x7f, 0x80, 0xff, 0x100, 0x7fff, 0x8000, 0xffff, 0x7fffffff, 0x80000000,
                                         0xffffffff, 0x100000000, 0x7fffffffffffffff, 0x8000000000000000, ~uint64_t{0},
                                         ~uint64_t{1}, 0xffffffff80000000, 0xffffffff7fffffff, 63, 64, 31, 32};
    static constexpr uint32_t kSingles[] = {0, 0x80000000, 0x3f800000, 0xbf800000, 0x7f800000, 0xff800000, 0x7fc00000,
                                            0x7f800001, 0xffc12345, 0x00000001, 0x807fffff, 0x00800000, 0x7f7fffff,
                                            0x4f000000, 0xcf000000, 0x5f000000, 0x3fc00000, 0x40200000, 0x33800000};
    static constexpr uint64_t kDoubles[] = {0, 0x8000000000000000, 0x3ff0000000000000, 0xbff0000000000000,
                                            0x7ff0000000000000, 0xfff0000000000000, 0x7ff8000000000000, 0x7ff0000000000001,
                                            0xfff8123456789abc, 1, 0x800fffffffffffff, 0x0010000000000000,
                                            0x7fefffffffffffff, 0x41e0000000000000, 0xc1e0000000000000, 0x43e0000000000000,
                                            0x3ff8000000000000, 0x4004000000000000, 0x3e70000000000000};
    static constexpr uint16_t kHalves[] = {0, 0x8000, 0x3c00, 0xbc00, 0x7c00, 0xfc00, 0x7e00, 0x7c01, 0xfe12,
                                           1, 0x83ff, 0x0400, 0x7bff, 0x3e00, 0x4100};
    Registers r;
    for (uint64_t& x : r.x) {
        x = rng() % 3 == 0 ? kInts[rng() % std::size(kInts)] : rng();
        if (rng() % 8 == 0) x >>= rng() % 64;
    }
    for (V128& v : r.v) {
        const auto kind = rng() % 6;
        for (unsigned lane = 0; lane < 2; ++lane) {
            uint64_t& q = v.u64[lane];
            if (kind == 0) q = rng();
            else if (kind == 1) q = kDoubles[rng() % std::size(kDoubles)];
            else if (kind == 2) q = kSingles[rng() % std::size(kSingles)] | uint64_t{kSingles[rng() % std::size(kSingles)]} << 32;
            else if (kind == 3) for (unsigned h = 0; h < 4; ++h) q = q << 16 | kHalves[rng() % std::size(kHalves)];
            else if (kind == 4) q = (rng() & 0x800fffffffffffff) | (1023 - 20 + rng() % 40) << 52;
            else q = ((rng() & 0x807fffff) | (127 - 12 + rng() % 24) << 23) | ((rng() & 0x807fffff) | (127 - 12 + rng() % 24) << 23) << 32;
        }
    }
    r.x[25] = rng() % 64;
    r.x[26] = kData + kDataSize / 2 + rng() % 64;
    r.x[27] = kData + kDataSize / 2 + (rng() % 512) * 8;
    r.x[28] = kData + kDataSize / 2 + (rng() % 64) * 16;
    r.sp = kData + kDataSize / 2 + (rng() % 64) * 16;
    r.nzcv = static_cast<uint32_t>(rng() & 0xf) << 28;
    r.fpcr = static_cast<uint32_t>(rng()) & fpcr_bits;
    return r;
}

std::string listing(std::span<const uint32_t> code) {
    std::string text;
    for (size_t i = 0; i < code.size(); ++i) {
        std::array<uint8_t, 4> bytes{};
        std::memcpy(bytes.data(), &code[i], 4);
        unsigned length = 0;
        char line[160];
        std::snprintf(line, sizeof line, "  %08lx  %08x  %s\n", kCode + 4 * i, code[i],
                      kArch.disassemble(kCode + 4 * i, bytes, &length).c_str());
        text += line;
    }
    return text;
}

}  // namespace myna::guest::aarch64::test
