// Selection of moves between lanes: zip, uzp, trn, ext, rev, tbl, dup, ins, get.
#include "codegen/x64/lane_call.h"
#include "codegen/x64/select_fp.h"

namespace myna::x64 {

namespace {

constexpr unsigned kSrl = 2, kSll = 6;
constexpr uint64_t kEvenBytes = 0x00ff00ff00ff00ff, kOddBytes = 0xff00ff00ff00ff00, kEvenWords = 0x0000ffff0000ffff;

constexpr unsigned bytes_of(Elem e) {
    constexpr unsigned kBytes[] = {1, 2, 4, 8, 2, 4, 8};
    return kBytes[static_cast<unsigned>(e)];
}

struct Permute {
    Selector& s;
    Ref i;
    const Inst& in = s.inst(i);
    Emitter& e = s.e;
    unsigned bytes = bytes_of(static_cast<Elem>(in.sub));

    Xmm a() { return s.ra.use_x(in.a); }
    Xmm b() { return s.ra.use_x(in.b); }
    Xmm temp() { return s.ra.temp_x(); }
    Xmm def() { return s.ra.def_x(i); }
    Xmm def_over() { return s.ra.def_over_x(i); }
    Mem lit(uint64_t v) { return e.literal_mem(v, v); }
    /// One instruction over a and b.
    void binary(SseOp op) {
        const Xmm x = a(), y = b();
        e.vop(op, def_over(), x, y);
    }
    void binary(SseOp op, uint8_t imm) {
        const Xmm x = a(), y = b();
        e.vop_i(op, def_over(), x, y, imm);
    }
    /// Byte k of the result is byte pick(k) of a.
    template <class Pick> void bytes_by(Pick pick) {
        uint64_t m[2] = {0, 0};
        for (unsigned k = 0; k < 16; ++k) m[k / 8] |= uint64_t{pick(k)} << 8 * (k % 8);
        const Xmm x = a();
        e.vop(SseOp::pshufb, def_over(), x, e.literal_mem(m[0], m[1]));
    }
};

void zip(Permute p, bool high) {
    switch (p.bytes) {
        case 1: return p.binary(high ? SseOp::punpckhbw : SseOp::punpcklbw);
        case 2: return p.binary(high ? SseOp::punpckhwd : SseOp::punpcklwd);
        case 4: return p.binary(high ? SseOp::punpckhdq : SseOp::punpckldq);
        default: return p.binary(high ? SseOp::punpckhqdq : SseOp::punpcklqdq);
    }
}

void unzip(Permute p, bool odd) {
    if (p.bytes == 8) return p.binary(odd ? SseOp::punpckhqdq : SseOp::punpcklqdq);
    if (p.bytes == 4) return p.binary(SseOp::shufps, odd ? 0xdd : 0x88);
    if (p.in.a == p.in.b)
        return p.bytes_by([&](unsigned k) { return (k / p.bytes * 2 + odd) * p.bytes % 16 + k % p.bytes; });
    const Xmm a = p.a(), b = p.b(), t = p.temp(), d = p.def();
    const auto part = [&](Xmm to, Xmm from) {
        if (odd) p.e.vshift_i(p.bytes == 1 ? 1 : 2, kSrl, to, from, static_cast<uint8_t>(8 * p.bytes));
        else p.e.vop(SseOp::pand, to, from, p.lit(p.bytes == 1 ? kEvenBytes : kEvenWords));
    };
    part(d, a);
    part(t, b);
    p.e.vop(p.bytes == 1 ? SseOp::packuswb : SseOp::packusdw, d, d, t);
}

void transpose(Permute p, bool odd) {
    if (p.bytes == 8) return p.binary(odd ? SseOp::punpckhqdq : SseOp::punpcklqdq);
    const Xmm a = p.a(), b = p.b(), t = p.temp();
    const unsigned lane = p.bytes == 4 ? 3 : p.bytes == 2 ? 2 : 1;
    const auto n = static_cast<uint8_t>(8 * p.bytes);
    // The lane that has to move does; then each half comes from one of the two.
    p.e.vshift_i(lane, odd ? kSrl : kSll, t, odd ? a : b, n);
    if (p.bytes == 1) {
        const Xmm d = p.def_over();
        p.e.vop(SseOp::pand, d, odd ? b : a, p.lit(odd ? kOddBytes : kEvenBytes));
        p.e.vop(SseOp::por, d, d, t);
        return;
    }
    const uint8_t mask = p.bytes == 2 ? 0xaa : 0xcc;
    const Xmm d = p.def_over();
    odd ? p.e.vop_i(SseOp::pblendw, d, t, b, mask) : p.e.vop_i(SseOp::pblendw, d, a, t, mask);
}

void extract(Permute p) {
    const auto n = static_cast<uint8_t>(p.in.imm);
    if (n == 0) return p.s.ra.alias(p.i, p.in.a);
    if (p.in.a == p.in.b && n % 4 == 0) {
        const unsigned k = n / 4;
        const Xmm a = p.a();
        return p.e.vop_i(SseOp::pshufd, p.def_over(), a, static_cast<uint8_t>(k | ((k + 1) & 3) << 2 | ((k + 2) & 3) << 4 | ((k + 3) & 3) << 6));
    }
    const Xmm a = p.a(), b = p.b();
    p.e.vop_i(SseOp::palignr, p.def_over(), b, a, n);
}

void reverse(Permute p) {
    const auto container = static_cast<unsigned>(p.in.imm);
    if (p.bytes == container) return p.s.ra.alias(p.i, p.in.a);
    if (p.bytes >= 4) {
        const uint8_t imm = p.bytes == 8 ? 0x4e : container == 8 ? 0xb1 : 0x1b;
        const Xmm a = p.a();
        return p.e.vop_i(SseOp::pshufd, p.def_over(), a, imm);
    }
    const unsigned per = container / p.bytes;
    p.bytes_by([&](unsigned k) {
        const unsigned lane = k / p.bytes;
        return (lane / per * per + per - 1 - lane % per) * p.bytes + k % p.bytes;
    });
}

/// PSHUFB takes bit 7 as "zero": indices of 16 and more get it by a saturating addition.
void table(Permute p) {
    const Xmm a = p.a(), b = p.b(), t = p.temp();
    p.e.vop(SseOp::paddusb, t, b, p.lit(0x7070707070707070));
    p.e.vop(SseOp::pshufb, p.def_over(), a, t);
}

/// Lane 0 of `x` in all lanes of d.
void broadcast(Permute& p, Xmm d, Xmm x) {
    const bool avx2 = p.s.host().avx2;
    switch (p.bytes) {
        case 8: return avx2 ? p.e.vop(SseOp::vpbroadcastq, d, x) : p.e.vop(SseOp::punpcklqdq, d, x, x);
        case 4: return avx2 ? p.e.vop(SseOp::vpbroadcastd, d, x) : p.e.vop_i(SseOp::pshufd, d, x, 0);
        case 2:
            if (avx2) return p.e.vop(SseOp::vpbroadcastw, d, x);
            return p.e.vop(SseOp::pshufb, d, x, p.lit(0x0100010001000100));
        default:
            if (avx2) return p.e.vop(SseOp::vpbroadcastb, d, x);
            return p.e.vop(SseOp::pshufb, d, x, p.lit(0));
    }
}

void duplicate(Permute p) {
    uint64_t c;
    if (p.s.ra.is_const(p.in.a, &c)) {
        if (p.bytes < 8) c &= (uint64_t{1} << 8 * p.bytes) - 1;
        for (unsigned n = 8 * p.bytes; n < 64; n *= 2) c |= c << n;
        const Xmm d = p.def();
        if (c == 0) return p.e.vzero(d);
        if (c == ~uint64_t{0}) return p.e.vop(SseOp::pcmpeqd, d, d, d);
        return p.e.load128a(d, p.lit(c));
    }
    if (in_xmm(operand_type(p.s, p.in.a))) {
        const Xmm a = p.a();
        return broadcast(p, p.def_over(), a);
    }
    const Gpr g = p.s.ra.use(p.in.a);
    const Xmm d = p.def();
    p.e.mov_xg(p.bytes == 8, d, g);
    broadcast(p, d, d);
}

void duplicate_lane(Permute p) {
    const auto lane = static_cast<unsigned>(p.in.imm) % (16 / p.bytes);
    const Xmm a = p.a();
    if (p.bytes == 8) return p.e.vop_i(SseOp::pshufd, p.def_over(), a, lane ? 0xee : 0x44);
    if (p.bytes == 4) return p.e.vop_i(SseOp::pshufd, p.def_over(), a, static_cast<uint8_t>(lane * 0x55));
    if (lane == 0 && p.s.host().avx2) return broadcast(p, p.def_over(), a);
    p.bytes_by([&](unsigned k) { return lane * p.bytes + k % p.bytes; });
}

void insert_gpr(Permute& p, Xmm d, Xmm a, Gpr g, unsigned lane) {
    const auto n = static_cast<uint8_t>(lane);
    switch (p.bytes) {
        case 1: return p.e.pinsrb(d, a, g, n);
        case 2: return p.e.pinsrw(d, a, g, n);
        case 4: return p.e.pinsrd(d, a, g, n);
        default: return p.e.pinsrq(d, a, g, n);
    }
}
void extract_gpr(Permute& p, Gpr d, Xmm a, unsigned lane) {
    const auto n = static_cast<uint8_t>(lane);
    switch (p.bytes) {
        case 1: return p.e.pextrb(d, a, n);
        case 2: return p.e.pextrw(d, a, n);
        case 4: return lane ? p.e.pextrd(d, a, n) : p.e.mov_gx(false, d, a);
        default: return lane ? p.e.pextrq(d, a, n) : p.e.mov_gx(true, d, a);
    }
}

/// Lane `from` of b becomes lane `to` of a.
void insert_xmm(Permute& p, Xmm a, Xmm b, unsigned to, unsigned from) {
    if (p.bytes == 4) {
        // Without VEX the result must not be b's register: the way round that is a memory operand, which has no lanes.
        const Xmm d = p.e.avx() ? p.def_over() : p.def();
        return p.e.vop_i(SseOp::insertps, d, a, b, static_cast<uint8_t>(from << 6 | to << 4));
    }
    if (p.bytes == 8) {
        if (to == 1 && from == 0) return p.e.vop(SseOp::punpcklqdq, p.def_over(), a, b);
        if (to == 0 && from == 1) return p.e.vop_i(SseOp::shufpd, p.def_over(), b, a, 3);
        return p.e.vop_i(SseOp::pblendw, p.def_over(), a, b, to ? 0xf0 : 0x0f);
    }
    if (p.bytes == 2 && to == from) return p.e.vop_i(SseOp::pblendw, p.def_over(), a, b, static_cast<uint8_t>(1 << to));
    const Gpr t = p.s.ra.temp();
    extract_gpr(p, t, b, from);
    insert_gpr(p, p.def_over(), a, t, to);
}

void insert(Permute p) {
    const auto lane = static_cast<unsigned>(p.in.imm) % (16 / p.bytes);
    const Xmm a = p.a();
    if (in_xmm(operand_type(p.s, p.in.b))) {
        const Xmm b = p.b();
        return insert_xmm(p, a, b, lane, 0);
    }
    const Gpr g = p.s.ra.use(p.in.b);
    insert_gpr(p, p.def_over(), a, g, lane);
}
void insert_lane(Permute p) {
    const unsigned lanes = 16 / p.bytes;
    const Xmm a = p.a(), b = p.b();
    insert_xmm(p, a, b, static_cast<unsigned>(p.in.imm & 0xff) % lanes, static_cast<unsigned>(p.in.imm >> 8) % lanes);
}

void get_lane(Permute p) {
    const auto lane = static_cast<unsigned>(p.in.imm & 0xff) % (16 / p.bytes);
    if (in_xmm(p.in.type)) {
        if (lane == 0) return p.s.ra.alias(p.i, p.in.a);
        const Xmm a = p.a();
        if (p.bytes >= 4) p.s.ra.mark_zero_from(p.i, 8 * p.bytes);
        if (p.bytes == 4) return p.e.vop_i(SseOp::insertps, p.def_over(), a, a, static_cast<uint8_t>(lane << 6 | 0x0e));
        return p.e.vshift_i(3, 3, p.def_over(), a, static_cast<uint8_t>(lane * p.bytes));
    }
    const Xmm a = p.a();
    const Gpr d = p.s.ra.def(p.i);
    extract_gpr(p, d, a, lane);
    const bool wide = p.in.type == Type::kI64;
    if (p.in.imm & 0x100) {
        if (p.bytes == 1) p.e.movsx8_rr(wide, d, d);
        else if (p.bytes == 2) p.e.movsx16_rr(wide, d, d);
        else if (p.bytes == 4 && wide) p.e.movsxd_rr(d, d);
    }
    if (!wide) p.s.ra.mark_zext(p.i);
}

}  // namespace

void select_vec_permute(Selector& s, Ref i) {
    Permute p{s, i};
    switch (p.in.op) {
        case Op::kVZip1: return zip(p, false);
        case Op::kVZip2: return zip(p, true);
        case Op::kVUzp1: return unzip(p, false);
        case Op::kVUzp2: return unzip(p, true);
        case Op::kVTrn1: return transpose(p, false);
        case Op::kVTrn2: return transpose(p, true);
        case Op::kVExt: return extract(p);
        case Op::kVRev: return reverse(p);
        case Op::kVTbl: return table(p);
        case Op::kVDup: return duplicate(p);
        case Op::kVDupL: return duplicate_lane(p);
        case Op::kVIns: return insert(p);
        case Op::kVInsL: return insert_lane(p);
        case Op::kVGet: return get_lane(p);
        default: return exact_inline(s, i);
    }
}

}  // namespace myna::x64
