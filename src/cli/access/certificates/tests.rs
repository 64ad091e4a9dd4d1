use std::fs;
use std::os::unix::fs::symlink;

use rcgen::{CertificateParams, KeyPair};

use crate::limits::input::ACCESS_FILE_BYTES_MAX;

use super::*;

/// A host with a user, in folders of their own.
struct Stage {
    folder: tempfile::TempDir,
}

/// The places of certificates, the first that has a host's folder counts.
const PLACES: [&str; 3] = [
    "home/.config/containers/certs.d",
    "etc/containers/certs.d",
    "etc/docker/certs.d",
];

impl Stage {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { folder }
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    fn read(&self) -> Certificates {
        self.read_with(&[], None).unwrap()
    }

    fn read_with(
        &self,
        authorities: &[PathBuf],
        folder: Option<&Path>,
    ) -> Result<Certificates, String> {
        let home = self.folder.path().join("home");
        let sources = Sources {
            authorities,
            folder,
            home: Some(&home),
            root: self.folder.path(),
        };
        let registries: [Registry; 2] =
            ["a.example:5000", "docker.io"].map(|name| name.parse().unwrap());
        read(&sources, &registries).map_err(|error| error.to_string())
    }

    /// What is known of one host whose folder has these files.
    fn host(&self, files: &[(&str, &str)]) -> Result<HostCertificates, String> {
        for (name, text) in files {
            self.write(&format!("etc/containers/certs.d/h.example/{name}"), text);
        }
        self.read().hosts.remove("h.example").unwrap()
    }
}

/// Files of a folder, and the words that are said of them.
type Case<'a> = (&'a [(&'a str, &'a str)], &'a [&'a str]);

/// A certificate and its key.
struct Made {
    certificate: String,
    der: CertificateDer<'static>,
    key: String,
}

fn made(name: &str) -> Made {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec![name.to_owned()])
        .unwrap()
        .self_signed(&key)
        .unwrap();
    Made {
        certificate: certificate.pem(),
        der: certificate.der().clone(),
        key: key.serialize_pem(),
    }
}

#[test]
fn authorities_for_all_hosts_are_read() {
    let (a, b, c) = (made("a"), made("b"), made("c"));
    let stage = Stage::new();
    let both = format!("a comment\n{}between\n{}", a.certificate, b.certificate);
    let paths = [
        stage.write("both.pem", both),
        stage.write("c.pem", &c.certificate),
    ];
    let certificates = stage.read_with(&paths, None).unwrap();
    assert_eq!(certificates.authorities, [a.der, b.der, c.der]);
    assert!(certificates.hosts.is_empty());
}

#[test]
fn a_file_without_a_certificate_is_refused_by_its_name() {
    let a = made("a");
    let stage = Stage::new();
    let mut cases = vec![
        (stage.write("key.pem", &a.key), "no certificate"),
        (stage.write("empty.pem", ""), "no certificate"),
        (stage.write("der.pem", &a.der), "no certificate"),
        (
            stage.write("cut.pem", a.certificate.split_once("-----END").unwrap().0),
            "no end",
        ),
        (
            stage.write("bad.pem", a.certificate.replace("\nMII", "\n???")),
            "base64",
        ),
        (stage.folder.path().join("none.pem"), "cannot be read"),
        (stage.folder.path().to_owned(), "cannot be read"),
    ];
    let long = usize::try_from(ACCESS_FILE_BYTES_MAX).unwrap() + 1;
    cases.push((stage.write("long.pem", " ".repeat(long)), "1 MiB"));
    for (path, word) in cases {
        let said = stage
            .read_with(std::slice::from_ref(&path), None)
            .unwrap_err();
        assert!(said.contains(&path.display().to_string()), "{said}");
        assert!(
            said.contains("--ca-file") && said.contains(word),
            "{word}: {said}"
        );
    }
}

#[test]
fn the_first_place_that_has_a_folder_for_a_host_counts() {
    let stage = Stage::new();
    assert!(stage.read().hosts.is_empty());
    let made: Vec<Made> = PLACES.iter().map(|place| made(place)).collect();
    let authority_of = |host: &str| {
        let certificates = stage.read();
        let host = certificates.hosts.get(host)?.as_ref().unwrap();
        Some(host.authorities.clone())
    };
    for (place, made) in PLACES.iter().zip(&made).rev() {
        stage.write(&format!("{place}/h.example:5000/x.crt"), &made.certificate);
        assert_eq!(authority_of("h.example:5000"), Some(vec![made.der.clone()]));
    }
    assert_eq!(authority_of("h.example"), None);
    // An empty one hides the others.
    stage.write(
        &format!("{}/other.example/x.crt", PLACES[2]),
        &made[0].certificate,
    );
    assert_eq!(authority_of("other.example").unwrap().len(), 1);
    fs::create_dir_all(stage.folder.path().join(PLACES[1]).join("other.example")).unwrap();
    assert_eq!(authority_of("other.example"), Some(Vec::new()));
}

#[test]
fn a_home_that_is_no_folder_has_nothing() {
    let stage = Stage::new();
    stage.write("home", "as `/dev/null` is");
    stage.write(
        &format!("{}/h.example/x.crt", PLACES[2]),
        made("a").certificate,
    );
    assert!(stage.read().hosts["h.example"].is_ok());
}

#[test]
fn folders_are_named_as_hosts_are() {
    let stage = Stage::new();
    let a = made("a");
    for name in [
        "Upper.example:5000",
        "docker.io",
        "[::1]:5000",
        "localhost",
        "registry-1.docker.io",
        "h.example:port",
        "..data",
    ] {
        stage.write(&format!("{}/{name}/x.crt", PLACES[1]), &a.certificate);
    }
    stage.write(&format!("{}/file.example", PLACES[1]), "no folder");
    let linked = stage.folder.path().join(PLACES[1]).join("linked.example");
    symlink(
        stage.folder.path().join(PLACES[1]).join("docker.io"),
        linked,
    )
    .unwrap();
    let mut hosts: Vec<String> = stage.read().hosts.into_keys().collect();
    hosts.sort();
    assert_eq!(
        hosts,
        [
            "[::1]:5000",
            "docker.io",
            "linked.example",
            "localhost",
            "upper.example:5000",
        ]
    );
}

#[test]
fn a_folder_has_authorities_and_who_we_are() {
    let (a, b, own) = (made("a"), made("b"), made("own"));
    let stage = Stage::new();
    let chain = format!("{}{}", own.certificate, b.certificate);
    let host = stage
        .host(&[
            ("b.crt", &b.certificate),
            ("a.crt", &a.certificate),
            ("own.name.cert", &chain),
            ("own.name.key", &own.key),
            ("README", "not looked at"),
            ("old.pem", "not looked at"),
        ])
        .unwrap();
    assert_eq!(host.authorities, [a.der, b.der.clone()]);
    let identity = host.identity.unwrap();
    assert_eq!(identity.chain(), [own.der, b.der]);
    let key = KeyPair::from_pem(&own.key).unwrap().serialize_der();
    assert_eq!(identity.key().secret_der(), key);
}

#[test]
fn what_is_wrong_in_a_folder_is_said_and_disturbs_no_other_host() {
    let (a, own, other) = (made("a"), made("own"), made("other"));
    let sealed = own.key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    let older = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA\n\
                 -----END RSA PRIVATE KEY-----\n";
    let nonsense = "-----BEGIN PRIVATE KEY-----\nc2VjcmV0IGJ5dGVz\n-----END PRIVATE KEY-----\n";
    let cert = own.certificate.as_str();
    let cases: [Case<'_>; 12] = [
        (&[("own.cert", cert)], &["own.cert", "own.key", ".crt"]),
        (&[("own.key", &own.key)], &["own.key", "own.cert"]),
        (&[("x.crt", "")], &["x.crt", "no certificate"]),
        (&[("x.crt", &own.key)], &["x.crt", "no certificate"]),
        (
            &[("own.cert", ""), ("own.key", &own.key)],
            &["own.cert", "no certificate"],
        ),
        (
            &[("own.cert", cert), ("own.key", "")],
            &["own.key", "no private key"],
        ),
        (
            &[("own.cert", cert), ("own.key", cert)],
            &["own.key", "no private key"],
        ),
        (
            &[("own.cert", cert), ("own.key", &other.key)],
            &["own.key", "own.cert", "not the key"],
        ),
        (
            &[("own.cert", cert), ("own.key", &sealed)],
            &["own.key", "password"],
        ),
        (
            &[("own.cert", cert), ("own.key", older)],
            &["own.key", "password"],
        ),
        (
            &[("own.cert", cert), ("own.key", nonsense)],
            &["own.key", "cannot be used"],
        ),
        (
            &[
                ("a.cert", &a.certificate),
                ("a.key", &a.key),
                ("own.cert", cert),
                ("own.key", &own.key),
            ],
            &["a.cert", "own.cert", "only one"],
        ),
    ];
    for (files, words) in cases {
        let stage = Stage::new();
        stage.write(
            &format!("{}/other.example/x.crt", PLACES[1]),
            &a.certificate,
        );
        let said = stage.host(files).unwrap_err();
        for word in words {
            assert!(said.contains(word), "{word}: {said}");
        }
        let key: String = own.key.lines().skip(1).take(1).collect();
        assert!(!said.contains(&key) && !said.contains("c2VjcmV0"), "{said}");
        assert!(stage.read().hosts["other.example"].is_ok());
    }
}

#[test]
fn what_is_no_file_is_not_waited_for() {
    let stage = Stage::new();
    fs::create_dir_all(stage.folder.path().join(PLACES[0]).join("h.example/x.crt")).unwrap();
    let said = stage.host(&[]).unwrap_err();
    assert!(said.contains("x.crt"), "{said}");
    // A link to nothing is left, as containers/image leaves it.
    let stage = Stage::new();
    let folder = stage.folder.path().join(PLACES[0]).join("h.example");
    fs::create_dir_all(&folder).unwrap();
    symlink("nothing", folder.join("x.crt")).unwrap();
    assert!(stage.host(&[]).unwrap().authorities.is_empty());
}

#[test]
fn a_folder_for_all_hosts_stands_instead_of_theirs() {
    let (a, own) = (made("a"), made("own"));
    let stage = Stage::new();
    stage.write(&format!("{}/h.example/x.crt", PLACES[0]), "no certificate");
    stage.write("all/x.crt", &a.certificate);
    let all = stage.folder.path().join("all");
    let certificates = stage.read_with(&[], Some(&all)).unwrap();
    assert_eq!(certificates.authorities, [a.der]);
    assert!(certificates.hosts.is_empty());
    stage.write("all/own.cert", &own.certificate);
    let said = stage.read_with(&[], Some(&all)).unwrap_err();
    assert!(
        said.contains("--cert-dir") && said.contains("own.key"),
        "{said}"
    );
    stage.write("all/own.key", &own.key);
    let certificates = stage.read_with(&[], Some(&all)).unwrap();
    for host in ["a.example:5000", "docker.io"] {
        let identity = certificates.hosts[host].as_ref().unwrap().identity.as_ref();
        assert_eq!(identity.unwrap().chain(), std::slice::from_ref(&own.der));
    }
    assert_eq!(certificates.hosts.len(), 2);
    for none in ["none", "all/own.key"] {
        let said = stage.read_with(&[], Some(&stage.folder.path().join(none)));
        assert!(said.unwrap_err().contains("no folder"));
    }
}

#[test]
fn hosts_are_bounded() {
    let stage = Stage::new();
    for number in 0..=CERTIFICATE_HOSTS_MAX {
        let folder = stage
            .folder
            .path()
            .join(PLACES[2])
            .join(format!("h{number}.example"));
        fs::create_dir_all(folder).unwrap();
    }
    let said = stage.read_with(&[], None).unwrap_err();
    assert!(
        said.contains("etc/docker/certs.d") && said.contains("1000"),
        "{said}"
    );
}

#[test]
fn keys_do_not_print() {
    let own = made("own");
    let stage = Stage::new();
    let host = stage.host(&[("own.cert", &own.certificate), ("own.key", &own.key)]);
    let shown = format!("{host:?} {:?}", stage.read());
    let der = KeyPair::from_pem(&own.key).unwrap().serialize_der();
    let secret = format!("{:?}", &der[40..48]);
    let secret = secret.trim_matches(['[', ']']);
    assert!(shown.contains("***") && !shown.contains(secret), "{shown}");
}
