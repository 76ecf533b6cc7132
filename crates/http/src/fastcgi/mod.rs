//! FastCGI, version 1, as a web server speaks it to a program (PHP-FPM, `php-cgi -b`): the codec without I/O.
//!
//! A request is the parameters that CGI has (RFC 3875), which are made of the head that an HTTP server would have got, and
//! its body; an answer is a stream of records whose output begins with a CGI head. Where an answer ends is always known:
//! by a record of its own, so that one that was cut short is never taken for a whole one. A connection has one request: a
//! program that keeps connections gives each a process of its own, idle or not.
//!
//! Specification: FastCGI 1.0, Open Market, 1996.
//!
//! Two other protocols have the same parameters and answers, and no records: uWSGI's own (a header of four bytes, names and
//! values behind their lengths, the body as it is) and SCGI (a netstring of names and values, the body as it is). Their
//! answers end with the connection, or where the head says; uWSGI's begin like those of HTTP.

mod answer;
mod params;
mod records;
mod script;

pub(crate) use answer::Answer;
pub(crate) use params::{Facts, TooLong, write};
pub(crate) use records::{COMPLAINTS, MOST, Records, end_of_body, header};
pub use script::Call;
