// The backward sweep.
#include "ir/sweep.h"

#include <algorithm>
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

void Sweep::use(Ref r, uint32_t at) {
    if (uses[r] != 255) ++uses[r];
    last_use[r] = std::max(last_use[r], at);
}

void Sweep::run(const Function& f, const guest::GuestArch& arch, SweepOptions opt) {
    const size_t n = f.insts.size();
    live.assign(n, 0);
    uses.assign(n, 0);
    fuse.assign(n, Fuse::kNone);
    last_use.assign(n, 0);
    overwritten_.assign(arch.slots.size(), 0);
    uint32_t epoch = 1, flags_epoch = 1;
    uint32_t next_set = static_cast<uint32_t>(n);  // the next live set after the current instruction

    for (auto r = static_cast<uint32_t>(n); r-- > 0;) {
        const Inst& i = f.insts[r];
        const Row row = kRows[static_cast<size_t>(i.op)];
        if (row.effects & kIsSet) {
            const uint32_t now = arch.slots[i.imm].type == Type::kFlags ? flags_epoch : epoch;
            if (opt.dead_sets && overwritten_[i.imm] == now) continue;
            overwritten_[i.imm] = now;
            next_set = r;
        } else if (!(row.effects & kKeep) && !uses[r]) {
            continue;
        }
        live[r] = 1;
        if (row.effects & kIsGet) overwritten_[i.imm] = 0;
        if (row.effects & kSeesRegisters) ++epoch;
        if (row.effects & kSeesFlags) ++flags_epoch;
        // A fused value is needed where its user stands, so nothing may overwrite a register in between.
        uint32_t at = r;
        if (opt.fuse && uses[r] == 1 && last_use[r] < next_set) {
            const Inst& user = f.insts[last_use[r]];
            switch (i.op) {
                case Op::kShl:
                    if (f.insts[i.b].op != Op::kConst || f.insts[i.b].imm > 3) break;
                    [[fallthrough]];
                case Op::kAdd:
                    if (user.op >= Op::kLoad && user.op <= Op::kRmwUmax && user.a == r && i.type == Type::kI64) {
                        fuse[r] = Fuse::kAddress;
                        at = last_use[r];
                    }
                    break;
                case Op::kCmp:
                case Op::kCond:
                case Op::kFCmp:
                    if ((user.op == Op::kExitIf || user.op == Op::kSelect) && user.a == r) {
                        fuse[r] = Fuse::kCondition;
                        at = last_use[r];
                    }
                    break;
                default: break;
            }
        }
        if (row.args > 0 && i.a != kNoRef) use(i.a, at);
        if (row.args > 1 && i.b != kNoRef) use(i.b, at);
        if (row.args > 2 && i.c != kNoRef) use(i.c, at);
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
