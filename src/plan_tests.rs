use proptest::prelude::*;

use super::*;
use crate::list;
use crate::oci::Digest;
use crate::oci::PlatformSelection;

fn entries(text: &str) -> Vec<Entry> {
    let parsed = list::parse("images.txt", text.as_bytes()).unwrap();
    assert!(parsed.bad.is_empty(), "{:?}", parsed.bad);
    parsed.entries
}

fn to(registry: &str) -> Rewrite {
    Rewrite {
        destination_registry: Some(registry.parse().unwrap()),
        ..Rewrite::default()
    }
}

fn planned(text: &str, rewrite: &Rewrite) -> Plan {
    plan(entries(text), rewrite).unwrap()
}

/// `source -> destination` of the only job.
fn only(text: &str, rewrite: &Rewrite) -> String {
    let plan = planned(text, rewrite);
    assert_eq!(plan.jobs().len(), 1);
    let job = &plan.jobs()[0];
    format!("{} -> {}", job.source, job.destination)
}

fn errors(text: &str, rewrite: &Rewrite) -> Vec<String> {
    plan(entries(text), rewrite)
        .unwrap_err()
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn registries_are_replaced_written_or_filled_in() {
    let d = to("d.io");
    assert_eq!(
        only("nginx:1", &d),
        "docker.io/library/nginx:1 -> d.io/library/nginx:1"
    );
    assert_eq!(only("q.io/a/b", &d), "q.io/a/b:latest -> d.io/a/b:latest");
    assert_eq!(only("q.io/b:1", &d), "q.io/b:1 -> d.io/b:1");
    let both = Rewrite {
        source_registry: Some("s.io:5000".parse().unwrap()),
        ..d.clone()
    };
    assert_eq!(
        only("nginx:1", &both),
        "s.io:5000/library/nginx:1 -> d.io/library/nginx:1"
    );
    assert_eq!(only("q.io/a/b:1", &both), "s.io:5000/a/b:1 -> d.io/a/b:1");
    assert_eq!(
        only("q.io/a/b x.io/c/d 1", &both),
        "s.io:5000/a/b:1 -> d.io/c/d:1"
    );
    assert_eq!(
        only("q.io/a/b x.io/c/d 1", &Rewrite::default()),
        "q.io/a/b:1 -> x.io/c/d:1"
    );
    assert_eq!(
        only("q.io/b:1", &to("docker.io")),
        "q.io/b:1 -> docker.io/library/b:1"
    );
}

#[test]
fn projects_are_replaced_on_each_side() {
    let rewrite = Rewrite {
        source_project: Some("from".parse().unwrap()),
        destination_project: Some("to/deep".parse().unwrap()),
        ..to("d.io")
    };
    assert_eq!(
        only("q.io/a/b/c:1", &rewrite),
        "q.io/from/b/c:1 -> d.io/to/deep/b/c:1"
    );
    assert_eq!(
        only("nginx:1", &rewrite),
        "docker.io/from/nginx:1 -> d.io/to/deep/nginx:1"
    );
    assert_eq!(
        only("q.io/b x 1", &rewrite),
        "q.io/from/b:1 -> d.io/to/deep/x:1"
    );
    let half = Rewrite {
        destination_project: Some("to".parse().unwrap()),
        ..to("d.io")
    };
    assert_eq!(only("q.io/a/b:1", &half), "q.io/a/b:1 -> d.io/to/b:1");
    for bad in ["", "A", "a//b", "/a", "a b", "a:1"] {
        let error = bad.parse::<Project>().unwrap_err();
        assert_eq!(error.what, "project", "{bad}");
    }
    let long = Rewrite {
        destination_project: Some("p".repeat(250).parse().unwrap()),
        ..to("d.io")
    };
    assert_eq!(errors("q.io/a/longer:1", &long).len(), 1);
}

#[test]
fn digests_are_copied_and_tags_set() {
    let digest = Digest::sha256(b"x");
    let d = to("d.io");
    assert_eq!(
        only(&format!("q.io/a:1@{digest}"), &d),
        format!("q.io/a:1@{digest} -> d.io/a:1")
    );
    assert_eq!(
        only(&format!("q.io/a@{digest}"), &d),
        format!("q.io/a@{digest} -> d.io/a@{digest}")
    );
    assert_eq!(
        only(&format!("q.io/a@{digest} p/b 1"), &d),
        format!("q.io/a:1@{digest} -> d.io/p/b:1")
    );
}

#[test]
fn all_errors_come_at_once_and_in_order() {
    let digest = Digest::sha256(b"x");
    let text = format!(
        "nginx:1\n\
         q.io/a q.io/a 1\n\
         q.io/a x.io/a 1\n\
         q.io/a b 1\n\
         q.io/a@{digest} q.io/a 2\n"
    );
    assert_eq!(
        errors(&text, &Rewrite::default()),
        [
            "images.txt:1: no destination registry for `docker.io/library/nginx:1`",
            "images.txt:2: `q.io/a:1` would be copied onto itself",
            "images.txt:4: no destination registry for `q.io/a:1`",
        ]
    );
    let (plan, bad) = plan_good(entries(&text), &Rewrite::default());
    assert_eq!((plan.jobs().len(), bad.len()), (2, 3));
    assert!(bad.iter().all(|error| error.hint().is_some()));
    assert_eq!(plan.jobs()[0].id, JobId::new(0));
    assert_eq!(plan.jobs()[1].line.number, 5);
}

#[test]
fn nothing_is_copied_onto_itself() {
    let digest = Digest::sha256(b"x");
    for line in [
        "q.io/a:1".to_owned(),
        format!("q.io/a@{digest}"),
        format!("q.io/a:1@{digest}"),
        "q.io/a x.io/a 1".to_owned(),
    ] {
        assert_eq!(errors(&line, &to("q.io")).len(), 1, "{line}");
    }
    let back = Rewrite {
        source_registry: Some("q.io".parse().unwrap()),
        ..to("q.io")
    };
    assert_eq!(errors("nginx", &back).len(), 1);
}

#[test]
fn duplicates_run_once_and_rivals_are_marked() {
    let digest = Digest::sha256(b"x");
    let text = format!(
        "a/x d/x 1\n\
         b/x d/x 1\n\
         a/x d/x 1 # again\n\
         a/x d/x 2\n\
         a/x:2 d/x 2\n\
         a/y d/y 1\n\
         a/y@{digest} d/y 1\n\
         a/z d/z 1\n"
    );
    let plan = planned(&text, &to("d.io"));
    let courses: Vec<Course> = plan.jobs().iter().map(|job| job.course).collect();
    assert_eq!(
        courses,
        [
            Course::Contested { group: 0 },
            Course::Contested { group: 0 },
            Course::Duplicate { of: JobId::new(0) },
            Course::Run,
            Course::Duplicate { of: JobId::new(3) },
            Course::Contested { group: 1 },
            Course::Contested { group: 1 },
            Course::Run,
        ]
    );
    let group = |ids: [usize; 2]| ids.map(JobId::new).to_vec();
    assert_eq!(plan.contests(), [group([0, 1]), group([5, 6])]);
    assert_eq!(plan.distinct().count(), 6);
    assert_eq!(plan.duplicates().count(), 2);
    assert_eq!(plan.source_registries().values().copied().sum::<usize>(), 6);
    assert_eq!(plan.destination_registries().len(), 1);
}

#[test]
fn one_digest_from_two_sources_is_no_conflict() {
    let digest = Digest::sha256(b"x");
    let rewrite = Rewrite {
        destination_project: Some("p".parse().unwrap()),
        ..to("d.io")
    };
    let plan = planned(&format!("q.io/a/x@{digest}\nq.io/b/x@{digest}\n"), &rewrite);
    assert!(plan.contests().is_empty());
    assert_eq!(plan.distinct().count(), 2);
}

#[test]
fn one_goal_cannot_be_asked_for_in_two_ways() {
    let mut list = entries("a/x:1\na/x:1\nb/y:1\n");
    list[1].settings.platforms = Some(PlatformSelection::of_platforms(&["linux/amd64"
        .parse()
        .unwrap()]));
    let (plan, bad) = plan_good(list, &to("d.io"));
    assert_eq!(plan.jobs().len(), 2);
    assert_eq!(
        bad[0].to_string(),
        "images.txt:2: `d.io/a/x:1` is asked for with other settings in `images.txt:1`"
    );
}

#[test]
fn real_lists_have_their_contests_and_duplicates() {
    for (name, jobs, contests, duplicates) in [
        ("rancher-image-mirror.images-list.txt", 2172, 2, 0),
        ("kubesphere-images-list.txt", 140, 0, 1),
    ] {
        let Some(bytes) = list::tests::real_list(name) else {
            continue;
        };
        let parsed = list::parse(name, bytes.as_slice()).unwrap();
        let plan = plan(parsed.entries, &to("d.io")).unwrap();
        assert_eq!(plan.jobs().len(), jobs, "{name}");
        assert_eq!(plan.contests().len(), contests, "{name}");
        assert_eq!(plan.duplicates().count(), duplicates, "{name}");
    }
}

proptest! {
    #[test]
    fn every_entry_has_its_job(picks in prop::collection::vec((0_usize..4, 0_usize..4, 0_usize..3), 0..40)) {
        let lines: Vec<String> = picks
            .iter()
            .map(|(from, to, tag)| format!("a/x{from} b/y{to} {tag}"))
            .collect();
        let text = lines.join("
");
        let plan = planned(&text, &to("d.io"));
        prop_assert_eq!(plan.jobs().len(), picks.len());
        for (position, job) in plan.jobs().iter().enumerate() {
            prop_assert_eq!(job.id.position(), position);
            let same = |other: &&Job| other.source == job.source && other.destination == job.destination;
            let rivals = plan.distinct().filter(|other| other.destination == job.destination);
            match job.course {
                Course::Duplicate { of } => {
                    prop_assert_eq!(plan.jobs().iter().find(same).unwrap().id, of);
                    prop_assert!(of < job.id);
                }
                Course::Run => prop_assert_eq!(rivals.count(), 1),
                Course::Contested { group } => {
                    let ids: Vec<JobId> = rivals.map(|rival| rival.id).collect();
                    prop_assert!(ids.len() > 1);
                    prop_assert_eq!(&plan.contests()[group], &ids);
                }
            }
        }
    }
}

/// `image of origin` of each job of a plan that leaves images where they are.
fn staying(text: &str, stay: &Stay) -> Vec<String> {
    let (plan, errors) = plan_in_place(entries(text), stay);
    assert!(errors.is_empty(), "{errors:?}");
    let jobs = plan.jobs().iter();
    jobs.map(|job| {
        assert!(job.is_in_place());
        format!("{} of {}", job.destination, job.origin)
    })
    .collect()
}

#[test]
fn where_images_stay_a_mirror_line_means_its_destination() {
    let here = Stay::default();
    let there = Stay {
        registry: Some("d.io:5000".parse().unwrap()),
        project: Some("site".parse().unwrap()),
    };
    assert_eq!(
        staying("nginx:1\nq.io/a/b x.io/c/d 2\n", &here),
        [
            "docker.io/library/nginx:1 of docker.io/library/nginx",
            "x.io/c/d:2 of q.io/a/b"
        ]
    );
    assert_eq!(
        staying("nginx:1\nq.io/a/b c/d 2\n", &there),
        [
            "d.io:5000/site/nginx:1 of docker.io/library/nginx",
            "d.io:5000/site/d:2 of q.io/a/b"
        ]
    );
    let (plan, errors) = plan_in_place(entries("q.io/a/b c/d 2\n"), &here);
    assert!(plan.jobs().is_empty());
    assert_eq!(
        errors[0].to_string(),
        "images.txt:1: no registry for `docker.io/c/d:2`"
    );
    assert!(errors[0].hint().unwrap().contains("--registry"));
}

#[test]
fn where_images_stay_a_digest_stays_with_its_tag() {
    let digest = Digest::sha256(b"x");
    let text = format!("q.io/a/b:1@{digest}\nq.io/a/b@{digest}\n");
    let (plan, errors) = plan_in_place(entries(&text), &Stay::default());
    assert!(errors.is_empty());
    assert_eq!(
        plan.jobs()[0].destination.to_string(),
        format!("q.io/a/b:1@{digest}")
    );
    assert_eq!(
        plan.jobs()[1].destination.to_string(),
        format!("q.io/a/b@{digest}")
    );
}

#[test]
fn where_images_stay_nothing_is_contested_and_what_repeats_is_a_duplicate() {
    let text = "q.io/a/b x.io/c/d 2\nq.io/other x.io/c/d 2\nq.io/a/b x.io/c/d 2\n";
    let (plan, errors) = plan_in_place(entries(text), &Stay::default());
    assert!(errors.is_empty());
    assert!(plan.contests().is_empty());
    let courses: Vec<Course> = plan.jobs().iter().map(|job| job.course).collect();
    let repeated = Course::Duplicate { of: JobId::new(0) };
    // Two origins may mean two identities, so both are looked at.
    assert_eq!(courses, [Course::Run, Course::Run, repeated]);
}

#[test]
fn an_image_that_stays_is_judged_in_each_way_that_is_asked_for() {
    let text = "q.io/a:1 verify=cosign cosign-public-key=a.pub\nq.io/a:1 verify=none\n\
                q.io/a:1 cosign-public-key=a.pub verify=cosign\n";
    let (plan, wrong) = plan_in_place(entries(text), &Stay::default());
    assert!(wrong.is_empty());
    let courses: Vec<Course> = plan.jobs().iter().map(|job| job.course).collect();
    let first = JobId::new(0);
    assert_eq!(
        courses,
        [Course::Run, Course::Run, Course::Duplicate { of: first }]
    );
    // What is copied is copied in one way.
    let said = errors(text, &to("d.io"));
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].contains("other settings"), "{said:?}");
}
