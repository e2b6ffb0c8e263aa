// The handshake as the client sees it: newstyle with options, and the old styles that tell one export and no more.
#include <algorithm>
#include <cerrno>

#include "nbd/client.h"

namespace myna::nbd {

namespace {

Error broken(const std::string& what) { return {ErrorKind::kIo, "NBD server broke the protocol: " + what, EINVAL}; }

std::string printable(std::span<const uint8_t> bytes) {
    std::string s(bytes.begin(), bytes.end());
    for (char& c : s)
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
    return s;
}

/// "7 (go)": the option as the protocol's documents call it.
std::string named(uint32_t option) {
    static constexpr const char* kNames[] = {nullptr, "export name", "abort", "list", "peek export", "starttls", "info", "go", "structured reply", "list meta context", "set meta context", "extended headers"};
    return std::to_string(option) + (option < std::size(kNames) && kNames[option] != nullptr ? std::string(" (") + kNames[option] + ")" : "");
}

Error refusal(uint32_t option, uint32_t type, std::span<const uint8_t> data) {
    const std::string said = data.empty() ? "" : "\nserver reported: " + printable(data);
    switch (type) {
        case kRepErrUnknown: return {ErrorKind::kNotFound, "Requested export not available" + said, EINVAL};
        case kRepErrTlsRequired: return {ErrorKind::kPermission, "TLS negotiation required before option " + named(option) + "\nDid you forget a valid tls-creds?" + said, EINVAL};
        case kRepErrPolicy: return {ErrorKind::kPermission, "Denied by server for option " + named(option) + said, EINVAL};
        case kRepErrInvalid: return {ErrorKind::kIo, "Invalid parameters for option " + named(option) + said, EINVAL};
        case kRepErrShutdown: return {ErrorKind::kIo, "Server shutting down before option " + named(option) + said, EINVAL};
        default: return {ErrorKind::kIo, "Server refused option " + named(option) + " with error " + std::to_string(type & 0x7fffffff) + said, EINVAL};
    }
}

constexpr size_t kMostExports = 10000, kMostContexts = 1000, kMostInfos = 100;

}  // namespace

Task<Result<Client::Style>> Client::greet() {
    uint8_t head[16];
    if (auto r = co_await stream_->read(head, sizeof head); !r) co_return std::unexpected(std::move(r.error()).in("Failed to read initial magic"));
    Reader in(head);
    if (in.u64() != kInitMagic) co_return std::unexpected(broken("bad initial magic received"));
    const uint64_t magic = in.u64();
    if (magic == kOldStyleMagic) {
        uint8_t rest[8 + 4 + 124];
        if (auto r = co_await stream_->read(rest, sizeof rest); !r) co_return std::unexpected(r.error());
        Reader more(rest);
        info_.size = more.u64();
        info_.flags = static_cast<uint16_t>(more.u32());
        co_return Style::kOld;
    }
    if (magic != kOptionMagic) co_return std::unexpected(broken("bad server magic received"));
    uint8_t flag_bytes[2];
    if (auto r = co_await stream_->read(flag_bytes, sizeof flag_bytes); !r) co_return std::unexpected(r.error());
    const uint16_t flags = Reader(flag_bytes).u16();
    no_zeroes_ = flags & kNoZeroes;
    Writer w;
    w.u32(flags & (kFixedNewstyle | kNoZeroes));
    if (auto r = co_await stream_->write(w.data()); !r) co_return std::unexpected(r.error());
    co_return flags & kFixedNewstyle ? Style::kFixedNew : Style::kNew;
}

Task<Result<void>> Client::send_option(uint32_t option, std::span<const uint8_t> data) {
    Writer w;
    w.u64(kOptionMagic).u32(option).u32(static_cast<uint32_t>(data.size()));
    w.data().insert(w.data().end(), data.begin(), data.end());
    co_return co_await stream_->write(w.data());
}

Task<Result<Client::OptionAnswer>> Client::answer(uint32_t option) {
    uint8_t head[20];
    if (auto r = co_await stream_->read(head, sizeof head); !r) co_return std::unexpected(std::move(r.error()).in("Failed to read option reply"));
    Reader in(head);
    if (in.u64() != kOptionReplyMagic) co_return std::unexpected(broken("unexpected option reply magic"));
    if (in.u32() != option) co_return std::unexpected(broken("reply to another option"));
    OptionAnswer a;
    a.type = in.u32();
    const uint32_t length = in.u32();
    if (length > kMaxOptionBytes) co_return std::unexpected(broken("option reply is too long"));
    a.data.resize(length);
    if (auto r = co_await stream_->read(a.data.data(), length); !r) co_return std::unexpected(r.error());
    co_return a;
}

Task<Result<bool>> Client::agree(uint32_t option) {
    if (auto r = co_await send_option(option, {}); !r) co_return std::unexpected(r.error());
    const auto a = co_await answer(option);
    if (!a) co_return std::unexpected(a.error());
    if (a->type == kRepAck && a->data.empty()) co_return true;
    if (a->type == kRepErrTlsRequired) co_return std::unexpected(refusal(option, a->type, a->data));
    if (a->type & 0x80000000) co_return false;
    co_return std::unexpected(broken("unexpected reply to option " + std::to_string(option)));
}

Task<Result<void>> Client::secure(const ConnectOptions& o) {
    if (!o.tls) co_return Result<void>{};
    if (o.tls->server()) co_return fail(ErrorKind::kInvalidArgument, "Expecting TLS credentials with a client endpoint");
    if (auto r = co_await send_option(kOptStartTls, {}); !r) co_return r;
    const auto a = co_await answer(kOptStartTls);
    if (!a) co_return std::unexpected(a.error());
    if (a->type != kRepAck) co_return std::unexpected(refusal(kOptStartTls, a->type, a->data));
    io::Reactor& reactor = stream_->reactor();
    const bool inet = o.address.kind == net::Address::Kind::kInet;
    auto s = co_await net::start_tls(std::move(stream_), o.tls, o.tls_hostname.empty() && inet ? o.address.host : o.tls_hostname);
    if (!s) {
        stream_ = std::make_unique<net::Stream>(reactor, -1);
        co_return std::unexpected(s.error());
    }
    stream_ = std::move(*s);
    co_return Result<void>{};
}

Task<Result<void>> Client::headers(const ConnectOptions& o) {
    if (o.extended && o.structured) {
        const auto e = co_await agree(kOptExtendedHeaders);
        if (!e) co_return std::unexpected(e.error());
        extended_ = structured_ = *e;
    }
    if (o.structured && !extended_) {
        const auto s = co_await agree(kOptStructuredReply);
        if (!s) co_return std::unexpected(s.error());
        structured_ = *s;
    }
    info_.structured = structured_;
    info_.extended = extended_;
    co_return Result<void>{};
}

Task<Result<std::vector<std::pair<uint32_t, std::string>>>> Client::contexts(uint32_t option, const std::string& name, const std::string& query) {
    std::vector<std::pair<uint32_t, std::string>> out;
    Writer w;
    w.string(name).u32(query.empty() ? 0 : 1);
    if (!query.empty()) w.string(query);
    if (auto r = co_await send_option(option, w.data()); !r) co_return std::unexpected(r.error());
    for (;;) {
        const auto a = co_await answer(option);
        if (!a) co_return std::unexpected(a.error());
        if (a->type == kRepAck || a->type & 0x80000000) co_return out;
        if (a->type != kRepMetaContext || a->data.size() < 5 || out.size() >= kMostContexts) co_return std::unexpected(broken("malformed metadata context"));
        Reader in(a->data);
        const uint32_t id = in.u32();
        out.emplace_back(id, in.string(in.left()));
    }
}

Task<Result<bool>> Client::inform(uint32_t option, const std::string& name, ExportInfo& out) {
    Writer w;
    w.string(name).u16(option == kOptInfo ? 2 : 1).u16(kInfoBlockSize);
    if (option == kOptInfo) w.u16(kInfoDescription);
    if (auto r = co_await send_option(option, w.data()); !r) co_return std::unexpected(r.error());
    bool told = false;
    for (size_t i = 0; i < kMostInfos; ++i) {
        const auto a = co_await answer(option);
        if (!a) co_return std::unexpected(a.error());
        if (a->type == kRepErrUnsup) co_return false;
        if (a->type & 0x80000000) co_return std::unexpected(refusal(option, a->type, a->data));
        if (a->type == kRepAck) {
            if (!told) co_return std::unexpected(broken("the export's size was not told"));
            co_return true;
        }
        if (a->type != kRepInfo) co_return std::unexpected(broken("unexpected reply to INFO or GO"));
        Reader in(a->data);
        switch (in.u16()) {
            case kInfoExport:
                out.size = in.u64();
                out.flags = in.u16();
                told = true;
                break;
            case kInfoBlockSize:
                out.min_block = in.u32();
                out.preferred_block = in.u32();
                out.max_block = in.u32();
                if (!std::has_single_bit(out.min_block) || out.min_block > 65536 || !std::has_single_bit(out.preferred_block) || out.max_block < out.min_block)
                    co_return std::unexpected(broken("impossible block sizes"));
                break;
            case kInfoDescription: out.description = in.string(in.left()); break;
            default: in = Reader({}); break;
        }
        if (in.bad()) co_return std::unexpected(broken("malformed information about an export"));
    }
    co_return std::unexpected(broken("too much information about an export"));
}

// The option of servers that do not know GO; it is answered by the export, or by nothing.
Task<Result<void>> Client::choose(const std::string& name) {
    if (auto r = co_await send_option(kOptExportName, std::span(reinterpret_cast<const uint8_t*>(name.data()), name.size())); !r) co_return r;
    uint8_t head[8 + 2 + 124];
    if (auto r = co_await stream_->read(head, no_zeroes_ ? 10 : sizeof head); !r) co_return std::unexpected(std::move(r.error()).in("Failed to read export length"));
    Reader in(head);
    info_.size = in.u64();
    info_.flags = in.u16();
    co_return Result<void>{};
}

Task<Result<void>> Client::handshake(ConnectOptions o) {
    const auto style = co_await greet();
    if (!style) co_return std::unexpected(style.error());
    info_.name = o.export_name;
    if (*style != Style::kFixedNew && o.tls) co_return fail(ErrorKind::kUnsupported, "Server does not support STARTTLS", EINVAL);
    if (*style == Style::kNew) co_return co_await choose(o.export_name);
    if (*style == Style::kOld) {
        if (!o.export_name.empty()) co_return fail(ErrorKind::kUnsupported, "Server does not support non-empty export names", EINVAL);
        co_return Result<void>{};
    }
    auto r = co_await negotiate(o);
    if (!r) (void)co_await send_option(kOptAbort, {});  // a server that waits for more would call it a broken connection
    co_return r;
}

Task<Result<void>> Client::negotiate(const ConnectOptions& o) {
    if (auto r = co_await secure(o); !r) co_return r;
    if (auto r = co_await headers(o); !r) co_return r;
    if (structured_ && !o.context.empty()) {
        const auto got = co_await contexts(kOptSetMetaContext, o.export_name, o.context);
        if (!got) co_return std::unexpected(got.error());
        for (const auto& [id, name] : *got)
            if (name == o.context) {
                context_ok_ = true;
                context_id_ = id;
            }
    }
    const auto informed = co_await inform(kOptGo, o.export_name, info_);
    if (!informed) co_return std::unexpected(informed.error());
    if (!*informed) co_return co_await choose(o.export_name);
    co_return Result<void>{};
}

Task<Result<std::shared_ptr<Client>>> Client::start(std::unique_ptr<net::Stream> stream, ConnectOptions o) {
    std::shared_ptr<Client> c(new Client(std::move(stream)));
    if (auto r = co_await c->handshake(std::move(o)); !r) co_return std::unexpected(r.error());
    if (c->info_.size > INT64_MAX) co_return std::unexpected(broken("the export is larger than 2^63 - 1 bytes"));
    c->stream_->reactor().spawn(receive(c));
    co_return c;
}

Task<Result<std::shared_ptr<Client>>> Client::connect(io::Reactor& reactor, ConnectOptions o) {
    auto s = co_await net::connect_to(reactor, o.address, o.timeout);
    if (!s) co_return std::unexpected(s.error());
    co_return co_await start(std::move(*s), std::move(o));
}

Task<Result<std::vector<ExportInfo>>> Client::list(io::Reactor& reactor, ConnectOptions o) {
    auto s = co_await net::connect_to(reactor, o.address, o.timeout);
    if (!s) co_return std::unexpected(s.error());
    const std::shared_ptr<Client> c(new Client(std::move(*s)));
    const auto style = co_await c->greet();
    if (!style) co_return std::unexpected(style.error());
    if (*style == Style::kNew) co_return fail(ErrorKind::kUnsupported, "The NBD server does not speak the fixed newstyle protocol: it lists no exports", EINVAL);
    if (*style == Style::kOld) co_return std::vector{c->info_};
    if (auto r = co_await c->secure(o); !r) co_return std::unexpected(r.error());
    if (auto r = co_await c->headers(o); !r) co_return std::unexpected(r.error());
    std::vector<ExportInfo> out;
    if (auto r = co_await c->send_option(kOptList, {}); !r) co_return std::unexpected(r.error());
    for (;;) {
        const auto a = co_await c->answer(kOptList);
        if (!a) co_return std::unexpected(a.error());
        if (a->type == kRepAck) break;
        if (a->type & 0x80000000) co_return std::unexpected(refusal(kOptList, a->type, a->data));
        if (a->type != kRepServer || out.size() >= kMostExports) co_return std::unexpected(broken("malformed list of exports"));
        Reader in(a->data);
        ExportInfo e;
        const uint32_t n = in.u32();
        e.name = in.string(n);
        e.description = in.string(in.left());
        if (in.bad()) co_return std::unexpected(broken("malformed list of exports"));
        out.push_back(std::move(e));
    }
    for (ExportInfo& e : out) {
        e.structured = c->structured_;
        e.extended = c->extended_;
        if (auto r = co_await c->inform(kOptInfo, e.name, e); !r) co_return std::unexpected(r.error());
        if (!c->structured_) continue;
        const auto found = co_await c->contexts(kOptListMetaContext, e.name, "");
        if (!found) co_return std::unexpected(found.error());
        for (const auto& [id, name] : *found) e.contexts.push_back(name);
    }
    (void)co_await c->send_option(kOptAbort, {});
    co_return out;
}

}  // namespace myna::nbd
