//! libFuzzer's way into the harness `trust_signed`.
#![no_main]

neap_fuzz::fuzz!("trust_signed");
