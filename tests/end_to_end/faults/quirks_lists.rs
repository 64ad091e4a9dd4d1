//! Lists of tags and of referrers in every style, and those without an end.

use consign::oci::Tag;
use consign::registry::{Access, Client, Error, ErrorKind};
use futures::future::join_all;
use libtest_mimic::Trial;
use serde_json::json;

use super::{new_client, quick, reference};
use crate::harness::trial;
use crate::registry::{Image, Rule, TestRegistry, when};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("quirks::tag_pages_are_followed_in_every_style", styles),
        trial(
            "quirks::a_full_page_without_a_link_is_not_the_end",
            full_page,
        ),
        trial(
            "quirks::a_number_of_tags_that_is_refused_is_left_out",
            number_refused,
        ),
        trial("quirks::empty_lists_and_empty_pages_are_lists", empty),
        trial("quirks::lists_that_run_in_a_circle_are_left", circles),
        trial("quirks::what_is_no_list_of_tags_is_named", no_list),
        trial(
            "quirks::referrers_that_lead_to_a_page_are_not_none",
            referrers_page,
        ),
    ]
}

/// A client that has met nobody yet, and what it is asked for.
async fn tags(registry: &TestRegistry) -> Result<Vec<String>, Error> {
    let client: Client = new_client(quick());
    let tags = client.tags(&reference(registry, "app").repository).await?;
    Ok(tags.iter().map(Tag::to_string).collect())
}

/// A page of a list.
fn page(path: &str, tags: &[&str]) -> Rule {
    let document = json!({ "name": "app", "tags": tags });
    when("GET", path)
        .respond(200)
        .header("content-type", "application/json")
        .body(document.to_string())
}

const FIRST: &str = "/v2/app/tags/list?n=1000";

async fn styles() {
    // `{}` is the registry's own origin. The second page is where the first one says.
    for (links, second) in [
        (
            vec![r#"</v2/app/tags/list?last=b&n=2>; rel="next""#],
            "/v2/app/tags/list?last=b&n=2",
        ),
        (
            vec![r#"<{}/v2/app/tags/list?last=b>; rel="next""#],
            "/v2/app/tags/list?last=b",
        ),
        (
            vec!["</v2/app/tags/list?n=50&next_page=gAAAA-_%3D%3D>; rel=\"next\""],
            "/v2/app/tags/list?n=50&next_page=gAAAA-_%3D%3D",
        ),
        (vec!["<?last=b>; rel=next"], "/v2/app/tags/list?last=b"),
        (vec!["<list?last=b>;rel=NEXT"], "/v2/app/tags/list?last=b"),
        (
            vec![r#"</elsewhere?x=1,2>; title="a, b"; rel="last next""#],
            "/elsewhere?x=1,2",
        ),
        (
            vec![r#"</v2/app/tags/list>; rel="first", </second>; rel="next""#],
            "/second?",
        ),
        (
            vec![r#"</v2/app/tags/list>; rel="prev""#, "</second>; rel=next"],
            "/second?",
        ),
    ] {
        let registry = TestRegistry::start().await;
        let mut first = page(FIRST, &["a", "b"]);
        for link in &links {
            let own = format!("<{}", registry.url());
            first = first.header("link", &link.replace("<{}", &own));
        }
        registry.rule(first);
        registry.rule(page(second, &["c"]));
        assert_eq!(tags(&registry).await.unwrap(), ["a", "b", "c"], "{links:?}");
        assert_eq!(registry.log().len(), 2, "{}", registry.log_text());
    }
    // No link, or none to a next page, and fewer than were asked for: that is all.
    for link in [
        "",
        "</v2/app/tags/list?last=a>; rel=\"prev\"; title=\"next\"",
    ] {
        let registry = TestRegistry::start().await;
        registry.rule(page(FIRST, &["a", "b"]).header("link", link));
        assert_eq!(tags(&registry).await.unwrap(), ["a", "b"]);
        assert_eq!(registry.log().len(), 1, "{}", registry.log_text());
    }
}

async fn full_page() {
    let names: Vec<String> = (0..1000).map(|n| format!("v{n:04}")).collect();
    let full: Vec<&str> = names.iter().map(String::as_str).collect();
    let more = "/v2/app/tags/list?n=1000&last=v0999";
    // It goes on when it is asked, or has no more, or takes no notice and says the same again.
    for (rest, expected) in [(&["w"][..], 1001), (&[], 1000), (&full[..], 1000)] {
        let registry = TestRegistry::start().await;
        registry.rule(page(FIRST, &full));
        registry.rule(page(more, rest));
        assert_eq!(tags(&registry).await.unwrap().len(), expected);
        assert_eq!(registry.log().len(), 2, "{}", registry.log_text());
    }
    // One that gives more than it is asked for gives all.
    let registry = TestRegistry::start().await;
    registry.rule(page(FIRST, &[&full[..], &["w"]].concat()));
    assert_eq!(tags(&registry).await.unwrap().len(), 1001);
    assert_eq!(registry.log().len(), 1);
}

async fn number_refused() {
    for status in [400, 405] {
        let registry = TestRegistry::start().await;
        Image::new(&["a"]).push(&registry, "app", Some("1")).await;
        let refused = when("GET", "/v2/app/tags/list?*n=*").respond(status);
        registry.rule(refused.error("PAGINATION_NUMBER_INVALID"));
        assert_eq!(tags(&registry).await.unwrap(), ["1"]);
        assert_eq!(registry.log().len(), 2, "{}", registry.log_text());
        // One that refuses it altogether is not asked for ever.
        registry.clear_log();
        registry.rule(when("GET", "*").respond(status));
        let error = tags(&registry).await.unwrap_err();
        assert!(error.to_string().contains(&status.to_string()), "{error}");
        assert_eq!(registry.log().len(), 2, "{}", registry.log_text());
    }
    // What is refused for other reasons is refused once.
    let registry = TestRegistry::start().await;
    registry.rule(when("GET", "*").respond(403));
    assert!(tags(&registry).await.is_err());
    assert_eq!(registry.log().len(), 1);
}

async fn empty() {
    for body in [
        r#"{"name":"app","tags":null}"#,
        r#"{"name":"app","tags":[]}"#,
        r#"{"name":"app"}"#,
        r#"{"tags":[]}"#,
    ] {
        let registry = TestRegistry::start().await;
        registry.rule(when("GET", "*/tags/list").respond(200).body(body));
        assert!(tags(&registry).await.unwrap().is_empty(), "{body}");
    }
    let registry = TestRegistry::start().await;
    registry.rule(page(FIRST, &[]).header("link", "</p/2>; rel=next"));
    registry.rule(page("/p/2", &["a"]).header("link", "</p/3>; rel=next"));
    registry.rule(page("/p/3", &[]).header("link", "</p/4>; rel=next"));
    registry.rule(page("/p/4", &["b"]));
    assert_eq!(tags(&registry).await.unwrap(), ["a", "b"]);
}

async fn circles() {
    for links in [
        // To itself, at once and later; back to the first; between two.
        &[FIRST][..],
        &["/p/2", "/p/2"],
        &["/p/2", "/p/3", FIRST],
        &["/p/2", "/p/3", "/p/2"],
        &["/p/2", "/p/3#x", "/p/2#y"],
    ] {
        let registry = TestRegistry::start().await;
        let mut here = FIRST;
        for link in links {
            let link_header = format!("<{link}>; rel=\"next\"");
            registry.rule(page(here, &["a"]).header("link", &link_header));
            here = link.split('#').next().unwrap();
        }
        let error = tags(&registry).await.unwrap_err();
        assert!(error.to_string().contains("leads back"), "{error}");
        assert_eq!(registry.log().len(), links.len(), "{}", registry.log_text());
    }
    // One that never comes to an end, though never to the same place.
    let registry = TestRegistry::start().await;
    for n in 1..=1000 {
        let link = format!("</v2/app/tags/list?last={n}>; rel=\"next\"");
        let endless = when("GET", "*/tags/list").nth(n);
        registry.rule(endless.set_header("link", &link));
    }
    Image::new(&["a"]).push(&registry, "app", Some("1")).await;
    let error = tags(&registry).await.unwrap_err();
    assert!(
        error.to_string().contains("more than 1,000 pages"),
        "{error}"
    );
    assert_eq!(registry.log().len(), 1000);
}

async fn no_list() {
    let login = "<html>please log in</html>";
    for (kind, body, expected) in [
        ("text/html", login, "for people"),
        ("application/json", login, "no list of tags"),
        ("application/json", "{}", "no list of tags"),
        ("application/json", r#"{"token":"x"}"#, "no list of tags"),
        ("application/json", r#"{"errors":[]}"#, "no list of tags"),
        ("application/json", r#"["a"]"#, "no list of tags"),
        ("application/json", r#"{"tags":{}}"#, "no list of tags"),
        ("application/json", r#"{"tags":["a/b"]}"#, "what is no tag"),
    ] {
        for is_moved in [false, true] {
            let registry = TestRegistry::start().await;
            let path = if is_moved {
                registry.rule(
                    when("GET", "/v2/*")
                        .respond(302)
                        .header("location", "/login"),
                );
                "/login"
            } else {
                "/v2/*"
            };
            let answer = when("GET", path).respond(200).body(body);
            registry.rule(answer.header("content-type", kind));
            let error = tags(&registry).await.unwrap_err();
            assert!(matches!(error.kind, ErrorKind::Protocol(_)), "{error}");
            assert!(error.to_string().contains(expected), "{body}: {error}");
        }
    }
}

async fn referrers_page() {
    for (kind, expected) in [
        ("text/html", "for people"),
        ("application/json", "no list of referrers"),
    ] {
        let registry = TestRegistry::start().await;
        let image = Image::new(&["a"]).push(&registry, "app", Some("1")).await;
        let moved = when("GET", "*/referrers/*").respond(302);
        registry.rule(moved.header("location", "/login"));
        let login = when("GET", "/login").respond(200);
        let login = login.body("<html>please log in</html>");
        registry.rule(login.header("content-type", kind));
        let repository = reference(&registry, "app").repository;
        let client = new_client(quick());
        let asked = [Access::Pull, Access::PullPush]
            .map(|access| client.referrers(&repository, &image.digest, access));
        for listing in join_all(asked).await {
            let error = listing.unwrap_err();
            assert!(matches!(error.kind, ErrorKind::Protocol(_)), "{error}");
            assert!(error.to_string().contains(expected), "{error}");
        }
    }
}
