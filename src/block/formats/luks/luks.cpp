#include "block/formats/luks/luks.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/bits.h"
#include "block/formats/common/open.h"
#include "block/formats/luks/keyslots.h"

namespace myna::block {

using namespace crypto;
using namespace formats;

namespace crypto {

Result<std::string> secret_of(const Graph& graph, const nlohmann::json& options, const std::string& key) {
    const auto it = options.find(key);
    if (it == options.end() || !it->is_string()) return fail(ErrorKind::kInvalidArgument, "Parameter '" + key + "' is required for cipher");
    const std::string* s = graph.secret(it->get<std::string>());
    if (s == nullptr) return fail(ErrorKind::kNotFound, "No secret with id '" + it->get<std::string>() + "'");
    return *s;
}

Task<Result<std::vector<uint8_t>>> unlock(Node& file, uint64_t base, const LuksHeader& h, std::string password) {
    for (const LuksSlot& s : h.slots) {
        if (!s.active) continue;
        auto material = co_await read_bytes(file, base + uint64_t{s.sector} * 512, h.material_bytes(s));
        if (!material) co_return std::unexpected(material.error());
        std::vector<uint8_t> key;
        const auto work = [&] { key = h.try_slot(s, *material, {reinterpret_cast<const uint8_t*>(password.data()), password.size()}); };
        co_await file.reactor().offload(work);
        if (!key.empty()) co_return key;
    }
    co_return fail(ErrorKind::kPermission, "Invalid password, cannot unlock any keyslot", EPERM);
}

Result<LuksWanted> luks_wanted(const CreateOptions& o, const std::string& prefix) {
    const CreateArgs args(o);
    const auto get = [&](const char* key) { return args.text((prefix + key).c_str()); };
    LuksWanted w;
    if (const auto v = get("cipher-alg")) w.spec.cipher = *v;
    if (const auto v = get("cipher-mode")) w.spec.mode = *v;
    if (const auto v = get("hash-alg")) w.spec.hash = *v;
    w.spec.ivgen = get("ivgen-alg").value_or(w.spec.mode == "ecb" ? "" : "plain64");
    w.spec.ivgen_hash = get("ivgen-hash-alg").value_or(w.spec.ivgen == "essiv" ? "sha256" : "");
    const auto refuse = [&](const char* key, const std::string& value) { return fail(ErrorKind::kInvalidArgument, "Parameter '" + prefix + key + "' does not accept value '" + value + "'"); };
    if (w.spec.key_bytes() == 0) return refuse("cipher-alg", w.spec.cipher);
    if (hash_number(w.spec.hash) == 0) return refuse("hash-alg", w.spec.hash);
    if (const auto v = get("iter-time")) {
        char* end = nullptr;
        const unsigned long ms = std::strtoul(v->c_str(), &end, 10);
        if (ms == 0 || ms > 600000 || *end != 0) return refuse("iter-time", *v);
        w.ms = static_cast<unsigned>(ms);
    }
    return w;
}

uint64_t luks_header_bytes(const CipherSpec& spec) { return 4096 + kLuksSlots * align_up(spec.key_bytes() * 4000, 4096); }

}  // namespace crypto

namespace {

class LuksNode final : public Node {
  public:
    LuksNode(Graph& graph, NodePtr file) : Node(graph.reactor()), graph_(graph) {
        file_ = std::move(file);
        filename_ = file_->filename();
        read_only_ = file_->read_only();
        limits_.request_alignment = 512;
        limits_.max_transfer = 2 << 20;  // of which a copy is made
    }
    [[nodiscard]] std::string_view driver() const noexcept override { return "luks"; }
    [[nodiscard]] bool encrypted() const override { return true; }
    [[nodiscard]] nlohmann::json specific_info() const override { return {{"type", "luks"}, {"data", h_.info()}}; }

    Task<Result<void>> start(const OpenOptions& o) {
        auto raw = co_await read_bytes(*file_, 0, kLuksHeaderBytes);
        if (!raw) co_return std::unexpected(raw.error());
        auto h = LuksHeader::decode(*raw, filename_);
        if (!h) co_return std::unexpected(h.error());
        h_ = std::move(*h);
        if (h_.payload_sector == 0 || h_.payload_bytes() > file_->size()) co_return fail(ErrorKind::kCorrupt, filename_ + ": the payload is outside the file; detached headers are not supported", EINVAL);
        size_ = align_down(file_->size() - h_.payload_bytes(), 512);
        if (o.no_io) co_return Result<void>{};
        auto password = secret_of(graph_, o.options, "key-secret");
        if (!password) co_return std::unexpected(password.error());
        auto key = co_await unlock(*file_, 0, h_, *password);
        if (!key) co_return std::unexpected(key.error());
        auto c = SectorCipher::create(h_.spec, *key);
        if (!c) co_return std::unexpected(c.error());
        cipher_ = std::move(*c);
        co_return Result<void>{};
    }

    Task<Result<void>> amend(const nlohmann::json& given) override {
        nlohmann::json options = given;
        auto change = KeyslotChange::take(options, "");
        if (!change) co_return std::unexpected(change.error());
        co_return co_await change_keyslots(graph_, *file_, 0, h_, std::move(*change));
    }

  protected:
    Task<Result<void>> do_read(uint64_t offset, const IoVec& into) override {
        if (!cipher_) co_return fail(ErrorKind::kPermission, filename_ + ": the image was opened without its key", EPERM);
        std::vector<uint8_t> copy;
        // One stretch of memory is decrypted where it lies.
        std::span<uint8_t> bytes;
        if (into.parts().size() == 1) {
            bytes = {static_cast<uint8_t*>(into.parts()[0].iov_base), into.size()};
        } else {
            copy.resize(into.size());
            bytes = copy;
        }
        const IoVec stored(bytes.data(), bytes.size());
        if (auto r = co_await file_->read(h_.payload_bytes() + offset, stored); !r) co_return r;
        co_await cipher_->apply(reactor_, offset / 512, bytes, false);
        if (!copy.empty()) into.copy_from(copy.data());
        co_return Result<void>{};
    }
    Task<Result<void>> do_write(uint64_t offset, const IoVec& from, WriteFlags flags) override {
        if (!cipher_) co_return fail(ErrorKind::kPermission, filename_ + ": the image was opened without its key", EPERM);
        std::vector<uint8_t> bytes(from.size());
        from.copy_to(bytes.data());
        co_await cipher_->apply(reactor_, offset / 512, bytes, true);
        const IoVec stored(bytes.data(), bytes.size());
        co_return co_await file_->write(h_.payload_bytes() + offset, stored, flags);
    }
    /// New space is what the file gives: it reads as noise, like that of a new image, until it is written.
    Task<Result<void>> do_truncate(uint64_t size, std::string_view preallocation) override {
        if (auto r = co_await file_->truncate(h_.payload_bytes() + size, preallocation); !r) co_return r;
        size_ = size;
        co_return Result<void>{};
    }

  private:
    Graph& graph_;
    LuksHeader h_;
    std::unique_ptr<SectorCipher> cipher_;
};

int probe_luks(std::span<const uint8_t> head, std::string_view) {
    static constexpr uint8_t kMagic[8] = {'L', 'U', 'K', 'S', 0xba, 0xbe, 0, 1};
    return head.size() >= 8 && std::equal(std::begin(kMagic), std::end(kMagic), head.begin()) ? 100 : 0;
}

Task<Result<NodePtr>> open_luks(Graph& graph, const OpenOptions& o) {
    auto file = co_await open_below(graph, o);
    if (!file) co_return std::unexpected(file.error());
    auto node = std::make_shared<LuksNode>(graph, *file);
    if (auto r = co_await node->start(o); !r) co_return std::unexpected(r.error());
    co_return node;
}

Task<Result<void>> create_luks(Graph& graph, const CreateOptions& o) {
    auto w = luks_wanted(o, "");
    if (!w) co_return std::unexpected(w.error());
    auto password = secret_of(graph, o.options, "key-secret");
    if (!password) co_return std::unexpected(password.error());
    const CreateArgs args(o);
    const auto prealloc = args.text("preallocation").value_or("off");
    auto made = new_luks(w->spec, *password, w->ms);
    if (!made) co_return std::unexpected(made.error());
    auto file = co_await create_file(graph, o);
    if (!file) co_return std::unexpected(file.error());
    const LuksHeader& h = made->header;
    if (auto r = co_await (*file)->truncate(h.payload_bytes() + align_up(o.size, 512), prealloc); !r) co_return r;
    if (auto r = co_await write_bytes(**file, uint64_t{h.slots[0].sector} * 512, made->material.data(), made->material.size()); !r) co_return r;
    const auto raw = h.encode();
    if (auto r = co_await write_bytes(**file, 0, raw.data(), raw.size()); !r) co_return r;
    co_return co_await (*file)->close();
}

Task<Result<MeasureResult>> measure_luks(Graph&, uint64_t size, Node* source, const CreateOptions& o) {
    auto w = luks_wanted(o, "");
    if (!w) co_return std::unexpected(w.error());
    const uint64_t bytes = luks_header_bytes(w->spec) + align_up(source != nullptr ? source->size() : size, 512);
    co_return MeasureResult{.required = bytes, .fully_allocated = bytes, .bitmaps = std::nullopt};
}

using T = OptionInfo::Type;
constexpr OptionInfo kOptions[] = {
    {"size", T::kSize, "Virtual disk size", {}},
    {"key-secret", T::kString, "ID of the secret that provides the keyslot passphrase", {}},
    {"cipher-alg", T::kString, "Name of encryption cipher algorithm", {}},
    {"cipher-mode", T::kString, "Name of encryption cipher mode", {}},
    {"ivgen-alg", T::kString, "Name of IV generator algorithm", {}},
    {"ivgen-hash-alg", T::kString, "Name of IV generator hash algorithm", {}},
    {"hash-alg", T::kString, "Name of encryption hash algorithm", {}},
    {"iter-time", T::kNumber, "Time to spend in PBKDF in milliseconds", {}},
};

}  // namespace

const Driver kLuksDriver{"luks", Driver::Kind::kFormat, kOptions, probe_luks, open_luks, create_luks, measure_luks, false, false};

}  // namespace myna::block
