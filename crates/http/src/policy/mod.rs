//! Route policies: what is done to requests on their way and to answers, whoever gives them.

pub mod coding;
