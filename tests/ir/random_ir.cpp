// The generator: operations by weight of their class, operands from the values made so far.
#include "ir/random_ir.h"

#include <array>
#include <string_view>
#include <vector>

#include "ir/scalar.h"
#include "ir/text.h"

namespace myna::testing {
namespace {

using namespace ir;

/// Element types an operation has a meaning for, as a mask over Elem.
constexpr unsigned k8 = 1, k16 = 2, k32 = 4, kInts = 15, kH = 16, kS = 32, kD = 64;
unsigned elems_of(Op op, bool half) {
    const unsigned floats = kS | kD | (half ? kH : 0);
    switch (op) {
        case Op::kVAnd:
        case Op::kVOr:
        case Op::kVXor:
        case Op::kVAndN:
        case Op::kVNot:
        case Op::kVBsl:
        case Op::kVExt:
        case Op::kVTbl:
        case Op::kVCnt:
        case Op::kVPmull64:
        case Op::kVAesE:
        case Op::kVAesD:
        case Op::kVAesMc:
        case Op::kVAesImc:
        case Op::kVSha256H:
        case Op::kVSha256Su:
        case Op::kVSdot:
        case Op::kVUdot:
        case Op::kVUsdot: return k8;
        case Op::kVSmin:
        case Op::kVSmax:
        case Op::kVUmin:
        case Op::kVUmax:
        case Op::kVShadd:
        case Op::kVUhadd:
        case Op::kVShsub:
        case Op::kVUhsub:
        case Op::kVSabd:
        case Op::kVUabd:
        case Op::kVSxtl:
        case Op::kVUxtl:
        case Op::kVXtn:
        case Op::kVSqxtn:
        case Op::kVUqxtn:
        case Op::kVSqxtun:
        case Op::kVSmull:
        case Op::kVUmull:
        case Op::kVClz: return k8 | k16 | k32;
        case Op::kVSqdmulh: return k16 | k32;
        case Op::kVRev: return k8 | k16 | k32;
        case Op::kVFCvtL:
        case Op::kVFCvtN: return half ? kH | kS : kS;
        default: break;
    }
    if (info(op).text.starts_with("vf") || op == Op::kVSToF || op == Op::kVUToF) return floats;
    return kInts;
}

class Generator {
  public:
    Generator(std::mt19937_64& rng, const guest::GuestArch& arch, const RandomIrOptions& opt)
        : rng_(rng), arch_(arch), opt_(opt) {
        for (unsigned k = 0; k < static_cast<unsigned>(Op::kCount); ++k) {
            if (wanted(static_cast<Op>(k))) ops_.push_back(static_cast<Op>(k));
        }
        while (opt.focus && ops_.size() > opt.focus) {
            ops_[below(ops_.size())] = ops_.back();
            ops_.pop_back();
        }
        wide_ = chance(4) ? 50 : chance(2) ? 95 : 5;
    }

    Function run() {
        f_.pc = 0x1000;
        f_.nan_rule = arch_.nan_rule;
        f_.exact_underflow = opt_.fp && rng_() % 2 == 0;
        f_.ranges.push_back({0x1000, 0});
        for (unsigned n = 0; n < opt_.size; ++n) {
            if (n % 4 == 0) guest_instruction();
            if (n % 3 == 2 || chance(8)) {
                set();
            } else {
                operation(ops_[below(ops_.size())]);
            }
        }
        for (unsigned s = 0; s < arch_.slots.size(); ++s) {
            if (!chance(3)) set(s);
        }
        terminator();
        return std::move(f_);
    }

  private:
    uint64_t below(uint64_t n) { return std::uniform_int_distribution<uint64_t>(0, n - 1)(rng_); }
    bool chance(unsigned one_in) { return below(one_in) == 0; }

    bool wanted(Op op) const {
        const OpInfo& o = info(op);
        if (op <= Op::kInsn || (op >= Op::kExit && op <= Op::kExitTrap)) return op == Op::kExitIf && opt_.side_exits;
        if (op >= Op::kFlSub && op <= Op::kCond) return opt_.flags && (opt_.fp || op != Op::kFlFcmp);
        if (op == Op::kLoad || op == Op::kStore) return opt_.memory;
        if (op >= Op::kLl && op <= Op::kRmwUmax) return opt_.memory && opt_.atomics;
        if (op >= Op::kCall && op <= Op::kCallState) return opt_.calls && (op != Op::kVCall || opt_.vectors);
        if (op >= Op::kVAnd) return opt_.vectors && (opt_.fp || !o.fp_flags);
        if (op == Op::kVZext || op == Op::kVLow) return opt_.vectors && opt_.fp;
        if (op >= Op::kBitcast) return opt_.fp;
        return true;
    }

    Ref append(Inst i) {
        f_.insts.push_back(i);
        return static_cast<Ref>(f_.insts.size() - 1);
    }

    void guest_instruction() {
        append({Op::kInsn, Type::kVoid, 4, kNoRef, kNoRef, kNoRef, f_.pc + 4 * f_.guest_insns});
        ++f_.guest_insns;
        f_.ranges[0].bytes += 4;
    }

    /// A value of this type: an earlier one, a guest register or a constant.
    Ref value(Type t) {
        if (!chance(5)) {
            std::vector<Ref> found;
            const unsigned reach = chance(2) ? 2 : 6;
            for (Ref r = static_cast<Ref>(f_.insts.size()); r-- > 0 && found.size() < reach;) {
                if (result_type(f_.insts[r]) == t && f_.insts[r].op != Op::kConst) found.push_back(r);
            }
            if (!found.empty()) return found[below(found.size())];
        }
        std::vector<unsigned> slots;
        for (unsigned s = 0; s < arch_.slots.size(); ++s) {
            if (arch_.slots[s].type == t && s != opt_.base_slot) slots.push_back(s);
        }
        if (!slots.empty() && (t == Type::kFlags || !chance(3))) {
            return append({Op::kGet, t, 0, kNoRef, kNoRef, kNoRef, slots[below(slots.size())]});
        }
        switch (t) {
            case Type::kV128:
                f_.vconsts.push_back({{interesting(rng_), interesting(rng_)}});
                return append({Op::kVConst, t, 0, kNoRef, kNoRef, kNoRef, f_.vconsts.size() - 1});
            case Type::kFlags: return append({Op::kFlPack, t, 0, value(Type::kI32)});
            default: return append({Op::kConst, t, 0, kNoRef, kNoRef, kNoRef, constant(t)});
        }
    }

    uint64_t constant(Type t) {
        if (is_fp(t)) return fp_constant(t);
        return cut(interesting(rng_), t);
    }
    uint64_t fp_constant(Type t) {
        const unsigned w = width_of(t), fraction = t == Type::kF64 ? 52 : t == Type::kF32 ? 23 : 10;
        const uint64_t exponent = low_mask(w - 1 - fraction);
        uint64_t e = below(exponent + 1);
        if (chance(4)) e = chance(2) ? 0 : exponent;
        if (chance(2)) e = exponent / 2 + below(8);
        const uint64_t m = chance(3) ? 0 : interesting(rng_) & low_mask(fraction);
        return (below(2) << (w - 1)) | e << fraction | m;
    }

    Type int_type() { return below(100) < wide_ ? Type::kI64 : Type::kI32; }
    Ref integer_constant(Type t) {
        return append({Op::kConst, t, 0, kNoRef, kNoRef, kNoRef, cut(chance(2) ? below(70) : interesting(rng_), t)});
    }
    Type fp_type() {
        if (opt_.half && chance(4)) return Type::kF16;
        return chance(2) ? Type::kF64 : Type::kF32;
    }

    /// An address inside the buffer, aligned to `bytes`; imm is the displacement.
    Ref address(unsigned bytes, uint64_t& disp) {
        const auto in_pieces = static_cast<uint64_t>(kRandomMemoryBytes / 4);
        const Ref base = append({Op::kGet, Type::kI64, 0, kNoRef, kNoRef, kNoRef, opt_.base_slot});
        disp = below(in_pieces / bytes) * bytes;
        switch (below(3)) {
            case 0: return base;
            case 1: {
                const Ref k = append({Op::kConst, Type::kI64, 0, kNoRef, kNoRef, kNoRef, below(in_pieces / bytes) * bytes});
                return append({Op::kAdd, Type::kI64, 0, base, k});
            }
            default: {
                const Ref mask = append({Op::kConst, Type::kI64, 0, kNoRef, kNoRef, kNoRef, (in_pieces - 1) & ~uint64_t{bytes - 1}});
                const Ref index = append({Op::kAnd, Type::kI64, 0, value(Type::kI64), mask});
                return append({Op::kAdd, Type::kI64, 0, base, index});
            }
        }
    }

    void memory(Op op) {
        Inst i{op, Type::kI64, 0};
        const bool atomic = op != Op::kLoad && op != Op::kStore;
        i.type = int_type();
        const bool rmw = op >= Op::kRmwAdd;
        if (!rmw && opt_.vectors && chance(4) && (!atomic || opt_.wide_atomics)) i.type = Type::kV128;
        if (!atomic && opt_.fp && chance(4)) i.type = fp_type();
        const Type data = i.type;
        unsigned size = static_cast<unsigned>(std::countr_zero(width_of(data) / 8));
        if (is_int(data)) size = static_cast<unsigned>(below(size + 1));
        i.sub = static_cast<uint8_t>(size);
        if (is_int(data) && (op == Op::kLoad || rmw) && chance(2)) i.sub |= MemAttr::kSigned;
        if (chance(5)) i.sub |= MemAttr::kBig;
        if (chance(4)) i.sub |= op == Op::kStore ? MemAttr::kRelease : MemAttr::kAcquire;
        if (op == Op::kStore && chance(6)) i.sub |= MemAttr::kSeqCst;
        i.a = address(atomic ? 1u << size : 1, i.imm);
        if (info(op).arg_count > 1) i.b = value(data);
        if (info(op).arg_count > 2) i.c = value(data);
        if (op == Op::kStore) i.type = Type::kVoid;
        if (op == Op::kSc) i.type = Type::kI32;
        append(i);
    }

    void call(Op op) {
        const auto kind = op == Op::kCall    ? guest::HelperKind::kPure
                          : op == Op::kVCall ? guest::HelperKind::kVector
                                             : guest::HelperKind::kState;
        std::vector<unsigned> fit;
        for (unsigned h = 0; h < arch_.helpers.size(); ++h) {
            if (arch_.helpers[h].kind == kind) fit.push_back(h);
        }
        if (fit.empty()) return;
        const Type t = op == Op::kVCall ? Type::kV128 : Type::kI64;
        Inst i{op, t, 0, value(t), value(t), value(t), fit[below(fit.size())]};
        if (op != Op::kCall) i.imm |= below(200) << 16;
        append(i);
    }

    void set() { set(static_cast<unsigned>(below(arch_.slots.size()))); }
    void set(unsigned s) {
        const Type t = arch_.slots[s].type;
        if (s == opt_.base_slot || (t == Type::kFlags && !opt_.flags)) return;
        if ((t == Type::kV128 && !opt_.vectors) || (is_fp(t) && !opt_.fp)) return;
        const Ref v = value(t);
        append({Op::kSet, Type::kVoid, 0, v, kNoRef, kNoRef, s});
    }

    void terminator() {
        const uint64_t next = f_.pc + 4 * f_.guest_insns;
        switch (below(3)) {
            case 0: append({Op::kExit, Type::kVoid, 0, kNoRef, kNoRef, kNoRef, next}); break;
            case 1: {
                const Ref to = value(Type::kI64);
                append({Op::kExitInd, Type::kVoid, static_cast<uint8_t>(below(3)), to});
                break;
            }
            default: append({Op::kExitTrap, Type::kVoid, static_cast<uint8_t>(ExitReason::kSyscall), kNoRef, 7, kNoRef, next});
        }
    }

    /// Type, sub and imm by the operation's own rules.
    void dress(Inst& i) {
        const OpInfo& o = info(i.op);
        i.type = text::default_type(i.op);
        const bool typed = o.result[0] == 'T' || o.args.find('T') != std::string_view::npos || i.op == Op::kFlCcmp;
        if (typed) i.type = i.op >= Op::kFAdd && i.op < Op::kVAnd ? fp_type() : int_type();
        const unsigned w = width_of(i.type);
        switch (i.op) {
            case Op::kExtr: i.imm = below(w); break;
            case Op::kUbfx:
            case Op::kSbfx:
            case Op::kBfi: {
                const uint64_t lo = below(w);
                i.imm = lo | (1 + below(w - lo)) << 8;
                break;
            }
            case Op::kBswap32: i.type = Type::kI64; break;
            case Op::kCmp: i.sub = static_cast<uint8_t>(below(10)); break;
            case Op::kCond: i.sub = static_cast<uint8_t>(below(15)); break;
            case Op::kFlCcmp:
                i.sub = static_cast<uint8_t>(below(15));
                i.imm = below(32);
                break;
            case Op::kCrc32: i.sub = static_cast<uint8_t>(below(4)), i.imm = below(2); break;
            case Op::kFence: i.imm = below(2); break;
            case Op::kFlFcmp: i.type = fp_type(), i.sub = chance(2) ? kFcmpSignal : 0; break;
            case Op::kFCmp: i.sub = static_cast<uint8_t>(below(4) | (chance(2) ? kFcmpSignal : 0)); break;
            case Op::kFMa: i.sub = static_cast<uint8_t>(below(4)); break;
            case Op::kFMin:
            case Op::kFMax:
            case Op::kFSgnj: i.sub = static_cast<uint8_t>(below(3)); break;
            case Op::kFToS:
            case Op::kFToU: i.type = int_type(), i.sub = static_cast<uint8_t>(below(6)), i.imm = chance(4) ? below(w) : 0; break;
            case Op::kSToF:
            case Op::kUToF: i.imm = chance(4) ? below(32) : 0; break;
            case Op::kFRound: i.sub = static_cast<uint8_t>(below(6) | (chance(2) ? kRoundInexact : 0)); break;
            case Op::kBox32: i.type = Type::kF64; break;
            case Op::kUnbox32: i.type = opt_.half && chance(3) ? Type::kF16 : Type::kF32; break;
            case Op::kVLow: i.type = fp_type(); break;
            default: break;
        }
        if (i.op >= Op::kVAnd) dress_vector(i);
    }

    void dress_vector(Inst& i) {
        const unsigned mask = elems_of(i.op, opt_.half);
        do i.sub = static_cast<uint8_t>(below(7));
        while (!(mask >> i.sub & 1));
        const unsigned w = elem_bits(static_cast<Elem>(i.sub)), lanes = 128 / w;
        switch (i.op) {
            case Op::kVShlI:
            case Op::kVShrI:
            case Op::kVSarI: i.imm = below(w + 1); break;
            case Op::kVShadd:
            case Op::kVUhadd:
            case Op::kVSxtl:
            case Op::kVUxtl:
            case Op::kVSmull:
            case Op::kVUmull:
            case Op::kVPmull64:
            case Op::kVSqdmulh:
            case Op::kVFCvtL:
            case Op::kVSha256H:
            case Op::kVSha256Su: i.imm = below(2); break;
            case Op::kVExt: i.imm = below(16); break;
            case Op::kVRev: i.imm = uint64_t{w / 8} << (1 + below(static_cast<uint64_t>(4 - std::countr_zero(w / 8)))); break;
            case Op::kVDupL:
            case Op::kVIns: i.imm = below(lanes); break;
            case Op::kVInsL: i.imm = below(lanes) | below(lanes) << 8; break;
            case Op::kVGet:
                if (opt_.fp && chance(3)) {
                    i.type = fp_type();
                    i.sub = static_cast<uint8_t>(i.type == Type::kF64 ? Elem::kF64 : i.type == Type::kF32 ? Elem::kF32 : Elem::kF16);
                    i.imm = below(128 / width_of(i.type));
                } else {
                    i.type = w > 32 ? Type::kI64 : int_type();
                    i.imm = below(lanes) | (chance(2) ? 0x100 : 0);
                }
                break;
            case Op::kVFMa: i.imm = below(4); break;
            case Op::kVFMin:
            case Op::kVFMax: i.imm = below(3); break;
            case Op::kVFCmp: i.imm = below(4) | (chance(2) ? kFcmpSignal : 0); break;
            case Op::kVFToS:
            case Op::kVFToU: i.imm = below(6) | (chance(4) ? (1 + below(w)) << 8 : 0); break;
            case Op::kVSToF:
            case Op::kVUToF: i.imm = chance(4) ? (1 + below(w)) << 8 : 0; break;
            case Op::kVFRound: i.imm = below(6) | (chance(2) ? kRoundInexact : 0); break;
            default: break;
        }
    }

    Ref operand(const Inst& i, char letter, Type& shared_int) {
        switch (letter) {
            case 'T': return value(i.type);
            case 'i': return value(Type::kI32);
            case 'l': return value(Type::kI64);
            case 'I':
                if (shared_int == Type::kVoid) shared_int = int_type();
                return value(shared_int);
            case 'f': return value(i.op == Op::kFCvt ? other_fp(i.type) : fp_type());
            case 'F': return value(Type::kFlags);
            case 'v': return value(Type::kV128);
            default: return any(i);
        }
    }
    Type other_fp(Type t) {
        Type o = fp_type();
        while (o == t) o = t == Type::kF64 ? Type::kF32 : Type::kF64;
        return o;
    }
    Ref any(const Inst& i) {
        switch (i.op) {
            case Op::kFlCcmp: return value(i.type);
            case Op::kBitcast:
                if (i.type == Type::kI32 && opt_.half && chance(3)) return value(Type::kF16);
                return value(i.type == Type::kI64 ? Type::kF64 : i.type == Type::kI32 ? Type::kF32
                             : i.type == Type::kF64 ? Type::kI64 : Type::kI32);
            case Op::kBox32: return value(opt_.half && chance(3) ? Type::kF16 : Type::kF32);
            case Op::kUnbox32: return value(Type::kF64);
            case Op::kVDup:
            case Op::kVIns: {
                const unsigned w = elem_bits(static_cast<Elem>(i.sub));
                if (opt_.fp && w >= 32 && chance(3)) return value(w == 64 ? Type::kF64 : Type::kF32);
                return value(w == 64 ? Type::kI64 : int_type());
            }
            default: return value(int_type());
        }
    }

    /// Booleans are 0 or 1 where an operand must be one: the carry of adc and fl_adc.
    Ref boolean() {
        const Ref a = value(Type::kI64), b = value(Type::kI64);
        return append({Op::kCmp, Type::kI64, static_cast<uint8_t>(below(10)), a, b});
    }

    void operation(Op op) {
        if (is_memory(op)) return memory(op);
        if (text::is_call(op)) return call(op);
        Inst i{op, Type::kVoid, 0};
        dress(i);
        if (op == Op::kBitcast && chance(2)) i.type = fp_type();
        if (op == Op::kBitcast && !is_fp(i.type)) i.type = int_type();
        const OpInfo& o = info(op);
        Ref* refs[] = {&i.a, &i.b, &i.c};
        Type shared_int = Type::kVoid;
        for (unsigned k = 0; k < o.arg_count; ++k) {
            const bool carry = k == 2 && (op == Op::kAdc || op == Op::kFlAdc);
            const bool constant_b = k == 1 && o.args[k] == 'T' && is_int(i.type) && chance(3);
            *refs[k] = carry ? boolean() : constant_b ? integer_constant(i.type) : operand(i, o.args[k], shared_int);
        }
        if (op == Op::kSelect) {  // vectors and FP too
            if (opt_.vectors && chance(4)) i.type = Type::kV128, i.b = value(i.type), i.c = value(i.type);
        }
        if (op == Op::kExitIf) i.imm = 0x2000 + 16 * below(64);
        append(i);
    }

    std::mt19937_64& rng_;
    const guest::GuestArch& arch_;
    const RandomIrOptions& opt_;
    Function f_;
    std::vector<Op> ops_;
    uint64_t wide_ = 50;  // of 100 integer operations so many are of kI64
};

}  // namespace

uint64_t interesting(std::mt19937_64& rng) {
    const uint64_t r = rng();
    switch (r % 8) {
        case 0: return r >> 60;
        case 1: return uint64_t{1} << (r >> 58);
        case 2: return (uint64_t{1} << (r >> 58)) - 1;
        case 3: return ~uint64_t{0} << (r >> 58);
        case 4: {
            static constexpr uint64_t kLimits[] = {0, ~uint64_t{0}, 0x7fffffff, 0x80000000, 0xffffffff,
                                                   0x7fffffffffffffff, 0x8000000000000000, 0xffffffff80000000};
            return kLimits[r >> 61];
        }
        case 5: return r >> 32;
        default: return rng();
    }
}

Function random_function(std::mt19937_64& rng, const guest::GuestArch& arch, const RandomIrOptions& opt) {
    return Generator(rng, arch, opt).run();
}

Function rebuild(const Function& f, const guest::GuestArch& arch, Builder::Options opt) {
    Function out;
    Builder b(out, arch, opt);
    b.begin(f.pc, f.mode);
    out.nan_rule = f.nan_rule;
    out.fp_mode = f.fp_mode;
    out.fp_exact = f.fp_exact;
    out.exact_underflow = f.exact_underflow;
    std::vector<Ref> place(f.insts.size(), kNoRef);
    for (Ref r = 0; r < f.insts.size(); ++r) {
        const Inst& i = f.insts[r];
        const unsigned args = info(i.op).arg_count;
        const auto ref = [&](unsigned k, Ref v) { return k < args && v != kNoRef ? place[v] : v; };
        const Ref a = ref(0, i.a), b2 = ref(1, i.b), c = ref(2, i.c);
        switch (i.op) {
            case Op::kConst: place[r] = b.imm(i.imm, i.type); break;
            case Op::kVConst: place[r] = b.vimm(f.vconsts[i.imm].u64[0], f.vconsts[i.imm].u64[1]); break;
            default: place[r] = b.emit(i.op, i.type, i.sub, a, b2, c, i.imm);
        }
    }
    return out;
}

}  // namespace myna::testing
