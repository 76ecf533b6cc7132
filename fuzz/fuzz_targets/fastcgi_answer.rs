#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tandem_http::invariants::fastcgi_answer(bytes));
