//! libFuzzer's way into the harness `derived`.
#![no_main]

neap_fuzz::fuzz!("derived");
