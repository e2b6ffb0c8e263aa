// Lane access shared by eval_fp.cpp, eval_vec.cpp and eval_crypto.cpp.
#pragma once

#include <array>
#include <bit>
#include <cstring>
#include <utility>

#include "ir/eval_internal.h"
#include "ir/lanes.h"
#include "softfp/softfp.h"

namespace myna::ir {

template <class T> using Array = std::array<T, 16 / sizeof(T)>;

template <class T> inline Array<T> lanes(const V128& v) noexcept { return std::bit_cast<Array<T>>(v); }
template <class T> inline V128 pack(const Array<T>& a) noexcept { return std::bit_cast<V128>(a); }

template <class T, class Fn> inline V128 map1(const V128& a, Fn fn) noexcept {
    auto x = lanes<T>(a);
    for (T& v : x) v = static_cast<T>(fn(v));
    return pack<T>(x);
}
template <class T, class Fn> inline V128 map2(const V128& a, const V128& b, Fn fn) noexcept {
    auto x = lanes<T>(a);
    const auto y = lanes<T>(b);
    for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<T>(fn(x[i], y[i]));
    return pack<T>(x);
}
template <class T, class Fn> inline V128 map3(const V128& a, const V128& b, const V128& c, Fn fn) noexcept {
    auto x = lanes<T>(a);
    const auto y = lanes<T>(b), z = lanes<T>(c);
    for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<T>(fn(x[i], y[i], z[i]));
    return pack<T>(x);
}

V128 evaluate_scalar_fp(const LaneOp& op, const V128& a, const V128& b, const V128& c, softfp::Context& ctx) noexcept;
V128 evaluate_vector_fp(const LaneOp& op, const V128& a, const V128& b, const V128& c, softfp::Context& ctx) noexcept;
V128 evaluate_vector(const LaneOp& op, const V128& a, const V128& b, const V128& c) noexcept;
V128 evaluate_crypto(const LaneOp& op, const V128& a, const V128& b, const V128& c) noexcept;

}  // namespace myna::ir
