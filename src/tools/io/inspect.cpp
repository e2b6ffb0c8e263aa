// Everything that does not move data: opening, sizes, allocation, information, waiting.
#include <sys/types.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <nlohmann/json.hpp>

#include "base/bits.h"
#include "tools/io/tool.h"

namespace myna::tools::io_tool {

namespace {

Task<int> alloc(Shell& s, const Command&, Words& w) {
    const auto at = number(w.rest[0]);
    if (!at) co_return -1;
    const auto offset = static_cast<uint64_t>(*at);
    uint64_t count = 512;
    if (w.rest.size() == 2) {
        const auto n = number(w.rest[1]);
        if (!n) co_return -1;
        count = static_cast<uint64_t>(*n);
    }
    const uint64_t size = s.node->size();
    count = offset >= size ? 0 : std::min(count, size - offset);
    uint64_t sum = 0;
    for (uint64_t done = 0; done < count;) {
        const auto e = co_await s.node->block_status(offset + done, count - done);
        if (!e) {
            std::printf("is_allocated failed: %s\n", std::strerror(errno_of(e.error())));
            co_return -1;
        }
        if (e->allocated) sum += e->length;
        done += e->length;
    }
    std::printf("%llu/%llu bytes allocated at offset %s\n", static_cast<unsigned long long>(sum), static_cast<unsigned long long>(count),
                size_text(static_cast<double>(offset)).c_str());
    co_return 0;
}

Task<int> map(Shell& s, const Command&, Words&) {
    const uint64_t size = s.node->size();
    if (size == 0) co_return 0;
    for (uint64_t at = 0; at < size;) {
        uint64_t length = 0;
        bool allocated = false;
        while (at + length < size) {
            const auto e = co_await s.node->block_status(at + length, size - at - length);
            if (!e) co_return s.error("Failed to get allocation status: " + e.error().message);
            if (length != 0 && e->allocated != allocated) break;
            allocated = e->allocated;
            length += e->length;
        }
        std::printf("%s (0x%llx) bytes %s allocated at offset %s (0x%llx)\n", size_text(static_cast<double>(length)).c_str(),
                    static_cast<unsigned long long>(length), allocated ? "   " : "not", size_text(static_cast<double>(at)).c_str(),
                    static_cast<unsigned long long>(at));
        at += length;
    }
    co_return 0;
}

/// The order in which the documented tool prints what is particular to a format; what is not named here comes last.
constexpr std::array kOrder{"compat", "compression-type", "lazy-refcounts", "refcount-bits", "corrupt", "data-file", "data-file-raw", "extended-l2"};

void print_specific(const nlohmann::json& data, int indent) {
    const auto one = [&](const std::string& key, const nlohmann::json& v) {
        std::string name = key;
        for (char& c : name)
            if (c == '-') c = ' ';
        std::printf("%*s%s:", indent, "", name.c_str());
        if (v.is_object()) std::printf("\n"), print_specific(v, indent + 4);
        else if (v.is_string()) std::printf(" %s\n", v.get<std::string>().c_str());
        else std::printf(" %s\n", v.dump().c_str());
    };
    for (const char* key : kOrder)
        if (data.contains(key)) one(key, data[key]);
    for (const auto& [key, v] : data.items())
        if (std::ranges::find(kOrder, key) == kOrder.end()) one(key, v);
}

Task<int> info(Shell& s, const Command&, Words&) {
    const block::Node& n = *s.node;
    const std::string format(n.driver());
    const uint64_t cluster = n.cluster_size().value_or(0);
    const auto specific = n.specific_info();
    const bool extended = specific.is_object() && specific.contains("data") && specific["data"].value("extended-l2", false);
    const uint64_t per_table = format == "qcow2" ? cluster * (cluster / (extended ? 16 : 8)) : 0;
    const uint64_t vm_state = per_table == 0 ? 0 : (n.size() + per_table - 1) / per_table * per_table;
    std::printf("format name: %s\ncluster size: %s\nvm state offset: %s\n", format.c_str(), size_text(static_cast<double>(cluster)).c_str(),
                size_text(static_cast<double>(vm_state)).c_str());
    if (specific.is_object() && specific.contains("data")) {
        std::printf("Format specific information:\n");
        print_specific(specific["data"], 4);
    }
    co_return 0;
}

Task<int> length(Shell& s, const Command&, Words&) {
    std::printf("%s\n", size_text(static_cast<double>(s.node->size())).c_str());
    co_return 0;
}

Task<int> truncate(Shell& s, const Command& c, Words& w) {
    const std::string mode = w.get('m', "off");
    if (mode != "off" && mode != "metadata" && mode != "falloc" && mode != "full") co_return s.error("Invalid preallocation mode '" + mode + "'");
    if (w.rest.size() != 1) co_return usage(c);
    const auto size = number(w.rest[0]);
    if (!size) co_return -1;
    if (auto r = co_await s.node->truncate(static_cast<uint64_t>(*size), mode); !r) co_return s.error(r.error().message);
    co_return 0;
}

Task<int> sleep(Shell& s, const Command&, Words& w) {
    char* end = nullptr;
    const unsigned long ms = std::strtoul(w.rest[0].c_str(), &end, 0);
    if (end == w.rest[0].c_str() || *end != 0) {
        std::printf("%s is not a valid number\n", w.rest[0].c_str());
        co_return -1;
    }
    co_await s.reactor.sleep(std::chrono::milliseconds(ms));
    co_return 0;
}

Task<int> open(Shell& s, const Command& c, Words& w) {
    ImageOptions i;
    for (const auto& [letter, value] : w.options) {
        switch (letter) {
            case 'r': i.read_only = true; break;
            case 's': i.snapshot = true; break;
            case 'C': i.copy_on_read = true; break;
            case 'U': i.force_share = true; break;
            case 'k': i.aio = "native"; break;
            case 'n': i.cache = "none"; break;
            case 't': {
                block::OpenOptions o;
                if (!set_cache_mode(o, value)) co_return s.error("Invalid cache option: " + value);
                i.cache = value;
                break;
            }
            case 'd':
                if (value != "ignore" && value != "off" && value != "unmap" && value != "on") co_return s.error("Invalid discard option: " + value);
                i.discard = value;
                break;
            case 'i':
                if (value != "threads" && value != "native" && value != "io_uring") co_return s.error("Invalid aio option: " + value);
                i.aio = value;
                break;
            case 'o': i.options += (i.options.empty() ? "" : ",") + value; break;
            default: co_return usage(c);
        }
    }
    if (w.rest.size() > 1 || (w.rest.empty() && i.options.empty())) co_return usage(c);
    if (w.rest.empty()) {
        i.image_opts = true;
        i.name = std::exchange(i.options, {});
    } else {
        i.name = w.rest[0];
    }
    co_return co_await s.open(std::move(i));
}

/// Leaves out of "a=b,c=d" what begins with one of `names`.
std::string without(const std::string& options, std::initializer_list<std::string_view> names) {
    std::string out;
    for (size_t at = 0; at < options.size();) {
        size_t end = at;
        while (end < options.size() && (options[end] != ',' || options.compare(end, 2, ",,") == 0)) end += options[end] == ',' ? 2 : 1;
        const std::string one = options.substr(at, end - at);
        if (std::ranges::none_of(names, [&](std::string_view n) { return one.starts_with(n); })) out += (out.empty() ? "" : ",") + one;
        at = end + 1;
    }
    return out;
}

Task<int> reopen(Shell& s, const Command& c, Words& w) {
    ImageOptions i = s.opened;
    bool given = false, cache = false;
    std::string options;
    for (const auto& [letter, value] : w.options) {
        if (letter == 'o') {
            options += (options.empty() ? "" : ",") + value;
            continue;
        }
        if (letter == 'c') {
            block::OpenOptions o;
            if (!set_cache_mode(o, value)) co_return s.error("Invalid cache option: " + value);
            i.cache = value;
            cache = true;
            continue;
        }
        if (given) co_return s.error("Only one -r/-w option may be given");
        given = true;
        i.read_only = letter == 'r';
    }
    if (!w.rest.empty()) co_return usage(c);
    const auto said = block::Graph::parse_image_opts(options);
    if (!said) co_return s.error(said.error().message);
    if (given && said->contains("read-only")) co_return s.error("Cannot set both -r/-w and 'read-only'");
    if (cache && said->contains("cache")) co_return s.error("Cannot set both -c and the cache options");
    if (!options.empty()) {  // what is not given stays as it was
        std::string& all = i.image_opts ? i.name : i.options;
        if (const auto o = said->find("overlap-check"); o != said->end() && (!o->is_object() || o->contains("template"))) all = without(all, {"overlap-check"});
        if (said->contains("cache-size") || said->contains("l2-cache-size") || said->contains("refcount-cache-size")) all = without(all, {"cache-size=", "l2-cache-size=", "refcount-cache-size="});
        all += (all.empty() ? "" : ",") + options;
    }
    if (const int r = co_await s.close(); r < 0) co_return r;
    const ImageOptions before = s.opened;
    auto n = co_await open_image(s.graph, i);
    if (!n) {
        // As it was, then: a wrong option takes nobody's image away.
        if (const int r = co_await s.open(before); r < 0) co_return r;
        co_return s.error(n.error().message);
    }
    s.node = *n;
    s.opened = std::move(i);
    co_return 0;
}

Task<int> close(Shell& s, const Command&, Words&) { return s.close(); }

Task<int> quit(Shell& s, const Command&, Words&) {
    s.done = true;
    co_return 0;
}

Task<int> help(Shell&, const Command&, Words& w) { co_return list_commands(w.rest.empty() ? "" : w.rest[0]); }

Task<int> abort_now(Shell&, const Command&, Words&) { std::abort(); }

Task<int> sigraise(Shell&, const Command&, Words& w) {
    char* end = nullptr;
    const long n = std::strtol(w.rest[0].c_str(), &end, 0);
    if (end == w.rest[0].c_str() || *end != 0) {
        std::printf("%s is not a valid number\n", w.rest[0].c_str());
        co_return -1;
    }
    std::fflush(stdout);
    std::raise(static_cast<int>(n));
    co_return 0;
}

// Breakpoints belong to the blkdebug filter below.
int breakpoint(const Shell& s, block::Node::Breakpoint action, const std::string& event, const std::string& tag, const std::string& what) {
    const auto r = s.node->breakpoint(action, event, tag);
    if (!r) std::printf("Could not %s: %s\n", what.c_str(), std::strerror(errno_of(r.error())));
    return r ? 0 : -1;
}
Task<int> set_break(Shell& s, const Command&, Words& w) { co_return breakpoint(s, block::Node::Breakpoint::kSet, w.rest[0], w.rest[1], "set breakpoint"); }
Task<int> remove_break(Shell& s, const Command&, Words& w) {
    co_return breakpoint(s, block::Node::Breakpoint::kRemove, "", w.rest[0], "remove breakpoint " + w.rest[0]);
}
Task<int> resume(Shell& s, const Command&, Words& w) { co_return breakpoint(s, block::Node::Breakpoint::kResume, "", w.rest[0], "resume request"); }
Task<int> wait_break(Shell& s, const Command&, Words& w) {
    while (!s.node->stopped(w.rest[0])) {
        // Without a filter that knows breakpoints, nothing would ever stop.
        if (const auto r = s.node->breakpoint(block::Node::Breakpoint::kResume, "", w.rest[0]); !r && errno_of(r.error()) == ENOTSUP) {
            std::printf("Could not wait for a breakpoint: %s\n", std::strerror(ENOTSUP));
            co_return -1;
        }
        co_await s.reactor.sleep(std::chrono::milliseconds(1));
    }
    co_return 0;
}

constexpr std::array kOtherCommands{
    Command{"abort", "", "", 0, 0, "", "ends the program with abort(3)", "", false, false, abort_now},
    Command{"alloc", "", "", 1, 2, "offset [count]", "says how much of a range is allocated in this image", "", true, false, alloc},
    Command{"break", "", "", 2, 2, "event tag", "stops the next request at an event (blkdebug)", "", true, false, set_break},
    Command{"close", "c", "", 0, 0, "", "closes the open image", "", true, false, close},
    Command{"help", "?", "", 0, 1, "[command]", "help for one or all commands", "", false, false, help},
    Command{"info", "i", "", 0, 0, "", "what is known of the open image", "", true, false, info},
    Command{"length", "l", "", 0, 0, "", "the size of the open image", "", true, false, length},
    Command{"map", "", "", 0, 0, "", "lists what is allocated in this image", "", true, false, map},
    Command{"open", "o", "rsCnkUi:t:d:o:", 1, -1, "[-rsCnkU] [-t cache] [-d discard] [-o options] [path]", "opens an image",
            " -r  read only\n -s  writes go to a temporary image\n -C  reads fill the image from its backing file\n -n  the same as -t none\n -U  although others write to it\n"
            " -k  the host's asynchronous I/O\n -i  threads, native or io_uring\n -t  cache mode\n -d  discard mode\n -o  options of the driver\n", false, false, open},
    Command{"quit", "q", "", 0, 0, "", "ends the program", "", false, false, quit},
    Command{"remove_break", "", "", 1, 1, "tag", "removes a breakpoint (blkdebug)", "", true, false, remove_break},
    Command{"reopen", "", "rwc:o:", 0, -1, "[(-r|-w)] [-c cache] [-o options]", "opens the image again in another way",
            " -r  read only\n -w  for writing\n -c  cache mode\n -o  options of the driver\n", true, false, reopen},
    Command{"resume", "", "", 1, 1, "tag", "resumes a stopped request (blkdebug)", "", true, false, resume},
    Command{"sigraise", "", "", 1, 1, "signal", "raises a signal in this program", "", false, false, sigraise},
    Command{"sleep", "", "", 1, 1, "milliseconds", "waits", "", false, false, sleep},
    Command{"truncate", "t", "m:", 1, 3, "[-m prealloc_mode] off", "changes the image's size", " -m  off, metadata, falloc or full\n", true, true, truncate},
    Command{"wait_break", "", "", 1, 1, "tag", "waits until a request has stopped (blkdebug)", "", true, false, wait_break},
};

}  // namespace

std::span<const Command> other_commands() noexcept { return kOtherCommands; }

}  // namespace myna::tools::io_tool
