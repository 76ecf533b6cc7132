//! Requests to programs that speak FastCGI: which script each asks for.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use tandem_http::apart::Apart;
use tandem_http::fastcgi::Call;
use tandem_http::handler::Attempts;
use tandem_http::{Plan, Reply, Request, Step};
use tandem_model::FastCgi;

use crate::pool::PoolAttempts;

/// Requests that ask the disk at once, and how long each waits for it.
static DISK: LazyLock<Apart> = LazyLock::new(|| Apart::new(32, Duration::from_secs(10)));

/// Has a program asked for the script that a request wants, once it is known that there is one.
pub(super) fn ask(attempts: PoolAttempts, program: &Arc<FastCgi>, request: &Request<'_>) -> Step {
    // What `strip` took off is not the program's to know.
    let uri = (!request.stripped().is_empty()).then(|| request.target().to_vec());
    if Call::is_known(program) {
        return Step::Plan(plan(attempts, Call::of(program, request.path()), uri));
    }
    let (program, path) = (program.clone(), request.path().to_vec());
    Step::Later(Box::pin(async move {
        match DISK.run(move || Call::of(&program, &path)).await {
            Ok(call) => plan(attempts, call, uri),
            Err(_) => {
                let service = attempts.service();
                Plan::Bytes(Reply::text(503, service, "the disk does not answer\n"))
            }
        }
    }))
}

fn plan(attempts: PoolAttempts, call: Option<Call>, uri: Option<Vec<u8>>) -> Plan {
    match call {
        Some(call) => Plan::Forward(Box::new(attempts.calling(Call { uri, ..call }))),
        None => Plan::Bytes(Reply::text(404, attempts.service(), "Not found\n")),
    }
}
