#include "nbd/client.h"

#include <algorithm>
#include <array>
#include <cerrno>

namespace myna::nbd {

namespace {

constexpr uint64_t kMaxStatusBytes = 4u << 20;  // of one block status chunk
constexpr uint64_t kMaxErrorBytes = 64u << 10;

Error broken(const std::string& what) { return {ErrorKind::kIo, "NBD server broke the protocol: " + what, EIO}; }
Error gone() { return {ErrorKind::kIo, "The connection to the NBD server is lost", EIO}; }

Error server_error(uint32_t wire, const std::string& message) {
    const int err = host_errno(wire);
    std::string clean = message;
    for (char& c : clean)
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
    Error e = error_from_errno(err, "NBD server");
    if (!clean.empty()) e.message += " (" + clean + ")";
    return e;
}

}  // namespace

uint64_t Client::max_transfer() const noexcept {
    uint64_t most = kMaxPayload;
    if (info_.max_block != 0) most = std::min<uint64_t>(most, info_.max_block);
    return most;
}

Task<Result<void>> Client::request(Pending& p, uint16_t flags, const IoVec* payload) {
    if (dead_) co_return std::unexpected(gone());
    const uint64_t cookie = next_cookie_++;
    if (extended_ && payload != nullptr) flags |= kFlagPayloadLen;
    Writer w;
    w.u32(extended_ ? kExtendedRequestMagic : kRequestMagic).u16(flags).u16(p.command).u64(cookie).u64(p.offset);
    if (extended_) w.u64(p.length);
    else w.u32(static_cast<uint32_t>(p.length));
    pending_[cookie] = &p;
    IoVec all(w.data().data(), w.data().size());
    if (payload != nullptr)
        for (const iovec& part : payload->parts()) all.add(part.iov_base, part.iov_len);
    bool sent = true;
    if (auto r = co_await stream_->write(all); !r) {
        // The reader ends, and with it every request. It may be in the middle of a reply to this one, which a server that
        // lies can send before it has read the request: until it is done, `p` and the buffer stay.
        sent = false;
        stream_->shutdown();
    }
    struct Wait {
        Pending& p;
        bool await_ready() const noexcept { return p.done; }
        void await_suspend(std::coroutine_handle<> h) noexcept { p.waiter = h; }
        void await_resume() const noexcept {}
    };
    co_await Wait{p};
    if (!sent) co_return std::unexpected(gone());
    if (p.error) co_return std::unexpected(std::move(*p.error));
    co_return Result<void>{};
}

void Client::finish(uint64_t cookie, Pending& p) {
    pending_.erase(cookie);
    p.done = true;
    if (p.waiter) stream_->reactor().post(p.waiter);
}

Task<void> Client::receive(std::shared_ptr<Client> self) {
    while (true)
        if (auto r = co_await self->receive_one(); !r) {
            self->dead_ = true;
            self->stream_->shutdown();
            while (!self->pending_.empty()) {
                const auto [cookie, p] = *self->pending_.begin();
                p->error = self->stream_->ended() ? gone() : r.error();
                self->finish(cookie, *p);
            }
            co_return;
        }
}

Task<Result<void>> Client::receive_one() {
    std::array<uint8_t, kExtendedReplyBytes> head;
    const size_t first = extended_ ? kExtendedReplyBytes : kSimpleReplyBytes;
    if (auto r = co_await stream_->read(head.data(), first); !r) co_return r;
    Reader in({head.data(), first});
    const uint32_t magic = in.u32();
    if (magic == kSimpleReplyMagic && !extended_) {
        const uint32_t error = in.u32();
        const uint64_t cookie = in.u64();
        const auto at = pending_.find(cookie);
        if (at == pending_.end()) co_return std::unexpected(broken("reply to a request that was not sent"));
        Pending& p = *at->second;
        if (error != 0) p.error = server_error(error, "");
        else if (p.command == kCmdRead && structured_) co_return std::unexpected(broken("simple reply to a read although structured replies were agreed on"));
        else if (p.command == kCmdBlockStatus) co_return std::unexpected(broken("simple reply to a block status request"));
        else if (p.command == kCmdRead)
            if (auto r = co_await stream_->read(*p.into); !r) co_return r;
        finish(cookie, p);
        co_return Result<void>{};
    }
    if (!structured_ || magic != (extended_ ? kExtendedReplyMagic : kStructuredReplyMagic)) co_return std::unexpected(broken("wrong reply magic"));
    const uint16_t flags = in.u16(), type = in.u16();
    const uint64_t cookie = in.u64();
    uint64_t length = 0;
    if (extended_) {
        in.u64();  // the request's offset
        length = in.u64();
    } else {
        uint8_t more[4];
        if (auto r = co_await stream_->read(more, sizeof more); !r) co_return r;
        length = Reader(more).u32();
    }
    const auto at = pending_.find(cookie);
    if (at == pending_.end()) co_return std::unexpected(broken("reply to a request that was not sent"));
    Pending& p = *at->second;
    const auto r = co_await chunk(p, type, length);
    if (!r) co_return std::unexpected(r.error());
    if (flags & kReplyDone) {
        if (p.command == kCmdRead && !p.error && p.covered < p.length) p.error = broken("a read ended before all of its data came");
        if (p.command == kCmdBlockStatus && !p.error && (p.runs == nullptr || p.runs->empty())) p.error = broken("no block status in a block status reply");
        finish(cookie, p);
    }
    co_return Result<void>{};
}

Task<Result<bool>> Client::chunk(Pending& p, uint16_t type, uint64_t length) {
    switch (type) {
        case kReplyNone:
            if (length != 0) co_return std::unexpected(broken("NONE chunk with a payload"));
            co_return true;
        case kReplyOffsetData: {
            uint8_t head[8];
            if (p.command != kCmdRead || length <= sizeof head) co_return std::unexpected(broken("unexpected data chunk"));
            if (auto r = co_await stream_->read(head, sizeof head); !r) co_return std::unexpected(r.error());
            const uint64_t offset = Reader(head).u64(), n = length - sizeof head;
            if (offset < p.offset || offset - p.offset > p.length || n > p.length - (offset - p.offset))
                co_return std::unexpected(broken("data chunk outside its request"));
            p.covered += n;
            const IoVec into = p.into->slice(offset - p.offset, n);
            if (auto r = co_await stream_->read(into); !r) co_return std::unexpected(r.error());
            co_return true;
        }
        case kReplyOffsetHole: {
            uint8_t body[12];
            if (p.command != kCmdRead || length != sizeof body) co_return std::unexpected(broken("unexpected hole chunk"));
            if (auto r = co_await stream_->read(body, sizeof body); !r) co_return std::unexpected(r.error());
            Reader in(body);
            const uint64_t offset = in.u64(), n = in.u32();
            if (n == 0 || offset < p.offset || offset - p.offset > p.length || n > p.length - (offset - p.offset))
                co_return std::unexpected(broken("hole chunk outside its request"));
            p.covered += n;
            p.into->slice(offset - p.offset, n).fill(0);
            co_return true;
        }
        case kReplyBlockStatus:
        case kReplyBlockStatusExt: {
            const bool wide = type == kReplyBlockStatusExt;
            const size_t skip = wide ? 8 : 4, each = wide ? 16 : 8;
            if (p.command != kCmdBlockStatus || wide != extended_ || length < skip + each || length > kMaxStatusBytes || (length - skip) % each != 0)
                co_return std::unexpected(broken("unexpected or malformed block status chunk"));
            std::vector<uint8_t> data(length);
            if (auto r = co_await stream_->read(data.data(), data.size()); !r) co_return std::unexpected(r.error());
            Reader in(data);
            if (in.u32() != context_id_) co_return true;
            if (wide) in.u32();
            uint64_t left = p.length;
            p.runs->clear();
            while (in.left() >= each && left > 0) {
                const uint64_t n = wide ? in.u64() : in.u32();
                const uint64_t state = wide ? in.u64() : in.u32();
                if (n == 0) co_return std::unexpected(broken("block status extent of length 0"));
                p.runs->push_back({std::min(n, left), state});
                left -= std::min(n, left);
            }
            co_return true;
        }
        default: break;
    }
    if (!(type & 0x8000) || length < 6 || length > kMaxErrorBytes) co_return std::unexpected(broken("unknown or malformed chunk of type " + std::to_string(type)));
    std::vector<uint8_t> data(length);
    if (auto r = co_await stream_->read(data.data(), data.size()); !r) co_return std::unexpected(r.error());
    Reader in(data);
    const uint32_t wire = in.u32();
    const uint16_t n = in.u16();
    const std::string message = in.string(n);
    if (in.bad() || wire == 0) co_return std::unexpected(broken("malformed error chunk"));
    if (!p.error) p.error = server_error(wire, message);
    co_return true;
}

Task<Result<void>> Client::read(uint64_t offset, IoVec into) {
    Pending p{.command = kCmdRead, .offset = offset, .length = into.size(), .into = &into};
    co_return co_await request(p, 0, nullptr);
}

Task<Result<void>> Client::write(uint64_t offset, IoVec from, uint16_t flags) {
    Pending p{.command = kCmdWrite, .offset = offset, .length = from.size()};
    co_return co_await request(p, flags, &from);
}

Task<Result<void>> Client::command(Command c, uint64_t offset, uint64_t length, uint16_t flags) {
    Pending p{.command = c, .offset = offset, .length = length};
    co_return co_await request(p, flags, nullptr);
}

Task<Result<std::vector<StatusRun>>> Client::block_status(uint64_t offset, uint64_t length, bool one) {
    std::vector<StatusRun> runs;
    Pending p{.command = kCmdBlockStatus, .offset = offset, .length = length, .runs = &runs};
    if (auto r = co_await request(p, one ? kFlagReqOne : 0, nullptr); !r) co_return std::unexpected(r.error());
    co_return runs;
}

Task<void> Client::disconnect() {
    if (dead_) co_return;
    Writer w;
    w.u32(extended_ ? kExtendedRequestMagic : kRequestMagic).u16(0).u16(kCmdDisconnect).u64(0).u64(0);
    if (extended_) w.u64(0);
    else w.u32(0);
    (void)co_await stream_->write(w.data());
    stream_->shutdown();
}

}  // namespace myna::nbd
