// Mappings made, touched, remapped and dropped.
#define _GNU_SOURCE
#include <sys/mman.h>

#include "../kernel.h"

int main(int argc, char** argv) {
    uint64_t sum = 0;
    for (long i = rounds(argc, argv, 9000); i > 0; i--) {
        char* p = mmap(NULL, 16 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        for (int k = 0; k < 16; k += 4) p[k * 4096] = (char)i;
        mprotect(p, 4096, PROT_READ);
        mprotect(p, 4096, PROT_READ | PROT_WRITE);
        p = mremap(p, 16 * 4096, 32 * 4096, MREMAP_MAYMOVE);
        sum = mix(sum, (uint8_t)p[8 * 4096] + (uint64_t)(uint8_t)p[0]);
        madvise(p + 8 * 4096, 4096, MADV_DONTNEED);
        sum += (uint8_t)p[8 * 4096];
        munmap(p, 32 * 4096);
    }
    return report(sum);
}
