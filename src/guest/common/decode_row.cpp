// Matching, disassembly and random instructions over a table of rows. None of this is on a fast path: translation uses
// the generated switch tree.
#include "guest/common/decode_row.h"

#include "base/bits.h"

namespace myna::guest {

int64_t DecodeField::extract(uint32_t raw) const noexcept {
    uint64_t v = 0;
    for (const FieldPiece& p : pieces)
        v = v << p.len | (p.lo == FieldPiece::kConstant ? p.constant : bits(raw, p.lo, p.len));
    return is_signed ? sign_extend(v, width) : static_cast<int64_t>(v);
}

bool DecodeRow::matches(uint32_t raw) const noexcept {
    if ((raw & mask) != value) return false;
    for (const DecodeConstraint& c : constraints) {
        const int64_t a = fields[c.field].extract(raw);
        const int64_t b = c.other < 0 ? c.value : fields[static_cast<size_t>(c.other)].extract(raw);
        bool ok = false;
        switch (c.relation) {
            case DecodeConstraint::kEq: ok = a == b; break;
            case DecodeConstraint::kNe: ok = a != b; break;
            case DecodeConstraint::kLt: ok = a < b; break;
            case DecodeConstraint::kLe: ok = a <= b; break;
            case DecodeConstraint::kGt: ok = a > b; break;
            case DecodeConstraint::kGe: ok = a >= b; break;
        }
        if (!ok) return false;
    }
    return true;
}

bool RowMatch::has(std::string_view name) const noexcept {
    for (const DecodeField& f : row->fields)
        if (f.name == name) return true;
    return false;
}

int64_t RowMatch::field(std::string_view name) const noexcept {
    for (const DecodeField& f : row->fields)
        if (f.name == name) return f.extract(raw);
    return 0;
}

UnpackedTable::UnpackedTable(const PackedTable& p, bool (*enabled)(uint16_t, const CpuConfig&),
                             std::string (*format)(uint8_t, int64_t, const RowMatch&)) {
    const auto text = [&](PackedString s) { return std::string_view(p.strings + (s >> 8), s & 255); };
    for (const PackedField& f : p.fields) fields_.push_back({text(f.name), f.is_signed, f.width, p.pieces.subspan(f.first_piece, f.pieces)});
    for (const PackedText& t : p.texts) texts_.push_back({text(t.literal), t.field, t.style, t.has_operand});
    const std::span<const DecodeField> fields(fields_);
    const std::span<const TextPiece> texts(texts_);
    for (const PackedRow& r : p.rows)
        rows_.push_back({text(r.name), text(r.handler), r.id, r.width, r.mask, r.value, r.should_be_zero, r.should_be_one,
                         fields.subspan(r.first_field, r.fields), p.constraints.subspan(r.first_constraint, r.constraints),
                         texts.subspan(r.first_text, r.texts), text(r.feature)});
    table_ = {rows_, enabled, format};
}

std::optional<RowMatch> match(const DecodeTable& table, uint32_t raw, unsigned width, uint64_t pc, const CpuConfig* cpu) {
    for (const DecodeRow& row : table.rows)
        if (row.width == width && row.matches(raw) && (!cpu || table.enabled(row.id, *cpu))) return RowMatch{&row, raw, pc};
    return std::nullopt;
}

std::string disassemble(const DecodeTable& table, const RowMatch& m) {
    std::string out;
    for (const TextPiece& p : m.row->text) {
        out += p.literal;
        if (!p.has_operand) continue;
        const int64_t value = p.field < 0 ? 0 : m.row->fields[static_cast<size_t>(p.field)].extract(m.raw);
        out += p.style ? table.format(p.style, value, m) : std::to_string(value);
    }
    return out;
}

std::optional<uint32_t> random_insn(const DecodeTable& table, const DecodeRow& row, Rng& rng) {
    const uint32_t all = row.width == 32 ? ~uint32_t{0} : 0xffffu;
    for (int attempt = 0; attempt < 1024; ++attempt) {  // umov_x: one in sixteen fits
        auto raw = static_cast<uint32_t>(rng());
        for (const DecodeField& f : row.fields) {
            const uint64_t dice = rng() % 16;
            if (dice > 1) continue;
            for (const FieldPiece& p : f.pieces) {
                if (p.lo == FieldPiece::kConstant) continue;
                const auto slice = static_cast<uint32_t>(low_mask(p.len) << p.lo);
                raw = dice ? raw | slice : raw & ~slice;
            }
        }
        raw = (raw & ~row.should_be_zero) | row.should_be_one;
        raw = ((raw & ~row.mask) | row.value) & all;
        if (!row.matches(raw)) continue;
        const auto m = match(table, raw, row.width);
        if (m && m->row == &row) return raw;
    }
    return std::nullopt;
}

}  // namespace myna::guest
