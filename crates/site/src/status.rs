//! The page of a site's `status` path, in the words of nginx's `stub_status`, which monitoring knows how to read.

use bytes::Bytes;
use tandem_telemetry::counters::Totals;

/// What the page is.
pub(crate) const FIELDS: &str = "Content-Type: text/plain\r\n";

/// The counters of this node. As nginx has it, a request counts from its beginning; a connection whose head is coming
/// in is `Reading`, one whose request is being answered `Writing`, and the others are `Waiting`. No connection is ever
/// accepted and not handled: at its limit a node leaves them to wait in the kernel.
pub(crate) fn page(totals: &Totals) -> Bytes {
    let Totals {
        accepted,
        open,
        requests,
        answering,
        reading,
        ..
    } = *totals;
    // The counters are those of several workers, and not of one moment. Of HTTP/2 several requests are on one connection.
    let reading = reading.min(open);
    let writing = answering.min(open - reading);
    let waiting = open - reading - writing;
    let requests = requests + answering;
    // The spaces at the ends of lines are nginx's.
    Bytes::from(format!(
        "Active connections: {open} \nserver accepts handled requests\n {accepted} {accepted} {requests} \n\
         Reading: {reading} Writing: {writing} Waiting: {waiting} \n"
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
            requests: 31_070_286,
            answering: 179,
            reading: 6,
            ..Totals::default()
        };
        let page = page(&totals);
        assert_eq!(
            &page[..],
            b"Active connections: 291 \nserver accepts handled requests\n 16630948 16630948 31070465 \n\
              Reading: 6 Writing: 179 Waiting: 106 \n"
        );
    }
}
