// Creating, preallocating and measuring qcow2 images, and the format's row in the registry.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/bits.h"
#include "block/formats/common/open.h"
#include "block/formats/luks/luks.h"
#include "block/formats/qcow2/qcow2.h"

namespace myna::block {

using namespace qcow2;

namespace {

/// "64k", "2M", "1G": bytes. Digits alone are bytes.
std::optional<uint64_t> parse_size(const std::string& s) {
    char* end = nullptr;
    const double v = std::strtod(s.c_str(), &end);
    if (end == s.c_str() || v < 0) return std::nullopt;
    static constexpr std::string_view kUnits = "bkmgtpe";
    uint64_t unit = 1;
    if (*end != 0) {
        const size_t i = kUnits.find(static_cast<char>(std::tolower(*end)));
        if (i == std::string_view::npos || end[1] != 0) return std::nullopt;
        unit = uint64_t{1} << (10 * i);
    }
    return static_cast<uint64_t>(v * static_cast<double>(unit));
}

struct Wanted {
    Header h;
    std::string preallocation = "off";
    std::string data_file;
    bool data_file_raw = false;
};

Result<Wanted> wanted(const CreateOptions& o) {
    Wanted w;
    const auto get = [&](const char* key) -> std::optional<std::string> {
        const auto it = o.options.find(key);
        if (it == o.options.end()) return std::nullopt;
        return it->is_string() ? it->get<std::string>() : it->dump();
    };
    const auto on = [&](const char* key) { return get(key).value_or("off") == "on"; };
    const auto bad = [](std::string m) { return fail(ErrorKind::kInvalidArgument, std::move(m)); };
    w.h.size = o.size;
    if (const auto v = get("compat")) {
        if (*v == "0.10" || *v == "v2") w.h.version = 2;
        else if (*v != "1.1" && *v != "v3") return bad("Parameter 'version' does not accept value '" + *v + "'");
    }
    if (const auto v = get("cluster_size")) {
        const auto n = parse_size(*v);
        if (!n || !std::has_single_bit(*n) || *n < 512 || *n > (2u << 20)) return bad("Cluster size must be a power of two between 512 and 2048k");
        w.h.cluster_bits = static_cast<uint32_t>(std::countr_zero(*n));
    }
    if (const auto v = get("refcount_bits")) {
        const unsigned long n = std::strtoul(v->c_str(), nullptr, 10);
        if (!std::has_single_bit(n) || n > 64) return bad("Refcount width must be a power of two and may not exceed 64 bits");
        if (w.h.version == 2 && n != 16) return bad("Different refcount widths than 16 bits require compatibility level 1.1 or above (use version=v3 or greater)");
        w.h.refcount_order = static_cast<uint32_t>(std::countr_zero(n));
    }
    if (on("lazy_refcounts")) {
        if (w.h.version == 2) return bad("Lazy refcounts only supported with compatibility level 1.1 and above (use version=v3 or greater)");
        w.h.compatible |= Compatible::kLazyRefcounts;
    }
    if (on("extended_l2")) {
        if (w.h.cluster_bits < 14) return bad("Extended L2 entries are only supported with cluster sizes of at least 16384 bytes");
        if (w.h.version == 2) return bad("Extended L2 entries are only supported with compatibility level 1.1 and above (use version=v3 or greater)");
        w.h.incompatible |= Incompatible::kExtendedL2;
    }
    if (const auto v = get("compression_type")) {
        if (*v == "zstd") {
            if (w.h.version == 2) return bad("Non-zlib compression type is only supported with compatibility level 1.1 and above (use version=v3 or greater)");
            w.h.compression = Compression::kZstd;
            w.h.incompatible |= Incompatible::kCompressionType;
        } else if (*v != "zlib") {
            return bad("Parameter 'compression-type' does not accept value '" + *v + "'");
        }
    }
    if (const auto v = get("encrypt.format")) {
        if (*v == "luks") w.h.crypt = Crypt::kLuks;
        else if (*v == "aes" || *v == "qcow") w.h.crypt = Crypt::kAes;
        else return bad("Invalid parameter '" + *v + "'");
    }
    if (on("encryption")) {
        if (get("encrypt.format")) return bad("Options encryption and encrypt.format are mutually exclusive");
        w.h.crypt = Crypt::kAes;
    }
    if (const auto v = get("preallocation")) {
        w.preallocation = *v;
        if (*v != "off" && *v != "metadata" && *v != "falloc" && *v != "full") return bad("Parameter 'preallocation' does not accept value '" + *v + "'");
        if (o.backing_file && *v != "off" && !w.h.extended_l2()) return bad("Backing file and preallocation can only be used at the same time if extended_l2 is enabled");
    }
    if (const auto v = get("data_file")) {
        if (w.h.version == 2) return bad("External data files are only supported with compatibility level 1.1 and above (use version=v3 or greater)");
        w.data_file = *v;
        w.h.incompatible |= Incompatible::kDataFile;
        w.h.set_extension(Extension::kDataFile, *v);
    }
    if (on("data_file_raw")) {
        if (w.data_file.empty()) return bad("data-file-raw requires data-file");
        if (o.backing_file) return bad("Backing file and data-file-raw cannot be used at the same time");
        w.data_file_raw = true;
        w.h.autoclear |= Autoclear::kRawDataFile;
    }
    if (o.backing_file) {
        w.h.backing_file = *o.backing_file;
        if (o.backing_format) w.h.set_extension(Extension::kBackingFormat, *o.backing_format);
    }
    const uint64_t reach = w.h.l2_reach();
    w.h.l1_entries = static_cast<uint32_t>(std::min<uint64_t>((o.size + reach - 1) / reach, UINT32_MAX));
    if (uint64_t{w.h.l1_entries} * 8 > kMaxL1Bytes) return fail(ErrorKind::kInvalidArgument, "The image size is too large (try using a larger cluster size)", EFBIG);
    return w;
}

/// Header, refcount table, one refcount block, L1 table: in this order from the start of the file.
struct Plan {
    uint64_t table_clusters, blocks, l1_clusters, total;
};
Plan plan(const Header& h, uint64_t data_clusters) {
    const uint64_t cluster = h.cluster_size(), per_block = cluster * 8 >> h.refcount_order;
    Plan p{1, 1, (uint64_t{h.l1_entries} * 8 + cluster - 1) >> h.cluster_bits, 0};
    for (;;) {
        p.total = 1 + p.table_clusters + p.blocks + p.l1_clusters + data_clusters;
        const uint64_t blocks = (p.total + per_block - 1) / per_block, table = (blocks * 8 + cluster - 1) >> h.cluster_bits;
        if (blocks <= p.blocks && table <= p.table_clusters) return p;
        p.blocks = std::max(blocks, p.blocks);
        p.table_clusters = std::max(table, p.table_clusters);
    }
}

Task<Result<void>> create_qcow2(Graph& graph, const CreateOptions& o) {
    auto w = wanted(o);
    if (!w) co_return std::unexpected(w.error());
    Header& h = w->h;
    std::optional<crypto::LuksNew> luks;
    if (h.crypt != Crypt::kNone) {
        auto password = crypto::secret_of(graph, o.options, "encrypt.key-secret");
        if (!password) co_return std::unexpected(password.error());
        if (h.crypt == Crypt::kLuks) {
            auto wants = crypto::luks_wanted(o, "encrypt.");
            if (!wants) co_return std::unexpected(wants.error());
            auto made = crypto::new_luks(wants->spec, *password, wants->ms);
            if (!made) co_return std::unexpected(made.error());
            luks = std::move(*made);
        }
    }
    CreateOptions below;
    below.filename = o.filename;
    if (const auto it = o.options.find("nocow"); it != o.options.end()) below.options["nocow"] = *it;
    if (auto r = co_await graph.create_protocol(below); !r) co_return r;
    if (!w->data_file.empty()) {
        CreateOptions data;
        data.filename = w->data_file;
        data.size = o.size;
        if (auto r = co_await graph.create_protocol(data); !r) co_return r;
    }
    auto file = co_await graph.open_protocol(o.filename, {});
    if (!file) co_return std::unexpected(file.error());

    const uint64_t cluster = h.cluster_size();
    const uint64_t luks_clusters = luks ? (luks->header.payload_bytes() + cluster - 1) >> h.cluster_bits : 0;
    const Plan p = plan(h, luks_clusters);
    if (luks) {
        std::string place(16, '\0');
        put64(place.data(), (p.total - luks_clusters) << h.cluster_bits);
        put64(place.data() + 8, luks->header.payload_bytes());
        h.set_extension(Extension::kCryptHeader, place);
    }
    h.refcount_table_offset = cluster;
    h.refcount_table_clusters = static_cast<uint32_t>(p.table_clusters);
    const uint64_t block_at = (1 + p.table_clusters) << h.cluster_bits;
    h.l1_offset = h.l1_entries == 0 ? 0 : (1 + p.table_clusters + p.blocks) << h.cluster_bits;
    // A device or an export keeps its size, and what it held before.
    const uint64_t bytes = p.total << h.cluster_bits;
    const bool fixed = !(*file)->zero_init() && (*file)->size() >= bytes;
    if (auto r = fixed ? co_await (*file)->write_zeroes(0, bytes) : co_await (*file)->truncate(bytes); !r) co_return r;
    std::vector<uint8_t> table(p.table_clusters << h.cluster_bits), blocks(p.blocks << h.cluster_bits);
    for (uint64_t b = 0; b < p.blocks; ++b) put64(&table[b * 8], block_at + (b << h.cluster_bits));
    const unsigned width = 1u << h.refcount_order;
    for (uint64_t c = 0; c < p.total; ++c) {
        // Counts of one: the low bit of entry c, in the byte order of its width.
        const uint64_t bit = c * width;
        if (width < 8) blocks[bit / 8] |= static_cast<uint8_t>(1u << (bit % 8));
        else blocks[(bit + width) / 8 - 1] = 1;
    }
    if (auto r = co_await (*file)->write(cluster, IoVec(table)); !r) co_return r;
    if (auto r = co_await (*file)->write(block_at, IoVec(blocks)); !r) co_return r;
    if (luks) {
        const uint64_t at = (p.total - luks_clusters) << h.cluster_bits;
        auto raw = luks->header.encode();
        if (auto r = co_await (*file)->write(at, IoVec(raw)); !r) co_return r;
        if (auto r = co_await (*file)->write(at + uint64_t{luks->header.slots[0].sector} * 512, IoVec(luks->material)); !r) co_return r;
    }
    auto head = encode_header(h);
    if (!head) co_return std::unexpected(head.error());
    if (auto r = co_await (*file)->write(0, IoVec(head->data(), head->size())); !r) co_return r;
    if (w->preallocation == "off") co_return co_await (*file)->close();

    // Preallocation: map every cluster, then give the file its bytes.
    if (auto r = co_await (*file)->close(); !r) co_return r;
    OpenOptions open;
    open.no_backing = true;
    open.no_io = h.crypt != Crypt::kNone;  // tables only
    auto node = co_await graph.open(o.filename, "qcow2", open);
    if (!node) co_return std::unexpected(node.error());
    auto* q = static_cast<Qcow2Node*>(node->get());
    if (auto r = co_await q->preallocate(w->preallocation, 0, o.backing_file.has_value()); !r) co_return r;
    co_return co_await (*node)->close();
}

Task<Result<NodePtr>> open_qcow2(Graph& graph, const OpenOptions& o) {
    auto file = co_await formats::open_below(graph, o);
    if (!file) co_return std::unexpected(file.error());
    auto node = std::make_shared<Qcow2Node>(graph, *file);
    if (auto r = co_await node->start(o); !r) co_return std::unexpected(r.error());
    co_return node;
}

int probe_qcow2(std::span<const uint8_t> head, std::string_view) {
    return head.size() >= 8 && be32(head.data()) == kMagic && be32(head.data() + 4) >= 2 ? 100 : 0;
}

Task<Result<MeasureResult>> measure_qcow2(Graph& graph, uint64_t size, Node* source, const CreateOptions& o) {
    CreateOptions with = o;
    with.size = source != nullptr ? source->size() : size;
    auto w = wanted(with);
    if (!w) co_return std::unexpected(w.error());
    const Header& h = w->h;
    const uint64_t cluster = h.cluster_size();
    const uint64_t all = (with.size + cluster - 1) >> h.cluster_bits;
    uint64_t needed = 0;
    if (source != nullptr) {
        for (uint64_t at = 0; at < source->size();) {
            auto e = co_await source->block_status(at, source->size() - at);
            if (!e) co_return std::unexpected(e.error());
            if (e->data && !e->zero) needed += ((at + e->length + cluster - 1) >> h.cluster_bits) - (at >> h.cluster_bits);
            at += e->length;
        }
    }
    // How much of what a backing file has is the same is not known: the worst case.
    if (w->preallocation == "full" || w->preallocation == "falloc" || (source != nullptr && o.backing_file)) needed = all;
    uint64_t luks = 0;
    if (h.crypt == Crypt::kLuks) {
        auto wants = crypto::luks_wanted(o, "encrypt.");
        if (!wants) co_return std::unexpected(wants.error());
        if (auto password = crypto::secret_of(graph, o.options, "encrypt.key-secret"); !password) co_return std::unexpected(password.error());
        luks = align_up(crypto::luks_header_bytes(wants->spec), cluster);
    }
    // The tables are sized for a full disk.
    const auto total = [&](uint64_t data) { return plan(h, (w->data_file.empty() ? data : 0) + h.l1_entries).total << h.cluster_bits; };
    MeasureResult m;
    m.fully_allocated = total(all) + luks;
    m.required = m.fully_allocated - (w->data_file.empty() ? (all - std::min(needed, all)) << h.cluster_bits : 0);
    if (source != nullptr && h.version == 3 && source->driver() == "qcow2") {
        auto list = co_await source->bitmaps();
        if (!list) co_return std::unexpected(list.error());
        uint64_t clusters = 0, directory = 0;
        for (const BitmapInfo& b : *list) {
            const uint64_t bytes = ((source->size() + b.granularity - 1) / b.granularity + 7) / 8;
            const uint64_t data = (bytes + cluster - 1) / cluster;
            clusters += data + (data * 8 + cluster - 1) / cluster;
            directory += align_up(24 + b.name.size(), 8);
        }
        m.bitmaps = (clusters << h.cluster_bits) + align_up(directory, cluster);
    }
    co_return m;
}

using T = OptionInfo::Type;
// In the order in which `create` lists what it was given.
constexpr OptionInfo kOptions[] = {
    {"encryption", T::kBool, "Encrypt the image with format 'aes'. (Deprecated in favor of encrypt.format=aes)", {}},
    {"encrypt.format", T::kString, "Encrypt the image, format choices: 'aes', 'luks'", {}},
    {"encrypt.key-secret", T::kString, "ID of secret providing qcow AES key or LUKS passphrase", {}},
    {"encrypt.cipher-alg", T::kString, "Name of encryption cipher algorithm", {}},
    {"encrypt.cipher-mode", T::kString, "Name of encryption cipher mode", {}},
    {"encrypt.ivgen-alg", T::kString, "Name of IV generator algorithm", {}},
    {"encrypt.ivgen-hash-alg", T::kString, "Name of IV generator hash algorithm", {}},
    {"encrypt.hash-alg", T::kString, "Name of encryption hash algorithm", {}},
    {"encrypt.iter-time", T::kNumber, "Time to spend in PBKDF in milliseconds", {}},
    {"cluster_size", T::kSize, "qcow2 cluster size", "65536"},
    {"extended_l2", T::kBool, "Extended L2 tables", "off"},
    {"preallocation", T::kString, "Preallocation mode (allowed values: off, metadata, falloc, full)", {}},
    {"compression_type", T::kString, "Compression method used for image cluster compression", "zlib"},
    {"size", T::kSize, "Virtual disk size", {}},
    {"compat", T::kString, "Compatibility level (v2 [0.10] or v3 [1.1])", {}},
    {"backing_file", T::kString, "File name of a base image", {}},
    {"backing_fmt", T::kString, "Image format of the base image", {}},
    {"data_file", T::kString, "File name of an external data file", {}},
    {"data_file_raw", T::kBool, "The external data file must stay valid as a raw image", {}},
    {"lazy_refcounts", T::kBool, "Postpone refcount updates", "off"},
    {"refcount_bits", T::kNumber, "Width of a reference count entry in bits", "16"},
};

}  // namespace

const Driver kQcow2Driver{"qcow2", Driver::Kind::kFormat, kOptions, probe_qcow2, open_qcow2, create_qcow2, measure_qcow2, true, true};

namespace qcow2 {

Task<Result<void>> Qcow2Node::preallocate(std::string mode, uint64_t from, bool behind_shows) {
    const auto alone = co_await map_.lock();
    const uint64_t cluster = h_.cluster_size();
    struct Run {
        uint64_t begin, end;
    };
    std::vector<Run> runs;
    // The last cluster before the growth may show the backing file: then it is not for zeroes.
    for (uint64_t at = backing_ ? align_up(from, cluster) : align_down(from, cluster); at < size_;) {
        // A cluster that is there already (the last one before the growth) stays.
        auto r = co_await l2_for_write(at);
        if (!r) co_return std::unexpected(r.error());
        if (const uint64_t e = entry(*r); (e & ~kZeroFlag) != 0) {
            const bool ours = (e & kCopied) && !(e & (kCompressed | kZeroFlag)) && !h_.extended_l2();
            if (at < from && ours && mode != "metadata") runs.push_back({(e & kOffsetMask) + from - at, (e & kOffsetMask) + cluster});
            at += cluster;
            continue;
        }
        uint64_t count = std::min<uint64_t>(clusters_of(size_ - at), 1024), host = at;
        if (!data_file_) {
            auto got = co_await allocate(count, false);
            if (!got) co_return std::unexpected(got.error());
            host = got->first;
            count = got->second;
        }
        for (uint64_t i = 0; i < count; ++i) {
            r = co_await l2_for_write(at + i * cluster);
            if (!r) co_return std::unexpected(r.error());
            set_entry(*r, (host + i * cluster) | kCopied, behind_shows ? 0 : low_bits(32));
        }
        if (!runs.empty() && runs.back().end == host) runs.back().end = host + count * cluster;
        else runs.push_back({host, host + count * cluster});
        at += count * cluster;
    }
    // Bytes before tables: what the tables name must read as zeroes.
    for (const Run& run : runs) {
        const uint64_t have = data().size();
        if (run.begin < have)
            if (auto r = co_await data().write_zeroes(run.begin, std::min(run.end, have) - run.begin, {.may_unmap = mode == "metadata"}); !r) co_return r;
        if (run.end > have)
            if (auto r = co_await data().truncate(run.end, mode == "metadata" ? "off" : mode); !r) co_return r;
    }
    co_return co_await flush_metadata();
}

}  // namespace qcow2

}  // namespace myna::block
