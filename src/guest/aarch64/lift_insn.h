// InsnLifter: the visitor of decode32: one function a handler of insn_base.decode (SimdLifter has those of
// insn_simd.decode), and the loop that makes a block of them.
//
//   lift_dp_imm.cpp    data processing, immediate          lift_ldst.cpp     loads and stores
//   lift_dp_reg.cpp    data processing, register           lift_atomic.cpp   exclusives, ordered accesses, LSE
//   lift_branch.cpp    branches, exceptions, hints         lift_system.cpp   system registers, barriers, maintenance
//   lift_pauth.cpp     pointer authentication              lift_el1.cpp      what only EL1 may do
#pragma once

#include "guest/aarch64/decode.inc.h"
#include "guest/aarch64/lift_simd.h"

namespace myna::guest::aarch64 {

class InsnLifter final : public SimdLifter {
  public:
    using SimdLifter::SimdLifter;

    /// Lifts from the Builder's pc to the block's end.
    void run();

    [[nodiscard]] bool enabled(InsnId id) const noexcept { return row_enabled(id, cpu_); }

    // ---- data processing, immediate
    bool adr(const Adr& i);
    bool adrp(const Adrp& i);
    bool add_imm(const AddImm& i);
    bool adds_imm(const AddsImm& i);
    bool sub_imm(const SubImm& i);
    bool subs_imm(const SubsImm& i);
    bool smax_imm(const SmaxImm& i);
    bool umax_imm(const UmaxImm& i);
    bool smin_imm(const SminImm& i);
    bool umin_imm(const UminImm& i);
    bool and_imm(const AndImm& i);
    bool orr_imm(const OrrImm& i);
    bool eor_imm(const EorImm& i);
    bool ands_imm(const AndsImm& i);
    bool movn(const Movn& i);
    bool movz(const Movz& i);
    bool movk(const Movk& i);
    bool sbfm(const Sbfm& i);
    bool bfm(const Bfm& i);
    bool ubfm(const Ubfm& i);
    bool extr(const Extr& i);

    // ---- data processing, register
    bool udiv(const Udiv& i);
    bool sdiv(const Sdiv& i);
    bool lslv(const Lslv& i);
    bool lsrv(const Lsrv& i);
    bool asrv(const Asrv& i);
    bool rorv(const Rorv& i);
    bool crc32_(const Crc32& i);
    bool smax_reg(const SmaxReg& i);
    bool umax_reg(const UmaxReg& i);
    bool smin_reg(const SminReg& i);
    bool umin_reg(const UminReg& i);
    bool rbit(const Rbit& i);
    bool rev16(const Rev16& i);
    bool rev_w(const RevW& i);
    bool rev32(const Rev32& i);
    bool rev_x(const RevX& i);
    bool clz(const Clz& i);
    bool cls(const Cls& i);
    bool ctz(const Ctz& i);
    bool cnt(const Cnt& i);
    bool abs_(const Abs& i);
    bool and_sr(const AndSr& i);
    bool bic_sr(const BicSr& i);
    bool orr_sr(const OrrSr& i);
    bool orn_sr(const OrnSr& i);
    bool eor_sr(const EorSr& i);
    bool eon_sr(const EonSr& i);
    bool ands_sr(const AndsSr& i);
    bool bics_sr(const BicsSr& i);
    bool add_sr(const AddSr& i);
    bool adds_sr(const AddsSr& i);
    bool sub_sr(const SubSr& i);
    bool subs_sr(const SubsSr& i);
    bool add_ext(const AddExt& i);
    bool adds_ext(const AddsExt& i);
    bool sub_ext(const SubExt& i);
    bool subs_ext(const SubsExt& i);
    bool adc(const Adc& i);
    bool adcs(const Adcs& i);
    bool sbc(const Sbc& i);
    bool sbcs(const Sbcs& i);
    bool rmif(const Rmif& i);
    bool setf8(const Setf8& i);
    bool setf16(const Setf16& i);
    bool ccmn_reg(const CcmnReg& i);
    bool ccmp_reg(const CcmpReg& i);
    bool ccmn_imm(const CcmnImm& i);
    bool ccmp_imm(const CcmpImm& i);
    bool csel(const Csel& i);
    bool csinc(const Csinc& i);
    bool csinv(const Csinv& i);
    bool csneg(const Csneg& i);
    bool madd(const Madd& i);
    bool msub(const Msub& i);
    bool smaddl(const Smaddl& i);
    bool smsubl(const Smsubl& i);
    bool smulh(const Smulh& i);
    bool umaddl(const Umaddl& i);
    bool umsubl(const Umsubl& i);
    bool umulh(const Umulh& i);

    // ---- branches, exceptions, hints
    bool udf(const Udf& i);
    bool b_cond(const BCond& i);
    bool b(const B& i);
    bool bl(const Bl& i);
    bool cbz(const Cbz& i);
    bool cbnz(const Cbnz& i);
    bool tbz(const Tbz& i);
    bool tbnz(const Tbnz& i);
    bool br(const Br& i);
    bool blr(const Blr& i);
    bool ret(const Ret& i);
    bool eret(const Eret& i);
    bool svc(const Svc& i);
    bool hvc(const Hvc& i);
    bool smc(const Smc& i);
    bool brk(const Brk& i);
    bool hlt(const Hlt& i);
    bool nop(const Nop& i);
    bool yield_(const Yield& i);
    bool wfe(const Wfe& i);
    bool wfi(const Wfi& i);
    bool wfet(const Wfet& i);
    bool wfit(const Wfit& i);
    bool hint(const Hint& i);

    // ---- system
    bool clrex(const Clrex& i);
    bool dsb(const Dsb& i);
    bool dmb(const Dmb& i);
    bool isb(const Isb& i);
    bool sb(const Sb& i);
    bool cfinv(const Cfinv& i);
    bool xaflag(const Xaflag& i);
    bool axflag(const Axflag& i);
    bool msr_ssbs_imm(const MsrSsbsImm& i);
    bool msr_dit_imm(const MsrDitImm& i);
    bool msr_imm(const MsrImm& i);
    bool sys(const Sys& i);
    bool sysl(const Sysl& i);
    bool msr_reg(const MsrReg& i);
    bool mrs(const Mrs& i);

    // ---- pointer authentication
    bool xpaclri(const Xpaclri& i);
    bool pacia1716(const Pacia1716& i);
    bool pacib1716(const Pacib1716& i);
    bool autia1716(const Autia1716& i);
    bool autib1716(const Autib1716& i);
    bool paciaz(const Paciaz& i);
    bool paciasp(const Paciasp& i);
    bool pacibz(const Pacibz& i);
    bool pacibsp(const Pacibsp& i);
    bool autiaz(const Autiaz& i);
    bool autiasp(const Autiasp& i);
    bool autibz(const Autibz& i);
    bool autibsp(const Autibsp& i);
    bool braz(const Braz& i);
    bool blraz(const Blraz& i);
    bool reta(const Reta& i);
    bool bra(const Bra& i);
    bool blra(const Blra& i);
    bool pacga(const Pacga& i);
    bool pac(const Pac& i);
    bool aut(const Aut& i);
    bool pacz(const Pacz& i);
    bool autz(const Autz& i);
    bool xpac(const Xpac& i);
    bool ldra(const Ldra& i);

    // ---- exclusives, ordered accesses, atomics
    bool stxr(const Stxr& i);
    bool ldxr(const Ldxr& i);
    bool stxp(const Stxp& i);
    bool ldxp(const Ldxp& i);
    bool casp(const Casp& i);
    bool stlr(const Stlr& i);
    bool ldar(const Ldar& i);
    bool cas(const Cas& i);
    bool stlur(const Stlur& i);
    bool ldapur(const Ldapur& i);
    bool ldapurs(const Ldapurs& i);
    bool ldapr(const Ldapr& i);
    bool ldop(const Ldop& i);
    bool swp(const Swp& i);

    // ---- loads and stores
    bool ldr_lit(const LdrLit& i);
    bool prfm_lit(const PrfmLit& i);
    bool ldr_lit_v(const LdrLitV& i);
    bool stp(const Stp& i);
    bool stp_v(const StpV& i);
    bool ldp(const Ldp& i);
    bool ldp_v(const LdpV& i);
    bool str_imm(const StrImm& i);
    bool ldr_imm(const LdrImm& i);
    bool str_v_imm(const StrVImm& i);
    bool ldr_v_imm(const LdrVImm& i);
    bool prfm_imm(const PrfmImm& i);
    bool str_uimm(const StrUimm& i);
    bool ldr_uimm(const LdrUimm& i);
    bool str_v_uimm(const StrVUimm& i);
    bool ldr_v_uimm(const LdrVUimm& i);
    bool str_reg(const StrReg& i);
    bool ldr_reg(const LdrReg& i);
    bool str_v_reg(const StrVReg& i);
    bool ldr_v_reg(const LdrVReg& i);
    bool prfm_reg(const PrfmReg& i);

  private:
    static constexpr Type int_type(bool sf) { return sf ? Type::kI64 : Type::kI32; }
    Ref imm(bool sf, uint64_t value) { return b_.imm(sf ? value : static_cast<uint32_t>(value), int_type(sf)); }
    Ref flag_op(Op op, bool sf, Ref a, Ref b = kNoRef, Ref c = kNoRef) { return b_.emit(op, int_type(sf), 0, a, b, c); }

    // data processing
    Ref shifted(bool sf, unsigned rm, unsigned shift, unsigned amount);
    Ref extended(bool sf, unsigned rm, unsigned option, unsigned amount);
    Ref unsigned_field(bool sf, Ref v, unsigned lo, unsigned len);
    Ref signed_field(bool sf, Ref v, unsigned lo, unsigned len);
    void add_flags(bool sf, Ref a, Ref b) { set_flags(flag_op(Op::kFlAdd, sf, a, b)); }
    void sub_flags(bool sf, Ref a, Ref b) { set_flags(flag_op(Op::kFlSub, sf, a, b)); }
    // ADDS, SUBS: the result before the flags, so that the back end can take the flags that computing it leaves.
    void set_add_result(bool sf, unsigned rd, Ref a, Ref b) {
        const Ref result = rd != 31 ? b_.add(a, b) : kNoRef;
        add_flags(sf, a, b);
        if (rd != 31) set_r(sf, rd, result);
    }
    void set_sub_result(bool sf, unsigned rd, Ref a, Ref b) {
        const Ref result = rd != 31 ? b_.sub(a, b) : kNoRef;
        sub_flags(sf, a, b);
        if (rd != 31) set_r(sf, rd, result);
    }
    void logic_flags(bool sf, Ref v) { set_flags(flag_op(Op::kFlLogic, sf, v)); }
    void conditional_compare(bool sf, unsigned cc, Ref a, Ref b, unsigned nzcv, bool negated);
    Ref carry() { return b_.cond(Cond::kCs, flags()); }

    // memory; size: log2 of the bytes
    Ref address(unsigned rn, int64_t offset, unsigned wback);
    int64_t access_disp(int64_t offset, unsigned wback) const { return wback == 1 ? 0 : offset; }
    void write_back(unsigned rn, Ref base, int64_t offset, unsigned wback);
    void load_int(unsigned rt, unsigned size, unsigned opc, Ref addr, int64_t disp, unsigned attr = 0);
    Ref load_vec(unsigned size, Ref addr, int64_t disp);
    void store_vec(unsigned rt, unsigned size, Ref addr, int64_t disp);
    Ref indexed(unsigned rn, unsigned rm, bool opt2, bool opt0, unsigned amount);
    /// LDP and STP of two X registers are one 16-byte access (FEAT_LSE2) but on the stack.
    bool is_single_copy_pair(unsigned rn) const { return rn != 31 && rn != 29 && has(Feature::lse2); }
    Ref pair_to_v128(Ref lo, Ref hi);
    Ref lane64(Ref v, unsigned lane);

    // pointer authentication; key: 0 IA, 1 IB, 2 DA, 3 DB, 4 GA
    Ref authenticated(Ref pointer, Ref modifier, unsigned key);
    void sign_x(unsigned rd, Ref modifier, unsigned key) { set_x(rd, authenticated(x(rd), modifier, key)); }

    // system mode (lift_el1.cpp); false: undefined here
    bool read_el1(unsigned rt, uint32_t reg);
    bool write_el1(unsigned rt, uint32_t reg);
    bool sys_el1(unsigned op1, unsigned crn, unsigned crm);
    void undefined();
    bool in_el1() const { return (b_.function().mode & Mode::kEl1) != 0; }
};

}  // namespace myna::guest::aarch64
