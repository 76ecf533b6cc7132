use std::os::unix::fs::FileExt;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use openraft::EntryPayload;
use openraft::entry::RaftEntry;
use openraft::storage::{RaftLogReader, RaftLogStorage, RaftLogStorageExt};
use openraft::vote::RaftLeaderId;

use super::*;
use crate::state::{Batch, Change};
use crate::types::{Entry, LogId, Vote};

/// A directory of one's own, gone when dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("tandem-home-{}-{number}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }

    fn open(&self, durable: bool, boot: &str) -> Home {
        Home::open_at(&self.0, "cache1", durable, boot).unwrap()
    }

    /// The newest segment.
    /// What is said of how far the log was written.
    fn mark(&self) -> Vec<u8> {
        fs::read(self.0.join("end")).unwrap()
    }

    fn segment(&self) -> PathBuf {
        let mut names: Vec<_> = fs::read_dir(&self.0)
            .unwrap()
            .map(|f| f.unwrap().path())
            .collect();
        names.retain(|p| p.file_name().unwrap().to_str().unwrap().starts_with("log-"));
        names.sort();
        names.pop().unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn log_id(index: u64) -> LogId {
    let leader = openraft::type_config::alias::LeaderIdOf::<crate::types::Types>::new(1, 7);
    LogId::new(leader.to_committed(), index)
}

fn entry(index: u64) -> Entry {
    let batch = Batch {
        stamp: index,
        changes: vec![Change::Register { nonce: index }; 20],
    };
    Entry::new(log_id(index), EntryPayload::Normal(Arc::new(batch)))
}

async fn fill(home: &Home, indexes: std::ops::Range<u64>) {
    let mut log = home.log.clone();
    log.save_vote(&Vote::new_committed(1, 7)).await.unwrap();
    for index in indexes {
        log.blocking_append([entry(index)]).await.unwrap();
    }
}

async fn indexes(home: &Home) -> Vec<u64> {
    let entries = home.log.clone().try_get_log_entries(..).await.unwrap();
    entries.iter().map(RaftEntry::index).collect()
}

#[test]
fn a_restart_keeps_identity_vote_and_log() {
    crate::sim::alone(async {
        for durable in [false, true] {
            let scratch = Scratch::new();
            let home = scratch.open(durable, "boot 1");
            let id = home.id;
            fill(&home, 0..50).await;
            drop(home);
            let home = scratch.open(durable, "boot 1");
            assert_eq!((home.id, home.lost.clone()), (id, None));
            assert_eq!(indexes(&home).await, (0..50).collect::<Vec<_>>());
            assert_eq!(
                home.log.clone().read_vote().await.unwrap(),
                Some(Vote::new_committed(1, 7))
            );
            assert_eq!(
                home.log.clone().try_get_log_entries(7..8).await.unwrap(),
                [entry(7)]
            );
        }
    });
}

#[test]
fn a_reboot_loses_the_state_unless_it_was_durable() {
    crate::sim::alone(async {
        for (durable, survives) in [(false, false), (true, true)] {
            let scratch = Scratch::new();
            let home = scratch.open(durable, "boot 1");
            let id = home.id;
            fill(&home, 0..5).await;
            drop(home);
            let home = scratch.open(durable, "boot 2");
            assert_eq!(home.id == id, survives);
            assert_eq!(home.lost.is_none(), survives, "{:?}", home.lost);
            assert_eq!(indexes(&home).await.len(), if survives { 5 } else { 0 });
        }
    });
}

#[test]
fn what_was_not_durable_is_made_so_when_it_is_asked_for() {
    crate::sim::alone(async {
        let scratch = Scratch::new();
        let id = scratch.open(false, "boot 1").id;
        assert_eq!(scratch.open(true, "boot 1").id, id);
        assert_eq!(scratch.open(true, "boot 2").id, id);
    });
}

/// Appends an entry whose flush nobody waits for.
async fn append_and_leave(home: &Home, index: u64) {
    let callback = openraft::storage::IOFlushed::noop();
    home.log
        .clone()
        .append([entry(index)], callback)
        .await
        .unwrap();
}

#[test]
fn what_a_process_was_killed_before_flushing_is_flushed_before_it_counts_as_written() {
    crate::sim::alone(async {
        for _ in 0..20 {
            let scratch = Rc::new(Scratch::new());
            let (tell, told) = tokio::sync::oneshot::channel();
            let there = scratch.clone();
            crate::sim::world::spawn_on(1, async move {
                let home = there.open(true, "boot 1");
                fill(&home, 0..5).await;
                append_and_leave(&home, 5).await;
                let _ = tell.send(home.id);
                std::future::pending::<()>().await;
            });
            let id = told.await.unwrap();
            crate::sim::world::kill(1);
            // Who is back tells the leader what it has, and that counts.
            let home = scratch.open(true, "boot 1");
            assert_eq!(indexes(&home).await, (0..6).collect::<Vec<_>>());
            drop(home);
            crate::sim::disk::lose_power(&scratch.0);
            let home = scratch.open(true, "boot 2");
            assert_eq!((home.id, home.lost.clone()), (id, None));
            assert_eq!(indexes(&home).await, (0..6).collect::<Vec<_>>());
        }
    });
}

#[test]
fn what_a_disk_failed_to_flush_is_written_again_and_not_only_flushed_again() {
    crate::sim::alone(async {
        for _ in 0..20 {
            let scratch = Scratch::new();
            let home = scratch.open(true, "boot 1");
            let id = home.id;
            fill(&home, 0..5).await;
            crate::sim::disk::fail_once();
            let mut log = home.log.clone();
            assert!(log.blocking_append([entry(5)]).await.is_err());
            // Nothing is flushed any more: that would succeed, without what was dropped.
            assert!(log.blocking_append([entry(6)]).await.is_err());
            drop((log, home));
            let home = scratch.open(true, "boot 1");
            assert_eq!(indexes(&home).await, (0..7).collect::<Vec<_>>());
            fill(&home, 7..8).await;
            drop(home);
            crate::sim::disk::lose_power(&scratch.0);
            let home = scratch.open(true, "boot 2");
            assert_eq!((home.id, home.lost.clone()), (id, None));
            assert_eq!(indexes(&home).await, (0..8).collect::<Vec<_>>());
        }
    });
}

#[test]
fn that_a_state_is_durable_no_more_is_known_after_a_power_cut() {
    crate::sim::alone(async {
        for _ in 0..20 {
            let scratch = Scratch::new();
            let home = scratch.open(true, "boot 1");
            fill(&home, 0..5).await;
            drop(home);
            let mark = scratch.mark();
            let home = scratch.open(false, "boot 1");
            let id = home.id;
            // Acknowledged without waiting for the disk.
            fill(&home, 5..10).await;
            drop(home);
            crate::sim::disk::lose_power(&scratch.0);
            fs::write(scratch.0.join("end"), mark).unwrap();
            let home = scratch.open(false, "boot 2");
            assert_ne!(home.id, id);
            assert!(home.lost.is_some());
        }
    });
}

#[test]
fn the_record_that_was_being_written_when_the_process_was_killed_is_cut_off() {
    crate::sim::alone(async {
        for cut in [1, 5, 8, 30] {
            let scratch = Scratch::new();
            let home = scratch.open(false, "boot");
            let id = home.id;
            fill(&home, 0..9).await;
            let whole = fs::metadata(scratch.segment()).unwrap().len();
            let mark = scratch.mark();
            fill(&home, 9..10).await;
            drop(home);
            fs::write(scratch.0.join("end"), mark).unwrap();
            let file = fs::OpenOptions::new()
                .write(true)
                .open(scratch.segment())
                .unwrap();
            file.set_len(whole + cut).unwrap();
            let home = scratch.open(false, "boot");
            assert_eq!((home.id, home.lost.clone()), (id, None));
            assert_eq!(indexes(&home).await, (0..9).collect::<Vec<_>>());
            fill(&home, 9..12).await;
            drop(home);
            assert_eq!(
                indexes(&scratch.open(false, "boot")).await,
                (0..12).collect::<Vec<_>>()
            );
        }
    });
}

#[test]
fn a_corrupted_record_is_a_lost_state_and_a_new_identity() {
    crate::sim::alone(async {
        let scratch = Scratch::new();
        let home = scratch.open(false, "boot");
        let id = home.id;
        fill(&home, 0..20).await;
        drop(home);
        for (from_end, what) in [(400, "in the middle"), (3, "in the last record")] {
            let aside = Scratch::new();
            fs::create_dir(&aside.0).unwrap();
            for file in fs::read_dir(&scratch.0).unwrap().map(Result::unwrap) {
                fs::copy(file.path(), aside.0.join(file.file_name())).unwrap();
            }
            let size = fs::metadata(aside.segment()).unwrap().len();
            let file = fs::OpenOptions::new()
                .write(true)
                .read(true)
                .open(aside.segment())
                .unwrap();
            let mut byte = [0];
            file.read_exact_at(&mut byte, size - from_end).unwrap();
            file.write_all_at(&[byte[0] ^ 0x10], size - from_end)
                .unwrap();
            let home = aside.open(false, "boot");
            assert_ne!(home.id, id, "{what}");
            assert!(home.lost.is_some(), "{what}");
            assert!(home.log.is_blank(), "{what}");
            assert!(aside.0.join(LOST).join(IDENTITY).exists(), "{what}");
            drop(home);
            assert_eq!(aside.open(false, "boot").lost, None);
        }
    });
}

#[test]
fn sectors_that_a_power_cut_left_unwritten_are_cut_off_with_durable_and_a_lost_state_without() {
    crate::sim::alone(async {
        let scratch = Scratch::new();
        let home = scratch.open(true, "boot 1");
        let id = home.id;
        let (mut ends, mut marks) = (Vec::new(), vec![scratch.mark()]);
        for index in 0..60 {
            fill(&home, index..index + 1).await;
            ends.push(fs::metadata(scratch.segment()).unwrap().len() as usize);
            marks.push(scratch.mark());
        }
        drop(home);
        let size = *ends.last().unwrap();
        assert!(size > 3 * 512, "{size}");
        for written in (0..size).step_by(512) {
            let copy = damaged(&scratch, |bytes| bytes[written..].fill(0));
            let whole = ends.iter().filter(|end| **end <= written).count() as u64;
            fs::write(copy.0.join("end"), &marks[whole as usize]).unwrap();
            let home = copy.open(true, "boot 2");
            assert_eq!((home.id, home.lost.clone()), (id, None), "{written}");
            assert_eq!(indexes(&home).await, (0..whole).collect::<Vec<_>>());
            fill(&home, whole..whole + 2).await;
            drop(home);
            let home = copy.open(true, "boot 3");
            assert_eq!(indexes(&home).await.len() as u64, whole + 2, "{written}");
        }
        let scratch = Scratch::new();
        let home = scratch.open(false, "boot");
        fill(&home, 0..60).await;
        drop(home);
        let copy = damaged(&scratch, |bytes| bytes[1024..].fill(0));
        assert!(copy.open(false, "boot").lost.is_some());
    });
}

#[test]
fn a_log_that_was_cut_anywhere_is_a_lost_state_also_where_a_record_ends() {
    crate::sim::alone(async {
        for durable in [false, true] {
            let scratch = Scratch::new();
            let home = scratch.open(durable, "boot");
            let id = home.id;
            let mut ends = vec![0];
            for index in 0..8 {
                fill(&home, index..index + 1).await;
                ends.push(fs::metadata(scratch.segment()).unwrap().len() as usize);
            }
            drop(home);
            let size = ends.pop().unwrap();
            let between = (1..size).step_by(13);
            for cut in ends.into_iter().chain(between) {
                let copy = damaged(&scratch, |bytes| bytes.truncate(cut));
                let home = copy.open(durable, "boot");
                assert_ne!(home.id, id, "{cut} of {size} are left");
                assert!(home.lost.is_some(), "{cut} of {size} are left");
            }
            let home = scratch.open(durable, "boot");
            assert_eq!((home.id, home.lost.clone()), (id, None));
        }
    });
}

#[test]
fn a_part_of_the_state_that_is_missing_is_a_lost_state() {
    crate::sim::alone(async {
        for missing in [IDENTITY, "vote", "newest", "end"] {
            for empty in [false, true] {
                let scratch = Scratch::new();
                let home = scratch.open(false, "boot");
                fill(&home, 0..3).await;
                drop(home);
                let path = scratch.0.join(missing);
                if empty {
                    fs::write(path, "").unwrap();
                } else {
                    fs::remove_file(path).unwrap();
                }
                assert!(scratch.open(false, "boot").lost.is_some(), "{missing}");
            }
        }
    });
}

#[test]
fn an_identity_from_which_everything_else_was_taken_is_a_lost_state() {
    crate::sim::alone(async {
        for written in [0, 3] {
            let scratch = Scratch::new();
            let home = scratch.open(false, "boot");
            let id = home.id;
            fill(&home, 0..written).await;
            drop(home);
            for file in fs::read_dir(&scratch.0).unwrap().map(Result::unwrap) {
                if file.file_name() != IDENTITY {
                    fs::remove_file(file.path()).unwrap();
                }
            }
            let home = scratch.open(false, "boot");
            assert_ne!(home.id, id);
            assert!(home.lost.is_some());
        }
    });
}

#[test]
fn a_new_replica_that_is_started_again_before_it_has_anything_is_who_it_was() {
    crate::sim::alone(async {
        let scratch = Scratch::new();
        let id = scratch.open(false, "boot").id;
        let home = scratch.open(false, "boot");
        assert_eq!((home.id, home.lost.clone()), (id, None));
    });
}

#[test]
fn a_log_whose_newest_segments_are_missing_is_a_lost_state() {
    crate::sim::alone(async {
        for left in 0..3 {
            let scratch = Scratch::new();
            let home = scratch.open(false, "boot");
            home.log.set_segment(1);
            let id = home.id;
            fill(&home, 0..3).await;
            drop(home);
            for _ in left..3 {
                fs::remove_file(scratch.segment()).unwrap();
            }
            let home = scratch.open(false, "boot");
            assert_ne!(home.id, id, "{left} of 3 segments are left");
            assert!(home.lost.is_some(), "{left} of 3 segments are left");
        }
    });
}

#[test]
fn segments_that_were_cut_off_or_purged_are_not_missed() {
    crate::sim::alone(async {
        for kept in [None, Some(log_id(0)), Some(log_id(1))] {
            let scratch = Scratch::new();
            let home = scratch.open(false, "boot");
            home.log.set_segment(1);
            let id = home.id;
            fill(&home, 0..4).await;
            home.log.clone().truncate_after(kept).await.unwrap();
            drop(home);
            let home = scratch.open(false, "boot");
            assert_eq!((home.id, home.lost.clone()), (id, None), "{kept:?}");
        }
        let scratch = Scratch::new();
        let home = scratch.open(false, "boot");
        let id = home.id;
        fill(&home, 0..4).await;
        let meta = SnapshotMeta {
            last_log_id: Some(log_id(3)),
            ..SnapshotMeta::default()
        };
        crate::snapshot::write(&scratch.0, &meta, State::default().view(), Pace::at_once())
            .unwrap()
            .make_current(&scratch.0, false)
            .unwrap();
        home.log.clone().purge(log_id(3)).await.unwrap();
        drop(home);
        let home = scratch.open(false, "boot");
        assert_eq!((home.id, home.lost.clone()), (id, None));
    });
}

#[test]
fn a_log_whose_snapshot_is_missing_is_a_lost_state() {
    crate::sim::alone(async {
        let scratch = Scratch::new();
        let home = scratch.open(false, "boot");
        fill(&home, 0..30).await;
        home.log.clone().purge(log_id(10)).await.unwrap();
        assert_eq!(indexes(&home).await, (11..30).collect::<Vec<_>>());
        drop(home);
        let lost = scratch.open(false, "boot").lost;
        assert!(
            lost.as_ref().is_some_and(|why| why.contains("snapshot")),
            "{lost:?}"
        );
    });
}

#[test]
fn truncated_entries_do_not_come_back() {
    crate::sim::alone(async {
        let scratch = Scratch::new();
        let home = scratch.open(false, "boot");
        fill(&home, 0..20).await;
        home.log
            .clone()
            .truncate_after(Some(log_id(4)))
            .await
            .unwrap();
        fill(&home, 5..7).await;
        drop(home);
        assert_eq!(
            indexes(&scratch.open(false, "boot")).await,
            (0..7).collect::<Vec<_>>()
        );
    });
}

#[test]
fn a_snapshot_that_was_begun_and_is_nobody_s_any_more_is_taken_away() {
    crate::sim::alone(async {
        let scratch = Scratch::new();
        let home = scratch.open(false, "boot");
        let id = home.id;
        fill(&home, 0..4).await;
        drop(home);
        let begun = ["snapshot.building", "snapshot.incoming-17"].map(|name| scratch.0.join(name));
        for path in &begun {
            fs::write(path, "begun").unwrap();
        }
        let home = scratch.open(false, "boot");
        assert_eq!((home.id, home.lost.clone()), (id, None));
        assert!(begun.iter().all(|path| !path.exists()));
        let incoming = snapshot::Incoming::begin(&scratch.0, 18).unwrap();
        incoming.write_at(b"a snapshot", 0).unwrap();
        let received = incoming.received().unwrap();
        let path = scratch.0.join("snapshot.incoming-18");
        assert!(path.exists());
        drop(received);
        assert!(!path.exists(), "it was not installed");
        let incoming = snapshot::Incoming::begin(&scratch.0, 19).unwrap();
        let received = incoming.received().unwrap();
        received.make_current(&scratch.0, false).unwrap();
        drop(received);
        assert!(scratch.0.join("snapshot").exists(), "it was installed");
    });
}

#[test]
fn a_directory_is_not_free_before_a_flush_that_was_begun_is_over() {
    crate::sim::alone(async {
        let scratch = Scratch::new();
        let home = scratch.open(true, "boot");
        fill(&home, 0..4).await;
        append_and_leave(&home, 4).await;
        drop(home);
        let error = Home::open_at(&scratch.0, "cache1", true, "boot").err();
        assert_eq!(
            error.map(|error| error.kind()),
            Some(io::ErrorKind::ResourceBusy)
        );
        crate::rt::sleep(std::time::Duration::from_secs(1)).await;
        assert_eq!(indexes(&scratch.open(true, "boot")).await.len(), 5);
    });
}

#[test]
fn another_node_s_state_is_left_alone() {
    crate::sim::alone(async {
        let scratch = Scratch::new();
        let id = scratch.open(false, "boot").id;
        let error = Home::open_at(&scratch.0, "cache2", false, "boot")
            .err()
            .unwrap();
        assert!(error.to_string().contains("node cache1"), "{error}");
        assert_eq!(scratch.open(false, "boot").id, id);
    });
}

#[test]
fn which_cluster_a_state_is_of_goes_with_it_and_what_holds_nothing_is_of_none() {
    crate::sim::alone(async {
        let scratch = Scratch::new();
        let record = |id| belonging::write(&scratch.0, id, false).unwrap();
        drop(scratch.open(false, "boot"));
        record(7);
        // It was about to form that one.
        let home = scratch.open(false, "boot");
        assert_eq!(home.cluster, None);
        fill(&home, 0..3).await;
        drop(home);
        assert_eq!(scratch.open(false, "boot").cluster, Some(7));
        // With the state it is lost.
        let home = scratch.open(false, "another boot");
        assert!(home.lost.is_some());
        assert_eq!((home.cluster, belonging::read(&scratch.0)), (None, None));
    });
}

#[test]
fn two_processes_cannot_share_a_state() {
    crate::sim::alone(async {
        let scratch = Scratch::new();
        let _held = scratch.open(false, "boot");
        let error = Home::open_at(&scratch.0, "cache1", false, "boot")
            .err()
            .unwrap();
        assert_eq!(error.kind(), io::ErrorKind::ResourceBusy);
    });
}

/// A copy of a state directory in which one thing was changed.
fn damaged(from: &Scratch, damage: impl FnOnce(&mut Vec<u8>)) -> Scratch {
    let copy = Scratch::new();
    fs::create_dir(&copy.0).unwrap();
    for file in fs::read_dir(&from.0).unwrap().map(Result::unwrap) {
        fs::copy(file.path(), copy.0.join(file.file_name())).unwrap();
    }
    let mut bytes = fs::read(copy.segment()).unwrap();
    damage(&mut bytes);
    fs::write(copy.segment(), bytes).unwrap();
    copy
}

#[test]
fn whatever_byte_of_the_log_is_damaged_nothing_of_it_is_replayed_under_the_old_identity() {
    crate::sim::alone(async {
        let scratch = Scratch::new();
        let home = scratch.open(false, "boot");
        let id = home.id;
        fill(&home, 0..4).await;
        drop(home);
        let size = fs::metadata(scratch.segment()).unwrap().len();
        // The lengths, the checksums and the payloads of every record, the last one's too, and the file's header.
        for at in 0..size as usize {
            let copy = damaged(&scratch, |bytes| bytes[at] ^= 1 << (at % 8));
            let home = copy.open(false, "boot");
            assert_ne!(home.id, id, "byte {at} of {size}");
            assert!(home.log.is_blank() && home.lost.is_some(), "byte {at}");
        }
    });
}

#[test]
fn a_record_that_is_missing_doubled_or_of_another_place_is_a_lost_state() {
    crate::sim::alone(async {
        let scratch = Scratch::new();
        let home = scratch.open(false, "boot");
        let id = home.id;
        fill(&home, 0..1).await;
        let begin = fs::metadata(scratch.segment()).unwrap().len() as usize;
        fill(&home, 1..2).await;
        let end = fs::metadata(scratch.segment()).unwrap().len() as usize;
        fill(&home, 2..4).await;
        drop(home);
        type Damage = Box<dyn FnOnce(&mut Vec<u8>)>;
        let kinds: [(&str, Damage); 6] = [
            ("missing", Box::new(move |b| drop(b.drain(begin..end)))),
            (
                "doubled",
                Box::new(move |b| {
                    let record = b[begin..end].to_vec();
                    b.splice(end..end, record);
                }),
            ),
            (
                "zeros in the place of the last ones",
                Box::new(move |b| b[end..].fill(0)),
            ),
            (
                "zeros in the middle",
                Box::new(move |b| b[begin..end].fill(0)),
            ),
            (
                "cut in the middle and followed by others",
                Box::new(move |b| drop(b.drain(end - 5..end))),
            ),
            (
                "something unknown behind the end",
                Box::new(|b| b.extend_from_slice(&[0x55; 300])),
            ),
        ];
        for (what, damage) in kinds {
            let home = damaged(&scratch, damage).open(false, "boot");
            assert_ne!(home.id, id, "{what}");
            assert!(home.log.is_blank() && home.lost.is_some(), "{what}");
        }
    });
}

#[test]
fn a_damaged_snapshot_vote_or_identity_is_a_lost_state() {
    crate::sim::alone(async {
        let scratch = Scratch::new();
        let home = scratch.open(false, "boot");
        let id = home.id;
        fill(&home, 0..4).await;
        let meta = SnapshotMeta {
            last_log_id: Some(log_id(2)),
            ..SnapshotMeta::default()
        };
        crate::snapshot::write(&scratch.0, &meta, State::default().view(), Pace::at_once())
            .unwrap()
            .make_current(&scratch.0, false)
            .unwrap();
        drop(home);
        assert_eq!(scratch.open(false, "boot").id, id, "as it should be");
        for name in ["snapshot", "vote", "newest", IDENTITY] {
            let size = fs::metadata(scratch.0.join(name)).unwrap().len();
            for at in 0..size as usize {
                let copy = damaged(&scratch, |_| {});
                let mut bytes = fs::read(copy.0.join(name)).unwrap();
                bytes[at] ^= 1 << (at % 8);
                fs::write(copy.0.join(name), bytes).unwrap();
                let home = copy.open(false, "boot");
                assert_ne!(home.id, id, "byte {at} of {name}");
            }
            let cut = damaged(&scratch, |_| {});
            let bytes = fs::read(cut.0.join(name)).unwrap();
            fs::write(cut.0.join(name), &bytes[..bytes.len() - 1]).unwrap();
            assert_ne!(cut.open(false, "boot").id, id, "{name} cut short");
        }
    });
}

#[test]
fn who_was_taken_in_by_a_cluster_forms_no_other_one() {
    crate::sim::alone(async {
        let scratch = Scratch::new();
        let home = scratch.open(false, "boot");
        let belonging = Belonging::new(&scratch.0, None, false, &home.hold);
        assert!(belonging.join(1).await.unwrap());
        assert!(belonging.form(2).await.is_err());
        assert_eq!(belonging.id().get(), Some(1));
        assert_eq!(super::belonging::read(&scratch.0), Some(1));
        // Nor does who forms one become part of another.
        belonging.leave().await;
        belonging.form(2).await.unwrap();
        assert!(!belonging.join(1).await.unwrap());
    });
}
