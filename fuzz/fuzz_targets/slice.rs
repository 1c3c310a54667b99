//! libFuzzer's way into the harness `slice`.
#![no_main]

neap_fuzz::fuzz!("slice");
