// Joining blocks into one Function: each is lifted from the snapshot, cut at the exit that leads to the next, and sent
// through one Builder, which folds, shares and forwards across what were block edges.
#include "jit/region.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <string>

#include "ir/builder.h"

namespace myna::jit {

namespace {

using ir::Inst;
using ir::kNoRef;
using ir::Op;
using ir::Ref;

constexpr size_t kMostInsns = 512;  // guest instructions of a region

class SnapshotFetcher final : public guest::CodeFetcher {
  public:
    explicit SnapshotFetcher(const RegionSource& source) : source_(source) {}
    unsigned fetch(uint64_t pc, void* out, unsigned want) override {
        for (const RegionSource::Piece& p : source_.code) {
            if (pc < p.pc || pc >= p.pc + p.bytes.size()) continue;
            const auto n = static_cast<unsigned>(std::min<uint64_t>(want, p.pc + p.bytes.size() - pc));
            std::memcpy(out, p.bytes.data() + (pc - p.pc), n);
            return n;
        }
        return 0;
    }

  private:
    const RegionSource& source_;
};

std::string hex(uint64_t v) {
    char text[24];
    std::snprintf(text, sizeof text, "%#llx", static_cast<unsigned long long>(v));
    return text;
}

/// Where control goes when the exit_if at `at` is not taken; kNoPc when that cannot be told.
constexpr uint64_t kNoPc = ~uint64_t{0};
uint64_t behind(const ir::Function& f, Ref at) {
    for (Ref i = at + 1; i < f.insts.size(); ++i) {
        if (f[i].op == Op::kInsn || f[i].op == Op::kExit) return f[i].imm;
        if (!ir::info(f[i].op).pure && f[i].op != Op::kGet && f[i].op != Op::kConst) return kNoPc;  // more of the same instruction
    }
    return kNoPc;
}

/// The exit of `f` that leads to `next`, the later the better; kNoRef: none.
Ref exit_to(const ir::Function& f, uint64_t next) {
    for (Ref i = static_cast<Ref>(f.insts.size()); i-- > 0;) {
        if (f[i].op == Op::kExit && f[i].imm == next) return i;
        if (f[i].op == Op::kExitIf && f[i].imm == next && behind(f, i) != kNoPc) return i;
    }
    return kNoRef;
}

/// Sends f's instructions before `end` through the Builder.
void append(ir::Builder& b, const ir::Function& f, Ref end, std::vector<Ref>& place) {
    place.assign(f.insts.size(), kNoRef);
    for (Ref r = 0; r < end; ++r) {
        const Inst& i = f[r];
        const unsigned args = ir::info(i.op).arg_count;
        const auto ref = [&](unsigned k, Ref v) { return k < args && v != kNoRef ? place[v] : v; };
        switch (i.op) {
            case Op::kInsn: b.insn(i.imm, i.sub); break;
            case Op::kConst: place[r] = b.imm(i.imm, i.type); break;
            case Op::kVConst: place[r] = b.vimm(f.vconsts[i.imm].u64[0], f.vconsts[i.imm].u64[1]); break;
            default: place[r] = b.emit(i.op, i.type, i.sub, ref(0, i.a), ref(1, i.b), ref(2, i.c), i.imm);
        }
    }
}

}  // namespace

Result<ir::Function> optimise_region(const guest::GuestArch& arch, const guest::CpuConfig& cpu, const RegionSource& source) {
    if (source.blocks.empty()) return fail(ErrorKind::kInvalidArgument, "a region without blocks");
    const uint64_t head = source.blocks[0];
    if (*std::min_element(source.blocks.begin(), source.blocks.end()) != head)
        return fail(ErrorKind::kInvalidArgument, "a region begins at its lowest address");
    SnapshotFetcher fetcher(source);
    ir::Function one, all;
    ir::Builder lifter(one, arch, {}), builder(all, arch, {});
    builder.begin(head, source.mode);
    std::vector<Ref> place;
    size_t insns = 0;
    for (size_t n = 0; n < source.blocks.size(); ++n) {
        lifter.begin(source.blocks[n], source.mode);
        arch.lift_block(lifter, fetcher, cpu, {.unroll = false});  // going round is the region's business
        if (n == 0) {
            all.nan_rule = one.nan_rule, all.fp_mode = one.fp_mode, all.fp_exact = one.fp_exact;
            all.exact_underflow = one.exact_underflow, all.mmu_index = one.mmu_index;
        }
        if ((insns += one.guest_insns) > kMostInsns) return fail(ErrorKind::kInvalidArgument, "the region has too many instructions");
        if (n + 1 == source.blocks.size()) {
            append(builder, one, static_cast<Ref>(one.insts.size()), place);
            break;
        }
        const uint64_t next = source.blocks[n + 1];
        const Ref leave = exit_to(one, next);
        if (leave == kNoRef) return fail(ErrorKind::kInvalidArgument, "the block at " + hex(source.blocks[n]) + " does not lead to " + hex(next));
        append(builder, one, leave, place);
        if (one[leave].op == Op::kExitIf)  // what was taken goes on inside, what fell through leaves
            builder.emit(Op::kExitIf, ir::Type::kVoid, 0, builder.cmp(ir::Cmp::kEq, place[one[leave].a], builder.imm(0, ir::Type::kI32)), kNoRef, kNoRef, behind(one, leave));
    }
    for (const RegionSource::Piece& p : source.code) all.ranges.push_back({p.pc, static_cast<uint32_t>(p.bytes.size())});
    return all;
}

}  // namespace myna::jit
