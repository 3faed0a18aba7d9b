//! The system call filter of a step: traps what the agent answers, lets everything else run at full speed.
//!
//! ```text
//! foreign architecture or ABI  -> ENOSYS
//! number, by binary search     -> not listed: allow
//!                              -> listed: its condition; then
//!                                 called from the agent's text: allow, else trap
//! ```
//! The instruction pointer is looked at last, and only for listed calls: so the kernel knows that all other calls are
//! always allowed, and does not run the filter for them at all.

use agent::protocol::{AGENT_BASE, TRAP_DATA};
use agent::traps::{TRAPS, When};
use libc::{
    BPF_ABS, BPF_JA, BPF_JEQ, BPF_JGE, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W, SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO,
    SECCOMP_RET_TRAP, sock_filter,
};

/// What the filter depends on.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// The agent's text.
    pub(crate) text: std::ops::Range<u64>,
    /// The agent's descriptors.
    pub(crate) hidden: std::ops::Range<u32>,
    /// Only sockets that reach nothing outside.
    pub(crate) no_network: bool,
}

type Code = Vec<sock_filter>;

#[allow(clippy::cast_possible_truncation)] // Opcodes are small.
fn op(code: u32, jt: u8, jf: u8, k: u32) -> sock_filter {
    sock_filter { code: code as u16, jt, jf, k }
}

fn load(offset: u32) -> sock_filter {
    op(BPF_LD | BPF_W | BPF_ABS, 0, 0, offset)
}

/// Low or high half of an argument, as `struct seccomp_data` has it on little-endian machines.
fn load_arg(index: u32, high: bool) -> sock_filter {
    load(16 + 8 * index + if high { 4 } else { 0 })
}

fn jump_eq(k: u32, jt: u8, jf: u8) -> sock_filter {
    op(BPF_JMP | BPF_JEQ | BPF_K, jt, jf, k)
}

fn jump_ge(k: u32, jt: u8, jf: u8) -> sock_filter {
    op(BPF_JMP | BPF_JGE | BPF_K, jt, jf, k)
}

fn ret(action: u32) -> sock_filter {
    op(BPF_RET | BPF_K, 0, 0, action)
}

const NR: u32 = 0;
const ARCH: u32 = 4;
const IP_LOW: u32 = 8;
const IP_HIGH: u32 = 12;

/// Traps unless the call comes from the agent.
fn trap(settings: &Settings) -> Code {
    trap_or(settings, SECCOMP_RET_ALLOW)
}

/// Traps, and does something else where the call comes from the agent.
#[allow(clippy::cast_possible_truncation)] // Halves of an address; the text lies within 4 GiB.
fn trap_or(settings: &Settings, from_agent: u32) -> Code {
    let high = (AGENT_BASE as u64 >> 32) as u32;
    // The pointer is behind the instruction.
    let (from, to) = (settings.text.start as u32 + 1, settings.text.end as u32 + 1);
    vec![
        load(IP_HIGH),
        jump_eq(high, 0, 4),
        load(IP_LOW),
        jump_ge(from, 0, 2),
        jump_ge(to, 1, 0),
        ret(from_agent),
        ret(SECCOMP_RET_TRAP | u32::from(TRAP_DATA)),
    ]
}

fn leaf(nr: u32, when: When, settings: &Settings) -> Code {
    let trap = trap(settings);
    let body: Code = match when {
        When::Always => trap,
        When::NotImage => {
            let image = settings.hidden.start + agent::protocol::FD_AGENT.unsigned_abs();
            let mut code = vec![load_arg(0, false), jump_eq(image, 0, 1), ret(SECCOMP_RET_ALLOW)];
            code.extend(trap);
            code
        }
        When::OthersLimits => {
            let mut code = vec![load_arg(0, false), jump_eq(0, 4, 0)];
            code.extend([load_arg(2, false), jump_eq(0, 0, 3), load_arg(2, true), jump_eq(0, 0, 1)]);
            code.push(ret(SECCOMP_RET_ALLOW));
            code.extend(trap_or(settings, SECCOMP_RET_ERRNO | libc::EPERM.unsigned_abs()));
            code
        }
        When::Fails(errno) => vec![ret(SECCOMP_RET_ERRNO | errno)],
        // An audit socket is to be had, but may not be written to: programs (sudo, shadow) take none for no audit.
        When::Socket(errno) => {
            let refused = ret(SECCOMP_RET_ERRNO | libc::EPROTONOSUPPORT.unsigned_abs());
            let audit = [load_arg(2, false), jump_eq(libc::NETLINK_AUDIT.unsigned_abs(), 0, 1), refused];
            let netlink = libc::AF_NETLINK.unsigned_abs();
            let mut code = vec![load_arg(0, false)];
            if settings.no_network {
                code.extend([jump_eq(libc::AF_UNIX.unsigned_abs(), 5, 0), jump_eq(netlink, 1, 0)]);
                code.push(ret(SECCOMP_RET_ERRNO | errno));
            } else {
                code.push(jump_eq(netlink, 0, 3));
            }
            code.extend(audit);
            code.push(ret(SECCOMP_RET_ALLOW));
            code
        }
        When::NotNull(arg) => {
            let mut code = vec![
                load_arg(arg, false),
                jump_eq(0, 0, 3),
                load_arg(arg, true),
                jump_eq(0, 0, 1),
                ret(SECCOMP_RET_ALLOW),
            ];
            code.extend(trap);
            code
        }
        When::NotNullOrFirst(arg, value) => {
            let mut code = vec![load_arg(0, false), jump_eq(value, 5, 0)];
            code.extend([load_arg(arg, false), jump_eq(0, 0, 3), load_arg(arg, true), jump_eq(0, 0, 1)]);
            code.push(ret(SECCOMP_RET_ALLOW));
            code.extend(trap);
            code
        }
        When::Hidden(args) => {
            let mut code = Vec::new();
            for (index, arg) in args.iter().enumerate() {
                // Inside the window: over the tests that are left and the final allow.
                let left = u8::try_from((args.len() - 1 - index) * 3 + 1).unwrap_or(u8::MAX);
                code.extend([load_arg(*arg, false), jump_ge(settings.hidden.start, 0, 1)]);
                code.push(jump_ge(settings.hidden.end, 0, left));
            }
            code.push(ret(SECCOMP_RET_ALLOW));
            code.extend(trap);
            code
        }
        When::First(values) => {
            let mut code = vec![load_arg(0, false)];
            for (index, value) in values.iter().enumerate() {
                let left = u8::try_from(values.len() - index).unwrap_or(u8::MAX);
                code.push(jump_eq(*value, left, 0));
            }
            code.push(ret(SECCOMP_RET_ALLOW));
            code.extend(trap);
            code
        }
    };
    let mut code = vec![jump_eq(nr, 0, u8::try_from(body.len()).unwrap_or(u8::MAX))];
    code.extend(body);
    code.push(ret(SECCOMP_RET_ALLOW));
    code
}

fn tree(traps: &[(u32, When)], settings: &Settings) -> Code {
    match traps {
        [] => vec![ret(SECCOMP_RET_ALLOW)],
        [(nr, when)] => leaf(*nr, *when, settings),
        _ => {
            let (low, high) = traps.split_at(traps.len() / 2);
            let left = tree(low, settings);
            let over = u32::try_from(left.len()).unwrap_or(u32::MAX);
            let mut code = vec![jump_ge(high[0].0, 0, 1), op(BPF_JMP | BPF_JA, 0, 0, over)];
            code.extend(left);
            code.extend(tree(high, settings));
            code
        }
    }
}

/// The whole program.
pub(crate) fn program(settings: &Settings) -> Code {
    let mut traps = TRAPS.to_vec();
    traps.sort_unstable_by_key(|(nr, _)| *nr);
    let refuse = ret(SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs());
    let mut code = vec![load(ARCH), jump_eq(agent::arch::AUDIT_ARCH, 1, 0), refuse, load(NR)];
    if let Some(from) = agent::arch::FOREIGN_FROM {
        code.extend([jump_ge(from, 0, 1), refuse]);
    }
    code.extend(tree(&traps, settings));
    code
}

#[cfg(test)]
mod tests {
    use super::*;
    use agent::arch::nr;

    /// Runs the filter as the kernel would.
    fn run(code: &[sock_filter], nr: u32, args: [u64; 6], ip: u64) -> u32 {
        let mut data = Vec::new();
        data.extend(nr.to_le_bytes());
        data.extend(agent::arch::AUDIT_ARCH.to_le_bytes());
        data.extend(ip.to_le_bytes());
        args.iter().for_each(|a| data.extend(a.to_le_bytes()));
        let (mut pc, mut a) = (0usize, 0u32);
        loop {
            let i = code[pc];
            pc += 1;
            let class = u32::from(i.code) & 7;
            if class == BPF_RET {
                return i.k;
            } else if class == BPF_LD {
                let at = i.k as usize;
                a = u32::from_le_bytes(data[at..at + 4].try_into().expect("aligned"));
            } else {
                match u32::from(i.code) & 0xf0 {
                    BPF_JA => pc += i.k as usize,
                    BPF_JEQ => pc += usize::from(if a == i.k { i.jt } else { i.jf }),
                    BPF_JGE => pc += usize::from(if a >= i.k { i.jt } else { i.jf }),
                    other => panic!("unexpected jump {other:#x}"),
                }
            }
        }
    }

    fn settings(no_network: bool) -> Settings {
        let base = AGENT_BASE as u64;
        Settings { text: base + 0xd000..base + 0x2d000, hidden: 1000..1010, no_network }
    }

    const TRAP: u32 = SECCOMP_RET_TRAP | TRAP_DATA as u32;
    const GUEST: u64 = 0x5555_5555_0000;

    #[test]
    fn every_listed_call_is_answered_and_no_other() {
        let code = program(&settings(false));
        assert!(code.len() < 4096, "{}", code.len());
        for number in 0..1000 {
            let listed = TRAPS.iter().find(|(nr, _)| *nr == number);
            let got = run(&code, number, [0; 6], GUEST);
            let expected = match listed {
                Some((_, When::Always | When::NotImage)) => TRAP,
                Some((_, When::Fails(errno))) => SECCOMP_RET_ERRNO | errno,
                _ => SECCOMP_RET_ALLOW,
            };
            assert_eq!(got, expected, "{number}");
        }
    }

    #[test]
    fn the_agent_itself_is_let_through() {
        let settings = settings(false);
        let code = program(&settings);
        let text = settings.text;
        for (ip, expected) in [
            (text.start + 2, SECCOMP_RET_ALLOW),
            (text.end, SECCOMP_RET_ALLOW),
            (text.start, TRAP),
            (text.end + 1, TRAP),
            (text.start + (1 << 32) + 2, TRAP),
        ] {
            assert_eq!(run(&code, nr::OPENAT, [0; 6], ip), expected, "{ip:#x}");
        }
    }

    #[test]
    fn conditions_on_arguments_hold() {
        let code = program(&settings(true));
        let with = |nr, index: usize, value: u64| {
            let mut args = [0; 6];
            args[index] = value;
            run(&code, nr, args, GUEST)
        };
        assert_eq!(with(nr::CLOSE, 0, 999), SECCOMP_RET_ALLOW);
        assert_eq!(with(nr::CLOSE, 0, 1000), TRAP);
        assert_eq!(with(nr::CLOSE, 0, 1009), TRAP);
        assert_eq!(with(nr::CLOSE, 0, 1010), SECCOMP_RET_ALLOW);
        assert_eq!(with(nr::DUP2, 1, 1005), TRAP);
        assert_eq!(with(nr::DUP2, 0, 1005), TRAP);
        assert_eq!(with(nr::DUP2, 1, 5), SECCOMP_RET_ALLOW);
        assert_eq!(with(nr::RT_SIGACTION, 1, 1 << 40), TRAP);
        assert_eq!(with(nr::RT_SIGACTION, 1, 64), TRAP);
        assert_eq!(with(nr::RT_SIGACTION, 2, 64), SECCOMP_RET_ALLOW);
        assert_eq!(with(nr::RT_SIGACTION, 0, 31), TRAP);
        assert_eq!(with(nr::RT_SIGACTION, 0, 30), SECCOMP_RET_ALLOW);
        let limits = |pid: u64, new: u64, ip| run(&code, nr::PRLIMIT64, [pid, 7, new, 0, 0, 0], ip);
        assert_eq!(limits(0, 1 << 40, GUEST), SECCOMP_RET_ALLOW);
        assert_eq!(limits(1, 0, GUEST), SECCOMP_RET_ALLOW);
        assert_eq!((limits(1, 64, GUEST), limits(1, 1 << 40, GUEST)), (TRAP, TRAP));
        let agent = settings(true).text.start + 2;
        assert_eq!((limits(1, 64, agent), limits(0, 64, agent)), (SECCOMP_RET_ERRNO | 1, SECCOMP_RET_ALLOW));
        assert_eq!(with(nr::PRCTL, 0, 47), TRAP);
        assert_eq!(with(nr::PRCTL, 0, 15), SECCOMP_RET_ALLOW);
        assert_eq!(with(nr::SOCKET, 0, 1), SECCOMP_RET_ALLOW);
        assert_eq!(with(nr::SOCKET, 0, 2), SECCOMP_RET_ERRNO | 97);
        for code in [&code, &program(&settings(false))] {
            let netlink = |protocol| run(code, nr::SOCKET, [16, 3, protocol, 0, 0, 0], GUEST);
            assert_eq!((netlink(0), netlink(9)), (SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO | 93));
            assert_eq!(run(code, nr::SOCKET, [1, 1, 9, 0, 0, 0], GUEST), SECCOMP_RET_ALLOW);
        }
        assert_eq!(run(&program(&settings(false)), nr::SOCKET, [2, 1, 0, 0, 0, 0], GUEST), SECCOMP_RET_ALLOW);
        assert_eq!(run(&code, 0x4000_0001, [0; 6], GUEST), SECCOMP_RET_ERRNO | 38);
    }
}
