// Rows of a guest's instruction table as data, and what follows from them without knowing the guest: matching,
// disassembly, random valid instructions. scripts/decodegen.py writes the tables; docs/decoding.md tells their format.
#pragma once

#include <cstdint>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "guest/common/arch.h"

namespace myna::guest {

/// A slice [lo, lo+len) of the instruction, or constant bits (lo = kConstant).
struct FieldPiece {
    static constexpr uint8_t kConstant = 255;
    uint8_t lo;
    uint8_t len;
    uint32_t constant;
};

struct DecodeField {
    std::string_view name;
    bool is_signed;
    uint8_t width;
    std::span<const FieldPiece> pieces;  // most significant first
    /// The field's value in `raw`, sign extended where the table says so.
    [[nodiscard]] int64_t extract(uint32_t raw) const noexcept;
};

struct DecodeConstraint {
    enum Relation : uint8_t { kEq, kNe, kLt, kLe, kGt, kGe };
    uint8_t field;       // index into DecodeRow::fields
    Relation relation;
    int16_t other;       // index of the field compared with, -1: compare with `value`
    int64_t value;
};

/// A literal, then a field (or a style of the whole instruction).
struct TextPiece {
    std::string_view literal;
    int16_t field;       // index into DecodeRow::fields, -1: none
    uint8_t style;       // the guest's Style; 0: decimal
    bool has_operand;    // false: only the literal
};

/// One line of the table.
struct DecodeRow {
    std::string_view name;
    std::string_view handler;
    uint16_t id;         // the guest's InsnId
    uint8_t width;       // bits: 16 or 32
    uint32_t mask;
    uint32_t value;
    uint32_t should_be_zero;
    uint32_t should_be_one;
    std::span<const DecodeField> fields;
    std::span<const DecodeConstraint> constraints;
    std::span<const TextPiece> text;
    std::string_view feature;

    /// True when bits and constraints fit (features are not asked).
    [[nodiscard]] bool matches(uint32_t raw) const noexcept;
};

/// An instruction together with the row it matched.
struct RowMatch {
    const DecodeRow* row = nullptr;
    uint32_t raw = 0;
    uint64_t pc = 0;
    [[nodiscard]] bool has(std::string_view field) const noexcept;
    /// Value of a field by name; 0 when the row has none of that name.
    [[nodiscard]] int64_t field(std::string_view name) const noexcept;
};

/// A guest's rows with the functions that generic code needs to work on them.
struct DecodeTable {
    std::span<const DecodeRow> rows;
    bool (*enabled)(uint16_t id, const CpuConfig& cpu);
    std::string (*format)(uint8_t style, int64_t value, const RowMatch& match);
};

// ---- The table as the generator writes it: indices and offsets, no pointers. The emulator is position independent, so
// each pointer in a table would be a relocation, and each page of them private memory, at every start of a process.

/// A text: offset << 8 | length in the table's strings.
using PackedString = uint32_t;
struct PackedField {
    PackedString name;
    uint16_t first_piece;
    uint8_t pieces, width;
    bool is_signed;
};
struct PackedText {
    PackedString literal;
    int16_t field;
    uint8_t style;
    bool has_operand;
};
struct PackedRow {
    PackedString name, handler, feature;
    uint32_t mask, value, should_be_zero, should_be_one;
    uint16_t id;
    uint8_t width;
    uint16_t first_field, first_constraint, first_text;
    uint8_t fields, constraints, texts;
};
struct PackedTable {
    const char* strings;
    std::span<const FieldPiece> pieces;
    std::span<const PackedField> fields;
    std::span<const DecodeConstraint> constraints;
    std::span<const PackedText> texts;
    std::span<const PackedRow> rows;
};

/// The rows of a packed table, which must outlive it.
class UnpackedTable {
  public:
    UnpackedTable(const PackedTable& packed, bool (*enabled)(uint16_t, const CpuConfig&),
                  std::string (*format)(uint8_t, int64_t, const RowMatch&));
    [[nodiscard]] const DecodeTable& table() const noexcept { return table_; }

  private:
    std::vector<DecodeField> fields_;
    std::vector<TextPiece> texts_;
    std::vector<DecodeRow> rows_;
    DecodeTable table_;
};

using Rng = std::mt19937_64;

/// The row that decodes `raw`: the first of this width that matches and, with `cpu`, whose features are on.
[[nodiscard]] std::optional<RowMatch> match(const DecodeTable& table, uint32_t raw, unsigned width, uint64_t pc = 0,
                                            const CpuConfig* cpu = nullptr);

/// The row's text with the fields of this instruction filled in.
[[nodiscard]] std::string disassemble(const DecodeTable& table, const RowMatch& match);

/// A random instruction of this row: constraints hold, should-be bits are as they should be, no earlier row takes it.
/// Fields are now and then all zeroes or all ones. Nothing when no try succeeded.
[[nodiscard]] std::optional<uint32_t> random_insn(const DecodeTable& table, const DecodeRow& row, Rng& rng);

}  // namespace myna::guest
