use super::*;
use build::event::{Event, Outcome};
use std::time::Duration;

pub(in crate::trace) fn at(ms: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_000 + ms)
}

/// A build with two layers that come in at once, a command, a step that fails, and uploads in the background.
pub(in crate::trace) fn state() -> State {
    let mut state = State::default();
    let mut play = |ms: u64, event: Event| state.apply(at(ms), &event);
    let span = |id, phase, from: u64, to: u64| Event::Span {
        id,
        phase,
        detail: "something".into(),
        started: at(from),
        ended: at(to),
    };
    for (id, name) in ["[1/3] FROM base", "[2/3] COPY . .", "[3/3] RUN make", "exporting to image"].iter().enumerate() {
        play(0, Event::Vertex { id, name: (*name).into(), stage: None, inputs: Vec::new() });
    }
    let progress = |item: &str, done| Event::Progress { id: 0, item: item.into(), current: 1, total: None, done };
    play(2, span(Some(1), Phase::Scan, 0, 2));
    play(10, Event::Started { id: 0, at: at(10) });
    play(20, progress("sha256:a", false));
    play(30, progress("sha256:b", false));
    play(500, progress("sha256:a", true));
    play(800, progress("sha256:b", true));
    play(820, span(Some(0), Phase::Unpack, 25, 820));
    play(900, Event::Completed { id: 0, at: at(900), outcome: Outcome::Done });
    play(900, Event::Started { id: 1, at: at(900) });
    play(905, Event::Completed { id: 1, at: at(905), outcome: Outcome::Cached });
    play(905, Event::Started { id: 2, at: at(905) });
    play(2905, span(Some(2), Phase::Run, 906, 2905));
    play(2950, span(Some(2), Phase::Diff, 2905, 2950));
    play(2900, span(None, Phase::Push, 1000, 2000));
    play(2900, span(None, Phase::Push, 1500, 2500));
    play(3000, Event::Completed { id: 2, at: at(3000), outcome: Outcome::Failed("exit code: 2".into()) });
    state
}

/// Complete events of each row, as (row, start, end, name).
fn slices(trace: &serde_json::Value) -> Vec<(u64, u64, u64, String)> {
    let events = trace["traceEvents"].as_array().unwrap();
    let number = |v: &serde_json::Value| v.as_u64().unwrap();
    let of = |e: &serde_json::Value| {
        let start = number(&e["ts"]);
        (number(&e["tid"]), start, start + number(&e["dur"]), e["name"].as_str().unwrap().to_owned())
    };
    events.iter().filter(|e| e["ph"] == "X").map(of).collect()
}

#[test]
fn a_trace_has_every_step_and_its_rows_nest() {
    let state = state();
    let trace = chrome(&state, at(3000));
    let slices = slices(&trace);
    for (n, a) in slices.iter().enumerate() {
        for b in &slices[n + 1..] {
            let apart = a.2 <= b.1 || b.2 <= a.1;
            let within = (a.1 <= b.1 && b.2 <= a.2) || (b.1 <= a.1 && a.2 <= b.2);
            assert!(a.0 != b.0 || apart || within, "{a:?} and {b:?} overlap");
        }
    }
    for vertex in state.vertices.iter().filter(|v| v.started.is_some()) {
        assert!(slices.iter().any(|s| s.3 == vertex.name), "{} is missing", vertex.name);
    }
    assert_eq!(slices.iter().filter(|s| s.3 == "pull").count(), 2);
    assert_eq!(slices.iter().map(|s| s.2).max(), Some(3_000_000));
    let rows: Vec<&str> = trace["traceEvents"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|e| e["name"] == "thread_name")
        .map(|e| e["args"]["name"].as_str().unwrap())
        .collect();
    insta::assert_snapshot!(rows.join("\n"), @r"
    [1/3] FROM base
    [1/3] FROM base
    [2/3] COPY . .
    [3/3] RUN make
    push (background)
    push (background)
    ");
    assert_eq!(chrome(&State::default(), at(0))["traceEvents"].as_array().unwrap().len(), 1);
}

#[test]
fn the_table_is_small() {
    insta::assert_snapshot!(timings(&state(), at(3000)), @r"
    Where the time went: 3.00s in all
         pull   unpack      run     diff     push    total  step
            -        -    2.00s    0.04s        -    2.10s  [3/3] RUN make
        1.25s    0.80s        -        -        -    0.89s  [1/3] FROM base
            -        -        -        -        -    0.01s  [2/3] COPY . .
            -        -        -        -    2.00s           in the background
        1.25s    0.80s    2.00s    0.04s    2.00s           sum
    ");
}
