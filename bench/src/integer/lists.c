// The list part of the CoreMark-class work alone.
#include "lists.h"

int main(int argc, char** argv) {
    uint32_t seed = 0x3415;
    uint64_t sum = 0;
    for (long i = rounds(argc, argv, 1500); i > 0; i--) sum = mix(sum, list_round(&seed));
    return report(sum);
}
