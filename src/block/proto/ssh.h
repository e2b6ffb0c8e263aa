// The ssh protocol driver: a file of another machine as a node, by SFTP (draft-ietf-secsh-filexfer-02, as OpenSSH has it).
//
//   ssh://[USER@]HOST[:PORT]/PATH[?host_key_check=yes|no|md5:HEX|sha1:HEX|sha256:HEX]
//   driver=ssh,server.host=…,server.port=…,path=…,user=…,host-key-check.mode=none|known_hosts|hash,
//   host-key-check.type=md5|sha1|sha256,host-key-check.hash=HEX
//
// Keys come from the agent and ~/.ssh, as ssh finds them; ~/.ssh/config is read. No password is asked for.
#pragma once

#include "block/graph/driver.h"

namespace myna::block {

extern const Driver kSshDriver;

}  // namespace myna::block
