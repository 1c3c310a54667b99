//! libFuzzer's way into the harness `identity`.
#![no_main]

neap_fuzz::fuzz!("identity");
