//! The whole of a platform team's day: two services from two branches of a repository behind a git
//! server, a real registry, others that push at the same time, a base image that moves, and a way back.
use super::{Place, TOKEN, holds};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

/// `git daemon` on loopback.
struct Daemon(Child, String);

impl Daemon {
    fn serve(dir: &std::path::Path) -> Self {
        let port = testkit::free_port().unwrap();
        // The program itself: killing `git` would leave it behind.
        let path = Command::new("git").arg("--exec-path").output().unwrap().stdout;
        let path = String::from_utf8(path).unwrap();
        let child = Command::new(std::path::Path::new(path.trim()).join("git-daemon"))
            .args(["--export-all", "--enable=receive-pack", "--listen=127.0.0.1", "--reuseaddr"])
            .arg(format!("--port={port}"))
            .arg(format!("--base-path={}", dir.display()))
            .arg(dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            std::thread::yield_now();
        }
        Self(child, format!("git://127.0.0.1:{port}/app.git"))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_team_with_two_services() {
    let place = Place::new();
    let host = place.registry.host();
    let busybox = testkit::bases::BUSYBOX.push(&place.registry).unwrap();
    let daemon = Daemon::serve(place.dir.path());
    let url = &daemon.1;
    // A base image of the team's own, enrolled too; the API on main, the front end with a build step on `next`.
    place.write("work/runtime/Dockerfile", &format!("FROM {busybox}\nCOPY --from={host}/base:1 /file /etc/runtime\n"));
    place.write(
        "work/api/Dockerfile",
        &format!("FROM {host}/o/runtime:latest\nCOPY api/server.js /srv/\nCMD [\"node\", \"/srv/server.js\"]\n"),
    );
    place.commit("services");
    place.git(&["checkout", "-q", "-b", "next"], "work");
    place.write(
        "work/web/Dockerfile",
        &format!("FROM {host}/o/runtime:latest AS build\nCOPY index.html /src/\nRUN mkdir /dist && sed 's/hello/built/' /src/index.html > /dist/index.html\nFROM scratch\nCOPY --from=build /dist /\nCOPY --from=build /etc/runtime /runtime\n"),
    );
    place.git(&["add", "--all"], "work");
    place.git(&["commit", "-q", "-m", "web"], "work");
    place.git(&["push", "-q", "origin", "next"], "work");
    place.git(&["checkout", "-q", "main"], "work");
    let entry = |name: &str, branch: &str, more: &str| {
        format!(
            "- name: {name}\n  registry: {host}\n  repository: o/{name}\n  source: {{url: '{url}', branch: {branch}, dockerfile: {name}/Dockerfile{more}}}\n  rebuildDelay: 0h\n"
        )
    };
    let update =
        "  updates: [{path: k8s/kustomization.yml, branch: main, signOff: true, message: 'deploy {name} {version}'}]\n";
    let images = [
        entry("web", "next", ", context: web"),
        update.into(),
        entry("api", "main", ""),
        update.into(),
        entry("runtime", "main", ""),
    ];
    place.write("factory/images.yaml", &images.concat());
    place.ok(&["factory", "validate"]);
    // The team's base is built first: what others are made from has to be there.
    let table = place.ok(&["factory", "build", "runtime"]);
    assert!(table.contains("0.1.0, latest"), "{table}");
    place.ok(&["factory", "discover"]);
    assert!(place.ok(&["factory", "check-bases"]).is_empty());

    // Another process pushes to the same branch all the while, and some times more when an image is about to be written
    // into it: fewer times than the factory tries again, which would else be a matter of luck on a busy machine.
    const RACES: usize = 7;
    let stop = AtomicBool::new(false);
    let tags = |image: &str| {
        place.registry.storage().join(format!("docker/registry/v2/repositories/o/{image}/_manifests/tags"))
    };
    let pushed = std::thread::scope(|scope| {
        let pusher = scope.spawn(|| {
            let (mut n, mut races) = (0, 0);
            while !stop.load(Ordering::Relaxed) {
                let tagged = ["api", "web"].iter().filter(|image| tags(image).exists()).count();
                if tagged > 0 && races >= tagged * RACES {
                    std::thread::sleep(std::time::Duration::from_millis(5));
                    continue;
                }
                races += usize::from(tagged > 0);
                // As other jobs do it: a clone each, and those that lose the race are gone.
                let _ = std::fs::remove_dir_all(place.path("other"));
                place.git(&["clone", "-q", url, "other"], ".");
                place.write("other/notes", &format!("{n}\n"));
                place.git(&["add", "--all"], "other");
                place.git(&["commit", "-q", "-m", &format!("note {n}")], "other");
                let mut push = Command::new("git");
                push.args(["push", "-q", "origin", "HEAD:main"]).current_dir(place.path("other"));
                n += usize::from(push.output().unwrap().status.success());
            }
            n
        });
        let built = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| place.ok(&["factory", "build", "--all"])));
        stop.store(true, Ordering::Relaxed);
        let pushed = pusher.join().unwrap();
        built.unwrap();
        pushed
    });
    let log = place.git(&["log", "--format=%s", "main"], "app.git");
    assert!(pushed > 0 && log.matches("note ").count() >= pushed, "{pushed} notes:\n{log}");
    assert!(log.contains("deploy api 0.1.0\n") && log.contains("deploy web 0.1.0\n"), "{log}");
    let body = place.git(&["log", "--format=%B", "-1", "--grep", "deploy web", "main"], "app.git");
    assert!(body.contains("Signed-off-by: "), "{body}");
    let manifest = || place.git(&["show", "main:k8s/kustomization.yml"], "app.git");
    assert!(manifest().matches("newTag: 0.1.0").count() == 2 && manifest().starts_with("# who runs where\n"));

    // The image under the base moves: all three are due, in order, and none twice.
    place.base("two");
    let first = ["api", "web"].map(|name| place.digest(&format!("o/{name}:latest")));
    let due = place.ok(&["factory", "check-bases"]);
    let order: Vec<&str> = due
        .lines()
        .skip_while(|line| !line.starts_with("REBUILD"))
        .skip(1)
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert_eq!(order.first(), Some(&"runtime"), "{due}");
    assert_eq!(order.len(), 3, "{due}");
    let one = place.ok(&["factory", "rebuild", "--eligible", "--limit", "1"]);
    assert!(one.contains("o/runtime") && !one.contains("o/api"), "{one}");
    place.ok(&["factory", "check-bases"]);
    let table = place.ok(&["factory", "rebuild", "--eligible"]);
    assert!(table.contains("o/api") && table.contains("o/web") && !table.contains("o/runtime"), "{table}");
    assert!(place.ok(&["factory", "check-bases"]).is_empty(), "no loop");
    assert_eq!(place.ok(&["factory", "runs"]).lines().count(), 1 + 1 + 3 + 3);
    assert_eq!(manifest().matches("newTag: 0.1.1").count(), 2, "{}", manifest());

    // The API goes back, in one commit, and stays there.
    let commits = || place.git(&["rev-list", "--count", "main"], "app.git").trim().parse::<usize>().unwrap();
    let (before, new) = (commits(), place.digest("o/api:0.1.1"));
    assert_ne!(new, first[0]);
    place.ok(&["factory", "rollback", "api", "--reason", "it leaks"]);
    assert_eq!(commits(), before + 1);
    assert_eq!(manifest().matches("newTag: 0.1.0").count(), 1, "{}", manifest());
    assert_eq!(place.digest("o/api:latest"), first[0]);
    assert_eq!(place.digest("o/api:0.1.1"), new, "a version stays what it is");
    assert!(place.read("factory/images/api.yaml").contains("currentVersion: 0.1.0\n"));
    place.base("three");
    let due = place.ok(&["factory", "check-bases"]);
    assert!(due.contains("held: it leaks"), "{due}");
    let table = place.ok(&["factory", "rebuild", "--eligible"]);
    assert!(table.contains("o/web") && !table.contains("o/api"), "{table}");
    let refused = place.run(&["factory", "build", "api"]);
    let text = String::from_utf8(refused.stderr).unwrap();
    assert!(refused.status.code() == Some(1) && text.contains("api is held: it leaks"), "{text}");
    assert!(!place.ok(&["factory", "build", "--all", "--local"]).is_empty());
    assert_eq!(place.digest("o/api:latest"), first[0], "held is held");
    let history = place.ok(&["factory", "history", "api"]);
    for part in
        ["rollback", "it leaks", "published (base)", "published (manual)", "a base image changed", "not scanned"]
    {
        assert!(history.contains(part), "{part}: {history}");
    }
    // Nothing to go back to twice; what does not exist is told.
    let output = place.run(&["factory", "rollback", "api", "--to", "9.9.9"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("the registry has no "), "{output:?}");
    place.ok(&["factory", "release", "api"]);
    let table = place.ok(&["factory", "rebuild", "--eligible"]);
    assert!(table.contains("o/api") && table.contains("0.1.2, latest"), "behind all versions: {table}");
    assert_eq!(holds(place.dir.path(), TOKEN.as_bytes()), Vec::<std::path::PathBuf>::new());
}

#[test]
fn what_a_change_touches_is_built() {
    let place = Place::new();
    place.write("work/web/index.html", "<p>changed\n");
    let dry = place.command(&["factory", "build", "--changed", "HEAD", "--checkout", "../work", "--dry-run"]);
    let dry = { dry }.output().unwrap();
    let text = String::from_utf8(dry.stdout).unwrap();
    // The API's context is the whole repository.
    assert!(text.contains("web: would build web/Dockerfile") && text.contains("api: would build"), "{text}");
    let output = place.run(&["factory", "build", "--changed", "nowhere", "--checkout", "../work"]);
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(2) && text.contains("is no commit, branch or tag"), "{text}");
    // Conventional commits: a feature moves the second number, a chore is a rebuild of the same version.
    let images = place
        .read("factory/images.yaml")
        .replace("rebuildDelay: 0h", "rebuildDelay: 0h\n  version: {bump: conventional, gitTag: true}");
    place.write("factory/images.yaml", &images);
    for (message, version) in [
        ("first", "0.1.0"),
        ("feat: more", "0.2.0"),
        ("fix(api): less", "0.2.1"),
        ("chore: none", "0.2.1-1"),
        ("feat!: gone", "0.3.0"),
    ] {
        place.git(&["pull", "-q", "--rebase", "--autostash", "origin", "main"], "work");
        place.write("work/api/server.js", &format!("{message}\n"));
        place.commit(message);
        let table = place.ok(&["factory", "build", "api"]);
        assert!(table.contains(&format!(" {version}, latest")), "{message}: {table}");
    } // A file of the source says the version; what was built once is a rebuild; --bump is heard first.
    let images = place
        .read("factory/images.yaml")
        .replace("version: {bump: conventional, gitTag: true}", "local: {versionFile: VERSION}");
    place.write("factory/images.yaml", &images);
    let build = |more: &[&str]| place.ok(&[&["factory", "build", "api"], more].concat());
    for (file, more, version) in
        [("v2.5.0\n", &[][..], "2.5.0"), ("# it stays\n2.5.0\n", &[], "2.5.0-1"), ("x", &["--bump", "minor"], "2.6.0")]
    {
        place.git(&["pull", "-q", "--rebase", "--autostash", "origin", "main"], "work");
        place.write("work/VERSION", file);
        place.commit("version");
        let table = build(more);
        assert!(table.contains(&format!(" {version}, latest")), "{version}: {table}");
    }
    place.git(&["pull", "-q", "--rebase", "--autostash", "origin", "main"], "work");
    place.write("work/VERSION", "one two\n");
    place.commit("no version");
    let output = place.run(&["factory", "build", "api"]);
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(1) && text.contains("VERSION holds no version: \"one two\""), "{text}");
}
