//! Flags of `docker buildx build` and `docker build` that have no meaning here.
//!
//! They parse, so that the answer can say why and what to do instead. Those whose request is
//! always fulfilled (`--rm`: there are no intermediate containers) are accepted.
use clap::Args;
use clap::builder::ValueParser;

use crate::error::{CliError, Result};

fn flag() -> ValueParser {
    ValueParser::new(super::values::boolean)
}

#[derive(Debug, Clone, Default, Args)]
pub(crate) struct RefusedArgs {
    #[arg(long, hide = true)]
    builder: Option<String>,
    #[arg(long, hide = true)]
    cgroup_parent: Option<String>,
    #[arg(long, hide = true)]
    policy: Vec<String>,
    #[arg(long, hide = true)]
    security_opt: Vec<String>,
    #[arg(short = 'm', long, hide = true)]
    memory: Option<String>,
    #[arg(long, hide = true)]
    memory_swap: Option<String>,
    #[arg(short = 'c', long, hide = true)]
    cpu_shares: Option<String>,
    #[arg(long, hide = true)]
    cpu_period: Option<String>,
    #[arg(long, hide = true)]
    cpu_quota: Option<String>,
    #[arg(long, hide = true)]
    cpuset_cpus: Option<String>,
    #[arg(long, hide = true)]
    cpuset_mems: Option<String>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = flag())]
    squash: Option<bool>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = flag())]
    detach: Option<bool>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = flag())]
    rm: Option<bool>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = flag())]
    force_rm: Option<bool>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = flag())]
    compress: Option<bool>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = flag())]
    disable_content_trust: Option<bool>,
}

impl RefusedArgs {
    /// Says why a given flag cannot work.
    pub(crate) fn check(&self) -> Result<()> {
        const LIMITS: &str = "limit the container or cgroup that cooperage itself runs in; steps are its children";
        let refuse = |given: bool, flag: &str, why: &str, hint: &str| {
            if given { Err(CliError::usage(format!("--{flag} {why}")).hint(hint)) } else { Ok(()) }
        };
        refuse(
            self.builder.as_deref().is_some_and(|name| name != "default"),
            "builder",
            "chooses a BuildKit daemon, and cooperage has none",
            "leave it out; --root chooses the store",
        )?;
        refuse(self.cgroup_parent.is_some(), "cgroup-parent", "needs a daemon that owns the cgroup tree", LIMITS)?;
        refuse(
            !self.policy.is_empty(),
            "policy",
            "(source policies) is not supported",
            "pin base images by digest in FROM",
        )?;
        refuse(
            !self.security_opt.is_empty(),
            "security-opt",
            "belongs to a daemon's containers",
            "choose how RUN is confined with --isolation",
        )?;
        for (given, flag) in [
            (&self.memory, "memory"),
            (&self.memory_swap, "memory-swap"),
            (&self.cpu_shares, "cpu-shares"),
            (&self.cpu_period, "cpu-period"),
            (&self.cpu_quota, "cpu-quota"),
            (&self.cpuset_cpus, "cpuset-cpus"),
            (&self.cpuset_mems, "cpuset-mems"),
        ] {
            refuse(given.is_some(), flag, "needs a daemon that owns the cgroup tree", LIMITS)?;
        }
        refuse(
            self.squash == Some(true),
            "squash",
            "is not supported (BuildKit dropped it too)",
            "copy from a build stage into a final one: COPY --from=build / /",
        )?;
        refuse(
            self.detach == Some(true),
            "detach",
            "needs a daemon that goes on building",
            "run the command in the background",
        )?;
        refuse(
            self.rm == Some(false),
            "rm=false",
            "asks to keep intermediate containers, and there are none",
            "build the stage that you want to look at: --target STAGE -o DIRECTORY",
        )?;
        refuse(
            self.disable_content_trust == Some(false),
            "disable-content-trust=false",
            "(Docker Content Trust) is not supported",
            "pin base images by digest in FROM",
        )
    }
}
