// CoreMark-class work: lists, matrices, a state machine and a CRC over their results, in turns.
#include "crc.h"
#include "lists.h"
#include "matrices.h"
#include "state_machine.h"

int main(int argc, char** argv) {
    uint32_t seed = 0x66;
    uint64_t sum = 0;
    uint16_t crc = 0xffff;
    for (long i = rounds(argc, argv, 1000); i > 0; i--) {
        uint64_t parts[4] = {list_round(&seed), matrix_round(&seed), matrix_round(&seed), state_round(&seed)};
        crc = crc_of(parts, sizeof parts, crc);
        sum = mix(sum, parts[i & 3] + crc);
    }
    return report(sum);
}
