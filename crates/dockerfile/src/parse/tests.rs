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

type Pairs<'a> = &'a [(&'a str, &'a str)];

#[test]
fn key_values() {
    let table: [(&str, Pairs<'_>, bool); 8] = [
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
fn scripts_of_here_documents() {
    let script = |source: &str| match first(source).kind {
        Kind::Run(run) => run_script(&run),
        _ => None,
    };
    let shell = |text: &str| Some(RunScript::Shell(text.to_owned()));
    assert_eq!(script("RUN <<EOF\na\nEOF"), shell("a\n"));
    assert_eq!(script("RUN <<-'EOF'\n\ta\n\tEOF"), shell("a\n"));
    assert_eq!(script("RUN cat <<-EOF | b\n\ta\n\tEOF"), shell("cat <<-EOF | b\n\ta\nEOF"));
    assert_eq!(script("RUN <<A <<B\n1\nA\n2\nB"), shell("<<A <<B\n1\nA\n2\nB"));
    let file = RunScript::File { name: "EOF".into(), content: "#!/bin/x\na\n".into() };
    assert_eq!(script("RUN <<-EOF\n\t#!/bin/x\n\ta\nEOF"), Some(file));
    assert_eq!(script("RUN a"), None);
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
    insta::assert_snapshot!(findings(source), @r#"
    Dockerfile:1:1: warning: # sytax= is not a parser directive and has no effect [unknown-directive] to 1:28
      help: did you mean # syntax=?
    Dockerfile:2:1: warning: # escape= is not at the top of the file and has no effect [late-directive] to 2:11
      help: parser directives must come before everything else, also before comments and empty lines
    Dockerfile:4:1: error: RUN before the first FROM: no build stage in current context [instruction-before-from] to 4:4
      help: begin the file with FROM IMAGE (only ARG may come before it)
    Dockerfile:6:1: error: unknown instruction: FORM [unknown-instruction] to 6:5
      help: did you mean FROM?
    Dockerfile:7:1: error: FROM without an image [invalid-from] to 7:5
      help: write FROM [--platform=PLATFORM] IMAGE [AS NAME]
    Dockerfile:8:6: error: FROM requires either one or three arguments [invalid-from] to 8:9
      help: write FROM [--platform=PLATFORM] IMAGE [AS NAME]
    Dockerfile:9:8: error: FROM requires either one or three arguments: "is" is not AS [invalid-from] to 9:10
      help: write FROM [--platform=PLATFORM] IMAGE [AS NAME]
    Dockerfile:10:11: error: invalid name for build stage: "1b" [invalid-stage-name] to 10:13
      help: a name starts with a letter and holds only letters, digits, '-', '_' and '.'; variables are not expanded in it
    Dockerfile:11:6: error: unknown flag --platfrom on FROM [unknown-flag] to 11:18
      help: did you mean --platform?
    Dockerfile:12:1: error: unknown instruction: ENV=x [unknown-instruction] to 12:6
      help: put a blank after ENV
    "#);
}

#[test]
fn problems_with_directives() {
    let source = r#"# escape=x
# syntax=a
# syntax=b
FROM a
"#;
    insta::assert_snapshot!(findings(source), @r#"
    Dockerfile:1:10: error: invalid escape character "x" [invalid-escape-directive] to 1:11
      help: write # escape=\ or # escape=`
    Dockerfile:3:1: error: only one syntax parser directive can be used [duplicate-directive] to 3:11
      at 2:10: first given here
      help: remove one of them
    "#);
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
    insta::assert_snapshot!(findings(source), @r#"
    Dockerfile:2:13: error: unknown mount field "tpye" [unknown-mount-key] to 2:23
      help: did you mean type?
    Dockerfile:3:13: error: unsupported mount type "cahce" [invalid-mount] to 3:23
      help: did you mean cache?
    Dockerfile:4:34: error: unsupported sharing mode "lock" [invalid-mount] to 4:46
      help: did you mean locked?
    Dockerfile:5:33: error: invalid value "9" for mount field mode [invalid-mount] to 5:39
      help: write an octal mode such as 0400
    Dockerfile:6:33: error: mount field mode is not allowed for type bind [invalid-mount] to 6:42
      help: it belongs to mounts of type secret, ssh, cache
    Dockerfile:7:5: error: secret mount without an id [invalid-mount] to 7:24
      help: name the secret: --mount=type=secret,id=NAME
    Dockerfile:8:5: error: both source and id are set on a secret mount [invalid-mount] to 8:35
      help: source is an old name of id; keep id
    Dockerfile:9:22: error: mount field size is not allowed for type ssh [invalid-mount] to 9:28
      help: it belongs to mounts of type tmpfs
    Dockerfile:10:18: error: 'from' doesn't support variable expansion, define alias stage instead [variable-in-from] to 10:20
      help: add a stage FROM $X AS NAME at the top and write from=NAME
    Dockerfile:11:23: error: target is given twice in one mount [duplicate-mount-key] to 11:32
      at 11:13: first given here
      help: give it once
    Dockerfile:12:5: error: invalid mount: it is empty [invalid-mount] to 12:13
      help: write --mount=type=TYPE,key=value,…
    Dockerfile:13:13: error: mount field source must be a source=VALUE pair [invalid-mount] to 13:19
      help: write KEY=VALUE
    Dockerfile:14:34: error: invalid value "1q" for mount field size [invalid-mount] to 14:41
      help: write a size such as 64m or 1GiB
    Dockerfile:15:5: error: invalid mount: a quote that is not closed [invalid-mount] to 15:17
      help: write --mount=type=TYPE,key=value,…
    "#);
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
    insta::assert_snapshot!(findings(source), @r#"
    Dockerfile:2:15: error: unsupported network mode "hots" [invalid-flag-value] to 2:19
      help: did you mean host?
    Dockerfile:3:16: error: unsupported security mode "x" [invalid-flag-value] to 3:17
      help: known are sandbox, insecure
    Dockerfile:4:5: error: RUN --device is not supported [unsupported-flag] to 4:15
      help: it belongs to the experimental "labs" channel of the Dockerfile language, not to the stable one; remove the flag
    Dockerfile:5:13: error: '--from' doesn't support variable expansion, define alias stage instead [variable-in-from] to 5:15
      help: add a stage FROM $X AS NAME at the top and write --from=NAME
    Dockerfile:6:6: error: expecting boolean value for flag --link, not "maybe" [invalid-flag-value] to 6:18
      help: write --link, --link=true or --link=false
    Dockerfile:6:19: error: missing a value on flag --chown [invalid-flag-value] to 6:26
      help: write --chown=VALUE, without blanks around '='
    Dockerfile:7:13: error: duplicate flag --link on COPY [duplicate-flag] to 7:19
      at 7:6: first given here
      help: give it once
    Dockerfile:8:6: error: unknown flag --checksum on COPY [unknown-flag] to 8:18
      help: --checksum is a flag of ADD; COPY knows --chown, --chmod, --link, --exclude, --from, --parents
    Dockerfile:9:5: error: unknown flag --parents on ADD [unknown-flag] to 9:14
      help: --parents is a flag of COPY; ADD knows --chown, --chmod, --link, --exclude, --checksum, --keep-git-dir, --unpack
    Dockerfile:10:9: error: unknown flag --x on WORKDIR [unknown-flag] to 10:12
      help: WORKDIR takes no flags
    Dockerfile:11:6: error: unknown flag --from on USER [unknown-flag] to 11:14
      help: --from is a flag of COPY; USER takes no flags
    Dockerfile:12:5: error: unknown flag --version on CMD [unknown-flag] to 12:14
      help: CMD takes no flags; for an argument that starts with dashes use the JSON form: CMD ["--version"]
    "#);
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
    insta::assert_snapshot!(findings(source), @r#"
    Dockerfile:2:1: error: USER requires exactly one argument [missing-argument] to 2:5
      help: write USER USER[:GROUP]
    Dockerfile:3:1: error: COPY requires at least two arguments: sources and a destination [missing-argument] to 3:5
      help: write COPY SOURCE … DESTINATION
    Dockerfile:4:6: error: COPY requires at least two arguments: sources and a destination [missing-argument] to 4:7
      help: write COPY SOURCE … DESTINATION
    Dockerfile:5:5: error: ENV must have two arguments [missing-value] to 5:6
      help: write ENV NAME=VALUE …
    Dockerfile:6:9: error: can't find = in "c": must be of the form name=value [missing-equals] to 6:10
      help: put a value with blanks in double quotes
    Dockerfile:7:5: error: ENV names can not be blank [blank-name] to 7:7
      help: write NAME=VALUE without blanks around '='
    Dockerfile:8:1: error: LABEL requires at least one argument [missing-argument] to 8:6
      help: write LABEL NAME=VALUE …
    Dockerfile:9:1: error: ARG requires at least one argument [missing-argument] to 9:4
      help: write ARG NAME or ARG NAME=DEFAULT
    Dockerfile:10:7: error: SHELL requires the arguments to be in JSON form [shell-not-json] to 10:9
      help: write SHELL ["/bin/bash", "-c"]
    Dockerfile:11:1: error: SHELL requires at least one argument [missing-argument] to 11:6
      help: write SHELL ["/bin/bash", "-c"]
    Dockerfile:12:1: error: RUN requires at least one argument [missing-argument] to 12:4
      help: write RUN COMMAND or RUN ["program", "argument"]
    Dockerfile:13:5: error: RUN with an empty command [empty-command] to 13:7
      help: name a program
    Dockerfile:14:5: error: when using JSON array syntax, arrays must be comprised of strings only [json-not-strings] to 14:8
      help: put every element in double quotes
    Dockerfile:15:1: error: CMD requires at least one argument [missing-argument] to 15:4
      help: write CMD ["program", "argument"]; CMD [] clears an inherited one
    Dockerfile:16:1: error: HEALTHCHECK requires at least one argument [missing-argument] to 16:12
      help: write HEALTHCHECK [OPTIONS] CMD COMMAND or HEALTHCHECK NONE
    Dockerfile:17:24: error: invalid duration "5" [invalid-duration] to 17:25
      help: write a number with a unit, such as 30s or 1m30s
    Dockerfile:18:23: error: interval "1us" cannot be less than 1ms [invalid-duration] to 18:26
      help: write a number with a unit, such as 30s or 1m30s
    Dockerfile:19:23: error: invalid number of retries "-1" [invalid-flag-value] to 19:25
      help: write a number that is not negative
    Dockerfile:20:13: error: unknown type "CURL" in HEALTHCHECK [invalid-healthcheck] to 20:17
      help: try HEALTHCHECK CMD COMMAND
    Dockerfile:21:18: error: HEALTHCHECK NONE takes no arguments [extra-argument] to 21:19
      help: remove them, or write HEALTHCHECK CMD
    Dockerfile:22:13: error: missing command after HEALTHCHECK CMD [missing-argument] to 22:16
      help: name the command that checks the container's health
    Dockerfile:23:1: error: ONBUILD requires at least one argument [missing-argument] to 23:8
      help: write ONBUILD INSTRUCTION …
    Dockerfile:24:9: error: chaining ONBUILD via ONBUILD ONBUILD isn't allowed [onbuild-not-allowed] to 24:16
      help: every other instruction can be a trigger
    Dockerfile:25:9: error: FROM isn't allowed as an ONBUILD trigger [onbuild-not-allowed] to 25:13
      help: every other instruction can be a trigger
    Dockerfile:26:9: error: unknown instruction: RNU [unknown-instruction] to 26:12
      help: did you mean RUN?
    Dockerfile:27:9: error: VOLUME specified can not be an empty string [empty-volume] to 27:11
      help: name a path
    Dockerfile:28:1: error: EXPOSE requires at least one argument [missing-argument] to 28:7
      help: write EXPOSE PORT[/PROTOCOL] …
    Dockerfile:30:3: error: unknown instruction: && [unknown-instruction] to 30:5
      help: if this line continues the one above, that one must end with the escape character (\)
    Dockerfile:31:3: error: unknown instruction: EOF [unknown-instruction] to 31:6
      help: did you mean ENV?
    Dockerfile:32:1: error: unknown instruction: something [unknown-instruction] to 32:10
      help: an instruction is one of ADD, ARG, CMD, COPY, ENTRYPOINT, ENV, EXPOSE, FROM, HEALTHCHECK, LABEL, MAINTAINER, ONBUILD, RUN, SHELL, STOPSIGNAL, USER, VOLUME, WORKDIR; if this line continues the one above, that one must end with the escape character (\)
    "#);
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
    insta::assert_snapshot!(findings(source), @"
    Dockerfile:2:8: error: COPY cannot accept a heredoc as a destination [heredoc-destination] to 2:13
      help: the destination comes last, after the heredoc's <<NAME
    Dockerfile:4:6: error: heredoc <<EOF has no content [invalid-heredoc] to 4:11
      help: is there an unclosed quote on the line?
    Dockerfile:5:9: error: unterminated heredoc EOF [unterminated-heredoc] to 5:14
      at 7:1: this line is not the terminator
      help: the terminator must stand alone on its line, without blanks before or after it (with <<- leading tabs are allowed)
    ");
}

#[test]
fn nothing_to_build() {
    insta::assert_snapshot!(findings(""), @"
    Dockerfile:1:1: error: the Dockerfile has no instructions [empty-dockerfile] to 1:1
      help: a Dockerfile begins with FROM IMAGE; FROM scratch starts from nothing
    ");
    insta::assert_snapshot!(findings("# nothing\n"), @"
    Dockerfile:2:1: error: the Dockerfile has no instructions [empty-dockerfile] to 2:1
      help: a Dockerfile begins with FROM IMAGE; FROM scratch starts from nothing
    ");
    insta::assert_snapshot!(findings("ARG a\n"), @"
    Dockerfile:2:1: error: the Dockerfile has no FROM [missing-from] to 2:1
      help: add FROM IMAGE after the ARGs; FROM scratch starts from nothing
    ");
    insta::assert_snapshot!(findings("FROM a\0\n"), @"
    Dockerfile:1:7: error: NUL character in the Dockerfile [nul-character] to 1:8
      help: is this a Dockerfile? Save it as UTF-8 text
    ");
}
