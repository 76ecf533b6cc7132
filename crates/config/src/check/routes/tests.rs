use proptest::prelude::*;
use tandem_model::{Conditions, Pattern};

use super::covers::covers;
use super::index::Index;

fn on_path(pattern: &str) -> Conditions {
    Conditions {
        path: vec![Pattern::parse(pattern).expect("a pattern")],
        ..Conditions::default()
    }
}

/// How many routes are compared with how many others, for `count` routes of which `pattern` makes the path.
fn compared(count: usize, pattern: impl Fn(usize) -> String) -> usize {
    let mut index = Index::default();
    let mut compared = 0;
    for n in 0..count {
        let when = on_path(&pattern(n));
        compared += index.candidates(&[&when]).len();
        index.add(n, &[&when]);
    }
    compared
}

#[test]
fn ten_thousand_routes_are_not_compared_with_one_another() {
    for pattern in ["/app/{}", "/app/{}/*", "*.{}", "/{}/*.js", "~^/{}/"] {
        let compared = compared(10_000, |n| pattern.replace("{}", &n.to_string()));
        assert!(compared <= 10_000, "{pattern}: {compared}");
    }
    // Under one host each, with a path that all share.
    let mut index = Index::default();
    let path = on_path("/*");
    for n in 0..10_000 {
        let host = Conditions {
            host: vec![Pattern::Exact(format!("h{n}.example"))],
            ..Conditions::default()
        };
        assert_eq!(index.candidates(&[&host, &path]).len(), 0);
        index.add(n, &[&host, &path]);
    }
}

fn patterns(alphabet: &'static str) -> impl Strategy<Value = Vec<Pattern>> {
    let one = proptest::string::string_regex(alphabet).expect("an expression");
    let one = one.prop_filter_map("a pattern", |text| Pattern::parse(&text).ok());
    proptest::collection::vec(one, 0..3)
}

fn conditions() -> impl Strategy<Value = Conditions> {
    let parts = (
        patterns("[aA]{0,2}\\*?b?"),
        patterns("~?/[aA]{0,2}\\*?b?"),
        any::<bool>(),
    );
    parts.prop_map(|(host, path, ignore_case)| Conditions {
        host,
        path,
        ignore_case,
        ..Conditions::default()
    })
}

proptest! {
    #[test]
    fn no_route_that_takes_all_of_another_is_missed(
        routes in proptest::collection::vec(proptest::collection::vec(conditions(), 1..3), 1..12),
    ) {
        let routes: Vec<Vec<&Conditions>> = routes.iter().map(|levels| levels.iter().collect()).collect();
        let mut index = Index::default();
        for (n, later) in routes.iter().enumerate() {
            let found = index.candidates(later);
            for (m, earlier) in routes[..n].iter().enumerate() {
                prop_assert!(!covers(earlier, later) || found.contains(&m), "{earlier:?} {later:?}");
            }
            index.add(n, later);
        }
    }
}

#[test]
fn what_no_expression_finds_is_told_of() {
    let errors = |route: &str| {
        let text = format!("[listener.web]\nbind = \":80\"\nroute = [{{ {route} }}]\n");
        match crate::parse(&text, "test", std::path::Path::new("/base"), &|_| None) {
            Ok(_) => String::new(),
            Err(errors) => errors.to_string(),
        }
    };
    let respond = r#"respond = { status = 200, template = "{1}" }"#;
    for route in [
        format!(r#"path = "~^/(a)", {respond}"#),
        format!(r#"path = "~^/(a)", route = [{{ method = "GET", {respond} }}]"#),
        format!(r#"path = "/a", route = [{{ path = "~(.)", {respond} }}]"#),
    ] {
        assert_eq!(errors(&route), "", "{route}");
    }
    for (route, words) in [
        (respond.to_owned(), "there is no expression"),
        (
            format!(r#"path = ["~^/(a)", "/b"], {respond}"#),
            "or one of several",
        ),
        (format!(r#"path = "~^/a", {respond}"#), "has 0 parentheses"),
        (
            format!(r#"path = "~^/(a)", route = [{{ path = "/*", {respond} }}]"#),
            "there is no expression",
        ),
        (
            format!(r#"strip = "/a", route = [{{ path = "~^/(a)", {respond} }}]"#),
            "the path is changed before",
        ),
        (
            r#"path = "~^/(a)", respond = { status = 200, template = "{user}" }"#.to_owned(),
            "knows no {user}",
        ),
        (
            r#"respond = { status = 200, template = "x", body = "y" }"#.to_owned(),
            "an answer has one content",
        ),
    ] {
        let told = errors(&route);
        assert!(told.contains(words), "{route}: {told}");
    }
}
