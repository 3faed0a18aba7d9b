//! `cooperage factory schema`
use crate::app::Context;
use crate::error::Result;

pub(super) fn run(context: &Context<'_>) -> Result<()> {
    context.ui.out(&format!("{:#}\n", factory::enrol::json_schema()))
}
