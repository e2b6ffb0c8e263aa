// Translations on disk, on the engine's side: a block of the cache to a SavedBlock and back.
//
//   saving    links are undone in the copy: each exit's jump leads to its stub, the stub holds the target PC again
//   loading   rel32 fields to the stubs are moved by the difference in distance, then the block is recorded as a new one
#include <sys/stat.h>

#include <algorithm>
#include <cstring>

#include "jit/translator.h"

namespace myna::jit {

namespace {
template <class T>
std::span<const uint8_t> bytes_of(const T& v) {
    return {reinterpret_cast<const uint8_t*>(&v), sizeof v};
}
uint64_t hash_text(std::string_view text, uint64_t seed) {
    return persist::hash64({reinterpret_cast<const uint8_t*>(text.data()), text.size()}, seed);
}
}  // namespace

persist::Key Translator::key() const {
    persist::Key k;
    // The stubs are made of all that translated code and its surroundings have to agree on; helpers are known by number.
    k.build = persist::hash64({cache_.writable(stubs_at_), stubs_.end - stubs_at_});
    for (const guest::Helper& h : arch_.helpers) k.build = hash_text(h.name, k.build);
    struct stat self {};  // another build is another file
    if (stat("/proc/self/exe", &self) == 0) {
        const int64_t id[] = {self.st_size, self.st_mtim.tv_sec, self.st_mtim.tv_nsec};
        k.build = persist::hash64(bytes_of(id), k.build);
    }
    k.guest = hash_text(arch_.name, persist::hash64({}));
    k.guest = persist::hash64({reinterpret_cast<const uint8_t*>(cpu_.features), sizeof cpu_.features}, k.guest);
    k.host = persist::hash64(bytes_of(codegen_.host));
    const uint64_t options[] = {codegen_.guest_base, codegen_.system_mode, codegen_.dead_sets, codegen_.fuse, codegen_.pin,
                                opt_.one_insn_per_block};
    k.options = persist::hash64(bytes_of(options));
    for (const std::string& name : opt_.jit_disable) k.options = hash_text(name, k.options);
    return k;
}

persist::SavedBlock Translator::save(const Block& b) const {
    persist::SavedBlock s;
    s.pc = b.pc;
    s.mode = b.mode;
    s.distance = b.host - stubs_at_;
    const uint8_t* code = cache_.writable(b.host);
    s.code.assign(code, code + b.code_bytes);
    s.stub_fields.assign(b.stub_fields, b.stub_fields + b.stub_field_count);
    for (const Exit& e : std::span(b.exits, b.exit_count)) {
        s.exits.push_back({e.disp_offset, e.stub_offset, e.target_pc});
        const uint32_t disp = e.stub_offset - (e.disp_offset + 4);
        std::memcpy(&s.code[e.disp_offset], &disp, 4);
        std::memcpy(&s.code[e.stub_offset + x64::kExitStubCall], &e.target_pc, 8);
    }
    for (const Fault& f : std::span(b.faults, b.fault_count)) s.faults.push_back({f.host_offset, f.insn, f.flags});
    for (unsigned i = 0; i < b.guest_insns; ++i) s.guest_pcs.push_back(b.insn_pc(i));
    for (const ir::GuestRange& r : std::span(b.ranges, b.range_count)) {
        const auto* guest = reinterpret_cast<const uint8_t*>(opt_.guest_base + r.pc);
        s.ranges.push_back({r.pc, r.bytes, persist::hash64({guest, r.bytes})});
    }
    return s;
}

Result<Block*> Translator::load(const persist::SavedBlock& s) {
    // Fetching asks the owner of memory to protect the pages, so that what is compared now stays so.
    fetcher_.begin();
    std::vector<uint8_t> guest;
    for (const persist::SavedRange& r : s.ranges) {
        guest.resize(r.bytes);
        if ((r.bytes != 0 && fetcher_.fetch(r.pc, guest.data(), r.bytes) != r.bytes) || persist::hash64(guest) != r.hash)
            return fail(ErrorKind::kInvalidArgument, "the guest's code is not what the translation was made of");
    }
    const std::span<uint8_t> room = cache_.free_space();
    if (room.size() < s.code.size()) return nullptr;
    const uint64_t host = cache_.exec_address();
    std::memcpy(room.data(), s.code.data(), s.code.size());
    const auto moved = static_cast<uint32_t>(s.distance - (host - stubs_at_));
    for (const uint32_t field : s.stub_fields) {
        uint32_t rel = 0;
        std::memcpy(&rel, &room[field], 4);
        rel += moved;
        std::memcpy(&room[field], &rel, 4);
    }
    compiled_.clear();
    compiled_.code_bytes = static_cast<uint32_t>(s.code.size());
    compiled_.exits = s.exits;
    compiled_.faults = s.faults;
    compiled_.guest_pcs = s.guest_pcs;
    compiled_.stub_fields = s.stub_fields;
    ir::Function f;
    f.pc = s.pc;
    f.mode = s.mode;
    for (const persist::SavedRange& r : s.ranges) f.ranges.push_back({r.pc, r.bytes});
    Block* b = record(f, host);
    cache_.commit(compiled_.code_bytes, b);
    return b;
}

}  // namespace myna::jit
