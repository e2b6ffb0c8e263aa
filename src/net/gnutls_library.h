// GnuTLS, loaded when the first TLS credentials are: it brings eight libraries and two MiB of memory that programs without
// TLS need not wait for.
#pragma once

#include <gnutls/gnutls.h>
#include <gnutls/x509.h>

#include "base/result.h"

namespace myna::net {

/// Its functions, without the prefix gnutls_.
struct GnutlsLibrary {
    decltype(&gnutls_anon_allocate_client_credentials) anon_allocate_client_credentials;
    decltype(&gnutls_anon_allocate_server_credentials) anon_allocate_server_credentials;
    decltype(&gnutls_anon_free_client_credentials) anon_free_client_credentials;
    decltype(&gnutls_anon_free_server_credentials) anon_free_server_credentials;
    decltype(&gnutls_anon_set_server_known_dh_params) anon_set_server_known_dh_params;
    decltype(&gnutls_certificate_allocate_credentials) certificate_allocate_credentials;
    decltype(&gnutls_certificate_free_credentials) certificate_free_credentials;
    decltype(&gnutls_certificate_get_peers) certificate_get_peers;
    decltype(&gnutls_certificate_server_set_request) certificate_server_set_request;
    decltype(&gnutls_certificate_set_known_dh_params) certificate_set_known_dh_params;
    decltype(&gnutls_certificate_set_x509_crl_file) certificate_set_x509_crl_file;
    decltype(&gnutls_certificate_set_x509_key_file) certificate_set_x509_key_file;
    decltype(&gnutls_certificate_set_x509_trust_file) certificate_set_x509_trust_file;
    decltype(&gnutls_certificate_verification_status_print) certificate_verification_status_print;
    decltype(&gnutls_certificate_verify_peers3) certificate_verify_peers3;
    decltype(&gnutls_credentials_set) credentials_set;
    decltype(&gnutls_deinit) deinit;
    decltype(&gnutls_error_is_fatal) error_is_fatal;
    decltype(&gnutls_handshake) handshake;
    decltype(&gnutls_init) init;
    decltype(&gnutls_priority_set_direct) priority_set_direct;
    decltype(&gnutls_psk_allocate_client_credentials) psk_allocate_client_credentials;
    decltype(&gnutls_psk_allocate_server_credentials) psk_allocate_server_credentials;
    decltype(&gnutls_psk_free_client_credentials) psk_free_client_credentials;
    decltype(&gnutls_psk_free_server_credentials) psk_free_server_credentials;
    decltype(&gnutls_psk_server_get_username) psk_server_get_username;
    decltype(&gnutls_psk_set_client_credentials) psk_set_client_credentials;
    decltype(&gnutls_psk_set_server_credentials_file) psk_set_server_credentials_file;
    decltype(&gnutls_psk_set_server_known_dh_params) psk_set_server_known_dh_params;
    decltype(&gnutls_record_get_direction) record_get_direction;
    decltype(&gnutls_record_recv) record_recv;
    decltype(&gnutls_record_send) record_send;
    decltype(&gnutls_server_name_set) server_name_set;
    decltype(&gnutls_strerror) strerror;
    decltype(&gnutls_transport_set_int2) transport_set_int2;
    decltype(&gnutls_x509_crt_deinit) x509_crt_deinit;
    decltype(&gnutls_x509_crt_get_dn) x509_crt_get_dn;
    decltype(&gnutls_x509_crt_import) x509_crt_import;
    decltype(&gnutls_x509_crt_init) x509_crt_init;
    decltype(&gnutls_free) free;  // a variable that holds the function

    /// The library, or why there is none. Any thread.
    static Result<const GnutlsLibrary*> load();
};

}  // namespace myna::net
