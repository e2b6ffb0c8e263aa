// Any bytes as a disk image of one format (MYNA_FUZZ_FORMAT): opened, read, asked for its block status and checked; then
// opened for writing, written to, repaired and closed. An answer or an error, in bounded memory and time.
//
// tests/fuzz/image-corpus makes a corpus of real images.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <nlohmann/json.hpp>

#include "block/graph/graph.h"

using namespace myna;
using namespace myna::block;

namespace {

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
    if (writing) (void)co_await n.flush();
}

Task<void> try_image(Graph& graph, std::string name, bool writing) {
    OpenOptions o;
    o.options = {{"driver", MYNA_FUZZ_FORMAT}, {"file", {{"driver", "file"}, {"filename", name}, {"locking", "off"}}}};
    o.read_only = !writing;
    o.no_backing = true;
    o.no_io = std::string_view(MYNA_FUZZ_FORMAT) == "luks";  // a password takes as long as the image wants
    auto node = co_await graph.open_tree(std::move(o));
    if (!node) {
        if (node.error().message.empty()) std::abort();
        co_return;
    }
    co_await use(**node, writing);
    (void)co_await (*node)->close();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    static const auto reactor = io::Reactor::create(io::Aio::kAuto, 1);
    if (!reactor) return 0;
    Graph graph(**reactor);
    const int fd = memfd_create("image", MFD_CLOEXEC);
    if (fd < 0) return 0;
    if (write(fd, data, size) == static_cast<ssize_t>(size)) {
        const std::string name = "/proc/self/fd/" + std::to_string(fd);
        (*reactor)->run(try_image(graph, name, false));
        (*reactor)->run(try_image(graph, name, true));
    }
    close(fd);
    return 0;
}
