//! `RUN --mount=…`: fields to a typed mount, with BuildKit's checks.
//!
//! Fields may hold variables, so a mount is checked twice: by the parser, as far as its fields hold no
//! variable, and by [`resolve`] after expansion.
use crate::ast::{MountField, MountFlag, MountKind, Text};
use crate::parse::go;
use crate::{Diagnostic, Span, suggest};

/// How builds that run at the same time share a cache mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Sharing {
    /// All use it at once.
    #[default]
    Shared,
    /// Each gets its own.
    Private,
    /// One waits for the other.
    Locked,
}

/// A mount after expansion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// `type`
    pub kind: MountKind,
    /// `target`; empty where none was given (BuildKit then takes the working directory).
    pub target: String,
    /// `source`
    pub source: Option<String>,
    /// `from`
    pub from: Option<String>,
    /// `id`
    pub id: Option<String>,
    /// `sharing`
    pub sharing: Sharing,
    /// Whether it may only be read: as asked, else as the type has it (cache and tmpfs can be written).
    pub readonly: bool,
    /// Whether a missing secret or agent fails the step.
    pub required: bool,
    /// `env`: the variable that gets the secret.
    pub env: Option<String>,
    /// `mode`
    pub mode: Option<u32>,
    /// `uid`
    pub uid: Option<u32>,
    /// `gid`
    pub gid: Option<u32>,
    /// `size` in bytes.
    pub size: Option<u64>,
}

const TYPES: [(&str, MountKind); 5] = [
    ("bind", MountKind::Bind),
    ("cache", MountKind::Cache),
    ("tmpfs", MountKind::Tmpfs),
    ("secret", MountKind::Secret),
    ("ssh", MountKind::Ssh),
];

const SHARING: [(&str, Sharing); 3] =
    [("shared", Sharing::Shared), ("private", Sharing::Private), ("locked", Sharing::Locked)];

const KEYS: [&str; 19] = [
    "type",
    "from",
    "source",
    "target",
    "readonly",
    "id",
    "sharing",
    "required",
    "size",
    "mode",
    "uid",
    "gid",
    "env",
    "src",
    "dst",
    "destination",
    "ro",
    "rw",
    "readwrite",
];

impl MountKind {
    /// Its name in a Dockerfile.
    pub fn name(self) -> &'static str {
        TYPES.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }
}

/// Expands and checks a mount.
pub fn resolve(
    flag: &MountFlag,
    mut expand: impl FnMut(&Text) -> Result<String, Box<Diagnostic>>,
) -> Result<Mount, Box<Diagnostic>> {
    let fields = flag.fields.iter().map(|field| {
        let value = match &field.value {
            None => None,
            Some(text) => Some(expand(text)?),
        };
        Ok((field, value))
    });
    let fields = fields.collect::<Result<Vec<_>, Box<Diagnostic>>>()?;
    build(&fields, flag.span, true)
}

/// Checks what can be checked before expansion.
pub(crate) fn check(fields: &[MountField], span: Span) -> Result<Mount, Box<Diagnostic>> {
    let values: Vec<_> = fields.iter().map(|f| (f, f.value.as_ref().map(|v| v.value.clone()))).collect();
    let open = fields.iter().any(|f| f.value.as_ref().is_some_and(|v| v.value.contains('$')));
    build(&values, span, !open)
}

/// `complete`: no variables are left; else values with a `$` pass unseen and what depends on the whole is
/// not checked.
fn build(fields: &[(&MountField, Option<String>)], span: Span, complete: bool) -> Result<Mount, Box<Diagnostic>> {
    let mut mount = Mount {
        kind: MountKind::Bind,
        target: String::new(),
        source: None,
        from: None,
        id: None,
        sharing: Sharing::Shared,
        readonly: false,
        required: false,
        env: None,
        mode: None,
        uid: None,
        gid: None,
        size: None,
    };
    let mut readonly = None;
    let mut given: Vec<(&str, &MountField)> = Vec::new();
    for (field, value) in fields {
        let key = canonical(&field.key);
        if let Some((_, first)) = given.iter().find(|(k, _)| *k == key) {
            // BuildKit lets the last one win; two different values are a mistake, not a wish.
            if first.value != field.value {
                let message = format!("{key} is given twice in one mount");
                let diagnostic = Diagnostic::error("duplicate-mount-key", field.span, message);
                return Err(Box::new(diagnostic.label(first.span, "first given here").help("give it once")));
            }
        }
        given.push((key, field));
        let Some(value) = value else {
            match key {
                "readonly" => readonly = Some(true),
                "readwrite" => readonly = Some(false),
                "required" => mount.required = true,
                _ if KEYS.contains(&field.key.as_str()) => {
                    let message = format!("mount field {0} must be a {0}=VALUE pair", field.key);
                    return Err(Box::new(
                        Diagnostic::error("invalid-mount", field.span, message).help("write KEY=VALUE"),
                    ));
                }
                _ => return Err(unknown_key(field)),
            }
            continue;
        };
        if !complete && value.contains('$') && KEYS.contains(&field.key.as_str()) {
            continue;
        }
        let invalid = |expected: &str| {
            let message = format!("invalid value {value:?} for mount field {}", field.key);
            Box::new(Diagnostic::error("invalid-mount", field.span, message).help(expected.to_owned()))
        };
        let flag = || go::boolean(value).ok_or_else(|| invalid("write true or false"));
        match key {
            "type" => mount.kind = named(field, value, "mount type", &TYPES)?,
            "sharing" => mount.sharing = named(field, value, "sharing mode", &SHARING)?,
            "from" => mount.from = Some(value.clone()),
            "source" => mount.source = Some(value.clone()),
            "target" => mount.target.clone_from(value),
            "id" => mount.id = Some(value.clone()),
            "env" => mount.env = Some(value.clone()),
            "readonly" => readonly = Some(flag()?),
            "readwrite" => readonly = Some(!flag()?),
            "required" => mount.required = flag()?,
            "size" => mount.size = Some(go::size(value).ok_or_else(|| invalid("write a size such as 64m or 1GiB"))?),
            "mode" => {
                let mode = u32::from_str_radix(value, 8).ok().filter(|_| !value.starts_with('+'));
                mount.mode = Some(mode.ok_or_else(|| invalid("write an octal mode such as 0400"))?);
            }
            "uid" | "gid" => {
                let id = value.parse::<u32>().ok().filter(|_| !value.starts_with('+'));
                let id = id.ok_or_else(|| invalid("write a number; names are not looked up for mounts"))?;
                *(if key == "uid" { &mut mount.uid } else { &mut mount.gid }) = Some(id);
            }
            _ => return Err(unknown_key(field)),
        }
    }
    mount.readonly = readonly.unwrap_or(!matches!(mount.kind, MountKind::Cache | MountKind::Tmpfs));
    if complete {
        check_whole(&mount, &given, span)?;
    }
    Ok(mount)
}

/// Which keys go with which type, and which are needed.
fn check_whole(mount: &Mount, given: &[(&str, &MountField)], span: Span) -> Result<(), Box<Diagnostic>> {
    let kind = mount.kind.name();
    for (key, field) in given {
        let kinds: &[MountKind] = match *key {
            "required" => &[MountKind::Secret, MountKind::Ssh],
            "size" => &[MountKind::Tmpfs],
            "mode" | "uid" | "gid" => &[MountKind::Secret, MountKind::Ssh, MountKind::Cache],
            "sharing" => &[MountKind::Cache],
            "env" => &[MountKind::Secret],
            "from" if mount.kind == MountKind::Secret => &[MountKind::Bind, MountKind::Cache],
            _ => continue,
        };
        if !kinds.contains(&mount.kind) {
            let known = kinds.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(", ");
            let message = format!("mount field {} is not allowed for type {kind}", field.key);
            let help = format!("it belongs to mounts of type {known}");
            return Err(Box::new(Diagnostic::error("invalid-mount", field.span, message).help(help)));
        }
    }
    if mount.kind == MountKind::Secret {
        let named = [&mount.source, &mount.id].into_iter().flatten().any(|name| !name.is_empty());
        if !named && mount.target.is_empty() && mount.env.is_none() {
            let diagnostic = Diagnostic::error("invalid-mount", span, "secret mount without an id");
            return Err(Box::new(diagnostic.help("name the secret: --mount=type=secret,id=NAME")));
        }
        if mount.source.as_ref().is_some_and(|s| !s.is_empty()) && mount.id.as_ref().is_some_and(|s| !s.is_empty()) {
            let diagnostic = Diagnostic::error("invalid-mount", span, "both source and id are set on a secret mount");
            return Err(Box::new(diagnostic.help("source is an old name of id; keep id")));
        }
    }
    Ok(())
}

fn canonical(key: &str) -> &str {
    match key {
        "src" => "source",
        "dst" | "destination" => "target",
        "ro" => "readonly",
        "rw" => "readwrite",
        key => key,
    }
}

fn named<T: Copy>(field: &MountField, value: &str, what: &str, table: &[(&str, T)]) -> Result<T, Box<Diagnostic>> {
    let lower = value.to_lowercase();
    if let Some((_, found)) = table.iter().find(|(name, _)| *name == lower) {
        return Ok(*found);
    }
    let names = table.iter().map(|(name, _)| *name);
    let help = match suggest::nearest(value, names.clone()) {
        Some(near) => format!("did you mean {near}?"),
        None => format!("known are {}", names.collect::<Vec<_>>().join(", ")),
    };
    Err(Box::new(Diagnostic::error("invalid-mount", field.span, format!("unsupported {what} {value:?}")).help(help)))
}

fn unknown_key(field: &MountField) -> Box<Diagnostic> {
    let message = format!("unknown mount field {:?}", field.key);
    let help = match suggest::nearest(&field.key, KEYS) {
        Some(near) => format!("did you mean {near}?"),
        None => format!("known are {}", KEYS.join(", ")),
    };
    Box::new(Diagnostic::error("unknown-mount-key", field.span, message).help(help))
}
