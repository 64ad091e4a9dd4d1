//! What is printed and written down tells no secret.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use libtest_mimic::Trial;
use serde_json::json;

use super::secrets::Secrets;
use super::stage::lines_with;
use super::{helper, run_with_input};
use crate::harness::trial;
use crate::program::{Ended, Workplace};
use crate::registry::{Auth, Bearer, Image, Settings, TestRegistry, when};

/// Passwords with what has to be escaped somewhere.
const IN_A_FILE: (&str, &str) = ("file-user", "file+pass/word=1&2 %41 \"q\"");
const BY_A_HELPER: (&str, &str) = ("helper-user", "helper+pass/word=1&2");
const IN_CREDS: (&str, &str) = ("creds-user", "creds pass+word/with=blanks");
const WRONG: (&str, &str) = ("wrong-user", "wrong+pass/word=1");
const IDENTITY: (&str, &str) = ("<token>", "identity+token/of=trials");
const PROXY: (&str, &str) = ("proxy-user", "proxy-pass-word");
const SIGNATURE: (&str, &str) = ("", "signature-of-a-place");
const SESSION: (&str, &str) = ("", "signature-of-a-session");

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "access::silence_no_credential_is_in_any_output",
            no_credential,
        ),
        trial(
            "access::silence_what_is_wrong_with_a_credential_is_said_without_it",
            mistakes,
        ),
        trial(
            "access::silence_credentials_are_not_read_as_a_list",
            one_standard_input,
        ),
        trial(
            "access::silence_a_wrong_command_line_is_told_without_its_secrets",
            command_lines,
        ),
    ]
}

/// Where people type a password that belongs elsewhere.
async fn command_lines() {
    let place = Workplace::new();
    for line in [
        "mirror -f x -d somebody:GEHEIM1@127.0.0.1:7102",
        "login https://somebody:GEHEIM1@host.example",
        "inspect docker://somebody:GEHEIM1@host.example/app",
        "copy somebody:GEHEIM1@host.example/app other.example/app",
        "login a.example -u me GEHEIM1",
        "login a.example --password-stdin=GEHEIM1",
        "mirror -f x --src-no-creds=me:GEHEIM1",
        "auth explain http://somebody:GEHEIM1@host.example",
        "auth explain somebody:GEHEIM1@host.example",
    ] {
        let ended = place.run(line).await.with(2);
        ended.hiding(&["GEHEIM1"]);
    }
}

fn secrets() -> Secrets {
    let all = [
        IN_A_FILE,
        BY_A_HELPER,
        IN_CREDS,
        WRONG,
        IDENTITY,
        PROXY,
        SIGNATURE,
        SESSION,
    ];
    Secrets::of(&all)
}

async fn registry(auth: Auth) -> TestRegistry {
    let registry = TestRegistry::with(Settings {
        auth,
        ..Settings::default()
    })
    .await;
    for name in ["team/good", "team/bad"] {
        Image::new(&[name]).push(&registry, name, Some("1")).await;
    }
    registry
}

fn bearer(credentials: (&'static str, &'static str), identity: Option<&'static str>) -> Auth {
    Auth::Bearer(Bearer {
        credentials: Some(credentials),
        identity_token: identity,
        ..Bearer::default()
    })
}

/// A helper that knows one user.
async fn write_helper(place: &Workplace) {
    let (user, secret) = BY_A_HELPER;
    let answer = json!({ "ServerURL": "x", "Username": user, "Secret": secret });
    // What a helper says beside it is its own.
    let script = format!("read -r server\necho \"debug: {secret}\" >&2\nprintf '%s\\n' '{answer}'");
    helper(place, "trial", &script).await;
}

/// The same image from everywhere, well and not, as loud as can be.
async fn no_credential() {
    let file = registry(bearer(IN_A_FILE, None)).await;
    let helper = registry(Auth::Basic(BY_A_HELPER.0, BY_A_HELPER.1)).await;
    let identity = registry(bearer(("nobody", "nothing"), Some(IDENTITY.1))).await;
    let refuses = registry(Auth::Basic(IN_A_FILE.0, IN_A_FILE.1)).await;
    let to = registry(Auth::Basic(IN_CREDS.0, IN_CREDS.1)).await;
    let cdn = TestRegistry::start().await;

    // Signed places: one that leads somewhere, one that leads nowhere, and a session.
    let signed = |path: &str| format!("{}{path}?X-Amz-Signature={}", cdn.url(), SIGNATURE.1);
    let image = Image::new(&["team/good"])
        .push(&cdn, "team/good", None)
        .await;
    let layer = format!("/v2/team/good/blobs/{}", image.blobs[1]);
    file.rule(when("GET", &layer).redirect(&signed(&layer)));
    file.rule(when("GET", "/v2/team/bad/blobs/*").redirect(&signed("/gone")));
    identity.rule(when("GET", "/v2/team/bad/manifests/*").redirect(&signed("/gone")));
    let session = format!("/up?X-Amz-Signature={}", SESSION.1);
    let opened = when("POST", "/v2/helper/bad/*").respond(202);
    to.rule(opened.header("location", &session));
    to.rule(when("PUT", "/up").respond(400));

    let place = Workplace::new();
    write_helper(&place).await;
    let auth = |(user, secret): (&str, &str)| STANDARD.encode(format!("{user}:{secret}"));
    let auths = json!({
        "auths": {
            file.host(): { "auth": auth(IN_A_FILE) },
            identity.host(): { "identitytoken": IDENTITY.1 },
            refuses.host(): { "auth": auth(WRONG) },
        },
        "credHelpers": { helper.host(): "trial" },
    });
    place.write("auth.json", auths.to_string());
    let (user, secret) = IN_CREDS;
    place.write("creds.txt", format!("{} {user} {secret}\n", to.host()));
    let mut lines = Vec::new();
    for (name, from) in [
        ("file", &file),
        ("helper", &helper),
        ("identity", &identity),
        ("refuses", &refuses),
    ] {
        for image in ["good", "bad"] {
            let (from, to) = (from.host(), to.host());
            lines.push(format!("{from}/team/{image} {to}/{name}/{image} 1"));
        }
    }
    lines.push(format!(
        "unreachable.invalid/team/app {}/gone/app 1",
        to.host()
    ));
    place.write("list.txt", lines.join("\n"));
    // A proxy that goes nowhere.
    let refusing = TestRegistry::start().await;
    let proxy = format!("http://{}:{}@{}", PROXY.0, PROXY.1, refusing.host());
    let environment = [
        ("PATH", place.path("bin")),
        ("REGISTRY_AUTH_FILE", place.path("auth.json")),
        ("HTTPS_PROXY", proxy.into()),
    ];
    let run_it = "mirror -f list.txt --debug --log-format json --report report.json \
                  --digests digests.txt --output json --creds-file creds.txt";
    let ended = place.run_with(run_it, &environment).await;
    assert!(place.has("report.json"), "{ended}");
    let report = place.json("report.json");
    secrets().absent_from(&ended.stderr, "stderr");
    secrets().absent_from(&ended.text(), "stdout");
    for name in ["report.json", "mirror-failed.txt", "digests.txt"] {
        secrets().absent_from(&place.read(name), name);
    }
    // It was as loud as it should be, and each secret was used where it belongs.
    assert!(ended.stderr.contains("DEBUG"), "{ended}");
    let copied = lines_with(&report, "copied");
    assert_eq!(copied.len(), 3, "{copied:#?}: {ended}");
    Secrets::of(&[IN_A_FILE]).reached(&file, "its registry");
    Secrets::of(&[BY_A_HELPER]).reached(&helper, "its registry");
    Secrets::of(&[IDENTITY]).reached(&identity, "its registry");
    Secrets::of(&[IN_CREDS, SESSION]).reached(&to, "its registry");
    Secrets::of(&[WRONG]).reached(&refuses, "its registry");
    Secrets::of(&[SIGNATURE]).reached(&cdn, "its place");
    Secrets::of(&[PROXY]).reached(&refusing, "the proxy");
    ended.with(1);

    // For people too, and by flags.
    let by_flags = format!(
        "copy {}/team/good:1 {}/flags/good:1 --debug --src-creds {}:{} --dest-creds wrong-user:{}",
        helper.host(),
        to.host(),
        BY_A_HELPER.0,
        BY_A_HELPER.1,
        WRONG.1,
    );
    quiet(&place.run(&by_flags).await.with(1));
}

#[track_caller]
fn quiet(ended: &Ended) {
    secrets().absent_from(&ended.stderr, "stderr");
    secrets().absent_from(&ended.text(), "stdout");
}

/// Credentials that cannot be read, flags that are wrong beside them.
async fn mistakes() {
    let place = Workplace::new();
    place.write("list.txt", "127.0.0.1:1/team/app:1\n");
    let (user, secret) = WRONG;
    let run_it = "mirror -f list.txt -d 127.0.0.1:2";
    for more in [
        format!("--dest-creds {user}:{secret} --no-such-flag"),
        format!("--dest-creds {user}:{secret} --dest-no-creds"),
        format!("--dest-creds :{secret}"),
        format!("--src-creds={user}:{secret} --jobs 0"),
        format!("--creds {user}:{secret}"),
    ] {
        let ended = place.run(&format!("{run_it} {more}")).await.with(2);
        quiet(&ended);
    }
    for (name, content) in [
        ("creds.txt", format!("127.0.0.1:1 {secret}\n")),
        (
            "creds.txt",
            format!("no/registry:{secret} {user} {secret}\n"),
        ),
        ("creds.txt", format!("{secret}\n")),
        ("creds.txt", format!("\0{secret}\n")),
    ] {
        place.write(name, content);
        let ended = place.run(&format!("{run_it} --creds-file {name}")).await;
        quiet(&ended.with(2).saying(&["creds.txt:1"]));
    }
    for content in [
        format!("{{\"auths\": {{\"127.0.0.1:1\": {{\"auth\": \"{secret}\"}}}}}}"),
        format!("{{\"auths\": {{\"127.0.0.1:1\": {{\"auth\": 5, \"x\": \"{secret}\"}}}}}}"),
        format!("{{\"auths\": \"{secret}\"}}"),
        format!("{{\"{secret}"),
        secret.to_owned(),
    ] {
        place.write("auth.json", &content);
        let file = [("REGISTRY_AUTH_FILE", place.path("auth.json"))];
        let ended = place.run_with(run_it, &file).await;
        assert_ne!(ended.code(), Some(0), "{ended}");
        quiet(&ended.saying(&["auth.json"]));
    }
}

/// Standard input is one of the two.
async fn one_standard_input() {
    let place = Workplace::new();
    let (user, secret) = WRONG;
    let credentials = format!("127.0.0.1:1 {user} {secret}\n");
    for run_it in [
        "mirror -f - --creds-file - --skip-bad-lines -o failed.txt",
        "validate -f - --creds-file - --key site.pub --skip-bad-lines -o failed.txt",
    ] {
        let ended = run_with_input(&place, run_it, &credentials, &[]).await;
        quiet(&ended.with(2).saying(&["`-f -` and `--creds-file -`"]));
        assert!(!place.has("failed.txt"), "{}", place.read("failed.txt"));
    }
}
