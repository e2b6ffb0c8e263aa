// Any bytes as a file of translations: blocks whose every offset lies in their code, or an error. The key and the blocks'
// hashes are made right first, so that more than the header is reached.
#include <cstdlib>
#include <cstring>
#include <vector>

#include "jit/persist/format.h"

using namespace myna::jit::persist;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    std::vector<uint8_t> bytes(data, data + size);
    Key key;
    if (size >= 48) std::memcpy(&key, &bytes[16], sizeof key);
    for (size_t at = 48; at + 12 <= size;) {
        uint32_t n = 0;
        std::memcpy(&n, &bytes[at], 4);
        if (n > size - at - 12) break;
        const uint64_t hash = hash64({&bytes[at + 12], n});
        std::memcpy(&bytes[at + 4], &hash, 8);
        at += 12 + n;
    }
    const auto r = parse(bytes, key);
    if (!r) return r.error().message.empty() ? std::abort(), 0 : 0;
    for (const SavedBlock& b : r->blocks) {
        for (const uint32_t f : b.stub_fields)
            if (f + uint64_t{4} > b.code.size()) std::abort();
        for (const auto& e : b.exits)
            if (e.disp_offset + uint64_t{4} > b.code.size() || e.disp_offset % 8 > 4 || e.stub_offset + uint64_t{13} > b.code.size()) std::abort();
        for (const auto& f : b.faults)
            if (f.insn_index >= b.guest_pcs.size()) std::abort();
    }
    return 0;
}
