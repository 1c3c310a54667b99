//! libFuzzer's way into the harness `stick_code`.
#![no_main]

neap_fuzz::fuzz!("stick_code");
