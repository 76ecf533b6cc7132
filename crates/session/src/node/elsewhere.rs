//! Before blank replicas form a cluster: is what is stored elsewhere?
//!
//! A file may name other session nodes than those that hold the sessions, before these have heard of it; or names that
//! nodes did not have before. Whoever formed a cluster then would have applications begin with nothing, beside what was
//! acknowledged. So all nodes of the file are asked, and those count that answer: who does not run holds up nobody for long. An
//! agent remembers the tier that served it last, also when none of that runs: its voters must say that they hold nothing, or an
//! operator that they are given up.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;

use crate::home::{anew, is_used};
use crate::peers::{Peers, Voter};
use crate::rt::Instant;
use crate::served::{Served, Tier};
use crate::types::Member;
use crate::wire::Holder;

/// How long a node may take to say what it knows.
const ASK: Duration = Duration::from_millis(500);
/// For so long after the start those that do not run are waited for: they may be starting, too.
const STARTING: Duration = if cfg!(test) {
    Duration::ZERO
} else {
    Duration::from_secs(5)
};

/// The other nodes of the file, whatever they do. Cheap to clone; all clones are one.
#[derive(Clone, Debug, Default)]
pub struct Others(Arc<Mutex<Arc<[Voter]>>>);

impl Others {
    /// These are they from now on.
    pub fn set(&self, nodes: Vec<Voter>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = nodes.into();
    }

    fn get(&self) -> Arc<[Voter]> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// Whether this is the directory of a node with sessions. A replica that was never part of a cluster, under a name that was a
/// mistake say, has none.
pub fn has_sessions(directory: &Path) -> bool {
    crate::home::is_kept(&directory.join("sessions"))
}

/// What there is to tell where nobody is waited for.
#[derive(Debug)]
pub struct Heard {
    /// Those that did not answer: what they remember is not known.
    pub unheard: Vec<String>,
    /// Nobody who answered remembers a tier.
    pub is_first: bool,
}

/// What a blank replica looks at.
pub struct Elsewhere {
    pub others: Others,
    /// Directories beside this replica's own that had the state of nodes that the file did not name when this one was started.
    pub beside: Vec<String>,
    /// What the agent here remembers.
    pub served: Served,
    /// This replica's state directory.
    pub directory: PathBuf,
    /// When this replica was started.
    pub since: Instant,
}

impl Elsewhere {
    /// What this replica says when it is asked, while it is blank.
    pub fn holder(&self) -> Option<Holder> {
        let others = self.others.get();
        let is_named = |path: &Path| {
            let name = path.file_name().and_then(|name| name.to_str());
            others.iter().any(|node| Some(&*node.name) == name)
        };
        // What is removed, or gets its name in the file, holds up nobody any more.
        let stands = |path: &&String| {
            let path = Path::new(path.as_str());
            has_sessions(path) && !is_named(path)
        };
        let beside = self.beside.iter().find(stands).cloned().map(|path| {
            if is_used(&Path::new(&path).join("sessions")) {
                Holder::Shared(path)
            } else {
                Holder::Beside(path)
            }
        });
        beside.or_else(|| self.served.holder())
    }

    /// Whether an operator gave up what is stored elsewhere.
    pub fn is_given_up(&self) -> bool {
        anew::is_ordered(&self.directory)
    }

    /// How that is ordered.
    pub fn how_to_give_up(&self, node: &str) -> String {
        let order = self.directory.join(anew::ORDER);
        format!(
            "where what is stored there is given up, make an empty file {} on {node}, and a new tier is formed",
            order.display()
        )
    }

    /// A node answers that it holds what is stored. An order to begin anew that stayed would be carried out as soon as that node is
    /// started anew; so it is gone.
    pub fn not_anew(&self, name: &str) -> String {
        // Where it cannot be removed it is looked at again.
        let _ = anew::is_over(&self.directory);
        held_all_the_same(name)
    }

    /// Nothing is stored that anybody knows of, or it is given up and nobody answers that he holds it; else in words what is
    /// waited for. All voters have answered that they hold nothing.
    pub async fn look(&self, own: &str, peers: &Peers) -> Result<Heard, String> {
        let voters = peers.voters();
        let others = self.others.get();
        let beyond = others
            .iter()
            .filter(|node| voters.iter().all(|voter| voter.name != node.name));
        let nodes = || voters.iter().chain(beyond.clone());
        let asked = nodes().filter(|node| node.name != own);
        let asked = asked.map(|node| async move { (node, peers.holder(node, ASK).await) });
        let (mut known, mut silent, mut unheard) = (Vec::new(), Vec::new(), Vec::new());
        // Who is there now, and holds nothing.
        let mut blank: Vec<&Voter> = voters.iter().collect();
        for (node, answer) in join_all(asked).await {
            let by = &node.name;
            match answer {
                Ok(held) => {
                    if matches!(held, None | Some(Holder::Remembers(_) | Holder::Forgot(_))) {
                        blank.push(node);
                    }
                    known.push((by, held));
                }
                Err(error) => {
                    silent.push(format!("{by} ({error})"));
                    unheard.push(by.clone());
                }
            }
        }
        let name = own.to_owned();
        known.push((&name, self.holder()));
        // Who runs comes before what lies about, and that before what is remembered.
        known.sort_by_key(|(_, held)| match held {
            Some(Holder::Here | Holder::By(_)) | None => 0,
            Some(Holder::Beside(_) | Holder::Shared(_)) => 1,
            Some(Holder::Remembers(_) | Holder::Forgot(_)) => 2,
        });
        let is_given_up = self.is_given_up();
        let (mut tiers, mut forgot) = (BTreeMap::new(), None);
        for (by, held) in &known {
            match held {
                None => {}
                Some(Holder::Remembers(tier)) => newest(&mut tiers, by, tier),
                Some(held @ Holder::Forgot(_)) => forgot = forgot.or(Some((by, held))),
                Some(Holder::Beside(_) | Holder::Shared(_)) if is_given_up => {}
                Some(Holder::Here) if is_given_up => return Err(self.not_anew(by)),
                Some(held) => return Err(said(by, held, &voters)),
            }
        }
        let is_first = tiers.is_empty() && forgot.is_none();
        for (by, tier) in tiers.into_values() {
            let gone = tier.voters.iter().filter(|voter| !is_among(voter, &blank));
            let asked = gone.map(|voter| async move { (voter, peers.status_of(voter, ASK).await) });
            let mut waits = Vec::new();
            for (voter, answer) in join_all(asked).await {
                match answer {
                    Ok(status) if !status.initialized => {}
                    Ok(_) if is_given_up => return Err(self.not_anew(&voter.name)),
                    Ok(_) => waits.push(format!("{} (it holds what is stored)", voter.name)),
                    Err(_) if is_given_up => {}
                    Err(why) => {
                        let (name, at) = (&voter.name, &voter.address);
                        let is_here = |node: &&Voter| node.name == *name;
                        waits.push(match nodes().find(is_here) {
                            Some(now) if now.address.to_string() != *at => {
                                format!("{name} as it was at {at} ({why})")
                            }
                            _ => format!("{name} ({why})"),
                        });
                    }
                }
            }
            if !waits.is_empty() {
                let (cluster, names, waits) = (tier.cluster, tier.names(), waits.join(", "));
                let give_up = self.how_to_give_up(own);
                return Err(format!(
                    "blank here: waits for {waits}: the agent of {by} was served last by the tier {cluster:016x} of {names}, \
                     and others may not form one beside it. Start them; {give_up}"
                ));
            }
        }
        if is_given_up {
            return Ok(Heard { unheard, is_first });
        }
        if let Some((by, held)) = forgot {
            let (said, give_up) = (said(by, held, &voters), self.how_to_give_up(own));
            return Err(format!("{said}; {give_up}"));
        }
        if !silent.is_empty() && self.since.elapsed() < STARTING {
            let silent = silent.join(", ");
            let seconds = STARTING.as_secs();
            return Err(format!(
                "blank here: waits for {silent}, for {seconds} s at most: what is stored may be known there"
            ));
        }
        Ok(Heard { unheard, is_first })
    }
}

/// Why an order to begin anew is not carried out, and is gone, beside a node that runs.
fn held_all_the_same(name: &str) -> String {
    format!(
        "blank here: begin-anew was not carried out, and is removed: {name} answers that it holds what is stored. Where that is \
         given up, stop {name}, remove `sessions` in its state directory, and order it again"
    )
}

/// Of what is said of one tier, what was decided last.
fn newest<'a>(tiers: &mut BTreeMap<u64, (&'a String, &'a Tier)>, by: &'a String, tier: &'a Tier) {
    let known = tiers.entry(tier.cluster).or_insert((by, tier));
    if tier.decided > known.1.decided {
        *known = (by, tier);
    }
}

/// Whether a voter is one of these nodes, and was where it is now: one of another name has another disk, and one elsewhere may.
fn is_among(voter: &Member, nodes: &[&Voter]) -> bool {
    let address = voter.address.parse::<SocketAddr>();
    let is = |node: &&Voter, ip: IpAddr| node.name == voter.name && node.address.ip() == ip;
    address.is_ok_and(|address| nodes.iter().any(|node| is(node, address.ip())))
}

/// What it means that node `by` says so.
fn said(by: &str, held: &Holder, voters: &[Voter]) -> String {
    let is_named = |name: &str| voters.iter().any(|voter| voter.name == name);
    let what = match held {
        Holder::Here => format!(
            "{by}, which holds what is stored, and does not know yet that the file names others: `tandem reload` \
             there, or stop it where that is given up. Where that was done, too few of those that vote with it run: start these"
        ),
        // All of the tier was given up, and this agent forgets it in some seconds; or it follows one at other addresses.
        Holder::By(leader) if is_named(leader) => format!(
            "{leader} as the agent of {by} reaches it, or did until a moment ago: at another address than the file has now, \
             where this lasts"
        ),
        Holder::By(leader) => format!(
            "{leader}, which holds what is stored (the agent of {by} reaches it), and does not know yet that the file names \
             others: let [nodes] name it until they have what it holds, and `tandem reload` there"
        ),
        Holder::Beside(path) => format!(
            "what becomes of {path} on {by}: it holds sessions of a node that the file does not name. If {by} was called so \
             before, stop it, remove its blank directory, move that one in its place, and make an empty file sessions/{} in \
             it; if it is a node of another cluster, give the clusters each a `state` of its own in [cluster]; if what is \
             stored there is given up, remove it",
            crate::home::ORDER
        ),
        Holder::Shared(path) => format!(
            "what becomes of {path} on {by}: a node that runs there and that the file does not name has its sessions in it. If \
             that is a node of another cluster, give this one another `state` in [cluster], and restart its nodes; if it is \
             one of this cluster by its file of before, let [nodes] name it until others have what it holds"
        ),
        Holder::Remembers(tier) => format!("the tier of {}", tier.names()),
        Holder::Forgot(path) => format!(
            "the tier that served the agent of {by} last, of which it only knows that there was one, as {path} there is damaged. Start \
             the session nodes that may hold what is stored, by a file that names them"
        ),
    };
    format!("blank here: waits for {what}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_file_names_is_waited_for_by_other_words() {
        let voters = [Voter {
            name: "n1".into(),
            address: ([127, 0, 0, 1], 7411).into(),
        }];
        let said = |held| said("edge", &held, &voters);
        // Another of that name, at another address: nobody may begin with nothing beside it.
        assert!(
            said(Holder::By("n1".into())).contains("waits for n1 as the agent of edge reaches it")
        );
        assert!(said(Holder::By("cache1".into())).contains("cache1, which holds"));
        assert!(said(Holder::Here).contains("`tandem reload` there"));
        let beside = said(Holder::Beside("/var/lib/tandem/cache1".into()));
        assert!(beside.contains("/var/lib/tandem/cache1 on edge"));
    }

    #[test]
    fn of_one_tier_the_word_of_an_agent_that_was_away_for_long_does_not_count() {
        let tier = |cluster, decided, name: &str| Tier {
            cluster,
            decided,
            voters: vec![Member {
                name: name.into(),
                address: "10.0.0.1:7411".into(),
            }],
        };
        let said = [
            tier(7, 3, "a"),
            tier(7, 9, "b"),
            tier(7, 5, "c"),
            tier(8, 1, "d"),
        ];
        let by = "app".to_owned();
        let mut tiers = BTreeMap::new();
        for tier in &said {
            newest(&mut tiers, &by, tier);
        }
        let left: Vec<_> = tiers.values().map(|(_, tier)| tier.names()).collect();
        assert_eq!(left, ["b", "d"]);
    }

    #[test]
    fn a_voter_is_taken_to_hold_nothing_when_one_of_its_name_at_its_address_does() {
        let voter = |address: &str| Member {
            name: "a".into(),
            address: address.into(),
        };
        let node = |name: &str| Voter {
            name: name.into(),
            address: ([10, 0, 0, 1], 7411).into(),
        };
        let (same, other) = (node("a"), node("b"));
        assert!(is_among(&voter("10.0.0.1:7411"), &[&other, &same]));
        assert!(is_among(&voter("10.0.0.1:7412"), &[&same]));
        // What is on the disk of the one that was there before it is not known.
        assert!(!is_among(&voter("10.0.0.1:7411"), &[&other]));
        assert!(!is_among(&voter("10.0.0.2:7411"), &[&same]));
        assert!(!is_among(&voter(""), &[&same]));
    }
}
