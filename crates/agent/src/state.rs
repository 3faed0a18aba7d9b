//! The agent's own memory in each guest process: configuration, credentials, the stacks that it works on.
//!
//! The fact that shapes this file: a child of vfork or posix_spawn shares this memory with its parent until it
//! executes another program. What such a child changes must not be seen by the parent, so it goes to a place kept for
//! its process id. Pages marked "wiped on fork" tell a copy (fork) from a shared memory (vfork).

use core::cell::UnsafeCell;
use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicU32, AtomicU64};

use crate::arch::{Context, nr};
use crate::protocol::{
    CONFIG_ADDRESS, Config, Creds, FD_AGENT, FD_GUEST_ROOT, FD_ROOT, FD_SHARED, Parcel, SHARED_ADDRESS,
};
use crate::sys::{self, Errno, MAP_ANONYMOUS, MAP_NORESERVE, MAP_PRIVATE, PROT_READ, PROT_WRITE, call, getpid, gettid};
use crate::table::Table;

#[cfg(agent_image)]
#[used]
#[unsafe(link_section = ".config")]
static CONFIG: Config = Config::EMPTY;

/// The configuration of this step.
#[inline(always)]
pub fn config() -> &'static Config {
    // SAFETY: the image's first segment, read-only, is the configuration; the linker script and the launcher see to it.
    unsafe { &*(CONFIG_ADDRESS as *const Config) }
}

/// The ownership table of this step.
#[inline(always)]
pub fn table() -> Table {
    // SAFETY: the loader mapped the shared memory there before anything else; the launcher formatted it.
    unsafe { Table::at(SHARED_ADDRESS as *mut u8) }
}

/// The tree's descriptor.
#[inline(always)]
pub fn fd_root() -> i32 {
    config().window + FD_ROOT
}

/// The descriptor of the guest's root.
#[inline(always)]
pub fn fd_guest_root() -> i32 {
    config().window + FD_GUEST_ROOT
}

/// Whether the guest's root is another than the tree's.
#[inline]
pub fn is_chrooted() -> bool {
    creds().chrooted != 0
}

/// The image's descriptor.
pub fn fd_agent() -> i32 {
    config().window + FD_AGENT
}

/// The shared memory's descriptor.
pub fn fd_shared() -> i32 {
    config().window + FD_SHARED
}

/// Whether a descriptor is one of ours.
#[inline]
pub fn is_hidden(fd: i32) -> bool {
    (config().window..config().window + config().window_len).contains(&fd)
}

/// A value that threads of the guest change one word at a time.
#[repr(transparent)]
pub struct Shared<T>(UnsafeCell<T>);

// SAFETY: readers and writers go through `get`, whose callers read and write single words, as the kernel's own
// structures are read by threads that race with setuid(2).
unsafe impl<T> Sync for Shared<T> {}

impl<T> Shared<T> {
    /// A value.
    pub const fn new(value: T) -> Self {
        Shared(UnsafeCell::new(value))
    }
    /// Its address.
    #[inline(always)]
    pub const fn get(&self) -> *mut T {
        self.0.get()
    }
}

const NO_CREDS: Creds = Creds {
    uid: [0; 4],
    gid: [0; 4],
    caps: [0; 5],
    securebits: 0,
    umask: 0,
    chrooted: 0,
    begun: 0,
    group_count: 0,
    groups: [0; crate::protocol::MAX_GROUPS],
};

#[cfg_attr(agent_image, unsafe(link_section = ".bss.3_creds"))]
static CREDS: Shared<Creds> = Shared::new(NO_CREDS);

struct Side {
    pid: AtomicU32,
    creds: Shared<Creds>,
}

const SIDES: usize = 8;
#[cfg_attr(agent_image, unsafe(link_section = ".bss.z_side"))]
static SIDE: [Side; SIDES] = [const { Side { pid: AtomicU32::new(0), creds: Shared::new(NO_CREDS) } }; SIDES];
static SIDES_USED: AtomicU32 = AtomicU32::new(0);

/// Lies on a page of its own that is zero after fork.
#[repr(C, align(4096))]
struct Wiped {
    owner: AtomicU32,
    /// Not 0 where a stack is in use.
    held: [AtomicU32; STACKS],
    inside: [AtomicU32; STACKS],
}

#[cfg_attr(agent_image, unsafe(link_section = ".bss.1_wiped"))]
static WIPED: Wiped = Wiped {
    owner: AtomicU32::new(0),
    held: [const { AtomicU32::new(0) }; STACKS],
    inside: [const { AtomicU32::new(0) }; STACKS],
};

/// Sets this process's memory up: called by the loader.
pub fn start(creds: &Creds) {
    // What every process touches, in one go: a page fault costs more than a page.
    const HOT: usize = 5;
    let first = &raw const WIPED as usize - 2 * 4096;
    // SAFETY: the pages are the agent's own. Kernels before 5.14 do not know the call.
    let _ = unsafe {
        call!(nr::MADVISE, first, HOT * 4096, 23 /* MADV_POPULATE_WRITE */)
    };
    // SAFETY: one thread runs yet.
    unsafe { *CREDS.get() = *creds };
    // SAFETY: the page is ours alone.
    let _ = unsafe {
        call!(nr::MADVISE, &raw const WIPED, 4096, 18 /* MADV_WIPEONFORK */)
    };
    WIPED.owner.store(getpid(), Release);
}

/// The credentials of this process.
#[inline]
pub fn creds() -> &'static Creds {
    if SIDES_USED.load(Relaxed) != 0 {
        let pid = getpid();
        if let Some(side) = SIDE.iter().find(|side| side.pid.load(Acquire) == pid) {
            // SAFETY: see `Shared`.
            return unsafe { &*side.creds.get() };
        }
    }
    // SAFETY: see `Shared`.
    unsafe { &*CREDS.get() }
}

/// The credentials of another process of the step: its agent keeps them at the same address.
pub fn creds_of(pid: u32) -> Option<Creds> {
    if pid == getpid() {
        return Some(*creds());
    }
    of_other(pid, CREDS.get(), |creds| creds.begun != 0, |parcel| parcel.creds)
}

/// Something that the agent keeps in each process of the step, of another than ours. While that one is inside execve
/// its memory says nothing yet (`begun`): its parcel does. `T` is of plain numbers.
pub fn of_other<T>(pid: u32, address: *mut T, begun: fn(&T) -> bool, parcel: fn(&Parcel) -> T) -> Option<T> {
    // Each round finds it before, in or behind its execve; one that executes all the time is not waited for.
    for _ in 0..20 {
        let mut value = core::mem::MaybeUninit::<T>::uninit();
        let size = size_of::<T>();
        let local = [value.as_mut_ptr() as usize, size];
        let remote = [address as usize, size];
        // SAFETY: both vectors are valid; the value is used only where it was filled.
        let read = unsafe { call!(nr::PROCESS_VM_READV, pid, local.as_ptr(), 1, remote.as_ptr(), 1, 0) };
        match read {
            Ok(read) if read == size => {
                // SAFETY: as above.
                let value = unsafe { value.assume_init() };
                if begun(&value) {
                    return Some(value);
                }
            }
            Ok(_) | Err(Errno::EFAULT) => {}
            Err(_) => return None,
        }
        let held = crate::exec::parcel_of(pid);
        // SAFETY: a parcel in the shared memory; what was copied counts only where it was this process's all the time.
        let copy = held.map(|held| unsafe { (parcel(&*held), &(*held).owner) });
        if let Some((value, _)) = copy.filter(|(_, owner)| owner.load(Acquire) == pid) {
            return Some(value);
        }
        // SAFETY: no pointers.
        let _ = unsafe { call!(nr::SCHED_YIELD) };
    }
    None
}

/// The credentials of this process, to change them.
pub fn creds_mut() -> &'static mut Creds {
    let pid = getpid();
    if WIPED.owner.load(Relaxed) == pid {
        // SAFETY: see `Shared`.
        return unsafe { &mut *CREDS.get() };
    }
    if let Some(side) = SIDE.iter().find(|side| side.pid.load(Acquire) == pid) {
        // SAFETY: see `Shared`; the place is this process's alone.
        return unsafe { &mut *side.creds.get() };
    }
    for side in &SIDE {
        let held = side.pid.load(Acquire);
        // SAFETY: no pointers.
        let free = held == 0 || unsafe { call!(nr::KILL, held, 0) } == Err(Errno::ESRCH);
        if free && side.pid.compare_exchange(held, pid, AcqRel, Relaxed).is_ok() {
            if held == 0 {
                SIDES_USED.fetch_add(1, AcqRel);
            }
            // SAFETY: the place was just taken for this process.
            unsafe {
                *side.creds.get() = *CREDS.get();
                return &mut *side.creds.get();
            }
        }
    }
    // SAFETY: see `Shared`. Nine children of vfork at once that all change identity: the ninth changes the parent's.
    unsafe { &mut *CREDS.get() }
}

/// Gives back the place that this process took as a child of vfork: called right before it executes a program. The
/// place stays readable until then.
pub fn release_side() {
    if SIDES_USED.load(Relaxed) == 0 {
        return;
    }
    let pid = getpid();
    for side in &SIDE {
        if side.pid.compare_exchange(pid, 0, AcqRel, Relaxed).is_ok() {
            SIDES_USED.fetch_sub(1, AcqRel);
        }
    }
}

/// Bytes per stack: some frames hold several paths of 8 KiB.
const STACK: usize = 160 << 10;
const STACKS: usize = 48;

#[repr(C, align(4096))]
struct Stacks([[u8; STACK]; STACKS]);
#[cfg_attr(agent_image, unsafe(link_section = ".bss.0_pool"))]
static POOL: Shared<Stacks> = Shared::new(Stacks([[0; STACK]; STACKS]));

fn pool() -> usize {
    POOL.get() as usize
}

/// Claims a stack: the address behind its end. Called on the guest's stack, with all signals blocked.
#[cfg_attr(agent_image, unsafe(no_mangle))]
pub extern "C" fn agent_claim(context: *const Context) -> usize {
    // SAFETY: the kernel gave us this context.
    claim(unsafe { (*context).stack_pointer() } as usize)
}

/// [`agent_claim`] by the guest's stack pointer.
pub fn claim(stack_pointer: usize) -> usize {
    if WIPED.owner.load(Relaxed) == 0 {
        WIPED.owner.store(getpid(), Release);
    }
    // The last one first: it lies beside the rest of what every process touches.
    for (index, held) in WIPED.held.iter().enumerate().rev() {
        if held.load(Relaxed) == 0 && held.compare_exchange(0, 1, AcqRel, Relaxed).is_ok() {
            return pool() + (index + 1) * STACK;
        }
    }
    if let Some(index) = abandoned(stack_pointer) {
        return pool() + (index + 1) * STACK;
    }
    let flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    // SAFETY: a new mapping.
    match unsafe { call!(nr::MMAP, 0, STACK, PROT_READ | PROT_WRITE, flags, -1isize, 0) } {
        Ok(base) => base + STACK,
        Err(_) => die(b"out of memory for a stack"),
    }
}

/// Takes over a stack whose thread left it by longjmp out of a signal handler, or died.
fn abandoned(stack_pointer: usize) -> Option<usize> {
    let (pid, tid) = (getpid(), gettid());
    for (index, inside) in WIPED.inside.iter().enumerate() {
        let holder = inside.load(Acquire);
        let range = pool() + index * STACK..pool() + (index + 1) * STACK;
        let left = holder == tid && !range.contains(&stack_pointer);
        // SAFETY: no pointers.
        let dead = holder != 0 && unsafe { call!(nr::TGKILL, pid, holder, 0) } == Err(Errno::ESRCH);
        if (left || dead) && inside.compare_exchange(holder, 0, AcqRel, Relaxed).is_ok() {
            return Some(index);
        }
    }
    None
}

/// Gives a stack back.
#[cfg_attr(agent_image, unsafe(no_mangle))]
pub extern "C" fn agent_release(top: usize) {
    let offset = top.wrapping_sub(pool());
    if (STACK..=STACK * STACKS).contains(&offset) {
        WIPED.held[offset / STACK - 1].store(0, Release);
    } else {
        // SAFETY: a mapping that `agent_claim` made; we run on the guest's stack again.
        let _ = unsafe { call!(nr::MUNMAP, top - STACK, STACK) };
    }
}

/// Which stack of the pool we run on.
#[inline(always)]
fn stack_index() -> Option<usize> {
    let marker = 0u8;
    let index = (&raw const marker as usize).wrapping_sub(pool()) / STACK;
    (index < STACKS).then_some(index)
}

/// Makes the call that executes another program. A child of vfork runs on a stack in its parent's memory, which is to
/// have it back at the moment at which the kernel has taken the child out of that memory: that is when it clears the
/// word of set_tid_address(2).
pub fn leaving_stack(call: impl FnOnce() -> sys::R) -> sys::R {
    const PR_GET_TID_ADDRESS: u32 = 40;
    let shared = WIPED.owner.load(Relaxed) != getpid();
    let Some(held) = stack_index().and_then(|index| WIPED.held.get(index)).filter(|_| shared) else { return call() };
    let mut own = 0usize;
    // SAFETY: the words outlive the calls: the first is ours, the other the pool's.
    unsafe {
        let _ = call!(nr::PRCTL, PR_GET_TID_ADDRESS, &raw mut own);
        if own != 0 {
            return call();
        }
        let _ = call!(nr::SET_TID_ADDRESS, held.as_ptr());
        let result = call();
        let _ = call!(nr::SET_TID_ADDRESS, 0);
        result
    }
}

/// Makes a call that may wait for long, with the guest's own signal mask: its handlers run, and the call ends with
/// `EINTR` or goes on as the guest's flags say.
pub fn interruptible(mask: u64, call: impl FnOnce() -> sys::R) -> sys::R {
    let inside = stack_index().and_then(|index| WIPED.inside.get(index));
    if let Some(inside) = inside {
        inside.store(gettid(), Release);
    }
    let mask = mask & !(1 << (sys::SIGSYS - 1));
    let mut old = 0u64;
    // SAFETY: both masks are valid.
    let _ = unsafe { call!(nr::RT_SIGPROCMASK, 2, &raw const mask, &raw mut old, 8) };
    let result = call();
    // SAFETY: as above.
    let _ = unsafe { call!(nr::RT_SIGPROCMASK, 2, &raw const old, 0, 8) };
    if let Some(inside) = inside {
        inside.store(0, Release);
    }
    result
}

/// Ends the process with a message: only for what cannot go on.
pub fn die(message: &[u8]) -> ! {
    sys::print(b"cooperage agent: ");
    sys::print(message);
    sys::print(b"\n");
    loop {
        // SAFETY: no pointers.
        let _ = unsafe { call!(nr::EXIT_GROUP, 126) };
    }
}

/// Counts a trapped call where counting is on.
#[inline]
pub fn count(nr: usize) {
    if config().flags & crate::protocol::FLAG_COUNT != 0 {
        let at = SHARED_ADDRESS + crate::protocol::COUNTERS_OFFSET + (nr % crate::protocol::COUNTERS) * 8;
        // SAFETY: a counter in the shared memory.
        unsafe { &*(at as *const AtomicU64) }.fetch_add(1, Relaxed);
    }
}
