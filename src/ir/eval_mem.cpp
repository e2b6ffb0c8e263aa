// Guest memory in the evaluator: sizes, byte order, sign extension, atomic operations, the exclusive monitor.
//
// The monitor is the header's: excl_addr and the bytes that were loaded, in memory order. A store-exclusive is a
// compare-and-swap against those bytes (QEMU, and most emulators, do the same).
#include <cstring>

#include "ir/eval_internal.h"
#include "ir/scalar.h"

namespace myna::ir {
namespace {

constexpr unsigned size_of_type(Type t) noexcept { return static_cast<unsigned>(std::countr_zero(width_of(t) / 8)); }

/// log2 of the bytes a load, ll or cas moves: the type's for FP and vectors.
unsigned access_size(const Inst& i) noexcept {
    return is_int(i.type) ? i.sub & MemAttr::kSizeMask : size_of_type(i.type);
}

V128 low_bytes(const V128& v, unsigned size) noexcept {
    if (size >= 4) return v;
    return scalar(v.u64[0] & low_mask(8u << size));
}

V128 in_order(const V128& v, unsigned size, bool big) noexcept {
    if (!big) return v;
    if (size == 4) return V128{{std::byteswap(v.u64[1]), std::byteswap(v.u64[0])}};
    return scalar(std::byteswap(v.u64[0]) >> (64 - (8u << size)));
}

V128 extended(const V128& v, unsigned size, const Inst& i) noexcept {
    if (!is_int(i.type) || !(i.sub & MemAttr::kSigned)) return v;
    return scalar(cut(static_cast<uint64_t>(sign_extend(v.u64[0], 8u << size)), i.type));
}

uint64_t rmw(Op op, uint64_t old, uint64_t v, unsigned size) noexcept {
    const unsigned w = 8u << size;
    const int64_t so = sign_extend(old, w), sv = sign_extend(v, w);
    switch (op) {
        case Op::kRmwAdd: return old + v;
        case Op::kRmwAnd: return old & v;
        case Op::kRmwOr: return old | v;
        case Op::kRmwXor: return old ^ v;
        case Op::kRmwSmin: return so < sv ? old : v;
        case Op::kRmwSmax: return so > sv ? old : v;
        case Op::kRmwUmin: return old < v ? old : v;
        case Op::kRmwUmax: return old > v ? old : v;
        default: return v;  // kRmwXchg
    }
}

V128 eval_rmw(const Inst& i, uint64_t addr, uint64_t v, EvalMemory& mem) {
    const unsigned size = i.sub & MemAttr::kSizeMask;
    const bool big = i.sub & MemAttr::kBig;
    v &= low_mask(8u << size);
    for (V128 old = mem.load(addr, size);;) {
        const V128 value = in_order(old, size, big);
        const V128 desired = in_order(low_bytes(scalar(rmw(i.op, value.u64[0], v, size)), size), size, big);
        const V128 seen = mem.cas(addr, old, desired, size);
        if (seen == old) return extended(value, size, i);
        old = seen;
    }
}

V128 eval_store_exclusive(const Inst& i, uint64_t addr, const V128& v, EvalContext& ctx) {
    const unsigned size = i.sub & MemAttr::kSizeMask;
    const V128 loaded = low_bytes(V128{{ctx.hdr.excl_value[0], ctx.hdr.excl_value[1]}}, size);
    const bool mine = ctx.hdr.excl_addr == addr;
    ctx.hdr.excl_addr = guest::kNoExclusive;
    if (!mine) return scalar(1);
    const V128 desired = in_order(low_bytes(v, size), size, i.sub & MemAttr::kBig);
    return scalar(ctx.mem.cas(addr, loaded, desired, size) == loaded ? 0 : 1);
}

}  // namespace

V128 eval_memory(const Inst& i, const V128& a, const V128& b, const V128& c, EvalContext& ctx) {
    const uint64_t addr = a.u64[0] + i.imm;
    const bool big = i.sub & MemAttr::kBig;
    switch (i.op) {
        case Op::kLoad:
        case Op::kLl: {
            const unsigned size = access_size(i);
            const V128 bytes = ctx.mem.load(addr, size);
            if (i.op == Op::kLl) {
                ctx.hdr.excl_addr = addr;
                ctx.hdr.excl_value[0] = bytes.u64[0];
                ctx.hdr.excl_value[1] = bytes.u64[1];
            }
            return extended(in_order(bytes, size, big), size, i);
        }
        case Op::kStore: {
            const unsigned size = i.sub & MemAttr::kSizeMask;
            ctx.mem.store(addr, in_order(low_bytes(b, size), size, big), size);
            return scalar(0);
        }
        case Op::kSc: return eval_store_exclusive(i, addr, b, ctx);
        case Op::kCas: {
            const unsigned size = access_size(i);
            const V128 old = ctx.mem.cas(addr, in_order(low_bytes(b, size), size, big), in_order(low_bytes(c, size), size, big), size);
            return in_order(old, size, big);
        }
        default: return eval_rmw(i, addr, b.u64[0], ctx.mem);
    }
}

namespace {

template <typename T>
V128 load_as(uint64_t host) noexcept {
    T v;
    std::memcpy(&v, reinterpret_cast<const void*>(host), sizeof v);
    return scalar(v);
}
template <typename T>
void store_as(uint64_t host, uint64_t value) noexcept {
    const T v = static_cast<T>(value);
    std::memcpy(reinterpret_cast<void*>(host), &v, sizeof v);
}
template <typename T>
__attribute__((no_sanitize("alignment"))) V128 cas_as(uint64_t host, uint64_t expected, uint64_t desired) noexcept {
    T old = static_cast<T>(expected);
    __atomic_compare_exchange_n(reinterpret_cast<T*>(host), &old, static_cast<T>(desired), false, __ATOMIC_SEQ_CST,
                                __ATOMIC_SEQ_CST);
    return scalar(old);
}

#if defined(__x86_64__)
V128 cas_16(uint64_t host, V128 expected, const V128& desired) noexcept {
    auto* p = reinterpret_cast<V128*>(host);
    asm volatile("lock cmpxchg16b %0"
                 : "+m"(*p), "+a"(expected.u64[0]), "+d"(expected.u64[1])
                 : "b"(desired.u64[0]), "c"(desired.u64[1])
                 : "cc", "memory");
    return expected;
}
V128 load_16(uint64_t host) noexcept {
    V128 v;  // one 16-byte access: single-copy atomic when aligned on hosts with AVX
    asm volatile("movdqu (%1), %%xmm0\n\tmovdqu %%xmm0, %0" : "=m"(v) : "r"(host) : "xmm0", "memory");
    return v;
}
#else
V128 cas_16(uint64_t host, V128 expected, const V128& desired) noexcept {
    auto* p = reinterpret_cast<unsigned __int128*>(host);
    unsigned __int128 old, want;
    std::memcpy(&old, &expected, 16);
    std::memcpy(&want, &desired, 16);
    __atomic_compare_exchange_n(p, &old, want, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    std::memcpy(&expected, &old, 16);
    return expected;
}
V128 load_16(uint64_t host) noexcept {
    V128 v;
    std::memcpy(&v, reinterpret_cast<const void*>(host), 16);
    return v;
}
#endif

}  // namespace

V128 DirectMemory::load(uint64_t addr, unsigned size) {
    const uint64_t host = addr + base_;
    switch (size) {
        case 0: return load_as<uint8_t>(host);
        case 1: return load_as<uint16_t>(host);
        case 2: return load_as<uint32_t>(host);
        case 3: return load_as<uint64_t>(host);
        default: return load_16(host);
    }
}

void DirectMemory::store(uint64_t addr, const V128& value, unsigned size) {
    const uint64_t host = addr + base_;
    switch (size) {
        case 0: store_as<uint8_t>(host, value.u64[0]); break;
        case 1: store_as<uint16_t>(host, value.u64[0]); break;
        case 2: store_as<uint32_t>(host, value.u64[0]); break;
        case 3: store_as<uint64_t>(host, value.u64[0]); break;
        default: std::memcpy(reinterpret_cast<void*>(host), &value, 16); break;
    }
}

V128 DirectMemory::cas(uint64_t addr, const V128& expected, const V128& desired, unsigned size) {
    const uint64_t host = addr + base_;
    switch (size) {
        case 0: return cas_as<uint8_t>(host, expected.u64[0], desired.u64[0]);
        case 1: return cas_as<uint16_t>(host, expected.u64[0], desired.u64[0]);
        case 2: return cas_as<uint32_t>(host, expected.u64[0], desired.u64[0]);
        case 3: return cas_as<uint64_t>(host, expected.u64[0], desired.u64[0]);
        default: return cas_16(host, expected, desired);
    }
}

}  // namespace myna::ir
