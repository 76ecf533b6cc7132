//! How large bodies may be: what routes say differently of it than their listener.

use crate::{Action, BodyLimit, Route, Size};

/// What a listener refuses before it knows the route: what is larger than all of them take. Where that is more than the
/// listener's own limit, routes that say nothing have that one.
pub(crate) fn of_routes(routes: &mut [Route], listener: Option<Size>) -> Option<Size> {
    let own = BodyLimit::of(listener);
    let largest = largest(routes, own);
    if largest != own {
        for route in routes {
            route.policies.body.get_or_insert(own);
        }
    }
    match largest {
        BodyLimit::Unlimited => None,
        BodyLimit::Most(size) => Some(size),
    }
}

fn largest(routes: &[Route], known: BodyLimit) -> BodyLimit {
    routes.iter().fold(known, |known, route| {
        let here = route.policies.body.unwrap_or(known);
        let known = if here.most() > known.most() {
            here
        } else {
            known
        };
        match &route.action {
            Action::Routes(nested) => largest(nested, known),
            _ => known,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Conditions, Overrides, Policies};

    fn route(body: Option<BodyLimit>, action: Action) -> Route {
        let policies = Policies {
            body,
            ..Policies::default()
        };
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
    fn a_listener_takes_what_one_of_its_routes_takes_and_the_others_what_it_says() {
        let most = |size| Some(BodyLimit::Most(Size(size)));
        let unlimited = Some(BodyLimit::Unlimited);
        for (listener, nested, whole, others) in [
            // Less needs nothing of the others.
            (Some(Size(10)), most(5), Some(Size(10)), None),
            (None, most(5), None, None),
            (Some(Size(10)), None, Some(Size(10)), None),
            (Some(Size(10)), most(20), Some(Size(20)), most(10)),
            (Some(Size(10)), unlimited, None, most(10)),
        ] {
            let group = Action::Routes(vec![route(nested, Action::Deny)]);
            let mut routes = [route(None, group), route(None, Action::Close)];
            assert_eq!(of_routes(&mut routes, listener), whole);
            assert_eq!(routes[1].policies.body, others, "{nested:?}");
        }
    }
}
