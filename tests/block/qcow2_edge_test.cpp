// qcow2 in unusual states: files longer than what is counted, counts that were lost, first writes at once, operations
// that fail half way. The image is in memory (recorder.h); qemu-img says whether what results is sound.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "base/bits.h"
#include "block/formats/qcow2/qcow2.h"
#include "recorder.h"

namespace myna::block {
namespace {

using namespace qcow2;
using Bytes = std::vector<uint8_t>;

class Qcow2Edge : public testing::Test {
  protected:
    void SetUp() override {
        char t[] = "/tmp/myna-edge-XXXXXX";
        dir = mkdtemp(t);
        reactor = *io::Reactor::create(io::Aio::kThreads, 1);
        graph = std::make_unique<Graph>(*reactor);
        graph->on_corruption = [this](const std::string& line) { told.push_back(line); };
    }
    void TearDown() override { std::system(("rm -rf " + dir).c_str()); }

    Bytes image(nlohmann::json options, uint64_t size) {
        CreateOptions c;
        c.filename = dir + "/image";
        c.size = size;
        c.options = std::move(options);
        EXPECT_TRUE(reactor->run(graph->create("qcow2", c)));
        std::ifstream in(c.filename, std::ios::binary);
        return {std::istreambuf_iterator<char>(in), {}};
    }
    std::shared_ptr<Qcow2Node> open(Bytes bytes) {
        file = std::make_shared<RecorderNode>(*reactor, std::move(bytes));
        auto node = std::make_shared<Qcow2Node>(*graph, file);
        OpenOptions o;
        o.options = nlohmann::json::object();
        auto r = reactor->run(node->start(o));
        EXPECT_TRUE(r) << r.error().message;
        return node;
    }
    Result<void> write(Node& n, uint64_t at, uint64_t length, uint8_t with) {
        Bytes data(length, with);
        return reactor->run(n.write(at, IoVec(data)));
    }
    int peer_check() {
        std::ofstream(dir + "/now", std::ios::binary).write(reinterpret_cast<const char*>(file->file.data()), static_cast<std::streamsize>(file->file.size()));
        return WEXITSTATUS(std::system(("qemu-img check -q -f qcow2 " + dir + "/now > /dev/null 2>&1").c_str()));
    }

    std::string dir;
    std::vector<std::string> told;  // about damage
    std::shared_ptr<io::Reactor> reactor;
    std::unique_ptr<Graph> graph;
    std::shared_ptr<RecorderNode> file;
};

TEST_F(Qcow2Edge, AFileLongerThanWhatIsCountedCanBeWritten) {
    // As on a block device, or after a cut between growing and counting.
    Bytes bytes = image({{"cluster_size", "512"}, {"refcount_bits", "64"}}, 1 << 20);
    bytes.resize(bytes.size() + (4 << 20), 0xa5);
    auto node = open(std::move(bytes));
    for (uint64_t at = 0; at < 1 << 20; at += 10000) {
        const auto r = write(*node, at, 5000, static_cast<uint8_t>(at / 10000 + 1));
        ASSERT_TRUE(r) << r.error().message;
    }
    Bytes got(1 << 20);
    ASSERT_TRUE(reactor->run(node->read(0, IoVec(got))));
    for (uint64_t i = 0; i < got.size(); ++i) ASSERT_EQ(got[i], i % 10000 < 5000 ? static_cast<uint8_t>(i / 10000 + 1) : 0) << i;
    ASSERT_TRUE(reactor->run(node->close()));
    EXPECT_EQ(peer_check(), 0);
}

TEST_F(Qcow2Edge, ClustersWhoseCountsWereLostAreNotGivenAway) {
    auto node = open(image({{"cluster_size", "512"}, {"refcount_bits", "64"}}, 1 << 20));
    ASSERT_TRUE(write(*node, 0, 256 << 10, 0x11));
    ASSERT_TRUE(reactor->run(node->close()));
    Bytes bytes = file->file;
    // The second refcount block is forgotten; what it counted is in use.
    const uint64_t table = be64(&bytes[48]);
    ASSERT_NE(be64(&bytes[table + 8]), 0u);
    put64(&bytes[table + 8], 0);
    node = open(bytes);
    Result<void> r;
    for (uint64_t at = 512 << 10; r && at < 1 << 20; at += 512) r = write(*node, at, 512, 0x22);
    ASSERT_FALSE(r);
    EXPECT_NE(r.error().message.find("refcount"), std::string::npos) << r.error().message;
    Bytes got(256 << 10);
    ASSERT_TRUE(reactor->run(node->read(0, IoVec(got))));
    EXPECT_TRUE(std::all_of(got.begin(), got.end(), [](uint8_t b) { return b == 0x11; }));
}

TEST_F(Qcow2Edge, FirstWritesAtOnceMarkTheBitmapsOnce) {
    auto node = open(image({{"cluster_size", "4096"}}, 1 << 20));
    ASSERT_TRUE(reactor->run(node->change_bitmap(BitmapAction::kAdd, "b", 4096)));
    ASSERT_TRUE(reactor->run(node->close()));
    node = open(file->file);
    unsigned left = 8;
    const auto one = [&](uint64_t at) -> Task<void> {
        Bytes data(4096, 1);
        auto r = co_await node->write(at, IoVec(data));
        EXPECT_TRUE(r);
        --left;
    };
    for (uint64_t i = 0; i < 8; ++i) reactor->spawn(one(i * 8192));
    while (left != 0) reactor->run([](Node& n) -> Task<void> { (void)co_await n.flush(); }(*node));
    // The directory is the only thing at its place.
    size_t marks = 0;
    const uint64_t directory = [&] {
        for (size_t at = 104; at + 8 <= 4096;) {
            const uint32_t type = be32(&file->file[at]), length = be32(&file->file[at + 4]);
            if (type == 0x23852875) return be64(&file->file[at + 8 + 16]);
            at += 8 + (length + 7) / 8 * 8;
        }
        return uint64_t{0};
    }();
    ASSERT_NE(directory, 0u);
    for (const HostOp& op : file->log) marks += op.kind == HostOp::Kind::kWrite && op.offset == directory;
    EXPECT_EQ(marks, 1u);
    auto bits = reactor->run(node->bitmap_bits("b"));
    ASSERT_TRUE(bits);
    for (uint64_t i = 0; i < 16; ++i) EXPECT_EQ(bits->get(i), i % 2 == 0) << i;
    ASSERT_TRUE(reactor->run(node->close()));
    EXPECT_EQ(peer_check(), 0);
}

/// The L2 table of guest offset 0, and the host cluster there.
uint64_t l2_of(const Bytes& file) { return be64(&file[be64(&file[40])]) & kOffsetMask; }
uint64_t host_of_first(const Bytes& file) { return be64(&file[l2_of(file)]) & kOffsetMask; }
/// 16 bits wide, in the first refcount block.
unsigned refcount_of(const Bytes& file, uint64_t cluster) { return be16(&file[be64(&file[be64(&file[48])]) + cluster * 2]); }

TEST_F(Qcow2Edge, ClustersAreFreedWhenTheReadsThatMayKnowThemEnd) {
    auto node = open(image({{"cluster_size", "4096"}}, 1 << 20));
    ASSERT_TRUE(write(*node, 0, 64 << 10, 0x11));
    ASSERT_TRUE(reactor->run(node->flush()));
    const uint64_t host = host_of_first(file->file), cluster = host / 4096;
    ASSERT_EQ(refcount_of(file->file, cluster), 1u);
    // There is always a read under way: one from before the discard, then one that began when it was done.
    io::Semaphore hold(*reactor, 0);
    file->hold_reads = &hold;
    bool before_ended = false, later_ended = false;
    Bytes before(4096), later(8192);
    const auto read = [&](uint64_t at, Bytes& into, bool& ended) -> Task<void> {
        auto r = co_await node->read(at, IoVec(into));
        EXPECT_TRUE(r);
        ended = true;
    };
    reactor->spawn(read(0, before, before_ended));
    ASSERT_TRUE(reactor->run(node->discard(0, 4096)));
    ASSERT_TRUE(reactor->run(node->flush()));
    EXPECT_EQ(refcount_of(file->file, cluster), 1u) << "given away under a read";
    reactor->spawn(read(32768, later, later_ended));
    ASSERT_TRUE(write(*node, 512 << 10, 256 << 10, 0x22));
    const auto let_others_run = [&] { reactor->run([](io::Reactor& r) -> Task<void> { co_await r.sleep(std::chrono::milliseconds(20)); }(*reactor)); };
    hold.release();
    let_others_run();
    ASSERT_TRUE(before_ended);
    EXPECT_TRUE(std::all_of(before.begin(), before.end(), [](uint8_t b) { return b == 0x11; }));
    EXPECT_FALSE(later_ended);
    ASSERT_TRUE(reactor->run(node->flush()));
    EXPECT_EQ(refcount_of(file->file, cluster), 0u) << "a read that began later keeps it";
    hold.release(1000);
    let_others_run();
    ASSERT_TRUE(later_ended);
    EXPECT_TRUE(std::all_of(later.begin(), later.end(), [](uint8_t b) { return b == 0x11; }));
    ASSERT_TRUE(reactor->run(node->close()));
    EXPECT_EQ(peer_check(), 0);
}

/// Whether the header says that a writer of ours has not closed the image.
bool marked(const Bytes& file) {
    for (size_t at = be32(&file[100]); at + 8 <= 4096; at += 8 + align_up(be32(&file[at + 4]), 8))
        if (be32(&file[at]) == 0x4d796e61) return true;
    return false;
}

TEST_F(Qcow2Edge, ADamagedImageThatWasNotClosedIsSearchedOnce) {
    auto node = open(image({{"cluster_size", "4096"}}, 1 << 20));
    ASSERT_TRUE(write(*node, 0, 128 << 10, 0x11));
    ASSERT_TRUE(reactor->run(node->flush()));
    Bytes bytes = file->file;  // the writer is killed
    ASSERT_TRUE(marked(bytes));
    const uint64_t counts = be64(&bytes[be64(&bytes[48])]), used = host_of_first(bytes) / 4096, unused = bytes.size() / 4096 - 1;
    ASSERT_EQ(refcount_of(bytes, unused), 0u);
    put16(&bytes[counts + used * 2], 0);
    put16(&bytes[counts + unused * 2], 1);
    node = open(bytes);
    const size_t searching = file->reads;
    ASSERT_TRUE(reactor->run(node->close()));
    // Nothing was repaired, nothing is lost: what the check would say, it still says.
    Bytes after = file->file;
    EXPECT_FALSE(marked(after));
    EXPECT_TRUE(std::equal(after.begin() + 4096, after.end(), bytes.begin() + 4096, bytes.end()));
    EXPECT_EQ(peer_check(), 2);
    node = open(after);
    EXPECT_LT(file->reads, searching);
    auto check = reactor->run(node->check(CheckFix::kNone));
    ASSERT_TRUE(check);
    EXPECT_EQ(check->corruptions, 2u);  // the count, and the flag that goes by it
    EXPECT_EQ(check->leaks, 1u);
    // The next writer that is killed leaves its mark again, and a repair ends it all.
    ASSERT_TRUE(reactor->run(node->discard(64 << 10, 4096)));
    ASSERT_TRUE(reactor->run(node->flush()));
    EXPECT_TRUE(marked(file->file));
    node = open(file->file);
    check = reactor->run(node->check(CheckFix::kAll));
    ASSERT_TRUE(check);
    EXPECT_EQ(check->corruptions_fixed, check->corruptions);
    ASSERT_TRUE(reactor->run(node->close()));
    EXPECT_FALSE(marked(file->file));
    EXPECT_EQ(peer_check(), 0);
}

TEST_F(Qcow2Edge, WhatACutLeftCountedBehindTheFileIsNotLeakedWhenTheFileGrows) {
    auto node = open(image({{"cluster_size", "4096"}}, 1 << 20));
    ASSERT_TRUE(write(*node, 0, 4096, 0x11));
    ASSERT_TRUE(reactor->run(node->flush()));
    Bytes bytes = file->file;
    ASSERT_TRUE(marked(bytes));
    // The file ends with the last cluster that is used; two behind it were counted when the writer was killed.
    const uint64_t counts = be64(&bytes[be64(&bytes[48])]);
    uint64_t end = bytes.size() / 4096;
    while (refcount_of(bytes, end - 1) == 0) --end;
    bytes.resize(end * 4096);
    put16(&bytes[counts + end * 2], 1);
    put16(&bytes[counts + (end + 2) * 2], 1);
    node = open(bytes);
    ASSERT_TRUE(write(*node, 8192, 16384, 0x22));
    ASSERT_TRUE(reactor->run(node->close()));
    EXPECT_EQ(peer_check(), 0);
}

TEST_F(Qcow2Edge, VmStateBelongsToItsSnapshotAndNeverToTheDisk) {
    constexpr uint64_t kBytes = 5u << 20;  // several L2 tables of this cluster size
    const auto holds = [&](Qcow2Node& n, uint8_t with) {
        Bytes got(kBytes);
        EXPECT_TRUE(reactor->run(n.read_vm_state(0, IoVec(got))));
        return std::ranges::all_of(got, [&](uint8_t b) { return b == with; });
    };
    auto node = open(image({{"cluster_size", "4096"}}, 3 << 20));
    ASSERT_TRUE(write(*node, 0, 3 << 20, 0x11));
    EXPECT_TRUE(holds(*node, 0));
    Bytes state(kBytes, 0x77);
    ASSERT_TRUE(reactor->run(node->write_vm_state(0, IoVec(state))));
    EXPECT_TRUE(holds(*node, 0x77));
    SnapshotInfo s;
    s.name = "running";
    s.vm_state_bytes = kBytes;
    ASSERT_TRUE(reactor->run(node->snapshot_create(s)));
    EXPECT_TRUE(holds(*node, 0));
    ASSERT_TRUE(write(*node, 0, 1 << 20, 0x22));
    ASSERT_TRUE(reactor->run(node->snapshot_apply("running")));
    EXPECT_TRUE(holds(*node, 0x77));
    // It must not become bytes of a larger disk.
    ASSERT_TRUE(reactor->run(node->truncate(12 << 20)));
    Bytes got(12 << 20);
    ASSERT_TRUE(reactor->run(node->read(0, IoVec(got))));
    EXPECT_TRUE(std::all_of(got.begin(), got.begin() + (3 << 20), [](uint8_t b) { return b == 0x11; }));
    EXPECT_TRUE(std::all_of(got.begin() + (3 << 20), got.end(), [](uint8_t b) { return b == 0; }));
    ASSERT_TRUE(reactor->run(node->close()));
    EXPECT_EQ(peer_check(), 0);
    // The peer finds it where it looks for it.
    const auto peer = [&](const std::string& command) { return WEXITSTATUS(std::system(("cd " + dir + " && " + command + " > out 2>&1 && ! grep -q 'Pattern' out").c_str())); };
    EXPECT_EQ(peer("qemu-img snapshot -a running now && qemu-io -f qcow2 -c 'read -b -P 0x77 0 5M' -c 'read -P 0x11 0 3M' now"), 0);
    EXPECT_EQ(peer("qemu-img snapshot -d running now && qemu-img check now"), 0);
}

TEST_F(Qcow2Edge, SnapshotsAndBitmapsOfCommandsAtOnceAreTheOnesNamed) {
    auto node = open(image({{"cluster_size", "4096"}}, 1 << 20));
    for (const char* name : {"a", "b", "c", "d"}) {
        SnapshotInfo s;
        s.name = name;
        ASSERT_TRUE(reactor->run(node->snapshot_create(s)));
        ASSERT_TRUE(reactor->run(node->change_bitmap(BitmapAction::kAdd, name, 4096)));
    }
    ASSERT_TRUE(reactor->run(node->close()));
    node = open(file->file);
    unsigned left = 6;
    const auto removed = [&](const char* name) -> Task<void> {
        EXPECT_TRUE(co_await node->snapshot_delete(name));
        --left;
    };
    const auto changed = [&](BitmapAction action, const char* name) -> Task<void> {
        EXPECT_TRUE(co_await node->change_bitmap(action, name, 4096));
        --left;
    };
    reactor->spawn(removed("a"));
    reactor->spawn(removed("d"));
    reactor->spawn(changed(BitmapAction::kClear, "c"));
    reactor->spawn(changed(BitmapAction::kRemove, "a"));
    reactor->spawn(changed(BitmapAction::kAdd, "e"));
    reactor->spawn(changed(BitmapAction::kRemove, "b"));
    while (left != 0) reactor->run([](Node& n) -> Task<void> { (void)co_await n.flush(); }(*node));
    std::string snapshots, bitmaps;
    for (const auto& s : *reactor->run(node->snapshots())) snapshots += s.name;
    for (const auto& b : *reactor->run(node->bitmaps())) bitmaps += b.name;
    EXPECT_EQ(snapshots, "bc");
    EXPECT_EQ(bitmaps, "cde");
    ASSERT_TRUE(reactor->run(node->close()));
    EXPECT_EQ(peer_check(), 0);
}

TEST_F(Qcow2Edge, DataIsNotWrittenWhereATableOfTheImageLiesOrBehindTheFile) {
    auto node = open(image({{"cluster_size", "4096"}}, 1 << 20));
    ASSERT_TRUE(write(*node, 0, 8192, 0x11));
    ASSERT_TRUE(reactor->run(node->close()));
    const Bytes good = file->file;
    const uint64_t l1 = be64(&good[40]), l2 = l2_of(good), counts = be64(&good[be64(&good[48])]);
    for (const uint64_t place : {uint64_t{0}, l1, l2, counts, host_of_first(good) + 512, align_up(good.size(), 4096), uint64_t{1} << 40}) {
        Bytes bytes = good;
        put64(&bytes[l2], place | kCopied);
        node = open(bytes);
        const auto r = write(*node, 100, 1000, 0x22);
        ASSERT_FALSE(r) << place;
        ASSERT_EQ(told.size(), 1u);
        EXPECT_TRUE(told[0].starts_with("qcow2: Marking image as corrupt: ")) << told[0];
        EXPECT_FALSE(write(*node, 500 << 10, 1000, 0x22));
        EXPECT_EQ(std::exchange(told, {}).size(), 1u);  // told once
        bytes[79] |= Incompatible::kCorrupt;  // and nothing else changed
        EXPECT_EQ(file->file, bytes) << place;
        (void)reactor->run(node->close());
    }
    node = open(good);
    ASSERT_TRUE(write(*node, 100, 1000, 0x22));
    ASSERT_TRUE(reactor->run(node->close()));
    EXPECT_EQ(peer_check(), 0);
}

TEST_F(Qcow2Edge, TheNameOfADataFileIsSeenFromWhereTheProgramRunsElseFromTheImage) {
    const std::string before = std::filesystem::current_path();
    std::filesystem::create_directory(dir + "/sub");
    std::filesystem::current_path(dir);
    CreateOptions c;
    c.filename = "sub/image";
    c.size = 1 << 20;
    c.options = {{"data_file", "data"}};
    ASSERT_TRUE(reactor->run(graph->create("qcow2", c)));
    EXPECT_TRUE(std::filesystem::exists("data"));
    {
        auto n = reactor->run(graph->open(c.filename, "qcow2", {}));
        ASSERT_TRUE(n) << n.error().message;
        ASSERT_TRUE(write(**n, 0, 4096, 7));
        ASSERT_TRUE(reactor->run((*n)->close()));
    }
    EXPECT_EQ(std::system("qemu-io -f qcow2 -c 'read -P 7 0 4096' sub/image > /dev/null"), 0);
    std::filesystem::rename("data", "sub/data");
    auto n = reactor->run(graph->open(c.filename, "qcow2", {}));
    ASSERT_TRUE(n) << n.error().message;
    Bytes got(4096);
    ASSERT_TRUE(reactor->run((*n)->read(0, IoVec(got))));
    EXPECT_EQ(got, Bytes(4096, 7));
    ASSERT_TRUE(reactor->run((*n)->close()));
    std::filesystem::current_path(before);
}

TEST_F(Qcow2Edge, OneRefcountBlockNamedOftenIsRefusedAtOnce) {
    // Half a million entries that name one block without a free cluster: to search through them takes minutes.
    Bytes bytes = image({{"cluster_size", "512"}, {"refcount_bits", "1"}}, 1 << 20);
    const uint64_t block = bytes.size(), table = block + 512;
    bytes.resize(table + (4 << 20));
    std::fill_n(bytes.begin() + static_cast<ptrdiff_t>(block), 512, uint8_t{0xff});
    for (uint64_t i = 0; i < (4 << 20) / 8; ++i) put64(&bytes[table + i * 8], block);
    put64(&bytes[48], table);
    put32(&bytes[56], (4 << 20) / 512);
    auto node = open(std::move(bytes));
    const auto start = std::chrono::steady_clock::now();
    const auto r = write(*node, 0, 512, 0x22);
    ASSERT_FALSE(r);
    EXPECT_NE(r.error().message.find("two entries of the refcount table"), std::string::npos) << r.error().message;
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20));
    (void)reactor->run(node->close());
}

TEST_F(Qcow2Edge, ASnapshotThatCannotBeCountedChangesNothing) {
    auto node = open(image({{"cluster_size", "512"}, {"refcount_bits", "2"}}, 1 << 20));
    ASSERT_TRUE(write(*node, 0, 100000, 0x33));
    SnapshotInfo s;
    for (const char* name : {"a", "b"}) {
        s.name = name;
        const auto r = reactor->run(node->snapshot_create(s));
        ASSERT_TRUE(r) << r.error().message;
    }
    s.name = "one too many";  // three references are what two bits can count
    EXPECT_FALSE(reactor->run(node->snapshot_create(s)));
    auto list = reactor->run(node->snapshots());
    ASSERT_TRUE(list);
    EXPECT_EQ(list->size(), 2u);
    ASSERT_TRUE(write(*node, 50000, 1000, 0x44));
    ASSERT_TRUE(reactor->run(node->snapshot_apply("a")));
    Bytes got(100000);
    ASSERT_TRUE(reactor->run(node->read(0, IoVec(got))));
    EXPECT_TRUE(std::all_of(got.begin(), got.end(), [](uint8_t b) { return b == 0x33; }));
    ASSERT_TRUE(reactor->run(node->close()));
    EXPECT_EQ(peer_check(), 0);
}

}  // namespace
}  // namespace myna::block
