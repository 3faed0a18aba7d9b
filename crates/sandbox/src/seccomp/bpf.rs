//! An assembler for seccomp's classic BPF, as far as our filters need it.
//!
//! Each check is "load; compare; return", so that no conditional jump is longer than one instruction. The kernel's
//! per-call cache (5.11) makes calls that no argument check concerns free, whatever the filter's length.

use libc::{BPF_ABS, BPF_ALU, BPF_AND, BPF_JA, BPF_JEQ, BPF_JGE, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W, sock_filter};

/// Offset of the system call number in `struct seccomp_data`.
const NUMBER: u32 = 0;
/// Offset of the architecture.
const ARCH: u32 = 4;
/// Offset of the first argument's low half (the supported machines are little endian).
const ARGUMENTS: u32 = 16;

/// What a filter does with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Allow,
    Errno(u16),
}

impl Action {
    fn value(self) -> u32 {
        match self {
            Action::Allow => libc::SECCOMP_RET_ALLOW,
            Action::Errno(errno) => libc::SECCOMP_RET_ERRNO | u32::from(errno),
        }
    }
}

/// A filter under construction.
#[derive(Debug, Default, Clone)]
pub(crate) struct Program(Vec<sock_filter>);

impl Program {
    fn push(&mut self, code: u32, jt: u8, jf: u8, k: u32) {
        #[allow(clippy::cast_possible_truncation)] // BPF opcodes are 8 bits wide.
        self.0.push(sock_filter { code: code as u16, jt, jf, k });
    }

    /// Runs `body` for calls of this architecture; it must end with a return.
    pub(crate) fn architecture(&mut self, arch: u32, body: Program) {
        self.push(BPF_LD | BPF_W | BPF_ABS, 0, 0, ARCH);
        self.push(BPF_JMP | BPF_JEQ | BPF_K, 1, 0, arch);
        #[allow(clippy::cast_possible_truncation)] // Programs are limited to 4,096 instructions.
        self.push(BPF_JMP | BPF_JA, 0, 0, body.0.len() as u32);
        self.0.extend(body.0);
    }

    /// Loads the call's number: the checks of numbers that follow need it.
    pub(crate) fn load_number(&mut self) {
        self.push(BPF_LD | BPF_W | BPF_ABS, 0, 0, NUMBER);
    }

    pub(crate) fn number_is(&mut self, number: u32, action: Action) {
        self.push(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, number);
        self.ret(action);
    }

    pub(crate) fn number_at_least(&mut self, number: u32, action: Action) {
        self.push(BPF_JMP | BPF_JGE | BPF_K, 0, 1, number);
        self.ret(action);
    }

    /// For this call number: `action` when `argument & mask` is one of `values`, or none of them with `unless`.
    /// Leaves the number loaded.
    pub(crate) fn argument(
        &mut self,
        number: u32,
        argument: u32,
        mask: u32,
        values: &[u32],
        unless: bool,
        act: Action,
    ) {
        let mut body = Program::default();
        body.push(BPF_LD | BPF_W | BPF_ABS, 0, 0, ARGUMENTS + 8 * argument);
        if mask != u32::MAX {
            body.push(BPF_ALU | BPF_AND | BPF_K, 0, 0, mask);
        }
        for value in values {
            body.push(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, *value);
            body.ret(if unless { Action::Allow } else { act });
        }
        body.ret(if unless { act } else { Action::Allow });
        self.push(BPF_JMP | BPF_JEQ | BPF_K, 1, 0, number);
        #[allow(clippy::cast_possible_truncation)] // Programs are limited to 4,096 instructions.
        self.push(BPF_JMP | BPF_JA, 0, 0, body.0.len() as u32);
        self.0.extend(body.0);
    }

    pub(crate) fn ret(&mut self, action: Action) {
        self.push(BPF_RET | BPF_K, 0, 0, action.value());
    }

    pub(crate) fn instructions(&self) -> &[sock_filter] {
        &self.0
    }
}

#[cfg(test)]
pub(crate) mod interpret {
    //! A reference interpreter, so that filters are tested without being installed.
    use super::*;

    pub(crate) fn run(program: &Program, arch: u32, number: u32, arguments: [u64; 6]) -> u32 {
        let mut data = [0u8; 64];
        data[..4].copy_from_slice(&number.to_le_bytes());
        data[4..8].copy_from_slice(&arch.to_le_bytes());
        for (index, argument) in arguments.iter().enumerate() {
            data[16 + 8 * index..24 + 8 * index].copy_from_slice(&argument.to_le_bytes());
        }
        let (mut at, mut acc) = (0usize, 0u32);
        loop {
            let i = program.0[at];
            at += 1;
            let branch = |taken: bool| usize::from(if taken { i.jt } else { i.jf });
            match u32::from(i.code) {
                c if c == BPF_LD | BPF_W | BPF_ABS => {
                    let k = i.k as usize;
                    acc = u32::from_le_bytes([data[k], data[k + 1], data[k + 2], data[k + 3]]);
                }
                c if c == BPF_ALU | BPF_AND | BPF_K => acc &= i.k,
                c if c == BPF_JMP | BPF_JEQ | BPF_K => at += branch(acc == i.k),
                c if c == BPF_JMP | BPF_JGE | BPF_K => at += branch(acc >= i.k),
                c if c == BPF_JMP | BPF_JA => at += i.k as usize,
                c if c == BPF_RET | BPF_K => return i.k,
                c => panic!("unknown opcode {c:#x}"),
            }
        }
    }
}
