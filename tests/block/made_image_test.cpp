// Images of the kinds that no tool of Debian writes: made here by hand, and read by qemu-img and by us: both must see the
// same disk. The cloop image is made by cloop's own tool where that is installed.
#include <bzlib.h>
#include <gtest/gtest.h>
#include <unistd.h>
#include <zlib.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <random>

#include "block/formats/common/bytes.h"
#include "block/formats/common/crc32c.h"
#include "block/graph/graph.h"

namespace myna::block {
namespace {

using namespace formats;
using Bytes = std::vector<uint8_t>;

int run(const std::string& command, std::string* out = nullptr) {
    std::FILE* p = popen((command + " 2>&1").c_str(), "r");
    char buf[4096];
    while (size_t n = std::fread(buf, 1, sizeof buf, p))
        if (out != nullptr) out->append(buf, n);
    return pclose(p);
}

class MadeImage : public testing::Test {
  protected:
    void SetUp() override {
        char t[] = "/tmp/myna-made-XXXXXX";
        dir = mkdtemp(t);
        auto r = io::Reactor::create();
        ASSERT_TRUE(r);
        reactor = std::move(*r);
        graph = std::make_unique<Graph>(*reactor);
    }
    void TearDown() override { run("rm -rf " + dir); }
    void save(const std::string& name, const Bytes& d) {
        std::ofstream(dir + "/" + name, std::ios::binary).write(reinterpret_cast<const char*>(d.data()), static_cast<std::streamsize>(d.size()));
    }
    Bytes load(const std::string& name) {
        std::ifstream f(dir + "/" + name, std::ios::binary);
        return {std::istreambuf_iterator<char>(f), {}};
    }
    static Bytes noise(size_t n, unsigned seed) {
        std::mt19937 rng(seed);
        Bytes b(n);
        for (auto& c : b) c = static_cast<uint8_t>(rng());
        return b;
    }
    Result<Bytes> ours(const std::string& format, const std::string& name, bool writable = false) {
        OpenOptions o;
        o.options = {{"driver", format}, {"file", {{"driver", "file"}, {"filename", dir + "/" + name}}}};
        o.read_only = !writable;
        auto n = reactor->run(graph->open_tree(o));
        if (!n) return std::unexpected(n.error());
        Bytes out((*n)->size());
        auto r = reactor->run((*n)->read(0, IoVec(out)));
        if (!r) return std::unexpected(r.error());
        for (uint64_t at = 0; at < out.size();) {
            auto e = reactor->run((*n)->block_status(at, out.size() - at));
            if (!e) return std::unexpected(e.error());
            if (e->zero)
                for (uint64_t i = at; i < at + e->length; ++i) EXPECT_EQ(out[i], 0) << "called zero at " << i;
            at += e->length;
        }
        if (auto c = reactor->run((*n)->close()); !c) return std::unexpected(c.error());
        return out;
    }
    /// Both see `want`.
    void expect(const std::string& format, const std::string& name, const Bytes& want) {
        std::string out;
        ASSERT_EQ(run("qemu-img convert -f " + format + " -O raw " + dir + "/" + name + " " + dir + "/theirs", &out), 0) << out;
        const Bytes theirs = load("theirs");
        EXPECT_TRUE(theirs == want) << "qemu-img reads something else (" << theirs.size() << " bytes, not " << want.size() << "; first at "
                                    << std::mismatch(theirs.begin(), theirs.begin() + static_cast<ptrdiff_t>(std::min(theirs.size(), want.size())), want.begin()).second - want.begin() << ")";
        auto got = ours(format, name);
        ASSERT_TRUE(got) << got.error().message;
        EXPECT_TRUE(*got == want);
    }
    std::string dir;
    std::unique_ptr<io::Reactor> reactor;
    std::unique_ptr<Graph> graph;
};

TEST_F(MadeImage, BochsGrowing) {
    constexpr size_t kExtent = 64 << 10, kBitmap = 16, kCount = 8;
    Bytes h(512 + kCount * 4), want(kExtent * kCount);
    std::copy_n("Bochs Virtual HD Image", 22, h.begin());
    std::copy_n("Redolog", 7, h.begin() + 32);
    std::copy_n("Growing", 7, h.begin() + 48);
    put_le32(&h[64], 0x00020000);
    put_le32(&h[68], 512);
    put_le32(&h[72], kCount);
    put_le32(&h[76], kBitmap);
    put_le32(&h[80], kExtent);
    put_le64(&h[88], want.size());
    for (size_t i = 0; i < kCount; ++i) put_le32(&h[512 + i * 4], i == 5 ? 0 : i == 2 ? 1 : 0xffffffff);
    for (const size_t e : {size_t{5}, size_t{2}}) {
        const Bytes data = noise(kExtent, static_cast<unsigned>(e));
        Bytes bitmap(512);
        for (size_t s = 0; s < kExtent / 512; ++s)
            if (s % 3 != e % 3) {
                bitmap[s / 8] = static_cast<uint8_t>(bitmap[s / 8] | 1u << (s % 8));
                std::copy_n(&data[s * 512], 512, &want[e * kExtent + s * 512]);
            }
        h.insert(h.end(), bitmap.begin(), bitmap.end());
        h.insert(h.end(), data.begin(), data.end());
    }
    save("image", h);
    expect("bochs", "image", want);
}

TEST_F(MadeImage, Cloop) {
    constexpr size_t kBlock = 32 << 10, kCount = 5;
    Bytes want(kBlock * kCount), file(136 + (kCount + 1) * 8);
    constexpr std::string_view kMagic = "#!/bin/sh\n#V2.0 Format\nmodprobe cloop file=$0 && mount -r -t iso9660 /dev/cloop $1\n";
    std::copy(kMagic.begin(), kMagic.end(), file.begin());
    put_be32(&file[128], kBlock);
    put_be32(&file[132], kCount);
    for (size_t i = 0; i < kCount; ++i) {
        if (i != 3) std::copy_n(noise(kBlock / 2, static_cast<unsigned>(i)).begin(), kBlock / 2, &want[i * kBlock]);
        uLongf n = compressBound(kBlock);
        Bytes out(n);
        ASSERT_EQ(compress(out.data(), &n, &want[i * kBlock], kBlock), Z_OK);
        put_be64(&file[136 + i * 8], file.size());
        file.insert(file.end(), out.begin(), out.begin() + static_cast<ptrdiff_t>(n));
    }
    put_be64(&file[136 + kCount * 8], file.size());
    save("image", file);
    expect("cloop", "image", want);
}

struct DmgChunk {
    uint32_t type;
    size_t sectors;
};

/// An image of these chunks, listed in a property list, and the disk it stands for.
void make_dmg(std::span<const DmgChunk> chunks, Bytes (*noise)(size_t, unsigned), Bytes& want, Bytes& file) {
    file.resize(512);
    Bytes mish(204);
    std::copy_n("mish", 4, mish.begin());
    put_be32(&mish[4], 1);
    for (unsigned i = 0; const DmgChunk& k : chunks) {
        Bytes plain(k.sectors * 512);
        if (k.type != 0 && k.type != 2) std::copy_n(noise(plain.size() / 2, ++i).begin(), plain.size() / 2, plain.begin());
        Bytes stored;
        if (k.type == 1) stored = plain;
        if (k.type == 0x80000005) {
            uLongf n = compressBound(plain.size());
            stored.resize(n);
            ASSERT_EQ(compress(stored.data(), &n, plain.data(), plain.size()), Z_OK);
            stored.resize(n);
        }
        if (k.type == 0x80000006) {
            unsigned n = static_cast<unsigned>(plain.size()) * 2;
            stored.resize(n);
            ASSERT_EQ(BZ2_bzBuffToBuffCompress(reinterpret_cast<char*>(stored.data()), &n, reinterpret_cast<char*>(plain.data()), static_cast<unsigned>(plain.size()), 9, 0, 0), BZ_OK);
            stored.resize(n);
        }
        Bytes e(40);
        put_be32(&e[0], k.type);
        put_be64(&e[8], want.size() / 512);
        put_be64(&e[16], k.sectors);
        put_be64(&e[24], file.size());
        put_be64(&e[32], stored.size());
        mish.insert(mish.end(), e.begin(), e.end());
        file.insert(file.end(), stored.begin(), stored.end());
        want.insert(want.end(), plain.begin(), plain.end());
    }
    Bytes end(40);
    put_be32(&end[0], 0xffffffff);
    mish.insert(mish.end(), end.begin(), end.end());
    put_be64(&mish[16], want.size() / 512);
    put_be32(&mish[200], static_cast<uint32_t>(chunks.size() + 1));
    static constexpr char kDigits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    std::string text = "<plist><dict><key>resource-fork</key><dict><key>blkx</key><array><dict><key>Data</key><data>\n";
    for (size_t i = 0; i < mish.size(); i += 3) {
        uint32_t v = 0;
        for (size_t k = 0; k < 3; ++k) v = v << 8 | (i + k < mish.size() ? mish[i + k] : 0);
        for (size_t k = 0; k < 4; ++k) text += i + k > mish.size() ? '=' : kDigits[v >> (18 - 6 * k) & 63];
    }
    text += "\n</data></dict></array></dict></dict></plist>\n";
    Bytes koly(512);
    std::copy_n("koly", 4, koly.begin());
    put_be64(&koly[0xd8], file.size());
    put_be64(&koly[0xe0], text.size());
    put_be64(&koly[0x1ec], want.size() / 512);
    file.insert(file.end(), text.begin(), text.end());
    file.insert(file.end(), koly.begin(), koly.end());
}

TEST_F(MadeImage, DmgByPropertyList) {
    constexpr DmgChunk kChunks[] = {{0x80000005, 100}, {1, 33}, {0, 512}, {2, 8}, {0x80000005, 1}};
    Bytes want, file;
    make_dmg(kChunks, noise, want, file);
    save("image.dmg", file);
    expect("dmg", "image.dmg", want);
}

// The peer needs a module of its own for these.
TEST_F(MadeImage, DmgWithBzip2) {
    constexpr DmgChunk kChunks[] = {{0x80000006, 77}, {0x80000005, 100}, {0x80000006, 1}};
    Bytes want, file;
    make_dmg(kChunks, noise, want, file);
    save("image.dmg", file);
    auto got = ours("dmg", "image.dmg");
    ASSERT_TRUE(got) << got.error().message;
    EXPECT_TRUE(*got == want);
}

TEST_F(MadeImage, VmfsSparse) {
    constexpr size_t kGrain = 4096, kCapacity = 4096 * 6000;
    Bytes want(kCapacity), file(512 + 512 + 2 * 4096 * 4);
    std::copy_n("COWD", 4, file.begin());
    put_le32(&file[4], 1);
    put_le32(&file[8], 3);
    put_le32(&file[12], kCapacity / 512);
    put_le32(&file[16], kGrain / 512);
    put_le32(&file[20], 1);
    put_le32(&file[24], 2);
    put_le32(&file[512], 2);
    put_le32(&file[516], 2 + 4096 * 4 / 512);
    for (const size_t g : {size_t{0}, size_t{17}, size_t{4095}, size_t{4096}, size_t{5999}}) {
        const Bytes data = noise(kGrain, static_cast<unsigned>(g));
        put_le32(&file[1024 + g * 4], static_cast<uint32_t>(file.size() / 512));
        file.insert(file.end(), data.begin(), data.end());
        std::copy(data.begin(), data.end(), want.begin() + static_cast<ptrdiff_t>(g * kGrain));
    }
    save("image-delta.vmdk", file);
    const std::string text = "# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=ffffffff\ncreateType=\"vmfsSparse\"\nRW " + std::to_string(kCapacity / 512) + " VMFSSPARSE \"image-delta.vmdk\"\n";
    save("image.vmdk", Bytes(text.begin(), text.end()));
    expect("vmdk", "image.vmdk", want);
}

TEST_F(MadeImage, SeSparse) {
    constexpr size_t kGrain = 4096, kEntries = 4096, kGrains = 5000;
    Bytes want(kGrain * kGrains), file(5 * 512 + 2 * kEntries * 8);
    file.resize((file.size() + kGrain - 1) / kGrain * kGrain);
    const auto field = [&](size_t i, uint64_t v) { put_le64(&file[i * 8], v); };
    field(0, 0xcafebabe);
    field(1, 0x0000000200000001);
    field(2, want.size() / 512);
    field(3, 8);
    field(4, 64);
    field(10, 1), field(11, 1);    // volatile header
    field(12, 2), field(13, 1), field(14, 3), field(15, 1);
    field(16, 4), field(17, 1);    // directory
    field(18, 5), field(19, 128);  // tables
    field(20, 0), field(21, 0), field(22, 0), field(23, 0);
    const uint64_t grains_at = file.size() / 512;
    field(24, grains_at);
    put_le64(&file[512], 0xcafecafe);
    put_le64(&file[4 * 512], 0x1000000000000000);
    put_le64(&file[4 * 512 + 8], 0x1000000000000001);
    for (uint64_t n = 0; const size_t g : {size_t{3}, size_t{4}, size_t{4095}, size_t{4999}}) {
        const Bytes data = noise(kGrain, static_cast<unsigned>(g));
        put_le64(&file[5 * 512 + g * 8], 0x3000000000000000 | (n & 0xfff) << 48 | n >> 12);
        file.insert(file.end(), data.begin(), data.end());
        std::copy(data.begin(), data.end(), want.begin() + static_cast<ptrdiff_t>(g * kGrain));
        ++n;
    }
    put_le64(&file[5 * 512 + 9 * 8], 0x2000000000000000);
    put_le64(&file[24 * 8 + 8], (file.size() / 512) - grains_at);
    save("image-sesparse.vmdk", file);
    const std::string text = "# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=ffffffff\ncreateType=\"seSparse\"\nRW " + std::to_string(want.size() / 512) +
                             " SESPARSE \"image-sesparse.vmdk\"\n";
    save("image.vmdk", Bytes(text.begin(), text.end()));
    expect("vmdk", "image.vmdk", want);
}

// A log with one entry that writes over the file's first data block and zeroes a page of it.
TEST_F(MadeImage, VhdxLogIsReplayed) {
    ASSERT_EQ(run("head -c 3000000 /proc/self/exe > " + dir + "/raw; truncate -s 3145728 " + dir + "/raw; qemu-img convert -f raw -O vhdx -o block_size=1M " + dir + "/raw " + dir + "/image"), 0);
    Bytes file = load("image"), want = load("raw");
    const size_t log_at = le64(&file[(64 << 10) + 72]), bat = 2 << 20;
    const uint64_t block = le64(&file[bat]) & ~uint64_t{(1 << 20) - 1};
    Bytes entry(4096 * 2);
    const Bytes guid = noise(16, 1), page = noise(4096, 2);
    std::copy_n("loge", 4, entry.begin());
    put_le32(&entry[8], static_cast<uint32_t>(entry.size()));
    put_le64(&entry[16], 77);
    put_le32(&entry[24], 2);
    std::copy(guid.begin(), guid.end(), &entry[32]);
    put_le64(&entry[48], file.size());
    put_le64(&entry[56], file.size());
    std::copy_n("desc", 4, &entry[64]);
    std::copy_n(&page[4092], 4, &entry[68]);
    std::copy_n(&page[0], 8, &entry[72]);
    put_le64(&entry[80], block + 8192);
    put_le64(&entry[88], 77);
    std::copy_n("zero", 4, &entry[96]);
    put_le64(&entry[104], 4096);
    put_le64(&entry[112], block + 16384);
    put_le64(&entry[120], 77);
    std::copy_n("data", 4, &entry[4096]);
    std::copy_n(&page[8], 4084, &entry[4096 + 8]);
    put_le32(&entry[4096 + 4092], 77);
    put_le32(&entry[4], crc32c(entry));
    std::copy(entry.begin(), entry.end(), &file[log_at]);
    for (const size_t at : {size_t{64 << 10}, size_t{128 << 10}}) {
        std::copy(guid.begin(), guid.end(), &file[at + 48]);
        put_le32(&file[at + 4], 0);
        put_le32(&file[at + 4], crc32c({&file[at], 4096}));
    }
    save("image", file);
    save("copy", file);
    std::copy(page.begin(), page.end(), want.begin() + 8192);
    std::fill_n(want.begin() + 16384, 4096, uint8_t{0});
    auto refused = ours("vhdx", "image");
    EXPECT_FALSE(refused);  // read only: it would have to be written to
    auto got = ours("vhdx", "image", true);
    ASSERT_TRUE(got) << got.error().message;
    EXPECT_TRUE(*got == want);
    ASSERT_TRUE(ours("vhdx", "image"));
    // The peer replays its copy to the same disk, and finds ours without a log.
    std::string out;
    EXPECT_EQ(run("qemu-img check -r all -f vhdx " + dir + "/copy", &out), 0) << out;
    EXPECT_EQ(run("qemu-img compare -f vhdx -F vhdx " + dir + "/copy " + dir + "/image", &out), 0) << out;
    EXPECT_EQ(run("qemu-img check -f vhdx " + dir + "/image", &out), 0) << out;
}

// A log whose entry names places that no disk of this format reaches is an error, and leaves the file as it is.
TEST_F(MadeImage, VhdxLogCannotMakeTheFileEndless) {
    ASSERT_EQ(run("qemu-img create -q -f vhdx -o block_size=1M " + dir + "/image 3M"), 0);
    const Bytes clean = load("image");
    const size_t log_at = le64(&clean[(64 << 10) + 72]);
    struct {
        uint64_t at, length, last_size;
    } const kinds[] = {{1 << 20, uint64_t{1} << 60, uint64_t{1} << 61}, {uint64_t{1} << 61, 0 - (uint64_t{1} << 61) + 4096, 1 << 20}, {1 << 20, 4096, uint64_t{1} << 61}};
    for (const auto& k : kinds) {
        Bytes file = clean, entry(4096);
        const Bytes guid = noise(16, 1);
        std::copy_n("loge", 4, entry.begin());
        put_le32(&entry[8], 4096);
        put_le64(&entry[16], 77);
        put_le32(&entry[24], 1);
        std::copy(guid.begin(), guid.end(), &entry[32]);
        put_le64(&entry[48], file.size());
        put_le64(&entry[56], k.last_size);
        std::copy_n("zero", 4, &entry[64]);
        put_le64(&entry[72], k.length);
        put_le64(&entry[80], k.at);
        put_le64(&entry[88], 77);
        put_le32(&entry[4], crc32c(entry));
        std::copy(entry.begin(), entry.end(), &file[log_at]);
        for (const size_t at : {size_t{64 << 10}, size_t{128 << 10}}) {
            std::copy(guid.begin(), guid.end(), &file[at + 48]);
            put_le32(&file[at + 4], 0);
            put_le32(&file[at + 4], crc32c({&file[at], 4096}));
        }
        save("image", file);
        auto r = ours("vhdx", "image", true);
        ASSERT_FALSE(r);
        EXPECT_NE(r.error().message.find("log is damaged"), std::string::npos) << r.error().message;
        EXPECT_TRUE(load("image") == file);
    }
}

}  // namespace
}  // namespace myna::block
