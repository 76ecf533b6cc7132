//! The application's page.

use std::fmt::Write as _;

use crate::app::View;

/// The page for one visit.
pub(crate) fn html(view: &View) -> String {
    let mut rows = String::new();
    for (name, value) in &view.attributes {
        let _ = write!(
            rows,
            "<dt>{}</dt><dd>{}</dd>",
            escaped(name),
            escaped(&value.to_string())
        );
    }
    if rows.is_empty() {
        rows = "<dt class=\"none\">no attributes yet</dt><dd></dd>".into();
    }
    TEMPLATE
        .replace("{served_by}", &escaped(&view.served_by))
        .replace("{hue}", &hue(&view.served_by).to_string())
        .replace("{session_id}", &escaped(&view.session_id))
        .replace("{created}", &escaped(&view.created))
        .replace("{visits}", &view.visits.to_string())
        .replace("{rows}", &rows)
}

const TEMPLATE: &str = include_str!("page.html");

/// A colour for a name, so that a reload from another server is seen at a glance.
fn hue(name: &str) -> u32 {
    name.bytes().fold(0u32, |hue, b| {
        hue.wrapping_mul(31)
            .wrapping_add(u32::from(b))
            .wrapping_mul(137)
    }) % 360
}

fn escaped(text: &str) -> String {
    // Braces too: what a user stored is not a placeholder.
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('{', "&#123;")
        .replace('}', "&#125;")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn what_a_user_stored_is_shown_as_text() {
        let view = View {
            served_by: "app1".into(),
            session_id: "s".into(),
            created: "now".into(),
            visits: 3,
            attributes: BTreeMap::from([("<b>".into(), "{visits}\"<script>".into())]),
        };
        let page = html(&view);
        assert!(page.contains("<dt>&lt;b&gt;</dt>"));
        assert!(page.contains("&#123;visits&#125;"));
        assert!(!page.contains("\"<script>"));
    }
}
