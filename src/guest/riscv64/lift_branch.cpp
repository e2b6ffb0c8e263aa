// How blocks go on at branches: short ones become selects, short loops go round more than once, and backward jumps are
// followed.
//
//       beqz a5, 1f           ─▶  lifted as if always executed, then
//       slli a0, a2, 48           a0 = select(a5 == 0, old a0, new a0)
//       srli a0, a0, 48
//   1:  …
//
// RISC-V compilers have no conditional move to use, so such branches are how minima, absolute values and clamping look;
// on the host a wrong prediction costs some 60 instructions. The same form out of line (the branch goes to a few
// instructions that jump back behind it) is handled likewise. What is decided here by a look ahead only concerns speed:
// the bytes are fetched, and the block made to depend on them, when they are lifted.
#include <cstring>

#include "guest/riscv64/lifter.h"

namespace myna::guest::riscv64 {

namespace {
constexpr unsigned kMaxConditional = 4, kMaxWritten = 2;

/// The destination register of an encoding that can only be an instruction that computes an integer register from
/// others, quickly, or be undefined; kNotPlain for all others.
constexpr unsigned kNotPlain = 32;
unsigned plain_destination(uint32_t raw) {
    const unsigned funct3 = raw >> 13 & 7, rd = raw >> 7 & 31;
    switch (raw & 3) {
        case 0: return funct3 == 0 && raw != 0 ? 8 + (raw >> 2 & 7) : kNotPlain;  // c.addi4spn
        case 1: return funct3 == 4 ? 8 + (raw >> 7 & 7) : funct3 < 4 ? rd : kNotPlain;
        case 2: return funct3 == 0 || (funct3 == 4 && (raw >> 2 & 31) != 0) ? rd : kNotPlain;  // c.slli; c.mv, c.add
        default: break;
    }
    switch (raw & 0x7f) {
        case 0x13: case 0x1b: case 0x17: case 0x37: return rd;
        case 0x33: case 0x3b: {
            const unsigned funct7 = raw >> 25;
            const bool multiply = funct7 == 1 && (raw >> 12 & 7) < 4;
            const bool other = funct7 == 0 || funct7 == 0x20 || funct7 == 0x10 || funct7 == 4 || funct7 == 5 || funct7 == 7;
            return multiply || other ? rd : kNotPlain;
        }
        default: return kNotPlain;
    }
}

uint32_t word_at(const uint8_t* p) {
    uint32_t w = 0;
    std::memcpy(&w, p, (p[0] & 3) == 3 ? 4 : 2);
    return w;
}

/// A jump without link: its distance.
bool is_jump(uint32_t raw, int64_t& distance) {
    const auto bit = [&](unsigned from, unsigned to) { return (raw >> from & 1) << to; };
    if ((raw & 3) != 3) {  // c.j
        if ((raw & 0xe003) != 0xa001) return false;
        const uint32_t d = bit(12, 11) | bit(11, 4) | (raw >> 9 & 3) << 8 | bit(8, 10) | bit(7, 6) | bit(6, 7) | (raw >> 3 & 7) << 1 | bit(2, 5);
        distance = static_cast<int32_t>(d << 20) >> 20;
        return true;
    }
    if ((raw & 0xfff) != 0x6f) return false;
    const uint32_t d = bit(31, 20) | (raw >> 12 & 0xff) << 12 | bit(20, 11) | (raw >> 21 & 0x3ff) << 1;
    distance = static_cast<int32_t>(d << 11) >> 11;
    return true;
}
}  // namespace

bool Lifter::is_plain(uint32_t raw) noexcept { return plain_destination(raw) != kNotPlain; }

bool Lifter::if_convert(Ref taken, uint64_t target) {
    constexpr unsigned kRoom = kMaxConditional * 4;
    const uint64_t next = next_pc();
    if (!limits_.if_convert || target <= pc_ || count_ + kMaxConditional + 1 >= limits_.max_insns || ir.is_const(taken)) return false;
    const bool over = target - next <= kRoom;  // the branch skips them; else it goes to them
    if (target == next) return false;
    uint8_t bytes[kRoom + 4];
    const unsigned got = fetcher_.peek(over ? next : target, bytes, sizeof bytes);
    if (limits_.system_mode && ((pc_ ^ (target + sizeof bytes)) >> 12) != 0) return false;
    unsigned at = 0, count = 0, registers = 0;
    uint32_t written = 0;
    for (;; ++count) {
        if (over && at == target - next) break;
        if (at + 4 > got) return false;
        const uint32_t raw = word_at(bytes + at);
        int64_t distance = 0;
        if (!over && is_jump(raw, distance)) {
            if (target + at + static_cast<uint64_t>(distance) != next) return false;
            break;
        }
        const unsigned rd = plain_destination(raw);
        if (count == kMaxConditional || rd == kNotPlain) return false;
        if (rd != 0 && !(written >> rd & 1)) {
            written |= 1u << rd;
            if (++registers > kMaxWritten) return false;
        }
        at += (raw & 3) == 3 ? 4 : 2;
        if (over && at > target - next) return false;  // the branch goes into the middle of an instruction
    }
    if (count == 0) return false;
    if (!over) {  // the jump at their end belongs to the block too
        uint32_t jump;
        if (fetcher_.fetch(target, &jump, 2) != 2 || fetcher_.fetch(target + at, &jump, 2) != 2) return false;
        if ((jump & 3) == 3 && fetcher_.fetch(target + at + 2, &jump, 2) != 2) return false;
    }
    taken_ = taken;
    skip_when_taken_ = over;
    skipped_left_ = count;
    written_count_ = 0;
    resume_ = over ? target : next;
    // The block's loop counts down after each instruction lifted from here on, this branch not included.
    next_ = over ? next : target;
    return true;
}

void Lifter::note_conditional_write(unsigned rd) {
    for (unsigned k = 0; k < written_count_; ++k)
        if (written_[k].rd == rd) return;
    written_[written_count_++] = {rd, x(rd)};
}

void Lifter::end_conditional() {
    for (unsigned k = 0; k < written_count_; ++k) {
        const Ref old = written_[k].old, now = x(written_[k].rd);
        ir.set(kX0 + written_[k].rd, skip_when_taken_ ? ir.select(taken_, old, now) : ir.select(taken_, now, old));
    }
    next_ = resume_;
}

void Lifter::abandon_conditional() {
    skipped_left_ = 0;
    end_conditional();
    const Ref skipped = skip_when_taken_ ? taken_ : ir.cmp(Cmp::kEq, taken_, ir.imm32(0));
    ir.exit_if(skipped, resume_);
}

bool Lifter::may_repeat() const noexcept {
    const unsigned length = round_length_ != 0 ? round_length_ : count_ + 1;
    const unsigned rounds = length <= 8 ? 4 : length <= 20 ? 2 : 1;
    return limits_.unroll && rounds_ < rounds && count_ + length < limits_.max_insns;
}

bool Lifter::may_follow(uint64_t target) noexcept {
    constexpr unsigned kFollowBefore = 6, kFollowFor = 12;  // a tail this short in front of its loop, and what of the loop
    if (target == ir.function().pc) return may_repeat();
    // Once a round: the same jump again, or none of the first round's.
    if (!limits_.unroll || limits_.max_insns == 1 || follows_ == rounds_ || target > pc_) return false;
    if (rounds_ == 1 && count_ >= kFollowBefore) return false;
    follows_ = rounds_;
    if (rounds_ == 1) follow_end_ = count_ + kFollowFor;
    return true;
}

}  // namespace myna::guest::riscv64
