// Vectors in the evaluator.
#include "ir/eval_internal.h"

namespace myna::ir {

V128 eval_vector(const Inst&, const V128&, const V128&, const V128&, EvalContext&) { return scalar(0); }

}  // namespace myna::ir
