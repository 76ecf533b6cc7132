//! What the node would do by the file as it is now: found out before anything is stopped for it.

use tandem_model::NodePlan;

use super::{Settings, exit_codes};
use crate::commands::{load, run};
use crate::exit::Result;

/// The node's plan, or every mistake of the file.
pub fn checked(settings: &Settings) -> Result<NodePlan> {
    let plan = || {
        let loaded = load(&settings.file, &|name| settings.variable(name))?;
        let node = match &settings.node {
            Some(node) => node.clone(),
            None => run::this_machine(&loaded.cluster)?,
        };
        run::plan(loaded, &node)
    };
    plan().map_err(exit_codes::not_configured)
}
