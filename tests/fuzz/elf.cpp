// Any bytes as an ELF file: an image or an error, and an image that keeps the loader's invariants.
#include <cstdlib>
#include <cstring>

#include "user/linux/elf_image.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    const auto e = myna::user::parse_elf([&](void* to, size_t n, uint64_t at) -> size_t {
        if (at >= size) return 0;
        n = n < size - at ? n : size - at;
        std::memcpy(to, data + at, n);
        return n;
    });
    if (!e) {
        if (e.error().message.empty()) std::abort();
        return 0;
    }
    if (e->segments.empty() || e->high() <= e->low() || e->high() - e->low() > (uint64_t{1} << 46)) std::abort();
    uint64_t end = 0;
    for (const auto& s : e->segments) {
        if (s.filesz > s.memsz || s.vaddr < end) std::abort();
        end = s.vaddr + s.memsz;
    }
    return 0;
}
