//! The Argo CD Application that keeps what is written here in a cluster.
use super::{Error, check_name, header, labels};
use crate::yaml::emit;
use serde_json::{Value, json};

/// An Application over a directory of a git repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Application {
    /// Its name.
    pub name: String,
    /// Argo CD's own namespace, `argocd`.
    pub namespace: String,
    /// Argo CD's project, `default`.
    pub project: String,
    /// The git repository.
    pub repo_url: String,
    /// The branch, tag or commit.
    pub revision: String,
    /// The directory.
    pub path: String,
    /// The namespace that the resources go to.
    pub destination: String,
    /// Syncs by itself, and takes away what is no longer in the repository.
    pub automated: bool,
}

/// The Application as YAML.
///
/// # Errors
/// [`Error::Name`].
pub fn synth(application: &Application) -> Result<String, Error> {
    Ok(emit::stream(&header("factory synth argocd"), &[resource(application)?]))
}

/// The Application as a value.
///
/// # Errors
/// [`Error::Name`].
pub fn resource(application: &Application) -> Result<Value, Error> {
    let Application { name, namespace, project, repo_url, revision, path, destination, automated } = application;
    check_name(name, "Application", 253)?;
    check_name(namespace, "Namespace", 63)?;
    check_name(destination, "Namespace", 63)?;
    let mut policy = json!({ "syncOptions": ["CreateNamespace=true", "ServerSideApply=true"] });
    if *automated {
        policy["automated"] = json!({ "prune": true, "selfHeal": true });
    }
    Ok(json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Application",
        "metadata": { "name": name, "namespace": namespace, "labels": labels(name) },
        "spec": {
            "project": project,
            "source": { "repoURL": repo_url, "targetRevision": revision, "path": path },
            "destination": { "server": "https://kubernetes.default.svc", "namespace": destination },
            "syncPolicy": policy,
        },
    }))
}
