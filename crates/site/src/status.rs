//! The page of a site's `status` path, in the words of nginx's `stub_status`, which monitoring knows how to read.

use bytes::Bytes;
use tandem_telemetry::counters::Totals;

/// What the page is.
pub(crate) const FIELDS: &str = "Content-Type: text/plain\r\n";

/// The counters of this node. A connection whose request is being answered is `Writing`; the others are `Waiting`,
/// also while a head comes in: nothing counts those, so `Reading` is 0.
pub(crate) fn page(totals: &Totals) -> Bytes {
    let Totals {
        accepted,
        open,
        requests,
        answering,
        ..
    } = *totals;
    let writing = answering.min(open);
    let waiting = open - writing;
    // The spaces at the ends of lines are nginx's.
    Bytes::from(format!(
        "Active connections: {open} \nserver accepts handled requests\n {accepted} {accepted} {requests} \n\
         Reading: 0 Writing: {writing} Waiting: {waiting} \n"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_reads_like_nginxs() {
        let totals = Totals {
            accepted: 16_630_948,
            open: 291,
            requests: 31_070_465,
            answering: 179,
            ..Totals::default()
        };
        let page = page(&totals);
        assert_eq!(
            &page[..],
            b"Active connections: 291 \nserver accepts handled requests\n 16630948 16630948 31070465 \n\
              Reading: 0 Writing: 179 Waiting: 112 \n"
        );
    }
}
