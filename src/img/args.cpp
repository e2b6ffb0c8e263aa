// Options of a command from its table: short letters in bunches, long names (also shortened, as getopt does), values in
// the same or the next argument. What is mistyped gets a suggestion.
#include "img/args.h"

#include <getopt.h>

#include <algorithm>
#include <cstdio>

#include "base/edit_distance.h"

namespace myna::img {

std::string Args::get(std::string_view key, std::string otherwise) const {
    const auto it = values_.find(key);
    return it == values_.end() ? std::move(otherwise) : it->second.back();
}
std::optional<std::string> Args::find(std::string_view key) const {
    const auto it = values_.find(key);
    return it == values_.end() ? std::nullopt : std::optional(it->second.back());
}
std::vector<std::string> Args::all(std::string_view key) const {
    const auto it = values_.find(key);
    return it == values_.end() ? std::vector<std::string>{} : it->second;
}
void Args::add(const std::string& key, std::string value) {
    order_.emplace_back(key, value);
    values_[key].push_back(std::move(value));
}

std::string nearest(std::string_view typed, std::span<const std::string_view> candidates) { return std::string(nearest_word(typed, candidates)); }

namespace {

std::string key_of(const Option& o) { return o.name.empty() ? std::string(1, o.letter) : std::string(o.name); }

}  // namespace

void print_help(const Tool& tool, const Command& c) {
    std::printf("usage: %s %.*s [OPTION]... %.*s\n%.*s.\n\nOptions:\n", tool.called.c_str(), static_cast<int>(c.name.size()), c.name.data(),
                static_cast<int>(c.operands.size()), c.operands.data(), static_cast<int>(c.summary.size()), c.summary.data());
    const auto line = [](const Option& o) {
        std::string left = "  ";
        if (o.letter != 0) left += std::string("-") + o.letter;
        if (o.letter != 0 && !o.name.empty()) left += ", ";
        if (!o.name.empty()) left += "--" + std::string(o.name);
        if (!o.value.empty()) left += (o.name.empty() ? " " : "=") + std::string(o.value);
        std::printf("%-36s %.*s\n", left.c_str(), static_cast<int>(o.help.size()), o.help.data());
    };
    for (const Option& o : c.options) line(o);
    line({'h', "help", "", "print this help"});
}

std::optional<int> parse_args(const Tool& tool, const Command& c, int argc, char** argv, Args& out) {
    std::string letters = ":h";
    std::vector<std::string> names;
    names.reserve(c.options.size());
    std::vector<option> longs;
    for (size_t i = 0; i < c.options.size(); ++i) {
        const Option& o = c.options[i];
        const bool value = !o.value.empty();
        if (o.letter != 0) {
            letters += o.letter;
            if (value) letters += ':';
        }
        if (!o.name.empty()) longs.push_back({names.emplace_back(o.name).c_str(), value ? required_argument : no_argument, nullptr, static_cast<int>(256 + i)});
    }
    longs.push_back({"help", no_argument, nullptr, 'h'});
    longs.push_back({nullptr, 0, nullptr, 0});
    std::optional<std::string> last;
    if (c.last_is_operand && argc > 1 && std::string_view(argv[argc - 1]) != "--help" && std::string_view(argv[argc - 1]) != "-h") last = argv[--argc];
    opterr = 0;
    optind = 1;
    for (int got; (got = getopt_long(argc, argv, letters.c_str(), longs.data(), nullptr)) != -1;) {
        if (got == 'h') {
            print_help(tool, c);
            return 0;
        }
        if (got == ':') return tool.usage(text("missing argument for option '%s'", argv[optind - 1]));
        if (got == '?') {
            const std::string typed = argv[optind - 1];
            std::string message = "unrecognized option '" + typed + "'";
            if (typed.starts_with("--")) {
                std::vector<std::string_view> known;
                for (const Option& o : c.options)
                    if (!o.name.empty()) known.push_back(o.name);
                const std::string guess = nearest(std::string_view(typed).substr(2, typed.find('=') == std::string::npos ? std::string::npos : typed.find('=') - 2), known);
                if (!guess.empty()) message += "\nDid you mean '--" + guess + "'?";
            }
            return tool.usage(message);
        }
        const Option* o = nullptr;
        if (got >= 256) o = &c.options[static_cast<size_t>(got - 256)];
        else
            for (const Option& e : c.options)
                if (e.letter == got) o = &e;
        out.add(key_of(*o), optarg == nullptr ? "" : optarg);
    }
    for (int i = optind; i < argc; ++i) out.rest.emplace_back(argv[i]);
    if (last) out.rest.push_back(*last);
    return std::nullopt;
}

}  // namespace myna::img
