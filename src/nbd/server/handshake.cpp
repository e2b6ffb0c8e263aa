// The fixed newstyle handshake, as the server sees it.
//
//   NBDMAGIC IHAVEOPT flags ─▶      ◀─ client flags
//   ◀─ option (STARTTLS, STRUCTURED_REPLY, LIST, SET_META_CONTEXT …)   reply ─▶      until GO or EXPORT_NAME or ABORT
#include "nbd/server/session.h"

#include <algorithm>
#include <cstdio>

namespace myna::nbd {

namespace {
constexpr std::string_view kAllocation = "base:allocation", kDepth = "qemu:allocation-depth", kBitmap = "qemu:dirty-bitmap:";
constexpr uint32_t kPreferredBlock = 4096;

std::span<const uint8_t> bytes_of(std::string_view s) { return {reinterpret_cast<const uint8_t*>(s.data()), s.size()}; }
}  // namespace

Session::Session(Server& server, std::unique_ptr<net::Stream> stream)
    : server_(server), stream_(std::move(stream)), in_flight_(stream_->reactor(), Server::kMaxInFlight),
      bytes_in_flight_(stream_->reactor(), Server::kMaxBytesInFlight) {}

Task<void> Session::run(ExportPtr device) {
    export_ = std::move(device);
    Result<bool> chosen = true;
    if (!export_) chosen = co_await handshake();
    watch->session = nullptr;
    Result<void> r;
    if (!chosen) r = std::unexpected(chosen.error());
    else if (*chosen) r = co_await transmission();
    if (!r && server_.log && !stream_->ended()) server_.log(r.error().message);
    stream_->shutdown();
    co_await in_flight_.acquire(Server::kMaxInFlight);
}

Task<Result<void>> Session::reply(uint32_t option, uint32_t type, Bytes data) {
    Writer w;
    w.u64(kOptionReplyMagic).u32(option).u32(type).u32(static_cast<uint32_t>(data.size()));
    w.data().insert(w.data().end(), data.begin(), data.end());
    co_return co_await stream_->write(w.data());
}

Task<Result<void>> Session::refuse(uint32_t option, uint32_t error, std::string_view why) {
    if (server_.log) server_.log("option " + std::to_string(option) + " refused: " + std::string(why));
    co_return co_await reply(option, error, bytes_of(why));
}

uint16_t Server::flags_of(const Export& e) noexcept {
    unsigned f = kHasFlags | kSendFlush | kSendFua | kSendCache;
    if (e.writable) f |= kSendTrim | kSendWriteZeroes | kSendFastZero;
    else f |= kReadOnly;
    if (e.multi_conn) f |= kCanMultiConn;
    return static_cast<uint16_t>(f);
}

uint16_t Session::transmission_flags(const Export& e) const {
    unsigned f = Server::flags_of(e);
    if (structured_) f |= kSendDf;
    if (extended_) f |= kBlockStatusPayload;
    return static_cast<uint16_t>(f);
}

Task<Result<bool>> Session::handshake() {
    Writer hello;
    hello.u64(kInitMagic).u64(kOptionMagic).u16(kFixedNewstyle | kNoZeroes);
    if (auto r = co_await stream_->write(hello.data()); !r) co_return std::unexpected(r.error());
    uint8_t flag_bytes[4];
    if (auto r = co_await stream_->read(flag_bytes, sizeof flag_bytes); !r) co_return std::unexpected(r.error());
    const uint32_t flags = Reader(flag_bytes).u32();
    if (flags & ~uint32_t{kFixedNewstyle | kNoZeroes}) co_return fail(ErrorKind::kCorrupt, "unknown client flags " + std::to_string(flags));
    no_zeroes_ = flags & kNoZeroes;

    for (;;) {
        uint8_t head[16];
        if (auto r = co_await stream_->read(head, sizeof head); !r) co_return std::unexpected(r.error());
        Reader in(head);
        if (in.u64() != kOptionMagic) co_return fail(ErrorKind::kCorrupt, "bad option magic");
        const uint32_t option = in.u32(), length = in.u32();
        if (length > kMaxPayload) co_return fail(ErrorKind::kCorrupt, "option of " + std::to_string(length) + " bytes is too long");
        std::vector<uint8_t> data(std::min(length, kMaxOptionBytes));
        if (auto r = co_await stream_->read(data.data(), data.size()); !r) co_return std::unexpected(r.error());
        if (length > kMaxOptionBytes) {
            for (uint32_t left = length - kMaxOptionBytes; left > 0;) {
                const uint32_t n = std::min(left, kMaxOptionBytes);
                if (auto r = co_await stream_->read(data.data(), n); !r) co_return std::unexpected(r.error());
                left -= n;
            }
            if (auto r = co_await refuse(option, kRepErrTooBig, "option data is too long"); !r) co_return std::unexpected(r.error());
            continue;
        }
        if (option == kOptAbort) {
            (void)co_await reply(option, kRepAck);
            co_return false;
        }
        Result<void> done;
        if (server_.tls && !tls_done_ && option != kOptStartTls) {
            if (option == kOptExportName) co_return fail(ErrorKind::kPermission, "client asked for an export without TLS");
            char why[64];
            std::snprintf(why, sizeof why, "Option 0x%x not permitted before TLS", option);
            done = co_await refuse(option, kRepErrTlsRequired, why);
        } else {
            switch (option) {
                case kOptExportName: {
                    const std::string name(data.begin(), data.end());
                    export_ = server_.find(name);
                    if (!export_) co_return fail(ErrorKind::kNotFound, "export '" + name + "' is not present");
                    if (contexts_for_ != name) contexts_.clear();
                    Writer w;
                    w.u64(export_->size).u16(transmission_flags(*export_)).zeroes(no_zeroes_ ? 0 : 124);
                    if (auto r = co_await stream_->write(w.data()); !r) co_return std::unexpected(r.error());
                    co_return true;
                }
                case kOptInfo:
                case kOptGo: {
                    auto go = co_await info_or_go(option, data);
                    if (!go) co_return std::unexpected(go.error());
                    if (*go) co_return true;
                    break;
                }
                case kOptList: done = data.empty() ? co_await list() : co_await refuse(option, kRepErrInvalid, "LIST takes no data"); break;
                case kOptStartTls:
                    if (!data.empty()) done = co_await refuse(option, kRepErrInvalid, "STARTTLS takes no data");
                    else if (tls_done_) done = co_await refuse(option, kRepErrInvalid, "TLS is already enabled");
                    else if (!server_.tls) done = co_await refuse(option, kRepErrPolicy, "TLS not configured");
                    else done = co_await starttls();
                    break;
                case kOptStructuredReply:
                    if (!data.empty()) done = co_await refuse(option, kRepErrInvalid, "STRUCTURED_REPLY takes no data");
                    else if (extended_) done = co_await refuse(option, kRepErrExtHeaderRequired, "extended headers are already negotiated");
                    else if (structured_) done = co_await refuse(option, kRepErrInvalid, "structured replies are already negotiated");
                    else structured_ = true, done = co_await reply(option, kRepAck);
                    break;
                case kOptExtendedHeaders:
                    if (!data.empty()) done = co_await refuse(option, kRepErrInvalid, "EXTENDED_HEADERS takes no data");
                    else if (extended_) done = co_await refuse(option, kRepErrInvalid, "extended headers are already negotiated");
                    else structured_ = extended_ = true, done = co_await reply(option, kRepAck);
                    break;
                case kOptListMetaContext:
                case kOptSetMetaContext: done = co_await meta_context(option, data); break;
                default: done = co_await refuse(option, kRepErrUnsup, "unsupported option"); break;
            }
        }
        if (!done) co_return std::unexpected(done.error());
    }
}

Task<Result<void>> Session::list() {
    for (const ExportPtr& e : std::vector(server_.exports())) {
        Writer w;
        w.string(e->name).bytes(e->description);
        if (auto r = co_await reply(kOptList, kRepServer, w.data()); !r) co_return r;
    }
    co_return co_await reply(kOptList, kRepAck);
}

Task<Result<void>> Session::starttls() {
    if (auto r = co_await reply(kOptStartTls, kRepAck); !r) co_return r;
    net::TlsPeer peer;
    auto secure = co_await net::start_tls(std::move(stream_), server_.tls, "", &peer);
    if (!secure) {
        stream_ = std::make_unique<net::Stream>(server_.reactor(), -1);
        co_return std::unexpected(secure.error());
    }
    stream_ = std::move(*secure);
    if (server_.authorise)
        if (auto r = server_.authorise(peer); !r) co_return r;
    // What was agreed in the clear may have been changed on the way.
    tls_done_ = true;
    structured_ = extended_ = false;
    contexts_.clear();
    co_return Result<void>{};
}

Task<Result<bool>> Session::info_or_go(uint32_t option, Bytes data) {
    Reader in(data);
    const uint32_t name_bytes = in.u32();
    const std::string name = name_bytes <= kMaxString ? in.string(name_bytes) : std::string();
    const uint16_t count = in.u16();
    bool wants_name = false, wants_description = false, wants_block_size = false;
    for (uint16_t i = 0; i < count && !in.bad(); ++i) {
        const uint16_t info = in.u16();
        wants_name |= info == kInfoName;
        wants_description |= info == kInfoDescription;
        wants_block_size |= info == kInfoBlockSize;
    }
    const auto no = [](Result<void> r) -> Result<bool> {
        if (!r) return std::unexpected(r.error());
        return false;
    };
    if (name_bytes > kMaxString || !in.complete()) co_return no(co_await refuse(option, kRepErrInvalid, "malformed request for an export"));
    const ExportPtr e = server_.find(name);
    if (!e) co_return no(co_await refuse(option, kRepErrUnknown, "export '" + name + "' not present"));
    const auto send = [&](Writer& w) { return reply(option, kRepInfo, w.data()); };
    if (wants_name) {
        Writer w;
        if (auto r = co_await send(w.u16(kInfoName).bytes(name)); !r) co_return no(r);
    }
    if (wants_description && !e->description.empty()) {
        Writer w;
        if (auto r = co_await send(w.u16(kInfoDescription).bytes(e->description)); !r) co_return no(r);
    }
    {
        const uint32_t align = e->node->limits().request_alignment;
        Writer w;
        w.u16(kInfoBlockSize).u32(option == kOptInfo || wants_block_size ? align : 1).u32(std::max(align, kPreferredBlock)).u32(kMaxPayload);
        if (auto r = co_await send(w); !r) co_return no(r);
    }
    {
        Writer w;
        w.u16(kInfoExport).u64(e->size).u16(transmission_flags(*e));
        if (auto r = co_await send(w); !r) co_return no(r);
    }
    if (auto r = co_await reply(option, kRepAck); !r) co_return no(r);
    if (option == kOptInfo) co_return false;
    export_ = e;
    if (contexts_for_ != name) contexts_.clear();
    co_return true;
}

void Session::match_context(const Export& e, const std::string& query, bool listing, std::vector<Context>& out) const {
    const auto add = [&](Context c) {
        if (std::ranges::none_of(out, [&](const Context& o) { return o.id == c.id; })) out.push_back(std::move(c));
    };
    const bool all = query.empty() && listing;
    const bool qemu = all || (listing && query == "qemu:");
    if (all || query == kAllocation || (listing && query == "base:")) add({Context::Kind::kAllocation, 0, 0, std::string(kAllocation)});
    if (e.allocation_depth && (qemu || query == kDepth)) add({Context::Kind::kDepth, 1, 0, std::string(kDepth)});
    for (size_t i = 0; i < e.bitmaps.size(); ++i) {
        std::string name = std::string(kBitmap) + e.bitmaps[i].name;
        if (qemu || (listing && query == kBitmap) || query == name) add({Context::Kind::kBitmap, static_cast<uint32_t>(2 + i), i, std::move(name)});
    }
}

Task<Result<void>> Session::meta_context(uint32_t option, Bytes data) {
    if (!structured_) co_return co_await refuse(option, kRepErrInvalid, "metadata contexts need structured replies");
    const bool listing = option == kOptListMetaContext;
    if (!listing) contexts_.clear();
    Reader in(data);
    const uint32_t name_bytes = in.u32();
    if (name_bytes > kMaxString) co_return co_await refuse(option, kRepErrTooBig, "export name is too long");
    const std::string name = in.string(name_bytes);
    const uint32_t count = in.u32();
    if (in.bad()) co_return co_await refuse(option, kRepErrInvalid, "malformed list of contexts");
    const ExportPtr e = server_.find(name);
    if (!e) co_return co_await refuse(option, kRepErrUnknown, "export '" + name + "' not present");
    std::vector<Context> found;
    if (count == 0 && listing) match_context(*e, "", true, found);
    for (uint32_t i = 0; i < count; ++i) {
        const uint32_t n = in.u32();
        const std::string query = in.string(n);
        if (in.bad()) co_return co_await refuse(option, kRepErrInvalid, "malformed list of contexts");
        if (n > kMaxString || query.empty()) continue;
        match_context(*e, query, listing, found);
    }
    if (!in.complete()) co_return co_await refuse(option, kRepErrInvalid, "bytes behind the list of contexts");
    for (const Context& c : found) {
        Writer w;
        w.u32(listing ? 0 : c.id).bytes(c.name);
        if (auto r = co_await reply(option, kRepMetaContext, w.data()); !r) co_return r;
    }
    if (!listing) {
        contexts_ = std::move(found);
        contexts_for_ = name;
    }
    co_return co_await reply(option, kRepAck);
}

}  // namespace myna::nbd
