#include "nbd/server/server.h"

#include <algorithm>

#include "nbd/server/session.h"
#include "net/address.h"

namespace myna::nbd {

Server::~Server() = default;

void Server::add(ExportPtr e) {
    std::erase_if(exports_, [&](const ExportPtr& old) { return old->name == e->name; });
    exports_.push_back(std::move(e));
}

bool Server::remove(const std::string& name, bool hard) {
    const ExportPtr gone = find(name);
    if (!gone) return false;
    std::erase(exports_, gone);
    if (hard)
        for (Session* s : sessions_)
            if (s->exported() == gone) s->shutdown();
    return true;
}

ExportPtr Server::find(const std::string& name) const {
    for (const ExportPtr& e : exports_)
        if (e->name == name) return e;
    return nullptr;
}

bool Server::in_use(const std::string& name) const {
    return std::ranges::any_of(sessions_, [&](const Session* s) { return s->exported() && s->exported()->name == name; });
}

void Server::disconnect_all() {
    for (Session* s : sessions_) s->shutdown();
}

namespace {
/// Ends a session that is still shaking hands when the time is up.
Task<void> watch_handshake(io::Reactor& reactor, std::shared_ptr<Session::Watch> watch) {
    co_await reactor.sleep(std::chrono::seconds(Server::kHandshakeSeconds));
    if (watch->session != nullptr) watch->session->shutdown();
}
}  // namespace

Task<bool> Server::serve(int fd, ExportPtr device) {
    net::widen_buffers(fd);
    auto stream = std::make_unique<net::Stream>(reactor_, fd);
    if (max_clients != 0 && sessions_.size() >= max_clients) co_return false;
    Session session(*this, std::move(stream));
    const auto at = sessions_.insert(sessions_.end(), &session);
    session.watch->session = &session;
    reactor_.spawn(watch_handshake(reactor_, session.watch));
    co_await session.run(std::move(device));
    session.watch->session = nullptr;
    sessions_.erase(at);
    co_return session.exported() != nullptr;
}

}  // namespace myna::nbd
