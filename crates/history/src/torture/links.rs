//! Cuts of links: of one node from all, of two from one another, of a minority from the rest; both ways or one.

use super::Random;
use super::network::Network;
use super::stage::Row;

/// A link in one direction, by the names of its nodes: from, to.
pub type Link = (String, String);

/// Links that are cut, and mended when this is dropped.
#[must_use]
pub struct Links<'a> {
    network: &'a Network,
    cut: Vec<Link>,
}

impl<'a> Links<'a> {
    pub(super) fn cut(network: &'a Network, wanted: Vec<Link>) -> Result<Self, String> {
        let mut links = Self {
            network,
            cut: Vec::new(),
        };
        for (from, to) in wanted {
            network.cut(&from, &to)?;
            links.cut.push((from, to));
        }
        Ok(links)
    }

    /// Mends them.
    ///
    /// # Errors
    ///
    /// The namespaces are not as they were.
    pub fn mend(mut self) -> Result<(), String> {
        let cut = std::mem::take(&mut self.cut);
        let mut all = cut.iter();
        all.try_for_each(|(from, to)| self.network.mend(from, to))
    }
}

impl Drop for Links<'_> {
    fn drop(&mut self) {
        for (from, to) in &self.cut {
            let _ = self.network.mend(from, to);
        }
    }
}

/// All links of a node, both ways.
pub fn isolation(node: &str, names: &[String]) -> Vec<Link> {
    let others = names.iter().filter(|name| *name != node);
    let links = others.flat_map(|other| {
        let (node, other) = (node.to_owned(), other.clone());
        [(node.clone(), other.clone()), (other, node)]
    });
    links.collect()
}

/// Chooses what is cut, and says it.
pub fn cut(rows: &[Row], random: &mut Random) -> (Vec<Link>, String) {
    let one = |rows: &[&Row], random: &mut Random| random.below(rows.len() as u64) as usize;
    let (agents, voters): (Vec<&Row>, Vec<&Row>) = rows.iter().partition(|row| row.is_agent);
    let leader = rows.iter().find(|row| row.leads);
    let voter = match leader.filter(|_| random.below(2) == 0) {
        Some(leader) => leader,
        None => voters[one(&voters, random)],
    };
    let others = |of: &Row| {
        let others = rows.iter().filter(|row| row.name != of.name);
        others.collect::<Vec<_>>()
    };
    match random.below(6) {
        0 => {
            let links = both(&[voter], &others(voter));
            (links, format!("{} was cut off", voter.called()))
        }
        1 => {
            let links = towards(&others(voter), &[voter]);
            (links, format!("{} heard nobody", voter.called()))
        }
        2 => {
            let links = towards(&[voter], &others(voter));
            (links, format!("nobody heard {}", voter.called()))
        }
        3 => {
            let rest = others(voter);
            let other = rest[one(&rest, random)];
            let names = format!("{} and {}", voter.called(), other.called());
            let what = format!("{names} were cut off from one another");
            (both(&[voter], &[other]), what)
        }
        4 => {
            let rest = others(voter);
            let other = rest[one(&rest, random)];
            let (from, to) = match random.below(2) {
                0 => (voter, other),
                _ => (other, voter),
            };
            let what = format!("{} did not hear {}", to.called(), from.called());
            (towards(&[from], &[to]), what)
        }
        // A minority with an agent of its own, which must not serve what is old.
        _ => {
            let agent = agents[one(&agents, random)];
            let few = [voter, agent];
            let rest = rows.iter().filter(|row| {
                let mut few = few.iter();
                few.all(|one| one.name != row.name)
            });
            let what = format!("{} and {} were cut off", voter.called(), agent.called());
            (both(&few, &rest.collect::<Vec<_>>()), what)
        }
    }
}

fn towards(from: &[&Row], to: &[&Row]) -> Vec<Link> {
    let links = from.iter().flat_map(|from| {
        to.iter()
            .map(move |to| (from.name.clone(), to.name.clone()))
    });
    links.collect()
}

fn both(some: &[&Row], others: &[&Row]) -> Vec<Link> {
    [towards(some, others), towards(others, some)].concat()
}
