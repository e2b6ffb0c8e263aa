// Checks a Function against ops.inc.
#include "ir/verifier.h"

#include <fmt/format.h>

#include "ir/printer.h"
#include "ir/scalar.h"
#include "ir/text.h"

namespace myna::ir {
namespace {

constexpr bool ends_block(Op op) noexcept { return op == Op::kExit || op == Op::kExitInd || op == Op::kExitTrap; }

class Verifier {
  public:
    Verifier(const Function& f, const guest::GuestArch& arch) : f_(f), arch_(arch) {}

    std::string run() {
        if (f_.insts.empty()) return "no instructions";
        for (Ref r = 0; r < f_.insts.size(); ++r) {
            std::string why = check(r);
            if (!why.empty()) return fmt::format("%{}: {}: {}", r, why, print(f_, r, arch_));
        }
        return {};
    }

  private:
    std::string check(Ref r) {
        const Inst& i = f_.insts[r];
        if (i.op >= Op::kCount) return "no such operation";
        if (ends_block(i.op) != (r + 1 == f_.insts.size())) return "a block has one terminator, at its end";
        if (static_cast<size_t>(i.type) >= text::kTypes.size()) return "no such type";
        if (std::string why = own_type(i); !why.empty()) return why;
        if (std::string why = operands(r); !why.empty()) return why;
        return fields(i);
    }

    static std::string own_type(const Inst& i) {
        const OpInfo& o = info(i.op);
        const bool typed = o.result[0] == 'T' || o.args.find('T') != std::string_view::npos || i.op == Op::kFlCcmp;
        if (!typed || i.op == Op::kGet) return {};
        const Type t = i.type;
        bool good = t != Type::kVoid;
        if (i.op >= Op::kAdd && i.op < Op::kSelect) good = is_int(t);
        if (i.op == Op::kSelect) good = t != Type::kVoid && t != Type::kFlags;
        if (i.op >= Op::kFlSub && i.op <= Op::kFlLogic) good = is_int(t);
        if (i.op == Op::kFlFcmp) good = is_fp(t);
        if (i.op == Op::kFlCcmp) good = is_int(t);
        if (is_memory(i.op)) good = t != Type::kVoid && t != Type::kFlags;
        if (i.op >= Op::kRmwAdd && i.op <= Op::kRmwUmax) good = is_int(t);
        if (i.op >= Op::kFAdd && i.op <= Op::kFCvt) good = is_fp(t);
        if (i.op == Op::kFRound || i.op == Op::kUnbox32 || i.op == Op::kVLow || i.op == Op::kSToF || i.op == Op::kUToF) good = is_fp(t);
        if (i.op == Op::kFToS || i.op == Op::kFToU) good = is_int(t);
        if (i.op == Op::kBox32) good = t == Type::kF64;
        if (i.op == Op::kVGet) good = is_int(t) || is_fp(t);
        if (i.op == Op::kCall || i.op == Op::kCallState) good = is_int(t) || t == Type::kVoid;
        return good ? "" : "a type it cannot have";
    }

    std::string operands(Ref r) {
        const Inst& i = f_.insts[r];
        const OpInfo& o = info(i.op);
        const Ref refs[] = {i.a, i.b, i.c};
        Type shared_int = Type::kVoid;
        for (unsigned k = 0; k < o.arg_count; ++k) {
            if (refs[k] == kNoRef) {
                if (text::is_call(i.op)) continue;
                return fmt::format("operand {} is missing", k);
            }
            if (refs[k] >= r) return fmt::format("operand {} is not defined before", k);
            const Type t = result_type(f_.insts[refs[k]]);
            if (t == Type::kVoid) return fmt::format("operand {} is not a value", k);
            if (!fits(o.args[k], t, i, shared_int)) return fmt::format("operand {} has type {}", k, text::kTypes[static_cast<size_t>(t)]);
        }
        for (unsigned k = o.arg_count; k < 3; ++k) {
            const bool raw = i.op == Op::kExitTrap && k == 1;
            if (refs[k] != kNoRef && !raw) return fmt::format("operand {} is too many", k);
        }
        return {};
    }

    static bool fits(char letter, Type t, const Inst& i, Type& shared_int) {
        switch (letter) {
            case 'T': return t == i.type;
            case 'i': return t == Type::kI32;
            case 'l': return t == Type::kI64;
            case 'I':
                if (!is_int(t) || (shared_int != Type::kVoid && shared_int != t)) return false;
                shared_int = t;
                return true;
            case 'f': return is_fp(t);
            case 'F': return t == Type::kFlags;
            case 'v': return t == Type::kV128;
            default: break;
        }
        switch (i.op) {
            case Op::kFlCcmp: return t == i.type;
            case Op::kCall:
            case Op::kCallState: return is_int(t);
            case Op::kVCall: return t == Type::kV128 || is_fp(t);
            case Op::kSet: return true;  // fields() knows the slot
            default: return t != Type::kFlags;
        }
    }

    std::string fields(const Inst& i) {
        const unsigned w = width_of(i.type);
        switch (i.op) {
            case Op::kConst:
                if (w < 64 && i.imm >> w) return "a constant wider than its type";
                if (!is_int(i.type) && !is_fp(i.type)) return "a constant of this type";
                return {};
            case Op::kVConst: return i.imm < f_.vconsts.size() ? "" : "no such vector constant";
            case Op::kGet:
            case Op::kSet: {
                if (i.imm >= arch_.slots.size()) return "no such guest register";
                const Type t = i.op == Op::kGet ? i.type : result_type(f_.insts[i.a]);
                return t == arch_.slots[i.imm].type ? "" : "not the guest register's type";
            }
            case Op::kUbfx:
            case Op::kSbfx:
            case Op::kBfi: {
                const uint64_t lo = i.imm & 0xff, len = i.imm >> 8;
                return len >= 1 && lo + len <= w ? "" : "a bit field outside the type";
            }
            case Op::kExtr: return i.imm < w ? "" : "a shift outside the type";
            case Op::kCmp: return i.sub < text::kCmps.size() ? "" : "no such comparison";
            case Op::kCond:
            case Op::kFlCcmp: return i.sub < text::kConds.size() ? "" : "no such condition";
            case Op::kFCmp: return (i.sub & ~kFcmpSignal) < 4 ? "" : "no such comparison";
            case Op::kExitInd: return i.sub < text::kBranches.size() ? "" : "no such branch";
            case Op::kExitTrap: return i.sub < text::kReasons.size() ? "" : "no such reason";
            case Op::kCall: return helper(i.imm, guest::HelperKind::kPure);
            case Op::kVCall: return helper(i.imm & 0xffff, guest::HelperKind::kVector);
            case Op::kCallState: return helper(i.imm & 0xffff, guest::HelperKind::kState);
            case Op::kBitcast: return bitcast(result_type(f_.insts[i.a]), i.type) ? "" : "no such move";
            default: break;
        }
        if (is_memory(i.op)) return access(i);
        return {};
    }

    static bool bitcast(Type from, Type to) {
        if (is_int(from) == is_int(to)) return from == to;
        const Type fp = is_fp(from) ? from : to, integer = is_fp(from) ? to : from;
        return integer == (fp == Type::kF64 ? Type::kI64 : Type::kI32) && is_fp(fp);
    }

    std::string access(const Inst& i) {
        const unsigned bits = 8u << (i.sub & MemAttr::kSizeMask);
        if (bits > 128) return "no such access size";
        const bool stores_b = i.op == Op::kStore || i.op == Op::kSc;
        const Type t = stores_b ? result_type(f_.insts[i.b]) : i.type;
        if (t == Type::kFlags) return "flags are not for memory";
        return (is_int(t) || stores_b) && bits > width_of(t) ? "an access wider than its value" : "";
    }

    std::string helper(uint64_t index, guest::HelperKind kind) {
        if (index >= arch_.helpers.size()) return "no such helper";
        return arch_.helpers[index].kind == kind ? "" : "a helper of another kind";
    }

    const Function& f_;
    const guest::GuestArch& arch_;
};

}  // namespace

std::string verify(const Function& f, const guest::GuestArch& arch) { return Verifier(f, arch).run(); }

}  // namespace myna::ir
