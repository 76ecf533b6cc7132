//! Whether the node may open as many descriptors as the file needs.

use super::Patient;
use crate::commands::doctor::finding::Findings;
use crate::process;

pub fn look(patient: &Patient, findings: &mut Findings) {
    let workers = patient
        .plan
        .workers
        .map_or_else(process::cores, usize::from);
    let need = process::needed_descriptors(&patient.plan, workers);
    let told = patient.running.as_ref();
    let told = told.and_then(|node| node["status"]["process"]["descriptor_limit"].as_u64());
    let (have, who) = match told {
        Some(have) => (have, "The node that runs here"),
        None => (process::most_descriptors(), "A node started from here"),
    };
    if have < need {
        let what = process::too_few_descriptors(have, need);
        findings.wrong(format!("{who} is short of descriptors: {what}."));
    } else {
        findings.good(format!(
            "{who} may open {have} descriptors; the file needs {need}."
        ));
    }
}
