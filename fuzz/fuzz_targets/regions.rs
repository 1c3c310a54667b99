//! libFuzzer's way into the harness `regions`.
#![no_main]

neap_fuzz::fuzz!("regions");
