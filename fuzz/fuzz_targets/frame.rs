//! libFuzzer's way into the harness `frame`.
#![no_main]

neap_fuzz::fuzz!("frame");
