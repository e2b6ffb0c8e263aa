// One connection with one file opened by SFTP. Everything waits; used by one thread at a time.
#pragma once

#include <libssh/sftp.h>

#include <cstdint>
#include <span>
#include <string>

#include "base/result.h"

namespace myna::block {

/// libssh's functions, loaded when the first ssh name is opened.
struct SshLibrary {
    decltype(&::ssh_new) ssh_new;
    decltype(&::ssh_free) ssh_free;
    decltype(&::ssh_options_set) ssh_options_set;
    decltype(&::ssh_options_parse_config) ssh_options_parse_config;
    decltype(&::ssh_connect) ssh_connect;
    decltype(&::ssh_disconnect) ssh_disconnect;
    decltype(&::ssh_get_error) ssh_get_error;
    decltype(&::ssh_session_is_known_server) ssh_session_is_known_server;
    decltype(&::ssh_get_server_publickey) ssh_get_server_publickey;
    decltype(&::ssh_get_publickey_hash) ssh_get_publickey_hash;
    decltype(&::ssh_clean_pubkey_hash) ssh_clean_pubkey_hash;
    decltype(&::ssh_key_free) ssh_key_free;
    decltype(&::ssh_userauth_none) ssh_userauth_none;
    decltype(&::ssh_userauth_list) ssh_userauth_list;
    decltype(&::ssh_userauth_publickey_auto) ssh_userauth_publickey_auto;
    decltype(&::sftp_new) sftp_new;
    decltype(&::sftp_free) sftp_free;
    decltype(&::sftp_init) sftp_init;
    decltype(&::sftp_get_error) sftp_get_error;
    decltype(&::sftp_extension_supported) sftp_extension_supported;
    decltype(&::sftp_open) sftp_open;
    decltype(&::sftp_close) sftp_close;
    decltype(&::sftp_fstat) sftp_fstat;
    decltype(&::sftp_setstat) sftp_setstat;
    decltype(&::sftp_attributes_free) sftp_attributes_free;
    decltype(&::sftp_seek64) sftp_seek64;
    decltype(&::sftp_write) sftp_write;
    decltype(&::sftp_fsync) sftp_fsync;
    decltype(&::sftp_async_read_begin) sftp_async_read_begin;
    decltype(&::sftp_async_read) sftp_async_read;

    /// The library, or why there is none. Any thread.
    static Result<const SshLibrary*> load();
};

/// Where the file is, and how the server proves who it is.
struct SshPlace {
    std::string host, port = "22", user, path;
    enum class Check : uint8_t { kKnownHosts, kNone, kHash } check = Check::kKnownHosts;
    std::string hash_type, hash;  // md5, sha1, sha256; hexadecimal digits
};

class SshSession {
  public:
    SshSession(const SshLibrary& lib, SshPlace place) : lib_(lib), place_(std::move(place)) {}
    ~SshSession();
    SshSession(const SshSession&) = delete;
    SshSession& operator=(const SshSession&) = delete;

    /// Connects, checks the server, logs in and opens the file; `flags` as open(2) has them.
    Result<void> open(int flags);
    Result<uint64_t> size();
    Result<void> read(uint64_t offset, std::span<uint8_t> into);
    Result<void> write(uint64_t offset, std::span<const uint8_t> from);
    Result<void> flush();
    Result<void> truncate(uint64_t size);

  private:
    Result<void> check_server();
    Result<void> log_in();
    /// `text`: and what the library or the server says.
    [[nodiscard]] std::unexpected<Error> ssh_error(std::string text) const;
    [[nodiscard]] std::unexpected<Error> sftp_error(std::string text) const;

    const SshLibrary& lib_;
    SshPlace place_;
    ssh_session ssh_ = nullptr;
    sftp_session sftp_ = nullptr;
    sftp_file file_ = nullptr;
};

}  // namespace myna::block
