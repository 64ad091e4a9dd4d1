//! Runs whose registries refuse, are gone, or are one registry for two users.

use std::time::Instant;

use libtest_mimic::Trial;
use serde_json::Value;

use super::{basic, nobody};
use crate::harness::trial;
use crate::program::{Workplace, outcomes};
use crate::registry::{
    Auth, Bearer, Image, Logged, Settings, TestRegistry, Transport, artifact, when,
};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "access::two_users_of_one_registry_keep_to_their_sides",
            two_users,
        ),
        trial(
            "access::a_mirror_that_is_down_costs_a_run_nothing",
            mirror_down,
        ),
        trial(
            "access::a_mirror_that_fails_is_left_after_a_few_images",
            mirror_fails,
        ),
        trial("access::what_is_blocked_contacts_nobody", blocked),
        trial(
            "access::trust_for_a_part_of_a_registry_is_tried_by_itself",
            part_of_trust,
        ),
        trial(
            "access::a_right_that_is_missing_is_no_wrong_password",
            no_right,
        ),
        trial("access::a_plan_says_where_images_are_read_from", planned),
        trial(
            "access::what_a_mirror_brings_is_judged_by_the_name_of_the_line",
            judged_by_name,
        ),
        trial(
            "access::a_source_that_is_gone_is_named_as_it_was_asked",
            elsewhere,
        ),
        trial(
            "access::the_time_to_try_again_is_told_everywhere",
            throttled,
        ),
        trial(
            "access::a_destination_that_nobody_logged_in_to_leaves_the_rest_not_tried",
            nobody_known,
        ),
        trial(
            "access::a_password_that_ended_with_403_leaves_the_rest_not_tried",
            ended_with_403,
        ),
    ]
}

/// The outcome and kind of each line of a report.
#[track_caller]
fn kinds(report: &Value) -> Vec<String> {
    let lines = report["lines"].as_array().expect("lines");
    let word = |line: &Value| {
        let kind = line["failure"]["kind"].as_str().unwrap_or_default();
        format!("{} {kind}", line["outcome"].as_str().expect("a word"))
    };
    lines.iter().map(word).collect()
}

/// How many images the list of [`twelve`] has: some may end while a registry is tried beside them.
const LINES: usize = 12;

/// A workplace with a list of twelve images of `from`.
async fn twelve(from: &TestRegistry) -> Workplace {
    let place = Workplace::new();
    let mut list = String::new();
    for n in 0..LINES {
        let name = format!("team/app{n}");
        Image::new(&[&name]).push(from, &name, Some("1")).await;
        list = format!("{list}{name}:1\n");
    }
    place.write("list.txt", list);
    place
}

/// A registry on loopback is not asked who it lets in before it has to be; after three refusals that is known.
async fn nobody_known() {
    let from = TestRegistry::start().await;
    let to = TestRegistry::with(Settings {
        auth: Auth::Basic("user", "password"),
        ..Settings::default()
    })
    .await;
    let place = twelve(&from).await;
    let (source, host) = (from.host(), to.host());
    let run = format!("mirror -f list.txt -s {source} -d {host} -j 1 --report report.json");
    let ended = place.run(&run).await.with(1);
    ended.saying(&["asks for a user and a password", &host]);
    ends_early(&place);
}

/// Some lines fail until the registry is tried by itself, beside the next ones; the rest is not tried.
#[track_caller]
fn ends_early(place: &Workplace) {
    let ends = kinds(&place.json("report.json"));
    let failed = ends.iter().take_while(|end| *end == "failed unauthorized");
    let failed = failed.count();
    assert!((3..LINES).contains(&failed), "{ends:?}");
    let rest = &ends[failed..];
    assert!(
        rest.iter().all(|end| end == "not-tried unauthorized"),
        "{ends:?}"
    );
}

/// ECR says so of a password that has ended, of whatever is asked for.
async fn ended_with_403() {
    let (from, to) = (
        TestRegistry::start().await,
        TestRegistry::with(Settings {
            auth: Auth::Basic("user", "password"),
            ..Settings::default()
        })
        .await,
    );
    let place = twelve(&from).await;
    let (source, host) = (from.host(), to.host());
    let run = format!(
        "mirror -f list.txt -s {source} -d {host} --dest-creds user:ended -j 1 --report report.json"
    );
    // The challenge is as ever; what comes with a password is refused.
    to.rule(when("*", "/v2/*").from(2).answer_with(403));
    place.run(&run).await.with(1);
    ends_early(&place);
}

/// Who asked for what in a repository, wherever a request is below it.
fn who(registry: &TestRegistry, repository: &str) -> Vec<(String, Logged)> {
    let requests = registry.requests("*", &format!("/v2/{repository}/*"));
    let user = |request: Logged| {
        let user = basic(&request).map(|(user, _)| user);
        (user.unwrap_or_default(), request)
    };
    requests.into_iter().map(user).collect()
}

/// What is read at the source is read by its user, and all at the destination is asked and written by its
/// own: the existing tag, the closure, mounts, signatures that are made and looked for.
async fn two_users() {
    for denied in [None, Some(401), Some(403), Some(404)] {
        let registry = TestRegistry::with(Settings {
            auth: Auth::Users(&[("reader", "r"), ("writer", "w"), ("owner", "o")]),
            ..Settings::default()
        })
        .await;
        let image = Image::new(&["one", "two"]);
        let pushed = image.clone().push(&registry, "team/app", Some("1")).await;
        image.push(&registry, "team/other", Some("1")).await;
        artifact(
            &registry,
            "team/app",
            "application/x.test",
            Some(&pushed),
            "attached",
        )
        .await;
        // The other repository may not be mounted from, as far as the writer is concerned.
        if let Some(status) = denied {
            registry.rule(when("POST", "/v2/*?*from=team*").respond(status));
        }
        let host = registry.host();
        let place = Workplace::new();
        place.write("passphrase", "");
        let made = "generate-key --prefix site --passphrase-file passphrase";
        place.run(made).await.with(0);
        place.write(
            "sources.txt",
            format!("{host}/team/app:1\n{host}/team/other:1\n"),
        );
        let keys = "--key site.key --passphrase-file passphrase";
        let sign = format!("sign -f sources.txt --creds owner:o {keys}");
        place.run(&sign).await.with(0);
        place.write(
            "list.txt",
            format!(
                "{host}/team/app:1 {host}/copy/app 1\n{host}/team/other:1 {host}/copy/other 1\n"
            ),
        );
        let run = "mirror -f list.txt --src-creds reader:r --dest-creds writer:w --verify-key site.pub \
                   --sign-key site.key --passphrase-file passphrase --report report.json --debug";
        for word in ["copied", "up-to-date"] {
            registry.clear_log();
            let ended = place.run(run).await.with(0);
            assert_eq!(outcomes(&place.json("report.json")), [word; 2], "{ended}");
            for repository in ["team/app", "team/other"] {
                let asked = who(&registry, repository);
                assert!(asked.len() > 2, "{}", registry.log_text());
                for (user, request) in asked {
                    let is_read = matches!(request.method.as_str(), "GET" | "HEAD");
                    assert!(is_read, "{request}");
                    assert_eq!(user, "reader", "{request}");
                }
            }
            for repository in ["copy/app", "copy/other"] {
                for (user, request) in who(&registry, repository) {
                    assert_eq!(user, "writer", "{request}");
                }
            }
        }
        // What stands there is whole, with signatures of both.
        let of = |repository: &str| registry.tag(repository, "1");
        assert_eq!(of("copy/app"), of("team/app"));
        registry.clear_log();
        let validate = "validate -f list.txt --key site.pub --creds writer:w";
        place.run(validate).await.with(0);
        for (user, request) in who(&registry, "copy/app") {
            assert_eq!(user, "writer", "{request}");
        }
        assert!(who(&registry, "team/app").is_empty());
    }
}

/// A run of this many images of `from`, of which `mirror` stands in front.
const IMAGES: usize = 24;

async fn behind(mirror: &str) -> (Workplace, TestRegistry, TestRegistry) {
    let (from, to) = (TestRegistry::start().await, TestRegistry::start().await);
    let place = Workplace::new();
    let mut list = String::new();
    for n in 0..IMAGES {
        let image = Image::new(&[&format!("layer {n}")]);
        image.push(&from, &format!("team/app{n}"), Some("1")).await;
        list = format!("{list}{}/team/app{n}:1\n", from.host());
    }
    place.write("list.txt", list);
    let tables = format!(
        "[[registry]]\nlocation = '{}'\n[[registry.mirror]]\nlocation = '{mirror}'\n",
        from.host()
    );
    place.write(".config/containers/registries.conf", tables);
    (place, from, to)
}

async fn mirror_down() {
    let (place, _from, to) = behind(&nobody().await).await;
    let began = Instant::now();
    let run = format!(
        "mirror -f list.txt -d {} -j 4 --report report.json",
        to.host()
    );
    place.run(&run).await.with(0);
    assert_eq!(outcomes(&place.json("report.json")), ["copied"; IMAGES]);
    // One line alone would wait some 3 s, and there are 6 for each job.
    assert!(began.elapsed().as_secs() < 8, "{:?}", began.elapsed());
}

async fn mirror_fails() {
    let mirror = TestRegistry::start().await;
    let (place, _from, to) = behind(&mirror.host()).await;
    mirror.rule(when("*", "/v2/team/*").respond(403));
    let run = format!(
        "mirror -f list.txt -d {} -j 1 --report report.json",
        to.host()
    );
    place.run(&run).await.with(0);
    assert_eq!(outcomes(&place.json("report.json")), ["copied"; IMAGES]);
    // Refusals of rights end nothing.
    assert!(mirror.count("*", "/v2/team/*") >= IMAGES);

    mirror.clear_rules();
    mirror.clear_log();
    let throttled = when("*", "/v2/team/*").respond(429);
    mirror.rule(throttled.header("retry-after", "7200"));
    let again = TestRegistry::start().await;
    let run = format!(
        "mirror -f list.txt -d {} -j 1 --report report.json",
        again.host()
    );
    place.run(&run).await.with(0);
    assert_eq!(outcomes(&place.json("report.json")), ["copied"; IMAGES]);
    // It says itself that it will not be better soon.
    assert_eq!(mirror.count("*", "/v2/team/*"), 1, "{}", mirror.log_text());
}

/// Neither the source nor the destination, for nothing will be copied.
async fn blocked() {
    let (from, to) = (TestRegistry::start().await, TestRegistry::start().await);
    let place = Workplace::new();
    let tables = format!(
        "[[registry]]\nlocation = '{}'\nblocked = true\n",
        from.host()
    );
    place.write(".config/containers/registries.conf", tables);
    let (source, destination) = (from.host(), to.host());
    place.write(
        "list.txt",
        format!(
            "{source}/team/app:1\n{source}/team/a:1 {destination}/x/y 1\n{source}/team/b:1 {destination}/x/y 1\n"
        ),
    );
    place.write(".docker/config.json", "{}");
    let run = format!(
        "mirror -f list.txt --dest-creds user:password -d {destination} --report report.json"
    );
    place.run(&run).await.with(1);
    let report = place.json("report.json");
    assert_eq!(kinds(&report), ["not-tried refused"; 3]);
    assert_eq!(report["lines"][1]["failure"]["detail"], "blocked");
    assert!(
        from.log().is_empty() && to.log().is_empty(),
        "{}",
        to.log_text()
    );
}

/// A registry whose certificate nobody knows, and of which `registries.conf` trusts a part.
async fn part_of_trust() {
    let from = TestRegistry::with(Settings {
        transport: Transport::Tls,
        ..Settings::default()
    })
    .await;
    let to = TestRegistry::start().await;
    let place = Workplace::new();
    let mut list = String::new();
    for repository in ["aa/app", "ns/app", "zz/app"] {
        Image::new(&["x"]).push(&from, repository, Some("1")).await;
        list = format!("{list}{}/{repository}:1\n", from.host());
    }
    place.write("list.txt", list);
    let tables = format!(
        "[[registry]]\nlocation = '{}/ns'\ninsecure = true\n",
        from.host()
    );
    place.write(".config/containers/registries.conf", tables);
    let run = format!("mirror -f list.txt -d {} --report report.json", to.host());
    place.run(&run).await.with(4);
    assert_eq!(
        kinds(&place.json("report.json")),
        ["not-tried network", "copied ", "not-tried network"]
    );
}

/// A token service that says 403 for one repository says nothing of the password.
async fn no_right() {
    let to = TestRegistry::with(Settings {
        auth: Auth::Bearer(Bearer::default()),
        ..Settings::default()
    })
    .await;
    to.rule(when("GET", "/token?*closed*").respond(403));
    let from = TestRegistry::start().await;
    let place = Workplace::new();
    for repository in ["team/closed", "team/open"] {
        Image::new(&["x"]).push(&from, repository, Some("1")).await;
    }
    place.write("list.txt", "team/closed:1\nteam/open:1\n");
    let run = format!(
        "mirror -f list.txt -s {} -d {} --dest-creds user:password --report report.json",
        from.host(),
        to.host()
    );
    let ended = place.run(&run).await.with(1);
    let report = place.json("report.json");
    assert_eq!(
        kinds(&report),
        ["not-tried unauthorized", "copied "],
        "{ended}"
    );
    let failure = &report["lines"][0]["failure"];
    assert_eq!(failure["detail"], Value::Null, "{failure}");
    let hint = report["lines"][0]["hint"].as_str().expect("a hint");
    assert!(hint.contains("push rights to `team/closed`"), "{hint}");

    // The same beside another credential that is wrong.
    let host = to.host();
    place.write(
        "creds",
        format!("{host} user password\n{host}/team/other user wrong\n"),
    );
    Image::new(&["x"])
        .push(&from, "team/other", Some("1"))
        .await;
    place.write("list.txt", "team/closed:1\nteam/open:1\nteam/other:1\n");
    let run = format!(
        "mirror -f list.txt -s {} -d {host} --creds-file creds --report report.json",
        from.host()
    );
    let ended = place.run(&run).await.with(1);
    let report = place.json("report.json");
    let denied = "not-tried unauthorized";
    assert_eq!(kinds(&report), [denied, "up-to-date ", denied], "{ended}");
    let details = [0, 2].map(|line| report["lines"][line]["failure"]["detail"].clone());
    assert_eq!(details, [Value::Null, "credential".into()]);
}

async fn planned() {
    let place = Workplace::new();
    let tables = "[aliases]\n'app' = 'a.example/ns/app'\n\
                  [[registry]]\nlocation = 'a.example'\n\
                  [[registry.mirror]]\nlocation = 'm.example/a'\n\
                  [[registry]]\nprefix = 'b.example'\nlocation = 'c.example/b'\n\
                  [[registry]]\nlocation = 'closed.example'\nblocked = true\n";
    place.write(".config/containers/registries.conf", tables);
    place.write(
        "list.txt",
        "app:1\nb.example/b:1\nclosed.example/c:1\nd.example/d:1\n",
    );
    let ended = place.run("plan -f list.txt -d to.example").await.with(0);
    let text = ended.text();
    for line in [
        "a.example/ns/app:1 -> to.example/library/app:1 (read from m.example/a/ns/app:1, then a.example/ns/app:1)\n",
        "b.example/b:1 -> to.example/b:1 (read from c.example/b/b:1)\n",
        "blocks `closed.example`)\n",
        "d.example/d:1 -> to.example/d:1\n",
    ] {
        assert!(text.contains(line), "{line}: {ended}");
    }
    let ended = place
        .run("plan -f list.txt -d to.example --output json")
        .await
        .with(0);
    let lines = ended.json_lines();
    assert_eq!(
        lines[0]["read_from"],
        serde_json::json!(["m.example/a/ns/app:1", "a.example/ns/app:1"])
    );
    assert_eq!(
        lines[1]["read_from"],
        serde_json::json!(["c.example/b/b:1"])
    );
    assert!(
        lines[2]["blocked"]
            .as_str()
            .expect("why")
            .contains("closed.example")
    );
    assert_eq!(
        (&lines[3]["read_from"], &lines[3]["blocked"]),
        (&Value::Null, &Value::Null)
    );
}

/// Who is told of a registry that cannot be reached is told of the one that was asked.
async fn elsewhere() {
    let gone = nobody().await;
    let to = TestRegistry::start().await;
    let place = Workplace::new();
    let tables = format!("[[registry]]\nprefix = 's.example'\nlocation = '{gone}/s'\n");
    place.write(".config/containers/registries.conf", tables);
    place.write("list.txt", "s.example/app:1\n");
    let run = format!("mirror -f list.txt -d {} --report report.json", to.host());
    let source = format!("its source `{gone}`");
    let hint = format!("whether `{gone}` can be reached");
    place.run(&run).await.with(4).saying(&[&source, &hint]);
    let report = place.json("report.json");
    assert_eq!(report["lines"][0]["failure"]["registry"], gone);
}

/// What a mirror brings is judged by the name of the line, and a mirror that has no signature is passed over.
async fn judged_by_name() {
    let (from, mirror, bare) = (
        TestRegistry::start().await,
        TestRegistry::start().await,
        TestRegistry::start().await,
    );
    let image = Image::new(&["signed"]);
    for (registry, repository) in [
        (&from, "team/app"),
        (&mirror, "m/team/app"),
        (&bare, "team/app"),
    ] {
        image.clone().push(registry, repository, Some("1")).await;
    }
    let place = Workplace::new();
    place.write("passphrase", "");
    let made = "generate-key --prefix site --passphrase-file passphrase";
    place.run(made).await.with(0);
    // Signed at the registry, and brought to the mirror with its signature.
    place.write("sources.txt", format!("{}/team/app:1\n", from.host()));
    let sign = "sign -f sources.txt --key site.key --passphrase-file passphrase";
    place.run(sign).await.with(0);
    let copy = format!(
        "copy {}/team/app:1 {}/m/team/app:1",
        from.host(),
        mirror.host()
    );
    place.run(&copy).await.with(0);
    let tables = format!(
        "[[registry]]\nlocation = '{}'\nblocked = true\n[[registry.mirror]]\nlocation = '{}'\n\
         [[registry.mirror]]\nlocation = '{}/m'\n",
        from.host(),
        bare.host(),
        mirror.host()
    );
    place.write(".config/containers/registries.conf", tables);
    from.clear_log();
    let to = TestRegistry::start().await;
    let run = format!(
        "mirror -f sources.txt -d {} --verify-key site.pub --sign-key site.key \
         --passphrase-file passphrase --sign-identity {{source}}:{{tag}} --report report.json",
        to.host()
    );
    let ended = place.run(&run).await.with(0);
    assert!(from.log().is_empty(), "{}", from.log_text());
    assert!(bare.count("GET", "/v2/team/app/manifests/1") > 0);
    assert_eq!(
        to.tag("team/app", "1"),
        from.tag("team/app", "1"),
        "{ended}"
    );
    let report = place.json("report.json");
    let signed = &report["lines"][0]["signing"]["signatures"][0]["identity"];
    assert_eq!(*signed, format!("{}/team/app:1", from.host()));
}

/// The time to try again is in the report, in the list of what is left, and told.
async fn throttled() {
    let (from, to) = (TestRegistry::start().await, TestRegistry::start().await);
    let rule = when("*", "/v2/team/*").respond(429);
    from.rule(rule.header("retry-after", "7200"));
    let place = Workplace::new();
    let lines: Vec<String> = (0..50).map(|n| format!("team/app{n}:1")).collect();
    place.write("list.txt", lines.join("\n"));
    let run = format!(
        "mirror -f list.txt -s {} -d {} -j 4 --report report.json",
        from.host(),
        to.host()
    );
    let began = Instant::now();
    let ended = place
        .run(&run)
        .await
        .with(4)
        .saying(&["throttles until 20", "run what is left then"]);
    // Those that were under way do not wait for what will not come.
    assert!(began.elapsed().as_secs() < 30, "{:?}", began.elapsed());
    let report = place.json("report.json");
    assert!(from.count("*", "/v2/team/*") <= 4, "{}", from.log_text());
    for line in report["lines"].as_array().expect("lines") {
        assert_eq!(line["failure"]["kind"], "rate-limited");
        assert!(
            line["failure"]["again"]
                .as_str()
                .expect("a time")
                .ends_with('Z'),
            "{line}"
        );
    }
    assert_eq!(place.lines("mirror-failed.txt").len(), 50, "{ended}");
    let list = place.read("mirror-failed.txt");
    assert!(
        list.contains("# not-tried stage=run side=source kind=rate-limited list.txt:50: "),
        "{list}"
    );
    assert!(list.contains("throttles until 20"), "{list}");
}
