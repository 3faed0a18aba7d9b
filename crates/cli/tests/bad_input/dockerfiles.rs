//! Broken Dockerfiles.
use crate::Case;

#[test]
fn an_empty_file() {
    insta::assert_snapshot!(Case::dockerfile("").build("."), @r#"
    exit 1
    error[empty-dockerfile]: the Dockerfile has no instructions
     --> Dockerfile:1:1
      |
    1 |
      | ^
      |
      = help: a Dockerfile begins with FROM IMAGE; FROM scratch starts from nothing
    error: Dockerfile has 1 error
    "#);
}

#[test]
fn only_comments() {
    insta::assert_snapshot!(Case::dockerfile("# nothing here\n").build("."), @r#"
    exit 1
    error[empty-dockerfile]: the Dockerfile has no instructions
     --> Dockerfile:1:16
      |
    1 | # nothing here
      |               ^
      |
      = help: a Dockerfile begins with FROM IMAGE; FROM scratch starts from nothing
    error: Dockerfile has 1 error
    "#);
}

#[test]
fn an_unknown_instruction() {
    insta::assert_snapshot!(Case::dockerfile("FROM scratch\nCOPPY a /a\n").build("."), @r#"
    exit 1
    error[unknown-instruction]: unknown instruction: COPPY
     --> Dockerfile:2:1
      |
    2 | COPPY a /a
      | ^^^^^
      |
      = help: did you mean COPY?
    error: Dockerfile has 1 error
    "#);
}

#[test]
fn an_instruction_before_from() {
    insta::assert_snapshot!(Case::dockerfile("RUN make\nFROM scratch\n").build("."), @r#"
    exit 1
    error[instruction-before-from]: RUN before the first FROM: no build stage in current context
     --> Dockerfile:1:1
      |
    1 | RUN make
      | ^^^
      |
      = help: begin the file with FROM IMAGE (only ARG may come before it)
    error: Dockerfile has 1 error
    "#);
}

#[test]
fn from_without_an_image() {
    insta::assert_snapshot!(Case::dockerfile("FROM\n").build("."), @r#"
    exit 1
    error[invalid-from]: FROM without an image
     --> Dockerfile:1:1
      |
    1 | FROM
      | ^^^^
      |
      = help: write FROM [--platform=PLATFORM] IMAGE [AS NAME]
    error: Dockerfile has 1 error
    "#);
}

#[test]
fn from_with_too_many_words() {
    insta::assert_snapshot!(Case::dockerfile("FROM scratch AS base now\n").build("."), @r#"
    exit 1
    error[invalid-from]: FROM requires either one or three arguments
     --> Dockerfile:1:6
      |
    1 | FROM scratch AS base now
      |      ^^^^^^^^^^^^^^^^^^^
      |
      = help: write FROM [--platform=PLATFORM] IMAGE [AS NAME]
    error: Dockerfile has 1 error
    "#);
}

#[test]
fn an_invalid_stage_name() {
    insta::assert_snapshot!(Case::dockerfile("FROM scratch AS 1st\n").build("."), @r#"
    exit 1
    error[invalid-stage-name]: invalid name for build stage: "1st"
     --> Dockerfile:1:17
      |
    1 | FROM scratch AS 1st
      |                 ^^^
      |
      = help: a name starts with a letter and holds only letters, digits, '-', '_' and '.'; variables are not expanded in it
    error: Dockerfile has 1 error
    "#);
}

#[test]
fn an_invalid_image_name() {
    insta::assert_snapshot!(Case::dockerfile("FROM Alpine:3.20\n").build("."), @r#"
    exit 1
    warning: InvalidDefaultArgInFrom: Default value for ARG Alpine:3.20 results in empty or invalid base image name (line 1)
    error: failed to parse stage name "Alpine:3.20": a repository's name must be lower case
     --> Dockerfile:1:6
      |
    1 | FROM Alpine:3.20
      |      ^^^^^^^^^^^
      |
      = help: write "alpine:3.20"
    "#);
}

#[test]
fn an_undefined_variable_in_from() {
    insta::assert_snapshot!(Case::dockerfile("FROM ${BASE}\n").build("."), @r#"
    exit 1
    warning: InvalidDefaultArgInFrom: Default value for ARG ${BASE} results in empty or invalid base image name (line 1)
    error: base name (${BASE}) should not be blank
     --> Dockerfile:1:6
      |
    1 | FROM ${BASE}
      |      ^^^^^^^
      |
      = help: give the argument a default with ARG before the first FROM, or pass it with --build-arg
    "#);
}

#[test]
fn a_bad_substitution() {
    insta::assert_snapshot!(Case::dockerfile("FROM scratch\nENV A=${B:x}\n").build("."), @r#"
    exit 1
    error: cannot expand "${B:x}": unsupported modifier (:x) in substitution
     --> Dockerfile:2:7
      |
    2 | ENV A=${B:x}
      |       ^^^^^^
    "#);
}

#[test]
fn a_required_variable() {
    insta::assert_snapshot!(Case::dockerfile("FROM scratch\nARG V\nENV A=\"${V:?set the version}\"\n").build("."), @r#"
    exit 1
    error: cannot expand "\"${V:?set the version}\"": V: set the version
     --> Dockerfile:3:7
      |
    3 | ENV A="${V:?set the version}"
      |       ^^^^^^^^^^^^^^^^^^^^^^^
    "#);
}

#[test]
fn an_unknown_flag_of_copy() {
    insta::assert_snapshot!(Case::dockerfile("FROM scratch\nCOPY --chwon=1 a /a\n").build("."), @r#"
    exit 1
    error[unknown-flag]: unknown flag --chwon on COPY
     --> Dockerfile:2:6
      |
    2 | COPY --chwon=1 a /a
      |      ^^^^^^^^^
      |
      = help: did you mean --chown?
    error: Dockerfile has 1 error
    "#);
}

#[test]
fn a_flag_of_another_instruction() {
    insta::assert_snapshot!(Case::dockerfile("FROM scratch\nRUN --chmod=755 true\n").build("."), @r#"
    exit 1
    error[unknown-flag]: unknown flag --chmod on RUN
     --> Dockerfile:2:5
      |
    2 | RUN --chmod=755 true
      |     ^^^^^^^^^^^
      |
      = help: --chmod is a flag of COPY and ADD; RUN knows --mount, --network, --security
    error: Dockerfile has 1 error
    "#);
}

#[test]
fn copy_with_one_argument() {
    insta::assert_snapshot!(Case::dockerfile("FROM scratch\nCOPY a\n").build("."), @r#"
    exit 1
    error[missing-argument]: COPY requires at least two arguments: sources and a destination
     --> Dockerfile:2:6
      |
    2 | COPY a
      |      ^
      |
      = help: write COPY SOURCE … DESTINATION
    error: Dockerfile has 1 error
    "#);
}

#[test]
fn a_file_that_does_not_exist() {
    insta::assert_snapshot!(Case::dockerfile("FROM scratch\nCOPY nope /a\n").build("."), @r#"
    exit 1
    error: "/nope" not found in the build context
     --> Dockerfile:2:6
      |
    2 | COPY nope /a
      |      ^^^^
      |
      = help: paths are relative to the root of the source; a file that .dockerignore excludes does not exist
    "#);
}

#[test]
fn a_file_above_the_context() {
    insta::assert_snapshot!(Case::dockerfile("FROM scratch\nCOPY ../secret /a\n").build("."), @r#"
    exit 1
    error: "/secret" not found in the build context
     --> Dockerfile:2:6
      |
    2 | COPY ../secret /a
      |      ^^^^^^^^^
      |
      = help: paths are relative to the root of the source; a file that .dockerignore excludes does not exist
    "#);
}

#[test]
fn an_unknown_mount_type() {
    insta::assert_snapshot!(Case::dockerfile("FROM scratch\nRUN --mount=type=volume,target=/x true\n").build("."), @r#"
    exit 1
    error[invalid-mount]: unsupported mount type "volume"
     --> Dockerfile:2:13
      |
    2 | RUN --mount=type=volume,target=/x true
      |             ^^^^^^^^^^^
      |
      = help: known are bind, cache, tmpfs, secret, ssh
    error: Dockerfile has 1 error
    "#);
}

#[test]
fn an_unknown_mount_key() {
    insta::assert_snapshot!(Case::dockerfile("FROM scratch\nRUN --mount=type=cache,targt=/x true\n").build("."), @r#"
    exit 1
    error[unknown-mount-key]: unknown mount field "targt"
     --> Dockerfile:2:24
      |
    2 | RUN --mount=type=cache,targt=/x true
      |                        ^^^^^^^^
      |
      = help: did you mean target?
    error: Dockerfile has 1 error
    "#);
}

#[test]
fn a_mount_without_a_target() {
    insta::assert_snapshot!(Case::dockerfile("FROM scratch\nRUN --mount=type=cache true\n").build("."), @r#"
    exit 1
    error: --mount=type=cache needs a target=
     --> Dockerfile:2:5
      |
    2 | RUN --mount=type=cache true
      |     ^^^^^^^^^^^^^^^^^^
      |
      = help: add target=/PATH
    "#);
}

#[test]
fn a_heredoc_that_does_not_end() {
    insta::assert_snapshot!(Case::dockerfile("FROM scratch\nCOPY <<EOF /a\ntext\n").build("."), @r#"
    exit 1
    error[unterminated-heredoc]: unterminated heredoc EOF
     --> Dockerfile:2:6
      |
    2 | COPY <<EOF /a
      |      ^^^^^
      |
      = help: add a line that holds only EOF after the content
    error: Dockerfile has 1 error
    "#);
}

#[test]
fn a_broken_continuation() {
    insta::assert_snapshot!(Case::dockerfile("FROM scratch\nENV A=\"x\nRUN true\n").build("."), @r#"
    exit 1
    error: cannot expand "\"x": unclosed double quote
     --> Dockerfile:2:7
      |
    2 | ENV A="x
      |       ^^
    "#);
}

#[test]
fn env_without_a_value() {
    insta::assert_snapshot!(Case::dockerfile("FROM scratch\nENV A\n").build("."), @r#"
    exit 1
    error[missing-value]: ENV must have two arguments
     --> Dockerfile:2:5
      |
    2 | ENV A
      |     ^
      |
      = help: write ENV NAME=VALUE …
    error: Dockerfile has 1 error
    "#);
}

#[test]
fn a_port_that_is_none() {
    insta::assert_snapshot!(Case::dockerfile("FROM scratch\nEXPOSE http\n").build("."), @r#"
    exit 1
    error: invalid containerPort: http: a port is a number from 0 to 65535
     --> Dockerfile:2:8
      |
    2 | EXPOSE http
      |        ^^^^
      |
      = help: write PORT, PORT/tcp, PORT/udp, PORT/sctp or FIRST-LAST/PROTOCOL
    "#);
}

#[test]
fn an_unknown_healthcheck_type() {
    insta::assert_snapshot!(Case::dockerfile("FROM scratch\nHEALTHCHECK EXEC true\n").build("."), @r#"
    exit 1
    error[invalid-healthcheck]: unknown type "EXEC" in HEALTHCHECK
     --> Dockerfile:2:13
      |
    2 | HEALTHCHECK EXEC true
      |             ^^^^
      |
      = help: try HEALTHCHECK CMD COMMAND
    error: Dockerfile has 1 error
    "#);
}

#[test]
fn a_bad_duration() {
    insta::assert_snapshot!(Case::dockerfile("FROM scratch\nHEALTHCHECK --interval=5 CMD true\n").build("."), @r#"
    exit 1
    error[invalid-duration]: invalid duration "5"
     --> Dockerfile:2:24
      |
    2 | HEALTHCHECK --interval=5 CMD true
      |                        ^
      |
      = help: write a number with a unit, such as 30s or 1m30s
    error: Dockerfile has 1 error
    "#);
}

#[test]
fn onbuild_onbuild() {
    insta::assert_snapshot!(Case::dockerfile("FROM scratch\nONBUILD ONBUILD RUN true\n").build("."), @r#"
    exit 1
    error[onbuild-not-allowed]: chaining ONBUILD via ONBUILD ONBUILD isn't allowed
     --> Dockerfile:2:9
      |
    2 | ONBUILD ONBUILD RUN true
      |         ^^^^^^^
      |
      = help: every other instruction can be a trigger
    error: Dockerfile has 1 error
    "#);
}

#[test]
fn a_trigger_that_fails_is_shown_where_it_is_used() {
    let text = "FROM scratch AS base\nONBUILD COPY missing /\nFROM base\nENV A=b\n";
    insta::assert_snapshot!(Case::dockerfile(text).build("."), @r#"
    exit 1
    error: ONBUILD trigger "COPY missing /": "/missing" not found in the build context
     --> Dockerfile:3:1
      |
    3 | FROM base
      | ^^^^^^^^^
      |
      = help: paths are relative to the root of the source; a file that .dockerignore excludes does not exist
    "#);
    let text = "FROM scratch AS base\nONBUILD ENV A=${B:?needed}\n\nFROM base AS last\n";
    insta::assert_snapshot!(Case::dockerfile(text).build("."), @r#"
    exit 1
    error: ONBUILD trigger "ENV A=${B:?needed}": cannot expand "${B:?needed}": B: needed
     --> Dockerfile:4:1
      |
    4 | FROM base AS last
      | ^^^^^^^^^^^^^^^^^
    "#);
}

#[test]
fn a_shell_that_is_no_json() {
    insta::assert_snapshot!(Case::dockerfile("FROM scratch\nSHELL /bin/bash -c\n").build("."), @r#"
    exit 1
    error[shell-not-json]: SHELL requires the arguments to be in JSON form
     --> Dockerfile:2:7
      |
    2 | SHELL /bin/bash -c
      |       ^^^^^^^^^^^^
      |
      = help: write SHELL ["/bin/bash", "-c"]
    error: Dockerfile has 1 error
    "#);
}

#[test]
fn a_bad_chmod() {
    insta::assert_snapshot!(Case::dockerfile("FROM scratch\nCOPY --chmod=u+z a /a\n").build("."), @r#"
    exit 1
    error: invalid chmod parameter: 'u+z': 'z' is no permission
     --> Dockerfile:2:14
      |
    2 | COPY --chmod=u+z a /a
      |              ^^^
    "#);
}

#[test]
fn a_user_that_does_not_exist() {
    insta::assert_snapshot!(Case::dockerfile("FROM scratch\nCOPY --chown=app a /a\n").build("."), @r#"
    exit 0
    warning: unable to find user app: no matching entries in /etc/passwd; the files belong to root (0:0), as BuildKit has it
    "#);
}

#[test]
fn a_bad_checksum() {
    insta::assert_snapshot!(Case::dockerfile("FROM scratch\nADD --checksum=md5:abc https://example.com/x /x\n").build("."), @r#"
    exit 1
    error: invalid digest "md5:abc": expected sha256:<64 lower-case hex digits>
     --> Dockerfile:2:24
      |
    2 | ADD --checksum=md5:abc https://example.com/x /x
      |                        ^^^^^^^^^^^^^^^^^^^^^
    "#);
}

#[test]
fn insecure_without_permission() {
    insta::assert_snapshot!(Case::dockerfile("FROM scratch\nCOPY a /a\nRUN --security=insecure true\n").build("."), @r#"
    exit 1
    error: RUN --security=insecure is not allowed
     --> Dockerfile:3:16
      |
    3 | RUN --security=insecure true
      |                ^^^^^^^^
      |
      = help: allow it with --allow security.insecure if you trust this Dockerfile
    "#);
}

#[test]
fn a_device() {
    insta::assert_snapshot!(Case::dockerfile("FROM scratch\nRUN --device=nvidia.com/gpu=all true\n").build("."), @r#"
    exit 1
    error[unsupported-flag]: RUN --device is not supported
     --> Dockerfile:2:5
      |
    2 | RUN --device=nvidia.com/gpu=all true
      |     ^^^^^^^^^^^^^^^^^^^^^^^^^^^
      |
      = help: it belongs to the experimental "labs" channel of the Dockerfile language, not to the stable one; remove the flag
    error: Dockerfile has 1 error
    "#);
}

#[test]
fn an_empty_continuation() {
    insta::assert_snapshot!(Case::dockerfile("FROM scratch\nRUN\n").build("."), @r#"
    exit 1
    error[missing-argument]: RUN requires at least one argument
     --> Dockerfile:2:1
      |
    2 | RUN
      | ^^^
      |
      = help: write RUN COMMAND or RUN ["program", "argument"]
    error: Dockerfile has 1 error
    "#);
}

#[test]
fn a_registry_that_is_down() {
    insta::assert_snapshot!(Case::dockerfile("FROM 127.0.0.1:9/alpine\n").build("."), @r#"
    exit 1
    error: 127.0.0.1:9/alpine:latest: cannot resolve 127.0.0.1:9/alpine:latest: cannot connect to 127.0.0.1:9: the connection was refused
     --> Dockerfile:1:6
      |
    1 | FROM 127.0.0.1:9/alpine
      |      ^^^^^^^^^^^^^^^^^^
      |
      = help: check that the registry runs and that the port is right
    "#);
}

#[test]
fn several_errors_at_once() {
    insta::assert_snapshot!(Case::dockerfile("FROM scratch\nCOPPY a /a\nENV A\nWORKDIR\n").build("."), @r#"
    exit 1
    error[unknown-instruction]: unknown instruction: COPPY
     --> Dockerfile:2:1
      |
    2 | COPPY a /a
      | ^^^^^
      |
      = help: did you mean COPY?

    error[missing-value]: ENV must have two arguments
     --> Dockerfile:3:5
      |
    3 | ENV A
      |     ^
      |
      = help: write ENV NAME=VALUE …

    error[missing-argument]: WORKDIR requires exactly one argument
     --> Dockerfile:4:1
      |
    4 | WORKDIR
      | ^^^^^^^
      |
      = help: write WORKDIR PATH
    error: Dockerfile has 3 errors
    "#);
}

#[test]
fn an_unknown_target() {
    insta::assert_snapshot!(Case::dockerfile("FROM scratch AS release\n").build("--target relase ."), @r#"
    exit 2
    error: target stage "relase" could not be found
      hint: did you mean "release"?
      hint: the Dockerfile has these stages: release
    "#);
}

#[test]
fn bytes_that_are_no_text() {
    let case = Case::new().stdin(b"FROM scratch\nENV A=\xff\n");
    insta::assert_snapshot!(case.build("-f - ."), @r#"
    exit 2
    error: Dockerfile is not UTF-8: byte 19 is invalid
      hint: save the file as UTF-8 text
    "#);
}

#[test]
fn a_broken_ignore_file() {
    insta::assert_snapshot!(Case::new().file(".dockerignore", "[a\n").build("."), @r#"
    exit 2
    error: DIR/.dockerignore: line 1: syntax error in pattern "[a": a '[' without its ']'
      hint: mend the pattern; see docs/dockerignore.md
    "#);
}
