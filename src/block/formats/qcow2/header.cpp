// Decoding, checking and encoding the qcow2 header with its extensions. Nothing in the file is believed before it is
// checked here: sizes, offsets and counts are bounded so that hostile headers cost neither memory nor time.
#include <algorithm>

#include "base/bits.h"
#include "block/formats/qcow2/layout.h"

namespace myna::block::qcow2 {

namespace {

constexpr uint32_t kHeaderV2 = 72, kHeaderV3 = 104, kHeaderCompression = 112;

struct FeatureName {
    uint8_t type, bit;  // type: 0 incompatible, 1 compatible, 2 autoclear
    const char* name;
};
constexpr FeatureName kFeatureNames[] = {
    {0, 0, "dirty bit"}, {0, 1, "corrupt bit"}, {0, 2, "external data file"}, {0, 3, "compression type"},
    {0, 4, "extended L2 entries"}, {1, 0, "lazy refcounts"}, {2, 0, "bitmaps"}, {2, 1, "raw external data"},
};

std::string feature_table() {
    std::string t;
    for (const FeatureName& f : kFeatureNames) {
        std::string row(48, '\0');
        row[0] = static_cast<char>(f.type);
        row[1] = static_cast<char>(f.bit);
        std::copy_n(f.name, std::min<size_t>(std::strlen(f.name), 46), row.begin() + 2);
        t += row;
    }
    return t;
}

/// The incompatible features `mask`, by the image's own table of names as far as it has them, the rest as one number.
std::string name_features(const Header& h, uint64_t mask) {
    std::string list;
    const auto add = [&](const std::string& name) { list += (list.empty() ? "" : ", ") + name; };
    if (const Extension* e = h.extension(Extension::kFeatureNames))
        for (size_t at = 0; at + 2 < e->data.size(); at += 48) {  // the last row may be cut short
            const auto bit = static_cast<uint8_t>(e->data[at + 1]);
            if (e->data[at] != 0 || bit > 63 || !(mask >> bit & 1)) continue;
            add(e->data.substr(at + 2, 46).c_str());
            mask &= ~(uint64_t{1} << bit);
        }
    if (mask != 0) add("Unknown incompatible feature: " + hex(mask).substr(2));
    return list;
}

}  // namespace

void Header::set_extension(uint32_t type, std::string data) {
    for (Extension& e : extensions)
        if (e.type == type) {
            e.data = std::move(data);
            return;
        }
    extensions.push_back({type, std::move(data)});
}

Result<Header> decode_header(const std::string& head, const std::string& name, uint64_t file_size, bool repair) {
    const auto corrupt = [&](const std::string& what) { return fail(ErrorKind::kCorrupt, name + ": " + what, EINVAL); };
    const char* p = head.data();
    if (head.size() < kHeaderV2 || be32(p) != kMagic) return corrupt("Image is not in qcow2 format");
    Header h;
    h.version = be32(p + 4);
    if (h.version != 2 && h.version != 3) return fail(ErrorKind::kUnsupported, name + ": Unsupported qcow2 version " + std::to_string(h.version));
    const uint64_t backing_offset = be64(p + 8);
    const uint32_t backing_size = be32(p + 16);
    h.cluster_bits = be32(p + 20);
    if (h.cluster_bits < 9 || h.cluster_bits > 21) return corrupt("Unsupported cluster size: 2^" + std::to_string(h.cluster_bits));
    h.size = be64(p + 24);
    const uint32_t crypt = be32(p + 32);
    if (crypt > 2) return fail(ErrorKind::kUnsupported, name + ": Unsupported encryption method " + std::to_string(crypt));
    h.crypt = static_cast<Crypt>(crypt);
    h.l1_entries = be32(p + 36);
    h.l1_offset = be64(p + 40);
    h.refcount_table_offset = be64(p + 48);
    h.refcount_table_clusters = be32(p + 56);
    h.snapshot_count = be32(p + 60);
    h.snapshots_offset = be64(p + 64);
    uint32_t header_length = kHeaderV2;
    if (h.version == 3) {
        if (head.size() < kHeaderV3) return corrupt("qcow2 header is cut short");
        h.incompatible = be64(p + 72);
        h.compatible = be64(p + 80);
        h.autoclear = be64(p + 88);
        h.refcount_order = be32(p + 96);
        header_length = be32(p + 100);
        if (header_length < kHeaderV3) return corrupt("qcow2 header too short");
        if (header_length > h.cluster_size() || header_length > head.size()) return corrupt("qcow2 header exceeds cluster size");
        if (header_length > kHeaderV3) h.compression = static_cast<Compression>(p[104]);
    }
    const auto limit = std::min<uint64_t>(head.size(), h.cluster_size());
    if (backing_offset > h.cluster_size()) return corrupt("Invalid backing file offset");
    // Extensions lie between the header and the backing file name (or the end of the cluster).
    uint64_t at = header_length;
    const uint64_t ext_end = backing_offset != 0 ? std::min(backing_offset, limit) : limit;
    while (at + 8 <= ext_end) {
        const uint32_t type = be32(p + at), len = be32(p + at + 4);
        at += 8;
        if (type == Extension::kEnd) break;
        if (len > ext_end - at) return corrupt("Header extension too large");
        if (Extension::known(type)) h.set_extension(type, head.substr(at, len));  // the last one counts
        else h.extensions.push_back({type, head.substr(at, len)});
        at += align_up(len, 8);
    }
    if (const uint64_t unknown = h.incompatible & ~Incompatible::kKnown)
        return fail(ErrorKind::kUnsupported, name + ": Unsupported qcow2 feature(s): " + name_features(h, unknown));
    if (h.extended_l2() && h.cluster_bits < 14) return corrupt("Extended L2 entries need a cluster size of at least 16k");
    if (h.refcount_order > 6) return corrupt("Reference count entry width too large; may not exceed 64 bits");
    if (static_cast<uint8_t>(h.compression) > 1) return fail(ErrorKind::kUnsupported, name + ": unknown compression type " + std::to_string(static_cast<unsigned>(h.compression)));
    const bool has_bit = h.incompatible & Incompatible::kCompressionType;
    if (has_bit != (h.compression != Compression::kZlib)) return corrupt("the compression type and its feature bit disagree");
    if (backing_offset != 0) {
        if (backing_size > 1023 || backing_offset > limit || backing_size > limit - backing_offset) return corrupt("Backing file name too long");
        h.backing_file = head.substr(backing_offset, backing_size);
    }
    const uint64_t mask = h.cluster_size() - 1;
    const auto table_ok = [&](uint64_t offset, uint64_t bytes) { return (offset & mask) == 0 && offset <= file_size && bytes <= INT64_MAX - offset; };
    if (h.refcount_table_clusters == 0 && !repair) return corrupt("Image does not contain a reference count table");
    if (h.refcount_table_clusters == 0) h.refcount_table_offset = 0;
    else if (uint64_t{h.refcount_table_clusters} << h.cluster_bits > kMaxRefcountTableBytes) return corrupt("Reference count table too large");
    else if (h.refcount_table_offset == 0 || !table_ok(h.refcount_table_offset, uint64_t{h.refcount_table_clusters} << h.cluster_bits)) {
        if (!repair) return corrupt("Reference count table offset invalid");
        h.refcount_table_offset = h.refcount_table_clusters = 0;
    }
    if (h.size > UINT64_MAX - h.l2_reach()) return corrupt("Image is too big");
    const uint64_t l1_needed = (h.size + h.l2_reach() - 1) / h.l2_reach();
    if (uint64_t{h.l1_entries} * 8 > kMaxL1Bytes) return corrupt("Active L1 table too large");
    if (h.l1_entries < l1_needed) return corrupt("L1 table is too small");
    if (h.l1_entries > 0 && !table_ok(h.l1_offset, uint64_t{h.l1_entries} * 8)) return corrupt("Active L1 table offset invalid");
    if (h.snapshot_count > kMaxSnapshots) return corrupt("Snapshot table too large");
    if (!table_ok(h.snapshots_offset, 0)) return corrupt("Snapshot table offset invalid");
    return h;
}

Result<std::string> encode_header(const Header& h) {
    const uint32_t length = h.version == 2 ? kHeaderV2 : kHeaderCompression;
    std::string out(length, '\0');
    char* p = out.data();
    put32(p, kMagic);
    put32(p + 4, h.version);
    put32(p + 20, h.cluster_bits);
    put64(p + 24, h.size);
    put32(p + 32, static_cast<uint32_t>(h.crypt));
    put32(p + 36, h.l1_entries);
    put64(p + 40, h.l1_offset);
    put64(p + 48, h.refcount_table_offset);
    put32(p + 56, h.refcount_table_clusters);
    put32(p + 60, h.snapshot_count);
    put64(p + 64, h.snapshots_offset);
    if (h.version == 3) {
        put64(p + 72, h.incompatible);
        put64(p + 80, h.compatible);
        put64(p + 88, h.autoclear);
        put32(p + 96, h.refcount_order);
        put32(p + 100, length);
        p[104] = static_cast<char>(h.compression);
    }
    const auto add = [&](uint32_t type, const std::string& data) {
        std::string e(8 + align_up(data.size(), 8), '\0');
        put32(e.data(), type);
        put32(e.data() + 4, static_cast<uint32_t>(data.size()));
        std::copy(data.begin(), data.end(), e.begin() + 8);
        out += e;
    };
    // In the order in which other programs write them, what is not known here last.
    constexpr uint32_t kBefore[] = {Extension::kBackingFormat, Extension::kDataFile, Extension::kCryptHeader};
    for (const uint32_t type : kBefore)
        if (const Extension* e = h.extension(type)) add(type, e->data);
    std::string head = std::exchange(out, {});
    for (const Extension& e : h.extensions)
        if (e.type == Extension::kBitmaps) add(e.type, e.data);
    for (const Extension& e : h.extensions)
        if (e.type != Extension::kFeatureNames && e.type != Extension::kBitmaps && std::ranges::find(kBefore, e.type) == std::end(kBefore)) add(e.type, e.data);
    const std::string rest = std::exchange(out, std::move(head));
    // The names are for other programs' messages; they give way where clusters are too small for them.
    const size_t names = 8 + std::size(kFeatureNames) * 48;
    if (h.version == 3 && out.size() + rest.size() + names + 8 + h.backing_file.size() <= h.cluster_size()) add(Extension::kFeatureNames, feature_table());
    out += rest;
    add(Extension::kEnd, "");
    if (!h.backing_file.empty()) {
        put64(out.data() + 8, out.size());
        put32(out.data() + 16, static_cast<uint32_t>(h.backing_file.size()));
        out += h.backing_file;
    }
    if (out.size() > h.cluster_size()) return fail(ErrorKind::kNoSpace, "the qcow2 header does not fit one cluster: the backing file name is too long", ENOSPC);
    out.resize(std::min<uint64_t>(h.cluster_size(), align_up(out.size(), 512)));
    return out;
}

}  // namespace myna::block::qcow2
