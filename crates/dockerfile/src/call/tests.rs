use super::*;
use crate::eval::Options;
use crate::lint::{self, Input};

fn tree(source: &str) -> crate::ast::Dockerfile {
    let parsed = crate::parse(source);
    assert!(parsed.dockerfile.is_some(), "{:#?}", parsed.diagnostics);
    parsed.dockerfile.expect("asserted")
}

const ARGS: &str = "ARG inherited=box
ARG inherited2=box2
ARG unused=abc${inherited2}
# sfx is a suffix
ARG sfx=\"usy${inherited}\"

FROM b${sfx} AS first
# this is not assigned to anything
ARG FOO=123
# BAR is a number
ARG BAR=456
RUN true

FROM alpine${unused} AS second
ARG BAZ
RUN true

FROM scratch AS third
ARG ABC=a

# target defines build target
FROM third AS target
COPY --from=first /etc/passwd /

FROM second
";

const MOUNTS: &str = "
FROM busybox AS first
RUN --mount=type=secret,target=/etc/passwd,required=true --mount=type=ssh true

FROM alpine AS second
RUN --mount=type=secret,id=unused --mount=type=ssh,id=ssh2 true

FROM scratch AS third
ARG BAR
RUN --mount=type=secret,id=second${BAR} true

FROM third AS target
COPY --from=first /foo /
RUN --mount=type=ssh,id=ssh3,required true

FROM second
";

fn target(name: &str) -> Options<'static> {
    let build_args = [("BAR".to_owned(), "678".to_owned())].into();
    Options { target: Some(name.to_owned()), build_args, ..Options::default() }
}

#[test]
fn outlines() {
    let args = outline(&tree(ARGS), ARGS, &target("target")).expect("valid");
    insta::assert_snapshot!(args.text(), @"
    TARGET:      target
    DESCRIPTION: defines build target

    BUILD ARG   VALUE    DESCRIPTION
    inherited   box      
    sfx         usybox   is a suffix
    FOO         123      
    BAR         678      is a number
    ABC         a
    ");
    let mounts = outline(&tree(MOUNTS), MOUNTS, &target("target")).expect("valid");
    insta::assert_snapshot!(mounts.text(), @"
    TARGET: target

    BUILD ARG   VALUE   DESCRIPTION
    BAR         678     

    SECRET      REQUIRED
    passwd      true
    second678   

    SSH       REQUIRED
    default   
    ssh3      true
    ");
    let small = "# x is <small>\nFROM scratch AS x\nARG A=1 B\n";
    insta::assert_snapshot!(outline(&tree(small), small, &Options::default()).expect("valid").json(), @r#"
    {
      "name": "x",
      "description": "is \u003csmall\u003e",
      "args": [
        {
          "name": "A",
          "value": "1",
          "location": {
            "ranges": [
              {
                "start": {
                  "line": 3
                },
                "end": {
                  "line": 3
                }
              }
            ]
          }
        },
        {
          "name": "B",
          "location": {
            "ranges": [
              {
                "start": {
                  "line": 3
                },
                "end": {
                  "line": 3
                }
              }
            ]
          }
        }
      ],
      "sources": [
        "IyB4IGlzIDxzbWFsbD4KRlJPTSBzY3JhdGNoIEFTIHgKQVJHIEE9MSBCCg=="
      ]
    }
    "#);
    let error = outline(&tree(ARGS), ARGS, &target("targte")).expect_err("unknown");
    insta::assert_snapshot!(format!("{}\n{}", error.message, error.help.unwrap_or_default()), @r#"
    target stage "targte" could not be found
    did you mean target?
    "#);
}

#[test]
fn stages() {
    insta::assert_snapshot!(targets(&tree(ARGS), ARGS).text(), @"
    TARGET    DESCRIPTION
    first     
    second    
    third     
    target    defines build target
    (default)
    ");
    let small = "FROM --platform=$BUILDPLATFORM a AS Build\n# run it\nFROM \\\n  b\n";
    insta::assert_snapshot!(targets(&tree(small), small).json(), @r#"
    {
      "targets": [
        {
          "name": "build",
          "base": "a",
          "platform": "$BUILDPLATFORM",
          "location": {
            "ranges": [
              {
                "start": {
                  "line": 1
                },
                "end": {
                  "line": 1
                }
              }
            ]
          }
        },
        {
          "default": true,
          "base": "b",
          "location": {
            "ranges": [
              {
                "start": {
                  "line": 3
                },
                "end": {
                  "line": 3
                }
              },
              {
                "start": {
                  "line": 4
                },
                "end": {
                  "line": 4
                }
              }
            ]
          }
        }
      ],
      "sources": [
        "RlJPTSAtLXBsYXRmb3JtPSRCVUlMRFBMQVRGT1JNIGEgQVMgQnVpbGQKIyBydW4gaXQKRlJPTSBcCiAgYgo="
      ]
    }
    "#);
    insta::assert_snapshot!(targets(&tree(small), small).text(), @"
    TARGET    DESCRIPTION
    build     
    (default)
    ");
}

#[test]
fn checks() {
    let check = |source: &str| {
        let report = lint::run(&tree(source), &Input::default());
        let result = CheckResult { file: "Dockerfile", source, report: &report };
        (result.text(), result.json(), result.status())
    };
    let (text, json, status) = check("FROM scratch as base\nUSER x\n\nCMD a \\\n  b\nUSER y\n");
    insta::assert_snapshot!(text, @r"
    Check complete, 2 warnings have been found!

    WARNING: FromAsCasing - https://docs.docker.com/go/dockerfile/rule/from-as-casing/
    'as' and 'FROM' keywords' casing do not match
    Dockerfile:1
    --------------------
       1 | >>> FROM scratch as base
       2 |     USER x
       3 |     
    --------------------

    WARNING: JSONArgsRecommended - https://docs.docker.com/go/dockerfile/rule/json-args-recommended/
    JSON arguments recommended for CMD to prevent unintended behavior related to OS signals
    Dockerfile:4
    --------------------
       3 |     
       4 | >>> CMD a \
       5 | >>>   b
       6 |     USER y
    --------------------
    ");
    insta::assert_snapshot!(json, @r#"
    {
      "warnings": [
        {
          "ruleName": "FromAsCasing",
          "description": "The 'as' keyword should match the case of the 'from' keyword",
          "url": "https://docs.docker.com/go/dockerfile/rule/from-as-casing/",
          "detail": "'as' and 'FROM' keywords' casing do not match",
          "location": {
            "ranges": [
              {
                "start": {
                  "line": 1
                },
                "end": {
                  "line": 1
                }
              }
            ]
          }
        },
        {
          "ruleName": "JSONArgsRecommended",
          "description": "JSON arguments recommended for ENTRYPOINT/CMD to prevent unintended behavior related to OS signals",
          "url": "https://docs.docker.com/go/dockerfile/rule/json-args-recommended/",
          "detail": "JSON arguments recommended for CMD to prevent unintended behavior related to OS signals",
          "location": {
            "ranges": [
              {
                "start": {
                  "line": 4
                },
                "end": {
                  "line": 4
                }
              },
              {
                "start": {
                  "line": 5
                },
                "end": {
                  "line": 5
                }
              }
            ]
          }
        }
      ],
      "sources": [
        {
          "filename": "Dockerfile",
          "data": "RlJPTSBzY3JhdGNoIGFzIGJhc2UKVVNFUiB4CgpDTUQgYSBcCiAgYgpVU0VSIHkK",
          "language": "Dockerfile"
        }
      ]
    }
    "#);
    assert_eq!(status, 1);
    let (text, json, status) = check("FROM scratch\n");
    insta::assert_snapshot!(text, @"Check complete, no warnings found.");
    insta::assert_snapshot!(json, @r#"
    {
      "warnings": null,
      "sources": [
        {
          "filename": "Dockerfile",
          "data": "RlJPTSBzY3JhdGNoCg==",
          "language": "Dockerfile"
        }
      ]
    }
    "#);
    assert_eq!(status, 0);
    let (text, ..) = check("ARG V\nFROM a as b\nFROM ${V:?needed}\n");
    insta::assert_snapshot!(text, @r#"
    Check complete, 1 warning has been found!

    WARNING: FromAsCasing - https://docs.docker.com/go/dockerfile/rule/from-as-casing/
    'as' and 'FROM' keywords' casing do not match
    Dockerfile:2
    --------------------
       1 |     ARG V
       2 | >>> FROM a as b
       3 |     FROM ${V:?needed}
       4 |     
    --------------------

    failed to process "${V:?needed}": V: needed
    Dockerfile:3
    --------------------
       1 |     ARG V
       2 |     FROM a as b
       3 | >>> FROM ${V:?needed}
       4 |     
    --------------------
    "#);
}

#[test]
fn a_file_that_does_not_parse() {
    let source = "FROM a\nRNU b\n";
    let report = lint::Report::unparsed(&crate::parse(source).diagnostics, source);
    let result = CheckResult { file: "Dockerfile", source, report: &report };
    insta::assert_snapshot!(result.text(), @"
    dockerfile parse error on line 2: unknown instruction: RNU
    Dockerfile:2
    --------------------
       1 |     FROM a
       2 | >>> RNU b
       3 |     
    --------------------
    ");
    assert!(result.json().contains("\"buildError\": {"));
    assert_eq!(result.status(), 1);
}

#[test]
fn base64_of_every_length() {
    let coded = ["", "f", "fo", "foo", "foob", "fooba", "foobar"].map(print::base64);
    assert_eq!(coded, ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"]);
}
