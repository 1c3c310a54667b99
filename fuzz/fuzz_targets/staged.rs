//! libFuzzer's way into the harness `staged`.
#![no_main]

neap_fuzz::fuzz!("staged");
