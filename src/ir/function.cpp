// The table of operation properties, from ops.inc.
#include "ir/function.h"

namespace myna::ir {
namespace {

constexpr OpInfo row(std::string_view text, std::string_view result, std::string_view args, std::string_view props) {
    const auto has = [&](char p) { return props.find(p) != std::string_view::npos; };
    return OpInfo{text, result, args, props, static_cast<uint8_t>(args.size()), has('P'), has('C'), has('R'), has('W'),
                  has('X'), has('E'), has('S'), has('f')};
}

}  // namespace

constexpr OpInfo detail::kOps[] = {
#define IR_OP(name, text, result, args, props, doc) row(text, result, args, props),
#include "ir/ops.inc"
#undef IR_OP
};

}  // namespace myna::ir
