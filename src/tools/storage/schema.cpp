// What clients are told of commands (query-qmp-schema), and which options each block driver has.
#include <algorithm>

#include "block/graph/driver.h"
#include "block/graph/graph.h"
#include "tools/storage/daemon.h"

namespace myna::tools::storage {

namespace {

#define MYNA_URL "url:str ?readahead:int ?timeout:int ?username:str ?password-secret:str ?proxy-username:str ?proxy-password-secret:str"

/// The options of each driver beyond the general ones (qmp/schema.h says how they are written).
struct DriverRow {
    std::string_view driver, members;
};
constexpr DriverRow kDrivers[] = {
    {"file", "filename:str ?locking:auto|on|off ?aio:threads|native|io_uring"},
    {"host_device", "filename:str ?locking:auto|on|off ?aio:threads|native|io_uring"},
    {"host_cdrom", "filename:str ?locking:auto|on|off ?aio:threads|native|io_uring"},
    {"null-co", "?size:int ?latency-ns:int ?read-zeroes:bool"},
    {"null-aio", "?size:int ?latency-ns:int ?read-zeroes:bool"},
    {"nbd", "server:SocketAddress ?export:str ?tls-creds:str ?tls-hostname:str ?reconnect-delay:int ?open-timeout:int"},
    {"http", MYNA_URL " ?cookie:str ?cookie-secret:str"},
    {"https", MYNA_URL " ?cookie:str ?cookie-secret:str ?sslverify:bool"},
    {"ftp", MYNA_URL},
    {"ftps", MYNA_URL " ?sslverify:bool"},
    {"ssh", "server:InetSocketAddress path:str ?user:str ?host-key-check:SshHostKeyCheck"},
    {"raw", "file:BlockdevRef ?offset:int ?size:int"},
    {"qcow2", "file:BlockdevRef ?backing:BlockdevRefOrNull ?data-file:BlockdevRef ?encrypt:{format:aes|luks / format aes={?key-secret:str} luks={?key-secret:str}}"},
    {"qcow", "file:BlockdevRef ?backing:BlockdevRefOrNull ?encrypt:{format:=aes / format aes={?key-secret:str}}"},
    {"luks", "file:BlockdevRef ?key-secret:str"},
    {"throttle", "throttle-group:str file:BlockdevRef"},
    {"blkdebug", "image:BlockdevRef ?config:str ?align:int ?max-transfer:int ?inject-error:[BlkdebugInjectErrorOptions] ?set-state:[BlkdebugSetStateOptions]"},
    {"blkverify", "test:BlockdevRef raw:BlockdevRef"},
    {"quorum", "?blkverify:bool children:[BlockdevRef] vote-threshold:int ?rewrite-corrupted:bool ?read-pattern:quorum|fifo"},
};
#undef MYNA_URL

constexpr std::string_view kTypes[][2] = {
    {"OnError", "report|ignore|enospc|stop"},
    {"MirrorSyncMode", "top|full|none|incremental|bitmap"},
    {"JobStatus", "undefined|created|running|paused|ready|standby|waiting|pending|aborting|concluded|null"},
    {"JobType", "commit|stream|mirror|backup|create"},
    {"Detect", "off|on|unmap"},
    {"Cache", "{?direct:bool ?no-flush:bool}"},
    {"BitmapRef", "<str {node:str name:str}>"},
    {"BlockdevRef", "<BlockdevOptions str>"},
    {"BlockdevRefOrNull", "<BlockdevOptions str null>"},
    {"InetSocketAddress", "{host:str port:str ?ipv4:bool ?ipv6:bool}"},
    {"UnixSocketAddress", "{path:str ?abstract:bool}"},
    {"SocketKind", "inet|unix|fd"},
    {"SocketAddress", "{type:SocketKind / type inet=InetSocketAddress unix=UnixSocketAddress fd={str:str}}"},
    {"SocketAddressLegacy", "{type:SocketKind / type inet={data:InetSocketAddress} unix={data:UnixSocketAddress} fd={data:{str:str}}}"},
    {"SshHostKeyKind", "none|hash|known_hosts"},
    {"SshHostKeyCheck", "{mode:SshHostKeyKind / mode hash={type:md5|sha1|sha256 hash:str}}"},
    {"ThrottleLimits", "{?bps-total:int ?bps-read:int ?bps-write:int ?iops-total:int ?iops-read:int ?iops-write:int ?bps-total-max:int ?bps-read-max:int ?bps-write-max:int ?iops-total-max:int "
                       "?iops-read-max:int ?iops-write-max:int ?bps-total-max-length:int ?bps-read-max-length:int ?bps-write-max-length:int ?iops-total-max-length:int ?iops-read-max-length:int "
                       "?iops-write-max-length:int ?iops-size:int}"},
    {"BlkdebugEvent", "l1_update|l2_load|l2_update|refblock_load|refblock_update|reftable_update|cluster_alloc|cluster_free|read_aio|write_aio|read_compressed|write_compressed|flush_to_os|flush_to_disk|none"},
    {"BlkdebugInjectErrorOptions", "{event:BlkdebugEvent ?state:int ?iotype:read|write|write-zeroes|discard|flush|block-status ?errno:int ?sector:int ?once:bool}"},
    {"BlkdebugSetStateOptions", "{event:BlkdebugEvent ?state:int new_state:int}"},
    {"BlockDirtyInfo", "{?name:str count:int granularity:int recording:bool busy:bool persistent:bool ?inconsistent:bool}"},
    {"SnapshotInfo", "{id:str name:str vm-state-size:int date-sec:int date-nsec:int vm-clock-sec:int vm-clock-nsec:int}"},
    {"ImageInfo", "{filename:str format:str ?dirty-flag:bool ?actual-size:int virtual-size:int ?cluster-size:int ?encrypted:bool ?compressed:bool ?backing-filename:str ?full-backing-filename:str "
                  "?backing-filename-format:str ?snapshots:[SnapshotInfo] ?backing-image:ImageInfo}"},
    {"BlockDeviceInfo", "{file:str ?node-name:str ro:bool drv:str ?backing_file:str backing_file_depth:int encrypted:bool detect_zeroes:Detect bps:int bps_rd:int bps_wr:int iops:int iops_rd:int iops_wr:int "
                        "image:ImageInfo cache:{writeback:bool direct:bool no-flush:bool} write_threshold:int ?dirty-bitmaps:[BlockDirtyInfo]}"},
    {"BlockInfo", "{device:str type:str removable:bool locked:bool ?inserted:BlockDeviceInfo}"},
    {"JobInfo", "{id:str type:JobType status:JobStatus current-progress:int total-progress:int ?error:str}"},
    {"BlockJobInfo", "{type:str device:str len:int offset:int busy:bool paused:bool speed:int io-status:ok|failed|nospace ready:bool status:JobStatus auto-finalize:bool auto-dismiss:bool ?error:str}"},
    {"BlockExportType", "nbd|fuse"},
    {"BlockExportOptions", "{type:BlockExportType id:str node-name:str ?writable:bool ?iothread:str / type nbd={?name:str ?description:str ?bitmaps:[BitmapRef] ?allocation-depth:bool} "
                           "fuse={mountpoint:str ?growable:bool ?allow-other:off|on|auto}}"},
    {"ObjectType", "authz-simple|iothread|secret|throttle-group|tls-creds-anon|tls-creds-psk|tls-creds-x509"},
    {"TlsEndpoint", "client|server"},
    {"ObjectOptions", "{qom-type:ObjectType id:str / qom-type authz-simple={identity:str} secret={?data:str ?file:str ?format:raw|base64 ?keyid:str ?iv:str} iothread={?poll-max-ns:int ?poll-grow:int ?poll-shrink:int ?aio-max-batch:int ?thread-pool-min:int ?thread-pool-max:int} throttle-group={?limits:ThrottleLimits} "
                      "tls-creds-anon={?endpoint:TlsEndpoint ?dir:str} tls-creds-psk={?endpoint:TlsEndpoint ?dir:str ?username:str} tls-creds-x509={?endpoint:TlsEndpoint ?dir:str ?verify-peer:bool}}"},
    {"ObjectPropertyInfo", "{name:str type:str ?description:str ?default-value:any}"},
    {"BlockJobEvent", "{type:JobType device:str len:int offset:int speed:int}"},
};

constexpr std::string_view kResults[][2] = {
    {"query-version", "{qemu:{major:int minor:int micro:int} package:str}"},
    {"query-commands", "[{name:str}]"},
    {"query-named-block-nodes", "[BlockDeviceInfo]"},
    {"query-block", "[BlockInfo]"},
    {"query-jobs", "[JobInfo]"},
    {"query-block-jobs", "[BlockJobInfo]"},
    {"query-block-exports", "[{id:str type:BlockExportType node-name:str shutting-down:bool}]"},
    {"blockdev-snapshot-delete-internal-sync", "SnapshotInfo"},
    {"query-qmp-schema", "[SchemaInfo]"},
    {"qom-list", "[ObjectPropertyInfo]"},
    {"qom-list-properties", "[ObjectPropertyInfo]"},
    {"qom-list-types", "[{name:str ?abstract:bool ?parent:str}]"},
    {"qom-get", "any"},
};

constexpr std::string_view kEvents[][2] = {
    {"BLOCK_EXPORT_DELETED", "{id:str}"},
    {"BLOCK_JOB_CANCELLED", "BlockJobEvent"},
    {"BLOCK_JOB_COMPLETED", "{type:JobType device:str len:int offset:int speed:int ?error:str}"},
    {"BLOCK_JOB_ERROR", "{device:str operation:read|write action:ignore|report|stop}"},
    {"BLOCK_JOB_PENDING", "{type:JobType id:str}"},
    {"BLOCK_JOB_READY", "BlockJobEvent"},
    {"JOB_STATUS_CHANGE", "{id:str status:JobStatus}"},
};

/// What blockdev-create takes for an image of the driver.
std::string create_members(const block::Driver& d) {
    if (d.name == "ssh") return "location:{server:InetSocketAddress path:str ?user:str ?host-key-check:SshHostKeyCheck} size:int";
    std::string out = d.kind == block::Driver::Kind::kProtocol ? "filename:str size:int" : "file:str size:int";
    if (d.supports_backing) out += " ?backing-file:str ?backing-fmt:str";
    for (const auto& o : d.create_options) {
        std::string name(o.name);
        std::ranges::replace(name, '_', '-');
        if (name == "size" || name == "backing-file" || name == "backing-fmt" || name == "compat" || name == "encryption" || name.find('.') != std::string::npos) continue;
        using C = decltype(o.type);
        out += " ?" + name + ":" + (o.type == C::kBool ? "bool" : o.type == C::kSize || o.type == C::kNumber ? "int" : "str");
    }
    return out;
}

}  // namespace

std::string members_of_driver(const block::Driver& driver) {
    for (const DriverRow& r : kDrivers)
        if (r.driver == driver.name) return std::string(r.members);
    return driver.supports_backing ? "file:BlockdevRef ?backing:BlockdevRefOrNull" : "file:BlockdevRef";
}

bool checks_members_of(std::string_view driver) {
    return std::ranges::any_of(kDrivers, [&](const DriverRow& r) { return r.driver == driver; });
}

void Daemon::describe_commands() {
    for (const auto& [name, type] : kTypes) commands.define(std::string(name), std::string(type));
    std::string names, variants, creatable, created;
    for (const block::Driver* d : block::all_drivers()) {
        const std::string name(d->name);
        names += (names.empty() ? "" : "|") + name;
        variants += " " + name + "={" + members_of_driver(*d) + "}";
        if (d->create == nullptr) continue;
        creatable += (creatable.empty() ? "" : "|") + name;
        created += " " + name + "={" + create_members(*d) + "}";
    }
    commands.define("BlockdevDriver", names);
    commands.define("BlockdevOptions", "{driver:BlockdevDriver ?node-name:str ?discard:ignore|unmap ?cache:Cache ?read-only:bool ?auto-read-only:bool ?force-share:bool ?detect-zeroes:Detect / driver" + variants + "}");
    commands.define("BlockdevCreateDriver", creatable);
    commands.define("BlockdevCreateOptions", "{driver:BlockdevCreateDriver / driver" + created + "}");
    commands.define("SchemaMetaType", "builtin|enum|array|object|alternate|command|event");
    commands.define("SchemaInfo", "{name:str meta-type:SchemaMetaType / meta-type builtin={json-type:string|number|int|boolean|null|object|array|value} enum={members:[{name:str}] values:[str]} array={element-type:str} "
                                  "object={members:[{name:str type:str ?default:any}] ?tag:str ?variants:[{case:str type:str}]} alternate={members:[{type:str}]} command={arg-type:str ret-type:str} event={arg-type:str}}");
    for (const auto& [command, result] : kResults) commands.describe(std::string(command), result);
    // What is required here may be left out where there are devices.
    commands.describe("block_resize", "{}", "{?node-name:str size:int}");
    commands.describe("blockdev-snapshot-sync", "{}", "{?node-name:str snapshot-file:str ?snapshot-node-name:str ?format:str ?mode:existing|absolute-paths}");
    commands.describe("blockdev-add", "{}", "BlockdevOptions");
    commands.describe("block-export-add", "{}", "BlockExportOptions");
    commands.describe("object-add", "{}", "ObjectOptions");
    std::string kinds = "abort", data = " abort={data:{}}";
    for (const auto& [name, run] : actions_) {
        if (name == "abort") continue;
        kinds += "|" + name;
        data += " " + name + "={data:" + commands.shape(name) + "}";
    }
    commands.define("TransactionActionKind", kinds);
    commands.define("TransactionAction", "{type:TransactionActionKind / type" + data + "}");
    for (const auto& [event, members] : kEvents) commands.declare(std::string(event), members);
}

}  // namespace myna::tools::storage
