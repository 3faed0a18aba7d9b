//! The agent's image and the shared memory, made for one step.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use agent::protocol::{
    CONFIG_ADDRESS, CONFIG_MAGIC, Config, FLAG_NESTED, FLAG_READ_ONLY, MAX_MOUNTS, MOUNT_HOLDER, MOUNT_READ_ONLY,
    MOUNT_SYSTEM, MountEntry, Span, TEXT_ROOM,
};
use agent::table::{Table, shared_size};
use rustix::fs::{MemfdFlags, SealFlags, SeekFrom};
use rustix::mm::{MapFlags, ProtFlags};

use crate::child::{Context, Setup};
use crate::error::SetupError;
use crate::intercept::layout::{Place, bytes};
use crate::intercept::table::OwnershipTable;

/// The image as the build script made it; empty where there is no agent for this architecture.
static IMAGE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/agent.elf"));

/// log2 of the number of files that a table can hold. The room is address space, not memory.
const SLOTS_LOG2: u32 = 21;
const BLOBS: u32 = 32 << 20;

/// Where things lie in the image.
#[derive(Debug, Clone)]
pub(crate) struct Sections {
    /// Addresses of the text.
    pub(crate) text: std::ops::Range<u64>,
    config: usize,
}

fn word<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

/// Reads the image's program headers.
pub(crate) fn sections() -> Option<Sections> {
    let (mut text, mut config) = (None, None);
    let headers = usize::try_from(u64::from_le_bytes(word(IMAGE, 32)?)).ok()?;
    let count = u16::from_le_bytes(word(IMAGE, 56)?);
    for index in 0..usize::from(count) {
        let at = headers + index * 56;
        let flags = u32::from_le_bytes(word(IMAGE, at + 4)?);
        let offset = usize::try_from(u64::from_le_bytes(word(IMAGE, at + 8)?)).ok()?;
        let address = u64::from_le_bytes(word(IMAGE, at + 16)?);
        let size = u64::from_le_bytes(word(IMAGE, at + 32)?);
        if u32::from_le_bytes(word(IMAGE, at)?) != 1 {
            continue;
        }
        if flags & 1 != 0 {
            text = Some(address..address + size);
        }
        if address == CONFIG_ADDRESS as u64 && size >= size_of::<Config>() as u64 {
            config = Some(offset);
        }
    }
    Some(Sections { text: text?, config: config? })
}

/// What the configuration is made of.
pub(crate) struct Facts<'a> {
    /// The tree's canonical path.
    pub(crate) tree: &'a Path,
    /// Host name to show.
    pub(crate) hostname: &'a str,
    /// Mounts, longest target first.
    pub(crate) places: &'a [Place],
    /// First descriptor of the window.
    pub(crate) window: i32,
    /// Descriptors in it.
    pub(crate) window_len: i32,
    /// For each place its descriptor in the window, or -1.
    pub(crate) fds: &'a [i32],
    /// `FLAG_*`.
    pub(crate) flags: u32,
    /// `e_machine` of programs that an emulator runs, and its descriptor.
    pub(crate) emulator: Option<(u16, i32)>,
}

struct Texts {
    bytes: Box<[u8; TEXT_ROOM]>,
    used: usize,
}

impl Texts {
    fn add(&mut self, text: &[u8]) -> Setup<Span> {
        let room = self.bytes.get_mut(self.used..self.used + text.len()).ok_or_else(|| SetupError {
            action: "the paths of the step's mounts are too long together".into(),
            errno: libc::ENAMETOOLONG,
            hint: None,
        })?;
        room.copy_from_slice(text);
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let span = Span { start: number(self.used), len: number(text.len()) };
        self.used += text.len();
        Ok(span)
    }
}

fn config(facts: &Facts<'_>) -> Setup<Box<Config>> {
    if facts.places.len() > MAX_MOUNTS {
        return Err(SetupError {
            action: format!("{} mounts in one step", facts.places.len()),
            errno: libc::E2BIG,
            hint: Some(format!("the intercept isolation has room for {MAX_MOUNTS}, the system's own among them")),
        });
    }
    let mut config = Box::new(Config::EMPTY);
    let mut texts = Texts { bytes: Box::new([0; TEXT_ROOM]), used: 0 };
    config.magic = CONFIG_MAGIC;
    config.real_uid = rustix::process::geteuid().as_raw();
    config.real_gid = rustix::process::getegid().as_raw();
    config.window = facts.window;
    config.window_len = facts.window_len;
    config.flags = facts.flags;
    config.shared_size = shared_size(SLOTS_LOG2, BLOBS) as u64;
    config.root = texts.add(match bytes(facts.tree) {
        b"/" => b"",
        path => path,
    })?;
    config.hostname = texts.add(facts.hostname.as_bytes())?;
    if let Some((machine, fd)) = facts.emulator {
        config.emulated = machine.into();
        config.emulator = fd;
    }
    config.mount_count = u32::try_from(facts.places.len()).unwrap_or(0);
    for (index, (place, fd)) in facts.places.iter().zip(facts.fds).enumerate() {
        let target = bytes(&place.target);
        let source = match place.in_memory {
            true => format!("/proc/self/fd/{fd}").into_bytes(),
            false => bytes(&place.source).to_vec(),
        };
        config.mounts[index] = MountEntry {
            target: texts.add(target)?,
            source: texts.add(&source)?,
            fd: *fd,
            flags: place.flags,
            door: place.door,
        };
        config.first_bytes |= 1 << (target.get(1).copied().unwrap_or(0) & 63);
        if place.door != 0 {
            config.doors |= 1 << (place.door & 63);
        }
        if place.flags & MOUNT_READ_ONLY != 0 && place.flags & MOUNT_SYSTEM == 0 {
            config.flags |= FLAG_READ_ONLY;
        }
        if place.flags & MOUNT_HOLDER != 0 {
            config.flags |= FLAG_NESTED;
        }
    }
    config.text = *texts.bytes;
    Ok(config)
}

fn write_all(fd: &OwnedFd, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = rustix::io::write(fd, bytes)?;
        bytes = &bytes[written..];
    }
    Ok(())
}

/// A memfd with the image and its configuration, sealed.
pub(crate) fn build(sections: &Sections, facts: &Facts<'_>) -> Setup<OwnedFd> {
    let config = config(facts)?;
    // SAFETY: the configuration is a structure of integers without padding that matters; so many bytes are valid.
    let config = unsafe { std::slice::from_raw_parts((&raw const *config).cast::<u8>(), size_of::<Config>()) };
    let mut image = IMAGE.to_vec();
    image[sections.config..sections.config + config.len()].copy_from_slice(config);
    let action = || "put the agent into memory";
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Since 6.3 a memfd can be marked as meant for execution; older kernels refuse the flag.
    let fd = rustix::fs::memfd_create("agent", flags | MemfdFlags::EXEC)
        .or_else(|_| rustix::fs::memfd_create("agent", flags))
        .context(action)?;
    write_all(&fd, &image).context(action)?;
    let seals = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
    rustix::fs::fcntl_add_seals(&fd, seals).context(action)?;
    Ok(fd)
}

/// The memory that the processes of a step share, mapped here.
#[derive(Debug)]
pub(crate) struct Shared {
    fd: OwnedFd,
    base: *mut u8,
    size: usize,
}

impl Shared {
    /// Makes it, with what earlier steps remembered.
    pub(crate) fn new(table: &OwnershipTable) -> Setup<Self> {
        let action = || "make the shared memory of the step";
        let size = shared_size(SLOTS_LOG2, BLOBS);
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let fd = rustix::fs::memfd_create("shared", flags).context(action)?;
        rustix::fs::ftruncate(&fd, size as u64).context(action)?;
        // The guest must not be able to make our own mapping fail.
        rustix::fs::fcntl_add_seals(&fd, SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL).context(action)?;
        // SAFETY: a new mapping of the whole file, which cannot shrink.
        let base = unsafe {
            rustix::mm::mmap(
                std::ptr::null_mut(),
                size,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                fd.as_fd(),
                0,
            )
        }
        .context(action)?;
        let shared = Shared { fd, base: base.cast(), size };
        // SAFETY: the mapping is zeroed and nobody else has it yet.
        let memory = unsafe { Table::format(shared.base, SLOTS_LOG2, BLOBS) };
        match table.store(memory) {
            0 => Ok(shared),
            lost => Err(SetupError {
                action: format!("the ownership table has no room for {lost} of {} files", table.len()),
                errno: libc::ENOSPC,
                hint: None,
            }),
        }
    }

    /// The table in it.
    fn table(&self) -> Table {
        // SAFETY: formatted by the constructor, mapped as long as `self` is there; callers do not keep it longer. The
        // step may have written anything since, to the header too.
        unsafe { Table::untrusted(self.base, SLOTS_LOG2, BLOBS) }
    }

    /// What the step believed of its files, when its last process is gone.
    pub(crate) fn remembered(&self) -> OwnershipTable {
        let end = self.size as u64;
        let mut at = 0;
        let written = std::iter::from_fn(|| {
            // Files in memory always know where their holes are.
            let start = rustix::fs::seek(&self.fd, SeekFrom::Data(at)).ok().filter(|start| *start < end)?;
            at = rustix::fs::seek(&self.fd, SeekFrom::Hole(start)).unwrap_or(end);
            Some(usize::try_from(start).ok()?..usize::try_from(at).ok()?)
        });
        OwnershipTable::collect(self.table(), written, BLOBS as usize)
    }

    /// Its descriptor.
    pub(crate) fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    /// Fills in the parcel with which the step begins.
    pub(crate) fn first_parcel(&self, fill: impl FnOnce(&mut agent::protocol::Parcel)) {
        use agent::protocol::{PARCELS_OFFSET, Parcel};
        // SAFETY: the parcels lie in the mapping; no process of the step runs yet.
        fill(unsafe { &mut *self.base.add(PARCELS_OFFSET).cast::<Parcel>() });
    }

    /// How often each call was trapped, where counting was on.
    pub(crate) fn counts(&self) -> Vec<(usize, u64)> {
        use agent::protocol::{COUNTERS, COUNTERS_OFFSET};
        // SAFETY: the counters lie in the mapping.
        let counters = unsafe { std::slice::from_raw_parts(self.base.add(COUNTERS_OFFSET).cast::<u64>(), COUNTERS) };
        counters.iter().copied().enumerate().filter(|(_, count)| *count != 0).collect()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: our own mapping, used through `self` only.
        let _ = unsafe { rustix::mm::munmap(self.base.cast(), self.size) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn the_image_has_text_and_configuration() {
        let sections = sections().expect("an image");
        assert!(sections.text.start > CONFIG_ADDRESS as u64);
        assert!(sections.text.end - sections.text.start < 1 << 20);
    }
}
