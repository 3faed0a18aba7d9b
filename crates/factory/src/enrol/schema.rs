//! The keys of `images.yaml` as a table: what is checked, what the JSON schema says, what the
//! documentation lists, all from the same place.
use serde_json::{Map, Value, json};

/// What a value must be.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    /// Any text.
    Text,
    /// `true` or `false`.
    Bool,
    /// `7d`
    Delay,
    /// The name of an image of the factory.
    Name,
    /// `ghcr.io`, `127.0.0.1:5000`
    Registry,
    /// `owner/name`
    Repository,
    /// A regular expression.
    Regex,
    /// `linux/arm64`
    Platform,
    /// A path in a repository or beside `images.yaml`: relative, without `..`.
    Path,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// A list.
    List(&'static Kind),
    /// Texts by name.
    Texts,
    /// A mapping with known keys.
    Object(&'static Object),
    /// A text, or a mapping with known keys.
    TextOr(&'static Object),
    /// `true` or `false`, or a mapping with known keys.
    BoolOr(&'static Object),
}

/// A mapping with known keys.
#[derive(Debug)]
pub(super) struct Object {
    pub(super) name: &'static str,
    pub(super) fields: &'static [Field],
}

/// A key.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) key: &'static str,
    pub(super) kind: Kind,
    pub(super) required: bool,
    pub(super) doc: &'static str,
}

const fn field(key: &'static str, kind: Kind, doc: &'static str) -> Field {
    Field { key, kind, required: false, doc }
}

const fn required(key: &'static str, kind: Kind, doc: &'static str) -> Field {
    Field { key, kind, required: true, doc }
}

/// The severities, lowest first.
pub(super) const SEVERITIES: &[&str] = &["negligible", "low", "medium", "high", "critical"];
/// How the newest of an external image's tags is found.
pub(super) const STRATEGIES: &[&str] = &["Digest", "SemVer", "NewestBuild", "Lexical"];

/// `source`
pub(super) const SOURCE: Object = Object {
    name: "source",
    fields: &[
        field(
            "provider",
            Kind::OneOf(&["github", "gitlab", "git"]),
            "Where the repository is: github (default), gitlab or git.",
        ),
        field("repo", Kind::Text, "OWNER/NAME on the provider."),
        field("url", Kind::Text, "The repository's URL, in the place of provider and repo."),
        field("branch", Kind::Text, "The branch that is built (default: main)."),
        field(
            "dockerfile",
            Kind::Path,
            "The Dockerfile's path in the repository (default: Dockerfile in the context).",
        ),
        field("context", Kind::Path, "The build context's directory in the repository (default: the repository)."),
        field("workflow", Kind::Text, "The file name of the GitHub workflow that builds the image."),
        field(
            "paths",
            Kind::List(&Kind::Text),
            "Patterns of the files whose change asks for a build (default: the context and the Dockerfile).",
        ),
        field("submodules", Kind::Bool, "Whether submodules are fetched (default: false)."),
    ],
};

/// `local`
pub(super) const LOCAL: Object = Object {
    name: "local",
    fields: &[
        field("dockerfile", Kind::Path, "A Dockerfile beside images.yaml; it takes the place of the repository's."),
        field(
            "dir",
            Kind::Path,
            "A directory beside images.yaml: the build context where there is no source, and where patch files are.",
        ),
        field(
            "patchFiles",
            Kind::List(&Kind::Path),
            "Files below dir that are copied over the source before the build.",
        ),
        field("versionFile", Kind::Path, "A file with the version, in the source or below dir."),
    ],
};

const SECRET: Object = Object {
    name: "secret",
    fields: &[
        required("id", Kind::Text, "What RUN --mount=type=secret,id= names."),
        field("env", Kind::Text, "The variable with the value (default: one of the secret's name)."),
        field("file", Kind::Text, "The file with the value."),
    ],
};

const SCAN: Object = Object {
    name: "scan",
    fields: &[
        field(
            "failOn",
            Kind::OneOf(SEVERITIES),
            "The lowest severity that stops the image before it is tagged (default: critical).",
        ),
        field("onlyFixed", Kind::Bool, "Whether vulnerabilities without a fix are left out (default: false)."),
        field("ignoreFile", Kind::Path, "A file beside images.yaml with accepted vulnerabilities."),
        field(
            "required",
            Kind::Bool,
            "Whether an image is refused where there is no vulnerability database, or one that is too old (default: true).",
        ),
    ],
};

const SBOM: Object = Object {
    name: "sbom",
    fields: &[
        field("format", Kind::OneOf(&["spdx", "cyclonedx"]), "The format (default: spdx)."),
        field("required", Kind::Bool, "Whether an image without one is refused (default: false)."),
    ],
};

const SIGNING: Object = Object {
    name: "signing",
    fields: &[
        field(
            "key",
            Kind::Text,
            "The private key: a file, or env://VARIABLE; or keyless: an identity, by the program cosign.",
        ),
        field("required", Kind::Bool, "Whether an image that could not be signed is refused (default: false)."),
    ],
};

const UPDATE: Object = Object {
    name: "update",
    fields: &[
        required("path", Kind::Path, "The file in the manifests' repository."),
        field(
            "kind",
            Kind::OneOf(&["kustomize", "helm", "kubernetes", "flux", "argocd"]),
            "What it is (default: told by its name and content).",
        ),
        field("image", Kind::Text, "The image's name in the file (default: REGISTRY/REPOSITORY)."),
        field("write", Kind::OneOf(&["tag", "digest", "both"]), "What is written (default: tag)."),
        field("tagKey", Kind::Text, "Helm values: the tag's key, such as image.tag."),
        field("digestKey", Kind::Text, "Helm values: the digest's key."),
        field("repositoryKey", Kind::Text, "Helm values: the name's key."),
        field("url", Kind::Text, "The manifests' repository (default: the source's)."),
        field("branch", Kind::Text, "Its branch (default: the source's, else main)."),
        field(
            "message",
            Kind::Text,
            "The commit's message; {name}, {version}, {digest} and {run} stand for themselves.",
        ),
        field("signOff", Kind::Bool, "Whether the commit is signed off (default: false)."),
        field(
            "pullRequest",
            Kind::BoolOr(&PULL_REQUEST),
            "A pull request (on GitLab a merge request) in the place of a push to the branch (default: false).",
        ),
    ],
};

const PULL_REQUEST: Object = Object {
    name: "pullRequest",
    fields: &[
        field("provider", Kind::OneOf(&["github", "gitlab"]), "Whose server it is (default: told by its host)."),
        field(
            "branch",
            Kind::Text,
            "The branch that gets the commit, and belongs to the factory (default: cooperage/{name}).",
        ),
        field("title", Kind::Text, "The title (default: the first line of the commit's message)."),
        field("body", Kind::Text, "The text (default: image, version, digest and run)."),
        field("labels", Kind::List(&Kind::Text), "Labels."),
    ],
};

const VERSION: Object = Object {
    name: "version",
    fields: &[
        field(
            "bump",
            Kind::OneOf(&["patch", "minor", "major", "conventional", "calver", "none"]),
            "How the next version is made (default: patch).",
        ),
        field("initial", Kind::Text, "The first version (default: 0.1.0)."),
        field("format", Kind::Text, "The format of calver (default: YYYY.0M.0D)."),
        field("gitTag", Kind::Bool, "Whether the source gets a git tag (default: false)."),
        field("tagPrefix", Kind::Text, "What stands before the version in the git tag (default: v)."),
    ],
};

const NOTIFY: Object = Object {
    name: "notify",
    fields: &[
        required("urlEnv", Kind::Text, "The variable that holds the webhook's URL."),
        field("on", Kind::List(&Kind::OneOf(&["success", "failure"])), "When (default: failure)."),
        field("format", Kind::OneOf(&["json", "slack", "teams"]), "What is sent (default: json)."),
    ],
};

macro_rules! enrolled {
    ($($more:expr),* $(,)?) => {
        &[
            $($more,)*
            field("registry", Kind::Registry, "The registry (default: docker.io)."),
            field("repository", Kind::Repository, "The repository in the registry."),
            field("source", Kind::Object(&SOURCE), "Where the image is built from; an image without source and local is watched only."),
            field("local", Kind::Object(&LOCAL), "What lies beside images.yaml."),
            field("platforms", Kind::List(&Kind::Platform), "The platforms (default: that of the machine that builds)."),
            field("tags", Kind::List(&Kind::Text), "Tag rules, as docker/metadata-action takes them."),
            field("flavor", Kind::List(&Kind::Text), "latest=, prefix= and suffix= of docker/metadata-action."),
            field("buildArgs", Kind::Texts, "Build arguments."),
            field("buildContexts", Kind::Texts, "Named contexts: docker-image://IMAGE, a git URL, or a directory in the source."),
            field("target", Kind::Text, "The stage that is built (default: the last)."),
            field("secrets", Kind::List(&Kind::TextOr(&SECRET)), "Secrets of the build, by name."),
            field("labels", Kind::Texts, "Labels of the image."),
            field("version", Kind::Object(&VERSION), "How versions are made."),
            field("rebuildDelay", Kind::Delay, "How long after a change of a base image the rebuild waits (default: 7d)."),
            field("autoRebuild", Kind::Bool, "Whether a changed base image asks for a rebuild (default: true)."),
            field("scan", Kind::Object(&SCAN), "The gate between build and tag."),
            field("sbom", Kind::Object(&SBOM), "The software bill of materials."),
            field("signing", Kind::Object(&SIGNING), "Signatures."),
            field("updates", Kind::List(&Kind::Object(&UPDATE)), "Manifests that get the new image."),
            field("notify", Kind::List(&Kind::Object(&NOTIFY)), "Who is told."),
            field("dependsOn", Kind::List(&Kind::Name), "Images that are built before this one, beside those that its Dockerfile names."),
            field("allowTags", Kind::Regex, "External: the tags that count."),
            field("ignoreTags", Kind::List(&Kind::Regex), "External: tags that do not."),
            field("constraint", Kind::Text, "External: the range of versions, such as ^16."),
            field("imageSelectionStrategy", Kind::OneOf(STRATEGIES), "External: how the newest tag is found (default: Lexical)."),
        ]
    };
}

const ENROLLMENT: Object = Object { name: "enrollment", fields: enrolled![] };

/// One entry of the list.
pub(super) const IMAGE: Object = Object {
    name: "image",
    fields: enrolled![
        required("name", Kind::Name, "The image's name: lower-case letters, digits, '.', '_' and '-'."),
        field("enrollment", Kind::Object(&ENROLLMENT), "The other keys may stand below this one."),
    ],
};

/// The JSON schema (2020-12) of `images.yaml`, for editors.
#[must_use]
pub fn json_schema() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "images.yaml of the Cooperage image factory",
        "type": "array",
        "items": object(&IMAGE),
    })
}

fn object(object: &Object) -> Value {
    let mut properties = Map::new();
    for field in object.fields {
        let mut value = kind(field.kind);
        value["description"] = field.doc.into();
        properties.insert(field.key.into(), value);
    }
    let required: Vec<&str> = object.fields.iter().filter(|f| f.required).map(|f| f.key).collect();
    let mut out = json!({ "type": "object", "additionalProperties": false, "properties": properties });
    if !required.is_empty() {
        out["required"] = required.into();
    }
    out
}

fn kind(of: Kind) -> Value {
    match of {
        Kind::Text => json!({ "type": ["string", "number", "boolean"] }),
        Kind::Bool => json!({ "type": "boolean" }),
        Kind::Delay => json!({ "type": "string", "pattern": "^[0-9]+[smhdw]$" }),
        Kind::Name => json!({ "type": "string", "pattern": "^[a-z0-9]([a-z0-9._-]*[a-z0-9])?$", "maxLength": 100 }),
        Kind::Registry => json!({ "type": "string", "pattern": "^[A-Za-z0-9.\\[\\]:-]+$" }),
        Kind::Repository => {
            json!({ "type": "string", "pattern": "^[a-z0-9]+([._-]+[a-z0-9]+)*(/[a-z0-9]+([._-]+[a-z0-9]+)*)*$" })
        }
        Kind::Regex => json!({ "type": "string", "format": "regex" }),
        Kind::Platform => json!({ "type": "string", "pattern": "^[a-z0-9]+/[a-z0-9]+(/[a-z0-9]+)?$" }),
        Kind::Path => json!({ "type": "string", "pattern": "^[^/]" }),
        Kind::OneOf(words) => json!({ "type": "string", "enum": words }),
        Kind::List(item) => json!({ "type": "array", "items": kind(*item) }),
        Kind::Texts => json!({ "type": "object", "additionalProperties": { "type": ["string", "number", "boolean"] } }),
        Kind::Object(of) => object(of),
        Kind::TextOr(of) => json!({ "oneOf": [{ "type": "string" }, object(of)] }),
        Kind::BoolOr(of) => json!({ "oneOf": [{ "type": "boolean" }, object(of)] }),
    }
}
