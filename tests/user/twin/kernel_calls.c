// Calls that few programs make: message queues, System V IPC, futex_waitv, landlock, openat2, limits, perf events, userfaultfd.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <linux/perf_event.h>
#include <linux/userfaultfd.h>
#include <mqueue.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SAY(what, r)                                                    \
    do {                                                                \
        errno = 0;                                                      \
        const long r_ = (long)(r);                                      \
        printf("%s: %ld %s\n", what, r_, r_ < 0 ? strerror(errno) : ""); \
    } while (0)

static volatile int notified;
static void on_signal(int sig, siginfo_t* info, void* context) {
    (void)context;
    notified = sig == SIGUSR1 && info->si_code == SI_MESGQ ? info->si_value.sival_int : -1;
}

static void message_queues(void) {
    char name[32], text[128];
    snprintf(name, sizeof name, "/twin-%d", getpid());
    struct mq_attr attr = {.mq_maxmsg = 4, .mq_msgsize = 128};
    const mqd_t q = mq_open(name, O_CREAT | O_RDWR | O_NONBLOCK, 0600, &attr);
    SAY("mq_open", q < 0 ? -1 : 0);
    if (q < 0) return;
    struct sigaction act = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO};
    sigaction(SIGUSR1, &act, NULL);
    struct sigevent how = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1, .sigev_value.sival_int = 42};
    SAY("mq_notify", mq_notify(q, &how));
    SAY("mq_send", mq_send(q, "first", 6, 1));
    printf("notified with %d\n", notified);
    SAY("mq_send", mq_send(q, "urgent", 7, 9));
    unsigned priority = 0;
    SAY("mq_receive", mq_receive(q, text, sizeof text, &priority));
    printf("%s %u\n", text, priority);
    SAY("mq_receive", mq_receive(q, text, sizeof text, &priority));
    const struct timespec now = {0, 0};
    SAY("mq_timedreceive", mq_timedreceive(q, text, sizeof text, &priority, &now));
    struct mq_attr is;
    SAY("mq_getattr", mq_getattr(q, &is));
    printf("%ld %ld %ld\n", is.mq_maxmsg, is.mq_msgsize, is.mq_curmsgs);
    SAY("mq_unlink", mq_unlink(name));
    mq_close(q);
}

static volatile int threaded;
static void in_thread(union sigval v) { threaded = v.sival_int; }
static void notified_thread(void) {
    char name[32];
    snprintf(name, sizeof name, "/twin-%d-t", getpid());
    const mqd_t q = mq_open(name, O_CREAT | O_RDWR, 0600, NULL);
    if (q < 0) return;
    struct sigevent how = {.sigev_notify = SIGEV_THREAD, .sigev_notify_function = in_thread, .sigev_value.sival_int = 7};
    SAY("mq_notify", mq_notify(q, &how));
    mq_send(q, "x", 1, 0);
    for (int i = 0; i < 500 && !threaded; i++) usleep(10000);
    printf("thread got %d\n", threaded);
    mq_unlink(name);
    mq_close(q);
}

static void system_v(void) {
    union { int val; struct semid_ds* buf; unsigned short* array; } u;
    const int sem = semget(IPC_PRIVATE, 3, 0600);
    unsigned short values[3] = {1, 2, 3}, got[3];
    u.array = values;
    SAY("SETALL", semctl(sem, 0, SETALL, u));
    struct sembuf ops[2] = {{0, -1, 0}, {2, 4, 0}};
    SAY("semop", semop(sem, ops, 2));
    u.array = got;
    SAY("GETALL", semctl(sem, 0, GETALL, u));
    printf("%d %d %d\n", got[0], got[1], got[2]);
    struct timespec little = {0, 1000000};
    struct sembuf wait = {0, -1, 0};
    SAY("semtimedop", semtimedop(sem, &wait, 1, &little));
    struct semid_ds ds;
    u.buf = &ds;
    SAY("IPC_STAT", semctl(sem, 0, IPC_STAT, u));
    printf("%lu %o %d %d\n", (unsigned long)ds.sem_nsems, ds.sem_perm.mode, ds.sem_ctime != 0, ds.sem_otime != 0);
    SAY("IPC_RMID", semctl(sem, 0, IPC_RMID));

    const int q = msgget(IPC_PRIVATE, 0600);
    struct { long type; char text[16]; } m = {3, "three"}, n;
    SAY("msgsnd", msgsnd(q, &m, 6, 0));
    m.type = 5;
    strcpy(m.text, "five");
    SAY("msgsnd", msgsnd(q, &m, 5, 0));
    SAY("msgrcv", msgrcv(q, &n, sizeof n.text, 5, 0));
    printf("%ld %s\n", n.type, n.text);
    struct msqid_ds ms;
    SAY("msgctl", msgctl(q, IPC_STAT, &ms));
    printf("%lu %lu %d\n", (unsigned long)ms.msg_qnum, (unsigned long)ms.msg_cbytes, ms.msg_stime != 0);
    SAY("msgrcv", msgrcv(q, &n, 2, 0, 0));
    SAY("msgrcv", msgrcv(q, &n, sizeof n.text, 0, IPC_NOWAIT | MSG_NOERROR));
    SAY("msgrcv", msgrcv(q, &n, sizeof n.text, 0, IPC_NOWAIT));
    msgctl(q, IPC_RMID, NULL);

    const int shm = shmget(IPC_PRIVATE, 8192, 0600);
    char *a = shmat(shm, NULL, 0), *b = shmat(shm, (void*)0x30000000, 0);
    printf("shmat %d %d\n", a != (void*)-1, b == (void*)0x30000000);
    a[5000] = 'q';
    printf("%c\n", b[5000]);
    SAY("shmat", (long)shmat(shm, (void*)0x30000010, 0) == -1 ? -1 : 0);
    SAY("shmat", (long)shmat(shm, (void*)0x30000010, SHM_RND) == -1 ? -1 : 0);
    struct shmid_ds sd;
    SAY("shmctl", shmctl(shm, IPC_STAT, &sd));
    printf("%lu %lu\n", (unsigned long)sd.shm_segsz, (unsigned long)sd.shm_nattch);
    SAY("shmdt", shmdt(b));
    shmctl(shm, IPC_RMID, NULL);
    if (fork() == 0) _exit(a[5000] == 'q' ? 0 : 1);
    int status;
    wait4(-1, &status, 0, NULL);
    printf("in a child %d\n", status);
    SAY("shmdt", shmdt(a));
}

struct waiter { unsigned long val, uaddr; unsigned flags, reserved; };
static unsigned words[2];
static void* wake(void* p) {
    usleep(50000);
    words[1] = 1;
    for (int i = 0; i < 500 && !syscall(SYS_futex, &words[1], 1 | 128, 1, NULL, NULL, 0); i++) usleep(10000);
    return p;
}
static void futexes(void) {
    struct waiter w[2] = {{0, (unsigned long)&words[0], 2 | 128, 0}, {0, (unsigned long)&words[1], 2 | 128, 0}};
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    SAY("futex_waitv", syscall(449, w, 2, 0, &until, CLOCK_MONOTONIC));
    w[1].val = 9;
    SAY("futex_waitv", syscall(449, w, 2, 0, &until, CLOCK_MONOTONIC));
    w[1].val = 0;
    until.tv_sec += 20;
    pthread_t t;
    pthread_create(&t, NULL, wake, NULL);
    SAY("futex_waitv", syscall(449, w, 2, 0, &until, CLOCK_MONOTONIC));
    pthread_join(t, NULL);
    w[0].uaddr = 16;
    SAY("futex_waitv", syscall(449, w, 2, 0, &until, CLOCK_MONOTONIC));
    SAY("futex_waitv", syscall(449, w, 1000, 0, &until, CLOCK_MONOTONIC));
}

static void paths(void) {
    struct { unsigned long flags, mode, resolve; } how = {O_DIRECTORY, 0, 0};
    const long root = syscall(437, AT_FDCWD, "/usr", &how, sizeof how);
    SAY("openat2", root < 0 ? -1 : 0);
    how.resolve = 8;  // RESOLVE_BENEATH
    SAY("openat2", syscall(437, root, "../etc", &how, sizeof how));
    how.flags = O_DIRECTORY | O_CREAT;
    SAY("openat2", syscall(437, root, "x", &how, sizeof how));
    how.flags = O_DIRECTORY;
    how.resolve = 1ul << 40;
    SAY("openat2", syscall(437, root, "lib", &how, sizeof how));
    SAY("openat2", syscall(437, root, "lib", &how, 10));
}

static void limits(void) {
    if (fork() == 0) {
        struct rlimit l = {64 << 20, 64 << 20}, got;
        SAY("setrlimit", setrlimit(RLIMIT_DATA, &l));
        SAY("mmap", mmap(NULL, 128 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED ? -1 : 0);
        char* a = mmap(NULL, 128 << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        SAY("mmap, read only", a == MAP_FAILED ? -1 : 0);
        SAY("mprotect", mprotect(a, 128 << 20, PROT_READ | PROT_WRITE));
        SAY("mprotect a part", mprotect(a, 1 << 20, PROT_READ | PROT_WRITE));
        SAY("mmap, shared", mmap(NULL, 128 << 20, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0) == MAP_FAILED ? -1 : 0);
        SAY("sbrk", (long)sbrk(128 << 20) == -1 ? -1 : 0);
        SAY("sbrk", (long)sbrk(1 << 20) == -1 ? -1 : 0);
        a = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        SAY("mremap", mremap(a, 4096, 128 << 20, MREMAP_MAYMOVE) == MAP_FAILED ? -1 : 0);
        SAY("getrlimit", getrlimit(RLIMIT_DATA, &got));
        printf("%lu %lu\n", (unsigned long)got.rlim_cur, (unsigned long)got.rlim_max);
        l.rlim_cur = l.rlim_max = 512 << 20;
        setrlimit(RLIMIT_AS, &l);
        fflush(stdout);
        execl("/proc/self/exe", "kernel_calls", "limits", NULL);
        _exit(1);
    }
    int status;
    wait(&status);
    printf("ended with %d\n", status);
}

static void sandbox(const char* folder) {
    if (fork() == 0) {
        // ABI 1 and no more: what later kernels add makes no difference.
        struct { unsigned long handled; } attr = {LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE};
        const int rules = syscall(444, &attr, sizeof attr, 0);
        SAY("create_ruleset", rules < 0 ? -1 : 0);
        if (rules < 0) _exit(0);
        struct landlock_path_beneath_attr beneath = {.allowed_access = LANDLOCK_ACCESS_FS_READ_FILE, .parent_fd = open("/usr", O_PATH)};
        SAY("add_rule", syscall(445, rules, LANDLOCK_RULE_PATH_BENEATH, &beneath, 0));
        SAY("add_rule", syscall(445, rules, 77, &beneath, 0));
        SAY("no_new_privs", prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
        SAY("restrict_self", syscall(446, rules, 0));
        SAY("open allowed", open("/usr/bin/env", O_RDONLY) < 0 ? -1 : 0);
        SAY("open forbidden", open("/etc/passwd", O_RDONLY) < 0 ? -1 : 0);
        SAY("write forbidden", open(folder, O_WRONLY) < 0 ? -1 : 0);
        fflush(stdout);
        _exit(0);
    }
    wait(NULL);
}

static void events(void) {
    struct perf_event_attr a = {.type = PERF_TYPE_SOFTWARE, .size = sizeof a, .config = PERF_COUNT_SW_TASK_CLOCK, .disabled = 1, .exclude_kernel = 1};
    const int fd = syscall(SYS_perf_event_open, &a, 0, -1, -1, 0);
    SAY("perf_event_open", fd < 0 ? -1 : 0);
    unsigned long count = 0;
    SAY("enable", ioctl(fd, PERF_EVENT_IOC_ENABLE, 0));
    for (volatile int i = 0; i < 1000000; i++) {}
    SAY("disable", ioctl(fd, PERF_EVENT_IOC_DISABLE, 0));
    SAY("read", read(fd, &count, sizeof count));
    printf("counted %d\n", count > 0);
    SAY("mmap", mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED ? -1 : 0);
    a.size = 3;
    SAY("perf_event_open", syscall(SYS_perf_event_open, &a, 0, -1, -1, 0));
}

static char* faulting;
static int uffd;
static void* handler(void* p) {
    static char page[4096];
    for (int n = 0; n < 3; n++) {
        struct uffd_msg m;
        if (read(uffd, &m, sizeof m) != sizeof m) return p;
        printf("fault %d at page %ld, flags %llx\n", m.event, ((long)m.arg.pagefault.address - (long)faulting) / 4096, (unsigned long long)m.arg.pagefault.flags);
        memset(page, 'a' + n, sizeof page);
        if (n < 2) {
            struct uffdio_copy c = {.dst = m.arg.pagefault.address & -4096ul, .src = (unsigned long)page, .len = 4096};
            SAY("copy", ioctl(uffd, UFFDIO_COPY, &c));
            printf("copied %lld\n", (long long)c.copy);
        } else {
            struct uffdio_zeropage z = {.range = {m.arg.pagefault.address & -4096ul, 4096}};
            SAY("zeropage", ioctl(uffd, UFFDIO_ZEROPAGE, &z));
        }
    }
    return p;
}
static void user_faults(void) {
    uffd = syscall(SYS_userfaultfd, O_CLOEXEC | 1 /* UFFD_USER_MODE_ONLY */);
    SAY("userfaultfd", uffd < 0 ? -1 : 0);
    if (uffd < 0) return;
    struct uffdio_api api = {.api = UFFD_API};
    SAY("api", ioctl(uffd, UFFDIO_API, &api));
    faulting = mmap(NULL, 4 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct uffdio_register reg = {.range = {(unsigned long)faulting, 4 * 4096}, .mode = UFFDIO_REGISTER_MODE_MISSING};
    SAY("register", ioctl(uffd, UFFDIO_REGISTER, &reg));
    printf("ioctls %d\n", (reg.ioctls >> _UFFDIO_COPY & 1) != 0);
    pthread_t t;
    pthread_create(&t, NULL, handler, NULL);
    const char first = faulting[5];
    faulting[4096 + 7] = 'z';
    const char second = faulting[4096 + 8], third = faulting[8192];
    pthread_join(t, NULL);
    printf("%c %c%c %d\n", first, faulting[4096 + 7], second, third);
    struct uffdio_range all = {(unsigned long)faulting, 4 * 4096};
    SAY("unregister", ioctl(uffd, UFFDIO_UNREGISTER, &all));
    printf("%d\n", faulting[3 * 4096]);
    reg.range.start += 1;
    SAY("register", ioctl(uffd, UFFDIO_REGISTER, &reg));
}

int main(int argc, char** argv) {
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc > 1 && !strcmp(argv[1], "limits")) {
        struct rlimit l;
        getrlimit(RLIMIT_DATA, &l);
        printf("inherited %lu", (unsigned long)l.rlim_cur);
        getrlimit(RLIMIT_AS, &l);
        printf(" %lu\n", (unsigned long)l.rlim_cur);
        SAY("mmap", mmap(NULL, 128 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED ? -1 : 0);
        SAY("mmap", mmap(NULL, 1ul << 30, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED ? -1 : 0);
        return 0;
    }
    message_queues();
    notified_thread();
    system_v();
    futexes();
    paths();
    limits();
    sandbox("/dev/null");
    events();
    user_faults();
    SAY("no such call", syscall(499));
    return 0;
}
