#include "block/formats/crypto/luks_header.h"

#include <fmt/format.h>
#include <time.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/bits.h"
#include "block/formats/common/bytes.h"
#include "block/formats/common/open.h"

namespace myna::block::crypto {

using namespace formats;

namespace {

constexpr uint8_t kMagic[6] = {'L', 'U', 'K', 'S', 0xba, 0xbe};
constexpr uint32_t kActive = 0x00ac71f3, kInactive = 0x0000dead;
constexpr uint32_t kMaxSlotIterations = 1u << 30;

/// Names are ASCII; what is not would not even be text in `info`.
std::string text(std::span<const uint8_t> field) {
    std::string s(field.begin(), std::find(field.begin(), field.end(), uint8_t{0}));
    std::replace_if(s.begin(), s.end(), [](char c) { return c < ' ' || c > '~'; }, '?');
    return s;
}

/// The anti-forensic diffusion: each piece of a digest's length is replaced by the hash of its number and itself.
void diffuse(int hash, std::span<uint8_t> block) {
    const size_t n = digest(hash, {}).size();
    for (size_t i = 0; i * n < block.size(); ++i) {
        const size_t take = std::min(n, block.size() - i * n);
        std::vector<uint8_t> in(4 + take);
        put_be32(in.data(), static_cast<uint32_t>(i));
        std::copy_n(&block[i * n], take, &in[4]);
        const auto d = digest(hash, in);
        std::copy_n(d.begin(), take, &block[i * n]);
    }
}

int64_t cpu_ns() {
    timespec t{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return t.tv_sec * int64_t{1000000000} + t.tv_nsec;
}

/// PBKDF2 iterations that take about `ms` for a key of `bytes`.
Result<uint32_t> iterations_for(int hash, size_t bytes, unsigned ms) {
    const std::vector<uint8_t> p(8, 'p'), s(32, 's');
    uint64_t n = 1 << 14;
    for (;;) {
        const int64_t from = cpu_ns();
        if (auto r = pbkdf2(hash, p, s, n, bytes); !r) return std::unexpected(r.error());
        const int64_t took = std::max<int64_t>(cpu_ns() - from, 1);
        if (took < 100000000 && n < (1u << 28)) {
            n *= took < 10000000 ? 8 : 2;
            continue;
        }
        const double wanted = static_cast<double>(n) * ms * 1e6 / static_cast<double>(took);
        return static_cast<uint32_t>(std::clamp(wanted, 1000.0, 1e9));
    }
}

}  // namespace

Result<LuksHeader> LuksHeader::decode(std::span<const uint8_t> raw, const std::string& name) {
    const auto corrupt = [&](const std::string& what) { return fail(ErrorKind::kCorrupt, name + ": " + what, EINVAL); };
    if (raw.size() < kLuksHeaderBytes || !std::equal(std::begin(kMagic), std::end(kMagic), raw.begin())) return corrupt("Volume is not in LUKS format");
    LuksHeader h;
    if (const unsigned v = be16(&raw[6]); v != 1) return fail(ErrorKind::kUnsupported, name + ": LUKS version " + std::to_string(v) + " is not supported (only version 1 is)", ENOTSUP);
    const std::string cipher = text(raw.subspan(8, 32)), mode = text(raw.subspan(40, 32));
    h.spec.hash = text(raw.subspan(72, 32));
    h.payload_sector = be32(&raw[104]);
    h.key_bytes = be32(&raw[108]);
    std::copy_n(&raw[112], 20, h.digest.begin());
    std::copy_n(&raw[132], 32, h.salt.begin());
    h.digest_iterations = be32(&raw[164]);
    h.uuid = text(raw.subspan(168, 40));
    // "xts-plain64", "cbc-essiv:sha256"
    const size_t dash = mode.find('-'), colon = mode.find(':');
    h.spec.mode = mode.substr(0, dash);
    h.spec.ivgen = dash == std::string::npos ? "" : mode.substr(dash + 1, colon == std::string::npos ? colon : colon - dash - 1);
    h.spec.ivgen_hash = colon == std::string::npos ? "" : mode.substr(colon + 1);
    if (h.key_bytes == 0 || h.key_bytes > 128) return corrupt("a key of " + std::to_string(h.key_bytes) + " bytes is impossible");
    h.spec.cipher = cipher + "-" + std::to_string(h.key_bytes * 8 / (h.spec.mode == "xts" ? 2 : 1));
    if (h.spec.key_bytes() != h.key_bytes) return fail(ErrorKind::kUnsupported, name + ": Cipher '" + cipher + "' with a key of " + std::to_string(h.key_bytes) + " bytes is not supported", ENOTSUP);
    if (hash_number(h.spec.hash) == 0) return fail(ErrorKind::kUnsupported, name + ": Hash algorithm '" + h.spec.hash + "' is not supported", ENOTSUP);
    if (h.digest_iterations == 0) return corrupt("LUKS key iteration count is zero");
    if (h.digest_iterations > kMaxSlotIterations) return corrupt("LUKS key iteration count " + std::to_string(h.digest_iterations) + " is impossible");
    for (size_t i = 0; i < kLuksSlots; ++i) {
        const uint8_t* p = &raw[208 + i * 48];
        LuksSlot& s = h.slots[i];
        const uint32_t state = be32(p);
        if (state != kActive && state != kInactive) return corrupt("Keyslot " + std::to_string(i) + " state (active/disable) is corrupted");
        s.active = state == kActive;
        s.iterations = be32(p + 4);
        std::copy_n(p + 8, 32, s.salt.begin());
        s.sector = be32(p + 40);
        s.stripes = be32(p + 44);
        if (s.stripes != 4000) return corrupt("Keyslot " + std::to_string(i) + " is corrupted (stripes " + std::to_string(s.stripes) + " != 4000)");
        if (s.sector < 2 || (h.payload_sector != 0 && uint64_t{s.sector} * 512 + h.material_bytes(s) > h.payload_bytes()))
            return corrupt("Keyslot " + std::to_string(i) + " is overlapping with the header or the payload");
        if (s.active && (s.iterations == 0 || s.iterations > kMaxSlotIterations)) return corrupt("Keyslot " + std::to_string(i) + " iteration count " + std::to_string(s.iterations) + " is impossible");
    }
    return h;
}

std::vector<uint8_t> LuksHeader::encode() const {
    std::vector<uint8_t> b(kLuksHeaderBytes);
    std::copy(std::begin(kMagic), std::end(kMagic), b.begin());
    put_be16(&b[6], 1);
    const auto put_text = [&](size_t at, const std::string& s, size_t room) { std::copy_n(s.begin(), std::min(s.size(), room - 1), b.begin() + static_cast<ptrdiff_t>(at)); };
    put_text(8, spec.cipher.substr(0, spec.cipher.find('-')), 32);
    std::string mode = spec.mode;
    if (!spec.ivgen.empty()) mode += "-" + spec.ivgen;
    if (!spec.ivgen_hash.empty() && spec.ivgen == "essiv") mode += ":" + spec.ivgen_hash;
    put_text(40, mode, 32);
    put_text(72, spec.hash, 32);
    put_be32(&b[104], payload_sector);
    put_be32(&b[108], key_bytes);
    std::copy(digest.begin(), digest.end(), &b[112]);
    std::copy(salt.begin(), salt.end(), &b[132]);
    put_be32(&b[164], digest_iterations);
    put_text(168, uuid, 40);
    for (size_t i = 0; i < kLuksSlots; ++i) {
        uint8_t* p = &b[208 + i * 48];
        put_be32(p, slots[i].active ? kActive : kInactive);
        put_be32(p + 4, slots[i].iterations);
        std::copy(slots[i].salt.begin(), slots[i].salt.end(), p + 8);
        put_be32(p + 40, slots[i].sector);
        put_be32(p + 44, slots[i].stripes);
    }
    return b;
}

nlohmann::json LuksHeader::info() const {
    nlohmann::json list = nlohmann::json::array();
    for (const LuksSlot& s : slots) {
        nlohmann::json j{{"active", s.active}};
        if (s.active) j["iters"] = s.iterations;
        j["key-offset"] = uint64_t{s.sector} * 512;
        if (s.active) j["stripes"] = s.stripes;
        list.push_back(std::move(j));
    }
    nlohmann::json d{{"ivgen-alg", spec.ivgen}, {"hash-alg", spec.hash}, {"cipher-alg", spec.cipher}, {"uuid", uuid}, {"cipher-mode", spec.mode},
                     {"slots", list}, {"payload-offset", payload_bytes()}, {"master-key-iters", digest_iterations}};
    if (spec.ivgen == "essiv") d["ivgen-hash-alg"] = spec.ivgen_hash;
    return d;
}

std::vector<uint8_t> LuksHeader::try_slot(const LuksSlot& s, std::span<const uint8_t> material, std::span<const uint8_t> password) const {
    const int hash = hash_number(spec.hash);
    auto key = pbkdf2(hash, password, s.salt, s.iterations, key_bytes);
    if (!key) return {};
    auto cipher = SectorCipher::create(spec, *key);
    if (!cipher) return {};
    std::vector<uint8_t> split(align_up(material.size(), 512));
    std::copy(material.begin(), material.end(), split.begin());
    (*cipher)->decrypt(0, split);
    std::vector<uint8_t> master(key_bytes);
    for (uint32_t i = 0; i < s.stripes; ++i) {
        for (size_t k = 0; k < key_bytes; ++k) master[k] ^= split[i * size_t{key_bytes} + k];
        if (i + 1 < s.stripes) diffuse(hash, master);
    }
    const auto d = pbkdf2(hash, master, salt, digest_iterations, digest.size());
    return d && std::equal(d->begin(), d->end(), digest.begin()) ? master : std::vector<uint8_t>{};
}

Result<std::vector<uint8_t>> LuksHeader::fill_slot(LuksSlot& s, std::span<const uint8_t> master_key, std::span<const uint8_t> password, unsigned ms) const {
    const int hash = hash_number(spec.hash);
    auto n = iterations_for(hash, key_bytes, ms);
    if (!n) return std::unexpected(n.error());
    s.active = true;
    s.iterations = *n;
    const auto salt_bytes = random_key(32);
    std::copy(salt_bytes.begin(), salt_bytes.end(), s.salt.begin());
    auto key = pbkdf2(hash, password, s.salt, s.iterations, key_bytes);
    if (!key) return std::unexpected(key.error());
    auto cipher = SectorCipher::create(spec, *key);
    if (!cipher) return std::unexpected(cipher.error());
    // All stripes but the last are random; the last makes the sum right.
    std::vector<uint8_t> split = random_key(material_bytes(s)), sum(key_bytes);
    for (uint32_t i = 0; i + 1 < s.stripes; ++i) {
        for (size_t k = 0; k < key_bytes; ++k) sum[k] ^= split[i * size_t{key_bytes} + k];
        diffuse(hash, sum);
    }
    for (size_t k = 0; k < key_bytes; ++k) split[(s.stripes - 1) * size_t{key_bytes} + k] = sum[k] ^ master_key[k];
    split.resize(align_up(split.size(), 512));
    (*cipher)->encrypt(0, split);
    return split;
}

Result<LuksNew> new_luks(const CipherSpec& spec, const std::string& password, unsigned ms) {
    LuksNew n;
    LuksHeader& h = n.header;
    h.spec = spec;
    h.key_bytes = static_cast<uint32_t>(spec.key_bytes());
    const int hash = hash_number(spec.hash);
    if (hash == 0) return fail(ErrorKind::kInvalidArgument, "Parameter 'hash-alg' does not accept value '" + spec.hash + "'");
    n.master_key = random_key(h.key_bytes);
    if (auto c = SectorCipher::create(spec, n.master_key); !c) return std::unexpected(c.error());
    // Slots of whole 4 KiB behind the header's 4 KiB, then the payload.
    const auto room = static_cast<uint32_t>(align_up(size_t{h.key_bytes} * 4000, 4096) / 512);
    for (size_t i = 0; i < kLuksSlots; ++i) h.slots[i].sector = static_cast<uint32_t>(8 + i * room);
    h.payload_sector = 8 + kLuksSlots * room;
    const auto u = random_uuid();
    for (size_t i = 0; i < 16; ++i) h.uuid += fmt::format("{}{:02x}", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", u[i]);
    const std::span<const uint8_t> pass(reinterpret_cast<const uint8_t*>(password.data()), password.size());
    auto material = h.fill_slot(h.slots[0], n.master_key, pass, ms);
    if (!material) return std::unexpected(material.error());
    n.material = std::move(*material);
    const auto salt = random_key(32);
    std::copy(salt.begin(), salt.end(), h.salt.begin());
    auto rounds = iterations_for(hash, h.digest.size(), std::max(ms / 8, 1u));
    if (!rounds) return std::unexpected(rounds.error());
    h.digest_iterations = *rounds;
    auto d = pbkdf2(hash, n.master_key, h.salt, h.digest_iterations, h.digest.size());
    if (!d) return std::unexpected(d.error());
    std::copy(d->begin(), d->end(), h.digest.begin());
    return n;
}

}  // namespace myna::block::crypto
