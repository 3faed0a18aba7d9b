//! Users, groups, capabilities, setuid programs.

use sandbox::{Security, User};

use crate::support::{Tree, output, root_or_skip, run};

#[test]
fn user_and_groups_are_as_asked() {
    if !root_or_skip("user_and_groups_are_as_asked") {
        return;
    }
    let tree = Tree::new();
    let mut spec =
        tree.shell("id -u; id -g; id -G; grep -E '^Cap(Prm|Eff|Inh|Amb|Bnd)' /proc/self/status | tr '\\n' ' '");
    let default = "00000000a80425fb";
    let none = "0000000000000000";
    assert_eq!(
        output(&spec),
        format!("0\n0\n0\nCapInh:\t{none} CapPrm:\t{default} CapEff:\t{default} CapBnd:\t{default} CapAmb:\t{none} ")
    );
    spec.user = User { uid: 1000, gid: 1001, groups: vec![50, 60] };
    assert_eq!(
        output(&spec),
        format!(
            "1000\n1001\n1001 50 60\nCapInh:\t{none} CapPrm:\t{none} CapEff:\t{none} CapBnd:\t{default} CapAmb:\t{none} "
        )
    );
    spec.user = User::ROOT;
    spec.security = Security::Insecure;
    assert!(!output(&spec).contains(default));
}

#[test]
fn setuid_programs_work_and_root_may_become_anyone() {
    if !root_or_skip("setuid_programs_work_and_root_may_become_anyone") {
        return;
    }
    let tree = Tree::new();
    assert_eq!(
        output(&tree.shell("su app -c 'id -u'; chown 5:6 /tmp; stat -c %u:%g /tmp; chmod 4755 /bin/busybox")),
        "1000\n5:6\n"
    );
    let mut spec =
        tree.shell("grep NoNewPrivs /proc/self/status; awk '/^Uid/ {print $3}' /proc/self/status; su root -c 'id -u'");
    spec.user = User { uid: 1000, gid: 1000, groups: vec![] };
    std::fs::write(tree.path("root/etc/shadow"), "root::0:0:99999:7:::\n").expect("shadow");
    assert_eq!(output(&spec), "NoNewPrivs:\t0\n1000\n0\n");
}

#[test]
fn refused_calls_fail_and_the_rest_works() {
    if !root_or_skip("refused_calls_fail_and_the_rest_works") {
        return;
    }
    let tree = Tree::new();
    for script in [
        "mount -t tmpfs none /tmp",
        "unshare -r true",
        "unshare -m true",
        "hostname other",
        "umount /proc",
        "echo 1 > /proc/sys/kernel/panic",
        "echo b > /proc/sysrq-trigger",
        "date -s 2001-01-01 2>&1 >/dev/null | grep -q permitted && false",
        "chroot /proc/1/root true && ls /proc/1/root/work",
        "readlink /proc/1/fd/0",
        "readlink /proc/1/exe",
        "readlink /proc/1/cwd",
        "cat /proc/1/maps",
        "head -c 1 /proc/1/fd/3",
        "cat /proc/1/environ && test -s /proc/1/environ",
    ] {
        let got = run(&tree.shell(script)).expect(script);
        assert!(!got.exit.status.success(), "{script}: {got:?}");
    }
    assert_eq!(
        output(&tree.shell("mknod /tmp/null c 1 3 && echo x > /tmp/null && mkfifo /tmp/f && chroot / echo in")),
        "in\n"
    );
}
