// Whatever a server sends: the first byte says how much of a sound handshake comes before it.
#include <sys/socket.h>
#include <unistd.h>

#include "nbd/client.h"

namespace {

using namespace myna;

io::Task<void> use(std::shared_ptr<nbd::Client> c, unsigned what, io::Semaphore& done) {
    std::vector<uint8_t> buffer(8192);
    if (what == 0) (void)co_await c->read(0, io::IoVec(buffer.data(), buffer.size()));
    if (what == 1) (void)co_await c->write(4096, io::IoVec(buffer.data(), buffer.size()), nbd::kFlagFua);
    if (what == 2) (void)co_await c->command(nbd::kCmdFlush, 0, 0);
    if (what == 3 && c->has_context()) (void)co_await c->block_status(0, 1 << 20, false);
    done.release();
}

io::Task<void> session(io::Reactor& reactor, std::vector<uint8_t> input, bool structured, bool extended) {
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0) co_return;
    auto stream = std::make_unique<net::Stream>(reactor, pair[0]);
    [[maybe_unused]] const ssize_t n = ::send(pair[1], input.data(), input.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    ::shutdown(pair[1], SHUT_WR);
    auto c = co_await nbd::Client::start(std::move(stream), {.structured = structured, .extended = extended});
    if (c) {
        io::Semaphore done(reactor, 0);
        for (unsigned i = 0; i < 4; ++i) reactor.spawn(use(*c, i, done));
        co_await done.acquire(4);
        (*c)->shutdown();
    }
    ::close(pair[1]);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    static auto* const kept = new auto(*io::Reactor::create(io::Aio::kThreads, 1));  // never destroyed: its threads may run
    auto& reactor = **kept;
    if (size == 0 || size > 1 << 16) return 0;
    const unsigned head = data[0];
    nbd::Writer w;
    const auto reply = [&](uint32_t option, uint32_t type, nbd::Writer body) {
        w.u64(nbd::kOptionReplyMagic).u32(option).u32(type).u32(static_cast<uint32_t>(body.data().size()));
        w.data().insert(w.data().end(), body.data().begin(), body.data().end());
    };
    const bool extended = head & 2, structured = extended || head & 4;
    if (head & 1) w.u64(nbd::kInitMagic).u64(nbd::kOptionMagic).u16(3);
    if (head & 8) {
        if (extended) reply(nbd::kOptExtendedHeaders, nbd::kRepAck, {});
        else if (structured) reply(nbd::kOptStructuredReply, nbd::kRepAck, {});
        if (structured) {
            reply(nbd::kOptSetMetaContext, nbd::kRepMetaContext, std::move(nbd::Writer().u32(7).bytes("base:allocation")));
            reply(nbd::kOptSetMetaContext, nbd::kRepAck, {});
        }
        if (head & 16) {
            reply(nbd::kOptGo, nbd::kRepInfo, std::move(nbd::Writer().u16(nbd::kInfoExport).u64(1 << 20).u16(0x6d)));
            reply(nbd::kOptGo, nbd::kRepAck, {});
        }
    }
    w.data().insert(w.data().end(), data + 1, data + size);
    reactor.run(session(reactor, std::move(w.data()), structured, extended));
    return 0;
}
