//! libFuzzer's way into the harness `stick_approval`.
#![no_main]

neap_fuzz::fuzz!("stick_approval");
