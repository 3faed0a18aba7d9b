//! `--progress quiet`: nothing; the command prints the image ID at the end.
use std::time::SystemTime;

use build::event::Event;

use super::{Renderer, State};

pub(super) struct Quiet;

impl Renderer for Quiet {
    fn event(&mut self, _: SystemTime, _: &Event, _: &State) -> std::io::Result<()> {
        Ok(())
    }
    fn finish(&mut self, _: SystemTime, _: &State) -> std::io::Result<()> {
        Ok(())
    }
}
