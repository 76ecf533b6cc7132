//! Rules for answers that ask about the answer: `http-response set-header X y if { status 404 }`, and whether a field is
//! there.

use super::super::document::{Table, Value};
use super::super::logic::{Either, Literal, Subject, Together};
use super::Translator;
use super::acl::Refusal;
use super::checks::{STATUSES, ranges};
use super::rules::{Deed, Step};
use super::words::Line;

/// The statuses of answers; those below are of what comes before one.
const FIRST: u16 = 200;
/// The first status of an error.
const ERRORS: u16 = 400;

fn is_of_answer(literal: &Literal) -> bool {
    matches!(literal.subject, Subject::Status | Subject::Answered(_))
}

/// Whether a condition asks about the answer.
pub(crate) fn asks(when: &Either) -> bool {
    when.0.iter().flatten().any(is_of_answer)
}

impl Translator<'_> {
    /// A rule for answers, as changes of heads that go with routes.
    pub fn answered(&mut self, line: &Line, step: Step) -> Vec<Step> {
        if !asks(&step.when) {
            return vec![step];
        }
        let mut steps = Vec::new();
        for together in &step.when.0 {
            match one(line, together, &step) {
                Ok(Some(step)) => steps.push(step),
                Ok(None) => {}
                Err(message) => {
                    let refusal = Refusal::new(step.spot, message);
                    refusal.tell(step.spot, &mut self.verdicts);
                    return Vec::new();
                }
            }
        }
        let adds = matches!(&step.deed, Deed::Change(table) if kind(table) == Some("add"));
        if adds && steps.len() > 1 {
            let message = "a field is added once where one condition holds, and here are several";
            Refusal::new(step.spot, message).tell(step.spot, &mut self.verdicts);
            return Vec::new();
        }
        steps
    }
}

/// What one alternative of the condition makes of a rule; `None`: it never holds.
fn one(line: &Line, together: &Together, step: &Step) -> Result<Option<Step>, &'static str> {
    let Deed::Change(change) = &step.deed else {
        return Err("this is asked of answers, and a request is answered before there is one");
    };
    let mut changes = response(change).cloned().unwrap_or_default();
    let name = line.word(2);
    for literal in together {
        let Subject::Answered(asked) = &literal.subject else {
            continue;
        };
        let is_same = asked.eq_ignore_ascii_case(name);
        match (kind(change), literal.not) {
            // It does nothing where there is none.
            (Some("remove" | "replace"), false) if is_same => {}
            (Some("set" | "add"), true) if is_same => {
                let set = changes.get("set").or(changes.get("add")).cloned();
                changes = Table::default();
                if let Some(set) = set {
                    changes.put("default", set);
                }
            }
            _ => {
                return Err(
                    "of an answer is asked which status it has, and of a field that is set whether it is there: \
                     http-response set-header NAME VALUE unless { res.hdr(NAME) -m found }",
                );
            }
        }
    }
    let mut statuses = vec![true; STATUSES.count()];
    for literal in together {
        if literal.subject == Subject::Status {
            for (n, is) in STATUSES.zip(&mut statuses) {
                *is &= literal.patterns.contains(&n.to_string()) != literal.not;
            }
        }
    }
    let all = |wanted: fn(u16) -> bool| {
        let mut both = STATUSES.zip(&statuses).filter(|(n, _)| *n >= FIRST);
        both.all(|(n, is)| wanted(n) == *is)
    };
    if all(|_| false) {
        return Ok(None);
    }
    let mut headers = Table::default();
    if all(|_| true) {
        headers.put("response", Value::Table(changes));
    } else if all(|n| n < ERRORS) {
        headers.put("success", Value::Table(changes));
    } else {
        let mut some = Table::default().with("status", Value::List(ranges(&statuses)));
        some.0.extend(changes.0);
        headers.put("by-status", Value::Array(vec![Value::Table(some)]));
    }
    let rest = together.iter().filter(|literal| !is_of_answer(literal));
    Ok(Some(Step {
        when: Either(vec![rest.cloned().collect()]),
        deed: Deed::Change(Table::default().with("headers", Value::Table(headers))),
        ..step.clone()
    }))
}

/// `headers.response` of a change.
fn response(change: &Table) -> Option<&Table> {
    let Some(Value::Table(headers)) = change.get("headers") else {
        return None;
    };
    match headers.get("response") {
        Some(Value::Table(response)) => Some(response),
        _ => None,
    }
}

/// What is done to the field: `set`, `add`, `remove`, `replace`.
fn kind(change: &Table) -> Option<&'static str> {
    let response = response(change)?;
    ["set", "add", "remove", "replace"]
        .into_iter()
        .find(|kind| response.has(kind))
}
