#include "net/gnutls_library.h"

#include "base/shared_library.h"

namespace myna::net {

namespace {

Result<GnutlsLibrary> open_library() {
    SharedLibrary shared("libgnutls.so.30");
    GnutlsLibrary l{};
    shared.find(l.anon_allocate_client_credentials, "gnutls_anon_allocate_client_credentials");
    shared.find(l.anon_allocate_server_credentials, "gnutls_anon_allocate_server_credentials");
    shared.find(l.anon_free_client_credentials, "gnutls_anon_free_client_credentials");
    shared.find(l.anon_free_server_credentials, "gnutls_anon_free_server_credentials");
    shared.find(l.anon_set_server_known_dh_params, "gnutls_anon_set_server_known_dh_params");
    shared.find(l.certificate_allocate_credentials, "gnutls_certificate_allocate_credentials");
    shared.find(l.certificate_free_credentials, "gnutls_certificate_free_credentials");
    shared.find(l.certificate_get_peers, "gnutls_certificate_get_peers");
    shared.find(l.certificate_server_set_request, "gnutls_certificate_server_set_request");
    shared.find(l.certificate_set_known_dh_params, "gnutls_certificate_set_known_dh_params");
    shared.find(l.certificate_set_x509_crl_file, "gnutls_certificate_set_x509_crl_file");
    shared.find(l.certificate_set_x509_key_file, "gnutls_certificate_set_x509_key_file");
    shared.find(l.certificate_set_x509_trust_file, "gnutls_certificate_set_x509_trust_file");
    shared.find(l.certificate_verification_status_print, "gnutls_certificate_verification_status_print");
    shared.find(l.certificate_verify_peers3, "gnutls_certificate_verify_peers3");
    shared.find(l.credentials_set, "gnutls_credentials_set");
    shared.find(l.deinit, "gnutls_deinit");
    shared.find(l.error_is_fatal, "gnutls_error_is_fatal");
    shared.find(l.handshake, "gnutls_handshake");
    shared.find(l.init, "gnutls_init");
    shared.find(l.priority_set_direct, "gnutls_priority_set_direct");
    shared.find(l.psk_allocate_client_credentials, "gnutls_psk_allocate_client_credentials");
    shared.find(l.psk_allocate_server_credentials, "gnutls_psk_allocate_server_credentials");
    shared.find(l.psk_free_client_credentials, "gnutls_psk_free_client_credentials");
    shared.find(l.psk_free_server_credentials, "gnutls_psk_free_server_credentials");
    shared.find(l.psk_server_get_username, "gnutls_psk_server_get_username");
    shared.find(l.psk_set_client_credentials, "gnutls_psk_set_client_credentials");
    shared.find(l.psk_set_server_credentials_file, "gnutls_psk_set_server_credentials_file");
    shared.find(l.psk_set_server_known_dh_params, "gnutls_psk_set_server_known_dh_params");
    shared.find(l.record_get_direction, "gnutls_record_get_direction");
    shared.find(l.record_recv, "gnutls_record_recv");
    shared.find(l.record_send, "gnutls_record_send");
    shared.find(l.server_name_set, "gnutls_server_name_set");
    shared.find(l.strerror, "gnutls_strerror");
    shared.find(l.transport_set_int2, "gnutls_transport_set_int2");
    shared.find(l.x509_crt_deinit, "gnutls_x509_crt_deinit");
    shared.find(l.x509_crt_get_dn, "gnutls_x509_crt_get_dn");
    shared.find(l.x509_crt_import, "gnutls_x509_crt_import");
    shared.find(l.x509_crt_init, "gnutls_x509_crt_init");
    shared.find(l.free, "gnutls_free");
    if (auto r = shared.usable("TLS needs GnuTLS (package libgnutls30)"); !r) return std::unexpected(r.error());
    return l;
}

}  // namespace

Result<const GnutlsLibrary*> GnutlsLibrary::load() {
    static const Result<GnutlsLibrary> library = open_library();
    if (!library) return std::unexpected(library.error());
    return &*library;
}

}  // namespace myna::net
