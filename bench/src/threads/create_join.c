// Threads that live for a moment: created in pairs and joined.
#include <pthread.h>

#include "../kernel.h"

static void* worker(void* p) {
    uint64_t* v = p;
    *v = *v * 3 + 1;
    return p;
}

int main(int argc, char** argv) {
    uint64_t values[2] = {1, 2};
    for (long i = rounds(argc, argv, 4000); i > 0; i--) {
        pthread_t threads[2];
        for (int k = 0; k < 2; k++) pthread_create(&threads[k], NULL, worker, &values[k]);
        for (int k = 0; k < 2; k++) pthread_join(threads[k], NULL);
    }
    return report(mix(values[0], values[1]));
}
