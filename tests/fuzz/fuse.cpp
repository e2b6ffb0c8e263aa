// Requests of a kernel to a FUSE export, in any order, with any numbers in them, many at once: each gets one answer, what is
// read is what a shadow says was written, and a disk that may only be read stays as it was.
//
// The export talks to one end of a pair of packet sockets as it does to /dev/fuse. A request is cut out of the input:
//
//   u8 operation   u8 how   u64 where (little endian)   u16 how much
//
// Its sizes agree with each other, as a kernel's do: libfuse believes them.
#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <coroutine>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <optional>

#include "parts.h"
#include "tools/storage/fuse_export.h"

namespace {

using namespace myna;
using tools::storage::FuseExport;
using tools::storage::FuseSettings;

constexpr uint64_t kSize = 256 << 10, kMost = 512 << 10;

[[noreturn]] void wrong(const char* what) {
    std::fprintf(stderr, "FUSE: %s\n", what);
    std::abort();
}

/// A disk that can be resized, up to a limit, and whose requests end in another order than they began.
class MemoryNode final : public fuzz::MemoryNode {
  public:
    explicit MemoryNode(io::Reactor& r) : fuzz::MemoryNode(r, kSize) {}

  protected:
    io::Task<Result<void>> do_read(uint64_t offset, const io::IoVec& into) override {
        co_await delay();
        co_return co_await fuzz::MemoryNode::do_read(offset, into);
    }
    io::Task<Result<void>> do_write(uint64_t offset, const io::IoVec& from, block::WriteFlags flags) override {
        co_await delay();
        co_return co_await fuzz::MemoryNode::do_write(offset, from, flags);
    }
    io::Task<Result<void>> do_truncate(uint64_t size, std::string_view) override {
        if (size > kMost) co_return fail(ErrorKind::kNoSpace, "full", ENOSPC);
        bytes.resize(size);
        size_ = size;
        co_return Result<void>{};
    }

  private:
    io::Task<void> delay() {
        struct Turn {
            io::Reactor& reactor;
            bool await_ready() const noexcept { return false; }
            void await_suspend(std::coroutine_handle<> h) const { reactor.post(h); }
            void await_resume() const noexcept {}
        };
        random_ = random_ * 6364136223846793005u + 1442695040888963407u;
        for (uint64_t n = random_ >> 61; n > 0; --n) co_await Turn{reactor_};
    }
    uint64_t random_ = 1;
};

/// What the file holds, byte by byte; of what is under way at once, only what does not overlap is known.
class Shadow {
  public:
    void begin_change(uint64_t id, uint64_t offset, uint64_t length, uint8_t value) {
        Change mine{std::min(offset, kMost), std::min(offset, kMost) + std::min(length, kMost - std::min(offset, kMost)), value, {}};
        for (auto& [other, c] : changes_) {
            const uint64_t from = std::max(c.begin, mine.begin), to = std::min(c.end, mine.end);
            if (from >= to) continue;
            c.unknown.emplace_back(from, to);
            mine.unknown.emplace_back(from, to);
        }
        for (auto& [other, r] : reads_) forget(r.bytes, r.offset, mine.begin, mine.end);
        changes_[id] = std::move(mine);
    }
    void end_change(uint64_t id, bool good) {
        const auto at = changes_.find(id);
        if (at == changes_.end()) return;
        const Change c = std::move(at->second);
        changes_.erase(at);
        if (good) std::fill(bytes_.begin() + static_cast<ptrdiff_t>(c.begin), bytes_.begin() + static_cast<ptrdiff_t>(c.end), int16_t{c.value});
        for (const auto& [from, to] : c.unknown) forget(bytes_, 0, from, to);
    }
    /// `resizing`: until all is answered nobody knows how much there is to read.
    void note_resizing() {
        resizing_ = true;
        for (auto& [id, r] : reads_) r.there.reset();
    }
    void begin_read(uint64_t id, uint64_t offset, uint64_t length, uint64_t size) {
        const uint64_t begin = std::min(offset, kMost), end = begin + std::min(length, kMost - begin);
        Read r{begin, {bytes_.begin() + static_cast<ptrdiff_t>(begin), bytes_.begin() + static_cast<ptrdiff_t>(end)}, std::nullopt};
        for (const auto& [other, c] : changes_) forget(r.bytes, begin, c.begin, c.end);
        if (!resizing_) r.there = offset < size ? std::min(length, size - offset) : 0;
        reads_[id] = std::move(r);
    }
    void end_read(uint64_t id, const uint8_t* got, size_t n) {
        const auto at = reads_.find(id);
        if (at == reads_.end()) return;
        const Read r = std::move(at->second);
        reads_.erase(at);
        if (n > r.bytes.size()) wrong("more was read than asked for");
        if (r.there && n != *r.there) wrong("less was read than there is");
        for (size_t i = 0; i < n; ++i)
            if (r.bytes[i] >= 0 && r.bytes[i] != got[i]) wrong("what was read is not what was written");
    }
    /// Nothing is under way: `file` is what there is.
    void settle(const std::vector<uint8_t>& file) {
        resizing_ = false;
        for (size_t i = 0; i < kMost; ++i) {
            const uint8_t have = i < file.size() ? file[i] : 0;
            if (bytes_[i] >= 0 && bytes_[i] != have) wrong("what the disk has is not what was written");
            bytes_[i] = have;
        }
    }

  private:
    struct Change {
        uint64_t begin = 0, end = 0;
        uint8_t value = 0;
        std::vector<std::pair<uint64_t, uint64_t>> unknown;  // of these, another change was under way, too
    };
    struct Read {
        uint64_t offset = 0;
        std::vector<int16_t> bytes;      // -1: unknown
        std::optional<uint64_t> there;   // how many must come
    };
    static void forget(std::vector<int16_t>& bytes, uint64_t offset, uint64_t begin, uint64_t end) {
        begin = std::clamp(begin, offset, offset + bytes.size()), end = std::clamp(end, begin, offset + bytes.size());
        std::fill(bytes.begin() + static_cast<ptrdiff_t>(begin - offset), bytes.begin() + static_cast<ptrdiff_t>(end - offset), int16_t{-1});
    }
    std::vector<int16_t> bytes_ = std::vector<int16_t>(kMost);
    std::map<uint64_t, Change> changes_;
    std::map<uint64_t, Read> reads_;
    bool resizing_ = false;
};

class Kernel {
  public:
    Kernel(io::Reactor& r, int fd) : reactor_(r), fd_(fd) {}
    Shadow shadow;
    /// The number that the next request gets.
    [[nodiscard]] uint64_t next() const noexcept { return unique_ + 1; }

    template <class Body>
    void ask(uint32_t operation, const Body& body, const void* more = nullptr, size_t bytes = 0) {
        std::vector<uint8_t> packet(sizeof(fuse_in_header) + sizeof body + bytes);
        fuse_in_header h{};
        h.len = static_cast<uint32_t>(packet.size());
        h.opcode = operation;
        h.unique = ++unique_;
        h.nodeid = FUSE_ROOT_ID;
        std::memcpy(packet.data(), &h, sizeof h);
        std::memcpy(packet.data() + sizeof h, &body, sizeof body);
        if (bytes != 0) std::memcpy(packet.data() + sizeof h + sizeof body, more, bytes);
        if (::send(fd_, packet.data(), packet.size(), MSG_NOSIGNAL) < 0) return;
        if (operation != FUSE_FORGET && operation != FUSE_INTERRUPT) open_[h.unique] = operation;
    }
    /// Until everything was answered.
    io::Task<void> answers() {
        std::vector<uint8_t> packet(2 << 20);
        while (!open_.empty()) {
            const ssize_t n = ::recv(fd_, packet.data(), packet.size(), MSG_DONTWAIT);
            if (n < 0) {
                co_await reactor_.poll(fd_, POLLIN);
                continue;
            }
            fuse_out_header h{};
            if (n < static_cast<ssize_t>(sizeof h)) wrong("no answer at all");
            std::memcpy(&h, packet.data(), sizeof h);
            if (h.len != static_cast<uint32_t>(n)) wrong("the answer's length");
            if (h.error > 0 || h.error <= -4096) wrong("the answer's error");
            const auto asked = open_.find(h.unique);
            if (asked == open_.end()) wrong("an answer that nobody waits for");
            const size_t bytes = static_cast<size_t>(n) - sizeof h;
            if (asked->second == FUSE_READ) {
                if (h.error != 0) wrong("a read that failed");
                shadow.end_read(h.unique, packet.data() + sizeof h, bytes);
            } else {
                shadow.end_change(h.unique, h.error == 0);
            }
            open_.erase(asked);
        }
    }

  private:
    io::Reactor& reactor_;
    int fd_;
    uint64_t unique_ = 0;
    std::map<uint64_t, uint32_t> open_;
};

io::Task<void> talk(io::Reactor& reactor, const uint8_t* data, size_t size) {
    const size_t before = reactor.active();
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) co_return;
    const int room = 4 << 20;
    for (const int fd : pair) setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof room);
    auto node = std::make_shared<MemoryNode>(reactor);
    FuseSettings settings;
    settings.writable = data[0] & 1;
    settings.growable = data[0] & 2;
    auto made = FuseExport::attach(node, settings, pair[0]);
    if (!made) std::abort();
    Kernel kernel(reactor, pair[1]);
    fuse_init_in init{};
    init.major = FUSE_KERNEL_VERSION;
    init.minor = FUSE_KERNEL_MINOR_VERSION;
    init.max_readahead = 1 << 20;
    init.flags = FUSE_ASYNC_READ | FUSE_BIG_WRITES | FUSE_MAX_PAGES;
    kernel.ask(FUSE_INIT, init);
    co_await kernel.answers();
    std::vector<uint8_t> payload(65536);
    for (size_t at = 1; at + 12 <= size; at += 12) {
        const uint8_t operation = data[at], how = data[at + 1];
        uint64_t where;
        uint16_t much;
        std::memcpy(&where, data + at + 2, 8);
        std::memcpy(&much, data + at + 10, 2);
        if (how & 0x80) where %= kMost;
        // What the kernel lets through: no negative places, no sums that wrap.
        where &= INT64_MAX;
        if (how & 0x40) where = kSize - much % 4096;
        if (where > INT64_MAX - (uint64_t{much} << 8)) where >>= 1;
        switch (operation % 12) {
            case 0:
                kernel.shadow.begin_read(kernel.next(), where, much, node->size());
                kernel.ask(FUSE_READ, fuse_read_in{.fh = 0, .offset = where, .size = much, .read_flags = 0, .lock_owner = 0, .flags = 0, .padding = 0});
                break;
            case 1:
            case 2: {
                std::memset(payload.data(), how, much);
                if (settings.growable) kernel.shadow.note_resizing();
                kernel.shadow.begin_change(kernel.next(), where, much, how);
                kernel.ask(FUSE_WRITE, fuse_write_in{.fh = 0, .offset = where, .size = much, .write_flags = 0, .lock_owner = 0, .flags = 0, .padding = 0}, payload.data(), much);
                break;
            }
            case 3: {
                const uint64_t length = uint64_t{much} << (how & 8);
                if (settings.growable) kernel.shadow.note_resizing();
                if (how & 0x12) kernel.shadow.begin_change(kernel.next(), where, length, 0);
                kernel.ask(FUSE_FALLOCATE, fuse_fallocate_in{.fh = 0, .offset = where, .length = length, .mode = how & 0x13u, .padding = 0});
                break;
            }
            case 4: kernel.ask(FUSE_LSEEK, fuse_lseek_in{.fh = 0, .offset = where, .whence = how % 6u, .padding = 0}); break;
            case 5: {
                fuse_setattr_in a{};
                a.valid = how;
                a.size = where;
                if (how & FATTR_SIZE) {
                    kernel.shadow.note_resizing();
                    kernel.shadow.begin_change(kernel.next(), where, kMost, 0);
                }
                kernel.ask(FUSE_SETATTR, a);
                break;
            }
            case 6: kernel.ask(FUSE_GETATTR, fuse_getattr_in{}); break;
            case 7: kernel.ask(FUSE_FLUSH, fuse_flush_in{}); break;
            case 8: kernel.ask(FUSE_FSYNC, fuse_fsync_in{.fh = 0, .fsync_flags = how & 1u, .padding = 0}); break;
            case 9: kernel.ask(how & 1 ? FUSE_OPEN : FUSE_RELEASE, fuse_release_in{}); break;
            case 10: kernel.ask(how & 1 ? FUSE_LOOKUP : FUSE_STATFS, uint64_t{0x61}); break;
            default:
                co_await kernel.answers();
                kernel.shadow.settle(node->bytes);
        }
        if (at % 240 == 1) co_await kernel.answers();
    }
    co_await kernel.answers();
    kernel.shadow.settle(node->bytes);
    if (settings.writable) {
        // What it holds is what the node has.
        kernel.ask(FUSE_WRITE, fuse_write_in{.fh = 0, .offset = 0, .size = 3, .write_flags = 0, .lock_owner = 0, .flags = 0, .padding = 0}, "end", 3);
        co_await kernel.answers();
        if (node->size() >= 3 && std::memcmp(node->bytes.data(), "end", 3) != 0) std::abort();
    } else if (node->size() != kSize || std::ranges::any_of(node->bytes, [](uint8_t b) { return b != 0; })) {
        std::abort();
    }
    ::close(pair[1]);  // as an unmounted file system: the export hears the end
    co_await (*made)->unmount();
    while (reactor.active() > before) co_await reactor.sleep(std::chrono::microseconds(50));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    if (size == 0 || size > 1 << 14) return 0;
    static auto* const kept = new auto(*io::Reactor::create(io::Aio::kThreads, 1));  // never destroyed: its threads may run
    (*kept)->run(talk(**kept, data, size));
    return 0;
}
