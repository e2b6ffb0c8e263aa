#include "block/proto/ssh_session.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <deque>
#include <vector>

#include "base/shared_library.h"

namespace myna::block {

namespace {

constexpr size_t kReadBytes = 32 << 10;    // of one SFTP request: what every server takes
constexpr size_t kWriteBytes = 128 << 10;  // OpenSSH's packets are up to 256 KiB long
constexpr size_t kRequests = 32;           // reads under way at once

Result<SshLibrary> open_library() {
    SharedLibrary shared("libssh.so.4");
    SshLibrary l{};
    shared.find(l.ssh_new, "ssh_new");
    shared.find(l.ssh_free, "ssh_free");
    shared.find(l.ssh_options_set, "ssh_options_set");
    shared.find(l.ssh_options_parse_config, "ssh_options_parse_config");
    shared.find(l.ssh_connect, "ssh_connect");
    shared.find(l.ssh_disconnect, "ssh_disconnect");
    shared.find(l.ssh_get_error, "ssh_get_error");
    shared.find(l.ssh_session_is_known_server, "ssh_session_is_known_server");
    shared.find(l.ssh_get_server_publickey, "ssh_get_server_publickey");
    shared.find(l.ssh_get_publickey_hash, "ssh_get_publickey_hash");
    shared.find(l.ssh_clean_pubkey_hash, "ssh_clean_pubkey_hash");
    shared.find(l.ssh_key_free, "ssh_key_free");
    shared.find(l.ssh_userauth_none, "ssh_userauth_none");
    shared.find(l.ssh_userauth_list, "ssh_userauth_list");
    shared.find(l.ssh_userauth_publickey_auto, "ssh_userauth_publickey_auto");
    shared.find(l.sftp_new, "sftp_new");
    shared.find(l.sftp_free, "sftp_free");
    shared.find(l.sftp_init, "sftp_init");
    shared.find(l.sftp_get_error, "sftp_get_error");
    shared.find(l.sftp_extension_supported, "sftp_extension_supported");
    shared.find(l.sftp_open, "sftp_open");
    shared.find(l.sftp_close, "sftp_close");
    shared.find(l.sftp_fstat, "sftp_fstat");
    shared.find(l.sftp_setstat, "sftp_setstat");
    shared.find(l.sftp_attributes_free, "sftp_attributes_free");
    shared.find(l.sftp_seek64, "sftp_seek64");
    shared.find(l.sftp_write, "sftp_write");
    shared.find(l.sftp_fsync, "sftp_fsync");
    shared.find(l.sftp_async_read_begin, "sftp_async_read_begin");
    shared.find(l.sftp_async_read, "sftp_async_read");
    if (auto r = shared.usable("ssh needs libssh (package libssh-4)"); !r) return std::unexpected(r.error());
    return l;
}

std::string hex(std::span<const uint8_t> bytes) {
    std::string out;
    for (const uint8_t b : bytes) out += "0123456789abcdef"[b >> 4], out += "0123456789abcdef"[b & 15];
    return out;
}

const char* sftp_text(int code) {
    switch (code) {
        case SSH_FX_NO_SUCH_FILE: case SSH_FX_NO_SUCH_PATH: return "No such file or directory";
        case SSH_FX_PERMISSION_DENIED: return "Permission denied";
        case SSH_FX_WRITE_PROTECT: return "The file system is read-only";
        case SSH_FX_OP_UNSUPPORTED: return "The server does not support this";
        case SSH_FX_CONNECTION_LOST: case SSH_FX_NO_CONNECTION: return "The connection is lost";
        default: return nullptr;
    }
}

}  // namespace

Result<const SshLibrary*> SshLibrary::load() {
    static const Result<SshLibrary> library = open_library();
    if (!library) return std::unexpected(library.error());
    return &*library;
}

SshSession::~SshSession() {
    if (file_ != nullptr) lib_.sftp_close(file_);
    if (sftp_ != nullptr) lib_.sftp_free(sftp_);
    if (ssh_ == nullptr) return;
    lib_.ssh_disconnect(ssh_);
    lib_.ssh_free(ssh_);
}

std::unexpected<Error> SshSession::ssh_error(std::string text) const {
    const char* why = lib_.ssh_get_error(ssh_);
    return fail(ErrorKind::kIo, place_.host + ": " + std::move(text) + (why != nullptr && *why != 0 ? std::string(": ") + why : ""), EIO);
}

std::unexpected<Error> SshSession::sftp_error(std::string text) const {
    const int code = lib_.sftp_get_error(sftp_);
    const char* known = sftp_text(code);
    if (known == nullptr) return ssh_error(place_.path + ": " + std::move(text));
    const int err = code == SSH_FX_NO_SUCH_FILE || code == SSH_FX_NO_SUCH_PATH ? ENOENT : code == SSH_FX_PERMISSION_DENIED ? EACCES : EIO;
    return fail(err == ENOENT ? ErrorKind::kNotFound : ErrorKind::kIo, place_.host + ":" + place_.path + ": " + std::move(text) + ": " + known, err);
}

Result<void> SshSession::open(int flags) {
    ssh_ = lib_.ssh_new();
    if (ssh_ == nullptr) return fail(ErrorKind::kIo, "libssh has no memory for a session", ENOMEM);
    lib_.ssh_options_set(ssh_, SSH_OPTIONS_HOST, place_.host.c_str());
    if (!place_.user.empty()) lib_.ssh_options_set(ssh_, SSH_OPTIONS_USER, place_.user.c_str());
    const unsigned port = static_cast<unsigned>(std::strtoul(place_.port.c_str(), nullptr, 10));
    lib_.ssh_options_set(ssh_, SSH_OPTIONS_PORT, &port);
    if (lib_.ssh_options_parse_config(ssh_, nullptr) < 0) return ssh_error("~/.ssh/config cannot be used");
    if (lib_.ssh_connect(ssh_) != SSH_OK) return ssh_error("failed to establish SSH session");
    if (auto r = check_server(); !r) return r;
    if (auto r = log_in(); !r) return r;
    sftp_ = lib_.sftp_new(ssh_);
    if (sftp_ == nullptr) return ssh_error("failed to create sftp handle");
    if (lib_.sftp_init(sftp_) != SSH_OK) return ssh_error("failed to initialize sftp handle");
    file_ = lib_.sftp_open(sftp_, place_.path.c_str(), flags, 0644);
    if (file_ == nullptr) return sftp_error("failed to open remote file");
    return {};
}

Result<void> SshSession::check_server() {
    if (place_.check == SshPlace::Check::kNone) return {};
    if (place_.check == SshPlace::Check::kHash) {
        const auto type = place_.hash_type == "md5" ? SSH_PUBLICKEY_HASH_MD5 : place_.hash_type == "sha1" ? SSH_PUBLICKEY_HASH_SHA1 : SSH_PUBLICKEY_HASH_SHA256;
        ssh_key key = nullptr;
        if (lib_.ssh_get_server_publickey(ssh_, &key) != SSH_OK) return ssh_error("failed to read remote host key");
        unsigned char* bytes = nullptr;
        size_t length = 0;
        const int r = lib_.ssh_get_publickey_hash(key, type, &bytes, &length);
        lib_.ssh_key_free(key);
        if (r != 0) return ssh_error("failed reading the hash of the server SSH key");
        const std::string have = hex({bytes, length});
        lib_.ssh_clean_pubkey_hash(&bytes);
        std::string want;
        for (const char c : place_.hash)
            if (c != ':') want += c >= 'A' && c <= 'F' ? static_cast<char>(c + 32) : c;
        if (have != want) return fail(ErrorKind::kPermission, "remote host key fingerprint '" + place_.hash_type + ":" + have + "' does not match host_key_check '" + place_.hash_type + ":" + place_.hash + "'", EPERM);
        return {};
    }
    const auto no = [&](const char* text) { return fail(ErrorKind::kPermission, place_.host + ": " + text, EPERM); };
    switch (lib_.ssh_session_is_known_server(ssh_)) {
        case SSH_KNOWN_HOSTS_OK: return {};
        case SSH_KNOWN_HOSTS_CHANGED: return no("host key does not match the one in known_hosts; this may be a possible attack");
        case SSH_KNOWN_HOSTS_OTHER: return no("the host key for this server was not found, another type of key exists");
        case SSH_KNOWN_HOSTS_UNKNOWN: return no("no host key was found in known_hosts; connect once by ssh and check it, or use host_key_check=sha256:…");
        case SSH_KNOWN_HOSTS_NOT_FOUND: return no("known_hosts file not found; connect once by ssh and check the key, or use host_key_check=sha256:…");
        case SSH_KNOWN_HOSTS_ERROR: break;
    }
    return ssh_error("error while checking the host");
}

Result<void> SshSession::log_in() {
    const int none = lib_.ssh_userauth_none(ssh_, nullptr);
    if (none == SSH_AUTH_SUCCESS) return {};
    if (none == SSH_AUTH_ERROR) return ssh_error("failed to authenticate using none authentication");
    if ((lib_.ssh_userauth_list(ssh_, nullptr) & SSH_AUTH_METHOD_PUBLICKEY) != 0) {
        const int r = lib_.ssh_userauth_publickey_auto(ssh_, nullptr, nullptr);
        if (r == SSH_AUTH_SUCCESS) return {};
        if (r == SSH_AUTH_ERROR) return ssh_error("failed to authenticate using publickey authentication");
    }
    return fail(ErrorKind::kPermission, place_.host + ": failed to authenticate using publickey authentication and the identities held by your ssh-agent", EPERM);
}

Result<uint64_t> SshSession::size() {
    sftp_attributes a = lib_.sftp_fstat(file_);
    if (a == nullptr) return sftp_error("failed to read the file's size");
    const uint64_t size = a->size;
    lib_.sftp_attributes_free(a);
    return size;
}

Result<void> SshSession::read(uint64_t offset, std::span<uint8_t> into) {
    struct Request {
        uint32_t id;
        size_t at, bytes;
    };
    // Answers come in the order of the requests. After a short one the rest is asked for again from there.
    for (size_t done = 0; done < into.size();) {
        if (lib_.sftp_seek64(file_, offset + done) != 0) return sftp_error("failed to seek");
        std::deque<Request> under_way;
        size_t asked = done;
        bool in_order = true;
        while (!under_way.empty() || (in_order && asked < into.size())) {
            while (in_order && under_way.size() < kRequests && asked < into.size()) {
                const size_t n = std::min(kReadBytes, into.size() - asked);
                const int id = lib_.sftp_async_read_begin(file_, static_cast<uint32_t>(n));
                if (id < 0) return sftp_error("failed to read");
                under_way.push_back({static_cast<uint32_t>(id), asked, n});
                asked += n;
            }
            const Request q = under_way.front();
            under_way.pop_front();
            uint8_t late[kReadBytes];  // answers behind a short one
            const int got = lib_.sftp_async_read(file_, in_order ? into.data() + q.at : late, static_cast<uint32_t>(q.bytes), q.id);
            if (got < 0) return sftp_error("failed to read");
            if (!in_order) continue;
            if (got == 0) return fail(ErrorKind::kIo, place_.path + ": the file ends at byte " + std::to_string(offset + q.at) + "; has it become shorter?", EIO);
            done = q.at + static_cast<size_t>(got);
            in_order = static_cast<size_t>(got) == q.bytes;
        }
    }
    return {};
}

Result<void> SshSession::write(uint64_t offset, std::span<const uint8_t> from) {
    if (lib_.sftp_seek64(file_, offset) != 0) return sftp_error("failed to seek");
    for (size_t done = 0; done < from.size();) {
        const ssize_t n = lib_.sftp_write(file_, from.data() + done, std::min(kWriteBytes, from.size() - done));
        if (n <= 0) return sftp_error("failed to write");
        done += static_cast<size_t>(n);
    }
    return {};
}

Result<void> SshSession::flush() {
    if (lib_.sftp_extension_supported(sftp_, "fsync@openssh.com", "1") == 0)
        return fail(ErrorKind::kUnsupported, place_.host + ": the server cannot make data stable (fsync@openssh.com)", ENOTSUP);
    if (lib_.sftp_fsync(file_) != SSH_OK) return sftp_error("failed to make data stable");
    return {};
}

Result<void> SshSession::truncate(uint64_t size) {
    sftp_attributes_struct a{};
    a.flags = SSH_FILEXFER_ATTR_SIZE;
    a.size = size;
    if (lib_.sftp_setstat(sftp_, place_.path.c_str(), &a) != 0) return sftp_error("failed to change the file's size");
    return {};
}

}  // namespace myna::block
