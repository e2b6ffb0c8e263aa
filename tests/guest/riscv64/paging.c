// A bare-metal program for RISC-V's virt board: machine mode sets up delegation and Sv39, supervisor and user mode then
// try what paging allows and forbids. Each line of its output is one try: what came back, and the trap if there was one.
// It runs on QEMU and on Myna and must print the same; system_test.cpp does both.
//
//   riscv64-linux-gnu-gcc -O1 -ffreestanding -fno-pic -nostdlib -static -march=rv64gc -mabi=lp64d -mcmodel=medany
//       -Wl,-Ttext=0x80000000 -Wl,--build-id=none paging.c
typedef unsigned long u64;
typedef unsigned int u32;

#define UART ((volatile unsigned char*)0x10000000)
#define FINISHER ((volatile u32*)0x100000)
enum { V = 1, R = 2, W = 4, X = 8, U = 16, G = 32, A = 64, D = 128 };
#define CSRR(name) ({ u64 v_; __asm__ volatile("csrr %0, " #name : "=r"(v_)); v_; })
#define CSRW(name, v) __asm__ volatile("csrw " #name ", %0" ::"r"((u64)(v)) : "memory")
#define CSRS(name, v) __asm__ volatile("csrs " #name ", %0" ::"r"((u64)(v)) : "memory")
#define CSRC(name, v) __asm__ volatile("csrc " #name ", %0" ::"r"((u64)(v)) : "memory")

struct trap { u64 count, cause, pc, tval, from; };
struct trap strap, mtrap;
u64 resume;  // where a fetch fault goes on
static u64 root[512] __attribute__((aligned(4096)));
static u64 mid[512] __attribute__((aligned(4096)));
static u64 low[512] __attribute__((aligned(4096)));
static u64 low2[512] __attribute__((aligned(4096)));
static unsigned char pages[8][4096] __attribute__((aligned(4096)));
static unsigned char stack[16384] __attribute__((aligned(16)));
static unsigned char mstack[4096] __attribute__((aligned(16), used));
static unsigned char big[4 << 20] __attribute__((aligned(2 << 20)));

__asm__(".section .text.unlikely, \"ax\"\n.global _start\n_start:\n"
        "  la sp, mstack_top\n  la t0, mentry\n  csrw mtvec, t0\n  call machine\n"
        ".text\n.balign 4\nmentry:\n  csrw mscratch, sp\n  csrr sp, mstatus\n  srli sp, sp, 11\n  andi sp, sp, 3\n  addi sp, sp, -3\n  beqz sp, 1f\n  la sp, mstack_top\n  j 2f\n1: csrr sp, mscratch\n2:\n"
        "  addi sp, sp, -272\n  sd ra, 0(sp)\n  sd t0, 8(sp)\n  sd t1, 16(sp)\n  sd t2, 24(sp)\n  sd t3, 32(sp)\n  sd t4, 40(sp)\n  sd t5, 48(sp)\n"
        "  sd t6, 56(sp)\n  sd a0, 64(sp)\n  sd a1, 72(sp)\n  sd a2, 80(sp)\n  sd a3, 88(sp)\n  sd a4, 96(sp)\n  sd a5, 104(sp)\n  sd a6, 112(sp)\n  sd a7, 120(sp)\n"
        "  csrr t0, mscratch\n  sd t0, 128(sp)\n  call mhandler\n"
        "  ld ra, 0(sp)\n  ld t0, 8(sp)\n  ld t1, 16(sp)\n  ld t2, 24(sp)\n  ld t3, 32(sp)\n  ld t4, 40(sp)\n  ld t5, 48(sp)\n"
        "  ld t6, 56(sp)\n  ld a0, 64(sp)\n  ld a1, 72(sp)\n  ld a2, 80(sp)\n  ld a3, 88(sp)\n  ld a4, 96(sp)\n  ld a5, 104(sp)\n  ld a6, 112(sp)\n  ld a7, 120(sp)\n"
        "  ld sp, 128(sp)\n  mret\n"
        ".balign 4\nsentry:\n  csrw sscratch, sp\n  csrr sp, sstatus\n  andi sp, sp, 256\n  bnez sp, 1f\n  la sp, sstack_top\n  j 2f\n1: csrr sp, sscratch\n2:\n"
        "  addi sp, sp, -272\n  sd ra, 0(sp)\n  sd t0, 8(sp)\n  sd t1, 16(sp)\n  sd t2, 24(sp)\n  sd t3, 32(sp)\n  sd t4, 40(sp)\n  sd t5, 48(sp)\n"
        "  sd t6, 56(sp)\n  sd a0, 64(sp)\n  sd a1, 72(sp)\n  sd a2, 80(sp)\n  sd a3, 88(sp)\n  sd a4, 96(sp)\n  sd a5, 104(sp)\n  sd a6, 112(sp)\n  sd a7, 120(sp)\n"
        "  csrr t0, sscratch\n  sd t0, 128(sp)\n  mv a0, sp\n  call shandler\n"
        "  ld ra, 0(sp)\n  ld t0, 8(sp)\n  ld t1, 16(sp)\n  ld t2, 24(sp)\n  ld t3, 32(sp)\n  ld t4, 40(sp)\n  ld t5, 48(sp)\n"
        "  ld t6, 56(sp)\n  ld a0, 64(sp)\n  ld a1, 72(sp)\n  ld a2, 80(sp)\n  ld a3, 88(sp)\n  ld a4, 96(sp)\n  ld a5, 104(sp)\n  ld a6, 112(sp)\n  ld a7, 120(sp)\n"
        "  ld sp, 128(sp)\n  sret\n"
        // user(entry, sp): runs user code until its ECALL with a7 = 0; gives its a0
        "user:\n  addi sp, sp, -128\n  sd ra, 0(sp)\n  sd s0, 8(sp)\n  sd s1, 16(sp)\n  sd s2, 24(sp)\n  sd s3, 32(sp)\n  sd s4, 40(sp)\n  sd s5, 48(sp)\n  sd s6, 56(sp)\n"
        "  la t0, user_sp\n  sd sp, 0(t0)\n  csrw sepc, a0\n  li t0, 256\n  csrc sstatus, t0\n  mv sp, a1\n  sret\n"
        "user_back:\n  la t0, user_sp\n  ld sp, 0(t0)\n  ld ra, 0(sp)\n  ld s0, 8(sp)\n  ld s1, 16(sp)\n  ld s2, 24(sp)\n  ld s3, 32(sp)\n  ld s4, 40(sp)\n  ld s5, 48(sp)\n  ld s6, 56(sp)\n"
        "  addi sp, sp, 128\n  la t0, user_a0\n  ld a0, 0(t0)\n  ret\n"
        ".bss\n.balign 16\n.global user_sp, user_a0\nuser_sp: .dword 0\nuser_a0: .dword 0\n"
        ".equ mstack_top, mstack + 4096\n.equ sstack_top, strapstack + 4096\n.text\n");
static unsigned char strapstack[4096] __attribute__((aligned(16), used));
extern u64 user_a0;
u64 user(u64 entry, u64 sp);
extern char user_back[], sentry[];

static void put(char c) { *UART = (unsigned char)c; }
static void text(const char* s) { while (*s) put(*s++); }
static void hex(u64 v) {
    put(' ');
    int started = 0;
    for (int k = 60; k >= 0; k -= 4) {
        int d = (int)(v >> k & 15);
        if (d || started || k == 0) started = 1, put("0123456789abcdef"[d]);
    }
}

static u64 step_of(u64 pc) {  // the length of an instruction that S can read
    return (*(volatile unsigned short*)pc & 3) == 3 ? 4 : 2;
}
void mhandler(void) {
    mtrap.count++;
    mtrap.cause = CSRR(mcause), mtrap.pc = CSRR(mepc), mtrap.tval = CSRR(mtval), mtrap.from = CSRR(mstatus) >> 11 & 3;
    CSRC(mstatus, 1 << 17);
    if (mtrap.cause == 9) {  // ECALL from S: a load as user mode would do it, through MPRV
        u64 v = 0x77, to = CSRR(mepc) + 4;
        register u64 a0 __asm__("a0");
        (void)a0;
        u64 where = strap.from;  // the address to try
        u64 old = CSRR(mstatus);
        u64 resume_at;
        __asm__ volatile("la %1, 1f\n la t0, mprv_resume\n sd %1, 0(t0)\n csrc mstatus, %4\n csrs mstatus, %3\n ld %0, 0(%2)\n1:\n csrc mstatus, %3"
                         : "+&r"(v), "=&r"(resume_at) : "r"(where), "r"(1ul << 17), "r"(3ul << 11) : "t0", "memory");
        strap.from = v;
        CSRW(mstatus, old & ~(1ul << 17));
        CSRW(mepc, to);
        return;
    }
    extern u64 mprv_resume;
    if (mtrap.from == 3) {
        CSRW(mepc, mprv_resume);
        return;
    }
    CSRW(mepc, CSRR(mepc) + 4);  // only 4-byte instructions are tried
}
u64 mprv_resume;
void shandler(u64* frame) {
    u64 cause = CSRR(scause), pc = CSRR(sepc);
    if (cause == 8 && frame[15] == 0) {
        user_a0 = frame[8];
        CSRW(sepc, user_back);
        CSRS(sstatus, 256);
        return;
    }
    strap.count++;
    strap.cause = cause, strap.pc = pc, strap.tval = CSRR(stval), strap.from = CSRR(sstatus) >> 8 & 1;
    if (cause == 12) CSRW(sepc, resume ? resume : frame[0]);
    else if (strap.from) CSRW(sepc, pc + step_of(pc));
    else CSRW(sepc, pc + 4);  // user code is made of 4-byte instructions
}

static void begin(const char* what) {
    strap.count = strap.cause = strap.tval = mtrap.count = mtrap.cause = mtrap.tval = 0;
    text(what);
    put(':');
}
static void end(u64 value) {
    hex(value);
    if (strap.count) text(" S-trap"), hex(strap.count), hex(strap.cause), hex(strap.tval), text(strap.from ? " from S" : " from U");
    if (mtrap.count) text(" M-trap"), hex(mtrap.count), hex(mtrap.cause), hex(mtrap.tval), hex(mtrap.from);
    put('\n');
}
#define LOAD(op, at) ({ u64 v_ = 0x99; __asm__ volatile(#op " %0, 0(%1)" : "+r"(v_) : "r"(at) : "memory"); v_; })
#define STORE(op, at, v) __asm__ volatile(#op " %1, 0(%0)" ::"r"(at), "r"((u64)(v)) : "memory")
#define TRY_LOAD(what, op, at) (begin(what), end(LOAD(op, at)))
#define TRY_STORE(what, op, at, v) do { begin(what); STORE(op, at, v); end(0); } while (0)

static void fence(void) { __asm__ volatile("sfence.vma" ::: "memory"); }
static u64 pte(const void* pa, u64 bits) { return (u64)pa >> 12 << 10 | bits; }
static u64 word(int page, int at) { return *(volatile u64*)(pages[page] + at); }

// User code, copied to its page: 4-byte instructions only.
__asm__(".balign 4096\n.option push\n.option norvc\nuser_code:\n"
        "  li a0, 0x99\n  ld a0, 0(s0)\n  li a7, 0\n  ecall\n"               // +0: load s0
        "  li a0, 1\n  sd s1, 0(s0)\n  li a7, 0\n  ecall\n"                  // +16: store s1
        "  li a0, 2\n  csrr a0, sstatus\n  li a7, 0\n  ecall\n"              // +32: a register of S
        "  li a0, 3\n  sret\n  li a7, 0\n  ecall\n"                          // +48
        "  li a0, 4\n  ebreak\n  li a7, 0\n  ecall\n"                        // +64
        "  li a0, 5\n  .word 0xffffffff\n  li a7, 0\n  ecall\n"              // +80
        "  li a0, 6\n  amoadd.d a0, s1, (s0)\n  li a7, 0\n  ecall\n"         // +96
        "  li a0, 7\n  lr.d a0, (s0)\n  li a7, 0\n  ecall\n"                 // +112
        "  lr.d a0, (s0)\n  sc.d a0, s1, (s0)\n  li a7, 0\n  ecall\n"        // +128
        "  jr s0\n  nop\n  li a7, 0\n  ecall\n"                              // +144
        "user_end:\n.option pop\n");
extern char user_code[], user_end[];
enum { UCODE = 0x40000000, UDATA = 0x40001000, URO = 0x40002000, SPAGE = 0x40003000, XONLY = 0x40004000, NONE = 0x40005000, ALIAS = 0x40006000 };

static void try_user(const char* what, u64 offset, u64 s0, u64 s1) {
    begin(what);
    register u64 r0 __asm__("s0") = s0;
    register u64 r1 __asm__("s1") = s1;
    register u64 a0 __asm__("a0") = UCODE + offset;
    register u64 a1 __asm__("a1") = UDATA + 2048;
    __asm__ volatile("call user" : "+r"(a0), "+r"(a1) : "r"(r0), "r"(r1) : "ra", "t0", "t1", "t2", "t3", "t4", "t5", "t6", "a2", "a3", "a4", "a5", "a6", "a7", "memory");
    end(a0);
}

static void supervisor(void) {
    CSRW(stvec, sentry);
    text("supervisor\n");
    // U and S
    TRY_LOAD("S loads an S page", ld, SPAGE);
    TRY_LOAD("S loads a U page", ld, UDATA);
    TRY_STORE("S stores to a U page", sd, UDATA, 5);
    CSRS(sstatus, 1 << 18);
    TRY_LOAD("the same with SUM", ld, UDATA);
    TRY_STORE("and the store", sd, UDATA + 8, 0x1234);
    CSRC(sstatus, 1 << 18);
    TRY_LOAD("and without again", ld, UDATA);
    // X and MXR
    TRY_LOAD("S loads an execute-only page", ld, XONLY);
    CSRS(sstatus, 1 << 19);
    TRY_LOAD("with MXR", ld, XONLY);
    CSRC(sstatus, 1 << 19);
    TRY_LOAD("without", ld, XONLY);
    // not mapped, not canonical
    TRY_LOAD("not mapped", lw, NONE + 4);
    TRY_STORE("not mapped, store", sh, NONE + 6, 1);
    TRY_LOAD("not canonical", ld, 0x4000000000ul);
    TRY_LOAD("upper half, not mapped", ld, 0xffffffc000000008ul);
    // accessed and dirty
    begin("A and D before"), end(low[6] & 0xff);
    TRY_LOAD("read it", ld, ALIAS + 16);
    begin("after"), end(low[6] & 0xff);
    TRY_STORE("write it", sd, ALIAS + 16, 0xabcd);
    begin("after"), end(low[6] & 0xff);
    begin("seen through the other mapping"), end(word(6, 16));
    // page crossing and misaligned
    TRY_LOAD("misaligned in a page", ld, SPAGE + 3);
    STORE(sd, SPAGE + 0xff8, 0x1122334455667788);
    TRY_LOAD("across pages", ld, SPAGE + 0xffc);
    low[4] = pte(pages[4], V | R | W | X | A | D), fence();
    STORE(sd, XONLY, 0x99aabbccddeeff00);
    TRY_LOAD("across two pages that are not neighbours", ld, SPAGE + 0xffc);
    TRY_LOAD("the same, half", lhu, SPAGE + 0xfff);
    low[4] = pte(pages[4], V | R | A | D), fence();
    TRY_STORE("a store across into a read-only page", sd, SPAGE + 0xffc, 0);
    begin("wrote nothing"), end(LOAD(ld, SPAGE + 0xff8));
    TRY_LOAD("across into nothing", ld, XONLY + 0xffa);
    // changed entries
    low[5] = pte(pages[3], V | R | W | A | D), fence();
    TRY_LOAD("mapped now", ld, NONE + 0xff8);
    low[5] = pte(pages[6], V | R | W | A | D), fence();
    TRY_LOAD("mapped elsewhere", ld, NONE + 16);
    low[5] = 0, fence();
    TRY_LOAD("gone", ld, NONE + 16);
    // entries that are not right
    low[7] = pte(pages[3], V | W | A | D), fence();
    TRY_LOAD("W without R", ld, 0x40007000);
    low[7] = pte(pages[3], V | R | W | A | D) | 1ul << 60, fence();
    TRY_LOAD("reserved bits", ld, 0x40007000);
    // big pages
    TRY_LOAD("2 MiB page", ld, 0x40200000 + 0x123458);
    TRY_STORE("2 MiB page, store", sw, 0x40200000 + 0x1ffffc, 0x5a5a5a5a);
    begin("at"), end(*(volatile u32*)(big + 0x1ffffc));
    TRY_LOAD("2 MiB page into nothing", ld, 0x40200000 + 0x1ffffc);
    TRY_LOAD("a 2 MiB page that is not aligned", ld, 0x40600000);
    TRY_LOAD("a 1 GiB page", ld, 0x80000000ul + 0x40000000ul + (u64)big - 0x80000000ul + 0x123458);
    TRY_LOAD("a 1 GiB page that is not aligned", ld, 0x100000000ul);
    // fetches
    begin("fetch from nothing");
    ((void (*)(void))(u64)NONE)();
    end(strap.pc);
    begin("fetch from a page without X");
    ((void (*)(void))(u64)SPAGE)();
    end(strap.pc);
    begin("S fetches from a U page");
    ((void (*)(void))(u64)UCODE)();
    end(strap.pc);
    // user mode
    try_user("U loads a U page", 0, UDATA + 8, 0);
    try_user("U loads an S page", 0, SPAGE, 0);
    try_user("U loads where nothing is", 0, 0x123456789ul, 0);
    try_user("U loads supervisor memory", 0, (u64)root, 0);
    try_user("U stores to a U page", 16, UDATA + 24, 0xfeed);
    begin("it is there"), end(word(1, 24));
    try_user("U stores to a read-only page", 16, URO, 1);
    try_user("U reads sstatus", 32, 0, 0);
    try_user("U executes sret", 48, 0, 0);
    try_user("U executes an undefined instruction", 80, 0, 0);
    try_user("U's atomic addition", 96, UDATA + 24, 0x10);
    begin("it is there"), end(word(1, 24));
    try_user("an atomic addition to a read-only page", 96, URO, 0x10);
    try_user("lr from a read-only page", 112, URO, 0);
    try_user("lr where nothing is", 112, NONE, 0);
    try_user("lr and sc", 128, UDATA + 24, 0xbeef);
    begin("it is there"), end(word(1, 24));
    resume = UCODE + 152;
    try_user("U jumps to nothing", 144, NONE + 8, 0);
    try_user("U jumps to data", 144, UDATA, 0);
    resume = 0;
    low[1] &= ~(u64)D, fence();
    try_user("U writes a clean page", 16, UDATA + 32, 3);
    begin("it is dirty"), end(low[1] & 0xff);
    // MPRV
    begin("M loads as U would, a U page");
    strap.from = UDATA + 8;
    __asm__ volatile("ecall" ::: "memory");
    hex(strap.from), end(0);
    begin("M loads as U would, an S page");
    strap.from = SPAGE;
    __asm__ volatile("ecall" ::: "memory");
    hex(strap.from), end(0);
    // a loop over many pages, more than the TLB holds
    u64 sum = 0;
    for (u64 k = 0; k < 512; k++) low2[k] = pte(pages[k & 7], V | R | W | A | D);
    fence();
    for (u64 round = 0; round < 3; round++)
        for (u64 k = 0; k < 512; k++) {
            volatile u64* p = (volatile u64*)(0x40800000 + k * 4096 + 512);
            *p = *p * 3 + k;
            sum ^= *p + round;
        }
    begin("a walk over 512 pages"), end(sum);
    text("done\n");
    *FINISHER = 0x5555;
    for (;;) __asm__ volatile("wfi");
}

void machine(void) {
    CSRW(pmpaddr0, ~0ul);
    CSRW(pmpcfg0, 0x1f);
    CSRW(medeleg, 1 << 3 | 1 << 8 | 1 << 12 | 1 << 13 | 1 << 15);
    for (char *s = user_code, *d = (char*)pages[0]; s < user_end;) *d++ = *s++;
    for (int k = 0; k < 512; k++)
        for (int p = 1; p < 8; p++) ((volatile u64*)pages[p])[k] = (u64)p << 32 | (u64)k;
    *(volatile u64*)(big + 0x123458) = 0x123456789abcdef0;
    u64 all = V | R | W | A | D;
    root[0] = pte(mid, V);            // devices
    mid[0] = pte((void*)0, all), mid[0x80] = pte((void*)0x10000000, all);
    static u64 user_mid[512] __attribute__((aligned(4096)));
    root[1] = pte(user_mid, V);       // 0x40000000
    user_mid[0] = pte(low, V);
    user_mid[1] = pte(big, all);      // 2 MiB
    user_mid[3] = pte(big + 4096, all);
    user_mid[4] = pte(low2, V);
    low[0] = pte(pages[0], V | R | X | U | A | D);
    low[1] = pte(pages[1], all | U);
    low[2] = pte(pages[2], V | R | U | A | D);
    low[3] = pte(pages[3], all);
    low[4] = pte(pages[4], V | X | A);
    low[6] = pte(pages[6], V | R | W);
    root[2] = pte((void*)0x80000000, V | R | W | X | G | A | D);  // this program, 1 GiB
    root[3] = pte((void*)0x80000000, V | R | A);
    root[4] = pte((void*)0x80200000, V | R | A);                  // not aligned
    CSRW(satp, 8ul << 60 | (u64)root >> 12);
    __asm__ volatile("sfence.vma" ::: "memory");
    u64 status = CSRR(mstatus);
    CSRW(mstatus, (status & ~(3ul << 11)) | 1ul << 11);
    CSRW(mepc, supervisor);
    __asm__ volatile("mv sp, %0\n mret" ::"r"(stack + sizeof stack));
    for (;;) {}
}
