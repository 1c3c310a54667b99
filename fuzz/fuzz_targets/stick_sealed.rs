//! libFuzzer's way into the harness `stick_sealed`.
#![no_main]

neap_fuzz::fuzz!("stick_sealed");
