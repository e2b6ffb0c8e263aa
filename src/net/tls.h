// TLS over a Stream's socket (GnuTLS): credentials as the documented tools describe them, and the handshake.
//
//   --object tls-creds-x509,id=…,endpoint=server,dir=…  ─▶ TlsCredentials ─▶ start_tls(stream) ─▶ a Stream that encrypts
//
// x509: ca-cert.pem, ca-crl.pem, server-cert.pem, server-key.pem, client-cert.pem, client-key.pem in `dir`.
// psk: keys.psk in `dir`. anon: no files, no identity.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "net/stream.h"

namespace myna::net {

class TlsCredentials {
  public:
    enum class Kind : uint8_t { kX509, kPsk, kAnon };

    /// From the object's type ("tls-creds-x509") and properties. Files are read here; errors name them.
    static Result<std::shared_ptr<TlsCredentials>> load(const std::string& type, const std::map<std::string, std::string>& properties);
    ~TlsCredentials();
    TlsCredentials(const TlsCredentials&) = delete;
    TlsCredentials& operator=(const TlsCredentials&) = delete;

    [[nodiscard]] Kind kind() const noexcept;
    /// Whose side the credentials are for: a server's cannot be used by a client.
    [[nodiscard]] bool server() const noexcept;

    struct Parts;
    [[nodiscard]] const Parts& parts() const noexcept { return *parts_; }

  private:
    TlsCredentials();
    std::unique_ptr<Parts> parts_;
};

/// What became of a handshake.
struct TlsPeer {
    std::string distinguished_name;  // x509 with a peer certificate; else empty
    std::string psk_user;
};

/// Shakes hands over `plain` (which ends) and gives the encrypted stream. A client checks that the server's certificate
/// is for `hostname`; a server asks for the client's certificate when verify-peer is on.
Task<Result<std::unique_ptr<Stream>>> start_tls(std::unique_ptr<Stream> plain, std::shared_ptr<TlsCredentials> credentials, std::string hostname,
                                                TlsPeer* peer = nullptr);

}  // namespace myna::net
