// Cryptography: Arm ARM C4.1.96 "Cryptographic AES" to "Cryptographic three-register, imm6". AES and SHA-256 have IR
// operations, the plain logic of SHA-3 is vector logic, the rest goes to helpers.
#include "guest/aarch64/lift_simd.h"

namespace myna::guest::aarch64 {

bool SimdLifter::crypto_aes(const CryptoAes& i) {
    switch (i.op) {
        case 4: set_v(i.rd, vop(Op::kVAesE, 0, v(i.rd), v(i.rn))); break;
        case 5: set_v(i.rd, vop(Op::kVAesD, 0, v(i.rd), v(i.rn))); break;
        case 6: set_v(i.rd, vop(Op::kVAesMc, 0, v(i.rn))); break;
        default: set_v(i.rd, vop(Op::kVAesImc, 0, v(i.rn)));
    }
    return true;
}

bool SimdLifter::crypto_sha3reg(const CryptoSha3reg& i) {
    const Ref d = v(i.rd), n = v(i.rn), m = v(i.rm);
    Ref result;
    switch (i.op) {
        case 0: case 1: case 2: result = b_.vcall(kHelper_sha1_rounds, i.op, d, n, m); break;
        case 3:  // SHA1SU0: d xor m xor (n's low half : d's high half)
            result = vxor(vxor(d, m), vop(Op::kVExt, 0, d, n, kNoRef, 8));
            break;
        case 4: result = vop(Op::kVSha256H, 0, d, n, m, 0); break;
        case 5: result = vop(Op::kVSha256H, 0, d, n, m, 1); break;
        default: result = vop(Op::kVSha256Su, 0, d, n, m, 1);
    }
    set_v(i.rd, result);
    return true;
}

bool SimdLifter::crypto_sha2reg(const CryptoSha2reg& i) {
    switch (i.op) {
        case 0: {  // SHA1H: rotated left by 30
            const Ref a = lane(Type::kI32, v(i.rn), 2, 0);
            set_fp(i.rd, b_.bitcast(Type::kF32, b_.ror(a, b_.imm32(2))));
            break;
        }
        case 1: set_v(i.rd, b_.vcall(kHelper_sha1su1, 0, v(i.rd), v(i.rn))); break;
        default: set_v(i.rd, vop(Op::kVSha256Su, 0, v(i.rd), v(i.rn), v(i.rn), 0));  // the third is not looked at
    }
    return true;
}

bool SimdLifter::crypto_3reg(const Crypto3reg& i) {
    const Ref d = v(i.rd), n = v(i.rn), m = v(i.rm);
    const auto shift = [&](Op op, unsigned by) { return vop(op, 3, m, kNoRef, kNoRef, by); };
    switch (i.op) {
        case 0: set_v(i.rd, b_.vcall(kHelper_sha512h, 0, d, n, m)); break;
        case 1: set_v(i.rd, b_.vcall(kHelper_sha512h, 1, d, n, m)); break;
        case 2: set_v(i.rd, b_.vcall(kHelper_sha512su, 1, d, n, m)); break;
        case 3: set_v(i.rd, vxor(n, vor(shift(Op::kVShlI, 1), shift(Op::kVShrI, 63)))); break;  // RAX1
        case 4: set_v(i.rd, b_.vcall(kHelper_sm3part, 0, d, n, m)); break;
        case 5: set_v(i.rd, b_.vcall(kHelper_sm3part, 1, d, n, m)); break;
        default: set_v(i.rd, b_.vcall(kHelper_sm4, 1, n, m));  // SM4EKEY
    }
    return true;
}

bool SimdLifter::crypto_2reg(const Crypto2reg& i) {
    set_v(i.rd, i.op == 0 ? b_.vcall(kHelper_sha512su, 0, v(i.rd), v(i.rn)) : b_.vcall(kHelper_sm4, 0, v(i.rd), v(i.rn)));
    return true;
}

bool SimdLifter::crypto_4reg(const Crypto4reg& i) {
    const Ref n = v(i.rn), m = v(i.rm), a = v(i.ra);
    switch (i.op) {
        case 0: set_v(i.rd, vxor(vxor(n, m), a)); break;                        // EOR3
        case 1: set_v(i.rd, vxor(n, vop(Op::kVAndN, 0, m, a))); break;          // BCAX
        default: set_v(i.rd, b_.vcall(kHelper_sm3ss1, 0, n, m, a));
    }
    return true;
}

bool SimdLifter::crypto_sm3tt(const CryptoSm3tt& i) {
    set_v(i.rd, b_.vcall(kHelper_sm3tt, i.op | unsigned{i.idx} << 2, v(i.rd), v(i.rn), v(i.rm)));
    return true;
}

bool SimdLifter::xar(const Xar& i) {
    const Ref a = vxor(v(i.rn), v(i.rm));
    const auto shift = [&](Op op, unsigned by) { return vop(op, 3, a, kNoRef, kNoRef, by); };
    set_v(i.rd, i.imm6 ? vor(shift(Op::kVShrI, i.imm6), shift(Op::kVShlI, 64u - i.imm6)) : a);
    return true;
}

}  // namespace myna::guest::aarch64
