// import: disks of an appliance (OVA, OVF) or single foreign images become images of ours.
//
//   disk.ova = tar: x.ovf (which files are disks) · x.mf (checksums) · x-disk1.vmdk …   read in place, nothing is unpacked
//
// Sources: DMTF DSP0243 (OVF 2.1): References, DiskSection, manifest lines "SHA256(file)= hex".
#include <expat.h>
#include <gcrypt.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "img/convert.h"
#include "img/create.h"
#include "img/parallel.h"

namespace myna::img {

using nlohmann::json;

namespace {

constexpr uint64_t kTarBlock = 512, kMaxText = 16 << 20;

/// A file of the appliance: bytes [offset, offset + size) of a host file.
struct Member {
    std::string host;
    uint64_t offset = 0, size = 0;
};
using Members = std::map<std::string, Member>;

struct Disk {
    std::string id, file;
    std::optional<uint64_t> capacity;
};

/// Octal, or base 256 when the first byte says so (GNU).
uint64_t tar_number(const char* p, size_t n) {
    uint64_t v = 0;
    if (p[0] & 0x80) {
        for (size_t i = n - 8; i < n; ++i) v = v << 8 | static_cast<unsigned char>(p[i]);
        return v;
    }
    for (size_t i = 0; i < n && p[i] != 0; ++i)
        if (p[i] >= '0' && p[i] <= '7') v = v << 3 | static_cast<uint64_t>(p[i] - '0');
    return v;
}

std::optional<Members> tar_members(const std::string& path) {
    std::ifstream f(path, std::ios::binary);
    Members out;
    char h[kTarBlock];
    std::string long_name;
    for (uint64_t at = 0; f.seekg(static_cast<std::streamoff>(at)) && f.read(h, sizeof h);) {
        if (h[0] == 0) break;
        if (std::memcmp(h + 257, "ustar", 5) != 0) return std::nullopt;
        const uint64_t size = tar_number(h + 124, 12);
        std::string name(h, strnlen(h, 100));
        if (h[345] != 0 && std::memcmp(h + 257, "ustar\0", 6) == 0) name = std::string(h + 345, strnlen(h + 345, 155)) + "/" + name;
        if (h[156] == 'L' && size < 4096) {  // GNU: the name of the next one
            long_name.resize(size);
            f.read(long_name.data(), static_cast<std::streamsize>(size));
            long_name.resize(strnlen(long_name.c_str(), size));
        } else if (h[156] == '0' || h[156] == 0) {
            out[long_name.empty() ? name : long_name] = {path, at + kTarBlock, size};
            long_name.clear();
        }
        if (size > UINT64_MAX / 2) return std::nullopt;
        at += kTarBlock + (size + kTarBlock - 1) / kTarBlock * kTarBlock;
    }
    return out.empty() ? std::nullopt : std::optional(out);
}

Result<std::string> text_of(const Member& m, const std::string& name) {
    if (m.size > kMaxText) return fail(ErrorKind::kCorrupt, name + ": too long for a description");
    std::ifstream f(m.host, std::ios::binary);
    std::string out(m.size, '\0');
    if (!f.seekg(static_cast<std::streamoff>(m.offset)) || !f.read(out.data(), static_cast<std::streamsize>(m.size))) return fail(ErrorKind::kIo, m.host + ": cannot read " + name);
    return out;
}

/// The disks that an OVF descriptor names, with the files they are in.
Result<std::vector<Disk>> disks_of(const std::string& ovf, const std::string& name) {
    struct State {
        std::map<std::string, std::string> files;  // id -> href
        std::string compressed;
        std::vector<Disk> disks;
    } state;
    XML_Parser p = XML_ParserCreateNS(nullptr, '|');
    XML_SetUserData(p, &state);
    XML_SetStartElementHandler(p, [](void* data, const char* element, const char** attributes) {
        auto& s = *static_cast<State*>(data);
        const auto local = [](const char* q) { const char* bar = std::strrchr(q, '|'); return std::string_view(bar != nullptr ? bar + 1 : q); };
        std::map<std::string, std::string, std::less<>> a;
        for (; attributes[0] != nullptr; attributes += 2) a[std::string(local(attributes[0]))] = attributes[1];
        if (local(element) == "File") {
            s.files[a["id"]] = a["href"];
            if (!a["compression"].empty() && a["compression"] != "identity") s.compressed = a["href"];
        } else if (local(element) == "Disk") {
            Disk d{a["diskId"], a["fileRef"], std::nullopt};
            uint64_t unit = 1;
            // "byte * 2^30"
            if (const auto caret = a["capacityAllocationUnits"].find("2^"); caret != std::string::npos) unit = uint64_t{1} << (std::strtoull(a["capacityAllocationUnits"].c_str() + caret + 2, nullptr, 10) & 63);
            if (!a["capacity"].empty()) d.capacity = std::strtoull(a["capacity"].c_str(), nullptr, 10) * unit;
            s.disks.push_back(std::move(d));
        }
    });
    const bool ok = XML_Parse(p, ovf.data(), static_cast<int>(ovf.size()), 1) == XML_STATUS_OK;
    const std::string why = ok ? "" : text("%s at line %lu", XML_ErrorString(XML_GetErrorCode(p)), static_cast<unsigned long>(XML_GetCurrentLineNumber(p)));
    XML_ParserFree(p);
    if (!ok) return fail(ErrorKind::kCorrupt, name + ": " + why);
    if (!state.compressed.empty()) return fail(ErrorKind::kUnsupported, name + ": " + state.compressed + " is compressed as a whole file, which is not implemented; uncompress it first");
    std::vector<Disk> out;
    for (Disk& d : state.disks) {
        if (d.file.empty()) continue;  // an empty disk: nothing to import
        const auto it = state.files.find(d.file);
        if (it == state.files.end()) return fail(ErrorKind::kCorrupt, name + ": disk " + d.id + " refers to file '" + d.file + "', which is not listed");
        d.file = it->second;
        out.push_back(std::move(d));
    }
    return out;
}

std::string hex(std::span<const uint8_t> b) {
    std::string out;
    for (const uint8_t v : b) out += text("%02x", v);
    return out;
}

/// The checksum of a member; `algorithm` SHA1, SHA256 or SHA512; empty for others.
Result<std::string> checksum(const Member& m, const std::string& algorithm) {
    gcry_check_version(nullptr);
    const int kind = algorithm == "SHA1" ? GCRY_MD_SHA1 : algorithm == "SHA256" ? GCRY_MD_SHA256 : algorithm == "SHA512" ? GCRY_MD_SHA512 : 0;
    if (kind == 0) return std::string();
    std::ifstream f(m.host, std::ios::binary);
    f.seekg(static_cast<std::streamoff>(m.offset));
    gcry_md_hd_t raw = nullptr;
    if (gcry_md_open(&raw, kind, 0) != 0) return fail(ErrorKind::kNoMemory, algorithm + " is not available");
    const std::unique_ptr<gcry_md_handle, decltype(&gcry_md_close)> sum(raw, gcry_md_close);
    std::vector<char> buffer(1 << 20);
    for (uint64_t left = m.size; left > 0;) {
        const auto n = static_cast<size_t>(std::min<uint64_t>(left, buffer.size()));
        if (!f.read(buffer.data(), static_cast<std::streamsize>(n))) return fail(ErrorKind::kIo, m.host + ": is cut off");
        gcry_md_write(raw, buffer.data(), n);
        left -= n;
    }
    return hex({gcry_md_read(raw, kind), gcry_md_get_algo_dlen(kind)});
}

/// Lines "SHA256(disk.vmdk)= hex": every file named must be there and have that sum.
Result<unsigned> verify(const std::string& manifest, const Members& members) {
    unsigned checked = 0;
    for (size_t at = 0; at < manifest.size();) {
        const size_t end = std::min(manifest.find('\n', at), manifest.size());
        std::string line = manifest.substr(at, end - at);
        at = end + 1;
        while (!line.empty() && (line.back() == '\r' || line.back() == ' ')) line.pop_back();
        const size_t open = line.find('('), close = line.rfind(')'), equals = line.rfind('=');
        if (open == std::string::npos || close == std::string::npos || equals == std::string::npos || close < open || equals < close) continue;
        std::string algorithm = line.substr(0, open), file = line.substr(open + 1, close - open - 1), want = line.substr(line.find_first_not_of(' ', equals + 1));
        std::erase(algorithm, '-');
        while (!algorithm.empty() && algorithm.back() == ' ') algorithm.pop_back();
        std::transform(want.begin(), want.end(), want.begin(), [](unsigned char c) { return std::tolower(c); });
        const auto m = members.find(file);
        if (m == members.end()) return fail(ErrorKind::kCorrupt, "the manifest names '" + file + "', which is missing");
        auto have = checksum(m->second, algorithm);
        if (!have) return std::unexpected(have.error());
        if (have->empty()) return fail(ErrorKind::kUnsupported, "the manifest uses " + algorithm + ", which is not implemented (--no-verify skips it)");
        if (*have != want) return fail(ErrorKind::kCorrupt, file + ": its " + algorithm + " is " + *have + ", the manifest says " + want + ": the file is damaged");
        ++checked;
    }
    return checked;
}

constexpr Option kOptions[] = {{'O', "target-format", "FMT", "format of the new images (default: qcow2)"}, {'o', "options", "OPTIONS", "options of the new images"}, {'c', "compress", "", "store compressed"},
                               {'d', "disk", "N", "import the Nth disk only"}, {0, "no-verify", "", "do not compare checksums with the manifest"}, kOptProgress, kOptQuiet, kOptObject};

Task<int> import_one(Tool& tool, Args& a, json source_tree, std::string out, std::optional<uint64_t> capacity) {
    OpenOptions o;
    o.options = std::move(source_tree);
    o.read_only = true;
    auto source = co_await tool.graph.open_tree(std::move(o));
    if (!source) co_return tool.error(source.error());
    if (capacity && *capacity != 0 && *capacity != (*source)->size())
        tool.warning(text("the description says %s, the disk has %s", human_size(*capacity).c_str(), human_size((*source)->size()).c_str()));
    NewImage w;
    w.filename = out;
    w.format = a.get("target-format", "qcow2");
    w.size = (*source)->size();
    w.options = creation_options(a.all("options"));
    const std::string format = w.format;
    if (auto r = co_await create_image(tool, std::move(w)); !r) co_return tool.error(out + ": " + r.error().message);
    const NodePtr target = co_await open_image(tool, {.name = out, .format = format, .writable = true, .cache = "unsafe"});
    if (!target) co_return 1;
    int code = 0;
    {
        Progress progress(a.has("progress") && !a.has("quiet"));
        if (auto r = co_await copy_image(tool, *source, target, a.has("compress"), progress); !r) code = tool.error(r.error());
        else progress.finish();
    }
    if (auto r = co_await target->close(); !r && code == 0) code = tool.error(r.error());
    if (auto r = co_await (*source)->close(); !r && code == 0) code = tool.error(r.error());
    if (code == 0 && !a.has("quiet")) std::printf("%s: %s disk of %s imported.\n", out.c_str(), std::string((*source)->driver()).c_str(), human_size((*source)->size()).c_str());
    co_return code;
}

Task<int> run(Tool& tool, Args& a) {
    if (a.rest.empty() || a.rest.size() > 2) co_return tool.usage("Expecting a file to import and the name of the new image");
    const std::string in = a.rest[0], format = a.get("target-format", "qcow2");
    const size_t slash = in.rfind('/'), dot = in.rfind('.');
    const std::string stem = in.substr(slash == std::string::npos ? 0 : slash + 1, dot == std::string::npos || (slash != std::string::npos && dot < slash) ? std::string::npos : dot - (slash == std::string::npos ? 0 : slash + 1));
    const std::string out = a.rest.size() == 2 ? a.rest[1] : stem + "." + format;
    Members members;
    if (auto tar = tar_members(in)) {
        members = std::move(*tar);
    } else if (in.ends_with(".ovf")) {
        const std::string folder = slash == std::string::npos ? "" : in.substr(0, slash + 1);
        std::ifstream f(in, std::ios::binary | std::ios::ate);
        if (!f) co_return tool.error("Could not open '" + in + "': No such file or directory");
        members[in.substr(folder.size())] = {in, 0, static_cast<uint64_t>(f.tellg())};
        auto ovf = text_of(members.begin()->second, in);
        if (!ovf) co_return tool.error(ovf.error());
        auto disks = disks_of(*ovf, in);
        if (!disks) co_return tool.error(disks.error());
        std::vector<std::string> names{stem + ".mf"};
        for (const Disk& d : *disks) names.push_back(d.file);
        for (const std::string& n : names)
            if (std::ifstream m(folder + n, std::ios::binary | std::ios::ate); m) members[n] = {folder + n, 0, static_cast<uint64_t>(m.tellg())};
    } else {
        co_return co_await import_one(tool, a, {{"file", {{"driver", "file"}, {"filename", in}}}}, out, std::nullopt);
    }
    const auto descriptor = std::find_if(members.begin(), members.end(), [](const auto& m) { return m.first.ends_with(".ovf"); });
    if (descriptor == members.end()) co_return tool.error(in + ": holds no OVF description (*.ovf)");
    const auto manifest = std::find_if(members.begin(), members.end(), [](const auto& m) { return m.first.ends_with(".mf"); });
    if (manifest == members.end()) {
        if (!a.has("no-verify")) tool.warning(in + " has no manifest: nothing says whether its files are undamaged");
    } else if (!a.has("no-verify")) {
        auto t = text_of(manifest->second, manifest->first);
        if (!t) co_return tool.error(t.error());
        auto n = verify(*t, members);
        if (!n) co_return tool.error(in + ": " + n.error().message);
        if (!a.has("quiet")) std::printf("%u checksums verified.\n", *n);
    }
    auto t = text_of(descriptor->second, descriptor->first);
    if (!t) co_return tool.error(t.error());
    auto disks = disks_of(*t, descriptor->first);
    if (!disks) co_return tool.error(disks.error());
    if (disks->empty()) co_return tool.error(in + ": describes no disk");
    size_t only = 0;
    if (const auto d = a.find("disk")) {
        only = std::strtoull(d->c_str(), nullptr, 10);
        if (only == 0 || only > disks->size()) co_return tool.error(text("--disk: there are %zu disks", disks->size()));
    }
    for (size_t i = 0; i < disks->size(); ++i) {
        if (only != 0 && only != i + 1) continue;
        const Disk& d = (*disks)[i];
        const auto m = members.find(d.file);
        if (m == members.end()) co_return tool.error(in + ": " + d.file + " is described but missing");
        std::string name = out;
        if (disks->size() > 1 && only == 0) {
            const size_t end = out.rfind('.');
            name = out.substr(0, end) + "-disk" + std::to_string(i + 1) + (end == std::string::npos ? "" : out.substr(end));
        }
        json tree{{"file", {{"driver", "raw"}, {"offset", m->second.offset}, {"size", m->second.size}, {"file", {{"driver", "file"}, {"filename", m->second.host}}}}}};
        if (const int code = co_await import_one(tool, a, std::move(tree), name, d.capacity); code != 0) co_return code;
    }
    co_return 0;
}

}  // namespace

const Command kImport{"import", "FILE [TARGET]", "Imports the disks of an OVA, OVF or foreign image", kOptions, run};

}  // namespace myna::img
