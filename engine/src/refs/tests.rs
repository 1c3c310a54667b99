//! What holds for any executable, and for bytes that only pretend to be one.

use proptest::prelude::*;

use super::field::Field;
use super::map::{Copy, Map, Move};
use super::region::{Arch, Kind, Load, Region, RegionReader, Shape, Span};
use super::votes::{Votes, Worth};
use super::{rewrite, scan};

/// Sections of the made executables: name, type, flags.
const SECTIONS: [(&str, u32, u64); 16] = [
    ("", 0, 0),
    (".text", 1, 6),
    (".rodata", 1, 2),
    (".eh_frame", 1, 2),
    (".eh_frame_hdr", 1, 2),
    (".rela.dyn", 4, 2),
    (".dynsym", 11, 2),
    (".dynstr", 3, 2),
    (".dynamic", 6, 3),
    (".data", 1, 3),
    (".rel.dyn", 9, 2),
    (".symtab", 2, 0),
    (".BTF", 1, 0),
    ("__ksymtab", 1, 2),
    (".altinstructions", 1, 2),
    (".shstrtab", 3, 0),
];
const SECTION_LEN: usize = 1 << 13;

/// An executable of a class, type and machine, `lead` bytes into an image. Sections are one behind
/// the other and loaded 64 KiB further on, filled with numbers that may well be addresses.
fn image(is_wide: bool, kind: u16, machine: u16, lead: usize, seed: u64) -> Vec<u8> {
    let header_len = 0x400;
    let mut random = Random(seed);
    if kind == PE {
        return pe_image(is_wide, machine, lead, &mut random);
    }
    let mut names = Vec::new();
    let mut image = vec![0; lead + header_len];
    let mut headers = Vec::new();
    for (index, (name, section_kind, flags)) in SECTIONS.into_iter().enumerate() {
        let at = image.len() - lead;
        let section_name = names.len();
        names.extend(name.bytes().chain([0]));
        let len = if index == 0 { 0 } else { SECTION_LEN };
        if name == ".shstrtab" {
            let mut bytes = names.clone();
            bytes.resize(SECTION_LEN, 0);
            image.extend(bytes);
        } else {
            image.extend((0..len / 8).flat_map(|_| random.number(at).to_le_bytes()));
        }
        let address = if flags & 2 == 0 { 0 } else { at + 0x10000 };
        let words = [flags, address as u64, at as u64, len as u64];
        let mut header = Vec::new();
        header.extend(u32::try_from(section_name).expect("names are short").to_le_bytes());
        header.extend(section_kind.to_le_bytes());
        words.iter().for_each(|value| word(&mut header, *value, is_wide));
        header.extend(7_u32.to_le_bytes());
        header.extend(1_u32.to_le_bytes());
        word(&mut header, 1, is_wide);
        word(&mut header, 0, is_wide);
        headers.extend(header);
    }
    let mut start = b"\x7fELF\0\x01\x01".to_vec();
    start[4] = if is_wide { 2 } else { 1 };
    start.resize(16, 0);
    start.extend(kind.to_le_bytes());
    start.extend(machine.to_le_bytes());
    start.extend(1_u32.to_le_bytes());
    let (start_len, load_len) = if is_wide { (64_u16, 56_u16) } else { (52, 32) };
    let table = image.len() - lead;
    [0x10400, u64::from(start_len), table as u64]
        .iter()
        .for_each(|value| word(&mut start, *value, is_wide));
    start.extend(0_u32.to_le_bytes());
    let counts = [start_len, load_len, 1, if is_wide { 64 } else { 40 }, 16, 15];
    start.extend(counts.iter().flat_map(|count| count.to_le_bytes()));
    let len = image.len() - lead;
    start.extend(1_u32.to_le_bytes());
    let numbers = [0, 0x10000, 0x10000, len as u64, len as u64 + 99];
    if is_wide {
        start.extend(7_u32.to_le_bytes());
        numbers.iter().for_each(|value| word(&mut start, *value, true));
    } else {
        numbers.iter().for_each(|value| word(&mut start, *value, false));
        start.extend(7_u32.to_le_bytes());
    }
    image[lead..lead + start.len()].copy_from_slice(&start);
    image.extend(headers);
    image
}

/// The type that stands for a PE file, which is none of ELF.
const PE: u16 = 0;

/// As [`image`], a PE file whose sections are loaded as they stand in it, from `0x10000` on.
fn pe_image(is_wide: bool, machine: u16, lead: usize, random: &mut Random) -> Vec<u8> {
    const SECTIONS: [(&[u8; 8], u32); 5] = [
        (b".text\0\0\0", 0x6000_0020),
        (b".rdata\0\0", 0x4000_0040),
        (b".pdata\0\0", 0x4000_0040),
        (b".rela\0\0\0", 0x4000_0040),
        (b".dynamic", 0xc000_0040),
    ];
    let machine: u16 = match machine {
        62 => 0x8664,
        183 => 0xaa64,
        40 => 0x1c4,
        _ => 0x5064,
    };
    let header_len = 0x400_u32;
    let section_len = u32::try_from(SECTION_LEN).expect("a section is small");
    let mut file = vec![0; index(header_len.into())];
    let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"MZ");
    put(60, &64_u32.to_le_bytes());
    put(64, b"PE\0\0");
    put(68, &machine.to_le_bytes());
    put(70, &5_u16.to_le_bytes());
    put(84, &240_u16.to_le_bytes());
    let mut optional = vec![0; 240];
    optional[..2].copy_from_slice(&(if is_wide { 0x20b_u16 } else { 0x10b }).to_le_bytes());
    let (base, entries) = if is_wide { (24, 112) } else { (28, 96) };
    optional[base..base + 4].copy_from_slice(&0x10000_u32.to_le_bytes());
    optional[60..64].copy_from_slice(&header_len.to_le_bytes());
    optional[entries - 4..entries].copy_from_slice(&16_u32.to_le_bytes());
    let pdata = header_len + 2 * section_len;
    optional[entries + 24..entries + 28].copy_from_slice(&pdata.to_le_bytes());
    put(88, &optional);
    for (place, (name, flags)) in (0_u32..).zip(SECTIONS) {
        let at = header_len + place * section_len;
        let mut header = name.to_vec();
        for number in [section_len + 99, at, section_len, at, 0, 0, 0, flags] {
            header.extend(number.to_le_bytes());
        }
        put(328 + 40 * index(place.into()), &header);
    }
    for _ in 0..SECTION_LEN / 8 * SECTIONS.len() {
        file.extend(random.number(file.len()).to_le_bytes());
    }
    [vec![0; lead], file].concat()
}

fn word(out: &mut Vec<u8>, value: u64, is_wide: bool) {
    let bytes = value.to_le_bytes();
    out.extend(if is_wide { &bytes[..] } else { &bytes[..4] });
}

/// Numbers that are the same everywhere (Steele and others, "Fast splittable pseudorandom number
/// generators", 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// 8 bytes that may be an address, two distances, small counts, an instruction, or anything.
    fn number(&mut self, at: usize) -> u64 {
        let value = self.next();
        match value >> 61 {
            0 | 1 => 0x10400 + value % 0x18000,
            2 => (value % 0x4000).wrapping_sub(at as u64) & 0xffff_ffff | 28 << 32,
            3 => 0x24 | (value % 0x2000) << 32,
            4 => (value % 0xfff) << 32 | 0x0100_00e8,
            5 => value & 0x1f_001f_0000_ffff,
            _ => value,
        }
    }
}

fn index(offset: u64) -> usize {
    usize::try_from(offset).expect("an image is in memory")
}

/// Drives a reader as any caller does, and checks what it wants.
fn read(image: &[u8], offset: u64) -> Option<Region> {
    let mut reader = RegionReader::new(offset, image.len() as u64);
    let mut reads = 0;
    while let Some((offset, len)) = reader.want() {
        reads += 1;
        assert!(reads <= 8, "more than eight reads are wanted");
        assert!((1..=64 << 10).contains(&len), "{len} bytes are wanted at once");
        reader.give(&image[index(offset)..][..len]);
    }
    reader.finish()
}

/// All fields of a region, found block by block; checks that they are in order and apart.
fn fields(region: &Region, image: &[u8]) -> Vec<Field> {
    let mut all: Vec<Field> = Vec::new();
    let mut at = region.offset;
    while at < region.end() {
        let end = region.end().min((at / 4096 + 1) * 4096);
        let mut found = Vec::new();
        scan::fields(region, at, &image[index(at)..index(end)], &mut found);
        let mut behind = at;
        for field in &found {
            assert!(field.offset >= behind, "{field:?} is over another");
            behind = field.offset + field.form.len() as u64;
        }
        assert!(behind <= end, "a field reaches out of its block");
        all.extend(found);
        at = end;
    }
    all
}

fn kinds() -> impl Strategy<Value = (bool, u16, u16)> {
    let machines = prop_oneof![
        Just((true, 62_u16)),
        Just((true, 183)),
        Just((false, 40)),
        Just((false, 3)),
        Just((true, 243)),
    ];
    (machines, PE..4_u16).prop_map(|((is_wide, machine), kind)| (is_wide, kind, machine))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Fields that are read and written back unchanged must give the same bytes: any scanner whose
    /// idea of a spelling is not the writer's breaks this.
    #[test]
    fn a_map_that_moves_the_whole_region_changes_nothing(
        (is_wide, kind, machine) in kinds(),
        lead in 0..3_usize,
        shift in -0x1234_5678_i64..0x1234_5678,
        seed: u64,
    ) {
        let image = image(is_wide, kind, machine, lead * 512, seed);
        let offset = lead as u64 * 512;
        let region = read(&image, offset).expect("the image holds an executable");
        prop_assert_eq!(region.end(), image.len() as u64);
        let found = fields(&region, &image);
        prop_assert!(found.len() > 100, "{} fields", found.len());
        let copy = Copy { offset, len: region.len, diagonal: shift };
        let map = Map::of([copy], &region, &[], &[]);
        let mut bytes = image[lead * 512..].to_vec();
        rewrite(&region, &map, &found, shift, offset, &mut bytes);
        for field in &found {
            let at = index(field.offset - offset);
            let len = field.form.len();
            let before = &image[index(field.offset)..][..len];
            prop_assert_eq!(&bytes[at..at + len], before, "{:?}", field);
        }
        prop_assert!(bytes == image[lead * 512..]);
    }

    #[test]
    fn cutting_the_bytes_anywhere_rewrites_them_alike(
        (is_wide, kind, machine) in kinds(),
        cut in 1..0x1000_u64,
        seed: u64,
    ) {
        let image = image(is_wide, kind, machine, 0, seed);
        let region = read(&image, 0).expect("the image holds an executable");
        let found = fields(&region, &image);
        let half = region.len / 3;
        let copies = [
            Copy { offset: 0, len: half, diagonal: 0 },
            Copy { offset: half, len: region.len - half, diagonal: -64 },
        ];
        let map = Map::of(copies, &region, &[], &[]);
        let mut whole = image.clone();
        rewrite(&region, &map, &found, 8, 0, &mut whole);
        prop_assert!(whole != image);
        let mut pieces = image.clone();
        for (piece_index, piece) in pieces.chunks_mut(index(cut)).enumerate() {
            rewrite(&region, &map, &found, 8, piece_index as u64 * cut, piece);
        }
        prop_assert!(whole == pieces);
    }

    #[test]
    fn hostile_headers_are_read_within_the_image_and_never_panic(
        (is_wide, kind, machine) in kinds(),
        changes in
            prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3_u8), 1..60),
        cut: prop::sample::Index,
        diagonals: [i64; 3],
        biases: [i64; 2],
        shift: i64,
        seed: u64,
    ) {
        let mut image = image(is_wide, kind, machine, 0, seed);
        let table = image.len() - if is_wide { 16 * 64 } else { 16 * 40 };
        for (place, value, part) in changes {
            let place = match part {
                0 => place.index(0x80),
                1 => table + place.index(image.len() - table),
                _ => place.index(image.len()),
            };
            image[place] = if value & 1 == 0 { value } else { image[place] ^ 1 << (value >> 5) };
        }
        image.truncate(image.len() - if cut.index(4) == 0 { cut.index(image.len()) } else { 0 });
        if let Some(region) = read(&image, 0) {
            prop_assert!(region.end() <= image.len() as u64);
            let found = fields(&region, &image);
            let copies = (0..).zip(diagonals).map(|(index, diagonal)| Copy {
                offset: index * 5000,
                len: 4000 + index,
                diagonal,
            });
            let moves = [Move { start: 0x11000, len: 999, shift }];
            let map = Map::of(copies, &region, &biases, &moves);
            let mut bytes = image.clone();
            rewrite(&region, &map, &found, diagonals[0], 0, &mut bytes);
            let mut votes = Votes::default();
            votes.count(&region, &map, &found, diagonals[1], 0, &image);
            let moves = votes.moves(&map, Worth::ZSTD);
            let ordered = moves.is_sorted_by(|a, b| a.start + a.len <= b.start);
            prop_assert!(ordered);
        }
    }
}

#[test]
fn tables_of_a_kernel_are_distances_in_wide_files_that_are_linked() {
    let count = |is_wide, kind, machine| {
        let image = image(is_wide, kind, machine, 0, 3);
        let region = read(&image, 0).expect("the image holds an executable");
        let spans = region.spans.iter().filter_map(|span| match span.kind {
            Kind::Distances(shape) => Some((shape.len, shape.count)),
            _ => None,
        });
        spans.collect::<Vec<_>>()
    };
    // 8192 is no multiple of 12.
    assert_eq!(count(true, 2, 62), [(12, 3), (14, 2)]);
    assert_eq!(count(true, 3, 183), [(12, 3), (14, 2)]);
    assert_eq!(count(true, 1, 62), []);
    assert_eq!(count(false, 2, 40), []);
}

/// Of a number that is not 0, at each place that the shape has, and nowhere else.
#[test]
fn distances_stand_at_the_front_of_each_entry() {
    let mut region = bare(4096);
    let kind = Kind::Distances(Shape { len: 12, count: 2 });
    region.spans = vec![Span { offset: 100, len: 36, address: 0x1000, kind }];
    let numbers = [8_i32, 4, 77, 0, -12, 77, 4, 1 << 20, 77];
    let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    let mut found = Vec::new();
    scan::fields(&region, 100, &bytes, &mut found);
    let found: Vec<_> = found.iter().map(|field| (field.offset, field.address)).collect();
    assert_eq!(found, [(100, 0x1008), (104, 0x1008), (116, 0x1004), (124, 0x101c)]);
}

/// A region of one load without headers.
fn bare(len: u64) -> Region {
    let load = Load { offset: 100, len, address: 0x1000, memory_len: len + 50, code: true };
    Region {
        offset: 100,
        len,
        arch: Arch::Other,
        is_wide: true,
        is_fixed: false,
        loads: vec![load],
        spans: Vec::new(),
        sections: Vec::new(),
        section_symbols: Vec::new(),
    }
}

fn map(copies: &[(u64, u64, i64)]) -> Map {
    let copies = copies.iter().map(|&(offset, len, diagonal)| Copy { offset, len, diagonal });
    Map::of(copies, &bare(1000), &[], &[])
}

#[test]
fn the_longest_copy_of_a_byte_says_where_it_goes() {
    let map = map(&[(100, 1000, 0), (300, 100, -8), (350, 24, -9), (250, 2000, -7)]);
    assert_eq!(map.address(0x1000 + 149), 0x1000 + 149);
    assert_eq!(map.address(0x1000 + 150), 0x1000 + 157);
    assert_eq!(map.address(0x1000 + 999), 0x1000 + 1006);
}

#[test]
fn copies_of_one_length_are_taken_in_order_of_source_then_target() {
    let starts_first = map(&[(100, 200, 0), (210, 100, -9), (200, 100, -8)]);
    assert_eq!(starts_first.address(0x1000 + 199), 0x1000 + 199);
    assert_eq!(starts_first.address(0x1000 + 200), 0x1000 + 209);
    let lowest_target = map(&[(100, 50, 0), (200, 50, -5), (200, 50, 3)]);
    assert_eq!(lowest_target.address(0x1000 + 120), 0x1000 + 117);
}

#[test]
fn bytes_without_a_copy_go_where_the_nearest_with_one_goes() {
    // Bytes 50 and 51 are one and two from byte 49, and two and one from byte 52.
    let even = map(&[(100, 50, 0), (152, 50, -8)]);
    assert_eq!(even.address(0x1000 + 50), 0x1000 + 50);
    assert_eq!(even.address(0x1000 + 51), 0x1000 + 59);
    // Byte 51 is two from either, and takes the lower.
    let odd = map(&[(100, 50, 0), (153, 50, -8)]);
    assert_eq!(odd.address(0x1000 + 51), 0x1000 + 51);
    assert_eq!(odd.address(0x1000 + 52), 0x1000 + 60);
    let short = map(&[(100, 50, 0), (152, 23, -8)]);
    assert_eq!(short.address(0x1000 + 60), 0x1000 + 60);
}

#[test]
fn what_has_no_bytes_goes_with_the_last_byte_of_its_load() {
    let map = map(&[(100, 500, 0), (600, 500, -8)]);
    assert_eq!(map.address(0x1000 + 1049), 0x1000 + 1057);
    assert_eq!(map.address(0x1000 + 1050), 0x1000 + 1058);
    assert_eq!(map.address(0x1000 + 1051), 0x1000 + 1051);
}

#[test]
fn votes_that_agree_against_the_map_make_one_move() {
    let region = bare(1000);
    let mut image = vec![0; 1100];
    let mut found = Vec::new();
    for entry in 0..50_u64 {
        let address = 0x1200 + entry * 4;
        let moved = if (20..30).contains(&entry) { address + 12 } else { address };
        let offset = 100 + entry * 8;
        image[index(offset)..][..8].copy_from_slice(&moved.to_le_bytes());
        let form = super::field::Form::Absolute64;
        found.push(Field { offset, address, form });
    }
    let map = map(&[(100, 1000, 0)]);
    let mut votes = Votes::default();
    votes.count(&region, &map, &found, 0, 0, &image);
    let moves = votes.moves(&map, Worth::ZSTD);
    assert_eq!(moves, [Move { start: 0x1250, len: 37, shift: 12 }]);
    let map = Map::of([Copy { offset: 100, len: 1000, diagonal: 0 }], &region, &[], &moves);
    assert_eq!(map.address(0x1274), 0x1280);
    assert_eq!(map.address(0x1275), 0x1275);
    assert_eq!(map.address(0x124f), 0x124f);
}

/// The end of a move of the last address is no number: devices refused the patch that had one.
#[test]
fn last_address_has_no_move() {
    let region = bare(1000);
    let mut image = vec![0; 1100];
    let base = u64::MAX - 5;
    let form = super::field::Form::Index32 { base, size: 1 };
    let found: Vec<_> = (0..20)
        .map(|entry| Field { offset: 100 + entry * 8, address: u64::MAX, form })
        .inspect(|field| image[index(field.offset)] = 3)
        .collect();
    let mut votes = Votes::default();
    votes.count(&region, &map(&[(100, 1000, 0)]), &found, 0, 0, &image);
    assert_eq!(votes.moves(&map(&[(100, 1000, 0)]), Worth::ZSTD), []);
}

#[test]
fn the_mixing_coder_is_sent_moves_of_indices_and_of_no_addresses() {
    let region = bare(1000);
    let mut image = vec![0; 1100];
    let mut found = Vec::new();
    for entry in 0..50_u32 {
        let index = Region::TYPES + 1000 + u64::from(entry);
        let offset = 100 + u64::from(entry) * 16;
        let is_moved = entry >= 20;
        let value = 1000 + entry + if is_moved { 7 } else { 0 };
        image[self::index(offset)..][..4].copy_from_slice(&value.to_le_bytes());
        let form = super::field::Form::Base32(Region::TYPES);
        found.push(Field { offset, address: index, form });
        let address = 0x1200 + u64::from(entry) * 4;
        let moved = address + if is_moved { 12 } else { 0 };
        image[self::index(offset) + 8..][..8].copy_from_slice(&moved.to_le_bytes());
        found.push(Field { offset: offset + 8, address, form: super::field::Form::Absolute64 });
    }
    let map = map(&[(100, 1000, 0)]);
    let moves = |worth| {
        let mut votes = Votes::default();
        votes.count(&region, &map, &found, 0, 0, &image);
        votes.moves(&map, worth)
    };
    let indices = Move { start: Region::TYPES + 1020, len: 30, shift: 7 };
    let addresses = Move { start: 0x1250, len: 117, shift: 12 };
    assert_eq!(moves(Worth::CM), [indices]);
    assert_eq!(moves(Worth::ZSTD), [addresses, indices]);
    assert_eq!(moves(Worth::NONE), []);
}

#[test]
fn a_pe_file_has_a_load_for_its_headers_and_each_section() {
    for (is_wide, machine, arch) in
        [(true, 62, Arch::X86_64), (true, 183, Arch::AArch64), (false, 40, Arch::Arm)]
    {
        let image = image(is_wide, PE, machine, 512, 1);
        let region = read(&image, 512).expect("the image holds an executable");
        assert_eq!((region.arch, region.is_wide, region.is_fixed), (arch, is_wide, false));
        assert_eq!(region.end(), image.len() as u64);
        let load = |at: u64, len, more, code| Load {
            offset: 512 + at,
            len,
            address: 0x10000 + at,
            memory_len: len + more,
            code,
        };
        let sections = (0..5).map(|place| load(0x400 + place * 0x2000, 0x2000, 99, place == 0));
        let mut loads = vec![load(0, 0x400, 0, false)];
        loads.extend(sections);
        let (offset, len) = (512, region.len);
        let file = Load { offset, len, address: Region::FILE, memory_len: len, code: false };
        loads.push(file);
        assert_eq!(region.loads, loads);
        let rela = Kind::Relocations { symbols: 0, addends: true };
        let kinds = [
            Kind::Code,
            Kind::Data,
            Kind::Functions { base: 0x10000 },
            if is_wide { rela } else { Kind::Data },
            Kind::Dynamic { names: 0 },
        ];
        assert!(region.spans.iter().map(|span| span.kind).eq(kinds), "{:?}", region.spans);
    }
}

#[test]
fn a_pe_file_is_cut_where_its_region_ends() {
    let image = image(true, PE, 62, 0, 1);
    let region = read(&image[..0x3000], 0).expect("the image holds an executable");
    assert_eq!(region.len, 0x3000);
    let lens: Vec<_> = region.loads.iter().map(|load| (load.len, load.memory_len)).collect();
    let whole = 0x2000 + 99;
    assert_eq!(lens, [(0x400, 0x400), (0x2000, whole), (0xc00, whole), (0x3000, 0x3000)]);
    assert_eq!(region.spans.len(), 2);
}

#[test]
fn what_only_begins_like_a_pe_file_is_no_region() {
    let image = image(true, PE, 62, 0, 1);
    assert!(read(&image, 0).is_some());
    for (at, value) in [(0, 0), (60, 65), (64, 0), (85, 16), (88, 0), (1, 0)] {
        let mut image = image.clone();
        image[at] ^= 1;
        image[at] = if value == 0 { image[at] } else { value };
        assert!(read(&image, 0).is_none(), "byte {at}");
    }
    for len in [63, 87, 527] {
        assert!(read(&image[..len], 0).is_none(), "{len} bytes");
    }
    assert!(read(&image[..528], 0).is_some());
}

#[test]
fn functions_have_a_start_an_end_on_x86_64_and_their_unwinding() {
    let base = 0x10000;
    let found = |machine, words: [u32; 6]| {
        let mut image = image(true, PE, machine, 0, 1);
        let at = 0x4400;
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        image[at..at + SECTION_LEN].fill(0);
        image[at..at + bytes.len()].copy_from_slice(&bytes);
        let region = read(&image, 0).expect("the image holds an executable");
        let of_table = |field: &Field| (0x4400..0x6400).contains(&field.offset);
        let found = fields(&region, &image).into_iter().filter(of_table);
        found.map(|f| ((f.offset - 0x4400) / 4, f.address, f.form)).collect::<Vec<_>>()
    };
    let (from, last) = (super::field::Form::Base32(base), super::field::Form::Last32(base));
    let words = [0x401, 0x433, 0x2404, 0x433, 0x500, 0x2402];
    let expected = [
        (0, 0x10401, from),
        (1, 0x10432, last),
        (2, 0x12404, from),
        (3, 0x10433, from),
        (4, 0x104ff, last),
    ];
    assert_eq!(found(62, words), expected);
    let words = [0x404, 0x2404, 0x434, 0x0123_4561, 0x0fff_fff0, 0x2405];
    assert_eq!(found(183, words), [(0, 0x10404, from), (1, 0x12404, from), (2, 0x10434, from)]);
}

#[test]
fn a_file_without_sections_has_the_spans_of_its_loads() {
    let mut image = image(true, 3, 62, 0, 1);
    image[40..48].fill(0);
    let region = read(&image, 0).expect("the image holds an executable");
    assert_eq!(region.spans.iter().filter(|span| span.kind == Kind::Code).count(), 1);
}
