//! Whether the kernel killed something for want of memory: the counters of this place.

use std::fs;

/// Where a count of such kills may be read, the narrowest first. The last one counts for the whole machine.
const PLACES: [&str; 3] = ["/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control", "/proc/vmstat"];

/// The number of kills so far, as the narrowest counter that exists has it.
pub(crate) fn oom_kills() -> Option<u64> {
    let own = fs::read_to_string("/proc/self/cgroup").ok().and_then(|text| own_events(&text));
    own.iter().map(String::as_str).chain(PLACES).find_map(|path| count(&fs::read_to_string(path).ok()?))
}

/// The events file of the process's own group of cgroup v2.
fn own_events(proc_self_cgroup: &str) -> Option<String> {
    let group = proc_self_cgroup.lines().find_map(|line| line.strip_prefix("0::"))?;
    (group != "/").then(|| format!("/sys/fs/cgroup{group}/memory.events"))
}

fn count(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read_from_each_format() {
        assert_eq!(count("low 0\nhigh 0\nmax 3\noom 1\noom_kill 2\noom_group_kill 0\n"), Some(2));
        assert_eq!(count("oom_kill_disable 0\nunder_oom 0\noom_kill 7\n"), Some(7));
        assert_eq!(count("nr_free_pages 1\n"), None);
        assert_eq!(
            own_events("12:memory:/x\n0::/user.slice/a\n").as_deref(),
            Some("/sys/fs/cgroup/user.slice/a/memory.events")
        );
        assert_eq!(own_events("0::/\n"), None);
    }
}
