#include "block/formats/crypto/sector_cipher.h"

#include <gcrypt.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

namespace myna::block::crypto {

void start_library() {
    static const bool once = [] {
        gcry_check_version(nullptr);
        gcry_control(GCRYCTL_DISABLE_SECMEM, 0);
        gcry_control(GCRYCTL_INITIALIZATION_FINISHED, 0);
        return true;
    }();
    (void)once;
}

namespace {

struct Cipher {
    const char* name;
    int number;
    size_t key;
};
constexpr Cipher kCiphers[] = {
    {"aes-128", GCRY_CIPHER_AES128, 16},         {"aes-192", GCRY_CIPHER_AES192, 24},         {"aes-256", GCRY_CIPHER_AES256, 32},
    {"cast5-128", GCRY_CIPHER_CAST5, 16},        {"serpent-128", GCRY_CIPHER_SERPENT128, 16}, {"serpent-192", GCRY_CIPHER_SERPENT192, 24},
    {"serpent-256", GCRY_CIPHER_SERPENT256, 32}, {"twofish-128", GCRY_CIPHER_TWOFISH128, 16}, {"twofish-256", GCRY_CIPHER_TWOFISH, 32},
};
const Cipher* find_cipher(const std::string& name) {
    for (const Cipher& c : kCiphers)
        if (name == c.name) return &c;
    return nullptr;
}

struct Hash {
    const char* name;
    int number;
};
constexpr Hash kHashes[] = {{"md5", GCRY_MD_MD5},       {"sha1", GCRY_MD_SHA1},     {"sha224", GCRY_MD_SHA224},      {"sha256", GCRY_MD_SHA256},
                            {"sha384", GCRY_MD_SHA384}, {"sha512", GCRY_MD_SHA512}, {"ripemd160", GCRY_MD_RMD160}};

std::unexpected<Error> gcrypt_error(const char* what, gcry_error_t e) { return fail(ErrorKind::kUnsupported, std::string(what) + ": " + gcry_strerror(e)); }

}  // namespace

size_t CipherSpec::key_bytes() const {
    const Cipher* c = find_cipher(cipher);
    return c == nullptr ? 0 : c->key * (mode == "xts" ? 2 : 1);
}

int hash_number(const std::string& name) {
    for (const Hash& h : kHashes)
        if (name == h.name) return h.number;
    return 0;
}

std::vector<uint8_t> digest(int hash, std::span<const uint8_t> bytes) {
    start_library();
    std::vector<uint8_t> out(gcry_md_get_algo_dlen(hash));
    gcry_md_hash_buffer(hash, out.data(), bytes.data(), bytes.size());
    return out;
}

Result<std::vector<uint8_t>> pbkdf2(int hash, std::span<const uint8_t> password, std::span<const uint8_t> salt, uint64_t iterations, size_t bytes) {
    start_library();
    std::vector<uint8_t> out(bytes);
    // An empty password is one too, for libgcrypt if it is not null.
    const void* const bytes_of_password = password.empty() ? "" : static_cast<const void*>(password.data());
    if (const auto e = gcry_kdf_derive(bytes_of_password, password.size(), GCRY_KDF_PBKDF2, hash, salt.data(), salt.size(), iterations, bytes, out.data()); e != 0)
        return gcrypt_error("PBKDF2", e);
    return out;
}

std::vector<uint8_t> random_key(size_t bytes) {
    start_library();
    std::vector<uint8_t> out(bytes);
    gcry_randomize(out.data(), out.size(), GCRY_STRONG_RANDOM);
    return out;
}

struct SectorCipher::Handles {
    gcry_cipher_hd_t data = nullptr, essiv = nullptr;
    ~Handles() {
        gcry_cipher_close(data);
        gcry_cipher_close(essiv);
    }
};

SectorCipher::~SectorCipher() {
    for (Handles* h : free_) delete h;
}

Result<std::unique_ptr<SectorCipher>> SectorCipher::create(const CipherSpec& spec, std::span<const uint8_t> key) {
    start_library();
    const auto bad = [](const std::string& what) { return fail(ErrorKind::kUnsupported, what, ENOTSUP); };
    std::unique_ptr<SectorCipher> c(new SectorCipher);
    const Cipher* algorithm = find_cipher(spec.cipher);
    if (algorithm == nullptr || key.size() != spec.key_bytes()) return bad("cipher '" + spec.cipher + "' with a key of " + std::to_string(key.size()) + " bytes is not supported");
    c->algorithm_ = algorithm->number;
    if (spec.mode == "xts") c->mode_ = GCRY_CIPHER_MODE_XTS;
    else if (spec.mode == "cbc") c->mode_ = GCRY_CIPHER_MODE_CBC;
    else if (spec.mode == "ecb") c->mode_ = GCRY_CIPHER_MODE_ECB;
    else if (spec.mode == "ctr") c->mode_ = GCRY_CIPHER_MODE_CTR;
    else return bad("cipher mode '" + spec.mode + "' is not supported");
    if (c->mode_ == GCRY_CIPHER_MODE_XTS && gcry_cipher_get_algo_blklen(c->algorithm_) != 16) return bad("XTS needs a cipher with blocks of 16 bytes, unlike '" + spec.cipher + "'");
    c->key_.assign(key.begin(), key.end());
    if (spec.ivgen == "plain") c->iv_ = Iv::kPlain;
    else if (spec.ivgen == "plain64" || (spec.ivgen.empty() && spec.mode == "ecb")) c->iv_ = Iv::kPlain64;
    else if (spec.ivgen == "essiv") {
        // The sector number, encrypted under a hash of the key; the cipher is the one of its family that takes that hash.
        c->iv_ = Iv::kEssiv;
        const int hash = hash_number(spec.ivgen_hash);
        if (hash == 0) return bad("IV generator hash '" + spec.ivgen_hash + "' is not supported");
        c->essiv_key_ = digest(hash, key);
        const std::string family = spec.cipher.substr(0, spec.cipher.find('-'));
        const Cipher* e = find_cipher(family + "-" + std::to_string(c->essiv_key_.size() * 8));
        if (e == nullptr) return bad("no cipher of the family '" + family + "' takes '" + spec.ivgen_hash + "' as its key (essiv)");
        c->essiv_ = e->number;
    } else {
        return bad("IV generator '" + spec.ivgen + "' is not supported");
    }
    Handles* h = c->take();
    if (h == nullptr) return bad("libgcrypt refuses '" + spec.cipher + "' in mode '" + spec.mode + "' with this key");
    c->free_.push_back(h);
    return c;
}

SectorCipher::Handles* SectorCipher::take() {
    {
        const std::lock_guard held(lock_);
        if (!free_.empty()) {
            Handles* h = free_.back();
            free_.pop_back();
            return h;
        }
    }
    auto h = std::make_unique<Handles>();
    if (gcry_cipher_open(&h->data, algorithm_, mode_, 0) != 0 || gcry_cipher_setkey(h->data, key_.data(), key_.size()) != 0) return nullptr;
    if (iv_ == Iv::kEssiv &&
        (gcry_cipher_open(&h->essiv, essiv_, GCRY_CIPHER_MODE_ECB, 0) != 0 || gcry_cipher_setkey(h->essiv, essiv_key_.data(), essiv_key_.size()) != 0)) return nullptr;
    return h.release();
}

void SectorCipher::run(uint64_t sector, std::span<uint8_t> bytes, bool encrypting) {
    Handles* h = take();
    if (h == nullptr) std::abort();  // the same worked in create()
    const size_t block = gcry_cipher_get_algo_blklen(algorithm_);
    for (size_t at = 0; at < bytes.size(); at += kSector, ++sector) {
        uint8_t iv[16] = {};
        const uint64_t n = iv_ == Iv::kPlain ? sector & 0xffffffff : sector;
        std::memcpy(iv, &n, 8);
        if (iv_ == Iv::kEssiv) gcry_cipher_encrypt(h->essiv, iv, gcry_cipher_get_algo_blklen(essiv_), nullptr, 0);
        if (mode_ == GCRY_CIPHER_MODE_CTR) gcry_cipher_setctr(h->data, iv, block);
        else if (mode_ != GCRY_CIPHER_MODE_ECB) gcry_cipher_setiv(h->data, iv, block);
        uint8_t* p = bytes.data() + at;
        if (encrypting) gcry_cipher_encrypt(h->data, p, kSector, nullptr, 0);
        else gcry_cipher_decrypt(h->data, p, kSector, nullptr, 0);
    }
    const std::lock_guard held(lock_);
    free_.push_back(h);
}

io::Task<void> SectorCipher::apply(io::Reactor& r, uint64_t sector, std::span<uint8_t> bytes, bool encrypting) {
    if (bytes.size() <= 16384) {
        run(sector, bytes, encrypting);
        co_return;
    }
    const auto work = [&] { run(sector, bytes, encrypting); };
    co_await r.offload(work);
}

Result<std::unique_ptr<SectorCipher>> legacy_aes(const std::string& password) {
    std::vector<uint8_t> key(16);
    std::copy_n(password.begin(), std::min<size_t>(password.size(), 16), key.begin());
    return SectorCipher::create({.cipher = "aes-128", .mode = "cbc", .ivgen = "plain64", .ivgen_hash = "", .hash = ""}, key);
}

}  // namespace myna::block::crypto
