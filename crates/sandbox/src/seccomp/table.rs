//! Numbers of the system calls that the default policy refuses, per architecture.
//!
//! The list is what the default profile of the container runtimes leaves out for a container with docker's default
//! capabilities. Calls that no kernel since 4.18 implements are not listed.

/// The call does not exist on this architecture.
pub(super) const NONE: u32 = u32::MAX;

/// Columns of [`REFUSED`].
#[derive(Debug, Clone, Copy)]
pub(super) enum Column {
    X86_64 = 1,
    I386 = 2,
    Aarch64 = 3,
    Arm = 4,
}

type Row = (&'static str, u32, u32, u32, u32);

/// The number in a column.
pub(super) fn number(row: &Row, column: Column) -> u32 {
    match column {
        Column::X86_64 => row.1,
        Column::I386 => row.2,
        Column::Aarch64 => row.3,
        Column::Arm => row.4,
    }
}

/// Refused whatever the arguments: name, x86_64, i386, aarch64, arm.
#[rustfmt::skip]
pub(super) const REFUSED: &[Row] = &[
    ("acct", 163, 51, 89, 51),
    ("add_key", 248, 286, 217, 309),
    ("bpf", 321, 357, 280, 386),
    ("clock_settime", 227, 264, 112, 262),
    ("clock_settime64", NONE, 404, NONE, 404),
    ("delete_module", 176, 129, 106, 129),
    ("fanotify_init", 300, 338, 262, 367),
    ("finit_module", 313, 350, 273, 379),
    ("fsconfig", 431, 431, 431, 431),
    ("fsmount", 432, 432, 432, 432),
    ("fsopen", 430, 430, 430, 430),
    ("fspick", 433, 433, 433, 433),
    ("get_mempolicy", 239, 275, 236, 320),
    ("init_module", 175, 128, 105, 128),
    ("io_uring_enter", 426, 426, 426, 426),
    ("io_uring_register", 427, 427, 427, 427),
    ("io_uring_setup", 425, 425, 425, 425),
    ("ioperm", 173, 101, NONE, NONE),
    ("iopl", 172, 110, NONE, NONE),
    ("kcmp", 312, 349, 272, 378),
    ("kexec_file_load", 320, NONE, 294, 401),
    ("kexec_load", 246, 283, 104, 347),
    ("keyctl", 250, 288, 219, 311),
    ("lookup_dcookie", 212, 253, 18, 249),
    ("lsm_get_self_attr", 459, 459, 459, 459),
    ("lsm_list_modules", 461, 461, 461, 461),
    ("lsm_set_self_attr", 460, 460, 460, 460),
    ("mbind", 237, 274, 235, 319),
    ("migrate_pages", 256, 294, 238, NONE),
    ("mount", 165, 21, 40, 21),
    ("mount_setattr", 442, 442, 442, 442),
    ("move_mount", 429, 429, 429, 429),
    ("move_pages", 279, 317, 239, 344),
    ("nfsservctl", 180, 169, 42, 169),
    ("open_by_handle_at", 304, 342, 265, 371),
    ("open_tree", 428, 428, 428, 428),
    ("open_tree_attr", 467, 467, 467, 467),
    ("perf_event_open", 298, 336, 241, 364),
    ("pidfd_getfd", 438, 438, 438, 438),
    ("pivot_root", 155, 217, 41, 218),
    ("process_madvise", 440, 440, 440, 440),
    ("quotactl", 179, 131, 60, 131),
    ("quotactl_fd", 443, 443, 443, 443),
    ("reboot", 169, 88, 142, 88),
    ("request_key", 249, 287, 218, 310),
    ("set_mempolicy", 238, 276, 237, 321),
    ("set_mempolicy_home_node", 450, 450, 450, 450),
    ("setdomainname", 171, 121, 162, 121),
    ("sethostname", 170, 74, 161, 74),
    ("setns", 308, 346, 268, 375),
    ("settimeofday", 164, 79, 170, 79),
    ("stime", NONE, 25, NONE, NONE),
    ("swapoff", 168, 115, 225, 115),
    ("swapon", 167, 87, 224, 87),
    ("sysfs", 139, 135, NONE, 135),
    ("_sysctl", 156, 149, NONE, 149),
    ("syslog", 103, 103, 116, 103),
    ("umount", NONE, 22, NONE, NONE),
    ("umount2", 166, 52, 39, 52),
    ("unshare", 272, 310, 97, 337),
    ("uselib", 134, 86, NONE, 86),
    ("userfaultfd", 323, 374, 282, 388),
    ("ustat", 136, 62, NONE, 62),
    ("vhangup", 153, 111, 58, 111),
    ("vm86", NONE, 166, NONE, NONE),
    ("vm86old", NONE, 113, NONE, NONE),
    ("vserver", 236, 273, NONE, 313),
];

/// Writing to disk at once: name, x86_64, i386, aarch64, arm. msync stays: it is also how a program asks whether an
/// address is mapped.
#[rustfmt::skip]
pub(super) const SYNCING: &[Row] = &[
    ("fsync", 74, 118, 82, 118),
    ("fdatasync", 75, 148, 83, 148),
    ("sync", 162, 36, 81, 36),
    ("syncfs", 306, 344, 267, 373),
    ("sync_file_range", 277, 314, 84, 341),
];

/// Refused for some arguments, see the policy.
pub(super) const CLONE: Row = ("clone", 56, 120, 220, 120);
/// Its flags lie in memory, where a filter cannot look: answered with ENOSYS so that programs use clone.
pub(super) const CLONE3: Row = ("clone3", 435, 435, 435, 435);
/// Refused for some address families.
pub(super) const SOCKET: Row = ("socket", 41, 359, 198, 281);
/// Allowed for the caller's own process, where there is no pid namespace.
pub(super) const PRLIMIT64: Row = ("prlimit64", 302, 340, 261, 369);
/// Allowed for some personalities.
pub(super) const PERSONALITY: Row = ("personality", 135, 136, 92, 136);
/// The first number that this table knows nothing of (file_setattr of Linux 6.17 is 469).
pub(super) const UNKNOWN: u32 = 470;

/// Answered with success where identities are faked.
#[rustfmt::skip]
pub(super) const FAKED: &[Row] = &[
    ("chown", 92, 182, NONE, 182),
    ("lchown", 94, 16, NONE, 16),
    ("fchown", 93, 95, 55, 95),
    ("fchownat", 260, 298, 54, 325),
    ("chown32", NONE, 212, NONE, 212),
    ("lchown32", NONE, 198, NONE, 198),
    ("fchown32", NONE, 207, NONE, 207),
    ("setuid", 105, 23, 146, 23),
    ("setgid", 106, 46, 144, 46),
    ("setreuid", 113, 70, 145, 70),
    ("setregid", 114, 71, 143, 71),
    ("setresuid", 117, 164, 147, 164),
    ("setresgid", 119, 170, 149, 170),
    ("setfsuid", 122, 138, 151, 138),
    ("setfsgid", 123, 139, 152, 139),
    ("setgroups", 116, 81, 159, 81),
    ("setuid32", NONE, 213, NONE, 213),
    ("setgid32", NONE, 214, NONE, 214),
    ("setreuid32", NONE, 203, NONE, 203),
    ("setregid32", NONE, 204, NONE, 204),
    ("setresuid32", NONE, 208, NONE, 208),
    ("setresgid32", NONE, 210, NONE, 210),
    ("setfsuid32", NONE, 215, NONE, 215),
    ("setfsgid32", NONE, 216, NONE, 216),
    ("setgroups32", NONE, 206, NONE, 206),
];
/// Faked for device nodes.
pub(super) const MKNOD: Row = ("mknod", 133, 14, NONE, 14);
/// Faked for device nodes.
pub(super) const MKNODAT: Row = ("mknodat", 259, 297, 33, 324);
