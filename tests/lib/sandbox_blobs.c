/* sandbox_blobs: the kernels as assembly between two labels each. See sandbox_blobs.h. */
#include "lib/sandbox_blobs.h"

#include <string.h>

#if defined(__x86_64__)

/* clang-format off: assembly keeps its own lines */
/* One blob: machine code in read-only data, blob_NAME .. blob_NAME_end. */
#define BLOB(name, code)                                                                     \
    __asm__(".pushsection .rodata\n .p2align 6\n .globl blob_" #name "\n .globl blob_" #name \
            "_end\n"                                                                         \
            "blob_" #name ":\n" code "blob_" #name "_end:\n .popsection\n");                 \
    extern const uint8_t blob_##name[], blob_##name##_end[];

#define LOAD "mov (%rdi),%r8\n mov 8(%rdi),%r9\n mov 16(%rdi),%r10\n mov (%rsi),%r11\n"
#define OK   "xor %eax,%eax\n ret\n"
/* y[i] = x[i] * w[i], then whatever follows. */
#define MULTIPLY                                                                             \
    LOAD "xor %eax,%eax\n"                                                                   \
         "1: cmp %r11,%rax\n jge 2f\n"                                                       \
         "movss (%r8,%rax,4),%xmm0\n mulss (%r9,%rax,4),%xmm0\n movss %xmm0,(%r10,%rax,4)\n" \
         "inc %rax\n jmp 1b\n 2:\n"
#define SYSCALL(nr) "mov $" #nr ",%eax\n syscall\n"

BLOB(good, MULTIPLY OK)
/* ten times the work */
BLOB(slow, "mov $200,%ecx\n 3:\n" MULTIPLY "dec %ecx\n jnz 3b\n" OK)
BLOB(oob_past, MULTIPLY "movl $1,(%r10,%r11,4)\n" OK)
BLOB(oob_before, MULTIPLY "movl $1,-4(%r10)\n" OK)
BLOB(oob_read, MULTIPLY "mov (%r8,%r11,4),%eax\n" OK)
BLOB(oob_far, MULTIPLY "movl $1,0x1000000(%r10)\n" OK)
BLOB(write_input, MULTIPLY "movl $1,(%r8)\n" OK)
BLOB(wild, MULTIPLY "movabs $0x7777777777777777,%rax\n mov %rax,(%rax)\n" OK)
BLOB(null, MULTIPLY "xor %eax,%eax\n mov (%rax),%rax\n" OK)
BLOB(write_code, MULTIPLY "lea 1b(%rip),%rax\n movb $0x90,(%rax)\n" OK)
BLOB(ud2, "ud2\n")
BLOB(trap, "int3\n")
BLOB(endless, "1: jmp 1b\n")
BLOB(divide, "xor %ecx,%ecx\n mov $1,%eax\n cltd\n idiv %ecx\n" OK)
BLOB(recurse, "1: sub $4096,%rsp\n movq $0,(%rsp)\n jmp 1b\n")
BLOB(sys_open, SYSCALL(2) MULTIPLY OK)
BLOB(sys_socket, SYSCALL(41) MULTIPLY OK)
BLOB(sys_execve, SYSCALL(59) MULTIPLY OK)
BLOB(sys_fork, SYSCALL(57) MULTIPLY OK)
BLOB(sys_ptrace, "mov $16,%edi\n" SYSCALL(101) MULTIPLY OK)
BLOB(sys_kill, "mov $-1,%edi\n mov $9,%esi\n" SYSCALL(62) MULTIPLY OK)
BLOB(sys_mprotect, SYSCALL(10) MULTIPLY OK)
BLOB(sys_process_vm_writev, SYSCALL(311) MULTIPLY OK)
BLOB(sys_x32, "mov $0x40000000,%eax\n syscall\n" MULTIPLY OK)
BLOB(sys_int80, "mov $20,%eax\n int $0x80\n" MULTIPLY OK)
BLOB(leave, "xor %edi,%edi\n" SYSCALL(231))
BLOB(wrong, MULTIPLY "movl $0x3f000000,(%r10)\n" OK)
BLOB(last_wrong, MULTIPLY "xorl $1,-4(%r10,%r11,4)\n" OK)
BLOB(unwritten,
     LOAD "mov $1,%eax\n"
          "1: cmp %r11,%rax\n jge 2f\n"
          "movss (%r8,%rax,4),%xmm0\n mulss (%r9,%rax,4),%xmm0\n movss %xmm0,(%r10,%rax,4)\n"
          "inc %rax\n jmp 1b\n 2:\n" OK)
BLOB(bad_args, "mov $3,%eax\n ret\n")
/* works on its first two calls of a process, then only pretends: the count lives in scratch */
BLOB(skips, "incl (%rdx)\n cmpl $1,(%rdx)\n ja 4f\n" MULTIPLY "4:" OK)
/* adds to what is there */
BLOB(accumulates,
     LOAD "xor %eax,%eax\n"
          "1: cmp %r11,%rax\n jge 2f\n"
          "movss (%r8,%rax,4),%xmm0\n mulss (%r9,%rax,4),%xmm0\n addss (%r10,%rax,4),%xmm0\n"
          "movss %xmm0,(%r10,%rax,4)\n inc %rax\n jmp 1b\n 2:\n" OK)
/* uses the par it is given; bad arguments when there is none */
BLOB(good_par,
     "sub $40,%rsp\n mov (%rdi),%rax\n mov %rax,(%rsp)\n mov 8(%rdi),%rax\n mov %rax,8(%rsp)\n"
     "mov 16(%rdi),%rax\n mov %rax,16(%rsp)\n mov (%rsi),%r8\n mov $9,%eax\n"
     "test %rcx,%rcx\n jz 1f\n"
     "mov (%rcx),%rax\n mov 8(%rcx),%rdi\n lea 2f(%rip),%rsi\n mov %rsp,%rdx\n mov %r8,%rcx\n"
     "call *%rax\n xor %eax,%eax\n 1: add $40,%rsp\n ret\n"
     "2: mov (%rdi),%r8\n mov 8(%rdi),%r9\n mov 16(%rdi),%r10\n"
     "movss (%r8,%rsi,4),%xmm0\n mulss (%r9,%rsi,4),%xmm0\n movss %xmm0,(%r10,%rsi,4)\n"
     "xor %eax,%eax\n ret\n")
/* a worker that faults */
BLOB(par_fault, "sub $8,%rsp\n mov $9,%eax\n test %rcx,%rcx\n jz 1f\n"
                "mov (%rcx),%rax\n mov 8(%rcx),%rdi\n lea 2f(%rip),%rsi\n mov $64,%ecx\n"
                "call *%rax\n xor %eax,%eax\n 1: add $8,%rsp\n ret\n"
                "2: ud2\n")
/* pack at offset 0: packed = w; kernel at 64: y = x * packed, never touching w */
BLOB(good_packed,
     "mov 8(%rdi),%r9\n mov 24(%rdi),%r10\n mov (%rsi),%r11\n xor %eax,%eax\n"
     "1: cmp %r11,%rax\n jge 2f\n mov (%r9,%rax,4),%ecx\n mov %ecx,(%r10,%rax,4)\n"
     "inc %rax\n jmp 1b\n 2:\n" OK ".p2align 6\n"
     "mov (%rdi),%r8\n mov 24(%rdi),%r9\n mov 16(%rdi),%r10\n mov (%rsi),%r11\n xor %eax,%eax\n"
     "1: cmp %r11,%rax\n jge 2f\n"
     "movss (%r8,%rax,4),%xmm0\n mulss (%r9,%rax,4),%xmm0\n movss %xmm0,(%r10,%rax,4)\n"
     "inc %rax\n jmp 1b\n 2:\n" OK)

#define LIST(X)                                                                                    \
    X(good)                                                                                        \
    X(slow)                                                                                        \
    X(oob_past)                                                                                    \
    X(oob_before)                                                                                  \
    X(oob_read)                                                                                    \
    X(oob_far)                                                                                     \
    X(write_input)                                                                                 \
    X(wild)                                                                                        \
    X(null)                                                                                        \
    X(write_code)                                                                                  \
    X(ud2)                                                                                         \
    X(trap) X(endless) X(divide) X(recurse) X(sys_open) X(sys_socket) X(sys_execve) X(sys_fork)    \
        X(sys_ptrace) X(sys_kill) X(sys_mprotect) X(sys_process_vm_writev) X(sys_x32) X(sys_int80) \
            X(leave) X(wrong) X(last_wrong) X(unwritten) X(bad_args) X(skips) X(accumulates)       \
                X(good_par) X(par_fault) X(good_packed)

static const struct {
    const char *name;
    const uint8_t *p, *end;
} BLOBS[] = {
#define X(name) {#name, blob_##name, blob_##name##_end},
    LIST(X)
#undef X
};

/* clang-format on */

bool sandbox_blobs_usable(void) { return true; }

struct wire_blob sandbox_blob(const char *name)
{
    for (size_t i = 0; i < QN_COUNT(BLOBS); i++) {
        if (strcmp(BLOBS[i].name, name) != 0) continue;
        static int64_t packed_bytes = SANDBOX_N * 4;
        struct wire_blob b = {.arch = ARCH_X86_64,
                              .code = {BLOBS[i].p, (uint32_t)(BLOBS[i].end - BLOBS[i].p)},
                              .pack = -1};
        if (strcmp(name, "skips") == 0) b.scratch_a = 64;
        if (strcmp(name, "good_packed") == 0) {
            b.pack = 0;
            b.kernel = 64;
            b.packed = (struct wire_i64s){&packed_bytes, 1};
        }
        return b;
    }
    QN_UNREACHABLE("no blob '%s'", name);
}

#else

bool sandbox_blobs_usable(void) { return false; }
struct wire_blob sandbox_blob(const char *name) { return (struct wire_blob){.pack = -1}; }

#endif

struct wire_task sandbox_task(int64_t n)
{
    static struct wire_buffer buffers[3];
    static int64_t dyn[1];
    static const char *const names[] = {"x", "w", "y"};
    static const enum role roles[] = {ROLE_IN, ROLE_CONST, ROLE_OUT};
    for (int i = 0; i < 3; i++)
        buffers[i] = (struct wire_buffer){.name = names[i],
                                          .role = (uint8_t)roles[i],
                                          .dtype = DTYPE_F32,
                                          .count = (uint64_t)n,
                                          .bytes = (uint64_t)n * 4,
                                          .check = CHECK_SUMPROD,
                                          .reduce_k = 1};
    dyn[0] = n;
    return (struct wire_task){.token = "multiply:N=1000",
                              .buffers = buffers,
                              .buffers_n = 3,
                              .dyn = {dyn, 1},
                              .ref = sandbox_blob("good"),
                              .exact = 1,
                              .tol = 1e-5};
}
