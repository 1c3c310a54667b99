//! libFuzzer's way into the harness `trust_metadata`.
#![no_main]

neap_fuzz::fuzz!("trust_metadata");
