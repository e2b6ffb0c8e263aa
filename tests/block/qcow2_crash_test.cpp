// qcow2 after a power cut. A workload runs over a recorder; then the stream of host requests is cut at many points, with
// any part of what was not flushed lost. Each result must pass the check with leaks at worst; opening it repairs those; every sector
// must hold what it held at the last completed flush, or something written after it; a bitmap that does not call itself "in
// use" must have all that changed since it was made or cleared.
//
// MYNA_TEST_SEED repeats a run, MYNA_TEST_OPS is the number of guest requests, MYNA_TEST_ROUNDS the number of cuts (0: every
// host request).
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <map>
#include <set>

#include "block/formats/qcow2/qcow2.h"
#include "block/graph/graph.h"
#include "recorder.h"

namespace myna::block {
namespace {

using qcow2::Qcow2Node;

constexpr uint64_t kSector = 512;

uint64_t setting(const char* name, uint64_t otherwise) {
    const char* s = std::getenv(name);
    return s != nullptr ? std::strtoull(s, nullptr, 10) : otherwise;
}

/// A guest request: what the sectors it touches may hold from then on.
struct GuestOp {
    size_t host_begin;             // host requests before it began
    uint64_t offset, length;
    uint32_t stamp;                // 0: zeroes
};
struct FlushPoint {
    size_t host_end;               // host requests when it had returned
    size_t ops;                    // guest requests before it
    std::vector<uint32_t> shadow;  // a stamp a sector
};

struct Variant {
    const char* name;
    nlohmann::json options;
    bool compressed = false, snapshots = false, bitmaps = false;
    uint64_t size = 2u << 20;
};

using Bytes = std::vector<uint8_t>;
/// A sector is known by its stamp: the number that fills it.
using Sectors = std::vector<uint32_t>;

Bytes read_file(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
}
void write_file(const std::string& path, const Bytes& bytes) {
    std::ofstream(path, std::ios::binary).write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
}

class Qcow2Crash : public testing::TestWithParam<Variant> {
  protected:
    void SetUp() override {
        auto r = io::Reactor::create(io::Aio::kThreads, 1);
        ASSERT_TRUE(r);
        reactor = std::move(*r);
        graph = std::make_unique<Graph>(*reactor);
        graph->add_secret("k", "open sesame");
        graph->name_nodes();
        ASSERT_NE(mkdtemp(folder), nullptr);
        path = std::string(folder) + "/image";
    }
    void TearDown() override {
        if (!HasFailure()) std::system(("rm -rf " + std::string(folder)).c_str());
    }
    template <typename T>
    T wait(Task<T> task) {
        return reactor->run(std::move(task));
    }

    [[nodiscard]] bool external() const { return GetParam().options.contains("data_file"); }
    [[nodiscard]] bool encrypted() const { return GetParam().options.contains("encrypt.format"); }
    [[nodiscard]] std::string data_path() const { return std::string(folder) + "/data"; }

    /// An image over host files in memory: the image's own, and where it has one, its data.
    struct Image {
        std::vector<std::shared_ptr<RecorderNode>> hosts;
        std::shared_ptr<Qcow2Node> node;
    };
    Result<Image> open(std::vector<Bytes> bytes, std::vector<HostOp>* log) {
        Image i;
        OpenOptions o;
        o.options = nlohmann::json::object();
        for (Bytes& b : bytes) {
            auto n = std::make_shared<RecorderNode>(*reactor, std::move(b));
            n->number = static_cast<unsigned>(i.hosts.size());
            n->shared_log = log;
            n->changed_only = GetParam().size > (2u << 20);  // the tables of large clusters would take all memory
            n->set_node_name("host" + std::to_string(next_name++));
            graph->enlist(n);
            if (!i.hosts.empty()) o.options["data-file"] = n->node_name();
            i.hosts.push_back(std::move(n));
        }
        if (encrypted()) o.options["encrypt"] = {{"key-secret", "k"}};
        i.node = std::make_shared<Qcow2Node>(*graph, i.hosts[0]);
        if (auto r = wait(i.node->start(o)); !r) return std::unexpected(r.error());
        return i;
    }

    /// What `qemu-img check` says of the image in the file.
    int peer_check(const std::string& name) const {
        const std::string how = encrypted() ? "--object secret,id=k,data='open sesame' --image-opts driver=qcow2,encrypt.key-secret=k,file.filename=" + name : "-f qcow2 " + name;
        return WEXITSTATUS(std::system(("qemu-img check -q " + how + " > /dev/null 2>&1").c_str()));
    }

    /// The moments from which bitmaps may count: when they were made, and when they were cleared.
    struct Moment {
        size_t host_begin;
        Sectors then;
    };
    std::map<std::string, std::vector<Moment>> moments;
    /// A bitmap that calls itself right must have all that changed since one of its moments.
    void check_bitmaps(Image& image, const std::vector<uint32_t>& words, size_t cut) {
        auto list = wait(image.node->bitmaps());
        ASSERT_TRUE(list) << list.error().message;
        for (const BitmapInfo& b : *list) {
            if (std::ranges::find(b.flags, "in-use") != b.flags.end() || std::ranges::find(b.flags, "auto") == b.flags.end()) continue;
            auto bits = wait(image.node->bitmap_bits(b.name));
            ASSERT_TRUE(bits) << bits.error().message;
            ++believed;
            const auto complete = [&](const Moment& m) {
                if (m.host_begin > cut) return false;
                for (uint64_t s = 0; s < m.then.size(); ++s)
                    if (words[s * kSector / 4] != m.then[s] && !bits->get(s * kSector / bits->granularity)) return false;
                return true;
            };
            ASSERT_TRUE(std::ranges::any_of(moments[b.name], complete)) << "bitmap " << b.name << " calls itself right, and lacks changes";
        }
    }

    char folder[32] = "/tmp/myna-crash-XXXXXX";
    std::string path;
    std::shared_ptr<io::Reactor> reactor;
    std::unique_ptr<Graph> graph;
    unsigned next_name = 0;
    size_t believed = 0;
};

TEST_P(Qcow2Crash, AnyCutLeavesAnImageWithAllThatWasFlushed) {
    const Variant& v = GetParam();
    const uint64_t seed = setting("MYNA_TEST_SEED", std::random_device{}());
    const uint64_t count = setting("MYNA_TEST_OPS", 400), cuts = setting("MYNA_TEST_ROUNDS", v.size > (2u << 20) ? 30 : 120);
    SCOPED_TRACE("MYNA_TEST_SEED=" + std::to_string(seed));
    std::mt19937_64 rng(seed);
    const auto below = [&](uint64_t n) { return rng() % n; };
    const uint64_t size = v.size;
    CreateOptions create;
    create.filename = path;
    create.size = size;
    create.options = v.options;
    if (external()) create.options["data_file"] = data_path();  // the peer looks for other names where it runs
    auto made = wait(graph->create("qcow2", create));
    ASSERT_TRUE(made) << made.error().message;
    std::vector<Bytes> empty{read_file(path)};
    if (external()) empty.push_back(read_file(data_path()));

    std::vector<HostOp> log;
    auto image = open(empty, &log);
    ASSERT_TRUE(image) << image.error().message;
    Sectors shadow(size / kSector, 0);
    std::vector<GuestOp> ops;
    std::vector<FlushPoint> flushes{{0, 0, shadow}};
    const auto note_flush = [&] { flushes.push_back({log.size(), ops.size(), shadow}); };
    int named = 0;
    std::map<std::string, Sectors> kept;  // what snapshots hold
    std::vector<std::string> bitmaps;
    for (uint64_t i = 1; i <= count; ++i) {
        Qcow2Node* node = image->node.get();
        const auto stamp = static_cast<uint32_t>(i);
        const uint64_t cluster = *node->cluster_size();
        const uint64_t length = std::min(size, kSector * (1 + below(below(4) == 0 ? 300 : 20))), offset = below((size - length) / kSector + 1) * kSector;
        const size_t begin = log.size();
        const auto fill = [&](uint64_t at, uint64_t n, uint32_t with) {
            ops.push_back({begin, at, n, with});
            std::fill_n(shadow.begin() + static_cast<ptrdiff_t>(at / kSector), n / kSector, with);
        };
        const uint64_t what = below(100);
        if (what < 60) {
            std::vector<uint32_t> bytes(length / 4, stamp);
            const IoVec data(bytes.data(), length);
            fill(offset, length, stamp);
            ASSERT_TRUE(wait(node->write(offset, data)));
        } else if (what < 70 && v.compressed) {
            const uint64_t at = offset / cluster * cluster, n = std::min(cluster, size - at);
            std::vector<uint32_t> bytes(n / 4, stamp);
            const IoVec data(bytes.data(), n);
            fill(at, n, stamp);
            ASSERT_TRUE(wait(node->write(at, data, {.compressed = true})));
        } else if (what < 78) {
            fill(offset, length, 0);
            ASSERT_TRUE(wait(node->write_zeroes(offset, length, {.may_unmap = below(2) == 0})));
        } else if (what < 86) {
            // Whole clusters within are given up; the edges stay: both may be seen, so a new zero write follows.
            fill(offset, length, 0);
            ASSERT_TRUE(wait(node->discard(offset, length)));
            ASSERT_TRUE(wait(node->write_zeroes(offset, length)));
        } else if (what < 90 && v.snapshots) {
            SnapshotInfo s;
            s.name = "s" + std::to_string(++named);
            kept[s.name] = shadow;
            if (below(2) == 0) {
                std::vector<uint32_t> bytes(length / 4, stamp);
                const IoVec data(bytes.data(), length);
                ASSERT_TRUE(wait(node->write_vm_state(below(4) * 4096, data)));
                if (below(4) != 0) s.vm_state_bytes = length;  // else it stays beside the disk
            }
            ASSERT_TRUE(wait(node->snapshot_create(s)));
        } else if (what < 94 && v.snapshots) {
            auto list = wait(node->snapshots());
            ASSERT_TRUE(list);
            if (list->empty()) continue;
            const SnapshotInfo one = (*list)[below(list->size())];
            if (what < 92) {
                ASSERT_TRUE(wait(node->snapshot_delete(one.id)));
                kept.erase(one.name);
            } else {
                const auto& old = kept[one.name];
                for (uint64_t s = 0; s < old.size(); ++s)
                    if (old[s] != shadow[s]) fill(s * kSector, kSector, old[s]);
                ASSERT_TRUE(wait(node->snapshot_apply(one.id)));
            }
        } else if (what < 90 && v.bitmaps) {
            const bool add = bitmaps.size() < 2 || (bitmaps.size() < 4 && below(2) == 0);
            const size_t which = add ? bitmaps.size() : below(bitmaps.size());
            if (add) bitmaps.push_back("b" + std::to_string(++named));
            const std::string name = bitmaps[which];
            const auto change = [&](BitmapAction a) {
                auto r = wait(node->change_bitmap(a, name, 4096));
                ASSERT_TRUE(r) << r.error().message;
            };
            bool wiped = add;
            if (add) {
                change(BitmapAction::kAdd);
            } else if (below(2) == 0) {
                change(BitmapAction::kDisable);
            } else if (below(2) == 0) {
                change(BitmapAction::kRemove);
                bitmaps.erase(bitmaps.begin() + static_cast<ptrdiff_t>(which));
            } else {
                change(BitmapAction::kClear);
                change(BitmapAction::kEnable);
                wiped = true;
            }
            if (wiped) moments[name].push_back({begin, shadow});
        } else if (what < (v.bitmaps ? 95 : 98)) {
            ASSERT_TRUE(wait(node->flush()));
            note_flush();
        } else {
            ASSERT_TRUE(wait(node->close()));
            note_flush();
            std::vector<Bytes> now;
            for (const auto& h : image->hosts) now.push_back(h->file);
            image = open(std::move(now), &log);
            ASSERT_TRUE(image) << image.error().message;
        }
    }
    ASSERT_TRUE(wait(image->node->close()));
    note_flush();

    std::set<size_t> chosen;
    if (cuts == 0)
        for (size_t k = 0; k <= log.size(); ++k) chosen.insert(k);
    while (cuts != 0 && chosen.size() < std::min<size_t>(cuts, log.size() / 2)) chosen.insert(below(log.size() + 1));
    std::vector<Bytes> stable = empty;  // each file up to its last flush before the cut
    std::vector<size_t> applied(stable.size());
    size_t checked_by_peer = 0, leaky = 0, done = 0;
    for (const size_t k : chosen) {
        const uint64_t keep = below(5);  // from nothing of the rest to all of it
        std::vector<Bytes> as_cut;
        for (unsigned f = 0; f < stable.size(); ++f) {
            size_t last_flush = k;
            while (last_flush > applied[f] && (log[last_flush - 1].kind != HostOp::Kind::kFlush || log[last_flush - 1].host != f)) --last_flush;
            for (; applied[f] < last_flush; ++applied[f])
                if (log[applied[f]].host == f) log[applied[f]].apply(stable[f]);
            as_cut.push_back(stable[f]);
            for (size_t i = applied[f]; i < k; ++i)
                if (log[i].host == f && below(4) < keep) log[i].apply(as_cut[f]);
        }
        SCOPED_TRACE("cut at host request " + std::to_string(k) + " of " + std::to_string(log.size()));
        const auto keep_image = [&] {
            const std::string name = path + "-cut-" + std::to_string(k);
            write_file(name, as_cut[0]);
            if (external()) write_file(data_path(), as_cut[1]);
            return name;
        };

        auto again = open(as_cut, nullptr);
        ASSERT_TRUE(again) << again.error().message << " " << keep_image();
        auto check = wait(again->node->check(CheckFix::kNone));
        ASSERT_TRUE(check) << check.error().message;
        ASSERT_EQ(check->corruptions, 0u) << (check->messages.empty() ? "" : check->messages[0]) << " " << keep_image();
        ASSERT_EQ(check->leaks, 0u) << "leaks were not repaired at opening: " << (check->messages.empty() ? "" : check->messages[0]) << " " << keep_image();

        auto flush = std::prev(std::upper_bound(flushes.begin(), flushes.end(), k, [](size_t at, const FlushPoint& f) { return at < f.host_end; }));
        std::vector<std::vector<uint32_t>> later(size / kSector);
        for (size_t i = flush->ops; i < ops.size() && ops[i].host_begin <= k; ++i)
            for (uint64_t s = ops[i].offset / kSector; s < (ops[i].offset + ops[i].length) / kSector; ++s) later[s].push_back(ops[i].stamp);
        std::vector<uint32_t> bytes(size / 4);
        const IoVec all(bytes.data(), size);
        auto read = wait(again->node->read(0, all));
        ASSERT_TRUE(read) << read.error().message << " " << keep_image();
        for (uint64_t s = 0; s < size / kSector; ++s) {
            const uint32_t* sector = &bytes[s * kSector / 4];
            const uint32_t have = sector[0];
            ASSERT_TRUE(std::all_of(sector, sector + kSector / 4, [&](uint32_t w) { return w == have; })) << "sector " << s << " is torn " << keep_image();
            ASSERT_TRUE(have == flush->shadow[s] || std::find(later[s].begin(), later[s].end(), have) != later[s].end())
                << "sector " << s << " holds " << have << ", flushed was " << flush->shadow[s] << " " << keep_image();
        }
        if (v.bitmaps) check_bitmaps(*again, bytes, k);
        if (HasFatalFailure()) FAIL() << keep_image();
        // Further writing must work on it, too.
        std::vector<uint32_t> more(65536 / 4, 0xffffffff);
        const IoVec data(more.data(), 65536);
        auto written = wait(again->node->write(below((size - 65536) / kSector) * kSector, data));
        ASSERT_TRUE(written) << written.error().message << " " << keep_image();
        ASSERT_TRUE(wait(again->node->close()));
        if (checked_by_peer * 20 < done++) {
            ++checked_by_peer;
            const std::string name = keep_image();
            const int as_cut_says = peer_check(name);
            EXPECT_TRUE(as_cut_says == 0 || as_cut_says == 3) << "qemu-img check: " << as_cut_says << " " << name;
            leaky += as_cut_says == 3;
            write_file(name, again->hosts[0]->file);
            EXPECT_EQ(peer_check(name), 0) << "after it was opened, written to and closed: " << name;
            if (!HasFailure()) unlink(name.c_str());
        }
    }
    RecordProperty("believed_bitmaps", static_cast<int>(believed));
    RecordProperty("host_requests", static_cast<int>(log.size()));
    RecordProperty("leaky_before_opening", static_cast<int>(leaky));
    RecordProperty("cuts", static_cast<int>(chosen.size()));
}

INSTANTIATE_TEST_SUITE_P(Cuts, Qcow2Crash,
                         testing::Values(Variant{"Plain", {{"cluster_size", "4096"}}}, Variant{"Snapshots", {{"cluster_size", "4096"}, {"refcount_bits", "16"}}, false, true},
                                         Variant{"Compressed", {{"cluster_size", "8192"}}, true, true}, Variant{"SmallestClusters", {{"cluster_size", "512"}}, false, true},
                                         Variant{"LargestClusters", {{"cluster_size", "2M"}}, true, false, false, 8u << 20},
                                         Variant{"Version2", {{"cluster_size", "4096"}, {"compat", "0.10"}}, true, true}, Variant{"WideCounts", {{"cluster_size", "512"}, {"refcount_bits", "64"}}, false, true},
                                         Variant{"NarrowCounts", {{"cluster_size", "4096"}, {"refcount_bits", "1"}}, true}, Variant{"LazyCounts", {{"cluster_size", "4096"}, {"lazy_refcounts", "on"}}, true, true},
                                         Variant{"ExtendedL2", {{"cluster_size", "16384"}, {"extended_l2", "on"}}, true, true}, Variant{"Bitmaps", {{"cluster_size", "4096"}}, true, false, true},
                                         Variant{"DataFile", {{"cluster_size", "4096"}, {"data_file", "data"}}, false, false, true}, Variant{"RawDataFile", {{"cluster_size", "4096"}, {"data_file", "data"}, {"data_file_raw", "on"}}},
                                         Variant{"Luks", {{"cluster_size", "4096"}, {"encrypt.format", "luks"}, {"encrypt.key-secret", "k"}, {"encrypt.iter-time", "10"}}, false, true}),
                         [](const auto& i) { return std::string(i.param.name); });

}  // namespace
}  // namespace myna::block
