//! What templates say of the node they are filled in on, which is known before any request.

use crate::policy::{Errors, PathChange};
use crate::{Action, Content, ErrorContent, Policies, Route, Template};

/// The routes as this node has them.
pub(crate) fn routes(routes: &[Route], node: &str) -> Vec<Route> {
    let mut routes = routes.to_vec();
    for route in &mut routes {
        fill(route, node);
    }
    routes
}

/// Where errors lead, on this node.
pub(crate) fn errors(errors: &Errors, node: &str) -> Errors {
    let mut errors = errors.clone();
    pages(&mut errors, &mut |template| template.on_node(node));
    errors
}

fn pages(errors: &mut Errors, each: &mut dyn FnMut(&mut Template)) {
    for page in errors.values_mut() {
        match &mut page.content {
            ErrorContent::Redirect { to, .. } | ErrorContent::Path { to, .. } => each(to),
            ErrorContent::File(_) => {}
        }
    }
}

fn fill(route: &mut Route, node: &str) {
    let mut on_node = |template: &mut Template| template.on_node(node);
    match &mut route.action {
        Action::Redirect { to, .. } => on_node(to),
        Action::Respond { body, headers, .. } => {
            headers.values_mut().for_each(&mut on_node);
            if let Content::Template(body) = body {
                on_node(body);
            }
        }
        Action::Routes(nested) => {
            for route in nested {
                fill(route, node);
            }
        }
        Action::To(_) | Action::Split { .. } | Action::Deny | Action::Close => {}
    }
    templates(&mut route.policies, &mut on_node);
}

fn templates(policies: &mut Policies, each: &mut dyn FnMut(&mut Template)) {
    pages(&mut policies.errors, each);
    if let Some(PathChange::Rewrite(list)) = &mut policies.path {
        for one in list {
            each(&mut one.to);
        }
    }
    let headers = &mut policies.headers;
    let by_status = headers.by_status.iter_mut().map(|one| &mut one.changes);
    let always = [
        &mut headers.request,
        &mut headers.response,
        &mut headers.success,
    ];
    for changes in always.into_iter().chain(by_status) {
        changes.set.values_mut().for_each(&mut *each);
        changes.default.values_mut().for_each(&mut *each);
        changes.add.values_mut().flatten().for_each(&mut *each);
        for one in changes.replace.values_mut().flatten().flatten() {
            each(&mut one.to);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Conditions, Overrides};

    fn route(action: Action, policies: Policies) -> Route {
        Route {
            name: None,
            when: Conditions::default(),
            action,
            missing: Vec::new(),
            policies,
            log: true,
            over: Overrides::default(),
            line: 1,
        }
    }

    #[test]
    fn the_node_is_filled_in_wherever_a_template_may_stand() {
        let template = || Template::parse("{node} {host}").unwrap();
        let mut policies = Policies::default();
        let response = &mut policies.headers.response;
        response.set.insert("A".into(), template());
        response.add.insert("B".into(), vec![template()]);
        let body = Content::Template(template());
        let headers = [("C".to_owned(), template())].into();
        let respond = Action::Respond {
            status: 200,
            body,
            headers,
        };
        let redirect = Action::Redirect {
            to: template(),
            status: 301,
        };
        let within = Action::Routes(vec![
            route(respond, policies),
            route(redirect, Policies::default()),
        ]);
        let filled = routes(&[route(within, Policies::default())], "edge");
        let shown = format!("{filled:?}");
        assert_eq!(shown.matches("Text(\"edge\")").count(), 5, "{shown}");
        assert!(!shown.contains("Variable(Node)"), "{shown}");
    }
}
