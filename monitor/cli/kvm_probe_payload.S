/* What a kernel does in its first seconds, one step after the other, in the mode that it does it in:
   64-bit, privilege level 0. Each step ends by its number on port 0xf4; 0x80 more says that the step
   gave a wrong result. kvm_probe.cc copies this to BASE and says in its table what the steps are. */

#define BASE 0x10000
#define IDT 0x8000
#define TSS 0x9000
#define XSAVE_AREA 0xa000
#define PAIR 0xb000
#define COUNTER 0xb040
#define KERNEL_STACK 0x1f000
#define USER_STACK 0x1c000
#define APIC 0xfee00000
#define PORT 0xf4

#define MSR_EFER 0xc0000080
#define MSR_STAR 0xc0000081
#define MSR_LSTAR 0xc0000082
#define MSR_SFMASK 0xc0000084
#define MSR_KERNEL_GS_BASE 0xc0000102

.macro step number
  movb $\number, %r15b
  movb %r15b, %al
  outb %al, $PORT
.endm
.macro gate vector, handler
  movl $(IDT + 16 * \vector), %edi
  leaq \handler(%rip), %rsi
  call set_gate
.endm

  .section .rodata
  .code64
  .balign 16
  .globl kvm_probe_payload, kvm_probe_payload_end
kvm_probe_payload:
  /* 1: descriptor tables and far returns */
  lgdt gdt_pointer(%rip)
  pushq $0x08
  leaq 1f(%rip), %rax
  pushq %rax
  lretq
1:
  movl $0x10, %eax
  movl %eax, %ds
  movl %eax, %es
  movl %eax, %ss
  gate 3, on_breakpoint
  gate 6, on_bad_opcode
  gate 14, on_page_fault
  gate 64, on_timer
  lidt idt_pointer(%rip)
  movq $KERNEL_STACK, TSS + 4
  movl $0x28, %eax
  ltr %ax
  step 1

  /* 2: int3 */
  movl $0, COUNTER
  int3
  cmpl $1, COUNTER
  jne failed
  step 2

  /* 3: an undefined instruction and a page fault */
  ud2
  cmpl $2, COUNTER
  jne failed
  movabsq $0x140000000, %rdx
  leaq 1f(%rip), %r13
  movb $0, (%rdx)
  jmp failed
1:
  movq %cr2, %rax
  cmpq %rdx, %rax
  jne failed
  step 3

  /* 4: cpuid */
  xorl %eax, %eax
  cpuid
  testl %eax, %eax
  jz failed
  step 4

  /* 5: model specific registers and swapgs */
  movl $MSR_KERNEL_GS_BASE, %ecx
  movl $0x12345000, %eax
  xorl %edx, %edx
  wrmsr
  xorl %eax, %eax
  rdmsr
  cmpl $0x12345000, %eax
  jne failed
  swapgs
  swapgs
  step 5

  /* 6: cmpxchg16b, rep movs */
  movq $1, PAIR
  movq $2, PAIR + 8
  movl $1, %eax
  movl $2, %edx
  movl $3, %ebx
  movl $4, %ecx
  lock cmpxchg16b PAIR
  jnz failed
  cmpq $4, PAIR + 8
  jne failed
  movl $PAIR, %esi
  movl $(PAIR + 16), %edi
  movl $16, %ecx
  rep movsb
  cmpq $4, PAIR + 24
  jne failed
  step 6

  /* 7: xsetbv, xsave, xrstor, where the processor has them (CPUID 1, ECX bit 26) */
  movl $1, %eax
  cpuid
  btl $26, %ecx
  jnc 1f
  movq %cr4, %rax
  orl $0x40600, %eax /* OSXSAVE, OSXMMEXCPT, OSFXSR */
  movq %rax, %cr4
  xorl %ecx, %ecx
  xorl %edx, %edx
  movl $3, %eax
  xsetbv
  movl $0x5a5a5a5a, %eax
  movd %eax, %xmm0
  movl $3, %eax
  xsave64 XSAVE_AREA
  pxor %xmm0, %xmm0
  movl $3, %eax
  xrstor64 XSAVE_AREA
  movd %xmm0, %eax
  cmpl $0x5a5a5a5a, %eax
  jne failed
1:
  step 7

  /* 8: page tables change: CR3, INVLPG, global pages, write protection */
  movq %cr3, %rax
  movq %rax, %cr3
  invlpg PAIR
  movq %cr4, %rax
  orl $0x80, %eax
  movq %rax, %cr4
  movq %cr0, %rax
  orl $0x10000, %eax
  movq %rax, %cr0
  step 8

  /* 9: to user mode by iretq, back by syscall, there again by sysretq */
  movl $MSR_EFER, %ecx
  rdmsr
  orl $1, %eax
  wrmsr
  movl $MSR_STAR, %ecx
  xorl %eax, %eax
  movl $0x00130008, %edx
  wrmsr
  movl $MSR_LSTAR, %ecx
  leaq on_syscall(%rip), %rax
  xorl %edx, %edx
  wrmsr
  movl $MSR_SFMASK, %ecx
  movl $0x200, %eax
  wrmsr
  movq %rsp, %r12
  xorl %ebx, %ebx
  pushq $0x1b
  pushq $USER_STACK
  pushq $2
  pushq $0x23
  leaq user_mode(%rip), %rax
  pushq %rax
  iretq
user_mode:
  movl $1, %edi
  syscall
  movl %cs, %ebx
  andl $3, %ebx
  movl $2, %edi
  syscall
  ud2
on_syscall:
  cmpl $1, %edi
  jne 1f
  sysretq
1:
  movq %r12, %rsp
  movl $0x10, %eax
  movl %eax, %ss
  cmpl $3, %ebx
  jne failed
  step 9

  /* 10: sleep in hlt until the local APIC's timer interrupts */
  movl $0, COUNTER
  movl $APIC, %ebx
  movl $0x1ff, 0xf0(%rbx)     /* enabled */
  movl $64, 0x320(%rbx)       /* the timer: once, vector 64 */
  movl $0xb, 0x3e0(%rbx)      /* divided by 1 */
  movl $1000000, 0x380(%rbx)  /* 1 ms at KVM's 1 GHz */
1:
  sti
  hlt
  cli
  cmpl $1, COUNTER
  jne 1b
  step 10
1:
  hlt
  jmp 1b

failed:
  movb %r15b, %al
  addb $0x81, %al
  outb %al, $PORT
1:
  hlt
  jmp 1b

set_gate:
  movw %si, (%rdi)
  movw $0x08, 2(%rdi)
  movw $0x8e00, 4(%rdi)
  shrq $16, %rsi
  movw %si, 6(%rdi)
  movq $0, 8(%rdi)
  ret

on_breakpoint:
  incl COUNTER
  iretq
on_bad_opcode:
  cmpl $1, COUNTER /* step 3 has it; in any other it is a wrong result */
  jne failed
  incl COUNTER
  addq $2, (%rsp)
  iretq
on_page_fault:
  addq $8, %rsp
  movq %r13, (%rsp)
  iretq
on_timer:
  incl COUNTER
  movl $0, 0xb0(%rbx) /* end of interrupt */
  iretq

  .balign 8
gdt:
  .quad 0
  .quad 0x00af9b000000ffff /* 0x08: code, 64-bit */
  .quad 0x00cf93000000ffff /* 0x10: data */
  .quad 0x00cff3000000ffff /* 0x18: user's data */
  .quad 0x00affb000000ffff /* 0x20: user's code, 64-bit */
  .quad 0x0000890090000067 /* 0x28: TSS */
  .quad 0
gdt_end:
gdt_pointer:
  .word gdt_end - gdt - 1
  .quad gdt - kvm_probe_payload + BASE
idt_pointer:
  .word 16 * 65 - 1
  .quad IDT
kvm_probe_payload_end:

  .section .note.GNU-stack, "", @progbits
