#include "net/tls.h"

#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>

#include "net/gnutls_library.h"

namespace myna::net {

namespace {
/// Nothing of TLS is done before TlsCredentials::load() found that the library is there.
const GnutlsLibrary& gnutls() { return **GnutlsLibrary::load(); }
}  // namespace

struct TlsCredentials::Parts {
    Kind kind = Kind::kX509;
    bool server = false, verify_peer = true;
    std::string priority, username;
    gnutls_certificate_credentials_t x509 = nullptr;
    gnutls_psk_server_credentials_t psk_server = nullptr;
    gnutls_psk_client_credentials_t psk_client = nullptr;
    gnutls_anon_server_credentials_t anon_server = nullptr;
    gnutls_anon_client_credentials_t anon_client = nullptr;
    ~Parts() {
        if (x509 != nullptr) gnutls().certificate_free_credentials(x509);
        if (psk_server != nullptr) gnutls().psk_free_server_credentials(psk_server);
        if (psk_client != nullptr) gnutls().psk_free_client_credentials(psk_client);
        if (anon_server != nullptr) gnutls().anon_free_server_credentials(anon_server);
        if (anon_client != nullptr) gnutls().anon_free_client_credentials(anon_client);
    }
};

TlsCredentials::TlsCredentials() : parts_(std::make_unique<Parts>()) {}
TlsCredentials::~TlsCredentials() = default;
TlsCredentials::Kind TlsCredentials::kind() const noexcept { return parts_->kind; }
bool TlsCredentials::server() const noexcept { return parts_->server; }

namespace {

using Parts = TlsCredentials::Parts;

Error tls_error(int code, const std::string& what) { return {ErrorKind::kIo, what + ": " + gnutls().strerror(code), EPROTO}; }

Result<std::string> file_in(const std::string& dir, const char* name, bool required) {
    const std::string path = dir + "/" + name;
    if (::access(path.c_str(), R_OK) == 0) return path;
    if (required) return fail_errno(errno, "Unable to access credentials " + path);
    return std::string();
}

Result<void> load_x509(Parts& p, const std::string& dir) {
    if (const int e = gnutls().certificate_allocate_credentials(&p.x509); e != 0) return std::unexpected(tls_error(e, "Cannot allocate credentials"));
    const auto ca = file_in(dir, "ca-cert.pem", true);
    if (!ca) return std::unexpected(ca.error());
    if (const int e = gnutls().certificate_set_x509_trust_file(p.x509, ca->c_str(), GNUTLS_X509_FMT_PEM); e < 0)
        return std::unexpected(tls_error(e, "Cannot load CA certificate '" + *ca + "'"));
    const auto cert = file_in(dir, p.server ? "server-cert.pem" : "client-cert.pem", p.server);
    if (!cert) return std::unexpected(cert.error());
    const auto key = file_in(dir, p.server ? "server-key.pem" : "client-key.pem", p.server);
    if (!key) return std::unexpected(key.error());
    if (!cert->empty() && !key->empty())
        if (const int e = gnutls().certificate_set_x509_key_file(p.x509, cert->c_str(), key->c_str(), GNUTLS_X509_FMT_PEM); e != 0)
            return std::unexpected(tls_error(e, "Cannot load certificate '" + *cert + "' & key '" + *key + "'"));
    const auto crl = file_in(dir, "ca-crl.pem", false);
    if (crl && !crl->empty())
        if (const int e = gnutls().certificate_set_x509_crl_file(p.x509, crl->c_str(), GNUTLS_X509_FMT_PEM); e < 0)
            return std::unexpected(tls_error(e, "Cannot load CRL '" + *crl + "'"));
    gnutls().certificate_set_known_dh_params(p.x509, GNUTLS_SEC_PARAM_MEDIUM);
    return {};
}

Result<void> load_psk(Parts& p, const std::string& dir) {
    const auto keys = file_in(dir, "keys.psk", true);
    if (!keys) return std::unexpected(keys.error());
    if (p.server) {
        gnutls().psk_allocate_server_credentials(&p.psk_server);
        if (const int e = gnutls().psk_set_server_credentials_file(p.psk_server, keys->c_str()); e < 0)
            return std::unexpected(tls_error(e, "Cannot load the keys of '" + *keys + "'"));
        gnutls().psk_set_server_known_dh_params(p.psk_server, GNUTLS_SEC_PARAM_MEDIUM);
        return {};
    }
    gnutls().psk_allocate_client_credentials(&p.psk_client);
    std::ifstream in(*keys);
    for (std::string line; std::getline(in, line);) {
        if (!line.starts_with(p.username + ":")) continue;
        const std::string hex = line.substr(p.username.size() + 1);
        const gnutls_datum_t key{reinterpret_cast<unsigned char*>(const_cast<char*>(hex.data())), static_cast<unsigned>(hex.size())};
        if (const int e = gnutls().psk_set_client_credentials(p.psk_client, p.username.c_str(), &key, GNUTLS_PSK_KEY_HEX); e < 0)
            return std::unexpected(tls_error(e, "Cannot use the key of '" + p.username + "' in '" + *keys + "'"));
        return {};
    }
    return fail(ErrorKind::kNotFound, "Username '" + p.username + "' not found in '" + *keys + "'");
}

}  // namespace

Result<std::shared_ptr<TlsCredentials>> TlsCredentials::load(const std::string& type, const std::map<std::string, std::string>& properties) {
    std::shared_ptr<TlsCredentials> out(new TlsCredentials);
    Parts& p = *out->parts_;
    if (type == "tls-creds-x509") p.kind = Kind::kX509;
    else if (type == "tls-creds-psk") p.kind = Kind::kPsk;
    else if (type == "tls-creds-anon") p.kind = Kind::kAnon;
    else return fail(ErrorKind::kInvalidArgument, "invalid object type: " + type);
    std::string dir;
    p.username = "qemu";
    for (const auto& [key, value] : properties) {
        if (key == "id" || key == "qom-type") continue;
        if (key == "dir") dir = value;
        else if (key == "endpoint" && (value == "server" || value == "client")) p.server = value == "server";
        else if (key == "endpoint") return fail(ErrorKind::kInvalidArgument, "Invalid parameter '" + value + "': endpoint is server or client");
        else if (key == "verify-peer" || key == "sanity-check") {
            const bool on = value == "on" || value == "yes" || value == "true" || value == "y";
            const bool off = value == "off" || value == "no" || value == "false" || value == "n";
            if (!on && !off) return fail(ErrorKind::kInvalidArgument, "Parameter '" + key + "' expects 'on' or 'off'");
            if (key == "verify-peer") p.verify_peer = on;
        } else if (key == "priority") p.priority = value;
        else if (key == "username" && p.kind == Kind::kPsk) p.username = value;
        else if (key == "passwordid") return fail(ErrorKind::kUnsupported, "passwordid: encrypted private keys are not supported");
        else return fail(ErrorKind::kInvalidArgument, "Property '" + type + "." + key + "' not found");
    }
    if (p.kind != Kind::kAnon && dir.empty()) return fail(ErrorKind::kInvalidArgument, "Missing 'dir' property value");
    if (auto l = GnutlsLibrary::load(); !l) return std::unexpected(l.error());
    Result<void> r;
    switch (p.kind) {
        case Kind::kX509: r = load_x509(p, dir); break;
        case Kind::kPsk: r = load_psk(p, dir); break;
        case Kind::kAnon:
            if (p.server) gnutls().anon_allocate_server_credentials(&p.anon_server), gnutls().anon_set_server_known_dh_params(p.anon_server, GNUTLS_SEC_PARAM_MEDIUM);
            else gnutls().anon_allocate_client_credentials(&p.anon_client);
            break;
    }
    if (!r) return std::unexpected(r.error());
    return out;
}

namespace {

class TlsStream final : public Stream {
  public:
    TlsStream(io::Reactor& r, int fd, std::shared_ptr<TlsCredentials> c) : Stream(r, fd), credentials_(std::move(c)) {}
    ~TlsStream() override {
        if (session_ != nullptr) gnutls().deinit(session_);
    }

    Result<void> setup(const std::string& hostname) {
        const Parts& p = credentials_->parts();
        if (const int e = gnutls().init(&session_, (p.server ? GNUTLS_SERVER : GNUTLS_CLIENT) | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL); e != 0)
            return std::unexpected(tls_error(e, "TLS session"));
        std::string priority = p.priority.empty() ? "NORMAL" : p.priority;
        if (p.kind == TlsCredentials::Kind::kPsk) priority += ":+ECDHE-PSK:+DHE-PSK:+PSK";
        if (p.kind == TlsCredentials::Kind::kAnon) priority += ":-VERS-TLS1.3:+ANON-ECDH:+ANON-DH";
        const char* where = nullptr;
        if (const int e = gnutls().priority_set_direct(session_, priority.c_str(), &where); e != 0)
            return std::unexpected(tls_error(e, "Unable to set TLS session priority '" + priority + "'"));
        int e = 0;
        if (p.x509 != nullptr) e = gnutls().credentials_set(session_, GNUTLS_CRD_CERTIFICATE, p.x509);
        if (p.psk_server != nullptr) e = gnutls().credentials_set(session_, GNUTLS_CRD_PSK, p.psk_server);
        if (p.psk_client != nullptr) e = gnutls().credentials_set(session_, GNUTLS_CRD_PSK, p.psk_client);
        if (p.anon_server != nullptr) e = gnutls().credentials_set(session_, GNUTLS_CRD_ANON, p.anon_server);
        if (p.anon_client != nullptr) e = gnutls().credentials_set(session_, GNUTLS_CRD_ANON, p.anon_client);
        if (e != 0) return std::unexpected(tls_error(e, "Cannot set session credentials"));
        if (p.x509 != nullptr && p.server) gnutls().certificate_server_set_request(session_, p.verify_peer ? GNUTLS_CERT_REQUIRE : GNUTLS_CERT_IGNORE);
        if (p.x509 != nullptr && !p.server && !hostname.empty() && hostname.find_first_not_of("0123456789.:") != std::string::npos)
            gnutls().server_name_set(session_, GNUTLS_NAME_DNS, hostname.data(), hostname.size());
        gnutls().transport_set_int2(session_, fd_, fd_);
        return {};
    }

    Task<Result<void>> handshake() {
        for (;;) {
            const int e = gnutls().handshake(session_);
            if (e == 0) co_return Result<void>{};
            if (e == GNUTLS_E_AGAIN) co_await reactor_.poll(fd_, gnutls().record_get_direction(session_) != 0 ? POLLOUT : POLLIN);
            else if (gnutls().error_is_fatal(e) != 0) co_return std::unexpected(tls_error(e, "TLS handshake failed"));
        }
    }

    Result<void> verify(const std::string& hostname, TlsPeer* peer) {
        const Parts& p = credentials_->parts();
        if (p.psk_server != nullptr && peer != nullptr)
            if (const char* user = gnutls().psk_server_get_username(session_)) peer->psk_user = user;
        if (p.x509 == nullptr || (p.server && !p.verify_peer)) return {};
        unsigned status = 0;
        // Whose certificate it must be has to be known: any that the authority signed would do otherwise.
        if (!p.server && p.verify_peer && hostname.empty()) return fail(ErrorKind::kPermission, "No hostname for certificate validation", EACCES);
        const int e = gnutls().certificate_verify_peers3(session_, !p.server && p.verify_peer ? hostname.c_str() : nullptr, &status);
        if (e != 0) return std::unexpected(tls_error(e, "Verify failed"));
        if (status != 0 && p.verify_peer) {
            gnutls_datum_t text{};
            std::string why = "The certificate is not trusted";
            if (status & GNUTLS_CERT_SIGNER_NOT_FOUND) why = "The certificate hasn't got a known issuer";
            else if (status & GNUTLS_CERT_UNEXPECTED_OWNER) why = "Certificate does not match the hostname " + hostname;
            else if (gnutls().certificate_verification_status_print(status, GNUTLS_CRT_X509, &text, 0) == 0) {
                why = reinterpret_cast<const char*>(text.data);
                (*gnutls().free)(text.data);
                while (!why.empty() && why.back() == ' ') why.pop_back();
            }
            return fail(ErrorKind::kPermission, why, EACCES);
        }
        unsigned count = 0;
        const gnutls_datum_t* list = gnutls().certificate_get_peers(session_, &count);
        if (list != nullptr && count > 0 && peer != nullptr) {
            gnutls_x509_crt_t crt;
            gnutls().x509_crt_init(&crt);
            char name[1024];
            size_t size = sizeof name;
            if (gnutls().x509_crt_import(crt, &list[0], GNUTLS_X509_FMT_DER) == 0 && gnutls().x509_crt_get_dn(crt, name, &size) == 0)
                peer->distinguished_name.assign(name, size);
            gnutls().x509_crt_deinit(crt);
        }
        return {};
    }

  protected:
    ssize_t receive_now(std::span<const iovec> into) override {
        for (const iovec& part : into) {
            if (part.iov_len == 0) continue;
            const ssize_t n = gnutls().record_recv(session_, part.iov_base, part.iov_len);
            if (n >= 0) return n;
            if (n == GNUTLS_E_AGAIN || n == GNUTLS_E_INTERRUPTED) return -EAGAIN;
            if (n == GNUTLS_E_PREMATURE_TERMINATION) return 0;
            if (gnutls().error_is_fatal(static_cast<int>(n)) == 0) return -EINTR;
            return -EPROTO;
        }
        return 0;
    }
    ssize_t send_now(std::span<const iovec> from) override {
        for (const iovec& part : from) {
            if (part.iov_len == 0) continue;
            const ssize_t n = gnutls().record_send(session_, part.iov_base, part.iov_len);
            if (n >= 0) return n;
            if (n == GNUTLS_E_AGAIN || n == GNUTLS_E_INTERRUPTED) return -EAGAIN;
            return -EPROTO;
        }
        return 0;
    }
    [[nodiscard]] bool plain() const noexcept override { return false; }

  private:
    std::shared_ptr<TlsCredentials> credentials_;
    gnutls_session_t session_ = nullptr;
};

}  // namespace

Task<Result<std::unique_ptr<Stream>>> start_tls(std::unique_ptr<Stream> plain, std::shared_ptr<TlsCredentials> credentials, std::string hostname,
                                                TlsPeer* peer) {
    // Bytes sent in the clear before the handshake must not be taken for protected ones.
    if (plain->has_buffered()) co_return fail(ErrorKind::kIo, "The peer sent data before the TLS handshake", EPROTO);
    io::Reactor& reactor = plain->reactor();
    auto stream = std::make_unique<TlsStream>(reactor, plain->release(), std::move(credentials));
    if (auto r = stream->setup(hostname); !r) co_return std::unexpected(r.error());
    if (auto r = co_await stream->handshake(); !r) co_return std::unexpected(r.error());
    if (auto r = stream->verify(hostname, peer); !r) co_return std::unexpected(r.error());
    co_return std::unique_ptr<Stream>(std::move(stream));
}

}  // namespace myna::net
