// Requests and replies. Reading a request, performing it and replying overlap: each request is a coroutine of its own,
// and replies go out in the order in which requests end.
#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <new>

#include "base/bits.h"
#include "nbd/server/session.h"

namespace myna::nbd {

using io::IoVec;

namespace {

constexpr uint64_t kSparseFrom = 64 << 10;  // reads from this size on leave out holes
constexpr uint64_t kSendfileFrom = 16 << 10;
constexpr size_t kMaxExtents = 64 << 10;    // of one reply: what bounds its memory

template <typename T>
void put(uint8_t* to, T v) {
    if constexpr (sizeof v == 2) v = __builtin_bswap16(v);
    if constexpr (sizeof v == 4) v = __builtin_bswap32(v);
    if constexpr (sizeof v == 8) v = __builtin_bswap64(v);
    std::memcpy(to, &v, sizeof v);
}

}  // namespace

BufferPool::Buffer BufferPool::take(size_t bytes) {
    for (auto at = free_.rbegin(); at != free_.rend(); ++at) {
        if (at->capacity < bytes || at->capacity / 4 > bytes) continue;
        Buffer b = std::move(*at);
        free_.erase(std::next(at).base());
        kept_ -= b.capacity;
        return b;
    }
    Buffer b;
    b.capacity = align_up(std::max<size_t>(bytes, 4096), 4096);
    b.data.reset(static_cast<uint8_t*>(std::aligned_alloc(4096, b.capacity)));
    if (b.data == nullptr) throw std::bad_alloc();
    return b;
}

void BufferPool::give(Buffer b) {
    if (b.data == nullptr || kept_ + b.capacity > kKeepBytes) return;
    kept_ += b.capacity;
    free_.push_back(std::move(b));
}

void Session::put_head(Head& h, const Request& r, uint16_t flags, uint16_t type, uint64_t payload) const {
    uint8_t* p = h.bytes.data();
    if (extended_) {
        put(p, kExtendedReplyMagic), put(p + 4, flags), put(p + 6, type), put(p + 8, r.cookie), put(p + 16, r.offset), put(p + 24, payload);
        h.size = kExtendedReplyBytes;
    } else if (structured_) {
        put(p, kStructuredReplyMagic), put(p + 4, flags), put(p + 6, type), put(p + 8, r.cookie), put(p + 16, static_cast<uint32_t>(payload));
        h.size = kStructuredReplyBytes;
    } else {
        put(p, kSimpleReplyMagic), put(p + 4, uint32_t{0}), put(p + 8, r.cookie);
        h.size = kSimpleReplyBytes;
    }
}

Task<Result<void>> Session::send_done(const Request& r) {
    Head h;
    put_head(h, r, kReplyDone, kReplyNone, 0);
    co_return co_await stream_->write(IoVec(h.bytes.data(), h.size));
}

Task<Result<void>> Session::send_error(const Request& r, const Error& e) {
    uint32_t wire = wire_error(errno_of(e));
    if (wire == kEOverflow && !(r.flags & kFlagDf)) wire = kEInval;
    Head h;
    if (!structured_) {
        put_head(h, r, 0, 0, 0);
        put(h.bytes.data() + 4, wire);
        co_return co_await stream_->write(IoVec(h.bytes.data(), h.size));
    }
    const std::string text = e.message.substr(0, kMaxString);
    put_head(h, r, kReplyDone, kReplyError, 6 + text.size());
    put(h.bytes.data() + h.size, wire);
    put(h.bytes.data() + h.size + 4, static_cast<uint16_t>(text.size()));
    IoVec v(h.bytes.data(), h.size + 6);
    v.add(const_cast<char*>(text.data()), text.size());
    co_return co_await stream_->write(v);
}

Task<Result<bool>> Session::receive(Request& r) {
    uint8_t head[kExtendedRequestBytes];
    const size_t bytes = extended_ ? kExtendedRequestBytes : kRequestBytes;
    if (auto ok = co_await stream_->read(head, bytes); !ok) {
        if (stream_->ended()) co_return false;
        co_return std::unexpected(ok.error());
    }
    Reader in({head, bytes});
    if (in.u32() != (extended_ ? kExtendedRequestMagic : kRequestMagic)) co_return fail(ErrorKind::kCorrupt, "invalid request magic");
    r.flags = in.u16();
    r.command = in.u16();
    r.cookie = in.u64();
    r.offset = in.u64();
    r.length = extended_ ? in.u64() : in.u32();
    co_return r.command != kCmdDisconnect;
}

Task<Result<void>> Session::transmission() {
    for (;;) {
        co_await in_flight_.acquire();
        struct Unit {
            io::Semaphore* s;
            uint64_t n;
            ~Unit() {
                if (s != nullptr) s->release(n);
            }
        } unit{&in_flight_, 1};
        Request r;
        const auto more = co_await receive(r);
        if (!more) co_return std::unexpected(more.error());
        if (!*more) co_return Result<void>{};
        const bool has_payload = r.command == kCmdWrite || (extended_ && r.flags & kFlagPayloadLen);
        if (has_payload && r.length > kMaxPayload) {
            (void)co_await send_error(r, {ErrorKind::kInvalidArgument, "payload of " + std::to_string(r.length) + " bytes is too long", EINVAL});
            co_return fail(ErrorKind::kCorrupt, "client sent a payload that is too long");
        }
        const uint64_t hold = has_payload || r.command == kCmdRead ? std::min<uint64_t>(r.length, kMaxPayload) : 0;
        co_await bytes_in_flight_.acquire(hold);
        Unit held{&bytes_in_flight_, hold};
        BufferPool::Buffer payload;
        if (has_payload) {
            payload = pool_.take(r.length);
            if (auto ok = co_await stream_->read(payload.data.get(), r.length); !ok) co_return ok;
        }
        unit.s = held.s = nullptr;
        stream_->reactor().spawn(perform(r, std::move(payload)));
    }
}

Task<void> Session::perform(Request r, BufferPool::Buffer payload) {
    const bool has_payload = r.command == kCmdWrite || (extended_ && r.flags & kFlagPayloadLen);
    const uint64_t hold = has_payload || r.command == kCmdRead ? std::min<uint64_t>(r.length, kMaxPayload) : 0;
    if (auto ok = co_await dispatch(r, payload); !ok && !stream_->broken()) (void)co_await send_error(r, ok.error());
    pool_.give(std::move(payload));
    bytes_in_flight_.release(hold);
    in_flight_.release();
}

Result<void> Session::check(const Request& r) const {
    const Export& e = *export_;
    unsigned allowed = 0;
    bool ranged = true, writes = false;
    switch (r.command) {
        case kCmdRead: allowed = structured_ ? kFlagDf : 0; break;
        case kCmdWrite: allowed = kFlagFua, writes = true; break;
        case kCmdTrim: allowed = kFlagFua, writes = true; break;
        case kCmdWriteZeroes: allowed = kFlagFua | kFlagNoHole | kFlagFastZero, writes = true; break;
        case kCmdFlush: ranged = false; break;
        case kCmdCache: break;
        case kCmdBlockStatus: allowed = kFlagReqOne; break;
        default: return fail(ErrorKind::kInvalidArgument, "invalid request type " + std::to_string(r.command), EINVAL);
    }
    if (extended_ && (r.command == kCmdWrite || r.command == kCmdBlockStatus)) allowed |= kFlagPayloadLen;
    // FUA on commands that write nothing is harmless, and clients may send it.
    if (r.flags & ~(allowed | kFlagFua)) return fail(ErrorKind::kInvalidArgument, "unsupported flags " + std::to_string(r.flags) + " for command " + std::to_string(r.command), EINVAL);
    if (writes && !e.writable) return fail(ErrorKind::kPermission, "Export is read-only", EPERM);
    if ((r.command == kCmdRead || r.command == kCmdCache) && r.length > kMaxPayload)
        return fail(ErrorKind::kInvalidArgument, "len (" + std::to_string(r.length) + ") is larger than max len (" + std::to_string(kMaxPayload) + ")", EINVAL);
    const uint64_t length = r.command == kCmdBlockStatus && (r.flags & kFlagPayloadLen) ? 0 : r.length;
    if (ranged && (r.offset > e.size || length > e.size - r.offset))
        return fail(ErrorKind::kInvalidArgument,
                    "operation past EOF; From: " + std::to_string(r.offset) + ", Len: " + std::to_string(length) + ", Size: " + std::to_string(e.size),
                    writes ? ENOSPC : EINVAL);
    return {};
}

Task<Result<void>> Session::dispatch(const Request& r, BufferPool::Buffer& payload) {
    if (auto ok = check(r); !ok) co_return ok;
    block::Node& node = *export_->node;
    const uint64_t at = export_->offset + r.offset;
    const bool fua = r.flags & kFlagFua;
    Result<void> done;
    switch (r.command) {
        case kCmdRead: co_return co_await read(r);
        case kCmdWrite: {
            const IoVec from(payload.data.get(), r.length);
            if (export_->detect_zeroes != Export::DetectZeroes::kOff && r.length > 0 && from.is_zero())
                done = co_await node.write_zeroes(at, r.length, {.fua = fua, .may_unmap = export_->detect_zeroes == Export::DetectZeroes::kUnmap});
            else
                done = co_await node.write(at, from, {.fua = fua});
            break;
        }
        case kCmdWriteZeroes:
            done = co_await node.write_zeroes(at, r.length, {.fua = fua, .may_unmap = !(r.flags & kFlagNoHole), .no_fallback = (r.flags & kFlagFastZero) != 0});
            break;
        case kCmdTrim:
            done = co_await node.discard(at, r.length);
            if (done && fua) done = co_await node.flush();
            break;
        case kCmdFlush: done = co_await node.flush(); break;
        case kCmdCache: done = co_await cache(r); break;
        case kCmdBlockStatus: co_return co_await block_status(r, payload);
        default: co_return fail(ErrorKind::kInternal, "command"); 
    }
    if (!done) co_return done;
    co_return co_await send_done(r);
}

Task<Result<void>> Session::cache(const Request& r) {
    auto b = pool_.take(std::min<uint64_t>(r.length, 1 << 20));
    Result<void> done;
    for (uint64_t at = 0; at < r.length && done;) {
        const uint64_t n = std::min<uint64_t>(r.length - at, 1 << 20);
        const IoVec into(b.data.get(), n);
        done = co_await export_->node->read(export_->offset + r.offset + at, into);
        at += n;
    }
    pool_.give(std::move(b));
    co_return done;
}

Task<Result<void>> Session::read(const Request& r) {
    if (!structured_) co_return co_await read_part(r, r.offset, r.length, true);
    if (r.length == 0) co_return co_await send_done(r);
    if (r.length < kSparseFrom || r.flags & kFlagDf) co_return co_await read_part(r, r.offset, r.length, true);
    // Holes are said, not sent.
    const Context allocation{Context::Kind::kAllocation, 0, 0, {}};
    for (uint64_t done = 0; done < r.length;) {
        auto runs = co_await export_status(*export_, allocation, r.offset + done, r.length - done, 256);
        if (!runs || runs->empty()) co_return co_await read_part(r, r.offset + done, r.length - done, true);
        for (const Status& s : *runs) {
            const uint64_t at = r.offset + done;
            done += s.length;
            const bool last = done == r.length;
            if (!(s.flags & kStateZero)) {
                if (auto ok = co_await read_part(r, at, s.length, last); !ok) co_return ok;
                continue;
            }
            Head h;
            put_head(h, r, last ? kReplyDone : 0, kReplyOffsetHole, 12);
            put(h.bytes.data() + h.size, at);
            put(h.bytes.data() + h.size + 8, static_cast<uint32_t>(s.length));
            if (auto ok = co_await stream_->write(IoVec(h.bytes.data(), h.size + 12)); !ok) co_return ok;
        }
    }
    co_return Result<void>{};
}

Task<Result<void>> Session::read_part(const Request& r, uint64_t offset, uint64_t length, bool last) {
    Head h;
    put_head(h, r, last ? kReplyDone : 0, kReplyOffsetData, length + 8);
    if (structured_) {
        put(h.bytes.data() + h.size, offset);
        h.size += 8;
    }
    const uint64_t at = export_->offset + offset;
    if (length >= kSendfileFrom) {
        // What lies in a host file as it is goes from the page cache to the socket without passing through here.
        const block::NodePtr keep = export_->node->file();  // though the export be put over another node meanwhile
        const auto e = co_await export_->node->block_status(at, length);
        const bool whole = e && e->length == length && e->data && !e->compressed && e->offset && e->file != nullptr && !export_->node->encrypted();
        if (whole && e->file->host_fd() >= 0 && e->file->limits().request_alignment == 1 && *e->offset + length <= e->file->size()) {
            const auto sent = co_await stream_->write_file(IoVec(h.bytes.data(), h.size), e->file->host_fd(), *e->offset, length);
            if (!sent) co_return std::unexpected(sent.error());
            if (*sent) co_return Result<void>{};
        }
    }
    auto b = pool_.take(length);
    const IoVec into(b.data.get(), length);
    if (auto ok = co_await export_->node->read(at, into); !ok) {
        pool_.give(std::move(b));
        co_return ok;
    }
    IoVec v(h.bytes.data(), h.size);
    v.add(b.data.get(), length);
    auto sent = co_await stream_->write(v);
    pool_.give(std::move(b));
    co_return sent;
}

Task<Result<void>> Session::block_status(const Request& r, const BufferPool::Buffer& payload) {
    if (contexts_.empty()) co_return fail(ErrorKind::kInvalidArgument, "CMD_BLOCK_STATUS not negotiated", EINVAL);
    uint64_t length = r.length;
    std::vector<const Context*> wanted;
    for (const Context& c : contexts_) wanted.push_back(&c);
    if (r.flags & kFlagPayloadLen) {
        // Effect length, and the contexts this request is about.
        Reader in({payload.data.get(), r.length});
        length = in.u64();
        wanted.clear();
        while (in.left() >= 4) {
            const uint32_t id = in.u32();
            const auto c = std::ranges::find(contexts_, id, &Context::id);
            if (c == contexts_.end() || std::ranges::find(wanted, &*c) != wanted.end())
                co_return fail(ErrorKind::kInvalidArgument, "context " + std::to_string(id) + " was not negotiated or is given twice", EINVAL);
            wanted.push_back(&*c);
        }
        if (!in.complete() || wanted.empty()) co_return fail(ErrorKind::kInvalidArgument, "malformed payload of a block status request", EINVAL);
        if (length > export_->size - r.offset) co_return fail(ErrorKind::kInvalidArgument, "operation past EOF", EINVAL);
    }
    if (length == 0) co_return fail(ErrorKind::kInvalidArgument, "need non-zero length", EINVAL);
    const size_t most = r.flags & kFlagReqOne ? 1 : kMaxExtents;
    for (size_t i = 0; i < wanted.size(); ++i) {
        const auto runs = co_await export_status(*export_, *wanted[i], r.offset, length, most);
        if (!runs) co_return std::unexpected(runs.error());
        Writer w;
        w.u32(wanted[i]->id);
        if (extended_) w.u32(static_cast<uint32_t>(runs->size()));
        for (const Status& s : *runs) {
            if (extended_) w.u64(s.length).u64(s.flags);
            else w.u32(static_cast<uint32_t>(s.length)).u32(s.flags);
        }
        Head h;
        put_head(h, r, i + 1 == wanted.size() ? kReplyDone : 0, extended_ ? kReplyBlockStatusExt : kReplyBlockStatus, w.data().size());
        IoVec v(h.bytes.data(), h.size);
        v.add(w.data().data(), w.data().size());
        if (auto ok = co_await stream_->write(v); !ok) co_return ok;
    }
    co_return Result<void>{};
}

}  // namespace myna::nbd
