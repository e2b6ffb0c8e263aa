// System calls of the asm-generic ABI for 64-bit little-endian guests: a row a call, in the order of
// include/uapi/asm-generic/unistd.h. What the host takes as it is goes through pass<>, the rest has a function.
#include <sys/syscall.h>

#include <array>

#include "user/linux/abi_list.h"
#include "user/linux/syscalls/calls.h"
#include "user/linux/syscalls/table.h"

namespace myna::user {

namespace {

/// The same call of the host, arguments as they are.
#define PASS(number, name, args) {number, #name, args, pass<SYS_##name, pointer_mask(args)>}
/// The same with a path (argument n) that is looked up under -L first.
#define PATH(number, name, args, n) {number, #name, args, pass_path<SYS_##name, pointer_mask(args), n>}
/// The same, without following a link at its end.
#define LINK(number, name, args, n) {number, #name, args, pass_path<SYS_##name, pointer_mask(args), n, false>}
/// A function of our own.
#define OWN(number, name, args) {number, #name, args, call_##name}
/// Known, not offered.
#define NONE(number, name) {number, #name, "", nullptr}

constexpr SyscallRow kList[] = {
    PASS(0, io_setup, "up"), PASS(1, io_destroy, "x"), PASS(2, io_submit, "xlp"), PASS(3, io_cancel, "xpp"), PASS(4, io_getevents, "xllpT"),
    PASS(5, setxattr, "szplx"), PASS(6, lsetxattr, "szplx"), PASS(7, fsetxattr, "fzplx"),
    PATH(8, getxattr, "szpl", 0), LINK(9, lgetxattr, "szpl", 0), PASS(10, fgetxattr, "fzpl"),
    PATH(11, listxattr, "spl", 0), LINK(12, llistxattr, "spl", 0), PASS(13, flistxattr, "fpl"),
    PASS(14, removexattr, "sz"), PASS(15, lremovexattr, "sz"), PASS(16, fremovexattr, "fz"),
    PASS(17, getcwd, "pl"),
    PASS(19, eventfd2, "ux"), PASS(20, epoll_create1, "x"), OWN(21, epoll_ctl, "fdfp"), OWN(22, epoll_pwait, "fpddg"),
    PASS(23, dup, "f"), OWN(24, dup3, "ffO"), OWN(25, fcntl, "fqx"),
    PASS(26, inotify_init1, "x"), PATH(27, inotify_add_watch, "fsx", 1), PASS(28, inotify_rm_watch, "fd"),
    OWN(29, ioctl, "fQx"), PASS(30, ioprio_set, "ddd"), PASS(31, ioprio_get, "dd"), PASS(32, flock, "fx"),
    PASS(33, mknodat, "Fsox"), PASS(34, mkdirat, "Fso"), PASS(35, unlinkat, "Fsx"), PASS(36, symlinkat, "sFs"),
    PASS(37, linkat, "FsFsx"), PASS(38, renameat, "FsFs"), PASS(39, umount2, "sx"), PASS(40, mount, "sszxp"), PASS(41, pivot_root, "ss"),
    PATH(43, statfs, "sp", 0), PASS(44, fstatfs, "fp"), PASS(45, truncate, "sl"), PASS(46, ftruncate, "fl"), PASS(47, fallocate, "fxll"),
    OWN(48, faccessat, "Fsn"), PASS(49, chdir, "s"), PASS(50, fchdir, "f"), PASS(51, chroot, "s"), PASS(52, fchmod, "fo"),
    PASS(53, fchmodat, "Fso"), PASS(54, fchownat, "Fsddx"), PASS(55, fchown, "fdd"),
    OWN(56, openat, "FsOo"), PASS(57, close, "f"), PASS(58, vhangup, ""), OWN(59, pipe2, "pO"), PASS(60, quotactl, "xsdp"),
    PASS(61, getdents64, "fpu"), PASS(62, lseek, "flw"), OWN(63, read, "fBu"), OWN(64, write, "fbu"),
    OWN(65, readv, "fid"), OWN(66, writev, "fid"), PASS(67, pread64, "fBul"), OWN(68, pwrite64, "fbul"), OWN(69, preadv, "fidl"),
    OWN(70, pwritev, "fidl"), PASS(71, sendfile, "ffpu"), OWN(72, pselect6, "dpppTp"), OWN(73, ppoll, "puTg"), OWN(74, signalfd4, "fgxx"),
    OWN(75, vmsplice, "fiux"), PASS(76, splice, "fpfpux"), PASS(77, tee, "ffux"), OWN(78, readlinkat, "FsBu"),
    {79, "newfstatat", "Fspx", call_newfstatat}, OWN(80, fstat, "fp"),
    PASS(81, sync, ""), PASS(82, fsync, "f"), PASS(83, fdatasync, "f"), PASS(84, sync_file_range, "fllx"),
    PASS(85, timerfd_create, "Cx"), PASS(86, timerfd_settime, "fxpp"), PASS(87, timerfd_gettime, "fp"), PASS(88, utimensat, "Fspx"),
    PASS(89, acct, "s"), PASS(90, capget, "pp"), PASS(91, capset, "pp"), PASS(92, personality, "x"),
    OWN(93, exit, "d"), OWN(94, exit_group, "d"), OWN(95, waitid, "ddpep"), OWN(96, set_tid_address, "p"), PASS(97, unshare, "c"),
    OWN(98, futex, "pkuxpu"), OWN(99, set_robust_list, "pu"), OWN(100, get_robust_list, "dpp"), PASS(101, nanosleep, "Tp"),
    PASS(102, getitimer, "dp"), PASS(103, setitimer, "dpp"), NONE(104, kexec_load), NONE(105, init_module), NONE(106, delete_module),
    PASS(107, timer_create, "Cpp"), PASS(108, timer_gettime, "dp"), PASS(109, timer_getoverrun, "d"), PASS(110, timer_settime, "dxpp"),
    PASS(111, timer_delete, "d"), PASS(112, clock_settime, "CT"), OWN(113, clock_gettime, "Ct"), PASS(114, clock_getres, "Ct"),
    PASS(115, clock_nanosleep, "CxTp"), PASS(116, syslog, "dpd"), OWN(117, ptrace, "xdpp"),
    PASS(118, sched_setparam, "dp"), PASS(119, sched_setscheduler, "ddp"), PASS(120, sched_getscheduler, "d"), PASS(121, sched_getparam, "dp"),
    PASS(122, sched_setaffinity, "dup"), PASS(123, sched_getaffinity, "dup"), PASS(124, sched_yield, ""),
    PASS(125, sched_get_priority_max, "d"), PASS(126, sched_get_priority_min, "d"), PASS(127, sched_rr_get_interval, "dt"),
    OWN(128, restart_syscall, ""), PASS(129, kill, "dS"), PASS(130, tkill, "dS"), PASS(131, tgkill, "ddS"),
    OWN(132, sigaltstack, "pp"), OWN(133, rt_sigsuspend, "gu"), OWN(134, rt_sigaction, "Sppu"), OWN(135, rt_sigprocmask, "dggu"),
    OWN(136, rt_sigpending, "pu"), OWN(137, rt_sigtimedwait, "gpTu"), PASS(138, rt_sigqueueinfo, "dSp"), OWN(139, rt_sigreturn, ""),
    PASS(140, setpriority, "ddd"), PASS(141, getpriority, "dd"), PASS(142, reboot, "xxxp"),
    PASS(143, setregid, "dd"), PASS(144, setgid, "d"), PASS(145, setreuid, "dd"), PASS(146, setuid, "d"), PASS(147, setresuid, "ddd"),
    PASS(148, getresuid, "ppp"), PASS(149, setresgid, "ddd"), PASS(150, getresgid, "ppp"), PASS(151, setfsuid, "d"), PASS(152, setfsgid, "d"),
    PASS(153, times, "p"), PASS(154, setpgid, "dd"), PASS(155, getpgid, "d"), PASS(156, getsid, "d"), PASS(157, setsid, ""),
    PASS(158, getgroups, "dp"), PASS(159, setgroups, "dp"), OWN(160, uname, "p"), PASS(161, sethostname, "zu"), PASS(162, setdomainname, "zu"),
    OWN(163, getrlimit, "dp"), OWN(164, setrlimit, "dp"), PASS(165, getrusage, "dp"), PASS(166, umask, "o"), OWN(167, prctl, "dxxxx"),
    PASS(168, getcpu, "ppp"), OWN(169, gettimeofday, "pp"), PASS(170, settimeofday, "pp"), PASS(171, adjtimex, "p"),
    PASS(172, getpid, ""), PASS(173, getppid, ""), PASS(174, getuid, ""), PASS(175, geteuid, ""), PASS(176, getgid, ""), PASS(177, getegid, ""),
    PASS(178, gettid, ""), PASS(179, sysinfo, "p"),
    PASS(180, mq_open, "zxop"), PASS(181, mq_unlink, "z"), PASS(182, mq_timedsend, "fbuuT"), PASS(183, mq_timedreceive, "fBupT"),
    OWN(184, mq_notify, "fp"), PASS(185, mq_getsetattr, "fpp"),
    PASS(186, msgget, "xx"), PASS(187, msgctl, "dxp"), PASS(188, msgrcv, "dpulx"), PASS(189, msgsnd, "dpux"),
    PASS(190, semget, "xdx"), OWN(191, semctl, "ddxx"), PASS(192, semtimedop, "dpuT"), PASS(193, semop, "dpu"),
    PASS(194, shmget, "xux"), PASS(195, shmctl, "dxp"), OWN(196, shmat, "dpx"), OWN(197, shmdt, "p"),
    PASS(198, socket, "Axd"), PASS(199, socketpair, "Axdp"), PASS(200, bind, "fau"), PASS(201, listen, "fd"), PASS(202, accept, "fpp"),
    PASS(203, connect, "fau"), PASS(204, getsockname, "fpp"), PASS(205, getpeername, "fpp"), PASS(206, sendto, "fbuxau"),
    PASS(207, recvfrom, "fBuxpp"), PASS(208, setsockopt, "fddpu"), PASS(209, getsockopt, "fddpp"), PASS(210, shutdown, "fd"),
    OWN(211, sendmsg, "fpx"), OWN(212, recvmsg, "fpx"), PASS(213, readahead, "flu"),
    OWN(214, brk, "p"), OWN(215, munmap, "pu"), OWN(216, mremap, "puuxp"),
    PASS(217, add_key, "zzpud"), PASS(218, request_key, "zzzd"), PASS(219, keyctl, "dxxxx"),
    OWN(220, clone, "cpppp"), OWN(221, execve, "svv"), OWN(222, mmap, "puPMfl"), PASS(223, fadvise64, "fllx"),
    PASS(224, swapon, "sx"), PASS(225, swapoff, "s"), OWN(226, mprotect, "puP"), PASS(227, msync, "pux"), PASS(228, mlock, "pu"),
    PASS(229, munlock, "pu"), OWN(230, mlockall, "x"), PASS(231, munlockall, ""), PASS(232, mincore, "pup"), OWN(233, madvise, "pud"),
    NONE(234, remap_file_pages), PASS(235, mbind, "puxpux"), PASS(236, get_mempolicy, "ppupx"), PASS(237, set_mempolicy, "xpu"),
    PASS(238, migrate_pages, "dupp"), PASS(239, move_pages, "duppx"), PASS(240, rt_tgsigqueueinfo, "ddSp"),
    PASS(241, perf_event_open, "pddfx"), PASS(242, accept4, "fppx"), OWN(243, recvmmsg, "fpuxT"),
    OWN(258, riscv_hwprobe, "puupx"), OWN(259, riscv_flush_icache, "ppx"),
    OWN(260, wait4, "dpep"), OWN(261, prlimit64, "ddpp"), PASS(262, fanotify_init, "xx"), PASS(263, fanotify_mark, "fxxFs"),
    PASS(264, name_to_handle_at, "Fsppx"), OWN(265, open_by_handle_at, "fpO"), PASS(266, clock_adjtime, "Cp"), PASS(267, syncfs, "f"),
    PASS(268, setns, "fx"), OWN(269, sendmmsg, "fpux"), OWN(270, process_vm_readv, "diuiux"), OWN(271, process_vm_writev, "diuiux"),
    PASS(272, kcmp, "dddxx"), NONE(273, finit_module), PASS(274, sched_setattr, "dpx"), PASS(275, sched_getattr, "dpux"),
    PASS(276, renameat2, "FsFsx"), OWN(277, seccomp, "uxp"), PASS(278, getrandom, "Bux"), PASS(279, memfd_create, "zx"), PASS(280, bpf, "dpu"),
    OWN(281, execveat, "Fsvvx"), OWN(282, userfaultfd, "x"), PASS(283, membarrier, "dxd"), PASS(284, mlock2, "pux"),
    PASS(285, copy_file_range, "fpfpux"), OWN(286, preadv2, "fidllx"), OWN(287, pwritev2, "fidllx"),
    OWN(288, pkey_mprotect, "puPd"), NONE(289, pkey_alloc), NONE(290, pkey_free), OWN(291, statx, "Fsxxp"),
    PASS(292, io_pgetevents, "xllpTp"), NONE(293, rseq), NONE(294, kexec_file_load),
    PASS(424, pidfd_send_signal, "fSpx"), OWN(425, io_uring_setup, "up"), OWN(426, io_uring_enter, "fuuxpu"),
    OWN(427, io_uring_register, "fupu"),
    PASS(428, open_tree, "Fsx"), PASS(429, move_mount, "FsFsx"), PASS(430, fsopen, "zx"), PASS(431, fsconfig, "fdzpd"),
    PASS(432, fsmount, "fxx"), PASS(433, fspick, "Fsx"), PASS(434, pidfd_open, "dx"), OWN(435, clone3, "pu"), PASS(436, close_range, "uux"),
    OWN(437, openat2, "Fspu"), PASS(438, pidfd_getfd, "ffx"), OWN(439, faccessat2, "Fsnx"), PASS(440, process_madvise, "fiuxx"),
    OWN(441, epoll_pwait2, "fpdTg"), PASS(442, mount_setattr, "Fsxpu"), PASS(443, quotactl_fd, "fxdp"),
    PASS(444, landlock_create_ruleset, "pux"), PASS(445, landlock_add_rule, "fxpx"), PASS(446, landlock_restrict_self, "fx"),
    NONE(447, memfd_secret), PASS(448, process_mrelease, "fx"), OWN(449, futex_waitv, "puxTd"), PASS(450, set_mempolicy_home_node, "puux"),
};

constexpr unsigned kCount = 452;

consteval std::array<SyscallRow, kCount> by_number() {
    std::array<SyscallRow, kCount> rows{};
    for (const SyscallRow& r : kList) rows[r.number] = r;
    return rows;
}

constexpr std::array<SyscallRow, kCount> kRows = by_number();

}  // namespace

extern const SyscallTable kSyscallsGeneric64{kRows.data(), kCount};

}  // namespace myna::user
