// The nbd protocol driver: an export of an NBD server as a node.
//
//   nbd://HOST[:PORT]/EXPORT · nbd+unix:///EXPORT?socket=PATH · nbd:HOST:PORT[:exportname=X] · nbd:unix:PATH[:…]
//   driver=nbd,server.type=…,server.host=…,server.port=…,server.path=…,export=…,tls-creds=…,tls-hostname=…,
//   reconnect-delay=S,open-timeout=S,x-dirty-bitmap=CONTEXT
#pragma once

#include "block/graph/driver.h"
#include "nbd/client.h"

namespace myna::block {

extern const Driver kNbdDriver;

/// What "nbd:…" names: address, export and (from the query) TLS are set.
Result<myna::nbd::ConnectOptions> parse_nbd_name(const std::string& name);

}  // namespace myna::block
