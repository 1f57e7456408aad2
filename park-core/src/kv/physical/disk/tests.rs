use std::os::unix::fs::FileExt;

use super::*;
use crate::kv::physical::PageOrder;
use crate::kv::physical::kit::{content, label, label_in, layout};
use proptest::prelude::*;
use tempfile::TempDir;

/// One record of the kit's layout.
const STORED: u64 = 640;

fn settings(folder: &TempDir, capacity: u64) -> DiskConfig {
    DiskConfig {
        segment_bytes: 4 * STORED,
        ..DiskConfig::new(folder.path().join("kv"), capacity)
    }
}

fn open(folder: &TempDir, capacity: u64) -> Result<DiskTier> {
    DiskTier::open(&settings(folder, capacity), &layout(8, PageOrder::LayerFirst))
}

fn get(tier: &DiskTier, label: Label) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let right = tier.read(label.key, label.epoch, &mut |at, piece| {
        assert_eq!(at, bytes.len() as u64);
        bytes.extend_from_slice(piece);
        Ok(())
    });
    right.unwrap().then_some(bytes)
}

fn files(folder: &TempDir) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder.path().join("kv"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
}

#[test]
fn a_restart_finds_what_was_written() {
    let folder = TempDir::new().unwrap();
    let tier = open(&folder, 1 << 20).unwrap();
    for n in 0..10 {
        tier.append(label_in(n, n % 2), &content(label_in(n, n % 2))).unwrap();
        tier.append(label_in(n, n % 2), &content(label_in(n, n % 2))).unwrap();
    }
    assert_eq!(tier.stats().written, 10, "what is there is not written again");
    tier.flush().unwrap();
    drop(tier);
    for round in 0..3 {
        let tier = open(&folder, 1 << 20).unwrap();
        assert_eq!(
            (tier.stats().reloaded, tier.stats().corrupt, tier.stats().torn),
            (10 + round, 0, 0)
        );
        for n in 0..10 {
            let label = label_in(n, n % 2);
            assert_eq!(get(&tier, label), Some(content(label)));
            let other = Label {
                epoch: 1 - n % 2,
                ..label
            };
            assert_eq!(get(&tier, other), None, "it was served to another epoch");
            assert_eq!(tier.find(other.key, other.epoch), None);
        }
        let more = label(100 + round as u32);
        tier.append(more, &content(more)).unwrap();
    }
    let tier = open(&folder, 1 << 20).unwrap();
    assert_eq!(tier.retire(1), 5 + 3);
    assert_eq!(get(&tier, label(0)), None);
    assert_eq!(get(&tier, label_in(1, 1)), Some(content(label_in(1, 1))));
    assert_eq!(tier.scrub().unwrap(), 0);
}

#[test]
fn a_file_that_is_cut_anywhere_keeps_what_is_whole() {
    let folder = TempDir::new().unwrap();
    let tier = open(&folder, 1 << 20).unwrap();
    for n in 0..3 {
        tier.append(label(n), &content(label(n))).unwrap();
    }
    drop(tier);
    let [file] = &files(&folder)[..] else {
        panic!("one file")
    };
    let whole = std::fs::read(file).unwrap();
    assert_eq!(whole.len() as u64, HEAD + 3 * STORED);
    for len in 0..whole.len() {
        std::fs::write(file, &whole[..len]).unwrap();
        let tier = open(&folder, 1 << 20).unwrap();
        let there = (len as u64).saturating_sub(HEAD) / STORED;
        assert_eq!(tier.stats().records, there, "cut to {len}");
        for n in 0..3 {
            let expected = (u64::from(n) < there).then(|| content(label(n)));
            assert_eq!(get(&tier, label(n)), expected, "cut to {len}");
        }
        // Shorter than its own head: what a process leaves that is killed as it begins a file. That is no damage.
        let torn = len < HEAD as usize || !(len as u64 - HEAD).is_multiple_of(STORED);
        assert_eq!(tier.stats().corrupt, 0, "cut to {len}");
        assert_eq!(tier.stats().torn, u64::from(torn), "cut to {len}");
    }
}

#[test]
fn a_write_that_a_kill_cut_off_is_not_there() {
    // The order of `append`: the content is written, and the head is not.
    let folder = TempDir::new().unwrap();
    let tier = open(&folder, 1 << 20).unwrap();
    tier.append(label(1), &content(label(1))).unwrap();
    drop(tier);
    let file = File::options().write(true).open(&files(&folder)[0]).unwrap();
    file.write_all_at(&content(label(2)), HEAD + STORED + HEAD).unwrap();
    let tier = open(&folder, 1 << 20).unwrap();
    assert_eq!(tier.stats().records, 1);
    assert_eq!(get(&tier, label(2)), None);
    tier.append(label(2), &content(label(2))).unwrap();
    assert_eq!(get(&tier, label(2)), Some(content(label(2))));
}

#[test]
fn the_size_is_bounded_and_the_oldest_go() {
    let folder = TempDir::new().unwrap();
    let capacity = 16 * STORED;
    let tier = open(&folder, capacity).unwrap();
    for n in 0..100 {
        tier.append(label(n), &content(label(n))).unwrap();
        let there: u64 = files(&folder).iter().map(|file| file.metadata().unwrap().len()).sum();
        assert!(there <= capacity, "{there} bytes of {capacity}");
        assert_eq!(there, tier.stats().bytes);
        assert_eq!(get(&tier, label(n)), Some(content(label(n))));
    }
    let held: Vec<u32> = (0..100).filter(|n| tier.find(label(*n).key, 0).is_some()).collect();
    assert_eq!(held.last(), Some(&99));
    assert!(
        held.len() >= 9 && held.windows(2).all(|pair| pair[1] == pair[0] + 1),
        "{held:?}"
    );
    drop(tier);
    // A smaller one takes over.
    let tier = open(&folder, 5 * STORED).unwrap();
    assert!(tier.stats().bytes <= 5 * STORED);
    assert_eq!(get(&tier, label(0)), None);
    let smallest = open(&TempDir::new().unwrap(), 2 * STORED);
    assert_eq!(smallest.err().unwrap().kind(), ErrorKind::InvalidArgument);
    let tight = TempDir::new().unwrap();
    let tier = open(&tight, 2 * (STORED + 2 * HEAD)).unwrap();
    for n in 0..10 {
        tier.append(label(n), &content(label(n))).unwrap();
        assert_eq!(get(&tier, label(n)), Some(content(label(n))));
    }
}

#[test]
fn one_process_at_a_time_has_the_directory() {
    let folder = TempDir::new().unwrap();
    let tier = open(&folder, 1 << 20).unwrap();
    assert_eq!(open(&folder, 1 << 20).err().unwrap().kind(), ErrorKind::AlreadyExists);
    drop(tier);
    open(&folder, 1 << 20).unwrap();
}

#[test]
fn files_of_another_layout_are_refused_or_discarded_as_asked() {
    let folder = TempDir::new().unwrap();
    let tier = open(&folder, 1 << 20).unwrap();
    tier.append(label(1), &content(label(1))).unwrap();
    drop(tier);
    let other = Layout::new(crate::kv::physical::LayoutConfig {
        model: b"newer weights".to_vec(),
        ..layout(8, PageOrder::LayerFirst).config().clone()
    })
    .unwrap();
    let config = settings(&folder, 1 << 20);
    let refused = DiskTier::open(&config, &other).err().unwrap();
    assert_eq!(refused.kind(), ErrorKind::WrongFormat, "{refused}");
    assert_eq!(
        open(&folder, 1 << 20).unwrap().stats().reloaded,
        1,
        "refusing changes nothing"
    );
    let discard = DiskConfig {
        discard_other_layouts: true,
        ..config
    };
    let tier = DiskTier::open(&discard, &other).unwrap();
    assert_eq!((tier.stats().discarded, tier.stats().records), (1, 0));
    assert!(files(&folder).is_empty());
}

#[test]
fn what_is_no_file_of_ours_is_not_followed_nor_waited_for() {
    let folder = TempDir::new().unwrap();
    drop(open(&folder, 1 << 20).unwrap());
    let inside = folder.path().join("kv");
    std::os::unix::fs::symlink("/etc/passwd", inside.join("kv-00000000.seg")).unwrap();
    assert_eq!(open(&folder, 1 << 20).err().unwrap().kind(), ErrorKind::Io);
    std::fs::remove_file(inside.join("kv-00000000.seg")).unwrap();
    std::fs::create_dir(inside.join("kv-00000001.seg")).unwrap();
    assert_eq!(open(&folder, 1 << 20).err().unwrap().kind(), ErrorKind::Io);
    std::fs::remove_dir(inside.join("kv-00000001.seg")).unwrap();
    // Names that are none of ours are left alone.
    std::fs::write(inside.join("notes.txt"), "mine").unwrap();
    std::fs::write(inside.join("kv-1.seg"), "mine").unwrap();
    drop(open(&folder, 1 << 20).unwrap());
    assert_eq!(files(&folder).len(), 2);
}

/// What happens to a tier.
#[derive(Clone, Debug)]
enum Step {
    Put(u32, u32),
    Get(u32, u32),
    Restart,
    /// Changes a byte of some file.
    Damage(prop::sample::Index, prop::sample::Index, u8),
    /// Writes over a range of some file, from another place of the same.
    Smear(prop::sample::Index, prop::sample::Index, prop::sample::Index, u16),
    Cut(prop::sample::Index, prop::sample::Index),
    Retire(u32),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let index = any::<prop::sample::Index>;
    let step = prop_oneof![
        8 => (0u32..30, 0u32..2).prop_map(|(n, epoch)| Step::Put(n, epoch)),
        8 => (0u32..30, 0u32..2).prop_map(|(n, epoch)| Step::Get(n, epoch)),
        2 => Just(Step::Restart),
        2 => (index(), index(), 1u8..).prop_map(|(file, at, bits)| Step::Damage(file, at, bits)),
        1 => (index(), index(), index(), any::<u16>()).prop_map(|(file, from, to, len)| Step::Smear(file, from, to, len)),
        1 => (index(), index()).prop_map(|(file, at)| Step::Cut(file, at)),
        1 => (0u32..2).prop_map(Step::Retire),
    ];
    prop::collection::vec(step, 1..80)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Whatever happens to the files, what is read is what was written under that key and epoch, or nothing. As long as nothing was damaged
    /// and nothing had to go, everything is there.
    #[test]
    fn content_is_right_or_missing(steps in steps(), roomy: bool) {
        let folder = TempDir::new().unwrap();
        let capacity = if roomy { 1 << 20 } else { 12 * STORED };
        let mut tier = open(&folder, capacity).unwrap();
        let mut there = std::collections::HashSet::new();
        let mut damaged = false;
        for step in steps {
            match step {
                Step::Put(n, epoch) => {
                    let label = label_in(n, epoch);
                    tier.append(label, &content(label)).unwrap();
                    there.insert((n, epoch));
                }
                Step::Get(n, epoch) => {
                    let label = label_in(n, epoch);
                    let found = get(&tier, label);
                    if let Some(found) = &found {
                        prop_assert_eq!(found, &content(label));
                        prop_assert!(there.contains(&(n, epoch)));
                    }
                    if roomy && !damaged {
                        prop_assert_eq!(found.is_some(), there.contains(&(n, epoch)));
                    }
                }
                Step::Restart => {
                    drop(tier);
                    tier = open(&folder, capacity).unwrap();
                    if damaged {
                        let seen = tier.stats();
                        // What was damaged in the files that are left was noticed, or will be when it is read.
                        prop_assert!(seen.records <= there.len() as u64);
                    } else {
                        prop_assert_eq!((tier.stats().corrupt, tier.stats().torn, tier.stats().discarded), (0, 0, 0));
                    }
                }
                Step::Damage(file, at, bits) => {
                    let files = files(&folder);
                    if files.is_empty() { continue }
                    let file = File::options().read(true).write(true).open(&files[file.index(files.len())]).unwrap();
                    let at = at.index(file.metadata().unwrap().len().max(1) as usize) as u64;
                    let mut byte = [0];
                    if file.read_at(&mut byte, at).unwrap() == 1 {
                        file.write_all_at(&[byte[0] ^ bits], at).unwrap();
                        damaged = true;
                    }
                }
                Step::Smear(file, from, to, len) => {
                    let files = files(&folder);
                    if files.is_empty() { continue }
                    let path = &files[file.index(files.len())];
                    let mut bytes = std::fs::read(path).unwrap();
                    if bytes.is_empty() { continue }
                    let (from, to) = (from.index(bytes.len()), to.index(bytes.len()));
                    let len = usize::from(len).min(bytes.len() - from.max(to));
                    bytes.copy_within(from..from + len, to);
                    // In place, so that the open tier sees it too.
                    File::options().write(true).open(path).unwrap().write_all_at(&bytes, 0).unwrap();
                    damaged = true;
                }
                Step::Cut(file, at) => {
                    let files = files(&folder);
                    if files.is_empty() { continue }
                    let file = File::options().write(true).open(&files[file.index(files.len())]).unwrap();
                    let len = file.metadata().unwrap().len();
                    file.set_len(at.index(len.max(1) as usize) as u64).unwrap();
                    damaged = true;
                }
                Step::Retire(epoch) => {
                    tier.retire(epoch);
                    // Records of other epochs stay in files that have some of this one, and a restart finds them again.
                    damaged = true;
                }
            }
        }
        let all: Vec<Label> = (0..30).flat_map(|n| [label_in(n, 0), label_in(n, 1)]).collect();
        tier.scrub().unwrap();
        for label in all {
            if let Some(found) = get(&tier, label) {
                prop_assert_eq!(found, content(label));
            }
        }
    }
}
