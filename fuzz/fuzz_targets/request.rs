#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| reconciler_fuzz::request(data));
