// Text to IR: a line is an instruction, a word at a time.
#include "ir/parser.h"

#include <fmt/format.h>

#include <charconv>
#include <map>
#include <optional>
#include <string>

#include "ir/scalar.h"
#include "ir/text.h"

namespace myna::ir {
namespace {

using namespace text;

struct BadLine {
    std::string why;
};

template <size_t N>
std::optional<unsigned> index_of(const std::array<std::string_view, N>& names, std::string_view word) {
    for (unsigned k = 0; k < N; ++k) {
        if (names[k] == word) return k;
    }
    return std::nullopt;
}

class Parser {
  public:
    Parser(const guest::GuestArch& arch, Function& f) : arch_(arch), f_(f) {}

    void line(std::string_view text) {
        rest_ = text;
        skip_blanks();
        if (rest_.empty() || rest_[0] == ';' || rest_[0] == '#') return;
        std::string name;
        if (rest_[0] == '%') {
            name = word();
            expect('=');
        }
        std::string_view op = word();
        if (op == "block") return header();
        Inst i = instruction(op);
        skip_blanks();
        if (!rest_.empty() && rest_[0] != ';') throw BadLine{fmt::format("'{}' is too much", rest_)};
        f_.insts.push_back(i);
        if (!name.empty() && !names_.emplace(name, static_cast<Ref>(f_.insts.size() - 1)).second) {
            throw BadLine{fmt::format("{} is defined twice", name)};
        }
    }

  private:
    // ---- words
    void skip_blanks() {
        while (!rest_.empty() && (rest_[0] == ' ' || rest_[0] == '\t' || rest_[0] == '\r')) rest_.remove_prefix(1);
    }
    std::string_view word() {
        skip_blanks();
        size_t n = 0;
        while (n < rest_.size() && std::string_view(" \t\r,[]=;+").find(rest_[n]) == std::string_view::npos &&
               (n == 0 || rest_[n] != '-')) {
            ++n;
        }
        const std::string_view w = rest_.substr(0, n);
        rest_.remove_prefix(n);
        if (w.empty()) throw BadLine{"a word is missing"};
        return w;
    }
    bool at(char c) {
        skip_blanks();
        if (rest_.empty() || rest_[0] != c) return false;
        rest_.remove_prefix(1);
        return true;
    }
    void expect(char c) {
        if (!at(c)) throw BadLine{fmt::format("'{}' is missing", c)};
    }
    bool more() {
        skip_blanks();
        return !rest_.empty() && rest_[0] != ';';
    }
    static uint64_t number_of(const std::string_view text) {
        std::string_view w = text;
        const bool negative = w.starts_with('-');
        if (negative) w.remove_prefix(1);
        const bool hex = w.starts_with("0x");
        if (hex) w.remove_prefix(2);
        uint64_t v = 0;
        const auto [end, error] = std::from_chars(w.data(), w.data() + w.size(), v, hex ? 16 : 10);
        if (error != std::errc{} || end != w.data() + w.size()) throw BadLine{fmt::format("'{}' is not a number", text)};
        return negative ? 0 - v : v;
    }
    uint64_t number() { return number_of(word()); }
    Ref value() {
        const std::string_view w = word();
        const auto found = names_.find(std::string(w));
        if (found == names_.end()) throw BadLine{fmt::format("{} is not defined", w)};
        return found->second;
    }
    template <size_t N>
    uint8_t named(const std::array<std::string_view, N>& names) {
        const std::string_view w = word();
        if (const auto k = index_of(names, w)) return static_cast<uint8_t>(*k);
        throw BadLine{fmt::format("'{}' is not known here", w)};
    }

    // ---- lines
    void header() {
        f_.pc = number();
        while (more()) {
            const std::string_view w = word();
            if (w == "mode") {
                f_.mode = static_cast<uint32_t>(number());
            } else if (w == "nan") {
                f_.nan_rule = static_cast<NanRule>(named(kNanRules));
            } else if (w == "exact") {
                f_.fp_exact = true;
            } else if (w == "underflow") {
                f_.exact_underflow = true;
            } else if (w == "flush") {
                f_.fp_mode.flush = true;
            } else if (w == "flush16") {
                f_.fp_mode.flush16 = true;
            } else if (w == "round_away") {
                f_.fp_mode.round_away = true;
            } else {
                throw BadLine{fmt::format("'{}' is not known of a block", w)};
            }
        }
    }

    Inst instruction(std::string_view op) {
        const size_t dot = op.find('.');
        const std::string_view name = op.substr(0, dot);
        Inst i{};
        i.op = Op::kCount;
        for (unsigned k = 0; k < static_cast<unsigned>(Op::kCount); ++k) {
            if (info(static_cast<Op>(k)).text == name) i.op = static_cast<Op>(k);
        }
        if (i.op == Op::kCount) throw BadLine{fmt::format("'{}' is not an operation", name)};
        i.type = default_type(i.op);
        for (std::string_view tail = dot == std::string_view::npos ? "" : op.substr(dot + 1); !tail.empty();) {
            const size_t end = tail.find('.');
            suffix(i, tail.substr(0, end));
            tail = end == std::string_view::npos ? "" : tail.substr(end + 1);
        }
        if (is_memory(i.op)) {
            memory(i);
        } else if (!special(i)) {
            general(i);
        }
        return i;
    }

    static void suffix(Inst& i, std::string_view s) {
        if (const auto t = index_of(kTypes, s)) {
            i.type = static_cast<Type>(*t);
        } else if (const auto e = index_of(kElems, s); e && sub_of(i.op) == Sub::kElem) {
            i.sub = static_cast<uint8_t>(*e);
        } else {
            throw BadLine{fmt::format("'.{}' is not a type", s)};
        }
    }

    void operands(Inst& i) {
        Ref* refs[] = {&i.a, &i.b, &i.c};
        const unsigned n = info(i.op).arg_count;
        for (unsigned k = 0; k < n; ++k) {
            skip_blanks();
            if (k == 0 && is_call(i.op) && !rest_.starts_with('%')) return;
            if (k > 0 && !at(',')) {
                if (is_call(i.op)) return;
                throw BadLine{"an operand is missing"};
            }
            *refs[k] = value();
        }
    }

    void memory(Inst& i) {
        expect('[');
        i.a = value();
        if (at('+')) {
            i.imm = number();
        } else if (at('-')) {
            i.imm = 0 - number();
        }
        expect(']');
        if (info(i.op).arg_count > 1) expect(','), i.b = value();
        if (info(i.op).arg_count > 2) expect(','), i.c = value();
        std::string_view size = word();
        if (size.starts_with("sext")) {
            i.sub |= MemAttr::kSigned;
            size.remove_prefix(4);
        }
        const uint64_t bits = number_of(size);
        if (!std::has_single_bit(bits) || bits < 8 || bits > 1024) throw BadLine{"an access has 8, 16, 32, 64 or 128 bits"};
        i.sub |= static_cast<uint8_t>(std::countr_zero(bits / 8));
        while (more()) {
            const std::string_view w = word();
            const uint8_t bit = w == "be"    ? MemAttr::kBig
                                : w == "acq" ? MemAttr::kAcquire
                                : w == "rel" ? MemAttr::kRelease
                                : w == "sc"  ? MemAttr::kSeqCst
                                             : 0;
            if (!bit) throw BadLine{fmt::format("'{}' is not an access attribute", w)};
            i.sub |= bit;
        }
    }

    uint64_t slot(Inst& i) {
        const std::string_view w = word();
        for (unsigned k = 0; k < arch_.slots.size(); ++k) {
            if (arch_.slots[k].name != w) continue;
            if (i.op == Op::kGet && i.type == Type::kVoid) i.type = arch_.slots[k].type;
            return k;
        }
        throw BadLine{fmt::format("'{}' is not a guest register of {}", w, arch_.name)};
    }

    bool special(Inst& i) {
        switch (i.op) {
            case Op::kConst: i.imm = number(); return true;
            case Op::kVConst: vector_constant(i); return true;
            case Op::kGet: i.imm = slot(i); return true;
            case Op::kSet: i.imm = slot(i), expect(','), i.a = value(); return true;
            case Op::kInsn: guest_instruction(i); return true;
            case Op::kUbfx:
            case Op::kSbfx:
            case Op::kBfi: {
                operands(i), expect(',');
                const uint64_t lo = number();
                expect(',');
                i.imm = lo | number() << 8;
                return true;
            }
            case Op::kCall:
            case Op::kVCall:
            case Op::kCallState: call(i); return true;
            case Op::kExit: i.imm = number(); return true;
            case Op::kExitIf: operands(i), expect(','), i.imm = number(); return true;
            case Op::kExitInd:
                i.sub = named(kBranches);
                i.a = value();
                if (at(',')) i.imm = number();
                return true;
            case Op::kExitTrap:
                i.sub = named(kReasons);
                expect(',');
                i.imm = number();
                if (at(',')) i.b = static_cast<uint32_t>(number());
                return true;
            default: return false;
        }
    }

    void vector_constant(Inst& i) {
        std::string_view w = word();
        if (!w.starts_with("0x") || w.size() != 34) throw BadLine{"a vector constant has 32 hexadecimal digits"};
        const V128 v{{number_of("0x" + std::string(w.substr(18))), number_of(w.substr(0, 18))}};
        size_t k = 0;
        while (k < f_.vconsts.size() && !(f_.vconsts[k] == v)) ++k;
        if (k == f_.vconsts.size()) f_.vconsts.push_back(v);
        i.imm = k;
    }

    void guest_instruction(Inst& i) {
        i.imm = number();
        expect(',');
        i.sub = static_cast<uint8_t>(number());
        ++f_.guest_insns;
        if (!f_.ranges.empty() && f_.ranges.back().pc + f_.ranges.back().bytes == i.imm) {
            f_.ranges.back().bytes += i.sub;
        } else {
            f_.ranges.push_back({i.imm, i.sub});
        }
    }

    void call(Inst& i) {
        const std::string_view w = word();
        size_t k = 0;
        while (k < arch_.helpers.size() && arch_.helpers[k].name != w) ++k;
        if (k == arch_.helpers.size()) throw BadLine{fmt::format("'{}' is not a helper of {}", w, arch_.name)};
        i.imm = k;
        operands(i);
        attributes(i);
    }

    void general(Inst& i) {
        switch (sub_of(i.op)) {
            case Sub::kCmp: i.sub = named(kCmps); break;
            case Sub::kCond: i.sub = named(kConds); break;
            case Sub::kFCmp:
                i.sub = named(kFCmps);
                skip_blanks();
                if (rest_.starts_with("signal")) word(), i.sub |= kFcmpSignal;
                break;
            default: break;
        }
        operands(i);
        attributes(i);
    }

    void attributes(Inst& i) {
        while (more()) {
            const std::string_view w = word();
            expect('=');
            if (w == "sub") {
                i.sub = static_cast<uint8_t>(number());
            } else if (w == "imm") {
                i.imm = number();
            } else if (w == "arg") {
                i.imm |= number() << 16;
            } else {
                throw BadLine{fmt::format("'{}' is not an attribute", w)};
            }
        }
    }

    const guest::GuestArch& arch_;
    Function& f_;
    std::string_view rest_;
    std::map<std::string, Ref> names_;
};

}  // namespace

Result<Function> parse(std::string_view text, const guest::GuestArch& arch) {
    Function f;
    f.nan_rule = arch.nan_rule;
    Parser p(arch, f);
    for (unsigned number = 1; !text.empty(); ++number) {
        const size_t end = text.find('\n');
        try {
            p.line(text.substr(0, end));
        } catch (const BadLine& bad) {
            return fail(ErrorKind::kInvalidArgument, fmt::format("line {}: {}", number, bad.why));
        }
        text = end == std::string_view::npos ? "" : text.substr(end + 1);
    }
    return f;
}

}  // namespace myna::ir
