use std::path::PathBuf;

use proptest::prelude::*;

use super::super::tests::{
    assorted, cancelled, copied, denied, finished, plan_of, run_of, skipped_of, tell, to_d,
};
use super::*;
use crate::event::{End, Stage, Summary};
use crate::limits::input::{LIST_BYTES_MAX, LIST_LINES_MAX, LIST_TEXT_BYTES_MAX};
use crate::list;
use crate::plan;

struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("mirror-failed.txt")
    }

    fn text(&self) -> String {
        fs::read_to_string(self.path()).unwrap()
    }

    /// The files in the folder; nothing may be left beside the list.
    fn files(&self) -> usize {
        fs::read_dir(self.folder.path()).unwrap().count()
    }
}

const HEAD: &str = "# consign failed list, format 1\n\
    # What `consign mirror` has left to do. Run the same command again with this file as its list.\n";

fn refusal(path: &Path) -> Reason {
    let (plan, _) = assorted();
    Failures::create(path, &plan, &[], "mirror")
        .unwrap_err()
        .reason
}

#[test]
fn every_line_is_not_tried_at_the_start() {
    let place = Place::new();
    let (plan, _) = assorted();
    let list = Failures::create(&place.path(), &plan, &[], "mirror").unwrap();
    assert_eq!(list.path(), place.path());
    assert_eq!(
        place.text(),
        format!(
            "{HEAD}\
             # not-tried images.txt:1\nq.io/a/one:1\n\
             # not-tried images.txt:2\nnginx:1.27 # the\tproxy\n\
             # not-tried images.txt:4\nq.io/a/kept:1\n\
             # not-tried images.txt:5\nq.io/a/late:1\n"
        )
    );
    assert_eq!(place.files(), 1);
}

#[test]
fn at_the_end_it_holds_what_is_left_and_why() {
    let place = Place::new();
    let (plan, outcomes) = assorted();
    let skipped = skipped_of("ok:1\nnginx: \u{1b}[2J\n");
    let mut list = Failures::create(&place.path(), &plan, &skipped, "mirror").unwrap();
    tell(&mut list, &run_of(&outcomes, 1, End::Interrupted));
    assert_eq!(
        place.text(),
        format!(
            "{HEAD}\
             # failed stage=transfer side=destination kind=unauthorized images.txt:2: destination \
             refused a blob (403 after 1 attempt): DENIED: access is denied\n\
             nginx:1.27 # the\tproxy\n\
             # not-tried stage=run kind=cancelled images.txt:5: the run was interrupted\n\
             q.io/a/late:1\n\
             # bad-line images.txt:2:8: a control character\n\
             #   nginx: \u{fffd}[2J\n"
        )
    );
    assert_eq!(place.files(), 1);
}

#[test]
fn a_run_without_failures_removes_it() {
    let place = Place::new();
    let plan = plan_of("q.io/a:1\nq.io/a:1\n");
    let well = [
        Outcome::Copied(copied(&plan, 0)),
        Outcome::Duplicate { of: JobId::new(0) },
    ];
    let mut list = Failures::create(&place.path(), &plan, &[], "mirror").unwrap();
    assert!(place.path().exists());
    tell(&mut list, &run_of(&well, 0, End::Completed));
    assert_eq!(place.files(), 0);
    // A line that was skipped is left to do.
    let skipped = skipped_of("nginx:\n");
    let mut list = Failures::create(&place.path(), &plan, &skipped, "mirror").unwrap();
    tell(&mut list, &run_of(&well, 1, End::Completed));
    assert!(place.text().ends_with("#   nginx:\n"));
}

#[test]
fn only_a_list_of_ours_is_replaced() {
    let place = Place::new();
    for foreign in ["", "nginx:1\n", "# failed\n", " # consign failed list\n"] {
        fs::write(place.path(), foreign).unwrap();
        assert!(matches!(refusal(&place.path()), Reason::NotOurs));
        assert_eq!(place.text(), foreign);
    }
    let (plan, outcomes) = assorted();
    for ours in [
        "# consign failed list, format 9\n",
        "\u{feff}# consign failed list\r\n",
    ] {
        fs::write(place.path(), ours).unwrap();
        let mut list = Failures::create(&place.path(), &plan, &[], "mirror").unwrap();
        // What a person put there meanwhile stays.
        fs::write(place.path(), "precious\n").unwrap();
        let events = run_of(&outcomes, 0, End::Completed);
        assert!(list.event(events.last().unwrap()).is_err());
        assert_eq!(place.text(), "precious\n");
    }
    assert_eq!(place.files(), 1);
}

#[cfg(unix)]
#[test]
fn only_a_regular_file_is_replaced() {
    let place = Place::new();
    let other = place.folder.path().join("other");
    fs::write(&other, HEAD).unwrap();
    std::os::unix::fs::symlink(&other, place.path()).unwrap();
    assert!(matches!(refusal(&place.path()), Reason::NotAFile));
    assert!(matches!(refusal(Path::new("/dev/null")), Reason::NotAFile));
    assert!(matches!(refusal(place.folder.path()), Reason::NotAFile));
    let absent = place.folder.path().join("absent").join("list.txt");
    assert!(matches!(refusal(&absent), Reason::Io(_)));
}

#[test]
fn it_is_replaced_once_a_second_at_most() {
    let place = Place::new();
    let (plan, _) = assorted();
    let mut list = Failures::create(&place.path(), &plan, &[], "mirror").unwrap();
    let first = place.text();
    list.event(&finished(0, Outcome::Copied(copied(&plan, 0))))
        .unwrap();
    list.tick().unwrap();
    assert_eq!(place.text(), first);
    list.due = Instant::now();
    list.tick().unwrap();
    assert!(place.text().contains("images.txt:2\n"));
    assert!(!place.text().contains("images.txt:1\n"));
    assert!(list.due > Instant::now() + Duration::from_millis(900));
    // Nothing new: nothing is written.
    fs::remove_file(place.path()).unwrap();
    list.due = Instant::now();
    list.tick().unwrap();
    assert!(!place.path().exists());
}

#[test]
fn a_second_end_of_a_job_changes_nothing() {
    let place = Place::new();
    let (plan, _) = assorted();
    let mut list = Failures::create(&place.path(), &plan, &[], "mirror").unwrap();
    list.event(&finished(0, Outcome::Copied(copied(&plan, 0))))
        .unwrap();
    list.event(&finished(0, Outcome::Failed(denied()))).unwrap();
    list.event(&finished(99, Outcome::Failed(denied())))
        .unwrap();
    list.event(&Event::Ended {
        summary: Summary::default(),
        end: End::Completed,
    })
    .unwrap();
    assert!(!place.text().contains("q.io/a/one"));
    assert!(place.text().contains("# not-tried images.txt:5\n"));
}

#[test]
fn it_can_be_run_again_in_place() {
    let place = Place::new();
    let (plan, outcomes) = assorted();
    let mut list = Failures::create(&place.path(), &plan, &[], "mirror").unwrap();
    tell(&mut list, &run_of(&outcomes, 0, End::Completed));
    let parsed = list::parse("mirror-failed.txt", place.text().as_bytes()).unwrap();
    let again = Arc::new(plan::plan(parsed.entries, &to_d()).unwrap());
    let mut list = Failures::create(&place.path(), &again, &[], "mirror").unwrap();
    let well: Vec<Outcome> = (0..again.jobs().len())
        .map(|job| Outcome::Copied(copied(&again, job)))
        .collect();
    assert_eq!(well.len(), 2);
    tell(&mut list, &run_of(&well, 0, End::Completed));
    assert_eq!(place.files(), 0);
}

#[test]
fn hostile_reasons_stay_on_their_line() {
    let place = Place::new();
    let plan = plan_of("q.io/a:1\n");
    let evil = "no\nevil.io/x:1\r\n\u{1b}[2J".repeat(400);
    let mut failure = Failure::because(Stage::Transfer, None, Kind::Network, &evil);
    // Also one that was not made by our constructor.
    failure.causes = Arc::from([evil.clone(), evil]);
    let mut list = Failures::create(&place.path(), &plan, &[], "mir\nror").unwrap();
    tell(
        &mut list,
        &run_of(&[Outcome::Failed(failure)], 0, End::Completed),
    );
    let text = place.text();
    assert_eq!(text.lines().count(), 4);
    assert!(
        text.lines()
            .all(|line| line.len() < crate::limits::input::LIST_LINE_BYTES_MAX)
    );
    let parsed = list::parse("x", text.as_bytes()).unwrap();
    assert_eq!((parsed.entries.len(), parsed.bad.len()), (1, 0));
}

/// A list with duplicates, contests, digests, comments and odd blanks.
fn any_list() -> impl Strategy<Value = Vec<String>> {
    let line =
        (0_usize..4, 0_usize..4, 0_usize..3, 0_usize..5).prop_map(|(from, to, tag, form)| {
            let digest = crate::oci::Digest::sha256(&[u8::try_from(from).unwrap()]);
            // One goal has one way to ask for it, or the lines would contradict each other.
            let own = if to == 1 {
                " sign=cosign verify=none"
            } else {
                ""
            };
            match form {
                0 => format!("q.io/a/x{from}:{tag}"),
                1 => format!("  q.io/a/x{from}\tb/y{to}  {tag}{own} # note {to}"),
                2 => format!("q.io/a/x{from}@{digest}"),
                3 => format!("q.io/a/x{from}:{tag}@{digest}\t"),
                _ => format!("q.io/a/x{from}@{digest} b/y{to} {tag}{own}"),
            }
        });
    prop::collection::vec(line, 0..25)
}

/// A registry may say why in any script, of every line.
#[test]
fn a_list_of_all_lines_that_failed_is_within_what_a_list_may_have() {
    let wide = "\u{1d11e}";
    let file = wide.repeat(list::FILE_CHARS_MAX);
    let mut list = list::parse(&file, "q.io/a/one:1".as_bytes()).unwrap();
    let entries = vec![list.entries.remove(0)];
    let plan = plan::plan(entries, &to_d()).unwrap();
    let mut failure = denied();
    failure.causes = vec![wide.repeat(10_000)].into();
    let comment = comment(&plan.jobs()[0], "failed", &failure);
    assert!(comment.contains(wide));
    let each = "# \n\n".len() + comment.len();
    let all = LIST_LINES_MAX * each + LIST_TEXT_BYTES_MAX + 16 * 1024;
    assert!(all <= LIST_BYTES_MAX, "{all}");
}

proptest! {
    /// Promise 2: feeding the failed list back plans exactly the failed jobs.
    #[test]
    fn the_report_is_a_list(lines in any_list(), picks in prop::collection::vec(0_usize..4, 25)) {
        let plan = plan_of(&lines.join("\n"));
        let outcomes: Vec<Outcome> = plan.jobs().iter().zip(picks).map(|(job, pick)| {
            match (job.course, pick) {
                (Course::Duplicate { of }, _) => Outcome::Duplicate { of },
                (_, 0) => Outcome::Failed(denied()),
                (_, 1) => Outcome::NotTried(cancelled()),
                (_, 2) => Outcome::UpToDate(copied(&plan, job.id.position())),
                _ => Outcome::Copied(copied(&plan, job.id.position())),
            }
        }).collect();
        let place = Place::new();
        let mut list = Failures::create(&place.path(), &plan, &[], "mirror").unwrap();
        tell(&mut list, &run_of(&outcomes, 0, End::Completed));
        let left: Vec<&Job> = plan.jobs().iter().zip(&outcomes)
            .filter(|(_, outcome)| outcome.failure().is_some())
            .map(|(job, _)| job)
            .collect();
        prop_assert_eq!(place.files(), usize::from(!left.is_empty()));
        if !left.is_empty() {
            let again = plan_of(&place.text());
            prop_assert_eq!(again.jobs().len(), left.len());
            for (new, old) in again.jobs().iter().zip(left) {
                prop_assert_eq!(&new.source, &old.source);
                prop_assert_eq!(&new.destination, &old.destination);
                prop_assert_eq!(&new.settings, &old.settings);
                prop_assert_eq!(&new.line.text, &old.line.text);
                let repeats = matches!(new.course, Course::Duplicate { .. });
                prop_assert!(!repeats);
            }
        }
    }
}

#[test]
fn bad_lines_are_carried_from_list_to_list() {
    let bad = [
        (
            "images.txt",
            14,
            Some(5),
            "nginx latest",
            "two columns: a reason",
        ),
        ("c:odd name", 3, None, "x", "no place in the line"),
    ]
    .map(|(file, line, column, text, reason)| Skipped {
        file: file.into(),
        line,
        column,
        text: text.into(),
        reason: reason.into(),
    });
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mirror-failed.txt");
    let plan = Arc::new(Plan::default());
    drop(Failures::create(&path, &plan, &bad, "mirror").unwrap());
    let list = fs::read(&path).unwrap();
    assert_eq!(carried(list.as_slice()).unwrap(), bad);
    let foreign = String::from_utf8(list).unwrap().replace(HEADER, "# list");
    assert_eq!(carried(foreign.as_bytes()).unwrap(), []);
}

#[test]
fn what_a_validation_rejected_is_known_again() {
    let list = format!(
        "{HEAD}# rejected stage=verify kind=rejected images.txt:1: kind=network\na.io/b:1\n\
         # undetermined stage=verify kind=rate-limited images.txt:2: kind=rejected\na.io/b:2\n\
         # not-tried stage=sign kind=rejected images.txt:3: again\n\n a.io/b:3\n\
         # rejected stage=verify side=source kind=rejected images.txt:4: x\na.io/b:4 # kept\na.io/b:5\n"
    );
    let marked: Vec<usize> = rejected(list.as_bytes()).unwrap().into_iter().collect();
    assert_eq!(marked, [4, 9, 11]);
    let joined: Vec<usize> = rejected(format!("b.io/x:1\n{list}").as_bytes())
        .unwrap()
        .into_iter()
        .collect();
    assert_eq!(joined, [5, 10, 12]);
    let foreign = list.replace("consign failed", "somebody's");
    assert!(rejected(foreign.as_bytes()).unwrap().is_empty());
}
