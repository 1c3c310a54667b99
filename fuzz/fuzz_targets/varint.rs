//! libFuzzer's way into the harness `varint`.
#![no_main]

neap_fuzz::fuzz!("varint");
