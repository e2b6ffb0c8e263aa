// IR to text.
#include "ir/printer.h"

#include <fmt/format.h>
#include <iterator>

#include "ir/scalar.h"
#include "ir/text.h"

namespace myna::ir {
namespace text {

Sub sub_of(Op op) noexcept {
    switch (op) {
        case Op::kCmp: return Sub::kCmp;
        case Op::kCond:
        case Op::kFlCcmp: return Sub::kCond;
        case Op::kFCmp: return Sub::kFCmp;
        case Op::kExitInd: return Sub::kBranch;
        case Op::kExitTrap: return Sub::kReason;
        default: break;
    }
    if (is_memory(op)) return Sub::kMem;
    return op >= Op::kVAnd ? Sub::kElem : Sub::kNumber;
}

Type default_type(Op op) noexcept {
    if (op == Op::kCond) return Type::kI32;
    switch (info(op).result[0]) {
        case 'i': return Type::kI32;
        case 'l': return Type::kI64;
        case 'v': return Type::kV128;
        case 'F': return Type::kFlags;
        default: return Type::kVoid;
    }
}

}  // namespace text

namespace {

using namespace text;

class Printer {
  public:
    Printer(const Function& f, const guest::GuestArch& arch, std::string& out) : f_(f), arch_(arch), out_(out) {}

    void header() {
        put("block {:#x} mode {:#x}", f_.pc, f_.mode);
        put(" nan {}", kNanRules[static_cast<size_t>(f_.nan_rule)]);
        if (f_.fp_exact) put(" exact");
        if (f_.exact_underflow) put(" underflow");
        if (f_.fp_mode.flush) put(" flush");
        if (f_.fp_mode.flush16) put(" flush16");
        if (f_.fp_mode.round_away) put(" round_away");
        put("\n");
    }

    void inst(Ref r) {
        const Inst& i = f_.insts[r];
        if (static_cast<size_t>(i.op) >= static_cast<size_t>(Op::kCount)) {
            put("op {}?", static_cast<unsigned>(i.op));
            return;
        }
        if (result_type(i) != Type::kVoid) put("%{} = ", r);
        put("{}", info(i.op).text);
        type(i);
        if (is_memory(i.op)) {
            memory(i);
        } else if (!special(i)) {
            general(i);
        }
    }

  private:
    template <typename... A>
    void put(fmt::format_string<A...> form, A&&... args) {
        fmt::format_to(std::back_inserter(out_), form, std::forward<A>(args)...);
    }
    template <size_t N>
    void word(const std::array<std::string_view, N>& names, unsigned n) {
        if (n < N) {
            put(" {}", names[n]);
        } else {
            put(" sub={}", n);
        }
    }
    void type(const Inst& i) {
        Type t = default_type(i.op);
        if (i.op == Op::kGet && i.imm < arch_.slots.size()) t = arch_.slots[i.imm].type;
        if (i.type != t) put(".{}", static_cast<size_t>(i.type) < kTypes.size() ? kTypes[static_cast<size_t>(i.type)] : "?");
        if (sub_of(i.op) == Sub::kElem && i.sub < kElems.size()) put(".{}", kElems[i.sub]);
    }
    void operands(const Inst& i) {
        const unsigned n = info(i.op).arg_count;
        const Ref refs[] = {i.a, i.b, i.c};
        const char* sep = " ";
        for (unsigned k = 0; k < n; ++k) {
            if (refs[k] == kNoRef && is_call(i.op)) break;
            put("{}%{}", sep, static_cast<int32_t>(refs[k]));
            sep = ", ";
        }
    }
    void number(uint64_t v) {
        if (v < 10) {
            put("{}", v);
        } else {
            put("{:#x}", v);
        }
    }

    void memory(const Inst& i) {
        put(" [%{}", static_cast<int32_t>(i.a));
        const auto disp = static_cast<int64_t>(i.imm);
        if (disp > 0) put("+{}", disp);
        if (disp < 0) put("-{}", 0 - i.imm);
        put("]");
        if (info(i.op).arg_count > 1) put(", %{}", static_cast<int32_t>(i.b));
        if (info(i.op).arg_count > 2) put(", %{}", static_cast<int32_t>(i.c));
        put(" {}{}", i.sub & MemAttr::kSigned ? "sext" : "", 8u << (i.sub & MemAttr::kSizeMask));
        if (i.sub & MemAttr::kBig) put(" be");
        if (i.sub & MemAttr::kAcquire) put(" acq");
        if (i.sub & MemAttr::kRelease) put(" rel");
        if (i.sub & MemAttr::kSeqCst) put(" sc");
    }

    void slot(uint64_t n) {
        if (n < arch_.slots.size()) {
            put(" {}", arch_.slots[n].name);
        } else {
            put(" #{}", n);
        }
    }

    bool special(const Inst& i) {
        switch (i.op) {
            case Op::kConst: put(" "), number(i.imm); return true;
            case Op::kVConst:
                if (i.imm >= f_.vconsts.size()) return false;
                put(" 0x{:016x}{:016x}", f_.vconsts[i.imm].u64[1], f_.vconsts[i.imm].u64[0]);
                return true;
            case Op::kGet: slot(i.imm); return true;
            case Op::kSet: slot(i.imm), put(", %{}", static_cast<int32_t>(i.a)); return true;
            case Op::kInsn: put(" {:#x}, {}", i.imm, i.sub); return true;
            case Op::kUbfx:
            case Op::kSbfx:
            case Op::kBfi:
                operands(i);
                put(", {}, {}", i.imm & 0xff, i.imm >> 8);
                return true;
            case Op::kCall:
            case Op::kVCall:
            case Op::kCallState: call(i); return true;
            case Op::kExit: put(" {:#x}", i.imm); return true;
            case Op::kExitIf: operands(i), put(", {:#x}", i.imm); return true;
            case Op::kExitInd:
                word(kBranches, i.sub);
                operands(i);
                if (i.imm) put(", {:#x}", i.imm);
                return true;
            case Op::kExitTrap:
                word(kReasons, i.sub);
                put(", {:#x}", i.imm);
                if (i.b != kNoRef) put(", {}", i.b);
                return true;
            default: return false;
        }
    }

    void call(const Inst& i) {
        const uint64_t index = i.op == Op::kCall ? i.imm : i.imm & 0xffff;
        if (index < arch_.helpers.size()) {
            put(" {}", arch_.helpers[index].name);
        } else {
            put(" #{}", index);
        }
        operands(i);
        if (i.op != Op::kCall && i.imm >> 16) put(" arg={}", i.imm >> 16);
        if (i.sub) put(" sub={}", i.sub);
    }

    void general(const Inst& i) {
        switch (sub_of(i.op)) {
            case Sub::kCmp: word(kCmps, i.sub); break;
            case Sub::kCond: word(kConds, i.sub); break;
            case Sub::kFCmp:
                word(kFCmps, i.sub & 15);
                if (i.sub & kFcmpSignal) put(" signal");
                break;
            default: break;
        }
        operands(i);
        const Sub s = sub_of(i.op);
        if ((s == Sub::kNumber && i.sub) || (s == Sub::kElem && i.sub >= kElems.size())) put(" sub={}", i.sub);
        if (i.imm) put(" imm="), number(i.imm);
    }

    const Function& f_;
    const guest::GuestArch& arch_;
    std::string& out_;
};

}  // namespace

std::string print(const Function& f, const guest::GuestArch& arch) {
    std::string out;
    Printer p(f, arch, out);
    p.header();
    for (Ref r = 0; r < f.insts.size(); ++r) {
        out += f.insts[r].op == Op::kInsn ? " " : "   ";
        p.inst(r);
        out += '\n';
    }
    return out;
}

std::string print(const Function& f, Ref r, const guest::GuestArch& arch) {
    std::string out;
    Printer(f, arch, out).inst(r);
    return out;
}

}  // namespace myna::ir
