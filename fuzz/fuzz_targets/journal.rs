//! libFuzzer's way into the harness `journal`.
#![no_main]

neap_fuzz::fuzz!("journal");
