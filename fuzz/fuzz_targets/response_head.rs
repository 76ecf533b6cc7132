#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tandem_http::invariants::response_head(bytes));
