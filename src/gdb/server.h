// The remote serial protocol over one connection to gdb, independent of what is debugged.
//
//   packet ─▶ Server::handle ─▶ Target        stop ─▶ stop reply ─▶ gdb
//
// One connection at a time; all of it runs on the thread that calls serve(). What was agreed with gdb is in Session, so
// that a forked child or the program after an exec can go on with the same connection.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "gdb/host_io.h"
#include "gdb/packet.h"
#include "gdb/target.h"

namespace myna::gdb {

/// What gdb and we agreed on.
struct Session {
    bool no_ack = false, multiprocess = false, swbreak = false, hwbreak = false;
    bool fork_events = false, vfork_events = false, exec_events = false;
    uint64_t passed_signals = 0;
    std::optional<std::vector<uint64_t>> caught_calls;

    [[nodiscard]] std::string text() const;
    static Session parse(std::string_view text);
};

class Server {
  public:
    Server(Target& target, int fd, const Session& session);

    enum class End : uint8_t {
        kDetached,  // gdb let the process go
        kGone,      // the connection broke
        kOver,      // the process has ended, or is being killed
        kReleased,  // the connection is somebody else's now (release())
    };
    /// Serves until the connection ends. `running`: gdb waits for a stop reply (a connection that was taken over).
    End serve(bool running);

    /// Ends serve() with kReleased after the packet at hand; gives the descriptor. From Target functions.
    int release();
    [[nodiscard]] const Session& session() const noexcept { return session_; }

  private:
    void handle(std::string_view packet);
    void reply(std::string_view text);
    void reply_ok() { reply("OK"); }
    void reply_error(int code = 1);
    void report(const Stop& s);

    void query(Reader r);
    void set(Reader r);
    void verb(Reader r);
    void supported(Reader r);
    void transfer(Reader r);
    void caught(Reader r);
    void passed(Reader r);
    void resume_all(bool step, int signal);
    void vcont(Reader r);
    void registers(Reader r);
    void write_registers(Reader r);
    void one_register(Reader r, bool write);
    void memory(Reader r, char kind);
    void point(Reader r, bool insert);
    void detach(Reader r);
    void select(Reader r);

    std::optional<ThreadId> thread_id(Reader& r) const;
    [[nodiscard]] std::string name(ThreadId id) const;
    /// The thread that g, m and their kin mean.
    [[nodiscard]] ThreadId general() const;
    [[nodiscard]] std::string slice(const std::string& all, Reader& r) const;
    [[nodiscard]] std::string threads_xml() const;

    Target& target_;
    Connection connection_;
    Session session_;
    HostIo files_;
    ThreadId general_{0, 0}, continue_{0, 0};
    std::optional<Stop> last_;
    bool running_ = false;
    std::optional<End> end_;
};

}  // namespace myna::gdb
