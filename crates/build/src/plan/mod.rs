//! From a Dockerfile to a graph of steps.
//!
//! Evaluation is pure but for one question, the config of a base image ([`Images`]): it expands
//! variables, follows ONBUILD, keeps the image config of every stage up to date and emits the
//! instructions that change files as [`Op`]s. Nothing is pulled, hashed or run here. Stages that
//! the target does not need are not evaluated.
//!
//! Source of the semantics: the Dockerfile reference and BuildKit's `dockerfile2llb`.
mod args;
pub(crate) use args::is_proxy;
mod dispatch;
pub(crate) mod env;
mod graph;
mod history;
mod op;

pub(crate) use dispatch::PlanInput;
pub(crate) use env::Env;
pub(crate) use graph::{Base, Plan, PlannedStage, globals, plan};
pub use graph::{ImageOrigin, Images, ResolvedImage};
pub(crate) use op::{CopyItem, CopyOp, Mode, MountOp, Op, OpKind, RunOp, Sharing, SourceRef};
