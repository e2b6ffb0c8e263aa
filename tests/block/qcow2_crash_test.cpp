// qcow2 after a power cut. A workload runs over a recorder; then the stream of host requests is cut at many points, with
// any part of what was not flushed lost. Each result must pass the check with leaks at worst; opening it repairs those; every sector
// must hold what it held at the last completed flush, or something written after it.
//
// MYNA_TEST_SEED repeats a run, MYNA_TEST_OPS is the number of guest requests, MYNA_TEST_ROUNDS the number of cuts (0: every
// host request).
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <map>
#include <set>

#include "block/formats/qcow2/qcow2.h"
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
    bool compressed, snapshots;
};

class Qcow2Crash : public testing::TestWithParam<Variant> {};

TEST_P(Qcow2Crash, AnyCutLeavesAnImageWithAllThatWasFlushed) {
    const Variant& v = GetParam();
    const uint64_t seed = setting("MYNA_TEST_SEED", std::random_device{}());
    const uint64_t count = setting("MYNA_TEST_OPS", 400), cuts = setting("MYNA_TEST_ROUNDS", 120);
    SCOPED_TRACE("MYNA_TEST_SEED=" + std::to_string(seed));
    std::mt19937_64 rng(seed);
    const auto below = [&](uint64_t n) { return rng() % n; };
    auto reactor = io::Reactor::create(io::Aio::kThreads, 1);
    ASSERT_TRUE(reactor);
    Graph graph(**reactor);
    const auto wait = [&](auto task) { return (*reactor)->run(std::move(task)); };

    char folder[] = "/tmp/myna-crash-XXXXXX";
    ASSERT_NE(mkdtemp(folder), nullptr);
    const std::string path = std::string(folder) + "/image";
    constexpr uint64_t kSize = 2u << 20;
    CreateOptions create;
    create.filename = path;
    create.size = kSize;
    create.options = v.options;
    ASSERT_TRUE(wait(graph.create("qcow2", create)));
    std::ifstream in(path, std::ios::binary);
    std::vector<uint8_t> empty((std::istreambuf_iterator<char>(in)), {});

    auto recorder = std::make_shared<RecorderNode>(**reactor, empty);
    auto node = std::make_shared<Qcow2Node>(graph, recorder);
    OpenOptions open;
    open.options = nlohmann::json::object();
    ASSERT_TRUE(wait(node->start(open)));

    std::vector<uint32_t> shadow(kSize / kSector, 0);
    std::vector<GuestOp> ops;
    std::vector<FlushPoint> flushes{{0, 0, shadow}};
    const auto note_flush = [&] { flushes.push_back({recorder->log.size(), ops.size(), shadow}); };
    int snapshot = 0;
    std::map<std::string, std::vector<uint32_t>> kept;  // what snapshots hold
    for (uint64_t i = 1; i <= count; ++i) {
        const auto stamp = static_cast<uint32_t>(i);
        const uint64_t cluster = *node->cluster_size();
        const uint64_t length = std::min(kSize, kSector * (1 + below(below(4) == 0 ? 300 : 20))), offset = below((kSize - length) / kSector + 1) * kSector;
        const size_t begin = recorder->log.size();
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
            const uint64_t at = offset / cluster * cluster, n = std::min(cluster, kSize - at);
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
            s.name = "s" + std::to_string(++snapshot);
            kept[s.name] = shadow;
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
        } else {
            ASSERT_TRUE(wait(node->flush()));
            note_flush();
        }
    }
    ASSERT_TRUE(wait(node->close()));
    note_flush();

    const std::vector<HostOp>& log = recorder->log;
    std::set<size_t> chosen;
    if (cuts == 0)
        for (size_t k = 0; k <= log.size(); ++k) chosen.insert(k);
    while (cuts != 0 && chosen.size() < std::min<size_t>(cuts, log.size() / 2)) chosen.insert(below(log.size() + 1));
    std::vector<uint8_t> stable = empty;  // up to the last flush before the cut
    size_t applied = 0;
    size_t checked_by_peer = 0, leaky = 0;
    for (const size_t k : chosen) {
        size_t last_flush = k;
        while (last_flush > applied && log[last_flush - 1].kind != HostOp::Kind::kFlush) --last_flush;
        for (; applied < last_flush; ++applied) log[applied].apply(stable);
        std::vector<uint8_t> image = stable;
        const uint64_t keep = below(5);  // from nothing of the rest to all of it
        for (size_t i = applied; i < k; ++i)
            if (below(4) < keep) log[i].apply(image);
        SCOPED_TRACE("cut at host request " + std::to_string(k) + " of " + std::to_string(log.size()));
        const std::vector<uint8_t> as_cut = image;
        const auto keep_image = [&] {
            const std::string name = path + "-cut-" + std::to_string(k);
            std::ofstream(name, std::ios::binary).write(reinterpret_cast<const char*>(as_cut.data()), static_cast<std::streamsize>(as_cut.size()));
            return name;
        };

        auto host = std::make_shared<RecorderNode>(**reactor, std::move(image));
        auto again = std::make_shared<Qcow2Node>(graph, host);
        auto opened = wait(again->start(open));
        ASSERT_TRUE(opened) << opened.error().message << " " << keep_image();
        auto check = wait(again->check(CheckFix::kNone));
        ASSERT_TRUE(check) << check.error().message;
        ASSERT_EQ(check->corruptions, 0u) << (check->messages.empty() ? "" : check->messages[0]) << " " << keep_image();
        ASSERT_EQ(check->leaks, 0u) << "leaks were not repaired at opening: " << (check->messages.empty() ? "" : check->messages[0]) << " " << keep_image();

        auto flush = std::prev(std::upper_bound(flushes.begin(), flushes.end(), k, [](size_t at, const FlushPoint& f) { return at < f.host_end; }));
        std::vector<std::vector<uint32_t>> later(kSize / kSector);
        for (size_t i = flush->ops; i < ops.size() && ops[i].host_begin <= k; ++i)
            for (uint64_t s = ops[i].offset / kSector; s < (ops[i].offset + ops[i].length) / kSector; ++s) later[s].push_back(ops[i].stamp);
        std::vector<uint32_t> bytes(kSize / 4);
        const IoVec all(bytes.data(), kSize);
        auto read = wait(again->read(0, all));
        ASSERT_TRUE(read) << read.error().message << " " << keep_image();
        for (uint64_t s = 0; s < kSize / kSector; ++s) {
            const uint32_t* sector = &bytes[s * kSector / 4];
            const uint32_t have = sector[0];
            ASSERT_TRUE(std::all_of(sector, sector + kSector / 4, [&](uint32_t w) { return w == have; })) << "sector " << s << " is torn " << keep_image();
            ASSERT_TRUE(have == flush->shadow[s] || std::find(later[s].begin(), later[s].end(), have) != later[s].end())
                << "sector " << s << " holds " << have << ", flushed was " << flush->shadow[s] << " " << keep_image();
        }
        // Further writing must work on it, too.
        std::vector<uint32_t> more(65536 / 4, 0xffffffff);
        const IoVec data(more.data(), 65536);
        auto written = wait(again->write(below((kSize - 65536) / kSector) * kSector, data));
        ASSERT_TRUE(written) << written.error().message << " " << keep_image();
        ASSERT_TRUE(wait(again->close()));
        if (checked_by_peer * 20 < static_cast<size_t>(std::distance(chosen.begin(), chosen.find(k)))) {
            ++checked_by_peer;
            const auto peer = [&](const std::string& name) { return WEXITSTATUS(std::system(("qemu-img check -q -f qcow2 " + name + " > /dev/null 2>&1").c_str())); };
            std::string name = keep_image();
            const int as_cut_says = peer(name);
            EXPECT_TRUE(as_cut_says == 0 || as_cut_says == 3) << "qemu-img check: " << as_cut_says << " " << name;
            leaky += as_cut_says == 3;
            std::ofstream(name, std::ios::binary).write(reinterpret_cast<const char*>(host->file.data()), static_cast<std::streamsize>(host->file.size()));
            EXPECT_EQ(peer(name), 0) << "after it was opened, written to and closed: " << name;
            unlink(name.c_str());
        }
    }
    RecordProperty("host_requests", static_cast<int>(log.size()));
    RecordProperty("leaky_before_opening", static_cast<int>(leaky));
    RecordProperty("cuts", static_cast<int>(chosen.size()));
    std::system(("rm -rf " + std::string(folder)).c_str());
}

INSTANTIATE_TEST_SUITE_P(Cuts, Qcow2Crash,
                         testing::Values(Variant{"Plain", {{"cluster_size", "4096"}}, false, false}, Variant{"Snapshots", {{"cluster_size", "4096"}, {"refcount_bits", "16"}}, false, true},
                                         Variant{"Compressed", {{"cluster_size", "8192"}}, true, true}, Variant{"SmallestClusters", {{"cluster_size", "512"}}, false, true},
                                         Variant{"Version2", {{"cluster_size", "4096"}, {"compat", "0.10"}}, true, true}, Variant{"WideCounts", {{"cluster_size", "512"}, {"refcount_bits", "64"}}, false, true},
                                         Variant{"ExtendedL2", {{"cluster_size", "16384"}, {"extended_l2", "on"}}, true, true}),
                         [](const auto& i) { return std::string(i.param.name); });

}  // namespace
}  // namespace myna::block
