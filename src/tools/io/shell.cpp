// The command line, the command loop, and the table's look-ups.
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <iostream>

#include "tools/io/main.h"
#include "tools/io/tool.h"
#include "tools/options.h"

namespace myna::tools::io_tool {

namespace {

constexpr std::array kOptions{
    OptionRow{'h', "help", "", "display this help and exit"},
    OptionRow{'V', "version", "", "output version information and exit"},
    OptionRow{0, "object", "OBJECTDEF", "define an object: secret, tls-creds-x509, tls-creds-psk"},
    OptionRow{0, "image-opts", "", "FILE is a list of driver options (driver=...,file.filename=...)"},
    OptionRow{'c', "cmd", "STRING", "run a command; may be given again"},
    OptionRow{'f', "format", "FMT", "the image's format (default: guessed)"},
    OptionRow{'r', "read-only", "", "open read-only"},
    OptionRow{'s', "snapshot", "", "writes go to a temporary image in front of FILE"},
    OptionRow{'n', "nocache", "", "the same as -t none"},
    OptionRow{'C', "copy-on-read", "", "reads fill the image from its backing file"},
    OptionRow{'m', "misalign", "", "buffers at odd addresses, for O_DIRECT"},
    OptionRow{'k', "native-aio", "", "the host's asynchronous I/O (the default)"},
    OptionRow{'i', "aio", "MODE", "threads, native or io_uring"},
    OptionRow{'t', "cache", "MODE", "none, writeback (default), writethrough, directsync, unsafe"},
    OptionRow{'d', "discard", "MODE", "ignore or unmap"},
    OptionRow{'T', "trace", "PATTERN", "not supported"},
    OptionRow{'U', "force-share", "", "open although another process writes to it"},
};

const Command* find_command(std::string_view name) {
    for (const auto list : {transfer_commands(), other_commands()})
        for (const Command& c : list)
            if (c.name == name || (!c.alias.empty() && c.alias == name)) return &c;
    return nullptr;
}

void print_line(const Command& c) {
    std::printf("%.*s %.*s -- %.*s\n", static_cast<int>(c.name.size()), c.name.data(), static_cast<int>(c.usage.size()), c.usage.data(),
                static_cast<int>(c.summary.size()), c.summary.data());
}

/// Splits `words[1…]` by the command's letters, options anywhere. False after a message.
bool sort_words(const Command& c, const std::vector<std::string>& words, Words& out) {
    out.name = c.name;
    for (size_t i = 1; i < words.size(); ++i) {
        const std::string& word = words[i];
        if (c.letters.empty() || word.size() < 2 || word[0] != '-') {
            out.rest.push_back(word);
            continue;
        }
        for (size_t at = 1; at < word.size(); ++at) {
            const size_t found = word[at] == ':' ? c.letters.npos : c.letters.find(word[at]);
            if (found == c.letters.npos) {
                std::fprintf(stderr, "%s: invalid option -- '%c'\n", words[0].c_str(), word[at]);
                usage(c);
                return false;
            }
            if (found + 1 >= c.letters.size() || c.letters[found + 1] != ':') {
                out.options.emplace_back(word[at], "");
                continue;
            }
            std::string value = word.substr(at + 1);
            if (value.empty()) {
                if (i + 1 >= words.size()) {
                    std::fprintf(stderr, "%s: option requires an argument -- '%c'\n", words[0].c_str(), word[at]);
                    usage(c);
                    return false;
                }
                value = words[++i];
            }
            out.options.emplace_back(word[at], std::move(value));
            break;
        }
    }
    return true;
}

bool count_is_wrong(const Command& c, int given) {
    if (given >= c.least && (c.most == -1 || given <= c.most)) return false;
    std::string expected = std::to_string(c.least);
    if (c.most == -1) expected = "at least " + expected;
    else if (c.most != c.least) expected = "between " + expected + " and " + std::to_string(c.most);
    std::fprintf(stderr, "bad argument count %d to %.*s, expected %s arguments\n", given, static_cast<int>(c.name.size()), c.name.data(), expected.c_str());
    return true;
}

}  // namespace

bool Words::has(char c) const { return std::ranges::any_of(options, [&](const auto& o) { return o.first == c; }); }

std::string Words::get(char c, std::string otherwise) const {
    for (auto o = options.rbegin(); o != options.rend(); ++o)
        if (o->first == c) return o->second;
    return otherwise;
}

int usage(const Command& c) {
    print_line(c);
    return -1;
}

int list_commands(const std::string& which) {
    if (!which.empty()) {
        const Command* c = find_command(which);
        if (c == nullptr) return std::printf("command %s not found\n", which.c_str()), 0;
        print_line(*c);
        if (!c->details.empty()) std::printf("\n%.*s\n", static_cast<int>(c->details.size()), c->details.data());
        return 0;
    }
    std::vector<const Command*> all;
    for (const auto list : {transfer_commands(), other_commands()})
        for (const Command& c : list) all.push_back(&c);
    std::ranges::sort(all, {}, [](const Command* c) { return c->name; });
    for (const Command* c : all) print_line(*c);
    std::printf("\nUse 'help commandname' for extended help.\n");
    return 0;
}

int Shell::error(const std::string& message) const {
    std::fprintf(stderr, "%s: %s\n", called.c_str(), message.c_str());
    return -1;
}

Task<int> Shell::open(ImageOptions image) {
    if (node) {
        std::fprintf(stderr, "%s: file open already, try 'help close'\n", called.c_str());
        co_return -1;
    }
    auto n = co_await open_image(graph, image);
    if (!n) {
        std::string why = n.error().message;
        if (why.starts_with(image.name + ": ")) why.erase(0, image.name.size() + 2);  // once is enough
        co_return error("can't open" + (image.image_opts ? std::string() : " device " + image.name) + ": " + why);
    }
    node = *n;
    opened = std::move(image);
    opened.snapshot = false;
    co_return 0;
}

Task<void> Shell::drain() {
    co_await idle.acquire(kMostAsync);
    idle.release(kMostAsync);
}

Task<int> Shell::close() {
    co_await drain();
    if (!node) co_return 0;
    auto r = co_await node->close();
    node.reset();
    if (!r) co_return error(r.error().message);
    co_return 0;
}

Task<int> run_line(Shell& s, const std::string& line) {
    std::vector<std::string> words;
    for (size_t at = 0; (at = line.find_first_not_of(" \n", at)) != line.npos;) {
        const size_t end = std::min(line.find_first_of(" \n", at), line.size());
        words.push_back(line.substr(at, end - at));
        at = end;
    }
    if (words.empty()) co_return 0;
    const Command* c = find_command(words[0]);
    if (c == nullptr) {
        std::fprintf(stderr, "command \"%s\" not found\n", words[0].c_str());
        co_return -1;
    }
    if (c->needs_file && !s.node) {
        std::fprintf(stderr, "no file open, try 'help open'\n");
        co_return -1;
    }
    if (count_is_wrong(*c, static_cast<int>(words.size()) - 1)) co_return -1;
    if (c->writes && s.node && s.node->read_only()) co_return s.error("Block node is read-only");
    Words w;
    if (!sort_words(*c, words, w)) co_return -1;
    if (static_cast<int>(w.rest.size()) < std::min(c->least, 1) && c->name != "open") co_return usage(*c);
    co_return co_await c->run(s, *c, w);
}

namespace {

Task<int> run_all(Shell& s, ImageOptions image, std::vector<std::string> lines) {
    bool failed = false;
    if (!image.name.empty() && co_await s.open(std::move(image)) < 0) co_return 1;
    for (const std::string& line : lines) {
        if (s.done) break;
        failed |= co_await run_line(s, line) < 0;
    }
    if (lines.empty()) {
        std::string line;
        while (!s.done) {
            std::printf("%s> ", s.called.c_str());
            std::fflush(stdout);
            bool more = false;
            co_await s.reactor.offload([&] { more = static_cast<bool>(std::getline(std::cin, line)); });
            if (!more) break;
            failed |= co_await run_line(s, line) < 0;
        }
    }
    failed |= co_await s.close() < 0;
    co_return failed ? 1 : 0;
}

}  // namespace

int main_program(int argc, char** argv) {
    const std::string_view path = argv[0];
    const std::string called(path.substr(path.rfind('/') + 1));
    const auto error = [&](const std::string& message) {
        std::fprintf(stderr, "%s: %s\n", called.c_str(), message.c_str());
        return 1;
    };
    const auto print_help = [&](std::FILE* to) {
        std::fprintf(to, "Usage: %s [OPTIONS]... [-c STRING]... [file]\nMyna disk exerciser\n\n%s\nSee '%s -c help' for the commands.\n", called.c_str(),
                     help_text(kOptions).c_str(), called.c_str());
    };
    const auto parsed = parse_options(kOptions, {argv, static_cast<size_t>(argc)});
    if (!parsed) {
        error(parsed.error().message);
        print_help(stdout);
        return 1;
    }
    ImageOptions image;
    std::vector<std::string> lines, objects;
    bool misalign = false;
    io::Aio aio = io::Aio::kAuto;
    for (const auto& [key, value] : parsed->options) {
        if (key == "help") return print_help(stdout), 0;
        if (key == "version") return std::printf("%s version 7.2.0 (Myna 0.1)\n", called.c_str()), 0;
        if (key == "object") objects.push_back(value);
        else if (key == "image-opts") image.image_opts = true;
        else if (key == "cmd") lines.push_back(value);
        else if (key == "format") image.format = value;
        else if (key == "read-only") image.read_only = true;
        else if (key == "snapshot") image.snapshot = true;
        else if (key == "nocache") image.cache = "none";
        else if (key == "copy-on-read") image.copy_on_read = true;
        else if (key == "misalign") misalign = true;
        else if (key == "force-share") image.force_share = true;
        else if (key == "trace") return error("--trace is not supported");
        else if (key == "native-aio") image.aio = "native";
        else if (key == "aio") {
            image.aio = value;
            if (value == "threads") aio = io::Aio::kThreads;
            else if (value == "io_uring") aio = io::Aio::kUring;
            else if (value != "native") return error("Invalid aio option: " + value);
        } else if (key == "cache") {
            block::OpenOptions o;
            if (!set_cache_mode(o, value)) return error("Invalid cache option: " + value);
            image.cache = value;
        } else if (key == "discard") {
            if (value != "ignore" && value != "off" && value != "unmap" && value != "on") return error("Invalid discard option: " + value);
            image.discard = value;
        }
    }
    if (parsed->rest.size() > 1) return print_help(stdout), 1;
    if (!image.format.empty() && image.image_opts) return error("--image-opts and -f are mutually exclusive");
    if (!parsed->rest.empty()) image.name = parsed->rest[0];
    auto reactor = io::Reactor::create(aio);
    if (!reactor) return error(reactor.error().message);
    Shell s(called, **reactor);
    s.misalign = misalign;
    for (const std::string& text : objects)
        if (auto r = s.objects.add(text, s.graph); !r) return error(r.error().message);
    return (*reactor)->run(run_all(s, std::move(image), std::move(lines)));
}

}  // namespace myna::tools::io_tool
