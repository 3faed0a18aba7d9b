//! What a Dockerfile says, with the place of everything that can be wrong.
//!
//! The tree is *unexpanded*: a [`Text`] still holds `$VAR` and quotes as they were written, since
//! their meaning depends on build arguments and on the base image. [`crate::expand`] expands them.
use crate::Span;

/// A piece of text as it was written, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// The text, continuation lines joined, quotes and variables untouched.
    pub value: String,
    /// Where it stands in the file.
    pub span: Span,
}

/// A parsed Dockerfile.
#[derive(Debug, Clone, PartialEq)]
pub struct Dockerfile {
    /// The parser directives at the top.
    pub directives: Directives,
    /// `ARG` instructions before the first `FROM`.
    pub global_args: Vec<Instruction>,
    /// The stages, in order; at least one.
    pub stages: Vec<Stage>,
    /// The last lines of instructions that have an empty line among their continuation lines.
    pub empty_continuations: Vec<Span>,
}

/// `# syntax=`, `# escape=` and `# check=`.
#[derive(Debug, Clone, PartialEq)]
pub struct Directives {
    /// The frontend image that the file asks for. Read, not obeyed.
    pub syntax: Option<Text>,
    /// The escape character, a backslash or a backtick.
    pub escape: char,
    /// `# check=`: rules to skip and whether findings fail the build.
    pub check: Option<Text>,
    /// Where the line after the last directive starts.
    pub end: usize,
}

/// `FROM` and what follows it.
#[derive(Debug, Clone, PartialEq)]
pub struct Stage {
    /// Its number, from 0.
    pub index: usize,
    /// The `FROM` instruction.
    pub from: From,
    /// Place and source text of the `FROM` instruction.
    pub span: Span,
    /// The `FROM` instruction as it was written (continuations joined), for history and progress.
    pub original: String,
    /// The comment directly above `FROM` where it reads `name description` (for `--call=targets`).
    pub doc: Option<String>,
    /// The `# check=` comment above, as [`Instruction::check`].
    pub check: Option<Text>,
    /// All comment lines directly above, as [`Instruction::doc`].
    pub comments: Option<String>,
    /// The instructions after it.
    pub instructions: Vec<Instruction>,
}

/// `FROM [--platform=P] IMAGE [AS NAME]`.
#[derive(Debug, Clone, PartialEq)]
pub struct From {
    /// `--platform`, unexpanded.
    pub platform: Option<Text>,
    /// The image, a stage or `scratch`, unexpanded.
    pub image: Text,
    /// The stage's name, as written (compare without case).
    pub name: Option<Text>,
    /// The `FROM` and `AS` keywords as written (for the lint rules on casing).
    pub keywords: (String, Option<String>),
}

/// One instruction of a stage.
#[derive(Debug, Clone, PartialEq)]
pub struct Instruction {
    /// What it does.
    pub kind: Kind,
    /// The keyword as written.
    pub keyword: Text,
    /// The whole instruction with continuation lines and heredocs.
    pub span: Span,
    /// As it was written with continuations joined, as BuildKit's `Original` has it.
    pub original: String,
    /// The comment lines directly above (for `--call=outline`).
    pub doc: Option<String>,
    /// A `# check=` comment above: options of the lint rules for this instruction.
    pub check: Option<Text>,
}

/// The instructions.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// `ADD`
    Add(Copy),
    /// `ARG NAME[=VALUE] …`
    Arg(Vec<ArgDecl>),
    /// `CMD`
    Cmd(CommandLine),
    /// `COPY`
    Copy(Copy),
    /// `ENTRYPOINT`
    Entrypoint(CommandLine),
    /// `ENV`
    Env(KeyValues),
    /// `EXPOSE PORT…`
    Expose(Vec<Text>),
    /// `HEALTHCHECK`
    Healthcheck(Healthcheck),
    /// `LABEL`
    Label(KeyValues),
    /// `MAINTAINER`
    Maintainer(Text),
    /// `ONBUILD INSTRUCTION`; the text after `ONBUILD`, and the instruction it parses to.
    Onbuild(Text, Box<Instruction>),
    /// `RUN`
    Run(Run),
    /// `SHELL ["…", …]`
    Shell(Vec<String>),
    /// `STOPSIGNAL`
    StopSignal(Text),
    /// `USER`
    User(Text),
    /// `VOLUME`
    Volume(Vec<Text>),
    /// `WORKDIR`
    Workdir(Text),
}

/// `NAME` or `NAME=VALUE` of an `ARG`.
#[derive(Debug, Clone, PartialEq)]
pub struct ArgDecl {
    /// The name, unexpanded (BuildKit expands it).
    pub name: Text,
    /// The default, unexpanded, quotes kept.
    pub value: Option<Text>,
    /// The comment above, where it reads `NAME description`.
    pub doc: Option<String>,
}

/// The pairs of `ENV` and `LABEL`.
#[derive(Debug, Clone, PartialEq)]
pub struct KeyValues {
    /// Key and value, unexpanded, quotes kept.
    pub pairs: Vec<(Text, Text)>,
    /// Whether the legacy form `ENV key value` was used.
    pub legacy: bool,
}

/// The command of `RUN`, `CMD`, `ENTRYPOINT`, `HEALTHCHECK CMD`.
#[derive(Debug, Clone, PartialEq)]
pub enum CommandLine {
    /// For the shell, exactly as written (never expanded by the builder).
    Shell(Text),
    /// A JSON array.
    Exec(Vec<String>, Span),
}

/// A here-document.
#[derive(Debug, Clone, PartialEq)]
pub struct Heredoc {
    /// Its name (the delimiter without quotes): the file's name in `COPY` and `ADD`.
    pub name: String,
    /// The content; of `<<-` with leading tabs removed.
    pub content: String,
    /// The content as it was written, tabs kept.
    pub raw: String,
    /// Whether variables in it are expanded (`false` where the delimiter was quoted).
    pub expand: bool,
    /// Whether it was written `<<-`.
    pub chomp: bool,
    /// The file descriptor in front of `<<` (0 where there is none).
    pub file_descriptor: u32,
    /// Where the content stands.
    pub span: Span,
    /// Where `<<NAME` stands.
    pub marker: Span,
}

/// `RUN`
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// The command line. With heredocs, the line with the `<<EOF` markers in it.
    pub command: CommandLine,
    /// The here-documents, in order.
    pub heredocs: Vec<Heredoc>,
    /// `--mount` flags, in order.
    pub mounts: Vec<MountFlag>,
    /// `--network`
    pub network: Option<(Network, Span)>,
    /// `--security`
    pub security: Option<(Security, Span)>,
}

/// `RUN --network`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// The builder's default.
    Default,
    /// No network but loopback.
    None,
    /// The host's.
    Host,
}

/// `RUN --security`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    /// Confined.
    Sandbox,
    /// Privileged: needs an entitlement.
    Insecure,
}

/// `RUN --mount=…`: the raw fields, unexpanded, in order; checked for known keys and types.
///
/// A field whose value holds a variable is checked when it is expanded: [`crate::mount::resolve`] gives
/// the typed mount, whatever held variables, and is what an executor should use.
#[derive(Debug, Clone, PartialEq)]
pub struct MountFlag {
    /// All fields as they were written, in order.
    pub fields: Vec<MountField>,
    /// `type`; bind where none was given.
    pub kind: MountKind,
    /// `target` (`dst`, `destination`).
    pub target: Option<Text>,
    /// `source` (`src`).
    pub source: Option<Text>,
    /// `from`
    pub from: Option<Text>,
    /// `id`
    pub id: Option<Text>,
    /// `sharing`
    pub sharing: Option<Text>,
    /// `readonly`, `ro`, `rw`, `readwrite`: true for read-only; `None` where nothing was said.
    pub readonly: Option<bool>,
    /// `required`
    pub required: Option<bool>,
    /// `env` (secret)
    pub env: Option<Text>,
    /// `mode`, octal, unexpanded.
    pub mode: Option<Text>,
    /// `uid`
    pub uid: Option<Text>,
    /// `gid`
    pub gid: Option<Text>,
    /// `size` (tmpfs)
    pub size: Option<Text>,
    /// The whole flag.
    pub span: Span,
}

/// One `key=value` or `key` of `RUN --mount`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountField {
    /// The key, in lower case.
    pub key: String,
    /// The value, unexpanded.
    pub value: Option<Text>,
    /// The whole field (the whole flag where it was quoted).
    pub span: Span,
}

/// The types of `RUN --mount`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MountKind {
    /// Files of the context, a stage or an image.
    Bind,
    /// A directory that outlives the build.
    Cache,
    /// Memory.
    Tmpfs,
    /// A secret's file or variable.
    Secret,
    /// The SSH agent.
    Ssh,
}

/// `COPY` and `ADD`
#[derive(Debug, Clone, PartialEq)]
pub struct Copy {
    /// Sources in order, unexpanded; heredocs are in `heredocs`.
    pub sources: Vec<Text>,
    /// Inline files, in order.
    pub heredocs: Vec<Heredoc>,
    /// The destination, unexpanded.
    pub destination: Text,
    /// `--from`
    pub from: Option<Text>,
    /// `--chown`
    pub chown: Option<Text>,
    /// `--chmod`
    pub chmod: Option<Text>,
    /// `--link`
    pub link: bool,
    /// `--parents`
    pub parents: bool,
    /// `--exclude`, in order
    pub exclude: Vec<Text>,
    /// `--checksum`
    pub checksum: Option<Text>,
    /// `--keep-git-dir`
    pub keep_git_dir: Option<bool>,
    /// `--unpack`
    pub unpack: Option<bool>,
}

/// `HEALTHCHECK`
#[derive(Debug, Clone, PartialEq)]
pub enum Healthcheck {
    /// `HEALTHCHECK NONE`
    None,
    /// `HEALTHCHECK [options] CMD …`
    Command {
        /// What to run.
        command: CommandLine,
        /// Nanoseconds.
        interval: Option<i64>,
        /// Nanoseconds.
        timeout: Option<i64>,
        /// Nanoseconds.
        start_period: Option<i64>,
        /// Nanoseconds.
        start_interval: Option<i64>,
        /// Failures in a row.
        retries: Option<i64>,
    },
}
