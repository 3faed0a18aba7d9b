//! Names of users and groups, looked up in the image's own /etc/passwd and /etc/group.
use crate::error::{BuildError, Kind, Result};
use crate::tree::{Tree, read_small};

/// A user as RUN needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) groups: Vec<u32>,
    pub(crate) home: String,
}

struct Passwd {
    name: String,
    uid: u32,
    gid: u32,
    home: String,
}

struct Group {
    name: String,
    gid: u32,
    members: Vec<String>,
}

fn lines(tree: Option<&dyn Tree>, path: &str) -> Result<Vec<Vec<String>>> {
    let Some(tree) = tree else { return Ok(Vec::new()) };
    let bytes = read_small(tree, path)?.unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    Ok(text.lines().map(|l| l.trim_end_matches('\r').split(':').map(str::to_owned).collect()).collect())
}

fn passwd(tree: Option<&dyn Tree>) -> Result<Vec<Passwd>> {
    let parse = |f: Vec<String>| {
        let [name, _, uid, gid, _, home, ..] = f.as_slice() else { return None };
        Some(Passwd { name: name.clone(), uid: uid.parse().ok()?, gid: gid.parse().ok()?, home: home.clone() })
    };
    Ok(lines(tree, "etc/passwd")?.into_iter().filter_map(parse).collect())
}

fn group(tree: Option<&dyn Tree>) -> Result<Vec<Group>> {
    let parse = |f: Vec<String>| {
        let [name, _, gid, rest @ ..] = f.as_slice() else { return None };
        let members = rest.first().map_or("", String::as_str).split(',').filter(|m| !m.is_empty());
        Some(Group { name: name.clone(), gid: gid.parse().ok()?, members: members.map(str::to_owned).collect() })
    };
    Ok(lines(tree, "etc/group")?.into_iter().filter_map(parse).collect())
}

/// `USER user[:group]` (or an empty text) for RUN: ids, supplementary groups and home as a container runtime has them.
pub(crate) fn account(tree: Option<&dyn Tree>, user: &str) -> Result<Account> {
    let (name, group_name) = user.split_once(':').unwrap_or((user, ""));
    let (users, groups) = (passwd(tree)?, group(tree)?);
    let wanted = if name.is_empty() { "0" } else { name };
    let number = wanted.parse::<u32>().ok();
    let found = users.iter().find(|u| u.name == wanted).or_else(|| users.iter().find(|u| Some(u.uid) == number));
    let (uid, mut gid, home) = match (found, number) {
        (Some(user), _) => (user.uid, user.gid, user.home.clone()),
        (None, Some(uid)) => (uid, 0, "/".to_owned()),
        (None, None) => return Err(unknown("user", wanted, users.iter().map(|u| u.name.as_str()))),
    };
    let mut extra: Vec<u32> = Vec::new();
    if group_name.is_empty() {
        if let Some(user) = found {
            extra = groups.iter().filter(|g| g.members.contains(&user.name)).map(|g| g.gid).collect();
        }
    } else {
        gid = group_id(&groups, group_name)?;
    }
    extra.push(gid);
    extra.sort_unstable();
    extra.dedup();
    Ok(Account { uid, gid, groups: extra, home })
}

/// `--chown=user[:group]`: a user without a group has the group of the same number (of its own, by name). A name that
/// the image does not know means root, as BuildKit has it; it is given back, for a warning.
pub(crate) fn owner(tree: Option<&dyn Tree>, text: &str) -> Result<((u32, u32), Option<BuildError>)> {
    match known_owner(tree, text) {
        Err(error) if error.kind() == Kind::Dockerfile => Ok(((0, 0), Some(error))),
        other => other.map(|owner| (owner, None)),
    }
}

fn known_owner(tree: Option<&dyn Tree>, text: &str) -> Result<(u32, u32)> {
    let (user, group_name) = text.split_once(':').unwrap_or((text, ""));
    let number = |t: &str| t.parse::<u32>().ok();
    let (uid, own_group) = match number(user) {
        Some(uid) => (uid, uid),
        None if user.is_empty() => (0, 0),
        None => {
            let users = passwd(tree)?;
            let found = users
                .iter()
                .find(|u| u.name == user)
                .ok_or_else(|| unknown("user", user, users.iter().map(|u| u.name.as_str())))?;
            (found.uid, found.gid)
        }
    };
    match group_name {
        "" => Ok((uid, own_group)),
        name => match number(name) {
            Some(gid) => Ok((uid, gid)),
            None => Ok((uid, group_id(&group(tree)?, name)?)),
        },
    }
}

fn group_id(groups: &[Group], name: &str) -> Result<u32> {
    match groups.iter().find(|g| g.name == name).map(|g| g.gid).or_else(|| name.parse().ok()) {
        Some(gid) => Ok(gid),
        None => Err(unknown("group", name, groups.iter().map(|g| g.name.as_str()))),
    }
}

fn unknown<'a>(what: &str, name: &str, known: impl Iterator<Item = &'a str>) -> BuildError {
    let file = if what == "user" { "/etc/passwd" } else { "/etc/group" };
    let mut error =
        BuildError::new(Kind::Dockerfile, format!("unable to find {what} {name}: no matching entries in {file}"));
    if let Some(near) = dockerfile::suggest::nearest(name, known) {
        error = error.hint(format!("did you mean {near:?}?"));
    }
    error.hint(format!("make the {what} in an earlier RUN, or use a number"))
}
