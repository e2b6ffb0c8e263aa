// Many requests at once on every writable format: writes, zeroes, compressed writes, discards, flushes, snapshots, whose
// bytes never overlap but whose clusters do. What the host does ends in any order. Then the image must equal the shadow,
// and the peer's tool must find it sound.
//
//   workers (coroutines) ─▶ format ─▶ Shuffler (a Reactor that does one waiting operation, any of them) ─▶ file
//
// MYNA_TEST_SEED repeats a run (also its order); MYNA_TEST_OPS makes it longer.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <list>
#include <nlohmann/json.hpp>
#include <random>

#include "base/bits.h"
#include "block/graph/graph.h"

namespace myna::block {
namespace {

class Shuffler final : public io::Reactor {
  public:
    explicit Shuffler(uint64_t seed) : rng_(seed) { does_short_work(false); }
    [[nodiscard]] unsigned threads() const noexcept override { return 1; }
    [[nodiscard]] const char* name() const noexcept override { return "shuffler"; }

  protected:
    void submit(io::Operation& op) override { waiting_.push_back(&op); }
    void wait(bool) override {
        if (waiting_.empty()) return;
        std::swap(waiting_[rng_() % waiting_.size()], waiting_.back());
        io::Operation& op = *waiting_.back();
        waiting_.pop_back();
        using K = io::Operation::Kind;
        const auto* v = static_cast<const iovec*>(op.data);
        const auto done = [](auto r) { return r < 0 ? -static_cast<int64_t>(errno) : static_cast<int64_t>(r); };
        switch (op.kind) {
            case K::kReadv: op.result = done(::preadv(op.fd, v, static_cast<int>(op.count), static_cast<off_t>(op.offset))); break;
            case K::kWritev: op.result = done(::pwritev(op.fd, v, static_cast<int>(op.count), static_cast<off_t>(op.offset))); break;
            case K::kFallocate: op.result = done(::fallocate(op.fd, static_cast<int>(op.flags), static_cast<off_t>(op.offset), static_cast<off_t>(op.length))); break;
            case K::kFsync:
            case K::kFdatasync: op.result = 0; break;
            case K::kWork:
                op.work();
                op.result = 0;
                break;
            default: op.result = -ENOSYS;
        }
        ready_.push_back(op.waiter);
    }

  private:
    std::mt19937_64 rng_;
    std::vector<io::Operation*> waiting_;
};

struct Case {
    const char* name;
    const char* format;
    nlohmann::json options;
    bool compress, backing;
    uint64_t longest = 40000;    // bytes of a request
    const char* open = "";       // more image options
};

std::string run(const std::string& command, int* status) {
    std::string out;
    std::FILE* p = popen((command + " 2>&1").c_str(), "r");
    char buf[4096];
    while (size_t n = std::fread(buf, 1, sizeof buf, p)) out.append(buf, n);
    *status = pclose(p);
    return out;
}

class ParallelImage : public testing::TestWithParam<Case> {
  protected:
    struct Stretch {
        uint64_t begin, end;
    };
    /// A stretch that no other request is about (end(): not found); the caller erases it.
    std::list<Stretch>::iterator take(uint64_t longest, uint64_t step) {
        for (int tries = 0; tries < 100; ++tries) {
            const uint64_t at = below(size) / step * step, end = std::min(size, step != granule ? at + step : at + align_up(1 + below(longest), step));
            if (std::any_of(busy.begin(), busy.end(), [&](const Stretch& s) { return s.begin < end && at < s.end; })) continue;
            busy.push_front({at, end});
            return busy.begin();
        }
        return busy.end();
    }
    uint64_t below(uint64_t n) { return rng() % n; }

    Task<void> work(Node& n, const Case& c, int ops) {
        for (int i = 0; i < ops && !HasFailure(); ++i) {
            const auto what = below(20);
            const bool compressed = what == 12 && c.compress;
            const auto s = take(below(3) == 0 ? c.longest : 3000, compressed ? *n.cluster_size() : granule);
            if (s == busy.end()) {  // a large one has it all
                EXPECT_TRUE(co_await n.flush());
                continue;
            }
            const uint64_t at = s->begin, len = s->end - s->begin;
            uint8_t* is = shadow.data() + at;
            std::vector<uint8_t> data(len);
            const IoVec v(data);
            Result<void> r;
            if (what < 11 || compressed) {
                std::fill(data.begin(), data.end(), static_cast<uint8_t>(rng()));
                for (size_t b = 0; b < data.size(); b += 1 + below(16)) data[b] = static_cast<uint8_t>(rng());
                r = co_await n.write(at, v, {.compressed = compressed});
                std::copy(data.begin(), data.end(), is);
            } else if (what < 14) {
                r = co_await n.write_zeroes(at, len, {.may_unmap = below(2) == 0});
                std::fill_n(is, len, uint8_t{0});
            } else if (what < 15) {
                r = co_await n.discard(at, len);
                if (r) r = co_await n.read(at, v);
                for (size_t b = 0; b < len && !HasFailure(); ++b) EXPECT_TRUE(data[b] == 0 || data[b] == is[b] || c.backing) << "discard of " << len << " at " << at;
                std::copy(data.begin(), data.end(), is);
            } else if (what < 16) {
                r = co_await n.flush();
            } else if (what < 17 && below(20) == 0 && std::string_view(c.format) == "qcow2" && !c.options.contains("data_file")) {
                // Others may be at it, too: each deletes one that is there, and that nobody else is about to delete.
                SnapshotInfo info;
                const int mine = ++snapshots;
                info.name = "s" + std::to_string(mine);  // no other's id
                r = co_await n.snapshot_create(info);
                if (r) kept.push_back(mine);
                if (r && kept.size() > 2) {
                    const int oldest = kept.front();
                    kept.pop_front();
                    r = co_await n.snapshot_delete("s" + std::to_string(oldest));
                }
            } else {
                r = co_await n.read(at, v);
                EXPECT_TRUE(std::equal(data.begin(), data.end(), is)) << "read of " << len << " at " << at;
            }
            EXPECT_TRUE(r) << "request " << what << " of " << len << " at " << at << ": " << r.error().message;
            busy.erase(s);
        }
    }

    std::mt19937_64 rng;
    std::list<Stretch> busy;
    std::vector<uint8_t> shadow;
    uint64_t size = 0, granule = 1;  // sectors of encrypted images are the caller's to order
    int snapshots = 0;      // ever made
    std::list<int> kept;
};

TEST_P(ParallelImage, EqualsItsShadow) {
    const Case& c = GetParam();
    const char* seed_text = std::getenv("MYNA_TEST_SEED");
    const uint64_t seed = seed_text != nullptr ? std::strtoull(seed_text, nullptr, 10) : std::random_device{}();
    const char* ops_text = std::getenv("MYNA_TEST_OPS");
    const int ops = ops_text != nullptr ? std::atoi(ops_text) : 600;
    constexpr int kWorkers = 12, kRounds = 4;
    SCOPED_TRACE("MYNA_TEST_SEED=" + std::to_string(seed));
    rng.seed(seed);
    char t[] = "/tmp/myna-parallel-XXXXXX";
    const std::string dir = mkdtemp(t), image = dir + "/image", raw = dir + "/shadow", base = dir + "/base";
    struct Remove {
        const std::string& dir;
        ~Remove() {
            int status;
            run("rm -rf " + dir, &status);
        }
    } const remove{dir};

    auto reactor = std::make_shared<Shuffler>(seed);
    Graph graph(*reactor);
    graph.add_secret("k", "open sesame");
    CreateOptions create;
    create.filename = image;
    create.size = size = (1 << 20) + 512 * below(50);
    create.options = c.options;
    if (create.options.contains("data_file")) create.options["data_file"] = dir + "/data";
    shadow.resize(size);
    if (c.backing) {
        for (size_t i = 0; i < shadow.size() / 2; ++i) shadow[i] = static_cast<uint8_t>(rng());
        std::ofstream(base, std::ios::binary).write(reinterpret_cast<char*>(shadow.data()), static_cast<std::streamsize>(shadow.size() / 2));
        create.backing_file = base;
        create.backing_format = "raw";
    }
    auto made = reactor->run(graph.create(c.format, create));
    ASSERT_TRUE(made) << made.error().message;
    const std::string tree = "driver=" + std::string(c.format) + ",file.filename=" + image + c.open;
    for (int round = 0; round < kRounds; ++round) {
        auto opened = reactor->run(graph.open_tree({.options = *Graph::parse_image_opts(tree)}));
        ASSERT_TRUE(opened) << opened.error().message;
        Node& n = **opened;
        granule = n.limits().request_alignment;
        if (round == 0) {
            ASSERT_GE(n.size(), size);
            shadow.resize(size = n.size());
            if (!n.zero_init() && !c.backing) {
                ASSERT_TRUE(reactor->run(n.write_zeroes(0, size)));
            }
        }
        // Not spawned with one another as arguments: the workers share this fixture, on one thread.
        for (int w = 1; w < kWorkers; ++w) reactor->spawn(work(n, c, ops / kWorkers / kRounds));
        reactor->run(work(n, c, ops / kWorkers / kRounds));
        while (!busy.empty()) reactor->run([](Node& node) -> Task<void> { (void)co_await node.flush(); }(n));
        ASSERT_FALSE(HasFailure()) << "round " << round;
        auto closed = reactor->run(n.close());
        ASSERT_TRUE(closed) << closed.error().message;
        opened->reset();
        std::ofstream(raw, std::ios::binary).write(reinterpret_cast<char*>(shadow.data()), static_cast<std::streamsize>(shadow.size()));
        int status = 0;
        const std::string peer = "--object secret,id=k,data='open sesame' --image-opts " + tree;
        std::string out = run("qemu-img compare " + peer + " driver=raw,file.filename=" + raw, &status);
        ASSERT_EQ(status, 0) << "round " << round << ": " << out;
        for (const char* f : {"qcow2", "vdi", "vmdk", "vhdx", "qed", "parallels"}) {
            if (std::string_view(c.format) != f) continue;
            out = run("qemu-img check " + peer, &status);
            ASSERT_EQ(status, 0) << "round " << round << ": " << out;
        }
    }
}

using J = nlohmann::json;
INSTANTIATE_TEST_SUITE_P(
    Formats, ParallelImage,
    testing::Values(Case{"raw", "raw", J::object(), false, false}, Case{"qcow2", "qcow2", J::object(), true, false},
                    Case{"qcow2_512", "qcow2", J{{"cluster_size", "512"}}, true, true, 5000}, Case{"qcow2_4k", "qcow2", J{{"cluster_size", "4k"}}, true, false},
                    Case{"qcow2_2M", "qcow2", J{{"cluster_size", "2M"}}, true, true},
                    Case{"qcow2_v2", "qcow2", J{{"compat", "0.10"}, {"cluster_size", "8k"}}, true, false},
                    Case{"qcow2_backing", "qcow2", J::object(), true, true}, Case{"qcow2_el2", "qcow2", J{{"extended_l2", "on"}}, true, true},
                    Case{"qcow2_zstd", "qcow2", J{{"compression_type", "zstd"}, {"cluster_size", "4k"}}, true, true},
                    Case{"qcow2_data_file", "qcow2", J{{"data_file", "DATA"}, {"cluster_size", "8k"}}, false, true},
                    Case{"qcow2_raw_data_file", "qcow2", J{{"data_file", "DATA"}, {"data_file_raw", "on"}, {"cluster_size", "8k"}}, false, false},
                    Case{"qcow2_luks", "qcow2", J{{"encrypt.format", "luks"}, {"encrypt.key-secret", "k"}, {"encrypt.iter-time", "10"}, {"cluster_size", "8k"}}, false, true, 40000, ",encrypt.key-secret=k"},
                    Case{"vdi", "vdi", J::object(), false, false}, Case{"vmdk", "vmdk", J::object(), false, false},
                    Case{"vhdx", "vhdx", J{{"block_size", "1M"}}, false, false}, Case{"vpc", "vpc", J::object(), false, false},
                    Case{"qed", "qed", J{{"cluster_size", "4k"}, {"table_size", "2"}}, false, true},
                    Case{"parallels", "parallels", J{{"cluster_size", "65536"}}, false, false}, Case{"qcow", "qcow", J::object(), true, true}),
    [](const auto& param) { return std::string(param.param.name); });

}  // namespace
}  // namespace myna::block
