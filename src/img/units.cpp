// Sizes as people write and read them.
#include <cmath>
#include <cstdlib>

#include "img/tool.h"

namespace myna::img {

SizeError parse_size(std::string_view s, uint64_t& out, uint64_t max) {
    const std::string z(s);
    if (z.empty() || std::isspace(static_cast<unsigned char>(z[0])) != 0) return SizeError::kSyntax;
    const char* begin = z.c_str() + (z[0] == '+');
    const bool hex = begin[0] == '0' && (begin[1] == 'x' || begin[1] == 'X');
    if (begin[0] < '0' || begin[0] > '9') {
        if (begin[0] != '.') return SizeError::kSyntax;
    }
    char* end = nullptr;
    errno = 0;
    uint64_t whole = std::strtoull(begin, &end, hex ? 16 : 10);
    if (errno == ERANGE) return SizeError::kRange;
    double fraction = 0;
    if (*end == '.' && !hex) {
        char* after = nullptr;
        fraction = std::strtod(end, &after);
        if (after == end + 1 && end == begin) return SizeError::kSyntax;
        end = after == end ? end + 1 : after;
    }
    unsigned shift = 0;
    if (*end != 0) {
        static constexpr std::string_view kSuffixes = "bkmgtpe";
        const size_t i = kSuffixes.find(static_cast<char>(std::tolower(*end)));
        if (i == std::string_view::npos || end[1] != 0 || (hex && i == 0)) return SizeError::kSyntax;
        shift = static_cast<unsigned>(10 * i);
    }
    if (fraction != 0 && shift == 0) return SizeError::kSyntax;  // no parts of bytes
    if (shift != 0 && whole > UINT64_MAX >> shift) return SizeError::kRange;
    out = (whole << shift) + static_cast<uint64_t>(std::llround(fraction * std::ldexp(1.0, static_cast<int>(shift))));
    return out > max ? SizeError::kRange : SizeError::kNone;
}

std::optional<uint64_t> size_argument(const Tool& tool, std::string_view s, std::string_view what, uint64_t min, uint64_t max) {
    uint64_t v = 0;
    const SizeError e = parse_size(s, v, max);
    const std::string w(what);
    if (e == SizeError::kSyntax) {
        tool.error("Invalid " + w + " specified. You may use k, M, G, T, P or E suffixes for");
        tool.error("kilobytes, megabytes, gigabytes, terabytes, petabytes and exabytes.");
        return std::nullopt;
    }
    if (e == SizeError::kRange || v < min) {
        tool.error(text("Invalid %s specified. Must be between %llu and %llu.", w.c_str(), static_cast<unsigned long long>(min), static_cast<unsigned long long>(max)));
        return std::nullopt;
    }
    return v;
}

std::string human_size(uint64_t bytes) {
    // The unit changes at 1000 of the smaller one, so that three digits always say it.
    static constexpr const char* kUnits[] = {"", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"};
    int exponent = 0;
    std::frexp(static_cast<double>(bytes) / (1000.0 / 1024.0), &exponent);
    const int i = exponent <= 0 ? 0 : (exponent - 1) / 10;
    return text("%0.3g %sB", static_cast<double>(bytes) / std::ldexp(1.0, 10 * i), kUnits[i]);
}

}  // namespace myna::img
