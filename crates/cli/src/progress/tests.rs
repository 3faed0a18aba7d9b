//! A recorded build, shown by each renderer at fixed times.
use std::sync::{Arc, Mutex};

use build::event::{Outcome, Stream, VertexId};

use super::*;

#[derive(Clone, Default)]
struct Screen(Arc<Mutex<Vec<u8>>>);

impl Write for Screen {
    fn write(&mut self, data: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(data);
        Ok(data.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Screen {
    fn take(&self) -> String {
        String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap()
    }
}

fn at(ms: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_000 + ms)
}

fn vertex(id: VertexId, name: &str, stage: Option<&str>, inputs: &[VertexId]) -> Event {
    Event::Vertex { id, name: name.into(), stage: stage.map(str::to_owned), inputs: inputs.to_vec() }
}

fn log(id: VertexId, text: &str) -> Event {
    Event::Log { id, stream: Stream::Stdout, data: text.as_bytes().to_vec() }
}

fn done(ms: u64, id: VertexId, outcome: Outcome) -> (u64, Event) {
    (ms, Event::Completed { id, at: at(ms), outcome })
}

fn started(ms: u64, id: VertexId) -> (u64, Event) {
    (ms, Event::Started { id, at: at(ms) })
}

fn progress(id: VertexId, item: &str, current: u64, finished: bool) -> Event {
    Event::Progress { id, item: item.into(), current, total: Some(10_000_000), done: finished }
}

/// Two stages in parallel, a pull, a cached step, a step that fails and one that is cancelled.
fn recording() -> Vec<(u64, Event)> {
    vec![
        (0, vertex(0, "[internal] load build definition from Dockerfile", None, &[])),
        started(0, 0),
        done(20, 0, Outcome::Done),
        (30, vertex(1, "[build 1/3] FROM docker.io/library/alpine", Some("build"), &[])),
        (30, vertex(2, "[web 1/2] FROM docker.io/library/node", Some("web"), &[])),
        (30, vertex(3, "[build 2/3] RUN apk add make", Some("build"), &[1])),
        (30, vertex(4, "[build 3/3] RUN make", Some("build"), &[3])),
        (30, vertex(5, "[web 2/2] RUN npm ci", Some("web"), &[2])),
        started(40, 1),
        started(40, 2),
        (50, progress(1, "sha256:aaaa", 0, false)),
        done(60, 2, Outcome::Cached),
        started(70, 5),
        (900, log(5, "npm \x1b[2J\x1b[33mwarn\x1b[0m old lock")),
        (1000, progress(1, "sha256:aaaa", 4_200_000, false)),
        (1100, log(5, "file\nadded 3 packages\n")),
        (1500, progress(1, "sha256:aaaa", 10_000_000, true)),
        done(1600, 1, Outcome::Done),
        done(1601, 3, Outcome::Cached),
        started(1610, 4),
        (1700, log(4, "cc -c a.c\n10%\r20%")),
        (1800, Event::Warning { id: Some(4), message: "JSONArgsRecommended: use JSON (line 3)".into() }),
        done(
            2500,
            4,
            Outcome::Failed("process \"/bin/sh -c make\" did not complete successfully: exit code: 2".into()),
        ),
        done(2510, 5, Outcome::Canceled),
    ]
}

/// Plays the recording up to `until`, then finishes where it is asked to.
fn play(renderer: &mut dyn Renderer, until: u64, finish: bool) {
    let mut state = State::default();
    for (ms, event) in recording().into_iter().filter(|(ms, _)| *ms <= until) {
        state.apply(at(ms), &event);
        renderer.event(at(ms), &event, &state).unwrap();
    }
    if finish { renderer.finish(at(until), &state).unwrap() } else { renderer.tick(at(until), &state).unwrap() }
}

/// What a terminal would show of the last frame.
fn last_frame(text: &str) -> String {
    let mut frame = text.rsplit("\x1b[?2026h").next().unwrap().replace("\r\n", "\n");
    for sequence in ["\x1b[?2026l", "\x1b[?25h", "\x1b[?25l", "\x1b[K", "\x1b[J"] {
        frame = frame.replace(sequence, "");
    }
    frame.rsplit('\r').next().unwrap().trim_end().to_owned()
}

fn tty(screen: &Screen, columns: usize, rows: usize) -> tty::Tty {
    tty::Tty::new(Box::new(screen.clone()), false, Box::new(move || (columns, rows)), at(0))
}

#[test]
fn plain_is_buildkits() {
    let screen = Screen::default();
    play(&mut plain::Plain::new(Box::new(screen.clone()), false), 3000, true);
    insta::assert_snapshot!(screen.take(), @r#"
    #1 [internal] load build definition from Dockerfile
    #1 DONE 0.0s

    #2 [build 1/3] FROM docker.io/library/alpine
    #2 sha256:aaaa 10.00MB / 10.00MB 1.4s done
    #2 DONE 1.6s

    #3 [web 1/2] FROM docker.io/library/node
    #3 CACHED

    #4 [web 2/2] RUN npm ci
    #4 1.030 npm warn old lockfile
    #4 1.030 added 3 packages
    #4 CANCELED

    #5 [build 2/3] RUN apk add make
    #5 CACHED

    #6 [build 3/3] RUN make
    #6 0.090 cc -c a.c
    #6 WARNING: JSONArgsRecommended: use JSON (line 3)
    #6 0.890 20%
    #6 ERROR: process "/bin/sh -c make" did not complete successfully: exit code: 2
    "#);
}

#[test]
fn plain_keeps_colours_where_they_are_wanted() {
    let screen = Screen::default();
    play(&mut plain::Plain::new(Box::new(screen.clone()), true), 3000, true);
    let text = screen.take();
    assert!(text.contains("npm \x1b[33mwarn\x1b[0m old lockfile\x1b[0m\n"), "{text:?}");
    assert!(text.contains("\x1b[31mERROR: process"), "{text:?}");
    assert!(!text.contains("\x1b[2J"));
}

#[test]
fn rawjson_is_a_solve_status_per_line() {
    let screen = Screen::default();
    play(&mut rawjson::RawJson::new(Box::new(screen.clone())), 900, true);
    let text = screen.take();
    assert!(text.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()));
    insta::assert_snapshot!(text, @r#"
    {"vertexes":[{"digest":"sha256:1c73dc88369a6b2e568a22f1f7ec4ad18a9ae19db3e9eaedf792257ea766098e","name":"[internal] load build definition from Dockerfile"}]}
    {"vertexes":[{"digest":"sha256:1c73dc88369a6b2e568a22f1f7ec4ad18a9ae19db3e9eaedf792257ea766098e","name":"[internal] load build definition from Dockerfile","started":"2023-11-14T22:13:20.000000000Z"}]}
    {"vertexes":[{"digest":"sha256:1c73dc88369a6b2e568a22f1f7ec4ad18a9ae19db3e9eaedf792257ea766098e","name":"[internal] load build definition from Dockerfile","started":"2023-11-14T22:13:20.000000000Z","completed":"2023-11-14T22:13:20.020000000Z"}]}
    {"vertexes":[{"digest":"sha256:1c01ad2a7203ae7b2cfd35581f0798807abaf458fcdcc520f10af217e642b1e6","name":"[build 1/3] FROM docker.io/library/alpine"}]}
    {"vertexes":[{"digest":"sha256:9955a8207fedeec0b1fd78a8bc2f20ef32eaf9897fc5787fc819941cd5dd7f62","name":"[web 1/2] FROM docker.io/library/node"}]}
    {"vertexes":[{"digest":"sha256:98c4b3debb3748ef5f91ee2f9fb541a4975ee5a884e07063db5aa591bebee4ca","inputs":["sha256:1c01ad2a7203ae7b2cfd35581f0798807abaf458fcdcc520f10af217e642b1e6"],"name":"[build 2/3] RUN apk add make"}]}
    {"vertexes":[{"digest":"sha256:756de07a4dc583adcd9ba3104be2617eb2b09f613a5a079bde1d9a3786a394bd","inputs":["sha256:98c4b3debb3748ef5f91ee2f9fb541a4975ee5a884e07063db5aa591bebee4ca"],"name":"[build 3/3] RUN make"}]}
    {"vertexes":[{"digest":"sha256:945323bfd48b339d82b5478373977753e00fff72ec6b089ff439bf4d0ba0535c","inputs":["sha256:9955a8207fedeec0b1fd78a8bc2f20ef32eaf9897fc5787fc819941cd5dd7f62"],"name":"[web 2/2] RUN npm ci"}]}
    {"vertexes":[{"digest":"sha256:1c01ad2a7203ae7b2cfd35581f0798807abaf458fcdcc520f10af217e642b1e6","name":"[build 1/3] FROM docker.io/library/alpine","started":"2023-11-14T22:13:20.040000000Z"}]}
    {"vertexes":[{"digest":"sha256:9955a8207fedeec0b1fd78a8bc2f20ef32eaf9897fc5787fc819941cd5dd7f62","name":"[web 1/2] FROM docker.io/library/node","started":"2023-11-14T22:13:20.040000000Z"}]}
    {"statuses":[{"id":"sha256:aaaa","vertex":"sha256:1c01ad2a7203ae7b2cfd35581f0798807abaf458fcdcc520f10af217e642b1e6","total":10000000,"current":0,"timestamp":"2023-11-14T22:13:20.050000000Z","started":"2023-11-14T22:13:20.050000000Z"}]}
    {"vertexes":[{"digest":"sha256:9955a8207fedeec0b1fd78a8bc2f20ef32eaf9897fc5787fc819941cd5dd7f62","name":"[web 1/2] FROM docker.io/library/node","started":"2023-11-14T22:13:20.040000000Z","completed":"2023-11-14T22:13:20.060000000Z","cached":true}]}
    {"vertexes":[{"digest":"sha256:945323bfd48b339d82b5478373977753e00fff72ec6b089ff439bf4d0ba0535c","inputs":["sha256:9955a8207fedeec0b1fd78a8bc2f20ef32eaf9897fc5787fc819941cd5dd7f62"],"name":"[web 2/2] RUN npm ci","started":"2023-11-14T22:13:20.070000000Z"}]}
    {"logs":[{"vertex":"sha256:945323bfd48b339d82b5478373977753e00fff72ec6b089ff439bf4d0ba0535c","stream":1,"data":"bnBtIBtbMkobWzMzbXdhcm4bWzBtIG9sZCBsb2Nr","timestamp":"2023-11-14T22:13:20.900000000Z"}]}
    "#);
}

#[test]
fn the_tree_shows_what_runs() {
    let screen = Screen::default();
    play(&mut tty(&screen, 70, 24), 1200, false);
    insta::assert_snapshot!(last_frame(&screen.take()), @r#"
    [+] Building 1.2s (2/6)
     => [internal] load build definition from Dockerfile             0.0s
     => [build 1/3] FROM docker.io/library/alpine                    1.2s
     => => sha256:aaaa 4.20MB / 10.00MB                              1.1s
     => CACHED [web 1/2] FROM docker.io/library/node                 0.0s
     => [web 2/2] RUN npm ci                                         1.1s
     => => # npm warn old lockfile
     => => # added 3 packages
    "#);
}

#[test]
fn the_last_frame_shows_everything() {
    let screen = Screen::default();
    play(&mut tty(&screen, 70, 5), 2600, true);
    insta::assert_snapshot!(last_frame(&screen.take()), @r#"
    [+] Building 2.6s (6/6)
     => [internal] load build definition from Dockerfile             0.0s
     => [build 1/3] FROM docker.io/library/alpine                    1.6s
     => => sha256:aaaa 10.00MB / 10.00MB                             1.4s
     => CACHED [build 2/3] RUN apk add make                          0.0s
     => ERROR [build 3/3] RUN make                                   0.9s
     => CACHED [web 1/2] FROM docker.io/library/node                 0.0s
     => CANCELED [web 2/2] RUN npm ci                                2.4s

     1 warning found:
     - JSONArgsRecommended: use JSON (line 3)
    "#);
}

#[test]
fn a_low_terminal_folds_what_is_finished() {
    let screen = Screen::default();
    play(&mut tty(&screen, 40, 6), 2000, false);
    insta::assert_snapshot!(last_frame(&screen.take()), @r#"
    [+] Building 2.0s (4/6)
     => [build 3/3] RUN make           0.4s
     => => # 20%
     => [web 2/2] RUN npm ci           1.9s
     => => # added 3 packages
    "#);
}

#[test]
fn a_narrower_terminal_moves_up_by_the_wrapped_rows() {
    let screen = Screen::default();
    let columns = Arc::new(std::sync::atomic::AtomicUsize::new(80));
    let size = columns.clone();
    let mut tty =
        tty::Tty::new(Box::new(screen.clone()), false, Box::new(move || (size.load(Ordering::SeqCst), 24)), at(0));
    let mut state = State::default();
    for event in [vertex(0, "a", None, &[]), started(0, 0).1] {
        state.apply(at(0), &event);
        tty.event(at(0), &event, &state).unwrap();
    }
    tty.tick(at(100), &state).unwrap();
    columns.store(40, Ordering::SeqCst);
    screen.take();
    tty.tick(at(200), &state).unwrap();
    // The heading (25 cells) took one row, the step (79 cells) now takes two.
    assert!(screen.take().contains("\x1b[3A\r[+]"));
}

#[test]
fn the_cursor_comes_back() {
    let screen = Screen::default();
    let mut renderer = tty(&screen, 80, 24);
    play(&mut renderer, 100, false);
    assert!(screen.take().contains("\x1b[?25l"));
    drop(renderer);
    assert!(screen.take().ends_with("\x1b[?25h"));
}

#[test]
fn the_reporter_hands_everything_over() {
    let screen = Screen::default();
    let (reporter, events) = Reporter::start(Mode::Plain, false, Box::new(screen.clone()));
    for (_, event) in recording() {
        events.send(event);
    }
    let state = reporter.finish();
    assert_eq!(state.counts(), (6, 6));
    assert_eq!(state.warnings.len(), 1);
    assert!(screen.take().contains("CACHED"));
    events.send(log(0, "late\n"));
}

#[test]
fn a_miss_says_why() {
    use build::history::{Cause, CauseKind, Change, ChangeKind};
    let cause = |kind, summary: &str, changes: &[ChangeKind]| {
        let change =
            |kind: &ChangeKind| Change { kind: *kind, name: "n".into(), old: None, new: None, text: "t".into() };
        let changes = changes.iter().map(change).collect();
        Cause { kind, summary: summary.into(), against: Some("b".into()), changes }
    };
    let events = || {
        let miss = |id, cause| (20, Event::Miss { id, cause });
        vec![
            (0, vertex(0, "[1/3] COPY . .", None, &[])),
            (0, vertex(1, "[2/3] RUN make", None, &[0])),
            (0, vertex(2, "[3/3] RUN test", None, &[1])),
            started(10, 0),
            miss(0, cause(CauseKind::Changed, "src/\x1b[2Jmain.c changed", &[ChangeKind::File])),
            done(100, 0, Outcome::Done),
            started(100, 1),
            miss(1, cause(CauseKind::Changed, "follows [1/3] COPY . .", &[ChangeKind::Step])),
            done(200, 1, Outcome::Done),
            started(200, 2),
            miss(2, cause(CauseKind::NeverBuilt, "never built here", &[])),
            done(300, 2, Outcome::Done),
        ]
    };
    let shown = |renderer: &mut dyn Renderer| {
        let mut state = State::default();
        for (ms, event) in events() {
            state.apply(at(ms), &event);
            renderer.event(at(ms), &event, &state).unwrap();
        }
        renderer.finish(at(300), &state).unwrap();
    };
    let screen = Screen::default();
    shown(&mut plain::Plain::new(Box::new(screen.clone()), false));
    insta::assert_snapshot!(screen.take(), @r"
    #1 [1/3] COPY . .
    #1 cache miss: src/main.c changed
    #1 DONE 0.1s

    #2 [2/3] RUN make
    #2 cache miss: follows [1/3] COPY . .
    #2 DONE 0.1s

    #3 [3/3] RUN test
    #3 cache miss: never built here
    #3 DONE 0.1s
    ");
    shown(&mut tty(&screen, 60, 24));
    insta::assert_snapshot!(last_frame(&screen.take()), @r"
    [+] Building 0.3s (3/3) FINISHED
     => [1/3] COPY . .                                     0.1s
     => => cache miss: src/main.c changed
     => [2/3] RUN make                                     0.1s
     => [3/3] RUN test                                     0.1s
    ");
    shown(&mut rawjson::RawJson::new(Box::new(screen.clone())));
    let text = screen.take();
    let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let miss = lines.iter().find_map(|line| line["vertexes"][0].get("cacheMiss")).unwrap();
    assert_eq!(miss["kind"], "changed");
    assert_eq!(miss["changes"][0]["kind"], "file");
}
