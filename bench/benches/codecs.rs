//! What packing again takes of one core, by method: where `Method::pack_time` has its figures from.
//!
//! What is packed is machine code, that of this program, in blocks of 128 KiB as squashfs has them.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use neap_engine::unpack::codec::Method;

const BLOCK_LEN: usize = 128 << 10;
const BLOCKS: usize = 8;

/// Methods by how a patch spells them (`docs/format.md` 11.2).
fn methods() -> Vec<(String, Method)> {
    let lzma = |preset: u8| vec![6, preset, 0x5d, 0, 0, 8, 0];
    let named = |name: &str, levels: &[u8], spell: &dyn Fn(u8) -> Vec<u8>| {
        let named = levels.iter().map(|level| (format!("{name} {level}"), spell(*level)));
        named.collect::<Vec<_>>()
    };
    let spelled = [
        named("deflate", &[1, 3, 6, 9], &|level| vec![1, level]),
        named("lz4 fast", &[1], &|acceleration| vec![3, 0, acceleration]),
        named("lz4hc", &[3, 9, 12], &|level| vec![3, 1, level]),
        named("lzma", &[1, 3, 6], &lzma),
        named("zstd", &[3, 9, 15, 19], &|level| vec![7, level, 0, 2]),
        named("bzip2", &[9], &|level| vec![8, level]),
    ];
    let method = |bytes: &[u8]| Method::decode(bytes).expect("the format has it");
    spelled.concat().into_iter().map(|(name, bytes)| (name, method(&bytes))).collect()
}

fn code() -> Vec<u8> {
    let program = std::env::current_exe().and_then(std::fs::read).expect("this program is a file");
    program[program.len() / 4..][..BLOCKS * BLOCK_LEN].to_vec()
}

fn pack(c: &mut Criterion) {
    let code = code();
    let mut group = c.benchmark_group("pack");
    group.sample_size(10);
    group.throughput(Throughput::Bytes(code.len() as u64));
    for (name, method) in methods() {
        let id = BenchmarkId::from_parameter(&name);
        group.bench_with_input(id, &method, |b, method| {
            // Nothing has the length that is asked for; that is seen when it was packed.
            let pack = |block| drop(method.pack(black_box(block), &[], 2 * BLOCK_LEN));
            b.iter(|| code.chunks(BLOCK_LEN).for_each(pack));
        });
    }
    group.finish();
}

criterion_group!(benches, pack);
criterion_main!(benches);
