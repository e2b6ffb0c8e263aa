#!/usr/bin/env python3
"""Turns instruction tables (insn*.decode, see docs/decoding.md) into C++: decode.inc.h and decode.inc.cpp.

    decodegen.py TABLE… --arch NAME --outdir DIR
    decodegen.py TABLE… --arch NAME --list          one line a row, for people

The decoder is a tree of switches over windows of fixed bits. A row that leaves some bits of a window open is listed
under each value it can have; where a leaf holds several rows they are tried in the table's order.
"""
import argparse
import collections
import os
import re
import sys

CPP_WORDS = set("and and_eq asm auto bitand bitor bool break case catch char class compl const continue default delete do "
                "double else enum explicit export extern false float for friend goto if inline int long mutable namespace "
                "new not not_eq operator or or_eq private protected public register return short signed sizeof static "
                "struct switch template this throw true try typedef typename union unsigned using virtual void volatile "
                "while xor xor_eq".split())

Piece = collections.namedtuple("Piece", "lo len const")       # const: None, or the value of `len` constant bits


class TableError(Exception):
    pass


class Field:
    """Bits of the instruction, most significant piece first, zero or sign extended."""

    def __init__(self, pieces, signed=False):
        self.pieces, self.signed = pieces, signed
        self.width = sum(p.len for p in pieces)

    def cpp_type(self):
        for n in (8, 16, 32, 64):
            if self.width <= n:
                return f"{'' if self.signed else 'u'}int{n}_t"
        raise TableError("a field is wider than 64 bits")

    def cpp_expr(self):
        if self.is_const():
            return str(self.const_value())
        wide = self.width > 32
        word = "uint64_t" if wide else "uint32_t"
        terms, at, const = [], self.width, 0
        for p in self.pieces:
            at -= p.len
            if p.const is not None:
                const |= p.const << at
                continue
            src = f"uint64_t{{raw}}" if wide else "raw"
            mask = ((1 << p.len) - 1) << at
            shifted = f"({src} << {at - p.lo})" if at > p.lo else f"({src} >> {p.lo - at})" if p.lo > at else src
            terms.append(f"({shifted} & 0x{mask:x}u{'ll' if wide else ''})")
        if const:
            terms.append(f"0x{const:x}u{'ll' if wide else ''}")
        joined = " | ".join(terms)
        if not self.signed:
            return joined
        up = (64 if wide else 32) - self.width
        return f"static_cast<{'int64_t' if wide else 'int32_t'}>(static_cast<{word}>({joined}) << {up}) >> {up}"

    def is_const(self):
        return all(p.const is not None for p in self.pieces)

    def const_value(self):
        v = 0
        for p in self.pieces:
            v = v << p.len | p.const
        if self.signed and self.width and v >> (self.width - 1) & 1:
            v -= 1 << self.width
        return v


class Row:
    def __init__(self):
        self.name = self.handler = self.feature = self.text = self.where = ""
        self.width = self.mask = self.value = 0
        self.zeroes = self.ones = 0          # should-be bits, as the generator makes them
        self.fields = collections.OrderedDict()
        self.constraints = []                # (field, relation, field or number)


def cpp_name(name):
    return name + "_" if name in CPP_WORDS else name


def struct_name(handler):
    return "".join(w[:1].upper() + w[1:] for w in handler.split("_") if w)


def field_name(name):
    return name + "_" if name in CPP_WORDS else name


def parse_expr(text, width):
    """`sx(31:31 7:7 0)`, `zx(01 4:2)`, `sx 31:20`, or a number (decimal or 0x…)."""
    text = text.strip()
    if re.fullmatch(r"-?(0x[0-9a-f]+|\d+)", text):
        v = int(text, 0)
        n = max(1, v.bit_length() + (1 if v < 0 else 0))
        return Field([Piece(0, n, v & (1 << n) - 1)], v < 0)
    m = re.fullmatch(r"(sx|zx)\s*\(?([^()]*)\)?", text)
    if not m:
        raise TableError(f"cannot read the expression '{text}'")
    pieces = []
    for tok in m[2].split():
        if re.fullmatch(r"[01]+", tok):
            pieces.append(Piece(0, len(tok), int(tok, 2)))
            continue
        r = re.fullmatch(r"(\d+):(\d+)", tok)
        if not r or int(r[1]) < int(r[2]) or int(r[1]) >= width:
            raise TableError(f"'{tok}' is neither constant bits nor a slice high:low of {width} bits")
        pieces.append(Piece(int(r[2]), int(r[1]) - int(r[2]) + 1, None))
    return Field(pieces, m[1] == "sx")


def parse_bits(row, text):
    """Fills mask, value, should-be bits and fields from the drawn bits."""
    at = row.width
    pieces = collections.OrderedDict()
    for tok in text.split():
        m = re.fullmatch(r"([A-Za-z_]\w*):(\d+)", tok)
        c = re.fullmatch(r"([A-Za-z]\w*)=([01]+)", tok)
        d = re.fullmatch(r"\.:(\d+)", tok)
        if m:
            n = int(m[2])
            at -= n
            if m[1].startswith("_1"):
                row.ones |= (1 << n) - 1 << max(at, 0)
            elif m[1].startswith("_"):
                row.zeroes |= (1 << n) - 1 << max(at, 0)
            else:
                pieces.setdefault(m[1], []).append(Piece(at, n, None))
        elif d:
            at -= int(d[1])
        elif c or re.fullmatch(r"[01.]+", tok):
            for ch in c[2] if c else tok:
                at -= 1
                if at >= 0 and ch != ".":
                    row.mask |= 1 << at
                    row.value |= int(ch) << at
            if c:
                pieces.setdefault(c[1], []).append(Piece(at, len(c[2]), None))
        else:
            raise TableError(f"'{tok}' is not bits, name:length or name=bits")
    if at != 0:
        raise TableError(f"the bits add up to {row.width - at}, not {row.width}")
    for name, p in pieces.items():
        row.fields[name] = Field(p)


def parse_derived(row, text, derived):
    for tok in re.findall(r"\S+\([^()]*\)|\S+", text):
        name, _, source = tok.partition("=")
        if not source:
            source = "%" + name
        if source.startswith("%"):
            key = (source[1:], row.width)
            if key not in derived:
                raise TableError(f"no derived field {source} for width {row.width}")
            f = derived[key]
        elif source in row.fields:
            f = row.fields[source]
        else:
            f = parse_expr(source, row.width)
        if name in row.fields:
            raise TableError(f"field '{name}' is there twice")
        row.fields[name] = f


def parse_constraints(row, text):
    for part in (p.strip() for p in text.split(",")):
        if not part:
            continue
        m = re.fullmatch(r"(\w+)\s*(==|!=|<=|>=|<|>)\s*(\w+|-\d+)", part)
        if not m or m[1] not in row.fields:
            raise TableError(f"constraint '{part}': expected field, relation, number or field")
        rhs = m[3]
        if rhs not in row.fields and not re.fullmatch(r"-?\d+|0x[0-9a-fA-F]+|0b[01]+", rhs):
            raise TableError(f"constraint '{part}': no field '{rhs}'")
        row.constraints.append((m[1], m[2], rhs if rhs in row.fields else int(rhs, 0)))


def parse_table(paths):
    rows, derived, names = [], {}, {}
    for path in paths:
        width = 0
        with open(path, encoding="utf-8") as f:
            lines = f.read().split("\n")
        pending, start = "", 0
        for number, line in enumerate(lines, 1):
            if line.lstrip().startswith("#"):
                continue
            if not pending:
                start = number
            if line.rstrip().endswith("\\"):
                pending += line.rstrip()[:-1] + " "
                continue
            line, pending = (pending + line).strip(), ""
            if not line:
                continue
            try:
                if m := re.fullmatch(r"width\s+(16|32)", line):
                    width = int(m[1])
                    continue
                if not width:
                    raise TableError("'width 32' or 'width 16' must stand before the first row")
                if m := re.fullmatch(r"%(\w+)\s*=\s*(.+)", line):
                    derived[m[1], width] = parse_expr(m[2], width)
                    continue
                cols = [c.strip() for c in line.split(";")] + [""] * 3
                row = Row()
                row.width, row.where = width, f"{os.path.basename(path)}:{start}"
                row.feature, row.text = cols[1].replace(" ", ""), cols[2]
                head, _, bits = cols[0].partition(" ")
                row.name, _, row.handler = head.partition("=")
                row.handler = row.handler or row.name
                bits, _, wanted = bits.partition("|")
                parse_bits(row, bits)
                parse_derived(row, wanted, derived)
                parse_constraints(row, cols[3])
                if row.name in names:
                    raise TableError(f"row '{row.name}' is already at {names[row.name]}")
                names[row.name] = row.where
                rows.append(row)
            except TableError as e:
                sys.exit(f"{path}:{start}: {e}")
    return rows


def handlers_of(rows):
    """handler -> (field name -> (signed, width)): the union of the types its rows need; the names must agree."""
    handlers = collections.OrderedDict()
    for r in rows:
        want = handlers.get(r.handler)
        if want is None:
            handlers[r.handler] = want = collections.OrderedDict((n, []) for n in r.fields)
        if set(want) != set(r.fields):
            sys.exit(f"{r.where}: row '{r.name}': handler '{r.handler}' has the fields {sorted(want)}, "
                     f"this row {sorted(r.fields)}")
        for n, f in r.fields.items():
            want[n].append(f)
    return handlers


def common_type(fields):
    signed = any(f.signed for f in fields)
    width = max(f.width + (1 if signed and not f.signed else 0) for f in fields)
    return Field([Piece(0, width, None)], signed).cpp_type()


# ---- the tree

def window_split(rows, lo, n):
    """value of the window -> rows, in order."""
    out = collections.defaultdict(list)
    full = (1 << n) - 1
    for r in rows:
        m, v = r.mask >> lo & full, r.value >> lo & full
        free = full & ~m
        sub = free
        while True:                                   # all subsets of the free bits
            out[v | sub].append(r)
            if sub == 0:
                break
            sub = (sub - 1) & free
    return out


def best_window(rows, tested, width):
    best, best_score = None, None
    limit = len(rows) * 2 + 4
    for lo in range(width):
        for n in range(1, 8):
            if lo + n > width:
                break
            w = (1 << n) - 1 << lo
            if w & tested:
                break
            total = 0
            for r in rows:
                total += 1 << bin(w & ~r.mask).count("1")
                if total > limit:
                    break
            if total > limit:
                continue
            split = window_split(rows, lo, n)
            biggest = max(len(s) for s in split.values())
            if biggest >= len(rows):
                continue
            score = sum(len(s) * len(s) for s in split.values()) / total + 0.3 * (total / len(rows) - 1) + 0.02 * n
            if best_score is None or score < best_score:
                best, best_score = (lo, n, split), score
    return best


def unconditional(r):
    return not r.constraints and not r.feature


def emit_tree(rows, tested, width, out, indent):
    for i, r in enumerate(rows):
        if not r.mask & ~tested & ((1 << width) - 1) and unconditional(r):
            rows = rows[:i + 1]
            break
    pad = "    " * indent
    window = best_window(rows, tested, width) if len(rows) > 2 else None
    if window is None:
        for r in rows:
            rest = r.mask & ~tested
            test = f"(raw & 0x{rest:08x}u) == 0x{r.value & rest:08x}u && " if rest else ""
            out.append(f"{pad}if ({test}v.enabled(InsnId::{cpp_name(r.name)})) {{")
            out.append(f"{pad}    const {struct_name(r.handler)} i = fields_{r.name}(raw);")
            call = f"return v.{cpp_name(r.handler)}(i);"
            if r.constraints:
                call = f"if ({' && '.join(constraint_cpp(c) for c in r.constraints)}) {call}"
            out.append(f"{pad}    {call}")
            out.append(f"{pad}}}")
        out.append(f"{pad}return false;")
        return
    lo, n, split = window
    out.append(f"{pad}switch (raw >> {lo} & 0x{(1 << n) - 1:x}u) {{")
    groups = collections.OrderedDict()
    for v in sorted(split):
        groups.setdefault(tuple(id(r) for r in split[v]), (split[v], []))[1].append(v)
    for subset, values in groups.values():
        out.append(pad + " ".join(f"case 0x{v:x}:" for v in values) + " {")
        emit_tree(subset, tested | (1 << n) - 1 << lo if len(values) == 1 else tested | same_bits(values, lo, n), width,
                  out, indent + 1)
        out.append(f"{pad}}}")
    out.append(f"{pad}default: return false;")
    out.append(f"{pad}}}")


def same_bits(values, lo, n):
    """Bits of the window that are equal in all values: only those are known below a shared case."""
    m = (1 << n) - 1
    for v in values:
        m &= ~(v ^ values[0])
    return m << lo


def constraint_cpp(c):
    field, rel, rhs = c
    return f"i.{field_name(field)} {rel} {'i.' + field_name(rhs) if isinstance(rhs, str) else rhs}"


# ---- output

def feature_cpp(expr):
    alternatives = []
    for alt in expr.split("|"):
        parts = [f"has(Feature::{cpp_name(f)})" for f in alt.split("+")]
        alternatives.append(" && ".join(parts))
    return " || ".join(f"({a})" if len(alternatives) > 1 and "&&" in a else a for a in alternatives)


def text_pieces(row, styles):
    pieces = []
    for lit, spec in re.findall(r"([^{}]*)(?:\{([^{}]*)\})?", row.text):
        if not lit and not spec:
            continue
        field, _, style = spec.partition(":")
        if field and field not in row.fields:
            sys.exit(f"{row.where}: text: no field '{field}'")
        index = list(row.fields).index(field) if field else -1
        if style and style not in styles:
            styles.append(style)
        pieces.append((lit, index, styles.index(style) + 1 if style else 0, bool(spec)))
    return pieces


def generate_header(rows, arch, styles):
    handlers = handlers_of(rows)
    out = [f"// Generated by scripts/decodegen.py from src/guest/{arch}/insn*.decode: the decoder.",
           "#pragma once", "", "#include <cstdint>", "#include <string>", "",
           '#include "guest/common/decode_row.h"', f'#include "guest/{arch}/features.h"', "",
           f"namespace myna::guest::{arch} {{", ""]
    for h, fields in handlers.items():
        members = "".join(f" {common_type(fs)} {field_name(n)};" for n, fs in fields.items())
        out.append(f"struct {struct_name(h)} {{ uint32_t raw;{members} }};")
    out += ["", "/// H(handler, struct) for each handler: a visitor declares its functions with it.",
            f"#define {arch.upper()}_HANDLERS(H) \\"]
    out += [f"    H({cpp_name(h)}, {struct_name(h)}) \\" for h in handlers]
    out += ["", "enum class InsnId : uint16_t {"]
    out += [f"    {cpp_name(r.name)}," for r in rows]
    out += ["};", f"inline constexpr unsigned kInsnIdCount = {len(rows)};", "",
            "/// How a field is written in a row's text; format_field (disasm.cpp) knows them.",
            "enum class Style : uint8_t { kDecimal,"] + [f"    {cpp_name(s)}," for s in styles] + ["};", "",
            "/// True when the features that the row needs are there; `has` is asked for single features.",
            "template <class Has>", "constexpr bool row_enabled(InsnId id, const Has& has) {", "    switch (id) {"]
    by_feature = collections.OrderedDict()
    for r in rows:
        if r.feature:
            by_feature.setdefault(r.feature, []).append(r)
    for expr, members in by_feature.items():
        out += [f"        case InsnId::{cpp_name(r.name)}:" for r in members]
        out.append(f"            return {feature_cpp(expr)};")
    out += ["        default: return true;", "    }", "}",
            "inline bool row_enabled(InsnId id, const CpuConfig& cpu) {",
            "    return row_enabled(id, [&](Feature f) { return cpu.has(static_cast<unsigned>(f)); });", "}", ""]
    for r in rows:
        fields = handlers[r.handler]
        init = "".join(f", static_cast<{common_type(fields[n])}>({r.fields[n].cpp_expr()})" for n in fields)
        out.append(f"constexpr {struct_name(r.handler)} fields_{r.name}([[maybe_unused]] uint32_t raw) {{ return {{raw{init}}}; }}")
    for width in sorted({r.width for r in rows}):
        out += ["", f"/// Decodes {width} bits and calls v.<handler>(fields), whose answer it returns; false: no row matched.",
                "template <class V>", f"bool decode{width}(uint32_t raw, V& v) {{"]
        emit_tree([r for r in rows if r.width == width], 0, width, out, 1)
        out.append("}")
    out += ["", "/// The rows with the functions that generic code needs to work on them; unpacked when first asked for.",
            "const DecodeTable& decode_table();",
            "/// disasm.cpp: `value` as the style wants it; kDecimal does not come here.",
            "std::string format_field(Style style, int64_t value, const RowMatch& match);", "",
            f"}}  // namespace myna::guest::{arch}", ""]
    return "\n".join(out)


class Strings:
    """All texts of a table in one literal; each is known by offset << 8 | length."""

    def __init__(self):
        self.text, self.seen = "", {}

    def add(self, text):
        assert len(text) < 256
        if text not in self.seen:
            self.seen[text] = len(self.text) << 8 | len(text)
            self.text += text
        return self.seen[text]

    def literal(self):
        chunks = [self.text[i:i + 100] for i in range(0, len(self.text), 100)]
        return "\n    ".join('"' + c.replace("\\", "\\\\").replace('"', '\\"') + '"' for c in chunks)


def generate_source(rows, arch, styles):
    """The rows without a single pointer: a pointer in a table is a relocation, and a written page, at every start."""
    rel = {"==": "kEq", "!=": "kNe", "<": "kLt", "<=": "kLe", ">": "kGt", ">=": "kGe"}
    strings, pieces, fields, constraints, texts, table, pieces_seen = Strings(), [], [], [], [], [], {}

    def pieces_of(f):
        key = tuple(f.pieces)
        if key not in pieces_seen:
            pieces_seen[key] = len(pieces)
            pieces.extend(f"{{{255 if p.const is not None else p.lo}, {p.len}, {p.const or 0}u}}" for p in f.pieces)
        return pieces_seen[key]

    for i, r in enumerate(rows):
        starts = len(fields), len(constraints), len(texts)
        fields += [f'{{{strings.add(n)}, {pieces_of(f)}, {len(f.pieces)}, {f.width}, {"true" if f.signed else "false"}}}' for n, f in r.fields.items()]
        names = list(r.fields)
        constraints += [f"{{{names.index(a)}, DecodeConstraint::{rel[op]}, {names.index(b) if isinstance(b, str) else -1}, "
                        f"{0 if isinstance(b, str) else b}}}" for a, op, b in r.constraints]
        texts += [f'{{{strings.add(lit)}, {idx}, {style}, {"true" if has else "false"}}}' for lit, idx, style, has in text_pieces(r, styles)]
        counts = len(fields) - starts[0], len(constraints) - starts[1], len(texts) - starts[2]
        table.append(f'{{{strings.add(r.name)}, {strings.add(r.handler)}, {strings.add(r.feature)}, 0x{r.mask:08x}u, 0x{r.value:08x}u, 0x{r.zeroes:08x}u, '
                     f'0x{r.ones:08x}u, {i}, {r.width}, {starts[0]}, {starts[1]}, {starts[2]}, {counts[0]}, {counts[1]}, {counts[2]}}}')

    def array(kind, name, items):
        return [f"constexpr {kind} {name}[] = {{"] + [f"    {i}," for i in items or ["{}"]] + ["};"]

    return "\n".join([
        f"// Generated by scripts/decodegen.py from src/guest/{arch}/insn*.decode: the row table.",
        f'#include "guest/{arch}/decode.inc.h"', "", f"namespace myna::guest::{arch} {{", "namespace {", "",
        f"constexpr char kStrings[] =\n    {strings.literal()};",
        *array("FieldPiece", "kPieces", pieces), *array("PackedField", "kFields", fields),
        *array("DecodeConstraint", "kConstraints", constraints), *array("PackedText", "kTexts", texts),
        *array("PackedRow", "kPackedRows", table), "", "}  // namespace", "",
        "const DecodeTable& decode_table() {",
        "    static const UnpackedTable table(",
        "        {kStrings, kPieces, kFields, kConstraints, kTexts, kPackedRows},",
        "        [](uint16_t id, const CpuConfig& cpu) { return row_enabled(static_cast<InsnId>(id), cpu); },",
        "        [](uint8_t style, int64_t value, const RowMatch& m) { return format_field(static_cast<Style>(style), value, m); });",
        "    return table.table();", "}", "", f"}}  // namespace myna::guest::{arch}", ""])


def write_if_changed(path, text):
    if os.path.exists(path):
        with open(path, encoding="utf-8") as f:
            if f.read() == text:
                os.utime(path)
                return
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)


def main():
    ap = argparse.ArgumentParser(description="instruction tables to C++")
    ap.add_argument("tables", nargs="+")
    ap.add_argument("--arch", required=True)
    ap.add_argument("--outdir")
    ap.add_argument("--list", action="store_true")
    args = ap.parse_args()
    rows = parse_table(sorted(args.tables))
    if args.list:
        for r in rows:
            print(f"{r.width} {r.mask:08x} {r.value:08x} {r.name:16} {r.feature:12} {r.text}")
        return
    if not args.outdir:
        ap.error("--outdir is missing")
    styles = []
    for r in rows:
        text_pieces(r, styles)
    os.makedirs(args.outdir, exist_ok=True)
    write_if_changed(os.path.join(args.outdir, "decode.inc.h"), generate_header(rows, args.arch, styles))
    write_if_changed(os.path.join(args.outdir, "decode.inc.cpp"), generate_source(rows, args.arch, styles))


if __name__ == "__main__":
    main()
