//! Tasks whose end by a panic is noticed.
//!
//! A task that panics is gone, and whoever waits for it waits for ever: a replica without the task that proposes looks alive
//! and answers nothing. So all tasks of a replica, openraft's too, say when they panic, and the replica is started again from
//! its directory. They all run on its thread. What a panic leaves half done in memory goes with it.

use std::any::Any;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use futures_util::FutureExt;

thread_local! {
    /// What the first task of this thread that panicked said.
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// The same future, whose panic is noticed.
pub async fn watched<F: Future>(future: F) -> F::Output {
    match AssertUnwindSafe(future).catch_unwind().await {
        Ok(output) => output,
        Err(panic) => {
            let text = said(&*panic);
            PANIC.with_borrow_mut(|noticed| noticed.get_or_insert(text).truncate(1_000));
            resume_unwind(panic)
        }
    }
}

/// What a task of this thread said that panicked since this was asked last.
pub fn panicked() -> Option<String> {
    PANIC.take()
}

/// The same future, or what it said when it panicked.
pub async fn caught<F: Future>(future: F) -> Result<F::Output, String> {
    let ended = AssertUnwindSafe(future).catch_unwind().await;
    ended.map_err(|panic| said(&*panic))
}

/// What it returns, or what it said when it panicked.
pub fn tried<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| said(&*panic))
}

fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("it said nothing").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_noticed_once_with_what_it_said() {
        assert_eq!(watched(async { 7 }).now_or_never(), Some(7));
        assert_eq!(panicked(), None);
        let task =
            tried(|| watched(async { panic!("{} of the test", "on purpose") }).now_or_never());
        assert_eq!(task, Err::<Option<()>, _>("on purpose of the test".into()));
        assert_eq!(panicked().as_deref(), Some("on purpose of the test"));
        assert_eq!(panicked(), None);
    }
}
