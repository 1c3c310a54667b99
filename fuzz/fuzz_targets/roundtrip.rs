//! libFuzzer's way into the harness `roundtrip`.
#![no_main]

neap_fuzz::fuzz!("roundtrip");
