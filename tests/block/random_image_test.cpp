// Every writable format against a shadow in memory: random writes, zeroes, discards, compressed writes, snapshots and
// resizes, reopened between rounds; and after each round the peer's own tool must find the image sound and equal.
// A discarded stretch may read as before or as zeroes, byte by byte; what it reads then stays.
//
// MYNA_TEST_SEED repeats a run; MYNA_TEST_OPS makes it longer.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>

#include "block/graph/graph.h"

namespace myna::block {
namespace {

struct Case {
    const char* name;
    const char* format;
    nlohmann::json options;
    bool compress, backing;
    const char* open = "";       // more image options, for the peer's tool and for us: ",key-secret=k"
    bool grows = false;          // the peer can resize it, so we do
};

bool peer_checks(std::string_view format) {
    for (const char* f : {"qcow2", "vdi", "vmdk", "vhdx", "qed", "parallels"})
        if (format == f) return true;
    return false;
}

std::string run(const std::string& command, int* status = nullptr) {
    std::string out;
    std::FILE* p = popen((command + " 2>&1").c_str(), "r");
    char buf[4096];
    while (size_t n = std::fread(buf, 1, sizeof buf, p)) out.append(buf, n);
    const int s = pclose(p);
    if (status != nullptr) *status = s;
    return out;
}

class RandomImage : public testing::TestWithParam<Case> {
  protected:
    void SetUp() override {
        char t[] = "/tmp/myna-block-XXXXXX";
        dir = mkdtemp(t);
        auto r = io::Reactor::create();
        ASSERT_TRUE(r);
        reactor = std::move(*r);
        graph = std::make_unique<Graph>(*reactor);
        graph->add_secret("k", "open sesame");
    }
    void TearDown() override { run("rm -rf " + dir); }
    template <typename T>
    T wait(Task<T> t) {
        return reactor->run(std::move(t));
    }
    std::string dir;
    std::unique_ptr<io::Reactor> reactor;
    std::unique_ptr<Graph> graph;
};

TEST_P(RandomImage, AgreesWithItsShadowAndThePeersTool) {
    const Case& c = GetParam();
    const char* seed_text = std::getenv("MYNA_TEST_SEED");
    const uint64_t seed = seed_text != nullptr ? std::strtoull(seed_text, nullptr, 10) : std::random_device{}();
    const char* ops_text = std::getenv("MYNA_TEST_OPS");
    const int ops = ops_text != nullptr ? std::atoi(ops_text) : 400;
    SCOPED_TRACE("MYNA_TEST_SEED=" + std::to_string(seed));
    std::mt19937_64 rng(seed);
    const auto below = [&](uint64_t n) { return rng() % n; };

    uint64_t size = (4 << 20) + 512 * below(100);
    std::vector<uint8_t> shadow(size);
    const std::string image = dir + "/image", raw = dir + "/shadow", base = dir + "/base";
    CreateOptions create;
    create.filename = image;
    create.size = size;
    create.options = c.options;
    if (c.backing) {
        for (size_t i = 0; i < shadow.size() / 2; ++i) shadow[i] = static_cast<uint8_t>(rng());
        std::ofstream(base, std::ios::binary).write(reinterpret_cast<char*>(shadow.data()), static_cast<std::streamsize>(shadow.size() / 2));
        create.backing_file = base;
        create.backing_format = "raw";
        if (std::string_view(c.format) == "vmdk") {  // its backing files are vmdk too
            ASSERT_EQ(run("mv " + base + " " + base + ".raw && qemu-img resize -q -f raw " + base + ".raw " + std::to_string(size) + " && qemu-img convert -f raw -O vmdk " + base + ".raw " + base), "");
            create.backing_format = "vmdk";
        }
    }
    auto made = wait(graph->create(c.format, create));
    ASSERT_TRUE(made) << made.error().message;

    const std::string tree = "driver=" + std::string(c.format) + ",file.filename=" + image + c.open;
    struct Snapshot {
        std::string name;
        std::vector<uint8_t> bytes;
    };
    std::vector<Snapshot> snapshots;
    for (int round = 0; round < 5; ++round) {
        auto opened = wait(graph->open_tree({.options = *Graph::parse_image_opts(tree)}));
        ASSERT_TRUE(opened) << opened.error().message;
        Node& n = **opened;
        if (round == 0) {  // some formats round sizes up
            ASSERT_GE(n.size(), size);
            shadow.resize(size = n.size());
        }
        ASSERT_EQ(n.size(), size);
        if (round == 0 && !n.zero_init() && !c.backing) {  // new sectors decrypt to noise
            ASSERT_TRUE(wait(n.write_zeroes(0, size)));
        }
        for (int i = 0; i < ops / 5; ++i) {
            const uint64_t at = below(size), len = 1 + below(std::min<uint64_t>(size - at, below(8) == 0 ? 600000 : 5000));
            Result<void> r;
            const auto what = below(20);
            if (what < 10) {
                std::vector<uint8_t> data(len, static_cast<uint8_t>(rng()));
                for (auto& b : data)
                    if (below(3) == 0) b = static_cast<uint8_t>(rng());
                r = wait(n.write(at, IoVec(data)));
                std::copy(data.begin(), data.end(), shadow.begin() + static_cast<ptrdiff_t>(at));
            } else if (what < 13) {
                r = wait(n.write_zeroes(at, len, {.may_unmap = below(2) == 0}));
                std::fill_n(shadow.begin() + static_cast<ptrdiff_t>(at), len, uint8_t{0});
            } else if (what < 14 && c.compress && n.cluster_size()) {
                const uint64_t cluster = *n.cluster_size(), k = at / cluster * cluster, m = std::min(cluster, size - k);
                std::vector<uint8_t> data(m, static_cast<uint8_t>(rng()));
                for (size_t b = 0; b < m / 4; ++b) data[b] = static_cast<uint8_t>(rng());
                r = wait(n.write(k, IoVec(data), {.compressed = true}));
                std::copy(data.begin(), data.end(), shadow.begin() + static_cast<ptrdiff_t>(k));
            } else if (what < 15) {
                r = wait(n.flush());
            } else if (what < 16) {
                r = wait(n.discard(at, len));
                ASSERT_TRUE(r) << r.error().message;
                std::vector<uint8_t> data(len);
                r = wait(n.read(at, IoVec(data)));
                for (size_t b = 0; b < len; ++b) ASSERT_TRUE(data[b] == 0 || data[b] == shadow[at + b] || c.backing) << "discard of " << len << " at " << at;
                std::copy(data.begin(), data.end(), shadow.begin() + static_cast<ptrdiff_t>(at));
            } else if (what < 17 && c.grows && below(20) == 0) {
                size += 512 * below(300);
                shadow.resize(size);
                r = wait(n.truncate(size));
            } else {
                std::vector<uint8_t> data(len);
                r = wait(n.read(at, IoVec(data)));
                ASSERT_TRUE(std::equal(data.begin(), data.end(), shadow.begin() + static_cast<ptrdiff_t>(at))) << "read of " << len << " at " << at;
            }
            ASSERT_TRUE(r) << r.error().message;
        }
        if (std::string_view(c.format) == "qcow2" && !c.options.contains("data_file")) {
            if (round < 3) {
                SnapshotInfo s;
                s.name = "s" + std::to_string(round);
                auto r = wait(n.snapshot_create(s));
                ASSERT_TRUE(r) << r.error().message;
                snapshots.push_back({s.name, shadow});
            } else if (round == 3) {
                auto r = wait(n.snapshot_apply(snapshots[1].name));
                ASSERT_TRUE(r) << r.error().message;
                shadow = snapshots[1].bytes;
                r = wait(n.snapshot_delete("s0"));
                ASSERT_TRUE(r) << r.error().message;
            }
        }
        auto closed = wait(n.close());
        ASSERT_TRUE(closed) << closed.error().message;
        opened->reset();

        std::ofstream(raw, std::ios::binary).write(reinterpret_cast<char*>(shadow.data()), static_cast<std::streamsize>(shadow.size()));
        int status = 0;
        const std::string peer = "--object secret,id=k,data='open sesame' --image-opts " + tree;
        std::string out = run("qemu-img compare " + peer + " driver=raw,file.filename=" + raw, &status);
        ASSERT_EQ(status, 0) << "round " << round << ": " << out;
        if (peer_checks(c.format)) {
            out = run("qemu-img check " + peer, &status);
            // qemu-img counts one leaked cluster too many in qed images of 4,095 clusters or more, its own as well.
            const bool overcounts = std::string_view(c.name) == "qed_4k" && WIFEXITED(status) && WEXITSTATUS(status) == 3 &&
                                    out.find("\n1 leaked clusters") != std::string::npos && std::filesystem::file_size(image) >= 4095 * 4096;
            ASSERT_TRUE(status == 0 || overcounts) << "round " << round << ": " << out;
        }
    }
    if (peer_checks(c.format)) {
        auto opened = wait(graph->open_tree({.options = *Graph::parse_image_opts(tree), .read_only = true}));
        ASSERT_TRUE(opened);
        auto checked = wait((*opened)->check(CheckFix::kNone));
        ASSERT_TRUE(checked) << checked.error().message;
        EXPECT_EQ(checked->corruptions, 0u) << (checked->messages.empty() ? "" : checked->messages[0]);
        EXPECT_EQ(checked->leaks, 0u) << (checked->messages.empty() ? "" : checked->messages[0]);
        ASSERT_TRUE(wait((*opened)->close()));
    }
}

using J = nlohmann::json;
INSTANTIATE_TEST_SUITE_P(
    Formats, RandomImage,
    testing::Values(Case{"raw", "raw", J::object(), false, false}, Case{"qcow2", "qcow2", J::object(), true, false},
                    Case{"qcow2_v2", "qcow2", J{{"compat", "0.10"}}, true, false},
                    Case{"qcow2_backing", "qcow2", J::object(), true, true},
                    Case{"qcow2_512", "qcow2", J{{"cluster_size", "512"}}, true, true},
                    Case{"qcow2_2M", "qcow2", J{{"cluster_size", "2M"}}, true, true},
                    Case{"qcow2_rc1", "qcow2", J{{"refcount_bits", "64"}, {"cluster_size", "4k"}}, true, false},
                    Case{"qcow2_el2", "qcow2", J{{"extended_l2", "on"}}, true, true},
                    Case{"qcow2_zstd", "qcow2", J{{"compression_type", "zstd"}}, true, false},
                    Case{"qcow2_prealloc", "qcow2", J{{"preallocation", "metadata"}}, true, false},
                    Case{"vdi", "vdi", J::object(), false, false}, Case{"vdi_static", "vdi", J{{"static", "on"}}, false, false},
                    Case{"vmdk", "vmdk", J::object(), false, false}, Case{"vmdk_backing", "vmdk", J::object(), false, true},
                    Case{"vmdk_zero", "vmdk", J{{"zeroed_grain", "on"}}, false, true},
                    Case{"vmdk_flat", "vmdk", J{{"subformat", "monolithicFlat"}}, false, false},
                    Case{"vmdk_split", "vmdk", J{{"subformat", "twoGbMaxExtentSparse"}}, false, false},
                    Case{"vmdk_split_flat", "vmdk", J{{"subformat", "twoGbMaxExtentFlat"}}, false, false},
                    Case{"vmdk_stream", "vmdk", J{{"subformat", "streamOptimized"}}, true, false},
                    Case{"vhdx", "vhdx", J::object(), false, false}, Case{"vhdx_1M", "vhdx", J{{"block_size", "1M"}, {"block_state_zero", "off"}}, false, false},
                    Case{"vhdx_fixed", "vhdx", J{{"subformat", "fixed"}}, false, false},
                    Case{"vpc", "vpc", J::object(), false, false}, Case{"vpc_force", "vpc", J{{"force_size", "on"}}, false, false},
                    Case{"vpc_fixed", "vpc", J{{"subformat", "fixed"}}, false, false},
                    Case{"qed", "qed", J::object(), false, false, "", true}, Case{"qed_4k", "qed", J{{"cluster_size", "4k"}, {"table_size", "2"}}, false, true, "", true},
                    Case{"parallels", "parallels", J::object(), false, false}, Case{"parallels_odd", "parallels", J{{"cluster_size", "66048"}}, false, false},
                    Case{"qcow2_luks", "qcow2", J{{"encrypt.format", "luks"}, {"encrypt.key-secret", "k"}, {"encrypt.iter-time", "10"}}, false, true, ",encrypt.key-secret=k"},
                    Case{"qcow2_aes", "qcow2", J{{"encrypt.format", "aes"}, {"encrypt.key-secret", "k"}}, false, true, ",encrypt.key-secret=k"},
                    Case{"qcow", "qcow", J::object(), true, false}, Case{"qcow_backing", "qcow", J::object(), true, true},
                    Case{"qcow_aes", "qcow", J{{"encrypt.format", "aes"}, {"encrypt.key-secret", "k"}}, false, false, ",encrypt.key-secret=k"},
                    Case{"luks", "luks", J{{"key-secret", "k"}, {"iter-time", "10"}}, false, false, ",key-secret=k"},
                    Case{"luks_essiv", "luks", J{{"key-secret", "k"}, {"iter-time", "10"}, {"cipher-alg", "serpent-256"}, {"cipher-mode", "cbc"}, {"ivgen-alg", "essiv"}, {"hash-alg", "sha1"}}, false, false, ",key-secret=k"}),
    [](const auto& param) { return std::string(param.param.name); });

}  // namespace
}  // namespace myna::block
