//! libFuzzer's way into the harness `meter`.
#![no_main]

neap_fuzz::fuzz!("meter");
