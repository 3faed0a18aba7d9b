//! The loader: what the kernel would do for an ELF program, done in the agent's image that it executed instead.

use core::sync::atomic::Ordering::Release;

use crate::arch::nr;
use crate::exec::{EXE, Elf, MAX_SEGMENTS, Segment, Segments, my_parcel, parse_elf, segments};
use crate::protocol::{AGENT_BASE, FAILED_CWD, SHARED_ADDRESS};
use crate::state::{config, die, fd_shared};
use crate::sys::{
    Errno, MAP_ANONYMOUS, MAP_FIXED, MAP_FIXED_NOREPLACE, MAP_PRIVATE, MAP_SHARED, PROT_EXEC, PROT_READ, PROT_WRITE, R,
    SIGSYS, SigAction, USER_END, call, close, pread,
};
use crate::text::Name;

const PAGE: usize = 4096;
/// The end of the low addresses that [`crate::sites`] may use.
const LOW_END: usize = 0x0600_0000;
const AGENT_REGION: core::ops::Range<usize> = AGENT_BASE..AGENT_BASE + (1 << 40);

fn down(address: usize) -> usize {
    address & !(PAGE - 1)
}

fn up(address: usize) -> usize {
    (address + PAGE - 1) & !(PAGE - 1)
}

/// A program in memory.
struct Image {
    base: usize,
    entry: usize,
    headers: usize,
    count: usize,
    low: usize,
    high: usize,
    executable_stack: bool,
}

fn map(address: usize, len: usize, prot: usize, flags: usize, fd: i32, offset: usize) -> usize {
    // SAFETY: the loader maps where nothing of its own lies (checked by `place`).
    match unsafe { call!(nr::MMAP, address, len, prot, flags, fd, offset) } {
        Ok(address) => address,
        Err(_) => die(b"cannot map the program: out of memory, or its addresses are taken"),
    }
}

fn protection(segment: &Segment) -> usize {
    (if segment.flags & 4 != 0 { PROT_READ } else { 0 })
        | (if segment.flags & 2 != 0 { PROT_WRITE } else { 0 })
        | (if segment.flags & 1 != 0 { PROT_EXEC } else { 0 })
}

/// Chooses the load address of a program: how far it is moved.
fn place(elf: &Elf, loads: &[Segment], hint: usize) -> (usize, usize, usize) {
    let mut low = usize::MAX;
    let mut high = 0;
    let mut align = PAGE;
    for segment in loads.iter().filter(|s| s.kind == 1) {
        let end = segment.address.saturating_add(segment.memory_size) as usize;
        if end > USER_END || segment.file_size > segment.memory_size {
            die(b"broken program header");
        }
        low = low.min(down(segment.address as usize));
        high = high.max(up(end));
        if segment.align.is_power_of_two() && segment.align <= 1 << 30 {
            align = align.max(segment.align as usize);
        }
    }
    if high <= low {
        die(b"a program without loadable segments");
    }
    if !elf.relocatable {
        if low < AGENT_REGION.end && high > AGENT_REGION.start {
            die(b"the program wants the agent's own addresses");
        }
        map(low, high - low, 0, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
        return (0, low, high);
    }
    let room = high - low + if align > PAGE { align } else { 0 };
    let base = map(hint & !(align - 1), room, 0, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    let start = (base + align - 1) & !(align - 1);
    // SAFETY: the parts of the reservation that alignment leaves over.
    unsafe {
        if start > base {
            let _ = call!(nr::MUNMAP, base, start - base);
        }
        let end = start + (high - low);
        if base + room > end {
            let _ = call!(nr::MUNMAP, end, base + room - end);
        }
    }
    (start.wrapping_sub(low), start, start + (high - low))
}

fn load(fd: i32, hint: usize) -> Image {
    let mut head = [core::mem::MaybeUninit::<u8>::uninit(); 64];
    let read = pread(fd, &mut head, 0);
    // SAFETY: all 64 bytes were read where the length says so.
    let elf = if read == Ok(64) { parse_elf(unsafe { &*head.as_ptr().cast::<[u8; 64]>() }) } else { None };
    let Some(elf) = elf else { die(b"the program's interpreter is no ELF file of this machine") };
    let mut table: Segments = [const { core::mem::MaybeUninit::uninit() }; MAX_SEGMENTS];
    let Ok(loads) = segments(fd, &elf, &mut table) else { die(b"cannot read the program headers") };
    let count = loads.len();
    let (base, low, high) = place(&elf, loads, hint);
    let mut headers = 0;
    let mut executable_stack = false;
    for segment in loads {
        match segment.kind {
            0x6474_e551 => executable_stack = segment.flags & 1 != 0,
            6 => headers = base.wrapping_add(segment.address as usize),
            _ => {}
        }
    }
    for segment in loads.iter().filter(|s| s.kind == 1) {
        let address = base.wrapping_add(segment.address as usize);
        let prot = protection(segment);
        let start = down(address);
        let file_end = address + segment.file_size as usize;
        let end = up(address + segment.memory_size as usize);
        let mut zero_from = start;
        if segment.file_size != 0 {
            let offset = segment.offset as usize;
            map(start, file_end - start, prot, MAP_PRIVATE | MAP_FIXED, fd, down(offset));
            zero_from = up(file_end);
            if segment.memory_size > segment.file_size && prot & PROT_WRITE != 0 {
                // SAFETY: the rest of the last page that was just mapped for writing.
                unsafe { crate::arch::fill(file_end as *mut u8, 0, zero_from - file_end) };
            }
        }
        if end > zero_from {
            map(zero_from, end - zero_from, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
        }
        let covers = segment.offset <= elf.headers && elf.headers < segment.offset + segment.file_size;
        if headers == 0 && covers {
            headers = address + (elf.headers - segment.offset) as usize;
        }
    }
    Image { base, entry: base.wrapping_add(elf.entry as usize), headers, count, low, high, executable_stack }
}

/// `struct prctl_mm_map`.
#[repr(C)]
#[derive(Default)]
struct MemoryMap {
    start_code: u64,
    end_code: u64,
    start_data: u64,
    end_data: u64,
    start_brk: u64,
    brk: u64,
    start_stack: u64,
    arg_start: u64,
    arg_end: u64,
    env_start: u64,
    env_end: u64,
    auxv: u64,
    auxv_size: u32,
    exe_fd: u32,
}

fn end_of(string: usize) -> usize {
    // SAFETY: a C string that the kernel put on the stack.
    string + unsafe { core::ffi::CStr::from_ptr(string as *const core::ffi::c_char) }.count_bytes() + 1
}

/// Runs on the stack that the kernel made; returns the address at which the program begins.
///
/// # Safety
/// Called once, by the entry point, with the initial stack pointer.
#[cfg_attr(agent_image, unsafe(no_mangle))]
pub unsafe extern "C" fn agent_load(stack: *mut usize) -> usize {
    if config().magic != crate::protocol::CONFIG_MAGIC {
        die(b"no configuration: this program is part of a sandbox and does nothing alone");
    }
    let size = config().shared_size as usize;
    map(SHARED_ADDRESS, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd_shared(), 0);
    let Some(parcel) = my_parcel() else { die(b"no parcel for this process") };
    // SAFETY: the parcel belongs to this process; the kernel's stack is as the ABI describes it.
    unsafe {
        let parcel = &mut *parcel;
        crate::state::start(&parcel.creds);
        crate::signals::start(parcel.sigsys_ignored);
        crate::filter::start(parcel.filtered);
        let exe = &mut *EXE.get();
        exe.0 = (parcel.exe_len as usize).min(4096);
        exe.1[..exe.0].copy_from_slice(&parcel.exe[..exe.0]);
        let execfn = &mut *EXECFN.get();
        let len = (parcel.execfn_len as usize).min(4095);
        let from = EXECFN_ROOM - 1 - len;
        let execfn = &mut execfn[from..];
        execfn[..len].copy_from_slice(&parcel.execfn[..len]);
        let (program, interpreter, secure) = (parcel.program, parcel.interpreter, parcel.secure);
        let creds = parcel.creds;
        if program < 0 {
            first(stack, parcel, interpreter)
        }
        parcel.owner.store(0, Release);
        catch();
        start_program(stack, program, interpreter, secure, &creds, &execfn[..len])
    }
}

/// The beginning of a step: enters the working directory and executes the command as the guest would.
///
/// # Safety
/// `stack` is the initial stack of this process.
#[cold]
#[inline(never)]
unsafe fn first(stack: *mut usize, parcel: &crate::protocol::Parcel, report: i32) -> ! {
    // SAFETY: the ABI's layout.
    let (argv, envp) = unsafe { (stack.add(1), stack.add(2 + *stack)) };
    // SAFETY: no pointers.
    let _ = unsafe {
        call!(nr::FCNTL, report, 2 /* F_SETFD */, 1 /* FD_CLOEXEC */)
    };
    let mut command = crate::text::PathText::new();
    let mut cwd = crate::text::PathText::new();
    let result = command
        .push(&parcel.execfn[..(parcel.execfn_len as usize).min(4095)])
        .and_then(|()| cwd.push(&parcel.exe[..(parcel.exe_len as usize).min(4095)]));
    parcel.owner.store(0, Release);
    let result = result
        .and_then(|()| crate::stat::sys_chdir(cwd.c().as_ptr() as usize).map_err(|e| Errno(e.0 | FAILED_CWD as i32)))
        .and_then(|_| search(&command, argv as usize, envp));
    let errno = result.err().map_or(0, |errno| errno.0);
    // SAFETY: the number is valid for reading.
    unsafe {
        let _ = call!(nr::WRITE, report, &raw const errno, 4);
        loop {
            let _ = call!(nr::EXIT_GROUP, 127);
        }
    }
}

/// Executes a command, looked for in PATH where its name has no slash.
fn search(command: &crate::text::PathText, argv: usize, envp: *mut usize) -> R {
    let execute = |path: &crate::text::PathText| {
        crate::exec::sys_exec(crate::sys::AT_FDCWD, path.c().as_ptr() as usize, argv, envp as usize, 0, 0)
    };
    if command.bytes().contains(&b'/') {
        return execute(command);
    }
    let mut list = &b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"[..];
    let mut at = envp;
    // SAFETY: the environment ends with a null pointer and holds C strings.
    unsafe {
        while *at != 0 {
            let entry = core::ffi::CStr::from_ptr(*at as *const core::ffi::c_char).to_bytes();
            if let Some(value) = entry.strip_prefix(b"PATH=") {
                list = value;
                break;
            }
            at = at.add(1);
        }
    }
    let mut result = Err(Errno::ENOENT);
    for dir in list.split(|b| *b == b':') {
        let mut path = crate::text::PathText::new();
        path.push(if dir.is_empty() { b"." } else { dir })?;
        path.push_name(command.bytes())?;
        match execute(&path) {
            Err(Errno::ENOENT | Errno::ENOTDIR) => {}
            Err(Errno::EACCES) => result = Err(Errno::EACCES),
            other => return other,
        }
    }
    result
}

/// What `AT_EXECFN` points to. The path ends where the room ends: there the rest of what each program touches begins.
#[cfg_attr(agent_image, unsafe(link_section = ".bss.2_execfn"))]
static EXECFN: crate::state::Shared<[u8; EXECFN_ROOM]> = crate::state::Shared::new([0; EXECFN_ROOM]);
const EXECFN_ROOM: usize = 4096 + 512;

fn catch() {
    const SA_SIGINFO: u64 = 4;
    const SA_ONSTACK: u64 = 0x0800_0000;
    const SA_RESTORER: u64 = 0x0400_0000;
    #[cfg(agent_image)]
    let (handler, restorer) = {
        use crate::arch::image::{agent_restorer, agent_trap};
        (agent_trap as *const () as usize, agent_restorer as *const () as usize)
    };
    #[cfg(not(agent_image))]
    let (handler, restorer) = (0, 0);
    let action = SigAction { handler, flags: SA_SIGINFO | SA_ONSTACK | SA_RESTORER, restorer, mask: !0 };
    let mask = 1u64 << (SIGSYS - 1);
    // SAFETY: action and mask are valid.
    unsafe {
        if call!(nr::RT_SIGACTION, SIGSYS, &raw const action, 0, 8).is_err() {
            die(b"cannot handle SIGSYS");
        }
        let _ = call!(nr::RT_SIGPROCMASK, 1, &raw const mask, 0, 8);
    }
}

/// # Safety
/// `stack` is the initial stack of this process.
unsafe fn start_program(
    stack: *mut usize,
    program: i32,
    interpreter: i32,
    secure: u32,
    creds: &crate::protocol::Creds,
    execfn: &[u8],
) -> usize {
    // SAFETY: the ABI's layout: argc, argv, NULL, envp, NULL, auxv.
    let (argc, argv, envp, auxv) = unsafe {
        let argc = *stack;
        let argv = stack.add(1);
        let envp = argv.add(argc + 1);
        let mut end = envp;
        while *end != 0 {
            end = end.add(1);
        }
        (argc, argv, envp, end.add(1))
    };
    let mut random = 0u64;
    let mut at = auxv;
    // SAFETY: the vector ends with AT_NULL; AT_RANDOM points to 16 bytes.
    unsafe {
        while *at != 0 {
            if *at == 25 {
                random = (*at.add(1) as *const u64).read_unaligned();
            }
            at = at.add(2);
        }
    }
    let auxv_len = (at as usize - auxv as usize) + 16;
    let hint = 0x5555_5555_4000 + ((random as usize & 0xfff_ffff) << 12);
    let image = load(program, hint);
    close(program);
    // An emulator gives the low addresses to its own guest.
    let taken = image.low < LOW_END && image.high > crate::arch::sites::SLOTS_ADDRESS;
    if taken || config().emulator >= 0 {
        crate::sites::switch_off();
    }
    let (entry, base) = if interpreter >= 0 {
        let image = load(interpreter, 0);
        close(interpreter);
        (image.entry, image.base)
    } else {
        (image.entry, 0)
    };
    if image.executable_stack {
        const PROT_GROWSDOWN: usize = 0x0100_0000;
        let prot = PROT_READ | PROT_WRITE | PROT_EXEC | PROT_GROWSDOWN;
        // SAFETY: the stack's own page.
        let _ = unsafe { call!(nr::MPROTECT, down(stack as usize), PAGE, prot) };
    }
    // SAFETY: the vector is on the stack and ends with AT_NULL.
    unsafe {
        let mut at = auxv;
        while *at != 0 {
            let value = at.add(1);
            match *at {
                3 => *value = image.headers,
                4 => *value = size_of::<Segment>(),
                5 => *value = image.count,
                7 => *value = base,
                9 => *value = image.entry,
                11 => *value = creds.uid[0] as usize,
                12 => *value = creds.uid[1] as usize,
                13 => *value = creds.gid[0] as usize,
                14 => *value = creds.gid[1] as usize,
                23 => *value = secure as usize,
                31 => *value = execfn.as_ptr() as usize,
                _ => {}
            }
            at = at.add(2);
        }
        name(execfn);
        let _ = describe(&image, stack, argc, argv, envp, (auxv, auxv_len), random);
    }
    entry
}

fn name(execfn: &[u8]) {
    let start = execfn.iter().rposition(|b| *b == b'/').map_or(0, |slash| slash + 1);
    let mut name = Name::new();
    let _ = name.push(&execfn[start..(start + 15).min(execfn.len())]);
    // SAFETY: a C string.
    let _ = unsafe { call!(nr::PRCTL, 15, name.c().as_ptr()) };
}

/// Tells the kernel where code, data, heap and arguments lie: for /proc and brk(2).
///
/// # Safety
/// The pointers are those of the initial stack.
unsafe fn describe(
    image: &Image,
    stack: *mut usize,
    argc: usize,
    argv: *mut usize,
    envp: *mut usize,
    auxv: (*mut usize, usize),
    random: u64,
) -> R {
    // SAFETY: as above.
    unsafe {
        // Not in the way of what the patched call sites need.
        let from = if image.high < LOW_END { LOW_END } else { up(image.high) };
        let heap = from + PAGE + (((random >> 32) as usize & 0x1fff) << 12);
        let mut map = MemoryMap {
            start_code: image.low as u64,
            end_code: image.high as u64,
            start_data: image.low as u64,
            end_data: image.high as u64,
            start_brk: heap as u64,
            brk: heap as u64,
            start_stack: stack as u64,
            auxv: auxv.0 as u64,
            auxv_size: auxv.1 as u32,
            exe_fd: u32::MAX,
            ..MemoryMap::default()
        };
        let args_end = if argc > 0 { end_of(*argv.add(argc - 1)) } else { *envp };
        map.arg_start = if argc > 0 { *argv as u64 } else { args_end as u64 };
        map.arg_end = args_end as u64;
        let mut last = envp;
        while *last != 0 && *last.add(1) != 0 {
            last = last.add(1);
        }
        map.env_start = if *envp != 0 { *envp as u64 } else { args_end as u64 };
        map.env_end = if *envp != 0 { end_of(*last) as u64 } else { args_end as u64 };
        call!(nr::PRCTL, 35, 14 /* PR_SET_MM_MAP */, &raw const map, size_of::<MemoryMap>(), 0)
    }
}
