// The three places where the emulator touches the host kernel or guest memory in a way that signals may cut short.
// The host signal handler (host_signals.cpp) knows their labels and moves the program counter.
//
//   myna_safe_syscall   a signal that comes before the `syscall` instruction (or makes the kernel restart it) turns the
//                       call into -ERESTARTSYS: the guest's signal is delivered first, then the call is made again
//   myna_user_copy      a fault turns the copy into -EFAULT
//   myna_user_strncpy   the same for strings

    .text

// int64_t myna_safe_syscall(const volatile uint32_t* pending, long nr, const uint64_t args[6])
    .globl myna_safe_syscall
    .type myna_safe_syscall, @function
    .balign 16
myna_safe_syscall:
    mov     %rdi, %r11
    mov     %rsi, %rax
    mov     %rdx, %rcx
    mov     0(%rcx), %rdi
    mov     8(%rcx), %rsi
    mov     16(%rcx), %rdx
    mov     24(%rcx), %r10
    mov     32(%rcx), %r8
    mov     40(%rcx), %r9
    .globl myna_safe_syscall_check
myna_safe_syscall_check:
    cmpl    $0, (%r11)
    jne     myna_safe_syscall_interrupted
    .globl myna_safe_syscall_insn
myna_safe_syscall_insn:
    syscall
    ret
    .globl myna_safe_syscall_interrupted
myna_safe_syscall_interrupted:
    mov     $-512, %rax
    ret
    .size myna_safe_syscall, . - myna_safe_syscall

// int myna_user_copy(void* to, const void* from, size_t n): 0 or -EFAULT
    .globl myna_user_copy
    .type myna_user_copy, @function
    .balign 16
myna_user_copy:
    mov     %rdx, %rcx
    cmp     $8, %rdx
    jne     1f
    mov     (%rsi), %rax
    mov     %rax, (%rdi)
    xor     %eax, %eax
    ret
1:
    rep movsb
    xor     %eax, %eax
    ret

// int64_t myna_user_strncpy(char* to, const char* from, size_t n): length without the NUL, n when there is none in the
// first n bytes, or -EFAULT
    .globl myna_user_strncpy
    .type myna_user_strncpy, @function
    .balign 16
myna_user_strncpy:
    xor     %eax, %eax
2:
    cmp     %rdx, %rax
    jae     3f
    movzbl  (%rsi,%rax), %ecx
    mov     %cl, (%rdi,%rax)
    test    %ecx, %ecx
    je      3f
    inc     %rax
    jmp     2b
3:
    ret

// uint32_t myna_user_cmpxchg32(uint32_t* at, uint32_t expected, uint32_t desired, uint32_t* seen): 0 or -EFAULT
    .globl myna_user_cmpxchg32
    .type myna_user_cmpxchg32, @function
myna_user_cmpxchg32:
    mov     %rcx, %r8
    mov     %esi, %eax
    lock cmpxchg %edx, (%rdi)
    mov     %eax, (%r8)
    xor     %eax, %eax
    ret
    .globl myna_user_access_end
myna_user_access_end:

    .globl myna_user_access_fault
myna_user_access_fault:
    mov     $-14, %rax
    ret

// The restorer of the host's signal frames.
    .globl myna_host_sigreturn
    .type myna_host_sigreturn, @function
myna_host_sigreturn:
    mov     $15, %eax
    syscall

// int64_t myna_vfork_clone(uint64_t flags, void* stack_top, int* ptid, int* ctid, void (*child)(void*), void* arg)
// clone() whose child runs child(arg) on a stack of its own and never returns. The child keeps the thread pointer.
    .globl myna_vfork_clone
    .type myna_vfork_clone, @function
myna_vfork_clone:
    mov     %rcx, %r10
    sub     $16, %rsi
    mov     %r8, 0(%rsi)
    mov     %r9, 8(%rsi)
    xor     %r8d, %r8d
    mov     $56, %eax
    syscall
    test    %rax, %rax
    je      4f
    ret
4:
    xor     %ebp, %ebp
    pop     %rax
    pop     %rdi
    call    *%rax
    ud2

    .section .note.GNU-stack, "", @progbits
