//! Runs a command in a directory as its root, in the `intercept` isolation.
//!
//! ```text
//! run-in-tree [--trace] [--count] [--user UID[:GID]] [--cwd DIR] [--net none] [--bind SOURCE:TARGET[:ro]]…
//!             [--tmpfs TARGET]… [--secret TARGET=TEXT]… [--env K=V]… TREE COMMAND…
//! ```

use std::os::fd::AsFd;
use std::process::ExitCode;

use sandbox::intercept::{Diagnostics, run_here};
use sandbox::{Isolation, Mount, MountKind, Network, Rootfs, Spec, User};

fn main() -> ExitCode {
    match run(std::env::args().skip(1).collect()) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            let mut text = format!("run_in_tree: {error}");
            let mut source = error.source();
            while let Some(inner) = source {
                text.push_str(&format!(": {inner}"));
                source = inner.source();
            }
            write(&text);
            ExitCode::from(125)
        }
    }
}

fn write(text: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "{text}");
}

fn run(args: Vec<String>) -> Result<u8, Box<dyn std::error::Error>> {
    let mut args = args.into_iter().peekable();
    let mut diagnostics = Diagnostics::default();
    let mut spec = Spec::new(Rootfs::Directory(".".into()), [""; 0]);
    spec.isolation = Isolation::Intercept;
    spec.hostname = "buildkitsandbox".into();
    let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    spec.env = [("PATH", path), ("HOME", "/root")].map(|(k, v)| (k.into(), v.into())).to_vec();
    while let Some(option) = args.next_if(|arg| arg.starts_with("--")) {
        let mut value = || args.next().ok_or_else(|| format!("{option} needs a value"));
        match option.as_str() {
            "--trace" => diagnostics.trace = true,
            "--count" => diagnostics.count = true,
            "--user" => {
                let value = value()?;
                let (uid, gid) = value.split_once(':').unwrap_or((&value, &value));
                spec.user = User { uid: uid.parse()?, gid: gid.parse()?, groups: Vec::new() };
            }
            "--cwd" => spec.cwd = value()?.into(),
            "--net" => spec.network = if value()? == "none" { Network::None } else { Network::Host },
            "--bind" => {
                let value = value()?;
                let mut parts = value.split(':');
                let (source, target) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
                let readonly = parts.next() == Some("ro");
                spec.mounts.push(Mount::new(target, MountKind::Bind { source: source.into(), readonly }));
            }
            "--tmpfs" => spec.mounts.push(Mount::new(value()?, MountKind::Tmpfs { size: None, mode: 0o1777 })),
            "--secret" => {
                let value = value()?;
                let (target, text) = value.split_once('=').ok_or("--secret TARGET=TEXT")?;
                let content = text.as_bytes().to_vec();
                spec.mounts.push(Mount::new(target, MountKind::File { content, mode: 0o400, uid: 0, gid: 0 }));
            }
            "--env" => {
                let value = value()?;
                let (key, text) = value.split_once('=').ok_or("--env K=V")?;
                spec.env.push((key.into(), text.into()));
            }
            other => return Err(format!("unknown option {other}").into()),
        }
    }
    spec.rootfs = Rootfs::Directory(args.next().ok_or("no TREE")?.into());
    spec.argv = args.map(Into::into).collect();
    let stdio = [
        std::io::stdin().as_fd().try_clone_to_owned()?,
        std::io::stdout().as_fd().try_clone_to_owned()?,
        std::io::stderr().as_fd().try_clone_to_owned()?,
    ];
    // SAFETY: this program has one thread.
    let (status, counts) = unsafe { run_here(&spec, stdio, diagnostics) }?;
    if diagnostics.count {
        let total: u64 = counts.iter().map(|(_, count)| count).sum();
        let list: Vec<String> = counts.iter().map(|(nr, count)| format!("{nr}:{count}")).collect();
        write(&format!("{total} traps: {}", list.join(" ")));
    }
    Ok(u8::try_from(status.shell_code() & 0xff).unwrap_or(1))
}
