use super::*;
use crate::LineIndex;
use crate::eval::BaseImage;

/// All findings: line, rule, detail, and the exact place.
fn check_with(source: &str, input: &Input<'_>) -> String {
    let parsed = crate::parse(source);
    let Some(dockerfile) = parsed.dockerfile else { panic!("{source}\n{:#?}", parsed.diagnostics) };
    let report = run(&dockerfile, input);
    let index = LineIndex::new(source);
    let mut out = String::new();
    for finding in &report.findings {
        let (first, last) = index.lines(finding.span);
        let at = finding.at.text(source).escape_debug().to_string();
        out += &format!("{first}-{last} {}: {} [{at}]\n", finding.rule.name, finding.detail);
    }
    out.extend(report.problem.iter().map(|problem| format!("problem: {}\n", problem.message)));
    out.extend(report.violation().map(|violation| format!("violation: {violation}\n")));
    out
}

fn check(source: &str) -> String {
    check_with(source, &Input::default())
}

fn with_args(args: &[(&str, &str)]) -> Input<'static> {
    let build_args = args.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Input { options: Options { build_args, ..Options::default() }, ..Input::default() }
}

#[test]
fn the_rules_are_complete() {
    let mut names: Vec<_> = rules::ALL.iter().map(|rule| rule.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), 21);
    assert_eq!(rules::ALL.iter().filter(|rule| rule.experimental).count(), 1);
    for rule in rules::ALL {
        assert_eq!(rules::by_name(rule.name), Some(rule));
        let slug = rule.url.trim_end_matches('/').rsplit('/').next().unwrap_or_default().replace('-', "");
        assert_eq!(slug, rule.name.to_lowercase());
    }
}

#[test]
fn a_good_file_has_no_findings() {
    let source = "# syntax=docker/dockerfile:1\nARG V=3\nFROM alpine:$V AS base\nARG A=1\nENV B=$A\nWORKDIR /x\nWORKDIR y\nEXPOSE 80/tcp\nCOPY . .\nRUN echo $UNDEFINED\nCMD [\"x\"]\nFROM base\nENV C=$A$B\n";
    assert_eq!(check(source), "");
}

#[test]
fn casing() {
    insta::assert_snapshot!(check("FROM scratch AS BadStageName\nFROM scratch as base2\nFROM scratch AS base3\n"), @"
    1-1 StageNameCasing: Stage name 'BadStageName' should be lowercase [BadStageName]
    2-2 FromAsCasing: 'as' and 'FROM' keywords' casing do not match [FROM scratch as base2]
    ");
    insta::assert_snapshot!(check("from scratch AS base\nfrom scratch as base2\n"), @"1-1 FromAsCasing: 'AS' and 'from' keywords' casing do not match [from scratch AS base]");
    insta::assert_snapshot!(check("From scratch as base\nFROM scratch AS base2\n"), @"1-1 ConsistentInstructionCasing: Command 'From' should match the case of the command majority (uppercase) [From]");
    insta::assert_snapshot!(check("from scratch\nCOPY a /b\ncopy a /b\n"), @"2-2 ConsistentInstructionCasing: Command 'COPY' should match the case of the command majority (lowercase) [COPY]");
    insta::assert_snapshot!(check("FROM scratch\ncopy a /b\ncopy a /b\nCoPy a /b\n"), @"
    1-1 ConsistentInstructionCasing: Command 'FROM' should match the case of the command majority (lowercase) [FROM]
    4-4 ConsistentInstructionCasing: Command 'CoPy' should match the case of the command majority (lowercase) [CoPy]
    ");
}

#[test]
fn stage_names() {
    insta::assert_snapshot!(check("FROM scratch AS b\nFROM scratch AS b\nFROM scratch AS scratch\nFROM scratch AS context\n"), @r#"
    2-2 DuplicateStageName: Duplicate stage name "b", stage names should be unique [b]
    3-3 ReservedStageName: Stage name should not use the same name as reserved stage "scratch" [scratch]
    4-4 ReservedStageName: Stage name should not use the same name as reserved stage "context" [context]
    "#);
}

#[test]
fn no_empty_continuation() {
    insta::assert_snapshot!(check("FROM scratch\nCOPY a \\\n\n/b\nCOPY a \\\n# comment\n/b\nRUN <<EOF\n\nEOF\n"), @"4-4 NoEmptyContinuation: Empty continuation line [/b]");
}

#[test]
fn json_arguments_and_repetitions() {
    insta::assert_snapshot!(check("FROM scratch\nCMD a\nENTRYPOINT b\nHEALTHCHECK CMD x\nCMD [\"c\"]\nHEALTHCHECK NONE\n"), @"
    2-2 JSONArgsRecommended: JSON arguments recommended for CMD to prevent unintended behavior related to OS signals [CMD]
    2-2 MultipleInstructionsDisallowed: Multiple CMD instructions should not be used in the same stage because only the last one will be used [CMD]
    3-3 JSONArgsRecommended: JSON arguments recommended for ENTRYPOINT to prevent unintended behavior related to OS signals [ENTRYPOINT]
    4-4 MultipleInstructionsDisallowed: Multiple HEALTHCHECK instructions should not be used in the same stage because only the last one will be used [HEALTHCHECK]
    ");
    insta::assert_snapshot!(check("FROM scratch AS a\nSHELL [\"sh\"]\nCMD a\nFROM a\nCMD b\n"), @"");
}

#[test]
fn maintainer_and_legacy_pairs() {
    insta::assert_snapshot!(check("FROM scratch\nMAINTAINER me\nENV a b\nlabel c d\nENV e=f\n"), @r#"
    2-2 MaintainerDeprecated: Maintainer instruction is deprecated in favor of using label [MAINTAINER]
    3-3 LegacyKeyValueFormat: "ENV key=value" should be used instead of legacy "ENV key value" format [ENV a b]
    4-4 ConsistentInstructionCasing: Command 'label' should match the case of the command majority (uppercase) [label]
    4-4 LegacyKeyValueFormat: "label key=value" should be used instead of legacy "label key value" format [label c d]
    "#);
}

#[test]
fn arguments_of_from() {
    insta::assert_snapshot!(check("ARG TAG=1\nFROM busybox:${TGA}-x\n"), @"
    2-2 InvalidDefaultArgInFrom: Default value for ARG busybox:${TGA}-x results in empty or invalid base image name [busybox:${TGA}-x]
    2-2 UndefinedArgInFrom: FROM argument 'TGA' is not declared (did you mean TAG?) [busybox:${TGA}-x]
    ");
    insta::assert_snapshot!(check("FROM --platform=$BULIDPLATFORM busybox\n"), @"
    1-1 UndefinedArgInFrom: FROM argument 'BULIDPLATFORM' is not declared (did you mean BUILDPLATFORM?) [$BULIDPLATFORM]
    problem: empty platform value from expression $BULIDPLATFORM
    ");
    insta::assert_snapshot!(check("FROM --platform=$TARGETPLATFORM a\nFROM --platform=linux/${TARGETARCH} a\nFROM --platform=${TARGETPLATFORM} a\n"), @"
    1-1 RedundantTargetPlatform: Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior [$TARGETPLATFORM]
    3-3 RedundantTargetPlatform: Setting platform to predefined ${TARGETPLATFORM} in FROM is redundant as this is the default behavior [${TARGETPLATFORM}]
    ");
    insta::assert_snapshot!(check("FROM --platform=linux/amd64 a\nFROM --platform=linux/arm64 a AS x-arm64\nFROM --platform=linux a AS linux\n"), @r#"1-1 FromPlatformFlagConstDisallowed: FROM --platform flag should not use constant value "linux/amd64" [linux/amd64]"#);
    insta::assert_snapshot!(check("ARG TAG\nFROM busybox:${TAG}\n"), @"2-2 InvalidDefaultArgInFrom: Default value for ARG busybox:${TAG} results in empty or invalid base image name [busybox:${TAG}]");
    insta::assert_snapshot!(check_with("ARG TAG\nFROM busybox:${TAG}\n", &with_args(&[("TAG", "1")])), @"2-2 InvalidDefaultArgInFrom: Default value for ARG busybox:${TAG} results in empty or invalid base image name [busybox:${TAG}]");
    insta::assert_snapshot!(check("ARG IMAGE\nFROM $IMAGE\n"), @"
    2-2 InvalidDefaultArgInFrom: Default value for ARG $IMAGE results in empty or invalid base image name [$IMAGE]
    problem: base name ($IMAGE) should not be blank
    ");
    assert_eq!(
        check("FROM x\nARG A\nFROM ${A:-b}\n"),
        "3-3 UndefinedArgInFrom: FROM argument 'A' is not declared [${A:-b}]\n"
    );
}

#[test]
fn working_directories() {
    insta::assert_snapshot!(check("FROM scratch AS a\nWORKDIR app\nWORKDIR b\nFROM a\nWORKDIR c\n"), @r#"2-2 WorkdirRelativePath: Relative workdir "app" can have unexpected results if the base image changes [app]"#);
    assert_eq!(check("FROM unknown\nWORKDIR $HOME/x\n"), "");
    assert_eq!(check("FROM scratch\nARG D=/a\nWORKDIR $D\nWORKDIR b\n"), "");
}

#[test]
fn undefined_variables() {
    insta::assert_snapshot!(check("FROM scratch AS a\nARG foo\nCOPY Dockerfile${foo} ./$bar\nARG PATHS=$PAHT\nRUN echo $x\n"), @"
    3-3 UndefinedVar: Usage of undefined variable '$bar' [./$bar]
    4-4 UndefinedVar: Usage of undefined variable '$PAHT' (did you mean $PATH?) [$PAHT]
    ");
    insta::assert_snapshot!(check("FROM scratch\nCOPY <<EOF /x\n$a '${b}'\nEOF\nRUN --mount=type=cache,target=$c x\n"), @"
    2-4 UndefinedVar: Usage of undefined variable '$a' [<<EOF]
    2-4 UndefinedVar: Usage of undefined variable '$b' [<<EOF]
    5-5 UndefinedVar: Usage of undefined variable '$c' [$c]
    ");
    let base = |image: &str| {
        (image == "known").then(|| BaseImage { env: vec![("JAVA_HOME".into(), "/j".into())], has_shell: true })
    };
    let input = Input { options: Options { base_images: &base, ..Options::default() }, ..Input::default() };
    insta::assert_snapshot!(check_with("FROM known\nENV X=$JAVA_HOEM Y=$JAVA_HOME\nCMD x\nFROM unknown\nENV X=$JAVA_HOEM\n", &input), @"2-2 UndefinedVar: Usage of undefined variable '$JAVA_HOEM' (did you mean $JAVA_HOME?) [$JAVA_HOEM]");
    insta::assert_snapshot!(check("FROM scratch AS a\nONBUILD ENV X=$Y\nFROM a\nENV Z=$X\n"), @"3-3 UndefinedVar: Usage of undefined variable '$Y' [$Y]");
}

#[test]
fn secrets() {
    insta::assert_snapshot!(check("FROM scratch\nARG API_KEY token\nENV GITHUB_TOKEN=x PUBLIC_KEY=y KEYBOARD=z auth=1\nARG PASSWORD_FILE\n"), @r#"
    2-2 SecretsUsedInArgOrEnv: Do not use ARG or ENV instructions for sensitive data (ARG "API_KEY") [API_KEY]
    2-2 SecretsUsedInArgOrEnv: Do not use ARG or ENV instructions for sensitive data (ARG "token") [token]
    3-3 SecretsUsedInArgOrEnv: Do not use ARG or ENV instructions for sensitive data (ENV "GITHUB_TOKEN") [GITHUB_TOKEN]
    3-3 SecretsUsedInArgOrEnv: Do not use ARG or ENV instructions for sensitive data (ENV "auth") [auth]
    "#);
}

#[test]
fn ports() {
    insta::assert_snapshot!(check("FROM scratch\nENV P='1/Udp 2'\nEXPOSE 80/TCP 127.0.0.1:80:80 90:90 $P\n"), @"
    3-3 ExposeProtoCasing: Defined protocol '80/TCP' in EXPOSE instruction should be lowercase [80/TCP]
    3-3 ExposeInvalidFormat: EXPOSE instruction should not define an IP address or host-port mapping, found '127.0.0.1:80:80' [127.0.0.1:80:80]
    3-3 ExposeInvalidFormat: EXPOSE instruction should not define an IP address or host-port mapping, found '90:90' [90:90]
    3-3 ExposeProtoCasing: Defined protocol '1/Udp' in EXPOSE instruction should be lowercase [$P]
    ");
}

#[test]
fn ignored_files() {
    let ignore = Ignore::parse("docs\n*/tmp/*\n").expect("valid");
    let input = Input { ignore: Some(&ignore), ..Input::default() };
    let source = "FROM scratch AS a\nCOPY ./docs/a b/tmp/c d /x/\nADD docs https://x/docs /x/\nCOPY . /\nCOPY --from=a docs /x\n";
    insta::assert_snapshot!(check_with(source, &input), @r#"
    2-2 CopyIgnoredFile: Attempting to Copy file "docs/a" that is excluded by .dockerignore [./docs/a]
    2-2 CopyIgnoredFile: Attempting to Copy file "b/tmp/c" that is excluded by .dockerignore [b/tmp/c]
    3-3 CopyIgnoredFile: Attempting to Add file "docs" that is excluded by .dockerignore [docs]
    "#);
    let all = Ignore::parse("**").expect("valid");
    insta::assert_snapshot!(check_with("FROM scratch\nCOPY . /\nCOPY a /\n", &Input { ignore: Some(&all), ..Input::default() }), @r#"
    2-2 CopyIgnoredFile: Attempting to Copy file "." that is excluded by .dockerignore [.]
    3-3 CopyIgnoredFile: Attempting to Copy file "a" that is excluded by .dockerignore [a]
    "#);
    let exceptions = Ignore::parse("*\n!a").expect("valid");
    assert_eq!(check_with(source, &Input { ignore: Some(&exceptions), ..Input::default() }), "");
}

#[test]
fn descriptions() {
    let source = "# check=experimental=all\n# bar is bar\nARG foo=1\n# base it is\nFROM scratch AS base\n# not this\n\nARG a\n# b\n#\nARG c\n# d e\nARG d f\n# x\nARG g h\n# wrong\nFROM scratch AS last\n";
    insta::assert_snapshot!(check(source), @"
    3-3 InvalidDefinitionDescription: Comment for ARG should follow the format: `# foo <description>` [ARG foo=1]
    15-15 InvalidDefinitionDescription: Comment for ARG should follow the format: `# <arg_key> <description>` [ARG g h]
    17-17 InvalidDefinitionDescription: Comment for FROM should follow the format: `# last <description>` [FROM scratch AS last]
    ");
    assert_eq!(check(&source.replace("check=", "")), "");
}

#[test]
fn options_in_the_file() {
    assert_eq!(check("# check=skip=all\nFROM scratch as x\nCMD a\n"), "");
    assert_eq!(check("# check=skip=FromAsCasing\nFROM scratch as x\nCMD [\"a\"]\n"), "");
    insta::assert_snapshot!(check("# check=skip=FromAsCasing;error=true\nFROM scratch as x\nCMD a\n"), @"
    3-3 JSONArgsRecommended: JSON arguments recommended for CMD to prevent unintended behavior related to OS signals [CMD]
    violation: lint violation found for rules: JSONArgsRecommended
    ");
    insta::assert_snapshot!(check("# check=skpi=all\nFROM scratch as x\n"), @r#"problem: failed to parse check options: invalid check option "skpi""#);
    insta::assert_snapshot!(check("FROM scratch\n# check=skip=JSONArgsRecommended\nENTRYPOINT a\nCMD a\n"), @"4-4 JSONArgsRecommended: JSON arguments recommended for CMD to prevent unintended behavior related to OS signals [CMD]");
    let input = Input { config: Some(Config::parse("skip=all").expect("valid")), ..Input::default() };
    assert_eq!(check_with("FROM scratch as x\n", &input), "");
}

#[test]
fn long_files_are_checked_in_time() {
    let lines: String = (0..5_000).map(|i| format!("ENV V{i}=x\n")).collect();
    assert_eq!(check(&format!("FROM scratch\n{lines}")), "");
    let sources: String = (0..20_000).map(|i| format!(" s{i}")).collect();
    let ignore = Ignore::parse("nothing").expect("valid");
    let input = Input { ignore: Some(&ignore), ..Input::default() };
    assert_eq!(check_with(&format!("FROM scratch\nCOPY{sources} /d/\n"), &input), "");
}

#[test]
fn only_the_target_is_checked() {
    let source = "FROM scratch AS a\nCMD a\nFROM scratch AS b\nCMD b\n";
    let options = Options { target: Some("a".to_owned()), ..Options::default() };
    insta::assert_snapshot!(check_with(source, &Input { options, ..Input::default() }), @"2-2 JSONArgsRecommended: JSON arguments recommended for CMD to prevent unintended behavior related to OS signals [CMD]");
}

#[test]
fn problems_end_the_checks() {
    insta::assert_snapshot!(check("FROM scratch as x\nENV a=${b:?needed}\n"), @r#"
    1-1 FromAsCasing: 'as' and 'FROM' keywords' casing do not match [FROM scratch as x]
    problem: failed to process "${b:?needed}": b: needed
    "#);
    insta::assert_snapshot!(check("ARG A\nFROM $A\n"), @"
    2-2 InvalidDefaultArgInFrom: Default value for ARG $A results in empty or invalid base image name [$A]
    problem: base name ($A) should not be blank
    ");
    insta::assert_snapshot!(check("FROM --platform=banana x\n"), @r#"problem: failed to parse platform banana: "banana" is no platform"#);
}
