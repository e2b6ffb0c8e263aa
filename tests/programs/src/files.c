// Files and descriptors: every common way to make, read, change, list and lock them, and to wait for them.
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/utsname.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "test.h"

static int by_name(const struct dirent** a, const struct dirent** b) { return strcmp((*a)->d_name, (*b)->d_name); }

int main(void) {
    char folder[] = "/tmp/files-test-XXXXXX";
    CHECK(mkdtemp(folder) && chdir(folder) == 0);
    umask(022);
    int fd = open("a", O_CREAT | O_EXCL | O_RDWR, 0644);
    CHECK(fd >= 0 && open("a", O_CREAT | O_EXCL | O_RDWR, 0644) == -1 && errno == EEXIST);
    CHECK(write(fd, "hello, file\n", 12) == 12 && pwrite(fd, "J", 1, 0) == 1 && lseek(fd, 100, SEEK_SET) == 100 && write(fd, "end", 3) == 3);
    struct stat st;
    CHECK(fstat(fd, &st) == 0 && st.st_size == 103 && S_ISREG(st.st_mode) && (st.st_mode & 0777) == 0644 && st.st_nlink == 1);
    char buffer[128] = "";
    CHECK(pread(fd, buffer, 12, 0) == 12 && memcmp(buffer, "Jello, file\n", 12) == 0);
    struct iovec parts[3] = {{buffer, 2}, {buffer + 10, 5}, {buffer + 20, 4}};
    CHECK(preadv(fd, parts, 3, 0) == 11 && memcmp(buffer + 10, "llo, ", 5) == 0);
    CHECK(lseek(fd, 0, SEEK_END) == 103 && writev(fd, parts, 3) == 11 && ftruncate(fd, 50) == 0 && fstat(fd, &st) == 0 && st.st_size == 50);
    CHECK(link("a", "b") == 0 && symlink("b", "c") == 0 && stat("c", &st) == 0 && st.st_nlink == 2 && lstat("c", &st) == 0 && S_ISLNK(st.st_mode));
    CHECK(readlink("c", buffer, sizeof buffer) == 1 && buffer[0] == 'b');
    CHECK(mkdir("d", 0755) == 0 && rename("b", "d/e") == 0 && access("b", F_OK) == -1 && errno == ENOENT && rmdir("d") == -1 && errno == ENOTEMPTY);
    int dir = open("d", O_DIRECTORY | O_RDONLY);
    CHECK(dir >= 0 && fstatat(dir, "e", &st, 0) == 0 && faccessat(dir, "e", R_OK, 0) == 0 && mkdirat(dir, "sub", 0700) == 0);
    for (int i = 0; i < 300; i++) {
        snprintf(buffer, sizeof buffer, "d/sub/file-%03d", i);
        int one = open(buffer, O_CREAT | O_WRONLY, 0600);
        CHECK(one >= 0 && close(one) == 0);
    }
    struct dirent** names;
    int n = scandir("d/sub", &names, NULL, by_name);
    printf("%d names, %s to %s\n", n, names[2]->d_name, names[n - 1]->d_name);
    struct timespec times[2] = {{1000000000, 123456789}, {1234567890, 987654321}};
    CHECK(utimensat(AT_FDCWD, "a", times, 0) == 0 && stat("a", &st) == 0 && st.st_mtim.tv_sec == 1234567890 && st.st_mtim.tv_nsec == 987654321);
    struct statx sx;
    CHECK(statx(AT_FDCWD, "a", 0, STATX_BASIC_STATS, &sx) == 0 && sx.stx_size == 50 && sx.stx_mtime.tv_sec == 1234567890);
    CHECK(chmod("a", 0400) == 0 && stat("a", &st) == 0 && (st.st_mode & 07777) == 0400);
    struct statfs fs;
    CHECK(statfs(".", &fs) == 0 && fs.f_bsize > 0);
    int copy = dup(fd);
    CHECK(copy > fd && fcntl(copy, F_GETFD) == 0 && fcntl(copy, F_SETFD, FD_CLOEXEC) == 0 && fcntl(copy, F_GETFD) == FD_CLOEXEC);
    CHECK((fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDWR && dup3(fd, 100, O_CLOEXEC) == 100 && fcntl(100, F_GETFD) == FD_CLOEXEC);
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 10};
    CHECK(fcntl(fd, F_SETLK, &lock) == 0 && flock(fd, LOCK_EX | LOCK_NB) == 0);
    int out = open("out", O_CREAT | O_RDWR, 0600);
    off_t offset = 0;
    CHECK(sendfile(out, fd, &offset, 50) == 50 && offset == 50 && lseek(out, 0, SEEK_CUR) == 50);
    CHECK(copy_file_range(fd, &(off_t){0}, out, NULL, 20, 0) == 20 && posix_fallocate(out, 0, 1000) == 0 && fstat(out, &st) == 0 && st.st_size == 1000);
    CHECK(syncfs(out) == 0 && fdatasync(out) == 0);
    CHECK(unlinkat(dir, "e", 0) == 0 && getcwd(buffer, sizeof buffer) && strcmp(buffer, folder) == 0);

    int p[2], s[2];
    CHECK(pipe2(p, O_NONBLOCK) == 0 && read(p[0], buffer, 1) == -1 && errno == EAGAIN);
    int waiting = epoll_create1(EPOLL_CLOEXEC), event = eventfd(3, EFD_NONBLOCK | EFD_SEMAPHORE), timer = timerfd_create(CLOCK_MONOTONIC, 0);
    for (int i = 0; i < 3; i++) {
        int which = (int[]){p[0], event, timer}[i];
        struct epoll_event e = {.events = EPOLLIN, .data.u64 = 0x100000000ull + (uint64_t)i};
        CHECK(epoll_ctl(waiting, EPOLL_CTL_ADD, which, &e) == 0);
    }
    struct epoll_event events[4];
    CHECK(epoll_wait(waiting, events, 4, 0) == 1 && events[0].data.u64 == 0x100000001ull);
    uint64_t count;
    for (int i = 0; i < 3; i++) CHECK(read(event, &count, 8) == 8 && count == 1);
    CHECK(read(event, &count, 8) == -1 && epoll_wait(waiting, events, 4, 10) == 0);
    struct itimerspec soon = {{0, 0}, {0, 20000000}};
    CHECK(timerfd_settime(timer, 0, &soon, NULL) == 0 && epoll_wait(waiting, events, 4, 2000) == 1 && events[0].data.u64 == 0x100000002ull);
    CHECK(read(timer, &count, 8) == 8 && count == 1 && write(p[1], "abc", 3) == 3);
    int available = 0;
    CHECK(ioctl(p[0], FIONREAD, &available) == 0 && available == 3);
    struct pollfd polls[2] = {{p[0], POLLIN, 0}, {p[1], POLLOUT, 0}};
    CHECK(poll(polls, 2, 100) == 2 && polls[0].revents == POLLIN && polls[1].revents == POLLOUT);
    fd_set set;
    FD_ZERO(&set);
    FD_SET(p[0], &set);
    struct timeval wait = {1, 0};
    CHECK(select(p[0] + 1, &set, NULL, NULL, &wait) == 1 && FD_ISSET(p[0], &set));

    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, s) == 0);
    char control[CMSG_SPACE(sizeof(int))] = {0};
    struct iovec byte = {"x", 1};
    struct msghdr message = {.msg_iov = &byte, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    struct cmsghdr* c = CMSG_FIRSTHDR(&message);
    c->cmsg_level = SOL_SOCKET, c->cmsg_type = SCM_RIGHTS, c->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(c), &out, sizeof out);
    CHECK(sendmsg(s[0], &message, 0) == 1);
    char one;
    struct iovec into = {&one, 1};
    memset(control, 0, sizeof control);
    struct msghdr reply = {.msg_iov = &into, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    CHECK(recvmsg(s[1], &reply, 0) == 1 && (c = CMSG_FIRSTHDR(&reply)) && c->cmsg_type == SCM_RIGHTS);
    int passed;
    memcpy(&passed, CMSG_DATA(c), sizeof passed);
    CHECK(passed != out && fstat(passed, &st) == 0 && st.st_size == 1000);
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "socket"};
    int server = socket(AF_UNIX, SOCK_STREAM, 0), client = socket(AF_UNIX, SOCK_STREAM, 0);
    CHECK(bind(server, (struct sockaddr*)&address, sizeof address) == 0 && listen(server, 1) == 0 && connect(client, (struct sockaddr*)&address, sizeof address) == 0);
    int peer = accept4(server, NULL, NULL, SOCK_CLOEXEC);
    CHECK(peer >= 0 && send(client, "ping", 4, MSG_NOSIGNAL) == 4 && recv(peer, buffer, 10, 0) == 4);
    int size = 0;
    socklen_t length = sizeof size;
    CHECK(getsockopt(client, SOL_SOCKET, SO_TYPE, &size, &length) == 0 && size == SOCK_STREAM && shutdown(client, SHUT_WR) == 0 && recv(peer, buffer, 10, 0) == 0);
    struct utsname system;
    CHECK(uname(&system) == 0 && strcmp(system.sysname, "Linux") == 0);
    CHECK(system.machine[0] && chdir("/") == 0);
    for (int i = 2; i < n; i++) {
        snprintf(buffer, sizeof buffer, "%s/d/sub/%s", folder, names[i]->d_name);
        CHECK(unlink(buffer) == 0);
    }
    static const char* const left[] = {"d/sub", "d", "a", "c", "out", "socket"};
    for (unsigned i = 0; i < sizeof left / sizeof left[0]; i++) {
        snprintf(buffer, sizeof buffer, "%s/%s", folder, left[i]);
        CHECK(remove(buffer) == 0);
    }
    CHECK(rmdir(folder) == 0);
    puts("ok");
    return 0;
}
