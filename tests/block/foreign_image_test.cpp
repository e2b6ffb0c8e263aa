// Images that the peers' tools made, read here byte for byte, and found sound; and images made here, written by the peers'
// tools afterwards and read here again. The bytes come from files of this machine, with holes between them.
#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <random>

#include "block/graph/graph.h"

namespace myna::block {
namespace {

std::string run(const std::string& command, int* status = nullptr) {
    std::string out;
    std::FILE* p = popen((command + " 2>&1").c_str(), "r");
    char buf[4096];
    while (size_t n = std::fread(buf, 1, sizeof buf, p)) out.append(buf, n);
    const int s = pclose(p);
    if (status != nullptr) *status = s;
    return out;
}

struct Foreign {
    const char* name;
    const char* format;
    const char* options;         // of qemu-img convert
    const char* open = "";       // more image options
    bool compressed = false;     // convert -c
};

class ForeignImage : public testing::TestWithParam<Foreign> {
  protected:
    void SetUp() override {
        char t[] = "/tmp/myna-foreign-XXXXXX";
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
    /// A disk of `size` bytes with stretches of real bytes, runs and holes.
    std::vector<uint8_t> disk(uint64_t size) {
        std::vector<uint8_t> d(size);
        std::ifstream source("/proc/self/exe", std::ios::binary);
        std::mt19937_64 rng(42);
        for (uint64_t at = 0; at < size;) {
            const uint64_t n = std::min<uint64_t>(size - at, 512 * (1 + rng() % 700));
            if (rng() % 3 == 0) source.read(reinterpret_cast<char*>(&d[at]), static_cast<std::streamsize>(n));
            else if (rng() % 4 == 0) std::fill_n(&d[at], n, static_cast<uint8_t>(rng()));
            at += n;
        }
        return d;
    }
    void save(const std::string& name, const std::vector<uint8_t>& d) {
        std::ofstream(name, std::ios::binary).write(reinterpret_cast<const char*>(d.data()), static_cast<std::streamsize>(d.size()));
    }
    /// The whole of an image, read in pieces of odd sizes; its block status must not contradict the bytes.
    void expect_bytes(const std::string& tree, const std::vector<uint8_t>& want) {
        auto opened = wait(graph->open_tree({.options = *Graph::parse_image_opts(tree), .read_only = true}));
        ASSERT_TRUE(opened) << opened.error().message;
        Node& n = **opened;
        ASSERT_GE(n.size(), want.size());
        std::vector<uint8_t> got(n.size());
        for (uint64_t at = 0, piece = 1; at < got.size(); at += piece, piece = piece * 3 % 300007 + 1) {
            piece = std::min(piece, got.size() - at);
            auto r = wait(n.read(at, IoVec(&got[at], piece)));
            ASSERT_TRUE(r) << r.error().message;
        }
        ASSERT_TRUE(std::equal(want.begin(), want.end(), got.begin()))
            << "first difference at " << std::mismatch(want.begin(), want.end(), got.begin()).first - want.begin();
        uint64_t zeroes = 0;
        for (uint64_t at = 0; at < n.size();) {
            auto e = wait(n.block_status(at, n.size() - at));
            ASSERT_TRUE(e) << e.error().message;
            ASSERT_GT(e->length, 0u);
            if (e->zero) {
                zeroes += e->length;
                ASSERT_TRUE(std::all_of(&got[at], &got[at] + e->length, [](uint8_t b) { return b == 0; })) << "at " << at;
            }
            at += e->length;
        }
        holes = zeroes;
        ASSERT_TRUE(wait(n.close()));
    }
    void expect_sound(const std::string& tree) {
        auto opened = wait(graph->open_tree({.options = *Graph::parse_image_opts(tree), .read_only = true}));
        ASSERT_TRUE(opened) << opened.error().message;
        auto c = wait((*opened)->check(CheckFix::kNone));
        if (c) {
            EXPECT_EQ(c->corruptions + c->leaks, 0u) << (c->messages.empty() ? "" : c->messages[0]);
        } else {
            EXPECT_EQ(c.error().kind, ErrorKind::kUnsupported) << c.error().message;
        }
        ASSERT_TRUE(wait((*opened)->close()));
    }
    std::string dir;
    uint64_t holes = 0;
    std::unique_ptr<io::Reactor> reactor;
    std::unique_ptr<Graph> graph;
};

const std::string kSecret = " --object secret,id=k,data='open sesame' ";

TEST_P(ForeignImage, IsReadByteForByte) {
    const Foreign& f = GetParam();
    const auto want = disk(21 << 20);
    save(dir + "/raw", want);
    const std::string image = dir + "/image", tree = std::string("driver=") + f.format + ",file.filename=" + image + f.open;
    int status = 0;
    std::string out;
    // qemu-img measures how long a key takes, and gives up where the machine is too busy to say.
    for (int i = 0; i < 10 && (i == 0 || (status != 0 && out.find("accurate CPU usage") != std::string::npos)); ++i)
        out = run("qemu-img convert" + kSecret + (f.compressed ? "-c " : "") + "-f raw -O " + f.format + " " + f.options + " " + dir + "/raw " + image, &status);
    // convert -c to qcow ends with an error and a good image (7.2).
    ASSERT_TRUE(status == 0 || (f.compressed && out.empty())) << out;
    expect_bytes(tree, want);
    expect_sound(tree);
}

using P = Foreign;
INSTANTIATE_TEST_SUITE_P(Formats, ForeignImage,
                         testing::Values(P{"vdi", "vdi", ""}, P{"vdi_static", "vdi", "-o static=on"}, P{"vmdk", "vmdk", ""},
                                         P{"vmdk_flat", "vmdk", "-o subformat=monolithicFlat"}, P{"vmdk_split", "vmdk", "-o subformat=twoGbMaxExtentSparse"},
                                         P{"vmdk_split_flat", "vmdk", "-o subformat=twoGbMaxExtentFlat"}, P{"vmdk_stream", "vmdk", "-o subformat=streamOptimized"},
                                         P{"vmdk_zero", "vmdk", "-o zeroed_grain=on,adapter_type=lsilogic,hwversion=7"},
                                         P{"vhdx", "vhdx", ""}, P{"vhdx_fixed", "vhdx", "-o subformat=fixed,log_size=3M"}, P{"vhdx_1M", "vhdx", "-o block_size=1M"},
                                         P{"vpc", "vpc", ""}, P{"vpc_force", "vpc", "-o force_size=on"}, P{"vpc_fixed", "vpc", "-o subformat=fixed"},
                                         P{"qed", "qed", ""}, P{"qed_4k", "qed", "-o cluster_size=4k,table_size=2"},
                                         P{"parallels", "parallels", ""}, P{"parallels_64k", "parallels", "-o cluster_size=64k"},
                                         P{"qcow2_luks", "qcow2", "-o encrypt.format=luks,encrypt.key-secret=k,encrypt.iter-time=100", ",encrypt.key-secret=k"},
                                         P{"qcow2_aes", "qcow2", "-o encrypt.format=aes,encrypt.key-secret=k", ",encrypt.key-secret=k"},
                                         P{"qcow", "qcow", ""}, P{"qcow_compressed", "qcow", "", "", true},
                                         P{"qcow_aes", "qcow", "-o encrypt.format=aes,encrypt.key-secret=k", ",encrypt.key-secret=k"},
                                         P{"luks", "luks", "-o key-secret=k,iter-time=100", ",key-secret=k"},
                                         P{"luks_twofish", "luks", "-o key-secret=k,iter-time=100,cipher-alg=twofish-256,cipher-mode=xts,hash-alg=sha512,ivgen-alg=plain", ",key-secret=k"},
                                         P{"luks_cast5", "luks", "-o key-secret=k,iter-time=100,cipher-alg=cast5-128,cipher-mode=cbc,hash-alg=ripemd160", ",key-secret=k"}),
                         [](const auto& param) { return std::string(param.param.name); });

}  // namespace
}  // namespace myna::block
