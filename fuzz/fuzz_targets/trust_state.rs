//! libFuzzer's way into the harness `trust_state`.
#![no_main]

neap_fuzz::fuzz!("trust_state");
