use super::*;
use crate::ast::{CommandLine, Healthcheck, MountKind, Network};
use crate::{LineIndex, diagnostic};

/// The tree of a source that must be right.
fn tree(source: &str) -> Dockerfile {
    let parsed = parse(source);
    assert!(parsed.dockerfile.is_some(), "{source}\n{:#?}", parsed.diagnostics);
    parsed.dockerfile.expect("asserted")
}

/// The first instruction behind `FROM scratch`.
fn first(instruction: &str) -> Instruction {
    tree(&format!("FROM scratch\n{instruction}")).stages.remove(0).instructions.remove(0)
}

/// All findings, one a line: place, code, message, labels, help.
fn findings(source: &str) -> String {
    let index = LineIndex::new(source);
    let mut out = String::new();
    for diagnostic in parse(source).diagnostics {
        let described = diagnostic::describe(&diagnostic, &index, "Dockerfile");
        let end = described.primary.end;
        out += &format!("{described} [{}] to {}:{}\n", described.code, end.line, end.column);
        for label in &described.labels {
            out += &format!("  at {}:{}: {}\n", label.start.line, label.start.column, label.message);
        }
        if let Some(help) = described.help {
            out += &format!("  help: {help}\n");
        }
    }
    out
}

fn values(texts: &[crate::ast::Text]) -> Vec<&str> {
    texts.iter().map(|text| text.value.as_str()).collect()
}

#[test]
fn a_whole_file() {
    let source = "# syntax=docker/dockerfile:1\nARG BASE=alpine\n\n# build compiles it\nFROM --platform=$BUILDPLATFORM ${BASE} AS Build\nRUN a && \\\n  # why\n\n  b\n\nFROM scratch\nCOPY --from=build /x /y\n";
    let file = tree(source);
    assert_eq!(file.directives.syntax.as_ref().map(|t| t.value.as_str()), Some("docker/dockerfile:1"));
    assert_eq!(file.global_args.len(), 1);
    assert_eq!(file.stages.len(), 2);
    let build = &file.stages[0];
    assert_eq!(build.from.image.value, "${BASE}");
    assert_eq!(build.from.image.span.text(source), "${BASE}");
    assert_eq!(build.from.name.as_ref().map(|t| t.value.as_str()), Some("Build"));
    assert_eq!(build.from.platform.as_ref().map(|t| t.value.as_str()), Some("$BUILDPLATFORM"));
    assert_eq!(build.doc.as_deref(), Some("compiles it"));
    assert_eq!(build.instructions[0].original, "RUN a &&   b");
    assert_eq!(build.instructions[0].span.text(source), "RUN a && \\\n  # why\n\n  b");
    let Kind::Copy(copy) = &file.stages[1].instructions[0].kind else { panic!("no COPY") };
    assert_eq!((copy.from.as_ref().map(|t| t.value.as_str()), copy.destination.value.as_str()), (Some("build"), "/y"));
}

#[test]
fn shell_and_exec_forms() {
    let table: [(&str, Result<&[&str], &str>); 9] = [
        ("RUN echo  a  b", Err("echo  a  b")),
        ("RUN [\"a\", \"b c\"]", Ok(&["a", "b c"])),
        ("RUN [ \"\\u00e9\\n\" ]", Ok(&["é\n"])),
        ("RUN ['a']", Err("['a']")),
        ("RUN [\"a\",]", Err("[\"a\",]")),
        ("RUN [\"a\"] && b", Err("[\"a\"] && b")),
        ("RUN [ -f x ] || y", Err("[ -f x ] || y")),
        ("RUN -- --flag", Err("--flag")),
        ("run\ta \\\n \t b", Err("a  \t b")),
    ];
    for (source, expected) in table {
        let Kind::Run(run) = first(source).kind else { panic!("no RUN") };
        match (&run.command, expected) {
            (CommandLine::Exec(words, _), Ok(expected)) => assert_eq!(words, expected),
            (CommandLine::Shell(text), Err(expected)) => assert_eq!(text.value, expected),
            (other, _) => panic!("{source}: {other:?}"),
        }
    }
}

#[test]
fn key_values() {
    let table: [(&str, &[(&str, &str)], bool); 8] = [
        ("ENV a=b c=d", &[("a", "b"), ("c", "d")], false),
        ("ENV a b c=d", &[("a", "b c=d")], true),
        ("ENV a=\"b c\" d='e f' g=h\\ i", &[("a", "\"b c\""), ("d", "'e f'"), ("g", "h\\ i")], false),
        ("ENV a=", &[("a", "")], false),
        ("ENV a=b=c", &[("a", "b=c")], false),
        ("ENV a=b \\\n    c=d", &[("a", "b"), ("c", "d")], false),
        ("LABEL \"a b\"=c", &[("\"a b\"", "c")], false),
        ("LABEL a  b  c ", &[("a", "b  c")], true),
    ];
    for (source, expected, legacy) in table {
        let (Kind::Env(pairs) | Kind::Label(pairs)) = first(source).kind else { panic!("no ENV") };
        let found: Vec<_> = pairs.pairs.iter().map(|(k, v)| (k.value.as_str(), v.value.as_str())).collect();
        assert_eq!((found.as_slice(), pairs.legacy), (expected, legacy), "{source}");
    }
    let source = "FROM scratch\nENV a=b \\\n  long=\"x y\"";
    let Kind::Env(pairs) = &tree(source).stages[0].instructions[0].kind.clone() else { panic!("no ENV") };
    assert_eq!(pairs.pairs[1].0.span.text(source), "long");
    assert_eq!(pairs.pairs[1].1.span.text(source), "\"x y\"");
}

#[test]
fn args() {
    let file = tree("# A the first\n# B the second\nARG A B=\"x y\" C\nFROM scratch");
    let Kind::Arg(args) = &file.global_args[0].kind else { panic!("no ARG") };
    let found: Vec<_> = args
        .iter()
        .map(|arg| (arg.name.value.as_str(), arg.value.as_ref().map(|v| v.value.as_str()), arg.doc.as_deref()))
        .collect();
    assert_eq!(found, [("A", None, Some("the first")), ("B", Some("\"x y\""), Some("the second")), ("C", None, None)]);
}

#[test]
fn copies() {
    let source = "COPY --chown=\"a:b\" --chmod=u+x --link --parents=false --exclude=*.md --exclude=x a b /d";
    let Kind::Copy(copy) = first(source).kind else { panic!("no COPY") };
    assert_eq!(values(&copy.sources), ["a", "b"]);
    assert_eq!(copy.destination.value, "/d");
    assert_eq!(copy.chown.map(|t| t.value).as_deref(), Some("a:b"));
    assert_eq!(copy.chmod.map(|t| t.value).as_deref(), Some("u+x"));
    assert_eq!(values(&copy.exclude), ["*.md", "x"]);
    assert!(copy.link && !copy.parents);
    let Kind::Add(add) = first("ADD --unpack=false --keep-git-dir --checksum=sha256:1 [\"a b\", \"c\"]").kind else {
        panic!("no ADD")
    };
    assert_eq!(values(&add.sources), ["a b"]);
    assert_eq!((add.unpack, add.keep_git_dir, add.link), (Some(false), Some(true), false));
}

#[test]
fn here_documents() {
    let source = "FROM scratch\nRUN <<EOF cat 3<<-'X Y'\na $B\n\tEOF\nEOF\n\tc\n\t\td\n\tX Y\nUSER x";
    let file = tree(source);
    let [run, user] = file.stages[0].instructions.as_slice() else { panic!("{file:?}") };
    assert!(matches!(user.kind, Kind::User(_)));
    assert_eq!(run.original, "RUN <<EOF cat 3<<-'X Y'");
    assert!(run.span.text(source).ends_with("\n\tX Y"), "{:?}", run.span.text(source));
    let Kind::Run(run) = &run.kind else { panic!("no RUN") };
    let [a, b] = run.heredocs.as_slice() else { panic!("{run:?}") };
    assert_eq!((a.name.as_str(), a.content.as_str(), a.expand, a.chomp), ("EOF", "a $B\n\tEOF\n", true, false));
    assert_eq!((b.name.as_str(), b.content.as_str(), b.expand, b.chomp), ("X Y", "c\nd\n", false, true));
    assert_eq!((b.raw.as_str(), b.file_descriptor), ("\tc\n\t\td\n", 3));
    assert_eq!(a.span.text(source), a.content);
    assert_eq!(a.marker.text(source), "<<EOF");

    let Kind::Copy(copy) = first("COPY <<a x <<\"b\" /d/\n1\na\n2\nb").kind else { panic!("no COPY") };
    assert_eq!(values(&copy.sources), ["x"]);
    let files: Vec<_> = copy.heredocs.iter().map(|h| (h.name.as_str(), h.content.as_str(), h.expand)).collect();
    assert_eq!(files, [("a", "1\n", true), ("b", "2\n", false)]);

    let instruction = first("ONBUILD RUN <<EOF\nx\nEOF");
    let Kind::Onbuild(text, inner) = instruction.kind else { panic!("no ONBUILD") };
    assert_eq!(text.value, "RUN <<EOF\nx\nEOF");
    let Kind::Run(run) = inner.kind else { panic!("no RUN") };
    assert_eq!(run.heredocs[0].content, "x\n");
    let trigger = parse_trigger(&text.value).expect("valid");
    let Kind::Run(again) = &trigger[0].kind else { panic!("no RUN") };
    assert_eq!(again.heredocs[0].content, "x\n");
}

#[test]
fn here_documents_that_are_none() {
    for source in ["RUN [\"cat\", \"<<EOF\"]", "RUN cat <<< EOF", "RUN echo 1 << 2", "RUN echo 'x <<EOF'", "CMD <<EOF"]
    {
        let count = tree(&format!("FROM scratch\n{source}\nUSER x")).stages[0].instructions.len();
        assert_eq!(count, 2, "{source}");
    }
}

#[test]
fn mounts() {
    let source = "RUN --mount=target=/a,source=b,rw --mount=type=cache,dst=/c,id=x,sharing=locked,mode=0755,uid=1,gid=$G \
                  --mount=type=secret,id=s,env=TOKEN,required --mount=type=tmpfs,destination=/t,size=64m make";
    let Kind::Run(run) = first(source).kind else { panic!("no RUN") };
    let kinds: Vec<_> = run.mounts.iter().map(|mount| mount.kind).collect();
    assert_eq!(kinds, [MountKind::Bind, MountKind::Cache, MountKind::Secret, MountKind::Tmpfs]);
    assert_eq!(run.mounts[0].readonly, Some(false));
    assert_eq!(run.mounts[1].gid.as_ref().map(|t| t.value.as_str()), Some("$G"));
    assert_eq!(run.mounts[2].required, Some(true));
    let cache = crate::mount::resolve(&run.mounts[1], |text| Ok(text.value.replace("$G", "7"))).expect("valid");
    assert_eq!((cache.mode, cache.uid, cache.gid, cache.readonly), (Some(0o755), Some(1), Some(7), false));
    assert_eq!(cache.sharing, crate::mount::Sharing::Locked);
    let error = crate::mount::resolve(&run.mounts[1], |text| Ok(text.value.replace("$G", "x"))).expect_err("gid");
    assert_eq!(error.message, "invalid value \"x\" for mount field gid");
}

#[test]
fn other_instructions() {
    assert!(matches!(first("EXPOSE 80 443/udp $P").kind, Kind::Expose(ports) if ports.len() == 3));
    assert!(matches!(first("USER a b").kind, Kind::User(text) if text.value == "a b"));
    assert!(matches!(first("WORKDIR /a b").kind, Kind::Workdir(text) if text.value == "/a b"));
    assert!(matches!(first("STOPSIGNAL $S").kind, Kind::StopSignal(text) if text.value == "$S"));
    assert!(matches!(first("VOLUME /a /b").kind, Kind::Volume(list) if values(&list) == ["/a", "/b"]));
    assert!(matches!(first("VOLUME [\"/a b\"]").kind, Kind::Volume(list) if values(&list) == ["/a b"]));
    assert!(matches!(first("SHELL [\"sh\", \"-e\"]").kind, Kind::Shell(list) if list == ["sh", "-e"]));
    assert!(matches!(first("MAINTAINER a <b@c>").kind, Kind::Maintainer(text) if text.value == "a <b@c>"));
    assert!(matches!(first("CMD []").kind, Kind::Cmd(CommandLine::Exec(list, _)) if list.is_empty()));
    assert!(matches!(first("HEALTHCHECK none").kind, Kind::Healthcheck(Healthcheck::None)));
    let Kind::Healthcheck(Healthcheck::Command { command, interval, timeout, start_period, retries, .. }) =
        first("HEALTHCHECK --interval=1m30s --timeout=0 --start-period=\"2s\" --retries=3 CMD  curl -f x").kind
    else {
        panic!("no HEALTHCHECK")
    };
    assert!(matches!(command, CommandLine::Shell(text) if text.value == "curl -f x"));
    assert_eq!((interval, timeout, start_period, retries), (Some(90_000_000_000), None, Some(2_000_000_000), Some(3)));
    let Kind::Run(run) = first("RUN --network=none --security=sandbox x").kind else { panic!("no RUN") };
    assert_eq!(run.network.map(|(network, _)| network), Some(Network::None));
}

#[test]
fn directives_and_line_endings() {
    let file =
        tree("\u{feff}# escape = `\r\n#check=skip=all;error=true\r\nFROM a\r\nRUN x `\r\n  y\r\nWORKDIR C:\\\r\n");
    assert_eq!(file.directives.escape, '`');
    assert_eq!(file.directives.check.as_ref().map(|t| t.value.as_str()), Some("skip=all;error=true"));
    assert_eq!(file.stages[0].instructions[0].original, "RUN x   y");
    assert!(matches!(&file.stages[0].instructions[1].kind, Kind::Workdir(text) if text.value == "C:\\"));
    let file = tree("#!/usr/bin/env x\n#syntax=a b\nFROM a");
    assert_eq!(file.directives.syntax.map(|t| t.value).as_deref(), Some("a b"));
    assert_eq!(tree("FROM a\nRUN x \\").stages[0].instructions[0].original, "RUN x");
    assert_eq!(tree("FROM a\nRUN x \\\\\nUSER y").stages[0].instructions.len(), 2);
    assert_eq!(tree("\\\nFROM \\\n a").stages[0].from.image.value, "a");
}

#[test]
fn the_frontend_is_found() {
    let image = |source| detect_syntax(source).map(|found| found.image);
    assert_eq!(image("# syntax=a/b:1 --x\nFROM y").as_deref(), Some("a/b:1"));
    assert_eq!(image("#!/bin/x\n//syntax=a").as_deref(), Some("a"));
    assert_eq!(image("{\"syntax\": \"a\"}").as_deref(), Some("a"));
    assert_eq!(image("FROM x\n# syntax=a"), None);
    assert_eq!(image(""), None);
}

#[test]
fn bytes_are_decoded() {
    assert_eq!(decode(b"FROM a"), Ok("FROM a"));
    assert_eq!(
        decode(b"a\n\xff").expect_err("invalid").message,
        "the Dockerfile is not UTF-8 text: invalid byte 0xff in line 2"
    );
    assert_eq!(decode(b"\xff\xfeF\0").expect_err("invalid").message, "the Dockerfile is UTF-16 text");
}

#[test]
fn long_input_is_linear() {
    let source = format!("FROM a\nRUN {}x\n", "y \\\n".repeat(200_000));
    assert_eq!(tree(&source).stages[0].instructions.len(), 1);
    let source = format!("FROM a\nENV {}\n", "a=b ".repeat(200_000));
    assert_eq!(tree(&source).stages[0].instructions.len(), 1);
    let source = format!("FROM a\nRUN {}\n", "<<".repeat(200_000));
    assert_eq!(tree(&source).stages[0].instructions.len(), 1);
    assert_eq!(parse(&"x\n".repeat(200_000)).diagnostics.len(), MAX_DIAGNOSTICS);
}

proptest::proptest! {
    #[test]
    fn never_panics(lines in proptest::collection::vec("(FROM|RUN|COPY|ADD|ENV|ARG|ONBUILD|HEALTHCHECK|SHELL|#|#escape=|LABEL|VOLUME|EXPOSE)?[ =\\\\`\"'<A\\[\\],$a:-é\\-\t\r]{0,20}", 0..8)) {
        let source = lines.join("\n");
        for diagnostic in parse(&source).diagnostics {
            proptest::prop_assert!(source.get(diagnostic.span.start..diagnostic.span.end).is_some(), "{:?}", diagnostic);
        }
        let _ = parse_trigger(&source);
        let _ = detect_syntax(&source);
    }

    #[test]
    fn any_text_parses(source in "\\PC{0,200}") {
        parse(&source);
    }
}

#[test]
fn problems_at_the_top() {
    let source = r#"# sytax=docker/dockerfile:1
# escape=`

RUN early
USER also
FORM x
FROM
FROM a b
FROM a is b
FROM a AS 1b
FROM --platfrom=x a
ENV=x y
"#;
    insta::assert_snapshot!(findings(source), @"");
}

#[test]
fn problems_with_directives() {
    let source = r#"# escape=x
# syntax=a
# syntax=b
FROM a
"#;
    insta::assert_snapshot!(findings(source), @"");
}

#[test]
fn problems_with_mounts() {
    let source = r#"FROM a
RUN --mount=tpye=cache,target=/x a
RUN --mount=type=cahce,target=/x a
RUN --mount=type=cache,target=/x,sharing=lock a
RUN --mount=type=bind,target=/x,mode=9 a
RUN --mount=type=bind,target=/x,mode=0400 a
RUN --mount=type=secret a
RUN --mount=type=secret,id=a,src=b a
RUN --mount=type=ssh,size=1 a
RUN --mount=from=$X,target=/y a
RUN --mount=target=/y,target=/z a
RUN --mount= a
RUN --mount=source a
RUN --mount=type=tmpfs,target=/x,size=1q a
RUN --mount='"a' b
"#;
    insta::assert_snapshot!(findings(source), @"");
}

#[test]
fn problems_with_flags() {
    let source = r#"FROM a
RUN --network=hots a
RUN --security=x a
RUN --device=x a
COPY --from=$X a b
COPY --link=maybe --chown a b
COPY --link --link a b
COPY --checksum=x a b
ADD --parents a b
WORKDIR --x y
USER --from=x y
CMD --version
"#;
    insta::assert_snapshot!(findings(source), @"");
}

#[test]
fn problems_with_arguments() {
    let source = r#"FROM a
USER
COPY
COPY a
ENV a
ENV a=b c
ENV =b
LABEL
ARG
SHELL sh
SHELL []
RUN
RUN []
RUN [1]
CMD
HEALTHCHECK
HEALTHCHECK --interval=5 CMD x
HEALTHCHECK --timeout=1us CMD x
HEALTHCHECK --retries=-1 CMD x
HEALTHCHECK CURL x
HEALTHCHECK NONE x
HEALTHCHECK CMD
ONBUILD
ONBUILD ONBUILD RUN x
ONBUILD FROM x
ONBUILD RNU x
VOLUME [""]
EXPOSE
RUN a
  && b
  EOF
something else
"#;
    insta::assert_snapshot!(findings(source), @"");
}

#[test]
fn problems_with_here_documents() {
    let source = r#"FROM a
COPY x <<EOF
EOF
COPY <<EOF "x /y
RUN cat <<EOF
x
  EOF
"#;
    insta::assert_snapshot!(findings(source), @"");
}

#[test]
fn nothing_to_build() {
    insta::assert_snapshot!(findings(""), @"");
    insta::assert_snapshot!(findings("# nothing\n"), @"");
    insta::assert_snapshot!(findings("ARG a\n"), @"");
    insta::assert_snapshot!(findings("FROM a\0\n"), @"");
}
