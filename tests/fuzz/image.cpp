// Any bytes as a disk image of one format, which the program's name tells (image_qcow2): opened, read, asked for its block
// status and checked; then opened for writing, written to, repaired and closed. An answer or an error, in bounded memory
// and time.
//
// An image is mostly zeroes, so an input is a packed image:
//
//   u32 bytes of the image   u8 pieces   (u24 where, u8 length) for each piece   the pieces' bytes, one after the other
//
// All little endian, where and length in sectors of 512 bytes; what the input does not have is zero. tests/fuzz/make-corpus
// packs real images.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <nlohmann/json.hpp>

#include "block/graph/graph.h"

using namespace myna;
using namespace myna::block;

namespace {

std::string format;

constexpr size_t kSector = 512;
constexpr uint32_t kLargest = 256 << 20;

/// The image that `data` packs, as an anonymous file; -1 when the host has none left.
int unpack(const uint8_t* data, size_t size) {
    const int fd = memfd_create("image", MFD_CLOEXEC);
    if (fd < 0 || size < 5) return fd;
    uint32_t bytes = 0;
    std::memcpy(&bytes, data, 4);
    bytes %= kLargest + 1;
    const size_t pieces = std::min<size_t>(data[4], (size - 5) / 4);
    size_t at = 5 + pieces * 4;
    bool ok = ftruncate(fd, bytes) == 0;
    for (size_t i = 0; i < pieces; ++i) {
        const uint8_t* p = data + 5 + i * 4;
        const uint64_t where = (p[0] | uint32_t{p[1]} << 8 | uint32_t{p[2]} << 16) * kSector;
        const size_t given = std::min((p[3] == 0 ? 256 : p[3]) * kSector, size - at);
        if (where < bytes) ok &= pwrite(fd, data + at, std::min<size_t>(given, bytes - where), static_cast<off_t>(where)) >= 0;
        at += given;
    }
    if (ok) return fd;
    close(fd);
    return -1;
}

Task<void> use(Node& n, bool writing) {
    std::vector<uint8_t> buf(70000, 0x5a);
    const uint64_t size = n.size();
    for (const uint64_t at : {uint64_t{0}, uint64_t{513}, size / 2, size - std::min<uint64_t>(size, 100), uint64_t{1} << 20, uint64_t{3} << 30}) {
        if (at >= size) continue;
        const IoVec v(buf.data(), std::min<uint64_t>(buf.size(), size - at));
        (void)co_await n.read(at, v);
        if (writing) {
            (void)co_await n.write(at, v);
            (void)co_await n.write_zeroes(at, v.size(), {.may_unmap = true});
            (void)co_await n.discard(at, v.size());
        }
    }
    uint64_t at = 0;
    for (int i = 0; i < 300 && at < size; ++i) {
        auto e = co_await n.block_status(at, size - at);
        if (!e) break;
        if (e->length == 0 || e->length > size - at) std::abort();
        at += e->length;
    }
    if (size < (uint64_t{1} << 40)) (void)co_await n.check(writing ? CheckFix::kAll : CheckFix::kNone);
    (void)n.specific_info().dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    if (!writing) co_return;
    (void)co_await n.flush();
    // What images can do beyond bytes, as far as the format can.
    const IoVec state(buf.data(), 5000);
    (void)co_await n.read_vm_state(uint64_t{1} << 20, state);
    (void)co_await n.write_vm_state(100, state);
    if (const auto all = co_await n.snapshots(); all && !all->empty()) {
        const std::string first = all->front().id, last = all->back().id;
        (void)co_await n.snapshot_apply(first);
        (void)co_await n.snapshot_delete(last);
    }
    SnapshotInfo s;
    s.name = "taken";
    s.vm_state_bytes = 5000;
    (void)co_await n.snapshot_create(s);
    if (const auto all = co_await n.bitmaps(); all && !all->empty()) {
        const std::string name = all->front().name;
        (void)co_await n.bitmap_bits(name);
        (void)co_await n.change_bitmap(BitmapAction::kClear, name);
    }
    (void)co_await n.change_bitmap(BitmapAction::kAdd, "added");
    if (size < (uint64_t{1} << 40)) {
        (void)co_await n.truncate(size + (3 << 20));
        (void)co_await n.truncate(size / 2 / kSector * kSector);
        (void)co_await n.compact();
    }
    const IoVec again(buf.data(), std::min<uint64_t>(buf.size(), n.size()));
    (void)co_await n.read(0, again);
}

Task<void> try_image(Graph& graph, std::string name, bool writing) {
    OpenOptions o;
    o.options = {{"driver", format}, {"file", {{"driver", "file"}, {"filename", name}, {"locking", "off"}}}};
    o.read_only = !writing;
    o.no_backing = true;
    o.no_io = format == "luks";  // a password takes as long as the image wants
    auto node = co_await graph.open_tree(std::move(o));
    if (!node) {
        if (node.error().message.empty()) std::abort();
        co_return;
    }
    co_await use(**node, writing);
    (void)co_await (*node)->close();
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int*, char*** argv) {
    const std::string name = (*argv)[0];
    const size_t at = name.rfind("image_");
    if (at == std::string::npos) {
        std::fprintf(stderr, "image: call it by the name of a format, as in image_qcow2\n");
        std::exit(2);
    }
    format = name.substr(at + 6);
    return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    static const auto reactor = io::Reactor::create(io::Aio::kAuto, 1);
    if (!reactor) return 0;
    Graph graph(**reactor);
    graph.on_corruption = [](const std::string&) {};  // told of nearly every input
    const int fd = unpack(data, size);
    if (fd < 0) return 0;
    const std::string name = "/proc/self/fd/" + std::to_string(fd);
    (*reactor)->run(try_image(graph, name, false));
    (*reactor)->run(try_image(graph, name, true));
    close(fd);
    return 0;
}
