// info: what an image is, of itself and with its backing chain. Works on a disk in use, and then says by whom.
#include <cstdio>
#include <ctime>
#include <nlohmann/json.hpp>
#include <set>

#include "block/graph/image_info.h"
#include "block/proto/file.h"
#include "img/info.h"

namespace myna::img {

using nlohmann::json;

std::string snapshot_table(const std::vector<block::SnapshotInfo>& list, const std::string& indent) {
    const auto row = [&](const std::string& id, const std::string& tag, const std::string& size, const std::string& date, const std::string& clock, const std::string& icount) {
        return indent + text("%-10s%-17s%8s%20s%13s%11s\n", id.c_str(), tag.c_str(), size.c_str(), date.c_str(), clock.c_str(), icount.c_str());
    };
    std::string out = row("ID", "TAG", "VM SIZE", "DATE", "VM CLOCK", "ICOUNT");
    for (const auto& s : list) {
        const auto when = static_cast<time_t>(s.date_sec);
        struct tm local {};
        localtime_r(&when, &local);
        char date[64];
        std::strftime(date, sizeof date, "%Y-%m-%d %H:%M:%S", &local);
        const uint64_t seconds = s.vm_clock_ns / 1'000'000'000;
        const std::string clock = text("%02d:%02d:%02d.%03d", static_cast<int>(seconds / 3600), static_cast<int>(seconds / 60 % 60), static_cast<int>(seconds % 60),
                                       static_cast<int>(s.vm_clock_ns / 1'000'000 % 1000));
        out += row(s.id, s.name, human_size(s.vm_state_bytes), date, clock, s.icount ? std::to_string(*s.icount) : "");
    }
    return out;
}

namespace {

/// One image of the chain.
struct Described {
    json j;
    std::vector<block::SnapshotInfo> snapshots;
    std::optional<std::string> backing, full_backing, backing_format;
};

Task<Result<Described>> describe(Node& n) {
    auto j = co_await block::image_info(n);
    if (!j) co_return std::unexpected(j.error());
    Described d{.j = std::move(*j)};
    auto s = co_await n.snapshots();
    if (!s) co_return std::unexpected(s.error());
    d.snapshots = *s;
    d.backing = n.backing_name();
    if (d.backing) {
        d.full_backing = Graph::resolve_backing(n.filename(), *d.backing);
        d.backing_format = n.backing_format_name();
    }
    co_return d;
}

/// "lazy-refcounts" is read as "lazy refcounts".
std::string spaced(std::string key) {
    for (char& c : key)
        if (c == '-' || c == '_') c = ' ';
    return key;
}

void print_value(const json& v, int depth);

void print_item(const std::string& label, const json& v, int depth) {
    const bool nested = v.is_structured();
    std::printf("%*s%s:%c", depth * 4, "", label.c_str(), nested ? '\n' : ' ');
    print_value(v, depth + 1);
    if (!nested) std::printf("\n");
}

void print_value(const json& v, int depth) {
    if (v.is_object()) {
        for (const std::string& k : ordered_keys(v)) print_item(spaced(k), v[k], depth);
    } else if (v.is_array()) {
        for (size_t i = 0; i < v.size(); ++i) print_item("[" + std::to_string(i) + "]", v[i], depth);
    } else if (v.is_boolean()) {
        std::printf("%s", v.get<bool>() ? "true" : "false");
    } else if (v.is_string()) {
        std::printf("%s", v.get<std::string>().c_str());
    } else if (v.is_null()) {
        std::printf("null");
    } else {
        std::printf("%s", v.dump().c_str());
    }
}

void print_human(const Described& d) {
    const json& j = d.j;
    const auto size = j["virtual-size"].get<uint64_t>();
    std::printf("image: %s\nfile format: %s\nvirtual size: %s (%llu bytes)\ndisk size: %s\n", j["filename"].get<std::string>().c_str(),
                j["format"].get<std::string>().c_str(), human_size(size).c_str(), static_cast<unsigned long long>(size),
                j.contains("actual-size") ? human_size(j["actual-size"].get<uint64_t>()).c_str() : "unavailable");
    if (j.value("encrypted", false)) std::printf("encrypted: yes\n");
    if (j.contains("cluster-size")) std::printf("cluster_size: %llu\n", j["cluster-size"].get<unsigned long long>());
    if (j.value("dirty-flag", false)) std::printf("cleanly shut down: no\n");
    if (d.backing) {
        std::printf("backing file: %s", d.backing->c_str());
        if (*d.full_backing != *d.backing) std::printf(" (actual path: %s)", d.full_backing->c_str());
        std::printf("\n");
        if (d.backing_format) std::printf("backing file format: %s\n", d.backing_format->c_str());
    }
    if (j.contains("in-use-by")) std::printf("in use: %s\n", j["in-use-by"].get<std::string>().c_str());
    if (!d.snapshots.empty()) std::printf("Snapshot list:\n%s", snapshot_table(d.snapshots).c_str());
    if (j.contains("format-specific")) {
        const json& data = j["format-specific"]["data"];
        if (!data.empty()) {
            std::printf("Format specific information:\n");
            print_value(data, 1);
        }
    }
}

constexpr Option kOptions[] = {kOptFormat, kOptImageOpts, {0, "backing-chain", "", "show the backing files too"}, kOptShare, kOptOutput, kOptObject};

Task<int> run(Tool& tool, Args& a) {
    if (a.rest.size() != 1) co_return tool.usage("Expecting one image file name");
    const auto as_json = wants_json(tool, a);
    if (!as_json) co_return 1;
    std::vector<Described> chain;
    std::set<std::string> seen;
    std::string name = a.rest[0], format = a.get("format");
    bool image_opts = a.has("image-opts");
    for (;;) {
        if (!seen.insert(name).second) co_return tool.error("Backing file '" + name + "' creates an infinite loop.");
        // A disk in use can be described: its tables may change meanwhile, but its header stays what it is.
        OpenOptions probe;
        probe.options = nlohmann::json::object();
        probe.read_only = probe.no_backing = true;  // with no_io set, writers would be tolerated without a word
        bool in_use = false;
        NodePtr node;  // opened once where that is possible: a server may take one client only
        if (!a.has("force-share") && !image_opts) {
            auto n = co_await tool.graph.open(name, format, probe);
            if (n) node = *n;
            in_use = !n && n.error().kind == ErrorKind::kInUse;
        }
        if (!node) node = co_await open_image(tool, {.name = name, .format = format, .image_opts = image_opts, .force_share = in_use || a.has("force-share"), .no_backing = true, .no_io = true});
        if (!node) co_return 1;
        auto d = co_await describe(*node);
        if (!d) co_return tool.error(d.error());
        if (in_use) {
            const std::string who = block::lock_holder(name);
            d->j["in-use-by"] = who.empty() ? "another process has it locked" : who;
        }
        if (auto r = co_await node->close(); !r) co_return tool.error(r.error());
        chain.push_back(std::move(*d));
        const Described& last = chain.back();
        if (!a.has("backing-chain") || !last.backing) break;
        name = *last.full_backing;
        format = last.backing_format.value_or("");
        image_opts = false;
    }
    if (*as_json) {
        json out = json::array();
        for (const auto& d : chain) out.push_back(d.j);
        std::printf("%s\n", json_text(a.has("backing-chain") ? out : out[0]).c_str());
        co_return 0;
    }
    for (size_t i = 0; i < chain.size(); ++i) {
        if (i > 0) std::printf("\n");
        print_human(chain[i]);
    }
    co_return 0;
}

}  // namespace

const Command kInfo{"info", "FILE", "Describes an image", kOptions, run};

}  // namespace myna::img
