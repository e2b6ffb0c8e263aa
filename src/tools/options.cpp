#include "tools/options.h"

#include <cmath>
#include <cstdlib>

#include "base/edit_distance.h"

namespace myna::tools {

namespace {

std::unexpected<Error> wrong(std::string text) { return fail(ErrorKind::kInvalidArgument, std::move(text)); }

}  // namespace

Result<Parsed> parse_options(std::span<const OptionRow> table, std::span<char* const> arguments, bool single_dash) {
    Parsed out;
    const auto key = [](const OptionRow& o) { return o.name.empty() ? std::string(1, o.letter) : std::string(o.name); };
    for (size_t i = 1; i < arguments.size(); ++i) {
        const std::string_view a = arguments[i];
        if (a == "--") {
            for (++i; i < arguments.size(); ++i) out.rest.emplace_back(arguments[i]);
            break;
        }
        if (a.size() < 2 || a[0] != '-') {
            out.rest.emplace_back(a);
            continue;
        }
        const bool is_long = a.starts_with("--") || (single_dash && a.size() > 2);
        if (is_long) {
            const std::string_view body = a.substr(a.starts_with("--") ? 2 : 1);
            const size_t eq = body.find('=');
            const std::string_view name = body.substr(0, eq);
            const OptionRow* found = nullptr;
            bool several = false;
            for (const OptionRow& o : table) {
                if (o.name.empty() || !o.name.starts_with(name)) continue;
                several = found != nullptr;
                found = &o;
                if (o.name == name) {
                    several = false;
                    break;
                }
            }
            if (several) return wrong("option '" + std::string(a) + "' is ambiguous");
            if (found == nullptr) {
                std::vector<std::string_view> names;
                for (const OptionRow& o : table) names.push_back(o.name);
                const std::string hint(nearest_word(name, names));
                return wrong("unrecognized option '" + std::string(a.substr(0, a.find('='))) + "'" + (hint.empty() ? "" : ". Did you mean '--" + hint + "'?"));
            }
            if (found->value.empty()) {
                if (eq != std::string_view::npos) return wrong("option '--" + std::string(found->name) + "' doesn't allow an argument");
                out.options.emplace_back(key(*found), "");
            } else if (eq != std::string_view::npos) {
                out.options.emplace_back(key(*found), body.substr(eq + 1));
            } else if (found->optional_value) {
                out.options.emplace_back(key(*found), "");
            } else {
                if (i + 1 >= arguments.size()) return wrong("option '" + std::string(a) + "' requires an argument");
                out.options.emplace_back(key(*found), arguments[++i]);
            }
            continue;
        }
        for (size_t at = 1; at < a.size(); ++at) {
            const auto found = std::ranges::find_if(table, [&](const OptionRow& o) { return o.letter == a[at] && a[at] != 0; });
            if (found == table.end()) return wrong(std::string("invalid option -- '") + a[at] + "'");
            if (found->value.empty()) {
                out.options.emplace_back(key(*found), "");
                continue;
            }
            std::string value(a.substr(at + 1));
            if (value.empty() && !found->optional_value) {
                if (i + 1 >= arguments.size()) return wrong(std::string("option requires an argument -- '") + a[at] + "'");
                value = arguments[++i];
            }
            out.options.emplace_back(key(*found), std::move(value));
            break;
        }
    }
    return out;
}

std::string help_text(std::span<const OptionRow> table) {
    constexpr size_t kColumn = 28;
    std::string out;
    for (const OptionRow& o : table) {
        if (o.letter == 0 && o.name.empty()) {
            out += "\n" + std::string(o.help) + ":\n";
            continue;
        }
        std::string line = "  ";
        if (o.letter != 0) line += std::string("-") + o.letter + (o.name.empty() ? " " + std::string(o.value) : ", ");
        else line += "    ";
        if (!o.name.empty()) line += "--" + std::string(o.name) + (o.value.empty() ? "" : "=" + std::string(o.value));
        if (line.size() + 2 > kColumn) line += "\n" + std::string(kColumn, ' ');
        else line += std::string(kColumn - line.size(), ' ');
        for (size_t from = 0;;) {
            const size_t to = o.help.find('\n', from);
            line += std::string(o.help.substr(from, to - from)) + "\n";
            if (to == std::string_view::npos) break;
            line += std::string(kColumn, ' ');
            from = to + 1;
        }
        out += line;
    }
    return out;
}

Result<std::vector<std::pair<std::string, std::string>>> parse_properties(std::string_view text, std::string_view implied) {
    std::vector<std::pair<std::string, std::string>> out;
    for (size_t at = 0; at <= text.size();) {
        std::string item;
        for (; at < text.size(); ++at) {
            if (text[at] != ',') item += text[at];
            else if (at + 1 < text.size() && text[at + 1] == ',') item += text[at++];
            else break;
        }
        ++at;
        if (item.empty()) continue;
        const size_t eq = item.find('=');
        if (eq != std::string::npos) out.emplace_back(item.substr(0, eq), item.substr(eq + 1));
        else if (out.empty() && !implied.empty()) out.emplace_back(implied, item);
        else if (item.starts_with("no") && item.size() > 2) out.emplace_back(item.substr(2), "off");
        else out.emplace_back(item, "on");
    }
    return out;
}

Result<uint64_t> parse_size(std::string_view text) {
    const std::string s(text);
    if (s.empty() || s[0] == '-') return wrong("invalid size '" + s + "'");
    char* end = nullptr;
    const bool hex = s.starts_with("0x") || s.starts_with("0X");
    errno = 0;
    const unsigned long long whole = std::strtoull(s.c_str(), &end, hex ? 16 : 10);
    if (end == s.c_str() || errno != 0) return wrong("invalid size '" + s + "'");
    double fraction = 0;
    if (!hex && *end == '.') {
        char* after = nullptr;
        fraction = std::strtod(end, &after);
        end = after;
    }
    unsigned shift = 0;
    if (*end != 0) {
        constexpr std::string_view kSuffixes = "bkmgtpe";
        const size_t at = kSuffixes.find(static_cast<char>(*end | 0x20));
        if (at == std::string_view::npos || end[1] != 0) return wrong("invalid size '" + s + "'");
        shift = static_cast<unsigned>(at) * 10;
    } else if (fraction != 0) {
        return wrong("invalid size '" + s + "'");
    }
    if (shift != 0 && whole >> (63 - shift) != 0) return fail(ErrorKind::kInvalidArgument, "size '" + s + "' is too large", ERANGE);
    return (static_cast<uint64_t>(whole) << shift) + static_cast<uint64_t>(std::ldexp(fraction, static_cast<int>(shift)));
}

}  // namespace myna::tools
