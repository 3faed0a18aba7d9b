//! POSIX access control lists as extended attributes carry them: a version, then entries of tag, permissions and id,
//! all little-endian (`linux/posix_acl_xattr.h`).

use core::ffi::CStr;

/// The attribute that holds a file's own list.
pub const ACCESS: &[u8] = b"system.posix_acl_access";
/// The same for calls.
pub const ACCESS_NAME: &CStr = c"system.posix_acl_access";

const VERSION: [u8; 4] = [2, 0, 0, 0];
const USER_OBJ: u16 = 1;
const GROUP_OBJ: u16 = 4;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;

/// The permission bits that a list stands for, and whether it says more than they do. `None` where it is no list.
pub fn mode(value: &[u8]) -> Option<(u32, bool)> {
    let entries = value.strip_prefix(&VERSION)?;
    if entries.is_empty() || entries.len() % 8 != 0 {
        return None;
    }
    let (mut owner, mut group, mut mask, mut other, mut extended) = (None, None, None, None, false);
    for entry in entries.chunks_exact(8) {
        let bits = u32::from(u16::from_le_bytes([entry[2], entry[3]]));
        if bits > 7 {
            return None;
        }
        match u16::from_le_bytes([entry[0], entry[1]]) {
            USER_OBJ => owner = Some(bits),
            GROUP_OBJ => group = Some(bits),
            MASK => mask = Some(bits),
            OTHER => other = Some(bits),
            _ => extended = true,
        }
    }
    Some((owner? << 6 | mask.or(group)? << 3 | other?, extended || mask.is_some()))
}

/// Where the permissions of the owner stand in a list.
pub fn owner_entry(value: &[u8]) -> Option<usize> {
    let entries = value.strip_prefix(&VERSION)?.chunks_exact(8);
    entries.enumerate().find(|(_, entry)| entry[..2] == USER_OBJ.to_le_bytes()).map(|(index, _)| 4 + index * 8 + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(entries: &[(u16, u16)]) -> Vec<u8> {
        let mut bytes = VERSION.to_vec();
        for (tag, bits) in entries {
            bytes.extend([&tag.to_le_bytes()[..], &bits.to_le_bytes(), &[0xff; 4]].concat());
        }
        bytes
    }

    #[test]
    fn a_list_is_a_mode_or_more() {
        assert_eq!(mode(&list(&[(1, 6), (4, 5), (0x20, 4)])), Some((0o654, false)));
        assert_eq!(mode(&list(&[(1, 7), (2, 4), (4, 5), (0x10, 1), (0x20, 0)])), Some((0o710, true)));
        for wrong in
            [&[][..], &[2, 0, 0, 0], &[1, 0, 0, 0, 1, 0, 6, 0, 0, 0, 0, 0], &list(&[(1, 6), (4, 9), (0x20, 4)])]
        {
            assert_eq!(mode(wrong), None);
        }
        assert_eq!(mode(&list(&[(1, 6), (0x20, 4)])), None);
        assert_eq!(owner_entry(&list(&[(4, 5), (1, 6)])), Some(14));
    }
}
