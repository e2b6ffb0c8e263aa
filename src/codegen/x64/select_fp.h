// Shared by the files that select floating point.
#pragma once

#include "codegen/x64/selector.h"

namespace myna::x64 {

/// ucomiss or ucomisd.
SseOp ucomi(Type t);
/// This block must not miss an underflow that the host does not see: a result that rounds to the smallest normal number.
bool watches_underflow(const Selector& s);
/// EFLAGS such that Cc::e means that the scalar in `d` is a NaN or the smallest normal number of either sign; needs `t`.
void compare_with_min_normal(Selector& s, Type type, Xmm d, Xmm t);
/// Replaces a NaN in `d` by the canonical one (out of line), NaN boxed if `boxed`.
void canonical_if_nan(Selector& s, Type t, Xmm d, bool boxed = false);
/// The half-precision number in `a` as single precision (F16C).
void widen_half(Selector& s, Xmm d, Xmm a);
/// The addend of a fused multiply-add that ends in its register: already in the result's, and as the exact path reads
/// it (`needed`), in another register when the result's is its own.
struct FusedAddend {
    Xmm result, kept;
    /// The register where operand `x` still is: it may be the addend as well.
    [[nodiscard]] Xmm whole(Xmm x) const { return x == result ? kept : x; }
};
FusedAddend fused_addend(Selector& s, Ref i, Ref c, bool needed);
inline constexpr uint64_t kBox = 0xffffffff00000000;
/// The bits above the scalar in `i`'s register are those of `a`'s.
void inherit_upper(Selector& s, Ref i, Ref a);
constexpr unsigned bits_of(Type t) { return t == Type::kF16 ? 16 : t == Type::kF32 ? 32 : 64; }
/// fcvt, ftos, ftou, stof, utof, fround.
void select_fp_convert(Selector& s, Ref i);
/// vfadd … vfcvtn.
void select_vec_fp(Selector& s, Ref i);
/// Lane moves: zip, uzp, trn, ext, rev, tbl, dup, ins, get.
void select_vec_permute(Selector& s, Ref i);
/// AES and SHA-256.
void select_vec_crypto(Selector& s, Ref i);

}  // namespace myna::x64
