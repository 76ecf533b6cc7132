//! `to = { shop = 95, next = 5 }`: requests for several services, by their shares.

use std::sync::Arc;

use tandem_http::{Cx, Handler, Request, Step};
use tandem_model::SplitBy;

use crate::balance::{RoundRobin, hash_of, source};

/// Hands each request to one of several handlers.
pub(super) struct Split {
    services: Vec<Arc<dyn Handler>>,
    by: Option<SplitBy>,
    /// Whose turn it is, when nothing decides.
    turns: RoundRobin,
    /// For each service where its share ends, of the sum of all weights. What a client hashes to stays where it is, so
    /// when a share grows at its end only those clients move that come into it.
    ends: Vec<u64>,
}

impl Split {
    /// For handlers and their weights, of which one is not zero.
    pub(super) fn new(services: Vec<(Arc<dyn Handler>, u16)>, by: Option<SplitBy>) -> Self {
        let weights = services.iter().map(|(_, weight)| *weight);
        let numbered: Vec<(u32, u16)> = (0..).zip(weights.clone()).collect();
        let ends = weights.scan(0, |sum, weight| {
            *sum += u64::from(weight);
            Some(*sum)
        });
        Self {
            ends: ends.collect(),
            turns: RoundRobin::new(&numbered),
            services: services.into_iter().map(|(handler, _)| handler).collect(),
            by,
        }
    }

    fn pick(&self, request: &Request<'_>) -> Option<&Arc<dyn Handler>> {
        let key = match &self.by {
            None => {
                let index = self.turns.pick(|_| false)?;
                return self.services.get(index as usize);
            }
            Some(SplitBy::Source) => source(request),
            Some(SplitBy::Cookie(name)) => match request.cookie(name) {
                Some(value) if !value.is_empty() => hash_of(value),
                _ => source(request),
            },
        };
        let total = *self.ends.last()?;
        let at = ((u128::from(key) * u128::from(total)) >> 64) as u64;
        let index = self.ends.partition_point(|&end| end <= at);
        self.services.get(index)
    }
}

impl Handler for Split {
    fn step(&self, request: &Request<'_>, cx: &Cx) -> Step {
        let handler = self.pick(request).unwrap_or(&self.services[0]);
        handler.step(request, cx)
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use tandem_http::{Plan, Reply};

    use super::*;
    use crate::testing::{cx, with_request_from};

    struct Named(&'static str);

    impl Handler for Named {
        fn step(&self, _: &Request<'_>, _: &Cx) -> Step {
            Step::Plan(Plan::Bytes(Reply::text(200, &self.0.into(), "")))
        }
    }

    fn split(weights: [u16; 2], by: Option<SplitBy>) -> Split {
        let names = ["shop", "next"].map(|name| Arc::new(Named(name)) as Arc<dyn Handler>);
        Split::new(names.into_iter().zip(weights).collect(), by)
    }

    fn ask(split: &Split, client: u32, cookie: &str) -> String {
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\nCookie: id={cookie}\r\n\r\n");
        let client = IpAddr::from(client.to_be_bytes());
        with_request_from(&head, client, false, |request| {
            match split.step(request, &cx()) {
                Step::Plan(Plan::Bytes(reply)) => reply.service.to_string(),
                _ => panic!("a reply"),
            }
        })
    }

    #[test]
    fn shares_are_exact_in_turn() {
        let split = split([19, 1], None);
        let next = (0..100).filter(|i| ask(&split, *i, "") == "next").count();
        assert_eq!(next, 5);
    }

    #[test]
    fn a_client_keeps_its_service_and_a_grown_share_takes_only_from_its_neighbour() {
        for by in [SplitBy::Source, SplitBy::Cookie("id".into())] {
            let (few, more) = (split([95, 5], Some(by.clone())), split([80, 20], Some(by)));
            let mut counts = [0, 0];
            for i in 0..4_000_u32 {
                let (client, cookie) = (i.wrapping_mul(0x9E37_79B9), format!("c{i}"));
                let first = ask(&few, client, &cookie);
                assert_eq!(ask(&few, client, &cookie), first);
                let then = ask(&more, client, &cookie);
                assert!(first != "next" || then == "next", "{i} went back");
                counts[0] += usize::from(first == "next");
                counts[1] += usize::from(then == "next");
            }
            assert!((140..260).contains(&counts[0]), "5 % of 4,000: {counts:?}");
            assert!((700..900).contains(&counts[1]), "20 % of 4,000: {counts:?}");
        }
    }

    #[test]
    fn a_client_without_the_cookie_is_kept_by_its_address() {
        let split = split([1, 1], Some(SplitBy::Cookie("id".into())));
        let first = ask(&split, 7, "");
        assert!((0..50).all(|_| ask(&split, 7, "") == first));
    }

    #[test]
    fn a_share_of_nothing_gets_nothing() {
        for by in [None, Some(SplitBy::Source)] {
            let split = split([0, 3], by);
            assert!((0..100).all(|i| ask(&split, i, "") == "next"));
        }
    }
}
