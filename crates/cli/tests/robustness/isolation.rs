//! What a RUN step can see of the builder and its machine: nothing; and what secrets leave behind: nothing.
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::process::Stdio;

use super::support::{Place, files, registry};

/// Put together at run time, so that it stands in no file of this repository that a step could read.
fn marker(name: &str) -> String {
    format!("{}-{name}-{}", ["mark", "er"].concat(), std::process::id())
}

#[test]
fn a_step_sees_nothing_of_the_builder() {
    let mark = marker("builder");
    let place = Place::dockerfile(
        "FROM busybox\nCOPY shown /shown\n\
         RUN --mount=type=bind,source=shown,target=/bound <<'E'\n\
         set -u\n\
         echo environment: $(env | cut -d= -f1 | sort)\n\
         echo processes: $(ls /proc | grep -c '^[0-9]')\n\
         for f in environ cwd root exe maps mem fd/0 fd/3; do\n\
           if cat /proc/1/$f >/tmp/x 2>/dev/null || ls /proc/1/$f/ >/tmp/x 2>/dev/null; then echo open: $f; fi\n\
         done\n\
         cp /proc/self/mountinfo /mounts\n\
         find / -xdev -name '*hidden*' -o -xdev -name 'robustness-*' | sed 's/^/found: /'\n\
         E\n\
         RUN [\"ls\", \"/proc/self/fd\"]\n",
    );
    place.write("shown", "fine");
    place.write("hidden", &mark);
    place.write(".dockerignore", "hidden\n");
    fs::create_dir_all(place.path("home/.docker")).unwrap();
    fs::write(place.path("home/.docker/config.json"), format!("{{\"HttpHeaders\":{{\"X\":\"{mark}\"}}}}")).unwrap();
    symlink("/", place.context().join("way-out")).unwrap();

    let archive = place.path("image.tar");
    let mut command = place.command(&format!("-o type=oci,dest={}", archive.display()));
    command.env("BUILDER_VARIABLE", &mark).env("GITHUB_TOKEN", &mark).env("COOPERAGE_PROBE", &mark);
    // Two descriptors that a careless caller left open.
    let secret = fs::File::open(place.path("home/.docker/config.json")).unwrap();
    let log = {
        let _kept = rustix::io::dup(&secret).unwrap();
        rustix::io::fcntl_setfd(&_kept, rustix::io::FdFlags::empty()).unwrap();
        super::support::run(&mut command)
    };
    assert_eq!(log.code, Some(0), "{}", log.text);
    let line = |label: &str| {
        let found = log.text.lines().find_map(|line| Some(line.split_once(&format!(" {label}: "))?.1.to_owned()));
        found.unwrap_or_else(|| panic!("no {label} in:\n{}", log.text))
    };
    assert_eq!(line("environment"), "HOME PATH PWD SHLVL");
    // The last one is the directory that is listed: nothing else is open.
    let listed: Vec<_> = log.text.lines().filter_map(|l| l.strip_prefix("#6 0.")?.split(' ').nth(1)).collect();
    assert_eq!(listed, ["0", "1", "2", "3"], "{}", log.text);
    // The helper, the shell, and the pipeline that counts.
    assert!(line("processes").parse::<u32>().unwrap() <= 6, "{}", log.text);
    for word in ["open: ", "found: ", mark.as_str()] {
        assert!(!log.text.contains(word), "{word:?} in:\n{}", log.text);
    }
    let made = testkit::Image::from_archive(&archive).unwrap().files().unwrap();
    let mounts = made["mounts"].text.clone().unwrap_or_default();
    // The kernel names the place of what a step asked to have mounted; of nothing else.
    for line in mounts.lines().filter(|line| !line.contains(" /bound ")) {
        for word in ["robustness-", "store", "context", "/home"] {
            assert!(!line.contains(word), "{word:?} in:\n{mounts}");
        }
    }
}

/// With its process id a step can do nothing to the builder.
#[test]
fn a_step_cannot_touch_the_builder() {
    let place = Place::dockerfile(
        "FROM busybox\nRUN --mount=type=cache,target=/c,sharing=shared <<'E'\n\
         echo ready\n\
         until [ -s /c/pid ]; do :; done\n\
         read pid < /c/pid\n\
         kill -0 $pid 2>/dev/null && echo open: kill\n\
         [ -e /proc/$pid ] && echo open: proc\n\
         kill -9 $pid 2>/dev/null; kill -9 -1 2>/dev/null\n\
         kill -9 1 2>/dev/null\n\
         nsenter -t $pid -m true 2>/dev/null && echo open: nsenter\n\
         nsenter -t 1 -m -p true 2>/dev/null && echo open: nsenter1\n\
         mount -t tmpfs none /mnt 2>/dev/null && echo open: mount\n\
         mount -o remount,rw /proc/sys 2>/dev/null && echo open: remount\n\
         umount /proc 2>/dev/null && echo open: umount\n\
         chroot / true 2>/dev/null || true\n\
         mknod /sda b 8 0 2>/dev/null && { cat /sda >/dev/null 2>&1 && echo open: disk; rm -f /sda; }\n\
         mknod /mem c 1 1 2>/dev/null && { head -c1 /mem >/dev/null 2>&1 && echo open: memory; rm -f /mem; }\n\
         echo 1 > /proc/sys/kernel/panic 2>/dev/null && echo open: sysctl\n\
         echo b > /proc/sysrq-trigger 2>/dev/null && echo open: sysrq\n\
         hostname other 2>/dev/null && [ $(hostname) = other ] && echo hostname is private\n\
         dmesg >/dev/null 2>&1 && echo open: dmesg\n\
         echo end\n\
         E\n",
    );
    // The mount exists before the build that is watched, so that its number can be put there.
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    place.write("first", "FROM busybox\nRUN --mount=type=cache,target=/c true\n");
    place.build(&format!("-f {}", place.context().join("first").display()));
    let mount = fs::read_dir(place.store().join("mounts")).unwrap().next().unwrap().unwrap().path().join("data");
    let mut child = place.command("").stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    fs::write(mount.join("pid"), format!("{}\n", child.id())).unwrap();
    let mut text = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_to_string(&mut text).unwrap();
    assert!(child.wait().unwrap().success(), "{text}");
    assert!(text.contains(" end") && !text.contains(" open: "), "{text}");
    assert_eq!(fs::read_to_string("/proc/sys/kernel/hostname").unwrap(), host);
}

/// Everything that a build leaves anywhere is searched for the secrets that its steps used.
#[test]
fn secrets_leave_no_trace() {
    let (file, variable, ssh) = (marker("file"), marker("variable"), marker("ssh"));
    let place = Place::dockerfile(
        "FROM busybox AS first\n\
         RUN --mount=type=secret,id=file,target=/etc/token,mode=0444,uid=1000 \
             --mount=type=secret,id=variable,env=TOKEN \
             --mount=type=secret,id=variable,target=/made/dir/token \
             --mount=type=ssh,target=/run/agent \
             sha256sum /etc/token /made/dir/token && test -n \"$TOKEN\" && test -S \"$SSH_AUTH_SOCK\"\n\
         COPY a /a\n\
         RUN --mount=type=secret,id=file cat /run/secrets/file | sha256sum > /sum; ls -a /etc /run /root > /ls\n\
         FROM busybox\n\
         COPY --from=first / /all\n\
         RUN --mount=type=secret,id=file,required cp -r /all /copy\n\
         RUN --mount=type=secret,id=missing test ! -e /run/secrets/missing\n",
    );
    place.write("a", "a");
    fs::write(place.path("secret"), &file).unwrap();
    let socket = place.path(&ssh);
    let _agent = UnixListener::bind(&socket).unwrap();
    let name = registry().reference("secrets");
    let words = format!(
        "--secret id=file,src={} --secret id=variable,env=VARIABLE --ssh default={} --push -t {name}",
        place.path("secret").display(),
        socket.display()
    );
    let log = super::support::run(place.command(&words).env("VARIABLE", &variable));
    assert_eq!(log.code, Some(0), "{}", log.text);
    let wanted = oci::Digest::sha256(file.as_bytes());
    assert!(log.text.contains(wanted.hex()), "the secret was not given:\n{}", log.text);
    // A step that fails with its secrets in reach: its error shows none of them.
    place.write(
        "failing",
        "FROM busybox\nRUN --mount=type=secret,id=file --mount=type=secret,id=variable,env=TOKEN \
         cp /run/secrets/file /leftover && exit 9\n",
    );
    let failing = place.context().join("failing");
    let failed =
        super::support::run(place.command(&format!("{words} -f {}", failing.display())).env("VARIABLE", &variable));
    assert_eq!(failed.code, Some(1), "{}", failed.text);

    let image = testkit::Image::from_registry(registry(), "secrets").unwrap();
    let config = String::from_utf8(image.config.clone()).unwrap();
    let mut inflated = Vec::new();
    for layer in image.layers() {
        layer.unwrap().read_to_end(&mut inflated).unwrap();
    }
    let table = image.files().unwrap();
    for path in ["all/run/agent", "all/run/secrets", "all/made/dir/token", "all/etc/token", "leftover"] {
        assert!(table.get(path).is_none_or(|f| f.size == 0), "{path}: {:?}", table.get(path));
    }
    for mark in [&file, &variable, &ssh] {
        let found = |bytes: &[u8]| bytes.windows(mark.len()).any(|window| window == mark.as_bytes());
        assert!(!found(log.text.as_bytes()) && !found(failed.text.as_bytes()), "{mark} is in the log");
        assert!(!found(config.as_bytes()), "{mark} is in the config or its history");
        assert!(!found(&inflated), "{mark} is in a layer");
        for path in files(&place.store()).into_iter().chain(files(&place.path("tmp"))) {
            let name = path.display().to_string();
            assert!(!name.contains(mark.as_str()) && !found(&fs::read(&path).unwrap()), "{mark} is in {name}");
        }
    }
    place.assert_sound();
}

/// Links in the context and in stages lead nowhere outside.
#[test]
fn links_do_not_lead_out_of_the_context() {
    let mark = marker("outside");
    let place = Place::new();
    fs::write(place.path("outside"), &mark).unwrap();
    symlink("../outside", place.context().join("up")).unwrap();
    symlink(place.path("outside"), place.context().join("absolute")).unwrap();
    symlink("..", place.context().join("parent")).unwrap();
    symlink("/proc/self/environ", place.context().join("environ")).unwrap();
    for source in ["up", "absolute", "parent/outside", "../outside", "environ", "parent/context/../outside"] {
        for instruction in [
            format!("COPY {source} /stolen"),
            format!("ADD {source} /stolen"),
            format!("RUN --mount=type=bind,source={source},target=/m cp -rL /m /stolen"),
        ] {
            place.write("Dockerfile", format!("FROM busybox\n{instruction}\n"));
            let archive = place.path("out.tar");
            let _ = fs::remove_file(&archive);
            let log = place.attempt(&format!("-o type=tar,dest={}", archive.display()));
            let tar = fs::read(&archive).unwrap_or_default();
            assert!(!tar.windows(mark.len()).any(|w| w == mark.as_bytes()), "{instruction} reaches outside");
            assert!(!String::from_utf8_lossy(&tar).contains("HOME="), "{instruction} reads the builder's environment");
            assert!(!log.text.contains(&mark) && !log.text.contains("panicked"), "{instruction}:\n{}", log.text);
        }
    }
}

/// Lines are read as they come; nothing of one step's output is lost or mixed with another's secrets.
#[test]
fn output_with_control_characters_is_tamed() {
    let place = Place::dockerfile("FROM busybox\nRUN printf 'a\\033[2Jb\\033]0;title\\007c\\r\\nd\\001e\\n'\n");
    let mut child = place.command("").stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    for line in BufReader::new(child.stderr.take().unwrap()).lines() {
        let line = line.unwrap();
        assert!(!line.contains(['\u{1b}', '\u{7}', '\u{1}']), "{line:?}");
    }
    assert!(child.wait().unwrap().success());
}
