//! libFuzzer's way into the harness `depot_tree`.
#![no_main]

neap_fuzz::fuzz!("depot_tree");
