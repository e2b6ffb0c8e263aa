#include "block/formats/qcow/qcow.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/bits.h"
#include "block/formats/common/open.h"
#include "block/formats/common/two_level.h"
#include "block/formats/luks/luks.h"
#include "block/formats/qcow2/compress.h"

namespace myna::block {

using namespace formats;

namespace {

constexpr uint32_t kMagic = 0x514649fb;
constexpr uint64_t kCompressedFlag = uint64_t{1} << 63;
constexpr size_t kHeaderBytes = 48;

class QcowNode final : public TwoLevelNode {
  public:
    QcowNode(Graph& graph, NodePtr file) : TwoLevelNode(graph, std::move(file), true) {}
    [[nodiscard]] std::string_view driver() const noexcept override { return "qcow"; }
    [[nodiscard]] std::optional<uint32_t> cluster_size() const override { return static_cast<uint32_t>(block_bytes_); }
    [[nodiscard]] bool zero_init() const override { return true; }
    [[nodiscard]] bool encrypted() const override { return encrypted_; }
    [[nodiscard]] std::optional<std::string> backing_name() const override { return backing_file_.empty() ? std::nullopt : std::optional(backing_file_); }

    Task<Result<void>> start(const OpenOptions& o) {
        auto raw = co_await read_bytes(*file_, 0, kHeaderBytes);
        if (!raw) co_return std::unexpected(raw.error());
        const uint8_t* b = raw->data();
        if (be32(b) != kMagic) co_return corrupt("Image not in qcow format");
        if (be32(b + 4) != 1) co_return fail(ErrorKind::kUnsupported, filename_ + ": qcow (v1) does not support qcow version " + std::to_string(be32(b + 4)), ENOTSUP);
        const uint64_t name_at = be64(b + 8), name_bytes = be32(b + 16), l1_at = be64(b + 40);
        size_ = be64(b + 24);
        cluster_bits_ = b[32];
        const unsigned l2_bits = b[33];
        const uint32_t crypt = be32(b + 36);
        if (size_ <= 1) co_return corrupt("Image size is too small (must be at least 2 bytes)");
        if (cluster_bits_ < 9 || cluster_bits_ > 16) co_return corrupt("Cluster size must be between 512 and 64k");
        if (l2_bits < 6 || l2_bits > 13) co_return corrupt("L2 table size must be between 512 and 64k");
        if (crypt > 1) co_return corrupt("invalid encryption method in qcow header");
        if (size_ > (uint64_t{1} << 62)) co_return corrupt("Image too large");
        size_ = align_down(size_, 512);
        encrypted_ = crypt == 1;
        block_bytes_ = uint64_t{1} << cluster_bits_;
        l2_entries_ = uint64_t{1} << l2_bits;
        const uint64_t reach = block_bytes_ * l2_entries_;
        if (auto r = co_await read_l1(l1_at, (size_ + reach - 1) / reach); !r) co_return r;
        next_ = file_->size();
        if (encrypted_) {
            // A part of a cluster cannot be encrypted alone below a sector.
            limits_.request_alignment = 512;
            if (!o.no_io || o.options.contains("encrypt")) {
                const auto options = o.options.value("encrypt", nlohmann::json::object());
                auto password = crypto::secret_of(graph_, options, "key-secret");
                if (!password) co_return fail(ErrorKind::kInvalidArgument, filename_ + ": Parameter 'encrypt.key-secret' is required for cipher");
                auto c = crypto::legacy_aes(*password);
                if (!c) co_return std::unexpected(c.error());
                cipher_ = std::move(*c);
            }
        }
        if (name_at != 0 && name_bytes != 0) {
            if (name_bytes > 1023 || name_at > file_->size() || file_->size() - name_at < name_bytes) co_return corrupt("Backing file name too long");
            auto name = co_await read_bytes(*file_, name_at, name_bytes);
            if (!name) co_return std::unexpected(name.error());
            backing_file_.assign(name->begin(), name->end());
            kept_end_ = name_at + name_bytes;
            if (!o.no_backing) {
                auto backing = co_await graph_.open_backing(filename_, backing_file_, "", o);
                if (!backing) co_return std::unexpected(backing.error());
                backing_ = *backing;
            }
        }
        co_return Result<void>{};
    }

  protected:
    [[nodiscard]] Place decode(uint64_t e) const override {
        using K = Place::Kind;
        if (e == 0) return {};
        const bool compressed = e & kCompressedFlag;
        const uint64_t host = compressed ? e & low_mask(63 - cluster_bits_) : e;
        if (host >= file_->size()) return {.kind = K::kBad, .host = host};
        // Encrypted and compressed clusters are not the plain bytes of the file.
        if (compressed || encrypted_) return {.kind = K::kCompressed, .host = e};
        return {.kind = K::kData, .host = host};
    }

    Task<Result<void>> read_compressed(Place p, uint64_t block, uint64_t within, const IoVec& into) override {
        if (!(p.host & kCompressedFlag)) {
            if (!cipher_) co_return fail(ErrorKind::kPermission, filename_ + ": the image was opened without its key", EPERM);
            auto bytes = co_await read_bytes(*file_, p.host + within, into.size());
            if (!bytes) co_return std::unexpected(bytes.error());
            co_await cipher_->apply(reactor_, (block * block_bytes_ + within) / 512, *bytes, false);
            into.copy_from(bytes->data());
            co_return Result<void>{};
        }
        const uint64_t at = p.host & low_mask(63 - cluster_bits_), n = p.host >> (63 - cluster_bits_) & (block_bytes_ - 1);
        auto in = co_await read_bytes(*file_, at, n);
        if (!in) co_return std::unexpected(in.error());
        std::vector<uint8_t> out(block_bytes_);
        bool ok = false;
        const auto work = [&] { ok = qcow2::decompress_cluster(qcow2::Compression::kZlib, *in, out); };
        co_await reactor_.offload(work);
        if (!ok) co_return corrupt("compressed cluster " + std::to_string(block) + " cannot be decompressed");
        into.copy_from(out.data() + within);
        co_return Result<void>{};
    }

    Task<Result<void>> do_write(uint64_t offset, const IoVec& from, WriteFlags flags) override {
        if (!encrypted_ || flags.compressed) co_return co_await TwoLevelNode::do_write(offset, from, flags);
        if (!cipher_) co_return fail(ErrorKind::kPermission, filename_ + ": the image was opened without its key", EPERM);
        if (auto r = co_await begin_writing(); !r) co_return r;
        for (uint64_t done = 0; done < from.size();) {
            const uint64_t at = offset + done, within = at % block_bytes_, n = std::min<uint64_t>(from.size() - done, block_bytes_ - within);
            const IoVec part = from.slice(done, n);
            if (auto r = co_await write_encrypted(at / block_bytes_, within, part); !r) co_return r;
            done += n;
        }
        if (flags.fua) co_return co_await do_flush();
        co_return Result<void>{};
    }

    Task<Result<void>> write_compressed(uint64_t offset, const IoVec& from) override {
        if (offset % block_bytes_ != 0 || (from.size() % block_bytes_ != 0 && offset + from.size() != size_))
            co_return fail(ErrorKind::kInvalidArgument, filename_ + ": compressed writes are of whole clusters", EINVAL);
        if (encrypted_) co_return fail(ErrorKind::kUnsupported, filename_ + ": compression and encryption do not go together", ENOTSUP);
        for (uint64_t done = 0; done < from.size(); done += block_bytes_) {
            const uint64_t block = (offset + done) / block_bytes_;
            const IoVec part = from.slice(done, std::min<uint64_t>(block_bytes_, from.size() - done));
            std::vector<uint8_t> in(block_bytes_), out(block_bytes_);
            part.copy_to(in.data());
            size_t used = 0;
            bool ok = false;
            const auto work = [&] { ok = qcow2::compress_cluster(qcow2::Compression::kZlib, in, out, used); };
            co_await reactor_.offload(work);
            if (!ok || used >= block_bytes_) {
                if (auto r = co_await BlockMapNode::do_write(offset + done, part, {}); !r) co_return r;
                continue;
            }
            co_await wait_for(block, block + 1);
            const Range range(*this, block, block + 1);
            uint64_t at;
            {
                const auto alone = co_await map_.lock();
                at = next_;
                next_ += used;
                if (next_ > file_->size())
                    if (auto r = co_await file_->grow_to(next_); !r) co_return r;
            }
            if (auto r = co_await write_bytes(*file_, at, out.data(), used); !r) co_return r;
            const auto alone = co_await map_.lock();
            if (auto r = co_await set_entry(block, kCompressedFlag | uint64_t{used} << (63 - cluster_bits_) | at); !r) co_return r;
        }
        co_return Result<void>{};
    }

  private:
    /// A cluster's sectors, in place where it has a place, else as a whole in new space.
    Task<Result<void>> write_encrypted(uint64_t block, uint64_t within, const IoVec& from) {
        co_await wait_for(block, block + 1);
        const Range range(*this, block, block + 1);
        auto p = co_await place(block);
        if (!p) co_return std::unexpected(p.error());
        const bool own = p->kind == Place::Kind::kCompressed && !(p->host & kCompressedFlag);
        const uint64_t begin = block * block_bytes_, first = own ? within : 0;
        std::vector<uint8_t> bytes(own ? from.size() : block_bytes_);
        uint64_t host = own ? p->host : 0;
        if (!own) {
            const IoVec whole(bytes.data(), std::min(block_bytes_, size_ - begin));
            if (auto r = co_await do_read(begin, whole); !r) co_return r;
            const auto alone = co_await map_.lock();
            auto got = co_await reserve(block, 1);
            if (!got) co_return std::unexpected(got.error());
            host = got->first;
        }
        from.copy_to(bytes.data() + within - first);
        co_await cipher_->apply(reactor_, (begin + first) / 512, bytes, true);
        if (auto r = co_await write_bytes(*file_, host + first, bytes.data(), bytes.size()); !r) co_return r;
        if (own) co_return Result<void>{};
        const auto alone = co_await map_.lock();
        co_return co_await point(block, 1, host);
    }

    unsigned cluster_bits_ = 12;
    bool encrypted_ = false;
    std::string backing_file_;
    std::unique_ptr<crypto::SectorCipher> cipher_;
};

int probe_qcow(std::span<const uint8_t> head, std::string_view) {
    return head.size() >= kHeaderBytes && be32(head.data()) == kMagic && be32(head.data() + 4) == 1 ? 100 : 0;
}

Task<Result<NodePtr>> open_qcow(Graph& graph, const OpenOptions& o) {
    auto file = co_await open_below(graph, o);
    if (!file) co_return std::unexpected(file.error());
    auto node = std::make_shared<QcowNode>(graph, *file);
    if (auto r = co_await node->start(o); !r) co_return std::unexpected(r.error());
    co_return node;
}

Task<Result<void>> create_qcow(Graph& graph, const CreateOptions& o) {
    const CreateArgs args(o);
    auto old_way = args.on("encryption");
    if (!old_way) co_return std::unexpected(old_way.error());
    const auto format = args.text("encrypt.format");
    if (format && *format != "aes" && *format != "qcow") co_return fail(ErrorKind::kInvalidArgument, "Only AES encryption is supported with encrypt.format");
    const bool encrypt = *old_way || format;
    if (encrypt) {
        // The key is not stored, but who creates an image should find out here that it is missing.
        if (auto s = crypto::secret_of(graph, o.options, "encrypt.key-secret"); !s) co_return std::unexpected(s.error());
    }
    if (o.size == 0) co_return fail(ErrorKind::kInvalidArgument, "Image size is too small, cannot be zero length");
    // With a backing file clusters are small, so that little is copied.
    const unsigned cluster_bits = o.backing_file ? 9 : 12, l2_bits = o.backing_file ? 12 : 9;
    const std::string name = o.backing_file.value_or("");
    if (name.size() > 1023) co_return fail(ErrorKind::kInvalidArgument, "Backing file name too long");
    const uint64_t l1_at = align_up(kHeaderBytes + name.size(), 8), reach = uint64_t{1} << (cluster_bits + l2_bits), entries = (o.size + reach - 1) / reach;
    std::vector<uint8_t> h(l1_at);
    put_be32(&h[0], kMagic);
    put_be32(&h[4], 1);
    if (!name.empty()) {
        put_be64(&h[8], kHeaderBytes);
        put_be32(&h[16], static_cast<uint32_t>(name.size()));
        std::copy(name.begin(), name.end(), h.begin() + kHeaderBytes);
    }
    put_be64(&h[24], align_up(o.size, 512));
    h[32] = static_cast<uint8_t>(cluster_bits);
    h[33] = static_cast<uint8_t>(l2_bits);
    put_be32(&h[36], encrypt ? 1 : 0);
    put_be64(&h[40], l1_at);
    auto file = co_await create_file(graph, o);
    if (!file) co_return std::unexpected(file.error());
    if (auto r = co_await (*file)->truncate(align_up(l1_at + entries * 8, 512)); !r) co_return r;
    if (auto r = co_await write_bytes(**file, 0, h.data(), h.size()); !r) co_return r;
    co_return co_await (*file)->close();
}

using T = OptionInfo::Type;
constexpr OptionInfo kOptions[] = {
    {"size", T::kSize, "Virtual disk size", {}},
    {"backing_file", T::kString, "File name of a base image", {}},
    {"backing_fmt", T::kString, "Format of the backing image", {}},
    {"encryption", T::kBool, "Encrypt the image with format 'aes'. (Deprecated in favor of encrypt.format=aes)", {}},
    {"encrypt.format", T::kString, "Encrypt the image, format choices: 'aes'", {}},
    {"encrypt.key-secret", T::kString, "ID of the secret that provides the AES encryption key", {}},
};

}  // namespace

const Driver kQcowDriver{"qcow", Driver::Kind::kFormat, kOptions, probe_qcow, open_qcow, create_qcow, nullptr, true, true};

}  // namespace myna::block
