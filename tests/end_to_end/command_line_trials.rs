//! What is typed, and what comes of it: lists, plans, conflicts, files, exit codes.

use std::process::Stdio;

use consign::oci::Digest;
use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::harness::trial;
use crate::program::{Workplace, outcomes};
use crate::registry::{Contents, Image, Pushed, TestRegistry, index};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("cli::a_plan_contacts_nothing_and_says_all", plan),
        trial("cli::a_plan_is_the_same_as_a_dry_run", dry_run),
        trial(
            "cli::all_bad_lines_are_named_and_nothing_is_contacted",
            bad_lines,
        ),
        trial("cli::skipped_bad_lines_are_listed_as_failed", skipped),
        trial("cli::a_failed_list_of_another_tool_is_kept", not_ours),
        trial("cli::a_destination_is_never_guessed", no_destination),
        trial("cli::an_image_is_not_copied_onto_itself", itself),
        trial("cli::lines_that_fight_for_a_tag_fail_by_name", conflict),
        trial(
            "cli::lines_for_one_tag_with_one_digest_are_no_conflict",
            agreement,
        ),
        trial("cli::duplicates_run_once_and_are_told", duplicates),
        trial("cli::a_tag_that_exists_is_replaced_kept_or_fails", existing),
        trial(
            "cli::a_list_of_digests_is_up_to_date_when_it_is_fed_back",
            digests,
        ),
        trial("cli::one_bad_image_does_not_stop_the_others", one_bad_image),
        trial(
            "cli::lists_of_several_files_and_of_stdin_are_one",
            several_lists,
        ),
        trial("cli::projects_are_rewritten_on_both_sides", projects),
        trial("cli::events_are_one_json_object_a_line", events),
        trial("cli::nobody_has_to_read_what_is_said", nobody_reads),
        trial("cli::copy_brings_one_image", copy),
        trial("cli::inspect_prints_the_bytes_as_they_are", inspect),
        trial("cli::tags_are_listed_sorted_as_json", list_tags),
        trial("cli::the_version_is_told", version),
        trial("cli::what_is_not_there_yet_is_refused_by_name", later),
        trial("cli::what_makes_no_sense_is_refused", nonsense),
        trial(
            "cli::mistakes_say_which_flag_or_command_is_meant",
            elsewhere,
        ),
        trial("cli::a_policy_that_asks_for_more_refuses_by_name", policy),
        trial(
            "cli::a_policy_that_is_none_ends_the_run_before_it_begins",
            bad_policy,
        ),
        trial(
            "cli::outputs_that_cannot_be_written_end_the_run_before_it_begins",
            outputs,
        ),
    ]
}

/// Two registries, the first with images, and a place to run in.
struct Stage {
    source: TestRegistry,
    destination: TestRegistry,
    place: Workplace,
}

impl Stage {
    async fn set() -> Self {
        Self {
            source: TestRegistry::start().await,
            destination: TestRegistry::start().await,
            place: Workplace::new(),
        }
    }

    /// An image of one layer, which is this text.
    async fn image(&self, text: &str, repository: &str, tag: &str) -> Pushed {
        let image = Image::new(&[text]);
        image.push(&self.source, repository, Some(tag)).await
    }

    /// `-s` and `-d`.
    fn sides(&self) -> String {
        format!("-s {} -d {}", self.source.host(), self.destination.host())
    }

    /// `mirror -f list.txt` from one to the other, with a report and more.
    fn mirror(&self, flags: &str) -> String {
        let sides = self.sides();
        format!("mirror -f list.txt {sides} --report report.json {flags}")
    }

    #[track_caller]
    fn nothing_was_contacted(&self) {
        for registry in [&self.source, &self.destination] {
            assert!(registry.log().is_empty(), "{}", registry.log_text());
        }
    }

    /// The outcomes in the report, in list order.
    #[track_caller]
    fn outcomes(&self) -> Vec<String> {
        outcomes(&self.place.json("report.json"))
    }

    /// What the report says of a line, counted from 0.
    #[track_caller]
    fn line(&self, position: usize) -> Value {
        self.place.json("report.json")["lines"][position].clone()
    }

    /// What a tag at the destination names.
    fn there(&self, repository: &str, tag: &str) -> Option<Digest> {
        self.destination.tag(repository, tag)
    }
}

/// Lines 1 and 3 are the same; 2 and 5 want one tag.
const LIST: &str =
    "team/app:1\nteam/new:2 \nteam/app:1\n# none\nteam/old other.example/team/new 2\n";

async fn plan() {
    let stage = Stage::set().await;
    stage.place.write("list.txt", LIST);
    let (from, to) = (stage.source.host(), stage.destination.host());
    let flags = "--report report.json --digests digests.txt";
    let said = stage
        .place
        .run(&format!("plan -f list.txt {} {flags}", stage.sides()))
        .await
        .with(0)
        .text();
    for expected in [
        format!("list.txt:1: {from}/team/app:1 -> {to}/team/app:1\n"),
        format!(
            "list.txt:2: {from}/team/new:2 -> {to}/team/new:2 (only if its digest is that of list.txt:5)\n"
        ),
        format!("list.txt:3: {from}/team/app:1 -> {to}/team/app:1 (duplicate of list.txt:1)\n"),
        format!(
            "list.txt:5: {from}/team/old:2 -> {to}/team/new:2 (only if its digest is that of list.txt:2)\n"
        ),
        "4 lines: 3 to mirror, 1 duplicate, 1 destination wanted by different sources\n".to_owned(),
        format!("from {from}: 3 images\n"),
        format!("to {to}: 3 images\n"),
    ] {
        assert!(said.contains(&expected), "{expected} is not in\n{said}");
    }
    stage.nothing_was_contacted();
    for file in ["mirror-failed.txt", "report.json", "digests.txt"] {
        assert!(!stage.place.has(file), "{file}");
    }
}

async fn dry_run() {
    let stage = Stage::set().await;
    stage.place.write("list.txt", LIST);
    let json = format!("-f list.txt {} --output json", stage.sides());
    let plan = stage.place.run(&format!("plan {json}")).await.with(0);
    let dry = stage.place.run(&format!("mirror {json} --dry-run")).await;
    assert_eq!(plan.text(), dry.with(0).text());
    let lines = plan.json_lines();
    let courses: Vec<&Value> = lines.iter().map(|line| &line["course"]).collect();
    let expected = [
        json!("run"),
        json!("contested"),
        json!("duplicate"),
        json!("contested"),
        Value::Null,
    ];
    assert!(courses.into_iter().eq(&expected), "{lines:#?}");
    assert_eq!(lines[2]["duplicate_of"]["line"], 1);
    assert_eq!(lines[1]["contested_with"][0]["line"], 5);
    let summary = &lines[4]["summary"];
    let counts = ["lines", "distinct", "duplicates", "contested"].map(|name| &summary[name]);
    assert_eq!(counts, [4, 3, 1, 1]);
    assert_eq!(summary["sources"][stage.source.host()], 3);
    stage.nothing_was_contacted();
    assert!(!stage.place.has("mirror-failed.txt"));
}

const BAD: &str =
    "team/app:1\ntwo columns\nUPPER/case:1\nteam/app:2\nx y z 4\na/b c.example/d:1 2\n";

async fn bad_lines() {
    let stage = Stage::set().await;
    stage.place.write("list.txt", BAD);
    stage.place.write("more.txt", "team/app:1\n\u{1}\n");
    for command in ["mirror", "plan", "mirror --dry-run"] {
        let run_it = format!("{command} -f list.txt -f more.txt {}", stage.sides());
        let ended = stage.place.run(&run_it).await.with(2);
        let places = [
            "list.txt:2",
            "list.txt:3",
            "list.txt:5",
            "list.txt:6",
            "more.txt:2",
        ];
        let ended = ended
            .saying(&places)
            .saying(&["5 lines", "--skip-bad-lines"]);
        assert!(!ended.stderr.contains("list.txt:1:"), "{ended}");
        assert_eq!(ended.text(), "");
    }
    stage.nothing_was_contacted();
    assert!(!stage.place.has("mirror-failed.txt"));
}

async fn skipped() {
    let stage = Stage::set().await;
    let one = stage.image("1", "team/app", "1").await;
    let two = stage.image("2", "team/app", "2").await;
    stage.place.write("list.txt", BAD);
    let ended = stage.place.run(&stage.mirror("--skip-bad-lines")).await;
    ended.with(1);
    assert_eq!(stage.outcomes(), ["copied", "copied"]);
    assert_eq!(stage.there("team/app", "1"), Some(one.digest));
    assert_eq!(stage.there("team/app", "2"), Some(two.digest));
    let report = stage.place.json("report.json");
    let lines: Vec<&Value> = report["skipped"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|skipped| &skipped["line"])
        .collect();
    assert_eq!(lines, [2, 3, 5, 6]);
    assert!(stage.place.lines("mirror-failed.txt").is_empty());
    let failed = stage.place.read("mirror-failed.txt");
    assert!(failed.starts_with("# consign failed list"), "{failed}");
    for text in ["# bad-line list.txt:2", "#   two columns", "#   x y z 4"] {
        assert!(failed.contains(text), "{text} is not in\n{failed}");
    }
}

async fn not_ours() {
    let stage = Stage::set().await;
    stage.image("1", "team/app", "1").await;
    stage.place.write("list.txt", "team/app:1\n");
    for text in ["team/app:1\n", "", "# Consign failed list\n"] {
        stage.place.write("mirror-failed.txt", text);
        let ended = stage.place.run(&stage.mirror("")).await.with(2);
        ended.saying(&["mirror-failed.txt"]);
        assert_eq!(stage.place.read("mirror-failed.txt"), text);
    }
    stage.nothing_was_contacted();
    assert!(!stage.place.has("report.json"));
    // Our own is replaced, and removed when nothing is left.
    stage.place.write(
        "mirror-failed.txt",
        "# consign failed list, format 1\nteam/app:1\n",
    );
    let sides = stage.sides();
    let again = format!("mirror -f mirror-failed.txt {sides}");
    stage.place.run(&again).await.with(0);
    assert!(!stage.place.has("mirror-failed.txt"));
    assert!(stage.there("team/app", "1").is_some());
}

async fn no_destination() {
    let stage = Stage::set().await;
    let from = stage.source.host();
    stage
        .place
        .write("list.txt", "team/app:1\na.example/b c/d 1\n");
    for command in ["mirror", "plan"] {
        let ended = stage
            .place
            .run(&format!("{command} -f list.txt -s {from}"))
            .await;
        ended
            .with(2)
            .saying(&["list.txt:1", "list.txt:2", "-d REGISTRY"]);
    }
    stage.nothing_was_contacted();
    assert!(!stage.place.has("mirror-failed.txt"));
}

async fn itself() {
    let stage = Stage::set().await;
    stage.place.write("list.txt", "team/app:1\n");
    let host = stage.source.host();
    let ended = stage
        .place
        .run(&format!("mirror -f list.txt -s {host} -d {host}"))
        .await;
    ended.with(2).saying(&["list.txt:1"]);
    let ended = stage
        .place
        .run(&format!("copy {host}/team/app:1 {host}/team/app:1"))
        .await;
    ended.with(2).saying(&["team/app:1"]);
    stage.nothing_was_contacted();
}

async fn conflict() {
    let stage = Stage::set().await;
    stage.image("old", "team/old", "1").await;
    stage.image("new", "team/new", "1").await;
    let other = stage.image("other", "team/other", "1").await;
    let text = "team/old team/app 1\nteam/other:1\nteam/new team/app 1\n";
    stage.place.write("list.txt", text);
    let ended = stage.place.run(&stage.mirror("")).await.with(1);
    ended.saying(&["list.txt:1", "list.txt:3", "team/app:1"]);
    assert_eq!(stage.outcomes(), ["failed", "copied", "failed"]);
    for position in [0, 2] {
        let failure = &stage.line(position)["failure"];
        assert_eq!(failure["kind"], "conflict");
        assert_eq!(failure["stage"], "plan");
        let said = failure.to_string();
        assert!(
            said.contains("team/old:1") && said.contains("team/new:1"),
            "{said}"
        );
    }
    assert_eq!(stage.there("team/app", "1"), None);
    assert_eq!(stage.there("team/other", "1"), Some(other.digest));
    let left = ["team/old team/app 1", "team/new team/app 1"];
    assert_eq!(stage.place.lines("mirror-failed.txt"), left);
}

async fn agreement() {
    let stage = Stage::set().await;
    let first = stage.image("same", "team/old", "1").await;
    let second = stage.image("same", "team/new", "1").await;
    assert_eq!(first.digest, second.digest);
    let text = "team/old team/app 1\nteam/new team/app 1\n";
    stage.place.write("list.txt", text);
    stage.place.run(&stage.mirror("")).await.with(0);
    assert_eq!(stage.outcomes(), ["copied", "duplicate"]);
    assert_eq!(stage.there("team/app", "1"), Some(first.digest));
    assert_eq!(stage.destination.count("PUT", "*/manifests/*"), 1);
    // One of the two that is not there does not hold up the other.
    let text = "team/none team/app 2\nteam/new team/app 2\n";
    let text = text.replace("team/new team/app", "team/more team/app");
    let third = stage.image("more", "team/more", "2").await;
    stage.place.write("list.txt", text);
    stage.place.run(&stage.mirror("")).await.with(1);
    assert_eq!(stage.outcomes(), ["failed", "copied"]);
    assert_eq!(stage.line(0)["failure"]["kind"], "not-found");
    assert_eq!(stage.there("team/app", "2"), Some(third.digest));
}

async fn duplicates() {
    let stage = Stage::set().await;
    stage.image("1", "team/app", "1").await;
    let lines = format!(
        "team/app:1\n{}/team/app:1\nteam/app team/app 1\n",
        stage.source.host()
    );
    stage.place.write("list.txt", lines);
    stage.place.run(&stage.mirror("")).await.with(0);
    assert_eq!(stage.outcomes(), ["copied", "duplicate", "duplicate"]);
    assert_eq!(stage.line(2)["duplicate_of"]["line"], 1);
    assert_eq!(stage.destination.count("PUT", "*/manifests/*"), 1);
    assert_eq!(
        stage.source.count("*", "*/manifests/*"),
        1,
        "{}",
        stage.source.log_text()
    );
}

async fn existing() {
    let stage = Stage::set().await;
    let new = stage.image("new", "team/app", "1").await;
    let old = Image::new(&["old"]);
    let old = old.push(&stage.destination, "team/app", Some("1")).await;
    stage.place.write("list.txt", "team/app:1\n");

    stage
        .place
        .run(&stage.mirror("--on-existing keep"))
        .await
        .with(0);
    assert_eq!(stage.outcomes(), ["kept"]);
    assert_eq!(stage.line(0)["digest"], old.digest.to_string());
    assert_eq!(stage.line(0)["source_digest"], new.digest.to_string());
    assert!(!stage.place.has("mirror-failed.txt"));

    stage
        .place
        .run(&stage.mirror("--on-existing fail"))
        .await
        .with(1);
    let line = stage.line(0);
    assert_eq!(line["outcome"], "failed");
    assert_eq!(line["failure"]["kind"], "conflict");
    assert_eq!(stage.place.lines("mirror-failed.txt"), ["team/app:1"]);
    assert_eq!(stage.there("team/app", "1"), Some(old.digest));
    assert!(stage.destination.writes().is_empty());

    stage.place.run(&stage.mirror("")).await.with(0);
    assert_eq!(stage.outcomes(), ["copied"]);
    assert_eq!(stage.there("team/app", "1"), Some(new.digest));
    // With the same digest there is nothing to keep and nothing to fail.
    for what in ["keep", "fail", "replace"] {
        let run_it = stage.mirror(&format!("--on-existing {what}"));
        stage.place.run(&run_it).await.with(0);
        assert_eq!(stage.outcomes(), ["up-to-date"], "{what}");
    }
}

async fn digests() {
    let stage = Stage::set().await;
    let one = stage.image("1", "team/app", "1").await;
    let two = stage.image("2", "team/other", "2").await;
    let bare = stage.image("3", "team/bare", "3").await;
    let pinned = format!("team/bare@{}", bare.digest);
    let lines = format!("team/app:1\nteam/none:1\nteam/other:2\nteam/app:1\n{pinned}\n");
    stage.place.write("list.txt", lines);
    let (from, to) = (stage.source.host(), stage.destination.host());
    stage
        .place
        .run(&stage.mirror("--digests digests.txt"))
        .await
        .with(1);
    let written = stage.place.lines("digests.txt");
    let expected = [
        format!("{to}/team/app:1@{}", one.digest),
        format!("{to}/team/other:2@{}", two.digest),
        format!("{to}/{pinned}"),
    ];
    assert_eq!(written, expected);
    // A digest is known: the source is not asked.
    stage.source.clear_log();
    let again = format!("mirror -f digests.txt -s {from} -d {to} -o left.txt --report report.json");
    stage.place.run(&again).await.with(0);
    assert_eq!(stage.outcomes(), ["up-to-date"; 3]);
    assert_eq!(stage.source.count("*", "*/manifests/*"), 0);
    assert_eq!(stage.there("team/bare", "3"), None);
    // Brought to a third place, the tags come too.
    let third = TestRegistry::start().await;
    let there = third.host();
    let onward = format!("mirror -f digests.txt -d {there} -o left.txt");
    stage.place.run(&onward).await.with(0);
    assert_eq!(third.tag("team/other", "2"), Some(two.digest));
}

async fn one_bad_image() {
    let stage = Stage::set().await;
    stage.image("1", "team/app", "1").await;
    stage.image("2", "team/app", "3").await;
    stage
        .place
        .write("list.txt", "team/app:1\nteam/app:2\nteam/app:3\n");
    let ended = stage.place.run(&stage.mirror("")).await.with(1);
    ended.saying(&["list.txt:2", "not-found"]);
    assert_eq!(stage.outcomes(), ["copied", "failed", "copied"]);
    let report = stage.place.json("report.json");
    assert_eq!(report["schema"], "consign.report/1");
    assert_eq!(report["exit_code"], 1);
    assert_eq!(report["end"], "completed");
    assert_eq!(report["summary"]["kinds"]["not-found"], 1);
    assert_eq!(stage.line(1)["failure"]["side"], "source");
    assert_eq!(stage.place.lines("mirror-failed.txt"), ["team/app:2"]);
    // It came meanwhile: what is left is done with the list of what was left.
    stage.image("now", "team/app", "2").await;
    let sides = stage.sides();
    let again = format!("m -f mirror-failed.txt {sides}");
    stage.place.run(&again).await.with(0);
    assert!(!stage.place.has("mirror-failed.txt"));
}

async fn several_lists() {
    let stage = Stage::set().await;
    for tag in ["1", "2", "3"] {
        stage.image(tag, "team/app", tag).await;
    }
    stage.place.write(
        "one.txt",
        "\u{feff}team/app:1  # the first\r\n\r\n// none\r\n",
    );
    stage.place.write("two.txt", "docker://team/app:2");
    let sides = stage.sides();
    let mut command = stage.place.command(&format!(
        "mirror -f one.txt -f - -f two.txt {sides} --report report.json"
    ));
    let stdin = std::fs::File::open({
        stage.place.write(
            "three.txt",
            "team/app\tteam/other\t3\nteam/app team/none 4\n",
        );
        stage.place.path("three.txt")
    });
    command.stdin(stdin.expect("it opens"));
    let output = command.output().await.expect("it runs");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(stage.outcomes(), ["copied", "copied", "failed", "copied"]);
    assert_eq!(stage.line(2)["file"], "-");
    assert_eq!(stage.line(2)["line"], 2);
    assert!(stage.there("team/other", "3").is_some());
    assert_eq!(
        stage.place.lines("mirror-failed.txt"),
        ["team/app team/none 4"]
    );
}

async fn projects() {
    let stage = Stage::set().await;
    let one = stage.image("1", "mine/app", "1").await;
    let two = stage.image("2", "mine/deep/app", "2").await;
    stage
        .place
        .write("list.txt", "team/app:1\nteam/deep/app:2\n");
    let flags = "--source-project mine --destination-project yours";
    stage.place.run(&stage.mirror(flags)).await.with(0);
    assert_eq!(stage.there("yours/app", "1"), Some(one.digest));
    assert_eq!(stage.there("yours/deep/app", "2"), Some(two.digest));
    let (to, line) = (stage.destination.host(), stage.line(1));
    assert_eq!(line["destination"], format!("{to}/yours/deep/app:2"));
    assert_eq!(line["text"], "team/deep/app:2");
}

async fn events() {
    let stage = Stage::set().await;
    stage.image("1", "team/app", "1").await;
    stage.place.write("list.txt", "team/app:1\nteam/none:1\n");
    let ended = stage
        .place
        .run(&stage.mirror("--log-format json"))
        .await
        .with(1);
    let parse = |line: &str| serde_json::from_str(line).expect("one object a line");
    let events: Vec<Value> = ended.stderr.lines().map(parse).collect();
    let count = |name: &str| events.iter().filter(|event| event["event"] == name).count();
    assert_eq!(count("began"), 1);
    assert_eq!(count("started"), 2);
    assert_eq!(count("finished"), 2);
    let last = events.last().expect("there are some");
    assert_eq!(last["event"], "ended");
    assert_eq!(last["exit_code"], 1);
    assert_eq!(last["summary"]["copied"], 1);
    let failed = events.iter().find(|event| event["outcome"] == "failed");
    let failed = failed.expect("a line failed");
    assert_eq!(failed["failure"]["kind"], "not-found");
    assert_eq!(failed["line"], 2);
    for event in &events {
        assert!(
            event["event"].is_string() && event["time"].is_string(),
            "{event}"
        );
    }
}

async fn nobody_reads() {
    let stage = Stage::set().await;
    stage.image("1", "team/app", "1").await;
    stage.place.write("list.txt", "team/app:1\n");
    // The readers of both are gone before anything is printed.
    for expected in ["copied", "up-to-date"] {
        let mut child = stage
            .place
            .command(&stage.mirror(""))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        drop((child.stdout.take(), child.stderr.take()));
        let status = child.wait().await.expect("it ends");
        assert_eq!(status.code(), Some(0));
        assert_eq!(stage.outcomes(), [expected]);
        assert!(!stage.place.has("mirror-failed.txt"));
    }
}

async fn copy() {
    let stage = Stage::set().await;
    let amd = Image::new(&["amd"])
        .push(&stage.source, "team/app", None)
        .await;
    let arm = Image::new(&["arm"]).on("linux/arm64");
    let arm = arm.push(&stage.source, "team/app", None).await;
    let all = index(&stage.source, "team/app", Some("1"), &[&amd, &arm]).await;
    let (from, to) = (stage.source.host(), stage.destination.host());
    let run_it = format!("copy {from}/team/app:1 {to}/other/app --report report.json");
    stage.place.run(&run_it).await.with(0);
    assert_eq!(stage.there("other/app", "1"), Some(all.digest));
    let source = Contents::of(&stage.source, "team/app").await;
    assert_eq!(Contents::of(&stage.destination, "other/app").await, source);
    assert_eq!(stage.place.json("report.json")["command"], "copy");
    // By digest, and to another tag; nothing is written down that nobody asked for.
    let by_digest = format!("copy {from}/team/app@{} {to}/other/app:arm", arm.digest);
    stage.place.run(&by_digest).await.with(0);
    assert_eq!(stage.there("other/app", "arm"), Some(arm.digest));
    stage
        .place
        .run(&format!("copy {from}/team/none:1 {to}/none:1"))
        .await
        .with(1);
    assert!(!stage.place.has("mirror-failed.txt"));
}

async fn inspect() {
    let stage = Stage::set().await;
    // Blanks and fields that nobody knows are part of the bytes.
    let image = Image::new(&["1"]).field("org.example.unknown", json!([1, { "b": 2, "a": 1 }]));
    let image = image.push(&stage.source, "team/app", Some("1")).await;
    let arm = Image::new(&["arm"]).on("linux/arm64/v8");
    let arm = arm.push(&stage.source, "team/app", None).await;
    let all = index(&stage.source, "team/app", Some("all"), &[&image, &arm]).await;
    let from = stage.source.host();
    for (name, expected) in [
        (format!("{from}/team/app:1"), &image),
        (format!("{from}/team/app@{}", arm.digest), &arm),
        (format!("docker://{from}/team/app:all"), &all),
    ] {
        let ended = stage
            .place
            .run(&format!("inspect --raw {name}"))
            .await
            .with(0);
        assert_eq!(ended.stdout, expected.bytes, "{name}");
        assert_eq!(ended.stderr, "");
    }
    let shown = stage
        .place
        .run(&format!("i {from}/team/app:all"))
        .await
        .with(0);
    let shown: Value = serde_json::from_slice(&shown.stdout).expect("JSON");
    assert_eq!(shown["digest"], all.digest.to_string());
    assert_eq!(shown["platforms"], json!(["linux/amd64", "linux/arm64/v8"]));
    let ended = stage
        .place
        .run(&format!("inspect {from}/team/app:none"))
        .await;
    assert_eq!(ended.with(1).saying(&["team/app:none"]).text(), "");
}

async fn list_tags() {
    let stage = Stage::set().await;
    for tag in ["v2", "v10", "a", "V1", "_x", "1.0"] {
        stage.image("same", "team/app", tag).await;
    }
    let from = stage.source.host();
    let ended = stage
        .place
        .run(&format!("list-tags {from}/team/app"))
        .await
        .with(0);
    let tags: Vec<String> = serde_json::from_slice(&ended.stdout).expect("JSON");
    assert_eq!(tags, ["1.0", "V1", "_x", "a", "v10", "v2"]);
    stage
        .place
        .run(&format!("list-tags {from}/team/none"))
        .await
        .with(1);
    stage
        .place
        .run(&format!("list-tags {from}/team/app:1"))
        .await
        .with(2);
    let gone = TestRegistry::start().await;
    let nobody = gone.host();
    gone.stop().await;
    stage
        .place
        .run(&format!("list-tags {nobody}/team/app"))
        .await
        .with(4);
}

async fn version() {
    let place = Workplace::new();
    let expected = concat!("consign ", env!("CARGO_PKG_VERSION"), "\n");
    for words in ["version", "--version"] {
        assert_eq!(place.run(words).await.with(0).text(), expected);
    }
    let help = place.run("--help").await.with(0).text();
    for command in [
        "mirror",
        "copy",
        "sign",
        "validate",
        "generate-key",
        "plan",
        "inspect",
        "list-tags",
        "serve",
        "version",
    ] {
        assert!(
            help.contains(&format!("\n  {command} ")),
            "{command}: {help}"
        );
    }
}

async fn later() {
    let stage = Stage::set().await;
    stage.place.write("list.txt", "team/app:1\n");
    for command in ["save", "load", "sync", "archive", "delete", "compare"] {
        let ended = stage.place.run(&format!("{command} -f list.txt")).await;
        ended.with(2).saying(&[command, "not there yet"]);
    }
    for flag in ["--provenance=false"] {
        let name = flag.split('=').next().expect("a name");
        let ended = stage.place.run(&stage.mirror(flag)).await;
        ended.with(2).saying(&[name, "not there yet"]);
        let from = stage.source.host();
        let to = stage.destination.host();
        let ended = stage
            .place
            .run(&format!("copy {from}/a/b:1 {to}/a/b:1 {flag}"))
            .await;
        ended.with(2).saying(&[name, "not there yet"]);
    }
    for flag in ["--rekor-url=a", "--format=yaml"] {
        let validate = format!("validate -f list.txt --key none.pub {flag}");
        let name = flag.split('=').next().expect("a name");
        let ended = stage.place.run(&validate).await;
        ended.with(2).saying(&[name, "not there"]);
    }
    for flag in ["--tlog-upload"] {
        let sign = format!("sign -f list.txt --key none.key {flag}");
        let name = flag.split('=').next().expect("a name");
        let ended = stage.place.run(&sign).await;
        ended.with(2).saying(&[name, "not there yet"]);
    }
    stage.nothing_was_contacted();
    assert!(!stage.place.has("mirror-failed.txt") && !stage.place.has("report.json"));
}

async fn nonsense() {
    let stage = Stage::set().await;
    stage.place.write("list.txt", "team/app:1\n");
    stage.place.write("empty", "");
    let generate = "generate-key --prefix site --passphrase-file empty";
    stage.place.run(generate).await.with(0);
    for (arguments, word) in [
        ("", "Usage"),
        ("mirrorr -f list.txt", "mirrorr"),
        ("mirror", "--file"),
        ("mirror -f none.txt -d a.example", "none.txt"),
        ("mirror -f list.txt -d a.example --nothing", "--nothing"),
        ("mirror -f list.txt -d a.example -j 0", "256"),
        ("mirror -f list.txt -d a.example --on-existing ask", "ask"),
        (
            "mirror -f list.txt -d a.example --arch amd64 --platform linux/amd64",
            "--platform",
        ),
        (
            "mirror -f list.txt -d a.example --policy none.json",
            "none.json",
        ),
        ("mirror -f list.txt -d UPPER_CASE/", "UPPER_CASE"),
        ("inspect team/App", "team/App"),
        ("sign -f list.txt", "--key"),
        ("validate -f list.txt", "--key"),
        ("sign -f list.txt --key none.key --dry-run", "none.key"),
        ("sign team/app:1 --key none.key", "none.key"),
        ("mirror team/app:1 -d a.example", "-f -"),
        ("mirror validate -f list.txt", "not there yet"),
        (
            "validate -f list.txt --key site.pub -a amd64,team=web",
            "comma",
        ),
        (
            "validate -f list.txt --key site.pub --exact-repository docker.io/{path}:1",
            "exactReference",
        ),
        (
            "sign -f list.txt --key site.key --passphrase-file empty --sign-identity {tag}",
            "registry",
        ),
    ] {
        stage.place.run(arguments).await.with(2).saying(&[word]);
    }
    assert!(!stage.place.has("mirror-failed.txt"));
}

async fn elsewhere() {
    let stage = Stage::set().await;
    stage.place.write("list.txt", "team/app:1\n");
    let mistyped = "service:\n  web:\n    image: team/app:1\n";
    stage.place.write("compose.yaml", mistyped);
    for (arguments, said) in [
        (
            "mirror -f list.txt -d a.example --report -",
            "--output json",
        ),
        (
            "mirror -f list.txt -d a.example -o -",
            "`-` cannot be the failed list",
        ),
        (
            "validate -f compose.yaml --key site.pub",
            "`--list-format compose` reads it as a compose file",
        ),
        ("mirror team/app:1 -d a.example", "consign copy team/app:1"),
        (
            "mirror -f list.txt -d a.example --key site.pub",
            "--verify-key",
        ),
        ("mirror -f list.txt -d a.example -k site.key", "--sign-key"),
        (
            "copy team/app:1 a.example/app:1 --key site.pub",
            "--verify-key",
        ),
        ("copy -f list.txt -d a.example", "consign mirror -f"),
        (
            "copy team/app:1 a.example/app:1 --file list.txt",
            "consign mirror -f",
        ),
        (
            "mirror -f list.txt -d a.example --sign-keyless",
            "`--sign-keyless` needs an identity token",
        ),
        (
            "mirror -f list.txt -d a.example --sign-keyless --trusted-root root.json",
            "--sign-trusted-root",
        ),
        (
            "mirror -f list.txt -d a.example --insecure-ignore-tlog",
            "needs `--verify-key`",
        ),
        (
            "mirror -f list.txt -d a.example --insecure-ignore-sct",
            "needs `--verify-key`",
        ),
        (
            "validate team/app:1 --certificate-identity-regexp *@a.example --certificate-oidc-issuer b",
            "it is no regular expression: repetition operator missing expression",
        ),
        (
            "validate team/app:1 --certificate-identity a --certificate-oidc-issuer b --trusted-root list.txt",
            "PEM",
        ),
    ] {
        stage.place.run(arguments).await.with(2).saying(&[said]);
    }
    stage.nothing_was_contacted();
    assert!(!stage.place.has("-"));
}

async fn policy() {
    let stage = Stage::set().await;
    let free = stage.image("1", "free/app", "1").await;
    stage.image("2", "signed/app", "1").await;
    stage.image("3", "gpg/app", "1").await;
    stage
        .place
        .write("list.txt", "free/app:1\nsigned/app:1\ngpg/app:1\n");
    let from = stage.source.host();
    let policy = json!({
        "default": [{ "type": "insecureAcceptAnything" }],
        "transports": { "docker": {
            format!("{from}/signed"): [{ "type": "sigstoreSigned", "keyPath": "/none.pub" }],
            format!("{from}/gpg"): [{ "type": "signedBy", "keyType": "GPGKeys", "keyPath": "/x" }],
        }},
    });
    stage
        .place
        .write(".config/containers/policy.json", policy.to_string());
    let ended = stage.place.run(&stage.mirror("")).await.with(1);
    ended.saying(&["list.txt:2", "/none.pub", "list.txt:3", "signedBy", "/gpg"]);
    assert_eq!(stage.outcomes(), ["copied", "not-tried", "not-tried"]);
    for line in [1, 2] {
        let failure = &stage.line(line)["failure"];
        assert_eq!(failure["stage"], "verify");
        assert_eq!(failure["kind"], "unsupported");
    }
    let left = ["signed/app:1", "gpg/app:1"];
    assert_eq!(stage.place.lines("mirror-failed.txt"), left);
    assert_eq!(stage.there("free/app", "1"), Some(free.digest));
    assert_eq!(stage.source.count("*", "/v2/signed/*"), 0);
    assert_eq!(stage.source.count("*", "/v2/gpg/*"), 0);

    // One that is named takes the place of the user's; and none can be honoured.
    let reject = json!({ "default": [{ "type": "reject" }] }).to_string();
    stage.place.write("reject.json", reject);
    stage
        .place
        .run(&stage.mirror("--policy reject.json"))
        .await
        .with(3);
    assert_eq!(stage.outcomes(), ["rejected"; 3]);
    assert!(stage.line(0)["failure"].to_string().contains("reject"));
    stage
        .place
        .run(&stage.mirror("--insecure-policy"))
        .await
        .with(0);
    assert_eq!(stage.outcomes(), ["up-to-date", "copied", "copied"]);
}

async fn bad_policy() {
    let stage = Stage::set().await;
    stage.place.write("list.txt", "team/app:1\n");
    for text in [
        "",
        "{}",
        "[]",
        "{\"default\":[]}",
        "{\"default\":[{\"type\":\"reject\"}],\"more\":1}",
    ] {
        stage.place.write(".config/containers/policy.json", text);
        let ended = stage.place.run(&stage.mirror("")).await.with(2);
        ended.saying(&["policy.json", "--insecure-policy"]);
    }
    stage.nothing_was_contacted();
    assert!(!stage.place.has("mirror-failed.txt"));
}

async fn outputs() {
    let stage = Stage::set().await;
    stage.image("1", "team/app", "1").await;
    stage.place.write("list.txt", "team/app:1\n");
    for flags in [
        "-o none/failed.txt",
        "--report none/report.json",
        "--digests none/digests.txt",
        // One file cannot be two things, however its path is written.
        "-o none.txt --report ./none.txt",
        "--report none.txt --digests none.txt",
        "--report list.txt",
        "--digests ./list.txt",
    ] {
        let sides = stage.sides();
        let ended = stage
            .place
            .run(&format!("mirror -f list.txt {sides} {flags}"))
            .await;
        let name = if flags.contains("none") {
            "none"
        } else {
            "list.txt"
        };
        ended.with(2).saying(&[name]);
    }
    stage.nothing_was_contacted();
    assert_eq!(stage.place.read("list.txt"), "team/app:1\n");
    let failed = stage.place.has("mirror-failed.txt");
    assert!(!failed, "{}", stage.place.read("mirror-failed.txt"));
}
