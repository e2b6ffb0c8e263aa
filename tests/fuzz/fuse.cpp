// Requests of a kernel to a FUSE export, in any order, with any numbers in them, many at once: each gets one answer, and a
// disk that may only be read stays as it was.
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
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>

#include "parts.h"
#include "tools/storage/fuse_export.h"

namespace {

using namespace myna;
using tools::storage::FuseExport;
using tools::storage::FuseSettings;

constexpr uint64_t kSize = 1 << 20, kMost = 4 << 20;

/// A disk that can be resized, up to a limit.
class MemoryNode final : public fuzz::MemoryNode {
  public:
    explicit MemoryNode(io::Reactor& r) : fuzz::MemoryNode(r, kSize) {}

  protected:
    io::Task<Result<void>> do_truncate(uint64_t size, std::string_view) override {
        if (size > kMost) co_return fail(ErrorKind::kNoSpace, "full", ENOSPC);
        bytes.resize(size);
        size_ = size;
        co_return Result<void>{};
    }
};

class Kernel {
  public:
    Kernel(io::Reactor& r, int fd) : reactor_(r), fd_(fd) {}

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
            if (open_.erase(h.unique) != 1) wrong("an answer that nobody waits for");
        }
    }

  private:
    [[noreturn]] static void wrong(const char* what) {
        std::fprintf(stderr, "FUSE: %s\n", what);
        std::abort();
    }
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
            case 0: kernel.ask(FUSE_READ, fuse_read_in{.fh = 0, .offset = where, .size = much, .read_flags = 0, .lock_owner = 0, .flags = 0, .padding = 0}); break;
            case 1:
            case 2: {
                std::memset(payload.data(), how, much);
                kernel.ask(FUSE_WRITE, fuse_write_in{.fh = 0, .offset = where, .size = much, .write_flags = 0, .lock_owner = 0, .flags = 0, .padding = 0}, payload.data(), much);
                break;
            }
            case 3: kernel.ask(FUSE_FALLOCATE, fuse_fallocate_in{.fh = 0, .offset = where, .length = uint64_t{much} << (how & 8), .mode = how & 0x13u, .padding = 0}); break;
            case 4: kernel.ask(FUSE_LSEEK, fuse_lseek_in{.fh = 0, .offset = where, .whence = how % 6u, .padding = 0}); break;
            case 5: {
                fuse_setattr_in a{};
                a.valid = how;
                a.size = where;
                kernel.ask(FUSE_SETATTR, a);
                break;
            }
            case 6: kernel.ask(FUSE_GETATTR, fuse_getattr_in{}); break;
            case 7: kernel.ask(FUSE_FLUSH, fuse_flush_in{}); break;
            case 8: kernel.ask(FUSE_FSYNC, fuse_fsync_in{.fh = 0, .fsync_flags = how & 1u, .padding = 0}); break;
            case 9: kernel.ask(how & 1 ? FUSE_OPEN : FUSE_RELEASE, fuse_release_in{}); break;
            case 10: kernel.ask(how & 1 ? FUSE_LOOKUP : FUSE_STATFS, uint64_t{0x61}); break;
            default: co_await kernel.answers();
        }
        if (at % 240 == 1) co_await kernel.answers();
    }
    co_await kernel.answers();
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
