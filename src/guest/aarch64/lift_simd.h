// SimdLifter: lift functions of insn_simd.decode (Advanced SIMD, floating point, cryptography, structure loads/stores).
//
//   lift_fp.cpp           scalar floating point
//   lift_simd_int.cpp     integer vectors: three same, two-register misc, across lanes, long and narrow forms, by element
//   lift_simd_shift.cpp   shifts by immediate
//   lift_simd_fp.cpp      floating-point vectors
//   lift_simd_move.cpp    permute, copy, table lookup, immediates
//   lift_simd_memory.cpp  LD1..LD4, ST1..ST4
//   lift_crypto.cpp       AES, SHA, SM3, SM4
//
// A 64-bit form (Q = 0) is computed in 128 bits and its upper half cleared when it is written. FP operations also clear
// the upper half of their operands first, so that what lies there cannot raise exceptions. Scalars are the same with one
// element. Saturating operations or the bits that changed by saturation into the slot kQc; any bit set is FPSR.QC.
#pragma once

#include "guest/aarch64/decode.inc.h"
#include "guest/aarch64/lifter.h"
#include "guest/aarch64/simd_args.h"

namespace myna::guest::aarch64 {

class SimdLifter : public Lifter {
  public:
    using Lifter::Lifter;

    // ---- scalar floating point
    bool fp_fixed(const FpFixed& i);
    bool fp_int(const FpInt& i);
    bool fp_mov_gpr(const FpMovGpr& i);
    bool fjcvtzs(const Fjcvtzs& i);
    bool fp_1src(const Fp1src& i);
    bool fp_cvt(const FpCvt& i);
    bool bfcvt(const Bfcvt& i);
    bool fp_cmp(const FpCmp& i);
    bool fp_ccmp(const FpCcmp& i);
    bool fp_csel(const FpCsel& i);
    bool fp_mov_imm(const FpMovImm& i);
    bool fp_2src(const Fp2src& i);
    bool fp_3src(const Fp3src& i);

    // ---- integer vectors
    bool v3(const V3& i);
    bool s3(const S3& i);
    bool v3_logic(const V3Logic& i);
    bool v3_rdm(const V3Rdm& i);
    bool s3_rdm(const S3Rdm& i);
    bool v3_dot(const V3Dot& i);
    bool v3_mmla(const V3Mmla& i);
    bool v2(const V2& i);
    bool s2(const S2& i);
    bool v2_narrow(const V2Narrow& i);
    bool s2_narrow(const S2Narrow& i);
    bool shll_v(const ShllV& i);
    bool v2_est(const V2Est& i);
    bool v_across(const VAcross& i);
    bool addp_s(const AddpS& i);
    bool v3_long(const V3Long& i);
    bool s3_long(const S3Long& i);
    bool v3_wide(const V3Wide& i);
    bool v3_narrow(const V3Narrow& i);
    bool v_pmull(const VPmull& i);
    bool vx(const Vx& i);
    bool sx(const Sx& i);
    bool vx_long(const VxLong& i);
    bool sx_long(const SxLong& i);
    bool vx_dot(const VxDot& i);

    // ---- shifts by immediate
    bool v_shift(const VShift& i);
    bool s_shift(const SShift& i);
    bool v_shift_narrow(const VShiftNarrow& i);
    bool s_shift_narrow(const SShiftNarrow& i);
    bool v_shift_long(const VShiftLong& i);
    bool vf_fixed(const VfFixed& i);
    bool sf_fixed(const SfFixed& i);

    // ---- floating-point vectors
    bool v3f(const V3f& i);
    bool s3f(const S3f& i);
    bool vxf(const Vxf& i);
    bool sxf(const Sxf& i);
    bool v2f(const V2f& i);
    bool s2f(const S2f& i);
    bool vf_across(const VfAcross& i);
    bool s_pairwise(const SPairwise& i);
    bool v3_fmlal(const V3Fmlal& i);
    bool vx_fmlal(const VxFmlal& i);
    bool v3_fcmla(const V3Fcmla& i);
    bool v3_fcadd(const V3Fcadd& i);
    bool vx_fcmla(const VxFcmla& i);
    bool bfdot_v(const BfdotV& i);
    bool bfdot_x(const BfdotX& i);
    bool bfmlal_v(const BfmlalV& i);
    bool bfmlal_x(const BfmlalX& i);
    bool bfmmla_v(const BfmmlaV& i);
    bool fcvtn_v(const FcvtnV& i);
    bool fcvtl_v(const FcvtlV& i);
    bool fcvtxn_v(const FcvtxnV& i);
    bool fcvtxn_s(const FcvtxnS& i);
    bool bfcvtn_v(const BfcvtnV& i);

    // ---- moves
    bool v_permute(const VPermute& i);
    bool ext(const Ext& i);
    bool tbl(const Tbl& i);
    bool dup_elem(const DupElem& i);
    bool dup_gpr(const DupGpr& i);
    bool dup_s(const DupS& i);
    bool smov(const Smov& i);
    bool umov(const Umov& i);
    bool ins_gpr(const InsGpr& i);
    bool ins_elem(const InsElem& i);
    bool v_modimm(const VModimm& i);

    // ---- cryptography
    bool crypto_aes(const CryptoAes& i);
    bool crypto_sha3reg(const CryptoSha3reg& i);
    bool crypto_sha2reg(const CryptoSha2reg& i);
    bool crypto_3reg(const Crypto3reg& i);
    bool crypto_2reg(const Crypto2reg& i);
    bool crypto_4reg(const Crypto4reg& i);
    bool crypto_sm3tt(const CryptoSm3tt& i);
    bool xar(const Xar& i);

    // ---- structures in memory
    bool ldst_multi(const LdstMulti& i);
    bool ldst_lane(const LdstLane& i);
    bool ld_replicate(const LdReplicate& i);

  private:
    static constexpr unsigned kAllBytes = 16;
    /// An indexed element: register and lane.
    struct Element {
        unsigned reg, lane;
    };

    // ---- element types; log2 of the bytes as the tables have it
    static constexpr uint8_t int_elem(unsigned size) { return static_cast<uint8_t>(size); }
    static constexpr uint8_t fp_elem(unsigned fs) { return static_cast<uint8_t>(fs + 3); }
    static constexpr Type fp_type(unsigned fs) { return fs == 1 ? Type::kF16 : fs == 2 ? Type::kF32 : Type::kF64; }
    /// fs of the scalar instructions' ftype: 0 single, 1 double, 3 half.
    static constexpr unsigned fs_of(unsigned ftype) { return ftype == 3 ? 1 : ftype + 2; }
    static Element element(unsigned size, unsigned hlm, unsigned rm5);

    // ---- vector values
    /// A vector operation: `e` is its element (Inst::sub).
    Ref vop(Op op, unsigned e, Ref a, Ref b = kNoRef, Ref c = kNoRef, uint64_t imm = 0) {
        return b_.emit(op, Type::kV128, static_cast<uint8_t>(e), a, b, c, imm);
    }
    Ref vand(Ref a, Ref b) { return vop(Op::kVAnd, 0, a, b); }
    Ref vor(Ref a, Ref b) { return vop(Op::kVOr, 0, a, b); }
    Ref vxor(Ref a, Ref b) { return vop(Op::kVXor, 0, a, b); }
    Ref vzero() { return b_.vimm(0, 0); }
    /// `value` in each lane of 1 << size bytes.
    Ref vsplat(unsigned size, uint64_t value);
    Ref lane(Type t, Ref a, unsigned size, unsigned index) { return b_.emit(Op::kVGet, t, int_elem(size), a, kNoRef, kNoRef, index); }
    Ref fp_lane(unsigned fs, Ref a, unsigned index) { return b_.emit(Op::kVGet, fp_type(fs), fp_elem(fs), a, kNoRef, kNoRef, index); }
    Ref zext_fp(Ref scalar) { return b_.emit(Op::kVZext, Type::kV128, 0, scalar); }
    /// The low `bytes` (1, 2, 4, 8, 16) of `a`, zeroes above.
    Ref low_bytes(unsigned bytes, Ref a);
    /// Upper halves moved down, zeroes above.
    Ref high_half(Ref a) { return vop(Op::kVExt, 0, a, vzero(), kNoRef, 8); }
    /// The lower halves of a and b as one vector.
    Ref low_halves(Ref a, Ref b) { return vop(Op::kVUzp1, int_elem(3), a, b); }
    /// Writes the low `bytes` of `value`, zeroes above.
    void set_low(unsigned bytes, unsigned n, Ref value) { set_v(n, low_bytes(bytes, value)); }
    /// Writes a narrowed 64-bit result into the lower half (upper half zero), or with `hi` into the upper half.
    void set_half(bool hi, unsigned n, Ref narrow);
    /// Raises FPSR.QC where bits of `changed` are set within the low `bytes`.
    void set_qc(unsigned bytes, Ref changed);
    /// `saturated` after having noted in QC where it differs from `wrapped`.
    Ref saturate(unsigned bytes, Ref saturated, Ref wrapped);
    Ref select_lanes(Ref mask, Ref t, Ref f) { return vop(Op::kVBsl, 0, mask, t, f); }

    // ---- families shared by vector, scalar and by-element forms; `bytes`: how many count
    Ref three_same(unsigned u_op, unsigned size, unsigned bytes, Ref a, Ref b, unsigned rd);
    Ref pairwise(Op op, unsigned e, unsigned bytes, Ref a, Ref b, uint64_t imm = 0);
    Ref two_reg(unsigned u_op, unsigned size, unsigned bytes, Ref a, unsigned rd);
    Ref add_pairs_long(bool is_unsigned, unsigned size, Ref a);
    Ref reverse_bits(Ref a);
    Ref leading_zeroes(unsigned size, Ref a);
    Ref shift_by_lanes(bool is_unsigned, bool rounding, unsigned size, Ref a, Ref b);
    Ref narrow(unsigned u_op, unsigned size, unsigned bytes, Ref a, Ref before = kNoRef, bool fits = false);
    Ref sq_rdmulh_acc(bool subtract, unsigned size, unsigned bytes, Ref a, Ref b, unsigned rd);
    Ref sqd_mul(unsigned size, unsigned bytes, Ref a, Ref b);
    Ref sqd_mull(unsigned op, unsigned size, unsigned bytes, bool hi, Ref a, Ref b, unsigned rd);
    Ref mul_long(unsigned u_op, unsigned size, bool hi, Ref a, Ref b, unsigned rd);
    Ref dup_element(unsigned size, Element e) { return vop(Op::kVDupL, int_elem(size), v(e.reg), kNoRef, kNoRef, e.lane); }
    Ref helper_qc(unsigned helper, unsigned size, unsigned bytes, uint32_t arg, Ref a, Ref b, Ref c = kNoRef);
    Ref shift_imm(unsigned u_op, unsigned immhb, unsigned bytes, Ref a, unsigned rd);
    Ref shift_right(bool is_unsigned, bool rounding, unsigned size, unsigned n, Ref a);
    Ref shift_narrow(unsigned u_op, unsigned immhb, unsigned bytes, Ref a);

    // ---- floating point
    Ref fp_operand(unsigned bytes, unsigned n) { return low_bytes(bytes, v(n)); }
    Ref fp_three_same(unsigned key, unsigned fs, unsigned bytes, Ref a, Ref b, unsigned rd);
    Ref recip_step(bool sqrt, unsigned fs, Ref a, Ref b);
    Ref round_away(unsigned fs, bool inexact, Ref a);
    Ref fp_two_reg(unsigned key, unsigned fs, unsigned bytes, Ref a);
    Ref fp_scalar_two(Op op, unsigned fs, Ref a, Ref b, uint8_t sub = 0) { return b_.emit(op, fp_type(fs), sub, a, b); }
    Ref fp_sign(unsigned fs) { return vsplat(fs, uint64_t{1} << ((8u << fs) - 1)); }
    Ref fp_abs(unsigned fs, Ref a) { return vop(Op::kVAndN, 0, a, fp_sign(fs)); }
    Ref fp_neg(unsigned fs, Ref a) { return vxor(a, fp_sign(fs)); }
    Ref fcmla(unsigned fs, unsigned bytes, unsigned rot, unsigned rn, Ref m, unsigned rd);
    Ref fp_to_fixed(bool is_unsigned, Type to, unsigned fs, unsigned fbits, Ref a);
    Ref fp_convert_int(bool is_unsigned, bool to_fp, unsigned fs, unsigned bytes, unsigned fbits, Ref a);
    void bfmlal(bool top, unsigned rd, unsigned rn, Ref m);

    // ---- memory
    Ref load_vector(bool q, Ref addr, unsigned disp);
    void store_vector(bool q, Ref addr, Ref value, unsigned disp);
    void write_back(unsigned post, unsigned rm, unsigned rn, Ref base, unsigned bytes);
    void load_interleaved(unsigned regs, unsigned size, bool q, Ref base, unsigned rt);
    void store_interleaved(unsigned regs, unsigned size, bool q, Ref base, unsigned rt);
};

}  // namespace myna::guest::aarch64
