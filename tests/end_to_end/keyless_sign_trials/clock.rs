//! Timestamps: of a real authority, which OpenSSL is, and of one that does wrong.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use consign::serve::{Body, body};
use http::Response;
use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::Stage;
use crate::harness::{Tool, Tools, trial, with_tools};
use crate::instance::{Client, ISSUER, JOB, job_token};
use crate::registry::{Annex, Asked, Settings, TestRegistry, when};
use crate::signatures::others::Cosign;

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("keyless_sign::a_clock_that_does_wrong_is_named", wrong),
        with_tools(
            "keyless_sign::signatures_are_stamped",
            &[Tool::Openssl, Tool::Cosign2, Tool::Cosign3],
            stamped,
        ),
    ]
}

const PATH: &str = "/api/v1/timestamp";

/// A timestamp authority.
#[derive(Debug)]
struct Clock {
    openssl: PathBuf,
    folder: PathBuf,
}

impl Clock {
    /// One with a key and a root of its own in `folder`.
    fn new(tools: &Tools) -> Self {
        let clock = Self {
            openssl: tools.path(Tool::Openssl).to_owned(),
            folder: tools.folder().join("clock"),
        };
        let folder = &clock.folder;
        fs::create_dir_all(folder).expect("a folder");
        let write = |name: &str, text: &str| fs::write(folder.join(name), text).expect("a file");
        write(
            "clock.cnf",
            "[tsa]\ndefault_tsa = clock\n[clock]\nserial = serial\nsigner_cert = clock.pem\n\
             certs = root.pem\nsigner_key = clock.key\nsigner_digest = sha256\n\
             default_policy = 1.2.3.4.1\ndigests = sha256\ness_cert_id_alg = sha256\n",
        );
        write("serial", "01\n");
        write(
            "clock.ext",
            "extendedKeyUsage = critical,timeStamping\nkeyUsage = critical,digitalSignature\n",
        );
        let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
        for words in [
            format!(
                "req -x509 {key} -keyout root.key -out root.pem -subj /O=instance/CN=root -days 2"
            ),
            format!("req {key} -keyout clock.key -out clock.csr -subj /O=instance/CN=clock"),
            "x509 -req -in clock.csr -CA root.pem -CAkey root.key -days 1 -extfile clock.ext \
             -CAcreateserial -out clock.pem"
                .to_owned(),
        ] {
            clock.run(&words);
        }
        clock
    }

    fn run(&self, words: &str) {
        let output = Command::new(&self.openssl)
            .args(words.split_whitespace())
            .current_dir(&self.folder)
            .output()
            .expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words}: {said}");
    }

    fn pem(&self, name: &str) -> String {
        fs::read_to_string(self.folder.join(name)).expect("it is there")
    }

    /// As a trusted root names it.
    fn authority(&self) -> Value {
        let raw = |name| {
            let pem = self.pem(name);
            let lines = pem.lines().filter(|line| !line.starts_with('-'));
            json!({ "rawBytes": lines.collect::<String>() })
        };
        json!({
            "subject": { "organization": "instance.test", "commonName": "clock" },
            "uri": "https://clock.instance.test",
            "certChain": { "certificates": [raw("clock.pem"), raw("root.pem")] },
            "validFor": { "start": "2020-01-01T00:00:00Z" },
        })
    }

    /// Its certificates, its own first.
    fn write_chain(&self, to: &Path) {
        let chain = format!("{}{}", self.pem("clock.pem"), self.pem("root.pem"));
        fs::write(to, chain).expect("it is written");
    }
}

impl Annex for Clock {
    fn answer(&self, request: &Asked<'_>) -> Option<Response<Body>> {
        if (request.method.as_str(), request.path) != ("POST", PATH) {
            return None;
        }
        fs::write(self.folder.join("query"), request.body).expect("it is written");
        self.run("ts -reply -config clock.cnf -section clock -queryfile query -out reply");
        let reply = fs::read(self.folder.join("reply")).expect("it answers");
        let response = Response::builder().header("content-type", "application/timestamp-reply");
        Some(response.body(body(reply)).expect("a response"))
    }

    fn refuse(&self, _: &Asked<'_>) -> Option<Response<Body>> {
        None
    }
}

async fn stamped(tools: Tools) {
    let stage = Stage::set().await;
    let clock = Arc::new(Clock::new(&tools));
    let mut root = stage.place.json("trusted_root.json");
    root["timestampAuthorities"] = json!([clock.authority()]);
    fs::write(&stage.files.trusted_root, root.to_string()).expect("it is written");
    let chain = tools.folder().join("chain-of-the-clock.pem");
    clock.write_chain(&chain);
    let annex: Arc<dyn Annex> = clock;
    let settings = Settings {
        annex: Some(annex),
        ..Settings::default()
    };
    let server = TestRegistry::with(settings).await;
    let client = Client {
        tools: &tools,
        files: &stage.files,
    };
    let stamped = "--use-signed-timestamps";
    let of_two = format!(
        "{stamped} --timestamp-certificate-chain {}",
        chain.display()
    );
    for (format, reader, more) in [
        ("tag", Cosign::Two, of_two.as_str()),
        ("bundle", Cosign::Three, stamped),
    ] {
        let (_, image) = stage.image(&format!("app-{format}")).await;
        let url = format!("{}{PATH}", server.url());
        let words = format!("--timestamp-server-url {url} --signature-format {format} {image}");
        stage.sign_as(&job_token(), &words).await.with(0);
        stage.validate(&image).await.with(0);
        client
            .verify(reader, (JOB, ISSUER), more, &image)
            .await
            .good();
    }
    assert_eq!(server.count("POST", PATH), 2);
}

async fn wrong() {
    let stage = Stage::set().await;
    let services = stage.server.registry();
    let words = |image: &str| {
        let url = format!("{}{PATH}", stage.server.url());
        format!("--tsa-url {url} --signature-format bundle {image}")
    };
    let (_, image) = stage.image("app").await;
    for (rule, said) in [
        (when("POST", PATH).respond(400), "400 Bad Request"),
        (
            when("POST", PATH).respond(200).body("<html>"),
            "no timestamp that was granted",
        ),
        // Granted, and nothing in it.
        (
            when("POST", PATH)
                .respond(200)
                .body(&b"\x30\x05\x30\x03\x02\x01\x00"[..]),
            "not pushed",
        ),
    ] {
        services.clear_rules();
        services.rule(rule);
        stage.registry.clear_log();
        stage.sign(&words(&image)).await.failed().saying(&[said]);
        stage.nothing_was_pushed();
    }
}
