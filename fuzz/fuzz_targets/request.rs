//! libFuzzer's way into the harness `request`.
#![no_main]

neap_fuzz::fuzz!("request");
