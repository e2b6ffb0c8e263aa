// Numbers in, numbers out.
#include <cctype>
#include <cerrno>
#include <cstdio>
#include <cstdlib>

#include "tools/io/tool.h"
#include "tools/options.h"

namespace myna::tools::io_tool {

std::optional<int64_t> number(const std::string& text) {
    const auto n = parse_size(text);
    if (n && *n <= INT64_MAX) return static_cast<int64_t>(*n);
    const bool large = n || n.error().sys_errno == ERANGE;
    std::printf("Parsing error: %s -- %s\n", large ? "argument too large" : "non-numeric argument, or extraneous/unrecognized suffix", text.c_str());
    return std::nullopt;
}

std::optional<uint8_t> pattern(const std::string& text) {
    char* end = nullptr;
    const long v = std::strtol(text.c_str(), &end, 0);
    if (end != text.c_str() && *end == 0 && v >= 0 && v <= 255) return static_cast<uint8_t>(v);
    std::printf("%s is not a valid pattern byte\n", text.c_str());
    return std::nullopt;
}

std::string size_text(double value) {
    struct Unit {
        double bytes;
        const char* name;
    };
    constexpr Unit kUnits[] = {{0x1p60, " EiB"}, {0x1p50, " PiB"}, {0x1p40, " TiB"}, {0x1p30, " GiB"}, {0x1p20, " MiB"}, {0x1p10, " KiB"}};
    char text[64];
    const char* name = " bytes";
    std::snprintf(text, sizeof text, "%f", value);
    for (const Unit& u : kUnits)
        if (value >= u.bytes) {
            std::snprintf(text, sizeof text, "%.3f", value / u.bytes);
            name = u.name;
            break;
        }
    std::string s = text;
    if (const size_t zeroes = s.find(".000"); zeroes != s.npos) s.resize(zeroes);
    return s + name;
}

void report(const char* what, std::chrono::nanoseconds took, uint64_t offset, uint64_t count, uint64_t total, int ops, bool machine) {
    const double seconds = std::max(1e-9, std::chrono::duration<double>(took).count());
    const auto hundredths = static_cast<unsigned long long>(took.count() / 10'000'000);
    const unsigned long long h = hundredths / 360'000, m = hundredths / 6'000 % 60, s = hundredths / 100 % 60, f = hundredths % 100;
    const double n = static_cast<double>(total);
    char time[64];
    if (machine || h != 0) std::snprintf(time, sizeof time, "%llu:%02llu:%02llu.%02llu", h, m, s, f);
    else if (m != 0) std::snprintf(time, sizeof time, "%02llu:%02llu.%02llu", m, s, f);
    else std::snprintf(time, sizeof time, "%02llu.%02llu sec", s, f);
    if (machine) {
        std::printf("%llu,%d,%s,%.3f,%.3f\n", static_cast<unsigned long long>(total), ops, time, n / seconds, ops / seconds);
        return;
    }
    std::printf("%s %llu/%llu bytes at offset %llu\n%s, %d ops; %s (%s/sec and %.4f ops/sec)\n", what, static_cast<unsigned long long>(total),
                static_cast<unsigned long long>(count), static_cast<unsigned long long>(offset), size_text(n).c_str(), ops, time,
                size_text(n / seconds).c_str(), ops / seconds);
}

void dump(std::span<const uint8_t> bytes, uint64_t offset) {
    for (size_t at = 0; at < bytes.size(); at += 16) {
        const auto row = bytes.subspan(at, std::min<size_t>(16, bytes.size() - at));
        std::printf("%08llx:  ", static_cast<unsigned long long>(offset + at));
        for (const uint8_t b : row) std::printf("%02x ", b);
        std::putchar(' ');
        for (const uint8_t b : row) std::putchar(std::isalnum(b) != 0 ? b : '.');
        std::putchar('\n');
    }
}

}  // namespace myna::tools::io_tool
