#include "block/formats/crypto/secret.h"

#include <gcrypt.h>

#include <fstream>
#include <iterator>
#include <memory>

#include "base/base64.h"
#include "block/formats/crypto/sector_cipher.h"

namespace myna::block::crypto {

namespace {

constexpr size_t kKeyBytes = 32, kBlockBytes = 16;

std::unexpected<Error> wrong(std::string text) { return fail(ErrorKind::kInvalidArgument, std::move(text)); }

Result<std::string> decrypted(std::string bytes, const std::string& key, std::string_view iv_text) {
    if (key.size() != kKeyBytes) return wrong("Decryption key should be " + std::to_string(kKeyBytes) + " bytes in length");
    if (iv_text.empty()) return wrong("IV is required to decrypt secret");
    const auto iv = from_base64(iv_text);
    if (!iv) return wrong("Base64 data of the IV is not valid");
    if (iv->size() != kBlockBytes) return wrong("IV should be " + std::to_string(kBlockBytes) + " bytes in length not " + std::to_string(iv->size()));
    if (bytes.empty() || bytes.size() % kBlockBytes != 0) return wrong("The encrypted secret is not a whole number of " + std::to_string(kBlockBytes) + "-byte blocks");
    start_library();
    gcry_cipher_hd_t raw = nullptr;
    if (gcry_cipher_open(&raw, GCRY_CIPHER_AES256, GCRY_CIPHER_MODE_CBC, 0) != 0) return fail(ErrorKind::kUnsupported, "libgcrypt has no AES-256 in CBC mode");
    const std::unique_ptr<gcry_cipher_handle, decltype(&gcry_cipher_close)> cipher(raw, gcry_cipher_close);
    if (gcry_cipher_setkey(raw, key.data(), key.size()) != 0 || gcry_cipher_setiv(raw, iv->data(), iv->size()) != 0 || gcry_cipher_decrypt(raw, bytes.data(), bytes.size(), nullptr, 0) != 0)
        return wrong("The secret cannot be decrypted");
    const auto padding = static_cast<unsigned char>(bytes.back());
    if (padding == 0 || padding > kBlockBytes) return wrong("Incorrect number of padding bytes (" + std::to_string(padding) + ") found on decrypted data");
    bytes.resize(bytes.size() - padding);
    return bytes;
}

}  // namespace

Result<std::string> secret_bytes(const std::map<std::string, std::string>& properties, const std::function<const std::string*(std::string_view)>& key) {
    const auto get = [&](const char* name) {
        const auto it = properties.find(name);
        return it == properties.end() ? std::string() : it->second;
    };
    const bool data = properties.contains("data"), file = properties.contains("file");
    if (data && file) return wrong("'file' and 'data' are mutually exclusive");
    if (!data && !file) return wrong("Must provide 'file' or 'data'");
    std::string bytes = get("data");
    if (file) {
        std::ifstream in(get("file"), std::ios::binary);
        if (!in) return fail(ErrorKind::kNotFound, "Unable to read " + get("file") + ": Failed to open file");
        bytes.assign(std::istreambuf_iterator<char>(in), {});
    }
    const std::string format = get("format");
    if (format == "base64") {
        auto decoded = from_base64(bytes);
        if (!decoded) return wrong("Base64 data is not valid");
        bytes = std::move(*decoded);
    } else if (!format.empty() && format != "raw") {
        return wrong("Invalid parameter '" + format + "'");
    }
    if (!properties.contains("keyid")) return bytes;
    const std::string* const with = key(get("keyid"));
    if (with == nullptr) return fail(ErrorKind::kNotFound, "No secret with id '" + get("keyid") + "'");
    return decrypted(std::move(bytes), *with, get("iv"));
}

}  // namespace myna::block::crypto
