// Selection of AES (AES-NI) and SHA-256 (SHA-NI); without these the exact implementation.
#include "codegen/x64/lane_call.h"
#include "codegen/x64/select_fp.h"

namespace myna::x64 {

namespace {

/// The sole use of `round` is the MixColumns `mix` (its inverse): the round does both, and the second is its other name.
bool mixes(const Selector& s, Ref round, Op mix) {
    const Value& v = s.value(round);
    return v.uses == 1 && s.inst(v.user).op == mix;
}
/// AESENCLAST and AESDECLAST with a zero key are ShiftRows and SubBytes, and their inverses; AESENC and AESDEC mix as well.
void aes_round(Selector& s, Ref i, bool decrypt) {
    const Inst& in = s.inst(i);
    const bool mix = mixes(s, i, decrypt ? Op::kVAesImc : Op::kVAesMc);
    const SseOp op = decrypt ? mix ? SseOp::aesdec : SseOp::aesdeclast : mix ? SseOp::aesenc : SseOp::aesenclast;
    const Xmm a = s.ra.use_x(in.a), b = s.ra.use_x(in.b), t = s.ra.temp_x(), z = s.ra.temp_x();
    s.e.vop(SseOp::pxor, t, a, b);
    s.e.vzero(z);
    s.e.vop(op, s.ra.def_over_x(i), t, z);
}
/// MixColumns alone: undo ShiftRows and SubBytes, then a whole round.
void aes_mix(Selector& s, Ref i, bool decrypt) {
    const Inst& in = s.inst(i);
    const bool round = s.inst(in.a).op == (decrypt ? Op::kVAesD : Op::kVAesE);
    if (round && mixes(s, in.a, in.op)) return s.ra.alias(i, in.a);
    const Xmm a = s.ra.use_x(in.a);
    if (decrypt) return s.e.vop(SseOp::aesimc, s.ra.def_over_x(i), a);
    const Xmm z = s.ra.temp_x(), d = s.ra.def_over_x(i);
    s.e.vzero(z);
    s.e.vop(SseOp::aesdeclast, d, a, z);
    s.e.vop(SseOp::aesenc, d, d, z);
}

/// Arm keeps a..d and e..h; the host a, b, e, f and c, d, g, h, highest lane first. SHA256RNDS2 does two rounds, with
/// the words in xmm0.
void sha256_rounds(Selector& s, Ref i) {
    const Inst& in = s.inst(i);
    const bool second = in.imm & 1;
    const Xmm w = s.ra.fixed(Xmm::x0);
    s.ra.copy_to(w, in.c);
    const Xmm x = s.ra.use_x(second ? in.b : in.a), y = s.ra.use_x(second ? in.a : in.b);
    const Xmm t = s.ra.temp_x(), d = s.ra.def_x(i);
    s.e.vop_i(SseOp::pshufd, t, x, 0x1b);           // d c b a
    s.e.vop_i(SseOp::pshufd, d, y, 0x1b);           // h g f e
    s.ra.release(x);
    const Xmm u = s.ra.temp_x();
    s.e.mov_xx(u, d);
    s.e.vop(SseOp::punpckhqdq, u, u, t);            // a b e f, highest first
    s.e.vop(SseOp::punpcklqdq, d, d, t);            // c d g h
    s.e.mov_xx(t, u);
    s.e.vop(SseOp::sha256rnds2, d, d, t);           // a b e f after two rounds; the old t is the new c d g h
    s.e.vop_i(SseOp::pshufd, w, w, 0x0e);
    s.e.vop(SseOp::sha256rnds2, t, t, d);           // after four; d is c d g h
    s.e.vop(second ? SseOp::punpcklqdq : SseOp::punpckhqdq, d, d, t);
    s.e.vop_i(SseOp::pshufd, d, d, 0x1b);
}

void sha256_schedule(Selector& s, Ref i) {
    const Inst& in = s.inst(i);
    const Xmm a = s.ra.use_x(in.a), b = s.ra.use_x(in.b);
    if (!(in.imm & 1)) {
        const Xmm d = s.ra.def_x(i);
        return s.e.vop(SseOp::sha256msg1, d, a, b);
    }
    const Xmm c = s.ra.use_x(in.c), d = s.ra.def_x(i);
    s.e.vop_i(SseOp::palignr, d, c, b, 4);
    s.e.vop(SseOp::paddd, d, d, a);
    s.e.vop(SseOp::sha256msg2, d, d, c);
}

}  // namespace

void select_vec_crypto(Selector& s, Ref i) {
    const Op op = s.inst(i).op;
    const bool sha = op == Op::kVSha256H || op == Op::kVSha256Su;
    if (sha ? !s.host().sha : !s.host().aes) return exact_inline(s, i);
    switch (op) {
        case Op::kVAesE: return aes_round(s, i, false);
        case Op::kVAesD: return aes_round(s, i, true);
        case Op::kVAesMc: return aes_mix(s, i, false);
        case Op::kVAesImc: return aes_mix(s, i, true);
        case Op::kVSha256H: return sha256_rounds(s, i);
        default: return sha256_schedule(s, i);
    }
}

}  // namespace myna::x64
