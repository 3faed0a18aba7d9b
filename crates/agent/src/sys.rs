//! The kernel's interface as the agent uses it: errors, descriptors, structures, the few calls needed everywhere.
//!
//! All structures are the kernel's own layouts for 64-bit Linux, not a C library's.

use core::ffi::CStr;
use core::mem::MaybeUninit;

use crate::arch::{nr, syscall};

/// A system call's error number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Errno(pub i32);

/// What a call gives.
pub type R<T = usize> = Result<T, Errno>;

macro_rules! errnos {
    ($($name:ident = $value:literal,)*) => { impl Errno { $(#[allow(missing_docs)] pub const $name: Errno = Errno($value);)* } };
}
errnos! {
    EPERM = 1, ENOENT = 2, ESRCH = 3, EINTR = 4, ENOEXEC = 8, EBADF = 9, EAGAIN = 11, ENOMEM = 12, EACCES = 13, EFAULT = 14,
    EBUSY = 16, EEXIST = 17, EXDEV = 18, ENODEV = 19, ENOTDIR = 20, EISDIR = 21, EINVAL = 22, ENFILE = 23, EMFILE = 24,
    ETXTBSY = 26, EROFS = 30, ERANGE = 34, ENAMETOOLONG = 36, ENOSYS = 38, ENOTEMPTY = 39, ELOOP = 40, ENODATA = 61,
    EOVERFLOW = 75, E2BIG = 7, ENXIO = 6, EOPNOTSUPP = 95, ECONNREFUSED = 111, ENOTSOCK = 88,
}

/// Turns a raw result into a [`R`].
#[inline(always)]
pub fn check(result: isize) -> R {
    if (-4095..0).contains(&result) { Err(Errno(-(result as i32))) } else { Ok(result as usize) }
}

/// Turns a [`R`] into what the guest finds in its result register.
#[inline(always)]
pub fn encode(result: R) -> isize {
    match result {
        Ok(value) => value as isize,
        Err(errno) => -(errno.0 as isize),
    }
}

/// A call with up to six word arguments.
///
/// # Safety
/// As [`syscall`].
#[inline(always)]
pub unsafe fn raw_call(nr: u32, args: [usize; 6]) -> R {
    // SAFETY: the caller's promise.
    check(unsafe { syscall(nr, args) })
}

/// `call!(NR, a, b…)`: a call with fewer than six arguments, each cast to a word.
macro_rules! call {
    (@pad $nr:expr, $a:expr, $b:expr, $c:expr, $d:expr, $e:expr, $f:expr $(, $rest:expr)*) => {
        $crate::sys::raw_call($nr, [$a as usize, $b as usize, $c as usize, $d as usize, $e as usize, $f as usize])
    };
    ($nr:expr $(, $arg:expr)*) => { call!(@pad $nr $(, $arg)*, 0, 0, 0, 0, 0, 0) };
}
pub(crate) use call;

/// The current directory in the place of a descriptor.
pub const AT_FDCWD: i32 = -100;
pub const AT_SYMLINK_NOFOLLOW: u32 = 0x100;
pub const AT_REMOVEDIR: u32 = 0x200;
pub const AT_EACCESS: u32 = 0x200;
pub const AT_SYMLINK_FOLLOW: u32 = 0x400;
pub const AT_EMPTY_PATH: u32 = 0x1000;

pub const O_ACCMODE: u32 = 3;
pub const O_RDONLY: u32 = 0;
pub const O_WRONLY: u32 = 1;
pub const O_RDWR: u32 = 2;
pub const O_CREAT: u32 = 0o100;
pub const O_EXCL: u32 = 0o200;
pub const O_TRUNC: u32 = 0o1000;
pub const O_NONBLOCK: u32 = 0o4000;
pub const O_DIRECTORY: u32 = 0o200000;
pub const O_NOFOLLOW: u32 = 0o400000;
pub const O_CLOEXEC: u32 = 0o2000000;
pub const O_PATH: u32 = 0o10000000;
/// `__O_TMPFILE` alone, without `O_DIRECTORY`.
pub const O_TMPFILE_BIT: u32 = 0o20000000;
pub const O_KNOWN: u32 = 0o3777703 | O_PATH | O_TMPFILE_BIT | 0o20000 | 0o100000;

pub const RESOLVE_NO_SYMLINKS: u64 = 4;
pub const RESOLVE_BENEATH: u64 = 8;
pub const RESOLVE_IN_ROOT: u64 = 16;

pub const S_IFMT: u32 = 0o170000;
pub const S_IFSOCK: u32 = 0o140000;
pub const S_IFLNK: u32 = 0o120000;
pub const S_IFREG: u32 = 0o100000;
pub const S_IFBLK: u32 = 0o060000;
pub const S_IFDIR: u32 = 0o040000;
pub const S_IFCHR: u32 = 0o020000;
pub const S_IFIFO: u32 = 0o010000;

pub const PROT_READ: usize = 1;
pub const PROT_WRITE: usize = 2;
pub const PROT_EXEC: usize = 4;
pub const MAP_SHARED: usize = 1;
pub const MAP_PRIVATE: usize = 2;
pub const MAP_FIXED: usize = 0x10;
pub const MAP_ANONYMOUS: usize = 0x20;
pub const MAP_NORESERVE: usize = 0x4000;
pub const MAP_FIXED_NOREPLACE: usize = 0x100000;

pub const SIGSYS: usize = 31;
pub const SIGKILL: usize = 9;

/// The whole of memory that a guest can name.
pub const USER_END: usize = 0x7fff_ffff_f000;

/// `struct statx_timestamp`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Timestamp {
    pub sec: i64,
    pub nsec: u32,
    pad: i32,
}

/// `struct statx`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Statx {
    pub mask: u32,
    pub blksize: u32,
    pub attributes: u64,
    pub nlink: u32,
    pub uid: u32,
    pub gid: u32,
    pub mode: u16,
    pad: u16,
    pub ino: u64,
    pub size: u64,
    pub blocks: u64,
    pub attributes_mask: u64,
    pub atime: Timestamp,
    pub btime: Timestamp,
    pub ctime: Timestamp,
    pub mtime: Timestamp,
    pub rdev_major: u32,
    pub rdev_minor: u32,
    pub dev_major: u32,
    pub dev_minor: u32,
    pub mnt_id: u64,
    rest: [u64; 13],
}

/// `STATX_BASIC_STATS | STATX_BTIME`.
pub const STATX_ALL: u32 = 0xfff;
pub const STATX_BTIME: u32 = 0x800;

impl Statx {
    /// `S_IFMT` part of the mode.
    #[inline]
    pub fn kind(&self) -> u32 {
        u32::from(self.mode) & S_IFMT
    }

    /// Device number of the file system, in the form of `st_dev`.
    #[inline]
    pub fn dev(&self) -> u64 {
        makedev(self.dev_major, self.dev_minor)
    }
}

/// A device number in the form of `st_dev` and `mknod`.
pub const fn makedev(major: u32, minor: u32) -> u64 {
    (minor as u64 & 0xff)
        | ((major as u64 & 0xfff) << 8)
        | ((minor as u64 & !0xff) << 12)
        | ((major as u64 & !0xfff) << 32)
}

/// The parts of a device number.
pub const fn split_dev(dev: u64) -> (u32, u32) {
    ((((dev >> 8) & 0xfff) | ((dev >> 32) & !0xfff)) as u32, ((dev & 0xff) | ((dev >> 12) & !0xff)) as u32)
}

/// `struct open_how`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct OpenHow {
    pub flags: u64,
    pub mode: u64,
    pub resolve: u64,
}

/// `struct sigaction` of the kernel on x86-64.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct SigAction {
    pub handler: usize,
    pub flags: u64,
    pub restorer: usize,
    pub mask: u64,
}

/// `struct timespec`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct Timespec {
    pub sec: i64,
    pub nsec: i64,
}

/// A descriptor that is closed when dropped, unless it was only lent.
#[derive(Debug)]
pub struct Fd {
    number: i32,
    owned: bool,
}

impl Fd {
    /// A descriptor of ours.
    pub fn owned(number: usize) -> Fd {
        Fd { number: number as i32, owned: true }
    }
    /// A descriptor of somebody else's, left open.
    pub fn lent(number: i32) -> Fd {
        Fd { number, owned: false }
    }
    /// The number.
    pub fn get(&self) -> i32 {
        self.number
    }
    /// Gives up the descriptor.
    pub fn into_raw(self) -> usize {
        let number = self.number;
        core::mem::forget(self);
        number as usize
    }
}

impl Drop for Fd {
    fn drop(&mut self) {
        if self.owned {
            close(self.number);
        }
    }
}

/// Closes a descriptor.
pub fn close(fd: i32) {
    // SAFETY: no pointers.
    let _ = unsafe { call!(nr::CLOSE, fd) };
}

/// Text for the step's standard error.
pub fn print(text: &[u8]) {
    // SAFETY: the slice is valid for reading.
    let _ = unsafe { call!(nr::WRITE, 2, text.as_ptr(), text.len()) };
}

/// The process id.
pub fn getpid() -> u32 {
    // SAFETY: no arguments.
    unsafe { call!(nr::GETPID) }.unwrap_or(0) as u32
}

/// The thread id.
pub fn gettid() -> u32 {
    // SAFETY: no arguments.
    unsafe { call!(nr::GETTID) }.unwrap_or(0) as u32
}

/// `openat2`, again while the kernel says that the tree changed under it.
pub fn openat2(dir: i32, path: &CStr, flags: u32, mode: u32, resolve: u64) -> R {
    let mut flags = flags & O_KNOWN;
    if flags & O_PATH != 0 {
        flags &= O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    }
    let creates = flags & O_CREAT != 0 || flags & O_TMPFILE_BIT != 0;
    let how = OpenHow { flags: u64::from(flags), mode: if creates { u64::from(mode & 0o7777) } else { 0 }, resolve };
    let mut tries = 0;
    loop {
        // SAFETY: the path ends with NUL, the structure is valid and of the size given.
        match unsafe { call!(nr::OPENAT2, dir, path.as_ptr(), &raw const how, size_of::<OpenHow>()) } {
            Err(Errno::EAGAIN) if tries < 1000 && flags & O_NONBLOCK == 0 => tries += 1,
            Err(Errno::EAGAIN) if tries < 100 => tries += 1,
            other => return other,
        }
    }
}

/// `openat` for paths that we know to be harmless.
pub fn openat(dir: i32, path: &CStr, flags: u32, mode: u32) -> R {
    // SAFETY: the path ends with NUL.
    unsafe { call!(nr::OPENAT, dir, path.as_ptr(), flags, mode) }
}

/// `statx` of everything that the agent needs.
pub fn statx(dir: i32, path: &CStr, flags: u32) -> R<Statx> {
    statx_mask(dir, path, flags, STATX_ALL)
}

/// `statx` with a mask.
pub fn statx_mask(dir: i32, path: &CStr, flags: u32, mask: u32) -> R<Statx> {
    let mut out = MaybeUninit::<Statx>::uninit();
    // SAFETY: the path ends with NUL; the kernel fills the whole structure where it succeeds.
    unsafe {
        call!(nr::STATX, dir, path.as_ptr(), flags, mask | STATX_ALL, out.as_mut_ptr())?;
        Ok(out.assume_init())
    }
}

/// `statx` of an open descriptor.
pub fn fstatx(fd: i32) -> R<Statx> {
    statx(fd, c"", AT_EMPTY_PATH)
}

/// `readlinkat` into `buffer`; the length.
pub fn readlinkat(dir: i32, path: &CStr, buffer: &mut [MaybeUninit<u8>]) -> R {
    // SAFETY: the path ends with NUL, the buffer can be written for its length.
    unsafe { call!(nr::READLINKAT, dir, path.as_ptr(), buffer.as_mut_ptr(), buffer.len()) }
}

/// `pread64`; the number of bytes.
pub fn pread(fd: i32, buffer: &mut [MaybeUninit<u8>], offset: u64) -> R {
    // SAFETY: the buffer can be written for its length.
    unsafe { call!(nr::PREAD64, fd, buffer.as_mut_ptr(), buffer.len(), offset) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_numbers_survive_both_ways() {
        for (major, minor) in [(1, 3), (8, 0), (259, 300), (0xfff, 0xfffff), (0x1234, 0x12345)] {
            assert_eq!(split_dev(makedev(major, minor)), (major, minor));
        }
        assert_eq!(makedev(1, 3), 0x103);
    }

    #[test]
    fn results_round_trip() {
        assert_eq!(check(-2), Err(Errno::ENOENT));
        assert_eq!(encode(Err(Errno::ENOENT)), -2);
        assert_eq!(check(-4096), Ok(usize::MAX - 4095));
        assert_eq!(size_of::<Statx>(), 256);
    }
}
