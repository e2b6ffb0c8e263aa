// The C library's string functions at every alignment, up against a page that must not be touched.
#define _GNU_SOURCE
#include <sys/mman.h>
#include <wchar.h>

#include "test.h"

int main(void) {
    enum { page = 4096 };
    char* area = mmap(NULL, 3 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    mprotect(area + 2 * page, page, PROT_NONE);
    char* end = area + 2 * page;
    uint64_t sum = 0;
    for (int n = 0; n < 300; n++) {
        char* s = end - n - 1;
        for (int i = 0; i < n; i++) s[i] = (char)('a' + (i * 7 + n) % 26);
        s[n] = 0;
        CHECK(strlen(s) == (size_t)n && strnlen(s, 100) == (size_t)(n < 100 ? n : 100));
        CHECK(memchr(s, 0, (size_t)n + 1) == s + n && strchr(s, 0) == s + n && rawmemchr(s, 0) == s + n);
        char* z = strchr(s, 'z');
        char* last = strrchr(s, 'a');
        sum = mix(sum, (uint64_t)(z ? z - s : -1) * 1000 + (uint64_t)(last ? last - s : -1));
        sum = mix(sum, strcspn(s, "xyz") * 1000 + strspn(s, "abcdefghijklm"));
        for (int align = 0; align < 16; align++) {
            char copy[400];
            memset(copy, '#', sizeof copy);
            memcpy(copy + align, s, (size_t)n + 1);
            CHECK(strcmp(copy + align, s) == 0 && memcmp(copy + align, s, (size_t)n) == 0 && copy[align + n + 1] == '#');
            if (n > 2) {
                copy[align + n - 2]++;
                CHECK(strcmp(copy + align, s) > 0 && strncmp(copy + align, s, (size_t)n - 2) == 0 && memcmp(s, copy + align, (size_t)n) < 0);
            }
            memmove(copy + align + 3, copy + align, (size_t)n);
            CHECK(n < 5 || memcmp(copy + align + 3, s, (size_t)n - 2) == 0);
            memset(copy + align, 'Q', (size_t)n);
            for (int i = 0; i < n; i++) sum += (uint8_t)copy[align + i];
        }
        char* t = end - n - 1 - page / 2;
        CHECK(stpcpy(t, s) == t + n && strcmp(t, s) == 0);
        CHECK(memmem(s, (size_t)n, "jq", 2) == NULL || strstr(s, "jq") != NULL);
        if (n > 20) CHECK(strstr(s, (char[]){s[n - 3], s[n - 2], s[n - 1], 0}) != NULL);
        CHECK(strcasecmp(s, t) == 0);
    }
    show("strings", sum);
    wchar_t wide[100];
    swprintf(wide, 100, L"%ls-%d", L"wide", 42);
    printf("%ls %zu\n", wide, wcslen(wide));
    char list[] = "one,two;three";
    for (char *save, *word = strtok_r(list, ",;", &save); word; word = strtok_r(NULL, ",;", &save)) printf("%s ", word);
    printf("%ld %lu %lx\n", strtol("-0x7f", NULL, 0), strtoul("18446744073709551615", NULL, 10), strtoul("777", NULL, 8));
    return 0;
}
