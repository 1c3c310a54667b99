//! libFuzzer's way into the harness `depot_names`.
#![no_main]

neap_fuzz::fuzz!("depot_names");
