#include "block/formats/vmdk/descriptor.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace myna::block::vmdk {

namespace {

std::string_view trim(std::string_view s) {
    while (!s.empty() && (s.front() == ' ' || s.front() == '\t')) s.remove_prefix(1);
    while (!s.empty() && (s.back() == ' ' || s.back() == '\t' || s.back() == '\r')) s.remove_suffix(1);
    return s;
}
std::string_view unquote(std::string_view s) {
    return s.size() >= 2 && s.front() == '"' && s.back() == '"' ? s.substr(1, s.size() - 2) : s;
}
std::string_view next_word(std::string_view& s) {
    s = trim(s);
    size_t n;
    if (!s.empty() && s.front() == '"') {
        n = s.find('"', 1);
        n = n == std::string_view::npos ? s.size() : n + 1;
    } else {
        n = std::min(s.find_first_of(" \t"), s.size());
    }
    const std::string_view w = s.substr(0, n);
    s.remove_prefix(n);
    return w;
}
/// Keywords are ASCII; what is not would not even be text in `info`.
std::string ascii(std::string_view s) {
    std::string out(s);
    std::replace_if(out.begin(), out.end(), [](char c) { return c < ' ' || c > '~'; }, '?');
    return out;
}
template <typename T>
bool number(std::string_view s, T& out, int base = 10) {
    const auto r = std::from_chars(s.data(), s.data() + s.size(), out, base);
    return r.ec == std::errc() && r.ptr == s.data() + s.size();
}

}  // namespace

Result<Descriptor> parse_descriptor(std::string_view text, const std::string& name) {
    Descriptor d;
    text = text.substr(0, text.find('\0'));
    d.text = text;
    bool has_cid = false;
    for (size_t at = 0; at < text.size();) {
        const size_t end = std::min(text.find('\n', at), text.size());
        std::string_view line = trim(text.substr(at, end - at));
        at = end + 1;
        if (line.empty() || line.front() == '#') continue;
        const size_t eq = line.find('=');
        std::string_view rest = line;
        const std::string_view first = next_word(rest);
        if (first == "RW" || first == "RDONLY" || first == "NOACCESS") {
            ExtentLine e;
            e.access = first;
            const auto bad = [&] { return fail(ErrorKind::kCorrupt, name + ": invalid extent line: " + std::string(line.substr(0, 200)), EINVAL); };
            if (!number(next_word(rest), e.sectors) || e.sectors == 0) return bad();
            e.type = ascii(next_word(rest));
            e.file = unquote(next_word(rest));
            const std::string_view offset = next_word(rest);
            if (!offset.empty() && !number(offset, e.offset)) return bad();
            if (e.type != "ZERO" && e.file.empty()) return bad();
            if (e.type == "FLAT" && offset.empty()) return bad();
            d.extents.push_back(std::move(e));
        } else if (eq != std::string_view::npos) {
            const std::string_view key = trim(line.substr(0, eq)), value = unquote(trim(line.substr(eq + 1)));
            const auto hex = [&](uint32_t& out) { return number(value, out, 16); };
            if (key == "CID") has_cid = hex(d.cid);
            else if (key == "parentCID" && !hex(d.parent_cid)) return fail(ErrorKind::kCorrupt, name + ": parentCID is not a hexadecimal number", EINVAL);
            else if (key == "createType") d.create_type = ascii(value);
            else if (key == "parentFileNameHint") d.parent_hint = value;
        }
    }
    if (!has_cid) return fail(ErrorKind::kCorrupt, name + ": the descriptor has no content ID (CID)", EINVAL);
    if (d.create_type.empty()) return fail(ErrorKind::kCorrupt, name + ": invalid VMDK image descriptor (no createType)", EINVAL);
    return d;
}

std::string Descriptor::with_cid(uint32_t new_cid) const {
    for (size_t at = 0; at < text.size(); at = std::min(text.find('\n', at), text.size() - 1) + 1) {
        if (text.compare(at, 4, "CID=") != 0) continue;
        const size_t end = std::min(text.find_first_of("\r\n", at), text.size());
        return text.substr(0, at) + fmt::format("CID={:08x}", new_cid) + text.substr(end);
    }
    return text;
}

}  // namespace myna::block::vmdk
