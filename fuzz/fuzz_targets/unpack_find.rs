//! libFuzzer's way into the harness `unpack_find`.
#![no_main]

neap_fuzz::fuzz!("unpack_find");
