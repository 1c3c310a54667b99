//! libFuzzer's way into the harness `stick_tree`.
#![no_main]

neap_fuzz::fuzz!("stick_tree");
