// SectorCipher: encrypts and decrypts 512-byte sectors by their number, as LUKS and the legacy AES of qcow do.
//
//   key, cipher, mode ─▶ libgcrypt      sector number ─▶ IV generator (plain, plain64, essiv) ─▶ IV
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "io/iovec.h"
#include "io/reactor.h"

namespace myna::block::crypto {

/// Names as tools and JSON show them: "aes-256", "xts", "plain64", "sha256".
struct CipherSpec {
    std::string cipher = "aes-256", mode = "xts", ivgen = "plain64", ivgen_hash, hash = "sha256";
    /// Bytes of key that it takes (twice the cipher's in XTS); 0: no such cipher.
    [[nodiscard]] size_t key_bytes() const;
};

/// Before any use of libgcrypt, which wants to be told once that its checks are done. Any thread.
void start_library();
/// libgcrypt's number of a hash; 0: no such hash.
int hash_number(const std::string& name);
/// Digest of the whole.
std::vector<uint8_t> digest(int hash, std::span<const uint8_t> bytes);
/// PBKDF2 (RFC 8018) with HMAC of `hash`.
Result<std::vector<uint8_t>> pbkdf2(int hash, std::span<const uint8_t> password, std::span<const uint8_t> salt, uint64_t iterations, size_t bytes);
/// Bytes fit for keys.
std::vector<uint8_t> random_key(size_t bytes);

class SectorCipher {
  public:
    static constexpr size_t kSector = 512;
    /// Fails for combinations that make no sense (XTS with an 8-byte block), naming them.
    static Result<std::unique_ptr<SectorCipher>> create(const CipherSpec& spec, std::span<const uint8_t> key);
    ~SectorCipher();

    /// In place; `bytes` is whole sectors, the first of them is number `sector`. Any thread.
    void encrypt(uint64_t sector, std::span<uint8_t> bytes) { run(sector, bytes, true); }
    void decrypt(uint64_t sector, std::span<uint8_t> bytes) { run(sector, bytes, false); }
    /// The same on the Reactor's threads where it is much.
    io::Task<void> apply(io::Reactor& r, uint64_t sector, std::span<uint8_t> bytes, bool encrypting);

  private:
    struct Handles;
    SectorCipher() = default;
    void run(uint64_t sector, std::span<uint8_t> bytes, bool encrypting);
    Handles* take();

    int algorithm_ = 0, mode_ = 0, essiv_ = 0;
    enum class Iv : uint8_t { kPlain, kPlain64, kEssiv } iv_ = Iv::kPlain64;
    std::vector<uint8_t> key_, essiv_key_;
    std::mutex lock_;
    std::vector<Handles*> free_;   // a handle is used by one thread at a time
};

/// The legacy AES of qcow and qcow2: the password itself is the key, 16 bytes of it.
Result<std::unique_ptr<SectorCipher>> legacy_aes(const std::string& password);

}  // namespace myna::block::crypto
