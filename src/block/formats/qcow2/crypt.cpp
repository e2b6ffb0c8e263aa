// Encrypted qcow2 images: a LUKS header in clusters of its own, or the legacy AES without any.
#include <nlohmann/json.hpp>

#include "base/bits.h"
#include "block/formats/common/open.h"
#include "block/formats/luks/luks.h"
#include "block/formats/qcow2/qcow2.h"

namespace myna::block::qcow2 {

Task<Result<void>> Qcow2Node::open_crypt(const OpenOptions& o) {
    limits_.request_alignment = 512;
    uint64_t header_at = 0;
    if (h_.crypt == Crypt::kLuks) {
        const Extension* e = h_.extension(Extension::kCryptHeader);
        if (e == nullptr || e->data.size() < 16) co_return corrupt("the extension that says where the LUKS header is, is missing");
        header_at = be64(e->data.data());
        const uint64_t bytes = be64(e->data.data() + 8);
        if (header_at % h_.cluster_size() != 0 || header_at > file_->size() || bytes > file_->size() - header_at || bytes < crypto::kLuksHeaderBytes)
            co_return corrupt("the LUKS header is outside the file");
        auto raw = co_await formats::read_bytes(*file_, header_at, crypto::kLuksHeaderBytes);
        if (!raw) co_return std::unexpected(raw.error());
        auto luks = crypto::LuksHeader::decode(*raw, filename_);
        if (!luks) co_return std::unexpected(luks.error());
        if (luks->payload_bytes() > bytes) co_return corrupt("the LUKS header is larger than its place");
        luks_ = std::make_unique<crypto::LuksHeader>(std::move(*luks));
    }
    const auto options = o.options.value("encrypt", nlohmann::json::object());
    if (o.no_io || (o.check && !options.contains("key-secret"))) co_return Result<void>{};
    auto password = crypto::secret_of(graph_, options, "key-secret");
    if (!password && password.error().kind == ErrorKind::kInvalidArgument) co_return fail(ErrorKind::kInvalidArgument, "Parameter 'encrypt.key-secret' is required for cipher");
    if (!password) co_return std::unexpected(password.error());
    Result<std::unique_ptr<crypto::SectorCipher>> c;
    if (luks_) {
        auto key = co_await crypto::unlock(*file_, header_at, *luks_, *password);
        if (!key) co_return std::unexpected(key.error());
        c = crypto::SectorCipher::create(luks_->spec, *key);
    } else {
        c = crypto::legacy_aes(*password);
    }
    if (!c) co_return std::unexpected(c.error());
    cipher_ = std::move(*c);
    co_return Result<void>{};
}

Task<Result<void>> Qcow2Node::read_encrypted(uint64_t host, uint64_t guest, const IoVec& into) {
    if (!cipher_) co_return fail(ErrorKind::kPermission, filename_ + ": the image was opened without its key", EPERM);
    if (into.size() == 0) co_return Result<void>{};
    // The last sector of a disk may be short here; on the file it is whole.
    std::vector<uint8_t> bytes(align_up(into.size(), 512));
    const IoVec stored(bytes.data(), std::min<uint64_t>(bytes.size(), data().size() - host));
    if (auto r = co_await data().read(host, stored); !r) co_return r;
    co_await cipher_->apply(reactor_, (h_.crypt == Crypt::kLuks ? host : guest) / 512, bytes, false);
    into.copy_from(bytes.data());
    co_return Result<void>{};
}

Task<Result<void>> Qcow2Node::write_encrypted(uint64_t host, uint64_t guest, const IoVec& from) {
    if (!cipher_) co_return fail(ErrorKind::kPermission, filename_ + ": the image was opened without its key", EPERM);
    std::vector<uint8_t> bytes(align_up(from.size(), 512));
    from.copy_to(bytes.data());
    co_await cipher_->apply(reactor_, (h_.crypt == Crypt::kLuks ? host : guest) / 512, bytes, true);
    const IoVec stored(bytes.data(), bytes.size());
    co_return co_await data().write(host, stored);
}

}  // namespace myna::block::qcow2
