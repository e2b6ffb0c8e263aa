// Memory: mmap's placement rules, mremap, brk, protections, huge reservations, shared memory, EFAULT.
#include "check.h"

#include <fcntl.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/syscall.h>

static char* map(size_t n, int prot) { return mmap(NULL, n, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); }

int main(void) {
    char* a = map(65536, PROT_READ | PROT_WRITE);
    CHECK(a != MAP_FAILED);
    CHECK(mmap(a, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == MAP_FAILED && errno == EEXIST);
    CHECK(mmap(a + 1, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED && errno == EINVAL);
    CHECK(mmap(NULL, 0, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED && errno == EINVAL);
    CHECK(munmap(a + 4096, 4096) == 0);
    CHECK(mmap(a + 4096, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == a + 4096);  // a free hint is taken
    CHECK(mprotect(a, 65536, PROT_READ) == 0);
    CHECK(munmap(a + 8192, 4096) == 0);
    CHECK(mprotect(a, 65536, PROT_READ) == -1 && errno == ENOMEM);
    munmap(a, 65536);

    a = map(65536, PROT_READ | PROT_WRITE);
    strcpy(a, "text");
    char* b = mremap(a, 65536, 1 << 20, MREMAP_MAYMOVE);
    CHECK(b != MAP_FAILED && strcmp(b, "text") == 0);
    b[(1 << 20) - 1] = 1;
    char* target = map(1 << 20, PROT_NONE);
    CHECK(mremap(b, 1 << 20, 8192, MREMAP_MAYMOVE | MREMAP_FIXED, target) == target && strcmp(target, "text") == 0);
    CHECK(mremap(b, 4096, 4096, 0) == MAP_FAILED && errno == EFAULT);

    for (int i = 0; i < 4; i++) {  // runtimes reserve far more than there is
        char* huge = mmap(NULL, 1ul << 40, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        CHECK(huge != MAP_FAILED);
        CHECK(mprotect(huge + (1ul << 39), 4096, PROT_READ | PROT_WRITE) == 0);
        huge[1ul << 39] = 1;
        CHECK(munmap(huge, 1ul << 40) == 0);
    }
    char* brk0 = sbrk(0);
    CHECK(sbrk(1 << 20) == brk0);
    memset(brk0, 1, 1 << 20);
    CHECK(sbrk(-(1 << 20)) == brk0 + (1 << 20));

    CHECK(mmap((void*)0x10000000, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == (void*)0x10000000);

    int id = shmget(IPC_PRIVATE, 10000, IPC_CREAT | 0600);
    if (id >= 0) {
        char *s1 = shmat(id, NULL, 0), *s2 = shmat(id, NULL, SHM_RDONLY);
        CHECK(s1 != (void*)-1 && s2 != (void*)-1);
        s1[9999] = 7;
        CHECK(s2[9999] == 7);
        struct shmid_ds ds;
        CHECK(shmctl(id, IPC_STAT, &ds) == 0 && ds.shm_segsz == 10000 && ds.shm_nattch == 2);
        CHECK(shmdt(s1) == 0 && shmdt(s2) == 0 && shmctl(id, IPC_RMID, NULL) == 0);
        CHECK(shmdt(s1) == -1 && errno == EINVAL);
    }
    int fd = memfd_create("file", 0);
    CHECK(ftruncate(fd, 8192) == 0);
    char* shared = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    shared[4096] = 'x';
    CHECK(pread(fd, &b, 1, 4096) == 1 && *(char*)&b == 'x');
    struct stat st;
    CHECK(fstat(fd, &st) == 0 && st.st_size == 8192 && S_ISREG(st.st_mode));
    CHECK(read(fd, (void*)16, 10) == -1 && errno == EFAULT);
    CHECK(syscall(SYS_openat, AT_FDCWD, (void*)16, 0) == -1 && errno == EFAULT);
    CHECK(syscall(SYS_newfstatat, AT_FDCWD, "/", (void*)16, 0) == -1 && errno == EFAULT);
    return failures();
}
