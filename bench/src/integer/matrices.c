// The matrix part alone.
#include "matrices.h"

int main(int argc, char** argv) {
    uint32_t seed = 0x3415;
    uint64_t sum = 0;
    for (long i = rounds(argc, argv, 14000); i > 0; i--) sum = mix(sum, matrix_round(&seed));
    return report(sum);
}
