//! libFuzzer's way into the harness `receipt`.
#![no_main]

neap_fuzz::fuzz!("receipt");
