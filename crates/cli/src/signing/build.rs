//! `cooperage build --sign` and `--verify-bases`. Keys and policies are read before anything is built: a wrong
//! password must not cost a build.
use std::collections::{BTreeMap, BTreeSet};

use attest::statement::{Statement, Subject};
use build::BuildResult;
use build::request::{BaseCheck, OutputKind};
use oci::{Descriptor, Reference};

use super::{Signer, Storage, bare};
use crate::app::Context;
use crate::args::build::BuildArgs;
use crate::args::request::{Call, Plan};
use crate::commands::sign::With;
use crate::config::Settings;
use crate::error::{CliError, Result};

/// What `--sign` needs, ready.
pub(crate) struct BuildSigning {
    with: With,
    client: registry::Client,
    names: Vec<Reference>,
}

impl BuildSigning {
    /// Reads the key; nothing where nothing is to be signed.
    pub(crate) fn prepare(
        args: &BuildArgs,
        plan: &Plan,
        settings: &Settings,
        context: &Context<'_>,
    ) -> Result<Option<Self>> {
        let Some(given) = args.sign.as_deref().filter(|_| plan.call == Call::Build) else { return Ok(None) };
        let mut names = Vec::new();
        let mut options = crate::commands::client_options(settings, context.env);
        let mut insecure = Vec::new();
        for output in plan.request.outputs.iter().filter(|o| o.push || o.kind == OutputKind::Registry) {
            let own = if output.names.is_empty() { &plan.request.tags } else { &output.names };
            names.extend(own.iter().cloned());
            if output.insecure {
                insecure.extend(own.iter().map(|name| name.registry().to_owned()));
            }
        }
        if names.is_empty() {
            return Err(CliError::usage("--sign signs what is pushed, and nothing is pushed")
                .hint("add --push; or sign an image of a registry later: cooperage sign IMAGE"));
        }
        let named = crate::commands::sign::key_of(Some(given).filter(|key| !key.is_empty()), settings)?;
        options.insecure.extend(insecure.iter().cloned());
        let with = match With::named(&named, settings, context)? {
            With::Identity(cosign) => With::Identity(cosign.with_insecure(insecure)),
            key @ With::Key(_) => key,
        };
        let client = registry::Client::new(options)
            .map_err(|e| CliError::usage("registries cannot be reached with these settings").caused_by(&e))?;
        Ok(Some(Self { with, client, names }))
    }

    /// Signs what the names point to, each image of an index, and what is attested about it.
    pub(crate) fn sign(&self, result: &BuildResult, context: &Context<'_>) -> Result<()> {
        let storage = Storage { tags: true, bundles: true };
        let none = BTreeMap::new();
        let image = |name: &Reference, image: &Descriptor| match &self.with {
            With::Key(key) => {
                Signer { client: &self.client, key, storage }.image(name, image, &none).map_err(CliError::from)
            }
            With::Identity(cosign) => cosign.sign(name, &image.digest, &none),
        };
        let said = |name: &Reference, image: &Descriptor, statement: &Statement| match &self.with {
            With::Key(key) => {
                Signer { client: &self.client, key, storage }.statement(name, image, statement).map_err(CliError::from)
            }
            With::Identity(cosign) => cosign.attest(name, &image.digest, statement),
        };
        let mut repositories = BTreeSet::new();
        for name in self.names.iter().filter(|name| repositories.insert(name.name())) {
            image(name, &result.descriptor)?;
            for built in &result.images {
                if built.descriptor.digest != result.descriptor.digest {
                    image(name, &built.descriptor)?;
                }
                for statement in &built.statements {
                    said(name, &built.descriptor, statement)?;
                    if built.descriptor.digest != result.descriptor.digest {
                        // Who verifies by the name finds it, too: the statement is about the index as well.
                        let mut whole = statement.clone();
                        whole.subject.push(Subject::new(name.name(), &result.descriptor.digest));
                        said(name, &result.descriptor, &whole)?;
                    }
                }
            }
            context.ui.note(&format!("Signed {}", bare(name, &result.descriptor.digest).familiar()));
        }
        Ok(())
    }
}

/// The check of `--verify-bases`, where it is asked for.
pub(crate) fn base_check(args: &BuildArgs, settings: &Settings, context: &Context<'_>) -> Result<Option<BaseCheck>> {
    if !args.verify_bases.unwrap_or(settings.verify_bases.value) {
        return match &args.signature_policy {
            Some(_) => {
                Err(CliError::usage("--signature-policy says nothing without --verify-bases")
                    .hint("add --verify-bases"))
            }
            None => Ok(None),
        };
    }
    let given = args.signature_policy.as_ref().map(|path| context.env.path(path));
    let path = given.or_else(|| settings.signing_policy.value.clone()).ok_or_else(|| {
        CliError::usage("--verify-bases needs a policy: which images need which signatures")
            .hint("name it: --signature-policy FILE, or signing.policy in cooperage.toml")
            .hint("docs/signing.md describes the file")
    })?;
    let client = crate::commands::client(settings, context.env)?;
    super::policy::check(&path, client, settings, context.env).map(Some)
}
