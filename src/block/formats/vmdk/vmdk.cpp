// The vmdk node: descriptor, extents one behind the other, parent; creating images; the format's row in the registry.
#include "block/formats/vmdk/vmdk.h"

#include <fmt/format.h>
#include <sys/random.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/bits.h"
#include "block/formats/common/open.h"

namespace myna::block {

using namespace vmdk;

namespace {

constexpr size_t kMaxDescriptor = 1 << 20, kMaxExtents = 65536;

struct Part {
    uint64_t begin = 0, end = 0;   // bytes of the disk
    NodePtr node;                  // SparseExtent, or the file of a flat extent; null: zeroes
    uint64_t offset = 0;           // of a flat extent in its file
    bool sparse = false;
    ExtentLine line;
    std::string filename;
};

class VmdkNode final : public Node {
  public:
    VmdkNode(Graph& graph, NodePtr file) : Node(graph.reactor()), graph_(graph), cid_lock_(graph.reactor()) {
        file_ = std::move(file);
        filename_ = file_->filename();
        read_only_ = file_->read_only();
    }
    [[nodiscard]] std::string_view driver() const noexcept override { return "vmdk"; }
    [[nodiscard]] uint32_t cid() const noexcept { return d_.cid; }
    [[nodiscard]] std::optional<uint32_t> cluster_size() const override {
        return !parts_.empty() && parts_[0].sparse ? parts_[0].node->cluster_size() : std::nullopt;
    }
    [[nodiscard]] std::optional<std::string> backing_name() const override {
        return d_.parent_cid == kNoParent || d_.parent_hint.empty() ? std::nullopt : std::optional(d_.parent_hint);
    }
    [[nodiscard]] std::optional<std::string> backing_format_name() const override { return backing_name() ? std::optional<std::string>("vmdk") : std::nullopt; }
    [[nodiscard]] bool zero_init() const override {
        return std::all_of(parts_.begin(), parts_.end(), [](const Part& p) { return !p.node || p.sparse || p.node->zero_init(); });
    }
    [[nodiscard]] bool compressed() const override { return !parts_.empty() && parts_[0].sparse && parts_[0].node->compressed(); }
    [[nodiscard]] std::optional<uint64_t> allocated_bytes() const override {
        uint64_t sum = file_->allocated_bytes().value_or(0);
        for (const Part& p : parts_)
            if (p.node && p.filename != filename_) sum += p.node->allocated_bytes().value_or(0);
        return sum;
    }
    [[nodiscard]] nlohmann::json specific_info() const override {
        nlohmann::json extents = nlohmann::json::array();
        for (const Part& p : parts_) {
            nlohmann::json e;
            if (p.sparse && p.node->compressed()) e["compressed"] = true;
            e["virtual-size"] = p.end - p.begin;
            e["filename"] = p.filename;
            if (p.sparse) e["cluster-size"] = *p.node->cluster_size();
            e["format"] = embedded_ ? "" : p.line.type;
            extents.push_back(e);
        }
        return {{"type", "vmdk"}, {"data", {{"cid", d_.cid}, {"parent-cid", d_.parent_cid}, {"create-type", d_.create_type}, {"extents", extents}}}};
    }

    Task<Result<void>> start(const OpenOptions& o) {
        auto head = co_await read_bytes(*file_, 0, 512);
        if (!head) co_return std::unexpected(head.error());
        const uint32_t magic = le32(head->data());
        if (magic == kHostedMagic || magic == kEsxMagic || le64(head->data()) == kSeSparseMagic) {
            // The file is an extent itself; a hosted one has the descriptor in it.
            auto extent = std::make_shared<SparseExtent>(graph_, file_);
            if (auto r = co_await extent->start(0); !r) co_return r;
            embedded_ = true;
            if (extent->descriptor_bytes != 0) {
                auto text = co_await read_bytes(*file_, descriptor_at_ = extent->descriptor_at, descriptor_room_ = extent->descriptor_bytes);
                if (!text) co_return std::unexpected(text.error());
                auto d = parse_descriptor({reinterpret_cast<const char*>(text->data()), text->size()}, filename_);
                if (!d) co_return std::unexpected(d.error());
                d_ = std::move(*d);
            } else {
                d_.create_type = magic == kEsxMagic ? "vmfsSparse" : magic == kHostedMagic ? "monolithicSparse" : "seSparse";
            }
            Part p;
            p.end = extent->size();
            p.node = extent;
            p.sparse = true;
            p.filename = filename_;
            parts_.push_back(std::move(p));
        } else {
            if (file_->size() > kMaxDescriptor) co_return fail(ErrorKind::kCorrupt, filename_ + ": Image not in VMDK format", EINVAL);
            auto text = co_await read_bytes(*file_, 0, file_->size());
            if (!text) co_return std::unexpected(text.error());
            auto d = parse_descriptor({reinterpret_cast<const char*>(text->data()), text->size()}, filename_);
            if (!d) co_return std::unexpected(d.error());
            d_ = std::move(*d);
            if (auto r = co_await open_extents(o); !r) co_return r;
        }
        if (parts_.empty()) co_return fail(ErrorKind::kCorrupt, filename_ + ": the descriptor names no extents", EINVAL);
        size_ = parts_.back().end;
        if (d_.parent_cid != kNoParent && !o.no_backing) {
            if (auto r = co_await open_parent(o); !r) co_return r;
        }
        co_return Result<void>{};
    }

    Task<Result<CheckResult>> check(CheckFix fix) override {
        CheckResult out;
        for (const Part& p : parts_) {
            if (!p.sparse) {
                if (p.node && p.offset + (p.end - p.begin) > p.node->size()) {
                    ++out.corruptions;
                    out.messages.push_back("ERROR: " + p.filename + " ends before its extent does");
                }
                continue;
            }
            auto r = co_await p.node->check(fix);
            if (!r) co_return r;
            out.corruptions += r->corruptions;
            out.total_clusters += r->total_clusters;
            out.allocated_clusters += r->allocated_clusters;
            out.fragmented_clusters += r->fragmented_clusters;
            out.compressed_clusters += r->compressed_clusters;
            for (auto& m : r->messages) out.messages.push_back(std::move(m));
        }
        co_return out;
    }

    Task<Result<void>> do_close() override {
        Result<void> r = read_only_ ? Result<void>{} : co_await flush();
        for (const Part& p : parts_)
            if (p.node)
                if (auto c = co_await p.node->close(); !c && r) r = c;
        if (!embedded_)
            if (auto c = co_await file_->close(); !c && r) r = c;
        if (backing_)
            if (auto c = co_await backing_->close(); !c && r) r = c;
        co_return r;
    }

  protected:
    Task<Result<void>> do_read(uint64_t offset, const IoVec& into) override {
        for (uint64_t done = 0; done < into.size();) {
            const Part& p = part(offset + done);
            const uint64_t at = offset + done - p.begin, n = std::min<uint64_t>(into.size() - done, p.end - p.begin - at);
            const IoVec piece = into.slice(done, n);
            if (p.line.access == "NOACCESS") co_return refused(p);
            if (!p.node) {
                piece.fill(0);
            } else if (auto r = co_await p.node->read(p.offset + at, piece); !r) {
                co_return r;
            }
            done += n;
        }
        co_return Result<void>{};
    }
    Task<Result<void>> do_write(uint64_t offset, const IoVec& from, WriteFlags flags) override {
        if (auto r = co_await new_content(); !r) co_return r;
        for (uint64_t done = 0; done < from.size();) {
            const Part& p = part(offset + done);
            const uint64_t at = offset + done - p.begin, n = std::min<uint64_t>(from.size() - done, p.end - p.begin - at);
            const IoVec piece = from.slice(done, n);
            if (p.line.access != "RW" && !embedded_) co_return refused(p);
            if (!p.node) co_return fail(ErrorKind::kUnsupported, filename_ + ": an extent of type ZERO cannot be written to", ENOTSUP);
            if (auto r = co_await p.node->write(p.offset + at, piece, flags); !r) co_return r;
            done += n;
        }
        co_return Result<void>{};
    }
    Task<Result<void>> do_write_zeroes(uint64_t offset, uint64_t length, WriteFlags flags) override {
        return zero_or_discard(offset, length, flags, false);
    }
    Task<Result<void>> do_discard(uint64_t offset, uint64_t length) override { return zero_or_discard(offset, length, {}, true); }
    Task<Result<void>> do_flush() override {
        for (const Part& p : parts_)
            if (p.node)
                if (auto r = co_await p.node->flush(); !r) co_return r;
        if (!embedded_) co_return co_await file_->flush();
        co_return Result<void>{};
    }
    Task<Result<Extent>> do_block_status(uint64_t offset, uint64_t length) override {
        const Part& p = part(offset);
        const uint64_t at = offset - p.begin;
        length = std::min(length, p.end - offset);
        if (!p.node) co_return Extent{.length = length, .zero = true, .allocated = true};
        auto e = co_await p.node->block_status(p.offset + at, length);
        if (e) e->eof = false;
        co_return e;
    }

  private:
    [[nodiscard]] const Part& part(uint64_t offset) const {
        return *std::upper_bound(parts_.begin(), parts_.end(), offset, [](uint64_t at, const Part& p) { return at < p.end; });
    }
    [[nodiscard]] std::unexpected<Error> refused(const Part& p) const {
        return fail(ErrorKind::kPermission, filename_ + ": the descriptor allows '" + p.line.access + "' only for extent '" + p.line.file + "'", EACCES);
    }
    Task<Result<void>> zero_or_discard(uint64_t offset, uint64_t length, WriteFlags flags, bool discard) {
        if (auto r = co_await new_content(); !r) co_return r;
        for (uint64_t done = 0; done < length;) {
            const Part& p = part(offset + done);
            const uint64_t at = offset + done - p.begin, n = std::min(length - done, p.end - p.begin - at);
            if (p.line.access != "RW" && !embedded_) co_return refused(p);
            if (p.node) {
                auto r = discard ? co_await p.node->discard(p.offset + at, n) : co_await p.node->write_zeroes(p.offset + at, n, flags);
                if (!r) co_return r;
            }
            done += n;
        }
        co_return Result<void>{};
    }

    Task<Result<void>> open_extents(const OpenOptions& o) {
        static constexpr std::string_view kKinds[] = {"monolithicFlat", "vmfs", "vmfsSparse", "seSparse", "twoGbMaxExtentSparse", "twoGbMaxExtentFlat"};
        if (std::find(std::begin(kKinds), std::end(kKinds), std::string_view(d_.create_type)) == std::end(kKinds))
            co_return fail(ErrorKind::kUnsupported, filename_ + ": Unsupported image type '" + d_.create_type + "'", ENOTSUP);
        if (d_.extents.size() > kMaxExtents) co_return fail(ErrorKind::kCorrupt, filename_ + ": the descriptor names too many extents", EINVAL);
        uint64_t at = 0;
        for (const ExtentLine& line : d_.extents) {
            Part p;
            p.line = line;
            if (line.sectors > (uint64_t{1} << 53) || at + line.sectors * kSector > (uint64_t{1} << 62) || line.offset > (uint64_t{1} << 53))
                co_return fail(ErrorKind::kCorrupt, filename_ + ": the extent '" + line.file + "' is impossibly large", EINVAL);
            p.begin = at;
            p.end = at += line.sectors * kSector;
            if (line.type != "ZERO" && line.access != "NOACCESS") {
                p.filename = Graph::resolve_backing(filename_, line.file);
                if (p.filename == filename_) co_return fail(ErrorKind::kCorrupt, filename_ + ": the descriptor names itself as an extent", EINVAL);
                OpenOptions below = o;
                below.writethrough = false;
                below.read_only = o.read_only || line.access != "RW";
                auto file = co_await graph_.open_protocol(p.filename, below);
                if (!file) co_return std::unexpected(file.error());
                if (line.type == "FLAT" || line.type == "VMFS") {
                    p.node = *file;
                    p.offset = line.offset * kSector;
                    if (p.offset > (*file)->size() || line.sectors * kSector > (*file)->size() - p.offset)
                        co_return fail(ErrorKind::kCorrupt, filename_ + ": extent file '" + p.filename + "' is shorter than the descriptor says", EINVAL);
                } else if (line.type == "SPARSE" || line.type == "VMFSSPARSE" || line.type == "SESPARSE") {
                    auto extent = std::make_shared<SparseExtent>(graph_, *file);
                    if (auto r = co_await extent->start(line.sectors); !r) co_return r;
                    p.node = extent;
                    p.sparse = true;
                } else {
                    co_return fail(ErrorKind::kUnsupported, filename_ + ": Unsupported extent type '" + line.type + "'", ENOTSUP);
                }
            }
            parts_.push_back(std::move(p));
        }
        descriptor_room_ = kMaxDescriptor;
        co_return Result<void>{};
    }

    Task<Result<void>> open_parent(const OpenOptions& o) {
        if (d_.parent_hint.empty() && !o.options.contains("backing")) co_return fail(ErrorKind::kCorrupt, filename_ + ": the descriptor has a parent, but does not say where (parentFileNameHint)", EINVAL);
        auto parent = co_await graph_.open_backing(filename_, d_.parent_hint, "vmdk", o);
        if (!parent) co_return std::unexpected(parent.error());
        if (const auto* v = dynamic_cast<const VmdkNode*>(parent->get()); v != nullptr && v->cid() != d_.parent_cid)
            co_return fail(ErrorKind::kCorrupt, fmt::format("{}: the parent '{}' was changed since this image was made (its content ID is {:08x}, not {:08x}); what would be read is not what was written",
                                                            filename_, d_.parent_hint, v->cid(), d_.parent_cid), EINVAL);
        backing_ = *parent;
        for (const Part& p : parts_)
            if (p.sparse) static_cast<SparseExtent*>(p.node.get())->set_backing(backing_, p.begin);
        co_return Result<void>{};
    }

    /// Before the first write: children of this image must see that it is not what they knew.
    Task<Result<void>> new_content() {
        if (changed_ || descriptor_room_ == 0) co_return Result<void>{};
        const auto alone = co_await cid_lock_.lock();
        if (changed_) co_return Result<void>{};
        uint32_t cid = 0;
        while (cid == 0 || cid == kNoParent || cid == d_.cid)
            if (getrandom(&cid, sizeof cid, 0) != sizeof cid) co_return fail_errno(errno, "getrandom");
        std::string text = d_.with_cid(cid);
        if (text.size() > descriptor_room_) co_return fail(ErrorKind::kNoSpace, filename_ + ": there is no room for a new content ID in the descriptor", ENOSPC);
        d_.text = text;
        d_.cid = cid;
        if (embedded_) text.resize(descriptor_room_);
        else if (auto r = co_await file_->truncate(text.size()); !r) co_return r;
        if (auto r = co_await write_bytes(*file_, descriptor_at_, text.data(), text.size()); !r) co_return r;
        changed_ = true;
        co_return Result<void>{};
    }

    Graph& graph_;
    Descriptor d_;
    bool embedded_ = false, changed_ = false;
    uint64_t descriptor_at_ = 0, descriptor_room_ = 0;
    std::vector<Part> parts_;
    io::Mutex cid_lock_;
};

int probe_vmdk(std::span<const uint8_t> head, std::string_view) {
    if (head.size() < 8) return 0;
    if (le32(head.data()) == kHostedMagic || le32(head.data()) == kEsxMagic || le64(head.data()) == kSeSparseMagic) return 100;
    // Text: comments and empty lines, then the version.
    std::string_view text(reinterpret_cast<const char*>(head.data()), head.size());
    while (!text.empty()) {
        const size_t end = text.find('\n');
        std::string_view line = text.substr(0, end);
        while (!line.empty() && (line.back() == '\r' || line.back() == ' ')) line.remove_suffix(1);
        if (!line.empty() && line.front() != '#') return line == "version=1" || line == "version=2" || line == "version=3" ? 100 : 0;
        if (end == std::string_view::npos) return 0;
        text.remove_prefix(end + 1);
    }
    return 0;
}

Task<Result<NodePtr>> open_vmdk(Graph& graph, const OpenOptions& o) {
    auto file = co_await open_below(graph, o);
    if (!file) co_return std::unexpected(file.error());
    auto node = std::make_shared<VmdkNode>(graph, *file);
    if (auto r = co_await node->start(o); !r) co_return std::unexpected(r.error());
    co_return node;
}

// ---- creating

struct Wanted {
    std::string subformat = "monolithicSparse", adapter = "ide", hwversion = "4", tools = "2147483647";
    bool zero_grain = false;
    [[nodiscard]] bool flat() const { return subformat == "monolithicFlat" || subformat == "twoGbMaxExtentFlat"; }
    [[nodiscard]] bool split() const { return subformat.starts_with("twoGb"); }
    [[nodiscard]] bool stream() const { return subformat == "streamOptimized"; }
};

Result<Wanted> wanted(const CreateOptions& o) {
    const CreateArgs args(o);
    Wanted w;
    const auto one_of = [&](const char* key, std::string& out, std::initializer_list<std::string_view> allowed) -> Result<void> {
        if (const auto v = args.text(key)) out = *v;
        if (std::find(allowed.begin(), allowed.end(), out) == allowed.end()) return fail(ErrorKind::kInvalidArgument, "invalid parameter value: " + out);
        return {};
    };
    if (auto r = one_of("subformat", w.subformat, {"monolithicSparse", "monolithicFlat", "twoGbMaxExtentSparse", "twoGbMaxExtentFlat", "streamOptimized"}); !r) return std::unexpected(r.error());
    if (auto r = one_of("adapter_type", w.adapter, {"ide", "buslogic", "lsilogic", "legacyESX"}); !r) return std::unexpected(r.error());
    auto compat6 = args.on("compat6");
    if (!compat6) return std::unexpected(compat6.error());
    if (const auto v = args.text("hwversion"); v && *v != "undefined") {
        if (*compat6) return fail(ErrorKind::kInvalidArgument, "compat6 cannot be enabled with hwversion set");
        if (v->find_first_of("\"\n") != std::string::npos) return fail(ErrorKind::kInvalidArgument, "invalid parameter value: " + *v);
        w.hwversion = *v;
    }
    if (*compat6) w.hwversion = "6";
    if (const auto v = args.text("toolsversion")) {
        if (v->find_first_of("\"\n") != std::string::npos) return fail(ErrorKind::kInvalidArgument, "invalid parameter value: " + *v);
        w.tools = *v;
    }
    auto zero = args.on("zeroed_grain");
    if (!zero) return std::unexpected(zero.error());
    w.zero_grain = *zero;
    if (w.flat() && o.backing_file) return fail(ErrorKind::kInvalidArgument, "Flat image can't have backing file");
    if (w.flat() && w.zero_grain) return fail(ErrorKind::kInvalidArgument, "Flat image can't enable zeroed grain");
    if (o.backing_format && *o.backing_format != "vmdk") return fail(ErrorKind::kInvalidArgument, "Invalid backing file format: " + *o.backing_format + ". Must be vmdk");
    return w;
}

Task<Result<void>> make_extent(Graph& graph, const CreateOptions& o, const std::string& name, const Wanted& w, uint64_t sectors, std::string_view text) {
    CreateOptions below;
    below.filename = name;
    below.options = o.options;
    auto file = co_await create_file(graph, below);
    if (!file) co_return std::unexpected(file.error());
    if (w.flat()) {
        if (auto r = co_await (*file)->truncate(sectors * kSector); !r) co_return r;
        co_return co_await (*file)->close();
    }
    const HostedPlan p = hosted_plan(sectors);
    if (auto r = co_await (*file)->truncate(p.grains_at * kSector); !r) co_return r;
    const auto h = hosted_header(sectors, w.stream(), w.zero_grain);
    if (auto r = co_await write_bytes(**file, 0, h.data(), h.size()); !r) co_return r;
    for (const uint64_t at : {p.redundant_at, p.directory_at}) {
        std::vector<uint8_t> directory(p.directory_sectors * kSector);
        for (uint64_t i = 0; i < p.tables; ++i) put_le32(&directory[i * 4], static_cast<uint32_t>(at + p.directory_sectors + i * (kTableEntries * 4 / kSector)));
        if (auto r = co_await write_bytes(**file, at * kSector, directory.data(), directory.size()); !r) co_return r;
    }
    if (text.size() > kDescriptorSectors * kSector) co_return fail(ErrorKind::kInvalidArgument, "the descriptor does not fit; is the backing file's name that long?");
    if (!text.empty())
        if (auto r = co_await write_bytes(**file, kDescriptorAt * kSector, text.data(), text.size()); !r) co_return r;
    co_return co_await (*file)->close();
}

// 2^24 grain tables: what SparseExtent reads as a directory.
constexpr uint64_t kMostSparseSectors = uint64_t{16 << 20} * kGrainSectors * kTableEntries;

Task<Result<void>> create_vmdk(Graph& graph, const CreateOptions& o) {
    auto w = wanted(o);
    if (!w) co_return std::unexpected(w.error());
    const uint64_t sectors = (o.size + kSector - 1) / kSector;
    if (o.size == 0) co_return fail(ErrorKind::kInvalidArgument, "a vmdk image of 0 bytes cannot be: VMware's formats have no empty extents");
    // A sparse extent may stand for more than the 2 TiB that its grains can take; then it fills up, as its writes will say.
    if (!w->split() && !w->flat() && sectors > kMostSparseSectors)
        co_return fail(ErrorKind::kInvalidArgument, fmt::format("a sparse vmdk extent is limited to {} TiB; use subformat=twoGbMaxExtentSparse or a flat one", kMostSparseSectors >> 31));
    uint32_t parent_cid = kNoParent, cid = 0;
    if (o.backing_file) {
        OpenOptions open;
        open.read_only = open.no_backing = open.force_share = true;
        auto parent = co_await graph.open(Graph::resolve_backing(o.filename, *o.backing_file), "", open);
        if (!parent) co_return std::unexpected(parent.error());
        const auto* v = dynamic_cast<const VmdkNode*>(parent->get());
        if (v == nullptr) co_return fail(ErrorKind::kInvalidArgument, "Invalid backing file format: " + std::string((*parent)->driver()) + ". Must be vmdk");
        parent_cid = v->cid();
        if (auto r = co_await (*parent)->close(); !r) co_return r;
    }
    while (cid == 0 || cid == kNoParent)
        if (getrandom(&cid, sizeof cid, 0) != sizeof cid) co_return fail_errno(errno, "getrandom");

    // "dir/name.vmdk" as "dir/name" and ".vmdk".
    const size_t slash = o.filename.rfind('/'), dot = o.filename.rfind('.');
    const bool has_dot = dot != std::string::npos && (slash == std::string::npos || dot > slash);
    const std::string stem = has_dot ? o.filename.substr(0, dot) : o.filename, tail = has_dot ? o.filename.substr(dot) : "";
    const auto relative = [&](const std::string& name) { return slash == std::string::npos ? name : name.substr(slash + 1); };

    constexpr uint64_t kSplit = (uint64_t{2} << 30) / kSector;
    struct File {
        std::string name;
        uint64_t sectors;
    };
    std::vector<File> files;
    std::string lines;
    for (uint64_t at = 0, i = 1; at < sectors; ++i) {
        const uint64_t n = w->split() ? std::min(kSplit, sectors - at) : sectors;
        std::string name = o.filename;
        if (w->split()) name = fmt::format("{}-{}{:03}{}", stem, w->flat() ? 'f' : 's', i, tail);
        else if (w->flat()) name = stem + "-flat" + tail;
        lines += fmt::format("RW {} {} \"{}\"{}\n", n, w->flat() ? "FLAT" : "SPARSE", relative(name), w->flat() ? " 0" : "");
        files.push_back({name, n});
        at += n;
    }
    const unsigned heads = w->adapter == "ide" ? 16 : 255;
    const std::string hint = o.backing_file ? "parentFileNameHint=\"" + *o.backing_file + "\"\n" : "";
    const std::string text = fmt::format(
        "# Disk DescriptorFile\nversion=1\nCID={:08x}\nparentCID={:08x}\ncreateType=\"{}\"\n{}\n# Extent description\n{}\n# The Disk Data Base\n#DDB\n\n"
        "ddb.virtualHWVersion = \"{}\"\nddb.geometry.cylinders = \"{}\"\nddb.geometry.heads = \"{}\"\nddb.geometry.sectors = \"63\"\n"
        "ddb.adapterType = \"{}\"\nddb.toolsVersion = \"{}\"\n",
        cid, parent_cid, w->subformat, hint, lines, w->hwversion, o.size / (uint64_t{63} * heads * kSector), heads, w->adapter, w->tools);
    const bool embedded = !w->flat() && !w->split();
    for (const File& f : files)
        if (auto r = co_await make_extent(graph, o, f.name, *w, f.sectors, embedded ? text : std::string_view()); !r) co_return r;
    if (embedded) co_return Result<void>{};
    auto file = co_await create_file(graph, o);
    if (!file) co_return std::unexpected(file.error());
    if (auto r = co_await write_bytes(**file, 0, text.data(), text.size()); !r) co_return r;
    co_return co_await (*file)->close();
}

using T = OptionInfo::Type;
constexpr OptionInfo kOptions[] = {
    {"size", T::kSize, "Virtual disk size", {}},
    {"adapter_type", T::kString, "Virtual adapter type, can be one of ide (default), lsilogic, buslogic or legacyESX", {}},
    {"backing_file", T::kString, "File name of a base image", {}},
    {"backing_fmt", T::kString, "Must be 'vmdk' if present", {}},
    {"compat6", T::kBool, "VMDK version 6 image", "off"},
    {"hwversion", T::kString, "VMDK hardware version", "undefined"},
    {"toolsversion", T::kString, "VMware guest tools version", {}},
    {"subformat", T::kString, "VMDK flat extent format, can be one of {monolithicSparse (default) | monolithicFlat | twoGbMaxExtentSparse | twoGbMaxExtentFlat | streamOptimized} ", {}},
    {"zeroed_grain", T::kBool, "Enable efficient zero writes using the zeroed-grain GTE feature", {}},
};

}  // namespace

const Driver kVmdkDriver{"vmdk", Driver::Kind::kFormat, kOptions, probe_vmdk, open_vmdk, create_vmdk, nullptr, true, true};

}  // namespace myna::block
