//! libFuzzer's way into the harness `notice`.
#![no_main]

neap_fuzz::fuzz!("notice");
