// Two threads share a counter under a mutex, and hand each other turns by a condition variable.
#include <pthread.h>

#include "../kernel.h"

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t turn_changed = PTHREAD_COND_INITIALIZER;
static uint64_t counter;
static long locks, turns;
static int turn;

static void* worker(void* which) {
    int me = (int)(intptr_t)which;
    for (long i = 0; i < locks; i++) {
        pthread_mutex_lock(&mutex);
        counter += (uint64_t)i;
        pthread_mutex_unlock(&mutex);
    }
    for (long i = 0; i < turns; i++) {
        pthread_mutex_lock(&mutex);
        while (turn != me) pthread_cond_wait(&turn_changed, &mutex);
        turn = 1 - me;
        counter++;
        pthread_cond_signal(&turn_changed);
        pthread_mutex_unlock(&mutex);
    }
    return NULL;
}

int main(int argc, char** argv) {
    locks = rounds(argc, argv, 1500000);
    turns = locks / 750;
    pthread_t threads[2];
    for (intptr_t i = 0; i < 2; i++) pthread_create(&threads[i], NULL, worker, (void*)i);
    for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
    return report(counter);
}
