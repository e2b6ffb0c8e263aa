// The command line of myna-nbd.
#include <array>
#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "tools/nbd/main.h"
#include "tools/nbd/tool.h"
#include "tools/options.h"

namespace myna::tools::nbd {

namespace {

constexpr std::array kOptions{
    OptionRow{'h', "help", "", "display this help and exit"},
    OptionRow{'V', "version", "", "output version information and exit"},
    OptionRow{0, "", "", "Connection properties"},
    OptionRow{'p', "port", "PORT", "port to listen on (default '10809')"},
    OptionRow{'b', "bind", "IFACE", "interface to bind to (default: all)"},
    OptionRow{'k', "socket", "PATH", "path to the unix socket"},
    OptionRow{'e', "shared", "NUM", "NUM clients at a time (default 1; 0: any number)"},
    OptionRow{'t', "persistent", "", "don't exit when the last client leaves"},
    OptionRow{'v', "verbose", "", "say what goes wrong with clients"},
    OptionRow{'x', "export-name", "NAME", "expose the export by name (default is the empty name)"},
    OptionRow{'D', "description", "TEXT", "tell clients this human-readable description"},
    OptionRow{0, "", "", "Exposing part of the image"},
    OptionRow{'o', "offset", "OFFSET", "offset into the image"},
    OptionRow{'A', "allocation-depth", "", "offer the context qemu:allocation-depth"},
    OptionRow{'B', "bitmap", "NAME", "offer a persistent dirty bitmap as qemu:dirty-bitmap:NAME"},
    OptionRow{0, "", "", "General purpose options"},
    OptionRow{'L', "list", "", "list the exports of another NBD server"},
    OptionRow{0, "object", "TYPE,id=ID,...", "define an object: secret, tls-creds-x509, tls-creds-psk,\ntls-creds-anon, authz-simple"},
    OptionRow{0, "tls-creds", "ID", "TLS with the credentials of an --object"},
    OptionRow{0, "tls-authz", "ID", "admit only clients that an --object authorises"},
    OptionRow{0, "tls-hostname", "NAME", "the name in the server's certificate (with --list)"},
    OptionRow{'T', "trace", "PATTERN", "not supported"},
    OptionRow{0, "fork", "", "return when the server is ready; it goes on in the background"},
    OptionRow{0, "pid-file", "PATH", "store the server's process ID in PATH"},
    OptionRow{0, "selinux-label", "LABEL", "not supported"},
    OptionRow{0, "", "", "Kernel NBD client support"},
    OptionRow{'c', "connect", "DEV", "connect FILE to the local NBD device DEV"},
    OptionRow{'d', "disconnect", "DEV", "disconnect the local NBD device DEV"},
    OptionRow{0, "", "", "Block device options"},
    OptionRow{'f', "format", "FORMAT", "the image's format (default: guessed)"},
    OptionRow{'r', "read-only", "", "export read-only"},
    OptionRow{'s', "snapshot", "", "writes go to a temporary image in front of FILE"},
    OptionRow{'l', "load-snapshot", "SNAPSHOT", "export an internal snapshot, read only:\nsnapshot.id=ID,snapshot.name=NAME, or ID_OR_NAME"},
    OptionRow{'n', "nocache", "", "the same as --cache=none"},
    OptionRow{0, "cache", "MODE", "none, writeback (default), writethrough, directsync, unsafe"},
    OptionRow{0, "aio", "MODE", "native, io_uring or threads"},
    OptionRow{0, "discard", "MODE", "ignore or unmap (default)"},
    OptionRow{0, "detect-zeroes", "MODE", "off, on or unmap (default; off as qemu-nbd)"},
    OptionRow{0, "image-opts", "", "FILE is a list of driver options (driver=...,file.filename=...)"},
};

void print_help(const std::string& called) {
    std::printf("Usage: %s [OPTIONS] FILE\n  or:  %s -L [OPTIONS]\nMyna disk network block device server\n\n%s", called.c_str(), called.c_str(),
                help_text(kOptions).c_str());
}

}  // namespace

int Settings::error(const std::string& message) const {
    std::fprintf(stderr, "%s: %s\n", called.c_str(), message.c_str());
    return 1;
}

std::optional<int> parse(int argc, char** argv, Settings& s) {
    const std::string_view path = argv[0];
    s.called = path.substr(path.rfind('/') + 1);
    const auto parsed = parse_options(kOptions, {argv, static_cast<size_t>(argc)});
    if (!parsed) {
        s.error(parsed.error().message);
        return s.error("Try `" + s.called + " --help' for more information.");
    }
    bool has_port = false, has_bind = false, has_socket = false, seen_cache = false;
    s.address.port = "10809";
    for (const auto& [key, value] : parsed->options) {
        const auto number = [&](uint64_t most, const char* what) -> std::optional<uint64_t> {
            const auto n = parse_size(value);
            if (n && *n <= most) return *n;
            s.error(std::string("Invalid ") + what + " '" + value + "'");
            return std::nullopt;
        };
        if (key == "help") return print_help(s.called), 0;
        if (key == "version") {
            std::printf("%s 7.2.0 (Myna 0.1)\n", s.called.c_str());
            return 0;
        }
        if (key == "port") {
            const auto n = number(65535, "port");
            if (!n) return 1;
            s.address.port = value;
            has_port = true;
        } else if (key == "bind") s.address.host = value, has_bind = true;
        else if (key == "socket") {
            if (value.empty() || value[0] != '/') return s.error("socket path must be absolute");
            s.address.kind = net::Address::Kind::kUnix;
            s.address.path = value;
            has_socket = true;
        } else if (key == "shared") {
            const auto n = number(INT32_MAX, "shared device number");
            if (!n) return 1;
            s.shared = static_cast<unsigned>(*n);
        } else if (key == "persistent") s.persistent = true;
        else if (key == "verbose") s.verbose = true;
        else if (key == "export-name") {
            if (value.size() > 4096) return s.error("export name '" + value + "' too long");
            s.name = value;
        } else if (key == "description") {
            if (value.size() > 4096) return s.error("export description '" + value + "' too long");
            s.description = value;
        } else if (key == "offset") {
            const auto n = number(INT64_MAX, "offset");
            if (!n) return 1;
            s.offset = *n;
        } else if (key == "allocation-depth") s.allocation_depth = true;
        else if (key == "bitmap") s.bitmaps.push_back(value);
        else if (key == "list") s.list = true;
        else if (key == "object") s.objects.push_back(value);
        else if (key == "tls-creds") s.tls_creds = value;
        else if (key == "tls-authz") s.tls_authz = value;
        else if (key == "tls-hostname") s.address.host = s.address.host.empty() ? value : s.address.host, s.image.name = value;
        else if (key == "trace" || key == "selinux-label") return s.error("--" + key + " is not supported");
        else if (key == "fork") s.fork = true;
        else if (key == "pid-file") s.pid_file = value;
        else if (key == "connect") s.connect = value;
        else if (key == "disconnect") s.disconnect = value;
        else if (key == "format") s.image.format = value;
        else if (key == "read-only") s.image.read_only = true;
        else if (key == "snapshot") s.image.snapshot = true;
        else if (key == "load-snapshot") s.image.load_snapshot = value, s.image.read_only = true;
        else if (key == "nocache" || key == "cache") {
            if (seen_cache) return s.error("-n and --cache can only be specified once");
            seen_cache = true;
            s.image.cache = key == "nocache" ? "none" : value;
            block::OpenOptions o;
            if (!set_cache_mode(o, s.image.cache)) return s.error("Invalid cache mode `" + value + "'");
        } else if (key == "aio") {
            s.image.aio = value;
            if (value == "threads") s.aio = io::Aio::kThreads;
            else if (value == "io_uring") s.aio = io::Aio::kUring;
            else if (value != "native") return s.error("invalid aio mode `" + value + "'");
        } else if (key == "discard") {
            if (value != "ignore" && value != "off" && value != "unmap" && value != "on") return s.error("Invalid discard mode `" + value + "'");
            s.image.discard = value;
        } else if (key == "detect-zeroes") {
            if (value != "off" && value != "on" && value != "unmap") return s.error("Failed to parse detect_zeroes mode: invalid parameter value: " + value);
            s.image.detect_zeroes = value;
        } else if (key == "image-opts") s.image.image_opts = true;
    }
    if (has_socket && (has_port || has_bind)) return s.error("Unix socket can't be used with port or address options");
    if (s.list) {
        if (!parsed->rest.empty()) return s.error("List mode is incompatible with a file name");
        if (!s.name.empty() || !s.description.empty() || s.offset != 0 || s.image.read_only || !s.connect.empty() || !s.disconnect.empty() || s.fork)
            return s.error("List mode is incompatible with per-device settings");
        if (s.address.host.empty()) s.address.host = "localhost";
        return std::nullopt;
    }
    if (!s.disconnect.empty()) return std::nullopt;
    if (parsed->rest.size() != 1) {
        s.error("Invalid number of arguments");
        std::fprintf(stderr, "Try `%s --help' for more information.\n", s.called.c_str());
        return 1;
    }
    s.image.name = parsed->rest[0];
    // Under its own name it keeps images small: what guests zero becomes holes. qemu-nbd does as it is told.
    if (s.image.detect_zeroes.empty() && s.called != "qemu-nbd") s.image.detect_zeroes = s.image.discard == "ignore" || s.image.discard == "off" ? "on" : "unmap";
    if (s.image.image_opts && !s.image.format.empty()) return s.error("--image-opts and -f are mutually exclusive");
    if (!s.tls_authz.empty() && s.tls_creds.empty()) return s.error("--tls-authz is not permitted without --tls-creds");
    if (!s.tls_creds.empty() && !s.connect.empty()) return s.error("TLS is not supported with a host device");
    if (s.image.image_opts && s.image.snapshot) return s.error("--snapshot needs a file name, not --image-opts");
    return std::nullopt;
}

int main_program(int argc, char** argv) {
    Settings s;
    if (const auto code = parse(argc, argv, s)) return *code;
    if (s.list) return list(s);
    if (!s.disconnect.empty()) return disconnect(s);
    return serve(s);
}

}  // namespace myna::tools::nbd
