//! libFuzzer's way into the harness `signature`.
#![no_main]

neap_fuzz::fuzz!("signature");
