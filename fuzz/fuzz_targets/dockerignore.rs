//! A `.dockerignore` and a path: no panic, and a walk that skips what it may skip finds the same as one
//! that enters everything.
#![no_main]
use dockerfile::glob::{Glob, clean};
use dockerfile::ignore::Ignore;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, &str)| {
    let (text, path) = input;
    let _ = Glob::new(text).map(|glob| (glob.matches(path), glob.may_match_below(path)));
    let Ok(ignore) = Ignore::parse(text) else { return };
    let _ = ignore.matches_or_parent(path);
    let path = clean(path);
    if path == "." || path.starts_with('/') || path.starts_with("..") {
        return;
    }
    let excluded = ignore.matches(&path);
    let mut state = ignore.root();
    for (end, _) in path.match_indices('/') {
        let directory = &path[..end];
        state = ignore.child(&state, directory);
        assert_eq!(state.is_excluded(), ignore.matches(directory));
        if ignore.may_skip(&state, directory) {
            assert!(excluded, "{directory} may be skipped, but {path} is not excluded");
        }
    }
    assert_eq!(ignore.excludes(&state, &path), excluded);
    assert_eq!(ignore.child(&state, &path).is_excluded(), excluded);
});
