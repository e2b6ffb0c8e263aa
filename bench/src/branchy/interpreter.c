// An interpreter loop: a small register machine looks for the longest Collatz sequence through one dispatch switch.
#include "../kernel.h"

enum op { set, copy, add, add_set, half, triple_plus_1, jump, if_odd, if_less, halt };
struct insn {
    uint8_t op, a, b;
    int8_t target;
    int32_t value;
};
enum { n, i, x, length, longest, one, registers };

static const struct insn program[] = {
    [0] = {set, one, 0, 0, 1},
    [1] = {set, i, 0, 0, 1},
    [2] = {copy, x, i, 0, 0},               // each i: walk from i down to 1
    [3] = {set, length, 0, 0, 0},
    [4] = {if_odd, x, 0, 7, 0},             // the walk
    [5] = {half, x, 0, 0, 0},
    [6] = {jump, 0, 0, 8, 0},
    [7] = {triple_plus_1, x, 0, 0, 0},
    [8] = {add_set, length, 0, 0, 1},
    [9] = {if_less, one, x, 4, 0},
    [10] = {if_less, length, longest, 12, 0},
    [11] = {copy, longest, length, 0, 0},
    [12] = {add_set, i, 0, 0, 1},
    [13] = {if_less, i, n, 2, 0},
    [14] = {halt, 0, 0, 0, 0},
};

static uint64_t run(uint64_t limit) {
    uint64_t r[registers] = {[n] = limit};
    for (const struct insn* p = program;; p++) {
        switch (p->op) {
            case set: r[p->a] = (uint64_t)p->value; break;
            case copy: r[p->a] = r[p->b]; break;
            case add: r[p->a] += r[p->b]; break;
            case add_set: r[p->a] += (uint64_t)p->value; break;
            case half: r[p->a] >>= 1; break;
            case triple_plus_1: r[p->a] = 3 * r[p->a] + 1; break;
            case jump: p = program + p->target - 1; break;
            case if_odd: if (r[p->a] & 1) p = program + p->target - 1; break;
            case if_less: if (r[p->a] < r[p->b]) p = program + p->target - 1; break;
            case halt: return r[longest] * 1000003 + r[x];
        }
    }
}

int main(int argc, char** argv) {
    uint64_t sum = 0;
    for (long k = rounds(argc, argv, 120); k > 0; k--) sum = mix(sum, run(1000 + (uint64_t)k));
    return report(sum);
}
