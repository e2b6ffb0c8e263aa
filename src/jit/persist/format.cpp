// Translations on disk: writing them, and reading them with every bound checked.
#include "jit/persist/format.h"

#include <array>
#include <cstring>
#include <string_view>

namespace myna::jit::persist {

namespace {

constexpr std::array<uint8_t, 8> kMagic = {'M', 'Y', 'N', 'A', 'T', 'B', '1', 0};
constexpr uint32_t kMostBytes = 1 << 20;  // of code, and of entries in each table: far above any block

class Writer {
  public:
    template <class T>
    void put(T v) {
        const size_t at = out.size();
        out.resize(at + sizeof v);
        std::memcpy(&out[at], &v, sizeof v);
    }
    void put_bytes(std::span<const uint8_t> b) { out.insert(out.end(), b.begin(), b.end()); }
    std::vector<uint8_t> out;
};

/// Reads that run past the end give zeroes and are remembered.
class Reader {
  public:
    explicit Reader(std::span<const uint8_t> bytes) : in_(bytes) {}
    template <class T>
    T get() {
        T v{};
        const auto b = get_bytes(sizeof v);
        if (b.size() == sizeof v) std::memcpy(&v, b.data(), sizeof v);
        return v;
    }
    std::span<const uint8_t> get_bytes(size_t n) {
        if (n > in_.size()) {
            short_ = true;
            return {};
        }
        const auto b = in_.first(n);
        in_ = in_.subspan(n);
        return b;
    }
    [[nodiscard]] bool complete() const noexcept { return !short_; }
    [[nodiscard]] size_t left() const noexcept { return in_.size(); }

  private:
    std::span<const uint8_t> in_;
    bool short_ = false;
};

void write_block(Writer& w, const SavedBlock& b) {
    w.put(b.pc);
    w.put(b.distance);
    w.put(b.mode);
    for (const size_t n : {b.code.size(), b.stub_fields.size(), b.exits.size(), b.faults.size(), b.guest_pcs.size(), b.ranges.size()})
        w.put(static_cast<uint32_t>(n));
    w.put_bytes(b.code);
    for (const uint32_t f : b.stub_fields) w.put(f);
    for (const x64::ExitSite& e : b.exits) w.put(e.disp_offset), w.put(e.stub_offset), w.put(e.target_pc);
    for (const x64::FaultPoint& f : b.faults) w.put(f.host_offset), w.put(f.insn_index), w.put(static_cast<uint32_t>(f.flags));
    for (const uint64_t pc : b.guest_pcs) w.put(pc);
    for (const SavedRange& r : b.ranges) w.put(r.pc), w.put(r.bytes), w.put(r.hash);
}

/// Every offset lies inside the code, every table is in order.
bool sound(const SavedBlock& b) {
    const auto fits = [&](uint64_t at, uint64_t n) { return at + n <= b.code.size(); };
    if (b.code.empty() || b.guest_pcs.empty() || b.ranges.empty() || b.ranges[0].pc != b.pc) return false;
    for (const uint32_t f : b.stub_fields)
        if (!fits(f, 4)) return false;
    // Jumps are patched while others run them: each rel32 lies within eight aligned bytes (blocks are aligned to 16).
    for (const x64::ExitSite& e : b.exits)
        if (!fits(e.disp_offset, 4) || e.disp_offset % 8 > 4 || !fits(e.stub_offset, x64::kExitStubCall + sizeof(x64::ExitStubData))) return false;
    for (size_t n = 0; n < b.faults.size(); ++n) {
        const x64::FaultPoint& f = b.faults[n];
        if (!fits(f.host_offset, 0) || f.insn_index >= b.guest_pcs.size() || f.flags > x64::FlagForm::kAdd) return false;
        if (n != 0 && f.host_offset < b.faults[n - 1].host_offset) return false;
    }
    for (const SavedRange& r : b.ranges)
        if (r.bytes > kMostBytes || r.pc + r.bytes < r.pc) return false;
    return true;
}

bool read_block(Reader& r, SavedBlock& b) {
    b.pc = r.get<uint64_t>();
    b.distance = r.get<uint64_t>();
    b.mode = r.get<uint32_t>();
    std::array<uint32_t, 6> n{};
    for (uint32_t& k : n) {
        k = r.get<uint32_t>();
        if (k > kMostBytes) return false;
    }
    // Before anything is allocated: what the counts promise is there.
    const uint64_t promised = n[0] + uint64_t{n[1]} * 4 + uint64_t{n[2]} * 16 + uint64_t{n[3]} * 12 + uint64_t{n[4]} * 8 + uint64_t{n[5]} * 20;
    if (!r.complete() || promised != r.left() || n[2] > 0xffff || n[3] > 0xffff || n[4] > 0xffff || n[5] > 255) return false;
    const auto code = r.get_bytes(n[0]);
    b.code.assign(code.begin(), code.end());
    for (uint32_t k = 0; k < n[1]; ++k) b.stub_fields.push_back(r.get<uint32_t>());
    for (uint32_t k = 0; k < n[2]; ++k) {
        x64::ExitSite e{};
        e.disp_offset = r.get<uint32_t>(), e.stub_offset = r.get<uint32_t>(), e.target_pc = r.get<uint64_t>();
        b.exits.push_back(e);
    }
    for (uint32_t k = 0; k < n[3]; ++k) {
        x64::FaultPoint f{};
        f.host_offset = r.get<uint32_t>(), f.insn_index = r.get<uint32_t>();
        const auto form = r.get<uint32_t>();
        if (form > static_cast<uint32_t>(x64::FlagForm::kAdd)) return false;
        f.flags = static_cast<x64::FlagForm>(form);
        b.faults.push_back(f);
    }
    for (uint32_t k = 0; k < n[4]; ++k) b.guest_pcs.push_back(r.get<uint64_t>());
    for (uint32_t k = 0; k < n[5]; ++k) {
        SavedRange g{};
        g.pc = r.get<uint64_t>(), g.bytes = r.get<uint32_t>(), g.hash = r.get<uint64_t>();
        b.ranges.push_back(g);
    }
    return r.complete() && sound(b);
}

}  // namespace

uint64_t hash64(std::span<const uint8_t> bytes, uint64_t seed) noexcept {
    for (const uint8_t b : bytes) seed = (seed ^ b) * 0x100000001b3;
    return seed;
}

std::vector<uint8_t> serialise(const Key& key, std::span<const SavedBlock> blocks) {
    Writer w;
    w.put_bytes(kMagic);
    w.put(kVersion);
    w.put(static_cast<uint32_t>(blocks.size()));
    for (const uint64_t k : {key.build, key.guest, key.host, key.options}) w.put(k);
    for (const SavedBlock& b : blocks) {
        Writer one;
        write_block(one, b);
        w.put(static_cast<uint32_t>(one.out.size()));
        w.put(hash64(one.out));
        w.put_bytes(one.out);
    }
    return std::move(w.out);
}

Result<Parsed> parse(std::span<const uint8_t> bytes, const Key& key) {
    Reader r(bytes);
    const auto magic = r.get_bytes(kMagic.size());
    if (magic.size() != kMagic.size() || std::memcmp(magic.data(), kMagic.data(), kMagic.size()) != 0)
        return fail(ErrorKind::kCorrupt, "not a file of translations");
    if (const auto version = r.get<uint32_t>(); version != kVersion)
        return fail(ErrorKind::kUnsupported, "translations of version " + std::to_string(version) + ", this program has " + std::to_string(kVersion));
    const auto count = r.get<uint32_t>();
    Key theirs;
    theirs.build = r.get<uint64_t>(), theirs.guest = r.get<uint64_t>(), theirs.host = r.get<uint64_t>(), theirs.options = r.get<uint64_t>();
    if (!r.complete()) return fail(ErrorKind::kCorrupt, "translations: the header is cut short");
    const auto differs = [](const char* what) { return fail(ErrorKind::kUnsupported, std::string("translations made for another ") + what); };
    if (theirs.build != key.build) return differs("build of this program");
    if (theirs.guest != key.guest) return differs("guest CPU");
    if (theirs.host != key.host) return differs("host CPU");
    if (theirs.options != key.options) return differs("set of options");
    Parsed out;
    for (uint32_t n = 0; n < count; ++n) {
        const auto size = r.get<uint32_t>();
        const auto hash = r.get<uint64_t>();
        const auto payload = r.get_bytes(size);
        if (!r.complete()) {  // the rest is not there
            out.dropped += count - n;
            break;
        }
        SavedBlock b;
        Reader inner(payload);
        if (hash64(payload) == hash && read_block(inner, b)) out.blocks.push_back(std::move(b));
        else ++out.dropped;
    }
    return out;
}

}  // namespace myna::jit::persist
