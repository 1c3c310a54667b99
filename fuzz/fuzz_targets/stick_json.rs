//! libFuzzer's way into the harness `stick_json`.
#![no_main]

neap_fuzz::fuzz!("stick_json");
