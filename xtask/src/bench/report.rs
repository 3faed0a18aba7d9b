//! The tables of a run, for the terminal and for a page of the documentation, and its chart.
use super::builders::Role;
use super::measure::{Sample, median};
use super::{Options, Race, Results, chart, label};
use crate::Failure;
use std::fmt::Write as _;
use std::fs;
use std::process::Command;
use std::time::Duration;

/// What is between these marks in a page is written by the bench.
const MARKS: [&str; 2] = ["<!-- written by cargo xtask bench -->", "<!-- end of what is written -->"];

/// The most that the modes without overlayfs may take, of BuildKit's time and of Buildah's on vfs.
const MODES: [f64; 2] = [1.0, 0.5];

/// The most bytes that we may take.
const MEMORY: u64 = 150_000_000;

/// The most that a build may take, of its longest chain of steps.
const CHAIN: f64 = 1.1;

/// Writes chart and page, as far as they are asked for.
pub(super) fn write(results: &Results, options: &Options, took: Duration) -> Result<(), Failure> {
    if let Some(path) = &options.chart {
        fs::write(path, bars(results))?;
    }
    if let Some(path) = &options.page {
        let page = fs::read_to_string(path)?;
        let ends = page.split_once(MARKS[0]).and_then(|(head, rest)| Some((head, rest.split_once(MARKS[1])?.1)));
        let (head, tail) = ends.ok_or_else(|| format!("{} has no {} and {}", path.display(), MARKS[0], MARKS[1]))?;
        fs::write(path, format!("{head}{}\n{}{}{tail}", MARKS[0], text(results, options, took), MARKS[1]))?;
    }
    Ok(())
}

/// All of it as Markdown.
pub(super) fn text(results: &Results, options: &Options, took: Duration) -> String {
    let mut out = format!("\n{}\n\n{}\n{}", shape(took), main_table(results), notes(results, options));
    for part in [modes(results), units(results), failures(results)] {
        if !part.is_empty() {
            out += &format!("\n{part}");
        }
    }
    out + "\n"
}

fn wall(list: &[Sample]) -> Option<f64> {
    if list.is_empty() { None } else { Some(median(list.iter().map(|sample| sample.wall).collect())) }
}

fn seconds(value: Option<f64>) -> String {
    value.map_or_else(|| "–".to_owned(), |value| format!("{value:.2}"))
}

impl Results {
    fn place(&self, role: Role) -> Option<usize> {
        self.contenders.iter().position(|(_, other)| *other == role)
    }

    fn samples<'r>(&self, race: &'r Race, role: Role) -> &'r [Sample] {
        self.place(role).map_or(&[], |place| &race.samples[place])
    }

    fn wall(&self, race: &Race, role: Role) -> Option<f64> {
        wall(self.samples(race, role))
    }

    fn name(&self, role: Role) -> &str {
        self.place(role).map_or("–", |place| &self.contenders[place].0)
    }
}

/// The machine and the date.
fn shape(took: Duration) -> String {
    let first = |command: &mut Command| {
        let output = command.output().map(|output| output.stdout).unwrap_or_default();
        String::from_utf8_lossy(&output).trim().to_owned()
    };
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let memory = memory.lines().find_map(|line| line.strip_prefix("MemTotal:")).unwrap_or_default();
    let memory = memory.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0) >> 20;
    let models = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = models.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let disk = first(Command::new("stat").args(["-f", "-c", "%T"]).arg(std::env::temp_dir()));
    format!(
        "{}; {processors} processors ({}), {memory} GiB of memory, {disk}, Linux {}; the run took {} minutes. Load when it ended: {}.",
        first(Command::new("date").args(["-u", "+%-d %B %Y"])),
        model.trim_start_matches([' ', '\t', ':']),
        first(Command::new("uname").arg("-r")),
        took.as_secs().div_ceil(60),
        fs::read_to_string("/proc/loadavg").unwrap_or_default().split(' ').next().unwrap_or_default(),
    )
}

/// Ours as it comes, and all peers.
fn main_table(results: &Results) -> String {
    let peers = [Role::Reference, Role::Buildah("overlay"), Role::Buildah("vfs")];
    let peers: Vec<Role> = peers.into_iter().filter(|role| results.place(*role).is_some()).collect();
    let mut out = "| workload | what | Cooperage |".to_owned();
    for peer in &peers {
        let _ = write!(out, " {} |", results.name(*peer));
    }
    out += " ratio to BuildKit | at most | processor s, ours | BuildKit's | memory MB, ours | BuildKit's | Buildah's | rounds |\n|---|---|";
    out += &"---|".repeat(peers.len() + 9);
    out.push('\n');
    for race in &results.races {
        let ours = results.samples(race, Role::Main);
        if ours.is_empty() {
            continue;
        }
        let what = if race.scale == 1 { race.workload.what } else { "" };
        let _ = write!(out, "| {} | {what} | {} |", label(race.workload, race.scale), seconds(wall(ours)));
        for peer in &peers {
            let _ = write!(out, " {} |", seconds(results.wall(race, *peer)));
        }
        let ratio = results.wall(race, Role::Reference).and_then(|reference| Some(wall(ours)? / reference));
        let theirs = results.samples(race, Role::Reference);
        let drivers = peers.iter().filter(|role| matches!(role, Role::Buildah(_)));
        let buildah: Vec<Sample> = drivers.flat_map(|role| results.samples(race, *role)).copied().collect();
        let cpu = |list: &[Sample]| {
            seconds(if list.is_empty() { None } else { Some(median(list.iter().map(|s| s.cpu).collect())) })
        };
        let _ = writeln!(
            out,
            " {} | {} | {} | {} | {} | {} | {} | {} |",
            judged(ratio, race.workload.most),
            race.workload.most,
            cpu(ours),
            cpu(theirs),
            memory(ours, Some(MEMORY)),
            memory(theirs, None),
            memory(&buildah, None),
            ours.len()
        );
    }
    out
}

/// A ratio, bold where it is as good as it has to be.
fn judged(ratio: Option<f64>, most: f64) -> String {
    match ratio {
        None => "–".to_owned(),
        Some(ratio) if ratio <= most => format!("**{ratio:.2}**"),
        Some(ratio) => format!("{ratio:.2}, missed"),
    }
}

fn memory(list: &[Sample], most: Option<u64>) -> String {
    let peak = list.iter().filter_map(|sample| sample.peak).max();
    let missed = if peak.zip(most).is_some_and(|(peak, most)| peak > most) { ", missed" } else { "" };
    peak.map_or_else(|| "–".to_owned(), |peak| format!("{}{missed}", peak / 1_000_000))
}

/// What the table is to be read with.
fn notes(results: &Results, options: &Options) -> String {
    let mut out = format!(
        "Wall seconds, medians of the rounds; Buildah has one. Processor seconds are those of the whole machine meanwhile, registry and steps included; memory is the peak of the builder's processes (of Buildah's the larger of build and push, on either driver).\n\nFloors, for 256 MiB: {}.\n",
        results.floors
    );
    for race in &results.races {
        if let (Some(chain), 1) = (race.workload.chain, race.scale) {
            let _ = write!(out, "\nThe longest chain of `{}` is {chain} s; times that:", race.workload.name);
            for (place, (name, role)) in results.contenders.iter().enumerate() {
                if let Some(wall) = wall(&race.samples[place]) {
                    let most = if matches!(role, Role::Main) { CHAIN } else { f64::INFINITY };
                    let text = judged(Some(wall / chain), most).replace("**", "");
                    let _ = write!(out, " {name} {text};");
                }
            }
            out = out.trim_end_matches(';').to_owned() + ".\n";
        }
    }
    if let Some(path) = options.chart.as_ref().and_then(|path| path.file_name()) {
        let _ = write!(out, "\n![The same as a chart]({})\n", path.to_string_lossy());
    }
    out
}

/// Ours without overlayfs, of BuildKit with it and of Buildah on vfs.
fn modes(results: &Results) -> String {
    let modes: Vec<usize> =
        (0..results.contenders.len()).filter(|place| results.contenders[*place].1 == Role::Mode).collect();
    if modes.is_empty() {
        return String::new();
    }
    let mut out = format!(
        "Without overlayfs: seconds, ratio to the same BuildKit (at most {:.1}), ratio to Buildah on vfs (at most {:.1}), memory in MB.\n\n| workload |",
        MODES[0], MODES[1]
    );
    for place in &modes {
        let name = results.contenders[*place].0.trim_start_matches("Cooperage, ");
        let _ = write!(out, " {name} s | of BuildKit | of vfs | MB |");
    }
    out += "\n|---|";
    out += &"---|".repeat(modes.len() * 4);
    out.push('\n');
    for race in results.races.iter().filter(|race| race.scale == 1) {
        let _ = write!(out, "| {} |", race.workload.name);
        for place in &modes {
            let ours = wall(&race.samples[*place]);
            let ratio = |role| results.wall(race, role).and_then(|theirs| Some(ours? / theirs));
            let _ = write!(
                out,
                " {} | {} | {} | {} |",
                seconds(ours),
                judged(ratio(Role::Reference), MODES[0]),
                judged(ratio(Role::Buildah("vfs")), MODES[1]),
                memory(&race.samples[*place], Some(MEMORY))
            );
        }
        out.push('\n');
    }
    out
}

/// What one more unit costs between neighbouring scales: what is paid once a build is not in it.
fn units(results: &Results) -> String {
    let mut out = String::new();
    for (number, race) in results.races.iter().enumerate() {
        let Some((unit, count)) = race.workload.unit else { continue };
        let Some(next) = results.races.get(number + 1).filter(|next| next.workload.name == race.workload.name) else {
            continue;
        };
        let _ = write!(out, "| {}: one more {unit} | {}x to {}x |", race.workload.name, race.scale, next.scale);
        for role in [Role::Main, Role::Reference] {
            // The first round alone has all scales, right after each other; a scale has few rounds.
            let more = results
                .wall(next, role)
                .zip(results.wall(race, role))
                .map(|(large, small)| (large - small) * 1000.0 / ((next.scale - race.scale) * count) as f64);
            let _ = write!(out, " {} |", more.map_or_else(|| "–".to_owned(), |more| format!("{more:.3}")));
        }
        out.push('\n');
    }
    if out.is_empty() {
        return out;
    }
    format!(
        "What one more costs at larger scales, in milliseconds:\n\n| | | Cooperage | {} |\n|---|---|---|---|\n{out}",
        results.name(Role::Reference)
    )
}

fn failures(results: &Results) -> String {
    let mut out = String::new();
    for failure in &results.failures {
        let _ = writeln!(out, "- failed: {}", failure.lines().next().unwrap_or_default());
    }
    out
}

/// The chart.
fn bars(results: &Results) -> String {
    let names: Vec<String> = results.contenders.iter().map(|(name, _)| name.clone()).collect();
    let mut rows = Vec::new();
    for race in &results.races {
        let Some(reference) = results.wall(race, Role::Reference) else { continue };
        let ratios: Vec<Option<f64>> =
            race.samples.iter().map(|list| wall(list).map(|wall| wall / reference)).collect();
        rows.push((label(race.workload, race.scale), ratios));
    }
    chart::svg(&names, results.place(Role::Reference).unwrap_or(usize::MAX), &rows)
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_ratio_says_whether_it_is_good_enough() {
        let judged = |ratio, most| super::judged(ratio, most);
        assert_eq!(judged(Some(0.5), 0.5), "**0.50**");
        assert_eq!(judged(Some(0.51), 0.5), "0.51, missed");
        assert_eq!(judged(None, 0.5), "–");
    }
}
