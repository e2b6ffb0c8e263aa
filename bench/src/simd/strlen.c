// The C library's strlen, strchr, memchr and strcmp over short and long strings.
#include "../kernel.h"

static char text[1 << 16];
static size_t (*volatile length)(const char*) = strlen;
static char* (*volatile find)(const char*, int) = (char* (*)(const char*, int))strchr;
static int (*volatile compare)(const char*, const char*) = strcmp;

int main(int argc, char** argv) {
    static const unsigned lengths[] = {3, 12, 40, 100, 300, 1000, 5000, 20000};
    static char copies[8][20004];
    uint32_t seed = 9;
    for (int k = 0; k < 8; k++) {
        for (unsigned i = 0; i < lengths[k]; i++) copies[k][i] = (char)('a' + (next_random(&seed) >> 16) % 25);
        memcpy(text + k, copies[k], lengths[k]);
    }
    uint64_t sum = 0;
    for (long i = rounds(argc, argv, 70000); i > 0; i--)
        for (int k = 0; k < 8; k++) {
            memcpy(text + (i & 15), copies[k], lengths[k] < 300 ? lengths[k] + 1 : 300);
            sum = mix(sum, length(copies[k] + (i & 1)));
            sum += find(copies[k], 'z') == NULL;
            sum += (uint64_t)(compare(copies[k], text + (i & 15)) > 0);
        }
    return report(sum);
}
