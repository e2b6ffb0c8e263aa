// Whatever a client sends: the first byte says how many options of a sound handshake come before it.
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>

#include "nbd/protocol.h"
#include "nbd/server/server.h"
#include "parts.h"

namespace {

using namespace myna;

using fuzz::MemoryNode;
using fuzz::swallow;

io::Task<void> one_client(io::Reactor& reactor, nbd::Server& server, std::vector<uint8_t> input) {
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0) co_return;
    net::Stream peer(reactor, pair[1]);
    io::Semaphore done(reactor, 0);
    reactor.spawn(swallow(peer, done));
    reactor.spawn([](net::Stream& s, std::vector<uint8_t> bytes) -> io::Task<void> {
        (void)co_await s.write(bytes);
        ::shutdown(s.fd(), SHUT_WR);
    }(peer, std::move(input)));
    co_await server.serve(pair[0]);
    co_await done.acquire();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    static auto* const kept = new auto(*io::Reactor::create(io::Aio::kThreads, 1));  // never destroyed: its threads may run
    auto& reactor = **kept;
    static auto& server = *new nbd::Server(reactor);
    if (server.exports().empty()) {
        auto e = std::make_shared<nbd::Export>();
        e->node = std::make_shared<MemoryNode>(reactor, 1 << 20);
        e->size = e->node->size();
        e->writable = e->multi_conn = e->allocation_depth = true;
        e->bitmaps.push_back({"b", 65536, {0x5a5a}});
        server.add(std::move(e));
    }
    if (size == 0 || size > 1 << 16) return 0;
    nbd::Writer w;
    const unsigned head = data[0];
    const auto option = [&](uint32_t number, nbd::Writer body) {
        w.u64(nbd::kOptionMagic).u32(number).u32(static_cast<uint32_t>(body.data().size()));
        w.data().insert(w.data().end(), body.data().begin(), body.data().end());
    };
    if (head & 1) w.u32(3);
    if (head & 2) option(head & 4 ? nbd::kOptExtendedHeaders : nbd::kOptStructuredReply, {});
    if (head & 8) option(nbd::kOptSetMetaContext, std::move(nbd::Writer().string("").u32(2).string("base:allocation").string("qemu:dirty-bitmap:b")));
    if (head & 16) option(nbd::kOptGo, std::move(nbd::Writer().string("").u16(0)));
    w.data().insert(w.data().end(), data + 1, data + size);
    reactor.run(one_client(reactor, server, std::move(w.data())));
    return 0;
}
