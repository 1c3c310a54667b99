//! libFuzzer's way into the harness `unpack_codec`.
#![no_main]

neap_fuzz::fuzz!("unpack_codec");
