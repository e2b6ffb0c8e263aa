// Hashing: words are counted in an open-addressing table that grows.
#include "../kernel.h"

struct slot {
    uint64_t hash;
    uint32_t count;
    char word[12];
};
struct table {
    struct slot* slots;
    size_t size, used;
};

static uint64_t hash_of(const char* s) {
    uint64_t h = 0xcbf29ce484222325u;
    while (*s) h = (h ^ (uint8_t)*s++) * 0x100000001b3u;
    return h | 1;
}
static struct slot* slot_for(struct table* t, uint64_t hash, const char* word) {
    size_t at = hash & (t->size - 1);
    while (t->slots[at].hash && (t->slots[at].hash != hash || strcmp(t->slots[at].word, word) != 0)) at = (at + 1) & (t->size - 1);
    return &t->slots[at];
}
static void grow(struct table* t) {
    struct table bigger = {calloc(t->size * 2, sizeof(struct slot)), t->size * 2, t->used};
    for (size_t i = 0; i < t->size; i++)
        if (t->slots[i].hash) *slot_for(&bigger, t->slots[i].hash, t->slots[i].word) = t->slots[i];
    free(t->slots);
    *t = bigger;
}

int main(int argc, char** argv) {
    uint32_t seed = 5;
    uint64_t sum = 0;
    for (long i = rounds(argc, argv, 25); i > 0; i--) {
        struct table t = {calloc(64, sizeof(struct slot)), 64, 0};
        for (int k = 0; k < 60000; k++) {
            uint32_t r = next_random(&seed) % 9973;
            char word[12] = "w";
            int n = 1;
            for (; r; r /= 26) word[n++] = (char)('a' + r % 26);
            word[n] = 0;
            uint64_t hash = hash_of(word);
            struct slot* s = slot_for(&t, hash, word);
            if (!s->hash) {
                s->hash = hash;
                memcpy(s->word, word, sizeof word);
                if (++t.used * 2 > t.size) grow(&t), s = slot_for(&t, hash, word);
            }
            s->count++;
        }
        for (size_t k = 0; k < t.size; k++) sum += t.slots[k].hash * t.slots[k].count;
        free(t.slots);
    }
    return report(sum);
}
