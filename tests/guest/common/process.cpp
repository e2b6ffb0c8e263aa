#include "guest/common/process.h"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <stdexcept>

extern char** environ;

namespace myna::test {

ProcessResult run_process(const std::vector<std::string>& argv, const std::string& input) {
    // Input and output through files: nothing can block.
    const TempFile in(input), out(""), err("");
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, in.path().c_str(), O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, 1, out.path().c_str(), O_WRONLY | O_TRUNC, 0);
    posix_spawn_file_actions_addopen(&actions, 2, err.path().c_str(), O_WRONLY | O_TRUNC, 0);
    std::vector<char*> args;
    for (const std::string& a : argv) args.push_back(const_cast<char*>(a.c_str()));
    args.push_back(nullptr);
    ProcessResult r;
    pid_t pid = 0;
    const int failed = posix_spawnp(&pid, args[0], &actions, nullptr, args.data(), environ);
    posix_spawn_file_actions_destroy(&actions);
    if (failed) return r;
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {}
    r.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    const auto slurp = [](const std::string& path) {
        std::string s;
        const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
        struct stat st{};
        if (fd < 0 || fstat(fd, &st) < 0) return s;
        s.resize(static_cast<size_t>(st.st_size));
        if (read(fd, s.data(), s.size()) != static_cast<ssize_t>(s.size())) s.clear();
        close(fd);
        return s;
    };
    r.out = slurp(out.path());
    r.err = slurp(err.path());
    return r;
}

bool have_program(const std::string& name) {
    std::string path = getenv("PATH") ? getenv("PATH") : "";
    path += ':';
    for (size_t at = 0, end; (end = path.find(':', at)) != std::string::npos; at = end + 1)
        if (access((path.substr(at, end - at) + "/" + name).c_str(), X_OK) == 0) return true;
    return false;
}

TempFile::TempFile(const std::string& contents, bool executable) {
    const char* dir = getenv("TMPDIR");
    path_ = std::string(dir ? dir : "/tmp") + "/myna-test-XXXXXX";
    const int fd = mkostemp(path_.data(), O_CLOEXEC);
    if (fd < 0) throw std::runtime_error("cannot create " + path_);
    for (size_t at = 0; at < contents.size();) {
        const ssize_t n = write(fd, contents.data() + at, contents.size() - at);
        if (n <= 0) throw std::runtime_error("cannot write " + path_);
        at += static_cast<size_t>(n);
    }
    if (executable && fchmod(fd, 0700) < 0) throw std::runtime_error("cannot chmod " + path_);
    close(fd);
}
TempFile::~TempFile() { unlink(path_.c_str()); }

}  // namespace myna::test
