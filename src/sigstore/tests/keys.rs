//! Key files, signing and verifying.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::limits::signature::KEY_FILE_BYTES_MAX;

use super::super::{KeyError, KeyFile, Refusal};
use super::{NAMES, Passphrase, PrivateKey, PublicKey, file, passphrase, private, public, text};

#[track_caller]
fn refused(pem: impl AsRef<[u8]>) -> KeyError {
    KeyFile::parse(pem.as_ref()).unwrap_err()
}

/// The JSON inside a key file.
fn inside(name: &str) -> String {
    let text = text(name);
    let body: String = text.lines().filter(|line| !line.starts_with('-')).collect();
    String::from_utf8(STANDARD.decode(body).unwrap()).unwrap()
}

fn key_file(json: &str) -> String {
    let label = "ENCRYPTED SIGSTORE PRIVATE KEY";
    let body = STANDARD.encode(json);
    format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
}

#[test]
fn every_kind_that_cosign_imports_opens_signs_and_is_sealed_again() {
    for name in NAMES {
        let key = private(name);
        assert_eq!(*key.public(), public(name), "{name}");
        let signature = key.sign(b"message").unwrap();
        assert_eq!(
            key.public().verify(b"message", &signature),
            Ok(()),
            "{name}"
        );
        let wrong = Err(Refusal::Signature);
        assert_eq!(key.public().verify(b"massage", &signature), wrong, "{name}");
        let mut bent = signature.clone();
        *bent.last_mut().unwrap() ^= 1;
        assert_eq!(key.public().verify(b"message", &bent), wrong, "{name}");
        assert_eq!(key.public().verify(b"message", b""), wrong, "{name}");
    }
}

/// Cosign 2 wrote `cosign2.key` and skopeo `skopeo.key`, with the old label; the two with the other
/// costs are made by Go's libraries, and cosign 2 and 3 read them.
#[test]
fn every_label_and_cost_that_cosign_reads_opens() {
    for (name, public_name) in [
        ("cosign2", "cosign2"),
        ("skopeo", "skopeo"),
        ("n32768", "p256"),
        ("n131072", "p256"),
    ] {
        assert_eq!(*private(name).public(), public(public_name), "{name}");
    }
    assert!(text("skopeo.key").contains("BEGIN ENCRYPTED COSIGN PRIVATE KEY"));
}

#[test]
fn an_empty_passphrase_opens_what_it_sealed() {
    let KeyFile::Sealed(sealed) = KeyFile::parse(&file("empty.key")).unwrap() else {
        panic!("it is sealed");
    };
    let key = sealed.open(&Passphrase::new(String::new())).unwrap();
    assert_eq!(*key.public(), public("empty"));
    assert_eq!(
        sealed.open(&Passphrase::new(" ".to_owned())).unwrap_err(),
        KeyError::Passphrase
    );
}

#[test]
fn a_generated_key_is_written_as_cosign_writes_it() {
    let key = PrivateKey::generate().unwrap();
    let sealed = key.seal(&passphrase()).unwrap();
    let theirs = text("cosign2.key");
    let frame = |text: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| line.starts_with('-'));
        lines.map(str::to_owned).collect()
    };
    assert_eq!(frame(&sealed), frame(&theirs));
    assert!(sealed.ends_with("-----\n") && !sealed.contains('\r'));
    assert!(sealed.lines().skip(1).take(3).all(|line| line.len() == 64));
    let KeyFile::Sealed(again) = KeyFile::parse(sealed.as_bytes()).unwrap() else {
        panic!("it is sealed");
    };
    let wrong = again.open(&Passphrase::new("another".to_owned()));
    assert_eq!(wrong.unwrap_err(), KeyError::Passphrase);
    let again = again.open(&passphrase()).unwrap();
    assert_eq!(again.public(), key.public());
    // Another salt and nonce each time.
    assert_ne!(sealed, key.seal(&passphrase()).unwrap());
    let pem = key.public().to_pem();
    assert_eq!(PublicKey::parse(pem.as_bytes()).unwrap(), *key.public());
}

#[test]
fn public_keys_are_written_as_they_were_read() {
    for name in NAMES {
        assert_eq!(
            public(name).to_pem(),
            text(&format!("{name}.pub")),
            "{name}"
        );
    }
}

#[test]
fn line_ends_and_blanks_around_are_forgiven() {
    for name in ["p256.pub", "p256.key"] {
        let text = text(name);
        for variant in [
            text.replace('\n', "\r\n"),
            text.replace('\n', " \t\n"),
            format!("\n\n{text}\n \n"),
            text.trim_end().to_owned(),
        ] {
            assert!(KeyFile::parse(variant.as_bytes()).is_ok(), "{variant:?}");
        }
    }
}

#[test]
fn what_is_no_key_file_is_refused() {
    let good = text("p256.pub");
    let begin = "-----BEGIN PUBLIC KEY-----";
    for (bad, reason) in [
        (String::new(), "no PEM"),
        ("hello".to_owned(), "no PEM"),
        (format!("# a key\n{good}"), "no PEM"),
        (format!("{good}{good}"), "something after"),
        (format!("{good}# a key"), "something after"),
        (good.replace("END PUBLIC", "END PRIVATE"), "another label"),
        (good.replace("-----END PUBLIC KEY-----", ""), "no end"),
        (good.replacen('=', "", 1), "not base64"),
        (
            format!("{begin}\nProc-Type: 4\n-----END PUBLIC KEY-----\n"),
            "not base64",
        ),
        (
            format!("{begin}\n-----END PUBLIC KEY-----\n"),
            "no public key that is known",
        ),
        (
            good.replace("PUBLIC KEY", "RSA PUBLIC KEY"),
            "`RSA PUBLIC KEY`",
        ),
        (good.replace("PUBLIC KEY", "CERTIFICATE"), "a certificate"),
        (
            good.replace("PUBLIC KEY", "TRUSTED CERTIFICATE"),
            "a certificate",
        ),
    ] {
        let error = refused(&bad).to_string();
        assert!(error.contains(reason), "{bad:?}: {error}");
    }
    assert!(refused(b"\xff\xfe").to_string().contains("no PEM"));
    let large = vec![b' '; usize::try_from(KEY_FILE_BYTES_MAX).unwrap() + 1];
    assert!(refused(large).to_string().contains("64 KiB"));
}

/// Variables of pipelines lose line ends; what is then in the first line is the key.
#[test]
fn a_private_key_that_lost_its_line_ends_is_not_repeated() {
    let body = "MHcCAQEEIJ0est0key0test0key0test0key0test0key0test0key0test0oAoGCCqGSM49";
    for label in ["EC PRIVATE KEY", "PRIVATE KEY", "SECRET STUFF"] {
        for gap in ["", " ", "\\n"] {
            let pem = format!("-----BEGIN {label}-----{gap}{body}{gap}-----END {label}-----\n");
            let error = refused(&pem);
            let said = format!("{error} {error:?}");
            assert!(!said.contains("MHcC"), "{said}");
            assert!(said.contains("line ends"), "{said}");
        }
    }
}

#[test]
fn a_private_key_that_is_not_encrypted_is_refused_with_a_hint() {
    for label in [
        "PRIVATE KEY",
        "EC PRIVATE KEY",
        "RSA PRIVATE KEY",
        "ENCRYPTED PRIVATE KEY",
        "EC PARAMETERS",
    ] {
        let pem = text("p256.pub").replace("PUBLIC KEY", label);
        let error = refused(&pem);
        assert!(
            matches!(error, KeyError::NotEncrypted(named) if named == label),
            "{error}"
        );
        assert!(error.to_string().contains(label));
        assert!(error.hint().unwrap().contains("cosign import-key-pair"));
    }
}

#[test]
fn a_private_key_is_no_public_key() {
    let error = PublicKey::parse(&file("p256.key")).unwrap_err();
    assert!(error.to_string().contains("private key"), "{error}");
}

#[test]
fn other_costs_are_named_and_never_run() {
    let good = inside("p256.key");
    let params = r#"{"N":65536,"r":8,"p":1}"#;
    assert!(good.contains(params));
    for (n, r, p) in [
        (16384_u64, 8, 1),
        (262_144, 8, 1),
        (1 << 40, 8, 1),
        (u64::MAX, 8, 1),
        (65537, 8, 1),
        (65536, 9, 1),
        (65536, 8, 2),
        (65536, 1 << 30, 1 << 30),
        (0, 0, 0),
    ] {
        let other = format!(r#"{{"N":{n},"r":{r},"p":{p}}}"#);
        let error = refused(key_file(&good.replace(params, &other))).to_string();
        let said = format!("unsupported scrypt parameters: N={n}, r={r}, p={p}");
        assert_eq!(error, said);
    }
}

#[test]
fn an_encryption_of_another_shape_is_refused() {
    let good = inside("p256.key");
    assert!(KeyFile::parse(key_file(&good).as_bytes()).is_ok());
    for (from, to) in [
        ("\"scrypt\"", "\"argon2\""),
        ("nacl/secretbox", "aes"),
        ("\"salt\":\"", "\"salt\":\"AAAA"),
        ("\"nonce\":\"", "\"nonce\":\"AAAA"),
        ("\"salt\":\"", "\"salt\":\"*"),
        ("\"ciphertext\":\"", "\"ciphertext\":\"*"),
        ("\"N\":65536", "\"N\":-65536"),
        ("\"N\":65536", "\"N\":65536.0"),
        ("\"N\":65536", "\"N\":65536,\"N\":65536"),
        ("\"cipher\"", "\"other\""),
        ("{\"kdf\"", "x{\"kdf\""),
    ] {
        assert!(good.contains(from), "{from}");
        let error = refused(key_file(&good.replacen(from, to, 1)));
        assert!(
            matches!(error, KeyError::Form(_)),
            "{from} -> {to}: {error}"
        );
        assert_eq!(error.hint(), None);
    }
}

#[test]
fn a_changed_ciphertext_does_not_open() {
    let good = inside("p256.key");
    // The first characters of the ciphertext are its tag.
    let at = good.find("\"ciphertext\":\"").unwrap() + "\"ciphertext\":\"".len();
    let mut bad = good.into_bytes();
    bad[at] = if bad[at] == b'A' { b'B' } else { b'A' };
    let pem = key_file(std::str::from_utf8(&bad).unwrap());
    let KeyFile::Sealed(sealed) = KeyFile::parse(pem.as_bytes()).unwrap() else {
        panic!("it is sealed");
    };
    let error = sealed.open(&passphrase()).unwrap_err();
    assert_eq!(error, KeyError::Passphrase);
}

#[test]
fn keys_that_nobody_should_use_are_refused() {
    let error = refused(file("rsa1024.pub")).to_string();
    assert!(error.contains("RSA of 2048"), "{error}");
    let der = |name: &str| {
        let text = text(name);
        let body: String = text.lines().filter(|line| !line.starts_with('-')).collect();
        STANDARD.decode(body).unwrap()
    };
    let pem = |der: &[u8]| {
        let body = STANDARD.encode(der);
        format!("-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n")
    };
    for name in NAMES {
        let good = der(&format!("{name}.pub"));
        assert!(KeyFile::parse(pem(&good).as_bytes()).is_ok());
        let longer = [good.as_slice(), b"\0"].concat();
        let (_, shorter) = good.split_last().unwrap();
        // What remains without the frame: raw points and PKCS#1.
        let frame = match name {
            "rsa2048" | "rsa4096" => 24,
            "ed25519" => 12,
            "p256" => 26,
            "p384" => 23,
            _ => 25,
        };
        let raw = &good[frame..];
        for bad in [longer.as_slice(), shorter, raw] {
            assert!(KeyFile::parse(pem(bad).as_bytes()).is_err(), "{name}");
        }
    }
    // A point that is not on the curve.
    let mut off = der("p256.pub");
    *off.last_mut().unwrap() ^= 1;
    assert!(KeyFile::parse(pem(&off).as_bytes()).is_err());
    // The same point, compressed.
    let good = der("p256.pub");
    let (x, y) = good.last_chunk::<64>().unwrap().split_at(32);
    let sign = 2 + (y[31] & 1);
    let mut compressed = good[..good.len() - 65].to_vec();
    compressed[1] -= 32;
    let length = compressed.len();
    compressed[length - 2] -= 32;
    compressed.push(sign);
    compressed.extend_from_slice(x);
    assert!(KeyFile::parse(pem(&compressed).as_bytes()).is_err());
}

#[test]
fn a_signature_of_pss_is_none() {
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaKeyPair};

    let pair = RsaKeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap();
    let spki = {
        use aws_lc_rs::encoding::AsDer as _;
        use aws_lc_rs::signature::KeyPair as _;
        pair.public_key().as_der().unwrap()
    };
    let body = STANDARD.encode(spki.as_ref());
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n");
    let key = PublicKey::parse(pem.as_bytes()).unwrap();
    let mut signature = vec![0; pair.public_modulus_len()];
    pair.sign(
        &RSA_PKCS1_SHA256,
        &SystemRandom::new(),
        b"m",
        &mut signature,
    )
    .unwrap();
    assert_eq!(key.verify(b"m", &signature), Ok(()));
    pair.sign(&RSA_PSS_SHA256, &SystemRandom::new(), b"m", &mut signature)
        .unwrap();
    assert_eq!(key.verify(b"m", &signature), Err(Refusal::Signature));
}

#[test]
fn secrets_do_not_print() {
    let key = private("p256");
    let KeyFile::Sealed(sealed) = KeyFile::parse(&file("p256.key")).unwrap() else {
        panic!("it is sealed");
    };
    assert_eq!(format!("{:?}", passphrase()), "Passphrase(***)");
    assert_eq!(format!("{sealed:?}"), "SealedKey(***)");
    let shown = format!("{key:?}");
    assert_eq!(shown, format!("PrivateKey(*** of {:?})", public("p256")));
    assert!(shown.len() < 100, "{shown}");
    let error = sealed.open(&Passphrase::new("s3cret".to_owned()));
    assert!(!format!("{error:?}").contains("s3cret"));
}
