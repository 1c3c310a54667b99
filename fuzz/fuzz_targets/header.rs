//! libFuzzer's way into the harness `header`.
#![no_main]

neap_fuzz::fuzz!("header");
