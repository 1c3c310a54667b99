//! libFuzzer's way into the harness `config`.
#![no_main]

neap_fuzz::fuzz!("config");
