//! The contexts, generated: same bytes on every machine.
use crate::Failure;
use std::fmt::Write as _;
use std::fs;
use std::io::Write;
use std::path::Path;
use testkit::{Image, Registry, bases};

/// Where images come from and go to.
pub(super) struct Registries {
    /// What is pushed goes there; names without a registry come from there.
    pub(super) target: Registry,
    /// Another one.
    pub(super) other: Registry,
}

pub(super) struct Workload {
    pub(super) name: &'static str,
    /// Writes the context, and pushes base images of its own; the number says how many times the usual work.
    pub(super) make: fn(&Path, &Registries, usize) -> Result<(), Failure>,
    /// What there is more of at a larger scale, and how many of it at scale one; `None` where size is not the question.
    pub(super) unit: Option<(&'static str, usize)>,
    /// What is built, in the words of the page.
    pub(super) what: &'static str,
    /// What is there when the build begins that is measured.
    pub(super) start: Start,
    /// The most that the wall time may be, as a multiple of BuildKit's, on overlayfs.
    pub(super) most: f64,
    /// What changes between the warm-up and the build that is measured; the text differs in every run.
    pub(super) touch: fn(&Path, &str) -> Result<(), Failure>,
    /// Seconds that the longest chain of steps sleeps: no builder can be faster.
    pub(super) chain: Option<f64>,
    /// Whether the pushed image holds what it should.
    pub(super) check: fn(&Image, &Path, usize) -> Result<(), Failure>,
}

/// What a build starts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// Nothing was ever built here.
    Cold,
    /// The same was built once.
    Warm,
    /// The same was built once and exported to a cache in the registry; since then all local state is gone.
    Cache,
}

const NOOP: Workload = Workload {
    name: "noop",
    make: application,
    unit: None,
    what: "three stages, nothing changed",
    start: Start::Warm,
    most: 0.5,
    touch: nothing,
    chain: None,
    check: has_application,
};

const EDIT: Workload = Workload {
    name: "edit",
    make: application,
    unit: None,
    what: "the same, one of 300 source files changed",
    start: Start::Warm,
    most: 0.5,
    touch: edit,
    chain: None,
    check: has_application,
};

const COPY_ONLY: Workload = Workload {
    name: "copyonly",
    make: copy_only,
    unit: None,
    what: "a base of 240 MB, COPY of one program; the base in the same registry",
    start: Start::Cold,
    most: 0.2,
    touch: nothing,
    chain: None,
    check: has_program,
};

pub(super) const WORKLOADS: &[Workload] = &[
    NOOP,
    Workload {
        name: "noop-cache",
        what: "the same, with nothing but a cache in the registry left",
        start: Start::Cache,
        ..NOOP
    },
    EDIT,
    Workload {
        name: "edit-cache",
        what: "the same, with nothing but a cache in the registry left",
        start: Start::Cache,
        ..EDIT
    },
    Workload {
        name: "steps",
        make: steps,
        unit: Some(("RUN step", 30)),
        what: "30 small RUN on Debian",
        start: Start::Cold,
        most: 0.3,
        touch: nothing,
        chain: None,
        check: has_steps,
    },
    Workload {
        name: "smallfiles",
        make: small_files,
        unit: Some(("file", 30_000)),
        what: "a RUN that makes 30,000 files, one that removes 5,000 and changes 2,000",
        start: Start::Cold,
        most: 0.5,
        touch: nothing,
        chain: None,
        check: has_small_files,
    },
    COPY_ONLY,
    Workload {
        name: "copyonly-other",
        make: copy_only_other,
        what: "the same, the base in another registry",
        most: 0.5,
        ..COPY_ONLY
    },
    Workload {
        name: "bigcopy",
        make: big_copy,
        unit: None,
        what: "1 GiB in 16 files and 10,000 small ones",
        start: Start::Cold,
        most: 0.6,
        touch: nothing,
        chain: None,
        check: has_big_copy,
    },
    Workload {
        name: "packages",
        make: packages,
        unit: None,
        what: "`dpkg -i` of twelve packages of 250 files",
        start: Start::Cold,
        most: 0.75,
        touch: nothing,
        chain: None,
        check: has_packages,
    },
    Workload {
        name: "bigcontext",
        make: big_context,
        unit: Some(("file", 100_000)),
        what: "100,000 files of which `.dockerignore` leaves 1 %",
        start: Start::Cold,
        most: 0.4,
        touch: nothing,
        chain: None,
        check: has_big_context,
    },
    Workload {
        name: "parallel",
        make: parallel,
        unit: None,
        what: "four stages that sleep for 2 s, and a merge",
        start: Start::Cold,
        most: 1.0,
        touch: nothing,
        chain: Some(2.0),
        check: has_parallel,
    },
    Workload {
        name: "unpack",
        make: unpack,
        unit: None,
        what: "a base of 60,000 files and 1.2 GB in 8 layers, `RUN true`",
        start: Start::Cold,
        most: 0.5,
        touch: nothing,
        chain: None,
        check: has_unpacked,
    },
];

fn nothing(_: &Path, _: &str) -> Result<(), Failure> {
    Ok(())
}

fn put(context: &Path, name: &str, content: impl AsRef<[u8]>) -> Result<(), Failure> {
    let path = context.join(name);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    Ok(fs::write(path, content)?)
}

/// Bytes that compress to about half, the same for the same seed.
fn half_random(seed: u64, size: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let mut bytes = Vec::with_capacity(size + 16);
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
        bytes.extend_from_slice(b"the rest");
    }
    bytes.truncate(size);
    bytes
}

fn expect(image: &Image, paths: &[&str]) -> Result<(), Failure> {
    let files = image.files()?;
    match paths.iter().find(|path| !files.contains_key(**path)) {
        Some(path) => Err(format!("the image has no /{path}").into()),
        None => Ok(()),
    }
}

/// Three stages, 300 source files.
fn application(context: &Path, _: &Registries, _: usize) -> Result<(), Failure> {
    put(
        context,
        "Dockerfile",
        "FROM busybox AS dependencies\nCOPY package /app/package\nRUN cp -r /app/package /app/modules && sleep 0.2\n\
         FROM dependencies AS build\nCOPY src /app/src\nRUN cat /app/src/* > /app/bundle\n\
         FROM busybox\nCOPY --from=dependencies /app/modules /app/modules\nCOPY --from=build /app/bundle /app/bundle\nCMD [\"/app/bundle\"]\n",
    )?;
    put(context, "package/lock", half_random(1, 100_000))?;
    for number in 0..300 {
        put(context, &format!("src/file{number}.js"), half_random(number + 2, 2_000))?;
    }
    Ok(())
}

fn edit(context: &Path, text: &str) -> Result<(), Failure> {
    put(context, "src/file150.js", text)
}

/// The bundle is made of the sources as they are now.
fn has_application(image: &Image, context: &Path, _: usize) -> Result<(), Failure> {
    let mut command = std::process::Command::new("sh");
    let sum = testkit::run(command.args(["-c", "cat src/* | sha256sum"]).env("LC_ALL", "C").current_dir(context))?;
    let sum = String::from_utf8_lossy(&sum.stdout);
    expect(image, &["app/modules/lock", "app/bundle"])?;
    match &image.files()?["app/bundle"].sha256 {
        Some(found) if sum.starts_with(found.trim_start_matches("sha256:")) => Ok(()),
        found => Err(format!("the bundle is {found:?}, not {sum}").into()),
    }
}

fn debian(registries: &Registries) -> Result<(), Failure> {
    bases::DEBIAN.push(&registries.target)?;
    Ok(())
}

/// Thirty small RUN steps on Debian.
fn steps(context: &Path, registries: &Registries, scale: usize) -> Result<(), Failure> {
    debian(registries)?;
    let mut text = String::from("FROM debian\n");
    for number in 0..30 * scale {
        writeln!(text, "RUN echo {number} > /step{number}")?;
    }
    put(context, "Dockerfile", text)
}

fn has_steps(image: &Image, _: &Path, scale: usize) -> Result<(), Failure> {
    expect(image, &["step0", &format!("step{}", 30 * scale - 1)])
}

fn small_files(context: &Path, _: &Registries, scale: usize) -> Result<(), Failure> {
    let (made, removed, changed) = (300 * scale, 50 * scale, 70 * scale);
    let text = format!(
        "FROM busybox\n\
        RUN mkdir /d && cd /d && for i in $(seq {made}); do mkdir $i; for j in $(seq 100); do echo $i$j > $i/$j; done; done\n\
        RUN cd /d && for i in $(seq {removed}); do rm -r $i; done && for i in $(seq {} {changed}); do chmod 0600 $i/*; done\n",
        removed + 1
    );
    put(context, "Dockerfile", text)
}

fn has_small_files(image: &Image, _: &Path, scale: usize) -> Result<(), Failure> {
    let files = image.files()?;
    let count = files.keys().filter(|path| path.starts_with("d/")).count();
    if count == scale * 250 * 101 && files[&format!("d/{}/5", 60 * scale)].mode == "0600" {
        Ok(())
    } else {
        Err(format!("{count} files").into())
    }
}

/// A base of 144 MB (320 MB unpacked) in the registry that is pushed to, and one program on top.
fn copy_only(context: &Path, registries: &Registries, _: usize) -> Result<(), Failure> {
    on_large_base(context, &registries.target)
}

/// The same with the base in another registry.
fn copy_only_other(context: &Path, registries: &Registries, _: usize) -> Result<(), Failure> {
    on_large_base(context, &registries.other)
}

fn on_large_base(context: &Path, registry: &Registry) -> Result<(), Failure> {
    let base = bases::GCC.push(registry)?;
    let text = format!("FROM {base}\nCOPY program /usr/local/bin/program\nENV MODE=production\nCMD [\"program\"]\n");
    put(context, "Dockerfile", text)?;
    put(context, "program", half_random(7, 5_000_000))
}

fn has_program(image: &Image, _: &Path, _: usize) -> Result<(), Failure> {
    expect(image, &["usr/local/bin/program", "usr/bin/gcc"])
}

/// One GiB in 16 files, and ten thousand small ones.
fn big_copy(context: &Path, _: &Registries, _: usize) -> Result<(), Failure> {
    put(context, "Dockerfile", "FROM scratch\nCOPY . /data/\n")?;
    for number in 0..16 {
        put(context, &format!("big/{number}"), half_random(number, 64 << 20))?;
    }
    for number in 0..10_000 {
        put(context, &format!("small/{}/{number}", number % 100), format!("{number}\n"))?;
    }
    Ok(())
}

fn has_big_copy(image: &Image, _: &Path, _: usize) -> Result<(), Failure> {
    expect(image, &["data/big/15", "data/small/99/9999"])
}

/// Twelve packages of 250 files each, installed by dpkg.
fn packages(context: &Path, registries: &Registries, _: usize) -> Result<(), Failure> {
    debian(registries)?;
    put(context, "Dockerfile", "FROM debian\nCOPY debs /debs\nRUN dpkg -i /debs/*.deb && rm -r /debs\n")?;
    fs::create_dir_all(context.join("debs"))?;
    for package in 0..12_u64 {
        let tree = tempfile::tempdir()?;
        let control = format!(
            "Package: bench{package}\nVersion: 1\nArchitecture: all\nMaintainer: bench <bench@example.org>\n\
             Description: files for a bench\n"
        );
        put(tree.path(), "DEBIAN/control", control)?;
        fs::set_permissions(tree.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        for number in 0..250_u64 {
            let size = if number == 0 { 4_000_000 } else { 8_000 };
            let name = format!("usr/share/bench{package}/{}/{number}", number % 10);
            put(tree.path(), &name, half_random(package * 1_000 + number, size))?;
        }
        let deb = context.join(format!("debs/bench{package}.deb"));
        let mut command = std::process::Command::new("dpkg-deb");
        command.args(["--root-owner-group", "-Zgzip", "-z1", "--build"]).arg(tree.path()).arg(deb);
        if !command.stdout(std::process::Stdio::null()).status()?.success() {
            return Err("dpkg-deb failed".into());
        }
    }
    Ok(())
}

fn has_packages(image: &Image, _: &Path, _: usize) -> Result<(), Failure> {
    expect(image, &["usr/share/bench0/0/0", "usr/share/bench11/9/249", "var/lib/dpkg/info/bench11.list"])
}

/// A hundred thousand files, of which .dockerignore leaves one in a hundred.
fn big_context(context: &Path, _: &Registries, scale: usize) -> Result<(), Failure> {
    put(context, "Dockerfile", "FROM scratch\nCOPY . /data/\n")?;
    put(context, ".dockerignore", "node_modules\n")?;
    for number in 0..100_000 * scale {
        let top = if number % 100 == 0 { "src" } else { "node_modules" };
        put(context, &format!("{top}/{}/{number}", number % 1000), "x")?;
    }
    Ok(())
}

fn has_big_context(image: &Image, _: &Path, scale: usize) -> Result<(), Failure> {
    let count = image.files()?.values().filter(|facts| facts.kind == testkit::Kind::File).count();
    // A hundredth of the files, the Dockerfile and .dockerignore.
    if count == 1000 * scale + 2 { Ok(()) } else { Err(format!("{count} files").into()) }
}

fn parallel(context: &Path, _: &Registries, _: usize) -> Result<(), Failure> {
    let mut text = String::new();
    for stage in ["a", "b", "c", "d"] {
        writeln!(text, "FROM busybox AS {stage}\nRUN sleep 2 && echo {stage} > /{stage}")?;
    }
    text += "FROM scratch\n";
    for stage in ["a", "b", "c", "d"] {
        writeln!(text, "COPY --from={stage} /{stage} /{stage}")?;
    }
    put(context, "Dockerfile", text)
}

fn has_parallel(image: &Image, _: &Path, _: usize) -> Result<(), Failure> {
    expect(image, &["a", "b", "c", "d"])
}

/// A base of 60,000 files and 1.2 GB in eight layers, and one command that does nothing.
fn unpack(context: &Path, registries: &Registries, _: usize) -> Result<(), Failure> {
    let layers = tempfile::tempdir()?;
    for layer in 0..8_u64 {
        let file = fs::File::create(layers.path().join(layer.to_string()))?;
        let mut tar = tar::Builder::new(std::io::BufWriter::new(file));
        for number in 0..7_500_u64 {
            let size = if number % 75 == 0 { 1_100_000 } else { 4_096 };
            let bytes = half_random(layer * 10_000 + number, size);
            let mut header = tar::Header::new_ustar();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(1_700_000_000);
            tar.append_data(&mut header, format!("data/{layer}/{}/{number}", number % 50), &bytes[..])?;
        }
        tar.into_inner()?.flush()?;
    }
    bases::push_layers(&registries.target, "library/large:latest", &bases::BUSYBOX.layout()?, layers.path())?;
    put(context, "Dockerfile", "FROM large\nRUN true\n")
}

fn has_unpacked(image: &Image, _: &Path, _: usize) -> Result<(), Failure> {
    if image.layer_count() >= 9 { Ok(()) } else { Err(format!("{} layers", image.layer_count()).into()) }
}
