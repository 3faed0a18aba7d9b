//! x86-64: what a hot call site becomes, and the way from there into the agent without a signal.
//!
//! C libraries write a call as `mov eax, NUMBER` (5 bytes; sometimes the register of an argument comes last) and
//! `syscall` (2). A patched site begins with `jmp qword ptr [0x050f_SLOT]` (7 bytes), whose last two bytes are those of
//! `syscall`: only the `mov` is written over, and who jumps to the `syscall` itself still finds it. That is why the
//! table of targets lies where it lies.

use core::ffi::c_void;

/// Where the table of jump targets is mapped.
pub const SLOTS_ADDRESS: usize = 0x050f_0000;
/// Most sites of a process: the targets fill one page.
pub const SITES: usize = 512;
/// Bytes from the beginning of a site to the address behind it.
pub const SITE_LEN: usize = 7;
/// Bytes of the instruction that makes the call.
pub const CALL_LEN: usize = 2;

/// What a site begins with once it is patched.
pub fn patch(slot: usize) -> [u8; 5] {
    let low = (SLOTS_ADDRESS + slot * 8) as u32 & 0xffff;
    [0xff, 0x24, 0x25, low as u8, (low >> 8) as u8]
}

/// What the `mov` of a site does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loads {
    /// The call's number.
    Number,
    /// One of its arguments, by index.
    Argument(u32),
}

/// What the `mov` before a call loads, by the byte before it, its own bytes and those of the call; `None` where it is
/// another instruction. That the register holds what the bytes say shows that they are an instruction.
pub fn site(bytes: &[u8; 1 + SITE_LEN], nr: u32, args: &[usize; 6]) -> Option<Loads> {
    let [before, opcode, a, b, c, d, rest @ ..] = *bytes;
    let value = u32::from_le_bytes([a, b, c, d]);
    // A prefix before `mov` would make it another instruction.
    if before & 0xf0 == 0x40 || rest != [0x0f, 0x05] {
        return None;
    }
    let (loads, held) = match opcode {
        0xb8 => (Loads::Number, nr as usize),
        0xbf => (Loads::Argument(0), args[0]),
        0xbe => (Loads::Argument(1), args[1]),
        0xba => (Loads::Argument(2), args[2]),
        _ => return None,
    };
    (held == value as usize).then_some(loads)
}

/// The jump target of a slot.
pub fn target(slot: usize) -> usize {
    #[cfg(agent_image)]
    {
        (&raw const agent_stubs) as usize + slot * 16
    }
    #[cfg(not(agent_image))]
    slot
}

/// How a call of a patched site goes on.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Outcome {
    /// What the guest finds in the result register; the call's number where it is still to be answered.
    pub result: isize,
    /// Where it goes on; null where the call is to be answered on a stack of the agent's.
    pub resume: *const c_void,
}

#[cfg(agent_image)]
unsafe extern "C" {
    static agent_stubs: u8;
}

// The registers are those that the kernel keeps over a call, vector registers included (code for the baseline machine
// leaves the upper halves alone). rcx and r11 are the kernel's to destroy. The first 128 bytes below the guest's stack
// pointer are the guest's.
#[cfg(agent_image)]
core::arch::global_asm!(
    ".text",
    ".p2align 4, 0xcc",
    ".globl agent_stubs",
    "agent_stubs:",
    ".rept 512",
    "lea r11, [rip]",
    "jmp agent_site",
    ".p2align 4, 0xcc",
    ".endr",
    "agent_site:",
    "lea rsp, [rsp-128]",
    "push rbp",
    "mov rbp, rsp",
    "push r9",
    "push r8",
    "push r10",
    "push rdx",
    "push rsi",
    "push rdi",
    "and rsp, -16",
    "sub rsp, 304",
    "movups [rsp], xmm0",
    "movups [rsp+16], xmm1",
    "movups [rsp+32], xmm2",
    "movups [rsp+48], xmm3",
    "movups [rsp+64], xmm4",
    "movups [rsp+80], xmm5",
    "movups [rsp+96], xmm6",
    "movups [rsp+112], xmm7",
    "movups [rsp+128], xmm8",
    "movups [rsp+144], xmm9",
    "movups [rsp+160], xmm10",
    "movups [rsp+176], xmm11",
    "movups [rsp+192], xmm12",
    "movups [rsp+208], xmm13",
    "movups [rsp+224], xmm14",
    "movups [rsp+240], xmm15",
    "mov rdx, rax",
    "lea rax, [rip+agent_stubs]",
    "sub r11, rax",
    "shr r11, 4",
    "mov [rsp+256], r11",
    "mov rdi, r11",
    "lea rsi, [rbp-48]",
    "call agent_quick",
    "test rdx, rdx",
    "jnz 3f",
    // On a stack of the agent's, with all signals blocked, as in the handler.
    "mov [rsp+288], rax",
    "lea rdi, [rsp+264]",
    "mov rsi, rsp",
    "call agent_enter",
    "mov [rsp+272], rax",
    "mov rdi, [rsp+256]",
    "lea rsi, [rbp-48]",
    "mov rdx, [rsp+264]",
    "mov rcx, [rsp+288]",
    "mov [rsp+280], rbx",
    "mov rbx, rsp",
    "mov rsp, rax",
    "call agent_answer",
    "mov rsp, rbx",
    "mov rbx, [rsp+280]",
    "mov [rsp+280], rax",
    "mov [rsp+288], rdx",
    "mov rdi, [rsp+272]",
    "mov rsi, [rsp+264]",
    "call agent_leave",
    "mov rax, [rsp+280]",
    "mov rdx, [rsp+288]",
    "3:",
    "movups xmm0, [rsp]",
    "movups xmm1, [rsp+16]",
    "movups xmm2, [rsp+32]",
    "movups xmm3, [rsp+48]",
    "movups xmm4, [rsp+64]",
    "movups xmm5, [rsp+80]",
    "movups xmm6, [rsp+96]",
    "movups xmm7, [rsp+112]",
    "movups xmm8, [rsp+128]",
    "movups xmm9, [rsp+144]",
    "movups xmm10, [rsp+160]",
    "movups xmm11, [rsp+176]",
    "movups xmm12, [rsp+192]",
    "movups xmm13, [rsp+208]",
    "movups xmm14, [rsp+224]",
    "movups xmm15, [rsp+240]",
    "mov r11, rdx",
    "lea rsp, [rbp-48]",
    "pop rdi",
    "pop rsi",
    "pop rdx",
    "pop r10",
    "pop r8",
    "pop r9",
    "pop rbp",
    "lea rsp, [rsp+128]",
    "jmp r11",
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_ends_with_the_call_that_was_there() {
        let bytes = [0xc3, 0xb8, 0x06, 0x01, 0, 0, 0x0f, 0x05];
        for slot in [0, 1, SITES - 1] {
            let mut bytes = bytes;
            bytes[1..6].copy_from_slice(&patch(slot));
            assert_eq!(bytes[1..4], [0xff, 0x24, 0x25]);
            let address = u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
            assert_eq!(address as usize, SLOTS_ADDRESS + slot * 8);
        }
        const { assert!(SLOTS_ADDRESS + SITES * 8 <= 0x0510_0000) };
    }

    #[test]
    fn only_a_load_that_has_just_happened_is_a_site() {
        let number = [0xc3, 0xb8, 0x06, 0x01, 0, 0, 0x0f, 0x05];
        assert_eq!(site(&number, 262, &[0; 6]), Some(Loads::Number));
        assert_eq!(site(&number, 257, &[0; 6]), None);
        assert_eq!(site(&[0x41, 0xb8, 0x06, 0x01, 0, 0, 0x0f, 0x05], 262, &[0; 6]), None, "mov r8d, 262");
        let directory = [0xfe, 0xbf, 0x9c, 0xff, 0xff, 0xff, 0x0f, 0x05];
        assert_eq!(site(&directory, 257, &[0xffff_ff9c, 0, 0, 0, 0, 0]), Some(Loads::Argument(0)));
        assert_eq!(site(&directory, 257, &[3, 0, 0, 0, 0, 0]), None);
    }
}
