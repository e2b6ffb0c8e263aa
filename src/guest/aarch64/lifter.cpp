// The Lifter's own parts: the flags that are not in their slot yet, the lookahead that proves them dead, and block ends.
#include "guest/aarch64/lifter.h"

#include <algorithm>
#include <array>

#include "base/bits.h"

namespace myna::guest::aarch64 {
namespace {

/// What an instruction means to NZCV when looking ahead.
enum class FlagUse : uint8_t { kNone, kOverwrites, kJump, kTwoWay, kLive };

struct Look {
    FlagUse use;
    int64_t offset = 0;  // kJump, kTwoWay: branch offset
};

Look branch_or_system(uint32_t raw) {
    if ((raw & 0x7c000000) == 0x14000000) return {FlagUse::kJump, sign_extend(raw, 26) * 4};        // B, BL
    if ((raw & 0x7e000000) == 0x34000000) return {FlagUse::kTwoWay, sign_extend(raw >> 5, 19) * 4};  // CBZ, CBNZ
    if ((raw & 0x7e000000) == 0x36000000) return {FlagUse::kTwoWay, sign_extend(raw >> 5, 14) * 4};  // TBZ, TBNZ
    if ((raw & 0xfffff01f) == 0xd503201f && ((raw >> 5) & 0x7f) != 1) {                             // hints
        const unsigned hint = (raw >> 5) & 0x7f;
        return {hint == 2 || hint == 3 ? FlagUse::kLive : FlagUse::kNone};
    }
    return {FlagUse::kLive};
}

Look data_processing_register(uint32_t raw) {
    switch (raw & 0x1f000000) {
        case 0x0a000000: return {(raw & 0x60000000) == 0x60000000 ? FlagUse::kOverwrites : FlagUse::kNone};  // logical
        case 0x0b000000: return {(raw & 0x20000000) != 0 ? FlagUse::kOverwrites : FlagUse::kNone};           // add, sub
        case 0x1a000000: return {(raw & 0x00c00000) == 0x00c00000 ? FlagUse::kNone : FlagUse::kLive};  // ADC, CCMP, CSEL read
        default: return {FlagUse::kNone};
    }
}

Look fp_or_simd(uint32_t raw) {
    if ((raw & 0xff20fc07) == 0x1e202000) return {FlagUse::kOverwrites};  // FCMP, FCMPE
    if ((raw & 0xff200400) == 0x1e200400) return {FlagUse::kLive};        // FCCMP, FCSEL (and FMOV immediate's odd bits)
    return {FlagUse::kNone};
}

/// By the main encoding groups (Arm ARM C4.1); anything unusual counts as a reader.
Look look(uint32_t raw) {
    switch (raw >> 25 & 15) {
        case 8: case 9:
            if ((raw & 0x1f800000) == 0x11000000) return {(raw & 0x20000000) != 0 ? FlagUse::kOverwrites : FlagUse::kNone};
            if ((raw & 0x7f800000) == 0x72000000) return {FlagUse::kOverwrites};  // ANDS (immediate)
            return {FlagUse::kNone};
        case 10: case 11: return branch_or_system(raw);
        case 4: case 6: case 12: case 14: return {FlagUse::kNone};  // loads and stores
        case 5: case 13: return data_processing_register(raw);
        case 7: case 15: return fp_or_simd(raw);
        default: return {FlagUse::kLive};
    }
}

}  // namespace

bool Lifter::nzcv_dead_at(uint64_t pc, unsigned budget) {
    if (!limits_.look_ahead) return false;
    std::array<uint32_t, 8> window{};
    unsigned at = 0, have = 0;
    for (; budget != 0; --budget) {
        if (at == have) {
            at = 0;
            have = fetcher_.fetch(pc, window.data(), 4 * std::min<unsigned>(window.size(), budget)) / 4;
            if (have == 0) return false;
        }
        const Look l = look(window[at++]);
        switch (l.use) {
            case FlagUse::kNone: pc += 4; break;
            case FlagUse::kOverwrites: return true;
            case FlagUse::kJump:
                pc += static_cast<uint64_t>(l.offset);
                have = at = 0;
                break;
            case FlagUse::kTwoWay:
                return nzcv_dead_at(pc + 4, (budget - 1) / 2) && nzcv_dead_at(pc + static_cast<uint64_t>(l.offset), (budget - 1) / 2);
            case FlagUse::kLive: return false;
        }
    }
    return false;
}

void Lifter::sync_flags() {
    if (pending_ == kNoRef) return;
    b_.set(kNzcv, pending_);
    pending_ = kNoRef;
}

void Lifter::sync_flags_if_read_later() {
    if (!nzcv_dead_at(next_pc())) sync_flags();
}

void Lifter::end_direct(uint64_t target) {
    if (pending_ != kNoRef && !nzcv_dead_at(target)) sync_flags();
    b_.exit(target);
    done_ = true;
}

void Lifter::end_indirect(Ref target, ir::Builder::Branch kind, uint64_t return_pc) {
    sync_flags();
    b_.exit_ind(target, kind, return_pc);
    done_ = true;
}

void Lifter::end_trap(ExitReason reason, uint64_t pc, uint32_t arg) {
    sync_flags();
    b_.exit_trap(reason, pc, arg);
    done_ = true;
}

void Lifter::branch_if(Ref condition, uint64_t target) {
    uint64_t known = 0;
    if (b_.is_const(condition, &known)) {
        if (known != 0) end_direct(target);
        return;
    }
    if (pending_ != kNoRef && !nzcv_dead_at(target)) sync_flags();
    b_.exit_if(condition, target);
    if (++side_exits_ >= limits_.max_side_exits) end_direct(next_pc());
}

}  // namespace myna::guest::aarch64
