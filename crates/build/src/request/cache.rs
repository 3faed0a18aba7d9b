//! `--cache-from` and `--cache-to`, parsed, with what the environment had to say.
use std::path::PathBuf;
use std::time::Duration;

use oci::{Digest, Reference, media_type::Compression};

/// Where an external cache is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CacheBackend {
    /// A manifest in a registry. On import the reference may also name an image with an inline cache.
    Registry {
        /// Its name.
        reference: Reference,
        /// `registry.insecure=true`
        insecure: bool,
    },
    /// Inside the image's own config; for export only.
    Inline,
    /// An OCI layout in a directory.
    Local {
        /// The directory.
        path: PathBuf,
        /// The entry of `index.json`.
        tag: String,
        /// On import: this manifest and no other.
        digest: Option<Digest>,
    },
    /// The cache service of GitHub Actions, version 2.
    Gha(GhaCache),
    /// A bucket of an S3 server.
    S3(S3Cache),
}

/// `type=gha`
#[derive(Clone, PartialEq, Eq)]
pub struct GhaCache {
    /// `ACTIONS_RESULTS_URL`
    pub url: String,
    /// `ACTIONS_RUNTIME_TOKEN`
    pub token: String,
    /// Caches of different scopes do not see each other.
    pub scope: String,
    /// How long one import or export may take.
    pub timeout: Duration,
}

impl std::fmt::Debug for GhaCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GhaCache").field("url", &self.url).field("scope", &self.scope).finish_non_exhaustive()
    }
}

/// `type=s3`
#[derive(Clone, PartialEq, Eq)]
pub struct S3Cache {
    /// The bucket.
    pub bucket: String,
    /// The region that requests are signed for.
    pub region: String,
    /// `http(s)://HOST[:PORT]`; Amazon's where none is given.
    pub endpoint: Option<String>,
    /// Whether the bucket stands in the path, not in the host's name.
    pub path_style: bool,
    /// Before all object names.
    pub prefix: String,
    /// Before the names of blobs.
    pub blobs_prefix: String,
    /// Before the names of manifests.
    pub manifests_prefix: String,
    /// The manifest is written under each of these; the first one that exists is read.
    pub names: Vec<String>,
    /// Access key ID.
    pub access_key: String,
    /// Secret access key.
    pub secret_key: String,
    /// Token of temporary credentials.
    pub session_token: Option<String>,
    /// Uploads at once.
    pub parallelism: usize,
    /// A blob that is there already but older than this is written anew, so that rules that delete old objects spare
    /// what is in use.
    pub touch_refresh: Duration,
}

impl std::fmt::Debug for S3Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("S3Cache")
            .field("bucket", &self.bucket)
            .field("region", &self.region)
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

/// Which steps are exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CacheMode {
    /// Those whose layers are in the image.
    #[default]
    Min,
    /// Those of all stages.
    Max,
}

/// One `--cache-to`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheTarget {
    /// Where to.
    pub backend: CacheBackend,
    /// `mode=`
    pub mode: CacheMode,
    /// `ignore-error=`: a failed export is a warning.
    pub ignore_error: bool,
    /// `compression=`; that of the image where none is given, so that layers can be shared.
    pub compression: Option<Compression>,
    /// `compression-level=`
    pub level: Option<i32>,
    /// `force-compression=`: layers that came from another cache are compressed anew, too.
    pub force_compression: bool,
    /// `oci-mediatypes=`
    pub oci: bool,
    /// `mounts=true`: the contents of cache mounts, too.
    pub mounts: bool,
}
