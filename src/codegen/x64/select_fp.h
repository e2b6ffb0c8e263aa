// Shared by the files that select floating point.
#pragma once

#include "codegen/x64/selector.h"

namespace myna::x64 {

/// ucomiss or ucomisd.
SseOp ucomi(Type t);
/// Replaces a NaN in `d` by the canonical one (out of line).
void canonical_if_nan(Selector& s, Type t, Xmm d);
/// The half-precision number in `a` as single precision (F16C).
void widen_half(Selector& s, Xmm d, Xmm a);
/// fcvt, ftos, ftou, stof, utof, fround.
void select_fp_convert(Selector& s, Ref i);
/// vfadd … vfcvtn.
void select_vec_fp(Selector& s, Ref i);
/// Lane moves: zip, uzp, trn, ext, rev, tbl, dup, ins, get.
void select_vec_permute(Selector& s, Ref i);
/// AES and SHA-256.
void select_vec_crypto(Selector& s, Ref i);

}  // namespace myna::x64
