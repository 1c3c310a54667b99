//! exp
use neap_engine::{
    diff,
    io::{Event, drive, file::*, memory::*},
};
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let s = FileSource::open(a[1].as_ref()).unwrap();
    let t = FileSource::open(a[2].as_ref()).unwrap();
    let t0 = std::time::Instant::now();
    let mut sp: Vec<u8> = vec![];
    let o =
        diff::Options { effort: a.get(4).map_or(6, |x| x.parse().unwrap()), ..Default::default() };
    let p = diff::diff(&s, &t, &o, &mut sp, &|e| {
        if let Event::Phase { name, total } = e {
            eprintln!("{:>8.2?} {name} {total}", t0.elapsed());
        }
    })
    .unwrap();
    eprintln!("{:?} {:?}", t0.elapsed(), p.summary);
    let mut out = p.header_bytes.clone();
    out.extend(&sp);
    println!(
        "PATCH {} restarts {} win {}",
        out.len(),
        p.header.restarts.len(),
        p.header.window_log2
    );
    assert_eq!(out.len() as u64, p.header.patch_size);
    std::fs::write(&a[3], &out).unwrap();
    let mut m = MemoryTarget::default();
    let t0 = std::time::Instant::now();
    drive::apply(
        &mut PatchBytes::new(&out),
        &s,
        &mut m,
        &mut MemoryJournal::default(),
        drive::Options::default(),
        &|e| {
            if let Event::Phase { name, total } = e {
                eprintln!("{:>8.2?} {name} {total}", t0.elapsed());
            }
        },
    )
    .map_err(|e| e.error)
    .unwrap();
    eprintln!("apply {:?}", t0.elapsed());
    assert!(m.bytes == std::fs::read(&a[2]).unwrap());
}
