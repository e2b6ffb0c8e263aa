// The backward sweep.
#include "ir/sweep.h"

#include <array>

namespace myna::ir {
namespace {

enum : uint8_t { kKeep = 1, kSeesRegisters = 2, kSeesFlags = 4, kIsSet = 8, kIsGet = 16 };

constexpr uint8_t effects(Op op, std::string_view result, std::string_view props) {
    const auto has = [&](char p) { return props.find(p) != std::string_view::npos; };
    uint8_t e = 0;
    if (op == Op::kSet) return kIsSet;
    if (op == Op::kGet) return kIsGet;
    // FP exception flags are an effect; so is all that is not pure.
    if (!has('P') || has('f')) e |= kKeep;
    if (has('X') || has('E')) e |= kSeesRegisters;
    if (has('E')) e |= kSeesFlags;
    return e;
}
struct Row {
    uint8_t effects, args;
};
constexpr Row kRows[] = {
#define IR_OP(name, text, result, args, props, doc) {effects(Op::name, result, props), sizeof(args) - 1},
#include "ir/ops.inc"
#undef IR_OP
};

}  // namespace

void Sweep::run(const Function& f, const guest::GuestArch& arch, bool dead_sets) {
    const size_t n = f.insts.size();
    live.assign(n, 0);
    used_.assign(n, 0);
    overwritten_.assign(arch.slots.size(), 0);
    uint32_t epoch = 1, flags_epoch = 1;
    for (auto r = static_cast<uint32_t>(n); r-- > 0;) {
        const Inst& i = f.insts[r];
        const Row row = kRows[static_cast<size_t>(i.op)];
        if (row.effects & kIsSet) {
            const uint32_t now = arch.slots[i.imm].type == Type::kFlags ? flags_epoch : epoch;
            if (dead_sets && overwritten_[i.imm] == now) continue;
            overwritten_[i.imm] = now;
        } else if (!(row.effects & kKeep) && !used_[r]) {
            continue;
        }
        live[r] = 1;
        if (row.effects & kIsGet) overwritten_[i.imm] = 0;
        if (row.effects & kSeesRegisters) ++epoch;
        if (row.effects & kSeesFlags) ++flags_epoch;
        if (row.args > 0 && i.a != kNoRef) used_[i.a] = 1;
        if (row.args > 1 && i.b != kNoRef) used_[i.b] = 1;
        if (row.args > 2 && i.c != kNoRef) used_[i.c] = 1;
    }
}

void remove_dead(Function& f, const Sweep& s) {
    std::vector<Ref> place(f.insts.size(), kNoRef);
    Ref to = 0;
    for (Ref r = 0; r < f.insts.size(); ++r) {
        if (!s.live[r]) continue;
        Inst i = f.insts[r];
        const unsigned args = info(i.op).arg_count;
        if (args > 0 && i.a != kNoRef) i.a = place[i.a];
        if (args > 1 && i.b != kNoRef) i.b = place[i.b];
        if (args > 2 && i.c != kNoRef) i.c = place[i.c];
        place[r] = to;
        f.insts[to++] = i;
    }
    f.insts.resize(to);
}

}  // namespace myna::ir
