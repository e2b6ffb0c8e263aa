// io_uring: the rings are the host kernel's; what an entry means differently to it is put right before it is submitted.
//
//   guest: entry in the ring ─▶ io_uring_enter ─▶ IoRings::prepare: by opcode, in place ─▶ host kernel ─▶ completion ring
//
// With guest_base 0 an entry's addresses are the host's. Not the same are: open flags (aarch64), struct epoll_event, and
// paths under -L. The kernel takes everything that an entry points to when it takes the entry, so replacements live until
// the head of the ring has passed them. A ring that this process did not set up (inherited, received) is passed on as it is.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

namespace myna::user {

class Thread;

class IoRings {
  public:
    /// Where things are in the guest's mapping of the submission ring (struct io_sqring_offsets).
    struct Layout {
        uint32_t flags = 0;  // of io_uring_setup
        uint32_t head = 0, tail = 0, ring_mask = 0, array = 0;
    };
    /// The one of this process; made if need be.
    static IoRings& of(Thread& t);

    /// io_uring_setup gave `fd`. `ring` and `entries`: guest addresses, 0 until they are mapped.
    void add(int fd, const Layout& layout, uint64_t ring, uint64_t entries);
    /// The guest mapped `fd` at `at`.
    void mapped(int fd, uint64_t offset, uint64_t at);
    /// Makes the next `count` entries of the ring ready for the host. Any thread.
    void prepare(Thread& t, int fd, uint32_t count);

  private:
    struct Ring {
        Layout layout;
        uint64_t ring = 0, entries = 0;
        uint32_t prepared = 0;  // entries before this count are as the host wants them
        std::deque<std::pair<uint32_t, std::unique_ptr<std::vector<uint8_t>>>> replaced;  // by count
    };
    static void prepare_entry(Thread& t, Ring& r, uint32_t count, uint64_t at);

    std::mutex lock_;
    std::map<int, Ring> rings_;
};

}  // namespace myna::user
