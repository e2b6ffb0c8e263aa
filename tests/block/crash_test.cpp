// A crash at any host write: the writes of a workload are recorded, cut at every point, and of those behind the last
// barrier any may be missing. Each image so made must open, have all that was flushed, and be at worst leaky.
//
//   workload ─▶ format ─▶ Recorder (a Reactor that does everything at once) ─▶ list of writes, zeroings and barriers
//   for each cut: a file of what is before it ─▶ open, read, compare with the shadow of the last flush; sometimes qemu-img
//
// The length of the file is taken to change at once, as file systems with journals do it in order.
// MYNA_TEST_OPS: operations of the workload (2000 is what a release is tested with). MYNA_TEST_SEED repeats a run.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <nlohmann/json.hpp>
#include <random>

#include "block/graph/graph.h"

namespace myna::block {
namespace {

struct Event {
    bool barrier = false;
    uint64_t offset = 0, length = 0;      // length without bytes: zeroes
    std::vector<uint8_t> bytes;
    uint64_t file_size = 0;               // when it happened
};

class Recorder final : public io::Reactor {
  public:
    Recorder() { does_short_work(false); }  // every write comes here
    std::vector<Event> events;
    bool recording = false;
    [[nodiscard]] unsigned threads() const noexcept override { return 1; }
    [[nodiscard]] const char* name() const noexcept override { return "recorder"; }

  protected:
    void submit(io::Operation& op) override {
        using K = io::Operation::Kind;
        const auto* v = static_cast<const iovec*>(op.data);
        switch (op.kind) {
            case K::kReadv: op.result = ::preadv(op.fd, v, static_cast<int>(op.count), static_cast<off_t>(op.offset)); break;
            case K::kWritev: {
                Event e;
                e.offset = op.offset;
                for (uint32_t i = 0; i < op.count; ++i) {
                    const auto* p = static_cast<const uint8_t*>(v[i].iov_base);
                    e.bytes.insert(e.bytes.end(), p, p + v[i].iov_len);
                }
                e.length = e.bytes.size();
                op.result = ::pwritev(op.fd, v, static_cast<int>(op.count), static_cast<off_t>(op.offset));
                record(op.fd, std::move(e));
                break;
            }
            case K::kFallocate: {
                op.result = ::fallocate(op.fd, static_cast<int>(op.flags), static_cast<off_t>(op.offset), static_cast<off_t>(op.length)) == 0 ? 0 : -errno;
                if (op.result != 0) break;
                Event e;
                e.offset = op.offset;
                e.length = op.length;
                record(op.fd, std::move(e));
                break;
            }
            case K::kFsync:
            case K::kFdatasync: {
                Event e;
                e.barrier = true;
                op.result = 0;
                record(op.fd, std::move(e));
                break;
            }
            case K::kWork:
                op.work();
                op.result = 0;
                break;
            default: op.result = -ENOSYS;
        }
        ready_.push_back(op.waiter);
    }
    void wait(bool) override {}

  private:
    void record(int fd, Event e) {
        if (!recording) return;
        struct stat st {};
        fstat(fd, &st);
        e.file_size = static_cast<uint64_t>(st.st_size);
        events.push_back(std::move(e));
    }
};

enum class Check : uint8_t {
    kNone,
    kGood,         // at any cut
    kAfterWriting, // formats that say in two places how much is used: once somebody wrote again
    kAfterOpening, // formats with a mark for "open for writing", which a crash leaves behind: once somebody opened it to write
};
/// What is in the image, or behind it, when the workload begins: bytes that must not be seen, or must not be lost.
enum class Old : uint8_t {
    kNothing,
    kBacking,   // a backing file full of data: what is around a write comes from there
    kLeftOver,  // the file is longer than what is used, and not empty there: as after an earlier crash
};
struct Case {
    const char* name;
    const char* format;
    nlohmann::json options;
    Check check;
    Old old = Old::kNothing;
    nlohmann::json open = nlohmann::json::object();  // options it is opened with
};

class Crash : public testing::TestWithParam<Case> {};

TEST_P(Crash, AtAnyWriteLeavesAGoodImage) {
    const Case& c = GetParam();
    const char* seed_text = std::getenv("MYNA_TEST_SEED");
    const uint64_t seed = seed_text != nullptr ? std::strtoull(seed_text, nullptr, 10) : std::random_device{}();
    const char* ops_text = std::getenv("MYNA_TEST_OPS");
    const int ops = ops_text != nullptr ? std::atoi(ops_text) : 40;
    SCOPED_TRACE("MYNA_TEST_SEED=" + std::to_string(seed));
    std::mt19937_64 rng(seed);
    const auto below = [&](uint64_t n) { return rng() % n; };
    char t[] = "/tmp/myna-crash-XXXXXX";
    const std::string dir = mkdtemp(t), image = dir + "/image", cut_name = dir + "/cut";

    auto recorder = std::make_shared<Recorder>();
    Graph graph(*recorder);
    graph.add_secret("k", "open sesame");
    const OpenOptions open_options{.options = c.open};
    CreateOptions create;
    create.filename = image;
    create.size = 6 << 20;
    create.options = c.options;
    std::vector<uint8_t> shadow(create.size);
    if (c.old == Old::kBacking) {
        for (uint8_t& b : shadow) b = static_cast<uint8_t>(1 + below(255));
        const int fd = open((dir + "/data").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        ASSERT_EQ(write(fd, shadow.data(), shadow.size()), static_cast<ssize_t>(shadow.size()));
        close(fd);
        create.backing_file = dir + "/base";
        create.backing_format = std::string_view(c.format) == "vmdk" ? "vmdk" : "raw";  // a vmdk has none but vmdk behind it
        ASSERT_EQ(std::system(("qemu-img convert -f raw -O " + *create.backing_format + " " + dir + "/data " + *create.backing_file).c_str()), 0);
    }
    auto made = recorder->run(graph.create(c.format, create));
    ASSERT_TRUE(made) << made.error().message;
    if (c.old == Old::kLeftOver) {
        const std::vector<uint8_t> junk(8 << 20, 0xee);
        const int fd = open(image.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC);
        ASSERT_EQ(write(fd, junk.data(), junk.size()), static_cast<ssize_t>(junk.size()));
        close(fd);
    }
    std::vector<uint8_t> start;
    {
        const int fd = open(image.c_str(), O_RDONLY | O_CLOEXEC);
        struct stat st {};
        fstat(fd, &st);
        start.resize(static_cast<size_t>(st.st_size));
        ASSERT_EQ(pread(fd, start.data(), start.size(), 0), static_cast<ssize_t>(start.size()));
        close(fd);
    }
    auto opened = recorder->run(graph.open(image, c.format, open_options));
    ASSERT_TRUE(opened) << opened.error().message;
    Node& n = **opened;
    const uint64_t size = n.size();
    if (n.driver() == "luks") ASSERT_TRUE(recorder->run(n.read(0, IoVec(shadow))));  // a new one decrypts to noise
    // What is certain after which event: bytes that were flushed and not written since. -1: anything goes.
    struct Certain {
        size_t event;
        std::vector<int16_t> bytes;
    };
    std::vector<Certain> certain;
    shadow.resize(size);
    certain.push_back({0, {shadow.begin(), shadow.end()}});
    struct Write {
        size_t event;
        uint64_t at, length;
    };
    std::vector<Write> writes;
    recorder->recording = true;
    for (int i = 0; i < ops; ++i) {
        const uint64_t at = below(size), len = 1 + below(std::min<uint64_t>(size - at, below(10) == 0 ? 300000 : 6000));
        const auto what = below(10);
        if (what < 2) {
            ASSERT_TRUE(recorder->run(n.flush()));
            certain.push_back({recorder->events.size(), {shadow.begin(), shadow.end()}});
            continue;
        }
        writes.push_back({recorder->events.size(), at, len});
        if (what < 8) {
            std::vector<uint8_t> data(len, static_cast<uint8_t>(rng()));
            auto r = recorder->run(n.write(at, IoVec(data)));
            ASSERT_TRUE(r) << r.error().message;
            std::copy(data.begin(), data.end(), shadow.begin() + static_cast<ptrdiff_t>(at));
        } else {
            ASSERT_TRUE(recorder->run(n.write_zeroes(at, len, {.may_unmap = true})));
            std::fill_n(shadow.begin() + static_cast<ptrdiff_t>(at), len, uint8_t{0});
        }
    }
    auto closed = recorder->run(n.close());
    ASSERT_TRUE(closed) << closed.error().message;
    recorder->recording = false;
    opened->reset();
    const auto& events = recorder->events;

    // `disk` is what is certain to be in the file: all before the last barrier.
    std::vector<uint8_t> disk = start;
    const auto apply = [](std::vector<uint8_t>& d, const Event& e) {
        if (d.size() < e.offset + e.length) d.resize(e.offset + e.length);
        if (e.bytes.empty()) std::fill_n(d.begin() + static_cast<ptrdiff_t>(e.offset), e.length, uint8_t{0});
        else std::copy(e.bytes.begin(), e.bytes.end(), d.begin() + static_cast<ptrdiff_t>(e.offset));
    };
    size_t pending = 0, know = 0;
    for (size_t cut = 0; cut < events.size(); ++cut) {
        while (know + 1 < certain.size() && certain[know + 1].event <= cut) ++know;
        // All before the cut, or only some of what is behind the barrier.
        std::vector<uint8_t> now = disk;
        const bool some = below(2) == 0;
        for (size_t i = pending; i < cut; ++i)
            if (!some || below(2) == 0) apply(now, events[i]);
        now.resize(std::max<size_t>(now.size(), events[cut].file_size));
        if (events[cut].barrier) {
            for (size_t i = pending; i < cut; ++i) apply(disk, events[i]);
            pending = cut + 1;
        }
        const int fd = open(cut_name.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        ASSERT_EQ(write(fd, now.data(), now.size()), static_cast<ssize_t>(now.size()));
        close(fd);
        const bool checks = c.check != Check::kNone && below(static_cast<uint64_t>(ops) / 8 + 1) == 0;
        const auto peer_check = [&] {
            const int status = WEXITSTATUS(std::system(("qemu-img check -q -f " + std::string(c.format) + " " + cut_name + " >" + dir + "/said 2>&1").c_str()));
            EXPECT_TRUE(status == 0 || status == 3) << "qemu-img check says " << status << " after event " << cut << " of " << events.size();
        };
        if (checks && c.check == Check::kGood) peer_check();
        auto again = recorder->run(graph.open(cut_name, c.format, open_options));
        ASSERT_TRUE(again) << "after event " << cut << ": " << again.error().message;
        std::vector<uint8_t> got(size);
        auto r = recorder->run((*again)->read(0, IoVec(got)));
        ASSERT_TRUE(r) << "after event " << cut << ": " << r.error().message;
        std::vector<int16_t> want = certain[know].bytes;
        for (const Write& w : writes)
            if (w.event >= certain[know].event && w.event <= cut) std::fill_n(want.begin() + static_cast<ptrdiff_t>(w.at), w.length, int16_t{-1});
        for (uint64_t i = 0; i < size; ++i)
            if (want[i] >= 0 && got[i] != want[i]) FAIL() << "byte " << i << " was flushed, and is lost after event " << cut << " of " << events.size();
        if (checks && c.check == Check::kAfterWriting) ASSERT_TRUE(recorder->run((*again)->write(below(size), IoVec(got.data(), 1))));
        auto ended = recorder->run((*again)->close());
        ASSERT_TRUE(ended) << ended.error().message;
        if (checks && c.check != Check::kGood) peer_check();
    }
    EXPECT_EQ(std::system(("rm -rf " + dir).c_str()), 0);
}

using J = nlohmann::json;
INSTANTIATE_TEST_SUITE_P(Formats, Crash,
                         testing::Values(Case{"qcow2", "qcow2", J{{"cluster_size", "4k"}}, Check::kGood}, Case{"vdi", "vdi", J::object(), Check::kAfterWriting}, Case{"vmdk", "vmdk", J::object(), Check::kGood},
                                         Case{"vmdk_stream", "vmdk", J{{"subformat", "streamOptimized"}}, Check::kGood}, Case{"vhdx", "vhdx", J{{"block_size", "1M"}}, Check::kGood},
                                         Case{"vpc", "vpc", J::object(), Check::kNone}, Case{"qcow", "qcow", J::object(), Check::kNone}, Case{"qed", "qed", J{{"cluster_size", "4k"}}, Check::kGood},
                                         Case{"parallels", "parallels", J{{"cluster_size", "64k"}}, Check::kAfterOpening},
                                         Case{"qcow2_backed", "qcow2", J::object(), Check::kGood, Old::kBacking}, Case{"vmdk_backed", "vmdk", J::object(), Check::kGood, Old::kBacking},
                                         Case{"qcow_backed", "qcow", J::object(), Check::kNone, Old::kBacking}, Case{"qed_backed", "qed", J::object(), Check::kGood, Old::kBacking},
                                         Case{"luks", "luks", J{{"key-secret", "k"}, {"iter-time", "10"}}, Check::kNone, Old::kNothing, J{{"key-secret", "k"}}},
                                         Case{"qcow2_luks_backed", "qcow2", J{{"encrypt.format", "luks"}, {"encrypt.key-secret", "k"}, {"encrypt.iter-time", "10"}, {"cluster_size", "4k"}}, Check::kNone, Old::kBacking,
                                              J{{"encrypt", {{"key-secret", "k"}}}}},
                                         Case{"qcow2_subclusters_backed", "qcow2", J{{"extended_l2", "on"}, {"cluster_size", "32k"}}, Check::kGood, Old::kBacking},
                                         Case{"vdi_left_over", "vdi", J::object(), Check::kAfterWriting, Old::kLeftOver}, Case{"vhdx_left_over", "vhdx", J{{"block_size", "1M"}}, Check::kGood, Old::kLeftOver},
                                         Case{"parallels_left_over", "parallels", J{{"cluster_size", "64k"}}, Check::kAfterOpening, Old::kLeftOver}),
                         [](const auto& param) { return std::string(param.param.name); });

}  // namespace
}  // namespace myna::block
