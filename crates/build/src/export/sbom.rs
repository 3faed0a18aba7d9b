//! `--sbom`: what is in each image of a build, as an in-toto statement whose predicate is an SPDX document.
//!
//! The layers are read as they lie in the store, once for each platform, whatever is written how often.
use crate::error::{BuildError, Kind, Result};
use crate::event::{Events, Outcome};
use crate::exec::StageResult;
use crate::image::BuiltImage;
use crate::inspect::{InventoryOptions, Layered, instructions, inventory_of};
use crate::plan::Plan;
use crate::provenance::image_subjects;
use crate::request::SbomRequest;
use crate::snapshot::{ChainLayer, Layers};
use crate::vertices::Vertices;
use attest::inventory::{ImageFacts, Inventory};
use attest::sbom::{Files, Format, Options};
use attest::statement::{SPDX, Statement, Subject};
use oci::{ImageConfig, Platform, Reference};
use std::cell::OnceCell;
use std::sync::Arc;

/// What the images of a build hold; found out when it is asked for.
pub(crate) struct Sboms<'a> {
    pub(crate) request: Option<&'a SbomRequest>,
    pub(crate) layers: &'a Arc<Layers>,
    pub(crate) results: &'a [(Platform, Plan, Arc<StageResult>)],
    pub(crate) events: &'a Events,
    pub(crate) vertices: &'a Vertices,
    pub(crate) epoch: Option<i64>,
    pub(crate) made: Vec<OnceCell<Inventory>>,
}

impl Sboms<'_> {
    /// The statement about the image for the platform with this number.
    pub(crate) fn about_image(
        &self,
        number: usize,
        image: &BuiltImage,
        names: &[Reference],
    ) -> Result<Option<Statement>> {
        let Some(request) = self.request else { return Ok(None) };
        let mut inventory = self.inventory(number)?.clone();
        let name = names.first().map_or_else(|| "image".to_owned(), |name| name.clone().or_latest().familiar());
        inventory.image = ImageFacts {
            name,
            digest: Some(image.descriptor.digest.clone()),
            config: Some(image.config_descriptor.digest.clone()),
            platform: Some(image.platform.clone()),
        };
        let config: ImageConfig = serde_json::from_slice(&image.config)
            .map_err(|e| BuildError::new(Kind::Io, format!("the image's config: {e}")))?;
        let instructions = instructions(&config, inventory.layers.len());
        for ((facts, layer), instruction) in inventory.layers.iter_mut().zip(&image.layers).zip(instructions) {
            facts.digest = Some(layer.descriptor.digest.clone());
            facts.instruction = instruction;
        }
        self.statement(request, &inventory, image_subjects(image, names)).map(Some)
    }

    /// The statement about the files of the result for the platform with this number.
    pub(crate) fn about_files(&self, number: usize, subjects: Vec<Subject>) -> Result<Option<Statement>> {
        let Some(request) = self.request else { return Ok(None) };
        self.statement(request, self.inventory(number)?, subjects).map(Some)
    }

    fn statement(&self, request: &SbomRequest, inventory: &Inventory, subjects: Vec<Subject>) -> Result<Statement> {
        let options = Options {
            files: request.files,
            created: crate::time::rfc3339(self.epoch.unwrap_or_else(crate::time::now)),
            tool: ("cooperage".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
            pretty: false,
        };
        let failed = |e: &dyn std::fmt::Display| BuildError::new(Kind::Io, format!("cannot write the SBOM: {e}"));
        let mut bytes = Vec::new();
        attest::sbom::write(inventory, Format::Spdx, &options, &mut bytes).map_err(|e| failed(&e))?;
        let predicate = serde_json::from_slice(&bytes).map_err(|e| failed(&e))?;
        Ok(Statement::new(subjects, SPDX, predicate))
    }

    fn inventory(&self, number: usize) -> Result<&Inventory> {
        if let Some(made) = self.made[number].get() {
            return Ok(made);
        }
        let (platform, _, result) = &self.results[number];
        let title = match self.results.len() {
            1 => "[internal] reading the packages of the image".to_owned(),
            _ => format!("[{platform}] reading the packages of the image"),
        };
        let line = self.vertices.start(self.events, &title, None, &[]);
        let made = self.read(platform, &result.chain);
        let outcome = made.as_ref().map_or_else(|e| Outcome::Failed(e.message().to_owned()), |_| Outcome::Done);
        self.vertices.end(self.events, line, outcome);
        let made = made?;
        for warning in &made.warnings {
            let message = format!("SBOM: {warning}");
            self.events.send(crate::event::Event::Warning { id: Some(line), message });
        }
        Ok(self.made[number].get_or_init(|| made))
    }

    fn read(&self, platform: &Platform, chain: &[ChainLayer]) -> Result<Inventory> {
        let files = self.request.map_or(Files::None, |request| request.files);
        let scratch = self.layers.store.scratch_dir("sbom")?;
        let options = InventoryOptions { digests: files != Files::None, scratch: scratch.clone() };
        let facts =
            ImageFacts { name: "image".to_owned(), digest: None, config: None, platform: Some(platform.clone()) };
        let read = |number: usize, take: &mut dyn FnMut(Box<dyn std::io::Read + Send>) -> Result<()>| {
            self.layers.read_tar(&chain[number], take)
        };
        let layered = Layered { layers: vec![None; chain.len()], read: &read };
        let made = inventory_of(&layered, facts, &options);
        crate::store::remove_tree(&scratch);
        made
    }
}
