//! execve: the program is found and checked here, in the old program; the loader runs in the new one.
//!
//! The kernel executes the agent's image with the guest's own arguments and environment. What the loader has to know
//! (open descriptors of program and interpreter, credentials, names) travels in a parcel of the shared memory.

use core::ffi::CStr;
use core::mem::MaybeUninit;
use core::sync::atomic::Ordering::{AcqRel, Acquire, Release};

use crate::arch::{ELF_MACHINE, nr};
use crate::attrs::facts_of;
use crate::creds::after_exec;
use crate::guest;
use crate::paths::{self, guest_path};
use crate::perms;
use crate::protocol::{PARCEL_SIZE, PARCELS, PARCELS_OFFSET, Parcel, SHARED_ADDRESS};
use crate::signals;
use crate::state::{Shared, config, creds, creds_mut, fd_agent, leaving_stack, of_other, release_side};
use crate::sys::{
    AT_EMPTY_PATH, AT_FDCWD, AT_SYMLINK_NOFOLLOW, Errno, Fd, MAP_ANONYMOUS, MAP_PRIVATE, O_CLOEXEC, O_NOFOLLOW,
    O_RDONLY, PROT_READ, PROT_WRITE, R, S_IFREG, call, getpid, gettid, openat, pread,
};
use crate::text::{PathText, Text, fd_path, number, strip_dir};

/// Canonical path of the running program.
#[cfg_attr(agent_image, unsafe(link_section = ".bss.y_exe"))]
pub static EXE: Shared<(usize, [u8; 4096])> = Shared::new((0, [0; 4096]));

/// Bytes of a program that are looked at (`BINPRM_BUF_SIZE`).
const HEAD: usize = 256;
/// As in the kernel.
const MAX_SCRIPTS: usize = 5;
const SCRIPT_LINE: usize = 256;

/// The canonical path of a process's program.
pub fn program_of(pid: u32, own: bool, out: &mut PathText) -> R<()> {
    // SAFETY: written by the loader before the guest ran.
    let (len, bytes) = unsafe { &*EXE.get() };
    if own {
        return out.push(&bytes[..(*len).min(4096)]);
    }
    let in_parcel = |parcel: &Parcel| (parcel.exe_len as usize, parcel.exe);
    let (len, bytes) = of_other(pid, EXE.get(), |(len, _)| *len != 0, in_parcel).ok_or(Errno::ENOENT)?;
    out.push(bytes.get(..len).ok_or(Errno::ENOENT)?)
}

/// The same, by the process's directory in /proc.
pub fn program_of_dir(dir: &[u8], out: &mut PathText) -> R<()> {
    let Some(rest) = strip_dir(dir, b"/proc").and_then(|rest| rest.strip_prefix(b"/")) else {
        return Err(Errno::ENOENT);
    };
    let end = rest.iter().position(|b| *b == b'/').unwrap_or(rest.len());
    let pid = number(&rest[..end]).ok_or(Errno::ENOENT)?;
    program_of(pid, pid == getpid() || pid == gettid(), out)
}

/// A vector of arguments that needs no mapping.
type Room = [MaybeUninit<usize>; FEW_ARGUMENTS];
const FEW_ARGUMENTS: usize = 256;

/// The arguments of a script's interpreter, put before the guest's own.
struct Arguments {
    /// Texts that the new vector points to.
    texts: [Text<SCRIPT_LINE>; 2 * MAX_SCRIPTS],
    used: usize,
    /// Pointers, last first: what stands before the guest's `argv[1..]`. Three more are the emulator's.
    front: [usize; 2 * MAX_SCRIPTS + 4],
    front_len: usize,
}

/// Splits a `#!` line into interpreter and argument, as the kernel does.
pub fn parse_script(head: &[u8]) -> Option<(&[u8], Option<&[u8]>)> {
    let line = head.strip_prefix(b"#!")?;
    let limit = line.len().min(SCRIPT_LINE - 3);
    let newline = line[..limit].iter().position(|b| *b == b'\n');
    let blank = |b: &u8| matches!(b, b' ' | b'\t');
    let text = &line[..newline.unwrap_or(limit)];
    let start = text.iter().position(|b| !blank(b))?;
    let text = &text[start..];
    let end = text.iter().position(|b| blank(b) || *b == 0);
    if newline.is_none() && end.is_none() && line.len() >= SCRIPT_LINE - 3 {
        // The interpreter's name may be cut off.
        return None;
    }
    let (interpreter, rest) = text.split_at(end.unwrap_or(text.len()));
    if interpreter.is_empty() {
        return None;
    }
    let from = rest.iter().position(|b| !blank(b)).unwrap_or(rest.len());
    let rest = &rest[from..];
    let to = rest.iter().rposition(|b| !blank(b)).map_or(0, |last| last + 1);
    let rest = &rest[..to];
    let rest = &rest[..rest.iter().position(|b| *b == 0).unwrap_or(rest.len())];
    Some((interpreter, if rest.is_empty() { None } else { Some(rest) }))
}

/// What the head of an ELF file says.
pub struct Elf {
    /// Offset of the program headers.
    pub headers: u64,
    /// Their number.
    pub count: usize,
    /// Entry point, before relocation.
    pub entry: u64,
    /// Whether it can lie anywhere.
    pub relocatable: bool,
}

fn word<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

/// Reads the header of an ELF program of this machine.
pub fn parse_elf(head: &[u8]) -> Option<Elf> {
    let little_64 = head.starts_with(b"\x7fELF\x02\x01");
    let kind = u16::from_le_bytes(word(head, 16)?);
    let machine = u16::from_le_bytes(word(head, 18)?);
    let entry_size = u16::from_le_bytes(word(head, 54)?);
    if !little_64 || machine != ELF_MACHINE || !matches!(kind, 2 | 3) || entry_size != 56 {
        return None;
    }
    Some(Elf {
        headers: u64::from_le_bytes(word(head, 32)?),
        count: u16::from_le_bytes(word(head, 56)?).into(),
        entry: u64::from_le_bytes(word(head, 24)?),
        relocatable: kind == 3,
    })
}

/// Whether the step's emulator runs programs with this head.
fn is_emulated(head: &[u8]) -> bool {
    let Some(number) = word::<2>(head, 18).filter(|_| head.starts_with(b"\x7fELF")) else { return false };
    let machine = if head[5] == 2 { u16::from_be_bytes(number) } else { u16::from_le_bytes(number) };
    config().emulator >= 0 && config().emulated == u32::from(machine)
}

/// A program header.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
#[allow(missing_docs)]
pub struct Segment {
    pub kind: u32,
    pub flags: u32,
    pub offset: u64,
    pub address: u64,
    pub physical: u64,
    pub file_size: u64,
    pub memory_size: u64,
    pub align: u64,
}

/// Most program headers of a program.
pub const MAX_SEGMENTS: usize = 128;

/// Room for program headers; only what is read is written to, so that few pages are touched.
pub type Segments = [MaybeUninit<Segment>; MAX_SEGMENTS];

/// Reads the program headers.
pub fn segments<'a>(fd: i32, elf: &Elf, out: &'a mut Segments) -> R<&'a [Segment]> {
    if elf.count == 0 || elf.count > MAX_SEGMENTS {
        return Err(Errno::ENOEXEC);
    }
    let size = elf.count * size_of::<Segment>();
    // SAFETY: the array is valid for writing.
    let bytes = unsafe { core::slice::from_raw_parts_mut(out.as_mut_ptr().cast::<MaybeUninit<u8>>(), size) };
    if pread(fd, bytes, elf.headers)? != size {
        return Err(Errno::ENOEXEC);
    }
    // SAFETY: so many headers, of plain numbers, were read.
    Ok(unsafe { core::slice::from_raw_parts(out.as_ptr().cast::<Segment>(), elf.count) })
}

/// Opens the file of an execve.
fn open_program(dir: i32, path: &CStr, flags: u32) -> R<Fd> {
    if path.is_empty() {
        if flags & AT_EMPTY_PATH == 0 {
            return Err(Errno::ENOENT);
        }
        return Ok(Fd::owned(openat(AT_FDCWD, fd_path(dir).c(), O_RDONLY, 0)?));
    }
    if !perms::is_superuser() {
        perms::search(dir, path)?;
    }
    let nofollow = if flags & AT_SYMLINK_NOFOLLOW != 0 { O_NOFOLLOW } else { 0 };
    Ok(Fd::owned(paths::open(dir, path, O_RDONLY | nofollow, 0)?))
}

fn parcel(index: usize) -> *mut Parcel {
    (SHARED_ADDRESS + PARCELS_OFFSET + index * PARCEL_SIZE) as *mut Parcel
}

/// The parcel that this process holds.
pub fn my_parcel() -> Option<*mut Parcel> {
    parcel_of(getpid())
}

/// The parcel that a process holds: it is inside execve.
pub fn parcel_of(pid: u32) -> Option<*mut Parcel> {
    // Near where `claim_parcel` begins: each look at a page that is not mapped yet costs a fault.
    let mut near = (0..PARCELS).map(|offset| parcel((pid as usize + offset) % PARCELS));
    // SAFETY: the parcels lie in the shared memory; the owner is atomic.
    near.find(|p| unsafe { &(**p).owner }.load(Acquire) == pid)
}

fn claim_parcel() -> R<*mut Parcel> {
    let pid = getpid();
    for _ in 0..200 {
        for offset in 0..PARCELS {
            let p = parcel((pid as usize + offset) % PARCELS);
            // SAFETY: as above.
            let owner = unsafe { &(*p).owner };
            let held = owner.load(Acquire);
            // SAFETY: no pointers.
            let free = held == 0 || held == pid || unsafe { call!(nr::KILL, held, 0) } == Err(Errno::ESRCH);
            if free && owner.compare_exchange(held, pid, AcqRel, Acquire).is_ok() {
                return Ok(p);
            }
        }
        let pause = [0i64, 1_000_000];
        // SAFETY: a valid time.
        let _ = unsafe { call!(35u32, pause.as_ptr(), 0) };
    }
    Err(Errno::EAGAIN)
}

fn copy_text(from: &[u8], to: &mut [u8; 4096]) -> u32 {
    let len = from.len().min(4096);
    to[..len].copy_from_slice(&from[..len]);
    len as u32
}

/// Writes the canonical path of a program into the parcel.
#[inline(never)]
fn name_program(fd: i32, parcel: &mut Parcel) -> R<()> {
    let mut exe = PathText::new();
    guest_path(fd, &mut exe)?;
    parcel.exe_len = copy_text(exe.bytes(), &mut parcel.exe);
    Ok(())
}

/// Opens the interpreter that a program's headers name.
#[inline(never)]
fn open_interpreter(program: i32, elf: &Elf) -> R<Option<Fd>> {
    let mut table: Segments = [const { MaybeUninit::uninit() }; MAX_SEGMENTS];
    let Some(segment) = segments(program, elf, &mut table)?.iter().find(|s| s.kind == 3) else { return Ok(None) };
    let mut path = Text::<4096>::new();
    let size = segment.file_size as usize;
    if !(2..4096).contains(&size) {
        return Err(Errno::ENOEXEC);
    }
    let got = pread(program, &mut path.spare()[..size], segment.offset)?;
    path.filled(got.min(size - 1));
    Ok(Some(Fd::owned(paths::open(AT_FDCWD, path.c(), O_RDONLY, 0)?)))
}

/// execve, execveat. Returns only where it fails.
pub fn sys_exec(dir: i32, path: usize, argv: usize, envp: usize, flags: u32, mask: u64) -> R {
    if flags & !(AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) != 0 {
        return Err(Errno::EINVAL);
    }
    // The name of the program, and of a script for its interpreter: by a descriptor, as in the kernel, where it is none
    // of the working directory's. The frame is kept small: each of its pages is touched.
    let mut name = PathText::new();
    let start = guest::read::<u8>(path)?;
    let by_fd = start == 0 || (dir != AT_FDCWD && start != b'/');
    if by_fd {
        name.push(b"/dev/fd/")?;
        name.push_number(dir as u64)?;
        if start != 0 {
            name.push(b"/")?;
        }
    }
    let given = name.len();
    guest::path(path, &mut name)?;
    // SAFETY: the text ends with NUL.
    let given = unsafe { CStr::from_ptr(name.c().as_ptr().add(given)) };
    let mut arguments = Arguments {
        texts: [const { Text::<SCRIPT_LINE>::EMPTY }; 2 * MAX_SCRIPTS],
        used: 0,
        front: [0; 2 * MAX_SCRIPTS + 4],
        front_len: 0,
    };
    let mut program = open_program(dir, given, flags)?;
    let mut new_creds = *creds();
    let mut secure = false;
    let mut emulated = None;
    let mut depth = 0;
    let mut head = [MaybeUninit::<u8>::uninit(); HEAD];
    let elf = loop {
        let (stat, _) = facts_of(program.get())?;
        if stat.kind() != S_IFREG {
            return Err(Errno::EACCES);
        }
        perms::need(&stat, 1)?;
        let len = pread(program.get(), &mut head, 0)?;
        // SAFETY: so many bytes were read.
        let head = unsafe { core::slice::from_raw_parts(head.as_ptr().cast::<u8>(), len) };
        if let Some(elf) = parse_elf(head) {
            secure |= after_exec(&mut new_creds, stat.uid, stat.gid, stat.mode.into());
            break elf;
        }
        if is_emulated(head) {
            // `qemu -0 ARGV0 PROGRAM ARGUMENT…`; the program is what /proc/self/exe says.
            secure |= after_exec(&mut new_creds, stat.uid, stat.gid, stat.mode.into());
            let argv0 = if arguments.front_len == 0 {
                arguments.push_script(dir, by_fd, &name)?;
                if argv == 0 { 0 } else { guest::read::<usize>(argv)? }
            } else {
                0
            };
            let path = arguments.front[arguments.front_len - 1];
            for text in [if argv0 == 0 { path } else { argv0 }, c"-0".as_ptr() as usize, c"qemu".as_ptr() as usize] {
                arguments.push(text);
            }
            // SAFETY: no pointers.
            let emulator = Fd::owned(unsafe {
                call!(nr::FCNTL, config().emulator, 0 /* F_DUPFD */, 3)
            }?);
            emulated = Some(core::mem::replace(&mut program, emulator));
            let mut head = [MaybeUninit::<u8>::uninit(); 64];
            let len = pread(program.get(), &mut head, 0)?;
            // SAFETY: so many bytes were read.
            let head = unsafe { core::slice::from_raw_parts(head.as_ptr().cast::<u8>(), len) };
            break parse_elf(head).ok_or(Errno::ENOEXEC)?;
        }
        if !head.starts_with(b"#!") {
            return Err(Errno::ENOEXEC);
        }
        let (interpreter, argument) = parse_script(head).ok_or(Errno::ENOEXEC)?;
        if depth == MAX_SCRIPTS {
            return Err(Errno::ELOOP);
        }
        depth += 1;
        if arguments.front_len == 0 {
            arguments.push_script(dir, by_fd, &name)?;
        }
        if let Some(argument) = argument {
            arguments.push_text(argument)?;
        }
        arguments.push_text(interpreter)?;
        program = open_program(AT_FDCWD, arguments.texts[arguments.used - 1].c(), 0)?;
    };
    let interpreter = open_interpreter(program.get(), &elf)?;
    let p = claim_parcel()?;
    // SAFETY: the parcel is ours until the owner is reset.
    let named = name_program(emulated.as_ref().unwrap_or(&program).get(), unsafe { &mut *p });
    // The new program must not have it.
    drop(emulated);
    let mut room = [MaybeUninit::uninit(); FEW_ARGUMENTS];
    let (vector, mapped) = match named.and_then(|()| arguments.vector(argv, &mut room)) {
        Ok(vector) => vector,
        Err(errno) => {
            // SAFETY: as above.
            unsafe { &(*p).owner }.store(0, Release);
            return Err(errno);
        }
    };
    // SAFETY: as above.
    unsafe {
        (*p).program = program.get();
        (*p).interpreter = interpreter.as_ref().map_or(-1, Fd::get);
        (*p).secure = secure.into();
        (*p).creds = new_creds;
        (*p).sigsys_ignored = signals::ignored();
        (*p).filtered = crate::filter::installed().into();
        (*p).execfn_len = copy_text(name.bytes(), &mut (*p).execfn);
    }
    let before = *creds();
    release_side();
    let mask = mask & !(1 << (crate::sys::SIGSYS - 1));
    let all = !(1u64 << (crate::sys::SIGSYS - 1));
    // SAFETY: masks and vectors are valid; where execveat succeeds nothing of this is there any more.
    let result = unsafe {
        let _ = call!(nr::RT_SIGPROCMASK, 2, &raw const mask, 0, 8);
        let result = leaving_stack(|| call!(nr::EXECVEAT, fd_agent(), c"".as_ptr(), vector, envp, AT_EMPTY_PATH));
        let _ = call!(nr::RT_SIGPROCMASK, 2, &raw const all, 0, 8);
        (*p).owner.store(0, Release);
        result
    };
    if *creds() != before {
        *creds_mut() = before;
    }
    if let Some((base, size)) = mapped {
        // SAFETY: mapped by `vector`.
        let _ = unsafe { call!(nr::MUNMAP, base, size) };
    }
    let _ = O_CLOEXEC;
    result
}

impl Arguments {
    fn push(&mut self, pointer: usize) {
        self.front[self.front_len] = pointer;
        self.front_len += 1;
    }

    fn push_text(&mut self, text: &[u8]) -> R<()> {
        let place = &mut self.texts[self.used];
        place.push(text)?;
        self.used += 1;
        let pointer = place.c().as_ptr() as usize;
        self.push(pointer);
        Ok(())
    }

    /// The path of a script, as its interpreter gets it.
    fn push_script(&mut self, dir: i32, by_fd: bool, name: &PathText) -> R<()> {
        // SAFETY: no pointers.
        let closes = by_fd
            && unsafe {
                call!(nr::FCNTL, dir, 1 /* F_GETFD */)
            }? & 1
                != 0;
        if closes {
            return Err(Errno::ENOENT);
        }
        self.push(name.c().as_ptr() as usize);
        Ok(())
    }

    /// The vector for the kernel: the guest's own where there is nothing to put before it, or one in `room`, or one in
    /// a mapping that is to be undone. (A child of vfork leaves that mapping behind in its parent: a script with very
    /// many arguments is rare.)
    fn vector(&self, argv: usize, room: &mut Room) -> R<(usize, Option<(usize, usize)>)> {
        if self.front_len == 0 {
            return Ok((argv, None));
        }
        let mut count = 0;
        if argv != 0 {
            while guest::read::<usize>(argv + count * 8)? != 0 {
                count += 1;
            }
        }
        let words = self.front_len + count + 1;
        let size = (words * 8 + 4095) & !4095;
        let (base, mapped) = if words <= room.len() {
            (room.as_mut_ptr() as usize, None)
        } else {
            // SAFETY: a new mapping.
            let base =
                unsafe { call!(nr::MMAP, 0, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1isize, 0) }?;
            (base, Some((base, size)))
        };
        let mut to = base;
        for pointer in self.front[..self.front_len].iter().rev() {
            guest::write(to, *pointer)?;
            to += 8;
        }
        for index in 1..count.max(1) {
            guest::write(to, guest::read::<usize>(argv + index * 8)?)?;
            to += 8;
        }
        guest::write(to, 0usize)?;
        Ok((base, mapped))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn script_lines_split_as_in_the_kernel() {
        type Split = Option<(&'static [u8], Option<&'static [u8]>)>;
        let cases: [(&[u8], Split); 8] = [
            (b"#!/bin/sh\n", Some((b"/bin/sh", None))),
            (b"#! /bin/sh -e \nx", Some((b"/bin/sh", Some(b"-e")))),
            (b"#!\t/usr/bin/env  python3 -u\t\n", Some((b"/usr/bin/env", Some(b"python3 -u")))),
            (b"#!bin/sh", Some((b"bin/sh", None))),
            (b"#!\n/bin/sh", None),
            (b"#!   \n", None),
            (b"#!", None),
            (b"\x7fELF", None),
        ];
        for (line, expected) in cases {
            assert_eq!(parse_script(line), expected, "{line:?}");
        }
        let mut long = std::vec![b'x'; 400];
        long[..3].copy_from_slice(b"#!/");
        assert_eq!(parse_script(&long), None);
        long[100] = b' ';
        assert_eq!(parse_script(&long).map(|(i, a)| (i.len(), a.map(<[u8]>::len))), Some((98, Some(154))));
    }
}
