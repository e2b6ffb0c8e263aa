// The http, https, ftp and ftps protocol drivers: a file of a web or FTP server as a node, read only, by byte ranges.
//
//   http://HOST/disk.qcow2 · json:{"driver":"https","url":…}
//   driver=https,url=…,readahead=SIZE,timeout=S,sslverify=on|off,cookie=…,cookie-secret=ID,username=…,password-secret=ID,
//   proxy-username=…,proxy-password-secret=ID,force-range=on|off
#pragma once

#include "block/graph/driver.h"

namespace myna::block {

extern const Driver kHttpDriver, kHttpsDriver, kFtpDriver, kFtpsDriver;

}  // namespace myna::block
