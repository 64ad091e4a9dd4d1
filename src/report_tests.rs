use std::fs;
use std::sync::Mutex;
use std::time::Duration;

use serde_json::Value;

use super::*;
use crate::event::{
    Changed, Copied, End, Failure, Kind, Ledger, Note, Outcome, Side, Stage, Summary, Tally,
};
use crate::oci::{Digest, Pinned};
use crate::plan;
use crate::plan::{JobId, Plan, Rewrite};

/// The plan of a list that goes to `d.io`.
pub(super) fn plan_of(text: &str) -> Arc<Plan> {
    let parsed = list::parse("images.txt", text.as_bytes()).unwrap();
    assert!(parsed.bad.is_empty(), "{:?}", parsed.bad);
    Arc::new(plan::plan(parsed.entries, &to_d()).unwrap())
}

pub(super) fn to_d() -> Rewrite {
    Rewrite {
        destination_registry: Some("d.io".parse().unwrap()),
        ..Rewrite::default()
    }
}

/// What skipping the bad lines of `text` leaves.
pub(super) fn skipped_of(text: &str) -> Vec<Skipped> {
    let parsed = list::parse("images.txt", text.as_bytes()).unwrap();
    parsed.bad.iter().map(Skipped::unread).collect()
}

pub(super) fn copied(plan: &Plan, job: usize) -> Copied {
    let job = plan.job(JobId::new(job)).unwrap();
    let digest = Digest::sha256(job.source.to_string().as_bytes());
    Copied {
        image: Pinned {
            repository: job.destination.repository.clone(),
            digest,
        },
        source: digest,
        changed: None,
        tally: Tally {
            blobs_copied: 5,
            blobs_mounted: 2,
            blobs_present: 0,
            manifests_pushed: 1,
            bytes: 12_900_000,
        },
        validation: None,
        signing: None,
    }
}

pub(super) fn denied() -> Failure {
    let mut failure = Failure::because(
        Stage::Transfer,
        Some(Side::Destination),
        Kind::Unauthorized,
        "destination refused a blob (403 after 1 attempt)",
    );
    failure.causes = failure
        .causes
        .iter()
        .cloned()
        .chain(["DENIED: access is denied".to_owned()])
        .collect();
    failure
}

pub(super) fn cancelled() -> Failure {
    Failure::because(Stage::Run, None, Kind::Cancelled, "the run was interrupted")
}

pub(super) fn finished(job: usize, outcome: Outcome) -> Event {
    Event::Finished {
        job: JobId::new(job),
        outcome,
        elapsed: Duration::from_millis(3200),
    }
}

/// All events of a run in which the jobs end with `outcomes`.
pub(super) fn run_of(outcomes: &[Outcome], skipped: usize, end: End) -> Vec<Event> {
    let mut ledger = Ledger::new(outcomes.len(), skipped);
    let mut events = vec![Event::Began {
        jobs: outcomes.len(),
        warnings: Vec::new(),
    }];
    for (position, outcome) in outcomes.iter().enumerate() {
        let job = JobId::new(position);
        ledger.finish(job, outcome).unwrap();
        if outcome.copied().is_some() || matches!(outcome, Outcome::Failed(_)) {
            events.push(Event::Started { job });
        }
        events.push(finished(position, outcome.clone()));
    }
    events.push(Event::Ended {
        summary: ledger.summary().clone(),
        end,
    });
    events
}

pub(super) fn tell(reporter: &mut dyn Reporter, events: &[Event]) {
    for event in events {
        reporter.event(event).unwrap();
        reporter.tick().unwrap();
    }
}

/// A moment that does not move: 2001-09-09T01:46:40Z.
pub(super) fn then() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000)
}

/// A plan of five jobs and their ends, one of each sort.
pub(super) fn assorted() -> (Arc<Plan>, Vec<Outcome>) {
    let plan = plan_of(
        "q.io/a/one:1\n\
         nginx:1.27 # the\tproxy\n\
         q.io/a/one:1\n\
         q.io/a/kept:1\n\
         q.io/a/late:1\n",
    );
    let mut kept = copied(&plan, 3);
    kept.image.digest = Digest::sha256(b"other");
    kept.tally = Tally::default();
    let mut made = copied(&plan, 0);
    made.image.digest = Digest::sha256(b"made");
    made.changed = Some(Changed::Selected);
    let outcomes = vec![
        Outcome::Copied(made),
        Outcome::Failed(denied()),
        Outcome::Duplicate { of: JobId::new(0) },
        Outcome::Kept(kept),
        Outcome::NotTried(cancelled()),
    ];
    (plan, outcomes)
}

#[test]
fn the_document_says_all() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report.json");
    let (plan, outcomes) = assorted();
    let skipped = skipped_of("nginx:\n");
    let mut document = Document::create(&path, &plan, &skipped, "mirror", then).unwrap();
    assert!(!path.exists());
    let mut events = run_of(&outcomes, 1, End::Interrupted);
    events.insert(
        2,
        Event::Noted {
            job: JobId::new(0),
            note: Note::SignaturesDropped { count: 2 },
        },
    );
    tell(&mut document, &events);
    let text = fs::read_to_string(&path).unwrap();
    let value: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["schema"], "consign.report/1");
    assert_eq!(value["command"], "mirror");
    assert_eq!(value["began"], "2001-09-09T01:46:40.000Z");
    assert_eq!(value["ended"], "2001-09-09T01:46:40.000Z");
    assert_eq!(value["end"], "interrupted");
    assert_eq!(value["exit_code"], 130);
    assert_eq!(
        value["summary"],
        serde_json::json!({
            "copied": 1, "up_to_date": 0, "kept": 1, "duplicates": 1, "failed": 1, "not_tried": 1,
            "signed": 0, "already_signed": 0, "accepted": 0, "not_verified": 0, "not_signed": 0, "rejected": 0, "undetermined": 0,
            "skipped": 1,
            "kinds": {"cancelled": 1, "unauthorized": 1},
            "tally": {
                "blobs_copied": 5, "blobs_mounted": 2, "blobs_present": 0, "manifests_pushed": 1,
                "bytes": 12_900_000
            },
        })
    );
    assert_eq!(value["skipped"][0]["line"], 1);
    assert_eq!(value["skipped"][0]["column"], 7);
    let lines = value["lines"].as_array().unwrap();
    assert_eq!(lines.len(), 5);
    assert_eq!(
        lines[0],
        serde_json::json!({
            "job": 0, "file": "images.txt", "line": 1, "text": "q.io/a/one:1",
            "source": "q.io/a/one:1", "destination": "d.io/a/one:1",
            "outcome": "copied", "elapsed_ms": 3200,
            "source_digest": Digest::sha256(b"q.io/a/one:1"),
            "digest": Digest::sha256(b"made"),
            "changed": "selected",
            "tally": {
                "blobs_copied": 5, "blobs_mounted": 2, "blobs_present": 0, "manifests_pushed": 1,
                "bytes": 12_900_000
            },
            "notes": [{"note": "signatures-dropped", "count": 2}],
        })
    );
    assert_eq!(lines[1]["text"], "nginx:1.27 # the\tproxy");
    assert_eq!(
        lines[1]["failure"],
        serde_json::json!({
            "stage": "transfer", "side": "destination", "kind": "unauthorized",
            "causes": [
                "destination refused a blob (403 after 1 attempt)", "DENIED: access is denied"
            ],
        })
    );
    assert!(
        lines[1]["hint"]
            .as_str()
            .unwrap()
            .contains("log in to `d.io`")
    );
    assert_eq!(
        lines[2]["duplicate_of"],
        serde_json::json!({"job": 0, "file": "images.txt", "line": 1})
    );
    assert_eq!(lines[3]["outcome"], "kept");
    assert_eq!(lines[4]["failure"].get("side"), None);
}

#[test]
fn ten_thousand_failures_fit_in_a_document() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report.json");
    let list: Vec<String> = (0..10_000).map(|i| format!("q.io/a/x{i}:1")).collect();
    let plan = plan_of(&list.join("\n"));
    let outcomes = vec![Outcome::Failed(denied()); 10_000];
    let mut document = Document::create(&path, &plan, &[], "mirror", then).unwrap();
    tell(&mut document, &run_of(&outcomes, 0, End::Completed));
    let value: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    assert_eq!(value["lines"].as_array().unwrap().len(), 10_000);
    assert_eq!(value["exit_code"], 1);
}

#[test]
fn lines_are_one_object_each() {
    let (plan, outcomes) = assorted();
    let skipped = skipped_of("a b\n");
    let mut out = Vec::new();
    let mut lines = Lines::new(&mut out, &plan, &skipped, then);
    tell(&mut lines, &run_of(&outcomes, 1, End::Completed));
    lines
        .event(&Event::Noted {
            job: JobId::new(1),
            note: Note::remark("two\nlines"),
        })
        .unwrap();
    let text = String::from_utf8(out).unwrap();
    let values: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let words: Vec<&str> = values
        .iter()
        .map(|v| v["event"].as_str().unwrap())
        .collect();
    assert_eq!(
        words,
        [
            "began", "skipped", "started", "finished", "started", "finished", "finished",
            "started", "finished", "finished", "ended", "noted"
        ]
    );
    assert!(
        values
            .iter()
            .all(|v| v["time"] == "2001-09-09T01:46:40.000Z")
    );
    assert_eq!(values[0]["jobs"], 5);
    assert_eq!(values[1]["column"], 3);
    assert_eq!(values[2]["destination"], "d.io/a/one:1");
    assert_eq!(values[5]["failure"]["kind"], "unauthorized");
    assert_eq!(values[5]["line"], 2);
    assert_eq!(values[10]["exit_code"], 1);
    assert_eq!(values[11]["remark"], "two lines");
}

#[test]
fn digests_are_a_list_of_what_was_mirrored() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("digests.txt");
    fs::write(&path, "old\n").unwrap();
    let (plan, mut outcomes) = assorted();
    outcomes[4] = Outcome::UpToDate(copied(&plan, 4));
    let mut digests = Digests::create(&path, &plan).unwrap();
    let events = run_of(&outcomes, 0, End::Terminated);
    let (last, before) = events.split_last().unwrap();
    tell(&mut digests, before);
    assert_eq!(fs::read_to_string(&path).unwrap(), "old\n");
    tell(&mut digests, std::slice::from_ref(last));
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(
        text,
        format!(
            "d.io/a/one:1@{}\nd.io/a/late:1@{}\n",
            Digest::sha256(b"made"),
            Digest::sha256(b"q.io/a/late:1")
        )
    );
    let parsed = list::parse("digests.txt", text.as_bytes()).unwrap();
    assert_eq!((parsed.entries.len(), parsed.bad.len()), (2, 0));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn an_output_that_cannot_be_written_is_refused_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let (plan, _) = assorted();
    for path in [
        folder.path().to_owned(),
        folder.path().join("absent").join("file"),
        folder.path().join(".."),
    ] {
        let error = Digests::create(&path, &plan).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("cannot write the list of digests `/")
        );
        assert!(Document::create(&path, &plan, &[], "mirror", then).is_err());
        assert!(Failures::create(&path, &plan, &[], "mirror").is_err());
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[cfg(unix)]
#[test]
fn devices_are_written_and_links_followed_by_reports() {
    let folder = tempfile::tempdir().unwrap();
    let (plan, outcomes) = assorted();
    let mut null = Digests::create(std::path::Path::new("/dev/null"), &plan).unwrap();
    tell(&mut null, &run_of(&outcomes, 0, End::Completed));
    assert!(!fs::metadata("/dev/null").unwrap().is_file());
    let (real, link) = (folder.path().join("real"), folder.path().join("link"));
    fs::write(&real, "").unwrap();
    std::os::unix::fs::symlink(&real, &link).unwrap();
    let mut digests = Digests::create(&link, &plan).unwrap();
    tell(&mut digests, &run_of(&outcomes, 0, End::Completed));
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert!(!fs::read_to_string(&real).unwrap().is_empty());
}

#[test]
fn one_that_cannot_write_does_not_silence_the_others() {
    struct Broken;
    impl Reporter for Broken {
        fn event(&mut self, _: &Event) -> Result<(), Error> {
            Err(Error {
                what: "report",
                path: "x".to_owned(),
                reason: Reason::NotAFile,
            })
        }
    }
    #[derive(Clone, Default)]
    struct Heard(Arc<Mutex<Vec<Event>>>);
    impl Reporter for Heard {
        fn event(&mut self, event: &Event) -> Result<(), Error> {
            self.0.lock().unwrap().push(event.clone());
            Ok(())
        }
    }
    let heard = Heard::default();
    let mut all = Reporters::default();
    all.add(Broken);
    all.add(heard.clone());
    let event = Event::Ended {
        summary: Summary::default(),
        end: End::Completed,
    };
    assert!(all.event(&event).is_err());
    assert!(all.tick().is_ok());
    assert_eq!(*heard.0.lock().unwrap(), [event]);
}

#[test]
fn the_plan_is_written_for_people() {
    let plan = plan_of("a/x b/x 1\na/y b/x 1\nq.io/z\nq.io/z:latest\n");
    let mut out = Vec::new();
    write_plan_text(&plan, &Sources::new(), &mut out).unwrap();
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "images.txt:1: docker.io/a/x:1 -> d.io/b/x:1 (only if its digest is that of images.txt:2)\n\
         images.txt:2: docker.io/a/y:1 -> d.io/b/x:1 (only if its digest is that of images.txt:1)\n\
         images.txt:3: q.io/z:latest -> d.io/z:latest\n\
         images.txt:4: q.io/z:latest -> d.io/z:latest (duplicate of images.txt:3)\n\
         \n\
         4 lines: 3 to mirror, 1 duplicate, 1 destination wanted by different sources\n\
         from docker.io: 2 images\n\
         from q.io: 1 image\n\
         to d.io: 3 images\n"
    );
}

#[test]
fn the_plan_is_written_for_machines() {
    let plan = plan_of("a/x b/x 1\na/y b/x 1\nq.io/z\nq.io/z:latest\n");
    let mut out = Vec::new();
    write_plan_json(&plan, &Sources::new(), &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    let values: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(values.len(), 5);
    assert_eq!(values[0]["course"], "contested");
    assert_eq!(values[0]["contested_with"][0]["job"], 1);
    assert_eq!(values[2]["course"], "run");
    assert_eq!(values[3]["duplicate_of"]["line"], 3);
    assert_eq!(
        values[4],
        serde_json::json!({"summary": {
            "lines": 4, "distinct": 3, "duplicates": 1, "contested": 1,
            "sources": {"docker.io": 2, "q.io": 1}, "destinations": {"d.io": 3},
        }})
    );
}

#[test]
fn hints_name_the_side_that_failed() {
    let plan = plan_of("q.io/a/x:1\n");
    let job = &plan.jobs()[0];
    let of = |stage, side, kind| hint(job, &Failure::because(stage, side, kind, "c"));
    let said = of(Stage::Resolve, Some(Side::Source), Kind::Unauthorized).unwrap();
    assert!(said.starts_with("log in to `q.io` with pull rights to `a/x`"));
    let said = of(Stage::Transfer, Some(Side::Destination), Kind::NotFound).unwrap();
    assert!(said.contains("`a/x` at `d.io`"));
    let said = of(Stage::Transfer, Some(Side::Destination), Kind::Refused).unwrap();
    assert!(said.contains("--index rewrite"));
    assert_eq!(of(Stage::Verify, None, Kind::Rejected), None);
    for kind in Kind::ALL {
        for side in [None, Some(Side::Source), Some(Side::Destination)] {
            for stage in [Stage::Preflight, Stage::Plan, Stage::Transfer, Stage::Run] {
                let said = of(stage, side, kind).unwrap_or_default();
                assert!(!said.ends_with('.') && !said.contains('\n'), "{said}");
            }
        }
    }
}
