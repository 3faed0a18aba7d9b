//! Builds in the places that users have give one image: as root on a machine, as an ordinary user, in pods from the
//! restricted one up.
//!
//! The contexts (`tests/pods/contexts`) exercise RUN: owners, modes, links, mounts, maintainer scripts. Each is built in
//! every place; files, owners, modes, links, attributes and configs are compared, times are not. (Layers need not be equal
//! to the byte: a tree sees that a file changed when one of its hard links goes, and writes it once more.) The applications
//! of `examples/` are built in every place too, with packages from the network; `APPLICATION=c-scratch` builds one alone. A
//! pod must be as it was outside of the store and the workspace, and a step must not reach what belongs to its builder.
//! Needs root.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;
use testkit::bases::{self, Base};
use testkit::{Image, Overlay, Pod, PodKind, PodSpec, Registry, compare, pod};

const TOOLS: &[(&str, &str)] = &[
    ("docker-registry", "docker-registry"),
    ("skopeo", "skopeo"),
    ("busybox", "busybox-static"),
    ("mmdebstrap", "mmdebstrap"),
    ("runc", "runc"),
    ("setpriv", "util-linux"),
];

/// The contexts, and what their builds get besides.
const CONTEXTS: [&str; 4] = ["identities", "files", "mounts", "package"];

/// Real applications of `examples/`, and the base of each. The first is the one that every run builds in every place.
const APPLICATIONS: [(&str, &Base); 4] = [
    ("c-scratch", &bases::GCC),
    ("node-service", &bases::NODE),
    ("python-service", &bases::PYTHON),
    ("debian-tools", &bases::DEBIAN),
];

/// Files of the applications that hold times or inode numbers, by a part of their path, so that two builds in one place
/// differ as well.
const TIMED: &[&str] =
    &["/var/log/", "/var/cache/apt/", "/var/cache/ldconfig/aux-cache", "/__pycache__/", "/var/lib/apt/extended_states"];

/// The machine's bundle of certificates, for steps that reach the network through its proxy.
const CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// An ordinary user of a machine: no name, no subordinate ids.
const USER: u32 = 4321;

/// Differences that are accepted: place, context, path, and why.
const KNOWN: &[(&str, &str, &str, &str)] = &[];

/// The environment variable that a step must not see.
const BUILDER_SECRET: &str = "the-builders-own-secret";

/// What all places share: the binary, the contexts and a registry, where every user can read them.
struct World {
    directory: TempDir,
    registry: Registry,
}

impl World {
    fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("places-").tempdir().expect("a directory");
        open_to_all(directory.path());
        let binary = directory.path().join("cooperage");
        fs::copy(env!("CARGO_BIN_EXE_cooperage"), &binary).expect("a copy of the binary");
        open_to_all(&binary);
        let source = testkit::repository().join("tests/pods/contexts");
        let contexts = directory.path().join("contexts");
        testkit::run(Command::new("cp").arg("-R").arg(source).arg(&contexts)).expect("a copy of the contexts");
        fs::write(directory.path().join("token"), "0123456789").expect("a secret");
        // Modes of a checkout depend on the umask that it was made with.
        testkit::run(Command::new("chmod").args(["-R", "u=rwX,go=rX"]).arg(&contexts)).expect("modes");
        let registry = Registry::start().expect("docker-registry is installed");
        bases::BUSYBOX.push(&registry).expect("busybox-static is installed");
        bases::DEBIAN.push(&registry).expect("mmdebstrap is installed");
        Self { directory, registry }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The words of a build; `at` is where the shared files are seen, `out` where the image goes.
    fn build(&self, context: &str, at: &Path, store: &Path, out: &Path) -> Vec<String> {
        let path = |path: &Path| path.display().to_string();
        let mut words = vec![
            path(&at.join("cooperage")),
            "build".to_owned(),
            "--progress=plain".to_owned(),
            format!("--root={}", path(store)),
            format!("--registry-mirror=docker.io={}", self.registry.url()),
            format!("--output=type=oci,dest={}", path(out)),
            path(&at.join("contexts").join(context)),
        ];
        match APPLICATIONS.iter().find(|(name, _)| *name == context) {
            Some((_, base)) => {
                words.extend([format!("--build-arg=BASE={}", base.name), "--http-proxy".to_owned()]);
                words.extend(Path::new(CERTIFICATES).exists().then(|| format!("--host-ca={CERTIFICATES}")));
            }
            None => words.push(format!("--secret=id=token,src={}", path(&at.join("token")))),
        }
        words
    }

    /// The applications among the contexts, their bases in the registry.
    fn with_applications(self) -> Self {
        for (name, base) in APPLICATIONS {
            let source = testkit::repository().join("examples").join(name);
            testkit::run(Command::new("cp").arg("-R").arg(source).arg(self.path("contexts"))).expect("a copy");
            base.push(&self.registry).expect("mmdebstrap is installed");
        }
        testkit::run(Command::new("chmod").args(["-R", "u=rwX,go=rX"]).arg(self.path("contexts"))).expect("modes");
        self
    }
}

/// How this machine reaches the network: variables of its proxy.
fn proxies() -> impl Iterator<Item = (String, String)> {
    std::env::vars().filter(|(name, _)| {
        let name = name.to_ascii_lowercase();
        matches!(name.as_str(), "http_proxy" | "https_proxy" | "no_proxy" | "all_proxy")
    })
}

fn open_to_all(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("our own file");
}

/// What the checks of `tests/pods/contexts/leaks` find where nothing leaks: file of `/out`, content.
const NOTHING: &[(&str, &str)] = &[
    ("environment", "0\n0\n"),
    ("first", ""),
    ("parent", ""),
    ("any", ""),
    ("account", "cat: can't open '/var/run/secrets/kubernetes.io/serviceaccount/token': No such file or directory\n"),
    ("docker", "cat: can't open '/home/user/.docker/config.json': No such file or directory\n"),
    (
        "store",
        "ls: /home/user/store: No such file or directory\nls: /workspace: No such file or directory\n\
         ls: /shared: No such file or directory\n",
    ),
    ("through-proc", ""),
    ("upwards", ""),
    ("link", ""),
    ("hard-link", "refused\n"),
    ("descriptors", ""),
    ("through-descriptors", ""),
    ("kill-first", "1\n"),
    ("kill-parent", "1\n"),
    ("kill-all", "alive\n"),
    ("memory-first", ""),
    ("memory-parent", "refused\n"),
    ("maps", ""),
    ("mount-upwards", ""),
];

/// Where a build happens.
enum Place {
    Machine {
        name: &'static str,
        user: Option<u32>,
        umask: &'static str,
        store: PathBuf,
        home: TempDir,
        _overlay: Option<Overlay>,
    },
    /// With the isolation that is asked for.
    Pod(PodKind, Pod, Option<&'static str>),
}

impl Place {
    fn machine(name: &'static str, user: Option<u32>, overlay: Option<Overlay>) -> Self {
        let home = tempfile::Builder::new().prefix("places-home-").tempdir().expect("a directory");
        chown(home.path(), user, user).expect("root may do that");
        let store = overlay.as_ref().map_or(home.path().to_owned(), Overlay::path).join("store");
        // A builder's own umask must not be seen in images, nor by a step's user.
        let umask = if overlay.is_some() || user.is_some() { "077" } else { "022" };
        Self::Machine { name, user, umask, store, home, _overlay: overlay }
    }

    fn pod(kind: PodKind, world: &World, rootfs: &Path) -> Self {
        Self::pod_with(kind, world, rootfs, None)
    }

    /// A pod whose builds ask for an isolation.
    fn pod_with(kind: PodKind, world: &World, rootfs: &Path, isolation: Option<&'static str>) -> Self {
        let token = world.path("service-account-token");
        fs::write(&token, "a-service-account-token").expect("a file");
        let spec = PodSpec::new(kind, rootfs)
            .bind_read_only(world.directory.path(), "/shared")
            .bind_read_only(token, "/var/run/secrets/kubernetes.io/serviceaccount/token")
            .env("BUILDER_SECRET", BUILDER_SECRET)
            .current_dir("/workspace");
        let login = world.path("config.json");
        fs::write(&login, r#"{"auths":{"registry.example.org":{"auth":"dXNlcjpwYXNzd29yZA=="}}}"#).expect("a file");
        let spec = spec.bind_read_only(login, "/home/user/.docker/config.json");
        let mut spec = spec.env("DOCKER_CONFIG", "/home/user/.docker");
        if Path::new(CERTIFICATES).exists() {
            spec = spec.bind_read_only(CERTIFICATES, CERTIFICATES);
        }
        if let Some(isolation) = isolation {
            spec = spec.env("COOPERAGE_ISOLATION", isolation);
        }
        for (name, value) in proxies() {
            spec = spec.env(&name, &value);
        }
        Self::Pod(kind, spec.start().expect("runc and overlayfs"), isolation)
    }

    fn name(&self) -> String {
        match self {
            Self::Machine { name, .. } => (*name).to_owned(),
            Self::Pod(kind, _, None) => format!("{} pod", kind.name()),
            Self::Pod(kind, _, Some(isolation)) => format!("{} pod, {isolation}", kind.name()),
        }
    }

    fn run(&self, words: &[String]) -> Output {
        match self {
            Self::Machine { user, umask, home, .. } => {
                let mut command = Command::new("setpriv");
                if let Some(user) = user {
                    command.args([format!("--reuid={user}"), format!("--regid={user}"), "--clear-groups".to_owned()]);
                }
                let script = format!("umask {umask}; exec \"$@\"");
                command.args(["--", "sh", "-c", script.as_str(), "sh"]).args(words).current_dir(home.path());
                command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
                command.env("HOME", home.path()).env("BUILDER_SECRET", BUILDER_SECRET).envs(proxies());
                command.output().expect("setpriv is installed")
            }
            Self::Pod(_, pod, _) => pod.run(&words.iter().map(String::as_str).collect::<Vec<_>>()).expect("runc"),
        }
    }

    /// The isolation and the root strategy that doctor says are chosen here.
    fn choice(&self, world: &World) -> String {
        let (at, store) = self.views(world);
        let words = ["doctor", "--format=json", "--root"].map(str::to_owned);
        let mut command = vec![at.join("cooperage").display().to_string()];
        command.extend(words);
        command.push(store.display().to_string());
        let output = self.run(&command);
        let facts: serde_json::Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{}: doctor: {error}\n{}", self.name(), text(&output)));
        let word = |name: &str| facts["choice"][name].as_str().unwrap_or_default().to_owned();
        format!("{} {}", word("isolation"), word("root"))
    }

    /// Where the place sees the shared files, and its store.
    fn views(&self, world: &World) -> (PathBuf, PathBuf) {
        match self {
            Self::Machine { store, .. } => (world.directory.path().to_owned(), store.clone()),
            Self::Pod(..) => ("/shared".into(), "/home/user/store".into()),
        }
    }

    /// Builds a context. Says why it could not.
    fn build(&self, world: &World, context: &str) -> Result<(Image, String), String> {
        let (at, store) = self.views(world);
        let out = match self {
            Self::Machine { home, .. } => home.path().join(format!("{context}.tar")),
            Self::Pod(..) => format!("/workspace/{context}.tar").into(),
        };
        let output = self.run(&world.build(context, &at, &store, &out));
        if !output.status.success() {
            return Err(text(&output));
        }
        let archive = match self {
            Self::Machine { .. } => out,
            Self::Pod(_, pod, _) => pod.path(&out.display().to_string()),
        };
        let image = Image::from_archive(&archive).map_err(|error| error.to_string())?;
        Ok((image, text(&output)))
    }

    /// Removes what a build left where it may, for the room that it takes.
    fn clear(&self, world: &World) {
        let store = match self {
            Self::Machine { store, .. } => store.clone(),
            Self::Pod(_, pod, _) => pod.path(&self.views(world).1.display().to_string()),
        };
        testkit::run(Command::new("rm").arg("-rf").arg(store)).expect("root may do that");
    }

    /// What a build left where it should not.
    fn litter(&self) -> Vec<String> {
        match self {
            Self::Machine { .. } => Vec::new(),
            Self::Pod(_, pod, _) => {
                pod.changes(&["/home/user/store", "/workspace"]).expect("the pod's upper directory")
            }
        }
    }
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Whether this machine can make the places; it says why not. In CI that is a failure.
#[allow(clippy::print_stderr, reason = "a test that is passed over says so")]
fn possible(test: &str) -> bool {
    if !testkit::available(test, TOOLS) {
        return false;
    }
    if !testkit::is_root() {
        assert!(std::env::var_os("CI").is_none(), "{test}: CI must run this test as root");
        eprintln!("{test}: passed over; it needs root");
        return false;
    }
    true
}

fn known(place: &str, context: &str, difference: &str) -> bool {
    let path = difference.split(" (").next().unwrap_or_default();
    let content = difference.contains(" (content): ") || difference.contains(" (size): ");
    (content && APPLICATIONS.iter().any(|(name, _)| *name == context) && TIMED.iter().any(|part| path.contains(part)))
        || KNOWN
            .iter()
            .any(|(p, c, path, _)| (*p == place || *p == "*") && *c == context && difference.starts_with(path))
}

/// Everything that is wrong with a place's builds of contexts, given their images of the first place.
fn judge<'a>(place: &Place, world: &World, expected: impl Iterator<Item = (&'a str, &'a Image)>) -> String {
    let mut wrong = String::new();
    for (context, expected) in expected {
        let (image, log) = match place.build(world, context) {
            Ok(built) => built,
            Err(why) => {
                let _ = writeln!(wrong, "{}: {context} does not build:\n{why}", place.name());
                continue;
            }
        };
        let differences: Vec<String> =
            compare(expected, &image).expect("two images").iter().map(ToString::to_string).collect();
        let unknown: Vec<&String> = differences.iter().filter(|line| !known(&place.name(), context, line)).collect();
        for line in &unknown {
            let _ = writeln!(wrong, "{}: {context}: {line}", place.name());
        }
        assert!(!log.contains(BUILDER_SECRET), "{}: a step has seen the builder's environment", place.name());
        if matches!(place, Place::Pod(..)) && !log.contains("note: builders that need namespaces stop here") {
            let _ = writeln!(wrong, "{}: {context}: no word that others would fail here:\n{log}", place.name());
        }
    }
    for change in place.litter() {
        let _ = writeln!(wrong, "{}: left behind: {change}", place.name());
    }
    wrong
}

#[test]
#[allow(clippy::print_stderr, reason = "says what was compared")]
fn six_places_one_image() {
    if !possible("six_places_one_image") {
        return;
    }
    let world = World::new();
    let rootfs = pod::rootfs(&bases::BUSYBOX).expect("a root file system for pods");
    let first = Place::machine("root", None, None);
    assert_eq!(first.choice(&world), "namespaces overlay");
    let started = std::time::Instant::now();
    let expected: Vec<Image> = CONTEXTS
        .iter()
        .map(|context| first.build(&world, context).unwrap_or_else(|why| panic!("{context} as root: {why}")).0)
        .collect();
    eprintln!("root: {:.1?}", started.elapsed());
    let others = [
        (
            Place::machine("root, store on overlayfs", None, Some(Overlay::mount().expect("overlayfs"))),
            "namespaces tree",
        ),
        (Place::machine("ordinary user", Some(USER), None), "intercept tree"),
        (Place::pod(PodKind::Restricted, &world, &rootfs), "intercept tree"),
        (Place::pod(PodKind::NonRoot, &world, &rootfs), "intercept tree"),
        (Place::pod(PodKind::Root, &world, &rootfs), "intercept tree"),
        (Place::pod(PodKind::HostUsers, &world, &rootfs), "intercept tree"),
    ];
    let wrong: Vec<String> = std::thread::scope(|scope| {
        let threads: Vec<_> = others
            .iter()
            .map(|(place, choice)| {
                let (world, expected) = (&world, &expected);
                scope.spawn(move || {
                    let started = std::time::Instant::now();
                    let chosen = place.choice(world);
                    let mut wrong = judge(place, world, CONTEXTS.into_iter().zip(expected));
                    if chosen != *choice {
                        let _ = writeln!(wrong, "{}: doctor chooses {chosen}, not {choice}", place.name());
                    }
                    eprintln!("{}: {chosen}, {:.1?}", place.name(), started.elapsed());
                    wrong
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    let wrong = wrong.concat();
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
#[allow(clippy::print_stderr, reason = "says what was compared")]
fn applications_are_equal_in_six_places() {
    if !possible("applications_are_equal_in_six_places") {
        return;
    }
    let world = World::new().with_applications();
    let rootfs = pod::rootfs(&bases::BUSYBOX).expect("a root file system for pods");
    let expected = |name: &str| {
        let first = Place::machine("root", None, None);
        first.build(&world, name).unwrap_or_else(|why| panic!("{name} as root: {why}")).0
    };
    let wanted = std::env::var("APPLICATION").ok();
    let names = APPLICATIONS.iter().map(|(name, _)| *name);
    let names = names.filter(|name| wanted.as_deref().is_none_or(|wanted| wanted == *name || wanted == "all"));
    let expected: Vec<(&str, Image)> = names.map(|name| (name, expected(name))).collect();
    assert!(!expected.is_empty(), "there is no application {wanted:?}");
    let places = [
        Place::machine("ordinary user", Some(USER), None),
        Place::pod(PodKind::Restricted, &world, &rootfs),
        Place::pod(PodKind::NonRoot, &world, &rootfs),
        Place::pod(PodKind::Root, &world, &rootfs),
        Place::pod(PodKind::HostUsers, &world, &rootfs),
    ];
    // Two places at a time, each with a store that is thrown away after each application: they are large.
    let wrong = std::thread::scope(|scope| {
        let threads: Vec<_> = places
            .chunks(places.len().div_ceil(2))
            .map(|places| {
                let (world, expected, wanted) = (&world, &expected, &wanted);
                scope.spawn(move || {
                    let mut wrong = String::new();
                    for place in places {
                        let everything = wanted.is_some() || matches!(place, Place::Pod(PodKind::Restricted, ..));
                        for (name, image) in &expected[..if everything { expected.len() } else { 1 }] {
                            let started = std::time::Instant::now();
                            wrong += &judge(place, world, std::iter::once((*name, image)));
                            eprintln!("{}: {name}, {:.1?}", place.name(), started.elapsed());
                            place.clear(world);
                        }
                    }
                    wrong
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect::<String>()
    });
    assert!(wrong.is_empty(), "\n{wrong}");
}

/// What the programs print where they do what they are there for.
const SEEN: &[(&str, &[&str])] = &[
    ("seen/users", &["uid=701(one) gid=700(staffers) groups=700(staffers),704(more)", "/home/two"]),
    ("seen/sudo", &["uid=0(root)", "2710 702:700", "/etc/shadow: Permission denied"]),
    ("seen/make", &["300 300 300", "gcc: 0 wrong, signals came, vfork 0", "musl: 0 wrong, signals came, vfork 0"]),
    ("seen/capabilities", &["/usr/local/bin/capable cap_net_bind_service,cap_net_raw=ep", "user.test=\"value\""]),
    ("seen/rpm", &["/opt/sample/hard", "2770 701:480 directory /opt/sample/dir"]),
    (
        "seen/roots",
        &[
            "uid=701 gid=700 groups=700,703",
            "uid=811(inner) gid=810(inner)",
            "811:810 /other/opt/deb/file",
            "0:0 /other/opt/deb/configured",
            "770 0:480 directory /other/opt/sample/dir",
            "/ ['bin', ",
        ],
    ),
    ("seen/alternatives", &["Value: /bin/true", "/usr/bin/tac.distrib"]),
    ("seen/git", &["refs/heads/pushed"]),
    ("seen/perl", &["effective 701 real 0\nPermission denied", "chroot"]),
    ("seen/python", &["threads []", "inotify ['100:a', '40:a', '80:b', '200:b']", "locks 1"]),
    ("seen/proc", &["by descriptor"]),
    ("seen/go", &["wrong 0 files 2473 701 <nil>"]),
];

/// Compilers, package managers, tools of users and owners, git, interpreters and threads: what they print and make in
/// the restricted pod, and in both kinds of chroot in the root pod, is what they print and make in namespaces as root.
#[test]
#[allow(clippy::print_stderr, reason = "says what was compared")]
fn real_programs_are_alike() {
    let test = "real_programs_are_alike";
    if !possible(test) || !testkit::available(test, &[("go", "golang-go")]) {
        return;
    }
    let world = World::new();
    bases::WORKSHOP.push(&world.registry).expect("mmdebstrap is installed");
    let go = world.path("contexts/programs/go");
    let mut build = Command::new("go");
    build.args(["build", "-o", "threads", "main.go"]).env("CGO_ENABLED", "0").env("GOFLAGS", "-trimpath");
    testkit::run(build.env("GO111MODULE", "off").env("GOCACHE", world.path("go-cache")).current_dir(&go)).expect("go");
    fs::remove_dir_all(world.path("go-cache")).expect("our own directory");
    let rootfs = pod::rootfs(&bases::BUSYBOX).expect("a root file system for pods");
    let places = [
        Place::machine("root", None, None),
        Place::pod(PodKind::Restricted, &world, &rootfs),
        Place::pod_with(PodKind::Root, &world, &rootfs, Some("chroot")),
        Place::pod_with(PodKind::Root, &world, &rootfs, Some("plain-chroot")),
    ];
    let images: Vec<Result<Image, String>> = std::thread::scope(|scope| {
        let world = &world;
        let build = |place: &Place| {
            let started = std::time::Instant::now();
            let built = place.build(world, "programs").map(|(image, _)| image);
            eprintln!("{}: {:.1?}", place.name(), started.elapsed());
            built
        };
        let threads: Vec<_> = places.iter().map(|place| scope.spawn(move || build(place))).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    let mut images = places.iter().zip(images).map(|(place, image)| match image {
        Ok(image) => image,
        Err(why) => panic!("{}: {why}", place.name()),
    });
    let expected = images.next().expect("the first place");
    let mut wrong = String::new();
    for (place, image) in places[1..].iter().zip(images) {
        for difference in compare(&expected, &image).expect("two images").iter().map(ToString::to_string) {
            // In a chroot without mounts there is no /proc/self.
            if !(place.name().ends_with("plain-chroot") && difference.contains("seen/proc")) {
                let _ = writeln!(wrong, "{}: {difference}", place.name());
            }
        }
        for change in place.litter() {
            let _ = writeln!(wrong, "{}: left behind: {change}", place.name());
        }
    }
    let files = expected.files().expect("layers apply");
    let seen = |name: &str| files.get(name).and_then(|facts| facts.text.as_deref()).unwrap_or_default().to_owned();
    for (name, words) in SEEN {
        for word in words.iter().filter(|word| !seen(name).contains(**word)) {
            let _ = writeln!(wrong, "root: {name} lacks {word:?}:\n{}", seen(name));
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn a_step_in_a_pod_reaches_nothing_of_its_builder() {
    if !possible("a_step_in_a_pod_reaches_nothing_of_its_builder") {
        return;
    }
    let world = World::new();
    let rootfs = pod::rootfs(&bases::BUSYBOX).expect("a root file system for pods");
    let mut wrong = String::new();
    let chosen = PodKind::ALL.map(|kind| (kind, None));
    for (kind, isolation) in
        chosen.into_iter().chain([(PodKind::Root, Some("chroot")), (PodKind::Root, Some("plain-chroot"))])
    {
        let place = Place::pod_with(kind, &world, &rootfs, isolation);
        let (image, log) = match place.build(&world, "leaks") {
            Ok(built) => built,
            Err(why) => {
                let _ = writeln!(wrong, "{}: does not build:\n{why}", place.name());
                continue;
            }
        };
        assert!(!log.contains(BUILDER_SECRET), "{}: {log}", place.name());
        let files = image.files().expect("layers apply");
        for (name, expected) in NOTHING {
            let got = files.get(&format!("out/{name}")).and_then(|facts| facts.text.as_deref());
            // An empty file has no text to compare.
            // Without a mount there is no /proc/self to look for a secret in.
            let expected = if isolation == Some("plain-chroot") && *name == "environment" { "0\n" } else { expected };
            if got.unwrap_or_default() != expected {
                let _ = writeln!(wrong, "{}: {name}: expected {expected:?}, got {got:?}", place.name());
            }
        }
        let checks = files.keys().filter(|path| path.starts_with("out/")).count();
        if checks != NOTHING.len() {
            let _ = writeln!(wrong, "{}: {checks} results of {} checks", place.name(), NOTHING.len());
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}
