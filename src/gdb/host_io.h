// vFile packets: gdb reads the program and its libraries through the stub, so that it needs no copy of the sysroot.
//
//   vFile:open:hexpath,flags,mode ─▶ F fd     vFile:pread:fd,count,offset ─▶ F count;data     close, fstat, readlink …
//
// Source: the gdb manual, appendix E.7 "Host I/O Packets".
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace myna::gdb {

class HostIo {
  public:
    /// `map`: where a path of the guest's is on the host.
    explicit HostIo(std::function<std::string(const std::string&)> map) : map_(std::move(map)) {}
    ~HostIo();
    HostIo(const HostIo&) = delete;
    HostIo& operator=(const HostIo&) = delete;

    /// The answer to "vFile:" + `operation`; "" when it is not known.
    std::string handle(std::string_view operation);

  private:
    [[nodiscard]] bool ours(int fd) const;

    std::function<std::string(const std::string&)> map_;
    std::vector<int> fds_;
};

}  // namespace myna::gdb
