//! libFuzzer's way into the harness `depot_metadata`.
#![no_main]

neap_fuzz::fuzz!("depot_metadata");
