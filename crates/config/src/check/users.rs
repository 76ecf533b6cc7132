//! Whose programs are: only root becomes another user.

use tandem_model::Cluster;

use crate::keys::file::Draft;
use crate::reader::Reader;

/// A node that becomes a user starts no program as another one.
pub(super) fn check(draft: &Draft, cluster: &Cluster, reader: &mut Reader<'_>) {
    let Some(own) = &cluster.user else { return };
    for app in &draft.apps {
        let Some(user) = app.section.draft.user().filter(|user| *user != own) else {
            continue;
        };
        reader.wrong_hint(
            &app.section.place("user"),
            format!(
                "a node that becomes \"{own}\" ([cluster] user) cannot start a program as \"{user}\""
            ),
            Some("leave one of the two out: without [cluster] user the node stays root".into()),
        );
    }
}
